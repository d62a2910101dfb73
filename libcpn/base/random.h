/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Random numbers that are the same everywhere: xoshiro256** (Blackman, Vigna), seeded through splitmix64. Not for
 * secrets. */
#ifndef CPNI_RANDOM_H
#define CPNI_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct cpni_random {
    uint64_t state[4];
};

/* Different (seed, stream) give unrelated sequences: stream says what for ("weights", "rows of epoch 3"). */
void cpni_random_seed(struct cpni_random *random, uint64_t seed, uint64_t stream);
uint64_t cpni_random_next(struct cpni_random *random);
uint32_t cpni_random_below(
    struct cpni_random *random, uint32_t bound);       /* 0 to bound - 1, without bias; bound at least 1 */
float cpni_random_uniform(struct cpni_random *random); /* [-1, 1), multiples of 2^-23 */
void cpni_random_shuffle(struct cpni_random *random, uint32_t *values, uint32_t count);

#endif
