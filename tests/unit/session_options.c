/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* role/session_options: what a program says about a session becomes a spec, or a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "role/session.h"

static void lane_is(const struct cpni_session_spec *spec, uint32_t lane, const char *expected)
{
    char text[CPNI_LANE_TEXT];
    cpni_lane_spec_text(&spec->lanes[lane], text);
    assert_string_equal(text, expected);
}

static void nothing_said_is_one_lane_of_average(void **state)
{
    const struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    struct cpni_session_spec spec;
    char detail[CPN_DETAIL];
    (void)state;
    assert_int_equal(cpni_session_spec_of(&options, &spec, detail), 0);
    assert_int_equal(spec.mode, CPNI_MODE_AVERAGE);
    assert_string_equal(spec.trainer, "dnn");
    assert_int_equal(spec.peers, 1);
    assert_int_equal(spec.local_steps, 200);
    assert_int_equal(spec.checkpoint, 10);
    assert_int_equal(spec.validation_ppm, 100000);
    assert_int_equal(spec.split_seed, 1);
    assert_int_equal(spec.lane_count, 1);
    lane_is(&spec, 0, "lr=0.001,batch=64,epochs=10,hidden=128:64,optimizer=adam,momentum=0.9,decay=0,seed=1");
    cpni_session_spec_free(&spec);
}

static void what_is_said_is_taken(void **state)
{
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    struct cpni_session_spec spec;
    char detail[CPN_DETAIL];
    (void)state;
    options.trainer = "torch";
    options.mode = CPN_MODE_SYNC;
    options.peers = 3;
    options.local_steps = 50;
    options.validation = -1;
    options.split_seed = 9;
    options.settings = "lr=1e-2,hidden=none";
    assert_int_equal(cpni_session_spec_of(&options, &spec, detail), 0);
    assert_int_equal(spec.mode, CPNI_MODE_SYNC);
    assert_string_equal(spec.trainer, "torch");
    assert_int_equal(spec.peers, 3);
    assert_int_equal(spec.local_steps, 50);
    assert_int_equal(spec.checkpoint, 1); /* of sync there is no other */
    assert_int_equal(spec.validation_ppm, 0);
    assert_int_equal(spec.split_seed, 9);
    lane_is(&spec, 0, "lr=1e-2,batch=64,epochs=10,hidden=none,optimizer=adam,momentum=0.9,decay=0,seed=1");
    cpni_session_spec_free(&spec);
    options = (struct cpn_session_options)CPN_SESSION_OPTIONS_INIT;
    options.peers = 4;
    options.quorum = 3;
    options.int8 = true;
    options.checkpoint = 4;
    options.validation = 0.25;
    assert_int_equal(cpni_session_spec_of(&options, &spec, detail), 0);
    assert_int_equal(spec.quorum, 3);
    assert_true(spec.int8);
    assert_int_equal(spec.checkpoint, 4);
    assert_int_equal(spec.validation_ppm, 250000);
    cpni_session_spec_free(&spec);
}

static void a_sweep_multiplies_configurations(void **state)
{
    static const char *const configurations[] = { "epochs=5", "epochs=7,hidden=32", NULL };
    static const char *const sweep[] = { "lr=1e-2,1e-3,1e-4", "hidden=16,8:4", NULL };
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    struct cpni_session_spec spec;
    char detail[CPN_DETAIL];
    (void)state;
    options.settings = "batch=32";
    options.configurations = configurations;
    options.sweep = sweep;
    options.halving = true;
    options.peers = 2;
    assert_int_equal(cpni_session_spec_of(&options, &spec, detail), 0);
    assert_int_equal(spec.mode, CPNI_MODE_SWEEP);
    assert_int_equal(spec.checkpoint, 1);
    assert_int_equal(spec.lane_count, 12);
    lane_is(&spec, 0, "lr=1e-2,batch=32,epochs=5,hidden=16,optimizer=adam,momentum=0.9,decay=0,seed=1");
    lane_is(&spec, 1, "lr=1e-2,batch=32,epochs=7,hidden=16,optimizer=adam,momentum=0.9,decay=0,seed=1");
    lane_is(&spec, 4, "lr=1e-4,batch=32,epochs=5,hidden=16,optimizer=adam,momentum=0.9,decay=0,seed=1");
    lane_is(&spec, 11, "lr=1e-4,batch=32,epochs=7,hidden=8:4,optimizer=adam,momentum=0.9,decay=0,seed=1");
    for (uint32_t i = 0; i < spec.lane_count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            assert_memory_not_equal(&spec.lanes[i], &spec.lanes[j], sizeof spec.lanes[i]);
        }
    }
    cpni_session_spec_free(&spec);
    options = (struct cpn_session_options)CPN_SESSION_OPTIONS_INIT;
    options.configurations = configurations + 1; /* one: no sweep */
    assert_int_equal(cpni_session_spec_of(&options, &spec, detail), 0);
    assert_int_equal(spec.mode, CPNI_MODE_AVERAGE);
    lane_is(&spec, 0, "lr=0.001,batch=64,epochs=7,hidden=32,optimizer=adam,momentum=0.9,decay=0,seed=1");
    cpni_session_spec_free(&spec);
}

/* Each says what was expected. */
static void refused(const struct cpn_session_options *options, const char *sentence)
{
    struct cpni_session_spec spec;
    char detail[CPN_DETAIL] = "";
    assert_int_equal(cpni_session_spec_of(options, &spec, detail), CPN_EINVAL);
    if (strstr(detail, sentence) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", detail, sentence);
    }
}

#define REFUSED(sentence, ...) refused(&(struct cpn_session_options){ .size = sizeof(struct cpn_session_options), __VA_ARGS__ }, sentence)

static void wrong_options_are_refused_with_a_sentence(void **state)
{
    static const char *const twice[] = { "lr=1,2", "lr=3,4", NULL };
    static const char *const nothing[] = { "lr", NULL };
    static const char *const empty[] = { "lr=1e-2,,1e-3", NULL };
    static const char *const two[] = { "lr=1e-2", "lr=1e-3", NULL };
    (void)state;
    REFUSED("unknown setting 'rate'", .settings = "rate=1");
    REFUSED("lr=fast: expected a number", .settings = "lr=fast");
    REFUSED("batch=0", .configurations = (const char *const[]){ "batch=0", NULL });
    REFUSED("swept twice", .sweep = twice);
    REFUSED("expected a setting and its values", .sweep = nothing);
    REFUSED("lr=: expected", .sweep = empty);
    REFUSED("peers", .peers = 257);
    REFUSED("quorum", .peers = 2, .quorum = 3);
    REFUSED("halving is for a sweep", .halving = true);
    REFUSED("int8 is for mode average", .int8 = true, .mode = CPN_MODE_SYNC);
    REFUSED("are a sweep", .mode = CPN_MODE_AVERAGE, .configurations = two);
    REFUSED("checkpoint", .mode = CPN_MODE_SWEEP, .checkpoint = 5);
    REFUSED("checkpoint", .checkpoint = 65);
    REFUSED("at most 0.9", .validation = 0.95);
    REFUSED("trainer", .trainer = "../dnn");
    REFUSED("trainer", .trainer = "a-name-that-is-much-too-long-for-a-trainer");
    REFUSED("mode", .mode = (enum cpn_session_mode)7);
}

static void configurations_are_bounded(void **state)
{
    static const char *const sweep[] = { "epochs=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32",
                                         "batch=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33", NULL };
    (void)state;
    REFUSED("1056 configurations: at most 1024", .sweep = sweep);
}

static void a_lane_makes_the_trainers_model(void **state)
{
    struct cpni_session_spec spec;
    struct cpni_model model;
    char detail[CPN_DETAIL] = "";
    (void)state;
    assert_int_equal(cpni_session_spec_init(&spec), 0);
    assert_int_equal(cpni_session_model_of(spec.lanes, 784, 10, &model, detail), 0);
    assert_int_equal(model.weight_count, 109386);
    strcpy(spec.lanes->lr, "0");
    assert_int_equal(cpni_session_model_of(spec.lanes, 784, 10, &model, detail), CPN_EINVAL);
    assert_non_null(strstr(detail, "learning rate"));
    cpni_session_spec_free(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_said_is_one_lane_of_average),
        cmocka_unit_test(what_is_said_is_taken),
        cmocka_unit_test(a_sweep_multiplies_configurations),
        cmocka_unit_test(wrong_options_are_refused_with_a_sentence),
        cmocka_unit_test(configurations_are_bounded),
        cmocka_unit_test(a_lane_makes_the_trainers_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
