/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See schema.h.
 *
 * To change a table: never edit a step that was released. Raise CPNI_SCHEMA_VERSION, append a step with ALTER TABLE or
 * CREATE statements, put a database written by the last release under tests/fixtures/ and a test that opens it. Opening
 * runs the missing steps in one transaction and sets PRAGMA user_version; an older program refuses a newer database.
 *
 * Times are microseconds of wall time, 0 for never. Keys, hashes and ids are BLOBs of their size. Counters stop at
 * 2^62, so that no sum turns into a floating-point number. */
#include "store/schema.h"

#include <stddef.h>

const char *const cpni_schema_steps[CPNI_SCHEMA_VERSION] = {
    /* One row: who this database is (state_open.c), and the term. */
    "CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), cluster BLOB NOT NULL, inode INTEGER NOT NULL,"
    " born INTEGER NOT NULL, term INTEGER NOT NULL);"

    /* Revoked rows stay, so that a key cannot come back; their names are free. */
    "CREATE TABLE identity (key BLOB PRIMARY KEY, role INTEGER NOT NULL, name TEXT NOT NULL, revoked INTEGER NOT NULL,"
    " enrolled INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX identity_name ON identity (name) WHERE revoked = 0;"
    "CREATE TABLE stats (key BLOB PRIMARY KEY, tasks INTEGER NOT NULL, failures INTEGER NOT NULL, busy_us INTEGER NOT "
    "NULL,"
    " bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL, joins INTEGER NOT NULL, losses INTEGER NOT NULL,"
    " first_join INTEGER NOT NULL, last_seen INTEGER NOT NULL, capabilities TEXT) WITHOUT ROWID;"
    "CREATE TABLE rights (key BLOB NOT NULL, name TEXT NOT NULL, PRIMARY KEY (key, name)) WITHOUT ROWID;"

    /* Used up and revoked tokens stay for a while, to say so to who tries one. */
    "CREATE TABLE token (token BLOB PRIMARY KEY, role INTEGER NOT NULL, hint TEXT NOT NULL, expires INTEGER NOT NULL,"
    " uses INTEGER NOT NULL, revoked INTEGER NOT NULL, added INTEGER NOT NULL) WITHOUT ROWID;"

    /* last_version outlives the versions: a number is never given twice. */
    "CREATE TABLE signer (signer BLOB PRIMARY KEY, key BLOB NOT NULL, added INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE model_name (name TEXT PRIMARY KEY, last_version INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE model (name TEXT NOT NULL, version INTEGER NOT NULL, root BLOB NOT NULL, manifest BLOB NOT NULL,"
    " signer BLOB NOT NULL, signature BLOB NOT NULL, bytes INTEGER NOT NULL, added INTEGER NOT NULL,"
    " PRIMARY KEY (name, version), UNIQUE (name, root));"

    /* A ring by number. NULL node, task, model: none. */
    "CREATE TABLE event (number INTEGER PRIMARY KEY, wall INTEGER NOT NULL, id TEXT NOT NULL, level INTEGER NOT NULL,"
    " node BLOB, task BLOB, model TEXT, text TEXT NOT NULL);"
    "CREATE INDEX event_node ON event (node, number) WHERE node IS NOT NULL;"
    "CREATE INDEX event_task ON event (task, number) WHERE task IS NOT NULL;"
    "CREATE TABLE parked (number INTEGER PRIMARY KEY, task BLOB NOT NULL UNIQUE, model TEXT NOT NULL, user BLOB NOT "
    "NULL,"
    " attempts INTEGER NOT NULL, text TEXT NOT NULL, wall INTEGER NOT NULL);"

    /* Answers to keyed commands (apply.c). */
    "CREATE TABLE answered (number INTEGER PRIMARY KEY, client BLOB NOT NULL, sequence INTEGER NOT NULL, status INTEGER NOT NULL,"
    " code INTEGER NOT NULL, result INTEGER NOT NULL, text TEXT NOT NULL, UNIQUE (client, sequence));",

    /* Training sessions (apply_session.c). NULL state: none was told yet, nor what follows it; NULL roots: zero. */
    "CREATE TABLE session (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, user BLOB NOT NULL, name TEXT NOT NULL,"
    " spec BLOB NOT NULL, dataset_root BLOB NOT NULL, dataset_size INTEGER NOT NULL, schema_root BLOB NOT NULL,"
    " schema_size INTEGER NOT NULL, data_rows INTEGER NOT NULL, train_rows INTEGER NOT NULL, columns INTEGER NOT NULL,"
    " classes INTEGER NOT NULL, added INTEGER NOT NULL, state INTEGER, lane INTEGER, weights_root BLOB,"
    " weights_size INTEGER, evaluated INTEGER, accuracy INTEGER, loss INTEGER, repeated INTEGER, reproducible INTEGER,"
    " ended INTEGER, why TEXT, text TEXT);"
    "CREATE TABLE session_round (session INTEGER NOT NULL, round INTEGER NOT NULL, first_kept INTEGER NOT NULL,"
    " root BLOB NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (session, round)) WITHOUT ROWID;"
    "CREATE TABLE session_lane (session INTEGER NOT NULL, lane INTEGER NOT NULL, state INTEGER NOT NULL,"
    " round INTEGER NOT NULL, weights_root BLOB, weights_size INTEGER NOT NULL, state_root BLOB,"
    " state_size INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (session, lane)) WITHOUT ROWID;"
    "CREATE TABLE session_point (session INTEGER NOT NULL, number INTEGER NOT NULL, lane INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL, node TEXT NOT NULL, samples INTEGER NOT NULL, train_loss INTEGER NOT NULL,"
    " loss INTEGER NOT NULL, rate INTEGER NOT NULL, train_ppm INTEGER NOT NULL, accuracy INTEGER NOT NULL,"
    " evaluated INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (session, number), UNIQUE (session, lane, epoch))"
    " WITHOUT ROWID;",
};
