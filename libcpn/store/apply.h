/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Applying commands: one deterministic function each, with no clock, no random source and no input but the command and
 * the open transaction (DESIGN §10). */
#ifndef CPNI_APPLY_H
#define CPNI_APPLY_H

#include <stdint.h>

#include "proto/command.h"
#include "store/db.h"

struct cpni_apply {
    struct cpni_db *db;
    const struct cpni_bytes *payload; /* of the command; may be NULL */
    struct cpni_commit *commit; /* the answer: starts as committed, code 0, number 0, no text */
    uint32_t events_max;
};

/* Applies one command in the open transaction, or answers it from its key's history. 0: commit is filled in. An error:
 * the database failed, nothing is known, roll back. */
int cpni_apply(struct cpni_db *db, const struct cpni_command_key *key, const struct cpni_command *command,
    uint32_t events_max, struct cpni_commit *commit);

/* One per command: as cpni_apply(). */
#define CPNI_APPLY_DECLARE(name, member, family)                                                                       \
    int cpni_apply_##member(struct cpni_apply *apply, const struct cpni_command_##member *command);
CPNI_COMMANDS(CPNI_APPLY_DECLARE)
#undef CPNI_APPLY_DECLARE

/* Answers "rejected". Before anything was written. Returns 0, so that an apply function returns it. */
int cpni_reject(struct cpni_apply *apply, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Identities, for several families: role and whether revoked. CPN_ENOTFOUND. */
int cpni_identity_find(struct cpni_db *db, const struct cpn_key *key, enum cpn_role *role, int *revoked);
/* Adds one unless the key is there already, and answers with name and role. See IDENTITY_ENROL. */
int cpni_identity_insert(
    struct cpni_apply *apply, const struct cpn_key *key, enum cpn_role role, const char *name, int64_t wall_us);

#endif
