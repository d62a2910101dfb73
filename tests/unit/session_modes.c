/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions of the master's core, modes sweep and sync. */
#include <stdio.h>

#include "session_fixture.h"

/* 800 rows, batch 10, 2 shards: 40 steps an epoch, 80 in all, 4 rounds of 20 */
#define SYNC "mode sync\ntrainer dnn\npeers 2\nlocal-steps 20\ncheckpoint 1\nlane batch=10,epochs=2\n"

static void start_sync(struct network *n)
{
    n->steps = 20;
    n->lanes = 2;
    start(n, SYNC);
}

static void end_sync(struct network *n)
{
    train_on(n, 10000);
    assert_int_equal(look(n)->state, CPNI_SESSION_COMPLETED);
    assert_int_equal(n->row.round, 4);
    assert_true(n->outcome[0] == restored(n, 0, 4) && n->outcome[VALUES - 1] == n->outcome[0]);
    assert_true(n->row.evaluated && n->row.reproducible);
    all_released(n);
}

static void gradients_are_averaged_every_step(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 5; seed++) {
        struct network n;
        network_open(&n, 2);
        n.seed = seed * 99991;
        start_sync(&n);
        end_sync(&n);
        assert_int_equal(n.row.repeated, 0);
        assert_int_equal(stored_of(&n, CPNI_COMMAND_SESSION_LANE), 8);
        network_close(&n);
    }
}

static void a_dead_peer_takes_all_back_to_the_round(void **state)
{
    (void)state;
    for (unsigned when = 1; when < 160; when += 13) {
        struct network n;
        network_open(&n, 3);
        start_sync(&n);
        train_on(&n, when);
        trainer_down(&n, when % 2);
        end_sync(&n);
        assert_int_equal(n.row.repeated, 1);
        network_close(&n);
    }
}

/* What rounds need goes over the bulk connection, which is as it was. */
static void a_hello_in_the_middle_of_a_round_costs_nothing(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    start_sync(&n);
    train_on(&n, 55);
    struct cpni_rec_TEXT backend = { .text = cpni_str("train.dnn 1.0") };
    struct cpni_msg hello = worker_hello(&n.t[1].control, 2, NULL, 0);
    hello.hello.backends = &backend;
    hello.hello.backends_count = 1;
    say(&n.f, &n.t[1].control, hello);
    welcomed(&n.f, &n.t[1].control);
    take_sends(&n);
    end_sync(&n);
    assert_int_equal(n.row.repeated, 0);
    network_close(&n);
}

static void a_master_that_dies_in_sync(void **state)
{
    (void)state;
    for (unsigned when = 10; when < 170; when += 31) {
        struct network n;
        network_open(&n, 2);
        start_sync(&n);
        train_on(&n, when);
        const struct cpn_id session = an_id(77);
        master_dies(&n, &session);
        end_sync(&n);
        network_close(&n);
    }
}

/* ---- sweep ---- */

#define SWEEP \
    "mode sweep\ntrainer dnn\npeers 2\ncheckpoint 1\n" \
    "lane epochs=3,lr=0.1\nlane epochs=3,lr=0.2\nlane epochs=3,lr=0.3\nlane epochs=2,lr=0.4\nlane epochs=3,lr=0.5\n"

static void configurations_queue_for_peers(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 3);
    start(&n, SWEEP);
    assert_int_equal(look(&n)->locked, 2);
    train_on(&n, 1000);
    const struct cpni_rec_SESSION *row = look(&n);
    assert_int_equal(row->state, CPNI_SESSION_COMPLETED);
    assert_int_equal(row->lane, 4); /* 20 + (4 * 7 + 3) of 100 */
    assert_int_equal(row->accuracy_ppm, 510000);
    assert_int_equal(row->weights_size, sizeof n.outcome);
    assert_int_equal(row->points, 14);
    assert_int_equal(row->repeated, 0);
    assert_int_equal(stored_of(&n, CPNI_COMMAND_SESSION_POINT), 14);
    all_released(&n);
    network_close(&n);
}

static void a_configuration_that_fails_stops_no_other(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    n.answer_code = CPN_EDIVERGED;
    n.answer_round = 2;
    start(&n, SWEEP);
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    assert_non_null(strstr(n.text, "4 of 5 configurations completed"));
    all_released(&n);
    network_close(&n);
}

static void a_sweep_survives_deaths(void **state)
{
    (void)state;
    for (unsigned when = 1; when < 14; when++) {
        struct network n;
        network_open(&n, 3);
        start(&n, SWEEP);
        train_on(&n, when);
        trainer_down(&n, when % 2);
        train_on(&n, 2);
        if (look(&n)->state == CPNI_SESSION_TRAINING) {
            trainer_down(&n, 1 - when % 2);
        }
        train_on(&n, 1000);
        assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
        assert_int_equal(n.row.lane, 4);
        assert_int_equal(n.row.points, 14);
        network_close(&n);
    }
}

static void the_worse_half_is_cut(void **state)
{
    (void)state;
    for (unsigned peers = 1; peers <= 4; peers++) {
        struct network n;
        char spec[512];
        network_open(&n, 4);
        snprintf(spec, sizeof spec,
                 "mode sweep\ntrainer dnn\npeers %u\ncheckpoint 1\nhalving 1\nlane epochs=6,lr=0.1\nlane epochs=6,lr=0.2\nlane epochs=6,lr=0.3\n"
                 "lane epochs=6,lr=0.4\nlane epochs=6,lr=0.5\nlane epochs=6,lr=0.6\n", peers);
        start(&n, spec);
        train_on(&n, 1000);
        assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
        assert_int_equal(n.row.lane, 5);
        assert_int_equal(n.row.points, 6 + 3 + 2 * 2 + 2); /* 6 do one, 3 a second, 2 a third and fourth, 1 the last two */
        all_released(&n);
        network_close(&n);
    }
}

static void a_master_that_dies_in_a_sweep(void **state)
{
    (void)state;
    for (unsigned when = 0; when < 15; when++) {
        struct network n;
        network_open(&n, 2);
        start(&n, "mode sweep\ntrainer dnn\npeers 2\ncheckpoint 1\nhalving 1\nlane epochs=6,lr=0.1\nlane epochs=6,lr=0.2\nlane epochs=6,lr=0.3\n"
                  "lane epochs=6,lr=0.4\nlane epochs=6,lr=0.5\nlane epochs=6,lr=0.6\n");
        train_on(&n, when);
        const struct cpn_id session = an_id(77);
        master_dies(&n, &session);
        train_on(&n, 1000);
        assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
        assert_int_equal(n.row.lane, 5);
        assert_int_equal(n.row.points, 15);
        network_close(&n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_averaged_every_step),
        cmocka_unit_test(a_dead_peer_takes_all_back_to_the_round),
        cmocka_unit_test(a_hello_in_the_middle_of_a_round_costs_nothing),
        cmocka_unit_test(a_master_that_dies_in_sync),
        cmocka_unit_test(configurations_queue_for_peers),
        cmocka_unit_test(a_configuration_that_fails_stops_no_other),
        cmocka_unit_test(a_sweep_survives_deaths),
        cmocka_unit_test(the_worse_half_is_cut),
        cmocka_unit_test(a_master_that_dies_in_a_sweep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
