/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A master's core driven by steps, under a clock of its own: peers that speak, a store that answers when told to, and a look at what the
 * last step wanted. Every step is followed by the full scan of the invariants. */
#ifndef MASTER_FIXTURE_H
#define MASTER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "core/master.h"
#include "proto/limits.h"

#define SECOND ((int64_t)1000000)

struct fixture {
    struct cpni_master_core *core;
    struct cpni_now now;
    struct cpni_actions actions;
    int rc;
    unsigned arm; /* the nth request for memory from now, in steps, fails; 0: none */
    bool failed;  /* a step since this was last reset */
};

struct peer {
    uint64_t conn;
    struct cpn_key key;
    bool local;
    uint32_t link;
    uint64_t sequence;
    struct cpn_id boot;
};

static struct cpn_key a_key(unsigned n)
{
    struct cpn_key key = { { 0 } };
    memset(key.bytes, 0xee, 8);
    key.bytes[0] = (uint8_t)n;
    key.bytes[31] = 1;
    return key;
}

static inline struct cpn_id an_id(unsigned n)
{
    struct cpn_id id = { { 1 } };
    memcpy(id.bytes + 4, &n, sizeof n);
    return id;
}

static inline struct cpn_hash a_hash(unsigned n)
{
    struct cpn_hash hash = { { 7 } };
    memcpy(hash.bytes + 4, &n, sizeof n);
    return hash;
}

static inline struct peer a_peer(uint64_t conn, unsigned key, unsigned boot)
{
    return (struct peer){ .conn = conn, .key = a_key(key), .boot = an_id(boot + 1000) };
}

static inline void fixture_open(struct fixture *f, bool settle)
{
    *f = (struct fixture){ .now = { .mono_us = 1000 * SECOND, .wall_us = 1700000000 * SECOND } };
    struct cpni_master_config config = { .name = cpni_str("test"), .term = 7, .settle = settle };
    assert_int_equal(cpni_master_core_new(&config, &f->now, &f->core), 0);
}

static inline void fixture_close(struct fixture *f)
{
    cpni_actions_free(&f->actions);
    cpni_master_core_free(f->core);
}

static inline void step(struct fixture *f, const struct cpni_event *event)
{
    cpni_actions_clear(&f->actions);
    const bool arms = f->arm != 0; /* else a test may have armed for several steps itself */
    if (arms) {
        cpni_alloc_fail(f->arm);
    }
    f->rc = cpni_master_core_step(f->core, event, &f->now, &f->actions);
    unsigned made = arms ? cpni_alloc_fail(0) : 0;
    f->arm = f->arm > made ? f->arm - made : 0;
    f->failed = f->failed || f->rc == CPN_ENOMEM;
    const char *broken = cpni_master_core_check(f->core);
    if (broken != NULL) {
        fail_msg("invariant: %s", broken);
    }
}

static inline void tick(struct fixture *f, int64_t us)
{
    f->now.mono_us += us;
    f->now.wall_us += us;
    struct cpni_event event = { .type = CPNI_EV_TICK };
    step(f, &event);
}

static inline void say_many(struct fixture *f, struct peer *p, struct cpni_msg *msgs, size_t count)
{
    struct cpni_event event = { .type = CPNI_EV_PACKET };
    event.packet = (struct cpni_event_packet){ .conn = p->conn, .key = p->key, .local = p->local, .link = p->link,
        .sequence = ++p->sequence, .msgs = msgs, .count = count };
    step(f, &event);
}

static inline void say(struct fixture *f, struct peer *p, struct cpni_msg msg)
{
    say_many(f, p, &msg, 1);
}

/* The nth (from 0) message of a type that the last step sends to a peer; NULL: none. */
static inline const struct cpni_msg *sent(const struct fixture *f, const struct peer *p, enum cpni_msg_type type, unsigned nth)
{
    for (size_t i = 0; i < f->actions.count; i++) {
        const struct cpni_action *action = &f->actions.list[i];
        if (action->type == CPNI_ACT_SEND && action->send.conn == p->conn && action->send.msg.type == type && nth-- == 0) {
            return &action->send.msg;
        }
    }
    return NULL;
}

static inline const struct cpni_action *did(const struct fixture *f, enum cpni_action_type type, unsigned nth)
{
    for (size_t i = 0; i < f->actions.count; i++) {
        if (f->actions.list[i].type == type && nth-- == 0) {
            return &f->actions.list[i];
        }
    }
    return NULL;
}

static inline bool logged(const struct fixture *f, const char *event)
{
    for (size_t i = 0; i < f->actions.count; i++) {
        if (f->actions.list[i].type == CPNI_ACT_LOG && strcmp(f->actions.list[i].log.event, event) == 0) {
            return true;
        }
    }
    return false;
}

static inline bool dropped(const struct fixture *f, const struct peer *p)
{
    for (size_t i = 0; i < f->actions.count; i++) {
        if (f->actions.list[i].type == CPNI_ACT_DROP && f->actions.list[i].conn.conn == p->conn) {
            return true;
        }
    }
    return false;
}

/* Dropped, and the last word that goes before it is waited for. */
static inline bool dropped_later(const struct fixture *f, const struct peer *p)
{
    for (size_t i = 0; i < f->actions.count; i++) {
        if (f->actions.list[i].type == CPNI_ACT_DROP && f->actions.list[i].conn.conn == p->conn) {
            return f->actions.list[i].conn.told;
        }
    }
    return false;
}

static inline void commit_as(struct fixture *f, uint64_t ticket, enum cpni_commit_status status, int code, uint64_t number,
                             const char *text)
{
    struct cpni_event event = { .type = CPNI_EV_COMMIT };
    event.commit.ticket = ticket;
    event.commit.commit.status = status;
    event.commit.commit.code = code;
    event.commit.commit.number = number;
    strncpy(event.commit.commit.text, text, sizeof event.commit.commit.text - 1);
    step(f, &event);
}

/* The command of the last step, of this type; fails when there is none. */
static inline const struct cpni_action *committing(const struct fixture *f, enum cpni_command_type type)
{
    for (unsigned i = 0;; i++) {
        const struct cpni_action *action = did(f, CPNI_ACT_COMMIT, i);
        assert_non_null(action);
        if (action->commit.command.type == type) {
            return action;
        }
    }
}

/* ---- peers that joined ---- */

static inline void enrolled(struct fixture *f, unsigned key, enum cpn_role role, const char *name)
{
    struct cpn_key k = a_key(key);
    assert_int_equal(cpni_master_core_identity(f->core, &k, role, cpni_str(name), false, false, NULL), 0);
}

static inline struct cpni_msg hello_of(const struct peer *p, enum cpni_kind kind)
{
    struct cpni_msg msg = { .type = CPNI_MSG_HELLO };
    msg.hello.boot = p->boot;
    msg.hello.kind = kind;
    return msg;
}

static inline void welcomed(struct fixture *f, struct peer *p)
{
    const struct cpni_msg *welcome = sent(f, p, CPNI_MSG_WELCOME, 0);
    assert_non_null(welcome);
    p->link = welcome->welcome.link;
}

static inline void join_client(struct fixture *f, struct peer *p)
{
    say(f, p, hello_of(p, CPNI_KIND_CLIENT));
    welcomed(f, p);
}

static inline struct cpni_msg worker_hello(const struct peer *p, uint32_t slots, struct cpni_rec_TEXT *handlers, uint32_t count)
{
    struct cpni_msg msg = hello_of(p, CPNI_KIND_WORKER);
    msg.hello.slots = slots;
    msg.hello.cores = 4;
    msg.hello.memory = 1u << 30;
    msg.hello.credit_tasks = slots;
    msg.hello.credit_bytes = 1u << 20;
    msg.hello.handlers = handlers;
    msg.hello.handlers_count = count;
    return msg;
}

/* A worker that serves the callback "echo". */
static inline void join_worker(struct fixture *f, struct peer *p, uint32_t slots)
{
    struct cpni_rec_TEXT handler = { .text = cpni_str("echo") };
    say(f, p, worker_hello(p, slots, &handler, 1));
    welcomed(f, p);
}

static inline struct cpni_msg submit_of(struct cpn_id task, const char *model)
{
    struct cpni_msg msg = { .type = CPNI_MSG_SUBMIT };
    msg.submit.task = task;
    msg.submit.model = cpni_str(model);
    return msg;
}

static inline struct cpni_msg result_of(const struct cpni_msg *task, int code, enum cpni_failure failure, const char *text)
{
    struct cpni_msg msg = { .type = CPNI_MSG_RESULT };
    msg.result.task = task->task.task;
    msg.result.attempt = task->task.attempt;
    msg.result.term = task->task.term;
    msg.result.code = code;
    msg.result.failure = failure;
    msg.result.text = cpni_str(text);
    msg.result.infer_us = 1000;
    return msg;
}

static inline struct cpni_msg ack_of(struct cpn_id task)
{
    struct cpni_msg msg = { .type = CPNI_MSG_ACK };
    msg.ack.task = task;
    return msg;
}

#endif
