/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See model.h. */
#include "compute/trainers/model.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include <cpn/error.h>

#include "base/random.h"

#define STREAM_WEIGHTS UINT64_C(0x7765696768747300) /* "weights" */

static int refuse(char *detail, const char *what, double value, const char *expected)
{
    snprintf(detail, CPN_TRAINER_DETAIL, "%s is %g; expected %s", what, value, expected);
    return CPN_EINVAL;
}

static int check_shape(const struct cpn_trainer_spec *spec, char *detail)
{
    if (spec->inputs < 1 || spec->inputs > CPN_TRAINER_WIDTH_MAX) {
        return refuse(detail, "number of features", spec->inputs, "1 to 65536");
    }
    if (spec->classes < 2 || spec->classes > CPN_TRAINER_WIDTH_MAX) {
        return refuse(detail, "number of classes", spec->classes, "2 to 65536");
    }
    if (spec->hidden_count > CPN_TRAINER_HIDDEN_MAX) {
        return refuse(detail, "number of hidden layers", spec->hidden_count, "0 to 8");
    }
    for (uint32_t i = 0; i < spec->hidden_count; i++) {
        if (spec->hidden[i] < 1 || spec->hidden[i] > CPN_TRAINER_WIDTH_MAX) {
            return refuse(detail, "width of a hidden layer", spec->hidden[i], "1 to 65536");
        }
    }
    if (spec->batch < 1 || spec->batch > CPN_TRAINER_BATCH_MAX) {
        return refuse(detail, "batch size", spec->batch, "1 to 65536");
    }
    if (spec->threads < 1 || spec->threads > 1024) {
        return refuse(detail, "number of threads", spec->threads, "1 to 1024");
    }
    return 0;
}

static int check_optimizer(const struct cpn_trainer_spec *spec, char *detail)
{
    if (spec->optimizer != CPN_TRAINER_ADAM && spec->optimizer != CPN_TRAINER_SGD) {
        return refuse(detail, "optimizer", spec->optimizer, "0 (Adam) or 1 (SGD)");
    }
    if (!(spec->learning_rate > 0 && spec->learning_rate <= FLT_MAX)) {
        return refuse(detail, "learning rate", (double)spec->learning_rate, "a number above 0");
    }
    if (!(spec->weight_decay >= 0 && spec->weight_decay <= FLT_MAX)) {
        return refuse(detail, "weight decay", (double)spec->weight_decay, "0 or a number above 0");
    }
    if (spec->optimizer == CPN_TRAINER_SGD && !(spec->momentum >= 0 && spec->momentum < 1)) {
        return refuse(detail, "momentum", (double)spec->momentum, "at least 0 and below 1");
    }
    if (spec->optimizer == CPN_TRAINER_ADAM
        && !(spec->beta1 >= 0 && spec->beta1 < 1 && spec->beta2 >= 0 && spec->beta2 < 1)) {
        return refuse(detail, "beta of Adam", (double)spec->beta1, "beta1 and beta2 at least 0 and below 1");
    }
    if (spec->optimizer == CPN_TRAINER_ADAM && !(spec->epsilon > 0 && spec->epsilon <= 1)) {
        return refuse(detail, "epsilon of Adam", (double)spec->epsilon, "above 0, at most 1");
    }
    return 0;
}

int cpni_model_init(struct cpni_model *model, const struct cpn_trainer_spec *spec, char *detail)
{
    if (spec->size < sizeof *spec) {
        return refuse(detail, "size of the spec", spec->size, "CPN_TRAINER_SPEC_INIT to have set it");
    }
    int rc = check_shape(spec, detail);
    if (rc == 0) {
        rc = check_optimizer(spec, detail);
    }
    if (rc < 0) {
        return rc;
    }
    struct cpni_model made = { .layer_count = spec->hidden_count + 1 };
    uint32_t in = spec->inputs;
    for (uint32_t l = 0; l < made.layer_count; l++) {
        uint32_t out = l < spec->hidden_count ? spec->hidden[l] : spec->classes;
        made.layers[l] = (struct cpni_model_layer){ in, out, made.weight_count };
        made.weight_count += ((size_t)in + 1) * out;
        in = out;
        if (made.weight_count > CPN_TRAINER_WEIGHTS_MAX) {
            return refuse(
                detail, "number of weights", (double)made.weight_count, "at most 268435456: choose smaller widths");
        }
    }
    *model = made;
    return 0;
}

void cpni_model_first_weights(const struct cpni_model *model, uint64_t seed, float *weights)
{
    struct cpni_random random;
    cpni_random_seed(&random, seed, STREAM_WEIGHTS);
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const struct cpni_model_layer *layer = &model->layers[l];
        float range = (float)(1.0 / sqrt((double)layer->in)); /* sqrt and / round exactly everywhere */
        size_t end = layer->weights + ((size_t)layer->in + 1) * layer->out;
        for (size_t i = layer->weights; i < end; i++) {
            weights[i] = cpni_random_uniform(&random) * range;
        }
    }
}

int cpni_model_check_finite(const float *values, size_t count, const char *what, char *detail)
{
    for (size_t i = 0; i < count; i++) {
        if (!(values[i] <= FLT_MAX && values[i] >= -FLT_MAX)) {
            snprintf(detail, CPN_TRAINER_DETAIL, "%s %zu of %zu is not a finite number", what, i, count);
            return CPN_EBADINPUT;
        }
    }
    return 0;
}
