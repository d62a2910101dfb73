/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* core/client: submissions until their one result, requests until their answer, breaks, BUSY, deadlines, blobs, enrolment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "core/client.h"
#include "steps.h"

#define MIB ((uint64_t)CPNI_CHUNK_BYTES)

static int step(void *core, const struct cpni_event *event, const struct cpni_now *now, struct cpni_actions *actions)
{
    return cpni_client_core_step(core, event, now, actions);
}

static const char *check(const void *core)
{
    return cpni_client_core_check(core);
}

static int open_client(struct steps *s, bool enrol)
{
    struct cpni_client_config config = { .boot = { { 8 } }, .name = cpni_str("photos"), .signer = { { 5 } }, .enrol = enrol,
                                         .enrol_key = { { 6 } } };
    *s = (struct steps){ .step = step, .check = check, .now = { .mono_us = 5000000 }, .link = 7, .term = 3 };
    struct cpni_client_core *core;
    int rc = cpni_client_core_new(&config, &s->now, &core);
    s->core = rc == 0 ? core : NULL;
    return rc;
}

static int setup(void **state)
{
    struct steps *s = malloc(sizeof *s);
    assert_int_equal(open_client(s, false), 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct steps *s = *state;
    cpni_client_core_free(s->core);
    steps_close(s);
    free(s);
    return 0;
}

static int submit_size(struct steps *s, uint8_t number, size_t size, uint32_t deadline_ms)
{
    struct cpni_event event = { .type = CPNI_EV_SUBMIT };
    struct cpni_msg_submit *submit = &event.submit.submit;
    submit->task.bytes[0] = number;
    submit->model = cpni_str("faces");
    submit->input_name = cpni_str("lena.jpg");
    submit->input = fake_fill(size, number);
    submit->deadline_ms = deadline_ms;
    steps_event(s, &event);
    cpni_bytes_unref(submit->input);
    return s->rc;
}

static int submit(struct steps *s, uint8_t number)
{
    return submit_size(s, number, 100, 0);
}

static void submit_blob(struct steps *s, uint8_t number, uint8_t root, uint64_t size)
{
    struct cpni_event event = { .type = CPNI_EV_SUBMIT };
    event.submit.submit.task.bytes[0] = number;
    event.submit.submit.model = cpni_str("faces");
    event.submit.submit.input_root = fake_root(root);
    event.submit.submit.input_size = size;
    fake_put(&s->disk, &event.submit.submit.input_root, size);
    steps_event(s, &event);
    assert_int_equal(s->rc, 0);
}

static void say(struct steps *s, enum cpni_msg_type type, uint8_t number)
{
    struct cpni_msg msg = { .type = type };
    if (type == CPNI_MSG_ACCEPTED) {
        msg.accepted.task.bytes[0] = number;
        msg.accepted.version = 3;
    } else if (type == CPNI_MSG_BUSY) {
        msg.busy.task.bytes[0] = number;
        msg.busy.retry_ms = 200;
    } else if (type == CPNI_MSG_RESULT) {
        msg.result.task.bytes[0] = number;
        msg.result.attempt = 2;
        msg.result.node = cpni_str("w1");
    }
    steps_msg(s, &msg);
}

static void cancel(struct steps *s, uint8_t number)
{
    struct cpni_event event = { .type = CPNI_EV_CANCEL, .cancel.task = { { number } } };
    steps_event(s, &event);
}

static void one_result_for_each_task(void **state)
{
    struct steps *s = *state;
    assert_int_equal(submit(s, 1), 0);
    assert_null(steps_sent(s, CPNI_MSG_SUBMIT, 0)); /* nobody is there yet */
    steps_connected(s, CPNI_CONN_CONTROL);
    const struct cpni_msg_hello *hello = &steps_sent(s, CPNI_MSG_HELLO, 0)->hello;
    assert_int_equal(hello->kind, CPNI_KIND_CLIENT);
    assert_int_equal(hello->signer.bytes[0], 5);
    steps_welcome(s, CPNI_CONN_CONTROL);
    assert_non_null(steps_told(s, CPNI_MSG_WELCOME, 0));
    assert_int_equal(steps_sent(s, CPNI_MSG_SUBMIT, 0)->submit.input->size, 100);
    assert_int_equal(submit(s, 1), CPN_EEXISTS);
    say(s, CPNI_MSG_ACCEPTED, 1);
    assert_int_equal(steps_told(s, CPNI_MSG_ACCEPTED, 0)->accepted.version, 3);
    say(s, CPNI_MSG_RESULT, 1);
    assert_memory_equal(steps_told(s, CPNI_MSG_RESULT, 0)->result.node.text, "w1", 2);
    assert_int_equal(steps_sent(s, CPNI_MSG_ACK, 0)->ack.attempt, 2);
    say(s, CPNI_MSG_RESULT, 1); /* its ACK was lost */
    assert_null(steps_told(s, CPNI_MSG_RESULT, 0));
    assert_non_null(steps_sent(s, CPNI_MSG_ACK, 0));
}

static void the_window_is_kept(void **state)
{
    struct steps *s = *state;
    steps_join(s); /* window: 4 tasks, 1000000 bytes */
    for (uint8_t i = 1; i <= 6; i++) {
        assert_int_equal(submit(s, i), 0);
        assert_int_equal(steps_sent(s, CPNI_MSG_SUBMIT, 0) != NULL, i <= 4);
    }
    say(s, CPNI_MSG_RESULT, 2);
    assert_int_equal(steps_sent(s, CPNI_MSG_SUBMIT, 0)->submit.task.bytes[0], 5);
    for (uint8_t i = 1; i <= 5; i++) {
        say(s, CPNI_MSG_RESULT, i);
    }
    say(s, CPNI_MSG_RESULT, 6);
    assert_int_equal(submit_size(s, 10, 200000, 0), 0);
    assert_non_null(steps_sent(s, CPNI_MSG_SUBMIT, 0));
    assert_int_equal(submit_size(s, 11, 900000, 0), 0);
    assert_null(steps_sent(s, CPNI_MSG_SUBMIT, 0)); /* bytes */
    say(s, CPNI_MSG_RESULT, 10);
    assert_non_null(steps_sent(s, CPNI_MSG_SUBMIT, 0));
}

static void the_clients_own_queue_is_bounded(void **state)
{
    struct steps *s = *state;
    struct cpni_event event = { .type = CPNI_EV_SUBMIT };
    for (uint32_t i = 0; i <= CPNI_CLIENT_TASKS_MAX; i++) {
        memcpy(event.submit.submit.task.bytes, &i, sizeof i);
        cpni_actions_clear(&s->actions);
        int rc = cpni_client_core_step(s->core, &event, &s->now, &s->actions);
        assert_int_equal(rc, i < CPNI_CLIENT_TASKS_MAX ? 0 : CPN_EBUSY);
    }
}

static void busy_waits_and_comes_back_in_order(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    for (uint8_t i = 1; i <= 5; i++) {
        submit(s, i);
    }
    say(s, CPNI_MSG_ACCEPTED, 1);
    say(s, CPNI_MSG_BUSY, 3);
    say(s, CPNI_MSG_BUSY, 2);
    say(s, CPNI_MSG_BUSY, 4);
    assert_null(steps_sent(s, CPNI_MSG_SUBMIT, 0));
    int64_t wait_us = cpni_client_core_deadline(s->core) - s->now.mono_us;
    assert_true(wait_us >= 200000 && wait_us <= 300000);
    steps_tick(s, wait_us);
    assert_null(steps_sent(s, CPNI_MSG_SUBMIT, 0)); /* one is under way, and the master took only one */
    say(s, CPNI_MSG_RESULT, 1);
    assert_int_equal(steps_sent(s, CPNI_MSG_SUBMIT, 0)->submit.task.bytes[0], 2);
    assert_null(steps_sent(s, CPNI_MSG_SUBMIT, 1));
    say(s, CPNI_MSG_ACCEPTED, 2); /* it has room again */
    assert_int_equal(steps_sent(s, CPNI_MSG_SUBMIT, 0)->submit.task.bytes[0], 3);
}

static void everything_is_sent_again_after_a_break(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    submit(s, 1);
    submit(s, 2);
    say(s, CPNI_MSG_ACCEPTED, 1);
    steps_lost(s, CPNI_CONN_CONTROL);
    assert_int_equal(steps_told(s, CPNI_MSG_BYE, 0)->bye.code, CPN_EUNREACHABLE);
    submit(s, 3);
    steps_connected(s, CPNI_CONN_CONTROL);
    steps_welcome(s, CPNI_CONN_CONTROL);
    for (uint8_t i = 1; i <= 3; i++) {
        assert_int_equal(steps_sent(s, CPNI_MSG_SUBMIT, i - 1u)->submit.task.bytes[0], i);
    }
    say(s, CPNI_MSG_RESULT, 2);
    say(s, CPNI_MSG_RESULT, 1);
    say(s, CPNI_MSG_RESULT, 3);
    assert_non_null(steps_told(s, CPNI_MSG_RESULT, 0));
}

static void cancel_is_told_at_once_and_said_again_after_a_break(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    submit(s, 1);
    cancel(s, 1);
    assert_int_equal(steps_told(s, CPNI_MSG_RESULT, 0)->result.code, CPN_ECANCELLED);
    assert_int_equal(steps_sent(s, CPNI_MSG_CANCEL, 0)->cancel.task.bytes[0], 1);
    steps_lost(s, CPNI_CONN_CONTROL);
    steps_connected(s, CPNI_CONN_CONTROL);
    steps_welcome(s, CPNI_CONN_CONTROL);
    assert_null(steps_sent(s, CPNI_MSG_SUBMIT, 0));
    assert_non_null(steps_sent(s, CPNI_MSG_CANCEL, 0));
    say(s, CPNI_MSG_RESULT, 1);
    assert_null(steps_told(s, CPNI_MSG_RESULT, 0));
    assert_non_null(steps_sent(s, CPNI_MSG_ACK, 0));
    submit(s, 1); /* the id is free again */
    assert_int_equal(s->rc, 0);
    steps_lost(s, CPNI_CONN_CONTROL);
    submit(s, 2);
    cancel(s, 2); /* was never sent: nothing to say to anybody */
    assert_non_null(steps_told(s, CPNI_MSG_RESULT, 0));
    steps_connected(s, CPNI_CONN_CONTROL);
    steps_welcome(s, CPNI_CONN_CONTROL);
    assert_null(steps_sent(s, CPNI_MSG_CANCEL, 0));
}

static void deadlines_pass_without_a_master(void **state)
{
    struct steps *s = *state;
    submit_size(s, 1, 10, 700);
    assert_int_equal(cpni_client_core_deadline(s->core), s->now.mono_us + 700000);
    steps_tick(s, 700000);
    const struct cpni_msg_result *result = &steps_told(s, CPNI_MSG_RESULT, 0)->result;
    assert_int_equal(result->code, CPN_ETIMEDOUT);
    assert_int_equal(result->failure, CPNI_FAILURE_DEADLINE);
    steps_join(s);
    assert_null(steps_sent(s, CPNI_MSG_SUBMIT, 0));
}

static void the_masters_word_on_a_deadline_is_waited_for(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    submit_size(s, 1, 10, 700);
    assert_int_equal(steps_sent(s, CPNI_MSG_SUBMIT, 0)->submit.deadline_ms, 700);
    steps_tick(s, 200000);
    steps_lost(s, CPNI_CONN_CONTROL);
    steps_connected(s, CPNI_CONN_CONTROL);
    steps_welcome(s, CPNI_CONN_CONTROL);
    assert_int_equal(steps_sent(s, CPNI_MSG_SUBMIT, 0)->submit.deadline_ms, 500);
    steps_tick(s, 500000);
    assert_null(steps_told(s, CPNI_MSG_RESULT, 0));
    steps_tick(s, 500000);
    assert_int_equal(steps_told(s, CPNI_MSG_RESULT, 0)->result.code, CPN_ETIMEDOUT);
    assert_int_equal(steps_sent(s, CPNI_MSG_CANCEL, 0)->cancel.code, CPN_ETIMEDOUT);
}

static void a_refused_task_is_a_result(void **state)
{
    struct steps *s = *state;
    struct cpni_msg msg = { .type = CPNI_MSG_REFUSED };
    steps_join(s);
    submit(s, 1);
    msg.refused.task.bytes[0] = 1;
    msg.refused.type = CPNI_MSG_SUBMIT;
    msg.refused.code = CPN_ENOTFOUND;
    msg.refused.text = cpni_str("no model 'faces'");
    steps_msg(s, &msg);
    assert_int_equal(steps_told(s, CPNI_MSG_RESULT, 0)->result.code, CPN_ENOTFOUND);
    assert_memory_equal(steps_told(s, CPNI_MSG_RESULT, 0)->result.text.text, "no model", 8);
    submit(s, 1);
    assert_int_equal(s->rc, 0);
}

/* ---- blobs ---- */

static void inputs_are_served_until_the_result(void **state)
{
    struct steps *s = *state;
    struct cpn_hash root = fake_root(50);
    steps_join(s);
    submit_blob(s, 1, 50, 2 * MIB);
    submit_blob(s, 2, 50, 2 * MIB); /* the same photo */
    struct cpni_msg want = { .type = CPNI_MSG_WANT, .want = { .root = root, .first = 1, .count = 1 } };
    steps_bulk(s, &want);
    assert_true(steps_disk(s));
    assert_int_equal(steps_sent(s, CPNI_MSG_CHUNK, 0)->chunk.data->data[0], 51);
    say(s, CPNI_MSG_RESULT, 1);
    while (steps_disk(s)) {
    }
    assert_true(fake_has(&s->disk, &root));
    say(s, CPNI_MSG_RESULT, 2);
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &root));
}

static void result_with_image(struct steps *s, uint8_t number, uint8_t root)
{
    struct cpni_msg msg = { .type = CPNI_MSG_RESULT };
    msg.result.task.bytes[0] = number;
    msg.result.image_root = fake_root(root);
    msg.result.image_size = 2 * MIB;
    msg.result.model = cpni_str("faces");
    steps_msg(s, &msg);
}

/* Let disk and master work until a result is told; false: never. */
static bool until_told(struct steps *s, struct fake_disk *master)
{
    for (int i = 0; i < 100; i++) {
        if (steps_told(s, CPNI_MSG_RESULT, 0) != NULL) {
            return true;
        }
        if (steps_sent(s, CPNI_MSG_WANT, 0) != NULL) {
            steps_serve(s, master);
        } else if (!steps_disk(s)) {
            return false;
        }
    }
    return false;
}

static void images_are_fetched_before_the_result_is_told(void **state)
{
    struct steps *s = *state;
    struct fake_disk master = { 0 };
    struct cpn_hash root = fake_root(60);
    fake_put(&master, &root, 2 * MIB);
    steps_join(s);
    submit(s, 1);
    submit(s, 2);
    result_with_image(s, 1, 60);
    assert_null(steps_told(s, CPNI_MSG_RESULT, 0));
    assert_null(steps_sent(s, CPNI_MSG_ACK, 0));
    result_with_image(s, 1, 60); /* repeated meanwhile */
    assert_true(until_told(s, &master));
    assert_memory_equal(steps_told(s, CPNI_MSG_RESULT, 0)->result.model.text, "faces", 5);
    assert_non_null(steps_sent(s, CPNI_MSG_ACK, 0));
    const struct cpni_action *last = NULL;
    for (unsigned i = 0; steps_act(s, CPNI_ACT_DISK, i) != NULL; i++) {
        last = steps_act(s, CPNI_ACT_DISK, i);
    }
    assert_int_equal(last->disk.op, CPNI_DISK_REMOVE); /* the role's read of it comes before */
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &root));
}

static void another_reign_has_no_image_of_the_old_one(void **state)
{
    struct steps *s = *state;
    struct fake_disk master = { 0 };
    struct cpn_hash root = fake_root(60);
    steps_join(s);
    submit(s, 1);
    result_with_image(s, 1, 60);
    assert_true(steps_disk(s));
    steps_lost(s, CPNI_CONN_CONTROL);
    steps_lost(s, CPNI_CONN_BULK);
    s->term = 4;
    steps_connected(s, CPNI_CONN_CONTROL);
    steps_welcome(s, CPNI_CONN_CONTROL);
    assert_non_null(steps_sent(s, CPNI_MSG_SUBMIT, 0));
    steps_connected(s, CPNI_CONN_BULK);
    steps_welcome(s, CPNI_CONN_BULK);
    fake_put(&master, &root, 2 * MIB);
    result_with_image(s, 1, 60);
    assert_true(until_told(s, &master));
    assert_int_equal(steps_told(s, CPNI_MSG_RESULT, 0)->result.code, 0);
}

static void an_image_that_cannot_be_had_fails_the_task(void **state)
{
    struct steps *s = *state;
    struct fake_disk master = { 0 };
    steps_join(s);
    submit(s, 1);
    result_with_image(s, 1, 60);
    assert_false(until_told(s, &master)); /* perhaps the master took this client for dead: the task is submitted again */
    result_with_image(s, 1, 60);
    assert_true(until_told(s, &master));
    assert_int_equal(steps_told(s, CPNI_MSG_RESULT, 0)->result.code, CPN_ENOTFOUND);
}

/* ---- requests ---- */

static int ask(struct steps *s, uint64_t request)
{
    struct cpni_event event = { .type = CPNI_EV_ASK };
    event.ask.msg.type = CPNI_MSG_QUERY;
    event.ask.msg.query.request = request;
    event.ask.msg.query.what = CPNI_QUERY_NODES;
    steps_event(s, &event);
    return s->rc;
}

static void requests_are_asked_until_answered(void **state)
{
    struct steps *s = *state;
    struct cpni_msg reply = { .type = CPNI_MSG_REPLY, .reply = { .request = 11, .more = true } };
    assert_int_equal(ask(s, 11), 0);
    assert_int_equal(ask(s, 11), CPN_EEXISTS);
    steps_join(s);
    steps_lost(s, CPNI_CONN_CONTROL);
    steps_connected(s, CPNI_CONN_CONTROL);
    steps_welcome(s, CPNI_CONN_CONTROL);
    assert_int_equal(steps_sent(s, CPNI_MSG_QUERY, 0)->query.request, 11);
    steps_msg(s, &reply);
    assert_non_null(steps_told(s, CPNI_MSG_REPLY, 0)); /* a page; the next one is another request */
    steps_msg(s, &reply);
    assert_null(steps_told(s, CPNI_MSG_REPLY, 0));
    assert_int_equal(ask(s, 12), 0);
    struct cpni_msg refused = { .type = CPNI_MSG_REFUSED, .refused = { .code = CPN_EDENIED, .request = 12, .type = CPNI_MSG_QUERY } };
    steps_msg(s, &refused);
    assert_int_equal(steps_told(s, CPNI_MSG_REFUSED, 0)->refused.request, 12);
    assert_int_equal(ask(s, 13), 0);
    struct cpni_event forget = { .type = CPNI_EV_FORGET_ASK, .forget.request = 13 };
    steps_event(s, &forget);
    reply.reply.request = 13;
    steps_msg(s, &reply);
    assert_null(steps_told(s, CPNI_MSG_REPLY, 0));
}

static int ask_session(struct steps *s, uint64_t request, uint8_t dataset, uint8_t schema)
{
    struct cpni_event event = { .type = CPNI_EV_ASK };
    struct cpni_msg_session *session = &event.ask.msg.session;
    event.ask.msg.type = CPNI_MSG_SESSION;
    session->request = request;
    session->session.bytes[0] = 1;
    session->spec = fake_fill(100, 'x');
    session->dataset_root = fake_root(dataset);
    session->dataset_size = 2 * MIB;
    session->schema_root = fake_root(schema);
    session->schema_size = 300;
    fake_put(&s->disk, &session->dataset_root, session->dataset_size);
    fake_put(&s->disk, &session->schema_root, session->schema_size);
    steps_event(s, &event);
    cpni_bytes_unref(session->spec);
    return s->rc;
}

static void done(struct steps *s, uint64_t request)
{
    struct cpni_msg msg = { .type = CPNI_MSG_DONE, .done = { .request = request } };
    steps_msg(s, &msg);
}

static void a_session_is_asked_again_and_its_blobs_stay_until_the_answer(void **state)
{
    struct steps *s = *state;
    struct cpn_hash dataset = fake_root(70);
    struct cpn_hash schema = fake_root(71);
    steps_join(s);
    assert_int_equal(ask_session(s, 11, 70, 71), 0);
    assert_int_equal(steps_sent(s, CPNI_MSG_SESSION, 0)->session.spec->size, 100);
    submit_blob(s, 1, 71, 300); /* a task with the same bytes */
    struct cpni_msg want = { .type = CPNI_MSG_WANT, .want = { .root = dataset, .first = 1, .count = 1 } };
    steps_bulk(s, &want);
    assert_true(steps_disk(s));
    assert_int_equal(steps_sent(s, CPNI_MSG_CHUNK, 0)->chunk.data->data[0], 71);
    struct cpni_msg received = { .type = CPNI_MSG_RECEIVED, .received = { .root = dataset } };
    steps_bulk(s, &received); /* the next master may want it once more */
    steps_lost(s, CPNI_CONN_CONTROL);
    steps_connected(s, CPNI_CONN_CONTROL);
    steps_welcome(s, CPNI_CONN_CONTROL);
    assert_int_equal(steps_sent(s, CPNI_MSG_SESSION, 0)->session.request, 11);
    assert_true(fake_has(&s->disk, &dataset));
    done(s, 11);
    assert_int_equal(steps_told(s, CPNI_MSG_DONE, 0)->done.code, 0);
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &dataset));
    assert_true(fake_has(&s->disk, &schema));
    say(s, CPNI_MSG_RESULT, 1);
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &schema));
    assert_int_equal(ask_session(s, 12, 70, 71), 0);
    struct cpni_event forget = { .type = CPNI_EV_FORGET_ASK, .forget.request = 12 };
    steps_event(s, &forget);
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &dataset));
}

static int fetch(struct steps *s, uint64_t request, uint8_t root)
{
    struct cpni_event event = { .type = CPNI_EV_FETCH, .fetch = { request, fake_root(root), 2 * MIB } };
    steps_event(s, &event);
    return s->rc;
}

/* Let disk and master work until a request is answered; false: never. */
static bool until_done(struct steps *s, struct fake_disk *master)
{
    for (int i = 0; i < 100 && steps_told(s, CPNI_MSG_DONE, 0) == NULL; i++) {
        if (steps_sent(s, CPNI_MSG_WANT, 0) != NULL) {
            steps_serve(s, master);
        } else if (!steps_disk(s)) {
            return false;
        }
    }
    return true;
}

static void a_blob_is_fetched_told_and_removed(void **state)
{
    struct steps *s = *state;
    struct fake_disk master = { 0 };
    struct cpn_hash root = fake_root(80);
    fake_put(&master, &root, 2 * MIB);
    steps_join(s);
    assert_int_equal(fetch(s, 0, 80), CPN_EINVAL);
    assert_int_equal(fetch(s, 21, 80), 0);
    assert_int_equal(fetch(s, 21, 80), CPN_EEXISTS);
    assert_true(steps_disk(s)); /* is it here? */
    steps_lost(s, CPNI_CONN_BULK);
    steps_lost(s, CPNI_CONN_CONTROL);
    steps_join(s); /* goes on by itself */
    assert_true(until_done(s, &master));
    assert_int_equal(steps_told(s, CPNI_MSG_DONE, 0)->done.request, 21);
    assert_int_equal(steps_told(s, CPNI_MSG_DONE, 0)->done.code, 0);
    assert_true(fake_has(&s->disk, &root)); /* the role's read of it comes before */
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &root));
    assert_int_equal(fetch(s, 22, 81), 0);
    assert_true(until_done(s, &master));
    assert_int_equal(steps_told(s, CPNI_MSG_DONE, 0)->done.code, CPN_ENOTFOUND);
}

static void a_fetch_that_nobody_waits_for_ends(void **state)
{
    struct steps *s = *state;
    struct fake_disk master = { 0 };
    struct cpn_hash root = fake_root(80);
    fake_put(&master, &root, 2 * MIB);
    steps_join(s);
    assert_int_equal(fetch(s, 21, 80), 0);
    struct cpni_event forget = { .type = CPNI_EV_FORGET_ASK, .forget.request = 21 };
    steps_event(s, &forget);
    assert_false(until_done(s, &master));
    assert_false(fake_has(&s->disk, &root));
    struct cpni_event event = { .type = CPNI_EV_REFUSED, .lost = { .conn = CPNI_CONN_CONTROL, .code = CPN_EKEY, .text = "revoked" } };
    assert_int_equal(fetch(s, 22, 80), 0);
    steps_event(s, &event);
    assert_int_equal(steps_told(s, CPNI_MSG_REFUSED, 1)->refused.request, 22);
    assert_int_equal(fetch(s, 23, 80), CPN_EKEY);
}

static void a_refused_key_fails_everything_with_the_reason(void **state)
{
    struct steps *s = *state;
    struct cpni_event event = { .type = CPNI_EV_REFUSED, .lost = { .conn = CPNI_CONN_CONTROL, .code = CPN_EKEY, .text = "revoked" } };
    submit(s, 1);
    ask(s, 11);
    steps_event(s, &event);
    assert_int_equal(steps_told(s, CPNI_MSG_REFUSED, 0)->refused.request, 0);
    assert_memory_equal(steps_told(s, CPNI_MSG_REFUSED, 0)->refused.text.text, "revoked", 7);
    assert_int_equal(steps_told(s, CPNI_MSG_RESULT, 0)->result.code, CPN_EKEY);
    assert_int_equal(steps_told(s, CPNI_MSG_REFUSED, 1)->refused.request, 11);
    assert_int_equal(submit(s, 2), CPN_EKEY);
}

static void stop_says_goodbye(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    submit(s, 1);
    steps_stop(s);
    assert_non_null(steps_sent(s, CPNI_MSG_BYE, 0));
    assert_non_null(steps_act(s, CPNI_ACT_STOPPED, 0));
    assert_int_equal(submit(s, 2), CPN_ECLOSED);
    assert_int_equal(cpni_client_core_deadline(s->core), INT64_MAX);
}

/* ---- enrolment ---- */

static void a_token_enrols_a_key(void **state)
{
    (void)state;
    struct steps s;
    assert_int_equal(open_client(&s, true), 0);
    steps_connected(&s, CPNI_CONN_CONTROL);
    assert_null(steps_sent(&s, CPNI_MSG_HELLO, 0));
    assert_int_equal(steps_sent(&s, CPNI_MSG_ENROL, 0)->enrol.key.bytes[0], 6);
    steps_tick(&s, 3000000); /* no answer */
    assert_non_null(steps_act(&s, CPNI_ACT_RECONNECT, 0));
    steps_connected(&s, CPNI_CONN_CONTROL);
    assert_non_null(steps_sent(&s, CPNI_MSG_ENROL, 0));
    struct cpni_msg msg = { .type = CPNI_MSG_ENROLLED, .enrolled = { .role = CPN_ROLE_USER, .key = { { 6 } } } };
    msg.enrolled.name = cpni_str("lab-2");
    steps_msg(&s, &msg);
    assert_memory_equal(steps_told(&s, CPNI_MSG_ENROLLED, 0)->enrolled.name.text, "lab-2", 5);
    assert_int_equal(cpni_client_core_deadline(s.core), INT64_MAX);
    cpni_client_core_free(s.core);
    steps_close(&s);
}

static void a_dead_token_is_told(void **state)
{
    (void)state;
    struct steps s;
    assert_int_equal(open_client(&s, true), 0);
    struct cpni_event event = { .type = CPNI_EV_REFUSED, .lost = { .conn = CPNI_CONN_CONTROL, .code = CPN_EUNREACHABLE } };
    steps_event(&s, &event);
    assert_non_null(steps_told(&s, CPNI_MSG_BYE, 0));
    steps_tick(&s, 3000000);
    assert_non_null(steps_act(&s, CPNI_ACT_RECONNECT, 0));
    steps_connected(&s, CPNI_CONN_CONTROL);
    struct cpni_msg msg = { .type = CPNI_MSG_REFUSED, .refused = { .code = CPN_EIO, .type = CPNI_MSG_ENROL } };
    steps_msg(&s, &msg); /* its disk failed: asked again */
    assert_non_null(steps_told(&s, CPNI_MSG_BYE, 0));
    steps_tick(&s, 3000000);
    assert_non_null(steps_act(&s, CPNI_ACT_RECONNECT, 0));
    steps_connected(&s, CPNI_CONN_CONTROL);
    msg.refused.code = CPN_ETOKEN;
    steps_msg(&s, &msg);
    assert_int_equal(steps_told(&s, CPNI_MSG_REFUSED, 0)->refused.code, CPN_ETOKEN);
    cpni_client_core_free(s.core);
    steps_close(&s);
}

/* ---- memory ---- */

/* A task with an image for a result, with memory that runs out at the nth request; whether it did. As the role does it: what is in the
 * list is carried out, then the connections are made anew. The master sends an unacknowledged result again with every WELCOME. */
static bool scenario(unsigned nth)
{
    struct steps s;
    struct fake_disk master = { 0 };
    struct cpn_hash root = fake_root(60);
    unsigned told = 0;
    fake_put(&master, &root, 2 * MIB);
    assert_int_equal(open_client(&s, false), 0);
    steps_join(&s);
    s.arm = nth;
    while (submit_size(&s, 1, 100, 0) < 0 && steps_told(&s, CPNI_MSG_RESULT, 0) == NULL && s.rc != CPN_EEXISTS) {
    }
    for (int rounds = 0; rounds < 300 && told == 0; rounds++) {
        told += steps_told(&s, CPNI_MSG_RESULT, 0) != NULL;
        if (s.actions.failed) {
            steps_lost(&s, CPNI_CONN_BULK);
            steps_lost(&s, CPNI_CONN_CONTROL);
            steps_join(&s);
        } else if (steps_sent(&s, CPNI_MSG_WANT, 0) != NULL) {
            steps_serve(&s, &master);
        } else if (!steps_disk(&s)) {
            result_with_image(&s, 1, 60);
            if (!s.actions.failed && steps_act(&s, CPNI_ACT_DISK, 0) == NULL && told == 0) {
                steps_tick(&s, 60000);
            }
        }
    }
    bool ran_out = s.arm == 0;
    s.arm = 0;
    assert_int_equal(told, 1);
    for (int i = 0; i < 50; i++) {
        steps_tick(&s, 60000);
        assert_null(steps_told(&s, CPNI_MSG_RESULT, 0));
        steps_disk(&s);
    }
    cpni_client_core_free(s.core);
    steps_close(&s);
    return ran_out;
}

/* The same for a blob that is fetched and for a session that is asked for, whose answer the master gives as often as it is asked. */
static bool fetch_scenario(unsigned nth)
{
    struct steps s;
    struct fake_disk master = { 0 };
    struct cpn_hash root = fake_root(80);
    unsigned fetched = 0, answered = 0;
    fake_put(&master, &root, 2 * MIB);
    assert_int_equal(open_client(&s, false), 0);
    steps_join(&s);
    s.arm = nth;
    while (fetch(&s, 21, 80) < 0 && s.rc != CPN_EEXISTS) {
    }
    while (ask_session(&s, 11, 70, 71) < 0 && s.rc != CPN_EEXISTS) {
    }
    for (int rounds = 0; rounds < 300 && (fetched == 0 || answered == 0); rounds++) {
        for (unsigned i = 0; i < 2 && steps_told(&s, CPNI_MSG_DONE, i) != NULL; i++) {
            const struct cpni_msg_done *told = &steps_told(&s, CPNI_MSG_DONE, i)->done;
            assert_int_equal(told->code, 0);
            fetched += told->request == 21;
            answered += told->request == 11;
        }
        if (s.actions.failed) {
            steps_lost(&s, CPNI_CONN_BULK);
            steps_lost(&s, CPNI_CONN_CONTROL);
            steps_join(&s);
        } else if (steps_sent(&s, CPNI_MSG_WANT, 0) != NULL) {
            steps_serve(&s, &master);
        } else if (!steps_disk(&s)) {
            if (answered == 0) {
                done(&s, 11);
            } else {
                steps_tick(&s, 60000);
            }
        }
    }
    bool ran_out = s.arm == 0;
    s.arm = 0;
    assert_int_equal(fetched, 1);
    assert_int_equal(answered, 1);
    cpni_client_core_free(s.core);
    steps_close(&s);
    return ran_out;
}

static void memory_that_runs_out_costs_no_blob_and_no_answer(void **state)
{
    (void)state;
    unsigned nth = 1;
    while (fetch_scenario(nth)) {
        nth++;
    }
    assert_true(nth > 20);
}

static void memory_that_runs_out_costs_a_connection_and_no_result(void **state)
{
    (void)state;
    unsigned nth = 1;
    while (scenario(nth)) {
        nth++;
    }
    assert_true(nth > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_result_for_each_task, setup, teardown),
        cmocka_unit_test_setup_teardown(the_window_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(the_clients_own_queue_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(busy_waits_and_comes_back_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(everything_is_sent_again_after_a_break, setup, teardown),
        cmocka_unit_test_setup_teardown(cancel_is_told_at_once_and_said_again_after_a_break, setup, teardown),
        cmocka_unit_test_setup_teardown(deadlines_pass_without_a_master, setup, teardown),
        cmocka_unit_test_setup_teardown(the_masters_word_on_a_deadline_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_task_is_a_result, setup, teardown),
        cmocka_unit_test_setup_teardown(inputs_are_served_until_the_result, setup, teardown),
        cmocka_unit_test_setup_teardown(images_are_fetched_before_the_result_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(another_reign_has_no_image_of_the_old_one, setup, teardown),
        cmocka_unit_test_setup_teardown(an_image_that_cannot_be_had_fails_the_task, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_are_asked_until_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_session_is_asked_again_and_its_blobs_stay_until_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_blob_is_fetched_told_and_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fetch_that_nobody_waits_for_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_key_fails_everything_with_the_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(stop_says_goodbye, setup, teardown),
        cmocka_unit_test(a_token_enrols_a_key),
        cmocka_unit_test(a_dead_token_is_told),
        cmocka_unit_test(memory_that_runs_out_costs_a_connection_and_no_result),
        cmocka_unit_test(memory_that_runs_out_costs_no_blob_and_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
