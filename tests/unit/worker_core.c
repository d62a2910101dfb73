/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* core/worker: tasks from TASK to ACK, with breaks, cancels, deadlines, blobs and the orderly end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "core/worker.h"
#include "steps.h"

#define MIB ((uint64_t)CPNI_CHUNK_BYTES)

static int step(void *core, const struct cpni_event *event, const struct cpni_now *now, struct cpni_actions *actions)
{
    return cpni_worker_core_step(core, event, now, actions);
}

static const char *check(const void *core)
{
    return cpni_worker_core_check(core);
}

static int open_worker(struct steps *s, uint32_t slots)
{
    static const struct cpni_str handlers[] = { { "echo", 4 } };
    static const struct cpni_str backends[] = { { "opencv.face 4.6.0", 17 } };
    static const struct cpni_rec_HELD held[] = { { .name = { "faces", 5 }, .version = 3, .root = { { 1 } }, .state = CPNI_HELD_READY },
                                                 { .name = { "people", 6 }, .version = 1, .root = { { 2 } }, .state = CPNI_HELD_READY } };
    struct cpni_worker_config config = { .boot = { { 8 } }, .name = cpni_str("w1"), .slots = slots, .cores = 2, .memory = 1000000,
                                         .backends = backends, .backend_count = 1, .handlers = handlers, .handler_count = 1,
                                         .models = held, .model_count = 2 };
    memset(s, 0, sizeof *s);
    *s = (struct steps){ .step = step, .check = check, .now = { .mono_us = 5000000 }, .link = 7, .term = 3 };
    struct cpni_worker_core *core;
    int rc = cpni_worker_core_new(&config, &s->now, &core);
    s->core = rc == 0 ? core : NULL;
    return rc;
}

static int setup(void **state)
{
    struct steps *s = malloc(sizeof *s);
    assert_int_equal(open_worker(s, 2), 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct steps *s = *state;
    cpni_worker_core_free(s->core);
    steps_close(s);
    free(s);
    return 0;
}

static struct cpni_msg task(uint8_t number, uint8_t model)
{
    struct cpni_msg msg = { .type = CPNI_MSG_TASK };
    msg.task.task.bytes[0] = number;
    msg.task.attempt = 1;
    msg.task.term = 3;
    msg.task.model = model == 0 ? cpni_str("echo") : cpni_str("faces");
    msg.task.root.bytes[0] = model;
    msg.task.input_name = cpni_str("lena.jpg");
    return msg;
}

static void give(struct steps *s, uint8_t number, uint8_t model)
{
    struct cpni_msg msg = task(number, model);
    msg.task.input = fake_fill(100, number);
    steps_msg(s, &msg);
    cpni_msg_drop(&msg);
}

/* The ticket of the nth RUN of the last step; 0: none. */
static uint64_t ran(const struct steps *s, unsigned nth)
{
    const struct cpni_action *run = steps_act(s, CPNI_ACT_RUN, nth);
    return run != NULL ? run->run.ticket : 0;
}

static void finish(struct steps *s, uint64_t ticket, int code, size_t image_size)
{
    static const struct cpn_label labels[2] = { { .name = "ann", .confidence = 0.5f, .width = 3 }, { .name = "unknown" } };
    struct cpni_event event = { .type = CPNI_EV_FINISHED };
    event.finished.ticket = ticket;
    event.finished.code = code;
    event.finished.failure = code == 0 ? CPNI_FAILURE_NONE : CPNI_FAILURE_CRASH;
    event.finished.text = code == 0 ? "" : "it broke";
    event.finished.labels = labels;
    event.finished.label_count = code == 0 ? 2 : 0;
    event.finished.image = image_size != 0 ? fake_fill(image_size, 77) : NULL;
    event.finished.image_type = CPNI_IMAGE_JPEG;
    steps_event(s, &event);
    cpni_bytes_unref(event.finished.image);
}

static void ack(struct steps *s, uint8_t number)
{
    struct cpni_msg msg = { .type = CPNI_MSG_ACK };
    msg.ack.task.bytes[0] = number;
    msg.ack.attempt = 1;
    steps_msg(s, &msg);
}

static void cancel(struct steps *s, uint8_t number, int code)
{
    struct cpni_msg msg = { .type = CPNI_MSG_CANCEL };
    msg.cancel.task.bytes[0] = number;
    msg.cancel.attempt = 1;
    msg.cancel.code = code;
    steps_msg(s, &msg);
}

static const struct cpni_msg_hello *hello(struct steps *s)
{
    steps_lost(s, CPNI_CONN_CONTROL);
    steps_connected(s, CPNI_CONN_CONTROL);
    return &steps_sent(s, CPNI_MSG_HELLO, 0)->hello;
}

/* ---- */

static void a_task_runs_and_its_result_is_kept_until_acknowledged(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    give(s, 1, 1);
    const struct cpni_act_run *run = &steps_act(s, CPNI_ACT_RUN, 0)->run;
    assert_int_equal(run->input->size, 100);
    assert_int_equal(run->model.bytes[0], 1);
    assert_memory_equal(run->input_name.text, "lena.jpg", 8);
    assert_non_null(steps_sent(s, CPNI_MSG_STARTED, 0));
    finish(s, run->ticket, 0, 50);
    const struct cpni_msg_result *result = &steps_sent(s, CPNI_MSG_RESULT, 0)->result;
    assert_int_equal(result->labels_count, 2);
    assert_memory_equal(result->labels[1].name.text, "unknown", 7);
    assert_int_equal(result->image->size, 50);
    assert_int_equal(result->version, 0);
    assert_memory_equal(result->model.text, "faces", 5);
    const struct cpni_msg_hello *again = hello(s);
    assert_int_equal(again->results_count, 1);
    assert_int_equal(again->attempts_count, 0);
    s->term = 4; /* another reign asks for it too */
    steps_welcome(s, CPNI_CONN_CONTROL);
    assert_int_equal(steps_sent(s, CPNI_MSG_RESULT, 0)->result.term, 3);
    ack(s, 1);
    ack(s, 1);
    assert_int_equal(hello(s)->results_count, 0);
}

static void handlers_run_with_a_zero_root(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    give(s, 1, 0);
    assert_memory_equal(steps_act(s, CPNI_ACT_RUN, 0)->run.name.text, "echo", 4);
    struct cpni_msg msg = task(2, 0);
    msg.task.model = cpni_str("nobody");
    steps_msg(s, &msg);
    assert_int_equal(steps_sent(s, CPNI_MSG_RETURN, 0)->handback.code, CPN_EMODEL);
    msg = task(3, 9); /* a model that is not here */
    steps_msg(s, &msg);
    assert_int_equal(steps_sent(s, CPNI_MSG_RETURN, 0)->handback.code, CPN_EMODEL);
}

static void finish_call(struct steps *s, uint64_t ticket, uint64_t took_us)
{
    struct cpni_event event = { .type = CPNI_EV_FINISHED };
    event.finished.ticket = ticket;
    event.finished.text = "";
    event.finished.timings.infer_us = took_us;
    steps_event(s, &event);
}

/* The nth RUN of the last step is for any slot. */
static bool ran_ahead(const struct steps *s, unsigned nth)
{
    const struct cpni_action *run = steps_act(s, CPNI_ACT_RUN, nth);
    return run != NULL && run->run.slot == CPNI_SLOT_ANY;
}

static void short_callbacks_run_ahead_of_the_slots(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    for (uint8_t i = 1; i <= 20; i++) { /* until it is known how short they are, a slot at a time */
        give(s, i, 0);
        assert_true(ran(s, 0) != 0 && !ran_ahead(s, 0));
        finish_call(s, ran(s, 0), 1);
    }
    give(s, 21, 0);
    uint64_t slow = ran(s, 0);
    give(s, 22, 0);
    assert_false(ran_ahead(s, 0));
    give(s, 23, 0);
    assert_true(ran_ahead(s, 0));
    assert_non_null(steps_sent(s, CPNI_MSG_STARTED, 0));
    uint64_t ahead = ran(s, 0);
    give(s, 24, 1); /* a model's waits for a slot, and what comes after it waits behind it */
    assert_int_equal(ran(s, 0), 0);
    give(s, 25, 0);
    assert_int_equal(ran(s, 0), 0);
    finish_call(s, ahead, 1); /* frees no slot */
    assert_int_equal(ran(s, 0), 0);
    finish_call(s, slow, 10000000);
    assert_int_equal(steps_act(s, CPNI_ACT_RUN, 0)->run.task.bytes[0], 24);
    assert_int_equal(ran(s, 1), 0); /* callbacks are known to take long now */
    cancel(s, 25, CPN_ECANCELLED);
    assert_int_equal(steps_sent(s, CPNI_MSG_RESULT, 0)->result.failure, CPNI_FAILURE_CANCELLED);
}

static void warm_slots_are_preferred(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    give(s, 1, 1);
    uint64_t first = ran(s, 0);
    give(s, 2, 2);
    uint64_t second = ran(s, 0);
    assert_int_equal(steps_act(s, CPNI_ACT_RUN, 0)->run.slot, 1);
    give(s, 3, 2);
    assert_int_equal(ran(s, 0), 0); /* both slots are taken */
    give(s, 4, 1);
    finish(s, first, 0, 0);
    assert_int_equal(steps_act(s, CPNI_ACT_RUN, 0)->run.task.bytes[0], 3); /* first come, first served */
    uint64_t third = ran(s, 0);
    finish(s, second, 0, 0);
    uint64_t fourth = ran(s, 0);
    finish(s, third, 0, 0);
    finish(s, fourth, 0, 0);
    give(s, 5, 2);
    uint32_t slot = steps_act(s, CPNI_ACT_RUN, 0)->run.slot;
    assert_true(slot < 2);
    finish(s, ran(s, 0), 0, 0);
}

static void cancel_reaches_what_waits_and_what_runs(void **state)
{
    struct steps *s = *state;
    uint64_t tickets[2];
    steps_join(s);
    give(s, 1, 1);
    tickets[0] = ran(s, 0);
    give(s, 2, 1);
    tickets[1] = ran(s, 0);
    give(s, 3, 1);
    cancel(s, 3, 0);
    assert_int_equal(steps_sent(s, CPNI_MSG_RESULT, 0)->result.failure, CPNI_FAILURE_CANCELLED);
    assert_int_equal(steps_sent(s, CPNI_MSG_RESULT, 0)->result.code, CPN_ECANCELLED);
    cancel(s, 1, CPN_ETIMEDOUT);
    assert_int_equal(steps_act(s, CPNI_ACT_KILL, 0)->kill.ticket, tickets[0]);
    assert_null(steps_sent(s, CPNI_MSG_RESULT, 0));
    finish(s, tickets[0], CPN_ECRASHED, 0);
    assert_int_equal(steps_sent(s, CPNI_MSG_RESULT, 0)->result.failure, CPNI_FAILURE_DEADLINE);
    cancel(s, 1, 0); /* too late: it is told again what became of it */
    assert_non_null(steps_sent(s, CPNI_MSG_RESULT, 0));
    cancel(s, 99, 0);
    assert_int_equal(steps_sent(s, CPNI_MSG_RETURN, 0)->handback.code, CPN_ENOTFOUND);
    finish(s, tickets[1], 0, 0);
}

static void a_deadline_passes_while_the_task_waits(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    give(s, 1, 1);
    give(s, 2, 1);
    struct cpni_msg msg = task(3, 1);
    msg.task.deadline_ms = 500;
    steps_msg(s, &msg);
    assert_int_equal(cpni_worker_core_deadline(s->core), s->now.mono_us + 500000);
    steps_tick(s, 500000);
    assert_int_equal(steps_sent(s, CPNI_MSG_RESULT, 0)->result.failure, CPNI_FAILURE_DEADLINE);
    assert_int_equal(steps_sent(s, CPNI_MSG_RESULT, 0)->result.code, CPN_ETIMEDOUT);
}

static void the_deadline_is_told_from_a_runners_timeout(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    struct cpni_msg msg = task(1, 1);
    msg.task.deadline_ms = 500;
    steps_msg(s, &msg);
    uint64_t first = ran(s, 0);
    assert_int_equal(steps_act(s, CPNI_ACT_RUN, 0)->run.deadline_us, s->now.mono_us + 500000);
    give(s, 2, 1);
    uint64_t second = ran(s, 0);
    s->now.mono_us += 600000;
    finish(s, first, CPN_ETIMEDOUT, 0);
    assert_int_equal(steps_sent(s, CPNI_MSG_RESULT, 0)->result.failure, CPNI_FAILURE_DEADLINE);
    finish(s, second, CPN_ETIMEDOUT, 0);
    assert_int_equal(steps_sent(s, CPNI_MSG_RESULT, 0)->result.failure, CPNI_FAILURE_CRASH);
    assert_true(steps_logged(s, "CPN-TASK-FAILED"));
}

static void a_lost_master_changes_nothing_here(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    give(s, 1, 1);
    uint64_t ticket = ran(s, 0);
    give(s, 2, 1);
    give(s, 3, 1);
    steps_lost(s, CPNI_CONN_CONTROL);
    assert_true(steps_logged(s, "CPN-MASTER-LOST"));
    finish(s, ticket, 0, 0);
    assert_null(steps_sent(s, CPNI_MSG_RESULT, 0));
    assert_int_not_equal(ran(s, 0), 0); /* the next one starts all the same */
    steps_connected(s, CPNI_CONN_CONTROL);
    const struct cpni_msg_hello *inventory = &steps_sent(s, CPNI_MSG_HELLO, 0)->hello;
    assert_int_equal(inventory->attempts_count, 2);
    assert_int_equal(inventory->results_count, 1);
    assert_int_equal(inventory->models_count, 2);
    assert_int_equal(inventory->credit_tasks, 4);
    s->term = 9;
    steps_welcome(s, CPNI_CONN_CONTROL);
    assert_non_null(steps_sent(s, CPNI_MSG_RESULT, 0));
    assert_non_null(steps_sent(s, CPNI_MSG_STARTED, 1));
    give(s, 2, 1); /* the same attempt again: it is here */
    assert_null(steps_act(s, CPNI_ACT_RUN, 0));
    assert_null(steps_sent(s, CPNI_MSG_RETURN, 0));
}

static void more_than_it_can_hold_is_handed_back(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    for (uint8_t i = 1; i <= 2 + CPNI_NODE_SURPLUS_MAX; i++) {
        give(s, i, 1);
        assert_null(steps_sent(s, CPNI_MSG_RETURN, 0));
    }
    give(s, 200, 1);
    assert_int_equal(steps_sent(s, CPNI_MSG_RETURN, 0)->handback.code, CPN_EBUSY);
}

static void credit_grows_for_tasks_shorter_than_the_way(void **state)
{
    struct steps *s = *state;
    uint32_t most = 0;
    steps_join(s);
    for (uint8_t i = 1; i < 40; i++) {
        give(s, i, 0);
        uint64_t ticket = ran(s, 0);
        s->now.mono_us += 50;
        finish(s, ticket, 0, 0);
        s->now.mono_us += 500;
        ack(s, i);
        const struct cpni_msg *credit = steps_sent(s, CPNI_MSG_CREDIT, 0);
        most = credit != NULL && credit->credit.tasks > most ? credit->credit.tasks : most;
    }
    assert_int_equal(most, 2 + 2 + 2 * 10);
    for (uint8_t i = 40; i < 90; i++) { /* and shrinks for long ones */
        give(s, i, 0);
        uint64_t ticket = ran(s, 0);
        s->now.mono_us += 900000;
        steps_tick(s, 0);
        struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
        steps_msg(s, &beat);
        finish(s, ticket, 0, 0);
        s->now.mono_us += 500;
        ack(s, i);
    }
    assert_int_equal(hello(s)->credit_tasks, 4);
}

/* ---- blobs ---- */

static void a_large_input_is_fetched_first_and_removed_after(void **state)
{
    struct steps *s = *state;
    struct fake_disk master = { 0 };
    struct cpn_hash root = fake_root(50);
    fake_put(&master, &root, 3 * MIB);
    steps_join(s);
    struct cpni_msg msg = task(1, 1);
    msg.task.input_root = root;
    msg.task.input_size = 3 * MIB;
    steps_msg(s, &msg);
    assert_null(steps_act(s, CPNI_ACT_RUN, 0));
    give(s, 2, 1); /* a small one overtakes it */
    uint64_t small = ran(s, 0);
    assert_int_not_equal(small, 0);
    uint64_t large = 0;
    for (int i = 0; i < 100 && large == 0 && steps_disk(s); i++) {
        large = ran(s, 0);
        if (large == 0) {
            steps_serve(s, &master);
        } else {
            assert_int_equal(steps_act(s, CPNI_ACT_RUN, 0)->run.input_root.bytes[0], 50);
            assert_int_equal(steps_act(s, CPNI_ACT_RUN, 0)->run.input_size, 3 * MIB);
            assert_null(steps_act(s, CPNI_ACT_RUN, 0)->run.input);
            assert_non_null(steps_sent(s, CPNI_MSG_RECEIVED, 0));
        }
    }
    assert_int_not_equal(large, 0);
    assert_true(fake_has(&s->disk, &root));
    finish(s, large, 0, 0);
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &root));
}

static void an_input_that_never_comes_is_handed_back(void **state)
{
    struct steps *s = *state;
    struct fake_disk master = { 0 };
    bool returned = false;
    steps_join(s);
    struct cpni_msg msg = task(1, 1);
    msg.task.input_root = fake_root(50);
    msg.task.input_size = MIB;
    steps_msg(s, &msg);
    for (int i = 0; i < 20 && !returned && steps_disk(s); i++) {
        steps_serve(s, &master);
        const struct cpni_msg *back = steps_sent(s, CPNI_MSG_RETURN, 0);
        returned = back != NULL && back->handback.code == CPN_ENOTFOUND;
    }
    assert_true(returned);
}

static void what_is_handed_back_before_the_welcome_is_said_after_it(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    struct cpni_msg msg = task(1, 1);
    msg.task.input_root = fake_root(50);
    msg.task.input_size = MIB;
    steps_msg(s, &msg);
    assert_int_equal(hello(s)->attempts_count, 1); /* the master takes it from this that the attempt lives */
    steps_stop(s);
    assert_null(steps_sent(s, CPNI_MSG_RETURN, 0));
    steps_welcome(s, CPNI_CONN_CONTROL);
    assert_int_equal(steps_sent(s, CPNI_MSG_RESULT, 0)->result.failure, CPNI_FAILURE_NODE);
    assert_true(steps_sent(s, CPNI_MSG_CREDIT, 0)->credit.draining);
    ack(s, 1);
    assert_non_null(steps_act(s, CPNI_ACT_STOPPED, 0));
}

static void a_large_image_goes_into_the_store_first(void **state)
{
    struct steps *s = *state;
    struct cpn_hash root = fake_root(77);
    steps_join(s);
    s->disk.busy = 1;
    give(s, 1, 1);
    finish(s, ran(s, 0), 0, CPNI_INLINE_BYTES_MAX + 1);
    assert_null(steps_sent(s, CPNI_MSG_RESULT, 0));
    assert_true(steps_disk(s)); /* the queue was full */
    assert_true(steps_disk(s));
    const struct cpni_msg_result *result = &steps_sent(s, CPNI_MSG_RESULT, 0)->result;
    assert_null(result->image);
    assert_int_equal(result->image_root.bytes[0], 77);
    assert_int_equal(result->image_size, CPNI_INLINE_BYTES_MAX + 1);
    struct cpni_msg want = { .type = CPNI_MSG_WANT, .want = { .root = root, .leaves = true } };
    steps_bulk(s, &want);
    assert_true(steps_disk(s));
    assert_int_equal(steps_sent(s, CPNI_MSG_LEAVES, 0)->leaves.size, CPNI_INLINE_BYTES_MAX + 1);
    ack(s, 1);
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &root));
}

/* ---- the end ---- */

static void draining_finishes_hands_back_and_says_goodbye(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    give(s, 1, 1);
    uint64_t first = ran(s, 0);
    give(s, 2, 1);
    uint64_t second = ran(s, 0);
    give(s, 3, 1);
    steps_stop(s);
    assert_true(steps_sent(s, CPNI_MSG_CREDIT, 0)->credit.draining);
    assert_int_equal(steps_sent(s, CPNI_MSG_RETURN, 0)->handback.task.bytes[0], 3);
    give(s, 4, 1);
    assert_non_null(steps_sent(s, CPNI_MSG_RETURN, 0));
    finish(s, first, 0, 0);
    finish(s, second, 0, 0);
    ack(s, 1);
    assert_null(steps_act(s, CPNI_ACT_STOPPED, 0));
    ack(s, 2);
    assert_non_null(steps_sent(s, CPNI_MSG_BYE, 0));
    assert_int_equal(steps_act(s, CPNI_ACT_STOPPED, 0)->stopped.code, 0);
    assert_int_equal(cpni_worker_core_deadline(s->core), INT64_MAX);
}

static void draining_without_a_master_waits_for_nobody(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    give(s, 1, 1);
    uint64_t ticket = ran(s, 0);
    steps_lost(s, CPNI_CONN_CONTROL);
    steps_stop(s);
    assert_null(steps_act(s, CPNI_ACT_STOPPED, 0));
    finish(s, ticket, 0, 0);
    assert_non_null(steps_act(s, CPNI_ACT_STOPPED, 0));
}

static void a_second_stop_is_at_once(void **state)
{
    struct steps *s = *state;
    steps_join(s);
    give(s, 1, 1);
    steps_stop(s);
    assert_null(steps_act(s, CPNI_ACT_STOPPED, 0));
    steps_stop(s);
    assert_non_null(steps_act(s, CPNI_ACT_KILL, 0));
    assert_non_null(steps_sent(s, CPNI_MSG_BYE, 0));
    assert_non_null(steps_act(s, CPNI_ACT_STOPPED, 0));
}

static void a_refused_worker_stops_and_says_why(void **state)
{
    struct steps *s = *state;
    struct cpni_event event = { .type = CPNI_EV_REFUSED, .lost = { .conn = CPNI_CONN_CONTROL, .code = CPN_EKEY, .text = "revoked" } };
    steps_event(s, &event);
    assert_int_equal(steps_act(s, CPNI_ACT_STOPPED, 0)->stopped.code, CPN_EKEY);
    assert_memory_equal(steps_act(s, CPNI_ACT_STOPPED, 0)->stopped.text.text, "revoked", 7);
}

static void load_travels_with_the_heartbeat(void **state)
{
    struct steps *s = *state;
    struct cpni_event event = { .type = CPNI_EV_LOAD, .load = { .cpu_permille = 340, .rss = 9000, .runners = 2 } };
    steps_join(s);
    steps_event(s, &event);
    give(s, 1, 1);
    steps_tick(s, 1000000);
    const struct cpni_msg_beat *beat = &steps_sent(s, CPNI_MSG_BEAT, 0)->beat;
    assert_int_equal(beat->cpu_permille, 340);
    assert_int_equal(beat->busy, 1);
    assert_int_equal(beat->term, 3);
}

/* ---- memory ---- */

/* One task through a worker that runs out of memory at the nth request. As the role does it: the actions that are in the list are
 * carried out, and then the connections are made anew. Returns whether memory ran out. */
static bool scenario(unsigned nth)
{
    struct steps s;
    assert_int_equal(open_worker(&s, 1), 0);
    struct cpni_msg msg = task(1, 1);
    msg.task.input = fake_fill(10, 1);
    bool acknowledged = false;
    uint64_t ticket = 0;
    steps_join(&s);
    s.arm = nth;
    for (int rounds = 0; rounds < 20 && !acknowledged; rounds++) {
        bool has = false; /* what the master learns from the worker's inventory */
        bool failed = false;
        if (ticket == 0) {
            steps_msg(&s, &msg);
            ticket = ran(&s, 0);
        } else {
            finish(&s, ticket, 0, 300000);
        }
        for (int i = 0; i < 4; i++) {
            failed = failed || s.actions.failed;
            ticket = ran(&s, 0) != 0 ? ran(&s, 0) : steps_sent(&s, CPNI_MSG_RETURN, 0) != NULL ? 0 : ticket;
            acknowledged = acknowledged || (!s.actions.failed && steps_sent(&s, CPNI_MSG_RESULT, 0) != NULL);
            if (!steps_disk(&s)) {
                break;
            }
        }
        if (failed) {
            const struct cpni_msg_hello *inventory = hello(&s);
            has = inventory->attempts_count + inventory->results_count != 0;
            steps_welcome(&s, CPNI_CONN_CONTROL);
            acknowledged = acknowledged || steps_sent(&s, CPNI_MSG_RESULT, 0) != NULL;
            ticket = ran(&s, 0) != 0 ? ran(&s, 0) : has ? ticket : 0;
        }
    }
    bool ran_out = s.arm == 0;
    s.arm = 0;
    assert_true(acknowledged);
    ack(&s, 1);
    assert_int_equal(hello(&s)->results_count, 0);
    cpni_msg_drop(&msg);
    cpni_worker_core_free(s.core);
    steps_close(&s);
    return ran_out;
}

static void memory_that_runs_out_costs_a_connection_and_no_task(void **state)
{
    (void)state;
    unsigned nth = 1;
    while (scenario(nth)) {
        nth++;
    }
    assert_true(nth > 10);
    for (nth = 1; nth < 100; nth++) { /* making one */
        struct steps s;
        cpni_alloc_fail(nth);
        int rc = open_worker(&s, 4);
        cpni_alloc_fail(0);
        cpni_worker_core_free(s.core);
        if (rc == 0) {
            break;
        }
        assert_int_equal(rc, CPN_ENOMEM);
    }
    assert_true(nth > 5 && nth < 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_task_runs_and_its_result_is_kept_until_acknowledged, setup, teardown),
        cmocka_unit_test_setup_teardown(handlers_run_with_a_zero_root, setup, teardown),
        cmocka_unit_test_setup_teardown(short_callbacks_run_ahead_of_the_slots, setup, teardown),
        cmocka_unit_test_setup_teardown(warm_slots_are_preferred, setup, teardown),
        cmocka_unit_test_setup_teardown(cancel_reaches_what_waits_and_what_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deadline_passes_while_the_task_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(the_deadline_is_told_from_a_runners_timeout, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_master_changes_nothing_here, setup, teardown),
        cmocka_unit_test_setup_teardown(more_than_it_can_hold_is_handed_back, setup, teardown),
        cmocka_unit_test_setup_teardown(credit_grows_for_tasks_shorter_than_the_way, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_input_is_fetched_first_and_removed_after, setup, teardown),
        cmocka_unit_test_setup_teardown(an_input_that_never_comes_is_handed_back, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_handed_back_before_the_welcome_is_said_after_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_image_goes_into_the_store_first, setup, teardown),
        cmocka_unit_test_setup_teardown(draining_finishes_hands_back_and_says_goodbye, setup, teardown),
        cmocka_unit_test_setup_teardown(draining_without_a_master_waits_for_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_stop_is_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_worker_stops_and_says_why, setup, teardown),
        cmocka_unit_test_setup_teardown(load_travels_with_the_heartbeat, setup, teardown),
        cmocka_unit_test(memory_that_runs_out_costs_a_connection_and_no_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
