/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See warm.h. */
#include "warm.h"

#include <string.h>

#include <utlist.h>

#include "base/alloc.h"

struct cpni_warm *cpni_warm_new(const char *key, const struct cpni_runner *runner)
{
    struct cpni_warm *warm = cpni_calloc(1, sizeof *warm);
    char *copy = cpni_strdup(key);
    if (warm == NULL || copy == NULL) {
        cpni_free(warm);
        cpni_free(copy);
        return NULL;
    }
    warm->key = copy;
    warm->runner = *runner;
    warm->state = CPNI_WARM_BUSY;
    return warm;
}

void cpni_warm_free(struct cpni_warm *warm)
{
    if (warm != NULL) {
        cpni_free(warm->key);
        cpni_free(warm);
    }
}

struct cpni_warm *cpni_warm_find_idle(struct cpni_warm *list, const char *key)
{
    struct cpni_warm *warm;
    DL_FOREACH(list, warm)
    {
        if (warm->state == CPNI_WARM_IDLE && strcmp(warm->key, key) == 0) {
            return warm;
        }
    }
    return NULL;
}

struct cpni_warm *cpni_warm_oldest_idle(struct cpni_warm *list)
{
    struct cpni_warm *oldest = NULL;
    struct cpni_warm *warm;
    DL_FOREACH(list, warm)
    {
        if (warm->state == CPNI_WARM_IDLE && (oldest == NULL || warm->used < oldest->used)) {
            oldest = warm;
        }
    }
    return oldest;
}

size_t cpni_warm_count(const struct cpni_warm *list)
{
    const struct cpni_warm *warm;
    size_t count = 0;
    DL_COUNT(list, warm, count);
    return count;
}
