/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* SUBMIT: what is accepted, what is turned away for now (BUSY), what never can be, and what was accepted before (DESIGN §5, §6).
 * Must not know how an accepted task goes on. */
#include "core/master_state.h"

#include <stdio.h>

static void send_accepted(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_mtask *task)
{
    struct cpni_msg msg = { .type = CPNI_MSG_ACCEPTED };
    msg.accepted.task = task->id;
    msg.accepted.model = cpni_str(task->version->model->name);
    msg.accepted.version = task->version->number;
    cpni_mconn_send(core, conn, &msg);
}

static void refuse(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_submit *submit, int code,
                   const char *text)
{
    struct cpni_mrefusal refusal = { .code = code, .type = CPNI_MSG_SUBMIT, .task = submit->task };
    cpni_mconn_refuse(core, conn, &refusal, "%s", text);
}

/* Where there is no room for it, the client hears so now; where there is no memory, it never came: its client, who gets no answer to
 * this step, submits it again. */
static void upload(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mlink *from)
{
    task->state = CPNI_JOB_UPLOADING;
    if (cpni_mblob_fetch(core, task, from, task->input_blob)) {
        return;
    }
    if (core->out->failed) {
        cpni_mtask_free(core, task);
    } else {
        cpni_mtask_end(core, task, CPN_EBUSY, CPNI_FAILURE_INPUT, "the master cannot receive this input now: submit it again later");
    }
}

/* Back to the front. The input of a task that was adopted from an earlier term never came here: its client sends it now. */
void cpni_msubmit_requeue(struct cpni_master_core *core, struct cpni_mtask *task)
{
    if (task->input_blob != NULL && !task->input_blob->here && task->owner != NULL) {
        upload(core, task, task->owner);
    } else {
        cpni_msched_queue(core, task, true);
    }
}

/* A client that came back asks for what it does not know to be accepted, or has no result of. */
static void again(struct cpni_master_core *core, struct cpni_mconn *conn, struct cpni_mtask *task,
                  const struct cpni_msg_submit *submit)
{
    if (task->user != conn->link->identity) {
        refuse(core, conn, submit, CPN_EEXISTS, "another user has submitted a task with this id");
        return;
    }
    cpni_mtask_own(task, conn->link);
    if (task->state == CPNI_JOB_DELIVERING) {
        cpni_mtask_redeliver(core, conn->link);
        return;
    }
    send_accepted(core, conn, task);
    if (task->state == CPNI_JOB_UPLOADING) {
        upload(core, task, conn->link);
    }
}

/* ---- bounds ---- */

static uint64_t inline_bytes(const struct cpni_msg_submit *submit)
{
    return submit->input != NULL ? submit->input->size : 0;
}

static uint64_t spool_bytes(const struct cpni_msg_submit *submit)
{
    return submit->input == NULL && !cpni_mhash_zero(&submit->input_root) ? submit->input_size : 0;
}

/* For now: the client submits it again. */
static void turn_away(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_submit *submit, const char *what)
{
    const struct cpni_midentity *user = conn->link->identity;
    struct cpni_msg msg = { .type = CPNI_MSG_BUSY };
    msg.busy.task = submit->task;
    msg.busy.retry_ms = CPNI_BUSY_RETRY_MS;
    msg.busy.text = cpni_str(what);
    cpni_mconn_send(core, conn, &msg);
    if (core->busy_logged_us == 0 || core->now.mono_us - core->busy_logged_us >= 1000000) {
        core->busy_logged_us = core->now.mono_us;
        struct cpni_log_about about = cpni_mabout_user(core, user);
        cpni_log(core->out, CPNI_LOG_QUEUE_FULL, &about, "%s: %u tasks of the user, %u in all", what, user->tasks,
                 HASH_COUNT(core->tasks));
    }
}

static bool busy(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_submit *submit)
{
    const struct cpni_midentity *user = conn->link->identity;
    const struct cpni_master_config *config = &core->config;
    uint64_t bytes = inline_bytes(submit), spool = spool_bytes(submit);
    const char *what = NULL;
    if (HASH_COUNT(core->tasks) >= config->tasks_max) {
        what = "the queue of the network is full";
    } else if (user->tasks >= config->user_tasks_max) {
        what = "this user has as many tasks waiting as one may have";
    } else if (core->task_bytes + bytes > config->task_bytes_max) {
        what = "the tasks of the network take all memory that they may";
    } else if (user->bytes + bytes > config->user_bytes_max) {
        what = "the tasks of this user take all memory that they may";
    } else if (core->spool_bytes + spool > config->spool_bytes_max) {
        what = "large inputs and results take all disk space that they may";
    } else if (core->stopping) {
        what = "the master is stopping";
    }
    if (what != NULL) {
        turn_away(core, conn, submit, what);
    }
    return what != NULL;
}

static bool sane(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_submit *submit)
{
    static const struct cpn_id none;
    const char *wrong = NULL;
    int code = CPN_EPROTO;
    if (memcmp(&submit->task, &none, sizeof none) == 0) {
        wrong = "a task needs an id";
    } else if (submit->input != NULL && !cpni_mhash_zero(&submit->input_root)) {
        wrong = "an input is either inline or a blob";
    } else if (inline_bytes(submit) > CPNI_INLINE_BYTES_MAX) {
        code = CPN_ETOOBIG;
        wrong = "an input this large must be sent as a blob";
    } else if (spool_bytes(submit) > CPNI_BLOB_BYTES_MAX || spool_bytes(submit) > core->config.spool_bytes_max) {
        code = CPN_ETOOBIG;
        wrong = "this input is larger than the master takes";
    }
    if (wrong != NULL) {
        refuse(core, conn, submit, code, wrong);
    }
    return wrong == NULL;
}

/* ---- a new task ---- */

static void describe(struct cpni_master_core *core, struct cpni_mtask *task, const struct cpni_msg_submit *submit)
{
    task->id = submit->task;
    task->annotate = submit->annotate;
    task->priority = submit->priority < CPNI_PRIORITIES ? submit->priority : CPNI_PRIORITIES - 1;
    task->max_attempts = submit->max_attempts;
    task->accepted_us = core->now.mono_us;
    task->queued_us = core->now.mono_us;
    task->state = CPNI_JOB_PLACED; /* in no list yet */
    task->timer.kind = CPNI_MTIMER_TASK;
    task->timer.owner = task;
    task->input_size = submit->input != NULL ? submit->input->size : spool_bytes(submit);
    if (submit->deadline_ms != 0) {
        task->deadline_us = core->now.mono_us + (int64_t)submit->deadline_ms * 1000;
    }
}

/* All memory that a task will need until it has a result. */
static bool reserve(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_midentity *user,
                    struct cpni_mversion *version, const struct cpni_msg_submit *submit)
{
    bool blob = spool_bytes(submit) != 0;
    task->input_name = cpni_calloc(1, (size_t)submit->input_name.size + 1);
    task->flow = task->input_name == NULL ? NULL : cpni_mflow_ref(core, user, version, task->priority);
    task->input_blob = task->flow != NULL && blob ? cpni_mblob_ref(core, &submit->input_root, submit->input_size) : NULL;
    if (task->flow == NULL || (blob && task->input_blob == NULL)) {
        return false;
    }
    cpni_str_copy(submit->input_name, task->input_name, (size_t)submit->input_name.size + 1);
    HASH_ADD(hh, core->tasks, id, sizeof task->id, task);
    if (cpni_hash_missed(task)) {
        return false;
    }
    if (task->deadline_us != 0 && cpni_heap_insert(&core->timers, &task->timer.entry, task->deadline_us) < 0) {
        HASH_DEL(core->tasks, task);
        return false;
    }
    return true;
}

static struct cpni_mtask *make(struct cpni_master_core *core, struct cpni_midentity *user, struct cpni_mversion *version,
                               const struct cpni_msg_submit *submit)
{
    struct cpni_mtask *task = cpni_calloc(1, sizeof *task);
    if (task != NULL) {
        describe(core, task, submit);
    }
    if (task == NULL || !reserve(core, task, user, version, submit)) {
        if (task != NULL) {
            cpni_mblob_unref(core, task->input_blob);
            if (task->flow != NULL) {
                cpni_mflow_unref(core, task->flow);
            }
            cpni_free(task->input_name);
        }
        cpni_free(task);
        core->out->failed = true;
        return NULL;
    }
    task->user = user;
    task->version = version;
    task->input = cpni_bytes_ref(submit->input);
    user->tasks++;
    version->tasks++;
    cpni_mtask_account(core, task, inline_bytes(submit), 0);
    return task;
}

void cpni_msubmit_queue(struct cpni_master_core *core, struct cpni_mtask *task)
{
    cpni_msched_queue(core, task, false);
    if (task->version->ready == 0 && task->version->number != 0) {
        cpni_mprepare_version(core, task->version); /* an old version by its number: the nodes may have let it go */
        cpni_msched_hopeless(core, task->version);
    }
}

/* A task that may run only once, and that an earlier master may have placed: it goes on where it is, or nowhere (DESIGN §6). */
static void withhold(struct cpni_master_core *core, struct cpni_mtask *task)
{
    if (core->claims_us == INT64_MAX) {
        cpni_mtask_end(core, task, CPN_ENODELOST, CPNI_FAILURE_NODE,
                       "the master was restarted, no node reports the task, and it may run only once");
        return;
    }
    task->withheld = true;
    cpni_msched_queue(core, task, false);
}

void cpni_msubmit_withheld(struct cpni_master_core *core)
{
    core->claims_us = INT64_MAX;
    struct cpni_mtask *task, *next;
    HASH_ITER(hh, core->tasks, task, next) {
        if (task->withheld && task->state == CPNI_JOB_QUEUED) {
            cpni_msched_unqueue(core, task);
            task->state = CPNI_JOB_PLACED; /* in no list */
            withhold(core, task);
        }
    }
}

static void start(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mlink *from, bool sent_earlier)
{
    if (cpni_mclaim_adopt(core, task)) {
        return;
    }
    if (task->max_attempts == 1 && sent_earlier) {
        withhold(core, task);
        return;
    }
    if (task->input_blob != NULL && !task->input_blob->here) {
        upload(core, task, from);
        return;
    }
    cpni_msubmit_queue(core, task);
}

void cpni_msubmit(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_submit *submit)
{
    struct cpni_mtask *known = cpni_mtask_find(core, &submit->task);
    if (known != NULL) {
        again(core, conn, known, submit);
        return;
    }
    char text[CPNI_TASK_TEXT];
    if (!sane(core, conn, submit)) {
        return;
    }
    struct cpni_mversion *version = cpni_mversion_resolve(core, submit->model, text);
    if (version == NULL && core->settle_us != 0) {
        /* A callback's model is known with its node, which may be on its way back. */
        turn_away(core, conn, submit, "the nodes are not all back yet, and none that is here knows this model");
        return;
    }
    if (version == NULL) {
        refuse(core, conn, submit, CPN_ENOTFOUND, text);
        return;
    }
    if (busy(core, conn, submit)) {
        return;
    }
    struct cpni_mtask *task = make(core, conn->link->identity, version, submit);
    if (task == NULL) {
        return;
    }
    cpni_mtask_own(task, conn->link);
    send_accepted(core, conn, task);
    if (cpni_mlogs(core, CPNI_LOG_TASK_ACCEPTED)) {
        struct cpni_log_about about = cpni_mabout_task(core, task);
        cpni_log(core->out, CPNI_LOG_TASK_ACCEPTED, &about, "%llu bytes", (unsigned long long)task->input_size);
    }
    start(core, task, conn->link, submit->sent_term != 0 && submit->sent_term != core->config.term);
}
