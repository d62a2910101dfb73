/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* store/state: what is stored of training sessions, and that a restart finds it as the commands that stored it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "../lib/state_fixture.h"

static int setup(void **state)
{
    struct state_fixture *f = cpni_calloc(1, sizeof *f);
    state_fixture_begin(f);
    struct cpni_command c = COMMAND(IDENTITY_ADD, identity_add, .key = key_of(1), .role = CPN_ROLE_USER, .name = "ann");
    assert_int_equal(commit(f->state, &c).status, CPNI_COMMITTED);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    state_fixture_end(*state);
    return 0;
}

static const char spec_text[] = "mode average\ntrainer dnn\n";

static struct cpni_commit add(struct state_fixture *f, uint8_t id, int user)
{
    struct cpni_command c = COMMAND(SESSION_ADD, session_add, .session = { { id } }, .user = key_of(user), .name = "digits",
        .dataset_root = { { 1, id } }, .schema_root = { { 2, id } }, .dataset_size = 1ull << 40, .schema_size = 77,
        .rows = 5000, .train_rows = 4500, .columns = 784, .classes = 10, .wall_us = 123);
    c.payload = cpni_bytes_copy(spec_text, sizeof spec_text - 1);
    struct cpni_commit got = commit(f->state, &c);
    cpni_bytes_unref(c.payload);
    return got;
}

static struct cpni_command state_of(uint8_t id, uint32_t now)
{
    return COMMAND(SESSION_STATE, session_state, .session = { { id } }, .state = now, .lane = UINT32_MAX,
        .weights_root = { { 3, id } }, .weights_size = 437544, .evaluated = true, .accuracy_ppm = 987654,
        .loss_micro = 1ull << 62, .repeated = 2, .reproducible = true, .ended_wall_us = 456, .why = "quorum",
        .text = "it's over");
}

static struct cpni_command round_of(uint8_t id, uint64_t round, uint64_t first_kept)
{
    return COMMAND(SESSION_ROUND, session_round, .session = { { id } }, .round = round, .first_kept = first_kept,
        .root = { { 4, (uint8_t)round } }, .size = 1000 + round);
}

static struct cpni_command lane_of(uint8_t id, uint32_t lane, uint64_t round)
{
    return COMMAND(SESSION_LANE, session_lane, .session = { { id } }, .lane = lane, .state = CPN_ROLE_USER, .round = round,
        .state_root = { { 5, (uint8_t)lane } }, .weights_size = 10, .state_size = 20 + round, .text = "out of memory");
}

static struct cpni_command point_of(uint8_t id, uint32_t lane, uint32_t epoch, uint32_t accuracy)
{
    return COMMAND(SESSION_POINT, session_point, .session = { { id } }, .lane = lane, .epoch = epoch, .node = "w1",
        .samples = 4500, .train_loss_micro = 300000, .loss_micro = 310000, .rate = 60000, .train_ppm = 930000,
        .accuracy_ppm = accuracy, .evaluated = true, .at_us = 5000000 + epoch);
}

static void put(struct state_fixture *f, struct cpni_command command)
{
    assert_committed(commit(f->state, &command), 0);
}

/* What recovery handed out, with the number of the command after which it is to stop. */
struct seen {
    struct cpni_command commands[32];
    char spec[64];
    size_t count, stop_after;
};

static int see(void *arg, const struct cpni_command *command)
{
    struct seen *seen = arg;
    assert_true(seen->count < sizeof seen->commands / sizeof *seen->commands);
    seen->commands[seen->count++] = *command;
    if (command->type == CPNI_COMMAND_SESSION_ADD) {
        snprintf(seen->spec, sizeof seen->spec, "%.*s", (int)command->payload->size, (const char *)command->payload->data);
    } else {
        assert_null(command->payload);
    }
    return seen->count == seen->stop_after ? CPN_ENOMEM : 0;
}

/* Reopens, reads, starts again. */
static void recover(struct state_fixture *f, struct seen *seen)
{
    const struct cpni_state_reader reader = { .session = see };
    memset(seen, 0, sizeof *seen);
    state_fixture_reopen(f);
    assert_int_equal(cpni_state_recover(f->state, &reader, seen), 0);
    assert_int_equal(cpni_state_start(f->state), 0);
}

static void assert_types(const struct seen *seen, size_t count, const enum cpni_command_type *types)
{
    assert_int_equal(seen->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(seen->commands[i].type, types[i]);
    }
}

static void commands_come_back_in_order(void **state)
{
    struct state_fixture *f = *state;
    struct seen seen;
    assert_committed(add(f, 9, 1), 0);
    assert_committed(add(f, 3, 1), 0); /* later, though its id is smaller */
    put(f, point_of(9, 1, 2, 5));
    put(f, point_of(9, 0, 1, 6));
    put(f, lane_of(9, 1, 10));
    put(f, lane_of(9, 0, 10));
    put(f, round_of(9, 1, 0));
    put(f, round_of(9, 11, 0));
    put(f, round_of(9, 2, 0));
    put(f, state_of(9, 4));
    recover(f, &seen);
    static const enum cpni_command_type types[] = { CPNI_COMMAND_SESSION_ADD, CPNI_COMMAND_SESSION_STATE,
        CPNI_COMMAND_SESSION_ROUND, CPNI_COMMAND_SESSION_ROUND, CPNI_COMMAND_SESSION_ROUND, CPNI_COMMAND_SESSION_LANE,
        CPNI_COMMAND_SESSION_LANE, CPNI_COMMAND_SESSION_POINT, CPNI_COMMAND_SESSION_POINT, CPNI_COMMAND_SESSION_ADD };
    assert_types(&seen, 10, types);
    assert_int_equal(seen.commands[2].u.session_round.round, 1);
    assert_int_equal(seen.commands[3].u.session_round.round, 2);
    assert_int_equal(seen.commands[4].u.session_round.round, 11);
    assert_int_equal(seen.commands[5].u.session_lane.lane, 0);
    assert_int_equal(seen.commands[6].u.session_lane.lane, 1);
    assert_int_equal(seen.commands[7].u.session_point.lane, 1); /* as they came */
    assert_int_equal(seen.commands[8].u.session_point.lane, 0);
    assert_int_equal(seen.commands[0].u.session_add.session.bytes[0], 9);
    assert_int_equal(seen.commands[9].u.session_add.session.bytes[0], 3);
}

static void every_field_comes_back(void **state)
{
    struct state_fixture *f = *state;
    struct seen seen;
    assert_committed(add(f, 1, 1), 0);
    put(f, state_of(1, 4));
    put(f, round_of(1, 7, 3));
    put(f, lane_of(1, UINT32_MAX, UINT64_MAX));
    put(f, point_of(1, UINT32_MAX, 3, 999999));
    recover(f, &seen);
    assert_int_equal(seen.count, 5);
    assert_string_equal(seen.spec, spec_text);
    const struct cpni_command_session_add *a = &seen.commands[0].u.session_add;
    struct cpn_key ann = key_of(1);
    assert_memory_equal(&a->user, &ann, sizeof ann);
    assert_string_equal(a->name, "digits");
    assert_true(a->dataset_root.bytes[0] == 1 && a->schema_root.bytes[0] == 2 && a->schema_root.bytes[1] == 1);
    assert_true(a->dataset_size == 1ull << 40 && a->schema_size == 77 && a->rows == 5000 && a->train_rows == 4500);
    assert_true(a->columns == 784 && a->classes == 10 && a->wall_us == 123);
    const struct cpni_command_session_state *s = &seen.commands[1].u.session_state;
    assert_true(s->session.bytes[0] == 1 && s->state == 4 && s->lane == UINT32_MAX && s->weights_root.bytes[0] == 3);
    assert_true(s->weights_size == 437544 && s->evaluated && s->accuracy_ppm == 987654 && s->loss_micro == 1ull << 62);
    assert_true(s->repeated == 2 && s->reproducible && s->ended_wall_us == 456);
    assert_string_equal(s->why, "quorum");
    assert_string_equal(s->text, "it's over");
    const struct cpni_command_session_round *r = &seen.commands[2].u.session_round;
    assert_true(r->session.bytes[0] == 1 && r->round == 7 && r->first_kept == 3 && r->root.bytes[1] == 7 && r->size == 1007);
    const struct cpni_command_session_lane *l = &seen.commands[3].u.session_lane;
    assert_true(l->session.bytes[0] == 1 && l->lane == UINT32_MAX && l->state == CPN_ROLE_USER && l->round == UINT64_MAX);
    assert_true(l->weights_root.bytes[0] == 0 && l->state_root.bytes[0] == 5 && l->weights_size == 10 && l->state_size == 19);
    assert_string_equal(l->text, "out of memory");
    const struct cpni_command_session_point *p = &seen.commands[4].u.session_point;
    assert_true(p->session.bytes[0] == 1 && p->lane == UINT32_MAX && p->epoch == 3 && p->samples == 4500);
    assert_true(p->train_loss_micro == 300000 && p->loss_micro == 310000 && p->rate == 60000 && p->train_ppm == 930000);
    assert_true(p->accuracy_ppm == 999999 && p->evaluated && p->at_us == 5000003);
    assert_string_equal(p->node, "w1");
}

static void the_same_again_replaces(void **state)
{
    struct state_fixture *f = *state;
    struct seen seen;
    assert_committed(add(f, 1, 1), 0);
    for (uint64_t round = 1; round <= 12; round++) {
        put(f, round_of(1, round, round == 12 ? 10 : 0));
    }
    put(f, state_of(1, 3));
    put(f, state_of(1, 6));
    put(f, lane_of(1, 0, 5));
    put(f, lane_of(1, 0, 10));
    put(f, point_of(1, 0, 1, 1));
    put(f, point_of(1, 0, 2, 2));
    put(f, point_of(1, 0, 1, 3));
    recover(f, &seen);
    assert_int_equal(seen.count, 8);
    assert_int_equal(seen.commands[1].u.session_state.state, 6);
    assert_int_equal(seen.commands[2].u.session_round.round, 10); /* those before it were dropped */
    assert_int_equal(seen.commands[4].u.session_round.round, 12);
    assert_int_equal(seen.commands[5].u.session_lane.round, 10);
    assert_int_equal(seen.commands[6].u.session_point.epoch, 1); /* kept its place */
    assert_int_equal(seen.commands[6].u.session_point.accuracy_ppm, 3);
    assert_int_equal(seen.commands[7].u.session_point.accuracy_ppm, 2);
}

static void removing_takes_all_of_one(void **state)
{
    struct state_fixture *f = *state;
    struct seen seen;
    for (uint8_t id = 1; id <= 2; id++) {
        assert_committed(add(f, id, 1), 0);
        put(f, state_of(id, 4));
        put(f, round_of(id, 1, 0));
        put(f, lane_of(id, 0, 1));
        put(f, point_of(id, 0, 1, 1));
    }
    struct cpni_command remove = COMMAND(SESSION_REMOVE, session_remove, .session = { { 2 } });
    assert_committed(commit(f->state, &remove), 0);
    assert_rejected(commit(f->state, &remove), CPN_ENOTFOUND);
    recover(f, &seen);
    assert_int_equal(seen.count, 5);
    for (size_t i = 0; i < seen.count; i++) {
        assert_int_equal(seen.commands[i].u.session_remove.session.bytes[0], 1); /* the first member of all of them */
    }
    assert_committed(add(f, 2, 1), 0); /* its row number is used again: nothing of the old one may show */
    recover(f, &seen);
    assert_int_equal(seen.count, 6);
    assert_int_equal(seen.commands[5].type, CPNI_COMMAND_SESSION_ADD);
}

static void what_does_not_fit_is_rejected(void **state)
{
    struct state_fixture *f = *state;
    struct seen seen;
    assert_rejected(add(f, 1, 2), CPN_ENOTFOUND); /* nobody */
    struct cpni_command c = COMMAND(SESSION_ADD, session_add, .session = { { 1 } }, .user = key_of(1));
    assert_rejected(commit(f->state, &c), CPN_EINVAL); /* no spec */
    const struct cpni_command lost[] = { state_of(1, 4), round_of(1, 1, 0), lane_of(1, 0, 1), point_of(1, 0, 1, 1),
        COMMAND(SESSION_REMOVE, session_remove, .session = { { 1 } }) };
    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
        assert_rejected(commit(f->state, &lost[i]), CPN_ENOTFOUND);
    }
    assert_committed(add(f, 1, 1), 0);
    assert_rejected(add(f, 1, 1), CPN_EEXISTS);
    c = COMMAND(IDENTITY_REVOKE, identity_revoke, .key = key_of(1));
    put(f, c);
    assert_rejected(add(f, 5, 1), CPN_ENOTFOUND); /* revoked; what she has stays */
    c = COMMAND(SESSION_ADD, session_add, .session = { { 6 } }, .user = key_of(1));
    c.payload = cpni_bytes_take(cpni_calloc(1, CPNI_SESSION_SPEC_BYTES_MAX + 1), CPNI_SESSION_SPEC_BYTES_MAX + 1);
    assert_int_equal(cpni_state_submit(f->state, NULL, &c, NULL), CPN_EINVAL);
    cpni_bytes_unref(c.payload);
    recover(f, &seen);
    assert_int_equal(seen.count, 1);
}

static void a_reader_that_stops_is_heard(void **state)
{
    struct state_fixture *f = *state;
    assert_committed(add(f, 1, 1), 0);
    put(f, state_of(1, 4));
    put(f, round_of(1, 1, 0));
    assert_committed(add(f, 2, 1), 0);
    state_fixture_reopen(f);
    const struct cpni_state_reader reader = { .session = see };
    for (size_t stop = 1; stop <= 4; stop++) {
        struct seen seen = { .stop_after = stop };
        assert_int_equal(cpni_state_recover(f->state, &reader, &seen), CPN_ENOMEM);
        assert_int_equal(seen.count, stop);
    }
    struct seen all = { .count = 0 };
    assert_int_equal(cpni_state_recover(f->state, &reader, &all), 0); /* no statement was left halfway */
    assert_int_equal(all.count, 4);
}

/* A database of version 1, before there were sessions: as this one without their tables. */
static void an_older_database_opens(void **state)
{
    struct state_fixture *f = *state;
    struct seen seen;
    char path[256];
    sqlite3 *db;
    cpni_state_close(f->state);
    f->state = NULL;
    snprintf(path, sizeof path, "%s/state.db", f->store);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                         "BEGIN; DROP TABLE session; DROP TABLE session_round; DROP TABLE session_lane;"
                         "DROP TABLE session_point; PRAGMA user_version = 1; COMMIT",
                         NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    state_fixture_open(f);
    assert_int_equal(cpni_state_start(f->state), 0);
    assert_committed(add(f, 1, 1), 0); /* ann is still known */
    recover(f, &seen);
    assert_int_equal(seen.count, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(commands_come_back_in_order),
        TEST(every_field_comes_back),
        TEST(the_same_again_replaces),
        TEST(removing_takes_all_of_one),
        TEST(what_does_not_fit_is_rejected),
        TEST(a_reader_that_stops_is_heard),
        TEST(an_older_database_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
