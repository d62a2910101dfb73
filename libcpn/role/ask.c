/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Questions to the master, blobs of its, and administration: each is one request, answered once, asked again by the core after a break. */
#include <stdio.h>
#include <string.h>

#include "net/joinline.h"
#include "role/client.h"
#include "role/clock.h"
#include "role/mapping.h"
#include "role/master.h"

static uint64_t *request_of(struct cpni_msg *msg)
{
    switch (msg->type) {
    case CPNI_MSG_QUERY:
        return &msg->query.request;
    case CPNI_MSG_ADMIN:
        return &msg->admin.request;
    case CPNI_MSG_SESSION:
        return &msg->session.request;
    case CPNI_MSG_STOP:
        return &msg->stop.request;
    default:
        return &msg->publish.request;
    }
}

/* false: who is told gives up. */
static bool tell_progress(struct cpn_client *client)
{
    const struct cpni_progress *progress = &client->progress;
    if (progress->fn == NULL) {
        return true;
    }
    uint64_t done = client->chunk_bytes - progress->from;
    return progress->fn(progress->arg, done < progress->total ? done : progress->total, progress->total) == 0;
}

static int wait_answer(struct cpn_client *client, struct cpni_ask *ask, int timeout_ms)
{
    const int64_t until_us = cpni_client_until(timeout_ms);
    for (;;) {
        int left_ms = cpni_client_left_ms(until_us);
        int rc = cpn_client_dispatch(client, left_ms);
        if (ask->answered) {
            return ask->code;
        }
        if (rc < 0) {
            return rc;
        }
        if (!tell_progress(client)) {
            return cpni_client_fail(client, CPN_ECANCELLED, "given up");
        }
        if (left_ms == 0) {
            const char *trouble = cpni_peer_trouble(client->peer);
            return trouble[0] != 0 ? cpni_client_fail(client, CPN_EUNREACHABLE, "%s", trouble)
                                   : cpni_client_fail(client, CPN_ETIMEDOUT, "no answer from the master in %d ms", timeout_ms);
        }
    }
}

/* Hand the core a question whose request is ask->request, and wait. */
static int put(struct cpn_client *client, const struct cpni_event *event, struct cpni_ask *ask, int timeout_ms)
{
    client->now = cpni_clock_now();
    client->detail[0] = 0;
    ask->answered = false;
    int rc = cpni_client_step(client, event);
    if (rc < 0) {
        return cpni_client_fail(client, rc, "%s", rc == CPN_EBUSY ? "too many questions at a time" : cpn_strerror(rc));
    }
    ask->outer = client->ask;
    client->ask = ask;
    rc = wait_answer(client, ask, timeout_ms);
    client->ask = ask->outer;
    if (!ask->answered) {
        const struct cpni_event forget = { .type = CPNI_EV_FORGET_ASK, .forget = { .request = ask->request } };
        cpni_client_step(client, &forget);
    }
    return rc;
}

int cpni_client_request(struct cpn_client *client, struct cpni_msg *msg, struct cpni_ask *ask, int timeout_ms)
{
    ask->request = client->next_request++;
    *request_of(msg) = ask->request;
    int rc = cpni_client_check_texts(client, msg);
    if (rc < 0) {
        return rc;
    }
    const struct cpni_event event = { .type = CPNI_EV_ASK, .ask = { .msg = *msg } };
    return put(client, &event, ask, timeout_ms);
}

/* ---- blobs of the master's ---- */

struct fetch {
    struct cpn_client *client;
    struct cpn_hash root;
    bool asked, done; /* the spool, for the file */
    int code;
    struct cpni_bytes *bytes;
};

static void opened(struct cpn_client *client, void *user, struct cpni_blob_answer *answer)
{
    struct fetch *fetch = user;
    fetch->done = true;
    fetch->code = answer->status;
    if (answer->status < 0) {
        cpni_client_fail(client, answer->status, "%s", answer->detail);
        return;
    }
    fetch->bytes = cpni_mapping_open(answer->fd, (size_t)answer->info.size);
    if (fetch->bytes == NULL) {
        fetch->code = cpni_client_fail(client, CPN_ENOMEM, "no room for what was fetched");
    }
}

/* The core has the blob removed right behind this job; what was opened stays readable. */
static void fetched(void *arg, const struct cpni_msg *msg)
{
    struct fetch *fetch = arg;
    struct cpni_blob_job job = { .op = CPNI_BLOB_OPEN_FD, .root = fetch->root };
    (void)msg;
    fetch->code = cpni_client_job(fetch->client, &job, opened, fetch);
    fetch->asked = fetch->code == 0;
}

int cpni_client_fetch_blob(struct cpn_client *client, const struct cpn_hash *root, uint64_t size, int timeout_ms, struct cpni_bytes **out)
{
    struct fetch fetch = { .client = client, .root = *root };
    struct cpni_ask ask = { .request = client->next_request++, .reply = fetched, .arg = &fetch };
    const struct cpni_event event = { .type = CPNI_EV_FETCH, .fetch = { ask.request, *root, size } };
    client->importing++; /* the same blob may be on its way out for an earlier fetch */
    int rc = put(client, &event, &ask, timeout_ms);
    while (fetch.asked && !fetch.done) { /* without a deadline: the store answers every job, and `fetch` is on our stack */
        cpn_client_dispatch(client, -1);
    }
    cpni_client_imported(client);
    rc = rc == 0 ? fetch.code : rc;
    if (rc == 0) {
        *out = fetch.bytes;
    }
    return rc;
}

/* ---- administration ---- */

static int admin(struct cpn_client *client, const struct cpni_msg_admin *order, int timeout_ms)
{
    struct cpni_msg msg = { .type = CPNI_MSG_ADMIN };
    struct cpni_ask ask = { 0 };
    msg.admin = *order;
    return cpni_client_request(client, &msg, &ask, timeout_ms);
}

/* A name, or a key if it is the whole hexadecimal text of one. */
static int admin_of(struct cpn_client *client, enum cpni_admin op, const char *who, int timeout_ms)
{
    struct cpni_msg_admin order = { .op = op };
    if (cpn_key_parse(who, &order.key) < 0) {
        order.name = cpni_str(who);
    }
    return admin(client, &order, timeout_ms);
}

static int print_line(struct cpn_client *client, enum cpn_role role, const struct cpni_seed *seed, char line[CPN_LINE])
{
    struct cpni_joinline join = { .role = role, .seed = *seed };
    char text[CPNI_JOINLINE_TEXT];
    if (client->context == NULL) {
        return cpni_master_print_line(client->master, role, seed, line);
    }
    join.master = client->context->master;
    const char *from = client->context->endpoints;
    while (*from != 0 && join.endpoint_count < CPNI_ENDPOINTS_MAX) {
        size_t size = strcspn(from, ",");
        snprintf(join.endpoints[join.endpoint_count++], CPNI_ENDPOINT_TEXT, "%.*s", (int)size, from);
        from += size + (from[size] == ',');
    }
    int rc = cpni_joinline_print(&join, text);
    if (rc == 0 && snprintf(line, CPN_LINE, "%s", text) >= CPN_LINE) {
        rc = CPN_ETOOBIG;
    }
    cpni_wipe(&join, sizeof join);
    cpni_wipe(text, sizeof text);
    return rc;
}

int cpn_client_token_create(struct cpn_client *client, enum cpn_role role, const char *name, uint64_t ttl_ms, uint32_t uses,
                            int timeout_ms, char line[CPN_LINE])
{
    struct cpni_seed seed;
    struct cpni_curve_keys keys;
    cpni_seed_generate(&seed);
    cpni_curve_from_seed(&seed, &keys);
    const struct cpni_msg_admin order = {
        .op = CPNI_ADMIN_TOKEN_CREATE,
        .key = keys.public_key,
        .role = role,
        .name = cpni_str(name),
        .ttl_ms = ttl_ms != 0 ? ttl_ms : UINT64_C(3600000),
        .uses = uses != 0 ? uses : 1,
    };
    int rc = admin(client, &order, timeout_ms);
    if (rc == 0) {
        rc = print_line(client, role, &seed, line);
    }
    cpni_wipe(&seed, sizeof seed);
    cpni_wipe(&keys, sizeof keys);
    return rc;
}

/* The one token whose key begins with this text. */
static int find_token(struct cpn_client *client, const char *start, int timeout_ms, char key[CPN_KEY_TEXT])
{
    struct cpn_token_info *tokens = NULL;
    size_t count = 0;
    size_t found = 0;
    int rc = cpn_client_tokens(client, timeout_ms, &tokens, &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char text[CPN_KEY_TEXT];
        if (strncmp(cpn_key_text(&tokens[i].key, text), start, strlen(start)) == 0) {
            memcpy(key, text, sizeof text);
            found++;
        }
    }
    cpn_client_free_list(tokens);
    if (rc == 0 && found != 1) {
        return cpni_client_fail(client, found == 0 ? CPN_ENOTFOUND : CPN_EINVAL,
                                found == 0 ? "no token's key begins with %s" : "several tokens' keys begin with %s: say more of it", start);
    }
    return rc;
}

int cpn_client_token_revoke(struct cpn_client *client, const char *key, int timeout_ms)
{
    char whole[CPN_KEY_TEXT];
    int rc = find_token(client, key, timeout_ms, whole);
    return rc < 0 ? rc : admin_of(client, CPNI_ADMIN_TOKEN_REVOKE, whole, timeout_ms);
}

int cpn_client_revoke(struct cpn_client *client, const char *who, int timeout_ms)
{
    return admin_of(client, CPNI_ADMIN_REVOKE, who, timeout_ms);
}

int cpn_client_drain(struct cpn_client *client, const char *node, bool drain, int timeout_ms)
{
    return admin_of(client, drain ? CPNI_ADMIN_DRAIN : CPNI_ADMIN_RESUME, node, timeout_ms);
}

int cpn_client_grant_publish(struct cpn_client *client, const char *user, bool granted, int timeout_ms)
{
    return admin_of(client, granted ? CPNI_ADMIN_GRANT_PUBLISH : CPNI_ADMIN_REVOKE_PUBLISH, user, timeout_ms);
}

int cpn_client_model_remove(struct cpn_client *client, const char *name, uint32_t version, int timeout_ms)
{
    const struct cpni_msg_admin order = { .op = CPNI_ADMIN_MODEL_REMOVE, .name = cpni_str(name), .version = version };
    return admin(client, &order, timeout_ms);
}
