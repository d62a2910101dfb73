/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See joinline.h. */
#include "joinline.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include <cpn/error.h>

#include "net/detail.h"

#define SCHEME "cpn://"
#define CHECK_BYTES 5 /* with the 64 of the keys a multiple of three: base64 without a partial group */
#define CODE_BYTES (32 + CPNI_SEED_BYTES + CHECK_BYTES)
#define CODE_TEXT (CODE_BYTES / 3 * 4)

static const enum cpn_role roles[] = { CPN_ROLE_NODE, CPN_ROLE_USER, CPN_ROLE_ADMIN };

static void check(const char *before, size_t size, const struct cpni_joinline *line, uint8_t out[CHECK_BYTES])
{
    crypto_generichash_state state;
    uint8_t hash[32];
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, (const uint8_t *)before, size);
    crypto_generichash_update(&state, line->master.bytes, sizeof line->master.bytes);
    crypto_generichash_update(&state, line->seed.bytes, sizeof line->seed.bytes);
    crypto_generichash_final(&state, hash, sizeof hash);
    memcpy(out, hash, CHECK_BYTES);
}

int cpni_joinline_print(const struct cpni_joinline *line, char text[CPNI_JOINLINE_TEXT])
{
    if (line->endpoint_count == 0 || line->endpoint_count > CPNI_ENDPOINTS_MAX || line->role == CPN_ROLE_NONE) {
        return CPN_EINVAL;
    }
    char result[CPNI_JOINLINE_TEXT] = SCHEME;
    size_t size = strlen(SCHEME);
    for (size_t i = 0; i < line->endpoint_count; i++) {
        char endpoint[CPNI_ENDPOINT_TEXT];
        const char *host_port = line->endpoints[i] + strlen(CPNI_ENDPOINT_SCHEME);
        if (strncmp(line->endpoints[i], CPNI_ENDPOINT_SCHEME, strlen(CPNI_ENDPOINT_SCHEME)) != 0 ||
            cpni_endpoint_parse(host_port, strlen(host_port), endpoint) != 0) {
            return CPN_EINVAL;
        }
        size += (size_t)snprintf(result + size, sizeof result - size, "%s%s", i == 0 ? "" : ",", host_port);
    }
    size += (size_t)snprintf(result + size, sizeof result - size, "/%s-", cpn_role_name(line->role));
    uint8_t code[CODE_BYTES];
    memcpy(code, line->master.bytes, 32);
    memcpy(code + 32, line->seed.bytes, CPNI_SEED_BYTES);
    check(result, size, line, code + 32 + CPNI_SEED_BYTES);
    sodium_bin2base64(result + size, sizeof result - size, code, sizeof code, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    memcpy(text, result, size + CODE_TEXT + 1);
    sodium_memzero(code, sizeof code);
    sodium_memzero(result, sizeof result);
    return 0;
}

static int parse_endpoints(const char *text, size_t size, struct cpni_joinline *out, char *detail)
{
    const char *end = text + size;
    while (text <= end) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        const char *stop = comma != NULL ? comma : end;
        if (out->endpoint_count == CPNI_ENDPOINTS_MAX) {
            cpni_explain(detail, "the join line names more than %d addresses", CPNI_ENDPOINTS_MAX);
            return CPN_EINVAL;
        }
        if (cpni_endpoint_parse(text, (size_t)(stop - text), out->endpoints[out->endpoint_count]) != 0) {
            const int shown = (int)(stop - text < 80 ? stop - text : 80);
            cpni_explain(detail, "the join line's address '%.*s' is not HOST:PORT", shown, text);
            return CPN_EINVAL;
        }
        out->endpoint_count++;
        text = stop + 1;
    }
    return 0;
}

static const char *parse_role(const char *text, const char *end, enum cpn_role *role)
{
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        const char *name = cpn_role_name(roles[i]);
        const size_t size = strlen(name);
        if ((size_t)(end - text) > size && strncmp(text, name, size) == 0 && text[size] == '-') {
            *role = roles[i];
            return text + size + 1;
        }
    }
    return NULL;
}

/* The code: keys, seed and the check over everything from `start` to `text`. */
static int parse_code(const char *start, const char *text, const char *end, struct cpni_joinline *out, char *detail)
{
    const size_t size = (size_t)(end - text);
    if (size < CODE_TEXT) {
        cpni_explain(detail, "the join line is cut off: %zu characters are missing at its end; copy all of it",
                     CODE_TEXT - size);
        return CPN_EINVAL;
    }
    uint8_t code[CODE_BYTES];
    uint8_t expected[CHECK_BYTES];
    size_t decoded = 0;
    int rc = sodium_base642bin(code, sizeof code, text, size, NULL, &decoded, NULL,
                               sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    if (rc == 0 && decoded == sizeof code) {
        memcpy(out->master.bytes, code, 32);
        memcpy(out->seed.bytes, code + 32, CPNI_SEED_BYTES);
        check(start, (size_t)(text - start), out, expected);
        rc = memcmp(expected, code + 32 + CPNI_SEED_BYTES, CHECK_BYTES);
    } else {
        rc = -1;
    }
    sodium_memzero(code, sizeof code);
    if (rc != 0) {
        cpni_explain(detail, "the join line was altered (a character is wrong, missing or too many):"
                             " copy all of it again");
        return CPN_EINVAL;
    }
    return 0;
}

static int parse_line(const char *text, const char *end, struct cpni_joinline *out, char *detail)
{
    const char *hosts = text + strlen(SCHEME);
    if ((size_t)(end - text) < strlen(SCHEME) || strncmp(text, SCHEME, strlen(SCHEME)) != 0) {
        cpni_explain(detail, "not a join line: it starts with " SCHEME
                             "; cpn-master prints one at its first start, and `cpn token create` makes more");
        return CPN_EINVAL;
    }
    const char *slash = memchr(hosts, '/', (size_t)(end - hosts));
    if (slash == NULL) {
        cpni_explain(detail, "the join line is cut off after its address; copy all of it");
        return CPN_EINVAL;
    }
    int rc = parse_endpoints(hosts, (size_t)(slash - hosts), out, detail);
    if (rc != 0) {
        return rc;
    }
    const char *code = parse_role(slash + 1, end, &out->role);
    if (code == NULL) {
        cpni_explain(detail, "the join line is cut off or altered after its address; copy all of it again");
        return CPN_EINVAL;
    }
    return parse_code(text, code, end, out, detail);
}

int cpni_joinline_parse(const char *text, struct cpni_joinline *out, char detail[CPNI_NET_DETAIL])
{
    while (isspace((unsigned char)*text)) {
        text++;
    }
    const char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) {
        end--;
    }
    struct cpni_joinline line;
    memset(&line, 0, sizeof line);
    const int rc = parse_line(text, end, &line, detail);
    if (rc == 0) {
        *out = line;
    }
    sodium_memzero(&line, sizeof line);
    return rc;
}
