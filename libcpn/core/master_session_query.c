/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* QUERY of training sessions, their lanes and points: what any enrolled person sees. Read only. Must not know how it came about. */
#include "core/master_page.h"
#include "core/master_session.h"

#include <stdio.h>

/* ---- what a session waits for ---- */

static struct cpni_str uploading(struct cpni_master_core *core, const struct cpni_msession *session)
{
    uint64_t here = 0, total = 0;
    cpni_transfer_progress(core->transfer, session->tickets, &here, &total);
    return cpni_actions_text(core->out, "%llu of %llu bytes of its dataset are here", (unsigned long long)here, (unsigned long long)total);
}

static struct cpni_str waiting_peers(struct cpni_master_core *core, const struct cpni_msession *session)
{
    char names[256] = "";
    const struct cpni_mpeer *peer;
    DL_FOREACH(session->peers, peer) {
        bool waits = session->state == CPNI_SESSION_LOCKING ? peer->enabled_on == 0 : !peer->enabled;
        if (waits) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%s%s", used != 0 ? ", " : "", peer->node->identity->name);
        }
    }
    if (names[0] == 0) {
        return (struct cpni_str){ 0 };
    }
    return session->state == CPNI_SESSION_LOCKING ? cpni_actions_text(core->out, "waits for %s to finish the tasks they have", names)
                                                  : cpni_actions_text(core->out, "waits for %s to fetch the dataset", names);
}

static struct cpni_str waits_for(struct cpni_master_core *core, const struct cpni_msession *session)
{
    if (cpni_msession_over(session)) {
        return cpni_str(session->text);
    }
    if (session->state == CPNI_SESSION_CREATED) {
        return uploading(core, session);
    }
    if (core->settle_us != 0) {
        return cpni_str("the master has just started and waits for its nodes");
    }
    if (session->peer_count == 0) {
        return cpni_actions_text(core->out, "waits for a free node with trainer %s", session->spec.trainer);
    }
    return waiting_peers(core, session);
}

/* ---- sessions ---- */

/* An end that is not durable yet is not told. */
static enum cpni_session_state shown_state(const struct cpni_msession *session)
{
    return cpni_msession_over(session) && !session->end_committed ? CPNI_SESSION_AGGREGATING : session->state;
}

static uint64_t rounds_done(const struct cpni_msession *session)
{
    uint64_t done = session->round;
    for (uint32_t i = 0; session->spec.mode == CPNI_MODE_SWEEP && i < session->lane_count; i++) {
        done = session->lanes[i].round > done ? session->lanes[i].round : done;
    }
    return cpni_msession_over(session) && session->state == CPNI_SESSION_COMPLETED && done == 0 ? session->rounds : done;
}

static void fill_session(struct cpni_master_core *core, const struct cpni_msession *session, struct cpni_rec_SESSION *row)
{
    const struct cpni_midentity *user = cpni_midentity_find(core, &session->user);
    bool told = shown_state(session) == session->state;
    *row = (struct cpni_rec_SESSION){ .session = session->id, .name = cpni_str(session->name),
        .user = user != NULL ? cpni_str(user->name) : cpni_str("local"), .mode = (uint32_t)session->spec.mode,
        .state = (uint32_t)shown_state(session), .trainer = cpni_str(session->spec.trainer), .peers = session->spec.peers,
        .locked = session->peer_count, .lanes = session->lane_count, .round = rounds_done(session), .rounds = session->rounds,
        .started_ms = (uint64_t)(session->started_wall_us / 1000), .ended_ms = told ? (uint64_t)(session->ended_wall_us / 1000) : 0,
        .lane = session->best, .weights_root = session->outcome_root, .weights_size = session->outcome_size,
        .schema_root = session->schema_root, .schema_size = session->schema_size, .rows = session->rows,
        .train_rows = session->train_rows, .columns = session->columns, .classes = session->classes, .evaluated = session->evaluated,
        .accuracy_ppm = session->accuracy_ppm, .loss_micro = session->loss_micro, .reproducible = session->reproducible,
        .why = cpni_str(session->why), .points = (uint32_t)HASH_COUNT(session->points), .repeated = session->repeated };
    row->text = waits_for(core, session);
}

static bool asked_for(const struct cpni_msession *session, struct cpni_str name)
{
    char id[CPN_ID_TEXT];
    cpn_id_text(&session->id, id);
    return name.size == 0 || (name.size < CPN_ID_TEXT && memcmp(id, name.text, name.size) == 0) ||
           cpni_str_equal(name, cpni_str(session->name));
}

void cpni_mquery_sessions(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    struct cpni_mpage page = cpni_mpage_of(query);
    struct cpni_msg msg = { 0 };
    msg.reply.sessions = cpni_mpage_room(core, page.limit, sizeof *msg.reply.sessions);
    const struct cpni_msession *session = core->sessions != NULL ? ELMT_FROM_HH(core->sessions->hh.tbl, core->sessions->hh.tbl->tail) : NULL;
    for (; session != NULL && msg.reply.sessions != NULL; session = session->hh.prev) { /* newest first */
        if (asked_for(session, query->name) && cpni_mpage_take(&page, 1500)) {
            fill_session(core, session, &msg.reply.sessions[page.count - 1]);
        }
    }
    msg.reply.sessions_count = page.count;
    cpni_mpage_reply(core, conn, &msg, query, &page);
}

/* ---- lanes and points of one ---- */

static struct cpni_msession *one(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    struct cpni_msession *session, *found = NULL;
    unsigned count = 0;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        if (query->name.size != 0 && asked_for(session, query->name)) {
            found = session;
            count++;
        }
    }
    if (count != 1) {
        struct cpni_mrefusal refusal = { .code = count == 0 ? CPN_ENOTFOUND : CPN_EINVAL, .type = CPNI_MSG_QUERY, .request = query->request };
        cpni_mconn_refuse(core, conn, &refusal, count == 0 ? "the master knows no such session" : "several sessions are called so: use the id");
        return NULL;
    }
    return found;
}

static void fill_lane(struct cpni_master_core *core, const struct cpni_mlane *lane, struct cpni_rec_LANE *row)
{
    const struct cpni_msession *session = lane->session;
    const struct cpni_lane_spec *spec = cpni_session_lane(&session->spec, lane->number);
    char settings[CPNI_LANE_TEXT];
    cpni_lane_spec_text(spec, settings);
    *row = lane->shown;
    row->lane = lane->number;
    row->settings = cpni_actions_text(core->out, "%s", settings);
    row->state = (uint32_t)lane->state;
    row->text = cpni_str(lane->text);
    row->round = lane->round;
    row->epochs = spec->epochs;
    row->weights_root = lane->weights_kept.root;
    row->weights_size = lane->weights_kept.size;
    if (lane->peer != NULL) {
        row->node = cpni_str(lane->peer->node->identity->name);
        row->device = cpni_str(lane->peer->device);
    } else if (lane->state >= CPNI_LANE_COMPLETED) {
        row->node = cpni_str(lane->last_node);
        row->device = cpni_str(lane->last_device);
    }
}

void cpni_mquery_lanes(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    const struct cpni_msession *session = one(core, conn, query);
    struct cpni_mpage page = cpni_mpage_of(query);
    struct cpni_msg msg = { 0 };
    msg.reply.lanes = session != NULL ? cpni_mpage_room(core, page.limit, sizeof *msg.reply.lanes) : NULL;
    if (msg.reply.lanes == NULL) {
        return;
    }
    for (uint32_t i = 0; i < session->lane_count; i++) {
        if (cpni_mpage_take(&page, 1000)) {
            fill_lane(core, &session->lanes[i], &msg.reply.lanes[page.count - 1]);
        }
    }
    msg.reply.lanes_count = page.count;
    cpni_mpage_reply(core, conn, &msg, query, &page);
}

void cpni_mquery_points(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    const struct cpni_msession *session = one(core, conn, query);
    struct cpni_mpage page = cpni_mpage_of(query);
    struct cpni_msg msg = { 0 };
    msg.reply.points = session != NULL ? cpni_mpage_room(core, page.limit, sizeof *msg.reply.points) : NULL;
    if (msg.reply.points == NULL) {
        return;
    }
    const struct cpni_mpoint *point;
    for (point = session->points; point != NULL; point = point->hh.next) {
        if (!cpni_mpage_take(&page, 200)) {
            continue;
        }
        const struct cpni_command_session_point *p = &point->point;
        msg.reply.points[page.count - 1] = (struct cpni_rec_POINT){ .lane = p->lane, .epoch = p->epoch, .node = cpni_str(p->node),
            .samples = p->samples, .train_loss_micro = p->train_loss_micro, .train_ppm = p->train_ppm, .evaluated = p->evaluated,
            .loss_micro = p->loss_micro, .accuracy_ppm = p->accuracy_ppm, .rate = p->rate,
            .at_ms = p->at_us > 0 ? (uint64_t)p->at_us / 1000 : 0 };
    }
    msg.reply.points_count = page.count;
    cpni_mpage_reply(core, conn, &msg, query, &page);
}
