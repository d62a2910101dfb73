/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The runners that a slot keeps loaded, one a model. Used under the pool's lock, except `runner` and `key`, which do
 * not change while the entry exists and belong to the slot's thread. Must not know what a job is. */
#ifndef CPNI_WARM_H
#define CPNI_WARM_H

#include <stddef.h>
#include <stdint.h>

#include "compute/runner.h"

enum cpni_warm_state {
    CPNI_WARM_BUSY,
    CPNI_WARM_IDLE,
    CPNI_WARM_DOOMED, /* told to die, or to die after its task; counts for nothing and is never used again */
};

struct cpni_warm {
    struct cpni_warm *prev, *next;
    char *key;
    struct cpni_runner runner;
    enum cpni_warm_state state;
    uint64_t used; /* the pool's count of uses: the smallest is the least recently used */
    uint64_t memory_bytes;
};

struct cpni_warm *cpni_warm_new(const char *key, const struct cpni_runner *runner); /* BUSY; NULL: no memory */
void cpni_warm_free(struct cpni_warm *warm); /* the runner has been ended */

struct cpni_warm *cpni_warm_find_idle(struct cpni_warm *list, const char *key);
struct cpni_warm *cpni_warm_oldest_idle(struct cpni_warm *list);
size_t cpni_warm_count(const struct cpni_warm *list);

#endif
