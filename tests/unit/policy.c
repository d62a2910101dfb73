/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What admins may do, what people see, what is recorded, the orderly end, and that lost memory loses nothing else. */
#include <string.h>

#include "master_fixture.h"

struct net {
    struct fixture f;
    struct peer root, ann, w1;
};

static void net_open(struct net *n)
{
    fixture_open(&n->f, false);
    enrolled(&n->f, 1, CPN_ROLE_ADMIN, "root");
    enrolled(&n->f, 2, CPN_ROLE_USER, "ann");
    enrolled(&n->f, 11, CPN_ROLE_NODE, "w1");
    n->root = a_peer(1, 1, 1);
    n->ann = a_peer(2, 2, 2);
    n->w1 = a_peer(11, 11, 11);
    join_client(&n->f, &n->root);
    join_client(&n->f, &n->ann);
    join_worker(&n->f, &n->w1, 1);
}

static struct cpni_msg admin_of(enum cpni_admin op, const char *name)
{
    static uint64_t request;
    struct cpni_msg msg = { .type = CPNI_MSG_ADMIN };
    msg.admin.request = ++request;
    msg.admin.op = op;
    msg.admin.name = cpni_str(name);
    return msg;
}

static void commit_last(struct net *n, enum cpni_command_type type)
{
    commit_as(&n->f, committing(&n->f, type)->commit.ticket, CPNI_COMMITTED, 0, 0, "");
}

static int done_code(struct net *n)
{
    const struct cpni_msg *done = sent(&n->f, &n->root, CPNI_MSG_DONE, 0);
    assert_non_null(done);
    return done->done.code;
}

static const struct cpni_msg *ask(struct net *n, struct peer *p, enum cpni_query what, uint64_t since, uint32_t limit)
{
    struct cpni_msg msg = { .type = CPNI_MSG_QUERY };
    msg.query.request = 3;
    msg.query.what = what;
    msg.query.since = since;
    msg.query.limit = limit;
    say(&n->f, p, msg);
    return sent(&n->f, p, CPNI_MSG_REPLY, 0);
}

static void tokens_come_and_go(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    struct cpni_msg create = admin_of(CPNI_ADMIN_TOKEN_CREATE, "lab");
    create.admin.key = a_key(60);
    create.admin.role = CPN_ROLE_NODE;
    create.admin.ttl_ms = 60000;
    create.admin.uses = 2;
    say(&n.f, &n.root, create);
    const struct cpni_action *add = committing(&n.f, CPNI_COMMAND_TOKEN_ADD);
    assert_int_equal(add->commit.command.u.token_add.expires_wall_us, n.f.now.wall_us + 60 * SECOND);
    assert_int_not_equal(add->commit.key.sequence, 0);
    struct cpn_key token = a_key(60);
    assert_false(cpni_master_core_admits(n.f.core, &token, &n.f.now)); /* not before it is durable */
    commit_last(&n, CPNI_COMMAND_TOKEN_ADD);
    assert_int_equal(done_code(&n), 0);
    assert_true(cpni_master_core_admits(n.f.core, &token, &n.f.now));
    assert_int_equal(ask(&n, &n.root, CPNI_QUERY_TOKENS, 0, 0)->reply.tokens[0].uses_left, 2);
    assert_null(ask(&n, &n.ann, CPNI_QUERY_TOKENS, 0, 0));
    assert_non_null(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0));
    say(&n.f, &n.root, create); /* the same key again */
    assert_int_equal(done_code(&n), CPN_EEXISTS);
    struct cpni_msg revoke = admin_of(CPNI_ADMIN_TOKEN_REVOKE, "");
    revoke.admin.key = a_key(60);
    say(&n.f, &n.root, revoke);
    commit_last(&n, CPNI_COMMAND_TOKEN_REVOKE);
    assert_false(cpni_master_core_admits(n.f.core, &token, &n.f.now));
    say(&n.f, &n.root, revoke);
    assert_int_equal(done_code(&n), CPN_ENOTFOUND);
    fixture_close(&n.f);
}

static void two_processes_of_a_key_have_answers_of_their_own(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    struct peer other = a_peer(9, 1, 9);
    join_client(&n.f, &other);
    struct cpni_msg revoke = admin_of(CPNI_ADMIN_REVOKE, "w1");
    say(&n.f, &n.root, revoke);
    uint64_t first = committing(&n.f, CPNI_COMMAND_IDENTITY_REVOKE)->commit.key.sequence;
    revoke.admin.name = cpni_str("ann");
    say(&n.f, &other, revoke); /* with the same request number */
    assert_true(first != committing(&n.f, CPNI_COMMAND_IDENTITY_REVOKE)->commit.key.sequence);
    fixture_close(&n.f);
}

static void a_revoked_key_is_out_at_once(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    say(&n.f, &n.root, admin_of(CPNI_ADMIN_REVOKE, "nobody"));
    assert_int_equal(done_code(&n), CPN_ENOTFOUND);
    say(&n.f, &n.root, admin_of(CPNI_ADMIN_REVOKE, "ann"));
    commit_last(&n, CPNI_COMMAND_IDENTITY_REVOKE);
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0)->refused.code, CPN_EKEY);
    assert_true(dropped(&n.f, &n.ann) && dropped_later(&n.f, &n.ann));
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_CANCEL, 0));
    struct cpn_key ann = a_key(2);
    assert_false(cpni_master_core_admits(n.f.core, &ann, &n.f.now));
    n.ann.conn = 22;
    say(&n.f, &n.ann, hello_of(&n.ann, CPNI_KIND_CLIENT));
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0)->refused.code, CPN_EKEY);
    say(&n.f, &n.root, admin_of(CPNI_ADMIN_REVOKE, "w1"));
    commit_last(&n, CPNI_COMMAND_IDENTITY_REVOKE);
    assert_true(dropped(&n.f, &n.w1));
    assert_true(ask(&n, &n.root, CPNI_QUERY_NODES, 0, 0)->reply.nodes[0].revoked);
    say(&n.f, &n.root, admin_of(CPNI_ADMIN_REVOKE, "root"));
    assert_int_equal(done_code(&n), CPN_ESTATE); /* the last one */
    fixture_close(&n.f);
}

static void a_rejected_or_lost_commit_is_told(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    say(&n.f, &n.root, admin_of(CPNI_ADMIN_GRANT_PUBLISH, "ann"));
    commit_as(&n.f, committing(&n.f, CPNI_COMMAND_RIGHT_GRANT)->commit.ticket, CPNI_UNKNOWN, CPN_EIO, 0, "disk full");
    assert_int_equal(done_code(&n), CPN_EIO);
    assert_true(logged(&n.f, "CPN-COMMIT-FAILED"));
    assert_false(ask(&n, &n.ann, CPNI_QUERY_USERS, 0, 0)->reply.users[0].publish);
    say(&n.f, &n.root, admin_of(CPNI_ADMIN_GRANT_PUBLISH, "ann"));
    commit_last(&n, CPNI_COMMAND_RIGHT_GRANT);
    assert_true(ask(&n, &n.ann, CPNI_QUERY_USERS, 0, 0)->reply.users[0].publish);
    say(&n.f, &n.root, admin_of(CPNI_ADMIN_GRANT_PUBLISH, "w1"));
    assert_int_equal(done_code(&n), CPN_ESTATE);
    say(&n.f, &n.root, admin_of((enum cpni_admin)99, "w1"));
    assert_int_equal(done_code(&n), CPN_ENOTSUP);
    fixture_close(&n.f);
}

static void draining_by_an_admin(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    say(&n.f, &n.root, admin_of(CPNI_ADMIN_DRAIN, "w1"));
    assert_int_equal(done_code(&n), 0);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0));
    assert_int_equal(ask(&n, &n.ann, CPNI_QUERY_NODES, 0, 0)->reply.nodes[0].state, CPNI_NODE_DRAINING);
    say(&n.f, &n.root, admin_of(CPNI_ADMIN_RESUME, "w1"));
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0));
    fixture_close(&n.f);
}

static void replies_come_in_pages(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    for (unsigned i = 0; i < 5; i++) {
        say(&n.f, &n.ann, submit_of(an_id(i + 1), "echo"));
    }
    const struct cpni_msg *reply = ask(&n, &n.root, CPNI_QUERY_TASKS, 0, 3);
    assert_int_equal(reply->reply.jobs_count, 3);
    assert_true(reply->reply.more);
    reply = ask(&n, &n.root, CPNI_QUERY_TASKS, 3, 3);
    assert_int_equal(reply->reply.jobs_count, 2);
    assert_false(reply->reply.more);
    reply = ask(&n, &n.root, CPNI_QUERY_MODELS, 0, 0);
    assert_int_equal(reply->reply.models_count, 1);
    assert_int_equal(reply->reply.models[0].ready, 1);
    reply = ask(&n, &n.ann, CPNI_QUERY_USERS, 0, 0); /* herself only */
    assert_int_equal(reply->reply.users_count, 1);
    assert_int_equal(ask(&n, &n.root, CPNI_QUERY_USERS, 0, 0)->reply.users_count, 2);
    fixture_close(&n.f);
}

static void events_are_read_through_the_store(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    assert_null(ask(&n, &n.ann, CPNI_QUERY_EVENTS, 17, 2));
    const struct cpni_action *notes = did(&n.f, CPNI_ACT_NOTES, 0);
    assert_int_equal(notes->notes.since, 17);
    assert_int_equal(notes->notes.limit, 2);
    struct cpni_rec_NOTE rows[2] = { { .sequence = 18 }, { .sequence = 19 } };
    struct cpni_event event = { .type = CPNI_EV_NOTES };
    event.notes.ticket = notes->notes.ticket;
    event.notes.notes = rows;
    event.notes.count = 2;
    step(&n.f, &event);
    const struct cpni_msg *reply = sent(&n.f, &n.ann, CPNI_MSG_REPLY, 0);
    assert_int_equal(reply->reply.notes_count, 2);
    assert_true(reply->reply.more);
    fixture_close(&n.f);
}

static void events_are_about_names(void **state)
{
    (void)state;
    struct net n;
    char key[CPN_KEY_TEXT];
    net_open(&n);
    cpn_key_text(&n.w1.key, key);
    struct cpni_msg msg = { .type = CPNI_MSG_QUERY };
    msg.query.request = 3;
    msg.query.what = CPNI_QUERY_EVENTS;
    msg.query.name = cpni_str("w1");
    say(&n.f, &n.ann, msg);
    const struct cpni_action *notes = did(&n.f, CPNI_ACT_NOTES, 0);
    assert_true(cpni_str_equal(notes->notes.filter, cpni_str(key)));
    struct cpni_rec_NOTE rows[2] = { { .sequence = 1, .node = cpni_str(key) }, { .sequence = 2 } };
    struct cpni_event event = { .type = CPNI_EV_NOTES };
    event.notes.ticket = notes->notes.ticket;
    event.notes.notes = rows;
    event.notes.count = 2;
    step(&n.f, &event);
    const struct cpni_msg *reply = sent(&n.f, &n.ann, CPNI_MSG_REPLY, 0);
    assert_true(cpni_str_equal(reply->reply.notes[0].node, cpni_str("w1")));
    assert_int_equal(reply->reply.notes[1].node.size, 0);
    msg.query.name = cpni_str("faces"); /* nobody's name: a model */
    say(&n.f, &n.ann, msg);
    assert_true(cpni_str_equal(did(&n.f, CPNI_ACT_NOTES, 0)->notes.filter, cpni_str("faces")));
    fixture_close(&n.f);
}

static void history_is_committed_now_and_then(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    commit_last(&n, CPNI_COMMAND_NODE_STATS); /* that it joined */
    for (unsigned i = 0; i < 20; i++) {
        say(&n.f, &n.ann, submit_of(an_id(i + 1), "echo"));
        struct cpni_msg task = *sent(&n.f, &n.w1, CPNI_MSG_TASK, 0);
        say(&n.f, &n.w1, result_of(&task, 0, CPNI_FAILURE_NONE, ""));
        assert_null(did(&n.f, CPNI_ACT_COMMIT, 0)); /* not for every task */
        say(&n.f, &n.ann, ack_of(an_id(i + 1)));
    }
    const struct cpni_action *node = NULL;
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    for (unsigned i = 0; i < 11 && node == NULL; i++) {
        say(&n.f, &n.w1, beat);
        say(&n.f, &n.ann, beat);
        say(&n.f, &n.root, beat);
        tick(&n.f, SECOND);
        node = did(&n.f, CPNI_ACT_COMMIT, 0);
    }
    assert_int_equal(committing(&n.f, CPNI_COMMAND_USER_STATS)->commit.command.u.user_stats.tasks, 20);
    node = committing(&n.f, CPNI_COMMAND_NODE_STATS);
    assert_int_equal(node->commit.command.u.node_stats.tasks, 20);
    assert_int_equal(node->commit.command.u.node_stats.busy_us, 20000);
    commit_as(&n.f, node->commit.ticket, CPNI_UNKNOWN, CPN_EIO, 0, ""); /* is not lost */
    struct cpni_msg bye = { .type = CPNI_MSG_BYE };
    say(&n.f, &n.w1, bye);
    assert_true(dropped(&n.f, &n.w1) && !dropped_later(&n.f, &n.w1)); /* it waits for the end of its connection */
    assert_int_equal(committing(&n.f, CPNI_COMMAND_NODE_STATS)->commit.command.u.node_stats.tasks, 20);
    assert_int_equal(ask(&n, &n.root, CPNI_QUERY_NODES, 0, 0)->reply.nodes[0].tasks, 20);
    fixture_close(&n.f);
}

static void an_orderly_end(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    commit_last(&n, CPNI_COMMAND_NODE_STATS);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    struct cpni_msg task = *sent(&n.f, &n.w1, CPNI_MSG_TASK, 0);
    say(&n.f, &n.w1, result_of(&task, 0, CPNI_FAILURE_NONE, ""));
    struct cpni_event stop = { .type = CPNI_EV_STOP };
    stop.stop.returning = true;
    step(&n.f, &stop);
    assert_true(sent(&n.f, &n.w1, CPNI_MSG_BYE, 0)->bye.returning);
    assert_non_null(sent(&n.f, &n.ann, CPNI_MSG_BYE, 0));
    assert_null(did(&n.f, CPNI_ACT_STOPPED, 0));
    uint64_t last = 0;
    for (unsigned i = 0; did(&n.f, CPNI_ACT_COMMIT, i) != NULL; i++) {
        last = did(&n.f, CPNI_ACT_COMMIT, i)->commit.ticket;
    }
    commit_as(&n.f, last, CPNI_COMMITTED, 0, 0, "");
    assert_null(did(&n.f, CPNI_ACT_STOPPED, 0)); /* one is still on its way */
    assert_true(cpni_master_core_deadline(n.f.core) <= n.f.now.mono_us + 2 * SECOND);
    step(&n.f, &stop); /* a second time: at once */
    assert_non_null(did(&n.f, CPNI_ACT_STOPPED, 0));
    fixture_close(&n.f);
}

/* ---- memory ---- */

/* A little life of a network, in which everything allocates. Returns when a step ran out of memory. */
static bool play(struct net *n, unsigned *steps)
{
    struct cpni_rec_TEXT handler = { .text = cpni_str("echo") };
    struct cpni_msg hello = worker_hello(&n->w1, 1, &handler, 1);
    struct cpni_msg submit = submit_of(an_id(1), "echo");
    submit.submit.input_name = cpni_str("a.jpg");
    submit.submit.deadline_ms = 60000;
    struct cpni_msg large = submit_of(an_id(2), "echo");
    large.submit.input_root = a_hash(9);
    large.submit.input_size = 500000;
    struct cpni_msg result = { .type = CPNI_MSG_RESULT };
    result.result.task = an_id(1);
    result.result.attempt = 1;
    result.result.text = cpni_str("well done");
    struct cpni_msg create = { .type = CPNI_MSG_ADMIN };
    create.admin = (struct cpni_msg_admin){ .request = 1, .op = CPNI_ADMIN_TOKEN_CREATE, .key = a_key(60), .role = CPN_ROLE_NODE };
    struct {
        struct peer *peer;
        struct cpni_msg msg;
    } script[] = { { &n->root, hello_of(&n->root, CPNI_KIND_CLIENT) }, { &n->ann, hello_of(&n->ann, CPNI_KIND_CLIENT) },
                   { &n->w1, hello }, { &n->ann, submit }, { &n->ann, large }, { &n->root, create }, { &n->w1, result },
                   { &n->ann, ack_of(an_id(1)) }, { &n->w1, { .type = CPNI_MSG_BYE } } };
    for (size_t i = 0; i < sizeof script / sizeof script[0]; i++) {
        (*steps)++;
        say(&n->f, script[i].peer, script[i].msg);
        if (n->f.rc < 0) {
            return false;
        }
        const struct cpni_msg *welcome = sent(&n->f, script[i].peer, CPNI_MSG_WELCOME, 0);
        script[i].peer->link = welcome != NULL ? welcome->welcome.link : script[i].peer->link;
        uint64_t tickets[8];
        size_t count = 0;
        for (; count < 8 && did(&n->f, CPNI_ACT_COMMIT, (unsigned)count) != NULL; count++) {
            tickets[count] = did(&n->f, CPNI_ACT_COMMIT, (unsigned)count)->commit.ticket;
        }
        for (size_t k = 0; k < count; k++) {
            commit_as(&n->f, tickets[k], CPNI_COMMITTED, 0, CPN_ROLE_NODE, "w9");
            if (n->f.rc < 0) {
                return false;
            }
        }
    }
    return true;
}

static void restore(struct net *n)
{
    fixture_open(&n->f, false);
    enrolled(&n->f, 1, CPN_ROLE_ADMIN, "root");
    enrolled(&n->f, 2, CPN_ROLE_USER, "ann");
    enrolled(&n->f, 11, CPN_ROLE_NODE, "w1");
    n->root = a_peer(1, 1, 1);
    n->ann = a_peer(2, 2, 2);
    n->w1 = a_peer(11, 11, 11);
}

/* The nth allocation fails, for every n: the state stays valid (every step is checked), nothing leaks (the sanitizer sees to it), and
 * the peers, told to say HELLO again, come to the same end. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    unsigned failures = 0;
    for (unsigned nth = 1; nth < 2000; nth++) {
        struct net n;
        unsigned steps = 0;
        restore(&n);
        n.f.arm = nth;
        bool whole = play(&n, &steps);
        n.f.arm = 0;
        if (whole) {
            fixture_close(&n.f);
            break;
        }
        failures++;
        tick(&n.f, SECOND);
        n.root.sequence = n.ann.sequence = n.w1.sequence = 50;
        n.root.link = n.ann.link = n.w1.link = 0;
        steps = 0;
        assert_true(play(&n, &steps));
        struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
        say(&n.f, &n.ann, beat);
        fixture_close(&n.f);
    }
    assert_true(failures > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_come_and_go),
        cmocka_unit_test(two_processes_of_a_key_have_answers_of_their_own),
        cmocka_unit_test(a_revoked_key_is_out_at_once),
        cmocka_unit_test(a_rejected_or_lost_commit_is_told),
        cmocka_unit_test(draining_by_an_admin),
        cmocka_unit_test(replies_come_in_pages),
        cmocka_unit_test(events_are_read_through_the_store),
        cmocka_unit_test(events_are_about_names),
        cmocka_unit_test(history_is_committed_now_and_then),
        cmocka_unit_test(an_orderly_end),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
