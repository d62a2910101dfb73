/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a session's peers reported, epoch by epoch, and how it is written for people and programs: JSON, CSV, and
 * learning curves as SVG. Must not know messages or where texts go. */
#ifndef CPNI_HISTORY_H
#define CPNI_HISTORY_H

#include <stdint.h>

#include "base/buf.h"

struct cpni_history_peer {
    const char *name;     /* of the node */
    const char *settings; /* what distinguishes it: "lr 0.001, batch 64"; may be "" */
    const char *device;   /* "cpu", "cuda:0 NVIDIA H100" */
    const char *state;    /* "training", "completed", "failed: out of memory" */
};

/* A number that is not known, or not finite, is NAN: null in JSON, empty in CSV, a gap in a curve. */
struct cpni_history_point {
    uint32_t peer;                     /* its place among the peers */
    uint32_t epoch;                    /* from 1 */
    uint64_t samples;                  /* rows learned from since the start */
    double train_loss, train_accuracy; /* accuracies are 0 to 1 */
    double loss, accuracy;             /* of the validation rows */
    double samples_per_s;
    double at_s; /* since the session started */
};

struct cpni_history {
    const char *session; /* its id as text */
    const char *dataset, *trainer, *mode, *state;
    const struct cpni_history_peer *peers;
    uint32_t peer_count;
    const struct cpni_history_point *points; /* of each peer, in the order of its epochs */
    uint32_t point_count;
};

/* Append the text. CPN_ENOMEM; then the buffer's contents are of no use. */
int cpni_history_json(const struct cpni_history *history, struct cpni_buf *out);
int cpni_history_csv(const struct cpni_history *history, struct cpni_buf *out);
int cpni_history_svg(const struct cpni_history *history, struct cpni_buf *out);

/* A number with so many decimals (at most 9) and a point, whatever the locale; "nan" writes nothing. */
void cpni_history_number(struct cpni_buf *out, double value, unsigned decimals);

#endif
