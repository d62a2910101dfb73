/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Joining: a connection under the token's key on which the only message is ENROL (DESIGN section 11). The own keys are on disk before
 * they are enrolled, so a join that is cut off anywhere can be repeated with the same line. */
#include <string.h>
#include <stdio.h>
#include <unistd.h>

#include <sodium.h>

#include "net/joinline.h"
#include "role/client.h"
#include "role/clock.h"
#include "role/context.h"
#include "role/version.h"

/* Where the line leads, as a context has it. */
static int take_line(struct cpn_context *context, const struct cpni_joinline *line)
{
    char endpoints[CPNI_CONTEXT_ENDPOINTS] = "";
    size_t used = 0;
    for (size_t i = 0; i < line->endpoint_count; i++) {
        used += (size_t)snprintf(endpoints + used, sizeof endpoints - used, "%s%s", i == 0 ? "" : ",", line->endpoints[i]);
    }
    context->master = line->master;
    context->role = line->role;
    return cpni_context_set_endpoints(context, endpoints);
}

/* The keys of an earlier try, or new ones, saved. */
static int prepare(const struct cpni_joinline *line, const char *path, struct cpn_context **out, char *detail)
{
    struct cpn_context *context = NULL;
    int rc = cpni_context_read(path, &context, detail);
    if (rc == 0 || rc != CPN_ENOTFOUND) {
        if (rc == 0 && (rc = take_line(context, line)) < 0) {
            cpn_context_free(context);
        }
        *out = rc == 0 ? context : *out;
        return rc;
    }
    rc = cpni_context_make(&context);
    if (rc == 0) {
        rc = take_line(context, line);
        if (rc == 0) {
            rc = cpni_context_save(context, path, false, detail);
        }
        if (rc < 0) {
            cpn_context_free(context);
        } else {
            *out = context;
        }
    }
    return rc;
}

static int enrol(struct cpn_context *context, const struct cpni_joinline *line, const char *name, int timeout_ms, char *detail)
{
    struct cpni_curve_keys token;
    struct cpni_msg_enrolled enrolled = { 0 };
    struct cpn_client *client = NULL;
    const struct cpn_client_options options = CPN_CLIENT_OPTIONS_INIT;
    cpni_curve_from_seed(&line->seed, &token);
    struct cpni_client_setup setup = {
        .options = &options,
        .endpoints = context->endpoints,
        .master_key = &context->master,
        .keys = &token,
        .config = { .name = cpni_str(name), .software = cpni_str(CPNI_SOFTWARE), .enrol = true,
                    .enrol_key = context->keys.public_key },
    };
    randombytes_buf(setup.config.boot.bytes, sizeof setup.config.boot.bytes);
    int rc = cpni_client_start(&setup, &client, detail);
    if (rc == 0) {
        client->enrolled = &enrolled;
        rc = cpn_client_connect(client, timeout_ms);
        if (rc < 0) {
            cpni_explain(detail, "%s", rc == CPN_EKEY ? "the join token is unknown to this master, expired or used up: ask for a new line"
                                                      : cpn_client_detail(client));
            rc = rc == CPN_EKEY ? CPN_ETOKEN : rc;
        } else {
            context->role = (enum cpn_role)enrolled.role;
            cpni_str_copy(cpni_str(client->detail), context->name, sizeof context->name);
            context->joined = true;
        }
        cpn_client_close(client);
    }
    cpni_wipe(&token, sizeof token);
    return rc;
}

/* An earlier try may have enrolled our keys, though its answer was lost: then the master admits them, whatever became of the token. Any
 * answer but "key not enrolled" says so; what it thinks of a client under a node's key does not matter here. */
static bool enrolled_before(struct cpn_context *context, const char *name, int timeout_ms)
{
    struct cpn_client *client = NULL;
    struct cpn_client_options options = CPN_CLIENT_OPTIONS_INIT;
    options.context = context;
    options.name = name;
    int rc = cpn_client_open(&options, &client, NULL);
    if (rc == 0) {
        rc = cpn_client_connect(client, timeout_ms);
        cpn_client_close(client);
    }
    if (rc == 0 || rc == CPN_EDENIED) {
        snprintf(context->name, sizeof context->name, "%s", name);
        context->joined = true;
    }
    return context->joined;
}

int cpn_context_join(const char *text, const char *name, enum cpn_role role, const char *path, int timeout_ms, struct cpn_context **out,
                     char *detail)
{
    struct cpn_context *context = NULL;
    struct cpni_joinline line = { 0 };
    char host[CPN_NAME] = "";
    int rc = cpn_context_load(path, &context, detail);
    if (rc == 0) {
        *out = context;
        return 0;
    }
    const bool again = rc == CPN_ESTATE;
    if ((rc != CPN_ENOTFOUND && rc != CPN_ESTATE) || (rc = cpni_keys_init()) < 0) {
        return rc;
    }
    rc = cpni_joinline_parse(text, &line, detail);
    if (rc == 0 && role != CPN_ROLE_NONE && line.role != role && !(role == CPN_ROLE_USER && line.role == CPN_ROLE_ADMIN)) {
        cpni_explain(detail, "this join line is for a %s; a line for a %s is needed", cpn_role_name(line.role), cpn_role_name(role));
        rc = CPN_EDENIED;
    }
    if (rc == 0) {
        rc = prepare(&line, path, &context, detail);
    }
    if (rc == 0) {
        gethostname(host, sizeof host - 1);
        rc = enrol(context, &line, name != NULL ? name : host, timeout_ms, detail);
        if (rc == CPN_ETOKEN && again && enrolled_before(context, name != NULL ? name : host, timeout_ms)) {
            rc = 0;
        }
        if (rc == 0) {
            rc = cpni_context_save(context, path, true, detail);
        }
        if (rc < 0) {
            cpn_context_free(context);
        } else {
            *out = context;
        }
    }
    cpni_wipe(&line, sizeof line);
    return rc;
}
