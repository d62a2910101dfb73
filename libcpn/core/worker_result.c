/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* From FINISHED to ACK: a result is packed, a large image goes into the store first, and both are kept until the master acknowledges
 * them, however often the connection breaks or the master is another one by then. Also the credit, which is measured here. */
#include <string.h>

#include <cpn/error.h>

#include "core/events.h"
#include "core/worker_priv.h"

/* One block for labels and texts: a result is one allocation, whatever it says. */
static int pack(struct cpni_attempt *attempt, const struct cpn_label *labels, size_t count, const char *text)
{
    size_t text_size = text != NULL ? strnlen(text, CPNI_STR_BYTES_MAX) : 0;
    size_t size = count * sizeof(struct cpni_rec_LABEL) + text_size;
    for (size_t i = 0; i < count; i++) {
        size += strnlen(labels[i].name, sizeof labels[i].name);
    }
    attempt->block = cpni_malloc(size);
    if (attempt->block == NULL) {
        return CPN_ENOMEM;
    }
    struct cpni_rec_LABEL *list = attempt->block;
    char *at = (char *)(list + count);
    for (size_t i = 0; i < count; i++) {
        const struct cpn_label *label = &labels[i];
        uint32_t name_size = (uint32_t)strnlen(label->name, sizeof label->name);
        list[i] = (struct cpni_rec_LABEL){ .name = { .text = at, .size = name_size }, .confidence = label->confidence, .x = label->x,
                                           .y = label->y, .width = label->width, .height = label->height };
        memcpy(at, label->name, name_size);
        at += name_size;
    }
    if (text_size != 0) {
        memcpy(at, text, text_size);
    }
    attempt->result.labels = count != 0 ? list : NULL;
    attempt->result.labels_count = (uint32_t)count;
    attempt->result.text = (struct cpni_str){ .text = at, .size = (uint32_t)text_size };
    return 0;
}

static void head(struct cpni_attempt *attempt, int code, enum cpni_failure failure)
{
    struct cpni_msg_result *result = &attempt->result;
    result->task = attempt->key.task;
    result->attempt = attempt->key.number;
    result->term = attempt->term;
    result->code = code;
    result->failure = (uint32_t)failure;
    result->model = cpni_str(attempt->model_name);
    result->version = attempt->version;
    result->waiting_us = attempt->started_us != 0 ? (uint64_t)(attempt->started_us - attempt->arrived_us) : 0;
}

void cpni_worker_send_result(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_RESULT, .result = attempt->result };
    attempt->sent_us = core->now.mono_us;
    cpni_uplink_send(&core->uplink, actions, &msg);
}

void cpni_worker_send_results(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    struct cpni_attempt *attempt, *after;
    HASH_ITER(hh, core->attempts, attempt, after) {
        if (attempt->state == CPNI_ATTEMPT_DONE) {
            cpni_worker_send_result(core, attempt, actions);
        }
    }
}

static void done(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_actions *actions)
{
    cpni_worker_set_state(core, attempt, CPNI_ATTEMPT_DONE);
    cpni_worker_send_result(core, attempt, actions);
}

static void forget_result(struct cpni_attempt *attempt)
{
    cpni_bytes_unref(attempt->result.image);
    cpni_free(attempt->block);
    attempt->block = NULL;
    attempt->result = (struct cpni_msg_result){ 0 };
}

void cpni_worker_conclude(struct cpni_worker_core *core, struct cpni_attempt *attempt, int code, enum cpni_failure failure,
                          const char *text, struct cpni_actions *actions)
{
    forget_result(attempt);
    if (pack(attempt, NULL, 0, text) < 0) {
        actions->failed = true; /* the HELLO that follows lacks the attempt, so the master places it anew */
        cpni_worker_drop(core, attempt, actions);
        return;
    }
    head(attempt, code, failure);
    cpni_worker_drop_input(core, attempt, actions);
    done(core, attempt, actions);
}

/* The task's own deadline is final, a runner's timeout is not: only here both times are known. */
static enum cpni_failure classify(const struct cpni_worker_core *core, const struct cpni_attempt *attempt,
                                  const struct cpni_event_finished *event)
{
    if (event->code != CPN_ETIMEDOUT) {
        return event->failure;
    }
    return attempt->deadline_us != 0 && core->now.mono_us >= attempt->deadline_us ? CPNI_FAILURE_DEADLINE : CPNI_FAILURE_CRASH;
}

static void import_image(struct cpni_worker_core *core, struct cpni_attempt *attempt, struct cpni_actions *actions)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_DISK);
    if (action == NULL) {
        cpni_worker_give_back(core, attempt, CPN_ENOMEM, "out of memory", actions);
        return;
    }
    action->disk.op = CPNI_DISK_IMPORT_BYTES;
    action->disk.ticket = attempt->serial;
    action->disk.spool = true;
    action->disk.size = attempt->result.image->size;
    action->disk.data = cpni_bytes_ref(attempt->result.image);
    if (attempt->state != CPNI_ATTEMPT_IMPORTING) {
        cpni_worker_set_state(core, attempt, CPNI_ATTEMPT_IMPORTING);
    }
}

static void fill(struct cpni_msg_result *result, const struct cpni_event_finished *event)
{
    result->image = cpni_bytes_ref(event->image);
    result->image_type = event->image != NULL ? (uint32_t)event->image_type : 0;
    result->image_size = event->image != NULL ? event->image->size : 0;
    result->width = event->width;
    result->height = event->height;
    result->load_us = event->timings.load_us;
    result->decode_us = event->timings.decode_us;
    result->infer_us = event->timings.infer_us;
    result->encode_us = event->timings.encode_us;
}

static void measure(int64_t *mean, int64_t sample)
{
    *mean = *mean == 0 ? sample : *mean + (sample - *mean) / 8;
}

void cpni_worker_finished(struct cpni_worker_core *core, const struct cpni_event_finished *event, struct cpni_actions *actions)
{
    struct cpni_attempt *attempt = cpni_worker_attempt(core, event->ticket);
    if (attempt == NULL || attempt->state != CPNI_ATTEMPT_RUNNING) {
        return;
    }
    if (cpni_hash_is_zero(&attempt->model) && event->code != CPN_ECANCELLED) {
        core->call_us += ((int64_t)event->timings.infer_us - core->call_us) / 8;
    }
    measure(&core->service_us, core->now.mono_us - attempt->started_us);
    if (attempt->cancel != 0) {
        cpni_worker_conclude(core, attempt, attempt->cancel,
                             attempt->cancel == CPN_ETIMEDOUT ? CPNI_FAILURE_DEADLINE : CPNI_FAILURE_CANCELLED, "cancelled", actions);
        return;
    }
    if (event->code != 0) {
        cpni_log(actions, CPNI_LOG_TASK_FAILED, &(struct cpni_log_about){ .task = &attempt->key.task, .model = cpni_str(attempt->model_name) },
                 "attempt %u: %s", (unsigned)attempt->key.number,
                 event->text != NULL && event->text[0] != 0 ? event->text : cpn_strerror(event->code));
    }
    size_t labels = event->label_count < CPN_RESULT_LABELS ? event->label_count : CPN_RESULT_LABELS;
    if (pack(attempt, event->labels, labels, event->text) < 0) {
        cpni_worker_give_back(core, attempt, CPN_ENOMEM, "out of memory", actions);
        return;
    }
    head(attempt, event->code, classify(core, attempt, event));
    fill(&attempt->result, event);
    cpni_worker_drop_input(core, attempt, actions);
    if (event->image != NULL && event->image->size > CPNI_INLINE_BYTES_MAX) {
        import_image(core, attempt, actions);
    } else {
        done(core, attempt, actions);
    }
}

bool cpni_worker_imported(struct cpni_worker_core *core, const struct cpni_event_disk *event, struct cpni_actions *actions)
{
    struct cpni_attempt *attempt = cpni_worker_attempt(core, event->ticket);
    if (attempt == NULL || attempt->state != CPNI_ATTEMPT_IMPORTING) {
        return false;
    }
    if (event->code == CPN_EBUSY) { /* the disk's queue was full; its other answers make room */
        import_image(core, attempt, actions);
        return true;
    }
    int rc = event->code != 0 ? event->code : cpni_keep_use(&core->keep, &event->root);
    if (rc < 0) {
        cpni_worker_give_back(core, attempt, rc, event->text != NULL && rc == event->code ? event->text : cpn_strerror(rc), actions);
        return true;
    }
    cpni_bytes_unref(attempt->result.image);
    attempt->result.image = NULL;
    attempt->result.image_root = event->root;
    done(core, attempt, actions);
    return true;
}

uint32_t cpni_worker_credit(const struct cpni_worker_core *core)
{
    return core->stops != 0 ? 0 : core->config.slots + core->surplus;
}

/* Credit beyond the slots covers the tasks that end while a result travels and the next task comes back. It rises at once, and falls
 * only by halves, so that one slow task does not set off a message. */
static void grant(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    int64_t service_us = core->service_us > 0 ? core->service_us : 1;
    int64_t wanted = CPNI_NODE_SURPLUS_TASKS;
    if (service_us < core->rtt_us) {
        wanted += core->config.slots * core->rtt_us / service_us;
    }
    uint32_t surplus = wanted < CPNI_NODE_SURPLUS_MAX ? (uint32_t)wanted : CPNI_NODE_SURPLUS_MAX;
    if (core->stops != 0 || (surplus <= core->surplus && surplus >= core->surplus / 2 + 1)) {
        return;
    }
    if (surplus == core->surplus) {
        return;
    }
    core->surplus = surplus;
    struct cpni_msg msg = { .type = CPNI_MSG_CREDIT };
    msg.credit.tasks = cpni_worker_credit(core);
    msg.credit.bytes = CPNI_NODE_BYTES_MAX;
    cpni_uplink_send(&core->uplink, actions, &msg);
}

void cpni_worker_ack(struct cpni_worker_core *core, const struct cpni_msg_ack *msg, struct cpni_actions *actions)
{
    struct cpni_attempt_key key = { .task = msg->task, .number = msg->attempt };
    struct cpni_attempt *attempt;
    HASH_FIND(hh, core->attempts, &key, sizeof key, attempt);
    if (attempt == NULL || attempt->state != CPNI_ATTEMPT_DONE) {
        return;
    }
    if (cpni_hash_is_zero(&attempt->result.image_root)) {
        measure(&core->rtt_us, core->now.mono_us - attempt->sent_us);
    } else {
        cpni_keep_drop(&core->keep, &attempt->result.image_root, actions);
    }
    cpni_worker_drop(core, attempt, actions);
    grant(core, actions);
}
