/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* All blobs that a process receives from its peers, and all that it serves to them (DESIGN §7). The receiver drives: it asks for
 * the leaf list, then for chunks, a window at a time; what is asked for and not yet on the disk is the window, so memory stays
 * bounded on both sides. The same in all three roles. Must not know what a blob is for, nor who may read which: the owner (a role's
 * core) asks its own policy before it lets a WANT be served.
 *
 * A *peer* is a process at the other end, under a number that the owner chooses (a master: whatever stands for key and boot id;
 * worker, client: CPNI_TRANSFER_MASTER). It is up while its bulk connection is welcomed. A transfer whose peers are all down
 * waits, keeps what it has, and goes on when one comes up: then only what is missing is asked for.
 *
 * The owner's duties: hand in every LEAVES, CHUNK and MISSING (cpni_transfer_message), every WANT that it permits
 * (cpni_transfer_serve; else cpni_transfer_refuse), every EV_DISK whose ticket is cpni_transfer_owns(); call
 * cpni_transfer_tick() at its deadline; after any of the calls drain cpni_transfer_next(). RECEIVED messages are the owner's.
 *
 * Out of memory: actions->failed is set as for every step; transfers stay whole and try again a little later. */
#ifndef CPNI_TRANSFER_H
#define CPNI_TRANSFER_H

#include "core/action.h"
#include "core/event.h"

struct cpni_transfer;

#define CPNI_TRANSFER_MASTER ((uint64_t)1)          /* the one peer of a worker or client */
#define CPNI_TRANSFER_TICKET (UINT64_C(1) << 63)    /* set in all its disk tickets; the owner's own have it clear */
#define CPNI_TRANSFER_TEXT 192                      /* bytes of the sentence of an outcome, with its terminating 0 */

int cpni_transfer_new(struct cpni_transfer **out);
void cpni_transfer_free(struct cpni_transfer *transfer); /* NULL is fine */

/* ---- peers ---- */

struct cpni_transfer_link {
    uint64_t conn; /* the bulk connection */
    uint32_t link; /* as it must stand in what is sent there */
    struct cpn_key node, user; /* for the log; zero: none */
};

/* The peer's bulk connection was welcomed, for the first time or anew (then as if it had been down in between). CPN_ENOMEM. */
int cpni_transfer_up(struct cpni_transfer *transfer, uint64_t peer, const struct cpni_transfer_link *link,
                     const struct cpni_now *now, struct cpni_actions *actions);
/* It broke. Unknown or down already: nothing. */
void cpni_transfer_down(struct cpni_transfer *transfer, uint64_t peer, const struct cpni_now *now, struct cpni_actions *actions);
/* The process is dead for good: what only it had fails with `code` and `text`. */
void cpni_transfer_forget(struct cpni_transfer *transfer, uint64_t peer, int code, const char *text,
                          const struct cpni_now *now, struct cpni_actions *actions);

/* ---- receiving ---- */

/* Bring a blob here from a peer (which need not be up, nor known yet). One outcome names the ticket, at the earliest with the next
 * event. Several tickets may want one root, from one peer or several: it comes once, each ticket gets its outcome and each of their
 * peers its RECEIVED. Class kept wins over spool. The same ticket again with another peer: from there instead.
 * CPN_ENOMEM; CPN_EBUSY: CPNI_TRANSFERS_MAX; CPN_ETOOBIG; CPN_EINVAL: another size than that under which this root is being fetched. */
int cpni_transfer_fetch(struct cpni_transfer *transfer, uint64_t ticket, uint64_t peer, const struct cpn_hash *root, uint64_t size,
                        bool spool, const struct cpni_now *now, struct cpni_actions *actions);

/* No longer wanted by this ticket: no outcome follows. Without other tickets what was received is dropped. Unknown: nothing. */
void cpni_transfer_cancel(struct cpni_transfer *transfer, uint64_t ticket, const struct cpni_now *now, struct cpni_actions *actions);

/* Bytes here and in all; false: no such ticket. */
bool cpni_transfer_progress(const struct cpni_transfer *transfer, uint64_t ticket, uint64_t *done, uint64_t *total);

/* LEAVES, CHUNK, MISSING from a peer. */
void cpni_transfer_message(struct cpni_transfer *transfer, uint64_t peer, const struct cpni_msg *msg, const struct cpni_now *now,
                           struct cpni_actions *actions);

struct cpni_transfer_outcome {
    uint64_t ticket;
    struct cpn_hash root;
    uint64_t size;
    int code; /* 0: whole, verified and durable */
    char text[CPNI_TRANSFER_TEXT];
};
/* The next outcome, in the order in which they came about; false: none. */
bool cpni_transfer_next(struct cpni_transfer *transfer, struct cpni_transfer_outcome *out);

/* ---- serving ---- */

/* Answer a WANT of a peer that may read the blob; from an unknown or down peer: nothing. */
void cpni_transfer_serve(struct cpni_transfer *transfer, uint64_t peer, const struct cpni_msg_want *want,
                         const struct cpni_now *now, struct cpni_actions *actions);
/* Answer it with MISSING. CPN_EBUSY and CPN_EAGAIN make the receiver ask again later; every other code is final for it. */
void cpni_transfer_refuse(struct cpni_actions *actions, uint64_t conn, uint32_t link, const struct cpni_msg_want *want, int code,
                          const char *text);

/* ---- time and disk ---- */

bool cpni_transfer_owns(uint64_t disk_ticket);
void cpni_transfer_disk(struct cpni_transfer *transfer, const struct cpni_event_disk *event, const struct cpni_now *now,
                        struct cpni_actions *actions);
void cpni_transfer_tick(struct cpni_transfer *transfer, const struct cpni_now *now, struct cpni_actions *actions);
int64_t cpni_transfer_deadline(const struct cpni_transfer *transfer); /* INT64_MAX: none */

/* Full scan of the invariants: NULL, or what is broken. */
const char *cpni_transfer_check(const struct cpni_transfer *transfer);

#endif
