/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training: what the core wants of the trainer processes, and what they say, as events. Blobs that an order names
 * (dataset, checkpoint, weights) are opened by the disk thread first; a CLOSE that comes meanwhile ends the order
 * there. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <utlist.h>

#include "base/alloc.h"
#include "role/worker.h"

/* An order that waits for its blobs. */
struct cpni_lane_wait {
    struct cpni_lane_wait *prev, *next;
    struct cpni_act_trainer act; /* its own: the core's lasts only as long as the carrying out */
    struct cpni_session_spec spec;
    int dataset_fd, fd; /* of the checkpoint or the weights; -1: not yet, or none */
    uint64_t size;
    bool closed;
};

static void fail(struct cpn_worker *worker, const struct cpni_act_trainer *act, int code, const char *text)
{
    enum cpni_trainer_said said = act->op == CPNI_TRAINER_PROBE ? CPNI_TRAINED_PROBE
        : act->op == CPNI_TRAINER_OPEN                          ? CPNI_TRAINED_OPEN
                                                                : CPNI_TRAINED_ROUND;
    const struct cpni_event event = {
        .type = CPNI_EV_TRAINER,
        .trainer = { .ticket = act->ticket, .said = said, .code = code, .text = text, .round = act->round },
    };
    if (worker->trainers != NULL) {
        cpni_trainers_end(worker->trainers, act->ticket); /* whoever hears of a failure takes the process for gone */
    }
    cpni_worker_step(worker, &event);
}

/* ---- orders ---- */

static void free_wait(struct cpn_worker *worker, struct cpni_lane_wait *wait)
{
    DL_DELETE(worker->train_waits, wait);
    if (wait->dataset_fd >= 0) {
        close(wait->dataset_fd);
    }
    if (wait->fd >= 0) {
        close(wait->fd);
    }
    cpni_free(wait->spec.lanes);
    cpni_free(wait);
}

static int give_round(struct cpn_worker *worker, const struct cpni_act_trainer *act, int fd, uint64_t size)
{
    const struct cpni_round_job job = {
        .round = act->round,
        .steps = act->steps,
        .vector = act->vector,
        .encoding = act->encoding,
        .vector_fd = fd,
        .vector_size = size,
        .evaluate = act->evaluate,
        .evaluate_after = act->evaluate_after,
        .state = act->state,
        .exchange = act->exchange,
        .replay = act->replay,
    };
    return cpni_trainers_round(worker->trainers, act->ticket, &job);
}

static int give_lane(struct cpn_worker *worker, const struct cpni_lane_wait *wait)
{
    const struct cpni_lane_job job = {
        .ticket = wait->act.ticket,
        .spec = &wait->spec,
        .lane = wait->act.lane,
        .dataset_fd = wait->dataset_fd,
        .train_rows = wait->act.train_rows,
        .state_fd = wait->fd,
        .state_size = wait->size,
        .probe = wait->act.op == CPNI_TRAINER_PROBE,
    };
    return cpni_trainers_start(worker->trainers, &job);
}

static int open_next(struct cpn_worker *worker, struct cpni_lane_wait *wait);

static void opened(struct cpn_worker *worker, void *user, struct cpni_blob_answer *answer)
{
    struct cpni_lane_wait *wait = user;
    int rc = answer->status;
    if (rc == 0 && !wait->closed) {
        bool dataset = wait->dataset_fd < 0 && wait->act.op != CPNI_TRAINER_ROUND;
        *(dataset ? &wait->dataset_fd : &wait->fd) = answer->fd;
        wait->size = dataset ? 0 : answer->info.size;
        answer->fd = -1;
        rc = open_next(worker, wait);
        if (rc > 0) {
            return;
        }
    }
    if (rc < 0 && !wait->closed) {
        fail(worker, &wait->act, rc, answer->status < 0 ? answer->detail : cpn_strerror(rc));
    }
    free_wait(worker, wait);
}

/* Open what is missing (1), or give the order (0 or an error). */
static int open_next(struct cpn_worker *worker, struct cpni_lane_wait *wait)
{
    const struct cpni_act_trainer *act = &wait->act;
    bool round = act->op == CPNI_TRAINER_ROUND;
    struct cpni_blob_job job = { .op = CPNI_BLOB_OPEN_FD };
    if (!round && wait->dataset_fd < 0) {
        job.root = act->dataset;
    } else if (wait->fd < 0 && (round || !cpni_all_zero(&act->state_root, sizeof act->state_root))) {
        job.root = round ? act->vector_root : act->state_root;
    } else {
        return round ? give_round(worker, act, wait->fd, wait->size) : give_lane(worker, wait);
    }
    int rc = cpni_worker_job(worker, &job, opened, wait);
    return rc < 0 ? rc : 1;
}

/* With blobs to open. */
static int start(struct cpn_worker *worker, const struct cpni_act_trainer *act)
{
    struct cpni_lane_wait *wait = cpni_calloc(1, sizeof *wait);
    if (wait == NULL) {
        return CPN_ENOMEM;
    }
    wait->act = *act;
    wait->dataset_fd = wait->fd = -1;
    int rc = 0;
    if (act->spec != NULL) {
        wait->spec = *act->spec;
        wait->spec.lanes = cpni_memdup(act->spec->lanes, act->spec->lane_count * sizeof *act->spec->lanes);
        rc = wait->spec.lanes == NULL ? CPN_ENOMEM : 0;
    }
    DL_APPEND(worker->train_waits, wait);
    rc = rc < 0 ? rc : open_next(worker, wait);
    if (rc <= 0) {
        free_wait(worker, wait);
    }
    return rc < 0 ? rc : 0;
}

static void close_lane(struct cpn_worker *worker, uint64_t ticket)
{
    struct cpni_lane_wait *wait;
    DL_FOREACH(worker->train_waits, wait)
    {
        wait->closed |= wait->act.ticket == ticket;
    }
    cpni_trainers_end(worker->trainers, ticket);
}

void cpni_lanes_carry(struct cpn_worker *worker, const struct cpni_act_trainer *act)
{
    int rc = 0;
    if (worker->trainers == NULL) {
        fail(worker, act, CPN_ENOTSUP, "this worker has no data directory");
        return;
    }
    switch (act->op) {
    case CPNI_TRAINER_PROBE:
    case CPNI_TRAINER_OPEN:
        rc = start(worker, act);
        break;
    case CPNI_TRAINER_ROUND:
        rc = act->vector != NULL || cpni_all_zero(&act->vector_root, sizeof act->vector_root)
            ? give_round(worker, act, -1, 0)
            : start(worker, act);
        break;
    case CPNI_TRAINER_APPLY:
        rc = cpni_trainers_apply(worker->trainers, act->ticket, act->vector);
        break;
    case CPNI_TRAINER_CLOSE:
        close_lane(worker, act->ticket);
        break;
    }
    if (rc < 0) {
        fail(worker, act, rc, cpn_strerror(rc));
    }
}

/* ---- what they say ---- */

static enum cpni_trainer_said said_of(const struct cpni_trained *trained)
{
    switch (trained->said) {
    case CPNI_SAID_OPEN:
        return trained->probe ? CPNI_TRAINED_PROBE : CPNI_TRAINED_OPEN;
    case CPNI_SAID_PROGRESS:
        return CPNI_TRAINED_PROGRESS;
    case CPNI_SAID_GRADIENT:
        return CPNI_TRAINED_GRADIENT;
    case CPNI_SAID_ROUND:
        break;
    }
    return CPNI_TRAINED_ROUND;
}

void cpni_lanes_outcomes(struct cpn_worker *worker)
{
    struct cpni_trained trained;
    while (worker->trainers != NULL && cpni_trainers_next(worker->trainers, &trained) == 1) {
        const struct cpni_event event = {
            .type = CPNI_EV_TRAINER,
            .trainer = { .ticket = trained.ticket,
                .said = said_of(&trained),
                .code = trained.code,
                .text = trained.detail,
                .device = trained.device,
                .fingerprint = trained.fingerprint,
                .reproducible = trained.reproducible,
                .round = trained.round,
                .step = trained.step,
                .steps = trained.steps,
                .samples = trained.samples,
                .correct = trained.correct,
                .loss_micro = trained.loss_micro,
                .epoch = trained.epoch,
                .epoch_done = trained.epoch_done,
                .rate = trained.rate,
                .tested = trained.tested,
                .tested_correct = trained.tested_correct,
                .tested_loss_micro = trained.tested_loss_micro,
                .vector = trained.vector,
                .encoding = trained.encoding,
                .state = trained.state,
                .elapsed_us = trained.elapsed_us },
        };
        cpni_worker_step(worker, &event);
        cpni_trained_clear(&trained);
    }
}

/* ---- life ---- */

int cpni_lanes_open(struct cpn_worker *worker, const struct cpni_compute_paths *paths)
{
    char detail[CPNI_TRAINERS_DETAIL] = "";
    const struct cpni_trainers_options options = { .runner = paths->runner, .plugins = paths->trainers };
    int rc = cpni_trainers_open(&options, &worker->trainers, detail);
    if (rc < 0) {
        return cpni_worker_fail(worker, rc, "%s", detail);
    }
    struct cpni_backend_info *first = worker->backends + worker->backend_count;
    int found = cpni_trainers_list(paths, first, CPNI_BACKENDS_MAX - worker->backend_count);
    for (int i = 0; i < found; i++) { /* to the master a trainer is a backend with a name of its own */
        char name[CPNI_BACKEND_NAME];
        snprintf(name, sizeof name, "train.%.*s", CPNI_BACKEND_NAME - 7, first[i].name);
        memcpy(first[i].name, name, sizeof name);
    }
    worker->backend_count += found > 0 ? (size_t)found : 0;
    return 0;
}

/* The disk is closed already: nothing answers any more. */
void cpni_lanes_close(struct cpn_worker *worker)
{
    cpni_trainers_close(worker->trainers);
    while (worker->train_waits != NULL) {
        free_wait(worker, worker->train_waits);
    }
}
