/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* SESSION and STOP: what a person may ask of training sessions, what is refused and with which numbers, and how the dataset comes in.
 * Must not know how a session trains. */
#include "core/master_session.h"

#include <stdio.h>

static void refuse(struct cpni_master_core *core, struct cpni_mconn *conn, unsigned type, uint64_t request, int code, const char *text)
{
    struct cpni_mrefusal refusal = { .code = code, .type = type, .request = request };
    cpni_mconn_refuse(core, conn, &refusal, "%s", text);
}

static void send_done(struct cpni_master_core *core, struct cpni_mconn *conn, uint64_t request)
{
    struct cpni_msg msg = { .type = CPNI_MSG_DONE };
    msg.done.request = request;
    cpni_mconn_send(core, conn, &msg);
}

/* ---- answers to who started it ---- */

void cpni_msession_answer(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_mlink *link = session->client;
    session->client = NULL;
    if (link == NULL || link->control == NULL || link->control->deaf) {
        return; /* it asks again when it is back */
    }
    if (session->code < 0) {
        refuse(core, link->control, CPNI_MSG_SESSION, session->request, session->code, session->text);
    } else {
        send_done(core, link->control, session->request);
    }
}

void cpni_msession_arrive(struct cpni_master_core *core, struct cpni_msession *session)
{
    if (session->state == CPNI_SESSION_CREATED && session->added && session->missing == 0) {
        cpni_msession_state(core, session, CPNI_SESSION_LOCKING);
        cpni_msession_answer(core, session);
        session->dirty = true;
    }
}

bool cpni_msession_waits(const struct cpni_master_core *core, const struct cpni_mlink *link)
{
    const struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        if (session->client == link && session->state == CPNI_SESSION_CREATED) {
            return true;
        }
    }
    return false;
}

void cpni_msession_forget(struct cpni_master_core *core, const struct cpni_mlink *link)
{
    struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        if (session->client != link) {
            continue;
        }
        session->client = NULL;
        if (session->missing != 0) {
            cpni_msession_end(core, session, CPNI_SESSION_FAILED, CPN_ECLOSED, "its client left before the dataset was here");
        }
    }
}

/* ---- the dataset ---- */

static int fetch_one(struct cpni_master_core *core, const struct cpni_msession *session, uint64_t ticket)
{
    bool dataset = ticket == session->tickets;
    return cpni_transfer_fetch(core->transfer, ticket, session->client->serial, dataset ? &session->dataset_root : &session->schema_root,
                               dataset ? session->dataset_size : session->schema_size, false, &core->now, core->out);
}

static void fetch(struct cpni_master_core *core, struct cpni_msession *session)
{
    session->tickets = core->last_ticket + 1;
    core->last_ticket += 2;
    session->missing = 2;
    int rc = fetch_one(core, session, session->tickets);
    rc = rc < 0 ? rc : fetch_one(core, session, session->tickets + 1);
    if (rc < 0) {
        core->out->failed = core->out->failed || rc == CPN_ENOMEM;
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, rc, "the dataset cannot be received now (%s): try again", cpn_strerror(rc));
    }
}

/* The client asks again after a break, perhaps as another process: whoever asked last serves the rest, and is told. */
static void again(struct cpni_master_core *core, struct cpni_msession *session, struct cpni_mconn *conn,
                  const struct cpni_msg_session *msg)
{
    const struct cpni_midentity *identity = conn->link->identity;
    bool same_user = memcmp(&session->user, identity->local ? &cpni_mlocal_key : &identity->key, sizeof session->user) == 0;
    if (!same_user) {
        refuse(core, conn, CPNI_MSG_SESSION, msg->request, CPN_EEXISTS, "this session is another user's");
        return;
    }
    if (session->state != CPNI_SESSION_CREATED && session->code < 0) {
        refuse(core, conn, CPNI_MSG_SESSION, msg->request, session->code, session->text);
        return;
    }
    if (session->state != CPNI_SESSION_CREATED) {
        send_done(core, conn, msg->request);
        return;
    }
    session->client = conn->link;
    session->request = msg->request;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t done, total;
        if (cpni_transfer_progress(core->transfer, session->tickets + i, &done, &total)) {
            fetch_one(core, session, session->tickets + i);
        }
    }
}

static void arrived(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_transfer_outcome *outcome)
{
    bool dataset = outcome->ticket == session->tickets;
    if (outcome->code < 0) {
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, outcome->code,
                          outcome->code == CPN_ENOSPC ? "the master cannot keep the %s: %s" : "the %s could not be fetched from its client: %s",
                          dataset ? "dataset" : "schema", outcome->text);
        return;
    }
    if (cpni_mblob_keep(core, &outcome->root, outcome->size) < 0) {
        core->out->failed = true;
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, CPN_ENOMEM, "the master was out of memory: try again");
        return;
    }
    *(dataset ? &session->dataset_kept : &session->schema_kept) = true;
    session->missing--;
    cpni_msession_arrive(core, session);
}

bool cpni_msession_uploaded(struct cpni_master_core *core, const struct cpni_transfer_outcome *outcome)
{
    struct cpni_msession *session;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        if (session->missing != 0 && outcome->ticket - session->tickets < 2) {
            arrived(core, session, outcome);
            return true;
        }
    }
    return false;
}

/* ---- what may be asked ---- */

/* As many as it may come to have: average and sync have common ones beside those of their lanes. */
static uint64_t points_of(const struct cpni_msession *session)
{
    uint64_t points = session->spec.mode == CPNI_MODE_SWEEP ? 0 : cpni_session_lane(&session->spec, 0)->epochs;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        points += cpni_session_lane(&session->spec, i)->epochs;
    }
    return points;
}

static const char *trouble(const struct cpni_msg_session *msg, const struct cpni_msession *session)
{
    const struct cpni_session_spec *spec = &session->spec;
    if (msg->train_rows == 0 || msg->train_rows > msg->rows || msg->columns == 0 || msg->classes == 0 || msg->dataset_size == 0) {
        return "the dataset has no rows to learn from, no columns or no classes";
    }
    if (spec->mode != CPNI_MODE_SWEEP && msg->train_rows < spec->peers) {
        return "the dataset has fewer rows than the session has peers";
    }
    if (points_of(session) > CPNI_SESSION_POINTS_MAX) {
        return "the epochs of all lanes together are too many: at most 65536";
    }
    return NULL;
}

/* The census of nodes as people want it: "needs 4, 2 online (w1, w2), 1 draining, 1 training". */
static bool enough(const struct cpni_msession *session, const struct cpni_master_core *core, char *text, size_t room)
{
    uint32_t online = 0, draining = 0, training = 0, away = 0, without = 0;
    char names[256] = "";
    const struct cpni_mnode *node;
    DL_FOREACH(core->nodes, node) {
        if (node->link == NULL) {
            continue;
        }
        if (cpni_mpeer_eligible(session, node)) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%s%s", online != 0 ? ", " : "", node->identity->name);
            online++;
        } else if (node->peer != NULL) {
            training++;
        } else if (node->drained || node->draining) {
            draining++;
        } else if (node->link->control == NULL) {
            away++; /* its connection broke, and it is not yet given up */
        } else {
            without++;
        }
    }
    int n = snprintf(text, room, "needs %u, %u online%s%s%s", session->spec.peers, online, online != 0 ? " (" : "", names, online != 0 ? ")" : "");
    const struct {
        uint32_t count;
        const char *what;
    } others[] = { { draining, "draining" }, { training, "training" }, { away, "reconnecting" }, { without, "without trainer" } };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const bool last = i + 1 == sizeof others / sizeof *others;
        if (others[i].count != 0 && n > 0 && (size_t)n < room) {
            n += snprintf(text + n, room - (size_t)n, ", %u %s%s%s", others[i].count, others[i].what, last ? " " : "",
                          last ? session->spec.trainer : "");
        }
    }
    return online >= session->spec.peers;
}

static void lock_peers(struct cpni_master_core *core, struct cpni_msession *session)
{
    uint32_t wanted = cpni_mpeer_wanted(session);
    for (int busy = 0; busy < 2; busy++) { /* those without tasks first: they need not be waited for */
        struct cpni_mnode *node;
        DL_FOREACH(core->nodes, node) {
            bool fits = cpni_mpeer_eligible(session, node) && (node->lease_count != 0) == (busy == 1);
            if (fits && session->peer_count < wanted) {
                cpni_mpeer_lock(core, session, node);
            }
        }
    }
}

/* Sessions that ended make room, the oldest first. */
static bool make_room(struct cpni_master_core *core, uint64_t points)
{
    struct cpni_msession *session, *next;
    for (session = core->sessions; session != NULL; session = session->hh.next) {
        points += points_of(session);
    }
    HASH_ITER(hh, core->sessions, session, next) {
        if (HASH_COUNT(core->sessions) < CPNI_SESSIONS_MAX && points <= CPNI_SESSIONS_POINTS_MAX) {
            break;
        }
        if (cpni_msession_over(session) && session->end_committed) {
            points -= points_of(session);
            cpni_msession_remove(core, session);
        }
    }
    return HASH_COUNT(core->sessions) < CPNI_SESSIONS_MAX && points <= CPNI_SESSIONS_POINTS_MAX;
}

static void add_of(const struct cpni_master_core *core, const struct cpni_mconn *conn, const struct cpni_msg_session *msg,
                   struct cpni_command_session_add *add)
{
    const struct cpni_midentity *identity = conn->link->identity;
    *add = (struct cpni_command_session_add){ .session = msg->session, .user = identity->local ? cpni_mlocal_key : identity->key,
        .dataset_root = msg->dataset_root, .schema_root = msg->schema_root, .dataset_size = msg->dataset_size,
        .schema_size = msg->schema_size, .rows = msg->rows, .train_rows = msg->train_rows, .columns = msg->columns,
        .classes = msg->classes, .wall_us = core->now.wall_us };
    cpni_str_copy(msg->name, add->name, sizeof add->name);
}

/* Read and checked, but in no table; NULL: refused. */
static struct cpni_msession *checked(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_session *msg)
{
    if (msg->spec == NULL || msg->spec->size == 0 || msg->spec->size > CPNI_SESSION_SPEC_BYTES_MAX) {
        refuse(core, conn, CPNI_MSG_SESSION, msg->request, CPN_EPROTO, "SESSION carries no spec, or one that is too long");
        return NULL;
    }
    struct cpni_command_session_add add;
    char text[CPNI_EVENT_TEXT] = "";
    struct cpni_msession *session = NULL;
    add_of(core, conn, msg, &add);
    int code = cpni_msession_make(core, &add, msg->spec, &session, text);
    core->out->failed = core->out->failed || code == CPN_ENOMEM;
    if (code == 0) {
        const char *wrong = trouble(msg, session);
        snprintf(text, sizeof text, "%s", wrong != NULL ? wrong : "");
        code = wrong != NULL ? CPN_EBADINPUT : 0;
    }
    if (code == 0 && core->settle_us != 0) {
        snprintf(text, sizeof text, "the master has just started and waits for its nodes: try again");
        code = CPN_EBUSY;
    }
    if (code == 0 && !enough(session, core, text, sizeof text)) {
        code = CPN_EBUSY;
    }
    if (code == 0 && !make_room(core, points_of(session))) {
        snprintf(text, sizeof text, "the network has as many sessions under way as it can: try again later");
        code = CPN_EBUSY;
    }
    if (code < 0) {
        refuse(core, conn, CPNI_MSG_SESSION, msg->request, code, text);
        if (session != NULL) {
            cpni_msession_free(core, session);
        }
        return NULL;
    }
    return session;
}

void cpni_msession_ask(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_session *msg)
{
    struct cpni_msession *session = cpni_msession_find(core, &msg->session);
    if (session != NULL) {
        again(core, session, conn, msg);
        return;
    }
    session = checked(core, conn, msg);
    if (session == NULL) {
        return;
    }
    HASH_ADD(hh, core->sessions, id, sizeof session->id, session);
    if (cpni_hash_missed(session)) {
        core->out->failed = true;
        cpni_msession_free(core, session);
        return;
    }
    session->client = conn->link;
    session->request = msg->request;
    session->dirty = true;
    lock_peers(core, session);
    struct cpni_log_about about = cpni_msession_about(core, session, NULL);
    cpni_log(core->out, CPNI_LOG_SESSION_STARTED, &about, "%s: %llu rows, %u columns, %u nodes", session->name,
             (unsigned long long)session->rows, session->columns, session->peer_count);
    if (session->spec.quorum != 0) {
        cpni_msession_not_reproducible(session, "quorum %u: what the slowest peers learn may be left out", session->spec.quorum);
    }
    fetch(core, session);
}

/* ---- STOP ---- */

void cpni_msession_tell_end(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_mwaiter *waiter, *next;
    DL_FOREACH_SAFE(session->waiters, waiter, next) {
        struct cpni_mconn *conn = cpni_mconn_find(core, waiter->conn);
        if (conn != NULL && conn->number == waiter->number) {
            send_done(core, conn, waiter->request);
        }
        DL_DELETE(session->waiters, waiter);
        cpni_free(waiter);
    }
    session->waiter_count = 0;
}

static void wait_for_end(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_mconn *conn, uint64_t request)
{
    struct cpni_mwaiter *waiter = cpni_calloc(1, sizeof *waiter);
    if (waiter == NULL) {
        core->out->failed = true;
        return;
    }
    *waiter = (struct cpni_mwaiter){ .conn = conn->conn, .number = conn->number, .request = request };
    DL_APPEND(session->waiters, waiter);
    session->waiter_count++;
}

void cpni_msession_stop(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_stop *msg)
{
    struct cpni_msession *session = cpni_msession_find(core, &msg->session);
    const struct cpni_midentity *identity = conn->link->identity;
    if (session == NULL) {
        refuse(core, conn, CPNI_MSG_STOP, msg->request, CPN_ENOTFOUND, "the master knows no such session");
    } else if (identity->role != CPN_ROLE_ADMIN && memcmp(&session->user, &identity->key, sizeof session->user) != 0) {
        refuse(core, conn, CPNI_MSG_STOP, msg->request, CPN_EDENIED, "only who started a session, or an admin, can stop it");
    } else if (session->end_committed) {
        send_done(core, conn, msg->request);
    } else if (session->waiter_count >= CPNI_SESSION_WAITERS_MAX) {
        refuse(core, conn, CPNI_MSG_STOP, msg->request, CPN_EBUSY, "the session is being stopped");
    } else {
        wait_for_end(core, session, conn, msg->request);
        cpni_msession_end(core, session, CPNI_SESSION_STOPPED, CPN_ECANCELLED, "stopped by %s", identity->name);
    }
}
