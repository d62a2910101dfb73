/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Links, sequences, roles, copied identities, join tokens. */
#include "master_fixture.h"

static void first_packet_must_be_hello(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    enrolled(&f, 1, CPN_ROLE_USER, "ann");
    struct peer p = a_peer(1, 1, 1);
    say(&f, &p, submit_of(an_id(1), "echo"));
    assert_non_null(sent(&f, &p, CPNI_MSG_RESYNC, 0));
    say(&f, &p, submit_of(an_id(1), "echo"));
    assert_null(sent(&f, &p, CPNI_MSG_RESYNC, 0)); /* not at every packet */
    tick(&f, SECOND);
    say(&f, &p, submit_of(an_id(1), "echo"));
    assert_non_null(sent(&f, &p, CPNI_MSG_RESYNC, 0));
    join_client(&f, &p);
    fixture_close(&f);
}

static void a_gap_is_resynced_and_deaf_until_hello(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    enrolled(&f, 1, CPN_ROLE_USER, "ann");
    struct peer p = a_peer(1, 1, 1);
    join_client(&f, &p);
    struct cpni_msg query = { .type = CPNI_MSG_QUERY };
    query.query.what = CPNI_QUERY_NODES;
    say(&f, &p, query);
    assert_non_null(sent(&f, &p, CPNI_MSG_REPLY, 0));
    p.sequence++; /* one is lost */
    say(&f, &p, query);
    assert_null(sent(&f, &p, CPNI_MSG_REPLY, 0));
    assert_non_null(sent(&f, &p, CPNI_MSG_RESYNC, 0));
    uint32_t old = p.link;
    join_client(&f, &p);
    assert_int_not_equal(old, p.link);
    say(&f, &p, query);
    assert_non_null(sent(&f, &p, CPNI_MSG_REPLY, 0));
    p.link = old; /* stale */
    say(&f, &p, query);
    assert_null(sent(&f, &p, CPNI_MSG_REPLY, 0));
    fixture_close(&f);
}

static void roles_are_checked_for_every_message(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    enrolled(&f, 1, CPN_ROLE_USER, "ann");
    enrolled(&f, 2, CPN_ROLE_NODE, "w1");
    struct peer user = a_peer(1, 1, 1), node = a_peer(2, 2, 2);
    join_client(&f, &user);
    join_worker(&f, &node, 1);
    struct cpni_msg admin = { .type = CPNI_MSG_ADMIN };
    admin.admin.request = 9;
    admin.admin.op = CPNI_ADMIN_REVOKE;
    admin.admin.name = cpni_str("w1");
    say(&f, &user, admin);
    const struct cpni_msg *refused = sent(&f, &user, CPNI_MSG_REFUSED, 0);
    assert_non_null(refused);
    assert_int_equal(refused->refused.code, CPN_EDENIED);
    assert_int_equal(refused->refused.request, 9);
    assert_true(logged(&f, "CPN-MSG-REFUSED"));
    say(&f, &node, submit_of(an_id(1), "echo"));
    assert_non_null(sent(&f, &node, CPNI_MSG_REFUSED, 0));
    for (unsigned i = 0; i < CPNI_STRIKES_MAX && !dropped(&f, &node); i++) {
        say(&f, &node, submit_of(an_id(1), "echo"));
    }
    assert_true(dropped(&f, &node));
    assert_true(logged(&f, "CPN-CONN-DROPPED"));
    fixture_close(&f);
}

static void a_worker_needs_a_node_key(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    enrolled(&f, 1, CPN_ROLE_USER, "ann");
    struct peer p = a_peer(1, 1, 1);
    say(&f, &p, worker_hello(&p, 1, NULL, 0));
    assert_null(sent(&f, &p, CPNI_MSG_WELCOME, 0));
    assert_non_null(sent(&f, &p, CPNI_MSG_REFUSED, 0));
    struct peer stranger = a_peer(2, 99, 1);
    say(&f, &stranger, hello_of(&stranger, CPNI_KIND_CLIENT));
    assert_int_equal(sent(&f, &stranger, CPNI_MSG_REFUSED, 0)->refused.code, CPN_EKEY);
    assert_true(dropped(&f, &stranger) && dropped_later(&f, &stranger)); /* it hears why */
    fixture_close(&f);
}

static void local_roles_are_trusted_by_kind(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    struct peer worker = { .conn = 1, .local = true, .boot = an_id(1) };
    struct peer client = { .conn = 2, .local = true, .boot = an_id(2) };
    join_worker(&f, &worker, 1);
    join_client(&f, &client);
    say(&f, &client, submit_of(an_id(5), "echo"));
    assert_non_null(sent(&f, &worker, CPNI_MSG_TASK, 0));
    struct cpni_msg bye = { .type = CPNI_MSG_BYE };
    say(&f, &worker, bye);
    say(&f, &client, bye); /* the identities go with them: the leak check sees to it */
    fixture_close(&f);
}

static void beats_flow_and_silence_is_noticed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    enrolled(&f, 2, CPN_ROLE_NODE, "w1");
    struct peer node = a_peer(2, 2, 2);
    join_worker(&f, &node, 1);
    assert_true(logged(&f, "CPN-NODE-JOINED"));
    tick(&f, SECOND);
    assert_int_equal(sent(&f, &node, CPNI_MSG_BEAT, 0)->beat.term, 7);
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    for (unsigned i = 0; i < 5; i++) {
        say(&f, &node, beat);
        tick(&f, SECOND);
        assert_false(logged(&f, "CPN-NODE-LOST"));
    }
    bool lost = false;
    for (unsigned i = 0; i < 4 && !lost; i++) {
        tick(&f, SECOND);
        lost = logged(&f, "CPN-NODE-LOST");
    }
    assert_true(lost);
    assert_true(dropped(&f, &node));
    node.conn = 3;
    node.boot = an_id(77);
    join_worker(&f, &node, 1);
    assert_true(logged(&f, "CPN-NODE-RETURNED"));
    fixture_close(&f);
}

/* It was the master that slept: what the nodes said meanwhile is still to be read. */
static void a_master_that_awakes_blames_nobody(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    enrolled(&f, 2, CPN_ROLE_NODE, "w1");
    struct peer node = a_peer(2, 2, 2);
    join_worker(&f, &node, 1);
    tick(&f, 60 * SECOND);
    assert_false(logged(&f, "CPN-NODE-LOST"));
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    say(&f, &node, beat);
    for (unsigned i = 0; i < 2; i++) {
        tick(&f, SECOND);
        assert_false(logged(&f, "CPN-NODE-LOST"));
    }
    fixture_close(&f);
}

static void a_restarted_worker_replaces_the_old_process(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    enrolled(&f, 1, CPN_ROLE_USER, "ann");
    enrolled(&f, 2, CPN_ROLE_NODE, "w1");
    struct peer client = a_peer(1, 1, 1), old = a_peer(2, 2, 2), next = a_peer(3, 2, 3);
    join_client(&f, &client);
    join_worker(&f, &old, 1);
    say(&f, &client, submit_of(an_id(1), "echo"));
    assert_int_equal(sent(&f, &old, CPNI_MSG_TASK, 0)->task.attempt, 1);
    join_worker(&f, &next, 1);
    assert_true(dropped(&f, &old) && !dropped_later(&f, &old));
    assert_int_equal(sent(&f, &next, CPNI_MSG_TASK, 0)->task.attempt, 2); /* at once */
    fixture_close(&f);
}

static void two_living_processes_of_a_node_are_told_apart(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    enrolled(&f, 2, CPN_ROLE_NODE, "w1");
    struct peer old = a_peer(2, 2, 2), copy = a_peer(3, 2, 3);
    join_worker(&f, &old, 1);
    join_worker(&f, &copy, 1);
    /* A HELLO of the old one may have been on its way: it is asked again. */
    struct cpni_msg hello = worker_hello(&old, 1, NULL, 0);
    say(&f, &old, hello);
    assert_non_null(sent(&f, &old, CPNI_MSG_RESYNC, 0));
    assert_null(sent(&f, &copy, CPNI_MSG_REFUSED, 0));
    say(&f, &old, hello);
    assert_non_null(sent(&f, &old, CPNI_MSG_WELCOME, 0));
    assert_int_equal(sent(&f, &copy, CPNI_MSG_REFUSED, 0)->refused.code, CPN_ECOPIED);
    assert_true(logged(&f, "CPN-NODE-COPIED"));
    copy.conn = 4; /* and does not get in again */
    say(&f, &copy, worker_hello(&copy, 1, NULL, 0));
    assert_int_equal(sent(&f, &copy, CPNI_MSG_REFUSED, 0)->refused.code, CPN_ECOPIED);
    fixture_close(&f);
}

static void bulk_waits_for_its_control_channel(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    enrolled(&f, 1, CPN_ROLE_USER, "ann");
    struct peer control = a_peer(1, 1, 1), bulk = a_peer(2, 1, 1);
    struct cpni_msg hello = hello_of(&bulk, CPNI_KIND_CLIENT);
    hello.hello.channel = CPNI_CHANNEL_BULK;
    say(&f, &bulk, hello);
    assert_null(sent(&f, &bulk, CPNI_MSG_WELCOME, 0));
    join_client(&f, &control);
    welcomed(&f, &bulk);
    assert_int_not_equal(bulk.link, control.link);
    struct cpni_msg want = { .type = CPNI_MSG_WANT };
    want.want.root = a_hash(1);
    say(&f, &bulk, want);
    assert_non_null(sent(&f, &bulk, CPNI_MSG_MISSING, 0));
    say(&f, &control, want);
    assert_non_null(sent(&f, &control, CPNI_MSG_REFUSED, 0));
    fixture_close(&f);
}

static void malformed_packets_resync_then_drop(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    enrolled(&f, 1, CPN_ROLE_USER, "ann");
    struct peer p = a_peer(1, 1, 1);
    join_client(&f, &p);
    struct cpni_event bad = { .type = CPNI_EV_BAD_PACKET };
    bad.bad.conn = 1;
    bad.bad.key = p.key;
    bad.bad.code = CPN_EPROTO;
    bad.bad.text = "garbage";
    step(&f, &bad);
    assert_non_null(sent(&f, &p, CPNI_MSG_RESYNC, 0));
    for (unsigned i = 0; i < CPNI_STRIKES_MAX && !dropped(&f, &p); i++) {
        step(&f, &bad);
    }
    assert_true(dropped(&f, &p));
    bad.bad.conn = 77; /* of nobody */
    step(&f, &bad);
    fixture_close(&f);
}

/* ---- tokens ---- */

static void give_token(struct fixture *f, unsigned key, enum cpn_role role, uint32_t uses, int64_t expires_us)
{
    struct cpn_key k = a_key(key);
    assert_int_equal(cpni_master_core_token(f->core, &k, role, cpni_str("hint"), expires_us, uses), 0);
}

static struct cpni_msg enrol_of(unsigned key)
{
    struct cpni_msg msg = { .type = CPNI_MSG_ENROL };
    msg.enrol.key = a_key(key);
    msg.enrol.name = cpni_str("w9");
    return msg;
}

static void a_token_enrols_once_and_repeats_its_answer(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    give_token(&f, 50, CPN_ROLE_NODE, 1, 0);
    struct cpn_key token = a_key(50), key = a_key(9);
    assert_true(cpni_master_core_admits(f.core, &token, &f.now));
    assert_false(cpni_master_core_admits(f.core, &key, &f.now));
    struct peer p = a_peer(1, 50, 1);
    say(&f, &p, hello_of(&p, CPNI_KIND_WORKER));
    assert_non_null(sent(&f, &p, CPNI_MSG_REFUSED, 0)); /* ENROL only */
    say(&f, &p, enrol_of(9));
    assert_null(sent(&f, &p, CPNI_MSG_ENROLLED, 0)); /* not before it is durable */
    assert_false(cpni_master_core_admits(f.core, &key, &f.now));
    commit_as(&f, committing(&f, CPNI_COMMAND_IDENTITY_ENROL)->commit.ticket, CPNI_COMMITTED, 0, CPN_ROLE_NODE, "w9");
    assert_string_equal(sent(&f, &p, CPNI_MSG_ENROLLED, 0)->enrolled.name.text, "w9");
    assert_true(cpni_master_core_admits(f.core, &key, &f.now));
    say(&f, &p, enrol_of(9)); /* its answer was lost */
    commit_as(&f, committing(&f, CPNI_COMMAND_IDENTITY_ENROL)->commit.ticket, CPNI_COMMITTED, 0, CPN_ROLE_NODE, "w9");
    assert_non_null(sent(&f, &p, CPNI_MSG_ENROLLED, 0));
    say(&f, &p, enrol_of(10)); /* used up */
    assert_int_equal(sent(&f, &p, CPNI_MSG_REFUSED, 0)->refused.code, CPN_ETOKEN);
    assert_true(logged(&f, "CPN-ENROL-REFUSED"));
    tick(&f, 61 * SECOND);
    assert_false(cpni_master_core_admits(f.core, &token, &f.now));
    struct peer node = a_peer(2, 9, 1);
    join_worker(&f, &node, 1);
    fixture_close(&f);
}

static void expired_and_rejected_tokens(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, false);
    give_token(&f, 50, CPN_ROLE_NODE, 5, f.now.wall_us + 10 * SECOND);
    struct peer p = a_peer(1, 50, 1);
    say(&f, &p, enrol_of(9));
    commit_as(&f, committing(&f, CPNI_COMMAND_IDENTITY_ENROL)->commit.ticket, CPNI_REJECTED, CPN_EKEY, 0, "revoked");
    assert_int_equal(sent(&f, &p, CPNI_MSG_REFUSED, 0)->refused.code, CPN_EKEY);
    say(&f, &p, enrol_of(9));
    commit_as(&f, committing(&f, CPNI_COMMAND_IDENTITY_ENROL)->commit.ticket, CPNI_UNKNOWN, CPN_EIO, 0, "disk");
    assert_int_equal(sent(&f, &p, CPNI_MSG_REFUSED, 0)->refused.code, CPN_EIO);
    f.now.wall_us += 20 * SECOND; /* before the sweep comes by */
    say(&f, &p, enrol_of(9));
    assert_int_equal(sent(&f, &p, CPNI_MSG_REFUSED, 0)->refused.code, CPN_ETOKEN);
    tick(&f, 2 * SECOND);
    struct cpn_key token = a_key(50);
    assert_false(cpni_master_core_admits(f.core, &token, &f.now));
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_packet_must_be_hello),
        cmocka_unit_test(a_gap_is_resynced_and_deaf_until_hello),
        cmocka_unit_test(roles_are_checked_for_every_message),
        cmocka_unit_test(a_worker_needs_a_node_key),
        cmocka_unit_test(local_roles_are_trusted_by_kind),
        cmocka_unit_test(beats_flow_and_silence_is_noticed),
        cmocka_unit_test(a_master_that_awakes_blames_nobody),
        cmocka_unit_test(a_restarted_worker_replaces_the_old_process),
        cmocka_unit_test(two_living_processes_of_a_node_are_told_apart),
        cmocka_unit_test(bulk_waits_for_its_control_channel),
        cmocka_unit_test(malformed_packets_resync_then_drop),
        cmocka_unit_test(a_token_enrols_once_and_repeats_its_answer),
        cmocka_unit_test(expired_and_rejected_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
