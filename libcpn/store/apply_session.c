/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Applying: training sessions, with their rounds, checkpoints of lanes and epochs. How many of them there are is bounded by the core,
 * which holds them all in memory (CPNI_SESSIONS_MAX, CPNI_SESSION_POINTS_MAX). Must not know what a spec says. */
#include <cpn/error.h>

#include "store/apply.h"

/* The row number of a session. Answers "rejected" and returns 1 when there is none. */
static int find_session(struct cpni_apply *apply, const struct cpn_id *session, int64_t *number)
{
    sqlite3_stmt *find = cpni_db_use(apply->db, "SELECT number FROM session WHERE id = ?1");
    cpni_bind_blob(find, 1, session, sizeof *session);
    int rc = cpni_db_number(apply->db, find, number);
    if (rc == CPN_ENOTFOUND) {
        cpni_reject(apply, CPN_ENOTFOUND, "no session has this id");
        return 1;
    }
    return rc;
}

static int insert_session(struct cpni_apply *apply, const struct cpni_command_session_add *command)
{
    sqlite3_stmt *add = cpni_db_use(apply->db,
        "INSERT INTO session (number, id, user, name, spec, dataset_root, dataset_size, schema_root, schema_size,"
        " data_rows, train_rows, columns, classes, added) VALUES ((SELECT coalesce(max(number), 0) + 1 FROM session),"
        " ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
    cpni_bind_blob(add, 1, &command->session, sizeof command->session);
    cpni_bind_blob(add, 2, &command->user, sizeof command->user);
    cpni_bind_text(add, 3, command->name);
    cpni_bind_blob(add, 4, apply->payload->data, apply->payload->size);
    cpni_bind_blob(add, 5, &command->dataset_root, sizeof command->dataset_root);
    cpni_bind_number(add, 6, (int64_t)command->dataset_size);
    cpni_bind_blob(add, 7, &command->schema_root, sizeof command->schema_root);
    cpni_bind_number(add, 8, (int64_t)command->schema_size);
    cpni_bind_number(add, 9, (int64_t)command->rows);
    cpni_bind_number(add, 10, (int64_t)command->train_rows);
    cpni_bind_number(add, 11, command->columns);
    cpni_bind_number(add, 12, command->classes);
    cpni_bind_number(add, 13, command->wall_us);
    return cpni_db_run(apply->db, add);
}

int cpni_apply_session_add(struct cpni_apply *apply, const struct cpni_command_session_add *command)
{
    if (apply->payload == NULL || apply->payload->size == 0) {
        return cpni_reject(apply, CPN_EINVAL, "a session needs a spec");
    }
    enum cpn_role role;
    int revoked = 0;
    int rc = cpni_identity_find(apply->db, &command->user, &role, &revoked);
    if (rc == CPN_ENOTFOUND || (rc == 0 && revoked)) {
        return cpni_reject(apply, CPN_ENOTFOUND, "no identity has this key, or it was revoked");
    }
    if (rc < 0) {
        return rc;
    }
    sqlite3_stmt *same = cpni_db_use(apply->db, "SELECT 1 FROM session WHERE id = ?1");
    cpni_bind_blob(same, 1, &command->session, sizeof command->session);
    int64_t one;
    rc = cpni_db_number(apply->db, same, &one);
    if (rc == 0) {
        return cpni_reject(apply, CPN_EEXISTS, "there is a session with this id");
    }
    return rc == CPN_ENOTFOUND ? insert_session(apply, command) : rc;
}

int cpni_apply_session_state(struct cpni_apply *apply, const struct cpni_command_session_state *command)
{
    int64_t number;
    int rc = find_session(apply, &command->session, &number);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    sqlite3_stmt *put = cpni_db_use(apply->db,
        "UPDATE session SET state = ?2, lane = ?3, weights_root = ?4, weights_size = ?5, evaluated = ?6, accuracy = ?7,"
        " loss = ?8, repeated = ?9, reproducible = ?10, ended = ?11, why = ?12, text = ?13 WHERE number = ?1");
    cpni_bind_number(put, 1, number);
    cpni_bind_number(put, 2, command->state);
    cpni_bind_number(put, 3, command->lane);
    cpni_bind_blob_unless_zero(put, 4, &command->weights_root, sizeof command->weights_root);
    cpni_bind_number(put, 5, (int64_t)command->weights_size);
    cpni_bind_number(put, 6, command->evaluated);
    cpni_bind_number(put, 7, command->accuracy_ppm);
    cpni_bind_number(put, 8, (int64_t)command->loss_micro);
    cpni_bind_number(put, 9, (int64_t)command->repeated);
    cpni_bind_number(put, 10, command->reproducible);
    cpni_bind_number(put, 11, command->ended_wall_us);
    cpni_bind_text(put, 12, command->why);
    cpni_bind_text(put, 13, command->text);
    return cpni_db_run(apply->db, put);
}

int cpni_apply_session_round(struct cpni_apply *apply, const struct cpni_command_session_round *command)
{
    int64_t number;
    int rc = find_session(apply, &command->session, &number);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    sqlite3_stmt *put = cpni_db_use(apply->db,
        "INSERT OR REPLACE INTO session_round (session, round, first_kept, root, size) VALUES (?1, ?2, ?3, ?4, ?5)");
    cpni_bind_number(put, 1, number);
    cpni_bind_number(put, 2, (int64_t)command->round);
    cpni_bind_number(put, 3, (int64_t)command->first_kept);
    cpni_bind_blob(put, 4, &command->root, sizeof command->root);
    cpni_bind_number(put, 5, (int64_t)command->size);
    rc = cpni_db_run(apply->db, put);
    if (rc < 0) {
        return rc;
    }
    sqlite3_stmt *drop = cpni_db_use(apply->db, "DELETE FROM session_round WHERE session = ?1 AND round < ?2");
    cpni_bind_number(drop, 1, number);
    cpni_bind_number(drop, 2, (int64_t)command->first_kept);
    return cpni_db_run(apply->db, drop);
}

int cpni_apply_session_lane(struct cpni_apply *apply, const struct cpni_command_session_lane *command)
{
    int64_t number;
    int rc = find_session(apply, &command->session, &number);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    sqlite3_stmt *put = cpni_db_use(apply->db,
        "INSERT OR REPLACE INTO session_lane (session, lane, state, round, weights_root, weights_size, state_root,"
        " state_size, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    cpni_bind_number(put, 1, number);
    cpni_bind_number(put, 2, command->lane);
    cpni_bind_number(put, 3, command->state);
    cpni_bind_number(put, 4, (int64_t)command->round);
    cpni_bind_blob_unless_zero(put, 5, &command->weights_root, sizeof command->weights_root);
    cpni_bind_number(put, 6, (int64_t)command->weights_size);
    cpni_bind_blob_unless_zero(put, 7, &command->state_root, sizeof command->state_root);
    cpni_bind_number(put, 8, (int64_t)command->state_size);
    cpni_bind_text(put, 9, command->text);
    return cpni_db_run(apply->db, put);
}

/* A point that comes again keeps its place in the order. */
int cpni_apply_session_point(struct cpni_apply *apply, const struct cpni_command_session_point *command)
{
    int64_t number;
    int rc = find_session(apply, &command->session, &number);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    sqlite3_stmt *put = cpni_db_use(apply->db,
        "INSERT INTO session_point (session, number, lane, epoch, node, samples, train_loss, loss, rate, train_ppm,"
        " accuracy, evaluated, at) VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM session_point WHERE session = ?1),"
        " ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
        " ON CONFLICT (session, lane, epoch) DO UPDATE SET node = ?4, samples = ?5, train_loss = ?6, loss = ?7,"
        " rate = ?8, train_ppm = ?9, accuracy = ?10, evaluated = ?11, at = ?12");
    cpni_bind_number(put, 1, number);
    cpni_bind_number(put, 2, command->lane);
    cpni_bind_number(put, 3, command->epoch);
    cpni_bind_text(put, 4, command->node);
    cpni_bind_number(put, 5, (int64_t)command->samples);
    cpni_bind_number(put, 6, (int64_t)command->train_loss_micro);
    cpni_bind_number(put, 7, (int64_t)command->loss_micro);
    cpni_bind_number(put, 8, (int64_t)command->rate);
    cpni_bind_number(put, 9, command->train_ppm);
    cpni_bind_number(put, 10, command->accuracy_ppm);
    cpni_bind_number(put, 11, command->evaluated);
    cpni_bind_number(put, 12, command->at_us);
    return cpni_db_run(apply->db, put);
}

int cpni_apply_session_remove(struct cpni_apply *apply, const struct cpni_command_session_remove *command)
{
    static const char *const texts[] = { "DELETE FROM session_point WHERE session = ?1",
        "DELETE FROM session_lane WHERE session = ?1", "DELETE FROM session_round WHERE session = ?1",
        "DELETE FROM session WHERE number = ?1" };
    int64_t number;
    int rc = find_session(apply, &command->session, &number);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    for (size_t i = 0; rc == 0 && i < sizeof texts / sizeof *texts; i++) {
        sqlite3_stmt *drop = cpni_db_use(apply->db, texts[i]);
        cpni_bind_number(drop, 1, number);
        rc = cpni_db_run(apply->db, drop);
    }
    return rc;
}
