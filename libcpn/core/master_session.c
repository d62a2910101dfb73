/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The life of a training session: made, driven from state to state, ended, freed (DESIGN §9). Must not know how a mode combines what
 * its lanes learn, nor how anything is stored. */
#include "core/master_session.h"

#include <stdarg.h>
#include <stdio.h>

struct cpni_msession *cpni_msession_find(const struct cpni_master_core *core, const struct cpn_id *id)
{
    struct cpni_msession *session;
    HASH_FIND(hh, core->sessions, id, sizeof *id, session);
    return session;
}

bool cpni_msession_over(const struct cpni_msession *session)
{
    return session->state >= CPNI_SESSION_COMPLETED;
}

struct cpni_log_about cpni_msession_about(const struct cpni_master_core *core, const struct cpni_msession *session,
                                          const struct cpni_mnode *node)
{
    struct cpni_log_about about = node != NULL ? cpni_mabout_node(core, node->identity) : (struct cpni_log_about){ 0 };
    about.user = &session->user;
    about.task = &session->id;
    return about;
}

void cpni_msession_not_reproducible(struct cpni_msession *session, const char *format, ...)
{
    if (!session->reproducible) {
        return; /* the first reason is enough */
    }
    va_list list;
    va_start(list, format);
    vsnprintf(session->why, sizeof session->why, format, list);
    va_end(list);
    session->reproducible = false;
    session->state_dirty = true;
}

/* ---- making and freeing ---- */

static int make_lanes(struct cpni_msession *session)
{
    session->lane_count = cpni_session_lanes(&session->spec);
    session->lanes = cpni_calloc(session->lane_count, sizeof *session->lanes);
    for (uint32_t i = 0; session->lanes != NULL && i < session->lane_count; i++) {
        session->lanes[i].session = session;
        session->lanes[i].number = i;
        session->lanes[i].state = CPNI_LANE_WAITING;
    }
    return session->lanes != NULL ? 0 : CPN_ENOMEM;
}

int cpni_msession_make(struct cpni_master_core *core, const struct cpni_command_session_add *add, struct cpni_bytes *spec,
                       struct cpni_msession **out, char *detail)
{
    (void)core;
    struct cpni_msession *session = cpni_calloc(1, sizeof *session);
    if (session == NULL) {
        return CPN_ENOMEM;
    }
    struct cpni_str text = { .text = (const char *)spec->data, .size = (uint32_t)spec->size };
    int rc = cpni_session_spec_read(text, &session->spec, detail);
    rc = rc == 0 ? make_lanes(session) : rc;
    if (rc < 0) {
        cpni_session_spec_free(&session->spec);
        cpni_free(session);
        return rc;
    }
    session->id = add->session;
    session->user = add->user;
    memcpy(session->name, add->name, sizeof session->name);
    session->spec_text = cpni_bytes_ref(spec);
    session->dataset_root = add->dataset_root;
    session->dataset_size = add->dataset_size;
    session->schema_root = add->schema_root;
    session->schema_size = add->schema_size;
    session->rows = add->rows;
    session->train_rows = add->train_rows;
    session->columns = add->columns;
    session->classes = add->classes;
    session->rounds = cpni_session_rounds(&session->spec, add->train_rows);
    session->started_wall_us = add->wall_us;
    session->state = CPNI_SESSION_CREATED;
    session->reproducible = true;
    session->best = CPNI_LANE_COMMON;
    *out = session;
    return 0;
}

/* What only a running session needs. */
static void drop_work(struct cpni_master_core *core, struct cpni_msession *session)
{
    for (uint32_t i = 0; i < session->lane_count; i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        cpni_mvector_drop(core, lane);
        cpni_mstored_drop(core, &lane->state_kept);
        cpni_mstored_drop(core, &lane->state_next);
        cpni_mstored_drop(core, &lane->state_before);
        cpni_mstored_drop(core, &lane->weights_next);
    }
    for (size_t i = 0; i < CPNI_MSESSION_ROUNDS; i++) {
        cpni_mstored_drop(core, &session->history[i]);
    }
    cpni_bytes_unref(session->weights);
    cpni_bytes_unref(session->change);
    cpni_bytes_unref(session->gradient);
    session->weights = session->change = session->gradient = NULL;
    cpni_free(session->loading);
    session->loading = NULL;
    session->load_ticket = 0;
    if (session->summing) {
        cpni_exactsum_free(&session->sum);
        session->summing = false;
    }
    if (session->dataset_kept) {
        cpni_mblob_unkeep(core, &session->dataset_root);
        session->dataset_kept = false;
    }
    for (unsigned i = 0; session->missing != 0 && i < 2 && core->out != NULL; i++) {
        cpni_transfer_cancel(core->transfer, session->tickets + i, &core->now, core->out);
    }
    session->missing = 0;
}

void cpni_msession_free(struct cpni_master_core *core, struct cpni_msession *session)
{
    while (session->peers != NULL) {
        cpni_mpeer_release(core, session->peers, 0, NULL);
    }
    drop_work(core, session);
    for (uint32_t i = 0; i < session->lane_count; i++) {
        cpni_mstored_drop(core, &session->lanes[i].weights_kept);
    }
    if (session->schema_kept) {
        cpni_mblob_unkeep(core, &session->schema_root);
    }
    if (session->outcome_kept) {
        cpni_mblob_unkeep(core, &session->outcome_root);
    }
    struct cpni_mpoint *point, *next;
    HASH_ITER(hh, session->points, point, next) {
        HASH_DEL(session->points, point);
        cpni_free(point);
    }
    struct cpni_mwaiter *waiter, *next_waiter;
    DL_FOREACH_SAFE(session->waiters, waiter, next_waiter) {
        cpni_free(waiter);
    }
    if (session->hh.tbl != NULL) {
        HASH_DEL(core->sessions, session);
    }
    cpni_bytes_unref(session->spec_text);
    cpni_session_spec_free(&session->spec);
    cpni_free(session->lanes);
    cpni_free(session);
}

void cpni_msession_free_all(struct cpni_master_core *core)
{
    struct cpni_msession *session, *next;
    HASH_ITER(hh, core->sessions, session, next) {
        cpni_msession_free(core, session);
    }
}

/* ---- states ---- */

void cpni_msession_state(struct cpni_master_core *core, struct cpni_msession *session, enum cpni_session_state state)
{
    if (session->state == state) {
        return;
    }
    session->state = state;
    session->state_dirty = true;
    if (state == CPNI_SESSION_TRAINING) {
        struct cpni_log_about about = cpni_msession_about(core, session, NULL);
        cpni_log(core->out, CPNI_LOG_SESSION_TRAINING, &about, "%u lanes on %u nodes, %llu rounds", session->lane_count,
                 session->peer_count, (unsigned long long)session->rounds);
    }
}

/* The weights that a session leaves behind are those of its last durable round: what the history counts for them, the outcome does now. */
static void keep_outcome(struct cpni_msession *session)
{
    struct cpni_mstored *last = session->committed_round != 0 ? cpni_mstored_round(session, session->committed_round) : NULL;
    if (last != NULL && last->here) {
        session->outcome_root = last->root;
        session->outcome_size = last->size;
        session->outcome_kept = true;
        *last = (struct cpni_mstored){ 0 };
    }
}

static void end_lanes(struct cpni_master_core *core, struct cpni_msession *session, enum cpni_session_state state)
{
    static const enum cpni_lane_state ends[] = { [CPNI_SESSION_COMPLETED] = CPNI_LANE_COMPLETED,
        [CPNI_SESSION_FAILED] = CPNI_LANE_FAILED, [CPNI_SESSION_STOPPED] = CPNI_LANE_STOPPED };
    for (uint32_t i = 0; i < session->lane_count; i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        if (lane->state < CPNI_LANE_COMPLETED) {
            lane->state = ends[state];
        }
        lane->state_dirty = false;
        if (lane->state_next.ticket != 0) {
            cpni_transfer_cancel(core->transfer, lane->state_next.ticket, &core->now, core->out);
        }
    }
}

void cpni_msession_end(struct cpni_master_core *core, struct cpni_msession *session, enum cpni_session_state state, int code,
                       const char *format, ...)
{
    if (cpni_msession_over(session)) {
        return;
    }
    va_list list;
    va_start(list, format);
    vsnprintf(session->text, sizeof session->text, format, list);
    va_end(list);
    session->code = code;
    session->cut_us = 0;
    session->ended_wall_us = core->now.wall_us;
    session->state = state;
    session->state_dirty = true;
    session->dirty = true;
    static const enum cpni_log_event events[] = { [CPNI_SESSION_COMPLETED] = CPNI_LOG_SESSION_COMPLETED,
        [CPNI_SESSION_FAILED] = CPNI_LOG_SESSION_FAILED, [CPNI_SESSION_STOPPED] = CPNI_LOG_SESSION_STOPPED };
    struct cpni_log_about about = cpni_msession_about(core, session, NULL);
    cpni_log(core->out, events[state], &about, "%s", session->text);
    end_lanes(core, session, state);
    while (session->peers != NULL) {
        cpni_mpeer_release(core, session->peers, code != 0 ? code : CPN_ECLOSED, session->text);
    }
    if (session->spec.mode != CPNI_MODE_SWEEP) {
        keep_outcome(session);
    }
    drop_work(core, session);
    cpni_msession_answer(core, session);
    cpni_msession_wake_all(core);
}

/* ---- driven by level ---- */

void cpni_msession_wake_all(struct cpni_master_core *core)
{
    struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        session->dirty = true;
    }
}

static void advance(struct cpni_master_core *core, struct cpni_msession *session)
{
    uint32_t asked = 0, enabled = 0;
    const struct cpni_mpeer *peer;
    DL_FOREACH(session->peers, peer) {
        asked += peer->enabled_on != 0;
        enabled += peer->enabled;
    }
    if (session->state == CPNI_SESSION_LOCKING && asked == session->peer_count && asked != 0) {
        cpni_msession_state(core, session, CPNI_SESSION_DISTRIBUTING);
    }
    bool ready = session->spec.mode == CPNI_MODE_SWEEP ? enabled != 0 : enabled == session->peer_count && enabled != 0;
    if (session->state == CPNI_SESSION_DISTRIBUTING && ready) {
        cpni_msession_state(core, session, CPNI_SESSION_TRAINING);
    }
}

static void watch_alone(struct cpni_master_core *core, struct cpni_msession *session)
{
    if (session->peer_count != 0) {
        session->alone_us = 0;
    } else if (session->alone_us == 0) {
        session->alone_us = core->now.mono_us;
    } else if (core->now.mono_us - session->alone_us >= (int64_t)CPNI_SESSION_WAIT_MS * 1000) {
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, CPN_ENONODE, "no node with trainer %s has been free for %d s",
                          session->spec.trainer, CPNI_SESSION_WAIT_MS / 1000);
    }
}

static void drive(struct cpni_master_core *core, struct cpni_msession *session)
{
    cpni_msession_store(core, session);
    if (cpni_msession_over(session) || session->state == CPNI_SESSION_CREATED) {
        return;
    }
    if (core->settle_us == 0) { /* until then those that were locked to it are on their way back */
        cpni_mpeer_fill(core, session);
        watch_alone(core, session);
    }
    struct cpni_mpeer *peer;
    DL_FOREACH(session->peers, peer) {
        cpni_mpeer_enable(core, peer);
    }
    if (core->settle_us != 0 || cpni_msession_over(session)) {
        return;
    }
    advance(core, session);
    cpni_mlane_watch(core, session);
    if (session->state == CPNI_SESSION_TRAINING || session->state == CPNI_SESSION_AGGREGATING) {
        void (*const modes[])(struct cpni_master_core *, struct cpni_msession *) = {
            [CPNI_MODE_SWEEP] = cpni_msession_sweep, [CPNI_MODE_AVERAGE] = cpni_msession_average, [CPNI_MODE_SYNC] = cpni_msession_sync };
        modes[session->spec.mode](core, session);
    }
    cpni_msession_store(core, session);
}

/* Ending one session frees nodes for others, so it goes round until nothing is left; the bound is for safety: what is left comes with
 * the next beat. */
void cpni_msession_run(struct cpni_master_core *core)
{
    bool again = !core->stopping;
    for (unsigned pass = 0; again && pass < 8; pass++) {
        again = false;
        struct cpni_msession *session, *next;
        HASH_ITER(hh, core->sessions, session, next) {
            if (!session->dirty || core->out->failed) {
                continue;
            }
            session->dirty = false;
            again = true;
            drive(core, session);
            session->dirty = session->dirty || core->out->failed;
        }
    }
    cpni_mblob_sweep(core);
}

void cpni_msession_beat(struct cpni_master_core *core)
{
    struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        session->dirty = session->dirty || !cpni_msession_over(session) || session->state_dirty;
    }
}

int64_t cpni_msession_deadline(const struct cpni_master_core *core)
{
    int64_t at_us = INT64_MAX;
    const struct cpni_msession *session;
    for (session = core->stopping ? NULL : core->sessions; session != NULL; session = session->hh.next) {
        bool busy = !cpni_msession_over(session) || session->state_dirty;
        int64_t own_us = !busy ? INT64_MAX : session->cut_us != 0 && session->cut_us < core->beat_us ? session->cut_us : core->beat_us;
        at_us = own_us < at_us ? own_us : at_us;
    }
    return at_us;
}

void cpni_msession_timers(struct cpni_master_core *core)
{
    struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        session->dirty = session->dirty || (session->cut_us != 0 && core->now.mono_us >= session->cut_us);
    }
}
