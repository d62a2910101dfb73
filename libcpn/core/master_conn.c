/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Connections of the master: in which order packets may come, who may send what, and how a person learns that he may not
 * (DESIGN §5, §11). Every message passes here before anything else looks at it. Must not know what a message asks for. */
#include "core/master_state.h"

#include <stdarg.h>
#include <stdio.h>

struct cpni_mconn *cpni_mconn_find(struct cpni_master_core *core, uint64_t number)
{
    struct cpni_mconn *conn;
    HASH_FIND(hh, core->conns, &number, sizeof number, conn);
    return conn;
}

static void out_of_memory(struct cpni_master_core *core)
{
    core->out->failed = true;
}

static struct cpni_mconn *make(struct cpni_master_core *core, const struct cpni_event_packet *packet)
{
    if (HASH_COUNT(core->conns) >= CPNI_CONNS_MAX) {
        return NULL; /* strangers are swept after a while; a member tries again */
    }
    struct cpni_mconn *conn = cpni_calloc(1, sizeof *conn);
    if (conn == NULL) {
        out_of_memory(core);
        return NULL;
    }
    conn->conn = packet->conn;
    conn->key = packet->key;
    conn->local = packet->local;
    HASH_ADD(hh, core->conns, conn, sizeof conn->conn, conn);
    if (cpni_hash_missed(conn)) {
        out_of_memory(core);
        cpni_free(conn);
        return NULL;
    }
    return conn;
}

/* Others in this step may still point at it, so it is freed after the step. */
static void forget(struct cpni_master_core *core, struct cpni_mconn *conn)
{
    cpni_mlink_detach(core, conn);
    HASH_DEL(core->conns, conn);
    conn->dropped = true;
    conn->grave = core->graves;
    core->graves = conn;
}

void cpni_mconn_drop(struct cpni_master_core *core, struct cpni_mconn *conn)
{
    if (conn->dropped) {
        return;
    }
    struct cpni_action *action = cpni_actions_add(core->out, CPNI_ACT_DROP);
    if (action != NULL) {
        action->conn.conn = conn->conn;
        action->conn.told = conn->warned_us != 0 && conn->warned_us == core->now.mono_us;
    }
    forget(core, conn);
}

void cpni_mconn_broken(struct cpni_master_core *core, uint64_t number)
{
    struct cpni_mconn *conn = cpni_mconn_find(core, number);
    if (conn != NULL) {
        forget(core, conn);
    }
}

void cpni_mconn_bury(struct cpni_master_core *core)
{
    while (core->graves != NULL) {
        struct cpni_mconn *conn = core->graves;
        core->graves = conn->grave;
        cpni_free(conn);
    }
}

void cpni_mconn_sweep(struct cpni_master_core *core, bool all)
{
    int64_t before_us = core->now.mono_us - (int64_t)CPNI_CONN_IDLE_MS * 1000;
    struct cpni_mconn *conn, *next;
    HASH_ITER(hh, core->conns, conn, next) {
        if (all) {
            conn->link = NULL;
            forget(core, conn);
        } else if (conn->link == NULL && conn->heard_us < before_us) {
            cpni_mconn_drop(core, conn);
        }
    }
}

void cpni_mconn_send(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg *msg)
{
    if (!conn->dropped) {
        cpni_actions_send(core->out, conn->conn, conn->number, msg);
    }
}

static struct cpni_log_about about_conn(const struct cpni_master_core *core, const struct cpni_mconn *conn)
{
    const struct cpni_midentity *identity = conn->link != NULL ? conn->link->identity : cpni_midentity_find(core, &conn->key);
    if (identity == NULL) {
        return (struct cpni_log_about){ .user = conn->token || conn->local ? NULL : &conn->key };
    }
    return identity->role == CPN_ROLE_NODE ? cpni_mabout_node(core, identity) : cpni_mabout_user(core, identity);
}

/* A peer that keeps sending what it must not is cut off: cheap for us, and visible to whoever runs it. */
static void strike(struct cpni_master_core *core, struct cpni_mconn *conn)
{
    if (++conn->strikes >= CPNI_STRIKES_MAX && !conn->dropped) {
        struct cpni_log_about about = about_conn(core, conn);
        cpni_log(core->out, CPNI_LOG_CONN_DROPPED, &about, "%u refused messages on one connection", conn->strikes);
        cpni_mconn_drop(core, conn);
    }
}

void cpni_mconn_refuse(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_mrefusal *refusal,
                       const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    struct cpni_msg msg = { .type = CPNI_MSG_REFUSED };
    msg.refused.code = refusal->code;
    msg.refused.text = cpni_str(text);
    msg.refused.request = refusal->request;
    msg.refused.task = refusal->task;
    msg.refused.type = refusal->type;
    cpni_mconn_send(core, conn, &msg);
    conn->warned_us = core->now.mono_us;
    struct cpni_log_about about = about_conn(core, conn);
    static const struct cpn_id none;
    about.task = memcmp(&refusal->task, &none, sizeof none) != 0 ? &refusal->task : NULL;
    cpni_log(core->out, CPNI_LOG_MSG_REFUSED, &about, "%s: %s: %s", cpni_msg_name(refusal->type), cpn_error_name(refusal->code),
             text);
}

void cpni_mconn_resync(struct cpni_master_core *core, struct cpni_mconn *conn, int code, const char *why)
{
    bool recent = conn->asked_us != 0 && core->now.mono_us - conn->asked_us < (int64_t)CPNI_RESYNC_MS * 1000;
    if (conn->dropped || (conn->deaf && recent)) {
        return;
    }
    conn->deaf = true;
    conn->asked_us = core->now.mono_us != 0 ? core->now.mono_us : 1;
    struct cpni_msg msg = { .type = CPNI_MSG_RESYNC };
    msg.resync.code = code;
    msg.resync.text = cpni_str(why);
    cpni_mconn_send(core, conn, &msg);
    conn->warned_us = core->now.mono_us;
    if (conn->link != NULL) {
        struct cpni_log_about about = about_conn(core, conn);
        cpni_log(core->out, CPNI_LOG_RESYNC, &about, "%s", why);
    }
}

void cpni_mconn_bad(struct cpni_master_core *core, uint64_t number, const char *text)
{
    struct cpni_mconn *conn = cpni_mconn_find(core, number);
    struct cpni_log_about about = { 0 };
    if (conn != NULL) {
        about = about_conn(core, conn);
    }
    if (conn == NULL || conn->strikes < 3) { /* the first ones tell all there is to tell */
        cpni_log(core->out, CPNI_LOG_BAD_PACKET, &about, "%s", text);
    }
    if (conn != NULL) {
        cpni_mconn_resync(core, conn, CPN_EPROTO, text);
        strike(core, conn);
    }
}

/* ---- who may send what ---- */

static unsigned from_bits(const struct cpni_mconn *conn, const struct cpni_midentity *identity)
{
    if (conn->token) {
        return CPNI_FROM_TOKEN;
    }
    static const unsigned bits[] = { 0, CPNI_FROM_NODE, CPNI_FROM_USER, CPNI_FROM_ADMIN };
    return identity == NULL ? 0 : bits[identity->role];
}

/* What a refusal names, so that the right call of the peer's program fails and not another. */
static struct cpni_mrefusal refusal_of(const struct cpni_msg *msg, int code)
{
    struct cpni_mrefusal refusal = { .code = code, .type = msg->type };
    switch (msg->type) {
    case CPNI_MSG_SUBMIT:
        refusal.task = msg->submit.task;
        break;
    case CPNI_MSG_QUERY:
        refusal.request = msg->query.request;
        break;
    case CPNI_MSG_ADMIN:
        refusal.request = msg->admin.request;
        break;
    case CPNI_MSG_PUBLISH:
        refusal.request = msg->publish.request;
        break;
    case CPNI_MSG_SESSION:
        refusal.request = msg->session.request;
        break;
    case CPNI_MSG_STOP:
        refusal.request = msg->stop.request;
        break;
    default:
        break;
    }
    return refusal;
}

static bool permitted(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg *msg)
{
    const struct cpni_layout *layout = cpni_msg_layout(msg->type);
    struct cpni_midentity *identity = conn->link != NULL ? conn->link->identity : cpni_midentity_find(core, &conn->key);
    /* A local connection's role is known with its HELLO. */
    bool local_hello = conn->local && conn->link == NULL && msg->type == CPNI_MSG_HELLO;
    if (layout != NULL && (local_hello || (layout->from & from_bits(conn, identity)) != 0)) {
        return true;
    }
    struct cpni_mrefusal refusal = refusal_of(msg, CPN_EDENIED);
    const char *who = conn->token ? "a join token" : identity != NULL ? cpn_role_name(identity->role) : "nobody";
    cpni_mconn_refuse(core, conn, &refusal, "%s may not send %s", who, cpni_msg_name(msg->type));
    strike(core, conn);
    return false;
}

/* ---- dispatch ---- */

static void take_transfer(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg *msg)
{
    if (!conn->bulk) {
        struct cpni_mrefusal refusal = refusal_of(msg, CPN_EPROTO);
        cpni_mconn_refuse(core, conn, &refusal, "%s belongs on the bulk connection", cpni_msg_name(msg->type));
        strike(core, conn);
    } else if (msg->type == CPNI_MSG_WANT) {
        cpni_mblob_want(core, conn, &msg->want);
    } else if (msg->type != CPNI_MSG_RECEIVED) { /* what may be dropped is known from the ACK */
        cpni_transfer_message(core->transfer, conn->link->serial, msg, &core->now, core->out);
    }
}

static void take_node(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg *msg)
{
    struct cpni_mnode *node = conn->link->identity->node;
    switch (msg->type) {
    case CPNI_MSG_BEAT:
        cpni_mnode_beat(core, node, &msg->beat);
        break;
    case CPNI_MSG_STARTED:
        cpni_mlease_started(core, node, &msg->started);
        break;
    case CPNI_MSG_RESULT:
        cpni_mlease_result(core, node, &msg->result);
        break;
    case CPNI_MSG_RETURN:
        cpni_mlease_returned(core, node, &msg->handback);
        break;
    case CPNI_MSG_CREDIT:
        cpni_mnode_credit(core, node, &msg->credit);
        break;
    case CPNI_MSG_HELD:
        cpni_mheld_message(core, node, &msg->held);
        break;
    case CPNI_MSG_ENABLED:
    case CPNI_MSG_PIECE:
    case CPNI_MSG_UPDATE:
    case CPNI_MSG_GRADIENT:
    case CPNI_MSG_EPOCH:
        cpni_msession_node(core, conn, node, msg);
        break;
    default:
        break;
    }
}

static void take_client(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg *msg,
                        const struct cpni_manifest_check *check)
{
    switch (msg->type) {
    case CPNI_MSG_SUBMIT:
        cpni_msubmit(core, conn, &msg->submit);
        break;
    case CPNI_MSG_CANCEL:
        cpni_mtask_cancelled(core, conn, &msg->cancel);
        break;
    case CPNI_MSG_ACK:
        cpni_mtask_ack(core, conn->link, &msg->ack);
        break;
    case CPNI_MSG_QUERY:
        cpni_mquery(core, conn, &msg->query);
        break;
    case CPNI_MSG_ADMIN:
        cpni_madmin(core, conn, &msg->admin);
        break;
    case CPNI_MSG_PUBLISH:
        cpni_mpublish(core, conn, &msg->publish, check);
        break;
    case CPNI_MSG_SESSION:
        cpni_msession_ask(core, conn, &msg->session);
        break;
    case CPNI_MSG_STOP:
        cpni_msession_stop(core, conn, &msg->stop);
        break;
    default:
        break; /* BEAT: that it came is all it says */
    }
}

static void take_message(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg *msg,
                         const struct cpni_manifest_check *check)
{
    switch (msg->type) {
    case CPNI_MSG_HELLO:
        cpni_mlink_hello(core, conn, &msg->hello);
        break;
    case CPNI_MSG_ENROL:
        cpni_menrol(core, conn, &msg->enrol);
        break;
    case CPNI_MSG_BYE:
        cpni_mlink_bye(core, conn->link, &msg->bye);
        break;
    case CPNI_MSG_WANT:
    case CPNI_MSG_LEAVES:
    case CPNI_MSG_CHUNK:
    case CPNI_MSG_MISSING:
    case CPNI_MSG_RECEIVED:
        take_transfer(core, conn, msg);
        break;
    default:
        if (conn->link->kind == CPNI_KIND_WORKER) {
            take_node(core, conn, msg);
        } else {
            take_client(core, conn, msg, check);
        }
    }
}

/* Whether a packet continues what came before on its connection. HELLO begins anew; a token's connection has no link. */
static bool in_sequence(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_event_packet *packet)
{
    if (conn->token) {
        return true;
    }
    if (packet->msgs[0].type == CPNI_MSG_HELLO) {
        conn->next = packet->sequence + 1;
        return true;
    }
    if (conn->deaf || conn->link == NULL || packet->link != conn->number) {
        cpni_mconn_resync(core, conn, CPN_EAGAIN, "this connection has no link yet, or another one: say HELLO");
        return false;
    }
    if (packet->sequence != conn->next) {
        cpni_mconn_resync(core, conn, CPN_EAGAIN, "messages were lost: say HELLO");
        return false;
    }
    conn->next++;
    return true;
}

/* ZAP let this key in, but since then it was revoked, or its token is over. */
static bool known(struct cpni_master_core *core, struct cpni_mconn *conn)
{
    const struct cpni_midentity *identity = cpni_midentity_find(core, &conn->key);
    if (conn->local || (identity != NULL && identity->enrolled && !identity->revoked)) {
        conn->token = false;
        return true;
    }
    conn->token = identity == NULL && cpni_mtoken_find(core, &conn->key) != NULL;
    if (!conn->token) {
        struct cpni_mrefusal refusal = { .code = CPN_EKEY };
        cpni_mconn_refuse(core, conn, &refusal, "this key is not enrolled here, or was revoked: ask an admin for a join token");
        cpni_mconn_drop(core, conn);
    }
    return conn->token;
}

void cpni_mconn_packet(struct cpni_master_core *core, const struct cpni_event_packet *packet)
{
    struct cpni_mconn *conn = cpni_mconn_find(core, packet->conn);
    if (packet->count == 0 || (conn == NULL && (conn = make(core, packet)) == NULL)) {
        return;
    }
    conn->heard_us = core->now.mono_us;
    if (!known(core, conn)) {
        return;
    }
    if (!in_sequence(core, conn, packet)) {
        return;
    }
    if (conn->link != NULL) {
        *(conn->bulk ? &conn->link->bulk_heard_us : &conn->link->heard_us) = core->now.mono_us;
    }
    for (size_t i = 0; i < packet->count && !conn->dropped && !core->out->failed; i++) {
        const struct cpni_msg *msg = &packet->msgs[i];
        if (!permitted(core, conn, msg)) {
            continue;
        }
        if (conn->link == NULL && msg->type != CPNI_MSG_HELLO && msg->type != CPNI_MSG_ENROL) {
            break; /* its HELLO was refused, or waits for the control channel */
        }
        take_message(core, conn, msg, packet->checks != NULL ? &packet->checks[i] : NULL);
    }
}
