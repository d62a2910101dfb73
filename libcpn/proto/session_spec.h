/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a training session shall do, as lines of text: what a user's flags become, what the wire carries, what the store keeps, what peers
 * read. One writer, one strict reader; what is written reads back equal. Must not know who trains or where.
 *
 *     mode average            sweep, average or sync
 *     trainer dnn
 *     peers 2
 *     local-steps 200         average: steps between two averages; sync: steps of a round (between two checkpoints)
 *                             (sweep: a round is an epoch)
 *     checkpoint 10           rounds between two checkpoints of a lane; average only, sweep and sync: 1
 *     quorum 0                updates that end a round; 0: all
 *     encoding float32        or int8
 *     halving 0               1: the worse half of a sweep is cut after 1, 2, 4 ... epochs
 *     split-seed 1
 *     validation 100000       millionths of the rows, of each class
 *     lane lr=0.001,batch=64,epochs=10,hidden=128:64,optimizer=adam,momentum=0.9,decay=0,seed=1
 *
 * One lane line for average and sync (every shard is trained with it, `peers` shards); one a configuration for sweep. */
#ifndef CPNI_SESSION_SPEC_H
#define CPNI_SESSION_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"
#include "proto/limits.h"

#define CPNI_LANE_TEXT 256      /* bytes of a lane's settings as text, with the terminating 0 */
#define CPNI_LANE_HIDDEN_MAX 8  /* CPN_TRAINER_HIDDEN_MAX */
#define CPNI_SPEC_DETAIL 256    /* bytes of a sentence about what is wrong */

enum cpni_session_mode { CPNI_MODE_SWEEP = 1, CPNI_MODE_AVERAGE = 2, CPNI_MODE_SYNC = 3 };

/* The settings that every trainer knows. Numbers that are not whole stay text: nothing but a trainer reads them. */
struct cpni_lane_spec {
    uint32_t batch, epochs, hidden_count, hidden[CPNI_LANE_HIDDEN_MAX];
    bool sgd; /* optimizer: else adam */
    uint64_t seed;
    char lr[24], momentum[24], decay[24]; /* decimal numbers, checked */
};

struct cpni_session_spec {
    enum cpni_session_mode mode;
    char trainer[32];
    uint32_t peers, local_steps, checkpoint, quorum, validation_ppm;
    bool int8, halving;
    uint64_t split_seed;
    struct cpni_lane_spec *lanes; /* owned */
    uint32_t lane_count;
};

/* The defaults, one lane. CPN_ENOMEM. */
int cpni_session_spec_init(struct cpni_session_spec *spec);
void cpni_session_spec_free(struct cpni_session_spec *spec);

/* Append the text. CPN_ENOMEM. */
int cpni_session_spec_write(const struct cpni_session_spec *spec, struct cpni_buf *out);

/* Read untrusted text. CPN_EBADINPUT with a sentence (CPNI_SPEC_DETAIL bytes): which line, what was expected; CPN_ENOMEM. */
int cpni_session_spec_read(struct cpni_str text, struct cpni_session_spec *out, char *detail);

/* "lr=1e-3,batch=64": what is named is set in `lane`, the rest stays. CPN_EBADINPUT with a sentence; then `lane` is as before. */
int cpni_lane_spec_set(struct cpni_lane_spec *lane, struct cpni_str text, char *detail);
/* All settings of a lane, the same text for the same settings; as in a lane line. */
void cpni_lane_spec_text(const struct cpni_lane_spec *lane, char text[CPNI_LANE_TEXT]);

/* How many lanes a session has: shards or configurations. */
uint32_t cpni_session_lanes(const struct cpni_session_spec *spec);
/* The settings of one of them. */
const struct cpni_lane_spec *cpni_session_lane(const struct cpni_session_spec *spec, uint32_t lane);
/* Rows, steps of an epoch and all steps of a lane. */
uint64_t cpni_session_lane_rows(const struct cpni_session_spec *spec, uint32_t lane, uint64_t train_rows);
uint64_t cpni_session_epoch_steps(const struct cpni_session_spec *spec, uint32_t lane, uint64_t train_rows);
/* Steps of a round of a lane (1 and up; sweep: an epoch), 0 when the lane has no more; and the number of rounds of the session. */
uint64_t cpni_session_round_steps(const struct cpni_session_spec *spec, uint32_t lane, uint64_t train_rows, uint64_t round);
uint64_t cpni_session_rounds(const struct cpni_session_spec *spec, uint64_t train_rows);

#endif
