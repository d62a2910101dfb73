/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The only conversation that a join token's key allows (DESIGN §11): ENROL with the key that is to be enrolled, until ENROLLED or a
 * refusal. Asked again after every break: the same key again is answered as the first time. */
#include <string.h>

#include <cpn/error.h>

#include "core/client_priv.h"

#define PERIOD_US ((int64_t)CPNI_GONE_MS * 1000)

static void say_enrol(struct cpni_client_core *core, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_ENROL };
    msg.enrol.key = core->config.enrol_key;
    msg.enrol.name = core->config.name;
    cpni_actions_send(actions, CPNI_CONN_CONTROL, 0, &msg);
    core->enrol_us = core->now.mono_us;
}

static void again(struct cpni_client_core *core, struct cpni_actions *actions)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_RECONNECT);
    if (action != NULL) {
        action->conn.conn = CPNI_CONN_CONTROL;
        core->enrol_us = 0;
    }
}

static void tell(struct cpni_client_core *core, enum cpni_msg_type type, int code, const char *text, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = type };
    if (type == CPNI_MSG_REFUSED) {
        msg.refused.code = code;
        msg.refused.text = cpni_str(text != NULL && text[0] != 0 ? text : cpn_strerror(code));
        core->enrolled = true; /* no further attempt */
    } else {
        msg.bye.code = code;
        msg.bye.text = cpni_str(text != NULL && text[0] != 0 ? text : cpn_strerror(code));
        msg.bye.returning = true;
    }
    cpni_actions_tell(actions, &msg);
}

/* What may pass by itself: a full or failing disk, a master that is busy or cannot be reached. */
static bool is_final(int code)
{
    return code != CPN_EIO && code != CPN_ENOSPC && code != CPN_EBUSY && code != CPN_EAGAIN && code != CPN_ENOMEM &&
           code != CPN_ETIMEDOUT && code != CPN_EUNREACHABLE && code != CPN_ECLOSED;
}

static void refused(struct cpni_client_core *core, int code, const char *text, struct cpni_actions *actions)
{
    tell(core, is_final(code) ? CPNI_MSG_REFUSED : CPNI_MSG_BYE, code, text, actions);
    core->enrol_us = core->now.mono_us; /* the period runs from here */
}

static void answer(struct cpni_client_core *core, const struct cpni_event_packet *packet, struct cpni_actions *actions)
{
    for (size_t i = 0; i < packet->count && !core->enrolled; i++) {
        const struct cpni_msg *msg = &packet->msgs[i];
        if (msg->type == CPNI_MSG_ENROLLED && memcmp(&msg->enrolled.key, &core->config.enrol_key, sizeof msg->enrolled.key) == 0) {
            core->enrolled = cpni_actions_tell(actions, msg) == 0; /* no memory: asked again */
        } else if (msg->type == CPNI_MSG_REFUSED) {
            char text[CPNI_UPLINK_TEXT];
            refused(core, msg->refused.code, cpni_str_copy(msg->refused.text, text, sizeof text), actions);
        }
    }
}

void cpni_client_enrol(struct cpni_client_core *core, const struct cpni_event *event, struct cpni_actions *actions)
{
    if (core->enrolled) {
        return;
    }
    switch (event->type) {
    case CPNI_EV_CONNECTED:
        if (event->connected.conn == CPNI_CONN_CONTROL) {
            say_enrol(core, actions);
        }
        break;
    case CPNI_EV_PACKET:
        answer(core, &event->packet, actions);
        break;
    case CPNI_EV_DISCONNECTED:
        core->enrol_us = 0; /* it connects again by itself */
        tell(core, CPNI_MSG_BYE, event->lost.code != 0 ? event->lost.code : CPN_EUNREACHABLE, event->lost.text, actions);
        break;
    case CPNI_EV_REFUSED:
        refused(core, event->lost.code, event->lost.text, actions);
        break;
    default:
        break;
    }
    if (!core->enrolled && core->enrol_us != 0 && core->now.mono_us - core->enrol_us >= PERIOD_US) {
        again(core, actions);
    }
}

int64_t cpni_client_enrol_deadline(const struct cpni_client_core *core)
{
    return core->enrolled || core->enrol_us == 0 ? INT64_MAX : core->enrol_us + PERIOD_US;
}
