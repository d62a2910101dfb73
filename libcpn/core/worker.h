/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A worker's decisions: what it asks of its master, which task runs in which slot, which results still wait for their
 * acknowledgement, which model files it lacks. Fed with events, answers with actions; see event.h, action.h. */
#ifndef CPNI_CORE_WORKER_H
#define CPNI_CORE_WORKER_H

#include "core/action.h"
#include "core/event.h"

struct cpni_worker_core;

struct cpni_worker_config {
    struct cpn_id boot; /* random, of this process */
    struct cpni_str name, software, gpu;
    uint32_t slots, cores;
    uint64_t memory;
    const struct cpni_str *backends; /* "opencv.face", with the version after a space: "opencv.face 4.6.0" */
    size_t backend_count;
    const struct cpni_str *handlers; /* names of embedder's callbacks: served as models of version 0 without files */
    size_t handler_count;
    const struct cpni_rec_HELD *models; /* READY ones found on disk at start */
    const struct cpni_manifest *const *manifests; /* theirs, in the same order, so that DISCARD can drop their files; NULL: not known */
    size_t model_count;
};

int cpni_worker_core_new(const struct cpni_worker_config *config, const struct cpni_now *now, struct cpni_worker_core **out);
void cpni_worker_core_free(struct cpni_worker_core *core);
int cpni_worker_core_step(struct cpni_worker_core *core, const struct cpni_event *event, const struct cpni_now *now,
                          struct cpni_actions *actions);
int64_t cpni_worker_core_deadline(const struct cpni_worker_core *core);
const char *cpni_worker_core_check(const struct cpni_worker_core *core);

#endif
