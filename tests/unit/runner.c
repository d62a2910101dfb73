/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* compute/attempt and compute/runner: what a taken-over runner may send, memory that runs out, and the program by hand.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "compute/attempt.h"
#include "compute/plugins.h"
#include "compute/pool.h"
#include "compute/runner.h"
#include "compute/runner_proto.h"

/* ---- a runner that says anything: this test has its end of the pair ---- */

struct hostile {
    int ends[2];
    int wake_fd;
    atomic_bool stop;
    struct cpni_runner runner;
    struct cpni_attempt_job job;
    struct cpni_attempt attempt;
    uint8_t packet[CPNI_RUNNER_PACKET_MAX];
};

static void open_hostile(struct hostile *h)
{
    memset(h, 0, sizeof *h);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, h->ends), 0);
    int room = 1 << 20; /* a packet that is too large must get through to be refused */
    setsockopt(h->ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    h->runner = (struct cpni_runner) { .pid = -1, .pidfd = -1, .fd = h->ends[0] };
    const struct cpni_job job = { .ticket = 1, .model = { "m", "/", "echo", NULL, 0 } };
    assert_int_equal(cpni_attempt_job_copy(&job, "/plugins", &h->job), 0);
    h->attempt = (struct cpni_attempt) { &h->runner, &h->job, h->wake_fd, &h->stop, h->packet };
}

static void close_hostile(struct hostile *h)
{
    cpni_attempt_job_clear(&h->job);
    close(h->ends[0]);
    close(h->ends[1]);
    close(h->wake_fd);
}

static struct cpni_runner_done good_done(void)
{
    return (struct cpni_runner_done) { .head = { CPNI_RUNNER_VERSION, CPNI_RUNNER_DONE }, .width = 4, .height = 3 };
}

/* Says these bytes and then nothing; what becomes of the attempt. */
static struct cpni_outcome say(const void *bytes, size_t size, bool *again)
{
    struct hostile h;
    struct cpni_outcome out = { 0 };
    open_hostile(&h);
    assert_int_equal(send(h.ends[1], bytes, size, 0), (ssize_t)size);
    *again = cpni_attempt_run(&h.attempt, &out);
    close_hostile(&h);
    return out;
}

static void assert_refused(const void *bytes, size_t size)
{
    bool again = true;
    struct cpni_outcome out = say(bytes, size, &again);
    assert_false(again);
    assert_int_equal(out.class, CPNI_OUTCOME_CRASH);
    assert_null(out.labels);
    assert_null(out.output);
}

static void lies_about_sizes_are_refused(void **state)
{
    (void)state;
    struct cpni_runner_done done = good_done();
    bool again = false;
    struct cpni_outcome out = say(&done, sizeof done, &again); /* the truth, for comparison */
    assert_true(again && out.code == 0 && out.width == 4);
    assert_refused(&done, 3);
    assert_refused(&done, sizeof done - 1);
    done.head.version++;
    assert_refused(&done, sizeof done);
    done = good_done();
    done.head.type = CPNI_RUNNER_LOADED;
    assert_refused(&done, sizeof done);
    done = good_done();
    done.label_count = 1;
    assert_refused(&done, sizeof done);
    done.label_count = UINT32_MAX; /* times the size of a label is small again in 32 bits */
    assert_refused(&done, sizeof done);
    done = good_done();
    done.output_bytes = 5;
    assert_refused(&done, sizeof done);
    static uint8_t large[CPNI_RUNNER_PACKET_MAX + sizeof(struct cpn_label)];
    done = good_done();
    done.label_count = CPN_RESULT_LABELS + 1;
    memcpy(large, &done, sizeof done);
    assert_refused(large, sizeof large);
}

static void texts_and_numbers_are_made_harmless(void **state)
{
    (void)state;
    struct {
        struct cpni_runner_done done;
        struct cpn_label labels[3];
    } packet;
    memset(&packet, 0, sizeof packet);
    packet.done = good_done();
    packet.done.label_count = 3;
    memset(packet.labels[0].name, 'x', sizeof packet.labels[0].name); /* no end */
    packet.labels[0].confidence = NAN;
    strcpy(packet.labels[1].name, "\x1b[2Jann\n");
    packet.labels[1].confidence = 7;
    packet.labels[2].confidence = -INFINITY;
    bool again = false;
    struct cpni_outcome out = say(&packet, sizeof packet.done + sizeof packet.labels, &again);
    assert_true(again);
    assert_int_equal(out.label_count, 3);
    assert_int_equal(strlen(out.labels[0].name), CPN_LABEL_NAME - 1);
    assert_true(out.labels[0].confidence == 0 && out.labels[1].confidence == 1 && out.labels[2].confidence == 0);
    assert_string_equal(out.labels[1].name, " [2Jann ");
    cpni_outcome_clear(&out);

    struct cpni_runner_done done = good_done();
    done.code = 12345; /* no error code of ours */
    memset(done.detail, '\n', sizeof done.detail);
    out = say(&done, sizeof done, &again);
    assert_int_equal(out.code, CPN_EINTERNAL);
    assert_int_equal(out.class, CPNI_OUTCOME_INTERNAL);
    assert_null(strchr(out.detail, '\n'));
    done.code = CPN_ECRASHED; /* a runner does not decide that it crashed, timed out or was cancelled */
    out = say(&done, sizeof done, &again);
    assert_int_equal(out.class, CPNI_OUTCOME_INTERNAL);
}

static void a_model_cannot_pass_for_a_bad_photo(void **state)
{
    (void)state;
    struct hostile h;
    struct cpni_outcome out = { 0 };
    open_hostile(&h);
    struct cpni_runner_loaded loaded = { .head = { CPNI_RUNNER_VERSION, CPNI_RUNNER_LOADED }, .code = CPN_EBADINPUT };
    assert_int_equal(send(h.ends[1], &loaded, sizeof loaded, 0), sizeof loaded);
    assert_false(cpni_attempt_load(&h.attempt, 1000000, &out));
    assert_int_equal(out.class, CPNI_OUTCOME_INTERNAL);
    close_hostile(&h);
}

static void silence_ends_at_the_deadline(void **state)
{
    (void)state;
    struct hostile h;
    struct cpni_outcome out = { 0 };
    open_hostile(&h);
    assert_false(cpni_attempt_load(&h.attempt, 20000, &out));
    assert_int_equal(out.class, CPNI_OUTCOME_TIMEOUT);
    eventfd_write(h.wake_fd, 1); /* woken for nothing first, then for a reason */
    h.job.job.deadline_us = cpni_now_us() + 20000;
    assert_false(cpni_attempt_run(&h.attempt, &out));
    assert_int_equal(out.class, CPNI_OUTCOME_TIMEOUT);
    atomic_store(&h.stop, true);
    eventfd_write(h.wake_fd, 1);
    h.job.job.deadline_us = 0;
    assert_false(cpni_attempt_run(&h.attempt, &out));
    assert_int_equal(out.class, CPNI_OUTCOME_CANCELLED);
    close_hostile(&h);
}

/* ---- memory ---- */

static void memory_runs_out_at_every_point(void **state)
{
    (void)state;
    static const struct cpn_backend_param params[] = { { "delay_ms", "0" }, { "test", "0" } };
    const struct cpni_pool_options options = { .slots = 2, .runner = CPN_TEST_RUNNER, .plugins = CPN_TEST_PLUGINS };
    char detail[CPN_BACKEND_DETAIL];
    struct cpni_pool *pool = NULL;
    unsigned nth = 1;
    for (int rc = CPN_ENOMEM; rc != 0; nth++) {
        cpni_alloc_fail(nth);
        rc = cpni_pool_open(&options, &pool, detail);
        cpni_alloc_fail(0);
        assert_true(rc == 0 || rc == CPN_ENOMEM);
        assert_true(rc == 0 || pool == NULL);
    }
    assert_true(nth > 2);
    struct cpni_job job = { .ticket = 1, .model = { "m", "/", "echo", params, 2 }, .input = cpni_bytes_copy("abc", 3) };
    nth = 1;
    for (int rc = CPN_ENOMEM; rc != 0; nth++) {
        cpni_alloc_fail(nth);
        rc = cpni_pool_start(pool, 0, &job);
        cpni_alloc_fail(0);
        assert_true(rc == 0 || rc == CPN_ENOMEM);
        assert_int_equal(job.input->refs, rc == 0 ? 2 : 1);
    }
    assert_true(nth > 3);
    cpni_bytes_unref(job.input);
    cpni_pool_close(pool);
}

/* ---- the program ---- */

static int run_by_hand(const char *const *args)
{
    struct cpni_runner tool;
    char detail[CPN_BACKEND_DETAIL];
    char how[64];
    assert_int_equal(cpni_runner_spawn_tool(CPN_TEST_RUNNER, args, &tool, detail), 0);
    char text[256];
    while (read(tool.fd, text, sizeof text) > 0) { }
    int status = -1;
    assert_int_equal(waitpid(tool.pid, &status, 0), tool.pid);
    cpni_runner_end(&tool, how, sizeof how); /* reaped already: it must cope */
    assert_string_equal(how, "gone");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void by_hand_it_says_no(void **state)
{
    (void)state;
    assert_int_equal(run_by_hand((const char *const[]) { "cpn-runner", NULL }), 2);
    assert_int_equal(run_by_hand((const char *const[]) { "cpn-runner", "--serve", "1", NULL }), 1); /* not its parent */
    assert_int_equal(run_by_hand((const char *const[]) { "cpn-runner", "--describe", "/dev/null", NULL }), 1);
    assert_int_equal(run_by_hand((const char *const[]) { "cpn-runner", "--build", "1", "a", "b", "c", NULL }), 2);
}

static void paths_are_found(void **state)
{
    (void)state;
    struct cpni_compute_paths paths;
    cpni_compute_paths("/a/runner", "/b/plugins", &paths);
    assert_string_equal(paths.runner, "/a/runner");
    assert_string_equal(paths.plugins, "/b/plugins");
    cpni_compute_paths(NULL, NULL, &paths); /* nothing beside a unit test: where it would be installed */
    assert_non_null(strstr(paths.runner, "cpn-runner"));
    assert_non_null(strstr(paths.plugins, "backends"));
    assert_int_equal(paths.runner[0], '/');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lies_about_sizes_are_refused),
        cmocka_unit_test(texts_and_numbers_are_made_harmless),
        cmocka_unit_test(a_model_cannot_pass_for_a_bad_photo),
        cmocka_unit_test(silence_ends_at_the_deadline),
        cmocka_unit_test(memory_runs_out_at_every_point),
        cmocka_unit_test(by_hand_it_says_no),
        cmocka_unit_test(paths_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
