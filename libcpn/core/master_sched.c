/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The queue and the choice of a node (DESIGN §6). Tasks wait in flows: one for each user, version and priority class. Higher classes
 * go first; within a class users take turns, and the flows of one user take turns; within a flow the first that came goes first.
 * A task goes to the node that is expected to finish it first: what the node has still to do, divided by its slots, and the task's own
 * measured time there; ties go to the node with less to do, then to the lower number. Only nodes with credit are asked.
 * Must not know how a placement ends. */
#include "core/master_state.h"

#include <stdio.h>

/* ---- flows ---- */

struct cpni_mflow *cpni_mflow_ref(struct cpni_master_core *core, struct cpni_midentity *user, struct cpni_mversion *version,
                                  uint32_t priority)
{
    struct cpni_mflow *flow;
    DL_FOREACH(user->flows, flow) {
        if (flow->version == version && flow->priority == priority) {
            flow->refs++;
            return flow;
        }
    }
    flow = cpni_calloc(1, sizeof *flow);
    if (flow == NULL) {
        core->out->failed = true;
        return NULL;
    }
    flow->user = user;
    flow->version = version;
    flow->priority = priority;
    flow->refs = 1;
    DL_APPEND(user->flows, flow);
    return flow;
}

void cpni_mflow_unref(struct cpni_master_core *core, struct cpni_mflow *flow)
{
    (void)core;
    if (--flow->refs == 0) {
        DL_DELETE(flow->user->flows, flow);
        cpni_free(flow);
    }
}

static void activate(struct cpni_master_core *core, struct cpni_mflow *flow)
{
    struct cpni_midentity *user = flow->user;
    uint32_t p = flow->priority;
    if (user->ring[p] == NULL) {
        DL_APPEND2(core->ring[p], user, ring_prev[p], ring_next[p]);
        core->ring_count[p]++;
    }
    DL_APPEND2(user->ring[p], flow, ring_prev, ring_next);
}

static void deactivate(struct cpni_master_core *core, struct cpni_mflow *flow)
{
    struct cpni_midentity *user = flow->user;
    uint32_t p = flow->priority;
    DL_DELETE2(user->ring[p], flow, ring_prev, ring_next);
    if (user->ring[p] == NULL) {
        DL_DELETE2(core->ring[p], user, ring_prev[p], ring_next[p]);
        core->ring_count[p]--;
    }
}

void cpni_msched_queue(struct cpni_master_core *core, struct cpni_mtask *task, bool front)
{
    struct cpni_mflow *flow = task->flow;
    task->state = CPNI_JOB_QUEUED;
    task->queued_us = core->now.mono_us;
    if (flow->tasks == NULL) {
        activate(core, flow);
    }
    if (front) {
        DL_PREPEND(flow->tasks, task);
    } else {
        DL_APPEND(flow->tasks, task);
    }
    flow->queued++;
    core->dirty = true;
}

void cpni_msched_unqueue(struct cpni_master_core *core, struct cpni_mtask *task)
{
    struct cpni_mflow *flow = task->flow;
    DL_DELETE(flow->tasks, task);
    flow->queued--;
    task->waited_us += (uint64_t)(core->now.mono_us - task->queued_us);
    if (flow->tasks == NULL) {
        deactivate(core, flow);
    }
}

/* ---- the choice ---- */

void cpni_msched_measure(struct cpni_mheld *held, uint64_t service_us)
{
    service_us = service_us != 0 ? service_us : 1;
    uint64_t *averages[] = { &held->service_us, &held->version->service_us };
    for (size_t i = 0; i < 2; i++) {
        uint64_t old = *averages[i];
        *averages[i] = old == 0 ? service_us : service_us > old ? old + (service_us - old) / 8 : old - (old - service_us) / 8;
        *averages[i] += *averages[i] == 0;
    }
}

static uint64_t service_of(const struct cpni_mheld *held)
{
    return held->service_us != 0 ? held->service_us : held->version->service_us != 0 ? held->version->service_us : CPNI_SERVICE_US;
}

/* Could serve it, now or when it has done some of its work. */
static bool serves(const struct cpni_mheld *held)
{
    const struct cpni_mnode *node = held->node;
    return held->state == CPNI_HELD_READY && node->link != NULL && node->link->control != NULL && !node->link->control->deaf &&
           !node->drained && !node->draining && node->peer == NULL;
}

/* An input larger than a node's whole credit goes to a node that has nothing else to do: it could go nowhere otherwise. */
static bool has_room(const struct cpni_master_core *core, const struct cpni_mnode *node, uint64_t size)
{
    return core->now.mono_us >= node->paused_us && node->lease_count < node->credit_tasks &&
           (node->lease_count == 0 || (size <= node->credit_bytes && node->lease_bytes <= node->credit_bytes - size));
}

static bool avoids(const struct cpni_mtask *task, const struct cpni_mnode *node)
{
    for (size_t i = 0; i < CPNI_ATTEMPTS_POISON; i++) {
        if (task->avoid[i] == node->number) {
            return true;
        }
    }
    return false;
}

static uint64_t finish_us(const struct cpni_mheld *held)
{
    const struct cpni_mnode *node = held->node;
    uint64_t slots = node->slots != 0 ? node->slots : 1;
    uint64_t wait_us = node->lease_count < slots ? 0 : node->lease_us / slots;
    return wait_us + service_of(held);
}

static bool better(const struct cpni_mheld *a, const struct cpni_mheld *b)
{
    uint64_t a_us = finish_us(a), b_us = finish_us(b);
    if (a_us != b_us) {
        return a_us < b_us;
    }
    /* fewer tasks for a slot: a/sa < b/sb, without a fraction */
    return (uint64_t)a->node->lease_count * (b->node->slots + 1) < (uint64_t)b->node->lease_count * (a->node->slots + 1);
}

/* NULL: no node now. *free says whether any node that serves the version has room at all, whatever the task. */
static struct cpni_mheld *choose(const struct cpni_master_core *core, const struct cpni_mtask *task, bool *free)
{
    struct cpni_mheld *held, *best = NULL, *shunned = NULL;
    bool other = false;
    *free = false;
    DL_FOREACH(task->version->holders, held) {
        if (!serves(held)) {
            continue;
        }
        *free = *free || held->node->lease_count < held->node->credit_tasks;
        bool avoid = avoids(task, held->node);
        other = other || !avoid;
        if (!has_room(core, held->node, task->input_size)) {
            continue;
        }
        struct cpni_mheld **kind = avoid ? &shunned : &best;
        if (*kind == NULL || better(held, *kind)) {
            *kind = held;
        }
    }
    return other ? best : shunned; /* where it crashed only if there is no other */
}

/* ---- a pass ---- */

static bool place_of_flow(struct cpni_master_core *core, struct cpni_mflow *flow)
{
    if (flow->version->pass == core->pass) {
        return false;
    }
    struct cpni_mtask *task = flow->tasks;
    for (unsigned i = 0; task != NULL && i < CPNI_SCAN_TASKS; i++, task = task->next) {
        bool free = true;
        struct cpni_mheld *held = task->withheld ? NULL : choose(core, task, &free);
        if (held != NULL) {
            cpni_msched_unqueue(core, task);
            cpni_mlease_place(core, task, held);
            return true;
        }
        if (!free) {
            flow->version->pass = core->pass;
            return false;
        }
    }
    return false;
}

static bool place_of_user(struct cpni_master_core *core, struct cpni_midentity *user, uint32_t p)
{
    struct cpni_mflow *flow;
    DL_FOREACH2(user->ring[p], flow, ring_next) {
        struct cpni_mflow *last = user->ring[p]->ring_prev;
        if (!place_of_flow(core, flow)) {
            continue;
        }
        if (flow->tasks != NULL && flow != last) { /* its turn is over */
            DL_DELETE2(user->ring[p], flow, ring_prev, ring_next);
            DL_APPEND2(user->ring[p], flow, ring_prev, ring_next);
        }
        return true;
    }
    return false;
}

static bool round_of(struct cpni_master_core *core, uint32_t p)
{
    bool placed = false;
    for (uint32_t left = core->ring_count[p]; left != 0 && core->ring[p] != NULL; left--) {
        struct cpni_midentity *user = core->ring[p];
        DL_DELETE2(core->ring[p], user, ring_prev[p], ring_next[p]);
        DL_APPEND2(core->ring[p], user, ring_prev[p], ring_next[p]);
        placed = place_of_user(core, user, p) || placed;
    }
    return placed;
}

void cpni_msched_run(struct cpni_master_core *core)
{
    core->pass++;
    for (uint32_t p = CPNI_PRIORITIES; p-- > 0;) {
        while (!core->out->failed && round_of(core, p)) {
        }
    }
}

/* ---- why a task waits, for people ---- */

struct census {
    unsigned online, with_backend, returning, preparing, ready, serving, failed;
    const struct cpni_mheld *trouble;
};

static struct census take_census(const struct cpni_master_core *core, const struct cpni_mversion *version)
{
    struct census census = { 0 };
    const struct cpni_mnode *node;
    DL_FOREACH(core->nodes, node) {
        struct cpni_str unused;
        bool fits = cpni_mnode_backend(node, version->manifest.backend, &unused);
        bool lately = core->now.wall_us - node->identity->last_seen_us < (int64_t)CPNI_NODE_RETURN_MS * 1000;
        census.online += node->link != NULL;
        census.with_backend += node->link != NULL && fits;
        census.returning += node->link == NULL && !node->identity->revoked && fits && lately;
    }
    const struct cpni_mheld *held;
    DL_FOREACH(version->holders, held) {
        census.ready += held->state == CPNI_HELD_READY;
        census.serving += serves(held);
        census.preparing += held->state == CPNI_HELD_FETCHING || held->state == CPNI_HELD_LOADING;
        if (held->state == CPNI_HELD_FAILED || held->state == CPNI_HELD_UNMET) {
            census.trouble = held;
            census.failed++;
        }
    }
    return census;
}

void cpni_msched_why(struct cpni_master_core *core, const struct cpni_mtask *task, char text[CPNI_TASK_TEXT])
{
    const struct cpni_mversion *version = task->version;
    struct census census = take_census(core, version);
    struct cpni_str backend = version->manifest.backend;
    if (task->withheld) {
        snprintf(text, CPNI_TASK_TEXT, "it may run only once, and the master, just restarted, waits for the node that may have it");
    } else if (core->settle_us != 0) {
        snprintf(text, CPNI_TASK_TEXT, "the master has just started and waits for its nodes");
    } else if (census.online == 0) {
        snprintf(text, CPNI_TASK_TEXT, "no node is online");
    } else if (census.serving != 0) {
        snprintf(text, CPNI_TASK_TEXT, "all %u nodes that have the model are busy", census.serving);
    } else if (census.ready != 0) {
        snprintf(text, CPNI_TASK_TEXT, "the nodes that have the model are draining or training");
    } else if (version->number == 0) {
        snprintf(text, CPNI_TASK_TEXT, "no node online serves %s", version->model->name);
    } else if (census.with_backend == 0) {
        snprintf(text, CPNI_TASK_TEXT, "no node online has backend %.*s", (int)(backend.size < 64 ? backend.size : 64), backend.text);
    } else if (census.preparing != 0) {
        snprintf(text, CPNI_TASK_TEXT, "the model is being prepared on %u nodes", census.preparing);
    } else if (census.trouble != NULL) {
        snprintf(text, CPNI_TASK_TEXT, "no node could prepare the model; %s: %s", census.trouble->node->identity->name,
                 census.trouble->text);
    } else {
        snprintf(text, CPNI_TASK_TEXT, "the model is not on a node yet");
    }
}

/* A model that every node online with its backend has failed to prepare will not get better by waiting: people want the reason, now.
 * Where a node may still come (none is online, or one is preparing it), the tasks wait. */
void cpni_msched_hopeless(struct cpni_master_core *core, struct cpni_mversion *version)
{
    struct census census = take_census(core, version);
    if (census.failed == 0 || census.ready != 0 || census.preparing != 0 || census.failed < census.with_backend ||
        census.returning != 0 || core->settle_us != 0) {
        return;
    }
    version->tasks++; /* so that it outlives the loop */
    struct cpni_mtask *task, *next;
    HASH_ITER(hh, core->tasks, task, next) {
        if (task->version == version && task->state == CPNI_JOB_QUEUED) {
            cpni_mtask_end(core, task, CPN_EMODEL, CPNI_FAILURE_MODEL, "no node can run %s@%u; %s: %s", version->model->name,
                           version->number, census.trouble->node->identity->name, census.trouble->text);
        }
    }
    version->tasks--;
}

/* With every heartbeat: a node that might have served them may be gone for good by now. */
void cpni_msched_despair(struct cpni_master_core *core)
{
    struct cpni_mversion *version, *next;
    HASH_ITER(hh, core->versions, version, next) {
        if (version->tasks != 0 && version->ready == 0) {
            cpni_msched_hopeless(core, version);
        }
    }
}
