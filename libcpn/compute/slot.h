/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Inside of a pool: its slots, what they hold, and the thread of each. Shared by pool.c (the caller's side) and slot.c
 * (the threads). */
#ifndef CPNI_SLOT_H
#define CPNI_SLOT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "compute/attempt.h"
#include "compute/plugins.h"
#include "compute/pool.h"
#include "compute/warm.h"

enum cpni_slot_state {
    CPNI_SLOT_FREE, /* runs nothing; what it is to run next may be there already */
    CPNI_SLOT_RUNNING,
    CPNI_SLOT_PENDING, /* its handler returned and finishes later */
};

/* A job from its start until cpni_pool_next(): waiting, run by a slot, then among the done. */
struct cpni_run {
    struct cpni_run *prev, *next;
    struct cpni_attempt_job job;
    struct cpni_outcome outcome;
    struct cpni_slot *owner; /* the slot that it was started on; NULL: any */
    uint64_t order; /* of its start: the older one goes first */
    int64_t started_us; /* when its handler was called */
};

struct cpni_slot {
    struct cpni_pool *pool;
    uint32_t index;
    pthread_t thread;
    int wake_fd; /* eventfd: look for work and at stop */
    atomic_bool stop; /* the job is cancelled or the pool closes */

    /* under the pool's lock */
    enum cpni_slot_state state;
    bool asleep; /* waits on wake_fd */
    bool finished_early; /* cpni_pool_finish() came before its handler returned */
    bool taken; /* has a job of its own, until cpni_pool_next() gave its outcome */
    struct cpni_run *own; /* of its own, not begun */
    struct cpni_run *run; /* RUNNING, PENDING; the slot's thread's while RUNNING */
    struct cpni_warm *warm; /* changed by the slot's thread alone */

    uint8_t *packet; /* the slot's thread's */
};

struct cpni_pool {
    struct cpni_pool_options options; /* without its paths */
    struct cpni_compute_paths paths;
    int ready_fd; /* eventfd: not 0 while an outcome waits */

    pthread_mutex_t lock;
    bool closing;
    uint64_t uses;
    uint64_t spawned;
    uint64_t starts;
    struct cpni_run *ahead; /* jobs for any slot, oldest first */
    uint32_t ahead_count;
    struct cpni_run *done; /* outcomes that wait, oldest first */
    uint32_t slot_count;
    struct cpni_slot slots[];
};

static inline bool cpni_slot_takes_any(const struct cpni_slot *slot)
{
    return slot->index < slot->pool->options.slots - slot->pool->options.kept_slots;
}

void *cpni_slot_main(void *slot);

/* Under the lock: an outcome is complete, of the job that a slot runs or of one that was not begun. */
void cpni_slot_post(struct cpni_slot *slot);
void cpni_run_post(struct cpni_pool *pool, struct cpni_run *run);
void cpni_run_free(struct cpni_run *run); /* NULL is fine */

#endif
