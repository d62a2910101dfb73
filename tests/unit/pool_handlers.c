/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* compute/pool: an embedder's callbacks as models. */
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>

#include <cpn/error.h>

#include "base/alloc.h"

static atomic_int handler_saw_cancel;
static atomic_int handlers_late; /* calls that answered PENDING */

static int handle(const struct cpni_call *call, struct cpni_outcome *out, void *arg)
{
    (void)arg;
    if (call->input->size == 4 && memcmp(call->input->data, "late", 4) == 0) {
        atomic_fetch_add(&handlers_late, 1);
        return CPNI_POOL_PENDING;
    }
    if (call->input->size == 4 && memcmp(call->input->data, "wait", 4) == 0) {
        while (!cpni_pool_cancelled(call->pool, call->ticket)) {
            poll(NULL, 0, 1);
        }
        atomic_fetch_add(&handler_saw_cancel, 1);
        return 0;
    }
    if (call->input->size == 3) {
        return CPN_EBADINPUT;
    }
    out->labels = cpni_calloc(1, sizeof *out->labels);
    out->label_count = 1;
    strcpy(out->labels[0].name, "mine");
    return 0;
}

static struct cpni_job handler_job(uint64_t ticket, const char *input)
{
    struct cpni_job job = command_job(ticket, "", input);
    job.model = (struct cpni_pool_model) { 0 };
    job.handler = handle;
    return job;
}

static void handlers_answer_now_or_later(void **state)
{
    (void)state;
    struct cpni_pool *pool = open_pool(2, 0);
    start(pool, 0, handler_job(1, "hello"));
    struct cpni_outcome out = next(pool);
    assert_int_equal(out.code, 0);
    assert_string_equal(out.labels[0].name, "mine");
    cpni_outcome_clear(&out);
    start(pool, 0, handler_job(2, "bad"));
    out = next(pool);
    assert_int_equal(out.class, CPNI_OUTCOME_BAD_INPUT);
    assert_string_equal(out.detail, "input cannot be processed");

    start(pool, 0, handler_job(3, "late"));
    start(pool, 1, handler_job(4, "hello")); /* goes on meanwhile */
    out = next(pool);
    assert_int_equal(out.ticket, 4);
    cpni_outcome_clear(&out);
    while (atomic_load(&handlers_late) == 0) { /* only a handler that was called can have somebody finish for it */
        poll(NULL, 0, 1);
    }
    struct cpni_outcome mine = { .code = CPN_EINTERNAL, .detail = "later" };
    assert_int_equal(cpni_pool_finish(pool, 4, &mine), CPN_ENOTFOUND);
    assert_int_equal(cpni_pool_finish(pool, 3, &mine), 0);
    out = next(pool);
    assert_int_equal(out.ticket, 3);
    assert_int_equal(out.code, CPN_EINTERNAL);
    assert_string_equal(out.detail, "later");

    struct cpni_job job = handler_job(5, "late");
    job.deadline_us = cpni_now_us() + 100000;
    start(pool, 0, job);
    out = next(pool);
    assert_int_equal(out.class, CPNI_OUTCOME_TIMEOUT);
    assert_int_equal(cpni_pool_finish(pool, 5, &mine), CPN_ENOTFOUND);
    start(pool, 0, handler_job(6, "wait"));
    assert_int_equal(cpni_pool_cancel(pool, 6), 0);
    out = next(pool);
    assert_int_equal(out.class, CPNI_OUTCOME_CANCELLED);
    start(pool, 0, handler_job(7, "late"));
    start(pool, 1, handler_job(8, "wait"));
    int before = atomic_load(&handler_saw_cancel);
    cpni_pool_close(pool); /* waits for 8, drops 7 */
    assert_true(atomic_load(&handler_saw_cancel) - before <= 1);
}

static atomic_int never_called;

static void count_unused(void *arg)
{
    (void)arg;
    atomic_fetch_add(&never_called, 1);
}

static struct cpni_job any_job(uint64_t ticket, const char *input)
{
    struct cpni_job job = handler_job(ticket, input);
    job.handler_unused = count_unused;
    return job;
}

static void handlers_wait_for_any_slot(void **state)
{
    (void)state;
    struct cpni_pool_options options
        = { .slots = 2, .kept_slots = 1, .runner = CPN_TEST_RUNNER, .plugins = CPN_TEST_PLUGINS };
    char detail[CPN_BACKEND_DETAIL];
    struct cpni_pool *pool;
    assert_int_equal(cpni_pool_open(&options, &pool, detail), 0);
    atomic_store(&never_called, 0);
    struct cpni_job model = command_job(1, "echo@1", "sleep 0");
    assert_int_equal(cpni_pool_start(pool, CPNI_POOL_ANY, &model), CPN_EINVAL);
    cpni_bytes_unref(model.input);

    start(pool, 0, any_job(1, "wait"));
    for (uint64_t ticket = 2; ticket < CPNI_POOL_AHEAD_MAX + 2; ticket++) {
        start(pool, CPNI_POOL_ANY, any_job(ticket, "hello"));
    }
    struct cpni_job over = any_job(1000, "hello");
    assert_int_equal(cpni_pool_start(pool, CPNI_POOL_ANY, &over), CPN_EBUSY);
    cpni_bytes_unref(over.input);
    start(pool, 1, any_job(1001, "hello")); /* the kept slot does this, and none of those that wait */
    struct cpni_outcome out = next(pool);
    assert_int_equal(out.ticket, 1001);
    cpni_outcome_clear(&out);
    assert_int_equal(cpni_pool_cancel(pool, 3), 0); /* is not behind what runs */
    out = next(pool);
    assert_int_equal(out.ticket, 3);
    assert_int_equal(out.class, CPNI_OUTCOME_CANCELLED);
    assert_int_equal(atomic_load(&never_called), 1);
    assert_int_equal(cpni_pool_next(pool, &out), 0);

    assert_int_equal(cpni_pool_cancel(pool, 1), 0);
    for (uint64_t ticket = 1; ticket < CPNI_POOL_AHEAD_MAX + 2; ticket += ticket == 2 ? 2 : 1) {
        out = next(pool);
        assert_int_equal(out.ticket, ticket);
        assert_int_equal(out.slot, 0);
        cpni_outcome_clear(&out);
    }
    start(pool, 0, any_job(1, "wait"));
    start(pool, CPNI_POOL_ANY, any_job(2, "hello"));
    cpni_pool_close(pool);
    assert_true(atomic_load(&never_called) >= 2); /* 2, and 1 when the close was faster than the slot */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handlers_answer_now_or_later),
        cmocka_unit_test(handlers_wait_for_any_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
