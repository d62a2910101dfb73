/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See fields.h: the reading half. Every value is checked against the kind of its field; memory is asked for lists
 * alone, and only within the budget that the size of the input sets. */
#include "wire/fields.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "proto/limits.h"
#include "wire/packet.h"

static const struct {
    const char *expected;
    enum cpni_token_kind token;
} kinds[] = {
    [CPNI_FIELD_BOOL] = { "a boolean", CPNI_TOKEN_BOOL },
    [CPNI_FIELD_U32] = { "an unsigned integer up to 4294967295", CPNI_TOKEN_UINT },
    [CPNI_FIELD_U64] = { "an unsigned integer", CPNI_TOKEN_UINT },
    [CPNI_FIELD_I32] = { "an integer of 32 bits", CPNI_TOKEN_UINT },
    [CPNI_FIELD_F32] = { "a finite float of 32 bits", CPNI_TOKEN_FLOAT },
    [CPNI_FIELD_STR] = { "a text", CPNI_TOKEN_STR },
    [CPNI_FIELD_ID] = { "16 bytes", CPNI_TOKEN_BIN },
    [CPNI_FIELD_KEY] = { "32 bytes", CPNI_TOKEN_BIN },
    [CPNI_FIELD_HASH] = { "32 bytes", CPNI_TOKEN_BIN },
    [CPNI_FIELD_SIG] = { "64 bytes", CPNI_TOKEN_BIN },
    [CPNI_FIELD_FRAME] = { "the place of a payload frame", CPNI_TOKEN_UINT },
    [CPNI_FIELD_LIST] = { "a list", CPNI_TOKEN_ARRAY },
};

/* Append to `why`, which a reader has on one screen line: cut, never overrun. */
static void add(char *why, const char *format, va_list list)
{
    size_t used = strlen(why);
    vsnprintf(why + used, CPNI_WHY - used, format, list);
}

static void __attribute__((format(printf, 2, 3))) addf(char *why, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    add(why, format, list);
    va_end(list);
}

int cpni_unpack_refuse(struct cpni_unpack *unpack, const char *format, ...)
{
    char *why = unpack->why;
    why[0] = 0;
    if (unpack->message != 0) {
        addf(why, "message %zu ", unpack->message);
    }
    addf(why, "%s", unpack->subject);
    for (size_t i = 0; i < unpack->depth; i++) {
        addf(why, "%s%s", i == 0 ? ", " : ".", unpack->path[i].field->name);
        if (i + 1 < unpack->depth) {
            addf(why, "[%u]", unpack->path[i].index);
        }
    }
    addf(why, ": ");
    va_list list;
    va_start(list, format);
    add(why, format, list);
    va_end(list);
    return CPN_EPROTO;
}

static int refuse_bytes(struct cpni_unpack *unpack)
{
    return cpni_unpack_refuse(unpack, "no valid msgpack here (cut short, or a length or depth that can not be)");
}

static int refuse_token(struct cpni_unpack *unpack, const char *expected, const struct cpni_token *token)
{
    switch (token->kind) {
    case CPNI_TOKEN_UINT:
        return cpni_unpack_refuse(unpack, "expected %s, got %llu", expected, (unsigned long long)token->number);
    case CPNI_TOKEN_INT:
        return cpni_unpack_refuse(unpack, "expected %s, got %lld", expected, (long long)token->negative);
    case CPNI_TOKEN_FLOAT:
        return cpni_unpack_refuse(unpack, "expected %s, got %g", expected, token->real);
    case CPNI_TOKEN_BIN:
        return cpni_unpack_refuse(unpack, "expected %s, got %u bytes", expected, token->size);
    default:
        return cpni_unpack_refuse(unpack, "expected %s, got %s", expected, cpni_token_name(token->kind));
    }
}

int cpni_unpack_token(struct cpni_unpack *unpack, enum cpni_token_kind kind, const char *expected,
                      struct cpni_token *token)
{
    if (cpni_reader_next(&unpack->reader, token) < 0) {
        return refuse_bytes(unpack);
    }
    return token->kind == kind ? 0 : refuse_token(unpack, expected, token);
}

static int unpack_i32(const struct cpni_token *token, void *to)
{
    bool fits = token->kind == CPNI_TOKEN_INT ? token->negative >= INT32_MIN : token->number <= INT32_MAX;
    int64_t value = token->kind == CPNI_TOKEN_INT ? token->negative : (int64_t)token->number;
    memcpy(to, &(int32_t){ (int32_t)value }, sizeof(int32_t));
    return fits ? 0 : CPN_EPROTO;
}

static int unpack_fixed(const struct cpni_token *token, void *to, size_t size)
{
    if (token->size != size) {
        return CPN_EPROTO;
    }
    memcpy(to, token->data, size);
    return 0;
}

/* Values that need nothing but their token, which is of the right kind: CPN_EPROTO when it is out of the field's range
 * (what was written then does not matter: the packet is refused). */
static int unpack_scalar(enum cpni_field_kind kind, const struct cpni_token *token, void *to)
{
    switch (kind) {
    case CPNI_FIELD_I32:
        return unpack_i32(token, to);
    case CPNI_FIELD_BOOL:
        memcpy(to, &token->flag, sizeof token->flag);
        return 0;
    case CPNI_FIELD_U32:
        memcpy(to, &(uint32_t){ (uint32_t)token->number }, sizeof(uint32_t));
        return token->number <= UINT32_MAX ? 0 : CPN_EPROTO;
    case CPNI_FIELD_U64:
        memcpy(to, &token->number, sizeof token->number);
        return 0;
    case CPNI_FIELD_F32:
        memcpy(to, &(float){ (float)token->real + 0.0f }, sizeof(float)); /* there is one zero: -0 + 0 is 0 */
        return isfinite((float)token->real) ? 0 : CPN_EPROTO;
    case CPNI_FIELD_ID:
        return unpack_fixed(token, to, sizeof(struct cpn_id));
    case CPNI_FIELD_SIG:
        return unpack_fixed(token, to, sizeof(struct cpni_signature));
    default:
        return unpack_fixed(token, to, sizeof(struct cpn_key));
    }
}

static int unpack_text(struct cpni_unpack *unpack, const struct cpni_token *token, void *to)
{
    if (token->size > CPNI_STR_BYTES_MAX) {
        return cpni_unpack_refuse(unpack, "text of %u bytes, at most %d are taken", token->size, CPNI_STR_BYTES_MAX);
    }
    if (!cpni_text_valid(token->data, token->size)) {
        return cpni_unpack_refuse(unpack, "text that is not UTF-8, or holds a zero byte");
    }
    if (token->size != 0) {
        struct cpni_str text = { .text = (const char *)token->data, .size = token->size };
        memcpy(to, &text, sizeof text);
    }
    return 0;
}

static int unpack_frame(struct cpni_unpack *unpack, const struct cpni_token *token, void *to)
{
    if (token->number >= unpack->frame_count) {
        return cpni_unpack_refuse(unpack, "payload frame %llu, but %zu came", (unsigned long long)token->number,
                                  unpack->frame_count);
    }
    if ((unpack->frames_used >> token->number & 1) != 0) {
        return cpni_unpack_refuse(unpack, "payload frame %llu is taken already", (unsigned long long)token->number);
    }
    unpack->frames_used |= 1ull << token->number;
    struct cpni_bytes *frame = cpni_bytes_ref(unpack->frames[token->number]);
    memcpy(to, &frame, sizeof frame);
    return 0;
}

static int unpack_list(struct cpni_unpack *unpack, const struct cpni_field *field, uint32_t count, uint8_t *body)
{
    const struct cpni_layout *record = field->record;
    if (count > CPNI_LIST_MAX) {
        return cpni_unpack_refuse(unpack, "list of %u, at most %d are taken", count, CPNI_LIST_MAX);
    }
    if (count == 0) {
        return 0;
    }
    if (count * record->size > unpack->memory_left) {
        return cpni_unpack_refuse(unpack, "list of %u records, more than so few bytes can fill", count);
    }
    unpack->memory_left -= count * record->size;
    uint8_t *records = cpni_arena_alloc(unpack->arena, count * record->size);
    if (records == NULL) {
        snprintf(unpack->why, CPNI_WHY, "out of memory");
        return CPN_ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        unpack->path[unpack->depth - 1].index = i;
        int rc = cpni_unpack_fields(unpack, record, records + i * record->size);
        if (rc < 0) {
            return rc;
        }
    }
    memcpy(body + field->offset, &records, sizeof records);
    memcpy(body + field->count_offset, &count, sizeof count);
    return 0;
}

static int unpack_value(struct cpni_unpack *unpack, const struct cpni_field *field, uint8_t *body)
{
    struct cpni_token token;
    if (cpni_reader_next(&unpack->reader, &token) < 0) {
        return refuse_bytes(unpack);
    }
    bool negative = field->kind == CPNI_FIELD_I32 && token.kind == CPNI_TOKEN_INT;
    if (token.kind != kinds[field->kind].token && !negative) {
        return refuse_token(unpack, kinds[field->kind].expected, &token);
    }
    switch (field->kind) {
    case CPNI_FIELD_STR:
        return unpack_text(unpack, &token, body + field->offset);
    case CPNI_FIELD_FRAME:
        return unpack_frame(unpack, &token, body + field->offset);
    case CPNI_FIELD_LIST:
        return unpack_list(unpack, field, token.size, body);
    default:
        break;
    }
    int rc = unpack_scalar(field->kind, &token, body + field->offset);
    return rc == 0 ? 0 : refuse_token(unpack, kinds[field->kind].expected, &token);
}

/* Numbers mostly run from 1 without a gap: the first look finds nearly all. */
static const struct cpni_field *find_field(const struct cpni_layout *layout, uint64_t number)
{
    if (number >= 1 && number <= layout->field_count && layout->fields[number - 1].number == number) {
        return &layout->fields[number - 1];
    }
    for (size_t i = 0; i < layout->field_count; i++) {
        if (layout->fields[i].number == number) {
            return &layout->fields[i];
        }
    }
    return NULL;
}

static int skip_unknown(struct cpni_unpack *unpack)
{
    unpack->skipped = true;
    return cpni_reader_skip(&unpack->reader) < 0 ? refuse_bytes(unpack) : 0;
}

int cpni_unpack_fields(struct cpni_unpack *unpack, const struct cpni_layout *layout, void *body)
{
    assert(layout->field_count <= 64 && unpack->depth < CPNI_PATH_DEPTH);
    struct cpni_token token = { 0 };
    int rc = cpni_unpack_token(unpack, CPNI_TOKEN_MAP, "a map of fields", &token);
    uint64_t seen = 0;
    for (uint32_t left = token.size; rc == 0 && left > 0; left--) {
        rc = cpni_unpack_token(unpack, CPNI_TOKEN_UINT, "a field number", &token);
        if (rc < 0) {
            return rc;
        }
        const struct cpni_field *field = find_field(layout, token.number);
        if (field == NULL) {
            rc = skip_unknown(unpack);
            continue;
        }
        uint64_t bit = 1ull << (field - layout->fields);
        unpack->path[unpack->depth++].field = field;
        bool again = (seen & bit) != 0;
        rc = again ? cpni_unpack_refuse(unpack, "the field comes twice") : unpack_value(unpack, field, body);
        unpack->depth--;
        seen |= bit;
    }
    return rc;
}
