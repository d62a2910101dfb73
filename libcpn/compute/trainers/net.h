/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The network of trainer dnn in memory: padded weights and moments, activations of one batch, forward and backward.
 * Must not know where rows come from, nor epochs. */
#ifndef CPNI_NET_H
#define CPNI_NET_H

#include <stddef.h>
#include <stdint.h>

#include "compute/trainers/kernels.h"
#include "compute/trainers/model.h"

struct cpni_net_layer {
    uint32_t in, out;
    uint32_t width; /* out, padded to whole panels */
    size_t weights; /* place of the matrix (panels of 32 columns, `in` rows each) in the padded weights */
    size_t bias;    /* place of the bias, `width` floats */
    float *outputs; /* [rows][width]; after ReLU, of the last layer logits and then probabilities */
    float *deltas;  /* [rows][width]: the gradient of the loss by what came before ReLU or softmax */
};

struct cpni_net {
    struct cpni_model model;
    struct cpni_net_layer layers[CPN_TRAINER_HIDDEN_MAX + 1];
    uint32_t layer_count;
    const struct cpni_kernels *kernels;
    uint32_t rows_max;
    size_t padded_count;
    float *weights, *m, *v; /* padded; what lies in the padding is 0 */
    float *gradient;        /* padded */
    float *inputs;          /* [rows_max][inputs], to be filled by the caller */
    float *deltas_turned;   /* [width][rows_padded] of the layer at work */
    float *inputs_turned;   /* [in][rows_padded] */
    uint32_t rows_padded;
    void *memory;
};

/* How a batch ends: the optimizer's step, or (both NULL) its gradient left in net->gradient. */
struct cpni_net_update {
    const struct cpni_adam *adam;
    const struct cpni_sgd *sgd;
};

/* Zero weights and moments, room for batches of rows_max. CPN_ENOMEM. */
int cpni_net_init(
    struct cpni_net *net, const struct cpni_model *model, const struct cpni_kernels *kernels, uint32_t rows_max);
void cpni_net_free(struct cpni_net *net);

/* Between the flat order of <cpn/trainer.h> and one of the padded arrays. */
void cpni_net_import(const struct cpni_net *net, const float *flat, float *padded);
void cpni_net_export(const struct cpni_net *net, const float *padded, float *flat);

/* Logits of net->inputs, in the last layer's outputs. */
void cpni_net_forward(struct cpni_net *net, uint32_t rows);

/* Make the logits probabilities. Returns the summed cross-entropy (NaN when a logit is not finite), adds to *correct.
 * With labels NULL there is only the softmax. */
double cpni_net_softmax(struct cpni_net *net, uint32_t rows, const int32_t *labels, uint64_t *correct);

/* Gradients of the mean loss from the probabilities, and what `update` says. */
void cpni_net_backward(
    struct cpni_net *net, uint32_t rows, const int32_t *labels, const struct cpni_net_update *update);

/* The optimizer's step with net->gradient. */
void cpni_net_apply(struct cpni_net *net, const struct cpni_net_update *update);

#endif
