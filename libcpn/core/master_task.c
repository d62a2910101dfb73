/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A task from its end: outcomes, their delivery until the client says that it has them, cancellation, deadlines, parking (DESIGN
 * §6). Must not know how a task is placed or where its bytes lie. */
#include "core/master_state.h"

#include <stdarg.h>
#include <stdio.h>

struct cpni_mtask *cpni_mtask_find(const struct cpni_master_core *core, const struct cpn_id *id)
{
    struct cpni_mtask *task;
    HASH_FIND(hh, core->tasks, id, sizeof *id, task);
    return task;
}

int cpni_mkeep(struct cpni_master_core *core, struct cpni_arena *arena, const struct cpni_msg *msg, struct cpni_msg **out)
{
    struct cpni_msg *copy = NULL;
    size_t room = cpni_msg_copy_bytes(msg) + sizeof *copy + 16;
    if (cpni_arena_reserve(arena, room) == 0) {
        copy = cpni_arena_alloc(arena, sizeof *copy);
    }
    if (copy == NULL || cpni_msg_copy(arena, msg, copy) < 0) {
        cpni_arena_free(arena);
        core->out->failed = true;
        return CPN_ENOMEM;
    }
    *out = copy;
    return 0;
}

void cpni_mtask_account(struct cpni_master_core *core, struct cpni_mtask *task, uint64_t more, uint64_t less)
{
    core->task_bytes += more - less;
    task->user->bytes += more - less;
}

void cpni_mtask_own(struct cpni_mtask *task, struct cpni_mlink *link)
{
    if (task->owner == link) {
        return;
    }
    if (task->owner != NULL) {
        DL_DELETE2(task->owner->tasks, task, owner_prev, owner_next);
    }
    task->owner = link;
    if (link != NULL) {
        DL_APPEND2(link->tasks, task, owner_prev, owner_next);
    }
}

void cpni_mtask_drop_input(struct cpni_master_core *core, struct cpni_mtask *task)
{
    if (task->input != NULL) {
        cpni_mtask_account(core, task, 0, task->input->size);
        cpni_bytes_unref(task->input);
        task->input = NULL;
    }
    cpni_mblob_unref(core, task->input_blob);
    task->input_blob = NULL;
}

void cpni_mtask_free(struct cpni_master_core *core, struct cpni_mtask *task)
{
    if (task->node != NULL) {
        cpni_mlease_release(core, task);
    } else if (task->state == CPNI_JOB_QUEUED) {
        cpni_msched_unqueue(core, task);
    }
    cpni_mblob_cancel(core, task);
    cpni_heap_remove(&core->timers, &task->timer.entry);
    cpni_mtask_own(task, NULL);
    cpni_mtask_drop_input(core, task);
    if (task->result != NULL) {
        cpni_mtask_account(core, task, 0, task->result_bytes);
        cpni_msg_drop(task->result);
    }
    cpni_arena_free(&task->result_arena);
    cpni_mblob_unref(core, task->result_blob);
    HASH_DEL(core->tasks, task);
    cpni_mflow_unref(core, task->flow);
    struct cpni_mversion *version = task->version;
    struct cpni_midentity *user = task->user;
    cpni_free(task->input_name);
    cpni_free(task);
    version->tasks--;
    user->tasks--;
    cpni_mversion_release(core, version);
    cpni_midentity_release(core, user);
}

/* ---- delivery ---- */

static void fill_result(const struct cpni_mtask *task, struct cpni_msg *msg)
{
    msg->type = CPNI_MSG_RESULT;
    if (task->result != NULL) {
        *msg = *task->result;
    } else {
        msg->result.code = task->code;
        msg->result.failure = (uint32_t)task->failure;
        msg->result.text = cpni_str(task->text);
    }
    msg->result.task = task->id;
    msg->result.attempt = task->attempt;
    msg->result.term = 0;
    msg->result.queued_us = task->waited_us;
    msg->result.model = cpni_str(task->version->model->name);
    msg->result.version = task->version->number;
    msg->result.node = cpni_str(task->node_name);
}

static void send_result(struct cpni_master_core *core, struct cpni_mtask *task)
{
    struct cpni_mlink *link = task->owner;
    if (link->control == NULL || link->control->deaf) {
        return; /* with its next HELLO */
    }
    struct cpni_msg msg = { 0 };
    fill_result(task, &msg);
    cpni_mlink_send(core, link, &msg);
    task->delivered = link->control->number;
}

/* May free the task. */
void cpni_mtask_deliver(struct cpni_master_core *core, struct cpni_mtask *task)
{
    task->state = CPNI_JOB_DELIVERING;
    cpni_heap_remove(&core->timers, &task->timer.entry);
    cpni_mtask_drop_input(core, task);
    if (cpni_mlogs(core, CPNI_LOG_TASK_DONE)) {
        struct cpni_log_about about = cpni_mabout_task(core, task);
        about.name = cpni_actions_text(core->out, "%s", task->node_name);
        cpni_log(core->out, CPNI_LOG_TASK_DONE, &about, "%s", task->code == 0 ? "done" : cpn_error_name(task->code));
    }
    if (task->owner == NULL) {
        cpni_mtask_free(core, task);
        return;
    }
    send_result(core, task);
}

void cpni_mtask_redeliver(struct cpni_master_core *core, struct cpni_mlink *link)
{
    struct cpni_mtask *task;
    DL_FOREACH2(link->tasks, task, owner_next) {
        if (task->state == CPNI_JOB_DELIVERING && task->delivered != link->control->number) {
            send_result(core, task);
        }
    }
}

void cpni_mtask_ack(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpni_msg_ack *ack)
{
    struct cpni_mtask *task = cpni_mtask_find(core, &ack->task);
    if (task != NULL && task->user == link->identity && task->state == CPNI_JOB_DELIVERING) {
        cpni_mtask_free(core, task);
    }
}

/* ---- outcomes that are made here ---- */

/* Out of whatever it was doing. */
static void withdraw(struct cpni_master_core *core, struct cpni_mtask *task, int code)
{
    switch (task->state) {
    case CPNI_JOB_QUEUED:
        cpni_msched_unqueue(core, task);
        break;
    case CPNI_JOB_UPLOADING:
        cpni_mblob_cancel(core, task);
        break;
    case CPNI_JOB_FETCHING:
        cpni_mlease_lose_image(core, task);
        cpni_mlease_ack(core, task->node->link, &task->id, task->attempt); /* it may drop the image */
        cpni_mlease_release(core, task);
        break;
    case CPNI_JOB_PLACED:
    case CPNI_JOB_RUNNING:
        if (task->node != NULL) {
            cpni_mlease_revoke(core, task, code);
        }
        break;
    default:
        break;
    }
}

void cpni_mtask_end(struct cpni_master_core *core, struct cpni_mtask *task, int code, enum cpni_failure failure,
                    const char *format, ...)
{
    char text[CPNI_TASK_TEXT];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    withdraw(core, task, code);
    memcpy(task->text, text, sizeof text);
    task->code = code;
    task->failure = failure;
    task->user->total.failures++;
    task->user->fresh.failures++;
    cpni_mstats_touch(core, task->user);
    cpni_mtask_deliver(core, task);
}

void cpni_mtask_cancel(struct cpni_master_core *core, struct cpni_mtask *task, const char *why)
{
    if (task->state == CPNI_JOB_DELIVERING) {
        if (task->owner == NULL) {
            cpni_mtask_free(core, task);
        }
        return;
    }
    if (task->state == CPNI_JOB_PARKED) {
        return; /* its outcome is on its way through the store */
    }
    struct cpni_log_about about = cpni_mabout_task(core, task);
    cpni_log(core->out, CPNI_LOG_TASK_DROPPED, &about, "%s", why);
    cpni_mtask_end(core, task, CPN_ECANCELLED, CPNI_FAILURE_CANCELLED, "%s", why);
}

/* By a client. What is not known (any more) is as good as cancelled: without an answer the client would ask for ever. */
void cpni_mtask_cancelled(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_cancel *cancel)
{
    struct cpni_mtask *task = cpni_mtask_find(core, &cancel->task);
    if (task != NULL && task->user == conn->link->identity) {
        cpni_mtask_cancel(core, task, "cancelled by its client");
        return;
    }
    struct cpni_msg msg = { .type = CPNI_MSG_RESULT };
    msg.result.task = cancel->task;
    msg.result.code = CPN_ECANCELLED;
    msg.result.failure = CPNI_FAILURE_CANCELLED;
    msg.result.text = cpni_str("the master knows no such task of this user");
    cpni_mconn_send(core, conn, &msg);
}

void cpni_mtask_timer(struct cpni_master_core *core, struct cpni_mtask *task)
{
    struct cpni_log_about about = cpni_mabout_task(core, task);
    char why[CPNI_TASK_TEXT] = "it was running";
    if (task->state == CPNI_JOB_QUEUED) {
        cpni_msched_why(core, task, why);
    } else if (task->state == CPNI_JOB_UPLOADING) {
        snprintf(why, sizeof why, "its input was still on the way here");
    }
    cpni_log(core->out, CPNI_LOG_TASK_DEADLINE, &about, "%s", why);
    cpni_mtask_end(core, task, CPN_ETIMEDOUT, CPNI_FAILURE_DEADLINE, "the deadline passed after %lld ms: %s",
                   (long long)((core->now.mono_us - task->accepted_us) / 1000), why);
}

/* ---- poison ---- */

int cpni_mparked_add(struct cpni_master_core *core, const struct cpni_mparked *parked)
{
    struct cpni_mparked *copy = cpni_memdup(parked, sizeof *parked);
    if (copy == NULL) {
        return CPN_ENOMEM;
    }
    if (core->parked_count >= CPNI_PARKED_MAX) {
        struct cpni_mparked *oldest = core->parked;
        DL_DELETE(core->parked, oldest);
        cpni_free(oldest);
        core->parked_count--;
    }
    DL_APPEND(core->parked, copy);
    core->parked_count++;
    return 0;
}

static void list_parked(struct cpni_master_core *core, const struct cpni_mtask *task)
{
    struct cpni_mparked parked = { .task = task->id, .user = task->user->key, .attempts = task->crashes };
    snprintf(parked.model, sizeof parked.model, "%.40s@%u", task->version->model->name, task->version->number);
    memcpy(parked.text, task->text, sizeof parked.text);
    parked.wall_us = core->now.wall_us;
    if (cpni_mparked_add(core, &parked) < 0) {
        core->out->failed = true;
    }
}

/* No node has it any more. The client hears of it once the evidence is durable. */
void cpni_mtask_park(struct cpni_master_core *core, struct cpni_mtask *task)
{
    task->state = CPNI_JOB_PARKED;
    task->code = CPN_EPOISON;
    task->failure = CPNI_FAILURE_POISON;
    cpni_heap_remove(&core->timers, &task->timer.entry);
    cpni_mtask_drop_input(core, task);
    task->user->total.failures++;
    task->user->fresh.failures++;
    cpni_mstats_touch(core, task->user);
    list_parked(core, task);
    struct cpni_mpending *ask = cpni_mpending_new(core, CPNI_MPENDING_PARKED);
    if (ask == NULL) {
        cpni_mtask_deliver(core, task);
        return;
    }
    ask->task = task->id;
    struct cpni_command command = { .type = CPNI_COMMAND_TASK_PARKED };
    struct cpni_command_task_parked *parked = &command.u.task_parked;
    parked->task = task->id;
    parked->user = task->user->key;
    parked->attempts = task->crashes;
    snprintf(parked->model, sizeof parked->model, "%.40s@%u", task->version->model->name, task->version->number);
    cpni_str_copy(cpni_str(task->text), parked->text, sizeof parked->text);
    parked->wall_us = core->now.wall_us;
    cpni_mpending_commit(core, ask, NULL, &command);
}

void cpni_mtask_parked(struct cpni_master_core *core, struct cpni_mpending *ask)
{
    struct cpni_mtask *task = cpni_mtask_find(core, &ask->task);
    if (task != NULL && task->state == CPNI_JOB_PARKED) {
        cpni_mtask_deliver(core, task);
    }
}
