/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* compute/trainers against a runner that was taken over and says anything: this program again, told by the name of the
 * plug-ins' directory what to do. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "compute/runner_proto.h"
#include "compute/trainer_proto.h"
#include "compute/trainers.h"

#define PATIENCE_MS 60000
#define WEIGHTS 1000
#define FLOOD 2000

/* ---- the runner ---- */

static void say(uint32_t type, struct cpni_trainer_answer answer)
{
    answer.version = CPNI_TRAINER_VERSION;
    answer.type = type;
    if (send(CPNI_RUNNER_FD, &answer, sizeof answer, MSG_NOSIGNAL) < 0) {
        _exit(0);
    }
}

static void hear(void *packet, size_t room)
{
    if (recv(CPNI_RUNNER_FD, packet, room, 0) <= 0) {
        _exit(0);
    }
}

static struct cpni_trainer_answer unending_texts(void)
{
    struct cpni_trainer_answer answer = { 0 };
    memset(answer.detail, 'x', sizeof answer.detail);
    memset(answer.device, 'y', sizeof answer.device);
    memset(answer.fingerprint, 'z', sizeof answer.fingerprint);
    return answer;
}

static void end_of_round(const char *what)
{
    if (strcmp(what, "long-vector") == 0) {
        say(CPNI_TRAINER_ROUNDED, (struct cpni_trainer_answer) { .vector_bytes = WEIGHTS * sizeof(float) + 1 });
    } else if (strcmp(what, "long-state") == 0) {
        say(CPNI_TRAINER_ROUNDED, (struct cpni_trainer_answer) { .state_bytes = UINT64_MAX });
    } else if (strcmp(what, "long-gradient") == 0) {
        say(CPNI_TRAINER_GRADIENT, (struct cpni_trainer_answer) { .vector_bytes = UINT64_MAX });
    } else if (strcmp(what, "opened-again") == 0) {
        say(CPNI_TRAINER_OPENED, (struct cpni_trainer_answer) { 0 });
    }
    for (int i = 0; strcmp(what, "flood") == 0 && i < FLOOD; i++) {
        say(CPNI_TRAINER_PROGRESS, (struct cpni_trainer_answer) { .epoch = (uint32_t)i + 1, .epoch_done = 1 });
    }
    if (strcmp(what, "flood") == 0) {
        say(CPNI_TRAINER_ROUNDED, (struct cpni_trainer_answer) { .round = 1 });
    }
    pause();
}

static _Noreturn void be_hostile(void)
{
    static struct cpni_trainer_open open;
    char packet[sizeof open];
    hear(&open, sizeof open);
    char *slash = strstr(open.plugin, "/cpn-trainer-");
    const char *what = open.plugin + 1;
    *(slash != NULL ? slash : open.plugin) = 0;
    if (strcmp(what, "garbage") == 0) {
        send(CPNI_RUNNER_FD, "?", 1, MSG_NOSIGNAL);
    } else if (strcmp(what, "large-packet") == 0) {
        send(CPNI_RUNNER_FD, &open, sizeof open, MSG_NOSIGNAL);
    } else if (strcmp(what, "no-weights") == 0) {
        say(CPNI_TRAINER_SIZED, (struct cpni_trainer_answer) { .weights = 0 });
    } else if (strcmp(what, "many-weights") == 0) {
        say(CPNI_TRAINER_SIZED, (struct cpni_trainer_answer) { .weights = UINT64_MAX });
    } else if (strcmp(what, "large-state") == 0) {
        say(CPNI_TRAINER_SIZED, (struct cpni_trainer_answer) { .weights = WEIGHTS, .state_bytes = UINT64_MAX });
    } else {
        say(CPNI_TRAINER_SIZED, (struct cpni_trainer_answer) { .weights = WEIGHTS, .state_bytes = 100 });
        hear(packet, sizeof packet);
        say(CPNI_TRAINER_OPENED, unending_texts());
        hear(packet, sizeof packet);
        end_of_round(what);
    }
    hear(packet, sizeof packet);
    _exit(0);
}

/* ---- its parent ---- */

static struct cpni_trainers *start(const char *what)
{
    char plugins[64], detail[CPNI_TRAINERS_DETAIL] = "";
    snprintf(plugins, sizeof plugins, "/%s", what);
    const struct cpni_trainers_options options = { .runner = "/proc/self/exe", .plugins = plugins };
    struct cpni_trainers *trainers = NULL;
    assert_int_equal(cpni_trainers_open(&options, &trainers, detail), 0);
    struct cpni_session_spec spec;
    assert_int_equal(cpni_session_spec_init(&spec), 0);
    int dataset = memfd_create("dataset", MFD_CLOEXEC);
    const struct cpni_lane_job job = { .ticket = 1, .spec = &spec, .dataset_fd = dataset, .state_fd = -1 };
    assert_int_equal(cpni_trainers_start(trainers, &job), 0);
    close(dataset);
    cpni_session_spec_free(&spec);
    return trainers;
}

static struct cpni_trained next(struct cpni_trainers *trainers)
{
    struct cpni_trained out;
    struct pollfd fd = { .fd = cpni_trainers_fd(trainers), .events = POLLIN };
    assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
    assert_int_equal(cpni_trainers_next(trainers, &out), 1);
    return out;
}

static void what_does_not_open(void **state)
{
    (void)state;
    static const char *const cases[] = { "garbage", "large-packet", "no-weights", "many-weights", "large-state" };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cpni_trainers *trainers = start(cases[i]);
        struct cpni_trained out = next(trainers);
        assert_int_equal(out.said, CPNI_SAID_OPEN);
        assert_int_equal(out.code, CPN_ECRASHED);
        assert_non_null(strstr(out.detail, "opened the lane"));
        cpni_trainers_close(trainers);
    }
}

static struct cpni_trainers *begin_round(const char *what)
{
    struct cpni_trainers *trainers = start(what);
    struct cpni_trained out = next(trainers);
    assert_int_equal(out.code, 0);
    assert_int_equal(strlen(out.device), sizeof out.device - 1);
    assert_int_equal(strlen(out.fingerprint), sizeof out.fingerprint - 1);
    const struct cpni_round_job job = { .round = 1, .steps = 1, .vector_fd = -1 };
    assert_int_equal(cpni_trainers_round(trainers, 1, &job), 0);
    return trainers;
}

static void what_does_not_fit(void **state)
{
    (void)state;
    static const char *const cases[] = { "long-vector", "long-state", "long-gradient", "opened-again" };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cpni_trainers *trainers = begin_round(cases[i]);
        struct cpni_trained out = next(trainers);
        assert_int_equal(out.said, CPNI_SAID_ROUND);
        assert_int_equal(out.code, CPN_ECRASHED);
        assert_null(out.vector);
        cpni_trainers_close(trainers);
    }
}

/* Nobody reads for a while: the runner has to wait, and nothing is lost. */
static void a_flood_waits(void **state)
{
    (void)state;
    struct cpni_trainers *trainers = begin_round("flood");
    for (uint32_t i = 1; i <= FLOOD; i++) {
        struct cpni_trained out = next(trainers);
        assert_int_equal(out.said, CPNI_SAID_PROGRESS);
        assert_int_equal(out.epoch, i);
    }
    struct cpni_trained out = next(trainers);
    assert_int_equal(out.said, CPNI_SAID_ROUND);
    assert_int_equal(out.code, 0);
    cpni_trainers_close(trainers);
    cpni_trainers_close(begin_round("flood")); /* and in the midst of one it can be ended */
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--train") == 0) {
        be_hostile();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_open),
        cmocka_unit_test(what_does_not_fit),
        cmocka_unit_test(a_flood_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
