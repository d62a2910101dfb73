/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What becomes of a task when its attempt fails, its node is lost, or the master was restarted. */
#include "master_fixture.h"

struct net {
    struct fixture f;
    struct peer ann, w1, w2;
};

static void net_open(struct net *n, bool settle)
{
    fixture_open(&n->f, settle);
    enrolled(&n->f, 1, CPN_ROLE_USER, "ann");
    enrolled(&n->f, 11, CPN_ROLE_NODE, "w1");
    enrolled(&n->f, 12, CPN_ROLE_NODE, "w2");
    n->ann = a_peer(1, 1, 1);
    n->w1 = a_peer(11, 11, 11);
    n->w2 = a_peer(12, 12, 12);
    join_client(&n->f, &n->ann);
}

static struct cpni_msg given(struct net *n, const struct peer *p)
{
    const struct cpni_msg *task = sent(&n->f, p, CPNI_MSG_TASK, 0);
    assert_non_null(task);
    return *task;
}

static void bad_input_is_final(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, false);
    join_worker(&n.f, &n.w1, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    struct cpni_msg task = given(&n, &n.w1);
    say(&n.f, &n.w1, result_of(&task, CPN_EBADINPUT, CPNI_FAILURE_INPUT, "not a picture"));
    assert_memory_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.text.text, "not a picture", 13);
    fixture_close(&n.f);
}

static void crashes_go_elsewhere_and_are_parked_after_three(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, false);
    join_worker(&n.f, &n.w1, 1);
    join_worker(&n.f, &n.w2, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    struct cpni_msg task = given(&n, &n.w1);
    say(&n.f, &n.w1, result_of(&task, CPN_ECRASHED, CPNI_FAILURE_CRASH, "signal 11"));
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_ACK, 0));
    assert_true(logged(&n.f, "CPN-TASK-RETRY"));
    task = given(&n, &n.w2); /* though w1 is free and comes first */
    assert_int_equal(task.task.attempt, 2);
    say(&n.f, &n.w2, result_of(&task, CPN_ECRASHED, CPNI_FAILURE_CRASH, "signal 6"));
    task = given(&n, &n.w1); /* no other is left */
    say(&n.f, &n.w1, result_of(&task, CPN_ECRASHED, CPNI_FAILURE_CRASH, "signal 11"));
    assert_null(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)); /* not before the evidence is durable */
    const struct cpni_action *parked = committing(&n.f, CPNI_COMMAND_TASK_PARKED);
    assert_non_null(strstr(parked->commit.command.u.task_parked.text, "attempt 2 on w2: signal 6"));
    commit_as(&n.f, parked->commit.ticket, CPNI_COMMITTED, 0, 0, "");
    const struct cpni_msg *result = sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0);
    assert_int_equal(result->result.failure, CPNI_FAILURE_POISON);
    assert_int_equal(result->result.code, CPN_EPOISON);
    fixture_close(&n.f);
}

static void at_most_once_means_once(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, false);
    join_worker(&n.f, &n.w1, 1);
    join_worker(&n.f, &n.w2, 1);
    struct cpni_msg submit = submit_of(an_id(1), "echo");
    submit.submit.max_attempts = 1;
    say(&n.f, &n.ann, submit);
    struct cpni_msg task = given(&n, &n.w1);
    say(&n.f, &n.w1, result_of(&task, CPN_ECRASHED, CPNI_FAILURE_CRASH, "signal 11"));
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.failure, CPNI_FAILURE_CRASH);
    submit.submit.task = an_id(2);
    say(&n.f, &n.ann, submit);
    given(&n, &n.w1);
    n.w1.conn = 99;
    n.w1.boot = an_id(500);
    join_worker(&n.f, &n.w1, 1);
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.code, CPN_ENODELOST);
    submit.submit.task = an_id(3); /* handed back before it began: may go elsewhere */
    say(&n.f, &n.ann, submit);
    const struct peer *at = sent(&n.f, &n.w1, CPNI_MSG_TASK, 0) != NULL ? &n.w1 : &n.w2;
    struct cpni_msg back = { .type = CPNI_MSG_RETURN };
    back.handback.task = an_id(3);
    back.handback.attempt = 1;
    say(&n.f, at == &n.w1 ? &n.w1 : &n.w2, back);
    assert_true(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0) != NULL || sent(&n.f, &n.w2, CPNI_MSG_TASK, 0) != NULL);
    fixture_close(&n.f);
}

static void a_failed_model_is_avoided_and_counts_for_nothing(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, false);
    join_worker(&n.f, &n.w1, 1);
    join_worker(&n.f, &n.w2, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    struct cpni_msg task = given(&n, &n.w1);
    say(&n.f, &n.w1, result_of(&task, CPN_EMODEL, CPNI_FAILURE_MODEL, "no memory for the weights"));
    given(&n, &n.w2);
    say(&n.f, &n.ann, submit_of(an_id(2), "echo"));
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0));
    fixture_close(&n.f);
}

static void a_lost_nodes_tasks_come_first_elsewhere(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, false);
    join_worker(&n.f, &n.w1, 2);
    for (unsigned i = 1; i <= 4; i++) {
        say(&n.f, &n.ann, submit_of(an_id(i), "echo"));
    }
    struct cpni_msg bye = { .type = CPNI_MSG_BYE };
    say(&n.f, &n.w1, bye);
    assert_true(logged(&n.f, "CPN-NODE-LEFT"));
    join_worker(&n.f, &n.w2, 4);
    for (unsigned i = 1; i <= 4; i++) {
        struct cpn_id id = an_id(i);
        assert_memory_equal(&sent(&n.f, &n.w2, CPNI_MSG_TASK, i - 1)->task.task, &id, sizeof id);
    }
    assert_int_equal(sent(&n.f, &n.w2, CPNI_MSG_TASK, 0)->task.attempt, 2);
    assert_int_equal(sent(&n.f, &n.w2, CPNI_MSG_TASK, 2)->task.attempt, 1);
    fixture_close(&n.f);
}

static void silence_requeues_within_four_seconds(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, false);
    join_worker(&n.f, &n.w1, 1);
    join_worker(&n.f, &n.w2, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    given(&n, &n.w1);
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    bool moved = false;
    for (unsigned i = 0; i < 8 && !moved; i++) {
        tick(&n.f, SECOND / 2);
        moved = sent(&n.f, &n.w2, CPNI_MSG_TASK, 0) != NULL;
        say(&n.f, &n.w2, beat);
        say(&n.f, &n.ann, beat);
    }
    assert_true(moved);
    fixture_close(&n.f);
}

/* The inventory of the same process: what it lists goes on, what it does not list never arrived. */
static void a_returning_process_keeps_its_work(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, false);
    join_worker(&n.f, &n.w1, 3);
    for (unsigned i = 1; i <= 3; i++) {
        say(&n.f, &n.ann, submit_of(an_id(i), "echo"));
    }
    struct cpni_rec_ATTEMPT runs = { .task = an_id(1), .attempt = 1, .term = 7 };
    struct cpni_rec_ATTEMPT done = { .task = an_id(2), .attempt = 1, .term = 7 };
    struct cpni_rec_TEXT handler = { .text = cpni_str("echo") };
    struct cpni_msg hello = worker_hello(&n.w1, 3, &handler, 1);
    hello.hello.attempts = &runs;
    hello.hello.attempts_count = 1;
    hello.hello.results = &done;
    hello.hello.results_count = 1;
    n.w1.conn = 77;
    say(&n.f, &n.w1, hello);
    welcomed(&n.f, &n.w1);
    struct cpn_id third = an_id(3);
    assert_memory_equal(&sent(&n.f, &n.w1, CPNI_MSG_TASK, 0)->task.task, &third, sizeof third);
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 1));
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_CANCEL, 0));
    fixture_close(&n.f);
}

static void a_late_result_of_an_old_attempt_counts(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, false);
    join_worker(&n.f, &n.w1, 1);
    join_worker(&n.f, &n.w2, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    struct cpni_msg task = given(&n, &n.w1);
    for (unsigned i = 0; i < 8; i++) { /* w1 is cut off, not dead */
        struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
        tick(&n.f, SECOND / 2);
        say(&n.f, &n.w2, beat);
        say(&n.f, &n.ann, beat);
    }
    struct cpni_rec_ATTEMPT done = { .task = an_id(1), .attempt = 1, .term = 7 };
    struct cpni_rec_TEXT handler = { .text = cpni_str("echo") };
    struct cpni_msg hello = worker_hello(&n.w1, 1, &handler, 1);
    hello.hello.results = &done;
    hello.hello.results_count = 1;
    n.w1.conn = 78;
    say(&n.f, &n.w1, hello);
    welcomed(&n.f, &n.w1);
    say(&n.f, &n.w1, result_of(&task, 0, CPNI_FAILURE_NONE, ""));
    assert_non_null(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0));
    assert_non_null(sent(&n.f, &n.w2, CPNI_MSG_CANCEL, 0)); /* the second attempt is not needed */
    fixture_close(&n.f);
}

/* ---- the master was restarted ---- */

static struct cpni_msg hello_with(const struct peer *p, struct cpni_rec_ATTEMPT *attempt, struct cpni_rec_TEXT *handler)
{
    struct cpni_msg hello = worker_hello(p, 2, handler, 1);
    hello.hello.attempts = attempt;
    hello.hello.attempts_count = 1;
    return hello;
}

static void running_attempts_are_adopted_under_the_new_term(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, true);
    struct cpni_rec_ATTEMPT runs = { .task = an_id(1), .attempt = 4, .term = 6 };
    struct cpni_rec_TEXT handler = { .text = cpni_str("echo") };
    say(&n.f, &n.w1, hello_with(&n.w1, &runs, &handler)); /* before its client comes */
    welcomed(&n.f, &n.w1);
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_CANCEL, 0));
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    assert_non_null(sent(&n.f, &n.ann, CPNI_MSG_ACCEPTED, 0));
    assert_true(logged(&n.f, "CPN-TASK-ADOPTED"));
    say(&n.f, &n.ann, submit_of(an_id(2), "echo")); /* its node comes after it */
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0)); /* held: settling */
    struct cpni_rec_ATTEMPT other = { .task = an_id(2), .attempt = 1, .term = 6 };
    say(&n.f, &n.w2, hello_with(&n.w2, &other, &handler));
    welcomed(&n.f, &n.w2);
    assert_true(logged(&n.f, "CPN-TASK-ADOPTED"));
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    for (unsigned i = 0; i < 4; i++) {
        tick(&n.f, SECOND);
        assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0));
        say(&n.f, &n.w1, beat);
        say(&n.f, &n.w2, beat);
        say(&n.f, &n.ann, beat);
    }
    struct cpni_msg result = { .type = CPNI_MSG_RESULT };
    result.result.task = an_id(1);
    result.result.attempt = 4;
    result.result.term = 6;
    say(&n.f, &n.w1, result);
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.attempt, 4);
    fixture_close(&n.f);
}

static void results_wait_for_the_client_that_asks(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, true);
    join_worker(&n.f, &n.w1, 1);
    struct cpni_msg result = { .type = CPNI_MSG_RESULT };
    result.result.task = an_id(1);
    result.result.attempt = 2;
    result.result.term = 6;
    result.result.text = cpni_str("fine");
    say(&n.f, &n.w1, result);
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_ACK, 0));
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    assert_memory_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.text.text, "fine", 4);
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_ACK, 0));
    fixture_close(&n.f);
}

static void what_nobody_claims_ends(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, true);
    struct cpni_rec_ATTEMPT runs = { .task = an_id(1), .attempt = 4, .term = 6 };
    struct cpni_rec_TEXT handler = { .text = cpni_str("echo") };
    say(&n.f, &n.w1, hello_with(&n.w1, &runs, &handler));
    welcomed(&n.f, &n.w1);
    struct cpni_msg result = { .type = CPNI_MSG_RESULT };
    result.result.task = an_id(2);
    result.result.attempt = 1;
    result.result.term = 6;
    say(&n.f, &n.w1, result);
    bool cancelled = false, acked = false;
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    for (unsigned i = 0; i < 12; i++) {
        tick(&n.f, SECOND);
        cancelled = cancelled || sent(&n.f, &n.w1, CPNI_MSG_CANCEL, 0) != NULL;
        acked = acked || sent(&n.f, &n.w1, CPNI_MSG_ACK, 0) != NULL;
        say(&n.f, &n.w1, beat);
    }
    assert_true(cancelled && acked);
    /* of this very term everything is known: an attempt that is not was ended long ago */
    runs.term = 7;
    say(&n.f, &n.w1, hello_with(&n.w1, &runs, &handler));
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_CANCEL, 0));
    fixture_close(&n.f);
}

static struct cpni_msg once_of(unsigned id, uint64_t sent_term)
{
    struct cpni_msg submit = submit_of(an_id(id), "echo");
    submit.submit.max_attempts = 1;
    submit.submit.sent_term = sent_term;
    return submit;
}

static void what_may_run_once_is_not_placed_by_the_next_master(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, true);
    join_worker(&n.f, &n.w1, 4);
    say(&n.f, &n.ann, once_of(1, 6)); /* sent to the master before */
    say(&n.f, &n.ann, once_of(2, 6));
    say(&n.f, &n.ann, once_of(3, 7)); /* to this one: lost on the way */
    say(&n.f, &n.ann, once_of(4, 0));
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    unsigned placed = 0;
    for (unsigned i = 0; i < 5; i++) {
        tick(&n.f, SECOND);
        for (unsigned k = 0; sent(&n.f, &n.w1, CPNI_MSG_TASK, k) != NULL; k++) {
            assert_in_range(sent(&n.f, &n.w1, CPNI_MSG_TASK, k)->task.task.bytes[4], 3, 4);
            placed++;
        }
        say(&n.f, &n.w1, beat);
        say(&n.f, &n.ann, beat);
    }
    assert_int_equal(placed, 2);
    struct cpni_rec_ATTEMPT runs = { .task = an_id(1), .attempt = 1, .term = 6 };
    struct cpni_rec_TEXT handler = { .text = cpni_str("echo") };
    say(&n.f, &n.w2, hello_with(&n.w2, &runs, &handler));
    welcomed(&n.f, &n.w2);
    assert_true(logged(&n.f, "CPN-TASK-ADOPTED"));
    bool lost = false;
    for (unsigned i = 0; i < 7; i++) {
        tick(&n.f, SECOND);
        const struct cpni_msg *result = sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0);
        if (result != NULL) {
            assert_int_equal(result->result.code, CPN_ENODELOST);
            assert_int_equal(result->result.task.bytes[4], 2);
            assert_false(lost);
            lost = true;
        }
        say(&n.f, &n.w1, beat);
        say(&n.f, &n.w2, beat);
        say(&n.f, &n.ann, beat);
    }
    assert_true(lost);
    say(&n.f, &n.ann, once_of(5, 6)); /* so late that there is nothing to wait for */
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.code, CPN_ENODELOST);
    fixture_close(&n.f);
}

static void settling_ends_when_the_last_node_is_back(void **state)
{
    (void)state;
    struct net n;
    fixture_open(&n.f, true);
    enrolled(&n.f, 1, CPN_ROLE_USER, "ann");
    struct cpni_master_history live = { .last_seen_wall_us = 1690000000 * SECOND };
    struct cpni_master_history old = { .last_seen_wall_us = 1680000000 * SECOND };
    struct cpn_key k1 = a_key(11), k2 = a_key(12);
    cpni_master_core_identity(n.f.core, &k1, CPN_ROLE_NODE, cpni_str("w1"), false, false, &live);
    cpni_master_core_identity(n.f.core, &k2, CPN_ROLE_NODE, cpni_str("w2"), false, false, &old);
    n.ann = a_peer(1, 1, 1);
    n.w1 = a_peer(11, 11, 11);
    join_client(&n.f, &n.ann);
    tick(&n.f, SECOND);
    assert_false(logged(&n.f, "CPN-SETTLED"));
    join_worker(&n.f, &n.w1, 1);
    assert_true(logged(&n.f, "CPN-SETTLED")); /* w2 had left long before */
    fixture_close(&n.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_input_is_final),
        cmocka_unit_test(crashes_go_elsewhere_and_are_parked_after_three),
        cmocka_unit_test(at_most_once_means_once),
        cmocka_unit_test(a_failed_model_is_avoided_and_counts_for_nothing),
        cmocka_unit_test(a_lost_nodes_tasks_come_first_elsewhere),
        cmocka_unit_test(silence_requeues_within_four_seconds),
        cmocka_unit_test(a_returning_process_keeps_its_work),
        cmocka_unit_test(a_late_result_of_an_old_attempt_counts),
        cmocka_unit_test(running_attempts_are_adopted_under_the_new_term),
        cmocka_unit_test(results_wait_for_the_client_that_asks),
        cmocka_unit_test(what_nobody_claims_ends),
        cmocka_unit_test(what_may_run_once_is_not_placed_by_the_next_master),
        cmocka_unit_test(settling_ends_when_the_last_node_is_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
