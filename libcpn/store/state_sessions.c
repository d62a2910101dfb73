/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions as a starting role reads them: as the commands that would store the same again. */
#include "store/state_store.h"

#include <string.h>

#include <cpn/error.h>

struct reading {
    struct cpni_state *state;
    int (*fn)(void *arg, const struct cpni_command *command);
    void *arg;
    int64_t number; /* of the session that is read */
    struct cpn_id id;
};

/* Fills in `command` from a row; CPN_ENOMEM. */
typedef int from_row(const struct reading *reading, sqlite3_stmt *row, struct cpni_command *command);

static int read_add(const struct reading *reading, sqlite3_stmt *row, struct cpni_command *command)
{
    struct cpni_command_session_add *to = &command->u.session_add;
    command->type = CPNI_COMMAND_SESSION_ADD;
    to->session = reading->id;
    cpni_column_blob(row, 0, &to->user, sizeof to->user);
    cpni_column_text(row, 1, to->name, sizeof to->name);
    cpni_column_blob(row, 3, &to->dataset_root, sizeof to->dataset_root);
    to->dataset_size = (uint64_t)cpni_column_number(row, 4);
    cpni_column_blob(row, 5, &to->schema_root, sizeof to->schema_root);
    to->schema_size = (uint64_t)cpni_column_number(row, 6);
    to->rows = (uint64_t)cpni_column_number(row, 7);
    to->train_rows = (uint64_t)cpni_column_number(row, 8);
    to->columns = (uint32_t)cpni_column_number(row, 9);
    to->classes = (uint32_t)cpni_column_number(row, 10);
    to->wall_us = cpni_column_number(row, 11);
    command->payload = cpni_bytes_copy(sqlite3_column_blob(row, 2), (size_t)sqlite3_column_bytes(row, 2));
    return command->payload != NULL ? 0 : CPN_ENOMEM;
}

static int read_state(const struct reading *reading, sqlite3_stmt *row, struct cpni_command *command)
{
    struct cpni_command_session_state *to = &command->u.session_state;
    command->type = CPNI_COMMAND_SESSION_STATE;
    to->session = reading->id;
    to->state = (uint32_t)cpni_column_number(row, 0);
    to->lane = (uint32_t)cpni_column_number(row, 1);
    cpni_column_blob(row, 2, &to->weights_root, sizeof to->weights_root);
    to->weights_size = (uint64_t)cpni_column_number(row, 3);
    to->evaluated = cpni_column_number(row, 4) != 0;
    to->accuracy_ppm = (uint32_t)cpni_column_number(row, 5);
    to->loss_micro = (uint64_t)cpni_column_number(row, 6);
    to->repeated = (uint64_t)cpni_column_number(row, 7);
    to->reproducible = cpni_column_number(row, 8) != 0;
    to->ended_wall_us = cpni_column_number(row, 9);
    cpni_column_text(row, 10, to->why, sizeof to->why);
    cpni_column_text(row, 11, to->text, sizeof to->text);
    return 0;
}

static int read_round(const struct reading *reading, sqlite3_stmt *row, struct cpni_command *command)
{
    struct cpni_command_session_round *to = &command->u.session_round;
    command->type = CPNI_COMMAND_SESSION_ROUND;
    to->session = reading->id;
    to->round = (uint64_t)cpni_column_number(row, 0);
    to->first_kept = (uint64_t)cpni_column_number(row, 1);
    cpni_column_blob(row, 2, &to->root, sizeof to->root);
    to->size = (uint64_t)cpni_column_number(row, 3);
    return 0;
}

static int read_lane(const struct reading *reading, sqlite3_stmt *row, struct cpni_command *command)
{
    struct cpni_command_session_lane *to = &command->u.session_lane;
    command->type = CPNI_COMMAND_SESSION_LANE;
    to->session = reading->id;
    to->lane = (uint32_t)cpni_column_number(row, 0);
    to->state = (uint32_t)cpni_column_number(row, 1);
    to->round = (uint64_t)cpni_column_number(row, 2);
    cpni_column_blob(row, 3, &to->weights_root, sizeof to->weights_root);
    to->weights_size = (uint64_t)cpni_column_number(row, 4);
    cpni_column_blob(row, 5, &to->state_root, sizeof to->state_root);
    to->state_size = (uint64_t)cpni_column_number(row, 6);
    cpni_column_text(row, 7, to->text, sizeof to->text);
    return 0;
}

static int read_point(const struct reading *reading, sqlite3_stmt *row, struct cpni_command *command)
{
    struct cpni_command_session_point *to = &command->u.session_point;
    command->type = CPNI_COMMAND_SESSION_POINT;
    to->session = reading->id;
    to->lane = (uint32_t)cpni_column_number(row, 0);
    to->epoch = (uint32_t)cpni_column_number(row, 1);
    cpni_column_text(row, 2, to->node, sizeof to->node);
    to->samples = (uint64_t)cpni_column_number(row, 3);
    to->train_loss_micro = (uint64_t)cpni_column_number(row, 4);
    to->loss_micro = (uint64_t)cpni_column_number(row, 5);
    to->rate = (uint64_t)cpni_column_number(row, 6);
    to->train_ppm = (uint32_t)cpni_column_number(row, 7);
    to->accuracy_ppm = (uint32_t)cpni_column_number(row, 8);
    to->evaluated = cpni_column_number(row, 9) != 0;
    to->at_us = cpni_column_number(row, 10);
    return 0;
}

/* A kind of command and the rows of one session that it is read from. */
static const struct {
    const char *sql;
    from_row *read;
} kinds[] = {
    { "SELECT user, name, spec, dataset_root, dataset_size, schema_root, schema_size, data_rows, train_rows, columns, classes,"
      " added FROM session WHERE number = ?1",
        read_add },
    { "SELECT state, lane, weights_root, weights_size, evaluated, accuracy, loss, repeated, reproducible, ended, why,"
      " text FROM session WHERE number = ?1 AND state IS NOT NULL",
        read_state },
    { "SELECT round, first_kept, root, size FROM session_round WHERE session = ?1 ORDER BY round", read_round },
    { "SELECT lane, state, round, weights_root, weights_size, state_root, state_size, text FROM session_lane"
      " WHERE session = ?1 ORDER BY lane",
        read_lane },
    { "SELECT lane, epoch, node, samples, train_loss, loss, rate, train_ppm, accuracy, evaluated, at FROM session_point"
      " WHERE session = ?1 ORDER BY number",
        read_point },
};

static int each_row(const struct reading *reading, const char *sql, from_row *read)
{
    struct cpni_state *state = reading->state;
    sqlite3_stmt *rows = cpni_db_use(&state->db, sql);
    cpni_bind_number(rows, 1, reading->number);
    int rc;
    while ((rc = cpni_db_step(&state->db, rows)) == 1) {
        struct cpni_command command;
        memset(&command, 0, sizeof command);
        rc = read(reading, rows, &command);
        rc = rc == 0 ? reading->fn(reading->arg, &command) : rc;
        cpni_bytes_unref(command.payload);
        if (rc != 0) {
            sqlite3_reset(rows);
            return rc;
        }
    }
    return rc < 0 ? cpni_state_describe(state, rc, state->detail) : 0;
}

int cpni_state_sessions(
    struct cpni_state *state, int (*fn)(void *arg, const struct cpni_command *command), void *arg)
{
    struct reading reading = { .state = state, .fn = fn, .arg = arg };
    sqlite3_stmt *sessions = cpni_db_use(&state->db, "SELECT number, id FROM session ORDER BY number");
    int rc;
    while ((rc = cpni_db_step(&state->db, sessions)) == 1) {
        reading.number = cpni_column_number(sessions, 0);
        cpni_column_blob(sessions, 1, &reading.id, sizeof reading.id);
        rc = 0;
        for (size_t i = 0; rc == 0 && i < sizeof kinds / sizeof *kinds; i++) {
            rc = each_row(&reading, kinds[i].sql, kinds[i].read);
        }
        if (rc != 0) {
            sqlite3_reset(sessions);
            return rc;
        }
    }
    return rc < 0 ? cpni_state_describe(state, rc, state->detail) : 0;
}
