/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The text of a session's spec: what is written reads back equal, what is wrong is told, and how many steps and rounds follow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "proto/session_spec.h"

static int read_text(const char *text, struct cpni_session_spec *spec, char *detail)
{
    return cpni_session_spec_read(cpni_str(text), spec, detail);
}

static void assert_refused(const char *text, const char *sentence)
{
    struct cpni_session_spec spec = { .peers = 77 };
    char detail[CPNI_SPEC_DETAIL] = "";
    assert_int_equal(read_text(text, &spec, detail), CPN_EBADINPUT);
    assert_string_equal(detail, sentence);
    assert_int_equal(spec.peers, 77);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    struct cpni_session_spec spec, again;
    struct cpni_buf text = { 0 }, second = { 0 };
    char detail[CPNI_SPEC_DETAIL];
    assert_int_equal(read_text("mode sweep\ntrainer torch\npeers 3\ncheckpoint 1\nhalving 1\nsplit-seed 9\nvalidation 250000\n"
                               "lane lr=1e-2,batch=32,hidden=300:200:100,optimizer=sgd,momentum=0.5,decay=1e-4,seed=7\n"
                               "lane hidden=none",
                               &spec, detail), 0);
    assert_int_equal(cpni_session_spec_write(&spec, &text), 0);
    assert_int_equal(cpni_session_spec_read((struct cpni_str){ (const char *)text.data, (uint32_t)text.size }, &again, detail), 0);
    assert_int_equal(cpni_session_spec_write(&again, &second), 0);
    assert_int_equal(text.size, second.size);
    assert_memory_equal(text.data, second.data, text.size);
    assert_int_equal(again.mode, CPNI_MODE_SWEEP);
    assert_int_equal(again.lane_count, 2);
    assert_string_equal(again.trainer, "torch");
    assert_true(again.halving && again.lanes[0].sgd && !again.lanes[1].sgd);
    assert_string_equal(again.lanes[0].lr, "1e-2");
    assert_int_equal(again.lanes[0].hidden[2], 100);
    assert_int_equal(again.lanes[1].hidden_count, 0);
    assert_int_equal(again.lanes[1].batch, 64);
    cpni_buf_free(&text);
    cpni_buf_free(&second);
    cpni_session_spec_free(&spec);
    cpni_session_spec_free(&again);
}

static void what_is_wrong_is_told(void **state)
{
    (void)state;
    assert_refused("", "the session has no lane line");
    assert_refused("mode avrage\nlane ", "mode: expected sweep, average or sync");
    assert_refused("peers 0\nlane ", "peers: expected a whole number from 1 to 256");
    assert_refused("peers 99999999999999999999\nlane ", "peers: expected a whole number from 1 to 256");
    assert_refused("trainer ../evil\nlane ", "trainer: expected a name such as dnn or torch");
    assert_refused("colour red\nlane ", "unknown line 'colour' in the session's text");
    assert_refused("lane \nlane ", "2 configurations are a sweep; average and sync have one");
    assert_refused("halving 1\nlane ", "halving is for a sweep");
    assert_refused("peers 2\nquorum 3\nlane ", "quorum: expected at most the number of peers, in mode average");
    assert_refused("mode sync\nencoding int8\ncheckpoint 1\nlane ", "encoding int8 is for mode average");
    assert_refused("mode sweep\nlane ", "checkpoint: modes sweep and sync have one after every round");
    assert_refused("lane lr=fast", "lr=fast: expected a number such as 0.001 or 1e-3");
    assert_refused("lane lr=-1", "lr=-1: expected a number such as 0.001 or 1e-3");
    assert_refused("lane lr=1e999", "lr=1e999: expected a number such as 0.001 or 1e-3");
    assert_refused("lane batch=0", "batch=0: expected a whole number from 1 to 65536");
    assert_refused("lane hidden=128:", "hidden=128:: expected widths such as 128:64 (at most 8, each 1 to 65536) or none");
    assert_refused("lane hidden=1:2:3:4:5:6:7:8:9",
                   "hidden=1:2:3:4:5:6:7:8:9: expected widths such as 128:64 (at most 8, each 1 to 65536) or none");
    assert_refused("lane speed=9", "unknown setting 'speed': expected lr, batch, epochs, hidden, optimizer, momentum, decay or seed");
}

static void a_wrong_setting_changes_nothing(void **state)
{
    (void)state;
    struct cpni_session_spec spec;
    char detail[CPNI_SPEC_DETAIL], text[CPNI_LANE_TEXT];
    assert_int_equal(cpni_session_spec_init(&spec), 0);
    assert_int_equal(cpni_lane_spec_set(&spec.lanes[0], cpni_str("batch=7,epochs=zero"), detail), CPN_EBADINPUT);
    assert_int_equal(spec.lanes[0].batch, 64);
    cpni_lane_spec_text(&spec.lanes[0], text);
    assert_string_equal(text, "lr=0.001,batch=64,epochs=10,hidden=128:64,optimizer=adam,momentum=0.9,decay=0,seed=1");
    cpni_session_spec_free(&spec);
}

static void rounds_are_all_steps(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "mode average\npeers 3\nlocal-steps 7\nlane batch=10,epochs=3", "mode sync\npeers 2\nlocal-steps 50\ncheckpoint 1\nlane batch=64,epochs=2",
        "mode sweep\npeers 1\ncheckpoint 1\nlane batch=10,epochs=3\nlane batch=64,epochs=5",
        "mode average\npeers 1\nlocal-steps 1000\nlane batch=64,epochs=1",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct cpni_session_spec spec;
        char detail[CPNI_SPEC_DETAIL];
        uint64_t rows = 0;
        assert_int_equal(read_text(texts[i], &spec, detail), 0);
        uint64_t rounds = cpni_session_rounds(&spec, 1001);
        for (uint32_t lane = 0; lane < cpni_session_lanes(&spec); lane++) {
            uint64_t steps = 0;
            for (uint64_t round = 1; round <= rounds; round++) {
                steps += cpni_session_round_steps(&spec, lane, 1001, round);
            }
            assert_int_equal(steps, cpni_session_epoch_steps(&spec, lane, 1001) * cpni_session_lane(&spec, lane)->epochs);
            assert_int_equal(cpni_session_round_steps(&spec, lane, 1001, rounds + 1), 0);
            rows += cpni_session_lane_rows(&spec, lane, 1001);
        }
        assert_int_equal(rows, spec.mode == CPNI_MODE_SWEEP ? 1001 * spec.lane_count : 1001);
        cpni_session_spec_free(&spec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(what_is_wrong_is_told),
        cmocka_unit_test(a_wrong_setting_changes_nothing),
        cmocka_unit_test(rounds_are_all_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
