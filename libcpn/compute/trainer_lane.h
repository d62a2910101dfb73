/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A lane in the process that trains it: the trainer, its rows, its place in the session, and the checkpoint of all
 * that. Must not know how orders come or answers go: said() is called with what there is to say. */
#ifndef CPNI_TRAINER_LANE_H
#define CPNI_TRAINER_LANE_H

#include <stdbool.h>

#include "compute/trainer_proto.h"
#include "data/dataset.h"

struct cpni_lane {
    const struct cpn_trainer *plugin;
    void *trainer;
    struct cpn_trainer_info info;
    struct cpni_trainer_lane is;
    struct cpni_dataset set;
    uint32_t *index; /* training rows, then validation rows */
    struct cpn_trainer_rows rows, validation;
    uint64_t epoch_steps; /* as the session counts: shards of a row less do as many steps */
    float *in, *out; /* of the region */
    uint8_t *checkpoint;
    uint64_t checkpoint_bytes;
    float *residual; /* int8: what rounding took away so far */
    float *given; /* int8: the weights that the last round with any began from */
    uint64_t given_round; /* that round; 0: none in this process */

    uint64_t round, position; /* rounds completed; steps done in all */
    struct cpn_trainer_result epoch; /* since the epoch began */
    uint64_t timed_us, timed_samples; /* since the epoch began, in this process */
    int64_t said_us;

    /* Say PROGRESS or GRADIENT; a gradient waits until the mean of all is in `in`. Negative: the parent is gone. */
    int (*said)(void *arg, struct cpni_trainer_answer *answer);
    void *arg;
};

/* Make a trainer for rows of so many columns and classes. */
int cpni_lane_create(
    struct cpni_lane *lane, const struct cpni_trainer_open *open, uint32_t columns, uint32_t classes, char *detail);

/* Divide the rows and bind the lane's; `state` (NULL: fresh) is a checkpoint. lane->set is open. */
int cpni_lane_bind(struct cpni_lane *lane, uint64_t train_rows, const void *state, uint64_t state_size, char *detail);

/* Do a round. Weights, checkpoint and figures are left in the region and in `answer`. */
int cpni_lane_round(struct cpni_lane *lane, const struct cpni_trainer_round *round, struct cpni_trainer_answer *answer);

/* Bytes of a checkpoint. */
uint64_t cpni_lane_checkpoint_bytes(const struct cpni_lane *lane);

#endif
