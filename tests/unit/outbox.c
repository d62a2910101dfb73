/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* wire/outbox: what travels together, in which order, under which sequence. Every packet is decoded again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "wire/outbox.h"

#define CODES_MAX 1024

/* One packet as the receiver sees it. Messages are REFUSED ones, told apart by their code. */
struct got {
    uint64_t conn, seq;
    uint32_t link;
    size_t count, payloads;
    int32_t codes[CODES_MAX];
};

static struct cpni_msg refused(int32_t code)
{
    return (struct cpni_msg){ .type = CPNI_MSG_REFUSED, .refused = { .code = code, .text = cpni_str("no") } };
}

static struct cpni_msg chunk(struct cpni_bytes *data)
{
    return (struct cpni_msg){ .type = CPNI_MSG_CHUNK, .chunk = { .data = data } };
}

static void unref_all(struct cpni_bytes **frames, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cpni_bytes_unref(frames[i]);
    }
}

static void read_packet(struct cpni_bytes **frames, size_t count, struct got *got)
{
    struct cpni_arena arena = { 0 };
    struct cpni_packet_head head;
    struct cpni_msg *msgs;
    char why[CPNI_WHY];
    assert_int_equal(cpni_packet_decode(frames, count, &arena, &head, &msgs, &got->count, why), 0);
    got->seq = head.seq;
    got->link = head.link;
    got->payloads = count - 1;
    for (size_t i = 0; i < got->count; i++) {
        got->codes[i] = msgs[i].type == CPNI_MSG_REFUSED ? msgs[i].refused.code : 0;
        cpni_msg_drop(&msgs[i]);
    }
    cpni_arena_free(&arena);
}

static struct got expect_packet(struct cpni_outbox *outbox)
{
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t count = 0;
    struct got got = { 0 };
    assert_int_equal(cpni_outbox_next(outbox, &got.conn, frames, &count), 1);
    read_packet(frames, count, &got);
    unref_all(frames, count);
    return got;
}

static void expect_end(struct cpni_outbox *outbox)
{
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t count;
    uint64_t conn;
    assert_int_equal(cpni_outbox_next(outbox, &conn, frames, &count), 0);
}

static void add(struct cpni_outbox *outbox, uint64_t conn, uint32_t link, const struct cpni_msg *msg)
{
    assert_int_equal(cpni_outbox_add(outbox, conn, link, msg), 0);
}

static void messages_of_a_connection_travel_together(void **state)
{
    struct cpni_outbox *outbox = *state;
    struct cpni_msg msgs[5];
    static const uint64_t conns[5] = { 7, 3, 7, 3, 7 };
    for (int32_t i = 0; i < 5; i++) {
        msgs[i] = refused(i + 1);
        add(outbox, conns[i], 9, &msgs[i]);
    }
    struct got got = expect_packet(outbox);
    assert_int_equal(got.conn, 7);
    assert_int_equal(got.seq, 1);
    assert_int_equal(got.link, 9);
    assert_int_equal(got.count, 3);
    assert_int_equal(got.codes[0], 1);
    assert_int_equal(got.codes[1], 3);
    assert_int_equal(got.codes[2], 5);
    got = expect_packet(outbox);
    assert_int_equal(got.conn, 3);
    assert_int_equal(got.seq, 1);
    assert_int_equal(got.count, 2);
    expect_end(outbox);
    add(outbox, 7, 9, &msgs[0]);
    assert_int_equal(expect_packet(outbox).seq, 2);
    expect_end(outbox);
}

static void packets_stay_within_their_bounds(void **state)
{
    struct cpni_outbox *outbox = *state;
    static struct cpni_msg msgs[2 * CPNI_PACKET_MESSAGES_MAX + 1];
    size_t all = sizeof msgs / sizeof *msgs;
    for (size_t i = 0; i < all; i++) {
        msgs[i] = refused((int32_t)i + 1);
        add(outbox, 1, 1, &msgs[i]);
    }
    static const size_t messages[3] = { CPNI_PACKET_MESSAGES_MAX, CPNI_PACKET_MESSAGES_MAX, 1 };
    for (size_t i = 0; i < 3; i++) {
        struct got got = expect_packet(outbox);
        assert_int_equal(got.seq, i + 1);
        assert_int_equal(got.count, messages[i]);
        assert_int_equal(got.codes[0], i * CPNI_PACKET_MESSAGES_MAX + 1);
    }
    expect_end(outbox);
    struct cpni_bytes *data = cpni_bytes_copy("chunk", 5);
    struct cpni_msg one = chunk(data);
    for (size_t i = 0; i < CPNI_PACKET_FRAMES_MAX + 6; i++) {
        add(outbox, 2, 1, &one);
    }
    assert_int_equal(expect_packet(outbox).payloads, CPNI_PACKET_FRAMES_MAX);
    assert_int_equal(expect_packet(outbox).payloads, 6);
    expect_end(outbox);
    assert_int_equal(data->refs, 1);
    cpni_bytes_unref(data);
}

static void headers_stay_within_their_bound(void **state)
{
    struct cpni_outbox *outbox = *state;
    static char text[CPNI_STR_BYTES_MAX];
    static struct cpni_rec_TEXT backends[128];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < 128; i++) {
        backends[i].text = (struct cpni_str){ text, sizeof text };
    }
    struct cpni_msg hello = { .type = CPNI_MSG_HELLO, .hello = { .backends = backends, .backends_count = 128 } };
    for (size_t i = 0; i < 3; i++) {
        add(outbox, 1, 1, &hello); /* half a MiB each: one a packet */
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(expect_packet(outbox).seq, i + 1);
    }
    expect_end(outbox);
}

static void a_packet_has_one_link(void **state)
{
    struct cpni_outbox *outbox = *state;
    struct cpni_msg msg = refused(1);
    add(outbox, 1, 4, &msg);
    add(outbox, 1, 4, &msg);
    add(outbox, 1, 5, &msg);
    struct got got = expect_packet(outbox);
    assert_int_equal(got.link, 4);
    assert_int_equal(got.count, 2);
    got = expect_packet(outbox);
    assert_int_equal(got.link, 5);
    assert_int_equal(got.seq, 2);
    expect_end(outbox);
}

static void a_forgotten_connection_starts_again(void **state)
{
    struct cpni_outbox *outbox = *state;
    struct cpni_msg msg = refused(1);
    add(outbox, 1, 0, &msg);
    assert_int_equal(expect_packet(outbox).seq, 1);
    add(outbox, 1, 0, &msg);
    add(outbox, 2, 0, &msg);
    cpni_outbox_forget(outbox, 1);
    assert_int_equal(expect_packet(outbox).conn, 2);
    expect_end(outbox);
    add(outbox, 1, 0, &msg);
    assert_int_equal(expect_packet(outbox).seq, 1);
    expect_end(outbox);
    cpni_outbox_forget(outbox, 77);
}

static void what_cannot_be_encoded_is_left_out_alone(void **state)
{
    struct cpni_outbox *outbox = *state;
    struct cpni_msg first = refused(1), bad = refused(2), last = refused(3);
    bad.refused.text = (struct cpni_str){ "\xff", 1 };
    add(outbox, 1, 0, &first);
    add(outbox, 1, 0, &bad);
    add(outbox, 1, 0, &last);
    assert_int_equal(expect_packet(outbox).codes[0], 1);
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t count;
    uint64_t conn = 0;
    assert_int_equal(cpni_outbox_next(outbox, &conn, frames, &count), CPN_EINVAL);
    assert_int_equal(conn, 1);
    struct got got = expect_packet(outbox);
    assert_int_equal(got.codes[0], 3);
    assert_int_equal(got.seq, 2);
    expect_end(outbox);
}

static void a_full_socket_holds_only_its_own_packets(void **state)
{
    struct cpni_outbox *outbox = *state;
    struct cpni_msg msgs[4] = { refused(1), refused(2), refused(3), refused(4) };
    add(outbox, 1, 0, &msgs[0]);
    add(outbox, 2, 0, &msgs[1]);
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t count;
    uint64_t conn;
    assert_int_equal(cpni_outbox_next(outbox, &conn, frames, &count), 1);
    assert_int_equal(cpni_outbox_hold(outbox, conn, frames, count), 0);
    unref_all(frames, count);
    assert_int_equal(expect_packet(outbox).conn, 2);
    expect_end(outbox);
    add(outbox, 1, 0, &msgs[2]);
    expect_end(outbox);
    msgs[2] = refused(99); /* no longer borrowed */
    cpni_outbox_retry(outbox);
    add(outbox, 1, 0, &msgs[3]);
    for (int32_t i = 0; i < 3; i++) {
        static const int32_t codes[3] = { 1, 3, 4 };
        struct got got = expect_packet(outbox);
        assert_int_equal(got.seq, i + 1);
        assert_int_equal(got.codes[0], codes[i]);
    }
    expect_end(outbox);
}

/* Held again and again: order and sequence stay. */
static void a_socket_that_stays_full_keeps_the_order(void **state)
{
    struct cpni_outbox *outbox = *state;
    for (int32_t i = 1; i <= 5; i++) {
        struct cpni_msg msg = refused(i);
        add(outbox, 1, 0, &msg);
        struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
        size_t count;
        uint64_t conn;
        cpni_outbox_retry(outbox);
        assert_int_equal(cpni_outbox_next(outbox, &conn, frames, &count), 1);
        assert_int_equal(cpni_outbox_hold(outbox, conn, frames, count), 0);
        unref_all(frames, count);
        expect_end(outbox);
    }
    cpni_outbox_retry(outbox);
    for (int32_t i = 1; i <= 5; i++) {
        struct got got = expect_packet(outbox);
        assert_int_equal(got.codes[0], i);
        assert_int_equal(got.seq, i);
    }
    expect_end(outbox);
}

static void what_is_held_is_bounded(void **state)
{
    struct cpni_outbox *outbox = *state;
    static uint8_t zeros[CPNI_CHUNK_BYTES];
    struct cpni_bytes *data = cpni_bytes_wrap(zeros, sizeof zeros, NULL, NULL);
    struct cpni_msg one = chunk(data);
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t count, rounds = 0;
    uint64_t conn;
    add(outbox, 1, 0, &one);
    assert_int_equal(cpni_outbox_next(outbox, &conn, frames, &count), 1);
    assert_int_equal(cpni_outbox_hold(outbox, conn, frames, count), 0);
    unref_all(frames, count);
    int rc = 0;
    for (; rc == 0 && rounds < 1000; rounds++) {
        add(outbox, 1, 0, &one);
        rc = cpni_outbox_next(outbox, &conn, frames, &count);
    }
    assert_int_equal(rc, CPN_EBUSY);
    assert_int_equal(conn, 1);
    assert_in_range(rounds, CPNI_OUTBOX_HELD_BYTES_MAX / CPNI_CHUNK_BYTES - 2, CPNI_OUTBOX_HELD_BYTES_MAX / CPNI_CHUNK_BYTES);
    assert_int_equal(data->refs, 1);
    cpni_outbox_retry(outbox);
    expect_end(outbox);
    cpni_bytes_unref(data);
}

/* Whichever allocation fails: either all messages arrive, in order, or the sequence shows that some did not. */
static void lost_memory_is_a_gap(void **state)
{
    (void)state;
    bool failed = true;
    for (unsigned nth = 1; failed; nth++) {
        struct cpni_outbox *outbox;
        assert_int_equal(cpni_outbox_new(&outbox), 0);
        struct cpni_msg msgs[3] = { refused(1), refused(2), refused(3) };
        add(outbox, 5, 0, &msgs[0]);
        assert_int_equal(expect_packet(outbox).seq, 1);
        expect_end(outbox);
        struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
        size_t count;
        uint64_t conn;
        cpni_alloc_fail(nth);
        failed = cpni_outbox_add(outbox, 5, 0, &msgs[1]) < 0;
        int rc = cpni_outbox_next(outbox, &conn, frames, &count);
        cpni_alloc_fail(0);
        if (rc == 1) {
            unref_all(frames, count);
        }
        failed |= rc < 0;
        cpni_outbox_next(outbox, &conn, frames, &count);
        add(outbox, 5, 0, &msgs[2]);
        assert_int_equal(expect_packet(outbox).seq, 3);
        cpni_outbox_free(outbox);
        assert_true(nth < 100);
    }
}

static int open_outbox(void **state)
{
    return cpni_outbox_new((struct cpni_outbox **)state);
}

static int close_outbox(void **state)
{
    cpni_outbox_free(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_outbox, close_outbox)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_of_a_connection_travel_together),
        TEST(packets_stay_within_their_bounds),
        TEST(headers_stay_within_their_bound),
        TEST(a_packet_has_one_link),
        TEST(a_forgotten_connection_starts_again),
        TEST(what_cannot_be_encoded_is_left_out_alone),
        TEST(a_full_socket_holds_only_its_own_packets),
        TEST(a_socket_that_stays_full_keeps_the_order),
        TEST(what_is_held_is_bounded),
        cmocka_unit_test(lost_memory_is_a_gap),
    };
    return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
