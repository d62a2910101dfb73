/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* History of nodes and users: what was added is gathered here and committed now and then, not with every task. Must not know where it
 * is kept. */
#include "core/master_state.h"

void cpni_mstats_touch(struct cpni_master_core *core, struct cpni_midentity *identity)
{
    if (identity->local) {
        return; /* the store does not know it */
    }
    identity->stale = true;
    if (core->stats_us == INT64_MAX) {
        core->stats_us = core->now.mono_us + (int64_t)CPNI_STATS_MS * 1000;
    }
}

static struct cpni_command node_command(const struct cpni_midentity *identity)
{
    struct cpni_command command = { .type = CPNI_COMMAND_NODE_STATS };
    const struct cpni_mstats *fresh = &identity->fresh;
    command.u.node_stats = (struct cpni_command_node_stats){ .key = identity->key, .tasks = fresh->tasks,
        .failures = fresh->failures, .busy_us = fresh->busy_us, .bytes_in = fresh->bytes_in, .bytes_out = fresh->bytes_out,
        .joins = fresh->joins, .losses = fresh->losses, .last_seen_wall_us = identity->last_seen_us };
    return command;
}

static struct cpni_command user_command(const struct cpni_midentity *identity)
{
    struct cpni_command command = { .type = CPNI_COMMAND_USER_STATS };
    const struct cpni_mstats *fresh = &identity->fresh;
    command.u.user_stats = (struct cpni_command_user_stats){ .key = identity->key, .tasks = fresh->tasks,
        .failures = fresh->failures, .busy_us = fresh->busy_us, .bytes_in = fresh->bytes_in, .bytes_out = fresh->bytes_out,
        .joins = fresh->joins, .losses = fresh->losses, .last_seen_wall_us = identity->last_seen_us };
    return command;
}

void cpni_mstats_flush(struct cpni_master_core *core, struct cpni_midentity *identity)
{
    if (identity->local) {
        return;
    }
    bool node = identity->role == CPN_ROLE_NODE;
    struct cpni_mpending *ask = cpni_mpending_new(core, node ? CPNI_MPENDING_NODE_STATS : CPNI_MPENDING_USER_STATS);
    if (ask == NULL) {
        cpni_mstats_touch(core, identity);
        return;
    }
    ask->identity = identity;
    ask->stats = identity->fresh;
    identity->asks++;
    struct cpni_command command = node ? node_command(identity) : user_command(identity);
    identity->fresh = (struct cpni_mstats){ 0 };
    identity->stale = false;
    identity->recorded_seen_us = identity->last_seen_us;
    cpni_mpending_commit(core, ask, NULL, &command);
}

void cpni_mstats_flush_all(struct cpni_master_core *core)
{
    struct cpni_midentity *identity, *next;
    HASH_ITER(hh, core->identities, identity, next) {
        if (identity->stale) {
            cpni_mstats_flush(core, identity);
        }
    }
}

void cpni_mstats_done(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit)
{
    struct cpni_midentity *identity = ask->identity;
    identity->asks--;
    if (commit->status != CPNI_UNKNOWN) {
        return;
    }
    /* It may have committed all the same: history may count something twice then, but loses nothing. */
    const struct cpni_mstats *back = &ask->stats;
    identity->fresh.tasks += back->tasks;
    identity->fresh.failures += back->failures;
    identity->fresh.busy_us += back->busy_us;
    identity->fresh.bytes_in += back->bytes_in;
    identity->fresh.bytes_out += back->bytes_out;
    identity->fresh.joins += back->joins;
    identity->fresh.losses += back->losses;
    cpni_mstats_touch(core, identity);
}
