/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Leases: which node works on which task, what its outcome counts for, and what happens to the task when the node cannot say (DESIGN
 * §6). A task has at most one lease. The outcome of any attempt counts while the task is open; one that comes again is acknowledged
 * again, not refused, for its first acknowledgement may be lost. Must not know the queue or who asked. */
#include "core/master_state.h"

#include <stdio.h>

void cpni_mlease_ack(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpn_id *task, uint32_t attempt)
{
    struct cpni_msg msg = { .type = CPNI_MSG_ACK };
    msg.ack.task = *task;
    msg.ack.attempt = attempt;
    cpni_mlink_send(core, link, &msg);
}

static void send_cancel(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpn_id *task, uint32_t attempt, int code)
{
    struct cpni_msg msg = { .type = CPNI_MSG_CANCEL };
    msg.cancel.task = *task;
    msg.cancel.attempt = attempt;
    msg.cancel.code = code;
    cpni_mlink_send(core, link, &msg);
}

/* ---- give and take ---- */

static void hold(struct cpni_mtask *task, struct cpni_mnode *node, uint64_t expected_us)
{
    task->node = node;
    task->expected_us = expected_us;
    DL_APPEND(node->leases, task);
    node->lease_count++;
    node->lease_bytes += task->input_size;
    node->lease_us += expected_us;
}

void cpni_mlease_release(struct cpni_master_core *core, struct cpni_mtask *task)
{
    struct cpni_mnode *node = task->node;
    DL_DELETE(node->leases, task);
    node->lease_count--;
    node->lease_bytes -= task->input_size;
    node->lease_us -= task->expected_us;
    task->node = NULL;
    core->dirty = true; /* the node has room for another */
    cpni_msession_node_wake(node);
}

static void send_task(struct cpni_master_core *core, const struct cpni_mtask *task)
{
    struct cpni_msg msg = { .type = CPNI_MSG_TASK };
    msg.task.task = task->id;
    msg.task.attempt = task->attempt;
    msg.task.term = core->config.term;
    msg.task.model = cpni_str(task->version->model->name);
    msg.task.version = task->version->number;
    msg.task.root = task->version->root;
    msg.task.input = task->input;
    if (task->input_blob != NULL) {
        msg.task.input_root = task->input_blob->root;
        msg.task.input_size = task->input_size;
    }
    msg.task.input_name = cpni_str(task->input_name);
    msg.task.annotate = task->annotate;
    if (task->deadline_us != 0) {
        int64_t left_ms = (task->deadline_us - core->now.mono_us) / 1000;
        msg.task.deadline_ms = left_ms < 1 ? 1 : left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms;
    }
    cpni_mlink_send(core, task->node->link, &msg);
}

void cpni_mlease_place(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mheld *held)
{
    uint64_t service_us = held->service_us != 0 ? held->service_us : held->version->service_us;
    hold(task, held->node, service_us != 0 ? service_us : CPNI_SERVICE_US);
    task->attempt = ++task->last_attempt;
    task->state = CPNI_JOB_PLACED;
    task->placed_us = core->now.mono_us;
    task->started_us = 0;
    send_task(core, task);
    if (cpni_mlogs(core, CPNI_LOG_TASK_PLACED)) {
        struct cpni_log_about about = cpni_mabout_task(core, task);
        cpni_log(core->out, CPNI_LOG_TASK_PLACED, &about, "attempt %u", task->attempt);
    }
}

void cpni_mlease_take(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mnode *node, uint32_t attempt)
{
    hold(task, node, CPNI_SERVICE_US);
    task->withheld = false;
    task->attempt = attempt;
    task->last_attempt = attempt > task->last_attempt ? attempt : task->last_attempt;
    task->state = CPNI_JOB_RUNNING;
    task->placed_us = core->now.mono_us;
    task->started_us = core->now.mono_us;
    struct cpni_log_about about = cpni_mabout_task(core, task);
    cpni_log(core->out, CPNI_LOG_TASK_ADOPTED, &about, "attempt %u", attempt);
}

void cpni_mlease_revoke(struct cpni_master_core *core, struct cpni_mtask *task, int code)
{
    send_cancel(core, task->node->link, &task->id, task->attempt, code);
    cpni_mlease_release(core, task);
}

/* ---- the node is lost, or does not have the task: counts for nothing ---- */

void cpni_mlease_again(struct cpni_master_core *core, struct cpni_mtask *task, bool may_have_run, const char *why)
{
    struct cpni_log_about about = cpni_mabout_task(core, task);
    const char *name = task->node != NULL ? task->node->identity->name : task->node_name;
    if (task->max_attempts == 1 && may_have_run) {
        cpni_mtask_end(core, task, CPN_ENODELOST, CPNI_FAILURE_NODE, "node %s was lost (%s) and the task may run only once", name, why);
        return;
    }
    cpni_log(core->out, CPNI_LOG_TASK_REQUEUED, &about, "attempt %u: %s", task->attempt, why);
    if (task->node != NULL) {
        cpni_mlease_release(core, task);
    }
    cpni_msubmit_requeue(core, task);
}

/* A result whose image never came is no result. */
void cpni_mlease_lose_image(struct cpni_master_core *core, struct cpni_mtask *task)
{
    cpni_mblob_cancel(core, task);
    cpni_mtask_account(core, task, 0, task->result_bytes);
    task->result_bytes = 0;
    cpni_msg_drop(task->result);
    task->result = NULL;
    cpni_arena_free(&task->result_arena);
    cpni_mblob_unref(core, task->result_blob);
    task->result_blob = NULL;
    task->source = NULL;
    task->state = CPNI_JOB_RUNNING; /* still leased, without a result: what ends it next must not drop the image again */
}

/* The node is there, but does not hand out what it announced: as bad as a crash, so that it cannot go on for ever. */
void cpni_mlease_image_failed(struct cpni_master_core *core, struct cpni_mtask *task, const char *text)
{
    struct cpni_mnode *node = task->node;
    struct cpni_msg_result failed = { .task = task->id, .attempt = task->attempt, .text = cpni_str(text) };
    failed.code = CPN_EIO;
    failed.failure = CPNI_FAILURE_CRASH;
    cpni_mlease_lose_image(core, task);
    task->state = CPNI_JOB_RUNNING;
    cpni_mlease_result(core, node, &failed);
}

void cpni_mlease_lost(struct cpni_master_core *core, struct cpni_mnode *node, const char *why)
{
    while (node->leases != NULL) {
        /* from the back, so that the first stands first in its flow again */
        struct cpni_mtask *task = node->leases->prev;
        if (task->state == CPNI_JOB_FETCHING) {
            cpni_mlease_lose_image(core, task);
        }
        cpni_mlease_again(core, task, true, why);
    }
}

static void note_evidence(struct cpni_mtask *task, const struct cpni_mnode *node, const struct cpni_msg_result *result)
{
    size_t used = strlen(task->text);
    snprintf(task->text + used, sizeof task->text - used, "%sattempt %u on %s: %.*s", used != 0 ? "; " : "", result->attempt,
             node->identity->name, (int)(result->text.size < 200 ? result->text.size : 200),
             result->text.size != 0 ? result->text.text : "crashed");
}

static void crashed(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mnode *node,
                    const struct cpni_msg_result *result, uint32_t limit)
{
    note_evidence(task, node, result);
    if (task->crashes < CPNI_ATTEMPTS_POISON) {
        task->avoid[task->crashes] = node->number;
    }
    task->crashes++;
    struct cpni_log_about about = cpni_mabout_task(core, task);
    cpni_mlease_release(core, task);
    if (task->crashes >= limit) {
        cpni_log(core->out, CPNI_LOG_TASK_POISON, &about, "%s", task->text);
        cpni_mtask_park(core, task);
        return;
    }
    cpni_log(core->out, CPNI_LOG_TASK_RETRY, &about, "crash %u of %u: %s", task->crashes, limit, task->text);
    cpni_msubmit_requeue(core, task);
}

void cpni_mlease_returned(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_handback *handback)
{
    struct cpni_mtask *task = cpni_mtask_find(core, &handback->task);
    if (task == NULL) {
        cpni_mclaim_returned(core, node, &handback->task, handback->attempt);
        return;
    }
    if (task->node != node || task->attempt != handback->attempt || task->state == CPNI_JOB_FETCHING) {
        return;
    }
    char why[CPNI_TASK_TEXT];
    snprintf(why, sizeof why, "handed back: %.*s", (int)(handback->text.size < 256 ? handback->text.size : 256),
             handback->text.size != 0 ? handback->text.text : "");
    struct cpni_mheld *held = cpni_mheld_find(node, task->version);
    if (held != NULL && handback->code == CPN_EMODEL) { /* it does not have the model after all */
        cpni_mheld_set(core, held, CPNI_HELD_NONE, (struct cpni_str){ 0 });
        cpni_mprepare_version(core, task->version);
    }
    bool may_have_run = task->started_us != 0;
    bool harmless = handback->code == 0 || handback->code == CPN_EAGAIN || handback->code == CPN_EBUSY || handback->code == CPN_EMODEL;
    if (harmless || (may_have_run && task->max_attempts == 1)) {
        cpni_mlease_again(core, task, may_have_run, why);
        return;
    }
    /* A full disk, no memory: as bad as a crash, or it would go back to the same node for ever. */
    struct cpni_msg_result failed = { .task = task->id, .attempt = task->attempt, .code = handback->code, .text = handback->text };
    crashed(core, task, node, &failed, core->config.attempts_poison);
}

/* ---- what a node says when it comes (back) ---- */

static void take_attempt(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_rec_ATTEMPT *attempt, bool done)
{
    struct cpni_mtask *task = cpni_mtask_find(core, &attempt->task);
    uint32_t number = node->link->control->number;
    if (task != NULL && task->node == node && task->attempt == attempt->attempt) {
        task->confirmed = number;
    } else if (task != NULL && (task->state == CPNI_JOB_QUEUED || task->state == CPNI_JOB_UPLOADING)) {
        if (task->state == CPNI_JOB_QUEUED) {
            cpni_msched_unqueue(core, task);
        } else {
            cpni_mblob_cancel(core, task);
        }
        cpni_mlease_take(core, task, node, attempt->attempt);
        task->confirmed = number;
    } else if (done) {
        return; /* its RESULT follows */
    } else if (task == NULL && attempt->term != core->config.term) {
        cpni_mclaim_attempt(core, node, attempt);
    } else {
        send_cancel(core, node->link, &attempt->task, attempt->attempt, CPN_ECANCELLED);
    }
}

void cpni_mlease_inventory(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_hello *hello)
{
    for (uint32_t i = 0; i < hello->attempts_count; i++) {
        take_attempt(core, node, &hello->attempts[i], false);
    }
    for (uint32_t i = 0; i < hello->results_count; i++) {
        take_attempt(core, node, &hello->results[i], true);
    }
    cpni_mclaim_inventory(core, node);
    /* What it was given and does not list never reached it. */
    struct cpni_mtask *task = node->leases != NULL ? node->leases->prev : NULL;
    uint32_t left = node->lease_count, number = node->link->control->number;
    for (; left != 0; left--) {
        struct cpni_mtask *before = task->prev;
        if (task->confirmed != number && task->state != CPNI_JOB_FETCHING) {
            cpni_mlease_again(core, task, true, "the node does not have it"); /* perhaps it never arrived, perhaps its RETURN was lost */
        }
        task = before;
    }
}

void cpni_mlease_started(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_started *started)
{
    struct cpni_mtask *task = cpni_mtask_find(core, &started->task);
    if (task != NULL && task->node == node && task->attempt == started->attempt && task->state == CPNI_JOB_PLACED) {
        task->state = CPNI_JOB_RUNNING;
        task->started_us = core->now.mono_us;
    }
}

/* ---- outcomes ---- */

static void model_failed(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mnode *node,
                         const struct cpni_msg_result *result)
{
    struct cpni_mheld *held = cpni_mheld_find(node, task->version);
    struct cpni_log_about about = cpni_mabout_task(core, task);
    cpni_log(core->out, CPNI_LOG_MODEL_FAILED, &about, "%.*s", (int)result->text.size, result->text.text);
    if (held != NULL) {
        cpni_mheld_set(core, held, CPNI_HELD_FAILED, result->text);
    }
    struct cpni_mversion *version = task->version;
    version->tasks++; /* so that it outlives the task */
    cpni_mlease_release(core, task);
    cpni_msubmit_requeue(core, task);
    cpni_msched_hopeless(core, version);
    version->tasks--;
    cpni_mversion_release(core, version);
}

static void count(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mnode *node,
                  const struct cpni_msg_result *result, uint64_t service_us)
{
    uint64_t out_bytes = result->image_size != 0 ? result->image_size : result->image != NULL ? result->image->size : 0;
    struct cpni_midentity *both[] = { node->identity, task->user };
    for (size_t i = 0; i < 2; i++) {
        struct cpni_mstats *stats[] = { &both[i]->total, &both[i]->fresh };
        for (size_t k = 0; k < 2; k++) {
            stats[k]->tasks++;
            stats[k]->failures += result->code != 0;
            stats[k]->busy_us += service_us;
            stats[k]->bytes_in += task->input_size;
            stats[k]->bytes_out += out_bytes;
        }
        cpni_mstats_touch(core, both[i]);
    }
}

/* The task has its outcome: what the node sent is kept until the client has it. If there is no memory to keep it, nothing has changed
 * and the node, which keeps what is not acknowledged, will say it again. */
void cpni_mlease_commit(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mnode *node,
                        const struct cpni_msg_result *result)
{
    struct cpni_msg msg = { .type = CPNI_MSG_RESULT };
    msg.result = *result;
    bool blob = result->image == NULL && result->image_size != 0;
    struct cpni_mblob *image = blob ? cpni_mblob_ref(core, &result->image_root, result->image_size) : NULL;
    if ((blob && image == NULL) || cpni_mkeep(core, &task->result_arena, &msg, &task->result) < 0) {
        cpni_mblob_unref(core, image);
        return;
    }
    uint64_t service_us = result->load_us + result->decode_us + result->infer_us + result->encode_us;
    if (service_us == 0 && task->started_us != 0) {
        service_us = (uint64_t)(core->now.mono_us - task->started_us);
    }
    struct cpni_mheld *held = cpni_mheld_find(node, task->version);
    if (held != NULL && result->code == 0) {
        cpni_msched_measure(held, service_us - (service_us > result->load_us ? result->load_us : 0));
    }
    count(core, task, node, result, service_us);
    memcpy(task->node_name, node->identity->name, sizeof task->node_name);
    task->code = result->code;
    task->result_bytes = cpni_msg_copy_bytes(&msg) + (result->image != NULL ? result->image->size : 0) +
                         (result->output != NULL ? result->output->size : 0);
    cpni_mtask_account(core, task, task->result_bytes, 0);
    task->result_blob = image;
    if (blob && !image->here) {
        task->state = CPNI_JOB_FETCHING; /* the lease stays: the node keeps the image for us */
        task->source = node;
        if (!cpni_mblob_fetch(core, task, node->link, image)) {
            cpni_mlease_lose_image(core, task);
            cpni_mlease_again(core, task, true, "its image could not be fetched");
        }
        return;
    }
    cpni_mlease_release(core, task);
    cpni_mlease_ack(core, node->link, &result->task, result->attempt);
    cpni_mtask_deliver(core, task);
}

/* Whether the outcome of an attempt that is not the leased one still counts. */
static bool settles(const struct cpni_msg_result *result)
{
    return result->failure == CPNI_FAILURE_NONE || result->failure == CPNI_FAILURE_INPUT;
}

/* Makes the attempt whose outcome came the leased one, so that there is one way on from here. false: it does not count. */
static bool make_current(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mnode *node,
                         const struct cpni_msg_result *result)
{
    if (task->node == node && task->attempt == result->attempt) {
        return true;
    }
    if (!settles(result)) {
        return false;
    }
    if (task->node != NULL) {
        cpni_mlease_revoke(core, task, CPN_ECANCELLED);
    } else if (task->state == CPNI_JOB_QUEUED) {
        cpni_msched_unqueue(core, task);
    } else {
        cpni_mblob_cancel(core, task);
    }
    cpni_mlease_take(core, task, node, result->attempt);
    return true;
}

static bool is_open(const struct cpni_mtask *task)
{
    return task->state == CPNI_JOB_UPLOADING || task->state == CPNI_JOB_QUEUED || task->state == CPNI_JOB_PLACED ||
           task->state == CPNI_JOB_RUNNING;
}

void cpni_mlease_result(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_result *result)
{
    struct cpni_mtask *task = cpni_mtask_find(core, &result->task);
    if (task == NULL) {
        if (!cpni_mclaim_result(core, node, result)) {
            cpni_mlease_ack(core, node->link, &result->task, result->attempt);
        }
        return;
    }
    if (task->state == CPNI_JOB_FETCHING && task->source == node && task->attempt == result->attempt) {
        return; /* said again after a break; acknowledged when the image is here */
    }
    if (!is_open(task) || !make_current(core, task, node, result)) {
        cpni_mlease_ack(core, node->link, &result->task, result->attempt);
        return;
    }
    core->dirty = true;
    switch (result->failure) {
    case CPNI_FAILURE_NODE:
    case CPNI_FAILURE_CANCELLED: /* not by us, or the task were closed: by an earlier master, that nobody asked for it then */
        cpni_mlease_ack(core, node->link, &result->task, result->attempt);
        cpni_mlease_again(core, task, task->started_us != 0, "the node gave it up");
        break;
    case CPNI_FAILURE_MODEL:
        cpni_mlease_ack(core, node->link, &result->task, result->attempt);
        model_failed(core, task, node, result);
        break;
    case CPNI_FAILURE_CRASH:
        if (task->max_attempts != 1) {
            cpni_mlease_ack(core, node->link, &result->task, result->attempt);
            crashed(core, task, node, result, task->max_attempts != 0 ? task->max_attempts : core->config.attempts_poison);
            break;
        }
        cpni_mlease_commit(core, task, node, result);
        break;
    default: /* done, bad input, its deadline passed: final */
        cpni_mlease_commit(core, task, node, result);
    }
}
