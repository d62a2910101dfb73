/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the worker_train*.c files share, which are a node's part in training sessions (DESIGN §9): worker_train.c joins and leaves sessions
 * (dataset, probe), worker_train_lane.c brings a lane to the place that the master names (restore, replay), worker_train_round.c does its
 * rounds and keeps what they came to until the master goes on. What a lane is made of lies in a process of the role's, named by a ticket.
 *
 * Everything that the master says may come twice, and what it says on the bulk connection (TRAIN) may overtake what it said before on the
 * control connection (LANE): a TRAIN that does not fit yet waits for the LANE that makes it fit. */
#ifndef CPNI_WORKER_TRAIN_H
#define CPNI_WORKER_TRAIN_H

#include "core/worker_priv.h"

#define CPNI_TRAIN_TEXT 256

enum cpni_train_state {
    CPNI_TRAIN_EMPTY = 0, /* a TRAIN came before its LANE */
    CPNI_TRAIN_FETCHING,  /* what the restore needs is on its way, or the session is not ready */
    CPNI_TRAIN_OPENING,   /* its process starts */
    CPNI_TRAIN_REPLAYING,
    CPNI_TRAIN_IDLE,      /* in place after `done` rounds */
    CPNI_TRAIN_RUNNING,   /* a round */
    CPNI_TRAIN_STORING,   /* the round is done; its state goes into the store */
    CPNI_TRAIN_BROKEN     /* no process; the UPDATE says why */
};

struct cpni_train_round { /* a TRAIN; msg.round 0: none */
    struct cpni_msg_train msg;
    struct cpni_bytes *weights;
};

struct cpni_train_update { /* what a round came to; msg.round 0: none */
    struct cpni_msg_update msg;
    struct cpni_bytes *vector; /* its weights */
};

struct cpni_train_lane {
    UT_hash_handle hh; /* of the session, by number */
    struct cpni_train_session *session;
    uint32_t number;
    enum cpni_train_state state;
    uint64_t ticket; /* of its process; 0: none */
    uint64_t done;   /* rounds that the process has behind it */

    /* The restore under way, or the last one. */
    uint64_t target, state_round;
    struct cpn_hash state_root; /* zero: fresh */
    uint64_t state_size;
    struct cpni_rec_WEIGHTS *replay; /* of rounds state_round + 1 ... target; zero root: the lane's own weights */
    uint32_t replay_count, missing;
    uint64_t fetch; /* serial in the tickets of its transfers */
    bool holds;     /* its blobs are counted as needed */

    /* Rounds. */
    struct cpni_train_round due, now; /* what waits to be done; what is being done */
    int64_t due_us;                   /* when what is due came */
    uint64_t asked_round, asked_term; /* of the last TRAIN: what the master knew when it said so */
    struct cpni_bytes *gradient;      /* sync: of now's step below, until its mean comes */
    uint64_t step, samples;
    struct cpni_train_update update, earlier; /* of the last round, and of the one before: a new master may know neither */
    struct cpni_bytes *state_bytes;           /* of the last one, until it is in the store */
    char text[CPNI_TRAIN_TEXT];
    int lost;                  /* not 0: the process died with this after the last round, which stands */
    char lost_text[CPNI_TRAIN_TEXT];
    uint64_t sent_life; /* of the bulk connection on which the update was said; 0: not yet */
    uint64_t import;    /* ticket of the state's way into the store; 0: none */
    struct cpni_msg_epoch *epochs; /* finished ones of the last round or two */
    uint32_t epoch_count;
    int64_t told_us; /* last heartbeat */
};

struct cpni_train_checkpoint { /* a state in our store that the master did not take yet */
    struct cpni_train_checkpoint *prev, *next;
    struct cpn_hash root;
    uint32_t lane;
};

struct cpni_train_session {
    UT_hash_handle hh; /* by id */
    struct cpn_id id;
    uint64_t serial; /* in the ticket of its dataset; also the ticket of its probe */
    struct cpni_session_spec spec;
    struct cpn_hash dataset;
    uint64_t dataset_size, train_rows;
    bool here, ready; /* the dataset; a trainer can be made too */
    char device[CPNI_TRAIN_TEXT], fingerprint[CPNI_TRAIN_TEXT];
    bool reproducible;
    struct cpni_train_lane *lanes; /* in the order in which they came */
    struct cpni_train_checkpoint *checkpoints; /* oldest first */
};

/* worker_train.c */
struct cpni_train_session *cpni_train_find(struct cpni_worker_core *core, const struct cpn_id *id);
struct cpni_act_trainer *cpni_train_act(enum cpni_trainer_op op, uint64_t ticket, const struct cpni_train_lane *lane,
                                        struct cpni_actions *actions); /* NULL: no memory */
const struct cpni_session_spec *cpni_train_spec(const struct cpni_train_session *session, struct cpni_actions *actions); /* NULL likewise */

/* worker_train_lane.c */
/* The lane, made if it must be; NULL: too many, or no memory. */
struct cpni_train_lane *cpni_train_lane(struct cpni_worker_core *core, struct cpni_train_session *session, uint32_t number);
void cpni_train_open(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions); /* once nothing is missing */
void cpni_train_close(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions); /* for good */
void cpni_train_restored(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_event_trainer *event,
                         struct cpni_actions *actions);
/* Its process, if there is one, ends; what it was doing is undone. */
void cpni_train_end_process(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions);

/* worker_train_round.c */
void cpni_train_begin(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions); /* the due round, if it fits */
/* The lane cannot go on: its process ends, the UPDATE of its next round says so. */
void cpni_train_fail(struct cpni_worker_core *core, struct cpni_train_lane *lane, int code, const char *text, struct cpni_actions *actions);
void cpni_train_went(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_event_trainer *event,
                     struct cpni_actions *actions);
void cpni_train_stored(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_event_disk *event,
                       struct cpni_actions *actions);
void cpni_train_forget_round(struct cpni_train_round *round);
void cpni_train_forget_update(struct cpni_train_update *update);
/* What the round came to, if it need not be done again; NULL. */
const struct cpni_train_update *cpni_train_kept(const struct cpni_train_lane *lane, uint64_t round);

#endif
