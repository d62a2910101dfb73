/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What of a training session is durable, and when (DESIGN §9, §10): commands for the store, weights and checkpoints for the disk, in an
 * order in which the master may die between any two. Rounds are committed one after the other; a checkpoint only after its round; an end
 * only after all that it rests on. Whatever fails is tried again with the next beat. Must not know what the bytes mean. */
#include "core/master_session.h"

#include <stdio.h>

/* ---- blobs ---- */

bool cpni_mstored_keep(struct cpni_master_core *core, struct cpni_mstored *stored)
{
    if (cpni_mblob_keep(core, &stored->root, stored->size) < 0) {
        if (core->out != NULL) {
            core->out->failed = true;
        }
        return false;
    }
    stored->here = true;
    cpni_bytes_unref(stored->data);
    stored->data = NULL;
    return true;
}

void cpni_mstored_drop(struct cpni_master_core *core, struct cpni_mstored *stored)
{
    if (stored->here) {
        cpni_mblob_unkeep(core, &stored->root);
    }
    cpni_bytes_unref(stored->data);
    *stored = (struct cpni_mstored){ 0 };
}

struct cpni_mstored *cpni_mstored_round(struct cpni_msession *session, uint64_t round)
{
    struct cpni_mstored *stored = &session->history[round % CPNI_MSESSION_ROUNDS];
    return round != 0 && stored->round == round ? stored : NULL;
}

static void import(struct cpni_master_core *core, struct cpni_mstored *stored)
{
    if (stored->data == NULL || stored->ticket != 0) {
        return;
    }
    struct cpni_action *action = cpni_actions_add(core->out, CPNI_ACT_DISK);
    if (action != NULL) {
        stored->ticket = ++core->last_ticket;
        action->disk.op = CPNI_DISK_IMPORT_BYTES;
        action->disk.ticket = stored->ticket;
        action->disk.data = cpni_bytes_ref(stored->data);
    }
}

static void imported(struct cpni_master_core *core, struct cpni_msession *session, struct cpni_mstored *stored,
                     const struct cpni_event_disk *event)
{
    stored->ticket = 0;
    if (event->code == CPN_EBUSY) {
        return; /* again with the next beat */
    }
    if (event->code < 0) {
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, event->code, "the master's disk cannot keep the weights: %s",
                          event->text != NULL && event->text[0] != 0 ? event->text : cpn_strerror(event->code));
        return;
    }
    stored->root = event->root;
    stored->size = event->size;
    cpni_mstored_keep(core, stored);
    session->dirty = true;
}

static bool take_disk(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_event_disk *event)
{
    if (session->load_ticket == event->ticket) {
        cpni_msession_loaded(core, session, event);
        return true;
    }
    for (size_t i = 0; i < CPNI_MSESSION_ROUNDS; i++) {
        if (session->history[i].ticket == event->ticket) {
            imported(core, session, &session->history[i], event);
            return true;
        }
    }
    for (uint32_t i = 0; i < session->lane_count; i++) {
        if (session->lanes[i].weights_next.ticket == event->ticket) {
            imported(core, session, &session->lanes[i].weights_next, event);
            return true;
        }
    }
    return false;
}

void cpni_msession_disk(struct cpni_master_core *core, const struct cpni_event_disk *event)
{
    struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        if (!cpni_msession_over(session) && take_disk(core, session, event)) {
            return;
        }
    }
    cpni_mblob_orphan(core, event); /* its session has ended meanwhile */
}

/* ---- commits ---- */

uint64_t cpni_msession_commit(struct cpni_master_core *core, const struct cpni_msession *session, const struct cpni_command *command,
                              uint64_t about)
{
    struct cpni_mpending *ask = cpni_mpending_new(core, CPNI_MPENDING_SESSION);
    if (ask == NULL) {
        cpni_bytes_unref(command->payload);
        return 0;
    }
    ask->task = session->id;
    ask->command = command->type;
    ask->request = about;
    cpni_mpending_commit(core, ask, NULL, command);
    return ask->ticket;
}

static void commit_add(struct cpni_master_core *core, struct cpni_msession *session)
{
    if (memcmp(&session->user, &cpni_mlocal_key, sizeof session->user) == 0) {
        cpni_mpublish_local(core);
    }
    struct cpni_command command = { .type = CPNI_COMMAND_SESSION_ADD, .payload = cpni_bytes_ref(session->spec_text) };
    command.u.session_add = (struct cpni_command_session_add){ .session = session->id, .user = session->user,
        .dataset_root = session->dataset_root, .schema_root = session->schema_root, .dataset_size = session->dataset_size,
        .schema_size = session->schema_size, .rows = session->rows, .train_rows = session->train_rows,
        .columns = session->columns, .classes = session->classes, .wall_us = session->started_wall_us };
    memcpy(command.u.session_add.name, session->name, sizeof session->name);
    session->add_ticket = cpni_msession_commit(core, session, &command, 0);
}

static void commit_state(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_command command = { .type = CPNI_COMMAND_SESSION_STATE };
    command.u.session_state = (struct cpni_command_session_state){ .session = session->id, .state = (uint32_t)session->state,
        .lane = session->best, .weights_root = session->outcome_root, .weights_size = session->outcome_size,
        .evaluated = session->evaluated, .accuracy_ppm = session->accuracy_ppm, .loss_micro = session->loss_micro,
        .repeated = session->repeated, .reproducible = session->reproducible, .ended_wall_us = session->ended_wall_us };
    memcpy(command.u.session_state.why, session->why, sizeof session->why);
    memcpy(command.u.session_state.text, session->text, sizeof session->text);
    session->state_ticket = cpni_msession_commit(core, session, &command, 0);
    session->state_dirty = session->state_dirty && session->state_ticket == 0;
}

/* In sync no round can be done by one lane alone, so all must have a checkpoint of the very round that is durable: first each lane says its
 * new one beside the one before, then the round decides which of the two counts. */
static bool lanes_allow(const struct cpni_msession *session, uint64_t round)
{
    for (uint32_t i = 0; session->spec.mode == CPNI_MODE_SYNC && i < session->lane_count; i++) {
        if (session->lanes[i].state_kept.round != round) {
            return false;
        }
    }
    return true;
}

static void commit_round(struct cpni_master_core *core, struct cpni_msession *session)
{
    const struct cpni_mstored *stored = cpni_mstored_round(session, session->committed_round + 1);
    if (session->round_ticket != 0 || stored == NULL || !stored->here || !lanes_allow(session, stored->round)) {
        return;
    }
    struct cpni_command command = { .type = CPNI_COMMAND_SESSION_ROUND };
    command.u.session_round = (struct cpni_command_session_round){ .session = session->id, .round = stored->round,
        .first_kept = session->first_kept, .root = stored->root, .size = stored->size };
    session->round_ticket = cpni_msession_commit(core, session, &command, stored->round);
}

/* Whether a checkpoint is whole and may become the lane's: not before the round after which it stands (sync: right before it). */
static bool lane_due(const struct cpni_msession *session, const struct cpni_mlane *lane)
{
    if (lane->committing != 0) {
        return false;
    }
    uint64_t round = lane->state_next.round;
    bool whole = session->spec.mode == CPNI_MODE_SWEEP  ? lane->weights_next.here && lane->weights_next.round == round
                 : session->spec.mode == CPNI_MODE_SYNC ? round <= session->round && round <= session->committed_round + 1
                                                        : round <= session->committed_round;
    return (whole && lane->state_next.here) || lane->state_dirty;
}

static void commit_lane(struct cpni_master_core *core, struct cpni_msession *session, struct cpni_mlane *lane)
{
    bool sync = session->spec.mode == CPNI_MODE_SYNC;
    bool whole = lane->state_next.here && (session->spec.mode != CPNI_MODE_SWEEP || lane->weights_next.here) &&
                 (!sync || lane->state_next.round <= session->round);
    const struct cpni_mstored *state = whole ? &lane->state_next : &lane->state_kept;
    const struct cpni_mstored *weights = whole ? &lane->weights_next : &lane->weights_kept;
    weights = !sync ? weights : whole ? &lane->state_kept : &lane->state_before;
    struct cpni_command command = { .type = CPNI_COMMAND_SESSION_LANE };
    command.u.session_lane = (struct cpni_command_session_lane){ .session = session->id, .lane = lane->number,
        .state = (uint32_t)lane->state, .round = state->round, .weights_root = weights->root, .weights_size = weights->size,
        .state_root = state->root, .state_size = state->size };
    snprintf(command.u.session_lane.text, sizeof command.u.session_lane.text, "%s", lane->text);
    lane->committing = cpni_msession_commit(core, session, &command, (uint64_t)lane->number << 1 | whole);
    lane->state_dirty = lane->state_dirty && lane->committing == 0;
}

void cpni_msession_store(struct cpni_master_core *core, struct cpni_msession *session)
{
    if (!session->added) {
        if (session->add_ticket == 0 && !cpni_msession_over(session)) {
            commit_add(core, session);
        }
        session->end_committed = session->end_committed || (cpni_msession_over(session) && session->add_ticket == 0);
        return;
    }
    cpni_mpoint_store(core, session); /* before the rounds in which they were: nobody says them again */
    if (!cpni_msession_over(session)) {
        for (size_t i = 0; i < CPNI_MSESSION_ROUNDS; i++) {
            import(core, &session->history[i]);
        }
        commit_round(core, session);
        for (uint32_t i = 0; i < session->lane_count; i++) {
            import(core, &session->lanes[i].weights_next);
            if (lane_due(session, &session->lanes[i])) {
                commit_lane(core, session, &session->lanes[i]);
            }
        }
    }
    if (session->state_dirty && session->state_ticket == 0) {
        commit_state(core, session);
    }
}

bool cpni_msession_saved(const struct cpni_msession *session)
{
    for (size_t i = 0; i < CPNI_MSESSION_ROUNDS; i++) {
        if (session->history[i].data != NULL) {
            return false;
        }
    }
    for (uint32_t i = 0; i < session->lane_count; i++) {
        const struct cpni_mlane *lane = &session->lanes[i];
        if (lane->committing != 0 || lane->state_dirty || lane->weights_next.data != NULL || lane->state_next.ticket != 0 ||
            lane_due(session, lane)) {
            return false;
        }
    }
    return session->committed_round == session->round && !session->points_dirty;
}

/* ---- the store's answers ---- */

static void added(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_commit *commit)
{
    session->add_ticket = 0;
    if (commit->status == CPNI_COMMITTED) {
        session->added = true;
        cpni_msession_arrive(core, session);
    } else {
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, commit->status == CPNI_REJECTED ? commit->code : CPN_EIO,
                          "the master's store did not take the session%s%s", commit->text[0] != 0 ? ": " : "", commit->text);
        session->added = session->state_dirty = commit->status == CPNI_UNKNOWN; /* it may be there, and must not stay there unended */
        session->end_committed = !session->added;
    }
}

static void state_done(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_commit *commit)
{
    session->state_ticket = 0;
    if (commit->status == CPNI_UNKNOWN) {
        session->state_dirty = true;
        session->dirty = false; /* not at once: the store has just failed */
    } else if (!session->state_dirty && cpni_msession_over(session)) { /* also of one that the store never took */
        session->end_committed = true;
        cpni_msession_tell_end(core, session);
    }
}

/* Weights from before the oldest checkpoint are of no more use. */
static void trim(struct cpni_master_core *core, struct cpni_msession *session)
{
    uint64_t oldest = session->committed_round;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        uint64_t round = session->lanes[i].state_kept.round;
        oldest = round < oldest ? round : oldest;
    }
    for (; session->first_kept < oldest; session->first_kept++) {
        struct cpni_mstored *stored = cpni_mstored_round(session, session->first_kept);
        if (stored != NULL) {
            cpni_mstored_drop(core, stored);
        }
    }
}

static void round_done(struct cpni_master_core *core, struct cpni_msession *session, uint64_t round, const struct cpni_commit *commit)
{
    session->round_ticket = 0;
    struct cpni_mstored *stored = cpni_mstored_round(session, round);
    if (commit->status == CPNI_COMMITTED && stored != NULL) {
        stored->committed = true;
        session->committed_round = round;
        session->outcome_root = stored->root;
        session->outcome_size = stored->size;
        trim(core, session);
    }
}

/* What was on its way takes the place of what was durable before. */
static void replace(struct cpni_master_core *core, struct cpni_mstored *kept, struct cpni_mstored *next)
{
    struct cpni_mstored old = *kept;
    *kept = *next;
    kept->committed = true;
    *next = (struct cpni_mstored){ 0 };
    cpni_mstored_drop(core, &old);
}

static void lane_done(struct cpni_master_core *core, struct cpni_msession *session, uint64_t about, const struct cpni_commit *commit)
{
    struct cpni_mlane *lane = &session->lanes[about >> 1];
    lane->committing = 0;
    if (commit->status != CPNI_COMMITTED) {
        lane->state_dirty = true;
        return;
    }
    if ((about & 1) != 0) {
        if (session->spec.mode == CPNI_MODE_SYNC) {
            replace(core, &lane->state_before, &lane->state_kept);
        }
        replace(core, &lane->state_kept, &lane->state_next);
        if (session->spec.mode == CPNI_MODE_SWEEP) {
            replace(core, &lane->weights_kept, &lane->weights_next);
            cpni_msession_rank(session);
        } else {
            trim(core, session);
        }
    }
}

void cpni_msession_committed(struct cpni_master_core *core, const struct cpni_mpending *ask, const struct cpni_commit *commit)
{
    struct cpni_msession *session = cpni_msession_find(core, &ask->task);
    if (session == NULL) {
        return;
    }
    session->dirty = commit->status == CPNI_COMMITTED || session->dirty;
    if (ask->command == CPNI_COMMAND_SESSION_ADD) {
        added(core, session, commit);
    } else if (ask->command == CPNI_COMMAND_SESSION_STATE) {
        state_done(core, session, commit);
    } else if (ask->command == CPNI_COMMAND_SESSION_POINT) {
        cpni_mpoint_done(session, ask->request, commit);
    } else if (cpni_msession_over(session)) {
        return; /* what it was about is dropped already */
    } else if (ask->command == CPNI_COMMAND_SESSION_ROUND) {
        round_done(core, session, ask->request, commit);
    } else if (ask->command == CPNI_COMMAND_SESSION_LANE) {
        lane_done(core, session, ask->request, commit);
    }
}

void cpni_msession_remove(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_command command = { .type = CPNI_COMMAND_SESSION_REMOVE };
    command.u.session_remove.session = session->id;
    struct cpni_log_about about = cpni_msession_about(core, session, NULL);
    cpni_log(core->out, CPNI_LOG_SESSION_REMOVED, &about, "%s made room for a new one", session->name);
    cpni_msession_commit(core, session, &command, 0);
    cpni_msession_free(core, session);
}

/* ---- checkpoints from peers ---- */

/* A later checkpoint takes the place of one that is still on its way: it is as good, and newer. */
void cpni_msession_fetch_state(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update)
{
    static const struct cpn_hash none;
    struct cpni_mstored *next = &lane->state_next;
    bool busy = next->here && lane->committing != 0;
    if (memcmp(&update->state_root, &none, sizeof none) == 0 || busy || lane->peer->node->link == NULL) {
        return;
    }
    if (next->ticket != 0) {
        cpni_transfer_cancel(core->transfer, next->ticket, &core->now, core->out);
    }
    cpni_mstored_drop(core, next);
    uint64_t ticket = ++core->last_ticket;
    int rc = cpni_transfer_fetch(core->transfer, ticket, lane->peer->node->link->serial, &update->state_root, update->state_size, false,
                                 &core->now, core->out);
    core->out->failed = core->out->failed || rc == CPN_ENOMEM;
    if (rc == 0) {
        *next = (struct cpni_mstored){ .round = update->round, .root = update->state_root, .size = update->state_size, .ticket = ticket };
    }
}

static bool take_outcome(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_transfer_outcome *outcome)
{
    for (uint32_t i = 0; i < session->lane_count; i++) {
        struct cpni_mstored *next = &session->lanes[i].state_next;
        if (next->ticket != outcome->ticket) {
            continue;
        }
        next->ticket = 0;
        if (outcome->code < 0 || !cpni_mstored_keep(core, next)) {
            cpni_mstored_drop(core, next); /* its next round is asked for another one */
        }
        if (outcome->code == CPN_ENOSPC) {
            cpni_msession_end(core, session, CPNI_SESSION_FAILED, CPN_ENOSPC, "the master's disk is full: %s", outcome->text);
        }
        session->dirty = true;
        return true;
    }
    return false;
}

bool cpni_msession_outcome(struct cpni_master_core *core, const struct cpni_transfer_outcome *outcome)
{
    if (cpni_msession_uploaded(core, outcome)) {
        return true;
    }
    struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        if (!cpni_msession_over(session) && take_outcome(core, session, outcome)) {
            return true;
        }
    }
    return false;
}
