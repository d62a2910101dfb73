/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Mode sweep: every lane is a configuration of its own, trained on all rows by one peer at a time, an epoch a round; lanes wait for a free
 * peer (DESIGN §9). Halving: after 1, 2, 4 ... epochs the lanes wait for each other, and the better half goes on. What is compared are
 * whole numbers: accuracy in millionths, then loss, then the lower lane. Must not know what an epoch learns. */
#include "core/master_session.h"

#include <stdio.h>

static bool live(const struct cpni_mlane *lane)
{
    return lane->state < CPNI_LANE_COMPLETED;
}

static uint64_t epochs_of(const struct cpni_mlane *lane)
{
    return cpni_session_lane(&lane->session->spec, lane->number)->epochs;
}

/* ---- which is better ---- */

struct figure {
    uint32_t accuracy_ppm;
    uint64_t loss_micro;
    bool known;
};

static struct figure figure_of(const struct cpni_mlane *lane, uint64_t epoch)
{
    const struct cpni_mpoint *point = cpni_mpoint_find(lane->session, lane->number, (uint32_t)epoch);
    if (point == NULL || epoch == 0) {
        return (struct figure){ 0 };
    }
    const struct cpni_command_session_point *p = &point->point;
    return p->evaluated ? (struct figure){ p->accuracy_ppm, p->loss_micro, true } : (struct figure){ p->train_ppm, p->train_loss_micro, true };
}

/* Of equal ones the first in the order of lanes. */
static bool better(struct figure a, struct figure b)
{
    if (a.known != b.known) {
        return a.known;
    }
    return a.accuracy_ppm != b.accuracy_ppm ? a.accuracy_ppm > b.accuracy_ppm : a.loss_micro < b.loss_micro;
}

/* A configuration that went all the way is preferred to one that was cut or stopped: its early figure would win by luck. */
static bool ranks_higher(const struct cpni_mlane *a, const struct cpni_mlane *b)
{
    bool a_whole = a->state == CPNI_LANE_COMPLETED, b_whole = b->state == CPNI_LANE_COMPLETED;
    return a_whole != b_whole ? a_whole : better(figure_of(a, a->weights_kept.round), figure_of(b, b->weights_kept.round));
}

void cpni_msession_rank(struct cpni_msession *session)
{
    const struct cpni_mlane *best = NULL;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        const struct cpni_mlane *lane = &session->lanes[i];
        if (lane->weights_kept.here && (best == NULL || ranks_higher(lane, best))) {
            best = lane;
        }
    }
    if (best == NULL) {
        return;
    }
    const struct cpni_mpoint *point = cpni_mpoint_find(session, best->number, (uint32_t)best->weights_kept.round);
    session->best = best->number;
    session->outcome_root = best->weights_kept.root;
    session->outcome_size = best->weights_kept.size;
    session->evaluated = point != NULL && point->point.evaluated;
    session->accuracy_ppm = session->evaluated ? point->point.accuracy_ppm : 0;
    session->loss_micro = session->evaluated ? point->point.loss_micro : 0;
}

/* ---- halving ---- */

static bool is_rung(uint64_t round)
{
    return round != 0 && (round & (round - 1)) == 0;
}

/* Those that this rung compares: also the ones that it cut, so that a master that died half way comes to the same end. */
static bool compared(const struct cpni_mlane *lane, uint64_t rung)
{
    return live(lane) || (lane->state == CPNI_LANE_CUT && lane->round == rung);
}

static void halve(struct cpni_master_core *core, struct cpni_msession *session, uint64_t rung)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        count += compared(&session->lanes[i], rung);
    }
    session->rung = rung;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        uint32_t ahead = 0;
        for (uint32_t j = 0; j < session->lane_count; j++) {
            const struct cpni_mlane *other = &session->lanes[j];
            struct figure a = figure_of(other, rung), b = figure_of(lane, rung);
            ahead += j != i && compared(other, rung) && (better(a, b) || (!better(b, a) && j < i));
        }
        lane->beaten = ahead >= (count + 1) / 2;
    }
    for (uint32_t i = 0; i < session->lane_count; i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        lane->parked = false;
        if (live(lane) && lane->beaten) {
            char text[CPNI_DETAIL];
            snprintf(text, sizeof text, "not in the better half after %llu epochs", (unsigned long long)rung);
            cpni_mlane_end(core, lane, CPNI_LANE_CUT, text);
        }
    }
}

static void see_rung(struct cpni_master_core *core, struct cpni_msession *session)
{
    uint64_t rung = 0;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        const struct cpni_mlane *lane = &session->lanes[i];
        if (live(lane) && !lane->parked) {
            return; /* it is on its way there */
        }
        rung = live(lane) ? lane->round : rung;
    }
    if (rung != 0) {
        halve(core, session, rung);
    }
}

/* ---- an epoch ---- */

/* Nothing of its last round is on its way any more. */
static bool rests(const struct cpni_mlane *lane)
{
    return lane->training == 0 && lane->state_next.round == 0 && lane->weights_next.round == 0 && lane->committing == 0;
}

void cpni_msession_sweep_update(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update)
{
    struct cpni_msession *session = lane->session;
    struct cpni_bytes *weights = cpni_mvector_take(core, lane, update->round, update->bytes);
    if (core->out->failed) {
        return; /* it is asked again */
    }
    if (weights == NULL || update->encoding != 0 || cpni_mhash_zero(&update->state_root)) {
        cpni_bytes_unref(weights);
        cpni_mlane_failed(core, lane, CPN_EPROTO, cpni_str("its update does not fit the session"));
        return;
    }
    cpni_mpoint_evaluated(core, lane, lane->number, (uint32_t)update->round, update);
    cpni_msession_fetch_state(core, lane, update);
    if (core->out->failed) {
        cpni_bytes_unref(weights);
        return; /* it is asked again */
    }
    cpni_mstored_drop(core, &lane->weights_next);
    lane->weights_next = (struct cpni_mstored){ .round = update->round, .data = weights };
    lane->round = update->round;
    lane->training = 0;
    session->round = 0;
}

static void go_on(struct cpni_master_core *core, struct cpni_mlane *lane)
{
    const struct cpni_msession *session = lane->session;
    bool lost = lane->training == 0 && lane->weights_next.round != 0 && lane->state_next.round == 0 && lane->committing == 0;
    if (lost) {
        cpni_mlane_take(core, lane, true); /* its checkpoint did not come: back to the one before */
    }
    if (lane->training == 0 && !rests(lane)) {
        return;
    }
    if (lane->training == 0 && lane->round >= epochs_of(lane)) {
        cpni_mlane_end(core, lane, CPNI_LANE_COMPLETED, "");
        return;
    }
    if (session->spec.halving && is_rung(lane->round) && lane->round > session->rung && lane->training == 0) {
        lane->parked = true;
        lane->state = CPNI_LANE_WAITING;
        return;
    }
    if (lane->peer != NULL) {
        const struct cpni_mtrain train = { .round = lane->round + 1, .evaluate = session->spec.validation_ppm != 0, .state = true,
            .steps = cpni_session_round_steps(&session->spec, lane->number, session->train_rows, lane->round + 1) };
        cpni_mlane_train(core, lane, &train);
    }
}

/* ---- who works on what ---- */

/* The lane that is furthest behind, so that all reach a rung; without halving simply the first. */
static struct cpni_mlane *next_for(const struct cpni_msession *session, const struct cpni_mpeer *peer)
{
    struct cpni_mlane *next = NULL;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        bool waits = live(lane) && lane->peer == NULL && !lane->parked;
        bool shunned = lane->avoid == peer->node->number && session->peer_count > 1;
        if (waits && !shunned && (next == NULL || (session->spec.halving && lane->round < next->round))) {
            next = lane;
        }
    }
    return next;
}

/* A lane that waits at a rung keeps its peer while nobody else needs it: then it need not be restored. */
static void assign(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_mpeer *peer;
    for (int parked = 0; parked < 2; parked++) {
        DL_FOREACH(session->peers, peer) {
            struct cpni_mlane *lane = peer->enabled ? next_for(session, peer) : NULL;
            for (uint32_t i = 0; lane != NULL && parked == 1 && i < session->lane_count; i++) {
                if (session->lanes[i].peer == peer && session->lanes[i].parked) {
                    cpni_mlane_take(core, &session->lanes[i], true);
                }
            }
            if (lane != NULL && peer->lanes == 0) {
                cpni_mlane_give(lane, peer);
            }
        }
    }
}

/* Peers that no lane will need go back at once. */
static void release_idle(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_mpeer *peer, *next;
    DL_FOREACH_SAFE(session->peers, peer, next) {
        if (peer->lanes == 0 && session->peer_count > cpni_mpeer_wanted(session)) {
            cpni_mpeer_release(core, peer, 0, "no configuration is left for this node");
        }
    }
}

static void finish(struct cpni_master_core *core, struct cpni_msession *session)
{
    uint32_t completed = 0;
    const struct cpni_mlane *failed = NULL;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        completed += session->lanes[i].state == CPNI_LANE_COMPLETED;
        failed = failed == NULL && session->lanes[i].state == CPNI_LANE_FAILED ? &session->lanes[i] : failed;
    }
    cpni_msession_state(core, session, CPNI_SESSION_AGGREGATING);
    if (!cpni_msession_saved(session)) {
        return;
    }
    cpni_msession_rank(session);
    if (completed == 0 && failed != NULL) {
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, CPN_EFAILED, "no configuration completed; lane %u: %s", failed->number,
                          failed->text);
    } else {
        cpni_msession_end(core, session, CPNI_SESSION_COMPLETED, 0, "%u of %u configurations completed, lane %u is the best", completed,
                          session->lane_count, session->best);
    }
}

void cpni_msession_sweep(struct cpni_master_core *core, struct cpni_msession *session)
{
    if (session->restored && session->rung != 0) {
        session->restored = false;
        halve(core, session, session->rung); /* what the master before may have left half done */
    }
    /* Twice: a rung that everybody has reached frees lanes and peers. */
    for (int pass = 0; pass < 2; pass++) {
        assign(core, session);
        for (uint32_t i = 0; i < session->lane_count && !core->out->failed; i++) {
            if (live(&session->lanes[i])) {
                go_on(core, &session->lanes[i]);
            }
        }
        if (session->spec.halving) {
            see_rung(core, session);
        }
    }
    assign(core, session);
    release_idle(core, session);
    bool open = false;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        open = open || live(&session->lanes[i]);
    }
    if (!open) {
        finish(core, session);
    }
}
