/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See keyfile.h. */
#include "keyfile.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include <cpn/error.h>

#include "secretfile.h"

#define CURVE_KIND "cpn-curve-secret-1"
#define SIGN_KIND "cpn-sign-secret-1"
#define SECRET_BYTES_MAX 64
#define LINE_MAX_BYTES 256 /* a kind, a space, the secret in hexadecimal and a line end */

static int write_secret(const char *path, const char *kind, const uint8_t *secret, size_t size, char *detail)
{
    char hex[2 * SECRET_BYTES_MAX + 1];
    char line[LINE_MAX_BYTES];
    sodium_bin2hex(hex, sizeof hex, secret, size);
    const int length = snprintf(line, sizeof line, "%s %s\n", kind, hex);
    const int rc = cpni_secretfile_write(path, line, (size_t)length, false, detail);
    sodium_memzero(hex, sizeof hex);
    sodium_memzero(line, sizeof line);
    return rc;
}

static int read_secret(const char *path, const char *kind, uint8_t *secret, size_t size, char *detail)
{
    char line[LINE_MAX_BYTES];
    int rc = cpni_secretfile_read(path, line, sizeof line, detail);
    if (rc >= 0) {
        const size_t prefix = strlen(kind) + 1;
        const size_t expected = prefix + 2 * size + 1;
        size_t decoded = 0;
        const bool shaped = (size_t)rc == expected && strncmp(line, kind, prefix - 1) == 0 && line[prefix - 1] == ' ' &&
                            line[expected - 1] == '\n';
        const bool sound = shaped && sodium_hex2bin(secret, size, line + prefix, 2 * size, NULL, &decoded, NULL) == 0;
        rc = sound && decoded == size ? 0 : CPN_ECORRUPT;
        if (rc != 0) {
            cpni_explain(detail, "%s is damaged or not a key file of this kind (it starts with %s)", path, kind);
        }
    }
    sodium_memzero(line, sizeof line);
    return rc;
}

int cpni_keyfile_write_curve(const char *path, const struct cpni_curve_keys *keys, char detail[CPNI_NET_DETAIL])
{
    return write_secret(path, CURVE_KIND, keys->secret, sizeof keys->secret, detail);
}

int cpni_keyfile_read_curve(const char *path, struct cpni_curve_keys *out, char detail[CPNI_NET_DETAIL])
{
    uint8_t secret[sizeof out->secret];
    const int rc = read_secret(path, CURVE_KIND, secret, sizeof secret, detail);
    if (rc == 0) {
        cpni_curve_from_secret(secret, out);
    }
    sodium_memzero(secret, sizeof secret);
    return rc;
}

int cpni_keyfile_write_sign(const char *path, const struct cpni_sign_keys *keys, char detail[CPNI_NET_DETAIL])
{
    return write_secret(path, SIGN_KIND, keys->secret, sizeof keys->secret, detail);
}

int cpni_keyfile_read_sign(const char *path, struct cpni_sign_keys *out, char detail[CPNI_NET_DETAIL])
{
    uint8_t secret[sizeof out->secret];
    const int rc = read_secret(path, SIGN_KIND, secret, sizeof secret, detail);
    if (rc == 0) {
        cpni_sign_from_secret(secret, out);
    }
    sodium_memzero(secret, sizeof secret);
    return rc;
}
