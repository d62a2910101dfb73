/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A full scan of what must always hold (DESIGN §15), for tests and the simulator: every sum equals what it sums up, every list agrees
 * with what its members say. */
#include "core/master_state.h"

static const char *check_node(const struct cpni_mnode *node)
{
    uint32_t count = 0;
    uint64_t bytes = 0, us = 0;
    const struct cpni_mtask *task;
    DL_FOREACH(node->leases, task) {
        bool leased = task->state == CPNI_JOB_PLACED || task->state == CPNI_JOB_RUNNING || task->state == CPNI_JOB_FETCHING;
        if (task->node != node || !leased) {
            return "a leased task does not know its lease";
        }
        count++;
        bytes += task->input_size;
        us += task->expected_us;
    }
    if (count != node->lease_count || bytes != node->lease_bytes || us != node->lease_us) {
        return "a node's sums do not match its leases";
    }
    if (node->link == NULL && node->leases != NULL) {
        return "a node that is gone has leases";
    }
    if (node->link != NULL && memcmp(&node->link->boot, &node->boot, sizeof node->boot) != 0) {
        return "a node's link is another process's";
    }
    const struct cpni_mheld *held;
    for (held = node->held; held != NULL; held = held->hh.next) {
        if (held->node != node || (node->link == NULL && held->state != CPNI_HELD_NONE)) {
            return "a node that is gone holds a model";
        }
    }
    return NULL;
}

static const char *check_task(const struct cpni_mtask *task)
{
    bool leased = task->state == CPNI_JOB_PLACED || task->state == CPNI_JOB_RUNNING || task->state == CPNI_JOB_FETCHING;
    if (leased != (task->node != NULL)) {
        return "a task's state does not match its lease";
    }
    if ((task->state == CPNI_JOB_UPLOADING || task->state == CPNI_JOB_FETCHING) && task->fetch == 0) {
        return "a task waits for bytes that nobody fetches";
    }
    if (task->state == CPNI_JOB_DELIVERING && (task->owner == NULL || task->input != NULL || task->timer.entry.index != 0)) {
        return "a finished task still holds on to something";
    }
    if (task->owner != NULL && task->owner->identity != task->user) {
        return "a task belongs to another user's process";
    }
    if (task->version->tasks == 0 || task->flow->user != task->user || task->flow->version != task->version) {
        return "a task does not match its flow";
    }
    return NULL;
}

static const char *check_tasks(const struct cpni_master_core *core)
{
    uint64_t bytes = 0, leased = 0, queued = 0;
    const struct cpni_mtask *task;
    for (task = core->tasks; task != NULL; task = task->hh.next) {
        const char *broken = check_task(task);
        if (broken != NULL) {
            return broken;
        }
        bytes += (task->input != NULL ? task->input->size : 0) + (task->result != NULL ? task->result_bytes : 0);
        leased += task->node != NULL;
        queued += task->state == CPNI_JOB_QUEUED;
    }
    const struct cpni_mnode *node;
    DL_FOREACH(core->nodes, node) {
        const char *broken = check_node(node);
        if (broken != NULL) {
            return broken;
        }
        leased -= node->lease_count;
    }
    if (leased != 0) {
        return "a lease is in no node's list";
    }
    if (bytes != core->task_bytes) {
        return "the bytes of tasks do not add up";
    }
    const struct cpni_midentity *user;
    for (user = core->identities; user != NULL; user = user->hh.next) {
        const struct cpni_mflow *flow;
        DL_FOREACH(user->flows, flow) {
            queued -= flow->queued;
        }
    }
    return queued != 0 ? "a queued task is in no flow" : NULL;
}

static const char *check_people(const struct cpni_master_core *core)
{
    uint32_t links = 0, tasks = 0;
    uint64_t bytes = 0;
    const struct cpni_midentity *user;
    for (user = core->identities; user != NULL; user = user->hh.next) {
        const struct cpni_mlink *link;
        uint32_t own = 0;
        DL_FOREACH(user->links, link) {
            own++;
            if ((link->control != NULL && link->control->link != link) || (link->bulk != NULL && link->bulk->link != link)) {
                return "a connection does not know its link";
            }
            if (user->revoked) {
                return "a revoked key has a link";
            }
        }
        if (own != user->link_count || (user->role == CPN_ROLE_NODE && own > 1)) {
            return "a key's links are not as many as counted, or a node has two";
        }
        links += own;
        tasks += user->tasks;
        bytes += user->bytes;
    }
    if (links != core->link_count || tasks != HASH_COUNT(core->tasks) || bytes != core->task_bytes) {
        return "the sums of links, tasks or bytes over all users are wrong";
    }
    return NULL;
}

static const char *check_models(const struct cpni_master_core *core)
{
    const struct cpni_mmodel *model;
    uint32_t count = 0;
    for (model = core->models; model != NULL; model = model->hh.next) {
        const struct cpni_mversion *version;
        DL_FOREACH(model->versions, version) {
            uint32_t ready = 0, tasks = 0;
            const struct cpni_mheld *held;
            DL_FOREACH(version->holders, held) {
                ready += held->state == CPNI_HELD_READY;
            }
            const struct cpni_mtask *task;
            for (task = core->tasks; task != NULL; task = task->hh.next) {
                tasks += task->version == version;
            }
            if (ready != version->ready || tasks != version->tasks || version->model != model) {
                return "a version's counts of nodes or tasks are wrong";
            }
            count++;
        }
    }
    return count != core->version_count ? "the versions are not as many as counted" : NULL;
}

static const char *check_blobs(const struct cpni_master_core *core)
{
    uint64_t spool = 0;
    const struct cpni_mblob *blob;
    for (blob = core->blobs; blob != NULL; blob = blob->hh.next) {
        uint32_t refs = 0;
        const struct cpni_mtask *task;
        for (task = core->tasks; task != NULL; task = task->hh.next) {
            refs += (task->input_blob == blob ? 1u : 0u) + (task->result_blob == blob ? 1u : 0u);
        }
        if (refs != blob->refs || (refs == 0 && blob->files == 0 && blob->kept == 0 && !core->blobs_idle)) {
            return "a blob is kept for nobody, or not as often as counted";
        }
        spool += refs != 0 ? blob->size : 0;
    }
    return spool != core->spool_bytes ? "the bytes of the spool do not add up" : NULL;
}

const char *cpni_master_core_check(const struct cpni_master_core *core)
{
    const char *(*const checks[])(const struct cpni_master_core *) = { check_tasks, check_people, check_models, check_blobs,
                                                                      cpni_msession_check };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        const char *broken = checks[i](core);
        if (broken != NULL) {
            return broken;
        }
    }
    return cpni_transfer_check(core->transfer);
}
