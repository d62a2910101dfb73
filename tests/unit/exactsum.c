/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Exact means and int8 deltas: order never shows, bounds hold, bad values change nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "core/delta8.h"
#include "core/exactsum.h"

enum { VALUES = 1000, PEERS = 9 };

static uint64_t random_state = 1;

static float random_value(float range)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((float)(random_state >> 40) / 8388608.0f - 1.0f) * range;
}

static void fill(float *values, float range)
{
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = random_value(range);
    }
}

static void mean_of(float peers[PEERS][VALUES], const int *order, float *mean)
{
    struct cpni_exactsum sum;
    assert_int_equal(cpni_exactsum_init(&sum, VALUES, 1 << 20, CPNI_EXACTSUM_WEIGHT_BITS), 0);
    for (int i = 0; i < PEERS; i++) {
        assert_int_equal(cpni_exactsum_add(&sum, peers[order[i]], 1000 + (uint64_t)order[i] * 77), 0);
    }
    assert_int_equal(cpni_exactsum_mean(&sum, mean), 0);
    cpni_exactsum_free(&sum);
}

static void order_does_not_show(void **state)
{
    (void)state;
    static float peers[PEERS][VALUES];
    static float first[VALUES], again[VALUES];
    for (int p = 0; p < PEERS; p++) {
        fill(peers[p], powf(10.0f, (float)(p - 6))); /* 1e-6 to 100: a float sum would depend on the order */
    }
    int order[PEERS] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };
    mean_of(peers, order, first);
    for (int round = 0; round < 50; round++) {
        for (int i = PEERS - 1; i > 0; i--) {
            int j = (int)((random_value(0.5f) + 0.5f) * (float)(i + 1)) % (i + 1), kept = order[i];
            order[i] = order[j];
            order[j] = kept;
        }
        mean_of(peers, order, again);
        assert_memory_equal(first, again, sizeof first);
    }
}

static void mean_is_within_its_bound(void **state)
{
    (void)state;
    static float a[VALUES], b[VALUES], mean[VALUES];
    fill(a, 3.0f);
    fill(b, 0.001f);
    struct cpni_exactsum sum;
    assert_int_equal(cpni_exactsum_init(&sum, VALUES, 1 << 16, CPNI_EXACTSUM_WEIGHT_BITS), 0);
    assert_int_equal(cpni_exactsum_add(&sum, a, 3), 0);
    assert_int_equal(cpni_exactsum_add(&sum, b, 65533), 0);
    assert_int_equal(cpni_exactsum_mean(&sum, mean), 0);
    for (size_t i = 0; i < VALUES; i++) {
        double exact = ((double)a[i] * 3 + (double)b[i] * 65533) / 65536;
        assert_true(fabs((double)mean[i] - exact) <= ldexp(1, -33) + fabs(exact) * ldexp(1, -24));
    }
    cpni_exactsum_reset(&sum);
    assert_int_equal(cpni_exactsum_mean(&sum, mean), CPN_ESTATE);
    assert_int_equal(cpni_exactsum_add(&sum, a, 7), 0);
    assert_int_equal(cpni_exactsum_mean(&sum, mean), 0);
    for (size_t i = 0; i < VALUES; i++) {
        assert_true(
            fabsf(mean[i] - a[i]) <= ldexpf(1, -33) + fabsf(a[i]) * ldexpf(1, -24)); /* the mean of one is itself */
    }
    cpni_exactsum_free(&sum);
}

static void ties_round_to_even(void **state)
{
    (void)state;
    struct cpni_exactsum sum;
    float values[6] = { 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f }, mean[6];
    float rounded[6] = { 0, 2, 2, 0, -2, -2 };
    assert_int_equal(cpni_exactsum_init(&sum, 6, 10, 0), 0);
    assert_int_equal(cpni_exactsum_add(&sum, values, 1), 0);
    assert_int_equal(cpni_exactsum_mean(&sum, mean), 0);
    for (int i = 0; i < 6; i++) {
        assert_true(mean[i] == rounded[i]);
    }
    cpni_exactsum_free(&sum);
}

static void refused_changes_nothing(void **state)
{
    (void)state;
    struct cpni_exactsum sum;
    float good[4] = { 1, -2, 3, 2000 }, mean[4];
    assert_int_equal(cpni_exactsum_init(&sum, 4, 1 << 20, CPNI_EXACTSUM_WEIGHT_BITS), 0);
    assert_int_equal(cpni_exactsum_add(&sum, good, 10), 0);
    const float bad[] = { NAN, INFINITY, -INFINITY, 2048.0f, -2048.0f, 1e30f };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        float vector[4] = { 5, 5, 5, bad[i] };
        assert_int_equal(cpni_exactsum_add(&sum, vector, 1), CPN_EBADINPUT);
    }
    assert_int_equal(cpni_exactsum_add(&sum, good, 0), CPN_EINVAL);
    assert_int_equal(cpni_exactsum_add(&sum, good, (1 << 20) - 9), CPN_ETOOBIG);
    assert_int_equal(cpni_exactsum_add(&sum, good, UINT64_MAX), CPN_ETOOBIG);
    assert_int_equal(cpni_exactsum_mean(&sum, mean), 0);
    assert_memory_equal(mean, good, sizeof good);
    assert_int_equal(cpni_exactsum_add(&sum, good, (1 << 20) - 10), 0); /* the very last sample fits */
    assert_int_equal(cpni_exactsum_mean(&sum, mean), 0);
    assert_memory_equal(mean, good, sizeof good);
    cpni_exactsum_free(&sum);
    assert_int_equal(cpni_exactsum_init(&sum, 0, 1, 1), CPN_EINVAL);
    assert_int_equal(cpni_exactsum_init(&sum, 1, 0, 1), CPN_EINVAL);
    assert_int_equal(cpni_exactsum_init(&sum, 1, 1, 49), CPN_EINVAL);
}

static void largest_values_do_not_overflow(void **state)
{
    (void)state;
    struct cpni_exactsum sum;
    float top = nextafterf(2048.0f, 0), mean;
    for (int sign = -1; sign <= 1; sign += 2) {
        float value = (float)sign * top;
        assert_int_equal(cpni_exactsum_init(&sum, 1, 1 << 20, CPNI_EXACTSUM_WEIGHT_BITS), 0);
        for (int i = 0; i < 1024; i++) {
            assert_int_equal(cpni_exactsum_add(&sum, &value, 1024), 0);
        }
        assert_int_equal(cpni_exactsum_mean(&sum, &mean), 0);
        assert_true(mean == value);
        cpni_exactsum_free(&sum);
    }
}

static void delta_keeps_its_bound(void **state)
{
    (void)state;
    static float delta[VALUES], residual[VALUES], decoded[VALUES];
    uint8_t *bytes = malloc(cpni_delta8_size(VALUES));
    fill(delta, 0.01f);
    delta[5] = 0; /* and one block of nothing but zeros */
    memset(delta + 256, 0, 256 * sizeof *delta);
    memset(residual, 0, sizeof residual);
    assert_int_equal(cpni_delta8_encode(delta, VALUES, residual, bytes), 0);
    assert_int_equal(cpni_delta8_decode(bytes, cpni_delta8_size(VALUES), VALUES, decoded), 0);
    for (size_t i = 0; i < VALUES; i++) {
        assert_true(fabsf(delta[i] - decoded[i]) <= 0.01f / 127 / 2 * 1.001f);
        assert_true(fabsf(delta[i] - decoded[i] - residual[i]) <= 1e-9f);
    }
    assert_true(decoded[300] == 0 && residual[300] == 0);
    free(bytes);
}

/* A change far below one step gets through in time: that is what the residual is for. */
static void residual_lets_small_changes_through(void **state)
{
    (void)state;
    enum { COUNT = 2, ROUNDS = 2000 };
    float delta[COUNT] = { 1.0f, 0.0001f }, residual[COUNT] = { 0 }, decoded[COUNT];
    double total = 0;
    uint8_t bytes[COUNT + 4];
    for (int round = 0; round < ROUNDS; round++) {
        assert_int_equal(cpni_delta8_encode(delta, COUNT, residual, bytes), 0);
        assert_int_equal(cpni_delta8_decode(bytes, sizeof bytes, COUNT, decoded), 0);
        total += (double)decoded[1];
    }
    assert_true(fabs(total - 0.0001 * ROUNDS) < 0.01);
}

/* And without a residual: what is a quarter of a step is one step each fourth time, whatever the seed; never is more than a step lost. */
static void dither_lets_small_changes_through(void **state)
{
    (void)state;
    enum { COUNT = 300, ROUNDS = 2000 };
    static float delta[COUNT], total[COUNT];
    uint8_t bytes[2 * COUNT], again[2 * COUNT];
    const size_t size = cpni_delta8_size(COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        delta[i] = i % 256 == 0 ? 127.0f : (float)i / COUNT - 0.5f; /* a step is 1 */
    }
    unsigned different = 0;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        assert_int_equal(cpni_delta8_dither(delta, COUNT, 7 ^ round << 32, bytes), 0);
        assert_int_equal(cpni_delta8_dither(delta, COUNT, 7 ^ round << 32, again), 0);
        assert_memory_equal(bytes, again, size);
        assert_int_equal(cpni_delta8_dither(delta, COUNT, 8 ^ round << 32, again), 0);
        different += memcmp(bytes, again, size) != 0;
        float before[COUNT];
        memcpy(before, total, sizeof before);
        assert_int_equal(cpni_delta8_add(bytes, size, COUNT, total), 0);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(fabsf(total[i] - before[i] - delta[i]) <= 1.001f);
        }
    }
    assert_int_equal(different, ROUNDS);
    for (size_t i = 0; i < COUNT; i++) { /* five standard deviations of so many coins, each of them at most half a step */
        assert_true(fabsf(total[i] / ROUNDS - delta[i]) < 5 * 0.5f / sqrtf(ROUNDS));
    }
    assert_true(total[0] == 127.0f * ROUNDS);
}

static void dither_of_extremes(void **state)
{
    (void)state;
    float delta[4] = { 3e38f, -3e38f, 0, 1e-40f }, decoded[4];
    uint8_t bytes[8];
    assert_int_equal(cpni_delta8_dither(delta, 4, 1, bytes), 0);
    assert_int_equal(cpni_delta8_decode(bytes, sizeof bytes, 4, decoded), 0);
    assert_true(fabsf(decoded[0] / 3e38f - 1) < 1e-6f && decoded[1] == -decoded[0] && decoded[2] == 0 && decoded[3] <= 3e38f / 127);
    float tiny[2] = { 1e-40f, -1e-40f };
    assert_int_equal(cpni_delta8_dither(tiny, 2, 1, bytes), 0);
    assert_int_equal(cpni_delta8_decode(bytes, 6, 2, decoded), 0);
    assert_true(decoded[0] == 0 && decoded[1] == 0);
    delta[1] = INFINITY;
    assert_int_equal(cpni_delta8_dither(delta, 4, 1, bytes), CPN_EBADINPUT);
    delta[1] = NAN;
    assert_int_equal(cpni_delta8_dither(delta, 4, 1, bytes), CPN_EBADINPUT);
}

/* The same sources made for the oldest processor (see meson.build): what comes out is the same to the bit. */
int narrow_delta8_encode(const float *delta, size_t count, float *residual, uint8_t *out);
int narrow_delta8_dither(const float *delta, size_t count, uint64_t seed, uint8_t *out);
int narrow_delta8_add(const uint8_t *data, size_t size, size_t count, float *values);
int narrow_exactsum_add(struct cpni_exactsum *sum, const float *values, uint64_t weight);
int narrow_exactsum_mean(const struct cpni_exactsum *sum, float *mean);

static void every_processor_gives_the_same_bits(void **state)
{
    (void)state;
    static float delta[VALUES], residual[2][VALUES], values[2][VALUES];
    static uint8_t bytes[2][2 * VALUES];
    const size_t size = cpni_delta8_size(VALUES);
    struct cpni_exactsum sums[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cpni_exactsum_init(&sums[i], VALUES, 1 << 20, CPNI_EXACTSUM_WEIGHT_BITS), 0);
    }
    for (uint64_t round = 0; round < 200; round++) {
        fill(delta, powf(10.0f, (float)(round % 9) - 6));
        assert_int_equal(cpni_delta8_encode(delta, VALUES, residual[0], bytes[0]), 0);
        assert_int_equal(narrow_delta8_encode(delta, VALUES, residual[1], bytes[1]), 0);
        assert_memory_equal(bytes[0], bytes[1], size);
        assert_memory_equal(residual[0], residual[1], sizeof residual[0]);
        assert_int_equal(cpni_delta8_dither(delta, VALUES, round, bytes[0]), 0);
        assert_int_equal(narrow_delta8_dither(delta, VALUES, round, bytes[1]), 0);
        assert_memory_equal(bytes[0], bytes[1], size);
        assert_int_equal(cpni_exactsum_add(&sums[0], delta, 1 + round * 49), 0);
        assert_int_equal(narrow_exactsum_add(&sums[1], delta, 1 + round * 49), 0);
        assert_int_equal(cpni_exactsum_mean(&sums[0], values[0]), 0);
        assert_int_equal(narrow_exactsum_mean(&sums[1], values[1]), 0);
        assert_memory_equal(values[0], values[1], sizeof values[0]);
        for (size_t i = 0; i < VALUES; i++) { /* and what a cast would give, which rounds once */
            const double mean = (double)sums[0].sums[i] / ((double)sums[0].weight * (double)(INT64_C(1) << CPNI_EXACTSUM_WEIGHT_BITS));
            assert_true((float)mean == values[0][i]);
        }
        assert_int_equal(cpni_delta8_add(bytes[0], size, VALUES, values[0]), 0);
        assert_int_equal(narrow_delta8_add(bytes[1], size, VALUES, values[1]), 0);
        assert_memory_equal(values[0], values[1], sizeof values[0]);
    }
    for (int i = 0; i < 2; i++) {
        cpni_exactsum_free(&sums[i]);
    }
}

static void delta_refuses(void **state)
{
    (void)state;
    float delta[3] = { 1, NAN, 2 }, residual[3] = { 0.5f, 0, 0 }, decoded[3] = { 9, 9, 9 };
    uint8_t bytes[7] = { 1, 2, 3 };
    assert_int_equal(cpni_delta8_encode(delta, 3, residual, bytes), CPN_EBADINPUT);
    assert_true(residual[0] == 0.5f && bytes[0] == 1);
    delta[1] = 3.4e38f;
    residual[1] = 3.4e38f;
    assert_int_equal(cpni_delta8_encode(delta, 3, residual, bytes), CPN_EBADINPUT);
    const uint8_t infinite[7] = { 0, 0, 0x80, 0x7f, 1, 1, 1 }, negative[7] = { 0, 0, 0x80, 0xbf, 1, 1, 1 };
    assert_int_equal(cpni_delta8_decode(infinite, 7, 3, decoded), CPN_EPROTO);
    assert_int_equal(cpni_delta8_decode(negative, 7, 3, decoded), CPN_EPROTO);
    assert_int_equal(cpni_delta8_decode(bytes, 6, 3, decoded), CPN_EPROTO);
    assert_int_equal(cpni_delta8_add(bytes, 6, 3, decoded), CPN_EPROTO);
    assert_true(decoded[0] == 9);
    assert_int_equal(cpni_delta8_size(0), 0);
    assert_int_equal(cpni_delta8_size(256), 260);
    assert_int_equal(cpni_delta8_size(257), 265);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_does_not_show),
        cmocka_unit_test(mean_is_within_its_bound),
        cmocka_unit_test(ties_round_to_even),
        cmocka_unit_test(refused_changes_nothing),
        cmocka_unit_test(largest_values_do_not_overflow),
        cmocka_unit_test(delta_keeps_its_bound),
        cmocka_unit_test(residual_lets_small_changes_through),
        cmocka_unit_test(dither_lets_small_changes_through),
        cmocka_unit_test(dither_of_extremes),
        cmocka_unit_test(every_processor_gives_the_same_bits),
        cmocka_unit_test(delta_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
