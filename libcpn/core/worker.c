/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See worker.h. Here: making a core, the step that hands each event to its file, the inventory of a HELLO, the orderly end. */
#include "core/worker.h"

#include <string.h>

#include <cpn/error.h>

#include "core/events.h"
#include "core/worker_priv.h"

static bool lists(const struct cpni_attempt *attempt, bool results)
{
    return attempt->state != 0 && (attempt->state == CPNI_ATTEMPT_DONE) == results;
}

static int list_attempts(struct cpni_worker_core *core, bool results, struct cpni_rec_ATTEMPT **out, uint32_t *out_count,
                         struct cpni_actions *actions)
{
    uint32_t held = core->fetching + core->queued + core->running + core->importing;
    uint32_t count = 0;
    struct cpni_rec_ATTEMPT *list = cpni_arena_alloc(&actions->arena, (results ? core->unacked : held) * sizeof *list);
    if (list == NULL) {
        return CPN_ENOMEM;
    }
    struct cpni_attempt *attempt, *after;
    HASH_ITER(hh, core->attempts, attempt, after) {
        if (lists(attempt, results)) {
            list[count++] = (struct cpni_rec_ATTEMPT){ .task = attempt->key.task, .attempt = attempt->key.number, .term = attempt->term };
        }
    }
    *out = list;
    *out_count = count;
    return 0;
}

static int list_texts(const struct cpni_str *texts, size_t count, struct cpni_rec_TEXT **out, uint32_t *out_count,
                      struct cpni_actions *actions)
{
    struct cpni_rec_TEXT *list = cpni_arena_alloc(&actions->arena, count * sizeof *list);
    if (list == NULL) {
        return CPN_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        list[i].text = texts[i];
    }
    *out = list;
    *out_count = (uint32_t)count;
    return 0;
}

static int inventory(void *arg, struct cpni_msg_hello *hello, struct cpni_actions *actions)
{
    struct cpni_worker_core *core = arg;
    hello->kind = core->uplink.kind;
    hello->name = core->config.name;
    hello->software = core->config.software;
    hello->slots = core->config.slots;
    hello->cores = core->config.cores;
    hello->memory = core->config.memory;
    hello->gpu = core->config.gpu;
    hello->draining = core->stops != 0;
    hello->credit_tasks = cpni_worker_credit(core);
    hello->credit_bytes = core->stops != 0 ? 0 : CPNI_NODE_BYTES_MAX;
    int rc = list_texts(core->config.backends, core->config.backend_count, &hello->backends, &hello->backends_count, actions);
    rc = rc < 0 ? rc : list_texts(core->config.handlers, core->config.handler_count, &hello->handlers, &hello->handlers_count, actions);
    rc = rc < 0 ? rc : list_attempts(core, false, &hello->attempts, &hello->attempts_count, actions);
    rc = rc < 0 ? rc : list_attempts(core, true, &hello->results, &hello->results_count, actions);
    rc = rc < 0 ? rc : cpni_worker_list_sessions(core, &hello->sessions, &hello->sessions_count, actions);
    return rc < 0 ? rc : cpni_worker_list_models(core, &hello->models, &hello->models_count, actions);
}

static void load(void *arg, struct cpni_msg_beat *beat)
{
    const struct cpni_worker_core *core = arg;
    beat->busy = core->running - core->ahead;
    beat->queued = core->queued + core->fetching + core->ahead;
    beat->cpu_permille = core->load.cpu_permille;
    beat->free_memory = core->load.free_memory;
    beat->rss = core->load.rss;
    beat->runners = core->load.runners;
}

static int copy_str(struct cpni_arena *arena, struct cpni_str *str)
{
    str->text = cpni_arena_memdup(arena, str->text, str->size);
    return str->text != NULL ? 0 : CPN_ENOMEM;
}

static int copy_strs(struct cpni_arena *arena, const struct cpni_str **strs, size_t count)
{
    struct cpni_str *copy = cpni_arena_memdup(arena, *strs, count * sizeof *copy);
    if (copy == NULL) {
        return CPN_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        int rc = copy_str(arena, &copy[i]);
        if (rc < 0) {
            return rc;
        }
    }
    *strs = copy;
    return 0;
}

static int copy_config(struct cpni_worker_core *core)
{
    struct cpni_worker_config *config = &core->config;
    int rc = copy_str(&core->arena, &config->name);
    rc = rc < 0 ? rc : copy_str(&core->arena, &config->software);
    rc = rc < 0 ? rc : copy_str(&core->arena, &config->gpu);
    rc = rc < 0 ? rc : copy_strs(&core->arena, &config->backends, config->backend_count);
    rc = rc < 0 ? rc : copy_strs(&core->arena, &config->handlers, config->handler_count);
    if (rc < 0) {
        return rc;
    }
    core->slots = cpni_arena_alloc(&core->arena, config->slots * sizeof *core->slots);
    return core->slots != NULL ? cpni_worker_known_models(core) : CPN_ENOMEM;
}

int cpni_worker_core_new(const struct cpni_worker_config *config, const struct cpni_now *now, struct cpni_worker_core **out)
{
    if (config->slots == 0 || config->slots > CPNI_SLOTS_MAX) {
        return CPN_EINVAL;
    }
    struct cpni_worker_core *core = cpni_calloc(1, sizeof *core);
    if (core == NULL) {
        return CPN_ENOMEM;
    }
    core->config = *config;
    core->now = *now;
    core->surplus = CPNI_NODE_SURPLUS_TASKS;
    core->call_us = CPNI_NODE_AHEAD_US;
    core->bulk_life = 1;
    core->overdue_us = core->retry_us = INT64_MAX;
    cpni_uplink_init(&core->uplink, &config->boot, inventory, load, core);
    core->uplink.kind = CPNI_KIND_WORKER;
    int rc = copy_config(core);
    core->config.models = NULL; /* borrowed, and known by now */
    core->config.manifests = NULL;
    rc = rc < 0 ? rc : cpni_transfer_new(&core->transfer);
    if (rc < 0) {
        cpni_worker_core_free(core);
        return rc;
    }
    *out = core;
    return 0;
}

void cpni_worker_core_free(struct cpni_worker_core *core)
{
    if (core == NULL) {
        return;
    }
    struct cpni_actions nowhere = { 0 };
    struct cpni_attempt *attempt, *after;
    HASH_ITER(hh, core->attempts, attempt, after) {
        cpni_worker_drop(core, attempt, &nowhere);
    }
    cpni_worker_leave_all(core, "", &nowhere);
    cpni_worker_drop_strays(core, &nowhere);
    cpni_vector_clear(&core->pieces);
    cpni_worker_forget_models(core);
    cpni_keep_free(&core->keep);
    cpni_actions_free(&nowhere);
    cpni_transfer_free(core->transfer);
    cpni_heap_free(&core->timeouts);
    cpni_arena_free(&core->arena);
    cpni_free(core);
}

static void bulk_up(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    struct cpni_transfer_link link = { .conn = CPNI_CONN_BULK, .link = core->uplink.bulk.link };
    if (cpni_transfer_up(core->transfer, CPNI_TRANSFER_MASTER, &link, &core->now, actions) < 0) {
        actions->failed = true;
    }
}

static void say_draining(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_CREDIT };
    msg.credit.draining = true;
    cpni_uplink_send(&core->uplink, actions, &msg);
}

/* Whether a trouble is worth a line: the link is lost, and not by a mere HELLO; or it never came up. A first address that leads nowhere
 * is no trouble yet if the next one does. */
static bool worth_telling(struct cpni_worker_core *core, unsigned flags)
{
    if ((flags & CPNI_UPLINK_LOST) && (flags & (CPNI_UPLINK_TROUBLE | CPNI_UPLINK_BYE | CPNI_UPLINK_FATAL))) {
        return true;
    }
    if (!(flags & CPNI_UPLINK_TROUBLE) || (flags & CPNI_UPLINK_FATAL) || core->uplink.control.welcomed || core->away_told) {
        return false;
    }
    core->away_us = core->away_us != 0 ? core->away_us : core->now.mono_us;
    return core->now.mono_us - core->away_us >= (int64_t)CPNI_GONE_MS * 1000;
}

/* What the uplink noticed. */
static void heed(struct cpni_worker_core *core, unsigned flags, struct cpni_actions *actions)
{
    if (worth_telling(core, flags)) {
        core->away_told = true;
        cpni_log(actions, CPNI_LOG_MASTER_LOST, NULL, "%s; %u running, %u waiting, %u results kept", core->uplink.text,
                 (unsigned)core->running, (unsigned)(core->queued + core->fetching), (unsigned)core->unacked);
    }
    if (flags & CPNI_UPLINK_BULK_DOWN) {
        core->bulk_life++;
        cpni_vector_clear(&core->pieces);
        cpni_transfer_down(core->transfer, CPNI_TRANSFER_MASTER, &core->now, actions);
    }
    if (flags & CPNI_UPLINK_JOINED) {
        core->away_told = false;
        core->away_us = 0;
        if (core->stops != 0) { /* perhaps since the HELLO */
            say_draining(core, actions);
        }
        cpni_worker_tell_models(core, actions);
        cpni_worker_send_started(core, actions);
        cpni_worker_send_results(core, actions);
    }
    if (flags & CPNI_UPLINK_BULK_UP) {
        bulk_up(core, actions);
    }
}

/* Of training. False: it is something else. */
static bool train_message(struct cpni_worker_core *core, const struct cpni_msg *msg, struct cpni_actions *actions)
{
    switch (msg->type) {
    case CPNI_MSG_ENABLE:
        cpni_worker_enable(core, &msg->enable, actions);
        return true;
    case CPNI_MSG_LANE:
        cpni_worker_lane(core, &msg->lane, actions);
        return true;
    case CPNI_MSG_UNLANE:
        cpni_worker_unlane(core, &msg->unlane, actions);
        return true;
    case CPNI_MSG_PIECE:
        cpni_worker_piece(core, &msg->piece, actions);
        return true;
    case CPNI_MSG_TRAIN:
        cpni_worker_train(core, &msg->train, actions);
        return true;
    case CPNI_MSG_GRADIENT:
        cpni_worker_gradient(core, &msg->gradient, actions);
        return true;
    case CPNI_MSG_STOP:
        cpni_worker_leave(core, &msg->stop, actions);
        return true;
    default:
        return false;
    }
}

static void message(struct cpni_worker_core *core, const struct cpni_event_packet *packet, size_t i, struct cpni_actions *actions)
{
    const struct cpni_msg *msg = &packet->msgs[i];
    if (train_message(core, msg, actions)) {
        return;
    }
    switch (msg->type) {
    case CPNI_MSG_TASK:
        cpni_worker_task(core, &msg->task, actions);
        break;
    case CPNI_MSG_CANCEL:
        cpni_worker_cancel(core, &msg->cancel, actions);
        break;
    case CPNI_MSG_ACK:
        cpni_worker_ack(core, &msg->ack, actions);
        break;
    case CPNI_MSG_PREPARE:
        cpni_worker_prepare(core, &msg->prepare, packet->checks != NULL ? &packet->checks[i] : NULL, actions);
        break;
    case CPNI_MSG_DISCARD:
        cpni_worker_discard(core, &msg->discard, actions);
        break;
    case CPNI_MSG_WANT:
        cpni_transfer_serve(core->transfer, CPNI_TRANSFER_MASTER, &msg->want, &core->now, actions);
        break;
    case CPNI_MSG_LEAVES:
    case CPNI_MSG_CHUNK:
    case CPNI_MSG_MISSING:
        cpni_transfer_message(core->transfer, CPNI_TRANSFER_MASTER, msg, &core->now, actions);
        break;
    case CPNI_MSG_RECEIVED: /* of a result the ACK says all that matters */
        cpni_worker_taken(core, &msg->received.root, actions);
        break;
    case CPNI_MSG_REFUSED:
        cpni_log(actions, CPNI_LOG_MSG_REFUSED, NULL, "%s: %.*s", cpni_msg_name(msg->refused.type), (int)msg->refused.text.size,
                 msg->refused.text.size != 0 ? msg->refused.text.text : "");
        break;
    default:
        cpni_log(actions, CPNI_LOG_MSG_REFUSED, NULL, "%s is nothing for a worker", cpni_msg_name(msg->type));
        break;
    }
}

static void packet(struct cpni_worker_core *core, const struct cpni_event_packet *packet, struct cpni_actions *actions)
{
    unsigned flags = 0;
    bool accepted = cpni_uplink_packet(&core->uplink, packet, &core->now, actions, &flags);
    heed(core, flags, actions);
    for (size_t i = 0; accepted && i < packet->count; i++) {
        flags = cpni_uplink_message(&core->uplink, packet->conn, &packet->msgs[i], &core->now, actions);
        heed(core, flags, actions);
        if (flags & CPNI_UPLINK_PASS) {
            message(core, packet, i, actions);
        }
    }
}

static void outcomes(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    struct cpni_transfer_outcome outcome;
    while (cpni_transfer_next(core->transfer, &outcome)) {
        switch (outcome.ticket & CPNI_FETCH_KIND) {
        case CPNI_FETCH_INPUT:
            cpni_worker_input(core, &outcome, actions);
            break;
        case CPNI_FETCH_DATASET:
            cpni_worker_dataset(core, &outcome, actions);
            break;
        case CPNI_FETCH_RESTORE:
            cpni_worker_restore(core, &outcome, actions);
            break;
        default:
            cpni_worker_model_file(core, &outcome, actions);
            break;
        }
    }
}

static void stopped(struct cpni_worker_core *core, int code, const char *text, struct cpni_actions *actions)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_STOPPED);
    if (action == NULL) {
        return; /* said in the next step */
    }
    action->stopped.code = code;
    action->stopped.text = cpni_actions_text(actions, "%s", text);
    core->stopped = true;
}

static void stop(struct cpni_worker_core *core, bool returning, struct cpni_actions *actions)
{
    core->returning = returning;
    core->stops++;
    if (core->stops == 1) {
        cpni_log(actions, CPNI_LOG_DRAINING, NULL, "%u running, %u waiting", (unsigned)core->running,
                 (unsigned)(core->queued + core->fetching));
        say_draining(core, actions);
        cpni_worker_hand_back(core, NULL, CPN_EAGAIN, "the node is draining", actions);
        cpni_worker_leave_all(core, "the node is draining", actions);
        return;
    }
    for (const struct cpni_attempt *attempt = core->attempts; attempt != NULL; attempt = attempt->hh.next) {
        struct cpni_action *action = attempt->state == CPNI_ATTEMPT_RUNNING ? cpni_actions_add(actions, CPNI_ACT_KILL) : NULL;
        if (action != NULL) {
            action->kill.ticket = attempt->serial;
        }
    }
}

/* The drain is over when nothing runs and every result arrived, or has nobody to go to. */
static void end_if_drained(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    bool busy = core->running + core->importing + core->fetching + core->queued != 0;
    bool owes = core->unacked != 0 && (cpni_uplink_ready(&core->uplink) || core->uplink.control.hellos != 0);
    if (core->stops == 0 || core->stopped || (core->stops == 1 && (busy || owes))) {
        return;
    }
    cpni_uplink_close(&core->uplink, core->returning, actions);
    cpni_log(actions, CPNI_LOG_STOPPED, NULL, "%u results not acknowledged", (unsigned)core->unacked);
    stopped(core, 0, "", actions);
}

static void handle(struct cpni_worker_core *core, const struct cpni_event *event, struct cpni_actions *actions)
{
    switch (event->type) {
    case CPNI_EV_PACKET:
        packet(core, &event->packet, actions);
        break;
    case CPNI_EV_DISK:
        if (cpni_transfer_owns(event->disk.ticket)) {
            cpni_transfer_disk(core->transfer, &event->disk, &core->now, actions);
        } else if (!cpni_worker_checkpoint(core, &event->disk, actions) && !cpni_worker_imported(core, &event->disk, actions)) {
            cpni_worker_stray(core, &event->disk, actions);
        }
        break;
    case CPNI_EV_TRAINER:
        cpni_worker_trained(core, &event->trainer, actions);
        break;
    case CPNI_EV_MODEL:
        cpni_worker_loaded(core, &event->model, actions);
        break;
    case CPNI_EV_FINISHED:
        cpni_worker_finished(core, &event->finished, actions);
        break;
    case CPNI_EV_LOAD:
        core->load = event->load;
        break;
    case CPNI_EV_STOP:
        stop(core, event->stop.returning, actions);
        break;
    default:
        break;
    }
}

int cpni_worker_core_step(struct cpni_worker_core *core, const struct cpni_event *event, const struct cpni_now *now,
                          struct cpni_actions *actions)
{
    core->now = *now;
    if (core->stopped) {
        return 0;
    }
    if (core->broken) {
        heed(core, cpni_uplink_break(&core->uplink, actions), actions);
    }
    heed(core, cpni_uplink_event(&core->uplink, event, now, actions), actions);
    handle(core, event, actions);
    cpni_transfer_tick(core->transfer, now, actions);
    outcomes(core, actions);
    cpni_worker_retry_models(core, actions);
    cpni_worker_drop_strays(core, actions);
    cpni_worker_overdue(core, actions);
    cpni_worker_timeouts(core, actions);
    cpni_worker_place(core, actions);
    cpni_worker_progress(core, actions);
    if (core->uplink.dead && core->uplink.code != 0) {
        stopped(core, core->uplink.code, core->uplink.text, actions);
    } else {
        end_if_drained(core, actions);
    }
    core->broken = actions->failed;
    return actions->failed ? CPN_ENOMEM : 0;
}

int64_t cpni_worker_core_deadline(const struct cpni_worker_core *core)
{
    if (core->stopped) {
        return INT64_MAX;
    }
    if (core->broken) {
        return core->now.mono_us;
    }
    int64_t at_us = cpni_uplink_deadline(&core->uplink);
    int64_t transfer_us = cpni_transfer_deadline(core->transfer);
    const struct cpni_heap_entry *first = cpni_heap_first(&core->timeouts);
    at_us = transfer_us < at_us ? transfer_us : at_us;
    at_us = core->progress_us < at_us ? core->progress_us : at_us;
    at_us = core->overdue_us < at_us ? core->overdue_us : at_us;
    at_us = core->retry_us < at_us ? core->retry_us : at_us;
    return first != NULL && first->at_us < at_us ? first->at_us : at_us;
}
