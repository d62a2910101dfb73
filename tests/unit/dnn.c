/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Trainer dnn beyond the contract of trainers (unit-trainer): the same bits from every instruction set, own exp and
 * log, and what happens when memory runs out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "compute/trainers/dnn.h"
#include "base/random.h"

enum { ROWS = 150, INPUTS = 21, CLASSES = 11 };

extern const struct cpn_trainer cpn_trainer_v1;
static float features[ROWS * INPUTS];
static int32_t labels[ROWS];
static char detail[CPN_TRAINER_DETAIL];

static struct cpn_trainer_rows make_rows(void)
{
    struct cpni_random random;
    cpni_random_seed(&random, 1, 2);
    for (int i = 0; i < ROWS * INPUTS; i++) {
        features[i] = cpni_random_uniform(&random);
    }
    for (int i = 0; i < ROWS; i++) {
        labels[i] = (int32_t)cpni_random_below(&random, CLASSES);
    }
    return (struct cpn_trainer_rows){
        .size = sizeof(struct cpn_trainer_rows), .columns = INPUTS, .features = features, .labels = labels, .rows = ROWS
    };
}

static struct cpn_trainer_spec spec_of(uint32_t first, uint32_t second, uint32_t batch, uint32_t optimizer)
{
    struct cpn_trainer_spec spec = CPN_TRAINER_SPEC_INIT;
    spec.inputs = INPUTS;
    spec.classes = CLASSES;
    spec.hidden[0] = first;
    spec.hidden[1] = second;
    spec.batch = batch;
    spec.optimizer = optimizer;
    spec.weight_decay = 0.001f;
    return spec;
}

/* Weights after 30 steps, and the loss of them; NULL when the processor has no such kernels. */
static float *trained(const char *kernels, struct cpn_trainer_spec spec, uint64_t *count, double *loss)
{
    void *t = NULL;
    struct cpn_trainer_rows rows = make_rows();
    struct cpn_trainer_result result;
    if (cpni_kernels_named(kernels) == NULL) {
        return NULL;
    }
    assert_int_equal(cpni_dnn_create(&spec, cpni_kernels_named(kernels), &t, detail), 0);
    assert_int_equal(cpn_trainer_v1.bind(t, &rows, detail), 0);
    assert_int_equal(cpn_trainer_v1.step(t, 30, NULL, NULL, &result, detail), 0);
    struct cpn_trainer_info info = { .size = sizeof info };
    assert_int_equal(cpn_trainer_v1.info(t, &info), 0);
    float *weights = malloc(info.weights * sizeof *weights);
    assert_int_equal(cpn_trainer_v1.get_weights(t, weights), 0);
    *count = info.weights;
    *loss = result.loss_sum;
    cpn_trainer_v1.destroy(t);
    return weights;
}

static void kernels_agree(void **state)
{
    (void)state;
    static const uint32_t shapes[][3]
        = { { 128, 64, 64 }, { 33, 5, 7 }, { 1, 1, 1 }, { 96, 200, 150 }, { 31, 32, 33 } };
    static const char *const others[] = { "avx2", "avx512", "sse2" };
    for (size_t s = 0; s < 2 * sizeof shapes / sizeof *shapes; s++) {
        struct cpn_trainer_spec spec = spec_of(shapes[s / 2][0], shapes[s / 2][1], shapes[s / 2][2], s % 2);
        uint64_t count;
        double loss, other_loss;
        float *plain = trained("plain", spec, &count, &loss);
        for (int i = 0; i < 3; i++) {
            float *other = trained(others[i], spec, &count, &other_loss);
            if (other == NULL) {
                print_message("no %s here\n", others[i]);
                continue;
            }
            if (strcmp(cpni_kernels_named(others[i])->bits, cpni_kernels_named("plain")->bits) == 0) {
                assert_memory_equal(plain, other, count * sizeof *plain);
                assert_true(loss == other_loss);
            }
            assert_true(fabs(loss - other_loss) < 1e-3 * loss);
            free(other);
        }
        free(plain);
    }
}

static void padding_stays_zero(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = spec_of(33, 5, 7, CPN_TRAINER_ADAM);
    struct cpn_trainer_rows rows = make_rows();
    struct cpn_trainer_result result;
    void *t = NULL;
    assert_int_equal(cpni_dnn_create(&spec, cpni_kernels_best(), &t, detail), 0);
    assert_int_equal(cpn_trainer_v1.bind(t, &rows, detail), 0);
    assert_int_equal(cpn_trainer_v1.step(t, 40, NULL, NULL, &result, detail), 0);
    const struct cpni_net *net = &((struct cpni_dnn *)t)->net;
    const struct cpni_net_layer *layer = &net->layers[0]; /* 33 of 64 columns used */
    for (uint32_t row = 0; row < layer->in; row++) {
        for (uint32_t column = 1; column < CPNI_PANEL; column++) {
            assert_true(net->weights[layer->weights + (layer->in + row) * CPNI_PANEL + column] == 0);
        }
    }
    cpn_trainer_v1.destroy(t);
}

static void softmax_is_accurate(void **state)
{
    (void)state;
    static const char *const names[] = { "plain", "sse2", "avx2", "avx512" };
    struct cpni_random random;
    cpni_random_seed(&random, 5, 5);
    for (int i = 0; i < 20000; i++) {
        float logits[9], row[9];
        double sum = 0, largest = -INFINITY;
        for (int c = 0; c < 9; c++) {
            logits[c] = cpni_random_uniform(&random) * powf(10.0f, (float)(i % 6 - 3));
            largest = fmax(largest, (double)logits[c]);
        }
        for (int c = 0; c < 9; c++) {
            sum += exp((double)logits[c] - largest);
        }
        const struct cpni_kernels *kernels = cpni_kernels_named(names[i % 4]);
        if (kernels == NULL) {
            continue;
        }
        memcpy(row, logits, sizeof row);
        double loss = kernels->softmax(row, 9, i % 9), exact_loss = log(sum) + largest - (double)logits[i % 9];
        assert_true(fabs(loss - exact_loss) <= 1e-6 * exact_loss + 1e-7);
        for (int c = 0; c < 9; c++) {
            double exact = exp((double)logits[c] - largest) / sum;
            assert_true(fabs((double)row[c] - exact) <= 1e-6 * exact + 1e-30);
        }
    }
}

static void softmax_shows_what_is_not_finite(void **state)
{
    (void)state;
    const float bad[] = { NAN, INFINITY, -INFINITY };
    for (int b = 0; b < 3; b++) {
        for (int at = 0; at < 4; at++) {
            float row[4] = { 1, 2, 3, 4 };
            row[at] = bad[b];
            assert_true(isnan(cpni_kernels_best()->softmax(row, 4, 1)));
        }
    }
    float far[3] = { 3e38f, -3e38f, 0 };
    assert_true(isfinite(cpni_kernels_best()->softmax(far, 3, 1)));
    assert_true(far[0] == 1 && far[1] == 0);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    struct cpn_trainer_spec spec = spec_of(8, 8, 8, CPN_TRAINER_ADAM);
    struct cpn_trainer_rows rows = make_rows();
    int rc = CPN_ENOMEM;
    for (unsigned nth = 1; rc != 0; nth++) {
        void *t = NULL;
        cpni_alloc_fail(nth);
        rc = cpn_trainer_v1.create(&spec, &t, detail);
        if (rc == 0) {
            rc = cpn_trainer_v1.bind(t, &rows, detail);
        }
        cpni_alloc_fail(0);
        assert_true(rc == 0 || rc == CPN_ENOMEM);
        assert_true(nth < 100);
        cpn_trainer_v1.destroy(t);
    }
}

static void shuffles_are_permutations(void **state)
{
    (void)state;
    struct cpni_random random;
    uint32_t values[100], seen[100] = { 0 }, moved = 0;
    for (uint32_t i = 0; i < 100; i++) {
        values[i] = i;
    }
    cpni_random_seed(&random, 9, 1);
    cpni_random_shuffle(&random, values, 100);
    for (uint32_t i = 0; i < 100; i++) {
        seen[values[i]]++;
        moved += values[i] != i;
    }
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(seen[i], 1);
    }
    assert_true(moved > 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_agree),
        cmocka_unit_test(padding_stays_zero),
        cmocka_unit_test(softmax_is_accurate),
        cmocka_unit_test(softmax_shows_what_is_not_finite),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(shuffles_are_permutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
