/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See alloc.h. */
#include "alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_uint requests;
static atomic_uint fail_at; /* counts down to the failing request; 0: disarmed */

static int refuse(void)
{
    atomic_fetch_add(&requests, 1);
    unsigned left = atomic_load(&fail_at);
    while (left != 0) {
        if (atomic_compare_exchange_weak(&fail_at, &left, left - 1)) {
            return left == 1;
        }
    }
    return 0;
}

void *cpni_malloc(size_t size)
{
    return refuse() ? NULL : malloc(size == 0 ? 1 : size);
}

void *cpni_calloc(size_t count, size_t size)
{
    return refuse() ? NULL : calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
}

void *cpni_realloc(void *old, size_t size)
{
    return refuse() ? NULL : realloc(old, size == 0 ? 1 : size);
}

void *cpni_memdup(const void *data, size_t size)
{
    void *copy = cpni_malloc(size);
    if (copy != NULL && size != 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

char *cpni_strdup(const char *text)
{
    return cpni_memdup(text, strlen(text) + 1);
}

void cpni_free(void *memory)
{
    free(memory);
}

unsigned cpni_alloc_fail(unsigned nth)
{
    atomic_store(&fail_at, nth);
    return atomic_exchange(&requests, 0);
}
