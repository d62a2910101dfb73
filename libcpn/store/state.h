/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The door to the durable state (DESIGN §10): commands go in, their answers come back later, in order, exactly once
 * each, when they are on the disk. Behind it: one SQLite file and one helper thread; a replicated log could stand there
 * too. Knows no role, no network, no policy.
 *
 *   DIR/state.db (-wal, -shm)   everything
 *   DIR/state.id                who the directory is: an emptied or copied directory is not the old identity
 *   DIR/state.lock              one process at a time
 *
 * Threads: all calls are the owner thread's. */
#ifndef CPNI_STATE_H
#define CPNI_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cpn/types.h>

#include "proto/command.h"
#include "proto/limits.h"

struct cpni_state;

#define CPNI_STATE_DETAIL 384

struct cpni_state_options {
    bool create; /* make a new state in an empty or absent directory; without it CPN_ENOTFOUND */
    bool adopt_copy; /* accept a directory that was copied or restored; the old one must never be used again */
    const char *vfs; /* a registered SQLite VFS, for tests of slow and failing disks; NULL: the system's */
    uint32_t retry_ms; /* how long a failing disk is retried before answers are CPNI_UNKNOWN; 0: 10 s */
    uint32_t events_max; /* rows of the event ring; 0: CPNI_STATE_EVENTS_MAX */
};

/* Opens and checks; no thread runs yet. On failure `detail` (may be NULL) gets the sentence, with path and what to do:
 * CPN_ENOTFOUND (nothing there), CPN_ECOPIED (copied, restored or emptied directory), CPN_EBUSY (another process has
 * it), CPN_ECORRUPT, CPN_EVERSION (written by a newer version), CPN_EIO, CPN_ENOSPC. `options` may be NULL. */
int cpni_state_open(
    const char *dir, const struct cpni_state_options *options, struct cpni_state **out, char detail[CPNI_STATE_DETAIL]);

/* ---- Recovery: what a starting role reads, between open and start ---- */

struct cpni_state_stats {
    uint64_t tasks, failures, busy_us, bytes_in, bytes_out, joins, losses;
    int64_t first_join_wall_us, last_seen_wall_us; /* 0: never */
};
struct cpni_state_identity {
    struct cpn_key key;
    enum cpn_role role;
    char name[CPNI_NAME];
    bool revoked;
    int64_t enrolled_wall_us;
    struct cpni_state_stats stats;
    const char *capabilities; /* NULL: none known; borrowed */
};
struct cpni_state_token {
    struct cpn_key token;
    enum cpn_role role;
    char hint[CPNI_NAME];
    int64_t expires_wall_us;
    uint32_t uses_left; /* used up and revoked ones are not there; expired ones are */
};
struct cpni_state_right {
    struct cpn_key key;
    char right[CPNI_NAME];
};
struct cpni_state_signer {
    struct cpn_key key;
    struct cpn_key signer; /* Ed25519 */
};
struct cpni_state_model {
    char name[CPNI_NAME];
    uint32_t version;
    struct cpn_hash manifest_root;
    const void *manifest; /* borrowed */
    size_t manifest_size;
    struct cpn_key signer; /* Ed25519 */
    struct cpni_signature signature;
    uint64_t bytes;
    int64_t wall_us;
};
struct cpni_state_event {
    uint64_t number; /* grows */
    struct cpni_command_event event;
};
struct cpni_state_parked {
    struct cpni_command_task_parked parked;
};

/* Called once for each row; what is borrowed is valid during the call. NULL members are skipped. A return other than 0
 * stops the reading and is handed on. */
struct cpni_state_reader {
    int (*term)(void *arg, uint64_t term); /* always called, 0 before the first TERM_RAISE */
    int (*identity)(void *arg, const struct cpni_state_identity *row); /* by key */
    int (*right)(void *arg, const struct cpni_state_right *row);
    int (*signer)(void *arg, const struct cpni_state_signer *row);
    int (*token)(void *arg, const struct cpni_state_token *row);
    int (*model)(void *arg, const struct cpni_state_model *row); /* by name, then version */
    int (*parked)(void *arg, const struct cpni_state_parked *row);
    int (*event)(void *arg, const struct cpni_state_event *row); /* oldest first */
    /* Training sessions in the order of their creation, as commands that would store the same again: of each its ADD, its
     * STATE if one was told, its ROUNDs by number, its LANEs by number, its POINTs as they first came. */
    int (*session)(void *arg, const struct cpni_command *command);
    uint64_t events_after; /* number of the last event known; 0: the newest CPNI_STATE_EVENTS_READ_MAX */
};
int cpni_state_recover(struct cpni_state *state, const struct cpni_state_reader *reader, void *arg);
const char *cpni_state_detail(const struct cpni_state *state); /* of the last failed recover or start; never NULL */
struct cpn_id cpni_state_cluster(const struct cpni_state *state); /* made with the directory; the same over restarts */

/* ---- The door ---- */

/* Starts the helper thread. Once. */
int cpni_state_start(struct cpni_state *state);
/* Readable while answers wait. Borrowed; for poll and epoll only. */
int cpni_state_fd(const struct cpni_state *state);

/* Copies the command (references its payload). `key` may be NULL. `ticket` (may be NULL) gets a number that grows by
 * one with every submit and query. CPN_EBUSY: CPNI_STATE_WAITING_MAX are waiting; CPN_ENOMEM; CPN_EINVAL: no such type,
 * payload too large. Nothing is taken then. */
int cpni_state_submit(
    struct cpni_state *state, const struct cpni_command_key *key, const struct cpni_command *command, uint64_t *ticket);

/* Event rows, newest first, all conditions that are set together. Sees every command submitted before it. */
struct cpni_state_filter {
    struct cpn_key node; /* zero: any; likewise below */
    struct cpn_id task;
    char model[CPNI_NAME];
    char id[CPNI_EVENT_ID];
    uint8_t level_min;
    uint64_t after, before; /* numbers, both exclusive; 0: no bound */
    int64_t since_wall_us; /* 0: any */
};
/* At most `limit` rows (capped at CPNI_STATE_EVENTS_READ_MAX). */
int cpni_state_query_events(
    struct cpni_state *state, const struct cpni_state_filter *filter, uint32_t limit, uint64_t *ticket);

struct cpni_state_answer {
    uint64_t ticket;
    bool query;
    enum cpni_command_type type; /* of the command */
    struct cpni_commit commit; /* of queries: CPNI_COMMITTED or CPNI_UNKNOWN */
    struct cpni_state_event *events; /* of queries */
    size_t events_count;
};
/* 1 and the next answer, in the order of submission, or 0: none now. cpni_state_answer_clear() drops what it holds. */
int cpni_state_pop(struct cpni_state *state, struct cpni_state_answer *out);
void cpni_state_answer_clear(struct cpni_state_answer *answer);

/* 0, or what the disk says right now (CPN_ENOSPC, CPN_EIO) with the sentence: commits are being retried. */
int cpni_state_trouble(struct cpni_state *state, char detail[CPNI_STATE_DETAIL]);

/* Commits what waits (a failing disk: one attempt), joins the thread, closes. Answers not popped are dropped: an
 * orderly role pops until cpni_state_pending() is 0. NULL is fine. */
size_t cpni_state_pending(const struct cpni_state *state);
void cpni_state_close(struct cpni_state *state);

#endif
