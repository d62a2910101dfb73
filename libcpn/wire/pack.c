/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See fields.h: the writing half, on msgpack-c's packer. Everything the reading half would refuse is refused here,
 * so that one bad text does not cost the receiver the whole packet. */
#include "wire/fields.h"

#include <math.h>
#include <string.h>

#include <cpn/error.h>

#include "proto/limits.h"

static int write_bytes(void *data, const char *bytes, size_t size)
{
    struct cpni_pack *pack = data;
    struct cpni_buf *buf = &pack->buf;
    if (pack->error != 0) {
        return -1;
    }
    if (size > pack->limit - buf->size) {
        pack->error = CPN_ETOOBIG;
    } else if (size <= buf->capacity - buf->size && size != 0) { /* nearly always, and called for every few bytes */
        memcpy(buf->data + buf->size, bytes, size);
        buf->size += size;
    } else {
        pack->error = cpni_buf_append(buf, bytes, size);
    }
    return pack->error == 0 ? 0 : -1;
}

void cpni_pack_init(struct cpni_pack *pack, size_t limit, struct cpni_bytes **frames, size_t frame_room)
{
    *pack = (struct cpni_pack){ .limit = limit, .frames = frames, .frame_room = frame_room };
    pack->payload_left =
        CPNI_ZMTP_MESSAGE_BYTES_MAX - CPNI_HEADER_BYTES_MAX - CPNI_ZMTP_FRAMES_MAX * CPNI_ZMTP_FRAME_OVERHEAD;
    msgpack_packer_init(&pack->packer, pack, write_bytes);
}

static void fail(struct cpni_pack *pack, int error)
{
    if (pack->error == 0) {
        pack->error = error;
    }
}

/* A field of the struct that a layout describes. */
#define READ(type_, body_, offset_) (*(type_ const *)(const void *)((body_) + (offset_)))

static bool all_zero(const uint8_t *at, size_t size)
{
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++) {
        any |= at[i];
    }
    return any == 0;
}

static size_t fixed_size(enum cpni_field_kind kind)
{
    return kind == CPNI_FIELD_ID ? sizeof(struct cpn_id) : kind == CPNI_FIELD_SIG ? sizeof(struct cpni_signature)
                                                                                 : sizeof(struct cpn_key);
}

static bool is_zero(const struct cpni_field *field, const uint8_t *body)
{
    switch (field->kind) {
    case CPNI_FIELD_BOOL:
        return !READ(bool, body, field->offset);
    case CPNI_FIELD_U32:
        return READ(uint32_t, body, field->offset) == 0;
    case CPNI_FIELD_U64:
        return READ(uint64_t, body, field->offset) == 0;
    case CPNI_FIELD_I32:
        return READ(int32_t, body, field->offset) == 0;
    case CPNI_FIELD_F32:
        return fpclassify(READ(float, body, field->offset)) == FP_ZERO;
    case CPNI_FIELD_STR:
        return READ(struct cpni_str, body, field->offset).size == 0;
    case CPNI_FIELD_FRAME:
        return READ(struct cpni_bytes *, body, field->offset) == NULL;
    case CPNI_FIELD_LIST:
        return READ(uint32_t, body, field->count_offset) == 0;
    default:
        return all_zero(body + field->offset, fixed_size(field->kind));
    }
}

static void pack_float(struct cpni_pack *pack, float value)
{
    if (!isfinite(value)) {
        fail(pack, CPN_EINVAL);
        return;
    }
    msgpack_pack_float(&pack->packer, value);
}

static void pack_text(struct cpni_pack *pack, struct cpni_str text)
{
    if (text.size > CPNI_STR_BYTES_MAX) {
        fail(pack, CPN_ETOOBIG);
    } else if (!cpni_text_valid(text.text, text.size)) {
        fail(pack, CPN_EINVAL);
    } else {
        msgpack_pack_str_with_body(&pack->packer, text.text, text.size);
    }
}

static void pack_frame(struct cpni_pack *pack, struct cpni_bytes *frame)
{
    if (pack->frame_count == pack->frame_room || frame->size > CPNI_ZMTP_FRAME_BYTES_MAX - CPNI_ZMTP_FRAME_OVERHEAD ||
        frame->size > pack->payload_left) {
        fail(pack, CPN_ETOOBIG);
        return;
    }
    pack->payload_left -= frame->size;
    msgpack_pack_uint32(&pack->packer, (uint32_t)pack->frame_count);
    pack->frames[pack->frame_count++] = cpni_bytes_ref(frame);
}

static void pack_list(struct cpni_pack *pack, const struct cpni_field *field, const uint8_t *body)
{
    const uint8_t *records; /* copied, not read: the field's type is a pointer to its record's struct */
    memcpy(&records, body + field->offset, sizeof records);
    uint32_t count = READ(uint32_t, body, field->count_offset);
    if (count > CPNI_LIST_MAX) {
        fail(pack, CPN_ETOOBIG);
        return;
    }
    msgpack_pack_array(&pack->packer, count);
    for (uint32_t i = 0; i < count && pack->error == 0; i++) {
        cpni_pack_fields(pack, field->record, records + i * field->record->size);
    }
}

static void pack_value(struct cpni_pack *pack, const struct cpni_field *field, const uint8_t *body)
{
    switch (field->kind) {
    case CPNI_FIELD_BOOL:
        msgpack_pack_true(&pack->packer); /* false is zero and not sent */
        return;
    case CPNI_FIELD_U32:
        msgpack_pack_uint32(&pack->packer, READ(uint32_t, body, field->offset));
        return;
    case CPNI_FIELD_U64:
        msgpack_pack_uint64(&pack->packer, READ(uint64_t, body, field->offset));
        return;
    case CPNI_FIELD_I32:
        msgpack_pack_int32(&pack->packer, READ(int32_t, body, field->offset));
        return;
    case CPNI_FIELD_F32:
        pack_float(pack, READ(float, body, field->offset));
        return;
    case CPNI_FIELD_STR:
        pack_text(pack, READ(struct cpni_str, body, field->offset));
        return;
    case CPNI_FIELD_FRAME:
        pack_frame(pack, READ(struct cpni_bytes *, body, field->offset));
        return;
    case CPNI_FIELD_LIST:
        pack_list(pack, field, body);
        return;
    default:
        msgpack_pack_bin_with_body(&pack->packer, body + field->offset, fixed_size(field->kind));
    }
}

void cpni_pack_fields(struct cpni_pack *pack, const struct cpni_layout *layout, const void *body)
{
    uint64_t set = 0; /* the map's head, which comes first, says how many follow */
    uint32_t count = 0;
    for (size_t i = 0; i < layout->field_count; i++) {
        if (!is_zero(&layout->fields[i], body)) {
            set |= 1ull << i;
            count++;
        }
    }
    msgpack_pack_map(&pack->packer, count);
    for (size_t i = 0; set >> i != 0; i++) {
        if ((set >> i & 1) != 0) {
            msgpack_pack_uint8(&pack->packer, layout->fields[i].number);
            pack_value(pack, &layout->fields[i], body);
        }
    }
}
