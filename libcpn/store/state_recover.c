/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a starting role reads: everything but the memory of answered keys, table by table, on the owner's thread. */
#include "store/state_store.h"

#include <assert.h>
#include <string.h>

#include <cpn/error.h>

struct reading {
    struct cpni_state *state;
    const struct cpni_state_reader *reader;
    void *arg;
};

typedef int each_row(struct reading *reading, sqlite3_stmt *row);

/* Calls `fn` with every row. What `fn` returns but 0 ends the reading. */
static int each(struct reading *reading, sqlite3_stmt *rows, each_row *fn)
{
    struct cpni_state *state = reading->state;
    int rc;
    while ((rc = cpni_db_step(&state->db, rows)) == 1) {
        rc = fn(reading, rows);
        if (rc != 0) {
            sqlite3_reset(rows);
            return rc;
        }
    }
    return rc < 0 ? cpni_state_describe(state, rc, state->detail) : 0;
}

static int read_term(struct reading *reading)
{
    struct cpni_state *state = reading->state;
    int64_t term;
    int rc = cpni_db_number(&state->db, cpni_db_use(&state->db, "SELECT term FROM meta"), &term);
    return rc < 0 ? cpni_state_describe(state, rc, state->detail) : reading->reader->term(reading->arg, (uint64_t)term);
}

static int identity_row(struct reading *reading, sqlite3_stmt *row)
{
    struct cpni_state_identity out;
    memset(&out, 0, sizeof out);
    cpni_column_blob(row, 0, &out.key, sizeof out.key);
    out.role = (enum cpn_role)cpni_column_number(row, 1);
    cpni_column_text(row, 2, out.name, sizeof out.name);
    out.revoked = cpni_column_number(row, 3) != 0;
    out.enrolled_wall_us = cpni_column_number(row, 4);
    uint64_t *const counters[] = { &out.stats.tasks, &out.stats.failures, &out.stats.busy_us, &out.stats.bytes_in,
        &out.stats.bytes_out, &out.stats.joins, &out.stats.losses };
    for (int i = 0; i < 7; i++) {
        *counters[i] = (uint64_t)cpni_column_number(row, 5 + i);
    }
    out.stats.first_join_wall_us = cpni_column_number(row, 12);
    out.stats.last_seen_wall_us = cpni_column_number(row, 13);
    out.capabilities = (const char *)sqlite3_column_text(row, 14);
    return reading->reader->identity(reading->arg, &out);
}

static int right_row(struct reading *reading, sqlite3_stmt *row)
{
    struct cpni_state_right out;
    cpni_column_blob(row, 0, &out.key, sizeof out.key);
    cpni_column_text(row, 1, out.right, sizeof out.right);
    return reading->reader->right(reading->arg, &out);
}

static int signer_row(struct reading *reading, sqlite3_stmt *row)
{
    struct cpni_state_signer out;
    cpni_column_blob(row, 0, &out.signer, sizeof out.signer);
    cpni_column_blob(row, 1, &out.key, sizeof out.key);
    return reading->reader->signer(reading->arg, &out);
}

static int token_row(struct reading *reading, sqlite3_stmt *row)
{
    struct cpni_state_token out;
    cpni_column_blob(row, 0, &out.token, sizeof out.token);
    out.role = (enum cpn_role)cpni_column_number(row, 1);
    cpni_column_text(row, 2, out.hint, sizeof out.hint);
    out.expires_wall_us = cpni_column_number(row, 3);
    out.uses_left = (uint32_t)cpni_column_number(row, 4);
    return reading->reader->token(reading->arg, &out);
}

static int model_row(struct reading *reading, sqlite3_stmt *row)
{
    struct cpni_state_model out;
    cpni_column_text(row, 0, out.name, sizeof out.name);
    out.version = (uint32_t)cpni_column_number(row, 1);
    cpni_column_blob(row, 2, &out.manifest_root, sizeof out.manifest_root);
    out.manifest = sqlite3_column_blob(row, 3);
    out.manifest_size = (size_t)sqlite3_column_bytes(row, 3);
    cpni_column_blob(row, 4, &out.signer, sizeof out.signer);
    cpni_column_blob(row, 5, &out.signature, sizeof out.signature);
    out.bytes = (uint64_t)cpni_column_number(row, 6);
    out.wall_us = cpni_column_number(row, 7);
    return reading->reader->model(reading->arg, &out);
}

static int parked_row(struct reading *reading, sqlite3_stmt *row)
{
    struct cpni_state_parked out;
    cpni_column_blob(row, 0, &out.parked.task, sizeof out.parked.task);
    cpni_column_text(row, 1, out.parked.model, sizeof out.parked.model);
    cpni_column_blob(row, 2, &out.parked.user, sizeof out.parked.user);
    out.parked.attempts = (uint32_t)cpni_column_number(row, 3);
    cpni_column_text(row, 4, out.parked.text, sizeof out.parked.text);
    out.parked.wall_us = cpni_column_number(row, 5);
    return reading->reader->parked(reading->arg, &out);
}

static int event_row(struct reading *reading, sqlite3_stmt *row)
{
    struct cpni_state_event out;
    cpni_state_read_event(row, &out);
    return reading->reader->event(reading->arg, &out);
}

static sqlite3_stmt *events(struct cpni_db *db, uint64_t after)
{
    sqlite3_stmt *rows = cpni_db_use(db,
        "SELECT * FROM (SELECT " CPNI_EVENT_COLUMNS " FROM event WHERE number > ?1 ORDER BY number DESC LIMIT ?2)"
        " ORDER BY number");
    cpni_bind_number(rows, 1, (int64_t)after);
    cpni_bind_number(rows, 2, CPNI_STATE_EVENTS_READ_MAX);
    return rows;
}

int cpni_state_recover(struct cpni_state *state, const struct cpni_state_reader *reader, void *arg)
{
    assert(!state->started); /* the database is the helper thread's from then on */
    struct reading reading = { state, reader, arg };
    struct cpni_db *db = &state->db;
    int rc = reader->term != NULL ? read_term(&reading) : 0;
    if (rc == 0 && reader->identity != NULL) {
        rc = each(&reading,
            cpni_db_use(db,
                "SELECT identity.key, role, name, revoked, enrolled, tasks, failures, busy_us, bytes_in,"
                " bytes_out, joins, losses, first_join, last_seen, capabilities FROM identity"
                " LEFT JOIN stats ON stats.key = identity.key ORDER BY identity.key"),
            identity_row);
    }
    if (rc == 0 && reader->right != NULL) {
        rc = each(&reading, cpni_db_use(db, "SELECT key, name FROM rights ORDER BY key, name"), right_row);
    }
    if (rc == 0 && reader->signer != NULL) {
        rc = each(&reading, cpni_db_use(db, "SELECT signer, key FROM signer ORDER BY key, signer"), signer_row);
    }
    if (rc == 0 && reader->token != NULL) {
        rc = each(&reading,
            cpni_db_use(db,
                "SELECT token, role, hint, expires, uses FROM token WHERE uses > 0 AND revoked = 0"
                " ORDER BY token"),
            token_row);
    }
    if (rc == 0 && reader->model != NULL) {
        rc = each(&reading,
            cpni_db_use(db,
                "SELECT name, version, root, manifest, signer, signature, bytes, added FROM model"
                " ORDER BY name, version"),
            model_row);
    }
    if (rc == 0 && reader->parked != NULL) {
        rc = each(&reading,
            cpni_db_use(db, "SELECT task, model, user, attempts, text, wall FROM parked ORDER BY number"), parked_row);
    }
    if (rc == 0 && reader->event != NULL) {
        rc = each(&reading, events(db, reader->events_after), event_row);
    }
    if (rc == 0 && reader->session != NULL) {
        rc = cpni_state_sessions(state, reader->session, arg);
    }
    return rc;
}
