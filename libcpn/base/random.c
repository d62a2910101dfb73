/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See random.h. */
#include "random.h"

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

void cpni_random_seed(struct cpni_random *random, uint64_t seed, uint64_t stream)
{
    uint64_t from = seed;
    from = splitmix(&from) ^ stream; /* mixed first: (1, 2) and (2, 1) must differ */
    for (int i = 0; i < 4; i++) {
        random->state[i] = splitmix(&from);
    }
}

uint64_t cpni_random_next(struct cpni_random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint32_t cpni_random_below(struct cpni_random *random, uint32_t bound)
{
    uint32_t threshold = -bound % bound; /* 2^32 mod bound: the lowest products would come up once too often */
    for (;;) {
        uint64_t product = (cpni_random_next(random) >> 32) * bound;
        if ((uint32_t)product >= threshold) {
            return (uint32_t)(product >> 32);
        }
    }
}

float cpni_random_uniform(struct cpni_random *random)
{
    return (float)(int64_t)(cpni_random_next(random) >> 40) * 0x1p-23f - 1.0f;
}

void cpni_random_shuffle(struct cpni_random *random, uint32_t *values, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = cpni_random_below(random, i), kept = values[i - 1];
        values[i - 1] = values[j];
        values[j] = kept;
    }
}
