/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the master's core remembers of training sessions (DESIGN §9), and what its files core/master_session*.c call of one another.
 *
 * How it hangs together: a *session* has *lanes* (shards or configurations) and *peers* (nodes that are locked to it); a lane is worked
 * on by at most one peer. Everything is driven by level, not by edge: an event changes what is known and marks the session dirty, then
 * cpni_msession_run() looks at what each dirty session lacks and asks for it: a commit, a disk job, a message. What was asked for is
 * remembered as a ticket or as the number of the connection on which it was sent, so that whatever gets lost (a connection, a
 * step that ran out of memory, a disk that is busy) is simply asked for again.
 *
 * Ends are durable before they are told: a session is shown as completed, failed or stopped when the store has said so. */
#ifndef CPNI_MASTER_SESSION_H
#define CPNI_MASTER_SESSION_H

#include "core/delta8.h"
#include "core/exactsum.h"
#include "core/master_state.h"
#include "core/vector.h"
#include "proto/session_spec.h"

#define CPNI_LANE_COMMON UINT32_MAX /* in points and outcomes: the common weights of all lanes */

struct cpni_mpeer { /* a node that is locked to a session */
    struct cpni_msession *session;
    struct cpni_mnode *node;
    bool enabled;        /* it has the dataset and can train */
    uint32_t enabled_on; /* number of the control connection on which ENABLE was last sent; 0: not yet */
    uint32_t lanes;
    char device[CPNI_NAME];
    char fingerprint[CPNI_DETAIL];
    struct cpni_mpeer *prev, *next; /* of the session, by node number */
};

/* Bytes that become a blob of the master's, or come from a node as one; counted as the session's from `here` on. */
struct cpni_mstored {
    uint64_t round; /* after which; 0: none */
    struct cpn_hash root;
    uint64_t size;
    uint64_t ticket; /* of the disk job or transfer; 0: none under way */
    struct cpni_bytes *data; /* to be stored; NULL when that is done */
    bool here;
    bool committed;
};

struct cpni_mlane {
    struct cpni_msession *session;
    uint32_t number;
    enum cpni_lane_state state;
    char text[CPNI_DETAIL];
    struct cpni_mpeer *peer;
    char last_node[CPNI_NAME], last_device[CPNI_NAME]; /* of the peer before: a lane that is done is asked about, too */
    uint64_t round;      /* completed */
    uint64_t training;   /* the round that was asked for and is not answered; 0: none */
    uint32_t laned_on;   /* number of the bulk connection on which LANE was sent */
    uint32_t trained_on; /* and of the bulk connection on which TRAIN was */
    uint64_t given;      /* the last round whose TRAIN had weights, since LANE; 0: none */
    uint32_t given_whole; /* how many of those were no change */
    int64_t heard_us;    /* when it was asked for the round, or last said something about it */
    uint32_t crashes;
    uint32_t avoid; /* number of the node on which it crashed last */
    struct cpni_vector_in vector; /* weights or a gradient on their way in */
    struct cpni_mstored state_kept, state_next;     /* checkpoints: durable; on its way */
    struct cpni_mstored state_before;               /* sync: the one before state_kept, until that one's round is durable */
    struct cpni_mstored weights_kept, weights_next; /* sweep: its own weights after the same rounds */
    uint64_t committing; /* ticket of the commit of `next`, or of its state alone; 0: none */
    bool state_dirty;    /* its state is not yet durable */
    bool parked, beaten; /* halving: waits at a rung; did worse there than half of those that did */
    bool answered;       /* average, sync: its update of the session's round under way counts */
    struct cpni_rec_LANE shown; /* of its last heartbeat: epoch, step, steps, loss, accuracy, rate; no texts */
    uint64_t step_answered;     /* sync: the last step of the round whose gradient counts */
};

struct cpni_mpoint { /* an epoch that a lane finished */
    uint64_t key;    /* lane << 32 | epoch */
    struct cpni_command_session_point point;
    bool committed;
    uint64_t ticket;
    UT_hash_handle hh;
};

struct cpni_mwaiter { /* a person who is told when the session has ended */
    uint64_t conn;
    uint32_t number;
    uint64_t request;
    struct cpni_mwaiter *prev, *next;
};

/* Weights of more rounds than a checkpoint is apart are kept: the next checkpoint may be on its way still. */
#define CPNI_MSESSION_ROUNDS (2 * CPNI_SESSION_REPLAY_MAX + 4)

struct cpni_msession {
    struct cpn_id id;
    struct cpn_key user;
    char name[CPNI_NAME];
    struct cpni_session_spec spec;
    struct cpni_bytes *spec_text;
    struct cpn_hash dataset_root, schema_root;
    uint64_t dataset_size, schema_size, rows, train_rows;
    uint32_t columns, classes;
    uint64_t rounds; /* in all */
    int64_t started_wall_us, ended_wall_us;
    int64_t alone_us; /* since when it has no peer; 0: it has, or is not yet that far */
    enum cpni_session_state state;
    char text[CPNI_EVENT_TEXT];
    int code; /* of its failure */
    bool reproducible;
    char why[CPNI_DETAIL];
    char fingerprint[CPNI_DETAIL], fingerprint_node[CPNI_NAME];
    uint64_t repeated;

    bool dirty; /* something may be due */
    bool restored; /* of an earlier term */
    bool added;
    uint64_t add_ticket, state_ticket; /* of commits under way */
    bool state_dirty;   /* what SESSION_STATE says has changed */
    bool end_committed;
    bool dataset_kept, schema_kept;
    struct cpni_mlink *client; /* that serves the dataset and waits for an answer */
    uint64_t request;
    uint64_t tickets; /* transfer of the dataset; of the schema: the next */
    uint32_t missing; /* of the two */
    struct cpni_mwaiter *waiters;
    uint32_t waiter_count;

    struct cpni_mpeer *peers;
    uint32_t peer_count;
    uint32_t refused[CPNI_SESSION_PEERS_MAX]; /* numbers of nodes that cannot take part */
    uint32_t refused_count;
    struct cpni_mlane *lanes;
    uint32_t lane_count;
    struct cpni_mpoint *points;
    bool points_dirty;

    /* average, sync */
    uint64_t round;           /* complete */
    uint64_t committed_round; /* durable */
    uint64_t first_kept;      /* weights of this round and later ones are kept */
    uint64_t round_ticket;    /* of the commit under way */
    struct cpni_mstored history[CPNI_MSESSION_ROUNDS]; /* of round r at r % CPNI_MSESSION_ROUNDS */
    struct cpni_bytes *weights; /* after `round` rounds; NULL: fresh ones, or not yet read */
    struct cpni_bytes *change;  /* int8: of the weights in the last round; NULL: none, or not of this term */
    uint64_t values;            /* how many; 0: not yet known */
    uint8_t *loading;           /* weights being read back */
    uint64_t loaded, load_ticket;
    struct cpni_exactsum sum; /* of the round, or of the step, under way */
    bool summing, sum_int8;
    uint32_t answers;         /* in it */
    int64_t began_us, cut_us; /* of the round; cut_us 0: no quorum yet */
    uint64_t step;            /* sync: complete steps of the round */
    bool restart;             /* sync: a lane lost its place in the round */
    uint64_t rung;            /* halving: the last one that was decided */
    struct cpni_bytes *gradient; /* sync: the mean of the last complete step */
    bool evaluated_last;      /* the last evaluation is done */

    /* the outcome so far */
    uint32_t best; /* lane, or CPNI_LANE_COMMON */
    struct cpn_hash outcome_root;
    uint64_t outcome_size;
    bool evaluated;
    uint32_t accuracy_ppm;
    uint64_t loss_micro;
    bool outcome_kept;

    UT_hash_handle hh;
};

/* ---- life (master_session.c) ---- */

struct cpni_msession *cpni_msession_find(const struct cpni_master_core *core, const struct cpn_id *id);
/* With its spec and lanes; not yet in the table. CPN_ENOMEM, CPN_EBADINPUT with a sentence (CPNI_SPEC_DETAIL bytes). */
int cpni_msession_make(struct cpni_master_core *core, const struct cpni_command_session_add *add, struct cpni_bytes *spec,
                       struct cpni_msession **out, char *detail);
void cpni_msession_free(struct cpni_master_core *core, struct cpni_msession *session);
bool cpni_msession_over(const struct cpni_msession *session);
void cpni_msession_wake_all(struct cpni_master_core *core); /* a node is free, or the like */
void cpni_msession_state(struct cpni_master_core *core, struct cpni_msession *session, enum cpni_session_state state);
/* The end: peers are released, what only a running session needs is dropped. code: of a failure. Cannot fail. */
void cpni_msession_end(struct cpni_master_core *core, struct cpni_msession *session, enum cpni_session_state state, int code,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));
struct cpni_log_about cpni_msession_about(const struct cpni_master_core *core, const struct cpni_msession *session,
                                          const struct cpni_mnode *node);
void cpni_msession_not_reproducible(struct cpni_msession *session, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- what people ask for (master_session_ask.c) ---- */

void cpni_msession_arrive(struct cpni_master_core *core, struct cpni_msession *session); /* whether all is here that it begins with */
void cpni_msession_answer(struct cpni_master_core *core, struct cpni_msession *session); /* to who started it */
void cpni_msession_tell_end(struct cpni_master_core *core, struct cpni_msession *session); /* to who stopped it */
bool cpni_msession_uploaded(struct cpni_master_core *core, const struct cpni_transfer_outcome *outcome); /* whether it was its */

/* ---- the store and the disk (master_session_store.c) ---- */

void cpni_msession_store(struct cpni_master_core *core, struct cpni_msession *session); /* commits and imports that are due */
bool cpni_msession_saved(const struct cpni_msession *session); /* nothing is due or under way */
void cpni_msession_remove(struct cpni_master_core *core, struct cpni_msession *session); /* frees it */
/* The ticket; 0: no room now. `about` comes back with the answer. */
uint64_t cpni_msession_commit(struct cpni_master_core *core, const struct cpni_msession *session, const struct cpni_command *command,
                              uint64_t about);
bool cpni_mstored_keep(struct cpni_master_core *core, struct cpni_mstored *stored); /* its blob is here: counted. false: no memory */
void cpni_mstored_drop(struct cpni_master_core *core, struct cpni_mstored *stored);
struct cpni_mstored *cpni_mstored_round(struct cpni_msession *session, uint64_t round); /* NULL: not kept */
void cpni_msession_fetch_state(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update);

/* ---- peers (master_session_peer.c) ---- */

bool cpni_mpeer_eligible(const struct cpni_msession *session, const struct cpni_mnode *node);
struct cpni_mpeer *cpni_mpeer_lock(struct cpni_master_core *core, struct cpni_msession *session, struct cpni_mnode *node);
void cpni_mpeer_release(struct cpni_master_core *core, struct cpni_mpeer *peer, int code, const char *why); /* why NULL: untold */
void cpni_mpeer_fill(struct cpni_master_core *core, struct cpni_msession *session); /* lock free nodes in place of lost ones */
void cpni_mpeer_enable(struct cpni_master_core *core, struct cpni_mpeer *peer);
void cpni_mpeer_enabled(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_enabled *enabled);
uint32_t cpni_mpeer_wanted(const struct cpni_msession *session);
void cpni_mpeer_refuse(struct cpni_msession *session, const struct cpni_mnode *node); /* not again for this session */
void cpni_mpeer_send_stop(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpn_id *session, int code, const char *why);

/* ---- lanes (master_session_lane.c) ---- */

struct cpni_mtrain { /* what is asked of a lane */
    uint64_t round, steps;
    struct cpni_bytes *weights; /* NULL: its own */
    struct cpni_bytes *change;  /* of the weights in the round before, for who has those; NULL: there is none */
    bool evaluate, state, exchange;
};
void cpni_mlane_give(struct cpni_mlane *lane, struct cpni_mpeer *peer);
void cpni_mlane_take(struct cpni_master_core *core, struct cpni_mlane *lane, bool tell); /* off its peer; tell: with UNLANE */
void cpni_mlane_untell(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_mlane *lane);
void cpni_mlane_share(struct cpni_master_core *core, struct cpni_msession *session); /* lanes without a peer to those with the fewest */
bool cpni_mlane_told(struct cpni_master_core *core, struct cpni_mlane *lane); /* LANE was sent on this connection, now at the latest */
void cpni_mlane_train(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_mtrain *train);
void cpni_mlane_watch(struct cpni_master_core *core, struct cpni_msession *session); /* those that are silent for too long */
void cpni_mlane_failed(struct cpni_master_core *core, struct cpni_mlane *lane, int code, struct cpni_str why);
void cpni_mlane_end(struct cpni_master_core *core, struct cpni_mlane *lane, enum cpni_lane_state state, const char *text);

/* ---- vectors (master_session_vector.c) ---- */

/* In pieces to a lane's bulk connection. */
void cpni_mvector_send(struct cpni_master_core *core, struct cpni_mconn *bulk, const struct cpni_mlane *lane, uint64_t round,
                       struct cpni_bytes *vector);
void cpni_mvector_piece(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_piece *piece);
void cpni_mvector_drop(struct cpni_master_core *core, struct cpni_mlane *lane);
/* The whole one of so many bytes that a message ends; the caller unrefs it. NULL: there is none, or no memory (then the step has failed). */
struct cpni_bytes *cpni_mvector_take(struct cpni_master_core *core, struct cpni_mlane *lane, uint64_t round, uint64_t bytes);

/* ---- modes (master_session_average.c ...) ---- */

void cpni_msession_average(struct cpni_master_core *core, struct cpni_msession *session); /* what is due */
void cpni_msession_average_update(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update);
void cpni_msession_sync(struct cpni_master_core *core, struct cpni_msession *session);
void cpni_msession_sync_update(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update);
void cpni_msession_gradient(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_gradient *msg);
void cpni_msession_sweep(struct cpni_master_core *core, struct cpni_msession *session);
void cpni_msession_sweep_update(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update);
void cpni_msession_rank(struct cpni_msession *session); /* sweep: the best lane's weights are the outcome */
/* average and sync: */
struct cpni_bytes *cpni_msession_mean(struct cpni_master_core *core, const struct cpni_msession *session); /* NULL: no memory */
struct cpni_mstored *cpni_mstored_place(struct cpni_master_core *core, struct cpni_msession *session); /* of the next; NULL: it has ended */
void cpni_msession_finish(struct cpni_master_core *core, struct cpni_msession *session); /* after the last round */
void cpni_msession_last(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update);
bool cpni_msession_evaluates(const struct cpni_msession *session, uint64_t round); /* the common weights with which it begins */
/* The figures of an UPDATE that evaluated the common weights. */
void cpni_msession_evaluated(struct cpni_master_core *core, struct cpni_msession *session, struct cpni_mlane *lane,
                             const struct cpni_msg_update *update);

/* ---- points (master_session_point.c) ---- */

struct cpni_mpoint *cpni_mpoint_find(const struct cpni_msession *session, uint32_t lane, uint32_t epoch);
/* NULL: there is one already, or no memory. */
struct cpni_mpoint *cpni_mpoint_add(struct cpni_master_core *core, struct cpni_msession *session,
                                    const struct cpni_command_session_point *values);
void cpni_mpoint_evaluated(struct cpni_master_core *core, struct cpni_mlane *lane, uint32_t number, uint32_t epoch,
                           const struct cpni_msg_update *update);
void cpni_mpoint_store(struct cpni_master_core *core, struct cpni_msession *session);
void cpni_mpoint_done(struct cpni_msession *session, uint64_t key, const struct cpni_commit *commit);
void cpni_mpoint_epoch(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_epoch *epoch);

/* ---- after a start (master_session_restore.c) ---- */

void cpni_msession_load(struct cpni_master_core *core, struct cpni_msession *session); /* the weights of the last round */
void cpni_msession_loaded(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_event_disk *event);

#endif
