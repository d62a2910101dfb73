/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* wire/packet: bytes that no program of ours sends. Each is refused with a line that says why, or read as the
 * protocol says, and nothing leaks either way (run with sanitizers: headers are copied to memory of exactly their
 * size). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include <cpn/error.h>

#include "filler.h"
#include "wire/packet.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- a packet from raw bytes ---- */

static char why[CPNI_WHY];

/* Decodes and releases; checks that every reference to a payload frame is given back. `types`: of the messages, may
 * be NULL. */
static int decode_raw(const void *header, size_t size, size_t payloads, unsigned *types)
{
    struct cpni_bytes *frames[2 * CPNI_PACKET_FRAMES_ROOM] = { cpni_bytes_copy(header, size) };
    for (size_t i = 1; i <= payloads; i++) {
        frames[i] = cpni_bytes_copy("payload", 7);
    }
    struct cpni_arena arena = { 0 };
    struct cpni_packet_head head;
    struct cpni_msg *msgs;
    size_t count = 0;
    strcpy(why, "");
    int rc = cpni_packet_decode(frames, payloads + 1, &arena, &head, &msgs, &count, why);
    assert_int_equal(rc < 0, why[0] != 0);
    assert_true(rc == 0 || rc == CPN_EPROTO || rc == CPN_EVERSION);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (types != NULL) {
            types[i] = msgs[i].type;
        }
        cpni_msg_drop(&msgs[i]);
    }
    for (size_t i = 0; i <= payloads; i++) {
        assert_int_equal(frames[i]->refs, 1);
        cpni_bytes_unref(frames[i]);
    }
    cpni_arena_free(&arena);
    return rc;
}

/* The head of a packet with so many messages, into an empty buffer. */
static msgpack_packer start(msgpack_sbuffer *out, size_t messages)
{
    msgpack_packer packer;
    msgpack_sbuffer_init(out);
    msgpack_packer_init(&packer, out, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 4);
    msgpack_pack_int(&packer, CPNI_PROTOCOL_VERSION);
    msgpack_pack_int(&packer, 7);
    msgpack_pack_int(&packer, 1);
    msgpack_pack_array(&packer, messages);
    return packer;
}

/* … and the head of one message with so many fields. */
static msgpack_packer start_message(msgpack_sbuffer *out, unsigned type, size_t fields)
{
    msgpack_packer packer = start(out, 1);
    msgpack_pack_array(&packer, 2);
    msgpack_pack_unsigned_int(&packer, type);
    msgpack_pack_map(&packer, fields);
    return packer;
}

static int finish(msgpack_sbuffer *out, size_t payloads)
{
    int rc = decode_raw(out->data, out->size, payloads, NULL);
    msgpack_sbuffer_destroy(out);
    return rc;
}

static void assert_why(const char *expected)
{
    if (strstr(why, expected) == NULL) {
        fail_msg("'%s' does not say '%s'", why, expected);
    }
}

/* ---- values of every msgpack type ---- */

struct sample {
    const char *bytes;
    size_t size;
};
#define SAMPLE(text) { text, sizeof text - 1 }

static const struct sample samples[] = {
    SAMPLE("\xc0"),                                                  /* 0: nil */
    SAMPLE("\xc2"),                                                  /* 1, 2: booleans */
    SAMPLE("\xc3"),
    SAMPLE("\x07"),                                                  /* 3: small integers that fit all kinds */
    SAMPLE("\xcc\x07"),
    SAMPLE("\xd3\x00\x00\x00\x00\x00\x00\x00\x07"),
    SAMPLE("\xce\x80\x00\x00\x00"),                                  /* 6: 2^31 */
    SAMPLE("\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),                  /* 7: 2^32 */
    SAMPLE("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),                  /* 8: 2^64 - 1 */
    SAMPLE("\xff"),                                                  /* 9: -1 */
    SAMPLE("\xd2\x80\x00\x00\x00"),                                  /* 10: -2^31 */
    SAMPLE("\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"),                  /* 11: -2^31 - 1 */
    SAMPLE("\xca\x3f\x00\x00\x00"),                                  /* 12: 0.5f */
    SAMPLE("\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00"),                  /* 13: 0.5 */
    SAMPLE("\xca\x7f\xc0\x00\x00"),                                  /* 14: NaN */
    SAMPLE("\xca\x7f\x80\x00\x00"),                                  /* 15: infinity */
    SAMPLE("\xcb\x7f\xe0\x00\x00\x00\x00\x00\x00"),                  /* 16: finite, but not in 32 bits */
    SAMPLE("\xa3" "abc"),                                            /* 17: text */
    SAMPLE("\xd9\x03" "abc"),
    SAMPLE("\xa0"),
    SAMPLE("\xa2\xc3\x28"),                                          /* 20: not UTF-8 */
    SAMPLE("\xa3" "a\0c"),                                           /* 21: with a zero byte */
    SAMPLE("\xc4\x10" "0123456789abcdef"),                           /* 22: 16 bytes */
    SAMPLE("\xc4\x20" "0123456789abcdef0123456789abcdef"),           /* 23: 32 bytes */
    SAMPLE("\xc5\x00\x20" "0123456789abcdef0123456789abcdef"),
    SAMPLE("\xc4\x40" "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), /* 25: 64 bytes */
    SAMPLE("\xc4\x00"),                                              /* 26: no bytes */
    SAMPLE("\xc4\x1f" "0123456789abcdef0123456789abcde"),            /* 27: 31 bytes */
    SAMPLE("\x90"),                                                  /* 28: lists */
    SAMPLE("\x91\x80"),
    SAMPLE("\xdc\x00\x02\x80\x80"),
    SAMPLE("\x91\x07"),                                              /* 31: a list of no records */
    SAMPLE("\x80"),                                                  /* 32: maps */
    SAMPLE("\x81\x01\x01"),
    SAMPLE("\xd4\x05" "a"),                                          /* 34: extensions */
    SAMPLE("\xc7\x03\x05" "abc"),
    SAMPLE("\xd6\xff\x00\x00\x00\x00"),                              /* a timestamp */
};

static bool fits(enum cpni_field_kind kind, size_t sample)
{
    switch (kind) {
    case CPNI_FIELD_BOOL:
        return sample == 1 || sample == 2;
    case CPNI_FIELD_U32:
        return sample >= 3 && sample <= 6;
    case CPNI_FIELD_U64:
        return sample >= 3 && sample <= 8;
    case CPNI_FIELD_I32:
        return (sample >= 3 && sample <= 5) || sample == 9 || sample == 10;
    case CPNI_FIELD_F32:
        return sample == 12 || sample == 13;
    case CPNI_FIELD_STR:
        return sample >= 17 && sample <= 19;
    case CPNI_FIELD_ID:
        return sample == 22;
    case CPNI_FIELD_KEY:
    case CPNI_FIELD_HASH:
        return sample == 23 || sample == 24;
    case CPNI_FIELD_SIG:
        return sample == 25;
    case CPNI_FIELD_FRAME:
        return false; /* of the integers, only the place of its frame: tested below */
    default:
        return sample >= 28 && sample <= 30;
    }
}

/* One field of a message, or (record not NULL) of a record in the list `field` of a message. */
static int decode_field(unsigned type, const struct cpni_field *field, const struct cpni_field *inner,
                        const struct sample *sample)
{
    msgpack_sbuffer out;
    msgpack_packer packer = start_message(&out, type, 1);
    msgpack_pack_uint8(&packer, field->number);
    if (inner != NULL) {
        msgpack_pack_array(&packer, 1);
        msgpack_pack_map(&packer, 1);
        msgpack_pack_uint8(&packer, inner->number);
    }
    msgpack_sbuffer_write(&out, sample->bytes, sample->size);
    return finish(&out, 0);
}

static void try_samples(unsigned type, const struct cpni_field *field, const struct cpni_field *inner)
{
    enum cpni_field_kind kind = inner != NULL ? inner->kind : field->kind;
    for (size_t i = 0; i < COUNT(samples); i++) {
        int expected = fits(kind, i) ? 0 : CPN_EPROTO;
        int rc = decode_field(type, field, inner, &samples[i]);
        if (rc != expected) {
            fail_msg("%s.%s, sample %zu: %d, expected %d: %s", cpni_msg_name(type),
                     (inner != NULL ? inner : field)->name, i, rc, expected, why);
        }
        if (rc < 0) {
            assert_why(cpni_msg_name(type));
            assert_why((inner != NULL ? inner : field)->name);
        }
    }
}

static void each_field_takes_its_kind_only(void **state)
{
    (void)state;
    for (unsigned type = 1; type < CPNI_MSG_TYPES; type++) {
        const struct cpni_layout *layout = cpni_msg_layout(type);
        for (size_t i = 0; i < layout->field_count; i++) {
            const struct cpni_field *field = &layout->fields[i];
            try_samples(type, field, NULL);
            for (size_t k = 0; field->kind == CPNI_FIELD_LIST && k < field->record->field_count; k++) {
                try_samples(type, field, &field->record->fields[k]);
            }
        }
    }
}

static void unknown_fields_are_skipped(void **state)
{
    (void)state;
    const uint64_t numbers[] = { 0, 60, 200, 70000, UINT64_MAX };
    for (size_t i = 0; i < COUNT(samples); i++) {
        for (size_t n = 0; n < COUNT(numbers); n++) {
            msgpack_sbuffer out;
            msgpack_packer packer = start_message(&out, CPNI_MSG_RESULT, 3);
            msgpack_pack_uint64(&packer, numbers[n]);
            msgpack_sbuffer_write(&out, samples[i].bytes, samples[i].size);
            msgpack_pack_uint8(&packer, 7); /* labels */
            msgpack_pack_array(&packer, 1);
            msgpack_pack_map(&packer, 2);
            msgpack_pack_uint64(&packer, numbers[n]);
            msgpack_sbuffer_write(&out, samples[i].bytes, samples[i].size);
            msgpack_pack_uint8(&packer, 3);
            msgpack_pack_int(&packer, -5);
            msgpack_pack_uint8(&packer, 2); /* attempt */
            msgpack_pack_int(&packer, 9);
            assert_int_equal(finish(&out, 1), 0); /* the frame may belong to what was skipped */
        }
    }
}

static void unknown_messages_are_reported(void **state)
{
    (void)state;
    msgpack_sbuffer out;
    msgpack_packer packer = start(&out, 3);
    msgpack_pack_array(&packer, 2);
    msgpack_pack_int(&packer, 4000);
    msgpack_pack_map(&packer, COUNT(samples));
    for (size_t i = 0; i < COUNT(samples); i++) {
        msgpack_pack_uint64(&packer, i);
        msgpack_sbuffer_write(&out, samples[i].bytes, samples[i].size);
    }
    msgpack_pack_array(&packer, 2);
    msgpack_pack_int(&packer, CPNI_MSG_ACK);
    msgpack_pack_map(&packer, 0);
    msgpack_pack_array(&packer, 2);
    msgpack_pack_int(&packer, 0);
    msgpack_pack_map(&packer, 0);
    struct cpni_bytes *frame = cpni_bytes_copy(out.data, out.size);
    struct cpni_arena arena = { 0 };
    struct cpni_packet_head head;
    struct cpni_msg *msgs;
    size_t count = 0;
    assert_int_equal(cpni_packet_decode(&frame, 1, &arena, &head, &msgs, &count, why), 0);
    assert_int_equal(count, 3);
    assert_int_equal(msgs[0].type, CPNI_MSG_NONE);
    assert_int_equal(msgs[0].refused.type, 4000);
    assert_int_equal(msgs[1].type, CPNI_MSG_ACK);
    assert_int_equal(msgs[2].type, CPNI_MSG_NONE);
    assert_int_equal(msgs[2].refused.type, 0);
    cpni_arena_free(&arena);
    cpni_bytes_unref(frame);
    msgpack_sbuffer_destroy(&out);
}

static void announced_sizes_are_not_believed(void **state)
{
    (void)state;
    const struct sample bombs[] = {
        SAMPLE("\xdd\xff\xff\xff\xff"), SAMPLE("\xdf\xff\xff\xff\xff"), SAMPLE("\xdb\xff\xff\xff\xff"),
        SAMPLE("\xc6\xff\xff\xff\xff"), SAMPLE("\xc9\xff\xff\xff\xff\x01"), SAMPLE("\xdc\xff\xff"),
        SAMPLE("\xde\xff\xff"), SAMPLE("\xda\xff\xff"), SAMPLE("\xdf\x80\x00\x00\x00"), SAMPLE("\xc1"),
    };
    for (size_t i = 0; i < COUNT(bombs); i++) {
        assert_int_equal(decode_raw(bombs[i].bytes, bombs[i].size, 0, NULL), CPN_EPROTO);
        const uint8_t fields[] = { 1, 60, 11, 2 }; /* of HELLO: boot, unknown, a list, an integer */
        for (size_t k = 0; k < COUNT(fields); k++) {
            msgpack_sbuffer out;
            msgpack_packer packer = start_message(&out, CPNI_MSG_HELLO, 1);
            msgpack_pack_uint8(&packer, fields[k]);
            msgpack_sbuffer_write(&out, bombs[i].bytes, bombs[i].size);
            assert_int_equal(finish(&out, 0), CPN_EPROTO);
        }
        msgpack_sbuffer out;
        msgpack_packer packer = start(&out, 1);
        msgpack_pack_array(&packer, 2);
        msgpack_pack_int(&packer, CPNI_MSG_HELLO);
        msgpack_sbuffer_write(&out, bombs[i].bytes, bombs[i].size);
        assert_int_equal(finish(&out, 0), CPN_EPROTO);
    }
}

static int decode_nested(size_t depth)
{
    msgpack_sbuffer out;
    msgpack_packer packer = start_message(&out, CPNI_MSG_ACK, 1);
    msgpack_pack_uint8(&packer, 60);
    for (size_t i = 0; i < depth; i++) {
        msgpack_pack_array(&packer, 1);
    }
    msgpack_pack_nil(&packer);
    return finish(&out, 0);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(decode_nested(8), 0);
    assert_int_equal(decode_nested(9), CPN_EPROTO);
    assert_int_equal(decode_nested(500000), CPN_EPROTO);
    char bomb[1000];
    memset(bomb, '\x91', sizeof bomb);
    assert_int_equal(decode_raw(bomb, sizeof bomb, 0, NULL), CPN_EPROTO);
    memset(bomb, '\x81', sizeof bomb);
    assert_int_equal(decode_raw(bomb, sizeof bomb, 0, NULL), CPN_EPROTO);
}

/* ---- valid packets, damaged ---- */

static struct cpni_bytes *valid_header(unsigned type, uint32_t seed, size_t *payloads)
{
    struct cpni_arena arena = { 0 };
    struct filler filler = { .arena = &arena, .random = seed, .records = 1 };
    struct cpni_msg msg = filler_msg(&filler, type);
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t count = 0;
    const struct cpni_packet_head head = { .link = 300, .seq = 70000 };
    assert_int_equal(cpni_packet_encode(&head, &msg, 1, frames, COUNT(frames), &count), 1);
    for (size_t i = 1; i < count; i++) {
        cpni_bytes_unref(frames[i]);
    }
    cpni_msg_drop(&msg);
    cpni_arena_free(&arena);
    *payloads = count - 1;
    return frames[0];
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (unsigned type = 1; type < CPNI_MSG_TYPES; type++) {
        size_t payloads;
        struct cpni_bytes *header = valid_header(type, type, &payloads);
        assert_int_equal(decode_raw(header->data, header->size, payloads, NULL), 0);
        for (size_t size = 0; size < header->size; size++) {
            assert_int_equal(decode_raw(header->data, size, payloads, NULL), CPN_EPROTO);
        }
        uint8_t *longer = malloc(header->size + 1);
        memcpy(longer, header->data, header->size);
        longer[header->size] = 0x80;
        assert_int_equal(decode_raw(longer, header->size + 1, payloads, NULL), CPN_EPROTO);
        assert_why("after the last message");
        free(longer);
        cpni_bytes_unref(header);
    }
}

static void any_byte_may_change(void **state)
{
    (void)state;
    const unsigned types[] = { CPNI_MSG_TASK, CPNI_MSG_RESULT, CPNI_MSG_HELLO, CPNI_MSG_PREPARE };
    for (size_t i = 0; i < COUNT(types); i++) {
        size_t payloads;
        struct cpni_bytes *header = valid_header(types[i], 77, &payloads);
        uint8_t *changed = malloc(header->size);
        for (size_t at = 0; at < header->size; at++) {
            for (unsigned byte = 0; byte < 256; byte += at < 40 ? 1 : 5) {
                memcpy(changed, header->data, header->size);
                changed[at] = (uint8_t)byte;
                (void)decode_raw(changed, header->size, payloads,
                                 NULL); /* asserts that nothing worse than a refusal comes */
            }
        }
        free(changed);
        cpni_bytes_unref(header);
    }
}

static void fields_come_once(void **state)
{
    (void)state;
    msgpack_sbuffer out;
    msgpack_packer packer = start_message(&out, CPNI_MSG_ACK, 2);
    for (int i = 0; i < 2; i++) {
        msgpack_pack_int(&packer, 2);
        msgpack_pack_int(&packer, 1);
    }
    assert_int_equal(finish(&out, 0), CPN_EPROTO);
    assert_why("message 1 ACK, attempt: the field comes twice");
}

/* ---- frames ---- */

static int decode_chunks(size_t messages, const unsigned *places, size_t payloads)
{
    msgpack_sbuffer out;
    msgpack_packer packer = start(&out, messages);
    for (size_t i = 0; i < messages; i++) {
        msgpack_pack_array(&packer, 2);
        msgpack_pack_int(&packer, CPNI_MSG_CHUNK);
        msgpack_pack_map(&packer, 1);
        msgpack_pack_int(&packer, 3);
        msgpack_pack_unsigned_int(&packer, places[i]);
    }
    return finish(&out, payloads);
}

static void each_frame_has_one_owner(void **state)
{
    (void)state;
    assert_int_equal(decode_chunks(2, (const unsigned[]){ 1, 0 }, 2), 0);
    assert_int_equal(decode_chunks(2, (const unsigned[]){ 0, 0 }, 2), CPN_EPROTO);
    assert_why("message 2 CHUNK, data: payload frame 0 is taken already");
    assert_int_equal(decode_chunks(2, (const unsigned[]){ 0, 2 }, 2), CPN_EPROTO);
    assert_why("payload frame 2, but 2 came");
    assert_int_equal(decode_chunks(2, (const unsigned[]){ 0, 1 }, 3), CPN_EPROTO);
    assert_why("payload frame 2 belongs to no message");
    unsigned places[CPNI_PACKET_FRAMES_MAX];
    for (unsigned i = 0; i < COUNT(places); i++) {
        places[i] = i;
    }
    assert_int_equal(decode_chunks(COUNT(places), places, CPNI_PACKET_FRAMES_MAX), 0);
    assert_int_equal(decode_chunks(COUNT(places), places, CPNI_PACKET_FRAMES_MAX + 1), CPN_EPROTO);
    assert_why("65 payload frames");
}

/* ---- the head and the bounds ---- */

static int decode_head(const char *header, size_t size)
{
    return decode_raw(header, size, 0, NULL);
}
#define HEAD(text) decode_head(text, sizeof text - 1)

static void heads_are_exact(void **state)
{
    (void)state;
    assert_int_equal(HEAD("\x94\x01\x07\x01\x91\x92\x0f\x80"), 0);
    assert_int_equal(HEAD("\x94\x02\x07\x01\x91\x92\x0f\x80"), CPN_EVERSION);
    assert_why("protocol version 2, this program speaks 1");
    assert_int_equal(HEAD("\x92\x02\x07"), CPN_EVERSION); /* whatever follows: nothing else of it is looked at */
    assert_int_equal(HEAD("\x94\x00\x07\x01\x91\x92\x0f\x80"), CPN_EVERSION);
    assert_int_equal(HEAD("\x94\xa1" "1\x07\x01\x91\x92\x0f\x80"), CPN_EPROTO);
    assert_int_equal(HEAD("\x95\x01\x07\x01\x91\x92\x0f\x80\xc0"), CPN_EPROTO);
    assert_int_equal(HEAD("\x94\x01\xff\x01\x91\x92\x0f\x80"), CPN_EPROTO);
    assert_int_equal(HEAD("\x94\x01\xcf\x00\x00\x00\x01\x00\x00\x00\x00\x01\x91\x92\x0f\x80"), CPN_EPROTO);
    assert_why("link 4294967296");
    assert_int_equal(HEAD("\x94\x01\x07\xca\x3f\x80\x00\x00\x91\x92\x0f\x80"), CPN_EPROTO);
    assert_int_equal(HEAD("\x94\x01\x07\x01\x90"), CPN_EPROTO);
    assert_why("0 messages, 1 to 256");
    assert_int_equal(HEAD("\x94\x01\x07\x01\x91\x93\x0f\x80\xc0"), CPN_EPROTO);
    assert_int_equal(HEAD("\x94\x01\x07\x01\x91\x91\x0f"), CPN_EPROTO);
    assert_int_equal(HEAD("\x94\x01\x07\x01\x91\x92\xff\x80"), CPN_EPROTO);
    assert_int_equal(HEAD("\x94\x01\x07\x01\x91\x92\xcf\x00\x00\x00\x01\x00\x00\x00\x00\x80"), CPN_EPROTO);
    assert_int_equal(HEAD("\x94\x01\x07\x01\x91\x92\x0f\x81\xa1" "2\x01"), CPN_EPROTO);
    assert_why("expected a field number, got a text");
    assert_int_equal(HEAD(""), CPN_EPROTO);
    struct cpni_packet_head head;
    struct cpni_msg *msgs;
    size_t count;
    assert_int_equal(cpni_packet_decode(NULL, 0, NULL, &head, &msgs, &count, why), CPN_EPROTO);
}

static int decode_messages(size_t count)
{
    msgpack_sbuffer out;
    start(&out, count);
    for (size_t i = 0; i < count; i++) {
        msgpack_sbuffer_write(&out, "\x92\x0f\x80", 3);
    }
    return finish(&out, 0);
}

static int decode_text(size_t size)
{
    static char text[CPNI_STR_BYTES_MAX + 1];
    memset(text, 'x', sizeof text);
    msgpack_sbuffer out;
    msgpack_packer packer = start_message(&out, CPNI_MSG_BYE, 1);
    msgpack_pack_int(&packer, 2);
    msgpack_pack_str_with_body(&packer, text, size);
    return finish(&out, 0);
}

static int decode_list(unsigned type, int number, size_t count)
{
    msgpack_sbuffer out;
    msgpack_packer packer = start_message(&out, type, 1);
    msgpack_pack_int(&packer, number);
    msgpack_pack_array(&packer, count);
    for (size_t i = 0; i < count; i++) {
        msgpack_pack_map(&packer, 0);
    }
    return finish(&out, 0);
}

static void bounds_hold(void **state)
{
    (void)state;
    assert_int_equal(decode_messages(CPNI_PACKET_MESSAGES_MAX), 0);
    assert_int_equal(decode_messages(CPNI_PACKET_MESSAGES_MAX + 1), CPN_EPROTO);
    assert_int_equal(decode_text(CPNI_STR_BYTES_MAX), 0);
    assert_int_equal(decode_text(CPNI_STR_BYTES_MAX + 1), CPN_EPROTO);
    assert_int_equal(decode_list(CPNI_MSG_HELLO, 10, CPNI_LIST_MAX), 0);
    assert_int_equal(decode_list(CPNI_MSG_HELLO, 10, CPNI_LIST_MAX + 1), CPN_EPROTO);
    assert_int_equal(decode_list(CPNI_MSG_REPLY, 3, CPNI_LIST_MAX), CPN_EPROTO); /* 8 KiB that would fill megabytes */
    assert_why("message 1 REPLY, nodes: list of 8192 records, more than so few bytes can fill");
    char *large = calloc(1, CPNI_HEADER_BYTES_MAX + 1);
    assert_int_equal(decode_raw(large, CPNI_HEADER_BYTES_MAX + 1, 0, NULL), CPN_EPROTO);
    assert_why("header of 1048577 bytes");
    free(large);
}

static void why_names_the_place(void **state)
{
    (void)state;
    msgpack_sbuffer out;
    msgpack_packer packer = start_message(&out, CPNI_MSG_REPLY, 1);
    msgpack_pack_int(&packer, 3); /* nodes */
    msgpack_pack_array(&packer, 2);
    msgpack_pack_map(&packer, 0);
    msgpack_pack_map(&packer, 1);
    msgpack_pack_int(&packer, 11); /* models */
    msgpack_pack_array(&packer, 1);
    msgpack_pack_map(&packer, 1);
    msgpack_pack_int(&packer, 2); /* version */
    msgpack_pack_uint64(&packer, 1ull << 40);
    assert_int_equal(finish(&out, 0), CPN_EPROTO);
    assert_string_equal(why,
                        "message 1 REPLY, nodes[1].models[0].version: expected an unsigned integer up to 4294967295, "
                        "got 1099511627776");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_takes_its_kind_only),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(unknown_messages_are_reported),
        cmocka_unit_test(announced_sizes_are_not_believed),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(any_byte_may_change),
        cmocka_unit_test(fields_come_once),
        cmocka_unit_test(each_frame_has_one_owner),
        cmocka_unit_test(heads_are_exact),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(why_names_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
