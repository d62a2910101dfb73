/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the files of the worker's core share; nobody else includes it. worker.c steps and tells its inventory, worker_task.c takes tasks
 * and gives them to slots, worker_result.c keeps results until they are acknowledged, worker_model.c prepares and discards models;
 * worker_requires.c reads what a manifest requires; the node's part in training sessions is behind worker_train.h. */
#ifndef CPNI_WORKER_PRIV_H
#define CPNI_WORKER_PRIV_H

#include "base/hash.h"
#include "base/heap.h"
#include "core/keep.h"
#include "core/transfer.h"
#include "core/uplink.h"
#include "core/vector.h"
#include "core/worker.h"
#include "proto/limits.h"

/* Owner's tickets of transfers: what the blob is for, then a serial. Disk and run tickets are serials of attempts. */
#define CPNI_FETCH_INPUT (UINT64_C(1) << 56)
#define CPNI_FETCH_FILE (UINT64_C(2) << 56)
#define CPNI_FETCH_DATASET (UINT64_C(3) << 56)
#define CPNI_FETCH_RESTORE (UINT64_C(4) << 56)
#define CPNI_FETCH_RESTORE_SHIFT 8 /* of a restore's serial, above the number of the blob: 0 is the state, then what is replayed */
#define CPNI_FETCH_KIND (UINT64_C(0xff) << 56)
#define CPNI_FETCH_FILES_SHIFT 16 /* of a model's serial, above the number of the file */

enum cpni_attempt_state {
    CPNI_ATTEMPT_FETCHING = 1, /* its input is on the way */
    CPNI_ATTEMPT_QUEUED,       /* waits for a slot */
    CPNI_ATTEMPT_RUNNING,
    CPNI_ATTEMPT_IMPORTING, /* its image goes into the store */
    CPNI_ATTEMPT_DONE       /* its result waits for the master's ACK */
};

/* Exactly these bytes are a hash key: no padding. */
struct cpni_attempt_key {
    struct cpn_id task;
    uint32_t number;
};

struct cpni_attempt {
    UT_hash_handle hh; /* by key */
    UT_hash_handle hs; /* by serial */
    struct cpni_attempt_key key;
    uint64_t serial;
    uint64_t term;
    enum cpni_attempt_state state;
    struct cpn_hash model; /* zero: a handler's */
    char model_name[CPNI_NAME_BYTES_MAX];
    uint32_t version;
    struct cpni_bytes *input;
    struct cpn_hash input_root; /* zero: inline */
    uint64_t input_size;
    char *input_name;
    bool annotate;
    bool has_file; /* counts as a user of input_root */
    int64_t deadline_us; /* 0: none */
    int64_t arrived_us, started_us, sent_us;
    uint32_t slot;                  /* CPNI_SLOT_ANY: it runs ahead */
    int cancel;                     /* not 0: cancelled with this code while it ran */
    struct cpni_heap_entry timeout; /* in worker->timeouts while it waits to run */
    struct cpni_attempt *prev, *next; /* worker->queue */
    struct cpni_msg_result result;    /* DONE, IMPORTING: lists and text lie in `block` */
    void *block;
};

#define CPNI_SLOT_WARM 8 /* models that a slot is believed to hold warm: only a preference, the pool knows better */

struct cpni_slot {
    struct cpni_attempt *attempt; /* NULL: free */
    struct cpn_hash warm[CPNI_SLOT_WARM]; /* latest first */
    uint32_t warm_count;
};

enum cpni_model_file_state { CPNI_MODEL_FILE_LACKS = 0, CPNI_MODEL_FILE_HERE };

struct cpni_model {
    UT_hash_handle hh; /* by root */
    struct cpn_hash root;
    uint64_t serial;
    char name[CPNI_NAME_BYTES_MAX];
    uint32_t version;
    enum cpni_held_state state;
    bool waiting; /* FETCHING, but its turn has not come */
    char text[CPNI_TRANSFER_TEXT];
    struct cpni_arena arena;
    struct cpni_manifest manifest; /* in the arena; file_count 0 when unknown */
    bool *here;                    /* per file; in the arena */
    bool holds;                    /* its files are counted as needed */
    uint32_t missing;              /* files not yet here */
    int64_t told_us;               /* last progress report */
    uint64_t told_done;
    bool untold;      /* its state changed while nobody could be told */
    int64_t retry_us; /* FAILED for want of disk space: when it is tried again; 0: never */
};

struct cpni_worker_core {
    struct cpni_uplink uplink;
    struct cpni_transfer *transfer;
    struct cpni_worker_config config; /* a copy, in the arena */
    struct cpni_arena arena;
    struct cpni_now now;             /* of the step */
    struct cpni_attempt *attempts;   /* by key, in order of arrival */
    struct cpni_attempt *by_serial;
    struct cpni_attempt *queue;      /* waiting for a slot, first come first */
    struct cpni_heap timeouts;       /* of those that wait */
    struct cpni_slot *slots;
    struct cpni_model *models;       /* in order of arrival */
    struct cpni_keep keep;           /* inputs, images and model files in the store */
    uint64_t next_serial;
    uint32_t fetching, queued, running, importing, unacked; /* attempts by state */
    uint32_t ahead;                                          /* of those that run: given to the pool beyond the slots */
    uint64_t input_bytes;                                    /* of those not yet done */
    uint32_t preparing;                                      /* models that fetch or load */
    uint32_t surplus;                                        /* credit beyond the slots, as last granted */
    int64_t service_us, rtt_us;                              /* means of a run, and of the way of a result to its ACK */
    int64_t call_us;                                         /* mean of a callback, as its slot measured it */
    int64_t progress_us;                                     /* when a progress report is due; INT64_MAX: never */
    struct cpni_event_load load;
    struct cpni_train_session *sessions; /* that this node is locked to, in the order in which they came */
    struct cpni_vector_in pieces;        /* on the bulk connection */
    int64_t retry_us;                    /* when the first of the models that failed is tried again; INT64_MAX: never */
    int64_t overdue_us;                  /* when a TRAIN has waited for its LANE for too long; INT64_MAX: none waits */
    uint64_t bulk_life;                  /* 1 and up: grows when it breaks */
    struct cpni_train_checkpoint *strays; /* stored for lanes that were gone by then */
    struct cpn_hash spare;               /* the last dataset of no session, kept for the next one; zero: none */
    int64_t away_us; /* since when the master that was never reached, or was lost, is tried; 0: it is here, or not yet tried */
    bool away_told;  /* that the master is away is in the log */
    unsigned stops; /* 1: draining, 2: at once */
    bool returning;
    bool stopped;
    bool broken; /* the last step ran out of memory */
};

/* worker_task.c */
void cpni_worker_task(struct cpni_worker_core *core, const struct cpni_msg_task *msg, struct cpni_actions *actions);
void cpni_worker_cancel(struct cpni_worker_core *core, const struct cpni_msg_cancel *msg, struct cpni_actions *actions);
void cpni_worker_input(struct cpni_worker_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions);
void cpni_worker_timeouts(struct cpni_worker_core *core, struct cpni_actions *actions);
void cpni_worker_send_started(struct cpni_worker_core *core, struct cpni_actions *actions);
void cpni_worker_place(struct cpni_worker_core *core, struct cpni_actions *actions);
/* Hand back what does not run yet: all of it (model NULL), or one model's. */
void cpni_worker_hand_back(struct cpni_worker_core *core, const struct cpn_hash *model, int code, const char *text,
                           struct cpni_actions *actions);
void cpni_worker_return(struct cpni_worker_core *core, const struct cpn_id *task, uint32_t number, uint64_t term, int code,
                        const char *text, struct cpni_actions *actions);
/* The same for an attempt that is here, which ends with it. */
void cpni_worker_give_back(struct cpni_worker_core *core, struct cpni_attempt *attempt, int code, const char *text,
                           struct cpni_actions *actions);
struct cpni_attempt *cpni_worker_attempt(struct cpni_worker_core *core, uint64_t serial);
void cpni_worker_set_state(struct cpni_worker_core *core, struct cpni_attempt *attempt, enum cpni_attempt_state state);
void cpni_worker_drop(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_actions *actions);
void cpni_worker_drop_input(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_actions *actions);

/* worker_result.c */
void cpni_worker_finished(struct cpni_worker_core *core, const struct cpni_event_finished *event, struct cpni_actions *actions);
bool cpni_worker_imported(struct cpni_worker_core *core, const struct cpni_event_disk *event, struct cpni_actions *actions);
/* A result without a run: the attempt ends here. */
void cpni_worker_conclude(struct cpni_worker_core *core, struct cpni_attempt *attempt, int code, enum cpni_failure failure,
                          const char *text, struct cpni_actions *actions);
void cpni_worker_ack(struct cpni_worker_core *core, const struct cpni_msg_ack *msg, struct cpni_actions *actions);
void cpni_worker_send_results(struct cpni_worker_core *core, struct cpni_actions *actions);
void cpni_worker_send_result(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_actions *actions);
uint32_t cpni_worker_credit(const struct cpni_worker_core *core);

/* worker_model.c */
bool cpni_worker_serves(const struct cpni_worker_core *core, const struct cpni_msg_task *task);
int cpni_worker_list_models(struct cpni_worker_core *core, struct cpni_rec_HELD **out, uint32_t *out_count, struct cpni_actions *actions);
int cpni_worker_known_models(struct cpni_worker_core *core);
void cpni_worker_forget_models(struct cpni_worker_core *core);
void cpni_worker_prepare(struct cpni_worker_core *core, const struct cpni_msg_prepare *msg, const struct cpni_manifest_check *check,
                         struct cpni_actions *actions);
void cpni_worker_model_file(struct cpni_worker_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions);
void cpni_worker_loaded(struct cpni_worker_core *core, const struct cpni_event_model *event, struct cpni_actions *actions);
void cpni_worker_discard(struct cpni_worker_core *core, const struct cpni_msg_discard *msg, struct cpni_actions *actions);
void cpni_worker_tell_models(struct cpni_worker_core *core, struct cpni_actions *actions);
void cpni_worker_progress(struct cpni_worker_core *core, struct cpni_actions *actions);

/* worker_train*.c */
void cpni_worker_enable(struct cpni_worker_core *core, const struct cpni_msg_enable *msg, struct cpni_actions *actions);
void cpni_worker_leave(struct cpni_worker_core *core, const struct cpni_msg_stop *msg, struct cpni_actions *actions);
void cpni_worker_leave_all(struct cpni_worker_core *core, const char *text, struct cpni_actions *actions);
void cpni_worker_lane(struct cpni_worker_core *core, const struct cpni_msg_lane *msg, struct cpni_actions *actions);
void cpni_worker_unlane(struct cpni_worker_core *core, const struct cpni_msg_unlane *msg, struct cpni_actions *actions);
void cpni_worker_piece(struct cpni_worker_core *core, const struct cpni_msg_piece *msg, struct cpni_actions *actions);
void cpni_worker_train(struct cpni_worker_core *core, const struct cpni_msg_train *msg, struct cpni_actions *actions);
void cpni_worker_gradient(struct cpni_worker_core *core, const struct cpni_msg_gradient *msg, struct cpni_actions *actions);
void cpni_worker_trained(struct cpni_worker_core *core, const struct cpni_event_trainer *event, struct cpni_actions *actions);
void cpni_worker_dataset(struct cpni_worker_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions);
void cpni_worker_restore(struct cpni_worker_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions);
/* True: the answer was for a lane's state. */
bool cpni_worker_checkpoint(struct cpni_worker_core *core, const struct cpni_event_disk *event, struct cpni_actions *actions);
/* An import that nobody waits for any more; and the end of all such. */
void cpni_worker_stray(struct cpni_worker_core *core, const struct cpni_event_disk *event, struct cpni_actions *actions);
void cpni_worker_drop_strays(struct cpni_worker_core *core, struct cpni_actions *actions);
void cpni_worker_taken(struct cpni_worker_core *core, const struct cpn_hash *root, struct cpni_actions *actions); /* RECEIVED */
void cpni_worker_retry_models(struct cpni_worker_core *core, struct cpni_actions *actions);
void cpni_worker_overdue(struct cpni_worker_core *core, struct cpni_actions *actions);
int cpni_worker_list_sessions(struct cpni_worker_core *core, struct cpni_rec_TEXT **out, uint32_t *out_count, struct cpni_actions *actions);
const char *cpni_worker_check_sessions(const struct cpni_worker_core *core);

/* worker_requires.c: true when the node lacks something; `text` then says what. */
bool cpni_worker_unmet(const struct cpni_worker_config *config, const struct cpni_manifest *manifest, char *text, size_t room);

static inline bool cpni_hash_is_zero(const struct cpn_hash *hash)
{
    static const struct cpn_hash zero;
    return memcmp(hash, &zero, sizeof zero) == 0;
}

#endif
