/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the program asks the master (QUERY, ADMIN, PUBLISH, SESSION, STOP): kept and asked again after every break until the answer was
 * told. The request's number makes asking twice the same as asking once. A blob of the master's that the program wants is a request,
 * too: the transfer lives through breaks by itself, and its end is the answer. */
#include <cpn/error.h>

#include "core/client_priv.h"

static uint64_t request_of(const struct cpni_msg *msg)
{
    switch (msg->type) {
    case CPNI_MSG_QUERY:
        return msg->query.request;
    case CPNI_MSG_ADMIN:
        return msg->admin.request;
    case CPNI_MSG_PUBLISH:
        return msg->publish.request;
    case CPNI_MSG_SESSION:
        return msg->session.request;
    case CPNI_MSG_STOP:
        return msg->stop.request;
    case CPNI_MSG_REPLY:
        return msg->reply.request;
    case CPNI_MSG_DONE:
        return msg->done.request;
    case CPNI_MSG_PUBLISHED:
        return msg->published.request;
    case CPNI_MSG_REFUSED:
        return msg->refused.request;
    default:
        return 0;
    }
}

static struct cpni_ask *find(struct cpni_client_core *core, uint64_t request)
{
    struct cpni_ask *ask;
    HASH_FIND(hh, core->asks, &request, sizeof request, ask);
    return ask;
}

static void free_ask(struct cpni_ask *ask)
{
    cpni_msg_drop(&ask->msg);
    cpni_arena_free(&ask->arena);
    cpni_free(ask);
}

static void destroy(struct cpni_client_core *core, struct cpni_ask *ask, struct cpni_actions *actions)
{
    for (uint32_t i = 0; i < ask->blob_count; i++) {
        cpni_keep_drop(&core->keep, &ask->blobs[i], actions);
    }
    HASH_DEL(core->asks, ask);
    free_ask(ask);
}

/* The blob stays until the request is over. */
static int keep(struct cpni_client_core *core, struct cpni_ask *ask, const struct cpn_hash *root)
{
    int rc = cpni_keep_use(&core->keep, root);
    if (rc == 0) {
        ask->blobs[ask->blob_count++] = *root;
    }
    return rc;
}

static int insert(struct cpni_client_core *core, struct cpni_ask *ask)
{
    HASH_ADD(hh, core->asks, request, sizeof ask->request, ask);
    return cpni_hash_missed(ask) ? CPN_ENOMEM : 0;
}

/* Not taken: the blobs stay the caller's, so no REMOVE may follow. */
static void give_up(struct cpni_client_core *core, struct cpni_ask *ask)
{
    struct cpni_actions nowhere = { 0 };
    for (uint32_t i = 0; i < ask->blob_count; i++) {
        cpni_keep_drop(&core->keep, &ask->blobs[i], &nowhere);
    }
    cpni_actions_free(&nowhere);
    free_ask(ask);
}

static int check_room(struct cpni_client_core *core, uint64_t request)
{
    if (request == 0) {
        return CPN_EINVAL;
    }
    if (find(core, request) != NULL) {
        return CPN_EEXISTS;
    }
    return HASH_COUNT(core->asks) >= CPNI_CLIENT_ASKS_MAX ? CPN_EBUSY : 0;
}

int cpni_client_ask(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions)
{
    int rc = check_room(core, request_of(msg));
    if (rc < 0) {
        return rc;
    }
    struct cpni_ask *ask = cpni_calloc(1, sizeof *ask);
    if (ask == NULL) {
        return CPN_ENOMEM;
    }
    ask->request = request_of(msg);
    rc = cpni_msg_copy(&ask->arena, msg, &ask->msg);
    if (rc == 0 && msg->type == CPNI_MSG_SESSION) { /* the master fetches them: it may need them again after a break */
        rc = keep(core, ask, &msg->session.dataset_root);
        rc = rc == 0 ? keep(core, ask, &msg->session.schema_root) : rc;
    }
    rc = rc == 0 ? insert(core, ask) : rc;
    if (rc < 0) {
        give_up(core, ask);
        return rc;
    }
    cpni_uplink_send(&core->uplink, actions, &ask->msg);
    return 0;
}

int cpni_client_fetch(struct cpni_client_core *core, uint64_t request, const struct cpn_hash *root, uint64_t size, struct cpni_actions *actions)
{
    int rc = check_room(core, request);
    if (rc < 0) {
        return rc;
    }
    struct cpni_ask *ask = cpni_calloc(1, sizeof *ask);
    if (ask == NULL) {
        return CPN_ENOMEM;
    }
    ask->request = request;
    ask->fetch = core->next_serial + 1;
    rc = keep(core, ask, root);
    rc = rc == 0 ? insert(core, ask) : rc;
    if (rc < 0) {
        give_up(core, ask);
        return rc;
    }
    rc = cpni_transfer_fetch(core->transfer, ask->fetch, CPNI_TRANSFER_MASTER, root, size, true, &core->now, actions);
    if (rc < 0) {
        HASH_DEL(core->asks, ask);
        give_up(core, ask);
        return rc;
    }
    core->next_serial++;
    return 0;
}

/* false: no memory; it is told after the connection was made anew. */
static bool tell_fetched(struct cpni_client_core *core, struct cpni_ask *ask, const char *text, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_DONE };
    msg.done.request = ask->request;
    msg.done.code = ask->code;
    msg.done.text = cpni_str(text);
    if (cpni_actions_tell(actions, &msg) < 0) {
        return false;
    }
    destroy(core, ask, actions); /* the role's read of the blob comes before its removal */
    return true;
}

bool cpni_client_fetched(struct cpni_client_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions)
{
    struct cpni_ask *ask = core->asks;
    while (ask != NULL && ask->fetch != outcome->ticket) {
        ask = ask->hh.next;
    }
    if (ask != NULL) {
        ask->fetch = 0;
        ask->code = outcome->code;
        tell_fetched(core, ask, outcome->text, actions);
    }
    return ask != NULL;
}

void cpni_client_answer(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions)
{
    struct cpni_ask *ask = find(core, request_of(msg));
    if (ask == NULL || ask->msg.type == CPNI_MSG_NONE || cpni_actions_tell(actions, msg) < 0) {
        return; /* nobody waits for it any more; or no memory: it is asked again after the connection was made anew */
    }
    destroy(core, ask, actions); /* a page too: the next one is another request */
}

void cpni_client_forget(struct cpni_client_core *core, uint64_t request, struct cpni_actions *actions)
{
    struct cpni_ask *ask = find(core, request);
    if (ask == NULL) {
        return;
    }
    if (ask->fetch != 0) {
        cpni_transfer_cancel(core->transfer, ask->fetch, &core->now, actions);
    }
    destroy(core, ask, actions);
}

void cpni_client_free_asks(struct cpni_client_core *core)
{
    struct cpni_actions nowhere = { 0 };
    while (core->asks != NULL) {
        destroy(core, core->asks, &nowhere);
    }
    cpni_actions_free(&nowhere);
}

void cpni_client_fail_asks(struct cpni_client_core *core, int code, const char *text, struct cpni_actions *actions)
{
    while (core->asks != NULL) {
        struct cpni_msg msg = { .type = CPNI_MSG_REFUSED };
        msg.refused.request = core->asks->request;
        msg.refused.type = (uint32_t)core->asks->msg.type;
        msg.refused.code = code;
        msg.refused.text = cpni_str(text);
        if (cpni_actions_tell(actions, &msg) < 0) {
            return;
        }
        cpni_client_forget(core, core->asks->request, actions);
    }
}

void cpni_client_asks_joined(struct cpni_client_core *core, struct cpni_actions *actions)
{
    struct cpni_ask *ask, *after;
    HASH_ITER(hh, core->asks, ask, after) {
        if (ask->msg.type != CPNI_MSG_NONE) {
            cpni_uplink_send(&core->uplink, actions, &ask->msg);
        } else if (ask->fetch == 0) {
            tell_fetched(core, ask, "", actions);
        }
    }
}
