/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Every bound of the network, with its reason. A thing that can grow has its line here; nothing else may decide one. */
#ifndef CPNI_LIMITS_H
#define CPNI_LIMITS_H

/* ---- protocol ---- */
#define CPNI_PROTOCOL_VERSION 1
#define CPNI_HEADER_BYTES_MAX (1024 * 1024) /* a packet's header frame: a full inventory of a large node is about 200 KiB */
#define CPNI_PACKET_MESSAGES_MAX 256        /* messages that travel together: more gains nothing (ANCHORS 3: 16 gives 7x) */
#define CPNI_PACKET_FRAMES_MAX 64           /* payload frames of a packet: bounds what one endless multipart can pin */
#define CPNI_STR_BYTES_MAX 4096             /* any text field: an error with a path in it fits, a book does not */
#define CPNI_LIST_MAX 8192                  /* elements of any list field: models x nodes of a large network */
#define CPNI_INLINE_BYTES_MAX (256 * 1024)  /* inputs and results over this travel as blobs (DESIGN section 5) */
#define CPNI_NAME_BYTES_MAX 64              /* names of models, nodes and users, with the terminating 0 */
#define CPNI_MANIFEST_BYTES_MAX (64 * 1024) /* a manifest: 256 files of a bundle, with names */

/* ---- time ---- */
#define CPNI_HEARTBEAT_MS 1000
#define CPNI_GONE_MS 3000 /* three beats: one may be lost, one may be late */
#define CPNI_BUSY_RETRY_MS 250

/* ---- queues of the master ---- */
#define CPNI_TASKS_MAX 100000                          /* accepted and unfinished, in all */
#define CPNI_TASK_BYTES_MAX (256ull * 1024 * 1024)     /* their inline inputs and results in memory, in all */
#define CPNI_USER_TASKS_MAX 4096                       /* the window of one user, all their processes together */
#define CPNI_USER_BYTES_MAX (64ull * 1024 * 1024)      /* inline inputs and results of one user */
#define CPNI_SPOOL_BYTES_MAX (8ull * 1024 * 1024 * 1024) /* inputs and results that travel as blobs, on the master's disk */
#define CPNI_NODES_MAX 4096
#define CPNI_LINKS_MAX 16384
#define CPNI_TOKENS_MAX 1024
#define CPNI_ATTEMPTS_POISON 3 /* K: crashes or timeouts after which a task is parked */
#define CPNI_PARKED_MAX 1000   /* parked tasks kept with their evidence */

/* ---- nodes ---- */
#define CPNI_SLOTS_MAX 256
#define CPNI_NODE_SURPLUS_TASKS 2 /* credit beyond the slots, so that a slot never waits for the round trip */
#define CPNI_NODE_BYTES_MAX (128ull * 1024 * 1024) /* input bytes that a node holds */

/* ---- transfer ---- */
#define CPNI_CHUNK_BYTES (1024 * 1024)
#define CPNI_TRANSFER_WINDOW 4       /* chunks asked for and not yet here, of one transfer */
#define CPNI_TRANSFERS_ACTIVE_MAX 4  /* transfers that ask at a time on one link; the others wait their turn */
#define CPNI_TRANSFER_RETRIES 5      /* refused (corrupted) answers for one chunk until the transfer fails */
#define CPNI_TRANSFER_STALL_MS 10000 /* no answer for so long: ask again */

#endif
