/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The worker role: its life, and its rounds: what arrived becomes events, the core's actions are carried out. */
#include "role/worker.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "role/clock.h"

/* ---- life ---- */

int cpn_worker_open(const struct cpn_worker_options *given, struct cpn_worker **out, char *detail)
{
    struct cpn_worker_options options = { 0 };
    memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    if ((options.context == NULL) == (options.master == NULL)) {
        cpni_explain(detail, "a worker needs a context or a master in this process, one of them");
        return CPN_EINVAL;
    }
    if (options.data_dir != NULL && strlen(options.data_dir) >= PATH_MAX - 256) {
        cpni_explain(detail, "the path of the data directory is too long");
        return CPN_EINVAL;
    }
    int rc = cpni_keys_init();
    struct cpn_worker *worker = rc == 0 ? cpni_calloc(1, sizeof *worker) : NULL;
    if (worker == NULL) {
        return rc < 0 ? rc : CPN_ENOMEM;
    }
    worker->lock_fd = -1;
    worker->context = options.context;
    worker->master = options.master;
    worker->logger = (struct cpni_logger){ options.log, options.log_arg, options.log_level };
    worker->actions.log_level = options.log == NULL ? CPN_LOG_ERROR : options.log_level;
    worker->now = cpni_clock_now();
    snprintf(worker->dir, sizeof worker->dir, "%s", options.data_dir != NULL ? options.data_dir : "");
    snprintf(worker->name, sizeof worker->name, "%s",
             options.context != NULL ? options.context->name : options.name != NULL ? options.name : "worker");
    rc = cpni_worker_setup(worker, &options);
    if (rc < 0) {
        if (detail != NULL) {
            snprintf(detail, CPN_DETAIL, "%s", worker->detail);
        }
        cpn_worker_close(worker);
        return rc;
    }
    *out = worker;
    return 0;
}

void cpn_worker_close(struct cpn_worker *worker)
{
    if (worker == NULL) {
        return;
    }
    if (worker->loop != NULL && worker->pool != NULL) {
        cpni_loop_remove_fd(worker->loop, cpni_pool_fd(worker->pool));
    }
    if (worker->loop != NULL && worker->disk.async != NULL) {
        cpni_loop_remove_fd(worker->loop, cpni_disk_fd(&worker->disk));
    }
    if (worker->loop != NULL && worker->trainers != NULL) {
        cpni_loop_remove_fd(worker->loop, cpni_trainers_fd(worker->trainers));
    }
    cpni_peer_close(worker->peer);
    cpni_pool_close(worker->pool);
    cpni_disk_close(&worker->disk);
    cpni_lanes_close(worker);
    cpni_models_free(worker);
    cpni_worker_core_free(worker->core);
    cpni_actions_free(&worker->actions);
    cpni_loop_close(worker->loop);
    cpni_context_unref(worker->zmq);
    while (worker->handlers != NULL) {
        struct cpni_handler *handler = worker->handlers;
        worker->handlers = handler->next;
        cpni_free(handler);
    }
    if (worker->lock_fd >= 0) {
        close(worker->lock_fd);
    }
    cpni_free(worker);
}

int cpn_worker_handle(struct cpn_worker *worker, const char *name, cpn_worker_fn *fn, void *arg)
{
    if (worker->core != NULL) {
        return cpni_worker_fail(worker, CPN_ESTATE, "callbacks are set before the first dispatch");
    }
    if (name == NULL || name[0] == 0 || strlen(name) >= CPN_NAME || fn == NULL) {
        return cpni_worker_fail(worker, CPN_EINVAL, "a callback needs a name and a function");
    }
    for (struct cpni_handler *handler = worker->handlers; handler != NULL; handler = handler->next) {
        if (strcmp(handler->name, name) == 0) {
            return cpni_worker_fail(worker, CPN_EEXISTS, "%s has a callback already", name);
        }
    }
    struct cpni_handler *handler = cpni_calloc(1, sizeof *handler);
    if (handler == NULL) {
        return CPN_ENOMEM;
    }
    snprintf(handler->name, sizeof handler->name, "%s", name);
    handler->fn = fn;
    handler->arg = arg;
    handler->next = worker->handlers;
    worker->handlers = handler;
    return 0;
}

/* ---- disk jobs of the role's own ---- */

struct cpni_worker_job {
    cpni_worker_answer_fn *fn;
    void *user;
};

int cpni_worker_job(struct cpn_worker *worker, struct cpni_blob_job *job, cpni_worker_answer_fn *fn, void *user)
{
    struct cpni_worker_job *note = cpni_malloc(sizeof *note);
    if (note == NULL) {
        return CPN_ENOMEM;
    }
    *note = (struct cpni_worker_job){ fn, user };
    job->user = note;
    int rc = cpni_disk_submit(&worker->disk, job);
    if (rc < 0) {
        cpni_free(note);
    }
    return rc;
}

static void take_disk(struct cpn_worker *worker)
{
    struct cpni_blob_answer answer = { 0 };
    struct cpni_event event;
    int kind;
    while ((kind = cpni_disk_next(&worker->disk, &answer, &event)) != 0) {
        if (kind == 2) {
            cpni_worker_step(worker, &event);
        } else {
            struct cpni_worker_job note = *(struct cpni_worker_job *)answer.user;
            cpni_free(answer.user);
            note.fn(worker, note.user, &answer);
        }
        cpni_blob_answer_clear(&answer);
    }
}

/* ---- rounds ---- */

void cpni_worker_step(struct cpn_worker *worker, const struct cpni_event *event)
{
    cpni_worker_core_step(worker->core, event, &worker->now, &worker->actions);
}

static void take_event(void *arg, const struct cpni_event *event)
{
    if (event->type == CPNI_EV_REFUSED) {
        ((struct cpn_worker *)arg)->refused = event->lost.code;
        cpni_worker_fail(arg, event->lost.code, "%s", event->lost.text);
    }
    cpni_worker_step(arg, event);
}

/* A worker without a data directory has no place for blobs. */
static void refuse_disk(struct cpn_worker *worker, const struct cpni_act_disk *act)
{
    if (act->ticket != 0) {
        const struct cpni_event event = {
            .type = CPNI_EV_DISK,
            .disk = { .ticket = act->ticket, .code = CPN_ENOTSUP, .text = "this worker has no data directory", .root = act->root },
        };
        cpni_worker_step(worker, &event);
    }
}

static void carry(struct cpn_worker *worker, const struct cpni_action *action)
{
    switch (action->type) {
    case CPNI_ACT_SEND:
    case CPNI_ACT_DROP:
    case CPNI_ACT_RECONNECT:
        cpni_peer_carry(worker->peer, action);
        break;
    case CPNI_ACT_DISK:
        if (worker->disk.async == NULL) {
            refuse_disk(worker, &action->disk);
        } else {
            cpni_disk_carry(&worker->disk, &action->disk);
        }
        break;
    case CPNI_ACT_RUN:
        cpni_runs_start(worker, &action->run);
        break;
    case CPNI_ACT_KILL:
        cpni_pool_cancel(worker->pool, action->kill.ticket);
        break;
    case CPNI_ACT_MODEL:
        cpni_models_prepare(worker, &action->model.root, action->model.manifest);
        break;
    case CPNI_ACT_UNMODEL:
        cpni_models_drop(worker, &action->model.root);
        break;
    case CPNI_ACT_TRAINER:
        cpni_lanes_carry(worker, &action->trainer);
        break;
    case CPNI_ACT_LOG:
        cpni_logger_action(&worker->logger, &worker->now, action);
        break;
    case CPNI_ACT_STOPPED:
        worker->stopped = true;
        if (action->stopped.code < 0) { /* refused by a message, not by ZAP */
            worker->refused = action->stopped.code;
            cpni_worker_fail(worker, action->stopped.code, "%.*s", (int)action->stopped.text.size, action->stopped.text.text);
        }
        break;
    default:
        break; /* actions of other roles */
    }
}

/* Some actions are answered at once, by a step: so the list is taken away before it is carried out. */
static void carry_all(struct cpn_worker *worker)
{
    while (worker->actions.count != 0) {
        struct cpni_actions actions = worker->actions;
        worker->actions = (struct cpni_actions){ .log_level = actions.log_level };
        for (size_t i = 0; i < actions.count; i++) {
            carry(worker, &actions.list[i]);
        }
        cpni_peer_flush(worker->peer);
        if (worker->actions.list == NULL && worker->actions.arena.blocks == NULL) {
            cpni_actions_clear(&actions);
            worker->actions = actions;
        } else {
            cpni_actions_free(&actions);
        }
    }
}

static int64_t deadline(const struct cpn_worker *worker)
{
    int64_t at_us = cpni_worker_core_deadline(worker->core);
    int64_t peer_us = cpni_peer_deadline(worker->peer);
    at_us = peer_us < at_us ? peer_us : at_us;
    return worker->load_at_us < at_us ? worker->load_at_us : at_us;
}

static void take_load(struct cpn_worker *worker)
{
    if (worker->now.mono_us >= worker->load_at_us) {
        struct cpni_event event = { .type = CPNI_EV_LOAD };
        cpni_worker_read_load(worker, &event.load);
        worker->load_at_us = worker->now.mono_us + CPNI_HEARTBEAT_MS * 1000;
        cpni_worker_step(worker, &event);
    }
}

static void take_stop(struct cpn_worker *worker)
{
    while (worker->stop_seen < atomic_load(&worker->stop_asked)) {
        const struct cpni_event event = { .type = CPNI_EV_STOP };
        worker->stop_seen++;
        cpni_worker_step(worker, &event);
    }
}

int cpn_worker_dispatch(struct cpn_worker *worker, int timeout_ms)
{
    worker->now = cpni_clock_now();
    int rc = worker->core == NULL ? cpni_worker_make_core(worker) : 0;
    if (rc < 0) {
        return cpni_worker_fail(worker, rc, "cannot start: %s", cpn_strerror(rc));
    }
    if (worker->stopped) {
        return worker->refused < 0 ? worker->refused : CPN_ECLOSED;
    }
    const bool busy = worker->more || worker->stop_seen < atomic_load(&worker->stop_asked);
    rc = cpni_loop_wait(worker->loop, busy ? 0 : cpni_clock_timeout_ms(&worker->now, deadline(worker), timeout_ms));
    if (rc < 0 && rc != CPN_EINTR) {
        return cpni_worker_fail(worker, rc, "cannot wait for messages: %s", cpn_strerror(rc));
    }
    worker->now = cpni_clock_now();
    worker->more = cpni_peer_pump(worker->peer, &worker->now, take_event, worker);
    cpni_runs_outcomes(worker);
    cpni_lanes_outcomes(worker);
    take_disk(worker);
    take_load(worker);
    take_stop(worker);
    if (worker->now.mono_us >= cpni_worker_core_deadline(worker->core)) {
        const struct cpni_event tick = { .type = CPNI_EV_TICK };
        cpni_worker_step(worker, &tick);
    }
    carry_all(worker);
    cpni_peer_flush(worker->peer);
    return 0;
}

int cpn_worker_run(struct cpn_worker *worker)
{
    int rc;
    do {
        rc = cpn_worker_dispatch(worker, -1);
    } while (rc == 0);
    return rc == CPN_ECLOSED ? 0 : rc;
}

int cpn_worker_fd(const struct cpn_worker *worker)
{
    return cpni_loop_fd(worker->loop);
}

int cpn_worker_timeout_ms(struct cpn_worker *worker)
{
    if (worker->core == NULL || worker->more || worker->actions.count != 0 || cpni_loop_pending(worker->loop)) {
        return 0;
    }
    const struct cpni_now now = cpni_clock_now();
    return cpni_clock_timeout_ms(&now, deadline(worker), -1);
}

void cpn_worker_wake(struct cpn_worker *worker)
{
    cpni_loop_wake(worker->loop);
}

void cpn_worker_stop(struct cpn_worker *worker)
{
    atomic_fetch_add(&worker->stop_asked, 1);
    cpni_loop_wake(worker->loop);
}

const char *cpn_worker_detail(const struct cpn_worker *worker)
{
    return worker->detail;
}

const char *cpn_worker_name(const struct cpn_worker *worker)
{
    return worker->name;
}
