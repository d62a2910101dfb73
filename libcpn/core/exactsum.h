/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The weighted mean of many float vectors, the same to the bit whatever the order in which they arrive: every value
 * becomes a 64-bit integer count of a stated quantum, and integers add exactly. Must not know whose vectors they are,
 * nor how many are still to come.
 *
 * A value x with weight n (samples) adds n * round(x * 2^scale_bits), ties to even. Refused are NaN, infinities and
 * everything that could overflow in *some* order: |x| * 2^scale_bits over INT64_MAX / weight_max, or weights over
 * weight_max together. So whether a vector is refused never depends on which came first. The error of the mean is at
 * most half a quantum (2^-(scale_bits + 1)) from the rounding on the way in, and half a float ulp on the way out. */
#ifndef CPNI_EXACTSUM_H
#define CPNI_EXACTSUM_H

#include <stddef.h>
#include <stdint.h>

#define CPNI_EXACTSUM_WEIGHT_BITS 32   /* weights and deltas: quantum 2.3e-10, |x| < 2^31 / weight_max (2048 at 2^20) */
#define CPNI_EXACTSUM_GRADIENT_BITS 40 /* gradients: quantum 9.1e-13, |x| < 2^23 / weight_max (128 at 2^16) */
#define CPNI_EXACTSUM_VALUES_MAX (1u << 28) /* 2 GiB of sums; a larger model needs another way of averaging */
#define CPNI_EXACTSUM_WEIGHT_MAX (UINT64_C(1) << 40)

struct cpni_exactsum {
    int64_t *sums;
    size_t count;
    uint64_t weight;     /* samples added so far */
    uint64_t weight_max; /* the most samples that one mean can have */
    int64_t limit;       /* of one value, in quanta */
    int scale_bits;      /* a quantum is 2^-scale_bits */
};

/* An empty sum of `count` values. CPN_EINVAL for sizes out of bounds (scale_bits: 0 to 48), CPN_ENOMEM. */
int cpni_exactsum_init(struct cpni_exactsum *sum, size_t count, uint64_t weight_max, int scale_bits);
void cpni_exactsum_reset(struct cpni_exactsum *sum); /* empty again, for the next round */
void cpni_exactsum_free(struct cpni_exactsum *sum);

/* Add `count` values with a weight of at least 1. CPN_EBADINPUT when a value is not finite or out of range, CPN_ETOOBIG
 * when the weights together pass weight_max; then nothing was added. */
int cpni_exactsum_add(struct cpni_exactsum *sum, const float *values, uint64_t weight);

/* The mean of what was added. CPN_ESTATE when nothing was. */
int cpni_exactsum_mean(const struct cpni_exactsum *sum, float *mean);

#endif
