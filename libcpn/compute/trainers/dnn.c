/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Trainer dnn: the entry points of <cpn/trainer.h> around net.c and order.c. Must not know of files, sessions or peers.
 */
#include "compute/trainers/dnn.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

/* Enough rows for evaluations to run at full speed whatever the batch, few enough to stay in the second cache. */
#define ROWS_AT_ONCE 64

#define MAGIC UINT32_C(0x736e6464) /* "ddns": of its state */

static int out_of_memory(char *detail)
{
    snprintf(detail, CPN_TRAINER_DETAIL, "out of memory: choose smaller widths or batches");
    return CPN_ENOMEM;
}

static void destroy(void *trainer)
{
    struct cpni_dnn *dnn = trainer;
    if (dnn == NULL) {
        return;
    }
    cpni_net_free(&dnn->net);
    cpni_order_free(&dnn->order);
    cpni_free(dnn->rows);
    cpni_free(dnn->labels);
    cpni_free(dnn->flat);
    cpni_free(dnn);
}

static int create_with(
    const struct cpn_trainer_spec *spec, const struct cpni_kernels *kernels, struct cpni_dnn *dnn, char *detail)
{
    struct cpni_model model;
    int rc = cpni_model_init(&model, spec, detail);
    if (rc < 0) {
        return rc;
    }
    uint32_t rows_max = spec->batch > ROWS_AT_ONCE ? spec->batch : ROWS_AT_ONCE;
    dnn->spec = *spec;
    dnn->rows_max = rows_max;
    dnn->rows = cpni_malloc(rows_max * sizeof *dnn->rows);
    dnn->labels = cpni_malloc(rows_max * sizeof *dnn->labels);
    dnn->flat = cpni_malloc(2 * model.weight_count * sizeof *dnn->flat);
    if (dnn->rows == NULL || dnn->labels == NULL || dnn->flat == NULL
        || cpni_net_init(&dnn->net, &model, kernels, rows_max) < 0) {
        return out_of_memory(detail);
    }
    cpni_order_init(&dnn->order, spec->seed, spec->batch);
    cpni_model_first_weights(&model, spec->seed, dnn->flat);
    cpni_net_import(&dnn->net, dnn->flat, dnn->net.weights);
    cpni_state_init(&dnn->state, MAGIC, &dnn->spec, model.weight_count, &dnn->order);
    return 0;
}

int cpni_dnn_create(
    const struct cpn_trainer_spec *spec, const struct cpni_kernels *kernels, void **trainer, char *detail)
{
    struct cpni_dnn *dnn = cpni_calloc(1, sizeof *dnn);
    if (dnn == NULL) {
        return out_of_memory(detail);
    }
    int rc = create_with(spec, kernels, dnn, detail);
    if (rc < 0) {
        destroy(dnn);
        return rc;
    }
    *trainer = dnn;
    return 0;
}

static int create(const struct cpn_trainer_spec *spec, void **trainer, char *detail)
{
    return cpni_dnn_create(spec, cpni_kernels_best(), trainer, detail);
}

static int info(void *trainer, struct cpn_trainer_info *out)
{
    const struct cpni_dnn *dnn = trainer;
    if (out->size < sizeof *out) {
        return CPN_EINVAL;
    }
    const struct cpni_order *order = &dnn->order;
    *out = (struct cpn_trainer_info){ .size = out->size,
        .weights = dnn->net.model.weight_count,
        .state_bytes = cpni_state_bytes(&dnn->state),
        .epoch = order->epoch,
        .step = order->next / order->batch,
        .epoch_steps = ((uint64_t)order->count + order->batch - 1) / order->batch,
        .device = "cpu",
        .reproducible = 1 };
    snprintf(out->fingerprint, sizeof out->fingerprint, "dnn %s %s", CPNI_DNN_VERSION, dnn->net.kernels->bits);
    return 0;
}

static int bind_rows(void *trainer, const struct cpn_trainer_rows *rows, char *detail)
{
    struct cpni_dnn *dnn = trainer;
    int rc = cpni_rows_check(rows, dnn->spec.inputs, dnn->spec.classes, detail);
    return rc < 0 ? rc : cpni_order_bind(&dnn->order, rows, detail);
}

/* Rows lie far apart, so the next ones are asked for while one is copied. */
static void gather(struct cpni_dnn *dnn, const struct cpn_trainer_rows *from, uint32_t rows)
{
    enum { LINE = 16, AHEAD = 1 };
    size_t columns = from->columns;
    for (uint32_t i = 0; i < rows; i++) {
        if (i + AHEAD < rows) {
            const float *next = from->features + dnn->rows[i + AHEAD] * columns;
            for (size_t at = 0; at < columns; at += LINE) {
                __builtin_prefetch(next + at);
            }
        }
        memcpy(dnn->net.inputs + i * columns, from->features + dnn->rows[i] * columns, columns * sizeof(float));
        dnn->labels[i] = from->labels[dnn->rows[i]];
    }
}

/* The optimizer's constants for its next step. */
static struct cpni_adam next_adam(const struct cpni_dnn *dnn)
{
    const struct cpn_trainer_spec *spec = &dnn->spec;
    return (struct cpni_adam){ .beta1 = spec->beta1,
        .rest1 = (float)(1.0 - (double)spec->beta1),
        .beta2 = spec->beta2,
        .rest2 = (float)(1.0 - (double)spec->beta2),
        .step = (float)((double)spec->learning_rate / (1.0 - cpni_state_next_beta1(&dnn->state))),
        .root_scale = (float)(1.0 / sqrt(1.0 - cpni_state_next_beta2(&dnn->state))),
        .epsilon = spec->epsilon,
        .decay = spec->weight_decay };
}

/* Run the optimizer: in the backward pass of `rows` rows, or (rows 0) with the gradient that net holds. */
static void optimize(struct cpni_dnn *dnn, uint32_t rows)
{
    struct cpni_adam adam = next_adam(dnn);
    struct cpni_sgd sgd = { dnn->spec.learning_rate, dnn->spec.momentum, dnn->spec.weight_decay };
    bool is_adam = dnn->spec.optimizer == CPN_TRAINER_ADAM;
    struct cpni_net_update update = { is_adam ? &adam : NULL, is_adam ? NULL : &sgd };
    if (rows > 0) {
        cpni_net_backward(&dnn->net, rows, dnn->labels, &update);
    } else {
        cpni_net_apply(&dnn->net, &update);
    }
    cpni_state_updated(&dnn->state);
}

/* Forward pass of the next batch. CPN_EDIVERGED when its loss is not finite; nothing was added or changed then. */
static int next_batch(struct cpni_dnn *dnn, uint32_t *rows, struct cpn_trainer_result *result, char *detail)
{
    uint64_t correct = 0;
    *rows = cpni_order_batch(&dnn->order, dnn->rows);
    gather(dnn, &dnn->order.rows, *rows);
    cpni_net_forward(&dnn->net, *rows);
    double loss = cpni_net_softmax(&dnn->net, *rows, dnn->labels, &correct);
    if (!isfinite(loss)) {
        snprintf(detail, CPN_TRAINER_DETAIL,
            "the loss is not a number in epoch %" PRIu64 " after %" PRIu64
            " updates: try a lower learning rate than %g",
            dnn->order.epoch + 1, dnn->state.updates, (double)dnn->spec.learning_rate);
        return CPN_EDIVERGED;
    }
    result->steps++;
    result->samples += *rows;
    result->correct += correct;
    result->loss_sum += loss;
    return 0;
}

static int unbound(char *detail)
{
    snprintf(detail, CPN_TRAINER_DETAIL, "no rows are bound");
    return CPN_ESTATE;
}

static int step(void *trainer, uint64_t steps, int (*cancelled)(void *arg), void *arg,
    struct cpn_trainer_result *result, char *detail)
{
    struct cpni_dnn *dnn = trainer;
    if (dnn->order.order == NULL) {
        return unbound(detail);
    }
    *result = (struct cpn_trainer_result){ 0 };
    for (uint64_t i = 0; i < steps; i++) {
        if (cancelled != NULL && cancelled(arg) != 0) {
            snprintf(detail, CPN_TRAINER_DETAIL, "cancelled");
            return CPN_ECANCELLED;
        }
        uint32_t rows;
        int rc = next_batch(dnn, &rows, result, detail);
        if (rc < 0) {
            return rc;
        }
        optimize(dnn, rows);
        cpni_order_advance(&dnn->order);
    }
    return 0;
}

static int evaluate(void *trainer, const struct cpn_trainer_rows *rows, int (*cancelled)(void *arg), void *arg,
    struct cpn_trainer_result *result, char *detail)
{
    struct cpni_dnn *dnn = trainer;
    int rc = cpni_rows_check(rows, dnn->spec.inputs, dnn->spec.classes, detail);
    if (rc < 0) {
        return rc;
    }
    struct cpn_trainer_result sum = { 0 };
    uint64_t count = cpni_rows_count(rows);
    while (sum.samples < count) {
        if (cancelled != NULL && cancelled(arg) != 0) {
            snprintf(detail, CPN_TRAINER_DETAIL, "cancelled");
            return CPN_ECANCELLED;
        }
        uint64_t left = count - sum.samples;
        uint32_t now = left < ROWS_AT_ONCE ? (uint32_t)left : ROWS_AT_ONCE;
        for (uint32_t i = 0; i < now; i++) {
            dnn->rows[i] = (uint32_t)cpni_rows_at(rows, sum.samples + i);
        }
        gather(dnn, rows, now);
        cpni_net_forward(&dnn->net, now);
        sum.loss_sum += cpni_net_softmax(&dnn->net, now, dnn->labels, &sum.correct);
        sum.samples += now;
        sum.steps++;
    }
    *result = sum;
    return 0;
}

static int forward(void *trainer, const float *features, uint64_t rows, float *probabilities, char *detail)
{
    (void)detail;
    struct cpni_dnn *dnn = trainer;
    const struct cpni_net_layer *last = &dnn->net.layers[dnn->net.layer_count - 1];
    for (uint64_t at = 0; at < rows;) {
        uint32_t now = rows - at < ROWS_AT_ONCE ? (uint32_t)(rows - at) : ROWS_AT_ONCE;
        size_t inputs = (size_t)now * dnn->spec.inputs;
        memcpy(dnn->net.inputs, features, inputs * sizeof *features);
        features += inputs;
        cpni_net_forward(&dnn->net, now);
        cpni_net_softmax(&dnn->net, now, NULL, NULL);
        for (uint32_t i = 0; i < now; i++) {
            memcpy(probabilities, last->outputs + (size_t)i * last->width, last->out * sizeof *probabilities);
            probabilities += last->out;
        }
        at += now;
    }
    return 0;
}

static int gradient(void *trainer, float *out, struct cpn_trainer_result *result, char *detail)
{
    struct cpni_dnn *dnn = trainer;
    if (dnn->order.order == NULL) {
        return unbound(detail);
    }
    uint32_t rows;
    struct cpn_trainer_result done = { 0 };
    int rc = next_batch(dnn, &rows, &done, detail);
    if (rc < 0) {
        return rc;
    }
    cpni_net_backward(&dnn->net, rows, dnn->labels, &(struct cpni_net_update){ 0 });
    cpni_order_advance(&dnn->order);
    cpni_net_export(&dnn->net, dnn->net.gradient, out);
    *result = done;
    return 0;
}

static int apply(void *trainer, const float *from, char *detail)
{
    struct cpni_dnn *dnn = trainer;
    int rc = cpni_model_check_finite(from, dnn->net.model.weight_count, "gradient", detail);
    if (rc < 0) {
        return rc;
    }
    cpni_net_import(&dnn->net, from, dnn->net.gradient);
    optimize(dnn, 0);
    return 0;
}

static int get_weights(void *trainer, float *weights)
{
    const struct cpni_dnn *dnn = trainer;
    cpni_net_export(&dnn->net, dnn->net.weights, weights);
    return 0;
}

static int set_weights(void *trainer, const float *weights, char *detail)
{
    struct cpni_dnn *dnn = trainer;
    int rc = cpni_model_check_finite(weights, dnn->net.model.weight_count, "weight", detail);
    if (rc == 0) {
        cpni_net_import(&dnn->net, weights, dnn->net.weights);
    }
    return rc;
}

static int get_state(void *trainer, void *bytes)
{
    const struct cpni_dnn *dnn = trainer;
    float *second = dnn->flat + dnn->net.model.weight_count;
    cpni_net_export(&dnn->net, dnn->net.m, dnn->flat);
    cpni_net_export(&dnn->net, dnn->net.v, second);
    cpni_state_save(&dnn->state, dnn->flat, second, bytes);
    return 0;
}

static int set_state(void *trainer, const void *bytes, size_t size, char *detail)
{
    struct cpni_dnn *dnn = trainer;
    float *second = dnn->flat + dnn->net.model.weight_count;
    memset(second, 0, dnn->net.model.weight_count * sizeof *second); /* SGD has none */
    int rc = cpni_state_load(&dnn->state, bytes, size, dnn->flat, second, detail);
    if (rc == 0) {
        cpni_net_import(&dnn->net, dnn->flat, dnn->net.m);
        cpni_net_import(&dnn->net, second, dnn->net.v);
    }
    return rc;
}

CPN_TRAINER_EXPORT extern const struct cpn_trainer cpn_trainer_v1;
const struct cpn_trainer cpn_trainer_v1
    = { CPN_TRAINER_ABI, sizeof(struct cpn_trainer), "dnn", CPNI_DNN_VERSION, create, destroy, info, bind_rows, step,
          evaluate, forward, gradient, apply, get_weights, set_weights, get_state, set_state };
