/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The master's decisions: which links live, who may do what, which node works on which task and until when, which models go where.
 * Fed with events, answers with actions; see event.h, action.h. The same events give the same actions, to the byte.
 *
 * A step that runs out of memory leaves a valid state and none of its actions, sets actions->failed and returns CPN_ENOMEM. The core has
 * forgotten every connection, so that peers are asked to say HELLO again; the deadline asks for the next step at once. The role need do
 * nothing.
 *
 * Links: the number in WELCOME changes with every HELLO. A peer must ignore whatever comes under an older number, and everything
 * between its HELLO and the WELCOME: only then do its inventory and what follows WELCOME add up.
 *
 * Roles of the same process (packet.local) are trusted: a worker as a node, a client as an admin, each under a key that is made of its
 * boot id (master_identity.c). */
#ifndef CPNI_CORE_MASTER_H
#define CPNI_CORE_MASTER_H

#include "core/action.h"
#include "core/event.h"

struct cpni_master_core;

struct cpni_master_config {
    struct cpni_str name; /* of the network, for WELCOME */
    uint64_t term;        /* raised and committed by the role before the core starts */
    uint32_t heartbeat_ms, gone_ms; /* 0: limits.h */
    uint32_t tasks_max;             /* 0: limits.h; likewise below */
    uint64_t task_bytes_max;
    uint32_t user_tasks_max;
    uint64_t user_bytes_max;
    uint64_t spool_bytes_max;
    uint32_t attempts_poison;
    bool settle; /* after a start over old state: hold placement until the nodes of the last record are back, or gone_ms */
};

int cpni_master_core_new(const struct cpni_master_config *config, const struct cpni_now *now, struct cpni_master_core **out);
void cpni_master_core_free(struct cpni_master_core *core);

/* What the store remembers, before the first step, in any order (identities before what refers to them). CPN_ENOMEM. */
struct cpni_master_history {
    uint64_t tasks, failures, busy_us, bytes_in, bytes_out, joins, losses;
    int64_t first_join_wall_us, last_seen_wall_us;
};
int cpni_master_core_identity(struct cpni_master_core *core, const struct cpn_key *key, enum cpn_role role, struct cpni_str name,
                              bool revoked, bool publish, const struct cpni_master_history *history);
int cpni_master_core_token(struct cpni_master_core *core, const struct cpn_key *key, enum cpn_role role, struct cpni_str hint,
                           int64_t expires_wall_us, uint32_t uses_left);
int cpni_master_core_signer(struct cpni_master_core *core, const struct cpn_key *identity, const struct cpn_key *signer);
int cpni_master_core_model(struct cpni_master_core *core, uint32_t version, const struct cpn_hash *root,
                           const struct cpni_manifest *manifest, struct cpni_bytes *manifest_bytes,
                           const struct cpni_signature *signature, const struct cpn_key *signer, int64_t added_wall_us);
int cpni_master_core_parked(struct cpni_master_core *core, const struct cpn_id *task, struct cpni_str model, const struct cpn_key *user,
                            uint32_t attempts, struct cpni_str text, int64_t wall_us);

/* A training session, command by command as it was committed: first SESSION_ADD of all, then SESSION_STATE, _ROUND, _LANE, _POINT. */
int cpni_master_core_session(struct cpni_master_core *core, const struct cpni_command *command);

int cpni_master_core_step(struct cpni_master_core *core, const struct cpni_event *event, const struct cpni_now *now,
                          struct cpni_actions *actions);

/* When the core wants a TICK at the latest, monotonic; INT64_MAX: never. */
int64_t cpni_master_core_deadline(const struct cpni_master_core *core);

/* Whether ZAP should let this key in: enrolled and not revoked, or a live token. */
bool cpni_master_core_admits(const struct cpni_master_core *core, const struct cpn_key *key, const struct cpni_now *now);

/* Whether somebody can administer this network: an identity of role admin that is not revoked, roles of this process aside. */
bool cpni_master_core_has_admin(const struct cpni_master_core *core);

/* Whether this key was ever enrolled, revoked or not. */
bool cpni_master_core_knows(const struct cpni_master_core *core, const struct cpn_key *key);

/* Full scan of the invariants (tests, simulator): NULL, or what is broken. */
const char *cpni_master_core_check(const struct cpni_master_core *core);

/* The blobs that the store must hold: fn for each file root of each version and all that sessions keep, some perhaps twice (so that the
 * role can drop what nobody names). */
void cpni_master_core_files(const struct cpni_master_core *core, void (*fn)(void *arg, const struct cpn_hash *root), void *arg);

#endif
