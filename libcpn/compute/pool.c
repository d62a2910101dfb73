/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The caller's side of a pool: start, cancel, collect. See pool.h for the contract and slot.c for what a slot does. */
#include "pool.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <stdio.h>

#include <utlist.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "compute/slot.h"

#define RUNNER_BYTES (2ull << 30) /* decoded 2^26 pixels are 200 MB; a detector keeps a handful of such */
#define LOAD_TIMEOUT_US 60000000

static void set_defaults(struct cpni_pool_options *options)
{
    if (options->slots == 0) {
        options->slots = 1;
    }
    if (options->memory_bytes == 0) {
        options->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 4;
    }
    if (options->runner_bytes == 0) {
        options->runner_bytes = RUNNER_BYTES;
    }
    if (options->runner_threads == 0) {
        options->runner_threads = 1;
    }
    if (options->load_timeout_us == 0) {
        options->load_timeout_us = LOAD_TIMEOUT_US;
    }
}

static int start_slot(struct cpni_pool *pool, struct cpni_slot *slot, uint32_t index)
{
    *slot = (struct cpni_slot) { .pool = pool, .index = index };
    slot->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (slot->wake_fd < 0) {
        return CPN_EIO;
    }
    if (pthread_create(&slot->thread, NULL, cpni_slot_main, slot) != 0) {
        close(slot->wake_fd);
        return CPN_ENOMEM;
    }
    return 0;
}

int cpni_pool_open(const struct cpni_pool_options *options, struct cpni_pool **out, char detail[CPN_BACKEND_DETAIL])
{
    struct cpni_pool_options own = *options;
    set_defaults(&own);
    if (own.slots > CPNI_POOL_SLOTS_MAX) {
        snprintf(detail, CPN_BACKEND_DETAIL, "%u slots: at most %u are possible", own.slots, CPNI_POOL_SLOTS_MAX);
        return CPN_EINVAL;
    }
    struct cpni_pool *pool = cpni_calloc(1, sizeof *pool + own.slots * sizeof pool->slots[0]);
    int ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pool == NULL || ready_fd < 0 || pthread_mutex_init(&pool->lock, NULL) != 0) {
        snprintf(detail, CPN_BACKEND_DETAIL, "no memory or descriptors for %u slots", own.slots);
        cpni_free(pool);
        if (ready_fd >= 0) {
            close(ready_fd);
        }
        return CPN_ENOMEM;
    }
    cpni_compute_paths(own.runner, own.plugins, &pool->paths);
    own.runner = own.plugins = NULL;
    pool->options = own;
    pool->ready_fd = ready_fd;
    int rc = 0;
    for (uint32_t i = 0; i < own.slots && rc == 0; i++) {
        rc = start_slot(pool, &pool->slots[i], i);
        pthread_mutex_lock(&pool->lock);
        pool->slot_count += rc == 0;
        pthread_mutex_unlock(&pool->lock);
    }
    if (rc != 0) {
        snprintf(detail, CPN_BACKEND_DETAIL, "cannot start a thread for each of %u slots", own.slots);
        cpni_pool_close(pool);
        return rc;
    }
    *out = pool;
    return 0;
}

uint32_t cpni_pool_slots(const struct cpni_pool *pool)
{
    return pool->options.slots;
}

/* The slot that runs a ticket. Under the lock. */
static struct cpni_slot *find(struct cpni_pool *pool, uint64_t ticket)
{
    for (uint32_t i = 0; i < pool->slot_count; i++) {
        struct cpni_slot *slot = &pool->slots[i];
        if (slot->run != NULL && slot->run->job.job.ticket == ticket) {
            return slot;
        }
    }
    return NULL;
}

/* Take a job that no slot has begun out of where it waits. Under the lock. */
static struct cpni_run *take_waiting(struct cpni_pool *pool, uint64_t ticket)
{
    for (uint32_t i = 0; i < pool->slot_count; i++) {
        struct cpni_run *own = pool->slots[i].own;
        if (own != NULL && own->job.job.ticket == ticket) {
            pool->slots[i].own = NULL;
            return own;
        }
    }
    struct cpni_run *run;
    DL_FOREACH(pool->ahead, run)
    {
        if (run->job.job.ticket == ticket) {
            DL_DELETE(pool->ahead, run);
            pool->ahead_count--;
            return run;
        }
    }
    return NULL;
}

/* The thread that is to see a new job; NULL: all are at work, and look before they sleep. Under the lock. */
static struct cpni_slot *sleeper(struct cpni_pool *pool, struct cpni_slot *owner)
{
    if (owner != NULL) {
        return owner->asleep ? owner : NULL;
    }
    for (uint32_t i = 0; i < pool->slot_count; i++) {
        struct cpni_slot *slot = &pool->slots[i];
        if (cpni_slot_takes_any(slot) && slot->asleep && slot->state == CPNI_SLOT_FREE && slot->own == NULL) {
            return slot;
        }
    }
    return NULL;
}

/* Under the lock. */
static int enqueue(struct cpni_pool *pool, struct cpni_run *run)
{
    struct cpni_slot *owner = run->owner;
    if (owner != NULL ? owner->taken : pool->ahead_count == CPNI_POOL_AHEAD_MAX) {
        return CPN_EBUSY;
    }
    run->order = ++pool->starts;
    if (owner != NULL) {
        owner->taken = true;
        owner->own = run;
    } else {
        DL_APPEND(pool->ahead, run);
        pool->ahead_count++;
    }
    struct cpni_slot *slot = sleeper(pool, owner);
    if (slot != NULL) {
        slot->asleep = false; /* one wake is enough */
        eventfd_write(slot->wake_fd, 1);
    }
    return 0;
}

int cpni_pool_start(struct cpni_pool *pool, uint32_t index, const struct cpni_job *job)
{
    if (index != CPNI_POOL_ANY ? index >= pool->options.slots : job->handler == NULL) {
        return CPN_EINVAL;
    }
    struct cpni_run *run = cpni_calloc(1, sizeof *run);
    int rc = run != NULL ? cpni_attempt_job_copy(job, pool->paths.plugins, &run->job) : CPN_ENOMEM;
    if (rc != 0) {
        cpni_free(run);
        return rc;
    }
    run->owner = index != CPNI_POOL_ANY ? &pool->slots[index] : NULL;
    pthread_mutex_lock(&pool->lock);
    rc = enqueue(pool, run);
    pthread_mutex_unlock(&pool->lock);
    if (rc != 0) {
        cpni_attempt_job_clear(&run->job); /* the handler's argument is still the caller's */
        cpni_free(run);
    }
    return rc;
}

int cpni_pool_cancel(struct cpni_pool *pool, uint64_t ticket)
{
    pthread_mutex_lock(&pool->lock);
    struct cpni_slot *slot = find(pool, ticket);
    struct cpni_run *waiting = slot == NULL ? take_waiting(pool, ticket) : NULL;
    if (slot != NULL) {
        atomic_store(&slot->stop, true);
        eventfd_write(slot->wake_fd, 1);
    } else if (waiting != NULL) {
        cpni_outcome_fail(&waiting->outcome, CPN_ECANCELLED, CPNI_OUTCOME_CANCELLED, "cancelled before it began");
        cpni_run_post(pool, waiting);
    }
    pthread_mutex_unlock(&pool->lock);
    return slot != NULL || waiting != NULL ? 0 : CPN_ENOTFOUND;
}

int cpni_pool_fd(const struct cpni_pool *pool)
{
    return pool->ready_fd;
}

int cpni_pool_next(struct cpni_pool *pool, struct cpni_outcome *out)
{
    pthread_mutex_lock(&pool->lock);
    struct cpni_run *run = pool->done;
    if (run == NULL) {
        pthread_mutex_unlock(&pool->lock);
        return 0;
    }
    DL_DELETE(pool->done, run);
    if (pool->done == NULL) {
        eventfd_t posts;
        eventfd_read(pool->ready_fd, &posts);
    }
    if (run->owner != NULL) {
        run->owner->taken = false;
    }
    pthread_mutex_unlock(&pool->lock);
    *out = run->outcome;
    run->outcome = (struct cpni_outcome) { 0 };
    cpni_run_free(run);
    return 1;
}

void cpni_pool_forget(struct cpni_pool *pool, const char *key)
{
    pthread_mutex_lock(&pool->lock);
    for (uint32_t i = 0; i < pool->slot_count; i++) {
        struct cpni_warm *warm;
        DL_FOREACH(pool->slots[i].warm, warm)
        {
            if (strcmp(warm->key, key) == 0) {
                if (warm->state == CPNI_WARM_IDLE) {
                    cpni_runner_kill(&warm->runner);
                }
                warm->state = CPNI_WARM_DOOMED;
            }
        }
    }
    pthread_mutex_unlock(&pool->lock);
}

static void free_runs(struct cpni_run *list)
{
    struct cpni_run *run, *next;
    DL_FOREACH_SAFE(list, run, next)
    {
        DL_DELETE(list, run);
        cpni_run_free(run);
    }
}

void cpni_pool_close(struct cpni_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    uint32_t count = pool->slot_count;
    for (uint32_t i = 0; i < count; i++) {
        atomic_store(&pool->slots[i].stop, true);
        eventfd_write(pool->slots[i].wake_fd, 1);
    }
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(pool->slots[i].thread, NULL);
    }
    for (uint32_t i = 0; i < count; i++) { /* not before all have ended: a handler that asks whether it is cancelled looks at every slot */
        struct cpni_slot *slot = &pool->slots[i];
        close(slot->wake_fd);
        cpni_run_free(slot->own);
        cpni_run_free(slot->run);
    }
    free_runs(pool->ahead);
    free_runs(pool->done);
    close(pool->ready_fd);
    pthread_mutex_destroy(&pool->lock);
    cpni_free(pool);
}

int cpni_pool_finish(struct cpni_pool *pool, uint64_t ticket, struct cpni_outcome *outcome)
{
    pthread_mutex_lock(&pool->lock);
    struct cpni_slot *slot = find(pool, ticket);
    bool running = slot != NULL && slot->state == CPNI_SLOT_RUNNING && !slot->finished_early;
    if (slot == NULL || slot->run->job.job.handler == NULL || (!running && slot->state != CPNI_SLOT_PENDING)) {
        pthread_mutex_unlock(&pool->lock);
        return CPN_ENOTFOUND;
    }
    slot->run->outcome = *outcome;
    slot->run->outcome.class = cpni_outcome_class(outcome->code);
    outcome->labels = NULL;
    outcome->label_count = 0;
    outcome->output = NULL;
    if (running) {
        slot->finished_early = true; /* posted when the handler returns: the slot is not free before */
    } else {
        cpni_slot_post(slot);
        eventfd_write(slot->wake_fd, 1); /* what waits behind it */
    }
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

bool cpni_pool_cancelled(struct cpni_pool *pool, uint64_t ticket)
{
    pthread_mutex_lock(&pool->lock);
    struct cpni_slot *slot = find(pool, ticket);
    int64_t deadline_us = slot != NULL ? slot->run->job.job.deadline_us : 0;
    bool cancelled = slot == NULL || atomic_load(&slot->stop) || (deadline_us != 0 && cpni_now_us() >= deadline_us);
    pthread_mutex_unlock(&pool->lock);
    return cancelled;
}

void cpni_pool_usage(struct cpni_pool *pool, struct cpni_pool_usage *out)
{
    pthread_mutex_lock(&pool->lock);
    *out = (struct cpni_pool_usage) { .spawned = pool->spawned };
    for (uint32_t i = 0; i < pool->slot_count; i++) {
        struct cpni_warm *warm;
        DL_FOREACH(pool->slots[i].warm, warm)
        {
            if (warm->state != CPNI_WARM_DOOMED) {
                out->runners++;
                out->memory_bytes += warm->memory_bytes;
            }
        }
    }
    pthread_mutex_unlock(&pool->lock);
}
