/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a step wants sent, made into packets (DESIGN §5): messages for one connection that are ready together travel together,
 * nothing is held back to wait for company. Keeps each connection's outgoing sequence and, when a socket's queue is full, the
 * packets that wait for it. Shared by the roles and the simulator. Must not know sockets, or what the messages mean.
 *
 *     for each SEND of the actions (of one step or several): cpni_outbox_add()
 *     while (cpni_outbox_next() == 1) send the frames; on CPN_EAGAIN cpni_outbox_hold()
 *     cpni_actions_clear()
 *     when sockets may have room again: cpni_outbox_retry(), then the loop of next
 *
 * For DROP and RECONNECT: first the loop of next, so that the farewell leaves, then cpni_outbox_forget(). */
#ifndef CPNI_OUTBOX_H
#define CPNI_OUTBOX_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "proto/msg.h"
#include "wire/packet.h"

struct cpni_outbox;

int cpni_outbox_new(struct cpni_outbox **out); /* CPN_ENOMEM */
void cpni_outbox_free(struct cpni_outbox *outbox);

/* Queue a message. It, its texts and its frames are borrowed until cpni_outbox_next() has returned 0. CPN_ENOMEM: nothing was
 * queued, and the connection's next packet leaves a gap in the sequence, so that the peer notices. */
int cpni_outbox_add(struct cpni_outbox *outbox, uint64_t conn, uint32_t link, const struct cpni_msg *msg);

/* The next packet: 1, with its connection and *count frames (room for CPNI_PACKET_FRAMES_ROOM) of which the caller unrefs each.
 * Connections come in the order in which something was added for them, the packets of one in theirs. 0: none left.
 * Negative, and call it again: *conn says which connection it concerns.
 *   CPN_ETOOBIG, CPN_EINVAL  one message cannot be encoded; it is left out
 *   CPN_EBUSY                a full queue waits for more than CPNI_OUTBOX_HELD_BYTES_MAX; treat the connection as broken
 *   CPN_ENOMEM               messages are lost; the peer will see the gap
 * After CPN_EBUSY and CPN_ENOMEM what was queued for that connection is gone. */
int cpni_outbox_next(struct cpni_outbox *outbox, uint64_t *conn, struct cpni_bytes **frames, size_t *count);

/* The socket had no room for this packet, the last that next() gave: keep it (references are taken, as by a send) and what
 * follows for that connection until retry. CPN_ENOMEM, CPN_EBUSY: as of next. */
int cpni_outbox_hold(struct cpni_outbox *outbox, uint64_t conn, struct cpni_bytes *const *frames, size_t count);

/* From now on next() gives the packets that were held, first. */
void cpni_outbox_retry(struct cpni_outbox *outbox);

/* The connection is gone: with it its sequence and all that waits. The same number again is a new connection. */
void cpni_outbox_forget(struct cpni_outbox *outbox, uint64_t conn);

#endif
