/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Peers: which nodes are locked to which training session, from when to when (DESIGN §9). A node is locked to one session at most; a
 * locked node gets no tasks; every end of a session and every loss of a node unlocks it. Must not know what peers learn. */
#include "core/master_session.h"

#include <stdio.h>

static bool refused(const struct cpni_msession *session, const struct cpni_mnode *node)
{
    for (uint32_t i = 0; i < session->refused_count; i++) {
        if (session->refused[i] == node->number) {
            return true;
        }
    }
    return false;
}

void cpni_mpeer_refuse(struct cpni_msession *session, const struct cpni_mnode *node)
{
    if (session->refused_count < CPNI_SESSION_PEERS_MAX && !refused(session, node)) {
        session->refused[session->refused_count++] = node->number;
    }
}

/* The next process of the node may have what this one lacked. */
static void forgive(struct cpni_msession *session, const struct cpni_mnode *node)
{
    for (uint32_t i = 0; i < session->refused_count; i++) {
        if (session->refused[i] == node->number) {
            session->refused[i] = session->refused[--session->refused_count];
            return;
        }
    }
}

bool cpni_mpeer_eligible(const struct cpni_msession *session, const struct cpni_mnode *node)
{
    char backend[sizeof session->spec.trainer + 8];
    struct cpni_str version;
    snprintf(backend, sizeof backend, "train.%s", session->spec.trainer);
    return node->link != NULL && node->link->control != NULL && !node->drained && !node->draining && node->peer == NULL &&
           cpni_mnode_backend(node, cpni_str(backend), &version) && !refused(session, node);
}

/* Fewer lanes than peers need no more nodes than there are lanes. */
uint32_t cpni_mpeer_wanted(const struct cpni_msession *session)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        open += session->lanes[i].state < CPNI_LANE_COMPLETED;
    }
    return open < session->spec.peers ? open : session->spec.peers;
}

struct cpni_mpeer *cpni_mpeer_lock(struct cpni_master_core *core, struct cpni_msession *session, struct cpni_mnode *node)
{
    struct cpni_mpeer *peer = cpni_calloc(1, sizeof *peer);
    if (peer == NULL) {
        core->out->failed = true;
        return NULL;
    }
    peer->session = session;
    peer->node = node;
    node->peer = peer;
    struct cpni_mpeer *after = NULL, *other;
    DL_FOREACH(session->peers, other) {
        after = other->node->number < node->number ? other : after;
    }
    if (after == NULL) {
        DL_PREPEND(session->peers, peer);
    } else {
        DL_APPEND_ELEM(session->peers, after, peer);
    }
    session->peer_count++;
    session->dirty = true;
    return peer;
}

void cpni_mpeer_send_stop(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpn_id *session, int code, const char *why)
{
    struct cpni_msg msg = { .type = CPNI_MSG_STOP };
    msg.stop.session = *session;
    msg.stop.code = code;
    msg.stop.text = cpni_str(why);
    cpni_mlink_send(core, link, &msg);
}

void cpni_mpeer_release(struct cpni_master_core *core, struct cpni_mpeer *peer, int code, const char *why)
{
    struct cpni_msession *session = peer->session;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        if (session->lanes[i].peer == peer) {
            cpni_mlane_take(core, &session->lanes[i], false);
        }
    }
    if (why != NULL && peer->node->link != NULL) {
        cpni_mpeer_send_stop(core, peer->node->link, &session->id, code, why);
    }
    peer->node->peer = NULL;
    DL_DELETE(session->peers, peer);
    session->peer_count--;
    session->dirty = true;
    core->dirty = true; /* the node may get tasks again */
    cpni_free(peer);
}

void cpni_mpeer_fill(struct cpni_master_core *core, struct cpni_msession *session)
{
    uint32_t wanted = cpni_mpeer_wanted(session);
    struct cpni_mnode *node;
    DL_FOREACH(core->nodes, node) {
        if (session->peer_count >= wanted || core->out->failed) {
            return;
        }
        if (cpni_mpeer_eligible(session, node) && cpni_mpeer_lock(core, session, node) != NULL) {
            struct cpni_log_about about = cpni_msession_about(core, session, node);
            cpni_log(core->out, CPNI_LOG_SESSION_PEER_LOCKED, &about, "%u of %u", session->peer_count, wanted);
        }
    }
}

void cpni_mpeer_enable(struct cpni_master_core *core, struct cpni_mpeer *peer)
{
    const struct cpni_msession *session = peer->session;
    struct cpni_mlink *link = peer->node->link;
    if (peer->node->lease_count != 0 || link == NULL || link->control == NULL || link->control->deaf ||
        link->control->number == peer->enabled_on) {
        return;
    }
    struct cpni_msg msg = { .type = CPNI_MSG_ENABLE };
    msg.enable.session = session->id;
    msg.enable.spec = session->spec_text;
    msg.enable.dataset_root = session->dataset_root;
    msg.enable.dataset_size = session->dataset_size;
    msg.enable.rows = session->rows;
    msg.enable.train_rows = session->train_rows;
    msg.enable.columns = session->columns;
    msg.enable.classes = session->classes;
    cpni_mlink_send(core, link, &msg);
    peer->enabled_on = link->control->number;
}

/* Equal fingerprints are what makes weights equal to the bit (DESIGN §9). */
static void compare(struct cpni_msession *session, const struct cpni_mpeer *peer, bool reproducible)
{
    const char *name = peer->node->identity->name;
    if (!reproducible) {
        cpni_msession_not_reproducible(session, "trainer %s on %s does not promise it", session->spec.trainer, name);
    }
    if (session->fingerprint[0] == 0) {
        snprintf(session->fingerprint, sizeof session->fingerprint, "%s", peer->fingerprint);
        snprintf(session->fingerprint_node, sizeof session->fingerprint_node, "%s", name);
    } else if (strcmp(session->fingerprint, peer->fingerprint) != 0) {
        cpni_msession_not_reproducible(session, "fingerprints differ: %s %.40s, %s %.40s", session->fingerprint_node,
                                       session->fingerprint, name, peer->fingerprint);
    }
}

static bool another(const struct cpni_master_core *core, const struct cpni_msession *session)
{
    const struct cpni_mnode *node;
    DL_FOREACH(core->nodes, node) {
        if (cpni_mpeer_eligible(session, node)) {
            return true;
        }
    }
    return false;
}

void cpni_mpeer_enabled(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_enabled *enabled)
{
    struct cpni_mpeer *peer = node->peer;
    struct cpni_msession *session = peer->session;
    session->dirty = true;
    if (enabled->code == 0) {
        peer->enabled = true;
        cpni_str_copy(enabled->device, peer->device, sizeof peer->device);
        cpni_str_copy(enabled->fingerprint, peer->fingerprint, sizeof peer->fingerprint);
        compare(session, peer, enabled->reproducible);
        return;
    }
    struct cpni_log_about about = cpni_msession_about(core, session, node);
    cpni_log(core->out, CPNI_LOG_SESSION_PEER_LOST, &about, "it cannot take part: %s: %.*s", cpn_strerror(enabled->code),
             (int)enabled->text.size, enabled->text.size != 0 ? enabled->text.text : "");
    cpni_mpeer_refuse(session, node);
    cpni_mpeer_release(core, peer, 0, NULL); /* by its answer it is not locked */
    if (session->peer_count == 0 && !another(core, session)) {
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, enabled->code, "no node could take part; %s: %.*s", node->identity->name,
                          (int)(enabled->text.size < 200 ? enabled->text.size : 200), enabled->text.size != 0 ? enabled->text.text : "");
    }
}

/* ---- nodes come and go ---- */

static bool wants_back(const struct cpni_msession *session, const struct cpni_mnode *node)
{
    return session != NULL && !cpni_msession_over(session) && session->state != CPNI_SESSION_CREATED && cpni_mpeer_eligible(session, node) &&
           session->peer_count < cpni_mpeer_wanted(session);
}

void cpni_msession_node_joined(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_hello *hello)
{
    for (uint32_t i = 0; i < hello->sessions_count; i++) {
        struct cpn_id id;
        char text[CPN_ID_TEXT + 1];
        cpni_str_copy(hello->sessions[i].text, text, sizeof text);
        if (cpn_id_parse(text, &id) < 0) {
            continue;
        }
        struct cpni_msession *session = cpni_msession_find(core, &id);
        bool its = node->peer != NULL && node->peer->session == session;
        if (!its && wants_back(session, node)) {
            struct cpni_mpeer *peer = cpni_mpeer_lock(core, session, node);
            struct cpni_log_about about = cpni_msession_about(core, session, node);
            cpni_log(core->out, CPNI_LOG_SESSION_PEER_LOCKED, &about, "it was locked to the session before");
            its = peer != NULL;
        }
        if (!its) {
            cpni_mpeer_send_stop(core, node->link, &id, CPN_ENOTFOUND, "the master does not run this session with this node");
        }
    }
    cpni_msession_wake_all(core);
}

void cpni_msession_node_left(struct cpni_master_core *core, struct cpni_mnode *node, const char *why)
{
    struct cpni_mpeer *peer = node->peer;
    struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        forgive(session, node);
    }
    if (peer == NULL) {
        return;
    }
    struct cpni_log_about about = cpni_msession_about(core, peer->session, node);
    cpni_log(core->out, CPNI_LOG_SESSION_PEER_LOST, &about, "%s; it worked on %u lanes", why, peer->lanes);
    cpni_mpeer_release(core, peer, 0, NULL);
}

void cpni_msession_node_wake(struct cpni_mnode *node)
{
    if (node != NULL && node->peer != NULL) {
        node->peer->session->dirty = true;
    }
}
