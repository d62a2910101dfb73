/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The trainer that unit-trainer tests, its rows, and what its tests share. */
#ifndef TRAINER_FIXTURE_H
#define TRAINER_FIXTURE_H

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>
#include <cpn/trainer.h>

#include "trainer_reference.h"

static const struct cpn_trainer *trainer, *other_trainer;
static char detail[CPN_TRAINER_DETAIL];

static uint64_t random_state;

static double random_unit(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(random_state >> 40) / 8388608.0 - 1.0;
}

/* Three clusters that overlap a little. */
static int make_rows(void **state)
{
    (void)state;
    random_state = 7;
    for (int r = 0; r < ROWS; r++) {
        labels[r] = r % CLASSES;
        for (int i = 0; i < INPUTS; i++) {
            features[r * INPUTS + i] = (float)(random_unit() + (i % CLASSES == labels[r] ? 0.8 : 0));
        }
    }
    return 0;
}

static struct cpn_trainer_rows all_rows(void)
{
    return (struct cpn_trainer_rows){
        .size = sizeof(struct cpn_trainer_rows), .columns = INPUTS, .features = features, .labels = labels, .rows = ROWS
    };
}

static struct cpn_trainer_spec small_spec(void)
{
    struct cpn_trainer_spec spec = CPN_TRAINER_SPEC_INIT;
    spec.inputs = INPUTS;
    spec.classes = CLASSES;
    spec.hidden[0] = 37; /* more than one panel of 32, not a multiple of anything */
    spec.hidden[1] = 5;
    spec.batch = 8;
    spec.learning_rate = 0.01f;
    spec.seed = 3;
    spec.reproducible = 1;
    return spec;
}

static void *made(const struct cpn_trainer_spec *spec, int bound)
{
    void *t = NULL;
    struct cpn_trainer_rows rows = all_rows();
    detail[0] = '\0';
    if (trainer->create(spec, &t, detail) < 0 || (bound && trainer->bind(t, &rows, detail) < 0)) {
        fail_msg("%s", detail);
    }
    return t;
}

static struct cpn_trainer_info info_of(void *t)
{
    struct cpn_trainer_info info = { .size = sizeof info };
    assert_int_equal(trainer->info(t, &info), 0);
    return info;
}

static float *weights_of(void *t)
{
    float *weights = malloc(info_of(t).weights * sizeof *weights);
    assert_int_equal(trainer->get_weights(t, weights), 0);
    return weights;
}

/* The same to the bit where the trainer promises that, close elsewhere. */
static void assert_same_weights(void *a, void *b)
{
    struct cpn_trainer_info info = info_of(a);
    float *left = weights_of(a), *right = weights_of(b);
    if (info.reproducible) {
        assert_memory_equal(left, right, info.weights * sizeof *left);
    }
    for (uint64_t i = 0; i < info.weights; i++) {
        assert_true(fabs((double)left[i] - (double)right[i]) < 1e-4);
    }
    free(left);
    free(right);
}

static struct cpn_trainer_result steps(void *t, uint64_t count)
{
    struct cpn_trainer_result result;
    assert_int_equal(trainer->step(t, count, NULL, NULL, &result, detail), 0);
    assert_int_equal(result.steps, count);
    return result;
}

#endif
