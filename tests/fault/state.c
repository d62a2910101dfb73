/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* store/state on a disk that is slow, full or broken: answers are late or "unknown", never wrong, and nobody else
 * waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "../lib/fault_vfs.h"
#include "../lib/state_fixture.h"

static int setup(void **state)
{
    struct state_fixture *f = cpni_calloc(1, sizeof *f);
    f->options.vfs = FAULT_VFS;
    f->options.retry_ms = 20000;
    state_fixture_begin(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fault_vfs_fail(0, 0, FAULT_VFS_IO);
    fault_vfs_slow(0);
    char small[160];
    snprintf(small, sizeof small, "%s/small", ((struct state_fixture *)*state)->dir);
    umount2(small, MNT_DETACH); /* left by a test that failed */
    state_fixture_end(*state);
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void add_node(struct state_fixture *f)
{
    struct cpni_command c = COMMAND(IDENTITY_ADD, identity_add, .key = key_of(1), .role = CPN_ROLE_NODE, .name = "w");
    assert_int_equal(commit(f->state, &c).status, CPNI_COMMITTED);
}

static void submit_task(struct state_fixture *f)
{
    struct cpni_command c = COMMAND(NODE_STATS, node_stats, .key = key_of(1), .tasks = 1);
    assert_int_equal(cpni_state_submit(f->state, NULL, &c, NULL), 0);
}

static int take_tasks(void *arg, const struct cpni_state_identity *row)
{
    *(uint64_t *)arg = row->stats.tasks;
    return 0;
}

/* What the disk has, after closing and opening with the faults gone. */
static uint64_t tasks_on_disk(struct state_fixture *f)
{
    uint64_t tasks = 0;
    struct cpni_state_reader reader = { .identity = take_tasks };
    fault_vfs_fail(0, 0, FAULT_VFS_IO);
    state_fixture_reopen(f);
    assert_int_equal(cpni_state_recover(f->state, &reader, &tasks), 0);
    assert_int_equal(cpni_state_start(f->state), 0);
    return tasks;
}

/* Two seconds a sync: submitting goes on meanwhile at full speed, and all of it is in the next transaction. */
static void a_slow_disk_delays_answers_only(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_state_answer answer;
    add_node(f);
    fault_vfs_slow(2000);
    int64_t start = now_ms();
    submit_task(f);
    for (int i = 0; i < 5000; i++) {
        submit_task(f);
        assert_int_equal(cpni_state_pop(f->state, &answer), 0);
    }
    int64_t submitted = now_ms() - start;
    assert_true(submitted < 1500); /* less than the one sync that the first of them waits for */
    while (cpni_state_pending(f->state) != 0) {
        wait_answer(f->state, &answer);
        assert_int_equal(answer.commit.status, CPNI_COMMITTED);
    }
    int64_t took = now_ms() - start;
    assert_true(took >= 2000 && took < 20000); /* not 5001 times two seconds */
    fault_vfs_slow(0);
    assert_int_equal(tasks_on_disk(f), 5001);
}

static void the_queue_is_bounded(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_state_answer answer;
    struct cpni_command raise = COMMAND(TERM_RAISE, term_raise, .wall_us = 1);
    fault_vfs_slow(300);
    size_t taken = 0;
    while (cpni_state_submit(f->state, NULL, &raise, NULL) == 0) {
        taken++;
    }
    assert_int_equal(taken, CPNI_STATE_WAITING_MAX);
    assert_int_equal(cpni_state_submit(f->state, NULL, &raise, NULL), CPN_EBUSY);
    fault_vfs_slow(0);
    wait_answer(f->state, &answer);
    assert_int_equal(cpni_state_submit(f->state, NULL, &raise, NULL), 0);
}

/* The nth write, sync or truncation fails, once or a few times, for every n: it is tried again, and what was answered
 * is on the disk once. Each group is one counter up, so a group applied twice or lost shows. */
static void every_single_failure_is_outlived(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_state_answer answer;
    uint64_t committed = 0;
    unsigned met = fault_vfs_met();
    add_node(f);
    for (unsigned nth = 1; nth <= 40; nth++) {
        fault_vfs_fail(nth, nth % 3, nth % 2 ? FAULT_VFS_IO : FAULT_VFS_FULL);
        for (int i = 0; i < 8; i++) {
            submit_task(f);
            wait_answer(f->state, &answer);
            assert_int_equal(answer.commit.status, CPNI_COMMITTED);
            committed++;
        }
        if (nth % 8 == 0) {
            assert_int_equal(tasks_on_disk(f), committed);
        }
    }
    assert_true(fault_vfs_met() - met >= 40);
}

static void a_full_disk_is_told_and_ends(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_state_answer answer;
    char detail[CPNI_STATE_DETAIL];
    struct cpni_command_key key = { .client = key_of(7), .sequence = 1 };
    struct cpni_command c = COMMAND(NODE_STATS, node_stats, .key = key_of(1), .tasks = 1);
    f->options.retry_ms = 100;
    assert_int_equal(tasks_on_disk(f), 0);
    add_node(f);
    fault_vfs_fail(1, ~0u, FAULT_VFS_FULL);
    assert_int_equal(cpni_state_trouble(f->state, detail), 0);
    struct cpni_commit got = commit_keyed(f->state, &key, &c);
    assert_int_equal(got.status, CPNI_UNKNOWN);
    assert_int_equal(got.code, CPN_ENOSPC);
    assert_non_null(strstr(got.text, "no space left"));
    assert_int_equal(cpni_state_trouble(f->state, detail), CPN_ENOSPC);
    assert_non_null(strstr(detail, f->store));
    struct cpni_state_filter all = { .before = 0 };
    assert_int_equal(cpni_state_query_events(f->state, &all, 1, NULL), 0); /* reading goes on */
    wait_answer(f->state, &answer);
    assert_int_equal(answer.commit.status, CPNI_COMMITTED);
    cpni_state_answer_clear(&answer);
    int64_t start = now_ms();
    for (int i = 0; i < 20; i++) { /* one try each from now on */
        assert_int_equal(commit(f->state, &c).status, CPNI_UNKNOWN);
    }
    assert_true(now_ms() - start < 2000);
    fault_vfs_fail(0, 0, FAULT_VFS_FULL);
    assert_int_equal(commit_keyed(f->state, &key, &c).status, CPNI_COMMITTED);
    assert_int_equal(commit_keyed(f->state, &key, &c).status, CPNI_COMMITTED);
    assert_int_equal(cpni_state_trouble(f->state, detail), 0);
    assert_int_equal(tasks_on_disk(f), 1);
}

/* The same with a real one: a file system of 2 MiB is filled, told of, given room again. What was answered is all
 * there. */
static void a_real_full_disk(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_state_answer answer;
    char small[160], command[400];
    snprintf(small, sizeof small, "%s/small", f->dir);
    assert_int_equal(mkdir(small, 0700), 0);
    if (mount("none", small, "tmpfs", 0, "size=2m") < 0) {
        skip();
    }
    cpni_state_close(f->state);
    snprintf(f->store, sizeof f->store, "%s/small/state", f->dir);
    f->options.vfs = NULL;
    f->options.retry_ms = 50;
    state_fixture_open(f);
    assert_int_equal(cpni_state_start(f->state), 0);
    add_node(f);
    snprintf(command, sizeof command, "cat /dev/zero > %s/filler 2> /dev/null", small);
    assert_int_not_equal(system(command), 0);
    uint64_t committed = 0;
    struct cpni_command c = COMMAND(NODE_STATS, node_stats, .key = key_of(1), .tasks = 1);
    struct cpni_commit got;
    for (int i = 0; (got = commit(f->state, &c)).status == CPNI_COMMITTED; i++) {
        assert_true(i < 10000);
        committed++;
    }
    assert_int_equal(got.status, CPNI_UNKNOWN);
    assert_int_equal(got.code, CPN_ENOSPC);
    submit_task(f);
    wait_answer(f->state, &answer);
    assert_int_equal(answer.commit.status, CPNI_UNKNOWN);
    snprintf(command, sizeof command, "rm %s/filler", small);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(commit(f->state, &c).status, CPNI_COMMITTED);
        committed++;
    }
    assert_int_equal(tasks_on_disk(f), committed);
    cpni_state_close(f->state);
    f->state = NULL;
    assert_int_equal(umount(small), 0);
}

/* Closing does not wait for a disk that is gone. */
static void closed_in_trouble(void **state)
{
    struct state_fixture *f = *state;
    add_node(f);
    fault_vfs_fail(1, ~0u, FAULT_VFS_IO);
    submit_task(f);
    char detail[CPNI_STATE_DETAIL];
    while (cpni_state_trouble(f->state, detail) == 0) {
        struct timespec pause = { 0, 1000000 };
        nanosleep(&pause, NULL);
    }
    int64_t start = now_ms();
    cpni_state_close(f->state);
    f->state = NULL;
    assert_true(now_ms() - start < 5000);
    fault_vfs_fail(0, 0, FAULT_VFS_IO);
    state_fixture_open(f);
}

/* A failure while a state is created or opened leaves one that can be opened the next time. */
static void opening_can_fail_anywhere(void **state)
{
    struct state_fixture *f = *state;
    char command[300], detail[CPNI_STATE_DETAIL];
    snprintf(command, sizeof command, "rm -rf %s", f->store);
    int failed = 0;
    for (unsigned nth = 1; nth <= 30; nth++) {
        for (int again = 0; again < 2; again++) {
            cpni_state_close(f->state);
            f->state = NULL;
            if (!again) {
                assert_int_equal(system(command), 0);
            }
            fault_vfs_fail(nth, 0, nth % 2 ? FAULT_VFS_FULL : FAULT_VFS_IO);
            detail[0] = 0;
            int rc = cpni_state_open(f->store, &f->options, &f->state, detail);
            assert_true(rc == 0 || detail[0] != 0);
            failed += rc < 0;
            fault_vfs_fail(0, 0, FAULT_VFS_IO);
            state_fixture_reopen(f);
        }
    }
    assert_true(failed > 5);
}

/* The nth allocation of the owner's thread fails: refused, nothing taken. */
static void out_of_memory(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_command raise = COMMAND(TERM_RAISE, term_raise, .wall_us = 1);
    struct cpni_state_filter all = { .before = 0 };
    cpni_alloc_fail(1);
    assert_int_equal(cpni_state_submit(f->state, NULL, &raise, NULL), CPN_ENOMEM);
    cpni_alloc_fail(1);
    assert_int_equal(cpni_state_query_events(f->state, &all, 1, NULL), CPN_ENOMEM);
    assert_int_equal(cpni_state_pending(f->state), 0);
    assert_committed(commit(f->state, &raise), 1);
    for (unsigned nth = 1; nth <= 2; nth++) {
        struct cpni_state *other = NULL;
        cpni_state_close(f->state);
        f->state = NULL;
        cpni_alloc_fail(nth);
        assert_int_equal(cpni_state_open(f->store, &f->options, &other, NULL), CPN_ENOMEM);
        cpni_alloc_fail(0);
        state_fixture_open(f);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_slow_disk_delays_answers_only),
        TEST(the_queue_is_bounded),
        TEST(every_single_failure_is_outlived),
        TEST(a_full_disk_is_told_and_ends),
        TEST(a_real_full_disk),
        TEST(closed_in_trouble),
        TEST(opening_can_fail_anywhere),
        TEST(out_of_memory),
    };
    if (fault_vfs_register() != 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
