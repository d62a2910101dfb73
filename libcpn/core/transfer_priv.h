/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the files of transfer share; nobody else includes it. transfer.c keeps tickets and outcomes, transfer_turn.c knows the peers and
 * whose turn it is; transfer_receive.c takes one blob from its first question to its last chunk; transfer_serve.c answers the questions of others.
 *
 * A blob being fetched goes through CHECK (is it here already?), WAITING (for a peer that is up and has a place), LEAVES (asked
 * for), VERIFY (the disk checks them), CHUNKS, FINISH. Only LEAVES to FINISH take a place; a lost link leads back to WAITING with
 * all that is on the disk. What the disk or memory refuses for now is HELD BACK and done again a little later. */
#ifndef CPNI_TRANSFER_PRIV_H
#define CPNI_TRANSFER_PRIV_H

#include "base/hash.h"
#include "base/heap.h"
#include "core/transfer.h"
#include "proto/limits.h"

enum cpni_fetch_state {
    CPNI_FETCH_CHECK = 1,
    CPNI_FETCH_WAITING,
    CPNI_FETCH_LEAVES,
    CPNI_FETCH_VERIFY,
    CPNI_FETCH_CHUNKS,
    CPNI_FETCH_FINISH
};

enum cpni_place_state {
    CPNI_PLACE_FREE = 0,
    CPNI_PLACE_ASKED,   /* WANT sent */
    CPNI_PLACE_WRITING, /* with the disk */
    CPNI_PLACE_HELD     /* arrived, the disk was full: `data` is kept */
};

/* One chunk of the window. */
struct cpni_place {
    enum cpni_place_state state;
    uint32_t index;
    uint32_t refused; /* answers that did not verify */
    struct cpni_bytes *data;
};

struct cpni_transfer_fetching;

/* One ticket. In the list of its blob, in that of its peer, and in the peer's queue while the blob waits for a place. */
struct cpni_waiter {
    UT_hash_handle hh; /* by ticket */
    uint64_t ticket;
    struct cpni_transfer_fetching *blob; /* NULL: its outcome waits to be read */
    struct cpni_transfer_peer *peer;
    struct cpni_waiter *blob_prev, *blob_next;
    struct cpni_waiter *peer_prev, *peer_next;
    struct cpni_waiter *queue_prev, *queue_next;
    bool queued;
    struct cpni_transfer_outcome outcome;
};

struct cpni_transfer_fetching {
    UT_hash_handle hh; /* by root */
    struct cpn_hash root;
    uint64_t serial; /* tells it from an earlier one of the same root */
    uint64_t size;
    uint32_t chunks;
    bool spool;
    bool begun_spool; /* the class with which the disk began it last */
    enum cpni_fetch_state state;
    struct cpni_waiter *waiters;
    struct cpni_transfer_peer *source; /* LEAVES to FINISH */
    uint8_t *have;                     /* bitmap; NULL until the leaves are verified */
    uint32_t have_count;
    uint32_t cursor; /* no chunk below it is missing and not in the window */
    struct cpni_place places[CPNI_TRANSFER_WINDOW];
    struct cpni_bytes *leaves; /* VERIFY */
    uint32_t leaves_refused;
    uint32_t stalls;
    bool asked_disk; /* CHECK, VERIFY, FINISH: the disk has the question */
    bool held_back; /* in transfer->held */
    struct cpni_heap_entry stall; /* always in the heap; INT64_MAX: nothing is asked for */
    struct cpni_transfer_fetching *held_prev, *held_next;
};

struct cpni_want { /* of a peer, not yet answered */
    struct cpn_hash root;
    bool leaves;
    uint32_t first, count;
};

struct cpni_transfer_peer {
    UT_hash_handle hh; /* by id */
    uint64_t id;
    bool up;
    uint64_t life; /* raised with every up and down: answers of the disk for an earlier one are dropped */
    struct cpni_transfer_link link;
    struct cpni_waiter *waiters;
    struct cpni_waiter *queue; /* blobs that wait for a place here */
    uint32_t active;
    bool hungry; /* in transfer->hungry: up, a place free, and somebody waits for it */
    struct cpni_transfer_peer *hungry_prev, *hungry_next;
    struct cpni_want *wants; /* a ring of CPNI_SERVE_WANTS_MAX; NULL until the first */
    uint32_t want_first, want_count;
    uint32_t reads; /* with the disk */
    bool serving;   /* in transfer->serving: wants to be served, and may be */
    struct cpni_transfer_peer *serving_prev, *serving_next;
};

enum cpni_disk_kind { CPNI_JOB_CHECK = 1, CPNI_JOB_VERIFY, CPNI_JOB_WRITE, CPNI_JOB_FINISH, CPNI_JOB_READ };

/* What the disk was asked, so that its answer finds its way. */
struct cpni_disk_job {
    UT_hash_handle hh; /* by ticket */
    uint64_t ticket;
    enum cpni_disk_kind kind;
    struct cpn_hash root;
    uint64_t serial; /* of the blob; of the peer's life */
    uint64_t peer;   /* READ */
    uint32_t index;  /* WRITE, READ */
    bool leaves;     /* READ */
};

struct cpni_transfer {
    struct cpni_transfer_fetching *blobs;
    struct cpni_waiter *tickets;
    struct cpni_transfer_peer *peers;
    struct cpni_disk_job *jobs;
    struct cpni_waiter *outcomes;              /* by blob_prev, blob_next */
    struct cpni_transfer_peer *hungry;         /* round robin */
    struct cpni_transfer_peer *serving;        /* round robin */
    struct cpni_transfer_fetching *held;       /* held back: again at again_us */
    struct cpni_heap stalls;
    uint64_t next_serial;
    uint32_t active; /* places taken, all peers together */
    uint32_t reads;  /* all peers together */
    bool reads_held; /* the disk was full: no read before again_us */
    int64_t again_us; /* INT64_MAX: nothing is held back */
    struct cpni_now now; /* of the call */
};

/* transfer.c */
struct cpni_transfer_fetching *cpni_transfer_blob(struct cpni_transfer *transfer, const struct cpn_hash *root);
/* The tickets of one peer, or all (peer NULL), have their outcome; without tickets left the blob is gone. */
void cpni_transfer_end(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_transfer_peer *peer, int code,
                       const char *text, struct cpni_actions *actions);

/* transfer_turn.c */
struct cpni_transfer_peer *cpni_transfer_peer(struct cpni_transfer *transfer, uint64_t id);
struct cpni_transfer_peer *cpni_transfer_have_peer(struct cpni_transfer *transfer, uint64_t id); /* NULL: out of memory */
void cpni_transfer_release_peer(struct cpni_transfer *transfer, struct cpni_transfer_peer *peer); /* if nothing needs it */
void cpni_transfer_free_peer(struct cpni_transfer *transfer, struct cpni_transfer_peer *peer);
void cpni_transfer_enqueue(struct cpni_transfer *transfer, struct cpni_waiter *waiter);
void cpni_transfer_dequeue(struct cpni_transfer *transfer, struct cpni_waiter *waiter);
/* The blob waits for a place at any of its peers, or no longer does. */
void cpni_transfer_wait(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob);
void cpni_transfer_unwait(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob);
/* Leave the place; a blob that was asking waits for another one. */
void cpni_transfer_detach(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob);
bool cpni_transfer_others_wait(const struct cpni_transfer *transfer, const struct cpni_transfer_fetching *blob);
void cpni_transfer_pump(struct cpni_transfer *transfer, struct cpni_actions *actions);
void cpni_transfer_later(struct cpni_transfer *transfer);
void cpni_transfer_hold(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob);

/* transfer_disk.c: an action for the disk with a ticket of ours, and the record with which its answer finds its way. NULL: out of
 * memory, and nothing was changed. */
struct cpni_act_disk *cpni_transfer_job(struct cpni_transfer *transfer, const struct cpni_disk_job *job, enum cpni_disk_op op,
                                        struct cpni_actions *actions);

/* transfer_receive.c */
void cpni_receive_check(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions);
void cpni_receive_start(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions);
void cpni_receive_again(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions);
void cpni_receive_stalled(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions);
void cpni_receive_answer(struct cpni_transfer *transfer, const struct cpni_disk_job *job, const struct cpni_event_disk *event,
                         struct cpni_actions *actions);

/* transfer_ask.c: to the blob's source. */
void cpni_ask_leaves(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions);
void cpni_ask_chunks(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions); /* fills the window */
void cpni_ask_want(struct cpni_transfer_fetching *blob, bool leaves, uint32_t first, uint32_t count, struct cpni_actions *actions);
void cpni_ask_expect(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob); /* an answer, from now on, if any is asked for */
void cpni_ask_nothing(struct cpni_transfer_fetching *blob);
struct cpni_place *cpni_ask_place(struct cpni_transfer_fetching *blob, uint32_t index); /* of a chunk in the window; NULL */

static inline bool cpni_fetching_has(const struct cpni_transfer_fetching *blob, uint32_t index)
{
    return (((uint32_t)blob->have[index / 8] >> (index % 8)) & 1u) != 0;
}

/* transfer_serve.c */
void cpni_serve_pump(struct cpni_transfer *transfer, struct cpni_actions *actions);
void cpni_serve_answer(struct cpni_transfer *transfer, const struct cpni_disk_job *job, const struct cpni_event_disk *event,
                       struct cpni_actions *actions);
void cpni_serve_stop(struct cpni_transfer *transfer, struct cpni_transfer_peer *peer);

#endif
