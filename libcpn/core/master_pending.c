/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the master asked of its store and was not answered yet: who waits for the answer, and what becomes of it (DESIGN §10,
 * persist before you promise). Must not know what the commands mean. */
#include "core/master_state.h"

struct cpni_mpending *cpni_mpending_new(struct cpni_master_core *core, enum cpni_mpending_kind kind)
{
    if (HASH_COUNT(core->asks) >= CPNI_ASKS_MAX) {
        return NULL;
    }
    struct cpni_mpending *ask = cpni_calloc(1, sizeof *ask);
    if (ask == NULL) {
        core->out->failed = true;
        return NULL;
    }
    ask->ticket = ++core->last_ticket;
    ask->kind = kind;
    HASH_ADD(hh, core->asks, ticket, sizeof ask->ticket, ask);
    if (cpni_hash_missed(ask)) {
        core->out->failed = true;
        cpni_free(ask);
        return NULL;
    }
    return ask;
}

void cpni_mpending_from(struct cpni_mpending *ask, const struct cpni_mconn *conn, uint64_t request)
{
    ask->conn = conn->conn;
    ask->number = conn->number;
    ask->request = request;
}

struct cpni_mconn *cpni_mpending_conn(struct cpni_master_core *core, const struct cpni_mpending *ask)
{
    struct cpni_mconn *conn = cpni_mconn_find(core, ask->conn);
    return conn != NULL && conn->number == ask->number ? conn : NULL;
}

/* Requests are numbered by each process, but the store knows keys only: two processes of one user must not get each other's answers,
 * so the boot id goes into the number (FNV-1a). */
struct cpni_command_key cpni_mpending_key(const struct cpni_mconn *conn, uint64_t request)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < sizeof conn->boot.bytes; i++) {
        hash = (hash ^ conn->boot.bytes[i]) * UINT64_C(1099511628211);
    }
    for (unsigned i = 0; i < 8; i++) {
        hash = (hash ^ ((request >> (8 * i)) & 0xff)) * UINT64_C(1099511628211);
    }
    hash &= INT64_MAX; /* the store's integers are signed */
    return (struct cpni_command_key){ .client = conn->link->identity->key, .sequence = hash != 0 ? hash : 1 };
}

void cpni_mpending_commit(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_command_key *key,
                      const struct cpni_command *command)
{
    struct cpni_action *action = cpni_actions_add(core->out, CPNI_ACT_COMMIT);
    if (action == NULL) {
        cpni_bytes_unref(command->payload);
        return; /* the step has failed: so will the question */
    }
    action->commit.ticket = ask->ticket;
    action->commit.command = *command;
    if (key != NULL) {
        action->commit.key = *key;
    }
}

static void answer(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit)
{
    HASH_DEL(core->asks, ask);
    if (commit->status == CPNI_UNKNOWN && !core->out->failed) {
        cpni_log(core->out, CPNI_LOG_COMMIT_FAILED, NULL, "%s", commit->text);
    }
    switch (ask->kind) {
    case CPNI_MPENDING_ENROL:
        cpni_menrol_done(core, ask, commit);
        break;
    case CPNI_MPENDING_ADMIN:
        cpni_madmin_done(core, ask, commit);
        break;
    case CPNI_MPENDING_SIGNER:
        cpni_mpublish_signed(core, ask, commit);
        break;
    case CPNI_MPENDING_MODEL:
        cpni_mpublish_done(core, ask, commit);
        break;
    case CPNI_MPENDING_NODE_STATS:
    case CPNI_MPENDING_USER_STATS:
        cpni_mstats_done(core, ask, commit);
        break;
    case CPNI_MPENDING_PARKED:
        cpni_mtask_parked(core, ask);
        break;
    case CPNI_MPENDING_SESSION:
        cpni_msession_committed(core, ask, commit);
        break;
    case CPNI_MPENDING_LOCAL:
    case CPNI_MPENDING_NOTES:
        break;
    }
    cpni_free(ask);
}

void cpni_mpending_answer(struct cpni_master_core *core, uint64_t ticket, const struct cpni_commit *commit)
{
    struct cpni_mpending *ask;
    HASH_FIND(hh, core->asks, &ticket, sizeof ticket, ask);
    if (ask != NULL && ask->kind != CPNI_MPENDING_NOTES) {
        answer(core, ask, commit);
    }
}

void cpni_mpending_notes(struct cpni_master_core *core, uint64_t ticket, int code, struct cpni_rec_NOTE *notes, uint32_t count)
{
    struct cpni_mpending *ask;
    HASH_FIND(hh, core->asks, &ticket, sizeof ticket, ask);
    if (ask == NULL || ask->kind != CPNI_MPENDING_NOTES) {
        return;
    }
    struct cpni_mconn *conn = cpni_mpending_conn(core, ask);
    if (conn != NULL && code < 0) {
        struct cpni_mrefusal refusal = { .code = code, .type = CPNI_MSG_QUERY, .request = ask->request };
        cpni_mconn_refuse(core, conn, &refusal, "the events cannot be read: %s", cpn_strerror(code));
    } else if (conn != NULL) {
        struct cpni_msg msg = { .type = CPNI_MSG_REPLY };
        msg.reply.request = ask->request;
        cpni_mquery_names(core, notes, count);
        msg.reply.notes = notes;
        msg.reply.notes_count = count < CPNI_LIST_MAX ? count : CPNI_LIST_MAX;
        msg.reply.more = count != 0 && count >= ask->version; /* as many as were asked for */
        cpni_mconn_send(core, conn, &msg);
    }
    HASH_DEL(core->asks, ask);
    cpni_free(ask);
}

void cpni_mpending_fail_since(struct cpni_master_core *core, uint64_t ticket)
{
    const struct cpni_commit lost = { .status = CPNI_UNKNOWN, .code = CPN_ENOMEM, .text = "out of memory" };
    struct cpni_mpending *ask, *next;
    HASH_ITER(hh, core->asks, ask, next) {
        if (ask->ticket >= ticket) {
            answer(core, ask, &lost);
        }
    }
}
