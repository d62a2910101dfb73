/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See trainer_lane.h. */
#include "trainer_lane.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "compute/runner.h"
#include "core/delta8.h"

/* Steps between two looks at the clock: a heartbeat is at most so late, and the look costs nothing. */
#define SLICE_US 50000

/* ---- making it ---- */

/* Numbers are written as C writes them, whatever locale a plug-in sets. */
static int number(locale_t locale, const char *name, const char *text, float *out, char *detail)
{
    char *end;
    double value = strtod_l(text, &end, locale);
    if (*end != 0 || end == text || !isfinite(value)) {
        snprintf(detail, CPN_TRAINER_DETAIL, "%s: '%s' is no number", name, text);
        return CPN_EBADINPUT;
    }
    *out = (float)value;
    return 0;
}

static int fill_spec(const struct cpni_lane_spec *settings, struct cpn_trainer_spec *spec, char *detail)
{
    locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (locale == (locale_t)0) {
        return CPN_ENOMEM;
    }
    int rc = number(locale, "lr", settings->lr, &spec->learning_rate, detail);
    rc = rc < 0 ? rc : number(locale, "momentum", settings->momentum, &spec->momentum, detail);
    rc = rc < 0 ? rc : number(locale, "decay", settings->decay, &spec->weight_decay, detail);
    freelocale(locale);
    spec->hidden_count = settings->hidden_count;
    for (uint32_t i = 0; i < settings->hidden_count && i < CPN_TRAINER_HIDDEN_MAX; i++) {
        spec->hidden[i] = settings->hidden[i];
    }
    spec->optimizer = settings->sgd ? CPN_TRAINER_SGD : CPN_TRAINER_ADAM;
    spec->batch = settings->batch;
    spec->seed = settings->seed;
    spec->reproducible = 1;
    return rc;
}

int cpni_lane_create(
    struct cpni_lane *lane, const struct cpni_trainer_open *open, uint32_t columns, uint32_t classes, char *detail)
{
    struct cpn_trainer_spec spec = CPN_TRAINER_SPEC_INIT;
    lane->is = open->lane;
    int rc = fill_spec(&open->lane.settings, &spec, detail);
    spec.inputs = columns;
    spec.classes = classes;
    spec.threads = open->threads;
    rc = rc < 0 ? rc : lane->plugin->create(&spec, &lane->trainer, detail);
    lane->info.size = sizeof lane->info;
    rc = rc < 0 ? rc : lane->plugin->info(lane->trainer, &lane->info);
    return rc < 0 ? rc : 0;
}

/* ---- the checkpoint ---- */

#define CHECKPOINT_MAGIC "cpn-lane"
#define CHECKPOINT_VERSION 1

/* Followed by the trainer's state (padded to 8 bytes), the weights, and the residual if there is one. Native: all
 * machines of a network that train together are little-endian, as the dataset is. To change anything, raise VERSION;
 * what is refused begins anew. */
struct checkpoint {
    char magic[8];
    uint32_t version, lane;
    uint64_t round, position;
    uint64_t weights, trainer_bytes, residual; /* floats, bytes, floats */
    struct cpn_trainer_result epoch;
    char trainer[32], trainer_version[32];
};

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static uint64_t residual_floats(const struct cpni_lane *lane)
{
    return lane->is.int8 ? lane->info.weights : 0;
}

uint64_t cpni_lane_checkpoint_bytes(const struct cpni_lane *lane)
{
    return sizeof(struct checkpoint) + padded(lane->info.state_bytes)
        + (lane->info.weights + residual_floats(lane)) * sizeof(float);
}

static struct checkpoint header_of(const struct cpni_lane *lane)
{
    struct checkpoint head;
    memset(&head, 0, sizeof head); /* padding too: equal lanes give equal blobs */
    memcpy(head.magic, CHECKPOINT_MAGIC, sizeof head.magic);
    head.version = CHECKPOINT_VERSION;
    head.lane = lane->is.lane;
    head.round = lane->round;
    head.position = lane->position;
    head.weights = lane->info.weights;
    head.trainer_bytes = lane->info.state_bytes;
    head.residual = residual_floats(lane);
    head.epoch = lane->epoch;
    snprintf(head.trainer, sizeof head.trainer, "%s", lane->plugin->name);
    snprintf(head.trainer_version, sizeof head.trainer_version, "%s", lane->plugin->version);
    return head;
}

static int save(const struct cpni_lane *lane)
{
    struct checkpoint head = header_of(lane);
    uint8_t *at = lane->checkpoint;
    memcpy(at, &head, sizeof head);
    at += sizeof head;
    memset(at, 0, padded(head.trainer_bytes));
    int rc = lane->plugin->get_state(lane->trainer, at);
    at += padded(head.trainer_bytes);
    rc = rc < 0 ? rc : lane->plugin->get_weights(lane->trainer, (float *)(void *)at);
    at += head.weights * sizeof(float);
    if (head.residual != 0) {
        memcpy(at, lane->residual, head.residual * sizeof(float));
    }
    return rc;
}

static int refuse_checkpoint(int code, const char *why, char *detail)
{
    snprintf(detail, CPN_TRAINER_DETAIL, "the lane's checkpoint cannot be used: %s", why);
    return code;
}

static int restore(struct cpni_lane *lane, const uint8_t *at, uint64_t size, char *detail)
{
    struct checkpoint head, mine = header_of(lane);
    if (size != cpni_lane_checkpoint_bytes(lane)) {
        return refuse_checkpoint(CPN_ECORRUPT, "it has not the size that this lane's has", detail);
    }
    memcpy(&head, at, sizeof head);
    if (memcmp(head.magic, mine.magic, sizeof mine.magic) != 0 || head.lane != mine.lane || head.weights != mine.weights
        || head.trainer_bytes != mine.trainer_bytes || head.residual != mine.residual) {
        return refuse_checkpoint(CPN_ECORRUPT, "it is not of this lane", detail);
    }
    if (head.version != mine.version || memcmp(head.trainer, mine.trainer, sizeof mine.trainer) != 0
        || memcmp(head.trainer_version, mine.trainer_version, sizeof mine.trainer_version) != 0) {
        return refuse_checkpoint(CPN_EVERSION, "it was made by another version of the trainer", detail);
    }
    const uint8_t *state = at + sizeof head, *weights = state + padded(head.trainer_bytes);
    int rc = lane->plugin->set_state(lane->trainer, state, head.trainer_bytes, detail);
    rc = rc < 0 ? rc : lane->plugin->set_weights(lane->trainer, (const float *)(const void *)weights, detail);
    if (rc == 0 && head.residual != 0) {
        memcpy(lane->residual, weights + head.weights * sizeof(float), head.residual * sizeof(float));
    }
    lane->round = head.round;
    lane->position = head.position;
    lane->epoch = head.epoch;
    return rc;
}

/* ---- rows ---- */

static int divide(struct cpni_lane *lane, uint64_t expected, char *detail)
{
    const struct cpni_dataset *set = &lane->set;
    lane->index = cpni_malloc((set->rows + 1) * sizeof *lane->index);
    int64_t training = lane->index == NULL ? CPN_ENOMEM
                                           : cpni_dataset_split(set->labels, set->rows, set->classes,
                                               (double)lane->is.validation_ppm / 1e6, lane->is.split_seed, lane->index);
    if (training < 0) {
        snprintf(detail, CPN_TRAINER_DETAIL,
            training == CPN_ENOMEM ? "no memory for %llu rows" : "the dataset of %llu rows has labels out of range",
            (unsigned long long)set->rows);
        return training == CPN_ENOMEM ? CPN_ENOMEM : CPN_EBADINPUT;
    }
    uint64_t first = 0, count = (uint64_t)training;
    if (lane->is.mode != CPNI_MODE_SWEEP) {
        cpni_dataset_shard((uint64_t)training, lane->is.peers, lane->is.lane, &first, &count);
    }
    if ((expected != 0 && expected != (uint64_t)training) || count == 0) {
        snprintf(detail, CPN_TRAINER_DETAIL,
            "the dataset has %lld rows to learn from, the session says %llu; a lane needs at least one",
            (long long)training, (unsigned long long)expected);
        return CPN_EBADINPUT;
    }
    lane->rows = (struct cpn_trainer_rows) { sizeof lane->rows, set->columns, set->features, set->labels, set->rows,
        lane->index + first, count };
    lane->validation = lane->rows;
    lane->validation.index = lane->index + training;
    lane->validation.index_count = set->rows - (uint64_t)training;
    const struct cpni_session_spec spec = { .mode = (enum cpni_session_mode)lane->is.mode,
        .peers = lane->is.peers,
        .lanes = &lane->is.settings,
        .lane_count = 1 };
    lane->epoch_steps = cpni_session_epoch_steps(&spec, 0, (uint64_t)training);
    return 0;
}

int cpni_lane_bind(struct cpni_lane *lane, uint64_t train_rows, const void *state, uint64_t state_size, char *detail)
{
    int rc = divide(lane, train_rows, detail);
    if (rc == 0 && lane->is.int8) {
        lane->residual = cpni_calloc(lane->info.weights, sizeof *lane->residual);
        lane->given = cpni_calloc(lane->info.weights, sizeof *lane->given);
        rc = lane->residual == NULL || lane->given == NULL ? CPN_ENOMEM : 0;
    }
    if (rc == 0 && state != NULL) { /* before the rows: then the epoch of the state goes on */
        rc = restore(lane, state, state_size, detail);
    }
    return rc < 0 ? rc : lane->plugin->bind(lane->trainer, &lane->rows, detail);
}

/* ---- a round ---- */

static uint64_t micro(double loss_sum, uint64_t samples)
{
    double mean = samples != 0 ? loss_sum / (double)samples * 1e6 : 0;
    return mean >= 0 && mean < 1e18 ? (uint64_t)(mean + 0.5) : UINT64_C(1000000000000000000);
}

static void add(struct cpn_trainer_result *sum, const struct cpn_trainer_result *more)
{
    sum->steps += more->steps;
    sum->samples += more->samples;
    sum->correct += more->correct;
    sum->loss_sum += more->loss_sum;
}

/* Means since the epoch began: once a second, and when it is over. */
static int say_progress(struct cpni_lane *lane, uint64_t round, bool replay)
{
    bool done = lane->position % lane->epoch_steps == 0;
    int64_t now_us = cpni_now_us();
    int rc = 0;
    if (!replay && (done || now_us - lane->said_us >= CPNI_SESSION_PROGRESS_MS * 1000)) {
        struct cpni_trainer_answer answer = {
            .type = CPNI_TRAINER_PROGRESS,
            .round = round,
            .epoch = (uint32_t)((lane->position - 1) / lane->epoch_steps + 1),
            .epoch_done = done,
            .step = lane->epoch.steps,
            .steps = lane->epoch_steps,
            .samples = lane->epoch.samples,
            .correct = lane->epoch.correct,
            .loss_micro = micro(lane->epoch.loss_sum, lane->epoch.samples),
            .rate = lane->timed_us != 0 ? lane->timed_samples * 1000000 / lane->timed_us : 0,
        };
        lane->said_us = now_us;
        rc = lane->said(lane->arg, &answer);
    }
    if (done) {
        lane->epoch = (struct cpn_trainer_result) { 0 };
        lane->timed_us = lane->timed_samples = 0;
    }
    return rc;
}

static int took(
    struct cpni_lane *lane, const struct cpn_trainer_result *result, int64_t us, struct cpn_trainer_result *sum)
{
    add(sum, result);
    add(&lane->epoch, result);
    lane->position += result->steps;
    lane->timed_samples += result->samples;
    lane->timed_us += (uint64_t)us;
    return 0;
}

static int exchange_step(struct cpni_lane *lane, const struct cpni_trainer_round *round, uint64_t step,
    struct cpn_trainer_result *sum, char *detail)
{
    struct cpn_trainer_result result = { 0 };
    int64_t from_us = cpni_now_us();
    int rc = lane->plugin->gradient(lane->trainer, lane->out, &result, detail);
    if (rc < 0) {
        return rc;
    }
    struct cpni_trainer_answer answer = { .type = CPNI_TRAINER_GRADIENT,
        .round = round->round,
        .step = step,
        .samples = result.samples,
        .correct = result.correct,
        .loss_micro = micro(result.loss_sum, result.samples),
        .vector_bytes = lane->info.weights * sizeof(float) };
    took(lane, &result, cpni_now_us() - from_us, sum);
    rc = lane->said(lane->arg, &answer);
    return rc < 0 ? rc : lane->plugin->apply(lane->trainer, lane->in, detail);
}

/* As many steps as fit a slice of time, none of them beyond the epoch. */
static int slice(struct cpni_lane *lane, uint64_t most, uint64_t *size, struct cpn_trainer_result *sum, char *detail)
{
    struct cpn_trainer_result result = { 0 };
    uint64_t left = lane->epoch_steps - lane->position % lane->epoch_steps;
    uint64_t steps = most < left ? most : left;
    steps = steps < *size ? steps : *size;
    int64_t from_us = cpni_now_us();
    int rc = lane->plugin->step(lane->trainer, steps, NULL, NULL, &result, detail);
    int64_t us = cpni_now_us() - from_us;
    took(lane, &result, us, sum);
    *size = us < SLICE_US / 2 ? *size * 2 : us > SLICE_US && *size > 1 ? *size / 2 : *size;
    return rc;
}

static int train(
    struct cpni_lane *lane, const struct cpni_trainer_round *round, struct cpn_trainer_result *sum, char *detail)
{
    uint64_t size = 1;
    int rc = 0;
    while (sum->steps < round->steps && rc == 0) {
        rc = round->exchange ? exchange_step(lane, round, sum->steps + 1, sum, detail)
                             : slice(lane, round->steps - sum->steps, &size, sum, detail);
        rc = rc < 0 ? rc : say_progress(lane, round->round, round->replay);
    }
    return rc;
}

static int evaluate(struct cpni_lane *lane, struct cpni_trainer_answer *answer)
{
    struct cpn_trainer_result result = { 0 };
    if (lane->validation.index_count == 0) {
        return 0;
    }
    int rc = lane->plugin->evaluate(lane->trainer, &lane->validation, NULL, NULL, &result, answer->detail);
    if (rc == 0 && !isfinite(result.loss_sum)) {
        snprintf(answer->detail, sizeof answer->detail,
            "the loss of the validation rows is not a number: try a lower learning rate");
        return CPN_EDIVERGED;
    }
    answer->tested = result.samples;
    answer->tested_correct = result.correct;
    answer->tested_loss_micro = micro(result.loss_sum, result.samples);
    return rc;
}

/* Leave in `out` what the round came to: the weights, or, where everybody knows what it began from, what they changed
 * by, a byte each. */
static int answer_vector(struct cpni_lane *lane, bool change, struct cpni_trainer_answer *answer)
{
    uint64_t weights = lane->info.weights;
    int rc = lane->plugin->get_weights(lane->trainer, lane->out);
    answer->vector_bytes = weights * sizeof(float);
    if (rc == 0 && change) {
        for (uint64_t i = 0; i < weights; i++) {
            lane->in[i] = lane->out[i] - lane->given[i];
        }
        rc = cpni_delta8_encode(lane->in, weights, lane->residual, (uint8_t *)lane->out);
        if (rc < 0) {
            snprintf(answer->detail, sizeof answer->detail,
                "the weights change by more than a number can say: try a lower learning rate");
            return CPN_EDIVERGED;
        }
        answer->vector_bytes = cpni_delta8_size(weights);
        answer->encoding = 1;
    }
    return rc;
}

/* The weights to begin from are in `in`, or what those of the round before have changed by. */
static int take_weights(struct cpni_lane *lane, const struct cpni_trainer_round *round, char *detail)
{
    if (!lane->is.int8) {
        return lane->plugin->set_weights(lane->trainer, lane->in, detail);
    }
    int rc = 0;
    if (round->encoding == 0) {
        memcpy(lane->given, lane->in, lane->info.weights * sizeof *lane->given);
    } else if (lane->given_round == 0 || lane->given_round + 1 != round->round) {
        snprintf(detail, CPN_TRAINER_DETAIL, "the weights to begin from are a change of others than the lane has");
        rc = CPN_ESTATE;
    } else {
        rc = cpni_delta8_add((const uint8_t *)lane->in, cpni_delta8_size(lane->info.weights), lane->info.weights, lane->given);
    }
    lane->given_round = rc == 0 ? round->round : 0;
    return rc < 0 ? rc : lane->plugin->set_weights(lane->trainer, lane->given, detail);
}

int cpni_lane_round(struct cpni_lane *lane, const struct cpni_trainer_round *round, struct cpni_trainer_answer *answer)
{
    struct cpn_trainer_result sum = { 0 };
    int64_t from_us = cpni_now_us();
    int rc = round->has_vector ? take_weights(lane, round, answer->detail) : 0;
    if (rc == 0 && round->evaluate && !round->evaluate_after) {
        rc = evaluate(lane, answer);
    }
    rc = rc < 0 ? rc : train(lane, round, &sum, answer->detail);
    if (rc == 0
        && round->steps != 0) { /* a round without steps is an evaluation alone: nothing changed, no residual either */
        rc = answer_vector(lane, lane->is.int8 && round->has_vector, answer);
        lane->round = round->round;
    }
    if (rc == 0 && round->evaluate && round->evaluate_after) {
        rc = evaluate(lane, answer);
    }
    if (rc == 0 && round->state) {
        rc = save(lane);
        answer->state_bytes = rc == 0 ? lane->checkpoint_bytes : 0;
    }
    answer->round = round->round;
    answer->steps = sum.steps;
    answer->samples = sum.samples;
    answer->correct = sum.correct;
    answer->loss_micro = micro(sum.loss_sum, sum.samples);
    answer->elapsed_us = (uint64_t)(cpni_now_us() - from_us);
    return rc;
}
