/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See client.h. Here: making a core, and the step that hands each event to its file. */
#include "core/client.h"

#include <cpn/error.h>

#include "core/client_priv.h"
#include "core/events.h"

static int inventory(void *arg, struct cpni_msg_hello *hello, struct cpni_actions *actions)
{
    const struct cpni_client_core *core = arg;
    (void)actions;
    hello->kind = CPNI_KIND_CLIENT;
    hello->name = core->config.name;
    hello->software = core->config.software;
    hello->signer = core->config.signer;
    return 0;
}

static int copy_str(struct cpni_arena *arena, struct cpni_str *str)
{
    str->text = cpni_arena_memdup(arena, str->text, str->size);
    return str->text != NULL ? 0 : CPN_ENOMEM;
}

int cpni_client_core_new(const struct cpni_client_config *config, const struct cpni_now *now, struct cpni_client_core **out)
{
    struct cpni_client_core *core = cpni_calloc(1, sizeof *core);
    if (core == NULL) {
        return CPN_ENOMEM;
    }
    core->config = *config;
    core->now = *now;
    core->window = CPNI_USER_TASKS_MAX;
    cpni_uplink_init(&core->uplink, &config->boot, inventory, NULL, core);
    int rc = copy_str(&core->arena, &core->config.name);
    rc = rc < 0 ? rc : copy_str(&core->arena, &core->config.software);
    rc = rc < 0 ? rc : cpni_transfer_new(&core->transfer);
    if (rc < 0) {
        cpni_client_core_free(core);
        return rc;
    }
    *out = core;
    return 0;
}

void cpni_client_core_free(struct cpni_client_core *core)
{
    if (core == NULL) {
        return;
    }
    cpni_client_free_asks(core);
    if (core->transfer != NULL) {
        cpni_client_free_tasks(core);
    }
    cpni_transfer_free(core->transfer);
    cpni_keep_free(&core->keep);
    cpni_arena_free(&core->arena);
    cpni_free(core);
}

/* The state of the connection, for the program: WELCOME, BYE (for now) or REFUSED (for good). */
static void tell_link(struct cpni_client_core *core, enum cpni_msg_type type, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = type };
    if (type == CPNI_MSG_WELCOME) {
        msg.welcome.term = core->uplink.term;
        msg.welcome.role = (uint32_t)core->uplink.role;
        msg.welcome.link = core->uplink.control.link;
    } else if (type == CPNI_MSG_BYE) {
        msg.bye.code = core->uplink.code;
        msg.bye.text = cpni_str(core->uplink.text);
        msg.bye.returning = true;
    } else {
        msg.refused.code = core->uplink.code;
        msg.refused.text = cpni_str(core->uplink.text);
    }
    cpni_actions_tell(actions, &msg);
}

static void bulk_up(struct cpni_client_core *core, struct cpni_actions *actions)
{
    struct cpni_transfer_link link = { .conn = CPNI_CONN_BULK, .link = core->uplink.bulk.link };
    if (cpni_transfer_up(core->transfer, CPNI_TRANSFER_MASTER, &link, &core->now, actions) < 0) {
        actions->failed = true;
    }
}

/* What the uplink noticed. */
static void heed(struct cpni_client_core *core, unsigned flags, struct cpni_actions *actions)
{
    if (flags & CPNI_UPLINK_BULK_DOWN) {
        cpni_transfer_down(core->transfer, CPNI_TRANSFER_MASTER, &core->now, actions);
    }
    if (flags & CPNI_UPLINK_FATAL) {
        tell_link(core, CPNI_MSG_REFUSED, actions);
        cpni_client_fail_tasks(core, core->uplink.code, core->uplink.text, actions);
        cpni_client_fail_asks(core, core->uplink.code, core->uplink.text, actions);
    } else if (flags & (CPNI_UPLINK_TROUBLE | CPNI_UPLINK_BYE)) {
        tell_link(core, CPNI_MSG_BYE, actions);
    }
    if (flags & CPNI_UPLINK_JOINED) {
        tell_link(core, CPNI_MSG_WELCOME, actions);
        cpni_client_tasks_joined(core, (flags & CPNI_UPLINK_NEW_TERM) != 0, actions);
        cpni_client_asks_joined(core, actions);
    }
    if (flags & CPNI_UPLINK_BULK_UP) {
        bulk_up(core, actions);
    }
}

static void refused(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions)
{
    cpni_log(actions, CPNI_LOG_MSG_REFUSED, NULL, "%s: %.*s", cpni_msg_name(msg->refused.type), (int)msg->refused.text.size,
             msg->refused.text.size != 0 ? msg->refused.text.text : "");
    if (msg->refused.request != 0) {
        cpni_client_answer(core, msg, actions);
    } else {
        cpni_client_task_refused(core, &msg->refused, actions);
    }
}

static void message(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions)
{
    switch (msg->type) {
    case CPNI_MSG_ACCEPTED:
        cpni_client_accepted(core, msg, actions);
        break;
    case CPNI_MSG_BUSY:
        cpni_client_busy(core, &msg->busy, actions);
        break;
    case CPNI_MSG_RESULT:
        cpni_client_result(core, msg, actions);
        break;
    case CPNI_MSG_REPLY:
    case CPNI_MSG_DONE:
    case CPNI_MSG_PUBLISHED:
        cpni_client_answer(core, msg, actions);
        break;
    case CPNI_MSG_REFUSED:
        refused(core, msg, actions);
        break;
    case CPNI_MSG_WANT: /* this process' store holds nothing but what it submits and publishes: the master may read all of it */
        cpni_transfer_serve(core->transfer, CPNI_TRANSFER_MASTER, &msg->want, &core->now, actions);
        break;
    case CPNI_MSG_LEAVES:
    case CPNI_MSG_CHUNK:
    case CPNI_MSG_MISSING:
        cpni_transfer_message(core->transfer, CPNI_TRANSFER_MASTER, msg, &core->now, actions);
        break;
    case CPNI_MSG_RECEIVED: /* the input is kept until the result: the master may be another one by then */
        break;
    default:
        cpni_log(actions, CPNI_LOG_MSG_REFUSED, NULL, "%s is nothing for a client", cpni_msg_name(msg->type));
        break;
    }
}

static void packet(struct cpni_client_core *core, const struct cpni_event_packet *packet, struct cpni_actions *actions)
{
    unsigned flags = 0;
    bool accepted = cpni_uplink_packet(&core->uplink, packet, &core->now, actions, &flags);
    heed(core, flags, actions);
    for (size_t i = 0; accepted && i < packet->count; i++) {
        flags = cpni_uplink_message(&core->uplink, packet->conn, &packet->msgs[i], &core->now, actions);
        heed(core, flags, actions);
        if (flags & CPNI_UPLINK_PASS) {
            message(core, &packet->msgs[i], actions);
        }
    }
}

static void stop(struct cpni_client_core *core, bool returning, struct cpni_actions *actions)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_STOPPED);
    if (action != NULL) {
        core->stopped = true;
        cpni_uplink_close(&core->uplink, returning, actions);
    }
}

static int handle(struct cpni_client_core *core, const struct cpni_event *event, struct cpni_actions *actions)
{
    bool refuses = core->uplink.dead;
    switch (event->type) {
    case CPNI_EV_PACKET:
        packet(core, &event->packet, actions);
        return 0;
    case CPNI_EV_DISK:
        if (cpni_transfer_owns(event->disk.ticket)) {
            cpni_transfer_disk(core->transfer, &event->disk, &core->now, actions);
        }
        return 0;
    case CPNI_EV_SUBMIT:
        return refuses ? core->uplink.code : cpni_client_submit(core, &event->submit.submit);
    case CPNI_EV_CANCEL:
        cpni_client_cancel(core, &event->cancel.task, actions);
        return 0;
    case CPNI_EV_ASK:
        return refuses ? core->uplink.code : cpni_client_ask(core, &event->ask.msg, actions);
    case CPNI_EV_FETCH:
        return refuses ? core->uplink.code : cpni_client_fetch(core, event->fetch.request, &event->fetch.root, event->fetch.size, actions);
    case CPNI_EV_FORGET_ASK:
        cpni_client_forget(core, event->forget.request, actions);
        return 0;
    case CPNI_EV_STOP:
        stop(core, event->stop.returning, actions);
        return 0;
    default:
        return 0;
    }
}

static void outcomes(struct cpni_client_core *core, struct cpni_actions *actions)
{
    struct cpni_transfer_outcome outcome;
    while (cpni_transfer_next(core->transfer, &outcome)) {
        if (!cpni_client_fetched(core, &outcome, actions)) {
            cpni_client_image(core, &outcome, actions);
        }
    }
}

int cpni_client_core_step(struct cpni_client_core *core, const struct cpni_event *event, const struct cpni_now *now,
                          struct cpni_actions *actions)
{
    core->now = *now;
    if (core->stopped) {
        return event->type == CPNI_EV_SUBMIT || event->type == CPNI_EV_ASK || event->type == CPNI_EV_FETCH ? CPN_ECLOSED : 0;
    }
    if (core->config.enrol && event->type != CPNI_EV_STOP) {
        cpni_client_enrol(core, event, actions);
        return actions->failed ? CPN_ENOMEM : 0;
    }
    if (core->broken) {
        heed(core, cpni_uplink_break(&core->uplink, actions), actions);
    }
    heed(core, cpni_uplink_event(&core->uplink, event, now, actions), actions);
    int rc = handle(core, event, actions);
    cpni_transfer_tick(core->transfer, now, actions);
    outcomes(core, actions);
    cpni_client_timers(core, actions);
    cpni_client_send_tasks(core, actions);
    core->broken = actions->failed;
    return rc < 0 ? rc : actions->failed ? CPN_ENOMEM : 0;
}

bool cpni_client_core_holds(const struct cpni_client_core *core, const struct cpn_hash *root)
{
    return cpni_keep_has(&core->keep, root);
}

int64_t cpni_client_core_deadline(const struct cpni_client_core *core)
{
    if (core->stopped) {
        return INT64_MAX;
    }
    if (core->config.enrol) {
        return cpni_client_enrol_deadline(core);
    }
    if (core->broken) {
        return core->now.mono_us;
    }
    int64_t at_us = cpni_uplink_deadline(&core->uplink);
    int64_t transfer_us = cpni_transfer_deadline(core->transfer);
    const struct cpni_heap_entry *first = cpni_heap_first(&core->timers);
    at_us = transfer_us < at_us ? transfer_us : at_us;
    at_us = first != NULL && first->at_us < at_us ? first->at_us : at_us;
    bool resumes = core->resume_us != 0 && core->waiting != NULL && cpni_uplink_ready(&core->uplink);
    return resumes && core->resume_us < at_us ? core->resume_us : at_us;
}

const char *cpni_client_core_check(const struct cpni_client_core *core)
{
    const char *broken = cpni_uplink_check(&core->uplink);
    broken = broken != NULL ? broken : cpni_transfer_check(core->transfer);
    return broken != NULL ? broken : cpni_client_check_tasks(core);
}
