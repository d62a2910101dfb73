/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* An embedder's callback as a model: the attempt that it sees (cpn/worker.h). It lives from the start of the run until its function
 * returned or, when that said later, until cpn_attempt_finish(). */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "role/worker.h"

struct cpn_attempt {
    struct cpni_pool *pool;
    uint64_t ticket;
    struct cpn_id task;
    uint32_t number;
    bool annotate;
    char model[CPN_NAME];
    char input_name[CPN_NAME * 2];
    struct cpni_bytes *input;
    cpn_worker_fn *fn;
    void *arg;
    struct cpni_outcome outcome;
    size_t label_room;
};

static void free_attempt(struct cpn_attempt *attempt)
{
    cpni_outcome_clear(&attempt->outcome);
    cpni_bytes_unref(attempt->input);
    cpni_free(attempt);
}

/* On the slot's thread. */
static int call(const struct cpni_call *given, struct cpni_outcome *out, void *arg)
{
    struct cpn_attempt *attempt = arg;
    (void)given;
    int rc = attempt->fn(attempt, attempt->arg);
    if (rc == CPN_ATTEMPT_LATER) {
        return CPNI_POOL_PENDING; /* the attempt may be gone already: finish() frees it */
    }
    attempt->outcome.code = rc < 0 ? rc : 0;
    attempt->outcome.ticket = out->ticket;
    attempt->outcome.slot = out->slot;
    *out = attempt->outcome;
    attempt->outcome = (struct cpni_outcome){ 0 };
    free_attempt(attempt);
    return 0;
}

static void unused(void *arg)
{
    free_attempt(arg);
}

static const struct cpni_handler *handler_of(const struct cpn_worker *worker, struct cpni_str name)
{
    const struct cpni_handler *handler = worker->handlers;
    while (handler != NULL && !cpni_str_equal(cpni_str(handler->name), name)) {
        handler = handler->next;
    }
    return handler;
}

int cpni_attempt_start(struct cpn_worker *worker, const struct cpni_act_run *run, struct cpni_bytes *input)
{
    const struct cpni_handler *handler = handler_of(worker, run->name);
    struct cpn_attempt *attempt = handler != NULL ? cpni_calloc(1, sizeof *attempt) : NULL;
    if (attempt == NULL) {
        return handler == NULL ? CPN_ENOTFOUND : CPN_ENOMEM;
    }
    attempt->pool = worker->pool;
    attempt->ticket = run->ticket;
    attempt->task = run->task;
    attempt->number = run->attempt;
    attempt->annotate = run->annotate;
    attempt->input = cpni_bytes_ref(input);
    attempt->fn = handler->fn;
    attempt->arg = handler->arg;
    cpni_str_copy(run->name, attempt->model, sizeof attempt->model);
    cpni_str_copy(run->input_name, attempt->input_name, sizeof attempt->input_name);
    const struct cpni_job job = {
        .ticket = run->ticket,
        .kind = CPNI_JOB_TASK,
        .input = input,
        .input_fd = -1,
        .input_name = attempt->input_name,
        .annotate = run->annotate,
        .deadline_us = run->deadline_us,
        .handler = call,
        .handler_arg = attempt,
        .handler_unused = unused,
    };
    int rc = cpni_pool_start(worker->pool, run->slot, &job);
    if (rc < 0) {
        free_attempt(attempt);
    }
    return rc;
}

const void *cpn_attempt_input(const struct cpn_attempt *attempt, size_t *size)
{
    *size = attempt->input->size;
    return attempt->input->data;
}

const char *cpn_attempt_input_name(const struct cpn_attempt *attempt)
{
    return attempt->input_name;
}

const char *cpn_attempt_model(const struct cpn_attempt *attempt)
{
    return attempt->model;
}

struct cpn_id cpn_attempt_task(const struct cpn_attempt *attempt)
{
    return attempt->task;
}

uint32_t cpn_attempt_number(const struct cpn_attempt *attempt)
{
    return attempt->number;
}

bool cpn_attempt_annotate(const struct cpn_attempt *attempt)
{
    return attempt->annotate;
}

int cpn_attempt_label(struct cpn_attempt *attempt, const struct cpn_label *label)
{
    struct cpni_outcome *outcome = &attempt->outcome;
    if (outcome->label_count == CPN_RESULT_LABELS) {
        return CPN_ETOOBIG;
    }
    if (outcome->label_count == attempt->label_room) {
        size_t room = attempt->label_room == 0 ? 8 : attempt->label_room * 2;
        struct cpn_label *labels = cpni_realloc(outcome->labels, room * sizeof *labels);
        if (labels == NULL) {
            return CPN_ENOMEM;
        }
        outcome->labels = labels;
        attempt->label_room = room;
    }
    outcome->labels[outcome->label_count++] = *label;
    return 0;
}

int cpn_attempt_image(struct cpn_attempt *attempt, const void *data, size_t size, const char *type)
{
    struct cpni_bytes *image = cpni_bytes_copy(data, size);
    if (image == NULL) {
        return CPN_ENOMEM;
    }
    cpni_bytes_unref(attempt->outcome.output);
    attempt->outcome.output = image;
    snprintf(attempt->outcome.output_type, sizeof attempt->outcome.output_type, "%s", type);
    return 0;
}

int cpn_attempt_detail(struct cpn_attempt *attempt, const char *text)
{
    cpni_str_copy(cpni_str(text), attempt->outcome.detail, sizeof attempt->outcome.detail);
    return 0;
}

bool cpn_attempt_cancelled(const struct cpn_attempt *attempt)
{
    return cpni_pool_cancelled(attempt->pool, attempt->ticket);
}

void cpn_attempt_finish(struct cpn_attempt *attempt, int code)
{
    attempt->outcome.code = code < 0 ? code : 0;
    attempt->outcome.ticket = attempt->ticket;
    if (cpni_pool_finish(attempt->pool, attempt->ticket, &attempt->outcome) == 0) {
        attempt->outcome = (struct cpni_outcome){ 0 }; /* taken */
    }
    free_attempt(attempt);
}
