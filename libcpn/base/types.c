/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Identifiers to hexadecimal text and back. */
#include <cpn/types.h>

#include <string.h>

#include <cpn/error.h>

static char *to_hex(const uint8_t *bytes, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * size] = 0;
    return text;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int from_hex(const char *text, uint8_t *bytes, size_t size)
{
    uint8_t parsed[32];
    if (strlen(text) != 2 * size) {
        return CPN_EINVAL;
    }
    for (size_t i = 0; i < size; i++) {
        int high = nibble(text[2 * i]);
        int low = nibble(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return CPN_EINVAL;
        }
        parsed[i] = (uint8_t)(high * 16 + low);
    }
    memcpy(bytes, parsed, size);
    return 0;
}

char *cpn_id_text(const struct cpn_id *id, char text[CPN_ID_TEXT])
{
    return to_hex(id->bytes, sizeof id->bytes, text);
}

char *cpn_key_text(const struct cpn_key *key, char text[CPN_KEY_TEXT])
{
    return to_hex(key->bytes, sizeof key->bytes, text);
}

char *cpn_hash_text(const struct cpn_hash *hash, char text[CPN_KEY_TEXT])
{
    return to_hex(hash->bytes, sizeof hash->bytes, text);
}

int cpn_id_parse(const char *text, struct cpn_id *out)
{
    return from_hex(text, out->bytes, sizeof out->bytes);
}

int cpn_key_parse(const char *text, struct cpn_key *out)
{
    return from_hex(text, out->bytes, sizeof out->bytes);
}

int cpn_hash_parse(const char *text, struct cpn_hash *out)
{
    return from_hex(text, out->bytes, sizeof out->bytes);
}
