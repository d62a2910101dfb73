/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* One job on one runner: what is sent, and what may come back. Everything received is checked: the runner may have been
 * taken over by its input. Must not know where runners come from or what happens to them afterwards. */
#ifndef CPNI_ATTEMPT_H
#define CPNI_ATTEMPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "compute/pool.h"
#include "compute/runner.h"

/* A copy of a cpni_job that lives on a slot. */
struct cpni_attempt_job {
    struct cpni_job job; /* its pointers point into what follows */
    char *key; /* of the model */
    char *backend;
    char *input_name;
    struct cpni_buf load; /* the LOAD packet */
};

int cpni_attempt_job_copy(const struct cpni_job *job, const char *plugins, struct cpni_attempt_job *out);
void cpni_attempt_job_clear(struct cpni_attempt_job *job);

struct cpni_attempt {
    const struct cpni_runner *runner;
    const struct cpni_attempt_job *job;
    int wake_fd; /* readable when `stop` may have been set; drained here */
    const atomic_bool *stop; /* cancelled, or the pool closes */
    uint8_t *packet; /* CPNI_RUNNER_PACKET_MAX bytes to receive into */
};

/* Both fill code, class and the rest of the outcome, and return true when the runner may serve again. With class CRASH
 * the detail is left to the caller, who learns how the process ended. */
bool cpni_attempt_load(const struct cpni_attempt *attempt, int64_t timeout_us, struct cpni_outcome *out);
bool cpni_attempt_run(const struct cpni_attempt *attempt, struct cpni_outcome *out);

/* code, class and detail at once */
void cpni_outcome_fail(struct cpni_outcome *out, int code, enum cpni_outcome_class class, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
