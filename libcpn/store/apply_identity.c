/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Applying: the term, identities and their rights. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/str.h"
#include "store/apply.h"

#define NAMESAKES_MAX 100000 /* "worker-2" and so on: more than all nodes may have the same wish */

int cpni_apply_term_raise(struct cpni_apply *apply, const struct cpni_command_term_raise *command)
{
    (void)command;
    int rc = cpni_db_run(apply->db, cpni_db_use(apply->db, "UPDATE meta SET term = term + 1"));
    if (rc < 0) {
        return rc;
    }
    int64_t term;
    rc = cpni_db_number(apply->db, cpni_db_use(apply->db, "SELECT term FROM meta"), &term);
    if (rc == 0) {
        apply->commit->number = (uint64_t)term;
    }
    return rc;
}

int cpni_identity_find(struct cpni_db *db, const struct cpn_key *key, enum cpn_role *role, int *revoked)
{
    sqlite3_stmt *find = cpni_db_use(db, "SELECT role, revoked FROM identity WHERE key = ?1");
    cpni_bind_blob(find, 1, key, sizeof *key);
    int rc = cpni_db_step(db, find);
    if (rc != 1) {
        return rc < 0 ? rc : CPN_ENOTFOUND;
    }
    *role = (enum cpn_role)cpni_column_number(find, 0);
    *revoked = (int)cpni_column_number(find, 1);
    sqlite3_reset(find);
    return 0;
}

/* 1: somebody who is not revoked has the name, 0: nobody. */
static int name_taken(struct cpni_db *db, const char *name)
{
    sqlite3_stmt *find = cpni_db_use(db, "SELECT 1 FROM identity WHERE name = ?1 AND revoked = 0");
    cpni_bind_text(find, 1, name);
    int64_t one;
    int rc = cpni_db_number(db, find, &one);
    return rc == 0 ? 1 : rc == CPN_ENOTFOUND ? 0 : rc;
}

/* The wish, or the wish with the first free number. 1: `out` is free. */
static int free_name(struct cpni_db *db, const char *wish, char out[CPNI_NAME])
{
    char suffix[16] = "";
    for (unsigned n = 2; n <= NAMESAKES_MAX; n++) {
        cpni_str_copy(cpni_str(wish), out, CPNI_NAME - strlen(suffix));
        strcat(out, suffix);
        int rc = name_taken(db, out);
        if (rc <= 0) {
            return rc < 0 ? rc : 1;
        }
        snprintf(suffix, sizeof suffix, "-%u", n);
    }
    return 0;
}

/* Answers with the name that a key has. */
static int answer_known(struct cpni_apply *apply, const struct cpn_key *key, enum cpn_role role)
{
    sqlite3_stmt *find = cpni_db_use(apply->db, "SELECT name FROM identity WHERE key = ?1");
    cpni_bind_blob(find, 1, key, sizeof *key);
    int rc = cpni_db_step(apply->db, find);
    if (rc == 1) {
        cpni_column_text(find, 0, apply->commit->text, sizeof apply->commit->text);
        apply->commit->number = role;
        sqlite3_reset(find);
        rc = 0;
    }
    return rc;
}

int cpni_identity_insert(
    struct cpni_apply *apply, const struct cpn_key *key, enum cpn_role role, const char *name, int64_t wall_us)
{
    char given[CPNI_NAME];
    int rc = free_name(apply->db, name[0] != 0 ? name : cpn_role_name(role), given);
    if (rc <= 0) {
        return rc < 0 ? rc : cpni_reject(apply, CPN_EEXISTS, "too many are called '%s'", name);
    }
    sqlite3_stmt *add = cpni_db_use(
        apply->db, "INSERT INTO identity (key, role, name, revoked, enrolled) VALUES (?1, ?2, ?3, 0, ?4)");
    cpni_bind_blob(add, 1, key, sizeof *key);
    cpni_bind_number(add, 2, role);
    cpni_bind_text(add, 3, given);
    cpni_bind_number(add, 4, wall_us);
    rc = cpni_db_run(apply->db, add);
    if (rc == 0) {
        apply->commit->number = role;
        snprintf(apply->commit->text, sizeof apply->commit->text, "%s", given);
    }
    return rc;
}

/* 1: answered (the key is known), 0: unknown so far. */
static int known(struct cpni_apply *apply, const struct cpn_key *key, enum cpn_role wanted)
{
    enum cpn_role role;
    int revoked;
    int rc = cpni_identity_find(apply->db, key, &role, &revoked);
    if (rc < 0) {
        return rc == CPN_ENOTFOUND ? 0 : rc;
    }
    if (revoked) {
        rc = cpni_reject(apply, CPN_EKEY, "this key was revoked; a revoked machine or person needs a new key");
    } else if (wanted != CPN_ROLE_NONE && wanted != role) {
        rc = cpni_reject(apply, CPN_EEXISTS, "this key is enrolled as %s already", cpn_role_name(role));
    } else {
        rc = answer_known(apply, key, role);
    }
    return rc < 0 ? rc : 1;
}

int cpni_apply_identity_add(struct cpni_apply *apply, const struct cpni_command_identity_add *command)
{
    if (command->role == CPN_ROLE_NONE) {
        return cpni_reject(apply, CPN_EINVAL, "an identity needs a role");
    }
    int rc = known(apply, &command->key, command->role);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    return cpni_identity_insert(apply, &command->key, command->role, command->name, command->wall_us);
}

struct token {
    enum cpn_role role;
    char hint[CPNI_NAME];
    int64_t expires, uses;
    int revoked;
};

static int token_find(struct cpni_db *db, const struct cpn_key *key, struct token *out)
{
    sqlite3_stmt *find = cpni_db_use(db, "SELECT role, hint, expires, uses, revoked FROM token WHERE token = ?1");
    cpni_bind_blob(find, 1, key, sizeof *key);
    int rc = cpni_db_step(db, find);
    if (rc != 1) {
        return rc < 0 ? rc : CPN_ENOTFOUND;
    }
    out->role = (enum cpn_role)cpni_column_number(find, 0);
    cpni_column_text(find, 1, out->hint, sizeof out->hint);
    out->expires = cpni_column_number(find, 2);
    out->uses = cpni_column_number(find, 3);
    out->revoked = (int)cpni_column_number(find, 4);
    sqlite3_reset(find);
    return 0;
}

/* 1: rejected, 0: the token admits. */
static int token_refuses(
    struct cpni_apply *apply, const struct cpni_command_identity_enrol *command, struct token *token)
{
    int rc = token_find(apply->db, &command->token, token);
    if (rc < 0 && rc != CPN_ENOTFOUND) {
        return rc;
    }
    if (rc == CPN_ENOTFOUND) {
        cpni_reject(apply, CPN_ETOKEN, "join token unknown; ask for a new one");
    } else if (token->revoked) {
        cpni_reject(apply, CPN_ETOKEN, "join token revoked; ask for a new one");
    } else if (token->uses <= 0) {
        cpni_reject(apply, CPN_ETOKEN, "join token used up; ask for a new one");
    } else if (token->expires != 0 && token->expires <= command->wall_us) {
        cpni_reject(apply, CPN_ETOKEN, "join token expired %" PRId64 " s ago; ask for a new one",
            (command->wall_us - token->expires) / 1000000);
    } else if (command->role != CPN_ROLE_NONE && command->role != token->role) {
        cpni_reject(apply, CPN_ETOKEN, "join token is for role %s, not %s", cpn_role_name(token->role),
            cpn_role_name(command->role));
    } else {
        return 0;
    }
    return 1;
}

int cpni_apply_identity_enrol(struct cpni_apply *apply, const struct cpni_command_identity_enrol *command)
{
    int rc = known(apply, &command->key, command->role);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    struct token token;
    rc = token_refuses(apply, command, &token);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    const char *wish = command->name[0] != 0 ? command->name : token.hint;
    rc = cpni_identity_insert(apply, &command->key, token.role, wish, command->wall_us);
    if (rc < 0 || apply->commit->status == CPNI_REJECTED) {
        return rc;
    }
    sqlite3_stmt *use = cpni_db_use(apply->db, "UPDATE token SET uses = uses - 1 WHERE token = ?1");
    cpni_bind_blob(use, 1, &command->token, sizeof command->token);
    return cpni_db_run(apply->db, use);
}

/* 0: the key is there; else it was rejected (1) or the database failed. */
static int missing(struct cpni_apply *apply, const struct cpn_key *key)
{
    enum cpn_role role;
    int revoked;
    int rc = cpni_identity_find(apply->db, key, &role, &revoked);
    if (rc == CPN_ENOTFOUND) {
        char hex[CPN_KEY_TEXT];
        cpni_reject(apply, CPN_ENOTFOUND, "no identity has the key %s", cpn_key_text(key, hex));
        return 1;
    }
    return rc;
}

int cpni_apply_identity_revoke(struct cpni_apply *apply, const struct cpni_command_identity_revoke *command)
{
    int rc = missing(apply, &command->key);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    sqlite3_stmt *revoke = cpni_db_use(apply->db, "UPDATE identity SET revoked = 1 WHERE key = ?1");
    cpni_bind_blob(revoke, 1, &command->key, sizeof command->key);
    rc = cpni_db_run(apply->db, revoke);
    if (rc < 0) {
        return rc;
    }
    sqlite3_stmt *forget = cpni_db_use(apply->db, "DELETE FROM answered WHERE client = ?1");
    cpni_bind_blob(forget, 1, &command->key, sizeof command->key);
    return cpni_db_run(apply->db, forget);
}

int cpni_apply_identity_rename(struct cpni_apply *apply, const struct cpni_command_identity_rename *command)
{
    if (command->name[0] == 0) {
        return cpni_reject(apply, CPN_EINVAL, "a name cannot be empty");
    }
    int rc = missing(apply, &command->key);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    sqlite3_stmt *other
        = cpni_db_use(apply->db, "SELECT 1 FROM identity WHERE name = ?1 AND revoked = 0 AND key <> ?2");
    cpni_bind_text(other, 1, command->name);
    cpni_bind_blob(other, 2, &command->key, sizeof command->key);
    int64_t one;
    rc = cpni_db_number(apply->db, other, &one);
    if (rc == 0) {
        return cpni_reject(apply, CPN_EEXISTS, "the name '%s' is taken", command->name);
    }
    if (rc != CPN_ENOTFOUND) {
        return rc;
    }
    sqlite3_stmt *rename = cpni_db_use(apply->db, "UPDATE identity SET name = ?1 WHERE key = ?2");
    cpni_bind_text(rename, 1, command->name);
    cpni_bind_blob(rename, 2, &command->key, sizeof command->key);
    return cpni_db_run(apply->db, rename);
}

int cpni_apply_right_grant(struct cpni_apply *apply, const struct cpni_command_right_grant *command)
{
    int rc = missing(apply, &command->key);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    sqlite3_stmt *grant = cpni_db_use(apply->db, "INSERT OR IGNORE INTO rights (key, name) VALUES (?1, ?2)");
    cpni_bind_blob(grant, 1, &command->key, sizeof command->key);
    cpni_bind_text(grant, 2, command->right);
    return cpni_db_run(apply->db, grant);
}

int cpni_apply_right_revoke(struct cpni_apply *apply, const struct cpni_command_right_revoke *command)
{
    int rc = missing(apply, &command->key);
    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    sqlite3_stmt *revoke = cpni_db_use(apply->db, "DELETE FROM rights WHERE key = ?1 AND name = ?2");
    cpni_bind_blob(revoke, 1, &command->key, sizeof command->key);
    cpni_bind_text(revoke, 2, command->right);
    return cpni_db_run(apply->db, revoke);
}
