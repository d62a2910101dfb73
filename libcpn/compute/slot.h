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
    CPNI_SLOT_FREE,
    CPNI_SLOT_STARTED, /* has a job that its thread has not seen */
    CPNI_SLOT_RUNNING,
    CPNI_SLOT_PENDING, /* its handler returned and finishes later */
    CPNI_SLOT_DONE, /* its outcome waits for cpni_pool_next() */
};

struct cpni_slot {
    struct cpni_pool *pool;
    uint32_t index;
    pthread_t thread;
    int wake_fd; /* eventfd: look at state and stop */
    atomic_bool stop; /* the job is cancelled or the pool closes */

    /* under the pool's lock */
    enum cpni_slot_state state;
    bool finished_early; /* cpni_pool_finish() came before its handler returned */
    struct cpni_outcome outcome;
    struct cpni_warm *warm; /* changed by the slot's thread alone */

    struct cpni_attempt_job job; /* the slot's thread's from STARTED to DONE */
    uint8_t *packet; /* the slot's thread's */
};

struct cpni_pool {
    struct cpni_pool_options options; /* without its paths */
    struct cpni_compute_paths paths;
    int ready_fd; /* eventfd, semaphore: one for each outcome that waits */

    pthread_mutex_t lock;
    bool closing;
    uint64_t uses;
    uint64_t spawned;
    uint32_t *done; /* ring of slot indices, as many as slots */
    uint32_t done_first, done_count;
    uint32_t slot_count;
    struct cpni_slot slots[];
};

void *cpni_slot_main(void *slot);

/* Under the lock: the slot's outcome is complete. */
void cpni_slot_post(struct cpni_slot *slot);

#endif
