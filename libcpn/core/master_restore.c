/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the store remembers, put back before the first step. Must not know the store. */
#include "core/master_state.h"

/* Makers report want of memory through the actions of a step; here there is none. */
static int with_actions(struct cpni_master_core *core, struct cpni_actions *actions, bool done)
{
    bool failed = actions->failed || !done;
    core->out = NULL;
    cpni_actions_free(actions);
    return failed ? CPN_ENOMEM : 0;
}

int cpni_master_core_identity(struct cpni_master_core *core, const struct cpn_key *key, enum cpn_role role, struct cpni_str name,
                              bool revoked, bool publish, const struct cpni_master_history *history)
{
    if (memcmp(key, &cpni_mlocal_key, sizeof *key) == 0) {
        return 0; /* stands for roles of the master's own process in the store, and for nobody here */
    }
    struct cpni_actions actions = { 0 };
    core->out = &actions;
    struct cpni_midentity *identity = cpni_midentity_find(core, key);
    identity = identity != NULL ? identity : cpni_midentity_make(core, key);
    if (identity != NULL) {
        identity->enrolled = true;
        identity->role = role;
        identity->revoked = revoked;
        identity->publish = publish;
        cpni_str_copy(name, identity->name, sizeof identity->name);
        if (history != NULL) {
            identity->total = (struct cpni_mstats){ .tasks = history->tasks, .failures = history->failures,
                .busy_us = history->busy_us, .bytes_in = history->bytes_in, .bytes_out = history->bytes_out,
                .joins = history->joins, .losses = history->losses };
            identity->first_join_us = history->first_join_wall_us;
            identity->last_seen_us = history->last_seen_wall_us;
            identity->recorded_seen_us = history->last_seen_wall_us;
        }
        if (role == CPN_ROLE_NODE) {
            cpni_mnode_of(core, identity);
        }
    }
    return with_actions(core, &actions, identity != NULL);
}

int cpni_master_core_token(struct cpni_master_core *core, const struct cpn_key *key, enum cpn_role role, struct cpni_str hint,
                           int64_t expires_wall_us, uint32_t uses_left)
{
    struct cpni_actions actions = { 0 };
    core->out = &actions;
    struct cpni_mtoken *token = cpni_mtoken_find(core, key);
    token = token != NULL ? token : cpni_mtoken_make(core, key);
    if (token != NULL) {
        token->role = role;
        token->expires_us = expires_wall_us;
        token->uses_left = uses_left;
        token->live = true;
        cpni_str_copy(hint, token->hint, sizeof token->hint);
    }
    return with_actions(core, &actions, token != NULL);
}

int cpni_master_core_signer(struct cpni_master_core *core, const struct cpn_key *key, const struct cpn_key *signer)
{
    struct cpni_midentity *identity = cpni_midentity_find(core, key);
    if (identity != NULL) {
        identity->has_signer = true;
        identity->signer = *signer;
    }
    return 0;
}

int cpni_master_core_model(struct cpni_master_core *core, uint32_t number, const struct cpn_hash *root,
                           const struct cpni_manifest *manifest, struct cpni_bytes *manifest_bytes,
                           const struct cpni_signature *signature, const struct cpn_key *signer, int64_t added_wall_us)
{
    if (cpni_mversion_root(core, root) != NULL) {
        return 0;
    }
    struct cpni_actions actions = { 0 };
    core->out = &actions;
    struct cpni_mversion *version = cpni_mversion_make(core, manifest->name, number, root, manifest);
    if (version != NULL) {
        version->manifest_bytes = cpni_bytes_ref(manifest_bytes);
        version->signature = *signature;
        version->signer = *signer;
        version->added_us = added_wall_us;
        version->live = true;
    }
    return with_actions(core, &actions, version != NULL);
}

int cpni_master_core_parked(struct cpni_master_core *core, const struct cpn_id *task, struct cpni_str model, const struct cpn_key *user,
                            uint32_t attempts, struct cpni_str text, int64_t wall_us)
{
    struct cpni_mparked parked = { .task = *task, .user = *user, .attempts = attempts, .wall_us = wall_us };
    cpni_str_copy(model, parked.model, sizeof parked.model);
    cpni_str_copy(text, parked.text, sizeof parked.text);
    return cpni_mparked_add(core, &parked);
}

/* The record does not say who was live when the last master ended; it says who was seen when. Live was whoever was seen about as late
 * as the last one, as far as the record is exact. */
void cpni_mawait(struct cpni_master_core *core)
{
    int64_t last_us = 0, exact_us = ((int64_t)CPNI_SEEN_MS + 2 * CPNI_STATS_MS) * 1000;
    struct cpni_mnode *node;
    DL_FOREACH(core->nodes, node) {
        bool out = node->identity->revoked;
        last_us = !out && node->identity->last_seen_us > last_us ? node->identity->last_seen_us : last_us;
    }
    DL_FOREACH(core->nodes, node) {
        int64_t seen_us = node->identity->last_seen_us;
        node->awaited = core->settle_us != 0 && !node->identity->revoked && seen_us != 0 && seen_us >= last_us - exact_us;
    }
}

void cpni_master_core_files(const struct cpni_master_core *core, void (*fn)(void *arg, const struct cpn_hash *root), void *arg)
{
    const struct cpni_mversion *version;
    for (version = core->versions; version != NULL; version = version->hh.next) {
        for (uint32_t i = 0; i < version->manifest.file_count; i++) {
            fn(arg, &version->manifest.files[i].root);
        }
    }
    cpni_msession_files(core, fn, arg);
}
