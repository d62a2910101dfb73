/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The worker role's insides, shared by its files: worker.c (life and rounds), worker_open.c (what the machine is and holds),
 * worker_models.c (bundles in place, loaded, self-tested), worker_runs.c (runs in the pool), worker_train.c (lanes of training sessions),
 * attempt.c (callbacks). */
#ifndef CPNI_ROLE_WORKER_H
#define CPNI_ROLE_WORKER_H

#include <limits.h>
#include <stdatomic.h>

#include <uthash.h>

#include <cpn/worker.h>

#include "compute/plugins.h"
#include "compute/pool.h"
#include "compute/trainers.h"
#include "core/worker.h"
#include "role/context.h"
#include "role/disk.h"
#include "role/logger.h"
#include "role/peer.h"

/* A bundle in place: DIR/models/<root>/ with its files (links into the blob store) and the manifest as it was signed. */
struct cpni_bundle {
    struct cpn_hash root;
    UT_hash_handle hh;
    char key[CPN_KEY_TEXT]; /* of the pool: the root's text */
    char dir[PATH_MAX];
    struct cpni_arena arena; /* of the manifest */
    struct cpni_manifest manifest;
    struct cpn_backend_param *params;
    size_t file_next; /* being put in place */
    bool ready;
    bool dropped; /* DISCARDed while it was prepared */
};

/* A callback that serves a model. */
struct cpni_handler {
    struct cpni_handler *next;
    char name[CPN_NAME];
    cpn_worker_fn *fn;
    void *arg;
};

struct cpni_worker_job; /* a disk job of the role's own */
struct cpni_lane_wait; /* an order to a trainer whose blobs are being opened */

struct cpn_worker {
    const struct cpn_context *context;
    struct cpn_master *master;
    char name[CPN_NAME];
    char dir[PATH_MAX]; /* "": no data directory */
    int lock_fd;
    struct cpni_context *zmq;
    struct cpni_loop *loop;
    struct cpni_peer *peer;
    struct cpni_worker_core *core; /* made by the first dispatch, when the callbacks are known */
    struct cpni_actions actions;
    struct cpni_now now;
    struct cpni_logger logger;
    struct cpni_disk disk;
    struct cpni_pool *pool;
    uint32_t slots; /* the pool has one more, in which models are prepared without taking a task's place */
    struct cpni_backend_info backends[CPNI_BACKENDS_MAX];
    size_t backend_count;
    struct cpni_bundle *bundles;
    struct cpni_bundle *preparing; /* occupies the extra slot; others wait in `to_prepare` */
    struct cpni_bundle **to_prepare;
    size_t to_prepare_count;
    struct cpni_trainers *trainers; /* NULL: no data directory, or callbacks only */
    struct cpni_lane_wait *train_waits;
    struct cpni_handler *handlers;
    int64_t load_at_us; /* next reading of the load figures */
    uint64_t cpu_busy, cpu_total;
    bool more;
    bool stopped;
    int refused;
    atomic_int stop_asked;
    int stop_seen;
    char detail[CPN_DETAIL];
};

int cpni_worker_fail(struct cpn_worker *worker, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- worker_open.c ---- */
int cpni_worker_setup(struct cpn_worker *worker, const struct cpn_worker_options *options);
int cpni_worker_make_core(struct cpn_worker *worker);
void cpni_worker_read_load(struct cpn_worker *worker, struct cpni_event_load *out);

/* ---- worker.c ---- */
void cpni_worker_step(struct cpn_worker *worker, const struct cpni_event *event);

/* ---- worker_models.c ---- */
int cpni_models_scan(struct cpn_worker *worker);
void cpni_models_prepare(struct cpn_worker *worker, const struct cpn_hash *root, const struct cpni_manifest *manifest);
void cpni_models_drop(struct cpn_worker *worker, const struct cpn_hash *root);
void cpni_models_outcome(struct cpn_worker *worker, const struct cpni_outcome *outcome); /* of a self-test */
struct cpni_bundle *cpni_models_find(struct cpn_worker *worker, const struct cpn_hash *root);
void cpni_models_free(struct cpn_worker *worker);

/* ---- worker_runs.c ---- */
#define CPNI_PREPARE_TICKET (UINT64_C(1) << 62) /* set in the pool's tickets of self-tests; the core's runs have it clear */
void cpni_runs_start(struct cpn_worker *worker, const struct cpni_act_run *run);
void cpni_runs_outcomes(struct cpn_worker *worker);

/* The disk's answer to a job of the role's own; `user` was given with it. */
typedef void cpni_worker_answer_fn(struct cpn_worker *worker, void *user, struct cpni_blob_answer *answer);
int cpni_worker_job(struct cpn_worker *worker, struct cpni_blob_job *job, cpni_worker_answer_fn *fn, void *user);
void cpni_worker_answer(struct cpn_worker *worker, struct cpni_blob_answer *answer);

/* ---- worker_train.c ---- */
int cpni_lanes_open(struct cpn_worker *worker, const struct cpni_compute_paths *paths);
void cpni_lanes_close(struct cpn_worker *worker);
void cpni_lanes_carry(struct cpn_worker *worker, const struct cpni_act_trainer *act);
void cpni_lanes_outcomes(struct cpn_worker *worker);

/* ---- attempt.c ---- */
int cpni_attempt_start(struct cpn_worker *worker, const struct cpni_act_run *run, struct cpni_bytes *input);

#endif
