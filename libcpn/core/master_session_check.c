/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What must always hold of training sessions (DESIGN §15): a node is locked to one live session at most, an ended session locks nobody,
 * every lane is one peer's at most, no epoch counts twice. */
#include "core/master_session.h"

bool cpni_msession_moving(const struct cpni_master_core *core)
{
    const struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        if (session->missing != 0) {
            return true;
        }
        for (uint32_t i = 0; i < session->lane_count; i++) {
            if (session->lanes[i].state_next.ticket != 0 || session->lanes[i].weights_next.ticket != 0) {
                return true;
            }
        }
        for (size_t i = 0; i < CPNI_MSESSION_ROUNDS; i++) {
            if (session->history[i].ticket != 0) {
                return true;
            }
        }
    }
    return false;
}

static const char *check_peers(const struct cpni_msession *session)
{
    uint32_t count = 0, lanes = 0, given = 0;
    const struct cpni_mpeer *peer;
    DL_FOREACH(session->peers, peer) {
        if (peer->node->peer != peer || peer->session != session) {
            return "a node does not know that it is locked to a session";
        }
        if (peer->node->link == NULL) {
            return "a node that is gone is locked to a session";
        }
        count++;
        lanes += peer->lanes;
    }
    for (uint32_t i = 0; i < session->lane_count; i++) {
        const struct cpni_mlane *lane = &session->lanes[i];
        given += lane->peer != NULL;
        if (lane->peer == NULL && lane->training != 0) {
            return "a lane trains on no node";
        }
        if (lane->peer != NULL && lane->peer->session != session) {
            return "a lane's peer is another session's";
        }
    }
    if (count != session->peer_count || lanes != given) {
        return "the peers of a session, or their lanes, are not as many as counted";
    }
    return cpni_msession_over(session) && count != 0 ? "a session that ended still locks nodes" : NULL;
}

static const char *check_points(const struct cpni_msession *session)
{
    const struct cpni_mpoint *point;
    for (point = session->points; point != NULL; point = point->hh.next) {
        if (point->key != ((uint64_t)point->point.lane << 32 | point->point.epoch) ||
            cpni_mpoint_find(session, point->point.lane, point->point.epoch) != point) {
            return "an epoch counts twice";
        }
    }
    return NULL;
}

static uint64_t vector_bytes(const struct cpni_msession *session)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        const struct cpni_vector_in *vector = &session->lanes[i].vector;
        bytes += vector->whole != NULL || vector->data != NULL ? vector->total : 0;
    }
    return bytes;
}

const char *cpni_msession_check(const struct cpni_master_core *core)
{
    uint32_t locked = 0;
    uint64_t bytes = 0;
    const struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        const char *broken = check_peers(session);
        broken = broken != NULL ? broken : check_points(session);
        if (broken != NULL) {
            return broken;
        }
        if (session->committed_round > session->round) {
            return "a round is durable that is not complete";
        }
        locked += session->peer_count;
        bytes += vector_bytes(session);
    }
    const struct cpni_mnode *node;
    DL_FOREACH(core->nodes, node) {
        locked -= node->peer != NULL;
    }
    if (locked != 0) {
        return "a node is locked to no session, or to two";
    }
    return bytes != core->vector_bytes ? "the bytes of vectors on their way in do not add up" : NULL;
}
