/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Applying: what nodes and users did, added up over restarts. */
#include <cpn/error.h>

#include "store/apply.h"

/* Peers report these numbers: a wild one must not turn a sum into a negative or a floating-point one. */
#define COUNTER_MAX (INT64_C(1) << 62)
#define DELTA_MAX (UINT64_C(1) << 61)

static int64_t bounded(uint64_t delta)
{
    return (int64_t)(delta < DELTA_MAX ? delta : DELTA_MAX);
}

/* Both commands, which differ in who is meant. */
static int add_up(struct cpni_apply *apply, const struct cpn_key *key, const uint64_t deltas[7], int64_t last_seen)
{
    enum cpn_role role;
    int revoked;
    int rc = cpni_identity_find(apply->db, key, &role, &revoked);
    if (rc == CPN_ENOTFOUND) {
        return cpni_reject(apply, CPN_ENOTFOUND, "no identity has this key");
    }
    if (rc < 0) {
        return rc;
    }
    sqlite3_stmt *add = cpni_db_use(apply->db,
        "INSERT INTO stats (key, tasks, failures, busy_us, bytes_in, bytes_out, joins, losses, last_seen, capabilities,"
        " first_join) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, CASE WHEN ?7 > 0 THEN ?9 ELSE 0 END)"
        " ON CONFLICT (key) DO UPDATE SET tasks = min(tasks + ?2, ?11), failures = min(failures + ?3, ?11),"
        " busy_us = min(busy_us + ?4, ?11), bytes_in = min(bytes_in + ?5, ?11),"
        " bytes_out = min(bytes_out + ?6, ?11), joins = min(joins + ?7, ?11), losses = min(losses + ?8, ?11),"
        " first_join = CASE WHEN first_join = 0 THEN excluded.first_join ELSE first_join END,"
        " last_seen = max(last_seen, ?9), capabilities = coalesce(?10, capabilities)");
    cpni_bind_blob(add, 1, key, sizeof *key);
    for (int i = 0; i < 7; i++) {
        cpni_bind_number(add, i + 2, bounded(deltas[i]));
    }
    cpni_bind_number(add, 9, last_seen);
    if (apply->payload != NULL && add != NULL) {
        sqlite3_bind_text64(
            add, 10, (const char *)apply->payload->data, apply->payload->size, SQLITE_STATIC, SQLITE_UTF8);
    }
    cpni_bind_number(add, 11, COUNTER_MAX);
    return cpni_db_run(apply->db, add);
}

int cpni_apply_node_stats(struct cpni_apply *apply, const struct cpni_command_node_stats *command)
{
    const uint64_t deltas[7] = { command->tasks, command->failures, command->busy_us, command->bytes_in,
        command->bytes_out, command->joins, command->losses };
    return add_up(apply, &command->key, deltas, command->last_seen_wall_us);
}

int cpni_apply_user_stats(struct cpni_apply *apply, const struct cpni_command_user_stats *command)
{
    const uint64_t deltas[7] = { command->tasks, command->failures, command->busy_us, command->bytes_in,
        command->bytes_out, command->joins, command->losses };
    return add_up(apply, &command->key, deltas, command->last_seen_wall_us);
}
