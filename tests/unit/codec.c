/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* wire/packet: what is encoded reads back, in our reader and in msgpack-c's, and what does not fit waits for the
 * next packet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "filler.h"
#include "wire/packet.h"

#define ROOM CPNI_PACKET_FRAMES_ROOM

static const struct cpni_packet_head head_sent = { .link = 70000, .seq = 1ull << 40 };

static void drop_frames(struct cpni_bytes **frames, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cpni_bytes_unref(frames[i]);
    }
}

static void assert_reads_back(struct cpni_arena *arena, const struct cpni_msg *msgs, size_t count)
{
    struct cpni_bytes *frames[ROOM];
    size_t frame_count = 0;
    assert_int_equal(cpni_packet_encode(&head_sent, msgs, count, frames, ROOM, &frame_count), count);
    struct cpni_packet_head head;
    struct cpni_msg *back;
    size_t back_count;
    char why[CPNI_WHY];
    int rc = cpni_packet_decode(frames, frame_count, arena, &head, &back, &back_count, why);
    if (rc < 0) {
        fail_msg("%s", why);
    }
    assert_int_equal(head.version, CPNI_PROTOCOL_VERSION);
    assert_int_equal(head.link, head_sent.link);
    assert_int_equal(head.seq, head_sent.seq);
    assert_int_equal(back_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(back[i].type, msgs[i].type);
        const struct cpni_layout *layout = cpni_msg_layout(msgs[i].type);
        if (!filler_equal(layout, (const uint8_t *)&msgs[i].hello, (const uint8_t *)&back[i].hello)) {
            fail_msg("%s differs", layout->name);
        }
        cpni_msg_drop(&back[i]);
    }
    drop_frames(frames, frame_count);
}

static void every_message_reads_back(void **state)
{
    (void)state;
    struct cpni_arena arena = { 0 };
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct filler filler = {
            .arena = &arena, .random = seed, .sparse = seed >= 10, .records = seed % 10 == 9 ? 40 : 3
        };
        for (unsigned type = 1; type < CPNI_MSG_TYPES; type++) {
            struct cpni_msg msg = filler_msg(&filler, type);
            assert_reads_back(&arena, &msg, 1);
            cpni_msg_drop(&msg);
        }
        cpni_arena_reset(&arena);
    }
    cpni_arena_free(&arena);
}

static void empty_messages_read_back(void **state)
{
    (void)state;
    struct cpni_arena arena = { 0 };
    struct cpni_msg msgs[CPNI_MSG_TYPES - 1];
    memset(msgs, 0, sizeof msgs);
    for (size_t i = 0; i < CPNI_MSG_TYPES - 1; i++) {
        msgs[i].type = (enum cpni_msg_type)(i + 1);
    }
    assert_reads_back(&arena, msgs, CPNI_MSG_TYPES - 1);
    cpni_arena_free(&arena);
}

static void all_messages_travel_together(void **state)
{
    (void)state;
    struct cpni_arena arena = { 0 };
    struct filler filler = { .arena = &arena, .random = 1, .records = 2 };
    struct cpni_msg msgs[CPNI_MSG_TYPES - 1];
    for (unsigned i = 0; i < CPNI_MSG_TYPES - 1; i++) {
        msgs[i] = filler_msg(&filler, i + 1);
    }
    assert_reads_back(&arena, msgs, CPNI_MSG_TYPES - 1);
    for (unsigned i = 0; i < CPNI_MSG_TYPES - 1; i++) {
        cpni_msg_drop(&msgs[i]);
    }
    cpni_arena_free(&arena);
}

static void msgpack_c_reads_it(void **state)
{
    (void)state;
    struct cpni_arena arena = { 0 };
    for (unsigned type = 1; type < CPNI_MSG_TYPES; type++) {
        struct filler filler = { .arena = &arena, .random = type, .records = 20 };
        struct cpni_msg msg = filler_msg(&filler, type);
        struct cpni_bytes *frames[ROOM];
        size_t frame_count = 0;
        assert_int_equal(cpni_packet_encode(&head_sent, &msg, 1, frames, ROOM, &frame_count), 1);
        msgpack_unpacked unpacked;
        msgpack_unpacked_init(&unpacked);
        size_t at = 0;
        assert_int_equal(msgpack_unpack_next(&unpacked, (const char *)frames[0]->data, frames[0]->size, &at),
                         MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(at, frames[0]->size);
        assert_int_equal(unpacked.data.type, MSGPACK_OBJECT_ARRAY);
        assert_int_equal(unpacked.data.via.array.size, 4);
        assert_int_equal(unpacked.data.via.array.ptr[1].via.u64, head_sent.link);
        const msgpack_object *item = &unpacked.data.via.array.ptr[3].via.array.ptr[0];
        assert_int_equal(item->via.array.ptr[0].via.u64, type);
        assert_int_equal(item->via.array.ptr[1].via.map.size, cpni_msg_layout(type)->field_count);
        msgpack_unpacked_destroy(&unpacked);
        drop_frames(frames, frame_count);
        cpni_msg_drop(&msg);
    }
    cpni_arena_free(&arena);
}

/* Encodes all of them, packet after packet, as a role does; returns how many packets it took. */
static size_t send_all(const struct cpni_msg *msgs, size_t count, size_t *largest_frames)
{
    size_t packets = 0;
    for (size_t done = 0; done < count; packets++) {
        struct cpni_bytes *frames[ROOM];
        size_t frame_count = 0;
        int rc = cpni_packet_encode(&head_sent, msgs + done, count - done, frames, ROOM, &frame_count);
        assert_true(rc > 0);
        assert_true(frames[0]->size <= CPNI_HEADER_BYTES_MAX);
        *largest_frames = frame_count > *largest_frames ? frame_count : *largest_frames;
        done += (size_t)rc;
        drop_frames(frames, frame_count);
    }
    return packets;
}

static void what_does_not_fit_waits(void **state)
{
    (void)state;
    static struct cpni_msg msgs[600];
    size_t frames = 0;
    for (size_t i = 0; i < 600; i++) {
        msgs[i] = (struct cpni_msg){ .type = CPNI_MSG_ACK, .ack = { .attempt = 1 } };
    }
    assert_int_equal(send_all(msgs, 600, &frames), 3); /* CPNI_PACKET_MESSAGES_MAX in each */
    assert_int_equal(frames, 1);

    struct cpni_bytes *input = cpni_bytes_copy("x", 1);
    for (size_t i = 0; i < 200; i++) {
        msgs[i] = (struct cpni_msg){ .type = CPNI_MSG_TASK, .task = { .attempt = 1, .input = input } };
    }
    assert_int_equal(send_all(msgs, 200, &frames), 4); /* CPNI_PACKET_FRAMES_MAX in each */
    assert_int_equal(frames, ROOM);
    assert_int_equal(input->refs, 1);
    cpni_bytes_unref(input);

    static char text[CPNI_STR_BYTES_MAX];
    memset(text, 'x', sizeof text);
    struct cpni_rec_TEXT lines[40];
    for (size_t i = 0; i < 40; i++) {
        lines[i].text = (struct cpni_str){ .text = text, .size = sizeof text };
    }
    for (size_t i = 0; i < 20; i++) {
        msgs[i] = (struct cpni_msg){ .type = CPNI_MSG_HELLO, .hello = { .backends = lines, .backends_count = 40 } };
    }
    assert_int_equal(send_all(msgs, 20, &frames), 4); /* 6 x 160 KiB in 1 MiB */
}

static void assert_refused(const struct cpni_msg *msg, int expected)
{
    struct cpni_msg msgs[2] = { { .type = CPNI_MSG_ACK, .ack = { .attempt = 1 } }, *msg };
    struct cpni_bytes *frames[ROOM];
    size_t frame_count = 99;
    assert_int_equal(cpni_packet_encode(&head_sent, msg, 1, frames, ROOM, &frame_count), expected);
    assert_int_equal(frame_count, 99);
    assert_int_equal(cpni_packet_encode(&head_sent, msgs, 2, frames, ROOM, &frame_count),
                     1); /* the good one before it goes */
    assert_int_equal(frame_count, 1);
    drop_frames(frames, frame_count);
}

static void what_the_receiver_would_refuse_is_not_sent(void **state)
{
    (void)state;
    static char text[CPNI_STR_BYTES_MAX + 1];
    memset(text, 'x', sizeof text);
    struct cpni_msg msg = { .type = CPNI_MSG_BYE, .bye = { .text = { .text = text, .size = sizeof text } } };
    assert_refused(&msg, CPN_ETOOBIG);
    const struct cpni_str bad[] = { { "a\0b", 3 },         { "\xff", 1 },     { "\xc0\x80", 2 },
                                    { "\xed\xa0\x80", 3 }, { "\xe2\x82", 2 }, { "\xf4\x90\x80\x80", 4 } };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        msg.bye.text = bad[i];
        assert_refused(&msg, CPN_EINVAL);
    }
    struct cpni_rec_LABEL label = { .confidence = 0.0f / 0.0f };
    msg = (struct cpni_msg){ .type = CPNI_MSG_RESULT, .result = { .labels = &label, .labels_count = 1 } };
    assert_refused(&msg, CPN_EINVAL);
    label.confidence = 0.5f;
    msg.result.labels_count = CPNI_LIST_MAX + 1;
    assert_refused(&msg, CPN_ETOOBIG);
    msg = (struct cpni_msg){ .type = CPNI_MSG_NONE };
    assert_refused(&msg, CPN_EINVAL);
    struct cpni_bytes *frame = cpni_bytes_copy("x", 1);
    msg = (struct cpni_msg){ .type = CPNI_MSG_CHUNK, .chunk = { .data = frame } };
    struct cpni_bytes *frames[1];
    size_t frame_count = 0;
    assert_int_equal(cpni_packet_encode(&head_sent, &msg, 1, frames, 1, &frame_count),
                     CPN_ETOOBIG); /* no room for it */
    assert_int_equal(frame->refs, 1);
    cpni_bytes_unref(frame);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    struct cpni_arena arena = { 0 };
    struct filler filler = { .arena = &arena, .random = 3, .records = 200 };
    struct cpni_msg msgs[2] = { filler_msg(&filler, CPNI_MSG_RESULT), filler_msg(&filler, CPNI_MSG_HELLO) };
    struct cpni_bytes *frames[ROOM];
    size_t frame_count = 0;
    int done = 0;
    for (unsigned nth = 1; done < 2; nth++) {
        cpni_alloc_fail(nth);
        done = cpni_packet_encode(&head_sent, msgs, 2, frames, ROOM, &frame_count);
        cpni_alloc_fail(0);
        assert_true(done == CPN_ENOMEM || done > 0);
        drop_frames(frames, done == 1 ? frame_count : 0);
    }
    int rc = CPN_ENOMEM;
    for (unsigned nth = 1; rc < 0; nth++) {
        struct cpni_arena small = { 0 };
        struct cpni_packet_head head;
        struct cpni_msg *back;
        size_t count;
        char why[CPNI_WHY];
        cpni_alloc_fail(nth);
        rc = cpni_packet_decode(frames, frame_count, &small, &head, &back, &count, why);
        cpni_alloc_fail(0);
        assert_true(rc == CPN_ENOMEM || rc == 0);
        for (size_t i = 0; rc == 0 && i < count; i++) {
            cpni_msg_drop(&back[i]);
        }
        cpni_arena_free(&small);
    }
    drop_frames(frames, frame_count);
    cpni_msg_drop(&msgs[0]);
    cpni_msg_drop(&msgs[1]);
    cpni_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_reads_back),
        cmocka_unit_test(empty_messages_read_back),
        cmocka_unit_test(all_messages_travel_together),
        cmocka_unit_test(msgpack_c_reads_it),
        cmocka_unit_test(what_does_not_fit_waits),
        cmocka_unit_test(what_the_receiver_would_refuse_is_not_sent),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
