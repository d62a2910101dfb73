/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Applying: publishers' keys and model versions. */
#include <cpn/error.h>

#include "proto/limits.h"
#include "store/apply.h"

int cpni_apply_signer_add(struct cpni_apply *apply, const struct cpni_command_signer_add *command)
{
    enum cpn_role role;
    int revoked;
    int rc = cpni_identity_find(apply->db, &command->key, &role, &revoked);
    if (rc == CPN_ENOTFOUND) {
        return cpni_reject(apply, CPN_ENOTFOUND, "no identity has this key");
    }
    if (rc < 0) {
        return rc;
    }
    sqlite3_stmt *other = cpni_db_use(apply->db, "SELECT 1 FROM signer WHERE signer = ?1 AND key <> ?2");
    cpni_bind_blob(other, 1, &command->signer, sizeof command->signer);
    cpni_bind_blob(other, 2, &command->key, sizeof command->key);
    int64_t one;
    rc = cpni_db_number(apply->db, other, &one);
    if (rc == 0) {
        return cpni_reject(apply, CPN_EEXISTS, "this signing key belongs to somebody else");
    }
    if (rc != CPN_ENOTFOUND) {
        return rc;
    }
    sqlite3_stmt *add = cpni_db_use(apply->db, "INSERT OR IGNORE INTO signer (signer, key, added) VALUES (?1, ?2, ?3)");
    cpni_bind_blob(add, 1, &command->signer, sizeof command->signer);
    cpni_bind_blob(add, 2, &command->key, sizeof command->key);
    cpni_bind_number(add, 3, command->wall_us);
    return cpni_db_run(apply->db, add);
}

/* 1: may publish, 0: may not. Decided here and not only where the request came in, since a revocation may stand before
 * it. */
static int may_publish(struct cpni_db *db, const struct cpn_key *signer)
{
    sqlite3_stmt *find = cpni_db_use(db,
        "SELECT 1 FROM signer JOIN identity ON identity.key = signer.key WHERE signer.signer = ?1 AND revoked = 0"
        " AND (role = ?2 OR EXISTS (SELECT 1 FROM rights WHERE rights.key = identity.key AND name = 'publish'))");
    cpni_bind_blob(find, 1, signer, sizeof *signer);
    cpni_bind_number(find, 2, CPN_ROLE_ADMIN);
    int64_t one;
    int rc = cpni_db_number(db, find, &one);
    return rc == 0 ? 1 : rc == CPN_ENOTFOUND ? 0 : rc;
}

/* The version that has this manifest, CPN_ENOTFOUND if none. */
static int version_of(struct cpni_db *db, const struct cpni_command_model_add *command, int64_t *out)
{
    sqlite3_stmt *find = cpni_db_use(db, "SELECT version FROM model WHERE name = ?1 AND root = ?2");
    cpni_bind_text(find, 1, command->name);
    cpni_bind_blob(find, 2, &command->manifest, sizeof command->manifest);
    return cpni_db_number(db, find, out);
}

static int next_version(struct cpni_db *db, const char *name, int64_t *out)
{
    sqlite3_stmt *next = cpni_db_use(db,
        "INSERT INTO model_name (name, last_version) VALUES (?1, 1)"
        " ON CONFLICT (name) DO UPDATE SET last_version = last_version + 1");
    cpni_bind_text(next, 1, name);
    int rc = cpni_db_run(db, next);
    if (rc < 0) {
        return rc;
    }
    sqlite3_stmt *find = cpni_db_use(db, "SELECT last_version FROM model_name WHERE name = ?1");
    cpni_bind_text(find, 1, name);
    return cpni_db_number(db, find, out);
}

static int insert_model(struct cpni_apply *apply, const struct cpni_command_model_add *command, int64_t version)
{
    sqlite3_stmt *add = cpni_db_use(apply->db,
        "INSERT INTO model (name, version, root, manifest, signer, signature, bytes, added)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    cpni_bind_text(add, 1, command->name);
    cpni_bind_number(add, 2, version);
    cpni_bind_blob(add, 3, &command->manifest, sizeof command->manifest);
    cpni_bind_blob(add, 4, apply->payload->data, apply->payload->size);
    cpni_bind_blob(add, 5, &command->signer, sizeof command->signer);
    cpni_bind_blob(add, 6, &command->signature, sizeof command->signature);
    cpni_bind_number(add, 7, (int64_t)command->bytes);
    cpni_bind_number(add, 8, command->wall_us);
    return cpni_db_run(apply->db, add);
}

int cpni_apply_model_add(struct cpni_apply *apply, const struct cpni_command_model_add *command)
{
    if (command->name[0] == 0 || apply->payload == NULL || apply->payload->size == 0) {
        return cpni_reject(apply, CPN_EINVAL, "a model needs a name and a manifest");
    }
    int rc = may_publish(apply->db, &command->signer);
    if (rc <= 0) {
        return rc < 0 ? rc
                      : cpni_reject(apply, CPN_EDENIED,
                          "the manifest's signer may not publish; an admin can grant the right 'publish'");
    }
    int64_t version = 0;
    rc = version_of(apply->db, command, &version);
    if (rc == CPN_ENOTFOUND) {
        rc = next_version(apply->db, command->name, &version);
        rc = rc == 0 ? insert_model(apply, command, version) : rc;
    }
    if (rc == 0) {
        apply->commit->number = (uint64_t)version;
    }
    return rc;
}

int cpni_apply_model_remove(struct cpni_apply *apply, const struct cpni_command_model_remove *command)
{
    sqlite3_stmt *remove = cpni_db_use(apply->db, "DELETE FROM model WHERE name = ?1 AND version = ?2");
    cpni_bind_text(remove, 1, command->name);
    cpni_bind_number(remove, 2, command->version);
    int rc = cpni_db_run(apply->db, remove);
    if (rc == 0 && sqlite3_changes(apply->db->sqlite) == 0) {
        return cpni_reject(apply, CPN_ENOTFOUND, "no model %s@%u", command->name, command->version);
    }
    return rc;
}
