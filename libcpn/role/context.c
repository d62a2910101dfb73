/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Contexts: made, kept in a file, read back. The file is lines of "key value", so that a person can see what it is for; man/cpn.7 lists
 * them. Must not know how a join goes: see join.c. */
#include "role/context.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "net/secretfile.h"

#define FILE_MAX 8192
#define HEADER "cpn-context 1\n"

int cpni_context_make(struct cpn_context **out)
{
    int rc = cpni_keys_init();
    if (rc < 0) {
        return rc;
    }
    struct cpn_context *context = cpni_calloc(1, sizeof *context);
    if (context == NULL) {
        return CPN_ENOMEM;
    }
    cpni_curve_generate(&context->keys);
    cpni_sign_generate(&context->sign);
    *out = context;
    return 0;
}

void cpn_context_free(struct cpn_context *context)
{
    if (context != NULL) {
        cpni_wipe(context, sizeof *context);
        cpni_free(context);
    }
}

int cpni_context_set_endpoints(struct cpn_context *context, const char *endpoints)
{
    if (strlen(endpoints) >= sizeof context->endpoints) {
        return CPN_ETOOBIG;
    }
    strcpy(context->endpoints, endpoints);
    char *to = context->shown;
    for (const char *from = endpoints; *from != 0;) {
        if (strncmp(from, CPNI_ENDPOINT_SCHEME, sizeof CPNI_ENDPOINT_SCHEME - 1) == 0) {
            from += sizeof CPNI_ENDPOINT_SCHEME - 1;
        } else {
            *to++ = *from++;
        }
    }
    *to = 0;
    return 0;
}

int cpni_context_save(const struct cpn_context *context, const char *path, bool replace, char *detail)
{
    char secret[2 * sizeof context->keys.secret + 1];
    char sign[2 * sizeof context->sign.secret + 1];
    char master[CPN_KEY_TEXT];
    struct cpni_buf text = { 0 };
    sodium_bin2hex(secret, sizeof secret, context->keys.secret, sizeof context->keys.secret);
    sodium_bin2hex(sign, sizeof sign, context->sign.secret, sizeof context->sign.secret);
    cpni_buf_printf(&text, HEADER "state %s\nrole %s\nname %s\nendpoints %s\nmaster %s\nsecret %s\nsign %s\n",
                    context->joined ? "joined" : "joining", cpn_role_name(context->role), context->name, context->endpoints,
                    cpn_key_text(&context->master, master), secret, sign);
    int rc = text.failed ? CPN_ENOMEM : cpni_secretfile_write(path, (const char *)text.data, text.size, replace, detail);
    cpni_wipe(secret, sizeof secret);
    cpni_wipe(sign, sizeof sign);
    if (text.data != NULL) {
        cpni_wipe(text.data, text.size);
    }
    cpni_buf_free(&text);
    return rc;
}

static bool take_secret(const char *value, uint8_t *secret, size_t size)
{
    size_t decoded = 0;
    return strlen(value) == 2 * size && sodium_hex2bin(secret, size, value, 2 * size, NULL, &decoded, NULL) == 0 && decoded == size;
}

static bool take_role(const char *value, enum cpn_role *role)
{
    for (enum cpn_role r = CPN_ROLE_NONE; r <= CPN_ROLE_ADMIN; r++) {
        if (strcmp(value, cpn_role_name(r)) == 0) {
            *role = r;
            return true;
        }
    }
    return false;
}

/* One line; keys of a newer version are skipped. */
static bool take_line(struct cpn_context *context, const char *key, const char *value, unsigned *seen)
{
    if (strcmp(key, "state") == 0) {
        context->joined = strcmp(value, "joined") == 0;
        return true;
    }
    if (strcmp(key, "role") == 0) {
        return take_role(value, &context->role);
    }
    if (strcmp(key, "name") == 0) {
        return snprintf(context->name, sizeof context->name, "%s", value) < (int)sizeof context->name;
    }
    if (strcmp(key, "endpoints") == 0) {
        *seen |= 1;
        return cpni_context_set_endpoints(context, value) == 0;
    }
    if (strcmp(key, "master") == 0) {
        *seen |= 2;
        return cpn_key_parse(value, &context->master) == 0;
    }
    if (strcmp(key, "secret") == 0) {
        *seen |= 4;
        return take_secret(value, context->keys.secret, sizeof context->keys.secret);
    }
    if (strcmp(key, "sign") == 0) {
        *seen |= 8;
        return take_secret(value, context->sign.secret, sizeof context->sign.secret);
    }
    return true;
}

static int parse(struct cpn_context *context, char *text, const char *path, char *detail)
{
    unsigned seen = 0;
    if (strncmp(text, HEADER, sizeof HEADER - 1) != 0) {
        cpni_explain(detail, "%s is no cpn context (it should start with \"cpn-context 1\"): restore it, or remove it and join again", path);
        return CPN_ECORRUPT;
    }
    char *rest = NULL;
    int number = 1;
    for (char *line = strtok_r(text + sizeof HEADER - 1, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        number++;
        char *space = strchr(line, ' ');
        if (space != NULL) {
            *space = 0;
        }
        if (space == NULL || !take_line(context, line, space + 1, &seen)) {
            cpni_explain(detail, "context %s is damaged at line %d (\"%s\"): restore it, or remove it and join again", path, number, line);
            return CPN_ECORRUPT;
        }
    }
    if (seen != 15) {
        cpni_explain(detail, "context %s is cut off: it lacks endpoints, master, secret or sign. Restore it, or remove it and join again", path);
        return CPN_ECORRUPT;
    }
    cpni_curve_from_secret(context->keys.secret, &context->keys);
    cpni_sign_from_secret(context->sign.secret, &context->sign);
    return 0;
}

int cpni_context_read(const char *path, struct cpn_context **out, char *detail)
{
    struct cpn_context *context;
    char text[FILE_MAX];
    int rc = cpni_keys_init();
    if (rc < 0) {
        return rc;
    }
    rc = cpni_secretfile_read(path, text, sizeof text, detail);
    if (rc < 0) {
        return rc;
    }
    context = cpni_calloc(1, sizeof *context);
    rc = context == NULL ? CPN_ENOMEM : parse(context, text, path, detail);
    cpni_wipe(text, sizeof text);
    if (rc < 0) {
        cpn_context_free(context);
        return rc;
    }
    *out = context;
    return 0;
}

int cpn_context_load(const char *path, struct cpn_context **out, char *detail)
{
    struct cpn_context *context;
    int rc = cpni_context_read(path, &context, detail);
    if (rc == 0 && !context->joined) {
        cpni_explain(detail, "the join that made %s was not finished: join again with the same line", path);
        cpn_context_free(context);
        return CPN_ESTATE;
    }
    if (rc == 0) {
        *out = context;
    }
    return rc;
}

const char *cpn_context_name(const struct cpn_context *context)
{
    return context->name;
}

enum cpn_role cpn_context_role(const struct cpn_context *context)
{
    return context->role;
}

const char *cpn_context_endpoint(const struct cpn_context *context)
{
    return context->shown;
}

struct cpn_key cpn_context_key(const struct cpn_context *context)
{
    return context->keys.public_key;
}
