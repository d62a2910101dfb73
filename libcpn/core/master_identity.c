/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Who is known to the master: identities with their rights, join tokens, and whom ZAP lets in (DESIGN §11). Must not know
 * connections, but for the answer to ENROL.
 *
 * A role of this very process comes over inproc without a key. It is trusted; so that everything else can treat it like any other it
 * gets an identity whose key is its boot id followed by "cpn-local-worker" or "cpn-local-client". The store never hears of it. */
#include "core/master_state.h"

const struct cpn_key cpni_mlocal_key = { .bytes = "cpn-local-publisher-of-a-master" };

struct cpni_midentity *cpni_midentity_find(const struct cpni_master_core *core, const struct cpn_key *key)
{
    struct cpni_midentity *identity;
    HASH_FIND(hh, core->identities, key, sizeof *key, identity);
    return identity;
}

struct cpni_mtoken *cpni_mtoken_find(const struct cpni_master_core *core, const struct cpn_key *key)
{
    struct cpni_mtoken *token;
    HASH_FIND(hh, core->tokens, key, sizeof *key, token);
    return token != NULL && token->live ? token : NULL;
}

/* By its name, for people. Names of enrolled identities differ from each other. */
struct cpni_midentity *cpni_midentity_named(const struct cpni_master_core *core, struct cpni_str name, const char **trouble)
{
    struct cpni_midentity *identity, *next;
    HASH_ITER(hh, core->identities, identity, next) {
        if (identity->enrolled && cpni_str_equal(cpni_str(identity->name), name)) {
            return identity;
        }
    }
    *trouble = "no node or user has this name";
    return NULL;
}

struct cpni_midentity *cpni_midentity_make(struct cpni_master_core *core, const struct cpn_key *key)
{
    if (HASH_COUNT(core->identities) >= CPNI_IDENTITIES_MAX) {
        return NULL;
    }
    struct cpni_midentity *identity = cpni_calloc(1, sizeof *identity);
    if (identity == NULL) {
        core->out->failed = true;
        return NULL;
    }
    identity->key = *key;
    HASH_ADD(hh, core->identities, key, sizeof identity->key, identity);
    if (cpni_hash_missed(identity)) {
        core->out->failed = true;
        cpni_free(identity);
        return NULL;
    }
    return identity;
}

void cpni_midentity_free(struct cpni_master_core *core, struct cpni_midentity *identity)
{
    struct cpni_mflow *flow, *next;
    DL_FOREACH_SAFE(identity->flows, flow, next) {
        cpni_free(flow);
    }
    HASH_DEL(core->identities, identity);
    cpni_free(identity);
}

/* Local identities, and reserved ones that came to nothing, go when nothing refers to them any more. */
void cpni_midentity_release(struct cpni_master_core *core, struct cpni_midentity *identity)
{
    bool kept = identity->enrolled && !identity->local;
    if (kept || identity->links != NULL || identity->tasks != 0 || identity->asks != 0) {
        return;
    }
    if (identity->node != NULL) {
        cpni_mnode_free(core, identity->node);
    }
    cpni_midentity_free(core, identity);
}

/* The name that it says in HELLO, with a piece of its boot id behind it when another has that name. */
static void name_local(const struct cpni_master_core *core, struct cpni_midentity *identity, struct cpni_str wish)
{
    char hex[CPN_KEY_TEXT];
    const char *trouble;
    cpni_str_copy(wish.size != 0 ? wish : cpni_str("local"), identity->name, sizeof identity->name - 9);
    if (cpni_midentity_named(core, cpni_str(identity->name), &trouble) != identity) {
        size_t size = strlen(identity->name);
        identity->name[size] = '-';
        memcpy(identity->name + size + 1, cpn_key_text(&identity->key, hex), 8);
        identity->name[size + 9] = 0;
    }
}

struct cpni_midentity *cpni_midentity_local(struct cpni_master_core *core, const struct cpn_id *boot, enum cpni_kind kind,
                                            struct cpni_str wish)
{
    struct cpn_key key;
    memcpy(key.bytes, boot->bytes, sizeof boot->bytes);
    memcpy(key.bytes + sizeof boot->bytes, kind == CPNI_KIND_WORKER ? "cpn-local-worker" : "cpn-local-client", 16);
    struct cpni_midentity *identity = cpni_midentity_find(core, &key);
    if (identity == NULL) {
        identity = cpni_midentity_make(core, &key);
        if (identity == NULL) {
            return NULL;
        }
        identity->role = kind == CPNI_KIND_WORKER ? CPN_ROLE_NODE : CPN_ROLE_ADMIN;
        identity->local = true;
        identity->enrolled = true;
        identity->first_join_us = core->now.wall_us;
        name_local(core, identity, wish);
    }
    return identity;
}

/* ---- whom ZAP lets in ---- */

static bool expired(const struct cpni_mtoken *token, const struct cpni_now *now)
{
    return (token->expires_us != 0 && now->wall_us >= token->expires_us) || (token->over_us != 0 && now->wall_us >= token->over_us);
}

bool cpni_master_core_admits(const struct cpni_master_core *core, const struct cpn_key *key, const struct cpni_now *now)
{
    const struct cpni_midentity *identity = cpni_midentity_find(core, key);
    if (identity != NULL) {
        return identity->enrolled && !identity->revoked && !identity->local;
    }
    const struct cpni_mtoken *token = cpni_mtoken_find(core, key);
    return token != NULL && !expired(token, now);
}

bool cpni_master_core_knows(const struct cpni_master_core *core, const struct cpn_key *key)
{
    return cpni_midentity_find(core, key) != NULL;
}

void cpni_midentity_revoke(struct cpni_master_core *core, struct cpni_midentity *identity)
{
    identity->revoked = true;
    struct cpni_log_about about =
        identity->role == CPN_ROLE_NODE ? cpni_mabout_node(core, identity) : cpni_mabout_user(core, identity);
    cpni_log(core->out, CPNI_LOG_KEY_REVOKED, &about, NULL);
    struct cpni_mrefusal refusal = { .code = CPN_EKEY };
    struct cpni_mlink *link, *next;
    DL_FOREACH_SAFE(identity->links, link, next) {
        if (link->control != NULL) {
            cpni_mconn_refuse(core, link->control, &refusal, "this key was revoked by an admin");
        }
        if (link->kind == CPNI_KIND_WORKER) {
            cpni_mnode_leave(core, identity->node, "its key was revoked");
        }
        cpni_mlink_free(core, link, CPN_EKEY, "its key was revoked");
    }
}

/* ---- tokens ---- */

struct cpni_mtoken *cpni_mtoken_make(struct cpni_master_core *core, const struct cpn_key *key)
{
    struct cpni_mtoken *token = cpni_calloc(1, sizeof *token);
    if (token == NULL) {
        core->out->failed = true;
        return NULL;
    }
    token->key = *key;
    HASH_ADD(hh, core->tokens, key, sizeof token->key, token);
    if (cpni_hash_missed(token)) {
        core->out->failed = true;
        cpni_free(token);
        return NULL;
    }
    return token;
}

void cpni_mtoken_free(struct cpni_master_core *core, struct cpni_mtoken *token)
{
    HASH_DEL(core->tokens, token);
    cpni_free(token);
}

void cpni_mtoken_sweep(struct cpni_master_core *core)
{
    struct cpni_mtoken *token, *next;
    HASH_ITER(hh, core->tokens, token, next) {
        if (token->live && token->asks == 0 && expired(token, &core->now)) {
            cpni_mtoken_free(core, token);
        }
    }
}

/* ---- ENROL ---- */

static void refuse_enrol(struct cpni_master_core *core, struct cpni_mconn *conn, int code, const char *text)
{
    struct cpni_mrefusal refusal = { .code = code, .type = CPNI_MSG_ENROL };
    cpni_mconn_refuse(core, conn, &refusal, "%s", text);
    cpni_log(core->out, CPNI_LOG_ENROL_REFUSED, NULL, "%s", text);
}

/* 0, or why this token does not serve this key. */
static const char *enrol_trouble(const struct cpni_master_core *core, const struct cpni_mtoken *token,
                                 const struct cpni_msg_enrol *enrol, const struct cpni_midentity *known, int *code)
{
    bool again = known != NULL && known->enrolled && !known->revoked && known->role == token->role;
    *code = CPN_ETOKEN;
    if (expired(token, &core->now)) {
        return "this join token is expired: ask for a new one (cpn token create)";
    }
    if (token->uses_left == 0 && !again) {
        return "this join token is used up: ask for a new one (cpn token create)";
    }
    if (cpni_mkey_zero(&enrol->key) || cpni_mtoken_find(core, &enrol->key) != NULL) {
        *code = CPN_EINVAL;
        return "this is not the key of a node or user";
    }
    if (known != NULL && known->revoked) {
        *code = CPN_EKEY;
        return "this key was revoked: start over with an empty data directory and a new token";
    }
    if (known != NULL && known->enrolled && known->role != token->role) {
        *code = CPN_EEXISTS;
        return "this key is enrolled with another role: use a data directory of its own for each role";
    }
    return NULL;
}

void cpni_menrol(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_enrol *enrol)
{
    struct cpni_mtoken *token = cpni_mtoken_find(core, &conn->key);
    struct cpni_midentity *identity = cpni_midentity_find(core, &enrol->key);
    int code = CPN_ETOKEN;
    const char *trouble = token == NULL ? "this join token is unknown or over" : enrol_trouble(core, token, enrol, identity, &code);
    if (trouble != NULL) {
        refuse_enrol(core, conn, code, trouble);
        return;
    }
    struct cpni_mpending *ask = cpni_mpending_new(core, CPNI_MPENDING_ENROL);
    if (ask != NULL && identity == NULL) {
        identity = cpni_midentity_make(core, &enrol->key); /* counts only once the store has it */
    }
    if (ask == NULL || identity == NULL) {
        refuse_enrol(core, conn, CPN_EBUSY, "the master cannot take more now: try again later");
        if (ask != NULL) {
            HASH_DEL(core->asks, ask);
            cpni_free(ask);
        }
        return;
    }
    cpni_mpending_from(ask, conn, 0);
    ask->identity = identity;
    ask->token = token;
    identity->asks++;
    token->asks++;
    struct cpni_command command = { .type = CPNI_COMMAND_IDENTITY_ENROL };
    command.u.identity_enrol.token = conn->key;
    command.u.identity_enrol.key = enrol->key;
    command.u.identity_enrol.role = token->role;
    struct cpni_str name = token->hint[0] != 0 ? cpni_str(token->hint) : enrol->name; /* who made the token decides */
    cpni_str_copy(name, command.u.identity_enrol.name, CPNI_NAME);
    command.u.identity_enrol.wall_us = core->now.wall_us;
    cpni_mpending_commit(core, ask, NULL, &command);
}

static void enrolled(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit)
{
    struct cpni_midentity *identity = ask->identity;
    struct cpni_mtoken *token = ask->token;
    if (!identity->enrolled) {
        identity->enrolled = true;
        identity->role = (enum cpn_role)commit->number;
        cpni_str_copy(cpni_str(commit->text), identity->name, sizeof identity->name);
        token->uses_left -= token->uses_left != 0;
        if (token->uses_left == 0) {
            token->over_us = core->now.wall_us + (int64_t)CPNI_TOKEN_REPEAT_MS * 1000;
        }
        struct cpni_log_about about =
            identity->role == CPN_ROLE_NODE ? cpni_mabout_node(core, identity) : cpni_mabout_user(core, identity);
        cpni_log(core->out, identity->role == CPN_ROLE_NODE ? CPNI_LOG_NODE_ENROLLED : CPNI_LOG_USER_ENROLLED, &about,
                 "as %s, %u uses of the token are left", cpn_role_name(identity->role), token->uses_left);
    }
    struct cpni_mconn *conn = cpni_mpending_conn(core, ask);
    if (conn != NULL) {
        struct cpni_msg msg = { .type = CPNI_MSG_ENROLLED };
        msg.enrolled.role = (uint32_t)identity->role;
        msg.enrolled.name = cpni_str(identity->name);
        msg.enrolled.key = identity->key;
        cpni_mconn_send(core, conn, &msg);
    }
}

void cpni_menrol_done(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit)
{
    struct cpni_mconn *conn = cpni_mpending_conn(core, ask);
    ask->token->asks--;
    ask->identity->asks--;
    if (commit->status == CPNI_COMMITTED) {
        enrolled(core, ask, commit);
    } else {
        if (conn != NULL) {
            refuse_enrol(core, conn, commit->status == CPNI_REJECTED ? commit->code : CPN_EIO,
                         commit->status == CPNI_REJECTED ? commit->text : "the master's store has failed: try again");
        }
        cpni_midentity_release(core, ask->identity);
    }
}
