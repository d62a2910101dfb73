/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a runner that trains and its parent say to each other: packets over a SOCK_SEQPACKET pair as in runner_proto.h,
 * vectors through one region of shared memory that the parent makes. The parent believes nothing it receives.
 *
 * parent: OPEN (descriptor of the dataset)      runner: SIZED (floats of the vector, bytes of a checkpoint)
 * parent: SHARE (the region), STATE if there is one (a checkpoint's descriptor)      runner: OPENED
 * parent: ROUND      runner: PROGRESS..., GRADIENT (each answered by APPLY)..., ROUNDED
 *
 * The region is [in][out][checkpoint]: `in` is written by the parent while the runner waits for it, the others by the
 * runner before the packet that tells of them. It is sealed, so that neither side can shrink it under the other (a
 * SIGBUS). */
#ifndef CPNI_TRAINER_PROTO_H
#define CPNI_TRAINER_PROTO_H

#include <stdint.h>

#include <cpn/trainer.h>

#include "proto/session_spec.h"

#define CPNI_TRAINER_VERSION 1
#define CPNI_TRAINER_PATH 4096

enum cpni_trainer_type {
    CPNI_TRAINER_OPEN_PACKET = 1,
    CPNI_TRAINER_SHARE_PACKET,
    CPNI_TRAINER_STATE_PACKET,
    CPNI_TRAINER_ROUND_PACKET,
    CPNI_TRAINER_APPLY_PACKET,
    CPNI_TRAINER_SIZED,
    CPNI_TRAINER_OPENED,
    CPNI_TRAINER_PROGRESS,
    CPNI_TRAINER_GRADIENT,
    CPNI_TRAINER_ROUNDED
};

/* What a lane is: the part of a session's spec that its trainer needs. */
struct cpni_trainer_lane {
    uint32_t lane, mode, peers, validation_ppm, local_steps;
    uint32_t int8;
    uint64_t split_seed;
    struct cpni_lane_spec settings;
};

struct cpni_trainer_open {
    uint32_t version, type;
    uint32_t threads;
    uint64_t train_rows; /* 0: not checked */
    uint64_t memory_bytes; /* beyond dataset, region and checkpoint */
    struct cpni_trainer_lane lane;
    char plugin[CPNI_TRAINER_PATH];
};

struct cpni_trainer_share { /* SHARE; STATE with the size of the checkpoint */
    uint32_t version, type;
    uint64_t size;
    uint32_t state_follows;
};

struct cpni_trainer_round {
    uint32_t version, type;
    uint64_t round, steps;
    uint32_t has_vector; /* `in` holds the weights to begin from */
    uint32_t encoding; /* 1: or what they changed by (core/delta8.h) since those that the round before began from */
    uint32_t evaluate, evaluate_after, state, exchange, replay;
};

/* Everything that a runner says. */
struct cpni_trainer_answer {
    uint32_t version, type;
    int32_t code;
    uint32_t reproducible;
    char detail[CPN_TRAINER_DETAIL];
    char device[64], fingerprint[192];
    uint64_t weights, state_bytes; /* SIZED: floats of a vector, bytes of a checkpoint; ROUNDED: state_bytes 0: none */
    uint64_t round, step, steps, samples, correct, loss_micro, rate;
    uint32_t epoch, epoch_done;
    uint64_t tested, tested_correct, tested_loss_micro;
    uint64_t vector_bytes; /* of `out` */
    uint32_t encoding;
    uint64_t elapsed_us;
};

struct cpni_trainer_region {
    uint64_t in_at, out_at, state_at, size;
};
#define CPNI_TRAINER_ALIGN UINT64_C(4096)

/* Where things lie; both sides compute it from the same two numbers. */
static inline struct cpni_trainer_region cpni_trainer_region(uint64_t weights, uint64_t state_bytes)
{
    uint64_t vector = (weights * sizeof(float) + CPNI_TRAINER_ALIGN - 1) / CPNI_TRAINER_ALIGN * CPNI_TRAINER_ALIGN;
    return (struct cpni_trainer_region) { 0, vector, 2 * vector, 2 * vector + state_bytes };
}

#endif
