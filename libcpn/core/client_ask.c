/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the program asks the master (QUERY, ADMIN, PUBLISH): kept and asked again after every break until the answer was told. The
 * request's number makes asking twice the same as asking once. */
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

static void destroy(struct cpni_client_core *core, struct cpni_ask *ask)
{
    HASH_DEL(core->asks, ask);
    cpni_msg_drop(&ask->msg);
    cpni_arena_free(&ask->arena);
    cpni_free(ask);
}

int cpni_client_ask(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions)
{
    uint64_t request = request_of(msg);
    if (request == 0) {
        return CPN_EINVAL;
    }
    if (find(core, request) != NULL) {
        return CPN_EEXISTS;
    }
    if (HASH_COUNT(core->asks) >= CPNI_CLIENT_ASKS_MAX) {
        return CPN_EBUSY;
    }
    struct cpni_ask *ask = cpni_calloc(1, sizeof *ask);
    if (ask == NULL || cpni_msg_copy(&ask->arena, msg, &ask->msg) < 0) {
        if (ask != NULL) {
            cpni_arena_free(&ask->arena);
        }
        cpni_free(ask);
        return CPN_ENOMEM;
    }
    ask->request = request;
    HASH_ADD(hh, core->asks, request, sizeof ask->request, ask);
    if (cpni_hash_missed(ask)) {
        cpni_msg_drop(&ask->msg);
        cpni_arena_free(&ask->arena);
        cpni_free(ask);
        return CPN_ENOMEM;
    }
    cpni_uplink_send(&core->uplink, actions, &ask->msg);
    return 0;
}

void cpni_client_answer(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions)
{
    struct cpni_ask *ask = find(core, request_of(msg));
    if (ask == NULL || cpni_actions_tell(actions, msg) < 0) {
        return; /* nobody waits for it any more; or no memory: it is asked again after the connection was made anew */
    }
    destroy(core, ask); /* a page too: the next one is another request */
}

void cpni_client_forget(struct cpni_client_core *core, uint64_t request)
{
    struct cpni_ask *ask = find(core, request);
    if (ask != NULL) {
        destroy(core, ask);
    }
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
        destroy(core, core->asks);
    }
}

void cpni_client_asks_joined(struct cpni_client_core *core, struct cpni_actions *actions)
{
    struct cpni_ask *ask, *after;
    HASH_ITER(hh, core->asks, ask, after) {
        cpni_uplink_send(&core->uplink, actions, &ask->msg);
    }
}
