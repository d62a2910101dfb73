/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Memory that lives for one step: decoded messages and the actions of a step point into it; reset drops all at once. */
#ifndef CPNI_ARENA_H
#define CPNI_ARENA_H

#include <stddef.h>

struct cpni_arena_block;
struct cpni_arena {
    struct cpni_arena_block *blocks;
};

void *cpni_arena_alloc(struct cpni_arena *arena, size_t size); /* zeroed, aligned for any type; NULL when out of memory */
void *cpni_arena_memdup(struct cpni_arena *arena, const void *data, size_t size);
/* A first block of exactly `size` bytes (rounded up), for something small that is kept for long. CPN_ENOMEM. The arena is empty. */
int cpni_arena_reserve(struct cpni_arena *arena, size_t size);
void cpni_arena_reset(struct cpni_arena *arena); /* keeps one block for the next step */
void cpni_arena_free(struct cpni_arena *arena);

#endif
