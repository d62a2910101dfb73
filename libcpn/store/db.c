/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See db.h. */
#include "store/db.h"

#include <assert.h>
#include <string.h>

#include <cpn/error.h>

#include "base/str.h"

int cpni_db_code(int result)
{
    switch (result & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
        return CPN_ENOSPC;
    case SQLITE_NOMEM:
        return CPN_ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return CPN_EBUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
        return CPN_ECORRUPT;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
        return CPN_EDENIED;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
        return CPN_EIO;
    default: /* constraint, mismatch, misuse: our own mistake */
        return CPN_EINTERNAL;
    }
}

int cpni_db_open(struct cpni_db *db, const char *path, int flags, const char *vfs)
{
    memset(db, 0, sizeof *db);
    int result = sqlite3_open_v2(path, &db->sqlite, flags | SQLITE_OPEN_NOMUTEX, vfs);
    if (db->sqlite != NULL) {
        sqlite3_extended_result_codes(db->sqlite, 1);
    }
    return cpni_db_code(result);
}

void cpni_db_close(struct cpni_db *db)
{
    for (size_t i = 0; i < db->count; i++) {
        sqlite3_finalize(db->statements[i].statement);
    }
    db->count = 0;
    sqlite3_close(db->sqlite);
    db->sqlite = NULL;
}

sqlite3_stmt *cpni_db_use(struct cpni_db *db, const char *sql)
{
    for (size_t i = 0; i < db->count; i++) {
        if (db->statements[i].sql == sql) {
            sqlite3_reset(db->statements[i].statement);
            sqlite3_clear_bindings(db->statements[i].statement);
            return db->statements[i].statement;
        }
    }
    assert(db->count < CPNI_DB_STATEMENTS_MAX);
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v3(db->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK) {
        return NULL;
    }
    db->statements[db->count].sql = sql;
    db->statements[db->count].statement = statement;
    db->count++;
    return statement;
}

int cpni_db_step(struct cpni_db *db, sqlite3_stmt *statement)
{
    if (statement == NULL) {
        int rc = cpni_db_code(sqlite3_errcode(db->sqlite));
        return rc < 0 ? rc : CPN_EINTERNAL;
    }
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        return 1;
    }
    sqlite3_reset(statement);
    return cpni_db_code(result);
}

int cpni_db_run(struct cpni_db *db, sqlite3_stmt *statement)
{
    int rc;
    while ((rc = cpni_db_step(db, statement)) == 1) { }
    return rc;
}

int cpni_db_exec(struct cpni_db *db, const char *sql)
{
    return cpni_db_code(sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL));
}

int cpni_db_number(struct cpni_db *db, sqlite3_stmt *statement, int64_t *out)
{
    int rc = cpni_db_step(db, statement);
    if (rc <= 0) {
        return rc < 0 ? rc : CPN_ENOTFOUND;
    }
    *out = cpni_column_number(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

/* A binding fails only out of range or out of memory; the parameter is NULL then, which the NOT NULL columns refuse. */
void cpni_bind_number(sqlite3_stmt *statement, int at, int64_t value)
{
    if (statement != NULL) {
        sqlite3_bind_int64(statement, at, value);
    }
}

void cpni_bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    if (statement != NULL) {
        sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
    }
}

void cpni_bind_blob(sqlite3_stmt *statement, int at, const void *data, size_t size)
{
    if (statement != NULL) {
        sqlite3_bind_blob64(statement, at, data, size, SQLITE_STATIC);
    }
}

void cpni_bind_blob_unless_zero(sqlite3_stmt *statement, int at, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            cpni_bind_blob(statement, at, data, size);
            return;
        }
    }
}

void cpni_bind_text_unless_empty(sqlite3_stmt *statement, int at, const char *text)
{
    if (text[0] != 0) {
        cpni_bind_text(statement, at, text);
    }
}

int64_t cpni_column_number(sqlite3_stmt *statement, int at)
{
    return sqlite3_column_int64(statement, at);
}

void cpni_column_text(sqlite3_stmt *statement, int at, char *to, size_t room)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);
    cpni_str_copy(cpni_str(text), to, room);
}

void cpni_column_blob(sqlite3_stmt *statement, int at, void *to, size_t size)
{
    const void *data = sqlite3_column_blob(statement, at);
    memset(to, 0, size);
    if (data != NULL && sqlite3_column_bytes(statement, at) == (int)size) {
        memcpy(to, data, size);
    }
}
