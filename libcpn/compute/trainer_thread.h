/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Inside of the trainers: the lanes, what they said, and the thread of each. Shared by trainers.c (the caller's side)
 * and trainer_thread.c (the threads). */
#ifndef CPNI_TRAINER_THREAD_H
#define CPNI_TRAINER_THREAD_H

#include <pthread.h>
#include <stdatomic.h>

#include "compute/plugins.h"
#include "compute/runner.h"
#include "compute/trainer_proto.h"
#include "compute/trainers.h"

/* What one lane may have said unread; then its runner waits. Small tables have thousands of epochs a second. */
#define CPNI_TRAINERS_UNREAD_MAX 256

struct cpni_trainer_thread;

struct cpni_said {
    struct cpni_said *prev, *next;
    struct cpni_trainer_thread *by;
    struct cpni_trained trained;
};

struct cpni_trainer_thread {
    struct cpni_trainer_thread *prev, *next;
    struct cpni_trainers *owner;
    uint64_t ticket;
    pthread_t thread;
    int wake_fd; /* eventfd: look at the orders below */
    atomic_bool ended; /* nobody wants to hear of it any more */

    /* the thread's from the start */
    struct cpni_trainer_open open;
    int dataset_fd, state_fd; /* -1: none */
    uint64_t state_size;
    bool probe;
    uint8_t *map; /* the region */
    uint64_t weights, state_bytes;
    struct cpni_trainer_region region;

    /* under the lock */
    struct cpni_runner runner;
    bool alive; /* the runner may be signalled */
    bool exited; /* the thread does nothing more: it can be joined */
    bool busy; /* a round was ordered and has not come back */
    bool ordered; /* it is in `round` */
    struct cpni_round_job round; /* vector referenced, vector_fd owned */
    struct cpni_bytes *gradient; /* to apply */
    size_t unread;
    bool stalled; /* waits for `unread` to sink */
    struct cpni_said *progress; /* the last thing unread, if a later heartbeat may replace it */
};

struct cpni_trainers {
    struct cpni_compute_paths paths;
    uint32_t threads;
    uint64_t runner_bytes;
    const char **names;
    int ready_fd; /* eventfd: not 0 while something unread waits */
    pthread_mutex_t lock;
    struct cpni_trainer_thread *list;
    struct cpni_said *said;
};

void *cpni_trainer_thread_main(void *arg);

#endif
