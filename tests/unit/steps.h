/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Drives the core of a worker or client in a test: one event, one list of actions, and the invariants after every step. Also plays
 * the master's part of the connection: WELCOME, sequence numbers. */
#ifndef STEPS_H
#define STEPS_H

#include <string.h>

#include "base/alloc.h"
#include "core/action.h"
#include "core/event.h"
#include "fake_disk.h"
#include "proto/limits.h"

struct steps {
    void *core;
    int (*step)(void *core, const struct cpni_event *event, const struct cpni_now *now, struct cpni_actions *actions);
    const char *(*check)(const void *core);
    struct cpni_now now;
    struct cpni_actions actions; /* of the last step */
    uint64_t sequence[3];        /* of the next packet from the master, per connection */
    uint32_t link;
    uint64_t term;
    struct fake_disk disk;
    int rc;
    unsigned arm; /* the nth request for memory from now, in steps, fails; 0: none */
};

static inline void steps_event(struct steps *s, const struct cpni_event *event)
{
    cpni_actions_clear(&s->actions);
    cpni_alloc_fail(s->arm);
    s->rc = s->step(s->core, event, &s->now, &s->actions);
    unsigned made = cpni_alloc_fail(0);
    s->arm = s->arm > made ? s->arm - made : 0;
    const char *broken = s->check(s->core);
    if (broken != NULL) {
        fail_msg("%s", broken);
    }
    for (size_t i = 0; i < s->actions.count; i++) {
        if (s->actions.list[i].type == CPNI_ACT_DISK) {
            fake_take(&s->disk, &s->actions.list[i].disk);
        }
    }
}

static inline void steps_tick(struct steps *s, int64_t passed_us)
{
    struct cpni_event event = { .type = CPNI_EV_TICK };
    s->now.mono_us += passed_us;
    s->now.wall_us += passed_us;
    steps_event(s, &event);
}

static inline void steps_packet(struct steps *s, uint64_t conn, struct cpni_msg *msgs, const struct cpni_manifest_check *checks, size_t count)
{
    struct cpni_event event = { .type = CPNI_EV_PACKET };
    event.packet.conn = conn;
    event.packet.link = s->link;
    event.packet.sequence = ++s->sequence[conn];
    event.packet.msgs = msgs;
    event.packet.checks = checks;
    event.packet.count = count;
    steps_event(s, &event);
}

static inline void steps_msg(struct steps *s, const struct cpni_msg *msg)
{
    struct cpni_msg copy = *msg;
    steps_packet(s, CPNI_CONN_CONTROL, &copy, NULL, 1);
}

static inline void steps_bulk(struct steps *s, const struct cpni_msg *msg)
{
    struct cpni_msg copy = *msg;
    steps_packet(s, CPNI_CONN_BULK, &copy, NULL, 1);
}

static inline void steps_connected(struct steps *s, uint64_t conn)
{
    struct cpni_event event = { .type = CPNI_EV_CONNECTED, .connected.conn = conn };
    s->sequence[conn] = 0;
    steps_event(s, &event);
}

static inline void steps_lost(struct steps *s, uint64_t conn)
{
    struct cpni_event event = { .type = CPNI_EV_DISCONNECTED, .lost.conn = conn, .lost.code = CPN_EUNREACHABLE, .lost.text = "it broke" };
    steps_event(s, &event);
}

static inline void steps_welcome(struct steps *s, uint64_t conn)
{
    struct cpni_msg msg = { .type = CPNI_MSG_WELCOME };
    msg.welcome.link = s->link;
    msg.welcome.term = s->term;
    msg.welcome.heartbeat_ms = 1000;
    msg.welcome.gone_ms = 3000;
    msg.welcome.window_tasks = 4;
    msg.welcome.window_bytes = 1000000;
    steps_packet(s, conn, &msg, NULL, 1);
}

/* Connect and be welcomed on both connections; leaves the actions of the control's WELCOME behind. */
static inline void steps_join(struct steps *s)
{
    steps_connected(s, CPNI_CONN_BULK);
    steps_connected(s, CPNI_CONN_CONTROL);
    steps_welcome(s, CPNI_CONN_CONTROL);
    steps_welcome(s, CPNI_CONN_BULK);
}

static inline void steps_stop(struct steps *s)
{
    struct cpni_event event = { .type = CPNI_EV_STOP };
    steps_event(s, &event);
}

/* The nth action of a type, from 0; NULL. */
static inline const struct cpni_action *steps_act(const struct steps *s, enum cpni_action_type type, unsigned nth)
{
    for (size_t i = 0; i < s->actions.count; i++) {
        if (s->actions.list[i].type == type && nth-- == 0) {
            return &s->actions.list[i];
        }
    }
    return NULL;
}

static inline const struct cpni_msg *steps_msg_of(const struct steps *s, enum cpni_action_type how, enum cpni_msg_type type, unsigned nth)
{
    const struct cpni_action *action;
    for (unsigned i = 0; (action = steps_act(s, how, i)) != NULL; i++) {
        const struct cpni_msg *msg = how == CPNI_ACT_SEND ? &action->send.msg : &action->tell.msg;
        if (msg->type == type && nth-- == 0) {
            return msg;
        }
    }
    return NULL;
}

static inline const struct cpni_msg *steps_sent(const struct steps *s, enum cpni_msg_type type, unsigned nth)
{
    return steps_msg_of(s, CPNI_ACT_SEND, type, nth);
}

static inline const struct cpni_msg *steps_told(const struct steps *s, enum cpni_msg_type type, unsigned nth)
{
    return steps_msg_of(s, CPNI_ACT_TELL, type, nth);
}

static inline bool steps_logged(const struct steps *s, const char *event)
{
    const struct cpni_action *action;
    for (unsigned i = 0; (action = steps_act(s, CPNI_ACT_LOG, i)) != NULL; i++) {
        if (strcmp(action->log.event, event) == 0) {
            return true;
        }
    }
    return false;
}

/* Let the disk answer one job; false: none waits. */
static inline bool steps_disk(struct steps *s)
{
    struct cpni_event event = { .type = CPNI_EV_DISK };
    if (s->disk.count == 0) {
        return false;
    }
    if (fake_answer(&s->disk, &event.disk)) {
        steps_event(s, &event);
        cpni_bytes_unref(event.disk.bytes);
    } else {
        cpni_actions_clear(&s->actions);
    }
    return true;
}

/* Serve, as the master would, every WANT that the last step sent, from another disk. One message a packet. */
static inline void steps_serve(struct steps *s, struct fake_disk *from)
{
    struct cpni_msg_want wants[16];
    unsigned count = 0;
    const struct cpni_msg *want;
    while (count < 16 && (want = steps_sent(s, CPNI_MSG_WANT, count)) != NULL) {
        wants[count++] = want->want;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct fake_blob *blob = fake_find(from, &wants[i].root);
        struct cpni_msg msg = { .type = CPNI_MSG_MISSING };
        if (blob == NULL) {
            msg.missing.root = wants[i].root;
            msg.missing.code = CPN_ENOTFOUND;
            steps_bulk(s, &msg);
        } else if (wants[i].leaves) {
            msg.type = CPNI_MSG_LEAVES;
            msg.leaves.root = blob->root;
            msg.leaves.size = blob->size;
            msg.leaves.leaves = fake_fill(fake_chunks(blob->size) * 32u, blob->root.bytes[0]);
            steps_bulk(s, &msg);
            cpni_msg_drop(&msg);
        }
        for (uint32_t j = 0; blob != NULL && !wants[i].leaves && j < wants[i].count; j++) {
            msg = (struct cpni_msg){ .type = CPNI_MSG_CHUNK };
            msg.chunk.root = blob->root;
            msg.chunk.index = wants[i].first + j;
            msg.chunk.data = fake_chunk(blob, msg.chunk.index);
            steps_bulk(s, &msg);
            cpni_msg_drop(&msg);
        }
    }
}

static inline void steps_close(struct steps *s)
{
    fake_close(&s->disk);
    cpni_actions_free(&s->actions);
}

#endif
