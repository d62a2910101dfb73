/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A client's tasks, from SUBMIT to the one RESULT that the program is told. A task is kept until then and sent again, under the same id,
 * whenever the master may have lost it; so a result may come twice, and the second one is acknowledged and not told. */
#include <string.h>

#include <cpn/error.h>

#include "core/events.h"
#include "core/client_priv.h"

static struct cpni_submission *find(struct cpni_client_core *core, const struct cpn_id *task)
{
    struct cpni_submission *submission;
    HASH_FIND(hh, core->tasks, task, sizeof *task, submission);
    return submission;
}

static bool is_zero(const struct cpn_hash *hash)
{
    static const struct cpn_hash zero;
    return memcmp(hash, &zero, sizeof zero) == 0;
}

static uint64_t inline_bytes(const struct cpni_submission *submission)
{
    return submission->msg.submit.input != NULL ? submission->msg.submit.input->size : 0;
}

static bool counts_as_sent(enum cpni_submission_state state)
{
    return state == CPNI_SUBMISSION_SENT || state == CPNI_SUBMISSION_ACCEPTED || state == CPNI_SUBMISSION_FETCHING;
}

/* Into the list by serial: a task that comes back from BUSY is among the oldest, so the place is near the front. */
static void wait(struct cpni_client_core *core, struct cpni_submission *submission)
{
    struct cpni_submission *before = core->waiting;
    while (before != NULL && before->serial < submission->serial) {
        before = before->next;
    }
    if (before != NULL) {
        DL_PREPEND_ELEM(core->waiting, before, submission);
    } else {
        DL_APPEND(core->waiting, submission);
    }
}

/* Keeps the list and the counters in step with the state; 0: it leaves. */
static void set_state(struct cpni_client_core *core, struct cpni_submission *submission, enum cpni_submission_state state)
{
    bool was = counts_as_sent(submission->state);
    bool will = counts_as_sent(state);
    if (submission->state == CPNI_SUBMISSION_WAITING) {
        DL_DELETE(core->waiting, submission);
    }
    if (was && !will) {
        core->sent--;
        core->sent_bytes -= inline_bytes(submission);
    } else if (will && !was) {
        core->sent++;
        core->sent_bytes += inline_bytes(submission);
    }
    submission->state = state;
    if (state == CPNI_SUBMISSION_WAITING) {
        if (core->waiting != NULL && core->waiting->prev->serial < submission->serial) {
            DL_APPEND(core->waiting, submission);
        } else {
            wait(core, submission);
        }
    }
}

static void drop_result(struct cpni_client_core *core, struct cpni_submission *submission, struct cpni_actions *actions)
{
    if (submission->result.type != CPNI_MSG_NONE) {
        cpni_transfer_cancel(core->transfer, submission->serial, &core->now, actions);
        cpni_msg_drop(&submission->result);
        submission->result.type = CPNI_MSG_NONE;
        cpni_arena_free(&submission->arena);
    }
    if (submission->has_image) {
        submission->has_image = false;
        cpni_keep_drop(&core->keep, &submission->result.result.image_root, actions);
    }
}

static void drop_input(struct cpni_client_core *core, struct cpni_submission *submission, struct cpni_actions *actions)
{
    core->bytes -= inline_bytes(submission);
    cpni_bytes_unref(submission->msg.submit.input);
    submission->msg.submit.input = NULL;
    if (submission->has_input) {
        submission->has_input = false;
        cpni_keep_drop(&core->keep, &submission->msg.submit.input_root, actions);
    }
}

static void drop(struct cpni_client_core *core, struct cpni_submission *submission, struct cpni_actions *actions)
{
    set_state(core, submission, 0);
    drop_result(core, submission, actions);
    drop_input(core, submission, actions);
    cpni_heap_remove(&core->timers, &submission->timer);
    HASH_DELETE(hs, core->by_serial, submission);
    HASH_DELETE(hh, core->tasks, submission);
    cpni_arena_free(&submission->arena);
    cpni_free(submission->block);
    cpni_free(submission);
}

void cpni_client_free_tasks(struct cpni_client_core *core)
{
    struct cpni_actions nowhere = { 0 };
    struct cpni_submission *submission, *after;
    HASH_ITER(hh, core->tasks, submission, after) {
        drop(core, submission, &nowhere);
    }
    cpni_actions_free(&nowhere);
    cpni_heap_free(&core->timers);
}

/* ---- in ---- */

static int copy(struct cpni_submission *submission, const struct cpni_msg_submit *submit)
{
    submission->block = cpni_malloc((size_t)submit->model.size + submit->input_name.size);
    if (submission->block == NULL) {
        return CPN_ENOMEM;
    }
    char *text = submission->block;
    struct cpni_msg_submit *own = &submission->msg.submit;
    submission->msg.type = CPNI_MSG_SUBMIT;
    *own = *submit;
    if (submit->model.size != 0) {
        memcpy(text, submit->model.text, submit->model.size);
    }
    if (submit->input_name.size != 0) {
        memcpy(text + submit->model.size, submit->input_name.text, submit->input_name.size);
    }
    own->model.text = text;
    own->input_name.text = text + submit->model.size;
    cpni_bytes_ref(own->input);
    return 0;
}

static int insert(struct cpni_client_core *core, struct cpni_submission *submission)
{
    int rc = cpni_heap_insert(&core->timers, &submission->timer, submission->deadline_us != 0 ? submission->deadline_us : INT64_MAX);
    if (rc < 0) {
        return rc;
    }
    HASH_ADD(hh, core->tasks, task, sizeof submission->task, submission);
    if (submission->hh.tbl == NULL) {
        cpni_heap_remove(&core->timers, &submission->timer);
        return CPN_ENOMEM;
    }
    HASH_ADD(hs, core->by_serial, serial, sizeof submission->serial, submission);
    if (submission->hs.tbl == NULL) {
        HASH_DELETE(hh, core->tasks, submission);
        cpni_heap_remove(&core->timers, &submission->timer);
        return CPN_ENOMEM;
    }
    return 0;
}

int cpni_client_submit(struct cpni_client_core *core, const struct cpni_msg_submit *submit)
{
    uint64_t size = submit->input != NULL ? submit->input->size : 0;
    if (find(core, &submit->task) != NULL) {
        return CPN_EEXISTS;
    }
    if (HASH_COUNT(core->tasks) >= CPNI_CLIENT_TASKS_MAX || (core->bytes != 0 && core->bytes + size > CPNI_CLIENT_BYTES_MAX)) {
        return CPN_EBUSY;
    }
    struct cpni_submission *submission = cpni_calloc(1, sizeof *submission);
    if (submission == NULL) {
        return CPN_ENOMEM;
    }
    submission->task = submit->task;
    submission->serial = core->next_serial + 1;
    submission->deadline_us = submit->deadline_ms != 0 ? core->now.mono_us + (int64_t)submit->deadline_ms * 1000 : 0;
    int rc = copy(submission, submit);
    bool blob = rc == 0 && submit->input == NULL && !is_zero(&submit->input_root);
    rc = blob ? cpni_keep_use(&core->keep, &submit->input_root) : rc;
    submission->has_input = blob && rc == 0;
    rc = rc < 0 ? rc : insert(core, submission);
    if (rc < 0) {
        if (submission->has_input) { /* not taken: the blob stays the caller's, so no REMOVE may follow */
            struct cpni_actions nowhere = { 0 };
            cpni_keep_drop(&core->keep, &submit->input_root, &nowhere);
            cpni_actions_free(&nowhere);
        }
        cpni_bytes_unref(submission->msg.submit.input);
        cpni_free(submission->block);
        cpni_free(submission);
        return rc;
    }
    core->next_serial++;
    core->bytes += size;
    set_state(core, submission, CPNI_SUBMISSION_WAITING);
    return 0;
}

/* ---- to the master ---- */

static uint32_t left_ms(const struct cpni_client_core *core, const struct cpni_submission *submission)
{
    if (submission->deadline_us == 0) {
        return 0;
    }
    int64_t left = (submission->deadline_us - core->now.mono_us) / 1000;
    return left > 1 ? (uint32_t)left : 1; /* 0 would mean none */
}

static bool fits(const struct cpni_client_core *core, const struct cpni_submission *submission)
{
    uint64_t window_bytes = core->uplink.window_bytes;
    return core->sent == 0 || (core->sent < core->window && (window_bytes == 0 || core->sent_bytes + inline_bytes(submission) <= window_bytes));
}

void cpni_client_send_tasks(struct cpni_client_core *core, struct cpni_actions *actions)
{
    if (!cpni_uplink_ready(&core->uplink) || core->now.mono_us < core->resume_us) {
        return;
    }
    core->resume_us = 0;
    while (core->waiting != NULL && fits(core, core->waiting)) {
        struct cpni_submission *submission = core->waiting;
        struct cpni_msg msg = submission->msg;
        msg.submit.deadline_ms = left_ms(core, submission);
        msg.submit.sent_term = submission->sent_term;
        cpni_uplink_send(&core->uplink, actions, &msg);
        set_state(core, submission, CPNI_SUBMISSION_SENT);
        submission->sent_once = true;
        submission->sent_term = submission->sent_term != 0 ? submission->sent_term : core->uplink.term;
        cpni_log(actions, CPNI_LOG_TASK_SUBMITTED, &(struct cpni_log_about){ .task = &submission->task }, "%u under way", (unsigned)core->sent);
    }
}

static void send_cancel(struct cpni_client_core *core, const struct cpni_submission *submission, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_CANCEL };
    msg.cancel.task = submission->task;
    msg.cancel.code = submission->cancel;
    cpni_uplink_send(&core->uplink, actions, &msg);
}

static uint32_t window_of(const struct cpni_client_core *core)
{
    return core->uplink.window_tasks != 0 ? core->uplink.window_tasks : CPNI_USER_TASKS_MAX;
}

/* The master may know none, some or all of the tasks: it gets all of them again. Another reign has no results in its spool, so what was
 * being fetched from the old one is asked for anew too. */
void cpni_client_tasks_joined(struct cpni_client_core *core, bool new_term, struct cpni_actions *actions)
{
    struct cpni_submission *submission, *after;
    core->window = window_of(core);
    core->resume_us = 0;
    HASH_ITER(hh, core->tasks, submission, after) {
        if (submission->state == CPNI_SUBMISSION_OVER) {
            send_cancel(core, submission, actions);
        } else if (submission->state == CPNI_SUBMISSION_SENT || submission->state == CPNI_SUBMISSION_ACCEPTED ||
                   (submission->state == CPNI_SUBMISSION_FETCHING && new_term)) {
            drop_result(core, submission, actions);
            set_state(core, submission, CPNI_SUBMISSION_WAITING);
        }
    }
}

/* ---- from the master ---- */

void cpni_client_accepted(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions)
{
    struct cpni_submission *submission = find(core, &msg->accepted.task);
    if (submission == NULL || submission->state != CPNI_SUBMISSION_SENT) {
        return;
    }
    set_state(core, submission, CPNI_SUBMISSION_ACCEPTED);
    core->window += core->window < window_of(core);
    cpni_actions_tell(actions, msg);
}

/* Different tasks come back at different times, the same ones at the same: no random source is needed. */
static int64_t jitter_us(const struct cpn_id *task, uint32_t retry_ms)
{
    uint32_t number;
    memcpy(&number, task->bytes, sizeof number);
    return (int64_t)(number % (retry_ms / 2 + 1)) * 1000;
}

void cpni_client_busy(struct cpni_client_core *core, const struct cpni_msg_busy *msg, struct cpni_actions *actions)
{
    struct cpni_submission *submission = find(core, &msg->task);
    if (submission == NULL || submission->state != CPNI_SUBMISSION_SENT) {
        return;
    }
    uint32_t retry_ms = msg->retry_ms != 0 ? msg->retry_ms : CPNI_BUSY_RETRY_MS;
    int64_t at_us = core->now.mono_us + (int64_t)retry_ms * 1000 + jitter_us(&msg->task, retry_ms);
    set_state(core, submission, CPNI_SUBMISSION_WAITING);
    submission->sent_term = 0; /* it did not run */
    core->resume_us = at_us > core->resume_us ? at_us : core->resume_us;
    core->window = core->sent > 1 ? core->sent : 1;
    cpni_log(actions, CPNI_LOG_TASK_BUSY, &(struct cpni_log_about){ .task = &msg->task }, "again in %u ms", (unsigned)retry_ms);
}

static void acknowledge(struct cpni_client_core *core, const struct cpni_msg_result *result, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_ACK };
    msg.ack.task = result->task;
    msg.ack.attempt = result->attempt;
    cpni_uplink_send(&core->uplink, actions, &msg);
}

/* Told first: if there is no memory for it (false), the result is not acknowledged and comes again. */
static bool deliver(struct cpni_client_core *core, struct cpni_submission *submission, const struct cpni_msg *msg, struct cpni_actions *actions)
{
    if (cpni_actions_tell(actions, msg) < 0) {
        return false;
    }
    acknowledge(core, &msg->result, actions);
    cpni_log(actions, CPNI_LOG_TASK_DELIVERED, &(struct cpni_log_about){ .task = &submission->task }, "%s",
             msg->result.code == 0 ? "" : cpn_strerror(msg->result.code));
    drop(core, submission, actions);
    return true;
}

static void fetch_image(struct cpni_client_core *core, struct cpni_submission *submission, const struct cpni_msg *msg,
                        struct cpni_actions *actions)
{
    int rc = cpni_msg_copy(&submission->arena, msg, &submission->result);
    if (rc < 0) {
        actions->failed = true; /* not acknowledged: it comes again */
        return;
    }
    rc = cpni_keep_use(&core->keep, &msg->result.image_root);
    submission->has_image = rc == 0;
    rc = rc < 0 ? rc : cpni_transfer_fetch(core->transfer, submission->serial, CPNI_TRANSFER_MASTER, &msg->result.image_root,
                                           msg->result.image_size, true, &core->now, actions);
    if (rc == 0) {
        set_state(core, submission, CPNI_SUBMISSION_FETCHING);
        return;
    }
    drop_result(core, submission, actions);
    if (rc == CPN_ENOMEM || rc == CPN_EBUSY) {
        actions->failed = true;
        return;
    }
    struct cpni_msg failed = *msg;
    failed.result.code = rc;
    failed.result.image_root = (struct cpn_hash){ 0 };
    failed.result.text = cpni_str("the image of the result is larger than a blob may be");
    deliver(core, submission, &failed, actions);
}

void cpni_client_result(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions)
{
    struct cpni_submission *submission = find(core, &msg->result.task);
    if (submission == NULL || submission->state == CPNI_SUBMISSION_OVER) {
        acknowledge(core, &msg->result, actions); /* told before: its acknowledgement was lost */
        if (submission != NULL) {
            drop(core, submission, actions);
        }
        return;
    }
    if (submission->state == CPNI_SUBMISSION_FETCHING) {
        return;
    }
    if (is_zero(&msg->result.image_root)) {
        deliver(core, submission, msg, actions);
    } else {
        fetch_image(core, submission, msg, actions);
    }
}

void cpni_client_image(struct cpni_client_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions)
{
    struct cpni_submission *submission;
    HASH_FIND(hs, core->by_serial, &outcome->ticket, sizeof outcome->ticket, submission);
    if (submission == NULL || submission->state != CPNI_SUBMISSION_FETCHING) {
        return;
    }
    if (outcome->code == CPN_ENOTFOUND && !submission->refetched) { /* we were away for so long that the master gave us up */
        submission->refetched = true;
        drop_result(core, submission, actions);
        set_state(core, submission, CPNI_SUBMISSION_WAITING);
        return;
    }
    struct cpni_msg msg = submission->result;
    if (outcome->code != 0) {
        msg.result.code = outcome->code;
        msg.result.text = cpni_str(outcome->text);
        msg.result.image_root = (struct cpn_hash){ 0 };
    }
    if (!deliver(core, submission, &msg, actions)) {
        set_state(core, submission, CPNI_SUBMISSION_ACCEPTED);
        drop_result(core, submission, actions);
    }
}

/* ---- ends that the client decides itself ---- */

/* Tell the program, and forget the task; the master is told too, again after a break if need be. */
static void end(struct cpni_client_core *core, struct cpni_submission *submission, int code, enum cpni_failure failure, const char *text,
                struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_RESULT };
    msg.result.task = submission->task;
    msg.result.code = code;
    msg.result.failure = (uint32_t)failure;
    msg.result.text = cpni_str(text);
    if (cpni_actions_tell(actions, &msg) < 0) {
        cpni_heap_move(&core->timers, &submission->timer, core->now.mono_us + 100000);
        return;
    }
    /* The master has the result on its hands already: it waits for an ACK, and a CANCEL tells it nothing. */
    bool has_result = submission->state == CPNI_SUBMISSION_FETCHING && cpni_uplink_ready(&core->uplink);
    if (has_result) {
        acknowledge(core, &submission->result.result, actions);
    }
    if (has_result || !submission->sent_once) {
        drop(core, submission, actions);
        return;
    }
    set_state(core, submission, CPNI_SUBMISSION_OVER);
    drop_result(core, submission, actions);
    drop_input(core, submission, actions);
    submission->cancel = code;
    cpni_heap_move(&core->timers, &submission->timer, core->now.mono_us + (int64_t)CPNI_CLIENT_CANCEL_MS * 1000);
    send_cancel(core, submission, actions);
}

void cpni_client_cancel(struct cpni_client_core *core, const struct cpn_id *task, struct cpni_actions *actions)
{
    struct cpni_submission *submission = find(core, task);
    if (submission != NULL && submission->state != CPNI_SUBMISSION_OVER) {
        end(core, submission, CPN_ECANCELLED, CPNI_FAILURE_CANCELLED, "cancelled by the program", actions);
    }
}

void cpni_client_task_refused(struct cpni_client_core *core, const struct cpni_msg_refused *msg, struct cpni_actions *actions)
{
    struct cpni_submission *submission = find(core, &msg->task);
    if (submission == NULL) {
        return;
    }
    if (submission->state == CPNI_SUBMISSION_OVER) {
        drop(core, submission, actions);
        return;
    }
    struct cpni_msg told = { .type = CPNI_MSG_RESULT };
    told.result.task = submission->task;
    told.result.code = msg->code;
    told.result.failure = CPNI_FAILURE_INPUT;
    told.result.text = msg->text;
    if (cpni_actions_tell(actions, &told) == 0) {
        drop(core, submission, actions);
    }
}

void cpni_client_fail_tasks(struct cpni_client_core *core, int code, const char *text, struct cpni_actions *actions)
{
    struct cpni_submission *submission, *after;
    HASH_ITER(hh, core->tasks, submission, after) {
        if (submission->state != CPNI_SUBMISSION_OVER) {
            end(core, submission, code, CPNI_FAILURE_NONE, text, actions);
        }
    }
}

void cpni_client_timers(struct cpni_client_core *core, struct cpni_actions *actions)
{
    for (struct cpni_heap_entry *entry; (entry = cpni_heap_first(&core->timers)) != NULL && entry->at_us <= core->now.mono_us;) {
        struct cpni_submission *submission = (void *)((char *)entry - offsetof(struct cpni_submission, timer));
        bool graced = entry->at_us > submission->deadline_us; /* also when telling failed for want of memory */
        if (submission->state == CPNI_SUBMISSION_OVER) {
            drop(core, submission, actions);
        } else if (!graced && cpni_uplink_ready(&core->uplink) && submission->sent_once) {
            cpni_heap_move(&core->timers, entry, submission->deadline_us + (int64_t)CPNI_CLIENT_DEADLINE_GRACE_MS * 1000);
        } else {
            end(core, submission, CPN_ETIMEDOUT, CPNI_FAILURE_DEADLINE,
                cpni_uplink_ready(&core->uplink) ? "the deadline passed" : "the deadline passed; the master cannot be reached", actions);
        }
    }
}

const char *cpni_client_check_tasks(const struct cpni_client_core *core)
{
    uint32_t sent = 0, waiting = 0, listed = 0;
    uint64_t sent_bytes = 0, bytes = 0;
    const struct cpni_submission *submission;
    for (submission = core->tasks; submission != NULL; submission = submission->hh.next) {
        sent += counts_as_sent(submission->state);
        sent_bytes += counts_as_sent(submission->state) ? inline_bytes(submission) : 0;
        waiting += submission->state == CPNI_SUBMISSION_WAITING;
        bytes += inline_bytes(submission);
        if (submission->timer.index == 0) {
            return "client: a task without a timer";
        }
        if ((submission->state == CPNI_SUBMISSION_FETCHING) != (submission->result.type == CPNI_MSG_RESULT)) {
            return "client: a task fetches an image without a result, or keeps a result without fetching";
        }
    }
    uint64_t last = 0;
    DL_FOREACH(core->waiting, submission) {
        if (submission->state != CPNI_SUBMISSION_WAITING || submission->serial <= last) {
            return "client: the list of waiting tasks is wrong or out of order";
        }
        last = submission->serial;
        listed++;
    }
    if (sent != core->sent || sent_bytes != core->sent_bytes || bytes != core->bytes || listed != waiting) {
        return "client: a counter of tasks is wrong";
    }
    return HASH_CNT(hs, core->by_serial) == HASH_COUNT(core->tasks) ? NULL : "client: a task is lost";
}
