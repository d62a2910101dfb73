/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions of a master's core from outside: who joins and leaves, a master that dies, a session that is started and looked at. */
#ifndef SESSION_FIXTURE_H
#define SESSION_FIXTURE_H

#include "session_network.h"

/* ---- peers ---- */

static inline void trainer_up(struct network *n, unsigned i, unsigned boot, const struct cpn_id *session)
{
    struct trainer *t = &n->t[i];
    uint64_t conn = 100 + 10 * i + 1000ull * boot;
    t->control = a_peer(conn, 10 + i, 100 * i + boot);
    t->bulk = a_peer(conn + 1, 10 + i, 100 * i + boot);
    t->up = true;
    if (boot != t->boot) {
        memset(t->has, 0, sizeof t->has);
        memset(t->due, 0, sizeof t->due);
        memset(t->waits, 0, sizeof t->waits);
    }
    t->boot = boot;
    struct cpni_rec_TEXT backend = { .text = cpni_str("train.dnn 1.0") };
    char text[CPN_ID_TEXT];
    struct cpni_rec_TEXT locked = { 0 };
    struct cpni_msg hello = worker_hello(&t->control, 2, NULL, 0);
    hello.hello.backends = &backend;
    hello.hello.backends_count = 1;
    if (session != NULL) {
        locked.text = cpni_str(cpn_id_text(session, text));
        hello.hello.sessions = &locked;
        hello.hello.sessions_count = 1;
    }
    say(&n->f, &t->control, hello);
    welcomed(&n->f, &t->control);
    take_sends(n);
    struct cpni_msg bulk = hello_of(&t->bulk, CPNI_KIND_WORKER);
    bulk.hello.channel = CPNI_CHANNEL_BULK;
    say(&n->f, &t->bulk, bulk);
    welcomed(&n->f, &t->bulk);
    take_sends(n);
}

static inline void trainer_down(struct network *n, unsigned i)
{
    struct cpni_msg bye = { .type = CPNI_MSG_BYE };
    n->t[i].up = false;
    memset(n->t[i].due, 0, sizeof n->t[i].due);
    memset(n->t[i].waits, 0, sizeof n->t[i].waits);
    memset(n->t[i].has, 0, sizeof n->t[i].has);
    do_step(n, &n->t[i].control, bye);
}

static inline void user_up(struct network *n)
{
    n->user = a_peer(1, 1, 1);
    n->user_bulk = a_peer(2, 1, 1);
    join_client(&n->f, &n->user);
    take_sends(n);
    struct cpni_msg bulk = hello_of(&n->user_bulk, CPNI_KIND_CLIENT);
    bulk.hello.channel = CPNI_CHANNEL_BULK;
    say(&n->f, &n->user_bulk, bulk);
    welcomed(&n->f, &n->user_bulk);
    take_sends(n);
}

static inline void identities(struct network *n, unsigned count)
{
    enrolled(&n->f, 1, CPN_ROLE_USER, "ann");
    for (unsigned i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%u", i + 1);
        enrolled(&n->f, 10 + i, CPN_ROLE_NODE, name);
    }
}

static inline void network_open(struct network *n, unsigned count)
{
    memset(n, 0, sizeof *n);
    fixture_open(&n->f, false);
    n->count = count;
    identities(n, count);
    user_up(n);
    for (unsigned i = 0; i < count; i++) {
        trainer_up(n, i, 0, NULL);
    }
    pump(n);
}

/* After a step that ran out of memory: the core has forgotten every connection, and everybody says HELLO again. */
static inline void all_again(struct network *n, const struct cpn_id *session)
{
    n->f.failed = false;
    step(&n->f, &(struct cpni_event){ .type = CPNI_EV_TICK });
    take_sends(n);
    user_up(n);
    for (unsigned i = 0; i < n->count; i++) {
        if (n->t[i].up) {
            trainer_up(n, i, n->t[i].boot, n->t[i].enables > n->t[i].stops ? session : NULL);
        }
    }
}

static inline void forget_asked(struct network *n)
{
    while (n->asked_count != 0) {
        cpni_bytes_unref(n->asked[--n->asked_count].command.payload);
    }
    while (n->job_count != 0) {
        cpni_bytes_unref(n->jobs[--n->job_count].act.data);
    }
}

static inline void network_close(struct network *n)
{
    forget_asked(n);
    while (n->stored_count != 0) {
        cpni_bytes_unref(n->stored[--n->stored_count].payload);
    }
    fixture_close(&n->f);
}

/* The master dies; the next one has what was committed. */
static inline void master_again(struct network *n)
{
    forget_asked(n);
    int64_t mono_us = n->f.now.mono_us, wall_us = n->f.now.wall_us;
    fixture_close(&n->f);
    fixture_open(&n->f, true);
    n->f.now.mono_us = mono_us + SECOND;
    n->f.now.wall_us = wall_us + SECOND;
    identities(n, n->count);
    static const enum cpni_command_type order[] = { CPNI_COMMAND_SESSION_ADD, CPNI_COMMAND_SESSION_STATE, CPNI_COMMAND_SESSION_ROUND,
                                                    CPNI_COMMAND_SESSION_LANE, CPNI_COMMAND_SESSION_POINT };
    for (unsigned kind = 0; kind < 5; kind++) {
        for (unsigned i = 0; i < n->stored_count; i++) {
            const struct cpni_command *command = &n->stored[i];
            bool last = true; /* the store keeps one row of a state and of a lane */
            for (unsigned j = i + 1; last && j < n->stored_count; j++) {
                bool lane = command->type == CPNI_COMMAND_SESSION_LANE && n->stored[j].u.session_lane.lane == command->u.session_lane.lane;
                last = n->stored[j].type != command->type || (command->type != CPNI_COMMAND_SESSION_STATE && !lane);
            }
            if (command->type == order[kind] && last) {
                assert_int_equal(cpni_master_core_session(n->f.core, command), 0);
            }
        }
    }
}

/* Time passes, and nobody is silent. */
static inline void seconds(struct network *n, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < n->count; j++) {
            if (n->t[j].up) {
                do_step(n, &n->t[j].control, (struct cpni_msg){ .type = CPNI_MSG_BEAT });
            }
        }
        do_step(n, &n->user, (struct cpni_msg){ .type = CPNI_MSG_BEAT });
        tick(&n->f, SECOND);
        take_sends(n);
    }
}

/* It dies and comes back; its nodes come back to it. */
static inline void master_dies(struct network *n, const struct cpn_id *session)
{
    bool was_up[TRAINERS] = { false };
    for (unsigned i = 0; i < n->count; i++) {
        was_up[i] = n->t[i].up;
        n->t[i].up = false;
    }
    master_again(n);
    user_up(n);
    for (unsigned i = 0; i < n->count; i++) {
        if (was_up[i]) {
            trainer_up(n, i, n->t[i].boot, session);
        }
    }
    seconds(n, 4);
}

/* ---- sessions ---- */

static inline struct cpni_msg session_of(const char *spec, struct cpni_bytes **bytes)
{
    struct cpni_msg msg = { .type = CPNI_MSG_SESSION };
    *bytes = cpni_bytes_copy(spec, strlen(spec));
    msg.session.request = 5;
    msg.session.session = an_id(77);
    msg.session.name = cpni_str("digits.csv");
    msg.session.spec = *bytes;
    msg.session.dataset_root = a_hash(1);
    msg.session.dataset_size = 1000;
    msg.session.schema_root = a_hash(2);
    msg.session.schema_size = 100;
    msg.session.rows = 1000;
    msg.session.train_rows = 800;
    msg.session.columns = 4;
    msg.session.classes = 3;
    return msg;
}

static inline void start(struct network *n, const char *spec)
{
    n->int8 = strstr(spec, "encoding int8") != NULL;
    n->mode = strstr(spec, "mode sweep") != NULL ? 'w' : strstr(spec, "mode sync") != NULL ? 's' : 'a';
    struct cpni_bytes *bytes;
    struct cpni_msg msg = session_of(spec, &bytes);
    do_step(n, &n->user, msg);
    cpni_bytes_unref(bytes);
    pump(n);
}

static inline const struct cpni_rec_SESSION *look(struct network *n)
{
    struct cpni_msg msg = { .type = CPNI_MSG_QUERY };
    msg.query.request = 9;
    msg.query.what = CPNI_QUERY_SESSIONS;
    unsigned arm = n->f.arm; /* a look changes nothing */
    n->f.arm = 0;
    say(&n->f, &n->user, msg);
    n->f.arm = arm;
    const struct cpni_msg *reply = sent(&n->f, &n->user, CPNI_MSG_REPLY, 0);
    assert_non_null(reply);
    assert_true(reply->reply.sessions_count != 0);
    n->row = reply->reply.sessions[0];
    cpni_str_copy(n->row.text, n->text, sizeof n->text);
    cpni_str_copy(n->row.why, n->why, sizeof n->why);
    take_sends(n);
    return &n->row;
}

static inline uint32_t node_state(struct network *n, unsigned i)
{
    struct cpni_msg msg = { .type = CPNI_MSG_QUERY };
    msg.query.request = 9;
    msg.query.what = CPNI_QUERY_NODES;
    n->f.arm = 0;
    say(&n->f, &n->user, msg);
    const struct cpni_msg *reply = sent(&n->f, &n->user, CPNI_MSG_REPLY, 0);
    assert_non_null(reply);
    uint32_t state = reply->reply.nodes[i].state;
    take_sends(n);
    return state;
}

static inline unsigned stored_of(const struct network *n, enum cpni_command_type type)
{
    unsigned count = 0;
    for (unsigned i = 0; i < n->stored_count; i++) {
        count += n->stored[i].type == type;
    }
    return count;
}

static inline void all_released(struct network *n)
{
    for (unsigned i = 0; i < n->count; i++) {
        assert_int_not_equal(node_state(n, i), CPNI_NODE_TRAINING);
    }
}

#endif
