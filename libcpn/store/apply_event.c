/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Applying: the event ring and the evidence of poison tasks. */
#include <cpn/error.h>

#include "proto/limits.h"
#include "store/apply.h"

static int insert_event(struct cpni_apply *apply, const struct cpni_command_event *command)
{
    sqlite3_stmt *add = cpni_db_use(apply->db,
        "INSERT INTO event (number, wall, id, level, node, task, model, text)"
        " VALUES ((SELECT coalesce(max(number), 0) + 1 FROM event), ?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    cpni_bind_number(add, 1, command->wall_us);
    cpni_bind_text(add, 2, command->id);
    cpni_bind_number(add, 3, command->level);
    cpni_bind_blob_unless_zero(add, 4, &command->node, sizeof command->node);
    cpni_bind_blob_unless_zero(add, 5, &command->task, sizeof command->task);
    cpni_bind_text_unless_empty(add, 6, command->model);
    cpni_bind_text(add, 7, command->text);
    return cpni_db_run(apply->db, add);
}

int cpni_apply_event(struct cpni_apply *apply, const struct cpni_command_event *command)
{
    int rc = insert_event(apply, command);
    if (rc < 0) {
        return rc;
    }
    int64_t number = sqlite3_last_insert_rowid(apply->db->sqlite);
    apply->commit->number = (uint64_t)number;
    sqlite3_stmt *drop = cpni_db_use(apply->db, "DELETE FROM event WHERE number <= ?1");
    cpni_bind_number(drop, 1, number - (int64_t)apply->events_max);
    return cpni_db_run(apply->db, drop);
}

int cpni_apply_task_parked(struct cpni_apply *apply, const struct cpni_command_task_parked *command)
{
    sqlite3_stmt *add = cpni_db_use(apply->db,
        "INSERT OR REPLACE INTO parked (number, task, model, user, attempts, text, wall)"
        " VALUES ((SELECT coalesce(max(number), 0) + 1 FROM parked), ?1, ?2, ?3, ?4, ?5, ?6)");
    cpni_bind_blob(add, 1, &command->task, sizeof command->task);
    cpni_bind_text(add, 2, command->model);
    cpni_bind_blob(add, 3, &command->user, sizeof command->user);
    cpni_bind_number(add, 4, command->attempts);
    cpni_bind_text(add, 5, command->text);
    cpni_bind_number(add, 6, command->wall_us);
    int rc = cpni_db_run(apply->db, add);
    if (rc < 0) {
        return rc;
    }
    sqlite3_stmt *drop = cpni_db_use(apply->db,
        "DELETE FROM parked WHERE number <= (SELECT number FROM parked ORDER BY number DESC LIMIT 1 OFFSET ?1)");
    cpni_bind_number(drop, 1, CPNI_PARKED_MAX);
    return cpni_db_run(apply->db, drop);
}
