/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Applying: join tokens. They are used up by IDENTITY_ENROL (apply_identity.c). */
#include <cpn/error.h>

#include "proto/limits.h"
#include "store/apply.h"

/* Dead tokens are kept to tell their holders why they fail, the newest CPNI_TOKENS_MAX of them. */
static int forget_dead(struct cpni_apply *apply, int64_t wall_us)
{
    sqlite3_stmt *forget = cpni_db_use(apply->db,
        "DELETE FROM token WHERE token IN (SELECT token FROM token"
        " WHERE revoked <> 0 OR uses <= 0 OR (expires <> 0 AND expires <= ?1)"
        " ORDER BY added DESC, token LIMIT -1 OFFSET ?2)");
    cpni_bind_number(forget, 1, wall_us);
    cpni_bind_number(forget, 2, CPNI_TOKENS_MAX);
    return cpni_db_run(apply->db, forget);
}

static int count_alive(struct cpni_apply *apply, int64_t wall_us, int64_t *out)
{
    sqlite3_stmt *count = cpni_db_use(
        apply->db, "SELECT count(*) FROM token WHERE revoked = 0 AND uses > 0 AND (expires = 0 OR expires > ?1)");
    cpni_bind_number(count, 1, wall_us);
    return cpni_db_number(apply->db, count, out);
}

/* 0: there is none like it. CPN_EEXISTS: there is. */
static int token_absent(struct cpni_apply *apply, const struct cpn_key *token)
{
    sqlite3_stmt *find = cpni_db_use(apply->db, "SELECT 1 FROM token WHERE token = ?1");
    cpni_bind_blob(find, 1, token, sizeof *token);
    int64_t one;
    int rc = cpni_db_number(apply->db, find, &one);
    return rc == 0 ? CPN_EEXISTS : rc == CPN_ENOTFOUND ? 0 : rc;
}

int cpni_apply_token_add(struct cpni_apply *apply, const struct cpni_command_token_add *command)
{
    if (command->role == CPN_ROLE_NONE || command->uses == 0) {
        return cpni_reject(apply, CPN_EINVAL, "a join token needs a role and at least one use");
    }
    int rc = token_absent(apply, &command->token);
    if (rc == CPN_EEXISTS) {
        return cpni_reject(apply, CPN_EEXISTS, "this join token exists already");
    }
    int64_t alive = 0;
    rc = rc == 0 ? forget_dead(apply, command->wall_us) : rc;
    rc = rc == 0 ? count_alive(apply, command->wall_us, &alive) : rc;
    if (rc < 0) {
        return rc;
    }
    if (alive >= CPNI_TOKENS_MAX) {
        return cpni_reject(apply, CPN_EBUSY, "%d join tokens are unused already; revoke some", CPNI_TOKENS_MAX);
    }
    sqlite3_stmt *add = cpni_db_use(apply->db,
        "INSERT INTO token (token, role, hint, expires, uses, revoked, added) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)");
    cpni_bind_blob(add, 1, &command->token, sizeof command->token);
    cpni_bind_number(add, 2, command->role);
    cpni_bind_text(add, 3, command->hint);
    cpni_bind_number(add, 4, command->expires_wall_us);
    cpni_bind_number(add, 5, command->uses);
    cpni_bind_number(add, 6, command->wall_us);
    return cpni_db_run(apply->db, add);
}

int cpni_apply_token_revoke(struct cpni_apply *apply, const struct cpni_command_token_revoke *command)
{
    int rc = token_absent(apply, &command->token);
    if (rc == 0) {
        return cpni_reject(apply, CPN_ENOTFOUND, "no such join token");
    }
    if (rc != CPN_EEXISTS) {
        return rc;
    }
    sqlite3_stmt *revoke = cpni_db_use(apply->db, "UPDATE token SET revoked = 1 WHERE token = ?1");
    cpni_bind_blob(revoke, 1, &command->token, sizeof command->token);
    return cpni_db_run(apply->db, revoke);
}
