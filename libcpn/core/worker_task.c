/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* From TASK to RUN: a task that arrives gets its input first, then waits for a slot, first come first served, and is cancelled, handed
 * back or overtaken by its deadline meanwhile. A slot that has the model warm is preferred. Must not know how results travel. */
#include <string.h>

#include <cpn/error.h>

#include "core/events.h"
#include "core/worker_priv.h"

static struct cpni_attempt *find(struct cpni_worker_core *core, const struct cpn_id *task, uint32_t number)
{
    struct cpni_attempt_key key = { .task = *task, .number = number };
    struct cpni_attempt *attempt;
    HASH_FIND(hh, core->attempts, &key, sizeof key, attempt);
    return attempt;
}

struct cpni_attempt *cpni_worker_attempt(struct cpni_worker_core *core, uint64_t serial)
{
    struct cpni_attempt *attempt;
    HASH_FIND(hs, core->by_serial, &serial, sizeof serial, attempt);
    return attempt;
}

static uint32_t *counter(struct cpni_worker_core *core, enum cpni_attempt_state state)
{
    switch (state) {
    case CPNI_ATTEMPT_FETCHING:
        return &core->fetching;
    case CPNI_ATTEMPT_QUEUED:
        return &core->queued;
    case CPNI_ATTEMPT_RUNNING:
        return &core->running;
    case CPNI_ATTEMPT_IMPORTING:
        return &core->importing;
    default:
        return &core->unacked;
    }
}

static void free_slot(struct cpni_worker_core *core, const struct cpni_attempt *attempt)
{
    if (attempt->slot == CPNI_SLOT_ANY) {
        core->ahead--;
    } else {
        core->slots[attempt->slot].attempt = NULL;
    }
}

/* Keeps the counters, the slots, the queue and the timeouts in step with the state. */
void cpni_worker_set_state(struct cpni_worker_core *core, struct cpni_attempt *attempt, enum cpni_attempt_state state)
{
    if (attempt->state == CPNI_ATTEMPT_QUEUED) {
        DL_DELETE(core->queue, attempt);
    } else if (attempt->state == CPNI_ATTEMPT_RUNNING) {
        free_slot(core, attempt);
    }
    if (attempt->state != 0) {
        --*counter(core, attempt->state);
    }
    if (state == CPNI_ATTEMPT_QUEUED) {
        DL_APPEND(core->queue, attempt);
    } else if (state != CPNI_ATTEMPT_FETCHING) {
        cpni_heap_remove(&core->timeouts, &attempt->timeout);
    }
    if (state != 0) {
        ++*counter(core, state);
    }
    attempt->state = state;
}

void cpni_worker_drop_input(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_actions *actions)
{
    if (attempt->input_name == NULL) {
        return; /* gone before */
    }
    core->input_bytes -= attempt->input_size;
    cpni_bytes_unref(attempt->input);
    attempt->input = NULL;
    cpni_free(attempt->input_name);
    attempt->input_name = NULL;
    if (attempt->has_file) {
        attempt->has_file = false;
        cpni_keep_drop(&core->keep, &attempt->input_root, actions);
    }
}

static void destroy(struct cpni_attempt *attempt)
{
    cpni_bytes_unref(attempt->input);
    cpni_bytes_unref(attempt->result.image);
    cpni_free(attempt->input_name);
    cpni_free(attempt->block);
    cpni_free(attempt);
}

void cpni_worker_drop(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_actions *actions)
{
    cpni_worker_set_state(core, attempt, 0);
    cpni_worker_drop_input(core, attempt, actions);
    HASH_DELETE(hs, core->by_serial, attempt);
    HASH_DELETE(hh, core->attempts, attempt);
    destroy(attempt);
}

void cpni_worker_return(struct cpni_worker_core *core, const struct cpn_id *task, uint32_t number, uint64_t term, int code,
                        const char *text, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_RETURN };
    msg.handback.task = *task;
    msg.handback.attempt = number;
    msg.handback.term = term;
    msg.handback.code = code;
    msg.handback.text = cpni_str(text);
    cpni_uplink_send(&core->uplink, actions, &msg);
    cpni_log(actions, CPNI_LOG_TASK_RETURNED, &(struct cpni_log_about){ .task = task }, "attempt %u: %s", (unsigned)number, text);
}

/* Between a HELLO that lists the attempt and its WELCOME no RETURN may be sent, and without one the master would wait for ever: then it
 * becomes a result, which is kept until it is acknowledged. Without a connection the next HELLO does not list it, which says the same. */
void cpni_worker_give_back(struct cpni_worker_core *core, struct cpni_attempt *attempt, int code, const char *text,
                           struct cpni_actions *actions)
{
    if (core->uplink.control.hellos == 0) {
        cpni_worker_return(core, &attempt->key.task, attempt->key.number, attempt->term, code, text, actions);
        cpni_worker_drop(core, attempt, actions);
        return;
    }
    cpni_worker_conclude(core, attempt, code, CPNI_FAILURE_NODE, text, actions);
}

/* Why this node does not take the task; NULL: it does. */
static const char *reason_against(const struct cpni_worker_core *core, const struct cpni_msg_task *msg, int *code)
{
    uint32_t held = core->fetching + core->queued + core->running;
    uint64_t size = msg->input != NULL ? msg->input->size : msg->input_size;
    *code = CPN_EAGAIN;
    if (core->stops != 0) {
        return "the node is draining";
    }
    *code = CPN_EMODEL;
    if (!cpni_worker_serves(core, msg)) {
        return "the node does not have this model ready";
    }
    *code = CPN_EBUSY;
    if (held >= core->config.slots + CPNI_NODE_SURPLUS_MAX || HASH_COUNT(core->attempts) >= CPNI_NODE_ATTEMPTS_MAX) {
        return "the node holds as many tasks as it can";
    }
    if (held != 0 && (size > CPNI_NODE_BYTES_MAX || core->input_bytes > CPNI_NODE_BYTES_MAX - size)) {
        return "the node holds as many input bytes as it can";
    }
    return NULL;
}

/* All memory that the attempt needs to reach its slot; NULL: out of it, and nothing was changed. */
static struct cpni_attempt *create(struct cpni_worker_core *core, const struct cpni_msg_task *msg)
{
    struct cpni_attempt *attempt = cpni_calloc(1, sizeof *attempt);
    char *name = cpni_malloc((size_t)msg->input_name.size + 1);
    if (attempt == NULL || name == NULL) {
        cpni_free(attempt);
        cpni_free(name);
        return NULL;
    }
    attempt->input_name = cpni_str_copy(msg->input_name, name, (size_t)msg->input_name.size + 1);
    attempt->key = (struct cpni_attempt_key){ .task = msg->task, .number = msg->attempt };
    attempt->serial = ++core->next_serial;
    attempt->term = msg->term;
    attempt->model = msg->root;
    cpni_str_copy(msg->model, attempt->model_name, sizeof attempt->model_name);
    attempt->version = msg->version;
    attempt->input = cpni_bytes_ref(msg->input);
    attempt->input_root = msg->input_root;
    attempt->input_size = msg->input != NULL ? msg->input->size : msg->input_size;
    attempt->annotate = msg->annotate;
    attempt->deadline_us = msg->deadline_ms != 0 ? core->now.mono_us + (int64_t)msg->deadline_ms * 1000 : 0;
    attempt->arrived_us = core->now.mono_us;
    HASH_ADD(hh, core->attempts, key, sizeof attempt->key, attempt);
    if (attempt->hh.tbl == NULL) {
        destroy(attempt);
        return NULL;
    }
    HASH_ADD(hs, core->by_serial, serial, sizeof attempt->serial, attempt);
    if (attempt->hs.tbl == NULL || cpni_heap_insert(&core->timeouts, &attempt->timeout,
                                                    attempt->deadline_us != 0 ? attempt->deadline_us : INT64_MAX) < 0) {
        if (attempt->hs.tbl != NULL) {
            HASH_DELETE(hs, core->by_serial, attempt);
        }
        HASH_DELETE(hh, core->attempts, attempt);
        destroy(attempt);
        return NULL;
    }
    core->input_bytes += attempt->input_size;
    return attempt;
}

/* The same attempt again: the master adopted it, or asks for what it did not receive. */
static void repeated(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_actions *actions)
{
    if (attempt->state == CPNI_ATTEMPT_DONE) {
        cpni_worker_send_result(core, attempt, actions);
    }
}

static int begin_input(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_actions *actions)
{
    if (attempt->input != NULL || cpni_hash_is_zero(&attempt->input_root)) {
        cpni_worker_set_state(core, attempt, CPNI_ATTEMPT_QUEUED);
        return 0;
    }
    int rc = cpni_keep_use(&core->keep, &attempt->input_root);
    if (rc == 0) {
        attempt->has_file = true;
        rc = cpni_transfer_fetch(core->transfer, CPNI_FETCH_INPUT | attempt->serial, CPNI_TRANSFER_MASTER, &attempt->input_root,
                                 attempt->input_size, true, &core->now, actions);
    }
    if (rc == 0) {
        cpni_worker_set_state(core, attempt, CPNI_ATTEMPT_FETCHING);
    }
    return rc;
}

void cpni_worker_task(struct cpni_worker_core *core, const struct cpni_msg_task *msg, struct cpni_actions *actions)
{
    struct cpni_attempt *attempt = find(core, &msg->task, msg->attempt);
    if (attempt != NULL) {
        repeated(core, attempt, actions);
        return;
    }
    int code = 0;
    const char *against = reason_against(core, msg, &code);
    if (against != NULL) {
        cpni_worker_return(core, &msg->task, msg->attempt, msg->term, code, against, actions);
        return;
    }
    attempt = create(core, msg);
    if (attempt == NULL) {
        actions->failed = true; /* the connections are made anew; our HELLO then lacks this attempt, so it goes elsewhere */
        return;
    }
    cpni_log(actions, CPNI_LOG_TASK_TAKEN, &(struct cpni_log_about){ .task = &msg->task, .model = msg->model }, "attempt %u, %llu bytes",
             (unsigned)msg->attempt, (unsigned long long)attempt->input_size);
    int rc = begin_input(core, attempt, actions);
    if (rc < 0) {
        cpni_worker_return(core, &msg->task, msg->attempt, msg->term, rc, cpn_strerror(rc), actions);
        cpni_worker_drop(core, attempt, actions);
    }
}

void cpni_worker_input(struct cpni_worker_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions)
{
    struct cpni_attempt *attempt = cpni_worker_attempt(core, outcome->ticket & ~CPNI_FETCH_KIND);
    if (attempt == NULL || attempt->state != CPNI_ATTEMPT_FETCHING) {
        return;
    }
    if (outcome->code == 0) {
        cpni_worker_set_state(core, attempt, CPNI_ATTEMPT_QUEUED);
        return;
    }
    cpni_worker_give_back(core, attempt, outcome->code, outcome->text, actions);
}

static void kill_run(struct cpni_attempt *attempt, struct cpni_actions *actions)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_KILL);
    if (action != NULL) {
        action->kill.ticket = attempt->serial;
    }
}

static void cancel_one(struct cpni_worker_core *core, struct cpni_attempt *attempt, int code, struct cpni_actions *actions)
{
    cpni_log(actions, CPNI_LOG_TASK_CANCELLED, &(struct cpni_log_about){ .task = &attempt->key.task }, "attempt %u: %s",
             (unsigned)attempt->key.number, cpn_strerror(code));
    switch (attempt->state) {
    case CPNI_ATTEMPT_RUNNING:
        attempt->cancel = code;
        kill_run(attempt, actions); /* again if the cancel is repeated: the first KILL may have been lost for want of memory */
        break;
    case CPNI_ATTEMPT_FETCHING:
    case CPNI_ATTEMPT_QUEUED:
        cpni_transfer_cancel(core->transfer, CPNI_FETCH_INPUT | attempt->serial, &core->now, actions);
        cpni_worker_conclude(core, attempt, code, code == CPN_ETIMEDOUT ? CPNI_FAILURE_DEADLINE : CPNI_FAILURE_CANCELLED,
                             "cancelled before it ran", actions);
        break;
    default:
        repeated(core, attempt, actions); /* too late: the result ends the lease as well */
        break;
    }
}

void cpni_worker_cancel(struct cpni_worker_core *core, const struct cpni_msg_cancel *msg, struct cpni_actions *actions)
{
    struct cpni_attempt *attempt = find(core, &msg->task, msg->attempt);
    if (attempt == NULL) {
        cpni_worker_return(core, &msg->task, msg->attempt, core->uplink.term, CPN_ENOTFOUND, "no such attempt on this node", actions);
        return;
    }
    cancel_one(core, attempt, msg->code != 0 ? msg->code : CPN_ECANCELLED, actions);
}

void cpni_worker_timeouts(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    for (struct cpni_heap_entry *entry; (entry = cpni_heap_first(&core->timeouts)) != NULL && entry->at_us <= core->now.mono_us;) {
        struct cpni_attempt *attempt = (struct cpni_attempt *)(void *)((char *)entry - offsetof(struct cpni_attempt, timeout));
        cancel_one(core, attempt, CPN_ETIMEDOUT, actions);
    }
}

void cpni_worker_hand_back(struct cpni_worker_core *core, const struct cpn_hash *model, int code, const char *text,
                           struct cpni_actions *actions)
{
    struct cpni_attempt *attempt, *after;
    HASH_ITER(hh, core->attempts, attempt, after) {
        bool waits = attempt->state == CPNI_ATTEMPT_FETCHING || attempt->state == CPNI_ATTEMPT_QUEUED;
        if (waits && (model == NULL || memcmp(model, &attempt->model, sizeof *model) == 0)) {
            cpni_transfer_cancel(core->transfer, CPNI_FETCH_INPUT | attempt->serial, &core->now, actions);
            cpni_worker_give_back(core, attempt, code, text, actions);
        }
    }
}

static bool is_warm(const struct cpni_slot *slot, const struct cpn_hash *model)
{
    for (uint32_t i = 0; i < slot->warm_count; i++) {
        if (memcmp(&slot->warm[i], model, sizeof *model) == 0) {
            return true;
        }
    }
    return false;
}

static void make_warm(struct cpni_slot *slot, const struct cpn_hash *model)
{
    uint32_t at = 0;
    while (at < slot->warm_count && memcmp(&slot->warm[at], model, sizeof *model) != 0) {
        at++;
    }
    if (at == slot->warm_count) {
        at = slot->warm_count < CPNI_SLOT_WARM ? slot->warm_count++ : CPNI_SLOT_WARM - 1;
    }
    memmove(&slot->warm[1], &slot->warm[0], at * sizeof slot->warm[0]);
    slot->warm[0] = *model;
}

/* A free slot, or NULL: one that has the model warm, else the one with the fewest warm models, so that models spread before they crowd. */
static struct cpni_slot *choose(struct cpni_worker_core *core, const struct cpn_hash *model)
{
    struct cpni_slot *best = NULL;
    for (uint32_t i = 0; i < core->config.slots; i++) {
        struct cpni_slot *slot = &core->slots[i];
        if (slot->attempt != NULL) {
            continue;
        }
        if (is_warm(slot, model)) {
            return slot;
        }
        if (best == NULL || slot->warm_count < best->warm_count) {
            best = slot;
        }
    }
    return best;
}

static struct cpni_str keep(struct cpni_actions *actions, const char *text)
{
    size_t size = strlen(text);
    const char *copy = cpni_arena_memdup(&actions->arena, text, size + 1);
    return copy != NULL ? (struct cpni_str){ .text = copy, .size = (uint32_t)size } : (struct cpni_str){ 0 };
}

/* On a slot, or ahead (NULL). False: no memory for the action; the attempt stays where it was. */
static bool run(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_slot *slot, struct cpni_actions *actions)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_RUN);
    if (action == NULL) {
        return false;
    }
    struct cpni_act_run *act = &action->run;
    act->ticket = attempt->serial;
    act->slot = attempt->slot = slot != NULL ? (uint32_t)(slot - core->slots) : CPNI_SLOT_ANY;
    act->task = attempt->key.task;
    act->attempt = attempt->key.number;
    act->model = attempt->model;
    act->name = keep(actions, attempt->model_name);
    act->input = cpni_bytes_ref(attempt->input);
    act->input_root = attempt->input_root;
    act->input_size = attempt->input_size;
    act->input_name = keep(actions, attempt->input_name);
    act->annotate = attempt->annotate;
    act->deadline_us = attempt->deadline_us;
    cpni_worker_set_state(core, attempt, CPNI_ATTEMPT_RUNNING);
    attempt->started_us = core->now.mono_us;
    if (slot != NULL) {
        slot->attempt = attempt;
        make_warm(slot, &attempt->model);
    } else {
        core->ahead++;
    }
    return true;
}

static void send_started(struct cpni_worker_core *core, const struct cpni_attempt *attempt, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_STARTED };
    msg.started.task = attempt->key.task;
    msg.started.attempt = attempt->key.number;
    msg.started.term = attempt->term;
    cpni_uplink_send(&core->uplink, actions, &msg);
}

void cpni_worker_send_started(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    for (const struct cpni_attempt *attempt = core->attempts; attempt != NULL; attempt = attempt->hh.next) {
        if (attempt->state == CPNI_ATTEMPT_RUNNING) {
            send_started(core, attempt, actions);
        }
    }
}

/* Whether the first of the queue may run: a slot is free, or it is a callback and those that run are so short that a slot goes through
 * several of them before a thread could be told that one ended. What waits so is at most CPNI_NODE_AHEAD_US of work. */
static bool may_run(const struct cpni_worker_core *core)
{
    if (core->queue == NULL || core->running - core->ahead < core->config.slots) {
        return core->queue != NULL;
    }
    int64_t ahead = CPNI_NODE_AHEAD_US / (core->call_us + 1) * core->config.slots;
    return cpni_hash_is_zero(&core->queue->model) && core->ahead < CPNI_NODE_AHEAD_MAX && core->ahead < ahead;
}

void cpni_worker_place(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    while (may_run(core)) {
        struct cpni_attempt *attempt = core->queue;
        if (!run(core, attempt, choose(core, &attempt->model), actions)) {
            return;
        }
        cpni_log(actions, CPNI_LOG_TASK_RUN, &(struct cpni_log_about){ .task = &attempt->key.task }, "attempt %u, slot %d",
                 (unsigned)attempt->key.number, (int)attempt->slot);
        send_started(core, attempt, actions);
    }
}
