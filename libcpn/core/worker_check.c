/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The full scan of a worker's invariants: tests and the simulator call it after every step. */
#include "core/worker_priv.h"

static const char *check_slots(const struct cpni_worker_core *core)
{
    uint32_t busy = 0;
    for (uint32_t i = 0; i < core->config.slots; i++) {
        const struct cpni_attempt *attempt = core->slots[i].attempt;
        if (attempt == NULL) {
            continue;
        }
        busy++;
        if (attempt->state != CPNI_ATTEMPT_RUNNING || attempt->slot != i) {
            return "worker: a slot holds an attempt that does not run in it";
        }
    }
    return busy + core->ahead == core->running ? NULL : "worker: more attempts run than slots are taken, or fewer";
}

static const char *check_attempt(const struct cpni_attempt *attempt)
{
    bool waits = attempt->state == CPNI_ATTEMPT_FETCHING || attempt->state == CPNI_ATTEMPT_QUEUED;
    bool ended = attempt->state == CPNI_ATTEMPT_DONE || attempt->state == CPNI_ATTEMPT_IMPORTING;
    if (waits != (attempt->timeout.index != 0)) {
        return "worker: an attempt that waits has no timeout, or one that does not has";
    }
    if (ended != (attempt->block != NULL)) {
        return "worker: an ended attempt without a result, or a result before the end";
    }
    return ended && attempt->input_name != NULL ? "worker: an ended attempt keeps its input" : NULL;
}

static const char *check_attempts(const struct cpni_worker_core *core)
{
    uint32_t counts[CPNI_ATTEMPT_DONE + 1] = { 0 };
    uint32_t queued = 0;
    uint64_t bytes = 0;
    const struct cpni_attempt *attempt;
    for (attempt = core->attempts; attempt != NULL; attempt = attempt->hh.next) {
        const char *broken = check_attempt(attempt);
        if (broken != NULL) {
            return broken;
        }
        counts[attempt->state]++;
        bytes += attempt->input_name != NULL ? attempt->input_size : 0;
    }
    DL_FOREACH(core->queue, attempt) {
        queued++;
        if (attempt->state != CPNI_ATTEMPT_QUEUED) {
            return "worker: the queue holds an attempt that does not wait in it";
        }
    }
    if (counts[CPNI_ATTEMPT_FETCHING] != core->fetching || counts[CPNI_ATTEMPT_QUEUED] != core->queued || queued != core->queued ||
        counts[CPNI_ATTEMPT_RUNNING] != core->running || counts[CPNI_ATTEMPT_IMPORTING] != core->importing ||
        counts[CPNI_ATTEMPT_DONE] != core->unacked || bytes != core->input_bytes) {
        return "worker: a counter of attempts is wrong";
    }
    return HASH_CNT(hs, core->by_serial) == HASH_COUNT(core->attempts) ? NULL : "worker: an attempt is lost";
}

static const char *check_models(const struct cpni_worker_core *core)
{
    uint32_t preparing = 0;
    const struct cpni_model *model;
    for (model = core->models; model != NULL; model = model->hh.next) {
        uint32_t missing = 0;
        bool active = !model->waiting && (model->state == CPNI_HELD_FETCHING || model->state == CPNI_HELD_LOADING);
        preparing += active;
        for (uint32_t i = 0; active && i < model->manifest.file_count; i++) {
            missing += !model->here[i];
        }
        if (active && missing != model->missing) {
            return "worker: the count of a model's missing files is wrong";
        }
        if (model->holds && (model->waiting || model->state == CPNI_HELD_FAILED || model->state == CPNI_HELD_UNMET)) {
            return "worker: a model that is not here keeps its files";
        }
    }
    if (preparing != core->preparing || preparing > CPNI_NODE_PREPARES_MAX) {
        return "worker: the count of models being prepared is wrong";
    }
    return HASH_COUNT(core->models) <= CPNI_NODE_MODELS_MAX ? NULL : "worker: too many models";
}

const char *cpni_worker_core_check(const struct cpni_worker_core *core)
{
    const char *broken = cpni_uplink_check(&core->uplink);
    broken = broken != NULL ? broken : cpni_transfer_check(core->transfer);
    broken = broken != NULL ? broken : check_slots(core);
    broken = broken != NULL ? broken : check_attempts(core);
    broken = broken != NULL ? broken : check_models(core);
    return broken != NULL ? broken : cpni_worker_check_sessions(core);
}
