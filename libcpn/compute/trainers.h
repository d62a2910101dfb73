/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The trainer processes of a worker (DESIGN §9): one runner process and one thread of this process for each lane that
 * the node works on. The runner maps the dataset, loads cpn-trainer-NAME.so and trains round by round; it dies with its
 * thread. A crash or a stop costs the lane alone. Must not know sessions, nodes or messages: the role maps those to
 * tickets. One thread calls all of this; nothing blocks. */
#ifndef CPNI_TRAINERS_H
#define CPNI_TRAINERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "proto/session_spec.h"

#define CPNI_TRAINERS_DETAIL 256

struct cpni_trainers;

struct cpni_trainers_options {
    const char *runner; /* path of cpn-runner; NULL: found as cpni_pool_options.runner is */
    const char *plugins; /* directory of the trainers; NULL likewise */
    uint32_t threads; /* of one trainer; 0: 1 */
    uint64_t runner_bytes; /* address space beyond dataset and model; 0: 4 GiB */
};

int cpni_trainers_open(const struct cpni_trainers_options *options, struct cpni_trainers **out, char *detail);
void cpni_trainers_close(struct cpni_trainers *trainers); /* kills all, joins. NULL is fine */

/* The plug-ins that are there: "dnn", "torch". A null-terminated list, borrowed. */
const char *const *cpni_trainers_names(const struct cpni_trainers *trainers);

/* A lane: who it is, what it learns from. Copied; descriptors are duplicated. */
struct cpni_lane_job {
    uint64_t ticket; /* names the process from now on; no two live ones share one */
    const struct cpni_session_spec *spec;
    uint32_t lane;
    int dataset_fd;
    uint64_t train_rows; /* what the split must come to, else CPN_EBADINPUT; 0: not checked */
    int state_fd; /* -1: a fresh trainer */
    uint64_t state_size;
    bool probe; /* make it, tell device and fingerprint (CPNI_SAID_OPEN), end */
};
struct cpni_round_job {
    uint64_t round, steps;
    struct cpni_bytes *vector; /* weights to begin from, referenced; NULL: see vector_fd */
    uint32_t encoding; /* 1: `vector` is what they changed by (core/delta8.h) since those of the round before */
    int vector_fd; /* -1: the lane's own weights */
    uint64_t vector_size;
    bool evaluate, evaluate_after, state, exchange, replay; /* as in core/action.h */
};
/* CPN_EBUSY (the lane has a round under way, too many lanes), CPN_EEXISTS, CPN_ENOTFOUND, CPN_ENOMEM; all else is told
 * by an outcome. */
int cpni_trainers_start(struct cpni_trainers *trainers, const struct cpni_lane_job *job);
int cpni_trainers_round(struct cpni_trainers *trainers, uint64_t ticket, const struct cpni_round_job *job);
int cpni_trainers_apply(struct cpni_trainers *trainers, uint64_t ticket, struct cpni_bytes *gradient);
void cpni_trainers_end(
    struct cpni_trainers *trainers, uint64_t ticket); /* kill at once: no outcome of it follows any more */

enum cpni_trainer_word { CPNI_SAID_OPEN = 1, CPNI_SAID_PROGRESS, CPNI_SAID_GRADIENT, CPNI_SAID_ROUND };

/* Owned by whom next() gave it to: cpni_trained_clear(). Fields as in struct cpni_event_trainer (core/event.h). */
struct cpni_trained {
    uint64_t ticket;
    enum cpni_trainer_word said;
    bool probe;
    int code; /* the process is gone after any but 0 and CPN_EDIVERGED */
    char detail[CPNI_TRAINERS_DETAIL];
    char device[64], fingerprint[192];
    bool reproducible;
    uint64_t round, step, steps, samples, correct, loss_micro, rate;
    uint32_t epoch;
    bool epoch_done;
    uint64_t tested, tested_correct, tested_loss_micro;
    struct cpni_bytes *vector; /* GRADIENT; ROUND with steps */
    uint32_t encoding; /* 1: the change of the weights that the order gave, in int8 (core/delta8.h); a round from the
                          lane's own has 0 */
    struct cpni_bytes *state;
    uint64_t elapsed_us;
};
/* How many processes there are, and their resident bytes. */
void cpni_trainers_usage(struct cpni_trainers *trainers, uint32_t *runners, uint64_t *memory_bytes);
int cpni_trainers_fd(const struct cpni_trainers *trainers); /* readable while an outcome waits */
int cpni_trainers_next(struct cpni_trainers *trainers, struct cpni_trained *out); /* 1, or 0 when none waits */
void cpni_trained_clear(struct cpni_trained *trained);

#endif
