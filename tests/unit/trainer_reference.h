/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a trainer must compute, slowly, in double, straight from the definition in <cpn/trainer.h>. */
#ifndef TRAINER_REFERENCE_H
#define TRAINER_REFERENCE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include <cpn/trainer.h>

enum { ROWS = 40, INPUTS = 7, CLASSES = 3 };

static float features[ROWS * INPUTS];
static int32_t labels[ROWS];

/* The reference: mean loss over all rows, in double, straight from the definition in the header. */
struct reference {
    uint32_t widths[CPN_TRAINER_HIDDEN_MAX + 2];
    uint32_t count; /* of widths */
};

static struct reference reference_of(const struct cpn_trainer_spec *spec)
{
    struct reference reference = { .widths = { spec->inputs }, .count = 1 };
    for (uint32_t l = 0; l < spec->hidden_count; l++) {
        reference.widths[reference.count++] = spec->hidden[l];
    }
    reference.widths[reference.count++] = spec->classes;
    return reference;
}

static double row_loss(const struct reference *reference, const double *weights, const float *row, int32_t label)
{
    double in[256], out[256];
    for (uint32_t i = 0; i < reference->widths[0]; i++) {
        in[i] = (double)row[i];
    }
    for (uint32_t l = 1; l < reference->count; l++) {
        uint32_t from = reference->widths[l - 1], to = reference->widths[l];
        const double *bias = weights + (size_t)from * to;
        for (uint32_t o = 0; o < to; o++) {
            out[o] = bias[o];
            for (uint32_t i = 0; i < from; i++) {
                out[o] += in[i] * weights[i * to + o];
            }
        }
        for (uint32_t o = 0; o < to; o++) {
            in[o] = l + 1 < reference->count && out[o] < 0 ? 0 : out[o];
        }
        weights = bias + to;
    }
    double sum = 0;
    for (uint32_t o = 0; o < reference->widths[reference->count - 1]; o++) {
        sum += exp(out[o]);
    }
    return log(sum) - out[label];
}

static double mean_loss(const struct reference *reference, const double *weights)
{
    double loss = 0;
    for (int r = 0; r < ROWS; r++) {
        loss += row_loss(reference, weights, features + r * INPUTS, labels[r]);
    }
    return loss / ROWS;
}

static void finite_differences(const struct reference *reference, double *weights, uint64_t count, double *gradient)
{
    const double step = 1e-6;
    for (uint64_t i = 0; i < count; i++) {
        double kept = weights[i];
        weights[i] = kept + step;
        double up = mean_loss(reference, weights);
        weights[i] = kept - step;
        gradient[i] = (up - mean_loss(reference, weights)) / (2 * step);
        weights[i] = kept;
    }
}

/* Adam and SGD of torch.optim, in double. */
static void reference_step(const struct cpn_trainer_spec *spec, int t, uint64_t count, const double *gradient,
    double *weights, double *m, double *v)
{
    double beta1 = (double)spec->beta1, beta2 = (double)spec->beta2;
    for (uint64_t i = 0; i < count; i++) {
        double g = gradient[i] + (double)spec->weight_decay * weights[i];
        if (spec->optimizer == CPN_TRAINER_SGD) {
            m[i] = (double)spec->momentum * m[i] + g;
            weights[i] -= (double)spec->learning_rate * m[i];
            continue;
        }
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * g * g;
        double root = sqrt(v[i]) / sqrt(1 - pow(beta2, t)) + (double)spec->epsilon;
        weights[i] -= (double)spec->learning_rate / (1 - pow(beta1, t)) * m[i] / root;
    }
}

#endif
