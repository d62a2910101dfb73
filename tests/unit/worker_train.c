/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* core/worker: sessions, lanes and rounds, with everything said twice, too early, or lost. The test plays the master and the trainer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "core/worker.h"
#include "proto/session_spec.h"
#include "steps.h"

#define AVERAGE "mode average\ntrainer dnn\npeers 2\nlocal-steps 5\ncheckpoint 3\nlane batch=10,epochs=4\n"
#define SYNC "mode sync\ntrainer dnn\npeers 2\nlocal-steps 5\ncheckpoint 1\nlane batch=10,epochs=4\n"
#define SWEEP "mode sweep\ntrainer dnn\npeers 2\ncheckpoint 1\nlane batch=10,epochs=4\nlane batch=20,epochs=4\n"
#define QUORUM "mode average\ntrainer dnn\npeers 2\nlocal-steps 5\nquorum 1\nlane batch=10,epochs=4\n"
#define DATASET 40
#define DATASET_BYTES 5000

static int step(void *core, const struct cpni_event *event, const struct cpni_now *now, struct cpni_actions *actions)
{
    return cpni_worker_core_step(core, event, now, actions);
}

static const char *check(const void *core)
{
    return cpni_worker_core_check(core);
}

static int open_worker(struct steps *s)
{
    static const struct cpni_str handlers[] = { { "echo", 4 } };
    struct cpni_worker_config config = { .boot = { { 8 } }, .name = cpni_str("w1"), .slots = 1, .cores = 2, .memory = 1000000,
                                         .handlers = handlers, .handler_count = 1 };
    memset(s, 0, sizeof *s);
    *s = (struct steps){ .step = step, .check = check, .now = { .mono_us = 5000000 }, .link = 7, .term = 3 };
    struct cpni_worker_core *core;
    int rc = cpni_worker_core_new(&config, &s->now, &core);
    s->core = rc == 0 ? core : NULL;
    return rc;
}

static int setup(void **state)
{
    struct steps *s = malloc(sizeof *s);
    assert_int_equal(open_worker(s), 0);
    *state = s;
    steps_join(s);
    struct cpn_hash root = fake_root(DATASET);
    fake_put(&s->disk, &root, DATASET_BYTES);
    return 0;
}

static int teardown(void **state)
{
    struct steps *s = *state;
    cpni_worker_core_free(s->core);
    steps_close(s);
    free(s);
    return 0;
}

/* ---- the master's part ---- */

static const struct cpn_id session = { { 9 } };

static void enable_as(struct steps *s, uint8_t id, const char *spec, uint8_t dataset)
{
    struct cpni_msg msg = { .type = CPNI_MSG_ENABLE };
    msg.enable.session.bytes[0] = id;
    msg.enable.spec = cpni_bytes_copy(spec, strlen(spec));
    msg.enable.dataset_root = fake_root(dataset);
    msg.enable.dataset_size = DATASET_BYTES;
    msg.enable.rows = 100;
    msg.enable.train_rows = 100;
    steps_msg(s, &msg);
    cpni_msg_drop(&msg);
}

static void stop_session(struct steps *s, uint8_t id)
{
    struct cpni_msg msg = { .type = CPNI_MSG_STOP };
    msg.stop.session.bytes[0] = id;
    msg.stop.text = cpni_str("done");
    steps_msg(s, &msg);
}

/* After `round` rounds: from the checkpoint after `state_round` (its blob is number 50 + that round), the weights of round r are blob
 * 60 + r (round 1: its own). */
static struct cpni_msg lane_msg(uint64_t round, uint64_t state_round, struct cpni_rec_WEIGHTS *replay)
{
    struct cpni_msg msg = { .type = CPNI_MSG_LANE };
    msg.lane.session = session;
    msg.lane.lane = 1;
    msg.lane.round = round;
    msg.lane.state_round = state_round;
    if (state_round != 0) {
        msg.lane.state_root = fake_root((uint8_t)(50 + state_round));
        msg.lane.state_size = 700;
    }
    for (uint64_t r = state_round + 1; r <= round; r++) {
        struct cpni_rec_WEIGHTS *weights = &replay[msg.lane.replay_count++];
        *weights = (struct cpni_rec_WEIGHTS){ .round = r };
        if (r != 1) {
            weights->root = fake_root((uint8_t)(60 + r));
            weights->size = 400;
        }
    }
    msg.lane.replay = replay;
    return msg;
}

static void lane(struct steps *s, uint64_t round, uint64_t state_round)
{
    struct cpni_rec_WEIGHTS replay[8];
    struct cpni_msg msg = lane_msg(round, state_round, replay);
    steps_msg(s, &msg);
}

static void blobs_of_restores(struct steps *s)
{
    for (uint8_t i = 1; i < 5; i++) {
        struct cpn_hash state = fake_root((uint8_t)(50 + i)), weights = fake_root((uint8_t)(60 + i));
        fake_put(&s->disk, &state, 700);
        fake_put(&s->disk, &weights, 400);
    }
}

static void train_as(struct steps *s, uint64_t round, size_t bytes, bool state, bool exchange)
{
    struct cpni_msg msgs[2] = { { .type = CPNI_MSG_PIECE }, { .type = CPNI_MSG_TRAIN } };
    msgs[0].piece.session = session;
    msgs[0].piece.lane = 1;
    msgs[0].piece.round = round;
    msgs[0].piece.total = bytes;
    msgs[0].piece.data = bytes != 0 ? fake_fill(bytes, (uint8_t)(100 + round)) : NULL;
    msgs[1].train.session = session;
    msgs[1].train.lane = 1;
    msgs[1].train.round = round;
    msgs[1].train.steps = 5;
    msgs[1].train.bytes = bytes;
    msgs[1].train.state = state;
    msgs[1].train.exchange = exchange;
    msgs[1].train.evaluate = round == 4;
    steps_packet(s, CPNI_CONN_BULK, bytes != 0 ? msgs : msgs + 1, NULL, bytes != 0 ? 2 : 1);
    cpni_bytes_unref(msgs[0].piece.data);
}

static void train(struct steps *s, uint64_t round)
{
    train_as(s, round, round == 1 ? 0 : 400, false, false);
}

static void mean(struct steps *s, uint64_t round, uint64_t number, size_t bytes)
{
    struct cpni_msg msgs[2] = { { .type = CPNI_MSG_PIECE }, { .type = CPNI_MSG_GRADIENT } };
    msgs[0].piece.session = session;
    msgs[0].piece.lane = 1;
    msgs[0].piece.round = round;
    msgs[0].piece.total = bytes;
    msgs[0].piece.data = fake_fill(bytes, 3);
    msgs[1].gradient.session = session;
    msgs[1].gradient.lane = 1;
    msgs[1].gradient.round = round;
    msgs[1].gradient.step = number;
    msgs[1].gradient.bytes = bytes;
    steps_packet(s, CPNI_CONN_BULK, msgs, NULL, 2);
    cpni_bytes_unref(msgs[0].piece.data);
}

static const struct cpni_msg_update *updated(const struct steps *s)
{
    const struct cpni_msg *msg = steps_sent(s, CPNI_MSG_UPDATE, 0);
    return msg != NULL ? &msg->update : NULL;
}

/* ---- the trainer's part ---- */

static const struct cpni_act_trainer *asked(const struct steps *s, enum cpni_trainer_op op)
{
    const struct cpni_action *action;
    for (unsigned i = 0; (action = steps_act(s, CPNI_ACT_TRAINER, i)) != NULL; i++) {
        if (action->trainer.op == op) {
            return &action->trainer;
        }
    }
    return NULL;
}

/* The disk answers until the trainer is asked for this; NULL: never. */
static const struct cpni_act_trainer *pump(struct steps *s, enum cpni_trainer_op op)
{
    while (asked(s, op) == NULL) {
        if (!steps_disk(s)) {
            return NULL;
        }
    }
    return asked(s, op);
}

static void say(struct steps *s, uint64_t ticket, enum cpni_trainer_said said, int code)
{
    struct cpni_event event = { .type = CPNI_EV_TRAINER };
    event.trainer.ticket = ticket;
    event.trainer.said = said;
    event.trainer.code = code;
    event.trainer.text = code < 0 ? "it broke" : "";
    event.trainer.device = "cpu";
    event.trainer.fingerprint = "dnn avx2";
    event.trainer.reproducible = true;
    steps_event(s, &event);
}

static void round_done(struct steps *s, uint64_t ticket, uint64_t round, bool state)
{
    struct cpni_event event = { .type = CPNI_EV_TRAINER };
    event.trainer.ticket = ticket;
    event.trainer.said = CPNI_TRAINED_ROUND;
    event.trainer.text = "";
    event.trainer.round = round;
    event.trainer.steps = 5;
    event.trainer.samples = 50;
    event.trainer.vector = fake_fill(400, (uint8_t)(200 + round));
    event.trainer.state = state ? fake_fill(700, (uint8_t)round) : NULL;
    steps_event(s, &event);
    cpni_bytes_unref(event.trainer.vector);
    cpni_bytes_unref(event.trainer.state);
}

static void gradient(struct steps *s, uint64_t ticket, uint64_t round, uint64_t number)
{
    struct cpni_event event = { .type = CPNI_EV_TRAINER };
    event.trainer.ticket = ticket;
    event.trainer.said = CPNI_TRAINED_GRADIENT;
    event.trainer.round = round;
    event.trainer.step = number;
    event.trainer.samples = 10;
    event.trainer.vector = fake_fill(400, (uint8_t)number);
    steps_event(s, &event);
    cpni_bytes_unref(event.trainer.vector);
}

static void epoch(struct steps *s, uint64_t ticket, uint32_t number, bool done)
{
    struct cpni_event event = { .type = CPNI_EV_TRAINER };
    event.trainer.ticket = ticket;
    event.trainer.said = CPNI_TRAINED_PROGRESS;
    event.trainer.epoch = number;
    event.trainer.samples = 40;
    event.trainer.correct = 30;
    event.trainer.epoch_done = done;
    steps_event(s, &event);
}

static void enable(struct steps *s, const char *spec)
{
    enable_as(s, 9, spec, DATASET);
    const struct cpni_act_trainer *probe = pump(s, CPNI_TRAINER_PROBE);
    assert_non_null(probe);
    say(s, probe->ticket, CPNI_TRAINED_PROBE, 0);
    assert_int_equal(steps_sent(s, CPNI_MSG_ENABLED, 0)->enabled.code, 0);
}

/* The lane in place after no round; its ticket. */
static uint64_t fresh(struct steps *s, const char *spec)
{
    enable(s, spec);
    lane(s, 0, 0);
    const struct cpni_act_trainer *open = asked(s, CPNI_TRAINER_OPEN);
    assert_non_null(open);
    uint64_t ticket = open->ticket;
    assert_true(cpni_all_zero(&open->state_root, sizeof open->state_root));
    say(s, ticket, CPNI_TRAINED_OPEN, 0);
    return ticket;
}

/* A second passes; the master is heard of. */
static void steps_beat(struct steps *s)
{
    struct cpni_msg msg = { .type = CPNI_MSG_BEAT };
    s->now.mono_us += 1000000;
    steps_msg(s, &msg);
}

static void rejoin(struct steps *s)
{
    steps_lost(s, CPNI_CONN_BULK);
    steps_lost(s, CPNI_CONN_CONTROL);
    steps_join(s);
}

/* ---- */

static void enable_fetches_probes_and_answers_again(void **state)
{
    struct steps *s = *state;
    enable_as(s, 9, AVERAGE, DATASET);
    const struct cpni_act_trainer *probe = pump(s, CPNI_TRAINER_PROBE);
    assert_int_equal(probe->spec->local_steps, 5);
    assert_int_equal(probe->dataset.bytes[0], DATASET);
    assert_int_equal(probe->train_rows, 100);
    uint64_t ticket = probe->ticket;
    enable_as(s, 9, AVERAGE, DATASET); /* its answer is on the way */
    assert_null(steps_sent(s, CPNI_MSG_ENABLED, 0));
    say(s, ticket, CPNI_TRAINED_PROBE, 0);
    const struct cpni_msg *msg = steps_sent(s, CPNI_MSG_ENABLED, 0);
    assert_memory_equal(msg->enabled.device.text, "cpu", 3);
    assert_memory_equal(msg->enabled.fingerprint.text, "dnn avx2", 8);
    assert_true(msg->enabled.reproducible);
    enable_as(s, 9, AVERAGE, DATASET);
    assert_true(steps_sent(s, CPNI_MSG_ENABLED, 0)->enabled.reproducible);
    steps_lost(s, CPNI_CONN_CONTROL);
    steps_connected(s, CPNI_CONN_CONTROL);
    const struct cpni_msg_hello *hello = &steps_sent(s, CPNI_MSG_HELLO, 0)->hello;
    assert_int_equal(hello->sessions_count, 1);
    assert_memory_equal(hello->sessions[0].text.text, "09000000000000000000000000000000", 32);
}

static void enable_says_why_not(void **state)
{
    struct steps *s = *state;
    enable_as(s, 9, "mode sweat\n", DATASET);
    assert_int_equal(steps_sent(s, CPNI_MSG_ENABLED, 0)->enabled.code, CPN_EBADINPUT);
    enable_as(s, 9, AVERAGE, DATASET);
    const struct cpni_act_trainer *probe = pump(s, CPNI_TRAINER_PROBE);
    say(s, probe->ticket, CPNI_TRAINED_PROBE, CPN_ENOTSUP);
    assert_int_equal(steps_sent(s, CPNI_MSG_ENABLED, 0)->enabled.code, CPN_ENOTSUP);
    struct fake_disk master = { 0 };
    enable_as(s, 9, AVERAGE, 41); /* which the master does not have either */
    while (steps_disk(s)) {
        steps_serve(s, &master);
        if (steps_sent(s, CPNI_MSG_ENABLED, 0) != NULL) {
            break;
        }
    }
    assert_int_equal(steps_sent(s, CPNI_MSG_ENABLED, 0)->enabled.code, CPN_ENOTFOUND);
    fake_close(&master);
    steps_stop(s);
    assert_non_null(steps_act(s, CPNI_ACT_STOPPED, 0));
}

static void a_round(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, AVERAGE);
    train_as(s, 1, 0, false, false);
    const struct cpni_act_trainer *round = asked(s, CPNI_TRAINER_ROUND);
    assert_true(round->ticket == ticket && round->round == 1 && round->steps == 5 && round->vector == NULL && !round->replay);
    train_as(s, 1, 0, false, false); /* under way */
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    round_done(s, ticket, 1, false);
    const struct cpni_msg_update *update = updated(s);
    assert_true(update->round == 1 && update->bytes == 400 && update->samples == 50 && update->code == 0);
    assert_int_equal(steps_sent(s, CPNI_MSG_PIECE, 0)->piece.data->data[399], 201);
    train_as(s, 1, 0, false, false); /* done and kept */
    assert_int_equal(updated(s)->bytes, 400);
    lane(s, 0, 0); /* which it has behind it, with what came of it */
    lane(s, 1, 0);
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    train_as(s, 2, 400, false, false);
    assert_int_equal(asked(s, CPNI_TRAINER_ROUND)->vector->data[0], 102);
    lane(s, 1, 0);
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    round_done(s, ticket, 2, false);
    assert_int_equal(updated(s)->round, 2);
}

static void what_the_bulk_connection_says_may_come_first(void **state)
{
    struct steps *s = *state;
    enable(s, AVERAGE);
    train(s, 1);
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    lane(s, 0, 0);
    uint64_t ticket = asked(s, CPNI_TRAINER_OPEN)->ticket;
    say(s, ticket, CPNI_TRAINED_OPEN, 0);
    assert_int_equal(asked(s, CPNI_TRAINER_ROUND)->round, 1);
    train(s, 3); /* not yet */
    round_done(s, ticket, 1, false);
    assert_int_equal(updated(s)->round, 1);
    assert_null(asked(s, CPNI_TRAINER_ROUND));
    blobs_of_restores(s);
    lane(s, 2, 1); /* now */
    assert_non_null(asked(s, CPNI_TRAINER_CLOSE));
    ticket = pump(s, CPNI_TRAINER_OPEN)->ticket;
    say(s, ticket, CPNI_TRAINED_OPEN, 0);
    round_done(s, ticket, 2, false);
    assert_null(updated(s));
    assert_int_equal(asked(s, CPNI_TRAINER_ROUND)->round, 3);
    assert_int_equal(asked(s, CPNI_TRAINER_ROUND)->vector->data[0], 103);
}

static void a_cut_lane_joins_the_others_where_they_are(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, QUORUM);
    train(s, 1);
    round_done(s, ticket, 1, false);
    train(s, 3);
    assert_int_equal(asked(s, CPNI_TRAINER_ROUND)->round, 3);
    round_done(s, ticket, 3, false);
    assert_int_equal(updated(s)->round, 3);
}

static void restore_replays_in_silence(void **state)
{
    struct steps *s = *state;
    enable(s, AVERAGE);
    struct fake_disk master = { 0 };
    struct cpn_hash root;
    for (uint8_t i = 2; i <= 4; i++) {
        root = fake_root((uint8_t)(60 + i));
        fake_put(&master, &root, 400);
    }
    root = fake_root(52);
    fake_put(&master, &root, 700);
    lane(s, 4, 2);
    while (asked(s, CPNI_TRAINER_OPEN) == NULL) {
        assert_true(steps_disk(s));
        steps_serve(s, &master);
    }
    const struct cpni_act_trainer *open = asked(s, CPNI_TRAINER_OPEN);
    uint64_t ticket = open->ticket;
    assert_memory_equal(&open->state_root, &root, sizeof root);
    lane(s, 4, 2); /* on the way */
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    train_as(s, 5, 400, true, false);
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    say(s, ticket, CPNI_TRAINED_OPEN, 0);
    for (uint64_t r = 3; r <= 4; r++) {
        const struct cpni_act_trainer *round = asked(s, CPNI_TRAINER_ROUND);
        assert_true(round->replay && round->round == r && round->steps == 5 && round->vector == NULL);
        assert_int_equal(round->vector_root.bytes[0], 60 + r);
        epoch(s, ticket, 1, true);
        assert_null(steps_sent(s, CPNI_MSG_EPOCH, 0));
        say(s, ticket, CPNI_TRAINED_ROUND, 0);
        assert_null(updated(s));
    }
    const struct cpni_act_trainer *round = asked(s, CPNI_TRAINER_ROUND);
    assert_true(!round->replay && round->round == 5 && round->state);
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &root)); /* no longer needed */
    fake_close(&master);
}

static void a_lane_that_makes_no_sense_fails(void **state)
{
    struct steps *s = *state;
    struct cpni_rec_WEIGHTS replay[8];
    enable(s, AVERAGE);
    struct cpni_msg msg = lane_msg(4, 2, replay);
    replay[1].round = 3;
    steps_msg(s, &msg);
    train(s, 5);
    assert_int_equal(updated(s)->code, CPN_EPROTO);
    msg = lane_msg(4, 2, replay);
    msg.lane.lane = 2; /* of two */
    steps_msg(s, &msg);
    assert_null(steps_act(s, CPNI_ACT_DISK, 0));
    struct fake_disk master = { 0 };
    lane(s, 2, 0); /* whose weights are nowhere */
    while (!steps_logged(s, "CPN-TRAIN-FAILED")) {
        assert_true(steps_disk(s));
        steps_serve(s, &master);
    }
    train(s, 3);
    assert_int_equal(updated(s)->code, CPN_ENOTFOUND);
    fake_close(&master);
}

static void a_state_stays_until_the_master_has_it(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, AVERAGE);
    train_as(s, 1, 0, true, false);
    s->disk.busy = 1;
    round_done(s, ticket, 1, true);
    assert_null(updated(s));
    train_as(s, 1, 0, true, false); /* being stored */
    assert_null(updated(s));
    while (updated(s) == NULL) {
        assert_true(steps_disk(s));
    }
    struct cpn_hash root = updated(s)->state_root;
    assert_int_equal(updated(s)->state_size, 700);
    assert_true(fake_has(&s->disk, &root));
    struct cpni_msg msg = { .type = CPNI_MSG_RECEIVED, .received.root = root };
    steps_bulk(s, &msg);
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &root));
    train_as(s, 2, 400, true, false);
    s->disk.fail = CPN_ENOSPC;
    round_done(s, ticket, 2, true);
    while (updated(s) == NULL) {
        assert_true(steps_disk(s));
    }
    assert_true(updated(s)->code == CPN_ENOSPC && updated(s)->round == 2 && updated(s)->bytes == 0);
    assert_int_equal(asked(s, CPNI_TRAINER_CLOSE)->ticket, ticket);
}

static void states_that_nobody_takes_are_bounded(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, AVERAGE);
    struct cpn_hash roots[CPNI_LANE_CHECKPOINTS_MAX + 2] = { 0 };
    for (uint64_t r = 1; r <= CPNI_LANE_CHECKPOINTS_MAX + 1; r++) {
        train_as(s, r, 400, true, false);
        round_done(s, ticket, r, true);
        while (updated(s) == NULL) {
            assert_true(steps_disk(s));
        }
        roots[r] = updated(s)->state_root;
        while (steps_disk(s)) {
        }
    }
    assert_false(fake_has(&s->disk, &roots[1]));
    assert_true(fake_has(&s->disk, &roots[2]));
    train_as(s, CPNI_LANE_CHECKPOINTS_MAX + 2, 400, true, false);
    round_done(s, ticket, CPNI_LANE_CHECKPOINTS_MAX + 2, true);
    stop_session(s, 9); /* while another is being stored */
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &roots[2]));
    struct cpn_hash last = fake_root(CPNI_LANE_CHECKPOINTS_MAX + 2);
    assert_false(fake_has(&s->disk, &last));
    assert_int_equal(s->disk.imported, CPNI_LANE_CHECKPOINTS_MAX + 2);
}

static void gradients_are_exchanged(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, SYNC);
    train_as(s, 1, 0, true, true);
    assert_true(asked(s, CPNI_TRAINER_ROUND)->exchange);
    gradient(s, ticket, 1, 1);
    const struct cpni_msg_gradient *sent = &steps_sent(s, CPNI_MSG_GRADIENT, 0)->gradient;
    assert_true(sent->step == 1 && sent->round == 1 && sent->samples == 10 && sent->bytes == 400);
    mean(s, 1, 2, 400); /* of another step */
    assert_null(asked(s, CPNI_TRAINER_APPLY));
    mean(s, 1, 1, 399);
    assert_null(asked(s, CPNI_TRAINER_APPLY));
    train_as(s, 1, 0, true, true); /* is it lost? */
    assert_int_equal(steps_sent(s, CPNI_MSG_GRADIENT, 0)->gradient.step, 1);
    mean(s, 1, 1, 400);
    assert_int_equal(asked(s, CPNI_TRAINER_APPLY)->vector->data[0], 3);
    mean(s, 1, 1, 400);
    assert_null(asked(s, CPNI_TRAINER_APPLY));
    gradient(s, ticket, 1, 2);
    assert_int_equal(steps_sent(s, CPNI_MSG_GRADIENT, 0)->gradient.step, 2);
    lane(s, 0, 0); /* a peer died: all begin the round anew */
    assert_int_equal(asked(s, CPNI_TRAINER_CLOSE)->ticket, ticket);
    ticket = asked(s, CPNI_TRAINER_OPEN)->ticket;
    say(s, ticket, CPNI_TRAINED_OPEN, 0);
    const struct cpni_act_trainer *round = asked(s, CPNI_TRAINER_ROUND); /* TRAIN came before, or comes again */
    assert_true(round->round == 1 && round->exchange);
    gradient(s, ticket, 1, 1);
    mean(s, 1, 1, 400);
    round_done(s, ticket, 1, true);
    while (updated(s) == NULL) {
        assert_true(steps_disk(s));
    }
    lane(s, 1, 1);
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    lane(s, 0, 0); /* in sync mode what was done is done again with the others */
    assert_non_null(asked(s, CPNI_TRAINER_OPEN));
}

static void a_crash_is_told_and_tried_again_when_asked(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, SWEEP);
    train(s, 1);
    say(s, ticket, CPNI_TRAINED_ROUND, CPN_ECRASHED);
    assert_true(updated(s)->code == CPN_ECRASHED && updated(s)->round == 1);
    assert_memory_equal(updated(s)->text.text, "it broke", 8);
    rejoin(s); /* was it lost? */
    train(s, 1);
    assert_int_equal(updated(s)->code, CPN_ECRASHED);
    train(s, 1); /* the order to try again has overtaken its LANE */
    assert_null(updated(s));
    lane(s, 0, 0);
    ticket = asked(s, CPNI_TRAINER_OPEN)->ticket;
    say(s, ticket, CPNI_TRAINED_OPEN, 0);
    assert_int_equal(asked(s, CPNI_TRAINER_ROUND)->round, 1);
    say(s, ticket, CPNI_TRAINED_ROUND, CPN_EDIVERGED);
    assert_int_equal(updated(s)->code, CPN_EDIVERGED);
    assert_int_equal(asked(s, CPNI_TRAINER_CLOSE)->ticket, ticket);
    lane(s, 0, 0);
    ticket = asked(s, CPNI_TRAINER_OPEN)->ticket;
    train(s, 1);
    say(s, ticket, CPNI_TRAINED_OPEN, CPN_ENOMEM);
    assert_true(updated(s)->code == CPN_ENOMEM && updated(s)->round == 1);
}

static void a_process_that_dies_between_rounds_takes_no_result_along(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, AVERAGE);
    train_as(s, 1, 0, true, false);
    round_done(s, ticket, 1, true);
    say(s, ticket, CPNI_TRAINED_ROUND, CPN_ECRASHED); /* while its state is being stored */
    while (updated(s) == NULL) {
        assert_true(steps_disk(s));
    }
    assert_int_equal(updated(s)->code, 0);
    rejoin(s);
    train(s, 1);
    assert_int_equal(updated(s)->code, 0);
    train(s, 2);
    assert_true(updated(s)->code == CPN_ECRASHED && updated(s)->round == 2);
}

static void updates_wait_for_the_connection(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, AVERAGE);
    train(s, 1);
    epoch(s, ticket, 1, false); /* too soon after the beginning of the round */
    assert_null(steps_sent(s, CPNI_MSG_EPOCH, 0));
    s->now.mono_us += 1000000;
    epoch(s, ticket, 1, false);
    assert_int_equal(steps_sent(s, CPNI_MSG_EPOCH, 0)->epoch.accuracy_ppm, 750000);
    steps_lost(s, CPNI_CONN_BULK);
    steps_lost(s, CPNI_CONN_CONTROL);
    epoch(s, ticket, 1, true);
    round_done(s, ticket, 1, false);
    assert_null(updated(s));
    steps_connected(s, CPNI_CONN_CONTROL);
    steps_welcome(s, CPNI_CONN_CONTROL);
    steps_connected(s, CPNI_CONN_BULK);
    steps_welcome(s, CPNI_CONN_BULK);
    enable_as(s, 9, AVERAGE, DATASET);
    assert_non_null(steps_sent(s, CPNI_MSG_ENABLED, 0));
    lane(s, 0, 0);
    train(s, 1);
    assert_int_equal(updated(s)->round, 1);
}

/* The master makes a round durable, and then the node's figures of it are lost with the master: so the figures come first. */
static void finished_epochs_come_with_their_round_each_time(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, AVERAGE);
    train(s, 1);
    epoch(s, ticket, 1, true);
    assert_null(steps_sent(s, CPNI_MSG_EPOCH, 0)); /* with the UPDATE, and no sooner */
    round_done(s, ticket, 1, false);
    for (int again = 0; again < 2; again++) {
        const struct cpni_msg *told = steps_sent(s, CPNI_MSG_EPOCH, 0);
        assert_non_null(told);
        assert_true(told->epoch.done && told->epoch.epoch == 1 && told->epoch.round == 1);
        assert_true(told < steps_sent(s, CPNI_MSG_UPDATE, 0));
        assert_null(steps_sent(s, CPNI_MSG_EPOCH, 1));
        rejoin(s);
        assert_null(steps_sent(s, CPNI_MSG_EPOCH, 0));
        train(s, 1);
    }
    train(s, 2);
    round_done(s, ticket, 2, false);
    assert_null(steps_sent(s, CPNI_MSG_EPOCH, 0));
    train(s, 3); /* round 1 is durable */
    rejoin(s);
    train(s, 1);
    assert_null(steps_sent(s, CPNI_MSG_EPOCH, 0));
}

static void stop_ends_all_and_keeps_the_dataset(void **state)
{
    struct steps *s = *state;
    struct cpn_hash first = fake_root(DATASET), second = fake_root(42);
    uint64_t ticket = fresh(s, AVERAGE);
    train(s, 1);
    stop_session(s, 9);
    assert_int_equal(asked(s, CPNI_TRAINER_CLOSE)->ticket, ticket);
    stop_session(s, 9);
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    round_done(s, ticket, 1, false); /* too late */
    assert_null(updated(s));
    train(s, 2);
    assert_int_equal(updated(s)->code, CPN_ENOTFOUND);
    assert_true(fake_has(&s->disk, &first));
    enable(s, AVERAGE);
    assert_int_equal(s->disk.writes, 0);
    stop_session(s, 9);
    fake_put(&s->disk, &second, DATASET_BYTES);
    enable_as(s, 10, AVERAGE, 42);
    assert_non_null(pump(s, CPNI_TRAINER_PROBE));
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &first));
    steps_stop(s);
    assert_non_null(asked(s, CPNI_TRAINER_CLOSE)); /* of the probe */
    while (steps_disk(s)) {
    }
    assert_false(fake_has(&s->disk, &second));
}

static void unlane_ends_a_lane_alone(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, AVERAGE);
    struct cpni_msg msg = { .type = CPNI_MSG_UNLANE };
    msg.unlane.session = session;
    msg.unlane.lane = 1;
    steps_msg(s, &msg);
    assert_int_equal(asked(s, CPNI_TRAINER_CLOSE)->ticket, ticket);
    steps_msg(s, &msg);
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    lane(s, 0, 0);
    assert_non_null(asked(s, CPNI_TRAINER_OPEN));
}

static void a_train_may_overtake_unlane_and_lane(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, AVERAGE);
    struct cpni_msg msg = { .type = CPNI_MSG_UNLANE };
    msg.unlane.session = session;
    msg.unlane.lane = 1;
    train(s, 1);
    steps_msg(s, &msg);
    assert_int_equal(asked(s, CPNI_TRAINER_CLOSE)->ticket, ticket);
    steps_msg(s, &msg);
    lane(s, 0, 0);
    ticket = asked(s, CPNI_TRAINER_OPEN)->ticket;
    say(s, ticket, CPNI_TRAINED_OPEN, 0);
    assert_int_equal(asked(s, CPNI_TRAINER_ROUND)->round, 1);
    say(s, ticket, CPNI_TRAINED_ROUND, CPN_ECRASHED);
    train(s, 1); /* to be tried again */
    assert_null(updated(s));
    steps_msg(s, &msg);
    lane(s, 0, 0);
    say(s, asked(s, CPNI_TRAINER_OPEN)->ticket, CPNI_TRAINED_OPEN, 0);
    assert_int_equal(asked(s, CPNI_TRAINER_ROUND)->round, 1);
}

static void a_lane_that_was_overtaken_changes_nothing(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, AVERAGE);
    for (uint64_t r = 1; r <= 3; r++) {
        train(s, r);
        round_done(s, ticket, r, false);
    }
    lane(s, 1, 0); /* said before TRAIN of round 3 */
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
}

static void a_new_master_is_told_what_its_predecessor_knew(void **state)
{
    struct steps *s = *state;
    uint64_t ticket = fresh(s, AVERAGE);
    for (uint64_t r = 1; r <= 3; r++) {
        train(s, r);
        round_done(s, ticket, r, false);
    }
    s->term = 4;
    rejoin(s);
    lane(s, 1, 0);
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    train(s, 2);
    assert_true(updated(s)->round == 2 && updated(s)->bytes == 400);
    assert_int_equal(steps_sent(s, CPNI_MSG_PIECE, 0)->piece.data->data[0], 202);
    train(s, 3);
    assert_int_equal(updated(s)->round, 3);
    train(s, 4);
    assert_int_equal(asked(s, CPNI_TRAINER_ROUND)->round, 4);
    s->term = 5;
    rejoin(s);
    lane(s, 2, 0); /* it is in the middle of round 4, and knows round 3 */
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    blobs_of_restores(s);
    s->term = 6;
    rejoin(s);
    lane(s, 1, 1); /* rounds 2 and 3 are kept as well */
    assert_null(steps_act(s, CPNI_ACT_TRAINER, 0));
    s->term = 7;
    round_done(s, ticket, 4, false);
    rejoin(s);
    lane(s, 1, 1); /* that is too far back: round 2 must be done again */
    assert_int_equal(asked(s, CPNI_TRAINER_CLOSE)->ticket, ticket);
}

static void a_train_that_never_fits_is_turned_down(void **state)
{
    struct steps *s = *state;
    fresh(s, AVERAGE);
    train(s, 3);
    for (unsigned i = 0; i < 4; i++) {
        steps_beat(s);
        assert_null(updated(s));
    }
    steps_beat(s);
    assert_true(updated(s)->code == CPN_ESTATE && updated(s)->round == 3);
    steps_beat(s);
    assert_null(updated(s));
    train(s, 3); /* that was said on this connection: there will be a LANE */
    assert_null(updated(s));
    blobs_of_restores(s);
    lane(s, 2, 2);
    say(s, pump(s, CPNI_TRAINER_OPEN)->ticket, CPNI_TRAINED_OPEN, 0);
    assert_int_equal(asked(s, CPNI_TRAINER_ROUND)->round, 3);
}

static void a_locked_node_still_answers_tasks(void **state)
{
    struct steps *s = *state;
    fresh(s, AVERAGE);
    struct cpni_msg msg = { .type = CPNI_MSG_TASK };
    msg.task.task.bytes[0] = 1;
    msg.task.attempt = 1;
    msg.task.term = 3;
    msg.task.model = cpni_str("echo");
    steps_msg(s, &msg);
    struct cpni_event event = { .type = CPNI_EV_FINISHED, .finished.ticket = steps_act(s, CPNI_ACT_RUN, 0)->run.ticket, .finished.text = "" };
    steps_event(s, &event);
    assert_non_null(steps_sent(s, CPNI_MSG_RESULT, 0));
}

/* The same story with the nth request for memory failing: nothing is half done, and what the master says again goes through. */
static void story(struct steps *s)
{
    enable_as(s, 9, AVERAGE, DATASET);
    const struct cpni_act_trainer *act = pump(s, CPNI_TRAINER_PROBE);
    if (act == NULL) {
        return;
    }
    say(s, act->ticket, CPNI_TRAINED_PROBE, 0);
    lane(s, 2, 1);
    act = pump(s, CPNI_TRAINER_OPEN);
    uint64_t ticket = act != NULL ? act->ticket : 0;
    train_as(s, 3, 400, true, false);
    say(s, ticket, CPNI_TRAINED_OPEN, 0);
    say(s, ticket, CPNI_TRAINED_ROUND, 0);
    epoch(s, ticket, 1, true);
    round_done(s, ticket, 3, true);
    while (steps_disk(s)) {
    }
}

static void without_memory(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth < 400; nth++) {
        struct steps s;
        struct cpn_hash root = fake_root(DATASET);
        assert_int_equal(open_worker(&s), 0);
        steps_join(&s);
        fake_put(&s.disk, &root, DATASET_BYTES);
        blobs_of_restores(&s);
        s.arm = nth;
        story(&s);
        bool failed = s.arm == 0;
        s.arm = 0;
        steps_tick(&s, 0);
        rejoin(&s);
        stop_session(&s, 9);
        steps_tick(&s, 100000); /* a transfer that had no memory tries again a little later */
        while (steps_disk(&s)) {
        }
        fake_put(&s.disk, &root, DATASET_BYTES); /* what was dropped comes again */
        blobs_of_restores(&s);
        story(&s);
        rejoin(&s);
        train_as(&s, 3, 400, true, false);
        if (updated(&s) == NULL || updated(&s)->code != 0) {
            fail_msg("request %u: %s", nth, updated(&s) != NULL ? cpn_strerror(updated(&s)->code) : "no UPDATE");
        }
        assert_int_equal(updated(&s)->bytes, 400);
        cpni_worker_core_free(s.core);
        steps_close(&s);
        if (!failed) {
            return;
        }
    }
    fail_msg("memory runs out for ever");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(enable_fetches_probes_and_answers_again, setup, teardown),
        cmocka_unit_test_setup_teardown(enable_says_why_not, setup, teardown),
        cmocka_unit_test_setup_teardown(a_round, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_bulk_connection_says_may_come_first, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cut_lane_joins_the_others_where_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(restore_replays_in_silence, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lane_that_makes_no_sense_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(a_state_stays_until_the_master_has_it, setup, teardown),
        cmocka_unit_test_setup_teardown(states_that_nobody_takes_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(gradients_are_exchanged, setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_is_told_and_tried_again_when_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_process_that_dies_between_rounds_takes_no_result_along, setup, teardown),
        cmocka_unit_test_setup_teardown(updates_wait_for_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(finished_epochs_come_with_their_round_each_time, setup, teardown),
        cmocka_unit_test_setup_teardown(stop_ends_all_and_keeps_the_dataset, setup, teardown),
        cmocka_unit_test_setup_teardown(unlane_ends_a_lane_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_train_may_overtake_unlane_and_lane, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lane_that_was_overtaken_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_master_is_told_what_its_predecessor_knew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_train_that_never_fits_is_turned_down, setup, teardown),
        cmocka_unit_test_setup_teardown(a_locked_node_still_answers_tasks, setup, teardown),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
