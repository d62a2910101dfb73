/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What every trainer agrees on (<cpn/trainer.h>): the bounds of a spec, where weights lie, what they start as. Must not
 * know how anything is computed. */
#ifndef CPNI_TRAINER_MODEL_H
#define CPNI_TRAINER_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include <cpn/trainer.h>

struct cpni_model_layer {
    uint32_t in, out;
    size_t weights; /* place of the matrix in the flat weights; the bias follows it */
};

struct cpni_model {
    struct cpni_model_layer layers[CPN_TRAINER_HIDDEN_MAX + 1];
    uint32_t layer_count;
    size_t weight_count;
};

/* CPN_EINVAL with a sentence in `detail` (CPN_TRAINER_DETAIL bytes) for a spec out of bounds. */
int cpni_model_init(struct cpni_model *model, const struct cpn_trainer_spec *spec, char *detail);

/* The first weights: weight_count floats, a function of the seed alone. */
void cpni_model_first_weights(const struct cpni_model *model, uint64_t seed, float *weights);

/* CPN_EBADINPUT unless all are finite. */
int cpni_model_check_finite(const float *values, size_t count, const char *what, char *detail);

#endif
