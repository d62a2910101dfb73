/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A thin layer over one SQLite connection: statements prepared once, values bound by type, errors in one place. SQL is
 * constant text everywhere; values are only ever bound. Knows no table. One thread at a time. */
#ifndef CPNI_DB_H
#define CPNI_DB_H

#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

#include <cpn/types.h>

#define CPNI_DB_STATEMENTS_MAX 128 /* distinct SQL texts; all are in the sources, so a full table is a bug */

struct cpni_db {
    sqlite3 *sqlite;
    struct {
        const char *sql; /* compared as a pointer: each text is one constant */
        sqlite3_stmt *statement;
    } statements[CPNI_DB_STATEMENTS_MAX];
    size_t count;
};

/* CPN_E code of a SQLite result. */
int cpni_db_code(int result);

/* flags: SQLITE_OPEN_... */
int cpni_db_open(struct cpni_db *db, const char *path, int flags, const char *vfs);
void cpni_db_close(struct cpni_db *db);

/* The statement of a text, reset, nothing bound. NULL on failure; everything below takes NULL. */
sqlite3_stmt *cpni_db_use(struct cpni_db *db, const char *sql);
/* 1: a row, 0: no more (reset then), or an error (likewise). */
int cpni_db_step(struct cpni_db *db, sqlite3_stmt *statement);
/* To its end, rows ignored. */
int cpni_db_run(struct cpni_db *db, sqlite3_stmt *statement);
/* A text without values. */
int cpni_db_exec(struct cpni_db *db, const char *sql);
/* The first column of the first row, as a number. No row: CPN_ENOTFOUND. */
int cpni_db_number(struct cpni_db *db, sqlite3_stmt *statement, int64_t *out);

/* Parameters are 1-based, columns 0-based, as in SQLite. Bound memory must live until the step. */
void cpni_bind_number(sqlite3_stmt *statement, int at, int64_t value);
void cpni_bind_text(sqlite3_stmt *statement, int at, const char *text);
void cpni_bind_blob(sqlite3_stmt *statement, int at, const void *data, size_t size);
void cpni_bind_blob_unless_zero(
    sqlite3_stmt *statement, int at, const void *data, size_t size); /* NULL for all zeros */
void cpni_bind_text_unless_empty(sqlite3_stmt *statement, int at, const char *text);

int64_t cpni_column_number(sqlite3_stmt *statement, int at);
void cpni_column_text(sqlite3_stmt *statement, int at, char *to, size_t room); /* cut to fit; NULL gives "" */
void cpni_column_blob(sqlite3_stmt *statement, int at, void *to, size_t size); /* zeros when it has another size */

#endif
