/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Runs: what the core wants run, in the pool's slots, and what came of it, as events. */
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "role/mapping.h"
#include "role/worker.h"

static void finished(struct cpn_worker *worker, uint64_t ticket, int code, enum cpni_failure failure, const char *text)
{
    const struct cpni_event event = {
        .type = CPNI_EV_FINISHED,
        .finished = { .ticket = ticket, .code = code, .failure = failure, .text = text },
    };
    cpni_worker_step(worker, &event);
}

/* ---- starting ---- */

static void start_model(struct cpn_worker *worker, const struct cpni_act_run *run, int fd)
{
    struct cpni_bundle *bundle = cpni_models_find(worker, &run->model);
    char name[CPNI_NAME * 2];
    if (bundle == NULL || !bundle->ready) {
        finished(worker, run->ticket, CPN_EMODEL, CPNI_FAILURE_MODEL, "the model is not on this node");
        return;
    }
    struct cpni_arena scratch = { 0 };
    char *backend = cpni_arena_alloc(&scratch, bundle->manifest.backend.size + (size_t)1);
    const struct cpni_job job = {
        .ticket = run->ticket,
        .kind = CPNI_JOB_TASK,
        .model = { .key = bundle->key, .dir = bundle->dir, .backend = backend, .params = bundle->params,
                   .param_count = bundle->manifest.parameter_count },
        .input = run->input,
        .input_fd = fd,
        .input_size = run->input_size,
        .input_name = cpni_str_copy(run->input_name, name, sizeof name),
        .annotate = run->annotate,
        .deadline_us = run->deadline_us,
    };
    int rc = CPN_ENOMEM;
    if (backend != NULL) {
        memcpy(backend, bundle->manifest.backend.text, bundle->manifest.backend.size);
        rc = cpni_pool_start(worker->pool, run->slot, &job);
    }
    cpni_arena_free(&scratch);
    if (rc < 0) {
        finished(worker, run->ticket, rc, CPNI_FAILURE_NODE, "the run could not be started");
    }
}

static void start(struct cpn_worker *worker, const struct cpni_act_run *run, int fd)
{
    if (!cpni_all_zero(&run->model, sizeof run->model)) {
        start_model(worker, run, fd);
        return;
    }
    /* A callback gets its input as memory, whatever way it came. */
    struct cpni_bytes *input = run->input != NULL ? cpni_bytes_ref(run->input) : cpni_mapping_open(fd, (size_t)run->input_size);
    int rc = input != NULL ? cpni_attempt_start(worker, run, input) : CPN_ENOMEM;
    cpni_bytes_unref(input);
    if (rc < 0) {
        finished(worker, run->ticket, rc, CPNI_FAILURE_NODE, "the callback could not be started");
    }
}

/* A run whose input lies in the blob store waits for its descriptor; what it needs is kept here meanwhile. */
struct waiting_run {
    struct cpni_act_run run;
    char name[CPNI_NAME];
    char input_name[CPNI_NAME * 2];
};

static void input_opened(struct cpn_worker *worker, void *user, struct cpni_blob_answer *answer)
{
    struct waiting_run *waiting = user;
    if (answer->status < 0) {
        finished(worker, waiting->run.ticket, answer->status, CPNI_FAILURE_NODE, answer->detail);
    } else {
        waiting->run.input_size = answer->info.size;
        start(worker, &waiting->run, answer->fd);
    }
    cpni_free(waiting);
}

void cpni_runs_start(struct cpn_worker *worker, const struct cpni_act_run *run)
{
    if (run->input != NULL) {
        start(worker, run, -1);
        return;
    }
    struct waiting_run *waiting = cpni_malloc(sizeof *waiting);
    struct cpni_blob_job job = { .op = CPNI_BLOB_OPEN_FD, .root = run->input_root };
    int rc = waiting != NULL ? 0 : CPN_ENOMEM;
    if (rc == 0) {
        waiting->run = *run;
        waiting->run.name = cpni_str(cpni_str_copy(run->name, waiting->name, sizeof waiting->name));
        waiting->run.input_name = cpni_str(cpni_str_copy(run->input_name, waiting->input_name, sizeof waiting->input_name));
        rc = cpni_worker_job(worker, &job, input_opened, waiting);
    }
    if (rc < 0) {
        cpni_free(waiting);
        finished(worker, run->ticket, rc, CPNI_FAILURE_NODE, "the input could not be opened");
    }
}

/* ---- outcomes ---- */

static enum cpni_failure failure_of(enum cpni_outcome_class class)
{
    switch (class) {
    case CPNI_OUTCOME_OK:
        return CPNI_FAILURE_NONE;
    case CPNI_OUTCOME_BAD_INPUT:
        return CPNI_FAILURE_INPUT;
    case CPNI_OUTCOME_MODEL:
        return CPNI_FAILURE_MODEL;
    case CPNI_OUTCOME_CANCELLED:
        return CPNI_FAILURE_CANCELLED;
    case CPNI_OUTCOME_TIMEOUT:
        return CPNI_FAILURE_DEADLINE;
    case CPNI_OUTCOME_CRASH:
    case CPNI_OUTCOME_INTERNAL:
        break;
    }
    return CPNI_FAILURE_CRASH;
}

static enum cpni_image_type image_type_of(const char *type)
{
    if (strcmp(type, "image/jpeg") == 0) {
        return CPNI_IMAGE_JPEG;
    }
    if (strcmp(type, "image/png") == 0) {
        return CPNI_IMAGE_PNG;
    }
    return strcmp(type, "image/webp") == 0 ? CPNI_IMAGE_WEBP : CPNI_IMAGE_NONE;
}

static void take_outcome(struct cpn_worker *worker, const struct cpni_outcome *outcome)
{
    const struct cpni_event event = {
        .type = CPNI_EV_FINISHED,
        .finished = { .ticket = outcome->ticket, .code = outcome->code, .failure = failure_of(outcome->class), .text = outcome->detail,
                      .labels = outcome->labels, .label_count = outcome->label_count, .image = outcome->output,
                      .image_type = image_type_of(outcome->output_type), .width = (uint32_t)outcome->width,
                      .height = (uint32_t)outcome->height, .timings = outcome->timings },
    };
    cpni_worker_step(worker, &event);
}

void cpni_runs_outcomes(struct cpn_worker *worker)
{
    struct cpni_outcome outcome;
    while (cpni_pool_next(worker->pool, &outcome) == 1) {
        if ((outcome.ticket & CPNI_PREPARE_TICKET) != 0) {
            cpni_models_outcome(worker, &outcome);
        } else {
            take_outcome(worker, &outcome);
        }
        cpni_outcome_clear(&outcome);
    }
}
