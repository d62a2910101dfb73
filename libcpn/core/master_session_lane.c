/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Lanes: who works on which, from which place it goes on, what it is told to do next, and what its failures count for (DESIGN §9). A
 * lane without a peer goes on from its last checkpoint: whoever gets it replays the rounds since, each from the weights with which it
 * began. Must not know what becomes of an answer. */
#include "core/master_session.h"

#include <stdio.h>

/* ---- who ---- */

void cpni_mlane_give(struct cpni_mlane *lane, struct cpni_mpeer *peer)
{
    lane->peer = peer;
    peer->lanes++;
    lane->laned_on = lane->trained_on = 0;
}

void cpni_mlane_take(struct cpni_master_core *core, struct cpni_mlane *lane, bool tell)
{
    struct cpni_mpeer *peer = lane->peer;
    struct cpni_msession *session = lane->session;
    if (peer == NULL) {
        return;
    }
    if (tell) {
        cpni_mlane_untell(core, peer->node, lane);
    }
    session->restart = session->restart || lane->training != 0 || lane->answered;
    if (lane->training != 0 && !cpni_msession_over(session) && session->spec.mode != CPNI_MODE_SYNC) {
        session->repeated++;
        session->state_dirty = true;
        struct cpni_log_about about = cpni_msession_about(core, session, peer->node);
        cpni_log(core->out, CPNI_LOG_SESSION_ROUND_REPEATED, &about, "round %llu of lane %u", (unsigned long long)lane->training,
                 lane->number);
    }
    peer->lanes--;
    snprintf(lane->last_node, sizeof lane->last_node, "%s", peer->node->identity->name);
    snprintf(lane->last_device, sizeof lane->last_device, "%s", peer->device);
    lane->peer = NULL;
    lane->training = 0;
    lane->laned_on = lane->trained_on = 0;
    if (lane->state < CPNI_LANE_COMPLETED) {
        lane->state = CPNI_LANE_WAITING;
    }
    cpni_mvector_drop(core, lane);
    if (lane->state_next.ticket != 0 && core->out != NULL) { /* it goes with its node */
        cpni_transfer_cancel(core->transfer, lane->state_next.ticket, &core->now, core->out);
        lane->state_next = (struct cpni_mstored){ 0 };
    }
    if (session->spec.mode == CPNI_MODE_SWEEP && !lane->state_next.here && lane->committing == 0) {
        cpni_mstored_drop(core, &lane->weights_next);
        lane->round = lane->state_kept.round;
    }
    session->dirty = true;
}

void cpni_mlane_untell(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_mlane *lane)
{
    struct cpni_msg msg = { .type = CPNI_MSG_UNLANE };
    msg.unlane.session = lane->session->id;
    msg.unlane.lane = lane->number;
    struct cpni_mconn *bulk = node->link != NULL ? node->link->bulk : NULL;
    if (bulk != NULL && !bulk->deaf && !bulk->dropped) { /* else a LANE or its own next word makes up for it */
        cpni_mconn_send(core, bulk, &msg);
    }
}

static struct cpni_mpeer *fewest(const struct cpni_msession *session, uint32_t avoid)
{
    struct cpni_mpeer *peer, *best = NULL;
    DL_FOREACH(session->peers, peer) {
        bool room = peer->lanes < CPNI_LANES_OF_NODE_MAX && peer->node->number != avoid;
        if (room && (best == NULL || peer->lanes < best->lanes)) {
            best = peer;
        }
    }
    return best == NULL && avoid != 0 ? fewest(session, 0) : best;
}

/* A node that came later takes a lane off one that has several; only one that rests, for its round would be lost. */
static void rebalance(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_mpeer *idle;
    DL_FOREACH(session->peers, idle) {
        struct cpni_mlane *from = NULL;
        for (uint32_t i = 0; idle->enabled && idle->lanes == 0 && i < session->lane_count; i++) {
            struct cpni_mlane *lane = &session->lanes[i];
            bool rests = lane->peer != NULL && lane->peer->lanes > 1 && lane->training == 0 && lane->avoid != idle->node->number;
            from = rests && (from == NULL || lane->peer->lanes > from->peer->lanes) ? lane : from;
        }
        if (from != NULL) {
            cpni_mlane_take(core, from, true);
            cpni_mlane_give(from, idle);
        }
    }
}

void cpni_mlane_share(struct cpni_master_core *core, struct cpni_msession *session)
{
    for (uint32_t i = 0; i < session->lane_count; i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        struct cpni_mpeer *peer = lane->peer == NULL ? fewest(session, lane->avoid) : NULL;
        if (peer != NULL) {
            cpni_mlane_give(lane, peer);
        }
    }
    rebalance(core, session);
}

/* ---- where it goes on ---- */

/* The checkpoint to restore from: one that is here but not yet durable is as good while this master lives. */
static const struct cpni_mstored *checkpoint(const struct cpni_mlane *lane)
{
    return lane->state_next.here && lane->state_next.round <= lane->round ? &lane->state_next : &lane->state_kept;
}

/* The weights with which a round began; false: not on the disk yet. Those of a sweep and of sync are in the checkpoint. */
static bool weights_before(struct cpni_msession *session, uint64_t round, struct cpni_rec_WEIGHTS *row)
{
    *row = (struct cpni_rec_WEIGHTS){ .round = round };
    if (session->spec.mode != CPNI_MODE_AVERAGE || round == 1) {
        return true;
    }
    const struct cpni_mstored *stored = cpni_mstored_round(session, round - 1);
    if (stored == NULL || !stored->here) {
        return false;
    }
    row->root = stored->root;
    row->size = stored->size;
    return true;
}

bool cpni_mlane_told(struct cpni_master_core *core, struct cpni_mlane *lane)
{
    struct cpni_msession *session = lane->session;
    struct cpni_mlink *link = lane->peer->node->link;
    struct cpni_mconn *bulk = link != NULL ? link->bulk : NULL;
    if (!lane->peer->enabled || bulk == NULL || bulk->deaf || bulk->dropped) {
        return false;
    }
    if (lane->laned_on == bulk->number) {
        return true;
    }
    const struct cpni_mstored *from = checkpoint(lane);
    struct cpni_msg msg = { .type = CPNI_MSG_LANE };
    msg.lane.replay = cpni_arena_alloc(&core->out->arena, (lane->round - from->round + 1) * sizeof *msg.lane.replay);
    if (msg.lane.replay == NULL) {
        core->out->failed = true;
        return false;
    }
    msg.lane.round = lane->round;
    for (uint64_t round = from->round + 1; round <= lane->round; round++) {
        if (weights_before(session, round, &msg.lane.replay[msg.lane.replay_count])) {
            msg.lane.replay_count++;
        } else if (session->spec.quorum == 0) {
            return false; /* soon: they are on their way to the disk */
        }
    }
    if (msg.lane.replay_count != lane->round - from->round) { /* late for ever: from its checkpoint it joins the others where they are */
        msg.lane.round = lane->round = from->round;
        msg.lane.replay_count = 0;
    }
    msg.lane.session = session->id;
    msg.lane.lane = lane->number;
    msg.lane.state_round = from->round;
    msg.lane.state_root = from->root;
    msg.lane.state_size = from->size;
    msg.lane.steps = cpni_session_round_steps(&session->spec, lane->number, session->train_rows, 1);
    cpni_mconn_send(core, bulk, &msg); /* where TRAIN goes: it must not overtake this */
    lane->laned_on = bulk->number;
    lane->given = lane->given_whole = 0;
    return true;
}

/* ---- what it does next ---- */

/* A change is of use to a lane that began the round before from the weights before. It may have done its first rounds on this connection
 * for an earlier master, from weights that were not durable and are others now: it answers at most two rounds with what it has kept,
 * so the third whole vector is one that it took for certain. */
static struct cpni_bytes *vector_for(const struct cpni_mlane *lane, const struct cpni_mtrain *train)
{
    const bool knows = lane->given_whole > CPNI_LANE_UPDATES_KEPT && lane->given + 1 == train->round;
    return knows && train->change != NULL ? train->change : train->weights;
}

static void give_vector(struct cpni_master_core *core, struct cpni_mconn *bulk, struct cpni_mlane *lane, const struct cpni_mtrain *train,
                        struct cpni_msg_train *msg)
{
    struct cpni_bytes *vector = vector_for(lane, train);
    if (vector == NULL) {
        return;
    }
    msg->bytes = vector->size;
    msg->encoding = vector == train->change;
    cpni_mvector_send(core, bulk, lane, train->round, vector);
    lane->given = train->round;
    lane->given_whole += vector == train->weights;
}

void cpni_mlane_train(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_mtrain *train)
{
    struct cpni_mlink *link = lane->peer->node->link;
    struct cpni_mconn *bulk = link != NULL ? link->bulk : NULL;
    if (bulk == NULL || bulk->deaf || bulk->dropped) {
        return;
    }
    if (lane->training != 0 && lane->trained_on == bulk->number && lane->training <= train->round) {
        return; /* under way; or a straggler's round, which it ends first */
    }
    if (!cpni_mlane_told(core, lane)) {
        return;
    }
    struct cpni_msg msg = { .type = CPNI_MSG_TRAIN };
    give_vector(core, bulk, lane, train, &msg.train);
    msg.train.session = lane->session->id;
    msg.train.lane = lane->number;
    msg.train.round = train->round;
    msg.train.steps = train->steps;
    msg.train.evaluate = train->evaluate;
    msg.train.state = train->state;
    msg.train.exchange = train->exchange;
    cpni_mconn_send(core, bulk, &msg);
    lane->heard_us = core->now.mono_us;
    lane->training = train->round;
    lane->trained_on = bulk->number;
    lane->state = CPNI_LANE_TRAINING;
}

/* ---- what goes wrong ---- */

void cpni_mlane_end(struct cpni_master_core *core, struct cpni_mlane *lane, enum cpni_lane_state state, const char *text)
{
    lane->training = 0;
    lane->state = state;
    lane->state_dirty = true;
    snprintf(lane->text, sizeof lane->text, "%s", text);
    cpni_mlane_take(core, lane, true);
    lane->session->dirty = true;
}

static void give_up(struct cpni_master_core *core, struct cpni_mlane *lane, int code, const char *text)
{
    if (lane->session->spec.mode == CPNI_MODE_SWEEP) {
        cpni_mlane_end(core, lane, CPNI_LANE_FAILED, text);
    } else {
        cpni_msession_end(core, lane->session, CPNI_SESSION_FAILED, code, "%s", text);
    }
}

static void diverged(struct cpni_master_core *core, struct cpni_mlane *lane, struct cpni_str why)
{
    char text[CPNI_DETAIL];
    struct cpni_mnode *node = lane->peer->node;
    snprintf(text, sizeof text, "diverged in round %llu at %s: %.*s", (unsigned long long)lane->training, node->identity->name,
             (int)(why.size < 100 ? why.size : 100), why.size != 0 ? why.text : "");
    struct cpni_log_about about = cpni_msession_about(core, lane->session, node);
    cpni_log(core->out, CPNI_LOG_SESSION_DIVERGED, &about, "lane %u %s", lane->number, text);
    give_up(core, lane, CPN_EDIVERGED, text);
}

static void crashed(struct cpni_master_core *core, struct cpni_mlane *lane, int code, struct cpni_str why)
{
    char text[CPNI_DETAIL];
    struct cpni_mnode *node = lane->peer->node;
    lane->crashes++;
    snprintf(text, sizeof text, "lane %u failed %u times, in round %llu at %s: %s: %.*s", lane->number, lane->crashes,
             (unsigned long long)lane->training, node->identity->name, cpn_strerror(code), (int)(why.size < 80 ? why.size : 80),
             why.size != 0 ? why.text : "");
    struct cpni_log_about about = cpni_msession_about(core, lane->session, node);
    cpni_log(core->out, CPNI_LOG_SESSION_LANE_CRASHED, &about, "%s", text);
    if (lane->crashes > CPNI_SESSION_RETRIES) {
        give_up(core, lane, code, text);
    } else {
        lane->avoid = node->number;
        cpni_mlane_take(core, lane, true);
    }
}

void cpni_mlane_failed(struct cpni_master_core *core, struct cpni_mlane *lane, int code, struct cpni_str why)
{
    struct cpni_mpeer *peer = lane->peer;
    if (code == CPN_EDIVERGED) {
        diverged(core, lane, why);
    } else if (code == CPN_ENOSPC || code == CPN_ENOMEM) {
        struct cpni_log_about about = cpni_msession_about(core, lane->session, peer->node);
        cpni_log(core->out, CPNI_LOG_SESSION_PEER_LOST, &about, "%s: %.*s", cpn_strerror(code), (int)why.size,
                 why.size != 0 ? why.text : "");
        cpni_mpeer_refuse(lane->session, peer->node);
        cpni_mpeer_release(core, peer, code, "this node cannot go on with the session");
    } else if (code == CPN_ESTATE) { /* it is not where we take it to be: LANE says where, once more */
        cpni_mlane_take(core, lane, true);
    } else {
        crashed(core, lane, code, why);
    }
}

/* A trainer that hangs says nothing while its node lives. In sync those that said their gradient wait for the others. */
void cpni_mlane_watch(struct cpni_master_core *core, struct cpni_msession *session)
{
    int64_t before_us = core->now.mono_us - (int64_t)CPNI_SESSION_WAIT_MS * 1000;
    for (uint32_t i = 0; i < session->lane_count && !cpni_msession_over(session); i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        bool waits = session->spec.mode == CPNI_MODE_SYNC && lane->step_answered == session->step + 1;
        if (lane->training != 0 && lane->heard_us < before_us && !waits) {
            cpni_mlane_failed(core, lane, CPN_ETIMEDOUT, cpni_str("nothing was heard of it for ten minutes"));
        }
    }
}

/* ---- what nodes say ---- */

static const struct cpn_id *session_of(const struct cpni_msg *msg, uint32_t *lane)
{
    switch (msg->type) {
    case CPNI_MSG_PIECE:
        *lane = msg->piece.lane;
        return &msg->piece.session;
    case CPNI_MSG_UPDATE:
        *lane = msg->update.lane;
        return &msg->update.session;
    case CPNI_MSG_GRADIENT:
        *lane = msg->gradient.lane;
        return &msg->gradient.session;
    case CPNI_MSG_EPOCH:
        *lane = msg->epoch.lane;
        return &msg->epoch.session;
    default:
        *lane = 0;
        return &msg->enabled.session;
    }
}

/* An answer counts once, and only the one that was asked for last: what else comes is late, or comes again. */
static void take_update(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update)
{
    if (lane->training == 0 || update->round != lane->training) {
        cpni_mvector_drop(core, lane);
        return;
    }
    lane->session->dirty = true;
    if (update->code < 0) {
        cpni_mvector_drop(core, lane);
        cpni_mlane_failed(core, lane, update->code, update->text);
        return;
    }
    if (lane->session->spec.mode == CPNI_MODE_SWEEP) {
        cpni_msession_sweep_update(core, lane, update);
    } else if (update->round > lane->session->rounds) {
        cpni_msession_last(core, lane, update);
    } else if (lane->session->spec.mode == CPNI_MODE_SYNC) {
        cpni_msession_sync_update(core, lane, update);
    } else {
        cpni_msession_average_update(core, lane, update);
    }
}

void cpni_msession_node(struct cpni_master_core *core, struct cpni_mconn *conn, struct cpni_mnode *node, const struct cpni_msg *msg)
{
    uint32_t number;
    const struct cpn_id *id = session_of(msg, &number);
    struct cpni_mpeer *peer = node->peer;
    if (peer == NULL || memcmp(&peer->session->id, id, sizeof *id) != 0) {
        if (msg->type == CPNI_MSG_ENABLED || msg->type == CPNI_MSG_UPDATE) { /* our STOP was lost */
            cpni_mpeer_send_stop(core, node->link, id, CPN_ENOTFOUND, "the master does not run this session with this node");
        }
        return;
    }
    if (msg->type == CPNI_MSG_ENABLED) {
        cpni_mpeer_enabled(core, node, &msg->enabled);
        return;
    }
    struct cpni_mlane *lane = number < peer->session->lane_count ? &peer->session->lanes[number] : NULL;
    if (lane == NULL || lane->peer != peer) {
        if (lane != NULL && msg->type != CPNI_MSG_PIECE) { /* it held the lane for an earlier master, or our UNLANE was lost */
            cpni_mlane_untell(core, node, lane);
        }
        return;
    }
    lane->heard_us = core->now.mono_us;
    if (msg->type == CPNI_MSG_PIECE && conn->bulk) {
        cpni_mvector_piece(core, lane, &msg->piece);
    } else if (msg->type == CPNI_MSG_UPDATE && conn->bulk) {
        take_update(core, lane, &msg->update);
    } else if (msg->type == CPNI_MSG_GRADIENT && conn->bulk) {
        lane->session->dirty = true;
        cpni_msession_gradient(core, lane, &msg->gradient);
    } else if (msg->type == CPNI_MSG_EPOCH) {
        cpni_mpoint_epoch(core, lane, &msg->epoch);
    }
}
