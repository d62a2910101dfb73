/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Trainer dnn across its files, and the doors that its tests use. */
#ifndef CPNI_DNN_H
#define CPNI_DNN_H

#include <stddef.h>
#include <stdint.h>

#include <cpn/trainer.h>

#include "compute/trainers/kernels.h"
#include "compute/trainers/net.h"
#include "compute/trainers/order.h"
#include "compute/trainers/state.h"

/* Part of the fingerprint: raise it with every change that changes a bit of a result. */
#define CPNI_DNN_VERSION "1"

struct cpni_dnn {
    struct cpn_trainer_spec spec;
    struct cpni_net net;
    struct cpni_order order;
    uint32_t rows_max;
    uint32_t *rows;  /* row numbers of the batch at work */
    int32_t *labels; /* and their labels */
    float *flat;     /* two flat sets of weights, to convert through */
    struct cpni_state state;
};

/* create() with other kernels than the best. */
int cpni_dnn_create(
    const struct cpn_trainer_spec *spec, const struct cpni_kernels *kernels, void **trainer, char *detail);

#endif
