/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions of an earlier term: put back from their commands, and the weights of their last round read back. What was not durable
 * is done again. Must not know the store. */
#include "core/master_session.h"

#include <stdio.h>

/* ---- commands ---- */

static int keep(struct cpni_master_core *core, struct cpni_mstored *stored)
{
    if (cpni_mhash_zero(&stored->root)) {
        return 0;
    }
    stored->committed = true;
    return cpni_mstored_keep(core, stored) ? 0 : CPN_ENOMEM;
}

static int restore_add(struct cpni_master_core *core, const struct cpni_command *command)
{
    struct cpni_msession *session;
    char detail[CPNI_SPEC_DETAIL];
    if (command->payload == NULL || cpni_msession_find(core, &command->u.session_add.session) != NULL) {
        return 0;
    }
    int rc = cpni_msession_make(core, &command->u.session_add, command->payload, &session, detail);
    if (rc < 0) {
        return rc == CPN_ENOMEM ? rc : 0; /* of a version that allowed more: nothing here could go on with it */
    }
    session->added = session->restored = true;
    HASH_ADD(hh, core->sessions, id, sizeof session->id, session);
    if (cpni_hash_missed(session)) {
        cpni_msession_free(core, session);
        return CPN_ENOMEM;
    }
    return 0;
}

static int restore_state(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_command_session_state *state)
{
    session->state = (enum cpni_session_state)state->state;
    session->best = state->lane;
    session->outcome_root = state->weights_root;
    session->outcome_size = state->weights_size;
    session->evaluated = state->evaluated;
    session->accuracy_ppm = state->accuracy_ppm;
    session->loss_micro = state->loss_micro;
    session->repeated = state->repeated;
    session->reproducible = state->reproducible;
    session->ended_wall_us = state->ended_wall_us;
    memcpy(session->why, state->why, sizeof session->why);
    memcpy(session->text, state->text, sizeof session->text);
    session->end_committed = cpni_msession_over(session);
    session->code = session->state == CPNI_SESSION_FAILED ? CPN_EFAILED : session->state == CPNI_SESSION_STOPPED ? CPN_ECANCELLED : 0;
    bool lanes = session->spec.mode == CPNI_MODE_SWEEP; /* there the outcome is a lane's, which keeps it */
    if (cpni_msession_over(session) && !lanes && !cpni_mhash_zero(&session->outcome_root) && !session->outcome_kept) {
        if (cpni_mblob_keep(core, &session->outcome_root, session->outcome_size) < 0) {
            return CPN_ENOMEM;
        }
        session->outcome_kept = true;
    }
    return 0;
}

static int restore_round(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_command_session_round *round)
{
    struct cpni_mstored *stored = &session->history[round->round % CPNI_MSESSION_ROUNDS];
    if (cpni_msession_over(session) || round->round == 0 || stored->round >= round->round) {
        return 0;
    }
    cpni_mstored_drop(core, stored);
    *stored = (struct cpni_mstored){ .round = round->round, .root = round->root, .size = round->size };
    if (round->round > session->round) {
        session->round = session->committed_round = round->round;
        session->first_kept = round->first_kept;
        session->outcome_root = round->root;
        session->outcome_size = round->size;
        session->values = round->size / sizeof(float);
    }
    return keep(core, stored);
}

/* The checkpoint of the durable round: the row has one for after its round, and the one before. */
static int restore_sync(struct cpni_master_core *core, const struct cpni_msession *session, struct cpni_mlane *lane,
                        const struct cpni_command_session_lane *row)
{
    const struct cpni_mstored after = { .round = row->round, .root = row->state_root, .size = row->state_size };
    const struct cpni_mstored before = { .round = row->round - 1, .root = row->weights_root, .size = row->weights_size };
    lane->round = session->round;
    if (row->round == session->round + 1) { /* the round itself is not durable */
        lane->state_kept = before;
        return keep(core, &lane->state_kept);
    }
    lane->state_kept = after;
    lane->state_before = before;
    int rc = keep(core, &lane->state_kept);
    return rc < 0 ? rc : keep(core, &lane->state_before);
}

static int restore_lane(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_command_session_lane *row)
{
    if (row->lane >= session->lane_count) {
        return 0;
    }
    struct cpni_mlane *lane = &session->lanes[row->lane];
    bool sweep = session->spec.mode == CPNI_MODE_SWEEP;
    lane->state = row->state >= CPNI_LANE_COMPLETED ? (enum cpni_lane_state)row->state : CPNI_LANE_WAITING;
    cpni_str_copy(cpni_str(row->text), lane->text, sizeof lane->text);
    if (sweep && !lane->weights_kept.here) {
        lane->weights_kept = (struct cpni_mstored){ .round = row->round, .root = row->weights_root, .size = row->weights_size };
        if (keep(core, &lane->weights_kept) < 0) {
            return CPN_ENOMEM;
        }
    }
    if (cpni_msession_over(session) || lane->state_kept.here) {
        return 0;
    }
    if (session->spec.mode == CPNI_MODE_SYNC) {
        return restore_sync(core, session, lane, row);
    }
    lane->round = row->round;
    lane->state_kept = (struct cpni_mstored){ .round = row->round, .root = row->state_root, .size = row->state_size };
    return keep(core, &lane->state_kept);
}

static int restore_point(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_command_session_point *values)
{
    struct cpni_mpoint *point = cpni_mpoint_add(core, session, values);
    if (point == NULL) {
        return cpni_mpoint_find(session, values->lane, values->epoch) != NULL ? 0 : CPN_ENOMEM;
    }
    point->committed = true;
    return 0;
}

int cpni_master_core_session(struct cpni_master_core *core, const struct cpni_command *command)
{
    struct cpni_msession *session = NULL;
    switch (command->type) {
    case CPNI_COMMAND_SESSION_ADD:
        return restore_add(core, command);
    case CPNI_COMMAND_SESSION_STATE:
        session = cpni_msession_find(core, &command->u.session_state.session);
        return session != NULL ? restore_state(core, session, &command->u.session_state) : 0;
    case CPNI_COMMAND_SESSION_ROUND:
        session = cpni_msession_find(core, &command->u.session_round.session);
        return session != NULL ? restore_round(core, session, &command->u.session_round) : 0;
    case CPNI_COMMAND_SESSION_LANE:
        session = cpni_msession_find(core, &command->u.session_lane.session);
        return session != NULL ? restore_lane(core, session, &command->u.session_lane) : 0;
    case CPNI_COMMAND_SESSION_POINT:
        session = cpni_msession_find(core, &command->u.session_point.session);
        return session != NULL ? restore_point(core, session, &command->u.session_point) : 0;
    default:
        return 0;
    }
}

/* ---- the first step ---- */

static bool keep_files(struct cpni_master_core *core, struct cpni_msession *session)
{
    if (!session->schema_kept) {
        session->schema_kept = cpni_mblob_keep(core, &session->schema_root, session->schema_size) == 0;
    }
    if (!cpni_msession_over(session) && !session->dataset_kept) {
        session->dataset_kept = cpni_mblob_keep(core, &session->dataset_root, session->dataset_size) == 0;
        return session->dataset_kept && session->schema_kept;
    }
    return session->schema_kept;
}

/* All lanes of average and sync stand where the session stands: what a checkpoint is behind, its peer replays. */
static void resume(struct cpni_master_core *core, struct cpni_msession *session)
{
    for (uint32_t i = 0; i < session->lane_count && session->spec.mode != CPNI_MODE_SWEEP; i++) {
        session->lanes[i].round = session->round;
    }
    for (uint32_t i = 0; i < session->lane_count && session->spec.halving; i++) {
        const struct cpni_mlane *lane = &session->lanes[i];
        session->rung = lane->state == CPNI_LANE_CUT && lane->state_kept.round > session->rung ? lane->state_kept.round : session->rung;
    }
    if (session->spec.mode == CPNI_MODE_SWEEP) {
        cpni_msession_rank(session);
    }
    struct cpni_log_about about = cpni_msession_about(core, session, NULL);
    cpni_log(core->out, CPNI_LOG_SESSION_RESTORED, &about, "%s goes on after round %llu of %llu", session->name,
             (unsigned long long)session->round, (unsigned long long)session->rounds);
}

void cpni_msession_restored(struct cpni_master_core *core)
{
    struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        session->points_dirty = false;
        if (session->state == CPNI_SESSION_CREATED) {
            cpni_msession_end(core, session, CPNI_SESSION_FAILED, CPN_ECLOSED, "its dataset never arrived: the master was restarted meanwhile");
        } else if (!keep_files(core, session)) {
            core->out->failed = true;
        } else if (!cpni_msession_over(session)) {
            resume(core, session);
        }
        session->dirty = true;
    }
}

/* ---- the weights of the last round ---- */

void cpni_msession_load(struct cpni_master_core *core, struct cpni_msession *session)
{
    const struct cpni_mstored *stored = cpni_mstored_round(session, session->round);
    if (session->load_ticket != 0) {
        return;
    }
    if (stored == NULL || stored->size == 0 || stored->size > CPNI_VECTOR_BYTES_MAX) {
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, CPN_ECORRUPT, "the weights of its last round are not in the master's store");
        return;
    }
    if (session->loading == NULL) {
        session->loading = cpni_malloc(stored->size);
        session->loaded = 0;
    }
    struct cpni_action *action = session->loading != NULL ? cpni_actions_add(core->out, CPNI_ACT_DISK) : NULL;
    if (action == NULL) {
        core->out->failed = true;
        return;
    }
    session->load_ticket = ++core->last_ticket;
    action->disk.op = CPNI_DISK_READ_CHUNK;
    action->disk.ticket = session->load_ticket;
    action->disk.root = stored->root;
    action->disk.index = (uint32_t)(session->loaded / CPNI_CHUNK_BYTES);
}

void cpni_msession_loaded(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_event_disk *event)
{
    const struct cpni_mstored *stored = cpni_mstored_round(session, session->round);
    session->load_ticket = 0;
    if (event->code == CPN_EBUSY) {
        return; /* again with the next beat */
    }
    uint64_t size = event->bytes != NULL ? event->bytes->size : 0;
    if (event->code < 0 || size == 0 || size > stored->size - session->loaded) {
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, event->code < 0 ? event->code : CPN_ECORRUPT,
                          "the weights of its last round cannot be read: %s", cpn_strerror(event->code < 0 ? event->code : CPN_ECORRUPT));
        return;
    }
    memcpy(session->loading + session->loaded, event->bytes->data, size);
    session->loaded += size;
    session->dirty = true;
    if (session->loaded == stored->size) {
        session->weights = cpni_bytes_take(session->loading, stored->size);
        core->out->failed = core->out->failed || session->weights == NULL;
        session->loaded -= session->weights == NULL ? size : 0;
        session->loading = session->weights == NULL ? session->loading : NULL;
    }
}

/* ---- who may read what ---- */

static bool same(const struct cpn_hash *a, const struct cpn_hash *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static bool peer_reads(const struct cpni_msession *session, const struct cpn_hash *root)
{
    bool may = same(&session->dataset_root, root);
    for (uint32_t i = 0; !may && i < session->lane_count; i++) {
        const struct cpni_mlane *lane = &session->lanes[i];
        may = (lane->state_kept.here && same(&lane->state_kept.root, root)) || (lane->state_next.here && same(&lane->state_next.root, root));
    }
    for (size_t i = 0; !may && i < CPNI_MSESSION_ROUNDS; i++) {
        may = session->history[i].here && same(&session->history[i].root, root);
    }
    return may;
}

static bool person_reads(const struct cpni_msession *session, const struct cpn_hash *root)
{
    bool may = same(&session->schema_root, root) || same(&session->outcome_root, root);
    for (uint32_t i = 0; !may && i < session->lane_count; i++) {
        may = session->lanes[i].weights_kept.here && same(&session->lanes[i].weights_kept.root, root);
    }
    for (size_t i = 0; !may && i < CPNI_MSESSION_ROUNDS; i++) { /* what was the outcome when they were told of it */
        may = session->history[i].here && same(&session->history[i].root, root);
    }
    return may;
}

bool cpni_msession_may_read(const struct cpni_master_core *core, const struct cpni_mlink *link, const struct cpn_hash *root)
{
    const struct cpni_midentity *identity = link->identity;
    if (link->kind == CPNI_KIND_WORKER) {
        return identity->node->peer != NULL && peer_reads(identity->node->peer->session, root);
    }
    bool trusted = identity->role == CPN_ROLE_ADMIN || identity->publish;
    const struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        bool may = trusted || memcmp(&session->user, &identity->key, sizeof session->user) == 0;
        if (may && person_reads(session, root)) {
            return true;
        }
    }
    return false;
}

/* ---- what the store's directory must hold ---- */

void cpni_msession_files(const struct cpni_master_core *core, void (*fn)(void *arg, const struct cpn_hash *root), void *arg)
{
    const struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        fn(arg, &session->schema_root);
        if (!cpni_msession_over(session)) {
            fn(arg, &session->dataset_root);
        }
        if (session->outcome_kept) {
            fn(arg, &session->outcome_root);
        }
        for (uint32_t i = 0; i < session->lane_count; i++) {
            const struct cpni_mlane *lane = &session->lanes[i];
            const struct cpni_mstored *all[] = { &lane->state_kept, &lane->state_next, &lane->state_before, &lane->weights_kept,
                                                 &lane->weights_next };
            for (size_t j = 0; j < sizeof all / sizeof *all; j++) {
                if (all[j]->here) {
                    fn(arg, &all[j]->root);
                }
            }
        }
        for (size_t i = 0; i < CPNI_MSESSION_ROUNDS; i++) {
            if (session->history[i].here) {
                fn(arg, &session->history[i].root);
            }
        }
    }
}
