/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See uplink.h. */
#include "core/uplink.h"

#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "core/events.h"
#include "proto/limits.h"

static int64_t ms(uint32_t milliseconds)
{
    return (int64_t)milliseconds * 1000;
}

void cpni_uplink_init(struct cpni_uplink *uplink, const struct cpn_id *boot,
                      int (*inventory)(void *arg, struct cpni_msg_hello *hello, struct cpni_actions *actions),
                      void (*load)(void *arg, struct cpni_msg_beat *beat), void *arg)
{
    *uplink = (struct cpni_uplink){ .boot = *boot, .inventory = inventory, .load = load, .arg = arg,
                                    .heartbeat_ms = CPNI_HEARTBEAT_MS, .gone_ms = CPNI_GONE_MS };
}

static struct cpni_uplink_conn *conn_of(struct cpni_uplink *uplink, uint64_t conn)
{
    return conn == CPNI_CONN_CONTROL ? &uplink->control : conn == CPNI_CONN_BULK ? &uplink->bulk : NULL;
}

static uint64_t number_of(const struct cpni_uplink *uplink, const struct cpni_uplink_conn *conn)
{
    return conn == &uplink->control ? CPNI_CONN_CONTROL : CPNI_CONN_BULK;
}

static void note(struct cpni_uplink *uplink, int code, const char *text)
{
    uplink->code = code;
    snprintf(uplink->text, sizeof uplink->text, "%s", text != NULL && text[0] != 0 ? text : cpn_strerror(code));
}

/* The connection can no longer be sent on. */
static unsigned unwelcome(struct cpni_uplink *uplink, struct cpni_uplink_conn *conn)
{
    unsigned flag = conn == &uplink->control ? CPNI_UPLINK_LOST : CPNI_UPLINK_BULK_DOWN;
    unsigned flags = conn->welcomed ? flag : 0;
    conn->welcomed = false;
    return flags;
}

/* A connection that is to be, or was, made anew: answers to earlier HELLOs will not come. */
static unsigned reset(struct cpni_uplink *uplink, struct cpni_uplink_conn *conn)
{
    unsigned flags = unwelcome(uplink, conn);
    *conn = (struct cpni_uplink_conn){ .link = conn->link };
    return flags;
}

static unsigned reconnect(struct cpni_uplink *uplink, struct cpni_uplink_conn *conn, struct cpni_actions *actions)
{
    unsigned flags = reset(uplink, conn);
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_RECONNECT);
    if (action != NULL) {
        action->conn.conn = number_of(uplink, conn);
    }
    return flags;
}

static unsigned say_hello(struct cpni_uplink *uplink, struct cpni_uplink_conn *conn, const struct cpni_now *now,
                          struct cpni_actions *actions)
{
    unsigned flags = unwelcome(uplink, conn);
    if (conn->hellos++ == 0) {
        conn->since_us = now->mono_us;
    }
    conn->sequence = 0;
    conn->resync_us = 0;
    struct cpni_msg msg = { .type = CPNI_MSG_HELLO };
    msg.hello.boot = uplink->boot;
    if (conn == &uplink->bulk) {
        msg.hello.channel = CPNI_CHANNEL_BULK;
        msg.hello.kind = uplink->kind;
        cpni_actions_send(actions, CPNI_CONN_BULK, 0, &msg);
        return flags;
    }
    if (uplink->inventory(uplink->arg, &msg.hello, actions) < 0) {
        actions->failed = true;
        return flags;
    }
    msg.hello.boot = uplink->boot;
    msg.hello.channel = CPNI_CHANNEL_CONTROL;
    cpni_actions_send(actions, CPNI_CONN_CONTROL, 0, &msg);
    return flags;
}

static unsigned fatal(struct cpni_uplink *uplink, int code, const char *text, struct cpni_actions *actions)
{
    unsigned flags = reset(uplink, &uplink->control) | reset(uplink, &uplink->bulk);
    uplink->dead = true;
    note(uplink, code, text);
    cpni_log(actions, CPNI_LOG_MASTER_REFUSED, NULL, "%s", uplink->text);
    return flags | CPNI_UPLINK_FATAL;
}

/* What no retry changes. */
static bool is_final(int code)
{
    return code == CPN_EKEY || code == CPN_ECOPIED || code == CPN_EVERSION || code == CPN_ETOKEN || code == CPN_EDENIED;
}

static unsigned refused(struct cpni_uplink *uplink, struct cpni_uplink_conn *conn, int code, const char *text,
                        const struct cpni_now *now, struct cpni_actions *actions)
{
    if (is_final(code)) {
        return fatal(uplink, code, text, actions);
    }
    unsigned flags = reset(uplink, conn);
    conn->again_us = now->mono_us + ms(CPNI_UPLINK_AGAIN_MS);
    note(uplink, code, text);
    return flags | CPNI_UPLINK_TROUBLE;
}

static unsigned connected(struct cpni_uplink *uplink, struct cpni_uplink_conn *conn, const struct cpni_now *now,
                          struct cpni_actions *actions)
{
    unsigned flags = reset(uplink, conn);
    conn->connected = true;
    if (conn == &uplink->control) {
        uplink->heard_us = now->mono_us;
        return flags | say_hello(uplink, conn, now, actions);
    }
    /* A bulk HELLO means nothing to a master that does not know the process yet. */
    return uplink->control.welcomed ? flags | say_hello(uplink, conn, now, actions) : flags;
}

static unsigned lost(struct cpni_uplink *uplink, struct cpni_actions *actions, const char *text)
{
    unsigned flags = reconnect(uplink, &uplink->control, actions) | reconnect(uplink, &uplink->bulk, actions);
    note(uplink, CPN_EUNREACHABLE, text);
    return flags | CPNI_UPLINK_TROUBLE;
}

unsigned cpni_uplink_break(struct cpni_uplink *uplink, struct cpni_actions *actions)
{
    return uplink->dead ? 0 : lost(uplink, actions, "out of memory: the connections are made anew");
}

static bool overdue(const struct cpni_uplink_conn *conn, int64_t limit_us, int64_t now_us)
{
    return conn->hellos != 0 && now_us - conn->since_us >= limit_us;
}

static unsigned tick(struct cpni_uplink *uplink, const struct cpni_now *now, struct cpni_actions *actions)
{
    unsigned flags = 0;
    struct cpni_uplink_conn *const conns[] = { &uplink->control, &uplink->bulk };
    for (size_t i = 0; i < 2; i++) {
        if (conns[i]->again_us != 0 && now->mono_us >= conns[i]->again_us) {
            flags |= reconnect(uplink, conns[i], actions);
        }
        if (conns[i]->resync_us != 0 && now->mono_us >= conns[i]->resync_us) {
            int64_t since_us = conns[i]->since_us;
            conns[i]->hellos = 0;
            flags |= say_hello(uplink, conns[i], now, actions);
            conns[i]->since_us = since_us; /* a master that never welcomes is gone all the same */
        }
    }
    if (overdue(&uplink->control, ms(uplink->gone_ms), now->mono_us)) {
        flags |= lost(uplink, actions, "the master does not answer");
    } else if (overdue(&uplink->bulk, ms(CPNI_TRANSFER_STALL_MS), now->mono_us)) {
        flags |= reconnect(uplink, &uplink->bulk, actions);
    }
    if (!uplink->control.welcomed) {
        return flags;
    }
    if (now->mono_us - uplink->heard_us >= ms(uplink->gone_ms)) {
        return flags | lost(uplink, actions, "the master is silent");
    }
    if (now->mono_us >= uplink->beat_us) {
        struct cpni_msg msg = { .type = CPNI_MSG_BEAT };
        msg.beat.term = uplink->term;
        if (uplink->load != NULL) {
            uplink->load(uplink->arg, &msg.beat);
        }
        cpni_uplink_send(uplink, actions, &msg);
        uplink->beat_us = now->mono_us + ms(uplink->heartbeat_ms);
    }
    return flags;
}

unsigned cpni_uplink_event(struct cpni_uplink *uplink, const struct cpni_event *event, const struct cpni_now *now,
                           struct cpni_actions *actions)
{
    struct cpni_uplink_conn *conn;
    unsigned flags = 0;
    if (uplink->dead) {
        return 0;
    }
    switch (event->type) {
    case CPNI_EV_CONNECTED:
        conn = conn_of(uplink, event->connected.conn);
        flags = conn != NULL ? connected(uplink, conn, now, actions) : 0;
        break;
    case CPNI_EV_DISCONNECTED:
        conn = conn_of(uplink, event->lost.conn);
        if (conn != NULL) {
            flags = reset(uplink, conn) | CPNI_UPLINK_TROUBLE;
            note(uplink, event->lost.code != 0 ? event->lost.code : CPN_EUNREACHABLE, event->lost.text);
        }
        break;
    case CPNI_EV_REFUSED:
        conn = conn_of(uplink, event->lost.conn);
        return conn != NULL ? refused(uplink, conn, event->lost.code, event->lost.text, now, actions) : 0;
    case CPNI_EV_BAD_PACKET:
        conn = conn_of(uplink, event->bad.conn);
        cpni_log(actions, CPNI_LOG_BAD_PACKET, NULL, "%s", event->bad.text != NULL ? event->bad.text : "");
        if (conn != NULL && conn->connected && conn->hellos == 0 && conn->welcomed) {
            flags = say_hello(uplink, conn, now, actions);
        }
        break;
    default:
        break;
    }
    return flags | tick(uplink, now, actions);
}

static bool has_welcome(const struct cpni_event_packet *packet)
{
    for (size_t i = 0; i < packet->count; i++) {
        if (packet->msgs[i].type == CPNI_MSG_WELCOME) {
            return true;
        }
    }
    return false;
}

bool cpni_uplink_packet(struct cpni_uplink *uplink, const struct cpni_event_packet *packet, const struct cpni_now *now,
                        struct cpni_actions *actions, unsigned *flags)
{
    struct cpni_uplink_conn *conn = conn_of(uplink, packet->conn);
    *flags = 0;
    if (uplink->dead || conn == NULL || !conn->connected) {
        return false;
    }
    uplink->heard_us = conn == &uplink->control ? now->mono_us : uplink->heard_us;
    bool gap = conn->sequence != 0 && packet->sequence != conn->sequence && !has_welcome(packet);
    if (conn->sequence != 0 || has_welcome(packet)) {
        conn->sequence = packet->sequence + 1;
    }
    if (gap && conn->welcomed) {
        cpni_log(actions, CPNI_LOG_RESYNC, NULL, "messages of the master were lost");
        *flags = say_hello(uplink, conn, now, actions);
    }
    return !gap;
}

static unsigned welcome(struct cpni_uplink *uplink, struct cpni_uplink_conn *conn, const struct cpni_msg_welcome *msg,
                        const struct cpni_now *now, struct cpni_actions *actions)
{
    if (conn->hellos == 0 || --conn->hellos != 0) {
        return 0; /* the answer to an earlier HELLO: the master has yet to see the last one */
    }
    conn->resync_us = 0;
    bool same_link = conn->link == msg->link;
    conn->link = msg->link;
    conn->welcomed = true;
    if (conn == &uplink->bulk) {
        return CPNI_UPLINK_BULK_UP;
    }
    bool new_term = uplink->term != msg->term;
    uplink->term = msg->term;
    uplink->heartbeat_ms = msg->heartbeat_ms != 0 ? msg->heartbeat_ms : CPNI_HEARTBEAT_MS;
    uplink->gone_ms = msg->gone_ms != 0 ? msg->gone_ms : CPNI_GONE_MS;
    uplink->window_tasks = msg->window_tasks;
    uplink->window_bytes = msg->window_bytes;
    uplink->role = (enum cpn_role)msg->role;
    uplink->beat_us = now->mono_us + ms(uplink->heartbeat_ms);
    uplink->code = 0;
    uplink->text[0] = 0;
    cpni_log(actions, CPNI_LOG_MASTER_JOINED, &(struct cpni_log_about){ .name = msg->name }, "term %llu, link %u",
             (unsigned long long)msg->term, (unsigned)msg->link);
    unsigned flags = CPNI_UPLINK_JOINED | (new_term ? CPNI_UPLINK_NEW_TERM : 0);
    /* The bulk link belongs to the process as the master knows it: another reign or link knows it no more. */
    if (uplink->bulk.connected && (new_term || !same_link || !uplink->bulk.welcomed)) {
        flags |= say_hello(uplink, &uplink->bulk, now, actions);
    }
    return flags;
}

static unsigned bye(struct cpni_uplink *uplink, const struct cpni_msg_bye *msg, struct cpni_actions *actions)
{
    char text[CPNI_UPLINK_TEXT];
    cpni_str_copy(msg->text, text, sizeof text);
    if (is_final(msg->code)) {
        return fatal(uplink, msg->code, text, actions);
    }
    /* Its sockets close next; until the connection breaks and is made anew there is nobody to talk to. Should it not break,
     * the silence ends it: `hellos` is not 0, so the master that never answers is gone after gone_ms. */
    unsigned flags = unwelcome(uplink, &uplink->control) | unwelcome(uplink, &uplink->bulk);
    uplink->control.hellos = 1;
    uplink->control.since_us = uplink->heard_us;
    uplink->returning = msg->returning;
    note(uplink, msg->code != 0 ? msg->code : CPN_ECLOSED, msg->text.size != 0 ? text : "the master said goodbye");
    cpni_log(actions, CPNI_LOG_MASTER_BYE, NULL, "%s%s", uplink->text, msg->returning ? "; it will return" : "");
    return flags | CPNI_UPLINK_BYE;
}

/* RESYNC, or REFUSED that is about no particular message. */
static unsigned turned_down(struct cpni_uplink *uplink, struct cpni_uplink_conn *conn, const struct cpni_msg *msg,
                            const struct cpni_now *now, struct cpni_actions *actions)
{
    char text[CPNI_UPLINK_TEXT];
    if (msg->type == CPNI_MSG_REFUSED) {
        cpni_str_copy(msg->refused.text, text, sizeof text);
        unsigned flags = refused(uplink, conn, msg->refused.code, text, now, actions);
        return flags;
    }
    if (conn->hellos != 0) { /* sent before the master saw the HELLO that is on its way; or its answer to it, if no other follows */
        conn->resync_us = now->mono_us + ms(CPNI_UPLINK_RESYNC_MS);
        return 0;
    }
    cpni_str_copy(msg->resync.text, text, sizeof text);
    cpni_log(actions, CPNI_LOG_RESYNC, NULL, "asked for by the master%s%s", text[0] != 0 ? ": " : "", text);
    if (conn == &uplink->bulk && !uplink->control.welcomed) {
        return unwelcome(uplink, conn); /* said again after the WELCOME on the control connection */
    }
    return say_hello(uplink, conn, now, actions);
}

unsigned cpni_uplink_message(struct cpni_uplink *uplink, uint64_t conn_number, const struct cpni_msg *msg, const struct cpni_now *now,
                             struct cpni_actions *actions)
{
    struct cpni_uplink_conn *conn = conn_of(uplink, conn_number);
    if (uplink->dead || conn == NULL || !conn->connected) {
        return 0;
    }
    switch (msg->type) {
    case CPNI_MSG_WELCOME:
        return welcome(uplink, conn, &msg->welcome, now, actions);
    case CPNI_MSG_RESYNC:
        return turned_down(uplink, conn, msg, now, actions);
    case CPNI_MSG_REFUSED:
        if (!conn->welcomed || msg->refused.type == CPNI_MSG_HELLO || is_final(msg->refused.code)) {
            bool link_level = msg->refused.type == CPNI_MSG_HELLO || (msg->refused.type == CPNI_MSG_NONE && msg->refused.request == 0);
            return link_level ? turned_down(uplink, conn, msg, now, actions) : conn->welcomed ? CPNI_UPLINK_PASS : 0;
        }
        return CPNI_UPLINK_PASS;
    case CPNI_MSG_BYE:
        return conn == &uplink->control ? bye(uplink, &msg->bye, actions) : 0;
    case CPNI_MSG_BEAT:
        return 0;
    default:
        return conn->welcomed ? CPNI_UPLINK_PASS : 0;
    }
}

void cpni_uplink_send(struct cpni_uplink *uplink, struct cpni_actions *actions, const struct cpni_msg *msg)
{
    if (uplink->control.welcomed) {
        cpni_actions_send(actions, CPNI_CONN_CONTROL, uplink->control.link, msg);
    }
}

void cpni_uplink_close(struct cpni_uplink *uplink, bool returning, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_BYE };
    msg.bye.returning = returning;
    cpni_uplink_send(uplink, actions, &msg);
    reset(uplink, &uplink->control);
    reset(uplink, &uplink->bulk);
    uplink->dead = true;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t cpni_uplink_deadline(const struct cpni_uplink *uplink)
{
    int64_t at_us = INT64_MAX;
    if (uplink->dead) {
        return at_us;
    }
    const struct cpni_uplink_conn *const conns[] = { &uplink->control, &uplink->bulk };
    for (size_t i = 0; i < 2; i++) {
        uint32_t limit = i == 0 ? uplink->gone_ms : CPNI_TRANSFER_STALL_MS;
        at_us = conns[i]->again_us != 0 ? sooner(at_us, conns[i]->again_us) : at_us;
        at_us = conns[i]->resync_us != 0 ? sooner(at_us, conns[i]->resync_us) : at_us;
        at_us = conns[i]->hellos != 0 ? sooner(at_us, conns[i]->since_us + ms(limit)) : at_us;
    }
    if (uplink->control.welcomed) {
        at_us = sooner(at_us, sooner(uplink->beat_us, uplink->heard_us + ms(uplink->gone_ms)));
    }
    return at_us;
}

const char *cpni_uplink_check(const struct cpni_uplink *uplink)
{
    const struct cpni_uplink_conn *const conns[] = { &uplink->control, &uplink->bulk };
    for (size_t i = 0; i < 2; i++) {
        if (conns[i]->welcomed && (!conns[i]->connected || conns[i]->hellos != 0)) {
            return "uplink: welcomed on a connection that is not, or with a HELLO unanswered";
        }
        if (conns[i]->welcomed && uplink->dead) {
            return "uplink: welcomed though it has given up";
        }
    }
    return NULL;
}
