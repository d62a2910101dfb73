/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions of the master's core where memory runs out in any step: the session comes to the same end, and nobody stays locked. */
#include <stdio.h>

#include "session_fixture.h"

static const struct cpn_id session = { { 1, 0, 0, 0, 77 } };

/* Everything once more where a step failed, for as long as it takes. */
static void carry_on(struct network *n, const char *spec)
{
    for (unsigned i = 0; i < 2000; i++) {
        if (n->f.failed) {
            all_again(n, &session);
        } else if (n->done == 0 && n->refused == 0) {
            start(n, spec);
            if (!n->f.failed) {
                seconds(n, 1);
            }
        } else if (train_on(n, 1) == 0) {
            if (n->f.failed) {
                continue;
            }
            seconds(n, 1);
            if (!n->f.failed && look(n)->state >= CPNI_SESSION_COMPLETED) {
                return;
            }
        }
    }
    fail_msg("the session does not end");
}

/* Whether the failure came at all. */
static bool run(const char *spec, unsigned nth, uint64_t steps, float *value, uint32_t *lane)
{
    struct network n;
    network_open(&n, 2);
    n.steps = steps;
    n.lanes = 2;
    n.f.arm = nth;
    carry_on(&n, spec);
    bool failed = n.f.arm == 0;
    if (n.row.state == CPNI_SESSION_FAILED) {
        assert_non_null(strstr(n.text, "memory"));
    } else {
        assert_int_equal(n.row.state, CPNI_SESSION_COMPLETED);
        assert_int_equal(n.row.weights_size, sizeof n.outcome);
        *value = n.outcome[0];
        *lane = n.row.lane;
    }
    all_released(&n);
    network_close(&n);
    return failed;
}

static void every_request_fails_once(const char *spec, uint64_t steps)
{
    float wanted = 0, value = 0;
    uint32_t best = 0, lane = 0;
    assert_false(run(spec, 1000000000, steps, &wanted, &best));
    for (unsigned nth = 1; run(spec, nth, steps, &value, &lane); nth++) {
        assert_int_equal(lane, best);
        assert_true(lane != UINT32_MAX || value == wanted || value == 0);
    }
}

static void average_without_memory(void **state)
{
    (void)state;
    every_request_fails_once("mode average\ntrainer dnn\npeers 2\nlocal-steps 20\ncheckpoint 2\nlane batch=10,epochs=2\n", 0);
}

static void sync_without_memory(void **state)
{
    (void)state;
    every_request_fails_once("mode sync\ntrainer dnn\npeers 2\nlocal-steps 5\ncheckpoint 1\nlane batch=100,epochs=2\n", 5);
}

static void sweep_without_memory(void **state)
{
    (void)state;
    every_request_fails_once("mode sweep\ntrainer dnn\npeers 2\ncheckpoint 1\nhalving 1\nlane epochs=3\nlane epochs=3\nlane epochs=3\n", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(average_without_memory),
        cmocka_unit_test(sync_without_memory),
        cmocka_unit_test(sweep_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
