/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* ADMIN: what an admin may change. DONE is sent when the change is durable, not before (DESIGN §10). */
#include "core/master_state.h"

#include <stdio.h>

static void done(struct cpni_master_core *core, struct cpni_mconn *conn, uint64_t request, int code, const char *text)
{
    if (conn == NULL) {
        return;
    }
    struct cpni_msg msg = { .type = CPNI_MSG_DONE };
    msg.done.request = request;
    msg.done.code = code;
    msg.done.text = cpni_str(text);
    cpni_mconn_send(core, conn, &msg);
}

static struct cpni_midentity *target(const struct cpni_master_core *core, const struct cpni_msg_admin *admin, const char **trouble)
{
    if (cpni_mkey_zero(&admin->key)) {
        return cpni_midentity_named(core, admin->name, trouble);
    }
    struct cpni_midentity *identity = cpni_midentity_find(core, &admin->key);
    if (identity == NULL || !identity->enrolled) {
        *trouble = "no node or user has this key";
        return NULL;
    }
    return identity;
}

static bool any_admin(const struct cpni_master_core *core, const struct cpni_midentity *but)
{
    const struct cpni_midentity *identity;
    for (identity = core->identities; identity != NULL; identity = identity->hh.next) {
        if (identity != but && identity->role == CPN_ROLE_ADMIN && identity->enrolled && !identity->revoked && !identity->local) {
            return true;
        }
    }
    return false;
}

bool cpni_master_core_has_admin(const struct cpni_master_core *core)
{
    return any_admin(core, NULL);
}

static bool last_admin(const struct cpni_master_core *core, const struct cpni_midentity *identity)
{
    return identity->role == CPN_ROLE_ADMIN && !any_admin(core, identity);
}

/* ---- one function for each kind of change: fills in the command, or says why not (code set) ---- */

static const char *token_create(struct cpni_master_core *core, const struct cpni_msg_admin *admin, struct cpni_mpending *ask,
                                struct cpni_command *command, int *code)
{
    *code = CPN_EINVAL;
    if (cpni_mkey_zero(&admin->key) || admin->role < CPN_ROLE_NODE || admin->role > CPN_ROLE_ADMIN) {
        return "a token needs a key and a role: node, user or admin";
    }
    if (admin->ttl_ms > CPNI_TOKEN_TTL_MS_MAX) {
        return "a token lives for a year at most";
    }
    struct cpni_mtoken *known;
    HASH_FIND(hh, core->tokens, &admin->key, sizeof admin->key, known);
    if (known != NULL || cpni_midentity_find(core, &admin->key) != NULL) {
        *code = CPN_EEXISTS;
        return "this key is in use";
    }
    *code = CPN_EBUSY;
    if (HASH_COUNT(core->tokens) >= CPNI_TOKENS_MAX) {
        return "there are too many tokens: revoke some";
    }
    ask->token = cpni_mtoken_make(core, &admin->key); /* counts only once the store has it */
    if (ask->token == NULL) {
        return "out of memory";
    }
    ask->token->asks = 1;
    ask->token->role = (enum cpn_role)admin->role;
    ask->token->uses_left = admin->uses != 0 ? admin->uses : 1;
    ask->token->expires_us = admin->ttl_ms == 0 ? 0 : core->now.wall_us + (int64_t)admin->ttl_ms * 1000;
    cpni_str_copy(admin->name, ask->token->hint, sizeof ask->token->hint);
    command->type = CPNI_COMMAND_TOKEN_ADD;
    command->u.token_add = (struct cpni_command_token_add){ .token = admin->key, .role = ask->token->role,
        .expires_wall_us = ask->token->expires_us, .uses = ask->token->uses_left, .wall_us = core->now.wall_us };
    memcpy(command->u.token_add.hint, ask->token->hint, sizeof ask->token->hint);
    return NULL;
}

static const char *token_revoke(struct cpni_master_core *core, const struct cpni_msg_admin *admin, struct cpni_mpending *ask,
                                struct cpni_command *command, int *code)
{
    ask->token = cpni_mtoken_find(core, &admin->key);
    if (ask->token == NULL) {
        *code = CPN_ENOTFOUND;
        return "there is no such token: it may be used up or expired";
    }
    ask->token->asks++;
    command->type = CPNI_COMMAND_TOKEN_REVOKE;
    command->u.token_revoke.token = admin->key;
    return NULL;
}

static const char *change_identity(struct cpni_master_core *core, const struct cpni_msg_admin *admin, struct cpni_mpending *ask,
                                   struct cpni_command *command, int *code)
{
    const char *trouble = NULL;
    struct cpni_midentity *identity = target(core, admin, &trouble);
    *code = CPN_ENOTFOUND;
    if (identity == NULL) {
        return trouble;
    }
    *code = CPN_ESTATE;
    if (identity->local) {
        return "this is a part of the master's own process: end it there";
    }
    if (admin->op == CPNI_ADMIN_REVOKE) {
        if (last_admin(core, identity)) {
            return "this is the last admin: enrol another one first";
        }
        command->type = CPNI_COMMAND_IDENTITY_REVOKE;
        command->u.identity_revoke.key = identity->key;
        command->u.identity_revoke.wall_us = core->now.wall_us;
    } else {
        if (identity->role == CPN_ROLE_NODE) {
            return "nodes do not publish models";
        }
        bool grant = admin->op == CPNI_ADMIN_GRANT_PUBLISH;
        command->type = grant ? CPNI_COMMAND_RIGHT_GRANT : CPNI_COMMAND_RIGHT_REVOKE;
        command->u.right_grant.key = identity->key; /* both structs are alike */
        memcpy(command->u.right_grant.right, "publish", sizeof "publish");
    }
    ask->identity = identity;
    identity->asks++;
    return NULL;
}

static const char *model_remove(struct cpni_master_core *core, const struct cpni_msg_admin *admin, struct cpni_mpending *ask,
                                struct cpni_command *command, int *code)
{
    struct cpni_mmodel *model = cpni_mmodel_find(core, admin->name);
    struct cpni_mversion *version = NULL;
    if (model != NULL) {
        DL_FOREACH(model->versions, version) {
            if (version->live && !version->removed && version->number != 0 && version->number == admin->version) {
                break;
            }
        }
    }
    if (version == NULL) {
        *code = CPN_ENOTFOUND;
        return "there is no such version of a model (cpn models lists them)";
    }
    ask->root = version->root;
    command->type = CPNI_COMMAND_MODEL_REMOVE;
    memcpy(command->u.model_remove.name, model->name, sizeof model->name);
    command->u.model_remove.version = version->number;
    return NULL;
}

static void drain(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_admin *admin)
{
    const char *trouble = "only nodes are drained";
    struct cpni_midentity *identity = target(core, admin, &trouble);
    if (identity == NULL || identity->node == NULL) {
        done(core, conn, admin->request, CPN_ENOTFOUND, trouble);
        return;
    }
    cpni_mnode_drain(core, identity->node, admin->op == CPNI_ADMIN_DRAIN);
    done(core, conn, admin->request, 0, "");
}

void cpni_madmin(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_admin *admin)
{
    if (admin->op == CPNI_ADMIN_DRAIN || admin->op == CPNI_ADMIN_RESUME) {
        drain(core, conn, admin);
        return;
    }
    static const char *(*const prepare[])(struct cpni_master_core *, const struct cpni_msg_admin *, struct cpni_mpending *,
                                          struct cpni_command *, int *) = {
        [CPNI_ADMIN_TOKEN_CREATE] = token_create,     [CPNI_ADMIN_TOKEN_REVOKE] = token_revoke,
        [CPNI_ADMIN_REVOKE] = change_identity,        [CPNI_ADMIN_MODEL_REMOVE] = model_remove,
        [CPNI_ADMIN_GRANT_PUBLISH] = change_identity, [CPNI_ADMIN_REVOKE_PUBLISH] = change_identity,
    };
    if (admin->op >= sizeof prepare / sizeof prepare[0] || prepare[admin->op] == NULL) {
        done(core, conn, admin->request, CPN_ENOTSUP, "this master does not know this operation: is it older than the client?");
        return;
    }
    struct cpni_mpending *ask = cpni_mpending_new(core, CPNI_MPENDING_ADMIN);
    if (ask == NULL) {
        done(core, conn, admin->request, CPN_EBUSY, "the master cannot take more now: try again");
        return;
    }
    cpni_mpending_from(ask, conn, admin->request);
    ask->op = (enum cpni_admin)admin->op;
    struct cpni_command command = { 0 };
    int code = 0;
    const char *wrong = prepare[admin->op](core, admin, ask, &command, &code);
    if (wrong != NULL) {
        done(core, conn, admin->request, code, wrong);
        HASH_DEL(core->asks, ask);
        cpni_free(ask);
        return;
    }
    struct cpni_command_key key = cpni_mpending_key(conn, admin->request);
    cpni_mpending_commit(core, ask, conn->local ? NULL : &key, &command);
}

/* ---- durable now ---- */

static void token_created(struct cpni_master_core *core, struct cpni_mpending *ask)
{
    ask->token->live = true;
    cpni_log(core->out, CPNI_LOG_TOKEN_CREATED, NULL, "role %s, %u uses", cpn_role_name(ask->token->role), ask->token->uses_left);
}

static void right_changed(struct cpni_master_core *core, struct cpni_midentity *identity, bool publish)
{
    identity->publish = publish;
    struct cpni_log_about about = cpni_mabout_user(core, identity);
    cpni_log(core->out, CPNI_LOG_RIGHT_CHANGED, &about, publish ? "may publish models" : "may no longer publish models");
}

static void apply(struct cpni_master_core *core, struct cpni_mpending *ask)
{
    struct cpni_mversion *version;
    switch (ask->op) {
    case CPNI_ADMIN_TOKEN_CREATE:
        token_created(core, ask);
        break;
    case CPNI_ADMIN_TOKEN_REVOKE:
        if (ask->token->live) {
            ask->token->live = false;
            cpni_log(core->out, CPNI_LOG_TOKEN_REVOKED, NULL, NULL);
        }
        break;
    case CPNI_ADMIN_REVOKE:
        if (!ask->identity->revoked) {
            cpni_midentity_revoke(core, ask->identity);
        }
        break;
    case CPNI_ADMIN_MODEL_REMOVE:
        version = cpni_mversion_root(core, &ask->root);
        if (version != NULL && version->live) {
            cpni_mprepare_remove(core, version);
        }
        break;
    default:
        right_changed(core, ask->identity, ask->op == CPNI_ADMIN_GRANT_PUBLISH);
        break;
    }
}

void cpni_madmin_done(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit)
{
    bool committed = commit->status == CPNI_COMMITTED;
    int code = committed ? 0 : commit->status == CPNI_REJECTED ? commit->code : CPN_EIO;
    /* first: an admin that revokes itself hears that it worked, and then that it is out */
    done(core, cpni_mpending_conn(core, ask), ask->request, code,
         committed ? "" : commit->status == CPNI_REJECTED ? commit->text : "the master's store has failed: try again");
    if (ask->identity != NULL) {
        ask->identity->asks--;
    }
    if (ask->token != NULL) {
        ask->token->asks--;
    }
    if (committed) {
        apply(core, ask);
    }
    if (ask->token != NULL && !ask->token->live && ask->token->asks == 0) {
        cpni_mtoken_free(core, ask->token); /* revoked, or it came to nothing */
    }
}
