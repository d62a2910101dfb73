/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Numbers from the seed: xoshiro256**, seeded through splitmix64. */
#include "sim.h"

#include <string.h>

static uint64_t rotate(uint64_t x, unsigned k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct sim *sim)
{
    uint64_t *s = sim->rng;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t rng_below(struct sim *sim, uint64_t bound)
{
    return bound == 0 ? 0 : rng_next(sim) % bound; /* the bias does not matter here */
}

int64_t rng_between(struct sim *sim, int64_t least, int64_t most)
{
    return least + (int64_t)rng_below(sim, (uint64_t)(most - least) + 1);
}

bool rng_chance(struct sim *sim, unsigned permille)
{
    return permille != 0 && rng_below(sim, 1000) < permille;
}

void rng_fill(struct sim *sim, void *bytes, size_t size)
{
    uint8_t *to = bytes;
    while (size > 0) {
        uint64_t value = rng_next(sim);
        size_t part = size < sizeof value ? size : sizeof value;
        memcpy(to, &value, part);
        to += part;
        size -= part;
    }
}
