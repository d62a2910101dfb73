/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Messages from a seed, and their comparison, by the field tables: a field added to proto/msg.h is tested without a
 * line here. */
#ifndef FILLER_H
#define FILLER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "proto/msg.h"

struct filler {
    struct cpni_arena *arena;
    uint32_t random;
    bool sparse;      /* leave about half of the fields zero */
    uint32_t records; /* in each list */
};

static inline uint32_t filler_next(struct filler *filler)
{
    filler->random = filler->random * 1664525u + 1013904223u;
    return filler->random >> 8;
}

static inline struct cpni_str filler_text(struct filler *filler)
{
    static const char *const pieces[] = {
        "node", "-", "faces", "7", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x93\xb7", " "
    };
    char text[200];
    size_t size = 0;
    for (uint32_t left = 1 + filler_next(filler) % 40; left > 0; left--) {
        const char *piece = pieces[filler_next(filler) % 8];
        memcpy(text + size, piece, strlen(piece));
        size += strlen(piece);
    }
    return (struct cpni_str){ .text = cpni_arena_memdup(filler->arena, text, size), .size = (uint32_t)size };
}

static inline void filler_fields(struct filler *filler, const struct cpni_layout *layout, uint8_t *body);

static inline void filler_list(struct filler *filler, const struct cpni_field *field, uint8_t *body)
{
    uint32_t count = filler->records;
    uint8_t *records = cpni_arena_alloc(filler->arena, count * field->record->size);
    for (uint32_t i = 0; i < count; i++) {
        filler_fields(filler, field->record, records + i * field->record->size);
    }
    memcpy(body + field->offset, &records, sizeof records);
    memcpy(body + field->count_offset, &count, sizeof count);
}

static inline size_t filler_fixed(enum cpni_field_kind kind)
{
    return kind == CPNI_FIELD_ID ? 16 : kind == CPNI_FIELD_SIG ? 64 : 32;
}

static inline void filler_value(struct filler *filler, const struct cpni_field *field, uint8_t *body)
{
    uint8_t *to = body + field->offset;
    uint32_t shift = filler_next(filler) % 31;
    uint32_t some = ((filler_next(filler) << 8 ^ filler_next(filler)) | 0x80000000u) >> shift;
    uint8_t bytes[64];
    struct cpni_bytes *frame;
    switch (field->kind) {
    case CPNI_FIELD_BOOL:
        memcpy(to, &(bool){ true }, sizeof(bool));
        break;
    case CPNI_FIELD_U32:
        memcpy(to, &some, sizeof some);
        break;
    case CPNI_FIELD_I32:
        memcpy(to, &(int32_t){ (some & 1) != 0 ? -(int32_t)(some >> 1) - 1 : (int32_t)(some >> 1) + 1 },
               sizeof(int32_t));
        break;
    case CPNI_FIELD_U64:
        memcpy(to, &(uint64_t){ (uint64_t)some << (filler_next(filler) % 33) }, sizeof(uint64_t));
        break;
    case CPNI_FIELD_F32:
        memcpy(to, &(float){ (float)some / 3.0f }, sizeof(float));
        break;
    case CPNI_FIELD_STR:
        memcpy(to, &(struct cpni_str[]){ filler_text(filler) }, sizeof(struct cpni_str));
        break;
    case CPNI_FIELD_LIST:
        filler_list(filler, field, body);
        break;
    case CPNI_FIELD_FRAME:
        frame = cpni_bytes_copy("payload", filler_next(filler) % 8);
        memcpy(to, &frame, sizeof frame);
        break;
    default:
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (uint8_t)(filler_next(filler) | 1);
        }
        memcpy(to, bytes, filler_fixed(field->kind));
    }
}

static inline void filler_fields(struct filler *filler, const struct cpni_layout *layout, uint8_t *body)
{
    for (size_t i = 0; i < layout->field_count; i++) {
        if (!filler->sparse || filler_next(filler) % 2 == 0) {
            filler_value(filler, &layout->fields[i], body);
        }
    }
}

/* Frames in it are references: cpni_msg_drop. */
static inline struct cpni_msg filler_msg(struct filler *filler, unsigned type)
{
    struct cpni_msg msg;
    memset(&msg, 0, sizeof msg);
    msg.type = (enum cpni_msg_type)type;
    filler_fields(filler, cpni_msg_layout(type), cpni_msg_body(&msg));
    return msg;
}

static inline bool filler_equal(const struct cpni_layout *layout, const uint8_t *a, const uint8_t *b);

static inline bool filler_equal_list(const struct cpni_field *field, const uint8_t *a, const uint8_t *b)
{
    const uint8_t *in_a;
    const uint8_t *in_b;
    uint32_t count_a;
    uint32_t count_b;
    memcpy(&in_a, a + field->offset, sizeof in_a);
    memcpy(&in_b, b + field->offset, sizeof in_b);
    memcpy(&count_a, a + field->count_offset, sizeof count_a);
    memcpy(&count_b, b + field->count_offset, sizeof count_b);
    bool equal = count_a == count_b;
    for (uint32_t i = 0; equal && i < count_a; i++) {
        size_t at = i * field->record->size;
        equal = filler_equal(field->record, in_a + at, in_b + at);
    }
    return equal;
}

static inline bool filler_equal_value(const struct cpni_field *field, const uint8_t *a, const uint8_t *b)
{
    struct cpni_str text[2];
    struct cpni_bytes *frame[2];
    switch (field->kind) {
    case CPNI_FIELD_LIST:
        return filler_equal_list(field, a, b);
    case CPNI_FIELD_STR:
        memcpy(&text[0], a + field->offset, sizeof text[0]);
        memcpy(&text[1], b + field->offset, sizeof text[1]);
        return cpni_str_equal(text[0], text[1]);
    case CPNI_FIELD_FRAME:
        memcpy(&frame[0], a + field->offset, sizeof frame[0]);
        memcpy(&frame[1], b + field->offset, sizeof frame[1]);
        return frame[0] == frame[1];
    case CPNI_FIELD_BOOL:
        return memcmp(a + field->offset, b + field->offset, sizeof(bool)) == 0;
    case CPNI_FIELD_U64:
        return memcmp(a + field->offset, b + field->offset, 8) == 0;
    case CPNI_FIELD_U32:
    case CPNI_FIELD_I32:
    case CPNI_FIELD_F32:
        return memcmp(a + field->offset, b + field->offset, 4) == 0;
    default:
        return memcmp(a + field->offset, b + field->offset, filler_fixed(field->kind)) == 0;
    }
}

static inline bool filler_equal(const struct cpni_layout *layout, const uint8_t *a, const uint8_t *b)
{
    bool equal = true;
    for (size_t i = 0; equal && i < layout->field_count; i++) {
        equal = filler_equal_value(&layout->fields[i], a, b);
    }
    return equal;
}

#endif
