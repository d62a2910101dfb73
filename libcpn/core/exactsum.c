/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See exactsum.h. No libm: its versions differ, and the same bits are the point. */
#include "core/exactsum.h"

#include <float.h>
#include <stdbool.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "core/wide.h"

_Static_assert(FLT_EVAL_METHOD == 0, "rounding needs float and double to be what they say");

/* Adding and taking away 1.5 * 2^52 leaves a double rounded to an integer, ties to even: exact below 2^51, which the
 * limit of a value never passes because weight_max counts as at least 2^12. */
#define ROUND_MAGIC 6755399441055744.0
#define WEIGHT_MAX_LEAST 4096
#define SCALE_BITS_MAX 48

static double power_of_two(int bits)
{
    return (double)(INT64_C(1) << bits);
}

int cpni_exactsum_init(struct cpni_exactsum *sum, size_t count, uint64_t weight_max, int scale_bits)
{
    if (count == 0 || count > CPNI_EXACTSUM_VALUES_MAX || weight_max == 0 || weight_max > CPNI_EXACTSUM_WEIGHT_MAX
        || scale_bits < 0 || scale_bits > SCALE_BITS_MAX) {
        return CPN_EINVAL;
    }
    int64_t *sums = cpni_calloc(count, sizeof *sums);
    if (sums == NULL) {
        return CPN_ENOMEM;
    }
    uint64_t weights = weight_max < WEIGHT_MAX_LEAST ? WEIGHT_MAX_LEAST : weight_max;
    *sum = (struct cpni_exactsum){ .sums = sums,
        .count = count,
        .weight_max = weight_max,
        .limit = (int64_t)((uint64_t)INT64_MAX / weights),
        .scale_bits = scale_bits };
    return 0;
}

void cpni_exactsum_reset(struct cpni_exactsum *sum)
{
    memset(sum->sums, 0, sum->count * sizeof *sum->sums);
    sum->weight = 0;
}

void cpni_exactsum_free(struct cpni_exactsum *sum)
{
    cpni_free(sum->sums);
    *sum = (struct cpni_exactsum){ 0 };
}

static CPNI_WIDE bool all_within(const float *values, size_t count, double limit)
{
    int32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        largest = cpni_larger(largest, values[i]);
    }
    return (double)cpni_largest(largest) <= limit; /* false for a NaN */
}

static CPNI_WIDE void add(const struct cpni_exactsum *sum, const float *values, double scale, uint64_t weight)
{
    for (size_t i = 0; i < sum->count; i++) {
        double quanta = (double)values[i] * scale; /* exact: a power of two */
        sum->sums[i] += (int64_t)((quanta + ROUND_MAGIC) - ROUND_MAGIC) * (int64_t)weight;
    }
}

int cpni_exactsum_add(struct cpni_exactsum *sum, const float *values, uint64_t weight)
{
    if (weight == 0) {
        return CPN_EINVAL;
    }
    if (weight > sum->weight_max - sum->weight) {
        return CPN_ETOOBIG;
    }
    double scale = power_of_two(sum->scale_bits);
    /* One quantum less than the limit: (double)limit may have been rounded up. */
    if (!all_within(values, sum->count, ((double)sum->limit - 1.0) / scale)) {
        return CPN_EBADINPUT;
    }
    add(sum, values, scale, weight);
    sum->weight += weight;
    return 0;
}

/* As a cast, rounded once; of two halves, both exact, because few processors convert several of 64 bits at a time. */
static double to_double(int64_t value)
{
    const double high = (double)(int32_t)(value >> 32) * 4294967296.0;
    const double low = (double)(int32_t)((uint32_t)value ^ 0x80000000u) + 2147483648.0;
    return high + low;
}

static CPNI_WIDE void divide(const struct cpni_exactsum *sum, double divisor, float *mean)
{
    for (size_t i = 0; i < sum->count; i++) {
        mean[i] = (float)(to_double(sum->sums[i]) / divisor);
    }
}

int cpni_exactsum_mean(const struct cpni_exactsum *sum, float *mean)
{
    if (sum->weight == 0) {
        return CPN_ESTATE;
    }
    divide(sum, (double)sum->weight * power_of_two(sum->scale_bits), mean); /* exact: weight < 2^53 */
    return 0;
}
