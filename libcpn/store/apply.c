/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* From a command to its apply function, and the memory of answered keys: a retry finds the stored answer and changes
 * nothing (DESIGN §10). The memory is a window of the last CPNI_STATE_KEYS_PER_CLIENT sequence numbers of each client;
 * below it a command is refused, since nobody could tell whether it was applied. */
#include "store/apply.h"

#include <stdarg.h>
#include <stdio.h>

#include <cpn/error.h>

#include "proto/limits.h"

int cpni_reject(struct cpni_apply *apply, int code, const char *format, ...)
{
    struct cpni_commit *commit = apply->commit;
    commit->status = CPNI_REJECTED;
    commit->code = code;
    commit->number = 0;
    va_list list;
    va_start(list, format);
    vsnprintf(commit->text, sizeof commit->text, format, list);
    va_end(list);
    return 0;
}

static int dispatch(struct cpni_apply *apply, const struct cpni_command *command)
{
    switch (command->type) {
#define CASE(name, member, family)                                                                                     \
    case CPNI_COMMAND_##name:                                                                                          \
        return cpni_apply_##member(apply, &command->u.member);
        CPNI_COMMANDS(CASE)
#undef CASE
    case CPNI_COMMAND_NONE:
    case CPNI_COMMAND_TYPES:
        break;
    }
    return cpni_reject(apply, CPN_EINVAL, "unknown command %d", (int)command->type);
}

/* 1: answered from memory, 0: new. */
static int recall(struct cpni_apply *apply, const struct cpni_command_key *key)
{
    struct cpni_commit *commit = apply->commit;
    sqlite3_stmt *find
        = cpni_db_use(apply->db, "SELECT status, code, result, text FROM answered WHERE client = ?1 AND sequence = ?2");
    cpni_bind_blob(find, 1, &key->client, sizeof key->client);
    cpni_bind_number(find, 2, (int64_t)key->sequence);
    int rc = cpni_db_step(apply->db, find);
    if (rc == 1) {
        commit->status = (enum cpni_commit_status)cpni_column_number(find, 0);
        commit->code = (int)cpni_column_number(find, 1);
        commit->number = (uint64_t)cpni_column_number(find, 2);
        cpni_column_text(find, 3, commit->text, sizeof commit->text);
        sqlite3_reset(find);
    }
    return rc;
}

/* The newest answers of a client stay: sequences of its several processes have no order. */
static int remember(struct cpni_apply *apply, const struct cpni_command_key *key)
{
    const struct cpni_commit *commit = apply->commit;
    sqlite3_stmt *add = cpni_db_use(apply->db,
        "INSERT INTO answered (client, sequence, status, code, result, text)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    cpni_bind_blob(add, 1, &key->client, sizeof key->client);
    cpni_bind_number(add, 2, (int64_t)key->sequence);
    cpni_bind_number(add, 3, commit->status);
    cpni_bind_number(add, 4, commit->code);
    cpni_bind_number(add, 5, (int64_t)commit->number);
    cpni_bind_text(add, 6, commit->text);
    int rc = cpni_db_run(apply->db, add);
    if (rc < 0) {
        return rc;
    }
    sqlite3_stmt *forget = cpni_db_use(apply->db,
        "DELETE FROM answered WHERE client = ?1 AND number <="
        " (SELECT number FROM answered WHERE client = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)");
    cpni_bind_blob(forget, 1, &key->client, sizeof key->client);
    cpni_bind_number(forget, 2, CPNI_STATE_KEYS_PER_CLIENT);
    return cpni_db_run(apply->db, forget);
}

int cpni_apply(struct cpni_db *db, const struct cpni_command_key *key, const struct cpni_command *command,
    uint32_t events_max, struct cpni_commit *commit)
{
    *commit = (struct cpni_commit) { .status = CPNI_COMMITTED };
    struct cpni_apply apply = { db, command->payload, commit, events_max };
    if (key->sequence == 0) {
        return dispatch(&apply, command);
    }
    int rc = recall(&apply, key);
    if (rc != 0) {
        return rc == 1 ? 0 : rc;
    }
    rc = dispatch(&apply, command);
    return rc < 0 ? rc : remember(&apply, key);
}
