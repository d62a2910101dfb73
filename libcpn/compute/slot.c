/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The thread of a slot: take the job, find or start its runner, attempt, report. All runners of a slot are started,
 * reaped and closed here: PDEATHSIG goes by thread, and this thread lives as long as the pool. Other threads only mark
 * an idle runner and signal it. */
#include "slot.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include <utlist.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "compute/runner_proto.h"

void cpni_run_free(struct cpni_run *run)
{
    if (run != NULL) {
        if (run->started_us == 0 && run->job.job.handler_unused != NULL) {
            run->job.job.handler_unused(run->job.job.handler_arg);
        }
        cpni_outcome_clear(&run->outcome);
        cpni_attempt_job_clear(&run->job);
        cpni_free(run);
    }
}

void cpni_run_post(struct cpni_pool *pool, struct cpni_run *run)
{
    run->outcome.ticket = run->job.job.ticket;
    if (pool->done == NULL) {
        eventfd_write(pool->ready_fd, 1); /* once for all that wait: a worker of short callbacks would do little else */
    }
    DL_APPEND(pool->done, run);
}

void cpni_slot_post(struct cpni_slot *slot)
{
    struct cpni_run *run = slot->run;
    if (run->job.job.handler != NULL && run->started_us != 0 && run->outcome.timings.infer_us == 0) {
        run->outcome.timings.infer_us = (uint64_t)(cpni_now_us() - run->started_us);
    }
    run->outcome.slot = slot->index;
    slot->run = NULL;
    slot->state = CPNI_SLOT_FREE;
    cpni_run_post(slot->pool, run);
}

/* ---- runners ---- */

static void bury(struct cpni_slot *slot, struct cpni_warm *warm, char *how, size_t room)
{
    pthread_mutex_lock(&slot->pool->lock); /* out of the list first: nobody may signal a process that is reaped */
    DL_DELETE(slot->warm, warm);
    pthread_mutex_unlock(&slot->pool->lock);
    cpni_runner_end(&warm->runner, how, room);
    cpni_warm_free(warm);
}

/* Idle runners that died, were evicted, or speak unasked. */
static void bury_dead(struct cpni_slot *slot)
{
    char how[64];
    struct cpni_warm *warm;
    struct cpni_warm *next;
    DL_FOREACH_SAFE(slot->warm, warm, next)
    {
        if (!cpni_runner_quiet(&warm->runner)) {
            bury(slot, warm, how, sizeof how);
        }
    }
}

/* Over all slots, idle runners only, oldest first, until the rest fits the bound. The owners reap them. Under the lock.
 */
static void evict(struct cpni_pool *pool)
{
    for (;;) {
        uint64_t total = 0;
        struct cpni_warm *oldest = NULL;
        for (uint32_t i = 0; i < pool->slot_count; i++) {
            struct cpni_warm *warm;
            DL_FOREACH(pool->slots[i].warm, warm)
            {
                total += warm->state == CPNI_WARM_DOOMED ? 0 : warm->memory_bytes;
            }
            warm = cpni_warm_oldest_idle(pool->slots[i].warm);
            if (warm != NULL && (oldest == NULL || warm->used < oldest->used)) {
                oldest = warm;
            }
        }
        if (total <= pool->options.memory_bytes || oldest == NULL) {
            return;
        }
        oldest->state = CPNI_WARM_DOOMED;
        cpni_runner_kill(&oldest->runner);
    }
}

/* A loaded runner of the job's model, if there is a living one. */
static struct cpni_warm *take_warm(struct cpni_slot *slot)
{
    struct cpni_pool *pool = slot->pool;
    bury_dead(slot);
    pthread_mutex_lock(&pool->lock);
    struct cpni_warm *warm = cpni_warm_find_idle(slot->warm, slot->run->job.key);
    if (warm != NULL) {
        warm->state = CPNI_WARM_BUSY;
        warm->used = ++pool->uses;
    }
    pthread_mutex_unlock(&pool->lock);
    return warm;
}

static struct cpni_warm *start_runner(struct cpni_slot *slot, struct cpni_outcome *out)
{
    struct cpni_pool *pool = slot->pool;
    char how[64];
    if (cpni_warm_count(slot->warm) >= CPNI_POOL_RUNNERS_MAX) {
        pthread_mutex_lock(&pool->lock);
        struct cpni_warm *oldest = cpni_warm_oldest_idle(slot->warm);
        pthread_mutex_unlock(&pool->lock);
        if (oldest != NULL) {
            bury(slot, oldest, how, sizeof how);
        }
    }
    struct cpni_runner runner;
    int rc = cpni_runner_spawn(pool->paths.runner, "--serve", &runner, out->detail);
    if (rc != 0) {
        out->code = rc;
        out->class = cpni_outcome_class(rc);
        return NULL;
    }
    struct cpni_warm *warm = cpni_warm_new(slot->run->job.key, &runner);
    if (warm == NULL) {
        cpni_runner_end(&runner, how, sizeof how);
        cpni_outcome_fail(out, CPN_ENOMEM, CPNI_OUTCOME_INTERNAL, "no memory for a runner");
        return NULL;
    }
    pthread_mutex_lock(&pool->lock);
    warm->used = ++pool->uses;
    pool->spawned++;
    DL_APPEND(slot->warm, warm);
    pthread_mutex_unlock(&pool->lock);
    out->spawned = true;
    return warm;
}

/* Keep it for the next job, or end it and say how it ended. */
static void release_runner(
    struct cpni_slot *slot, struct cpni_warm *warm, bool again, const char *doing, struct cpni_outcome *out)
{
    struct cpni_pool *pool = slot->pool;
    if (again) {
        uint64_t memory_bytes = cpni_runner_memory(&warm->runner);
        out->memory_bytes = memory_bytes;
        pthread_mutex_lock(&pool->lock);
        warm->memory_bytes = memory_bytes;
        again = warm->state != CPNI_WARM_DOOMED; /* forgotten meanwhile */
        if (again) {
            warm->state = CPNI_WARM_IDLE;
            evict(pool);
        }
        pthread_mutex_unlock(&pool->lock);
    }
    if (!again) {
        char how[64];
        bury(slot, warm, how, sizeof how);
        if (out->class == CPNI_OUTCOME_CRASH) {
            cpni_outcome_fail(out, CPN_ECRASHED, CPNI_OUTCOME_CRASH, "the runner crashed while it %s (%s)", doing, how);
        }
    }
}

static void complete_load_packet(struct cpni_slot *slot)
{
    struct cpni_runner_load *load = (struct cpni_runner_load *)slot->run->job.load.data;
    load->threads = slot->pool->options.runner_threads;
    load->memory_bytes = slot->pool->options.runner_bytes;
}

/* ---- jobs ---- */

static void run_model(struct cpni_slot *slot, struct cpni_outcome *out)
{
    if (slot->packet == NULL && (slot->packet = cpni_malloc(CPNI_RUNNER_PACKET_MAX)) == NULL) {
        cpni_outcome_fail(out, CPN_ENOMEM, CPNI_OUTCOME_INTERNAL, "no memory for a runner's answers");
        return;
    }
    struct cpni_attempt attempt
        = { .job = &slot->run->job, .wake_fd = slot->wake_fd, .stop = &slot->stop, .packet = slot->packet };
    struct cpni_warm *warm = take_warm(slot);
    if (warm == NULL) {
        int64_t started_us = cpni_now_us();
        warm = start_runner(slot, out);
        if (warm == NULL) {
            return;
        }
        attempt.runner = &warm->runner;
        out->pid = warm->runner.pid;
        complete_load_packet(slot);
        if (!cpni_attempt_load(&attempt, slot->pool->options.load_timeout_us, out)) {
            release_runner(slot, warm, false, "loaded the model", out);
            return;
        }
        out->timings.load_us = (uint64_t)(cpni_now_us() - started_us);
    }
    attempt.runner = &warm->runner;
    out->pid = warm->runner.pid;
    bool again = true;
    if (slot->run->job.job.kind == CPNI_JOB_TASK || slot->run->job.job.input_size != 0) {
        again = cpni_attempt_run(&attempt, out);
    }
    release_runner(slot, warm, again, "processed the input", out);
}

/* The embedder's callback. True when its outcome is complete. */
static bool run_handler(struct cpni_slot *slot, struct cpni_outcome *out)
{
    const struct cpni_job *job = &slot->run->job.job;
    const struct cpni_call call = { slot->pool, job->ticket, job->input, job->input_name, job->annotate };
    slot->run->started_us = cpni_now_us();
    int rc = job->handler(&call, out, job->handler_arg);
    if (rc == CPNI_POOL_PENDING) {
        return false;
    }
    if (rc < 0) {
        out->code = rc;
    }
    if (atomic_load(&slot->stop)) {
        cpni_outcome_clear(out);
        cpni_outcome_fail(out, CPN_ECANCELLED, CPNI_OUTCOME_CANCELLED, "cancelled");
    } else if (job->deadline_us != 0 && cpni_now_us() > job->deadline_us) {
        cpni_outcome_clear(out);
        cpni_outcome_fail(out, CPN_ETIMEDOUT, CPNI_OUTCOME_TIMEOUT, "not finished by its deadline");
    } else {
        out->class = cpni_outcome_class(out->code);
        if (out->code != 0 && out->detail[0] == 0) {
            snprintf(out->detail, sizeof out->detail, "%s", cpn_strerror(out->code));
        }
    }
    return true;
}

static void run_job(struct cpni_slot *slot)
{
    struct cpni_outcome out = { 0 };
    bool complete = true;
    if (atomic_load(&slot->stop)) {
        cpni_outcome_fail(&out, CPN_ECANCELLED, CPNI_OUTCOME_CANCELLED, "cancelled before it began");
    } else if (slot->run->job.job.handler != NULL) {
        complete = run_handler(slot, &out);
    } else {
        run_model(slot, &out);
    }
    pthread_mutex_lock(&slot->pool->lock);
    if (complete) {
        slot->run->outcome = out;
        cpni_slot_post(slot);
    } else if (slot->finished_early) {
        cpni_slot_post(slot);
    } else {
        slot->state = CPNI_SLOT_PENDING;
    }
    pthread_mutex_unlock(&slot->pool->lock);
}

/* ---- waiting ---- */

/* A handler that finishes later was cancelled or is late: answer for it. Under the lock. */
static void give_up_pending(struct cpni_slot *slot)
{
    int64_t deadline_us = slot->run->job.job.deadline_us;
    if (atomic_load(&slot->stop)) {
        cpni_outcome_fail(&slot->run->outcome, CPN_ECANCELLED, CPNI_OUTCOME_CANCELLED, "cancelled");
    } else if (deadline_us != 0 && cpni_now_us() >= deadline_us) {
        cpni_outcome_fail(&slot->run->outcome, CPN_ETIMEDOUT, CPNI_OUTCOME_TIMEOUT, "not finished by its deadline");
    } else {
        return;
    }
    cpni_slot_post(slot);
}

/* Until woken, an idle runner ends, or the deadline of a pending handler. */
static void wait_for_work(struct cpni_slot *slot, int64_t deadline_us)
{
    struct pollfd fds[CPNI_POOL_RUNNERS_MAX + 1] = { { .fd = slot->wake_fd, .events = POLLIN } };
    nfds_t count = 1;
    struct cpni_warm *warm;
    DL_FOREACH(slot->warm, warm)
    {
        if (count <= CPNI_POOL_RUNNERS_MAX) {
            fds[count++] = (struct pollfd) { .fd = warm->runner.fd, .events = POLLIN };
        }
    }
    int timeout_ms = -1;
    if (deadline_us != 0) {
        int64_t left_ms = (deadline_us - cpni_now_us() + 999) / 1000;
        timeout_ms = left_ms < 0 ? 0 : left_ms > 3600000 ? 3600000 : (int)left_ms;
    }
    poll(fds, count, timeout_ms);
    if (fds[0].revents != 0) {
        eventfd_t value;
        eventfd_read(slot->wake_fd, &value);
    }
    bury_dead(slot);
}

/* The older of its own job and of those for any slot. Under the lock. */
static bool take(struct cpni_slot *slot)
{
    struct cpni_pool *pool = slot->pool;
    struct cpni_run *run = slot->own;
    if (cpni_slot_takes_any(slot) && pool->ahead != NULL && (run == NULL || pool->ahead->order < run->order)) {
        run = pool->ahead;
        DL_DELETE(pool->ahead, run);
        pool->ahead_count--;
    } else {
        slot->own = NULL;
    }
    if (run == NULL) {
        return false;
    }
    slot->run = run;
    slot->finished_early = false;
    atomic_store(&slot->stop, false);
    slot->state = CPNI_SLOT_RUNNING;
    return true;
}

static void end_all(struct cpni_slot *slot)
{
    char how[64];
    while (slot->warm != NULL) {
        bury(slot, slot->warm, how, sizeof how);
    }
    cpni_free(slot->packet);
    slot->packet = NULL;
}

void *cpni_slot_main(void *arg)
{
    struct cpni_slot *slot = arg;
    struct cpni_pool *pool = slot->pool;
    sigset_t all;
    sigfillset(&all); /* a host's signal handlers run on the host's threads */
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        if (slot->state == CPNI_SLOT_FREE && take(slot)) {
            pthread_mutex_unlock(&pool->lock);
            run_job(slot);
            pthread_mutex_lock(&pool->lock);
            continue;
        }
        int64_t deadline_us = 0;
        if (slot->state == CPNI_SLOT_PENDING) {
            give_up_pending(slot);
            if (slot->state == CPNI_SLOT_FREE) {
                continue;
            }
            deadline_us = slot->run->job.job.deadline_us;
        }
        slot->asleep = true;
        pthread_mutex_unlock(&pool->lock);
        wait_for_work(slot, deadline_us);
        pthread_mutex_lock(&pool->lock);
        slot->asleep = false;
    }
    pthread_mutex_unlock(&pool->lock);
    end_all(slot);
    return NULL;
}
