/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See reader.h. The first byte of a value tells its kind and how many bytes of length or number follow. */
#include "wire/reader.h"

#include <string.h>

#include <cpn/error.h>

static uint64_t big_endian(const uint8_t *at, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

static size_t bytes_left(const struct cpni_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* A number of `size` bytes. */
static int read_number(struct cpni_reader *reader, size_t size, bool is_signed, struct cpni_token *token)
{
    if (bytes_left(reader) < size) {
        return CPN_EPROTO;
    }
    uint64_t value = big_endian(reader->at, size);
    reader->at += size;
    uint64_t sign = 1ull << (8 * size - 1);
    if (is_signed && (value & sign) != 0) {
        token->kind = CPNI_TOKEN_INT;
        token->negative = (int64_t)(value | ~(sign - 1));
    } else {
        token->kind = CPNI_TOKEN_UINT;
        token->number = value;
    }
    return 0;
}

static int read_float(struct cpni_reader *reader, size_t size, struct cpni_token *token)
{
    if (bytes_left(reader) < size) {
        return CPN_EPROTO;
    }
    uint64_t bits = big_endian(reader->at, size);
    reader->at += size;
    token->kind = CPNI_TOKEN_FLOAT;
    if (size == sizeof(float)) {
        uint32_t half = (uint32_t)bits;
        float value;
        memcpy(&value, &half, sizeof value);
        token->real = (double)value;
    } else {
        memcpy(&token->real, &bits, sizeof token->real);
    }
    return 0;
}

/* STR, BIN or EXT: a length of `size` bytes (0: `length` is known), then for EXT a type byte, then the bytes. */
static int read_bytes(struct cpni_reader *reader, size_t size, uint64_t length, enum cpni_token_kind kind,
                      struct cpni_token *token)
{
    size_t extra = kind == CPNI_TOKEN_EXT ? 1 : 0;
    if (bytes_left(reader) < size + extra) {
        return CPN_EPROTO;
    }
    if (size != 0) {
        length = big_endian(reader->at, size);
    }
    reader->at += size + extra;
    if (length > bytes_left(reader)) {
        return CPN_EPROTO;
    }
    token->kind = kind;
    token->size = (uint32_t)length;
    token->data = reader->at;
    reader->at += length;
    return 0;
}

/* ARRAY or MAP: a count of `size` bytes (0: `count` is known). Every element takes one byte at least. */
static int read_container(struct cpni_reader *reader, size_t size, uint64_t count, enum cpni_token_kind kind,
                          struct cpni_token *token)
{
    if (bytes_left(reader) < size) {
        return CPN_EPROTO;
    }
    if (size != 0) {
        count = big_endian(reader->at, size);
    }
    reader->at += size;
    if (count * (kind == CPNI_TOKEN_MAP ? 2 : 1) > bytes_left(reader)) {
        return CPN_EPROTO;
    }
    token->kind = kind;
    token->size = (uint32_t)count;
    return 0;
}

static int read_simple(enum cpni_token_kind kind, uint64_t value, struct cpni_token *token)
{
    token->kind = kind;
    if (kind == CPNI_TOKEN_BOOL) {
        token->flag = value != 0;
    } else {
        token->number = value;
    }
    return 0;
}

/* The bytes 0xc0 to 0xdf. */
static int read_long_form(struct cpni_reader *reader, uint8_t byte, struct cpni_token *token)
{
    switch (byte) {
    case 0xc0:
        return read_simple(CPNI_TOKEN_NIL, 0, token);
    case 0xc2:
    case 0xc3:
        return read_simple(CPNI_TOKEN_BOOL, byte & 1, token);
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return read_bytes(reader, (size_t)1 << (byte - 0xc4), 0, CPNI_TOKEN_BIN, token);
    case 0xc7:
    case 0xc8:
    case 0xc9:
        return read_bytes(reader, (size_t)1 << (byte - 0xc7), 0, CPNI_TOKEN_EXT, token);
    case 0xca:
    case 0xcb:
        return read_float(reader, byte == 0xca ? sizeof(float) : sizeof(double), token);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        return read_number(reader, (size_t)1 << (byte - 0xcc), false, token);
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return read_number(reader, (size_t)1 << (byte - 0xd0), true, token);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return read_bytes(reader, 0, 1ull << (byte - 0xd4), CPNI_TOKEN_EXT, token);
    case 0xd9:
    case 0xda:
    case 0xdb:
        return read_bytes(reader, (size_t)1 << (byte - 0xd9), 0, CPNI_TOKEN_STR, token);
    case 0xdc:
    case 0xdd:
        return read_container(reader, byte == 0xdc ? 2 : 4, 0, CPNI_TOKEN_ARRAY, token);
    case 0xde:
    case 0xdf:
        return read_container(reader, byte == 0xde ? 2 : 4, 0, CPNI_TOKEN_MAP, token);
    default:
        return CPN_EPROTO; /* 0xc1 begins no value */
    }
}

int cpni_reader_next(struct cpni_reader *reader, struct cpni_token *token)
{
    if (reader->at == reader->end) {
        return CPN_EPROTO;
    }
    uint8_t byte = *reader->at++;
    if (byte < 0x80) {
        return read_simple(CPNI_TOKEN_UINT, byte, token);
    }
    if (byte < 0x90) {
        return read_container(reader, 0, byte & 0x0f, CPNI_TOKEN_MAP, token);
    }
    if (byte < 0xa0) {
        return read_container(reader, 0, byte & 0x0f, CPNI_TOKEN_ARRAY, token);
    }
    if (byte < 0xc0) {
        return read_bytes(reader, 0, byte & 0x1f, CPNI_TOKEN_STR, token);
    }
    if (byte < 0xe0) {
        return read_long_form(reader, byte, token);
    }
    token->kind = CPNI_TOKEN_INT;
    token->negative = (int64_t)byte - 0x100;
    return 0;
}

int cpni_reader_skip(struct cpni_reader *reader)
{
    uint64_t left[CPNI_SKIP_DEPTH + 1] = { 1 }; /* values yet to skip, by depth */
    size_t depth = 0;
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0) {
                return 0;
            }
            depth--;
        }
        left[depth]--;
        struct cpni_token token;
        int rc = cpni_reader_next(reader, &token);
        if (rc < 0) {
            return rc;
        }
        if (token.kind == CPNI_TOKEN_ARRAY || token.kind == CPNI_TOKEN_MAP) {
            if (depth == CPNI_SKIP_DEPTH) {
                return CPN_EPROTO;
            }
            left[++depth] = (uint64_t)token.size * (token.kind == CPNI_TOKEN_MAP ? 2 : 1);
        }
    }
}

const char *cpni_token_name(enum cpni_token_kind kind)
{
    static const char *const names[] = {
        [CPNI_TOKEN_NIL] = "nil",     [CPNI_TOKEN_BOOL] = "a boolean",
        [CPNI_TOKEN_STR] = "a text",  [CPNI_TOKEN_UINT] = "an unsigned integer",
        [CPNI_TOKEN_BIN] = "bytes",   [CPNI_TOKEN_INT] = "a negative integer",
        [CPNI_TOKEN_MAP] = "a map",   [CPNI_TOKEN_FLOAT] = "a float",
        [CPNI_TOKEN_ARRAY] = "a list", [CPNI_TOKEN_EXT] = "an extension value",
    };
    return names[kind];
}

/* Bytes of the UTF-8 character at `at`, 0 when it is none. */
static size_t utf8_character(const uint8_t *at, size_t left)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 }; /* shorter forms must be used below */
    uint8_t byte = at[0];
    size_t size = byte < 0x80 ? 1 : byte < 0xc0 ? 0 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf8 ? 4 : 0;
    if (size < 2 || size > left) {
        return size == 1 && byte != 0 ? 1 : 0;
    }
    uint32_t code = byte & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (at[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < least[size] || code > 0x10ffff || surrogate ? 0 : size;
}

bool cpni_text_valid(const void *text, size_t size)
{
    const uint8_t *at = text;
    while (size > 0) {
        size_t step = utf8_character(at, size);
        if (step == 0) {
            return false;
        }
        at += step;
        size -= step;
    }
    return true;
}
