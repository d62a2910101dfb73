/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a trainer's next steps depend on besides weights and rows, as bytes (<cpn/trainer.h>, get_state): the same for
 * every trainer that keeps Adam's or SGD's moments, but for the magic number. Must not know where the moments are
 * computed. */
#ifndef CPNI_TRAINER_STATE_H
#define CPNI_TRAINER_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "compute/trainers/order.h"

struct cpni_state {
    uint32_t magic;
    const struct cpn_trainer_spec *spec;
    size_t weights;           /* floats of each moment */
    struct cpni_order *order; /* place in the epoch */
    uint64_t updates;
    double beta1_power, beta2_power; /* beta^updates, as a running product: the same wherever pow() differs */
};

/* Fresh: no updates yet. */
void cpni_state_init(struct cpni_state *state, uint32_t magic, const struct cpn_trainer_spec *spec, size_t weights,
    struct cpni_order *order);
void cpni_state_updated(struct cpni_state *state); /* the optimizer made a step */

/* The powers of beta that the next update uses. */
double cpni_state_next_beta1(const struct cpni_state *state);
double cpni_state_next_beta2(const struct cpni_state *state);

size_t cpni_state_bytes(const struct cpni_state *state);

/* first, second: the moments, flat; second is used by Adam only. */
void cpni_state_save(const struct cpni_state *state, const float *first, const float *second, void *bytes);

/* Check the bytes, then set state and moments. CPN_EVERSION, CPN_ECORRUPT, CPN_EBADINPUT with a sentence; then only
 * what first and second point to has changed. */
int cpni_state_load(
    struct cpni_state *state, const void *bytes, size_t size, float *first, float *second, char *detail);

#endif
