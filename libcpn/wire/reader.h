/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Reads msgpack values, one after another, from bytes that nobody vouches for: no memory is asked for, nothing past
 * the end is read, and no announced length or count is believed that the bytes left could not hold (ANCHORS 1.10:
 * five bytes can make msgpack-c's unpacker ask for 96 GB, which is why it is not used on what arrives). Must not
 * know what the values mean. */
#ifndef CPNI_READER_H
#define CPNI_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPNI_SKIP_DEPTH 8 /* containers inside one another in a skipped value: with our own 8, 16 in all */

enum cpni_token_kind {
    CPNI_TOKEN_NIL,
    CPNI_TOKEN_BOOL,
    CPNI_TOKEN_UINT,
    CPNI_TOKEN_INT, /* below zero */
    CPNI_TOKEN_FLOAT,
    CPNI_TOKEN_STR,
    CPNI_TOKEN_BIN,
    CPNI_TOKEN_EXT,
    CPNI_TOKEN_ARRAY,
    CPNI_TOKEN_MAP
};

struct cpni_token {
    enum cpni_token_kind kind;
    uint32_t size; /* bytes of STR, BIN and EXT; elements of ARRAY; pairs of MAP */
    union {
        bool flag;
        uint64_t number;
        int64_t negative;
        double real;
        const uint8_t *data; /* in the bytes that are read */
    };
};

struct cpni_reader {
    const uint8_t *at;
    const uint8_t *end;
};

/* The next token; of a container its head only, its elements follow. CPN_EPROTO for bytes that end early, a byte that
 * begins no value, and a length or count larger than the bytes left; there is nothing more to read then. */
int cpni_reader_next(struct cpni_reader *reader, struct cpni_token *token);

/* Past one whole value, whatever it is. CPN_EPROTO as above and for one nested deeper than CPNI_SKIP_DEPTH. */
int cpni_reader_skip(struct cpni_reader *reader);

/* "an unsigned integer", "a map"; static. */
const char *cpni_token_name(enum cpni_token_kind kind);

/* Text as the protocol has it: UTF-8 (no surrogates, no overlong forms) without zero bytes, so that no copy of it
 * into a C string says less than the text did. */
bool cpni_text_valid(const void *text, size_t size);

#endif
