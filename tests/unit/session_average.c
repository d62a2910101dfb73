/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions of the master's core, mode average: from the start to the outcome. */
#include <stdio.h>

#include "session_fixture.h"

/* 800 rows, 2 shards of 400, 40 steps an epoch, 2 epochs: 80 steps, 8 rounds */
#define SPEC "mode average\ntrainer dnn\npeers 2\nlocal-steps 10\ncheckpoint 3\nlane batch=10,epochs=2\n"

/* Each round adds its number, and the mean of the lanes' numbers. */
static float expected(unsigned rounds, float lanes)
{
    float value = 0;
    for (unsigned r = 1; r <= rounds; r++) {
        value += (float)r + lanes;
    }
    return value;
}

static void a_session_runs_to_its_outcome(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 3);
    start(&n, SPEC);
    assert_int_equal(n.done, 1);
    assert_int_equal(n.t[0].enables + n.t[1].enables, 2);
    assert_int_equal(n.t[2].enables, 0);
    assert_int_equal(node_state(&n, 0), CPNI_NODE_TRAINING);
    assert_int_not_equal(node_state(&n, 2), CPNI_NODE_TRAINING);
    assert_int_equal(look(&n)->state, CPNI_SESSION_TRAINING);
    train_on(&n, 1000);
    const struct cpni_rec_SESSION *row = look(&n);
    assert_int_equal(row->state, CPNI_SESSION_COMPLETED);
    assert_int_equal(row->round, 8);
    assert_int_equal(row->rounds, 8);
    assert_true(row->reproducible);
    assert_true(row->evaluated);
    assert_int_equal(row->accuracy_ppm, 590000); /* 50 + round 9 of 100 */
    assert_int_equal(row->locked, 0);
    assert_memory_equal(&row->weights_root, &n.outcome_root, sizeof n.outcome_root);
    assert_int_equal(row->weights_size, sizeof n.outcome);
    assert_true(n.outcome[0] == expected(8, 0.5f) && n.outcome[VALUES - 1] == expected(8, 0.5f));
    assert_int_equal(n.t[0].stops + n.t[1].stops, 2);
    assert_int_equal(stored_of(&n, CPNI_COMMAND_SESSION_ROUND), 8);
    assert_int_equal(stored_of(&n, CPNI_COMMAND_SESSION_LANE), 4); /* after rounds 3 and 6 */
    assert_int_equal(stored_of(&n, CPNI_COMMAND_SESSION_POINT), 2); /* common, after each epoch */
    all_released(&n);
    network_close(&n);
}

static void order_changes_nothing(void **state)
{
    (void)state;
    struct cpn_hash first = { { 0 } };
    for (unsigned seed = 0; seed < 20; seed++) {
        struct network n;
        network_open(&n, 3);
        n.seed = seed * 77777;
        start(&n, "mode average\ntrainer dnn\npeers 3\nlocal-steps 7\ncheckpoint 2\nlane batch=10,epochs=2\n");
        train_on(&n, 1000);
        assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
        if (seed == 0) {
            first = n.row.weights_root;
        }
        assert_memory_equal(&n.row.weights_root, &first, sizeof first);
        network_close(&n);
    }
}

static void too_few_nodes_are_refused_with_the_numbers(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 3);
    struct cpni_msg drain = { .type = CPNI_MSG_CREDIT };
    drain.credit.draining = true;
    do_step(&n, &n.t[1].control, drain);
    start(&n, "mode average\ntrainer dnn\npeers 3\nlane epochs=1\n");
    assert_int_equal(n.refused_code, CPN_EBUSY);
    assert_string_equal(n.refused_text, "needs 3, 2 online (w1, w3), 1 draining");
    start(&n, "mode average\ntrainer torch\npeers 1\nlane epochs=1\n");
    assert_string_equal(n.refused_text, "needs 1, 0 online, 1 draining, 2 without trainer torch");
    const struct cpni_event broken = { .type = CPNI_EV_DISCONNECTED, .lost = { .conn = n.t[2].control.conn } };
    step(&n.f, &broken);
    start(&n, "mode average\ntrainer dnn\npeers 2\nlane epochs=1\n");
    assert_string_equal(n.refused_text, "needs 2, 1 online (w1), 1 draining, 1 reconnecting");
    start(&n, "mode fast\n");
    assert_int_equal(n.refused_code, CPN_EBADINPUT);
    all_released(&n);
    network_close(&n);
}

static void stop_ends_it_at_once(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    start(&n, SPEC);
    train_on(&n, 12);
    assert_true(look(&n)->evaluated); /* before it has ended, too */
    assert_int_equal(n.row.accuracy_ppm, 550000); /* 50 + round 5 of 100 */
    n.hold_store = true;
    struct cpni_msg stop = { .type = CPNI_MSG_STOP };
    stop.stop.request = 6;
    stop.stop.session = an_id(77);
    do_step(&n, &n.user, stop);
    assert_int_equal(n.t[0].stops + n.t[1].stops, 2);
    assert_int_equal(n.done, 1); /* not before it is durable */
    assert_int_not_equal(look(&n)->state, CPNI_SESSION_STOPPED);
    n.hold_store = false;
    pump(&n);
    assert_int_equal(n.done, 2);
    assert_int_equal(look(&n)->state, CPNI_SESSION_STOPPED);
    assert_int_equal(n.row.weights_size, sizeof n.outcome); /* what was learned is kept */
    assert_true(n.row.evaluated);
    assert_int_equal(n.row.accuracy_ppm, 550000);
    all_released(&n);
    network_close(&n);
}

static void the_same_again_is_answered_again(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    start(&n, SPEC);
    start(&n, SPEC);
    assert_int_equal(n.done, 2);
    assert_int_equal(stored_of(&n, CPNI_COMMAND_SESSION_ADD), 1);
    train_on(&n, 1000);
    start(&n, SPEC);
    assert_int_equal(n.done, 3);
    network_close(&n);
}

static void duplicates_and_late_answers_count_for_nothing(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    start(&n, SPEC);
    train_on(&n, 5);
    for (unsigned i = 0; i < 2; i++) { /* both say again what they said */
        struct trainer *t = &n.t[i];
        uint32_t lane = t->lane[0].steps != 0 ? 0 : 1;
        struct cpni_msg again = { .type = CPNI_MSG_UPDATE };
        again.update.session = an_id(77);
        again.update.lane = lane;
        again.update.round = 1;
        again.update.samples = 100000;
        again.update.bytes = sizeof n.outcome;
        do_step(&n, &t->bulk, again);
    }
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    assert_true(n.outcome[0] == expected(8, 0.5f));
    network_close(&n);
}

static void a_dead_peer_is_replaced_and_the_weights_are_the_same(void **state)
{
    (void)state;
    for (unsigned when = 1; when < 16; when++) {
        struct network n;
        network_open(&n, 3);
        start(&n, SPEC);
        train_on(&n, when);
        trainer_down(&n, 1);
        train_on(&n, 1000);
        assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
        assert_int_equal(n.t[2].enables, 1);
        assert_int_equal(n.t[2].lane[1].round, n.t[2].lane[1].state_round + n.t[2].replays[1]);
        assert_true(n.outcome[0] == expected(8, 0.5f));
        assert_true(n.row.repeated <= 1);
        assert_true(n.row.reproducible);
        all_released(&n);
        network_close(&n);
    }
}

static void without_a_free_node_the_others_share_its_lane(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    start(&n, SPEC);
    train_on(&n, 9);
    trainer_down(&n, 0);
    assert_int_equal(look(&n)->locked, 1);
    train_on(&n, 3);
    trainer_up(&n, 0, 1, NULL); /* and when it comes back, it gets its lane back */
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    assert_true(n.outcome[0] == expected(8, 0.5f));
    assert_true(n.t[0].trains > 1);
    network_close(&n);
}

static void divergence_ends_it_a_crash_does_not(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    n.answer_code = CPN_ECRASHED;
    n.answer_round = 2;
    start(&n, SPEC);
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    assert_true(n.outcome[0] == expected(8, 0.5f));
    network_close(&n);
    network_open(&n, 2);
    n.answer_code = CPN_EDIVERGED;
    n.answer_round = 3;
    start(&n, SPEC);
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_FAILED);
    assert_non_null(strstr(n.text, "diverged in round 3 at w"));
    all_released(&n);
    network_close(&n);
}

static void a_full_disk_at_a_peer_gets_another_peer(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 3);
    n.answer_code = CPN_ENOSPC;
    n.answer_round = 2;
    start(&n, SPEC);
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    assert_int_equal(n.t[2].enables, 1);
    assert_true(n.outcome[0] == expected(8, 0.5f));
    network_close(&n);
}

static void a_master_that_dies_repeats_a_round_at_most(void **state)
{
    (void)state;
    for (unsigned when = 0; when < 18; when++) {
        struct network n;
        network_open(&n, 2);
        start(&n, SPEC);
        train_on(&n, when);
        uint64_t before = look(&n)->round;
        if (n.row.state != CPNI_SESSION_TRAINING) {
            network_close(&n);
            break;
        }
        const struct cpn_id session = an_id(77);
        master_dies(&n, &session);
        assert_true(look(&n)->round + 1 >= before);
        train_on(&n, 1000);
        assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
        assert_true(n.outcome[0] == expected(8, 0.5f));
        all_released(&n);
        network_close(&n);
    }
}

/* int8 goes both ways. Three whole vectors first: a peer may answer two rounds with what it did for an earlier master. */
static void changes_go_out_to_who_knows_the_rest(void **state)
{
    (void)state;
    for (unsigned trouble = 0; trouble < 3; trouble++) {
        struct network n;
        network_open(&n, 3);
        start(&n, "encoding int8\n" SPEC);
        while (look(&n)->round < 6) {
            train_on(&n, 1);
            assert_true(n.t[0].trains > 4 || n.t[0].changes + n.t[1].changes == 0);
        }
        assert_true(n.t[0].changes >= 2 && n.t[1].changes >= 2);
        const unsigned before = n.t[0].changes;
        const struct cpn_id session = an_id(77);
        if (trouble == 1) {
            trainer_down(&n, 1); /* the other one goes on with changes, the new one begins with whole weights */
        } else if (trouble == 2) {
            master_dies(&n, &session); /* nobody knows what the new one knows */
        }
        train_on(&n, 1000);
        assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
        assert_true(n.outcome[0] > expected(8, 0.5f) - 0.1f && n.outcome[0] < expected(8, 0.5f) + 0.1f);
        assert_true(trouble == 2 ? n.t[0].changes <= before + 1 : n.t[0].changes > before);
        assert_int_equal(n.t[2].changes, 0);
        network_close(&n);
    }
}

/* More rounds than a peer could replay are not begun while a checkpoint is on its way, however fast they are. */
static void a_slow_checkpoint_is_waited_for(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    start(&n, "mode average\ntrainer dnn\npeers 2\nlocal-steps 1\ncheckpoint 5\nlane batch=10,epochs=5\n"); /* 200 rounds */
    n.hold_transfers = true;
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_TRAINING);
    assert_int_equal(n.row.round, CPNI_SESSION_REPLAY_MAX);
    assert_int_equal(n.job_count, 2); /* one checkpoint a lane: none takes the place of another all the time */
    n.hold_transfers = false;
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    assert_int_equal(n.row.round, 200);
    all_released(&n);
    network_close(&n);
}

static void a_straggler_is_cut_and_its_late_update_ignored(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 3);
    n.gaps = true;
    start(&n, "mode average\ntrainer dnn\npeers 3\nlocal-steps 10\ncheckpoint 3\nquorum 2\nlane batch=10,epochs=2\n");
    assert_false(look(&n)->reproducible);
    n.t[2].silent = true; /* it trains, and is slow */
    train_on(&n, 10);
    assert_int_equal(look(&n)->round, 0);
    tick(&n.f, 2 * SECOND);
    take_sends(&n);
    assert_true(logged(&n.f, "CPN-SESSION-LATE"));
    pump(&n);
    train_on(&n, 1);
    assert_int_equal(look(&n)->round, 1);
    n.t[2].silent = false;
    train_on(&n, 1000);
    const struct cpni_rec_SESSION *row = look(&n);
    for (unsigned i = 0; i < 30 && row->state != CPNI_SESSION_COMPLETED; i++) {
        seconds(&n, 1);
        train_on(&n, 1000);
        row = look(&n);
    }
    assert_int_equal(row->state, CPNI_SESSION_COMPLETED);
    assert_non_null(strstr(n.why, "quorum"));
    all_released(&n);
    network_close(&n);
}

static void a_full_disk_at_the_master_ends_it(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    start(&n, SPEC);
    n.hold_disk = true;
    train_on(&n, 2);
    struct cpni_event full = { .type = CPNI_EV_DISK, .disk = { .code = CPN_ENOSPC, .text = "/var/lib/cpn: no space left" } };
    for (unsigned i = 0; i < n.job_count; i++) {
        full.disk.ticket = n.jobs[i].act.op == CPNI_DISK_IMPORT_BYTES ? n.jobs[i].act.ticket : full.disk.ticket;
    }
    step(&n.f, &full);
    take_sends(&n);
    n.hold_disk = false;
    pump(&n);
    assert_int_equal(look(&n)->state, CPNI_SESSION_FAILED);
    assert_non_null(strstr(n.text, "no space left"));
    all_released(&n);
    network_close(&n);
}

static void a_node_that_cannot_take_part_is_replaced(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    n.t[0].silent = true;
    start(&n, "mode average\ntrainer dnn\npeers 1\nlocal-steps 10\ncheckpoint 3\nlane batch=10,epochs=1\n");
    struct cpni_msg no = { .type = CPNI_MSG_ENABLED };
    no.enabled.session = an_id(77);
    no.enabled.code = CPN_ENOSPC;
    no.enabled.text = cpni_str("its dataset does not fit");
    do_step(&n, &n.t[0].control, no);
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    assert_int_equal(n.t[1].enables, 1);
    struct cpni_msg msg = { .type = CPNI_MSG_STOP }; /* what has ended is stopped already */
    msg.stop.session = an_id(77);
    unsigned done = n.done;
    do_step(&n, &n.user, msg);
    assert_int_equal(n.done, done + 1);
    network_close(&n);
    network_open(&n, 1);
    n.t[0].silent = true;
    start(&n, "mode average\ntrainer dnn\npeers 1\nlocal-steps 10\ncheckpoint 3\nlane batch=10,epochs=1\n");
    do_step(&n, &n.t[0].control, no);
    pump(&n);
    assert_int_equal(look(&n)->state, CPNI_SESSION_FAILED);
    assert_non_null(strstr(n.text, "its dataset does not fit"));
    all_released(&n);
    network_close(&n);
}

static void old_sessions_make_room(void **state)
{
    (void)state;
    struct network n;
    struct cpni_bytes *bytes;
    network_open(&n, 2);
    n.mode = 'a';
    for (unsigned i = 0; i < CPNI_SESSIONS_MAX + 3; i++) {
        struct cpni_msg msg = session_of("mode average\ntrainer dnn\npeers 2\nlocal-steps 100\ncheckpoint 3\nlane batch=10,epochs=1\n", &bytes);
        msg.session.session = an_id(1000 + i);
        do_step(&n, &n.user, msg);
        cpni_bytes_unref(bytes);
        train_on(&n, 100);
        assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    }
    assert_int_equal(stored_of(&n, CPNI_COMMAND_SESSION_REMOVE), 3);
    network_close(&n);
}

static void tasks_are_finished_before_a_node_is_enabled(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 1);
    struct cpni_rec_TEXT backend = { .text = cpni_str("train.dnn 1.0") }, handler = { .text = cpni_str("echo") };
    struct cpni_msg hello = worker_hello(&n.t[0].control, 1, &handler, 1);
    hello.hello.backends = &backend;
    hello.hello.backends_count = 1;
    say(&n.f, &n.t[0].control, hello);
    welcomed(&n.f, &n.t[0].control);
    take_sends(&n);
    do_step(&n, &n.user, submit_of(an_id(5), "echo"));
    const struct cpni_msg *task = sent(&n.f, &n.t[0].control, CPNI_MSG_TASK, 0);
    assert_non_null(task);
    struct cpni_msg result = result_of(task, 0, CPNI_FAILURE_NONE, "");
    start(&n, "mode average\ntrainer dnn\npeers 1\nlocal-steps 10\ncheckpoint 3\nlane batch=10,epochs=1\n");
    assert_int_equal(look(&n)->state, CPNI_SESSION_LOCKING);
    assert_string_equal(n.text, "waits for w1 to finish the tasks they have");
    assert_int_equal(n.t[0].enables, 0);
    do_step(&n, &n.user, submit_of(an_id(6), "echo"));
    do_step(&n, &n.t[0].control, result);
    assert_null(sent(&n.f, &n.t[0].control, CPNI_MSG_TASK, 0)); /* the node is locked */
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    network_close(&n);
}

static void a_client_that_leaves_too_early_ends_it(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    n.hold_disk = true; /* the dataset does not arrive */
    start(&n, SPEC);
    assert_int_equal(look(&n)->state, CPNI_SESSION_CREATED);
    assert_int_equal(node_state(&n, 0), CPNI_NODE_TRAINING);
    do_step(&n, &n.user, (struct cpni_msg){ .type = CPNI_MSG_BYE });
    n.hold_disk = false;
    pump(&n);
    user_up(&n);
    assert_int_equal(look(&n)->state, CPNI_SESSION_FAILED);
    all_released(&n);
    network_close(&n);
}

static void a_trainer_that_hangs_counts_as_crashed(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 3);
    start(&n, SPEC);
    train_on(&n, 4);
    n.t[0].delay = 1000000; /* from the next round on */
    train_on(&n, 3);
    seconds(&n, CPNI_SESSION_WAIT_MS / 1000 + 2);
    n.t[0].delay = 0;
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    assert_true(n.t[0].unlanes > 0);
    assert_true(n.outcome[0] == expected(8, 0.5f));
    network_close(&n);
}

static void without_nodes_it_fails_in_the_end(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    start(&n, SPEC);
    train_on(&n, 4);
    trainer_down(&n, 0);
    trainer_down(&n, 1);
    seconds(&n, 10);
    assert_int_equal(look(&n)->state, CPNI_SESSION_TRAINING);
    assert_string_equal(n.text, "waits for a free node with trainer dnn");
    seconds(&n, CPNI_SESSION_WAIT_MS / 1000);
    pump(&n);
    assert_int_equal(look(&n)->state, CPNI_SESSION_FAILED);
    network_close(&n);
}

static void a_store_that_fails_is_asked_again(void **state)
{
    (void)state;
    struct network n;
    network_open(&n, 2);
    start(&n, SPEC);
    train_on(&n, 3);
    n.cut_replies = 3;
    for (unsigned i = 0; i < 20; i++) {
        train_on(&n, 1000);
        seconds(&n, 1);
    }
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    assert_true(n.outcome[0] == expected(8, 0.5f));
    network_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_runs_to_its_outcome),
        cmocka_unit_test(order_changes_nothing),
        cmocka_unit_test(too_few_nodes_are_refused_with_the_numbers),
        cmocka_unit_test(stop_ends_it_at_once),
        cmocka_unit_test(the_same_again_is_answered_again),
        cmocka_unit_test(duplicates_and_late_answers_count_for_nothing),
        cmocka_unit_test(a_dead_peer_is_replaced_and_the_weights_are_the_same),
        cmocka_unit_test(without_a_free_node_the_others_share_its_lane),
        cmocka_unit_test(divergence_ends_it_a_crash_does_not),
        cmocka_unit_test(a_full_disk_at_a_peer_gets_another_peer),
        cmocka_unit_test(a_master_that_dies_repeats_a_round_at_most),
        cmocka_unit_test(changes_go_out_to_who_knows_the_rest),
        cmocka_unit_test(a_slow_checkpoint_is_waited_for),
        cmocka_unit_test(a_straggler_is_cut_and_its_late_update_ignored),
        cmocka_unit_test(a_full_disk_at_the_master_ends_it),
        cmocka_unit_test(a_node_that_cannot_take_part_is_replaced),
        cmocka_unit_test(old_sessions_make_room),
        cmocka_unit_test(tasks_are_finished_before_a_node_is_enabled),
        cmocka_unit_test(a_client_that_leaves_too_early_ends_it),
        cmocka_unit_test(a_trainer_that_hangs_counts_as_crashed),
        cmocka_unit_test(without_nodes_it_fails_in_the_end),
        cmocka_unit_test(a_store_that_fails_is_asked_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
