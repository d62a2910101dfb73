/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Submissions, the queue, the choice of a node, deadlines, cancellation, bounds, delivery. */
#include "master_fixture.h"

struct net {
    struct fixture f;
    struct peer ann, bob, w1, w2;
};

static void net_open(struct net *n)
{
    fixture_open(&n->f, false);
    enrolled(&n->f, 1, CPN_ROLE_USER, "ann");
    enrolled(&n->f, 2, CPN_ROLE_USER, "bob");
    enrolled(&n->f, 11, CPN_ROLE_NODE, "w1");
    enrolled(&n->f, 12, CPN_ROLE_NODE, "w2");
    n->ann = a_peer(1, 1, 1);
    n->bob = a_peer(2, 2, 2);
    n->w1 = a_peer(11, 11, 11);
    n->w2 = a_peer(12, 12, 12);
    join_client(&n->f, &n->ann);
    join_client(&n->f, &n->bob);
}

static struct cpni_msg job_reply(struct net *n, struct peer *p)
{
    struct cpni_msg query = { .type = CPNI_MSG_QUERY };
    query.query.what = CPNI_QUERY_TASKS;
    say(&n->f, p, query);
    const struct cpni_msg *reply = sent(&n->f, p, CPNI_MSG_REPLY, 0);
    assert_non_null(reply);
    return *reply;
}

static void a_task_goes_out_and_its_result_comes_back(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    join_worker(&n.f, &n.w1, 2);
    struct cpni_msg submit = submit_of(an_id(1), "echo");
    submit.submit.input = cpni_bytes_copy("hello", 5);
    submit.submit.input_name = cpni_str("x.jpg");
    say(&n.f, &n.ann, submit);
    cpni_bytes_unref(submit.submit.input);
    assert_string_equal(sent(&n.f, &n.ann, CPNI_MSG_ACCEPTED, 0)->accepted.model.text, "echo");
    struct cpni_msg task = *sent(&n.f, &n.w1, CPNI_MSG_TASK, 0);
    assert_int_equal(task.task.input->size, 5);
    assert_int_equal(task.task.term, 7);
    n.f.now.mono_us += 5000;
    struct cpni_msg started = { .type = CPNI_MSG_STARTED };
    started.started.task = an_id(1);
    started.started.attempt = 1;
    say(&n.f, &n.w1, started);
    struct cpni_msg jobs = job_reply(&n, &n.ann);
    assert_int_equal(jobs.reply.jobs_count, 1);
    assert_int_equal(jobs.reply.jobs[0].state, CPNI_JOB_RUNNING);
    assert_int_equal(job_reply(&n, &n.bob).reply.jobs_count, 0); /* not his */
    struct cpni_rec_LABEL label = { .name = cpni_str("cat") };
    struct cpni_msg result = result_of(&task, 0, CPNI_FAILURE_NONE, "");
    result.result.labels = &label;
    result.result.labels_count = 1;
    say(&n.f, &n.w1, result);
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_ACK, 0));
    const struct cpni_msg *got = sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0);
    assert_string_equal(got->result.node.text, "w1");
    assert_memory_equal(got->result.labels[0].name.text, "cat", 3);
    say(&n.f, &n.w1, result); /* its ACK was lost: acknowledged, delivered once */
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_ACK, 0));
    assert_null(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0));
    say(&n.f, &n.ann, ack_of(an_id(1)));
    assert_int_equal(job_reply(&n, &n.ann).reply.jobs_count, 0);
    say(&n.f, &n.w1, result); /* and again when the task is long forgotten */
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_ACK, 0));
    fixture_close(&n.f);
}

static void unknown_models_are_refused_with_a_suggestion(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0)->refused.code, CPN_ENOTFOUND);
    join_worker(&n.f, &n.w1, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "ecko"));
    assert_non_null(strstr(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0)->refused.text.text, "did you mean 'echo'"));
    say(&n.f, &n.ann, submit_of(an_id(1), "something-else"));
    assert_non_null(strstr(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0)->refused.text.text, "there are echo"));
    say(&n.f, &n.ann, submit_of(an_id(1), "echo@4"));
    assert_non_null(strstr(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0)->refused.text.text, "has no version 4"));
    fixture_close(&n.f);
}

static void credit_bounds_what_a_node_holds(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    join_worker(&n.f, &n.w1, 2);
    for (unsigned i = 0; i < 5; i++) {
        say(&n.f, &n.ann, submit_of(an_id(i + 1), "echo"));
        assert_true((sent(&n.f, &n.w1, CPNI_MSG_TASK, 0) != NULL) == (i < 2));
    }
    assert_memory_equal(job_reply(&n, &n.ann).reply.jobs[2].text.text, "all 1 nodes", 11);
    struct cpni_msg credit = { .type = CPNI_MSG_CREDIT };
    credit.credit.tasks = 4;
    credit.credit.bytes = 1 << 20;
    say(&n.f, &n.w1, credit);
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 1));
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 2));
    credit.credit.draining = true;
    say(&n.f, &n.w1, credit);
    credit.credit.tasks = 9;
    say(&n.f, &n.w1, credit);
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0));
    assert_non_null(strstr(job_reply(&n, &n.ann).reply.jobs[4].text.text, "draining"));
    fixture_close(&n.f);
}

static void bytes_count_as_credit_too(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    struct cpni_rec_TEXT handler = { .text = cpni_str("echo") };
    struct cpni_msg hello = worker_hello(&n.w1, 4, &handler, 1);
    hello.hello.credit_bytes = 1000;
    say(&n.f, &n.w1, hello);
    welcomed(&n.f, &n.w1);
    static const char big[1500];
    struct cpni_msg submit = submit_of(an_id(1), "echo");
    submit.submit.input = cpni_bytes_copy(big, sizeof big);
    say(&n.f, &n.ann, submit);
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0)); /* too large for any credit: alone */
    submit.submit.task = an_id(2);
    say(&n.f, &n.ann, submit);
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0));
    cpni_bytes_unref(submit.submit.input);
    fixture_close(&n.f);
}

static void free_nodes_are_preferred_and_ties_go_to_the_first(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    join_worker(&n.f, &n.w1, 2);
    join_worker(&n.f, &n.w2, 2);
    const struct peer *expected[] = { &n.w1, &n.w2, &n.w1, &n.w2 };
    for (unsigned i = 0; i < 4; i++) {
        say(&n.f, &n.ann, submit_of(an_id(i + 1), "echo"));
        assert_non_null(sent(&n.f, expected[i], CPNI_MSG_TASK, 0));
    }
    fixture_close(&n.f);
}

/* w1 needs 10 ms a task, w2 1 s: with one slot and deep credit each, the fast one gets the queue. */
static void a_measured_slow_node_gets_less(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    join_worker(&n.f, &n.w1, 1);
    join_worker(&n.f, &n.w2, 1);
    struct peer *workers[] = { &n.w1, &n.w2 };
    uint64_t infer_us[] = { 10000, 1000000 };
    for (unsigned i = 0; i < 2; i++) {
        say(&n.f, &n.ann, submit_of(an_id(i + 1), "echo"));
    }
    for (unsigned i = 0; i < 2; i++) {
        struct cpni_msg result = { .type = CPNI_MSG_RESULT };
        result.result.task = an_id(i + 1);
        result.result.attempt = 1;
        result.result.infer_us = infer_us[i];
        struct cpni_msg credit = { .type = CPNI_MSG_CREDIT };
        credit.credit.tasks = 10;
        struct cpni_msg both[] = { result, credit };
        say_many(&n.f, workers[i], both, 2);
    }
    unsigned fast = 0;
    for (unsigned i = 10; i < 18; i++) {
        say(&n.f, &n.ann, submit_of(an_id(i), "echo"));
        fast += sent(&n.f, &n.w1, CPNI_MSG_TASK, 0) != NULL;
    }
    assert_int_equal(fast, 8);
    fixture_close(&n.f);
}

static void priority_first_then_users_in_turn(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    join_worker(&n.f, &n.w1, 1);
    say(&n.f, &n.ann, submit_of(an_id(100), "echo")); /* takes the slot */
    for (unsigned i = 1; i <= 4; i++) {
        say(&n.f, &n.ann, submit_of(an_id(i), "echo"));
    }
    say(&n.f, &n.bob, submit_of(an_id(21), "echo"));
    say(&n.f, &n.bob, submit_of(an_id(22), "echo"));
    struct cpni_msg urgent = submit_of(an_id(31), "echo");
    urgent.submit.priority = 2;
    say(&n.f, &n.bob, urgent);
    struct cpni_msg credit = { .type = CPNI_MSG_CREDIT };
    credit.credit.tasks = 100;
    say(&n.f, &n.w1, credit);
    const unsigned order[] = { 31, 1, 21, 2, 22, 3, 4 };
    for (unsigned i = 0; i < 7; i++) {
        struct cpn_id id = an_id(order[i]);
        assert_memory_equal(&sent(&n.f, &n.w1, CPNI_MSG_TASK, i)->task.task, &id, sizeof id);
    }
    fixture_close(&n.f);
}

static void deadlines_pass_in_the_queue_and_on_the_node(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    join_worker(&n.f, &n.w1, 1);
    struct cpni_msg submit = submit_of(an_id(1), "echo");
    submit.submit.deadline_ms = 500;
    say(&n.f, &n.ann, submit);
    assert_int_equal(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0)->task.deadline_ms, 500);
    submit.submit.task = an_id(2);
    say(&n.f, &n.ann, submit);
    assert_true(cpni_master_core_deadline(n.f.core) <= n.f.now.mono_us + 500000);
    tick(&n.f, 500000);
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.failure, CPNI_FAILURE_DEADLINE);
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 1)->result.code, CPN_ETIMEDOUT);
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_CANCEL, 0));
    assert_true(logged(&n.f, "CPN-TASK-DEADLINE"));
    fixture_close(&n.f);
}

static void cancel_reaches_the_node(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    join_worker(&n.f, &n.w1, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    struct cpni_msg cancel = { .type = CPNI_MSG_CANCEL };
    cancel.cancel.task = an_id(1);
    say(&n.f, &n.bob, cancel); /* not his */
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_CANCEL, 0));
    say(&n.f, &n.ann, cancel);
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_CANCEL, 0));
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.failure, CPNI_FAILURE_CANCELLED);
    say(&n.f, &n.ann, cancel); /* again */
    assert_null(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0));
    fixture_close(&n.f);
}

static void a_full_queue_answers_busy(void **state)
{
    (void)state;
    struct net n;
    fixture_open(&n.f, false);
    cpni_master_core_free(n.f.core);
    struct cpni_master_config config = { .term = 7, .tasks_max = 3, .user_tasks_max = 2, .user_bytes_max = 100 };
    assert_int_equal(cpni_master_core_new(&config, &n.f.now, &n.f.core), 0);
    enrolled(&n.f, 1, CPN_ROLE_USER, "ann");
    enrolled(&n.f, 2, CPN_ROLE_USER, "bob");
    enrolled(&n.f, 11, CPN_ROLE_NODE, "w1");
    n.ann = a_peer(1, 1, 1);
    n.bob = a_peer(2, 2, 2);
    n.w1 = a_peer(11, 11, 11);
    join_client(&n.f, &n.ann);
    join_client(&n.f, &n.bob);
    join_worker(&n.f, &n.w1, 1);
    static const char bytes[101];
    struct cpni_msg large = submit_of(an_id(9), "echo");
    large.submit.input = cpni_bytes_copy(bytes, sizeof bytes);
    say(&n.f, &n.bob, large);
    assert_non_null(strstr(sent(&n.f, &n.bob, CPNI_MSG_BUSY, 0)->busy.text.text, "memory"));
    assert_true(logged(&n.f, "CPN-QUEUE-FULL"));
    cpni_bytes_unref(large.submit.input);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    say(&n.f, &n.ann, submit_of(an_id(2), "echo"));
    say(&n.f, &n.ann, submit_of(an_id(3), "echo"));
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_BUSY, 0)->busy.retry_ms, CPNI_BUSY_RETRY_MS);
    say(&n.f, &n.ann, submit_of(an_id(2), "echo")); /* known: not busy */
    assert_non_null(sent(&n.f, &n.ann, CPNI_MSG_ACCEPTED, 0));
    say(&n.f, &n.bob, submit_of(an_id(4), "echo"));
    say(&n.f, &n.bob, submit_of(an_id(5), "echo"));
    assert_non_null(strstr(sent(&n.f, &n.bob, CPNI_MSG_BUSY, 0)->busy.text.text, "network"));
    fixture_close(&n.f);
}

static void results_wait_for_a_client_that_lost_its_connection(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    join_worker(&n.f, &n.w1, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    struct cpni_msg task = *sent(&n.f, &n.w1, CPNI_MSG_TASK, 0);
    struct cpni_event lost = { .type = CPNI_EV_DISCONNECTED };
    lost.lost.conn = n.ann.conn;
    step(&n.f, &lost);
    say(&n.f, &n.w1, result_of(&task, 0, CPNI_FAILURE_NONE, ""));
    n.ann.conn = 101;
    join_client(&n.f, &n.ann);
    assert_non_null(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0));
    say(&n.f, &n.ann, submit_of(an_id(1), "echo")); /* it asks all the same: not sent twice on one connection */
    assert_null(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0));
    struct peer next = a_peer(102, 1, 55); /* another process of the same user takes it over */
    join_client(&n.f, &next);
    say(&n.f, &next, submit_of(an_id(1), "echo"));
    assert_non_null(sent(&n.f, &next, CPNI_MSG_RESULT, 0));
    say(&n.f, &n.bob, submit_of(an_id(1), "echo"));
    assert_int_equal(sent(&n.f, &n.bob, CPNI_MSG_REFUSED, 0)->refused.code, CPN_EEXISTS);
    fixture_close(&n.f);
}

static void a_silent_clients_tasks_end_after_the_grace(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    join_worker(&n.f, &n.w1, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    bool cancelled = false;
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    for (unsigned i = 0; i < 70; i++) {
        tick(&n.f, SECOND);
        cancelled = cancelled || sent(&n.f, &n.w1, CPNI_MSG_CANCEL, 0) != NULL;
        say(&n.f, &n.w1, beat);
        say(&n.f, &n.bob, beat);
        assert_true(i > 55 || !cancelled);
    }
    assert_true(cancelled);
    struct cpni_msg jobs = job_reply(&n, &n.bob);
    assert_int_equal(jobs.reply.jobs_count, 0);
    fixture_close(&n.f);
}

static void goodbye_cancels_at_once(void **state)
{
    (void)state;
    struct net n;
    net_open(&n);
    join_worker(&n.f, &n.w1, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    say(&n.f, &n.ann, submit_of(an_id(2), "echo"));
    struct cpni_msg bye = { .type = CPNI_MSG_BYE };
    say(&n.f, &n.ann, bye);
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_CANCEL, 0));
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0));
    fixture_close(&n.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_goes_out_and_its_result_comes_back),
        cmocka_unit_test(unknown_models_are_refused_with_a_suggestion),
        cmocka_unit_test(credit_bounds_what_a_node_holds),
        cmocka_unit_test(bytes_count_as_credit_too),
        cmocka_unit_test(free_nodes_are_preferred_and_ties_go_to_the_first),
        cmocka_unit_test(a_measured_slow_node_gets_less),
        cmocka_unit_test(priority_first_then_users_in_turn),
        cmocka_unit_test(deadlines_pass_in_the_queue_and_on_the_node),
        cmocka_unit_test(cancel_reaches_the_node),
        cmocka_unit_test(a_full_queue_answers_busy),
        cmocka_unit_test(results_wait_for_a_client_that_lost_its_connection),
        cmocka_unit_test(a_silent_clients_tasks_end_after_the_grace),
        cmocka_unit_test(goodbye_cancels_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
