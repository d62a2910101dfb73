/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* compute/pool: warm runners, and everything that can go wrong inside one. Real processes with the echo backend. */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cpn/error.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* the runner is built likewise and then has no filter and no memory limit */
#else
#define SANITIZED 0
#endif

static void echo_answers_and_stays_warm(void **state)
{
    (void)state;
    struct cpni_pool *pool = open_pool(2, 0);
    struct cpni_job job = { .ticket = 7, .model = { "echo@1", "/", "echo", NULL, 0 }, .annotate = true };
    size_t sizes[] = { 0, 5, 48 << 10, (48 << 10) + 1, 5 << 20 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *data = malloc(sizes[i] + 1);
        memset(data, (int)i + 1, sizes[i]);
        job.input = cpni_bytes_copy(data, sizes[i]);
        start(pool, 1, job);
        assert_int_equal(cpni_pool_start(pool, 1, &(struct cpni_job) { .model = job.model }), CPN_EBUSY);
        struct cpni_outcome out = next(pool);
        assert_int_equal(out.code, 0);
        assert_int_equal(out.class, CPNI_OUTCOME_OK);
        assert_int_equal(out.ticket, 7);
        assert_int_equal(out.slot, 1);
        assert_int_equal(out.spawned, i == 0);
        assert_int_equal(out.label_count, 1);
        assert_string_equal(out.labels[0].name, "echo");
        assert_true(out.memory_bytes > 100000);
        if (sizes[i] != 0) {
            assert_int_equal(out.output->size, sizes[i]);
            assert_memory_equal(out.output->data, data, sizes[i]);
            assert_string_equal(out.output_type, "application/octet-stream");
        }
        cpni_outcome_clear(&out);
        free(data);
    }
    assert_int_equal(spawned(pool), 1);
    cpni_pool_close(pool);
}

static void input_from_a_file(void **state)
{
    (void)state;
    struct cpni_pool *pool = open_pool(1, 0);
    char path[] = "/tmp/cpn-pool-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && unlink(path) == 0);
    assert_int_equal(write(fd, "from a file", 11), 11);
    struct cpni_job job = { .ticket = 1, .model = { "echo@1", "/", "echo", NULL, 0 }, .annotate = true };
    job.input_fd = fd;
    job.input_size = 11;
    start(pool, 0, job);
    struct cpni_outcome out = next(pool);
    assert_int_equal(out.code, 0);
    assert_memory_equal(out.output->data, "from a file", 11);
    cpni_outcome_clear(&out);
    job.input_size = 12; /* larger than the file: mapping it would be a SIGBUS */
    start(pool, 0, job);
    out = next(pool);
    assert_int_equal(out.code, CPN_EIO);
    assert_int_equal(out.class, CPNI_OUTCOME_INTERNAL);
    close(fd);
    cpni_pool_close(pool);
}

static void failures_have_classes(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        int code;
        enum cpni_outcome_class class;
        const char *detail;
    } cases[] = {
        { "bad", CPN_EBADINPUT, CPNI_OUTCOME_BAD_INPUT, "the input says that it is bad" },
        { "crash", CPN_ECRASHED, CPNI_OUTCOME_CRASH, "SIGSEGV" },
        { "exit 3", CPN_ECRASHED, CPNI_OUTCOME_CRASH, "exit status 3" },
        { "fail", CPN_EINTERNAL, CPNI_OUTCOME_INTERNAL, "internal error" },
        { "babble 1", CPN_ECRASHED, CPNI_OUTCOME_CRASH, "" },
        { "babble 100000", CPN_ECRASHED, CPNI_OUTCOME_CRASH, "" },
        { "labels 1025", CPN_ETOOBIG, CPNI_OUTCOME_INTERNAL, "" },
        { "output 300000000", SANITIZED ? CPN_ETOOBIG : CPN_ENOMEM, CPNI_OUTCOME_INTERNAL, "" },
    };
    struct cpni_pool *pool = open_pool(1, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cpni_outcome out = obey(pool, cases[i].command);
        assert_int_equal(out.code, cases[i].code);
        assert_int_equal(out.class, cases[i].class);
        assert_non_null(strstr(out.detail, cases[i].detail[0] != 0 && !SANITIZED ? cases[i].detail : ""));
        assert_int_equal(out.label_count, 0);
        assert_null(out.output);
        out = obey(pool, "labels 1024"); /* the slot serves on */
        assert_int_equal(out.code, 0);
        assert_int_equal(out.label_count, 1024);
        cpni_outcome_clear(&out);
    }
    cpni_pool_close(pool);
}

static void models_that_do_not_load(void **state)
{
    (void)state;
    static const struct cpn_backend_param fail = { "load", "fail" };
    static const struct cpn_backend_param crash = { "load", "crash" };
    struct cpni_pool *pool = open_pool(1, 0);
    struct cpni_job job = { .ticket = 1, .kind = CPNI_JOB_PREPARE, .model = { "m@1", "/", "echo", &fail, 1 } };
    start(pool, 0, job);
    struct cpni_outcome out = next(pool);
    assert_int_equal(out.code, CPN_EMODEL);
    assert_int_equal(out.class, CPNI_OUTCOME_MODEL);
    assert_string_equal(out.detail, "parameter load=fail asks for it");
    job.model.params = &crash;
    start(pool, 0, job);
    out = next(pool);
    assert_int_equal(out.class, CPNI_OUTCOME_CRASH);
    assert_non_null(strstr(out.detail, "loaded the model"));
    job.model.backend = "no.such";
    start(pool, 0, job);
    out = next(pool);
    assert_int_equal(out.code, CPN_ENOTSUP);
    assert_int_equal(out.class, CPNI_OUTCOME_MODEL);
    assert_non_null(strstr(out.detail, "no.such"));
    job.model.backend = "../echo"; /* becomes part of a path */
    assert_int_equal(cpni_pool_start(pool, 0, &job), CPN_EINVAL);
    job.model.backend = "echo";
    job.model.param_count = 0;
    start(pool, 0, job); /* loads, has no sample to run */
    out = next(pool);
    assert_int_equal(out.code, 0);
    assert_int_equal(out.label_count, 0);
    assert_true(out.spawned && out.timings.load_us > 0);
    cpni_pool_close(pool);
}

static void deadline_and_cancel_kill(void **state)
{
    (void)state;
    static const char *const commands[] = { "hang", "spin" };
    struct cpni_pool *pool = open_pool(1, 0);
    for (size_t i = 0; i < 2; i++) {
        struct cpni_job job = command_job(1, "echo@1", commands[i]);
        job.deadline_us = cpni_now_us() + 300000;
        start(pool, 0, job);
        struct cpni_outcome out = next(pool);
        assert_int_equal(out.class, CPNI_OUTCOME_TIMEOUT);
        assert_int_equal(out.code, CPN_ETIMEDOUT);
        assert_true(cpni_now_us() >= job.deadline_us);
        assert_int_equal(kill(out.pid, 0), -1);
        start(pool, 0, command_job(2, "echo@1", commands[i]));
        assert_int_equal(cpni_pool_cancel(pool, 3), CPN_ENOTFOUND);
        assert_int_equal(cpni_pool_cancel(pool, 2), 0);
        out = next(pool);
        assert_int_equal(out.class, CPNI_OUTCOME_CANCELLED);
        assert_int_equal(cpni_pool_cancel(pool, 2), CPN_ENOTFOUND);
    }
    struct cpni_outcome out = obey(pool, "sleep 1");
    assert_int_equal(out.code, 0);
    cpni_outcome_clear(&out);
    cpni_pool_close(pool);
}

static void alternating_models_reload_nothing(void **state)
{
    (void)state;
    struct cpni_pool *pool = open_pool(2, 0);
    for (uint64_t i = 0; i < 200; i++) {
        start(pool, 0, command_job(i, i % 2 == 0 ? "faces@1" : "people@1", "sleep 0"));
        struct cpni_outcome out = next(pool);
        assert_int_equal(out.code, 0);
        cpni_outcome_clear(&out);
    }
    assert_int_equal(spawned(pool), 2);
    cpni_pool_forget(pool, "people@1");
    struct cpni_pool_usage usage;
    cpni_pool_usage(pool, &usage);
    assert_int_equal(usage.runners, 1);
    start(pool, 0, command_job(1, "people@1", "sleep 0"));
    struct cpni_outcome out = next(pool);
    assert_int_equal(out.code, 0);
    assert_true(out.spawned);
    cpni_outcome_clear(&out);
    cpni_pool_close(pool);
}

static void memory_bound_evicts_the_oldest(void **state)
{
    (void)state;
    struct cpni_pool *pool = open_pool(2, 1); /* any runner is too large */
    struct cpni_outcome out;
    for (uint64_t i = 0; i < 4; i++) {
        start(pool, (uint32_t)i % 2, command_job(i, "faces@1", "sleep 0"));
        out = next(pool);
        assert_int_equal(out.code, 0);
        cpni_outcome_clear(&out);
        struct cpni_pool_usage usage;
        cpni_pool_usage(pool, &usage);
        assert_int_equal(usage.runners, 0);
    }
    assert_int_equal(spawned(pool), 4);
    cpni_pool_close(pool);

    start(pool = open_pool(1, 0), 0, command_job(1, "a", "sleep 0"));
    out = next(pool);
    uint64_t one = out.memory_bytes;
    cpni_outcome_clear(&out);
    cpni_pool_close(pool);

    pool = open_pool(2, one * 5 / 2); /* two fit */
    static const char *const order[] = { "a", "b", "a", "c", "a", "b" }; /* c evicts b, the second b evicts c */
    for (uint64_t i = 0; i < 6; i++) {
        start(pool, 0, command_job(i, order[i], "sleep 0"));
        out = next(pool);
        assert_int_equal(out.code, 0);
        assert_int_equal(out.spawned, i == 0 || i == 1 || i == 3 || i == 5);
        cpni_outcome_clear(&out);
    }
    cpni_pool_close(pool);
}

static void sandbox_refuses(void **state)
{
    (void)state;
    if (SANITIZED || !CPN_TEST_SANDBOX) {
        skip();
    }
    static const char *const commands[] = { "socket", "write", "read", "fork", "exec", "kill", "unfollow" };
    struct cpni_pool *pool = open_pool(1, 0);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct cpni_outcome out = obey(pool, commands[i]);
        assert_int_equal(out.code, 0);
        assert_string_equal(out.labels[0].name, "EPERM");
        cpni_outcome_clear(&out);
    }
    struct cpni_outcome out = obey(pool, "leak");
    assert_int_equal(out.class, CPNI_OUTCOME_INTERNAL);
    assert_int_equal(out.code, CPN_ENOMEM);
    assert_non_null(strstr(out.detail, "MiB"));
    out = obey(pool, "sleep 0");
    assert_int_equal(out.code, 0);
    cpni_outcome_clear(&out);
    cpni_pool_close(pool);
}

static void a_dead_idle_runner_costs_nothing(void **state)
{
    (void)state;
    struct cpni_pool *pool = open_pool(1, 0);
    struct cpni_outcome out = obey(pool, "sleep 0");
    cpni_outcome_clear(&out);
    assert_int_equal(kill(out.pid, SIGKILL), 0); /* as the kernel does when memory is short */
    struct cpni_pool_usage usage;
    int64_t deadline_us = cpni_now_us() + PATIENCE_US;
    do {
        cpni_pool_usage(pool, &usage);
        poll(NULL, 0, 1);
    } while (usage.runners != 0 && cpni_now_us() < deadline_us);
    assert_int_equal(usage.runners, 0); /* noticed without a job */
    out = obey(pool, "sleep 0");
    assert_int_equal(out.code, 0);
    assert_true(out.spawned);
    cpni_outcome_clear(&out);
    cpni_pool_close(pool);
}

/* ---- the parent dies ---- */

/* This program again, as the parent: starts a hanging or spinning runner, prints its pid and an idle one's, and waits
 * to be killed. */
static _Noreturn void be_the_parent(const char *command)
{
    struct cpni_pool *pool = open_pool(2, 0);
    int hung = obey(pool, "sleep 0").pid; /* the same runner then hangs */
    start(pool, 0, command_job(1, "echo@1", command));
    start(pool, 1, command_job(2, "idle@1", "sleep 0"));
    printf("%d %d\n", hung, (int)next(pool).pid);
    fflush(stdout);
    for (;;) {
        pause();
    }
}

static void killed_parent_leaves_no_runner(void **state)
{
    (void)state;
    static const char *const commands[] = { "hang", "spin" };
    for (int i = 0; i < 2; i++) {
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        char *argv[] = { (char *)"unit-pool", (char *)"--parent", (char *)commands[i], NULL };
        pid_t parent;
        assert_int_equal(posix_spawn(&parent, "/proc/self/exe", &actions, NULL, argv, environ), 0);
        posix_spawn_file_actions_destroy(&actions);
        close(ends[1]);
        char text[64] = "";
        assert_true(read(ends[0], text, sizeof text - 1) > 0);
        close(ends[0]);
        pid_t runners[2];
        assert_int_equal(sscanf(text, "%d %d", &runners[0], &runners[1]), 2);
        assert_int_equal(kill(parent, SIGKILL), 0);
        assert_int_equal(waitpid(parent, NULL, 0), parent);
        int64_t deadline_us = cpni_now_us() + 5000000; /* 1 s is promised; a crowded test machine gets more */
        for (int k = 0; k < 2; k++) {
            /* we are their reaper (PR_SET_CHILD_SUBREAPER), so that "gone" does not wait for an init */
            int status = 0;
            pid_t pid;
            while ((pid = waitpid(runners[k], &status, WNOHANG)) == 0 && cpni_now_us() < deadline_us) {
                poll(NULL, 0, 1);
            }
            assert_int_equal(pid, runners[k]);
            /* the idle one may have seen the end of its socket before the signal came */
            assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || (k == 1 && status == 0));
        }
    }
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    struct cpni_pool *pool = NULL;
    char detail[CPN_BACKEND_DETAIL];
    assert_int_equal(cpni_pool_open(&(struct cpni_pool_options) { .slots = 257 }, &pool, detail), CPN_EINVAL);
    assert_non_null(strstr(detail, "256"));
    assert_int_equal(cpni_pool_open(&(struct cpni_pool_options) { .runner = "/nowhere/cpn-runner" }, &pool, detail), 0);
    struct cpni_outcome out = obey(pool, "sleep 0");
    assert_int_equal(out.code, CPN_ENOTSUP);
    assert_non_null(strstr(out.detail, "/nowhere/cpn-runner"));
    assert_int_equal(cpni_pool_start(pool, 1, &(struct cpni_job) { .ticket = 1 }), CPN_EINVAL);
    assert_int_equal(cpni_pool_start(pool, 0, &(struct cpni_job) { .ticket = 1 }), CPN_EINVAL);
    cpni_pool_close(pool);
    cpni_pool_close(NULL);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--parent") == 0) {
        be_the_parent(argv[2]);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_answers_and_stays_warm),
        cmocka_unit_test(input_from_a_file),
        cmocka_unit_test(failures_have_classes),
        cmocka_unit_test(models_that_do_not_load),
        cmocka_unit_test(deadline_and_cancel_kill),
        cmocka_unit_test(alternating_models_reload_nothing),
        cmocka_unit_test(memory_bound_evicts_the_oldest),
        cmocka_unit_test(sandbox_refuses),
        cmocka_unit_test(a_dead_idle_runner_costs_nothing),
        cmocka_unit_test(killed_parent_leaves_no_runner),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
