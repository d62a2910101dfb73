/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a virtual trainer computes: cheap floats that depend on everything that a real one depends on (the lane, its settings, the weights it
 * began with, every step that it did before), so that a round left out, done twice or done from other weights shows in the outcome. And
 * what a whole session must come to when nothing goes wrong. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "core/delta8.h"
#include "core/exactsum.h"

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static float small(uint64_t draw)
{
    return (float)((int)(draw % 2001) - 1000) / 1024.0f;
}

uint64_t brain_values(const struct cpni_session_spec *spec)
{
    const struct cpni_lane_spec *lane = &spec->lanes[0];
    return (uint64_t)lane->hidden[0] * lane->hidden[1];
}

void brain_fresh(struct brain *brain, const struct cpni_session_spec *spec, uint32_t lane)
{
    *brain = (struct brain){ .lane = lane, .count = brain_values(spec) };
    const struct cpni_lane_spec *settings = cpni_session_lane(spec, lane);
    brain->momentum = mix(settings->seed + settings->batch);
    brain->weights = sim_alloc(brain->count * sizeof *brain->weights);
    brain->residual = sim_alloc(brain->count * sizeof *brain->residual);
    for (uint64_t i = 0; i < brain->count; i++) {
        brain->weights[i] = small(mix(brain->momentum + i));
    }
}

void brain_free(struct brain *brain)
{
    free(brain->weights);
    free(brain->residual);
    *brain = (struct brain){ 0 };
}

void brain_set(struct brain *brain, const float *weights)
{
    memcpy(brain->weights, weights, brain->count * sizeof *weights);
}

static void remember(struct brain *brain)
{
    uint64_t bits = 0;
    memcpy(&bits, brain->weights, sizeof(float));
    brain->momentum = mix(brain->momentum ^ bits ^ (uint64_t)brain->lane << 40);
}

void brain_steps(struct brain *brain, uint64_t steps)
{
    for (uint64_t step = 0; step < steps; step++) {
        remember(brain);
    }
    for (uint64_t i = 0; steps != 0 && i < brain->count; i++) {
        brain->weights[i] = brain->weights[i] * 0.5f + small(mix(brain->momentum + i));
    }
}

void brain_gradient(struct brain *brain, float *gradient)
{
    remember(brain);
    for (uint64_t i = 0; i < brain->count; i++) {
        gradient[i] = small(mix(brain->momentum + i)) + brain->weights[i] * 0.25f;
    }
}

void brain_apply(struct brain *brain, const float *mean)
{
    for (uint64_t i = 0; i < brain->count; i++) {
        brain->weights[i] -= 0.5f * mean[i];
    }
}

struct verdict brain_judge(const struct brain *brain)
{
    uint64_t hash = 0;
    for (uint64_t i = 0; i < brain->count; i++) {
        uint32_t bits;
        memcpy(&bits, &brain->weights[i], sizeof bits);
        hash = mix(hash ^ bits);
    }
    return (struct verdict){ .tested = 1000, .correct = hash % 1001, .loss_micro = hash % 3000000 };
}

/* ---- a checkpoint ---- */

struct frozen { /* its hash first: the toy tree looks at the ends alone */
    uint64_t hash, momentum, round, count;
    uint32_t lane, magic;
};
#define MAGIC 0x62726169u

static uint64_t hash_of(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t hash = size;
    for (size_t i = 0; i + 4 <= size; i += 4) {
        uint32_t word;
        memcpy(&word, bytes + i, sizeof word);
        hash = mix(hash ^ word);
    }
    return hash;
}

struct cpni_bytes *brain_freeze(const struct brain *brain, uint64_t round)
{
    size_t vector = brain->count * sizeof(float);
    size_t size = sizeof(struct frozen) + 2 * vector;
    struct frozen head = { .momentum = brain->momentum, .round = round, .count = brain->count, .lane = brain->lane, .magic = MAGIC };
    uint8_t *data = sim_alloc(size);
    memcpy(data, &head, sizeof head);
    memcpy(data + sizeof head, brain->weights, vector);
    memcpy(data + sizeof head + vector, brain->residual, vector);
    head.hash = hash_of(data, size);
    memcpy(data, &head, sizeof head);
    struct cpni_bytes *bytes = cpni_bytes_copy(data, size);
    free(data);
    return bytes;
}

bool brain_thaw(struct brain *brain, const uint8_t *data, size_t size, uint64_t *round)
{
    struct frozen head;
    size_t vector = brain->count * sizeof(float);
    if (size != sizeof head + 2 * vector) {
        return false;
    }
    memcpy(&head, data, sizeof head);
    if (head.magic != MAGIC || head.lane != brain->lane || head.count != brain->count) {
        return false;
    }
    brain->momentum = head.momentum;
    memcpy(brain->weights, data + sizeof head, vector);
    memcpy(brain->residual, data + sizeof head + vector, vector);
    *round = head.round;
    return true;
}

/* ---- what an UPDATE carries ---- */

uint64_t brain_samples(const struct cpni_session_spec *spec, uint32_t lane, uint64_t train_rows, uint64_t steps)
{
    uint64_t rows = cpni_session_lane_rows(spec, lane, train_rows), batch = cpni_session_lane(spec, lane)->batch;
    return steps * (batch < rows ? batch : rows);
}

/* The change since `before` in int8; the residual stays with the brain. */
struct cpni_bytes *brain_change(struct brain *brain, const float *before)
{
    size_t size = cpni_delta8_size(brain->count);
    float *delta = sim_alloc(brain->count * sizeof *delta);
    uint8_t *out = sim_alloc(size);
    for (uint64_t i = 0; i < brain->count; i++) {
        delta[i] = brain->weights[i] - before[i];
    }
    cpni_delta8_encode(delta, brain->count, brain->residual, out);
    struct cpni_bytes *bytes = cpni_bytes_copy(out, size);
    free(delta);
    free(out);
    return bytes;
}

/* ---- a session when nothing goes wrong ---- */

struct lesson {
    const struct cpni_session_spec *spec;
    uint64_t train_rows, count;
    uint32_t lanes;
    struct brain *brains;
    float *common, *vector;
    struct cpni_exactsum sum;
};

static void average(struct lesson *lesson, uint64_t round)
{
    const struct cpni_session_spec *spec = lesson->spec;
    uint64_t steps = cpni_session_round_steps(spec, 0, lesson->train_rows, round);
    bool int8 = spec->int8 && round > 1;
    for (uint32_t i = 0; i < lesson->lanes; i++) {
        struct brain *brain = &lesson->brains[i];
        if (round > 1) {
            brain_set(brain, lesson->common);
        }
        brain_steps(brain, steps);
        const float *values = brain->weights;
        if (int8) {
            struct cpni_bytes *change = brain_change(brain, lesson->common);
            cpni_delta8_decode(change->data, change->size, lesson->count, lesson->vector);
            cpni_bytes_unref(change);
            values = lesson->vector;
        }
        cpni_exactsum_add(&lesson->sum, values, brain_samples(spec, i, lesson->train_rows, steps));
    }
    cpni_exactsum_mean(&lesson->sum, lesson->vector);
    cpni_exactsum_reset(&lesson->sum);
    if (int8) {
        size_t size = cpni_delta8_size(lesson->count);
        uint8_t *change = sim_alloc(size);
        cpni_delta8_dither(lesson->vector, lesson->count, cpni_session_lane(spec, 0)->seed ^ round << 32, change);
        cpni_delta8_add(change, size, lesson->count, lesson->common);
        free(change);
    } else {
        memcpy(lesson->common, lesson->vector, lesson->count * sizeof *lesson->common);
    }
}

static void synchronous(struct lesson *lesson, uint64_t round)
{
    uint64_t steps = cpni_session_round_steps(lesson->spec, 0, lesson->train_rows, round);
    for (uint64_t step = 0; step < steps; step++) {
        for (uint32_t i = 0; i < lesson->lanes; i++) {
            brain_gradient(&lesson->brains[i], lesson->vector);
            cpni_exactsum_add(&lesson->sum, lesson->vector, brain_samples(lesson->spec, i, lesson->train_rows, 1));
        }
        cpni_exactsum_mean(&lesson->sum, lesson->vector);
        cpni_exactsum_reset(&lesson->sum);
        for (uint32_t i = 0; i < lesson->lanes; i++) {
            brain_apply(&lesson->brains[i], lesson->vector);
        }
    }
    memcpy(lesson->common, lesson->brains[0].weights, lesson->count * sizeof *lesson->common);
}

static struct cpni_bytes *together(const struct cpni_session_spec *spec, uint64_t train_rows)
{
    struct lesson lesson = { .spec = spec, .train_rows = train_rows, .count = brain_values(spec), .lanes = cpni_session_lanes(spec) };
    bool sync = spec->mode == CPNI_MODE_SYNC;
    lesson.brains = sim_alloc(lesson.lanes * sizeof *lesson.brains);
    lesson.common = sim_alloc(lesson.count * sizeof *lesson.common);
    lesson.vector = sim_alloc(lesson.count * sizeof *lesson.vector);
    if (cpni_exactsum_init(&lesson.sum, lesson.count, 1u << 20, sync ? CPNI_EXACTSUM_GRADIENT_BITS : CPNI_EXACTSUM_WEIGHT_BITS) < 0) {
        exit(2);
    }
    for (uint32_t i = 0; i < lesson.lanes; i++) {
        brain_fresh(&lesson.brains[i], spec, i);
    }
    uint64_t rounds = cpni_session_rounds(spec, train_rows);
    for (uint64_t round = 1; round <= rounds; round++) {
        (sync ? synchronous : average)(&lesson, round);
    }
    struct cpni_bytes *outcome = cpni_bytes_copy(lesson.common, lesson.count * sizeof *lesson.common);
    for (uint32_t i = 0; i < lesson.lanes; i++) {
        brain_free(&lesson.brains[i]);
    }
    cpni_exactsum_free(&lesson.sum);
    free(lesson.brains);
    free(lesson.common);
    free(lesson.vector);
    return outcome;
}

static struct cpni_bytes *alone(const struct cpni_session_spec *spec, uint64_t train_rows, uint32_t lane)
{
    struct brain brain;
    brain_fresh(&brain, spec, lane);
    uint64_t steps;
    for (uint64_t round = 1; (steps = cpni_session_round_steps(spec, lane, train_rows, round)) != 0; round++) {
        brain_steps(&brain, steps);
    }
    struct cpni_bytes *outcome = cpni_bytes_copy(brain.weights, brain.count * sizeof *brain.weights);
    brain_free(&brain);
    return outcome;
}

struct cpni_bytes *brain_expected(const struct cpni_session_spec *spec, uint64_t train_rows, uint32_t lane)
{
    return spec->mode == CPNI_MODE_SWEEP ? alone(spec, train_rows, lane) : together(spec, train_rows);
}
