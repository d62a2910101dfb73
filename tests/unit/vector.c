/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* core/vector: what is cut comes together again, unchanged and uncopied; what does not belong together does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "core/vector.h"
#include "proto/limits.h"

static const struct cpn_id session = { { 7 } };

static struct cpni_bytes *vector_of(size_t size)
{
    uint8_t *data = cpni_malloc(size);
    assert_non_null(data);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i * 31 + (i >> 12));
    }
    return cpni_bytes_take(data, size);
}

static void deliver(const struct cpni_actions *actions, struct cpni_vector_in *in, uint64_t limit)
{
    for (size_t i = 0; i < actions->count; i++) {
        assert_int_equal(actions->list[i].type, CPNI_ACT_SEND);
        assert_int_equal(actions->list[i].send.conn, 9);
        assert_int_equal(cpni_vector_piece(in, &actions->list[i].send.msg.piece, limit), 0);
    }
}

static void cut_and_whole_again(void **state)
{
    static const size_t sizes[] = { 1, 1000, CPNI_VECTOR_PIECE_BYTES, CPNI_VECTOR_PIECE_BYTES + 1, 3 * CPNI_VECTOR_PIECE_BYTES + 5 };
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct cpni_bytes *vector = vector_of(sizes[i]);
        struct cpni_actions actions = { 0 };
        struct cpni_vector_in in = { 0 };
        assert_int_equal(cpni_vector_send(&actions, 9, 1, &session, 2, 3, vector), 0);
        assert_int_equal(actions.count, (sizes[i] + CPNI_VECTOR_PIECE_BYTES - 1) / CPNI_VECTOR_PIECE_BYTES);
        assert_ptr_equal(actions.list[0].send.msg.piece.data->data, vector->data); /* not a copy */
        deliver(&actions, &in, sizes[i]);
        struct cpni_bytes *out = NULL;
        assert_int_equal(cpni_vector_take(&in, &session, 2, 3, sizes[i], &out), 0);
        assert_int_equal(out->size, sizes[i]);
        assert_memory_equal(out->data, vector->data, sizes[i]);
        assert_true((out->data == vector->data) == (sizes[i] <= CPNI_VECTOR_PIECE_BYTES));
        assert_int_equal(cpni_vector_take(&in, &session, 2, 3, sizes[i], &out), CPN_EPROTO); /* given away */
        cpni_actions_free(&actions);
        cpni_bytes_unref(out);
        assert_int_equal(vector->refs, 1);
        cpni_bytes_unref(vector);
    }
}

/* What is read as floats is aligned for them, wherever a small packet lay in the buffer of the socket. */
static void at_an_odd_address(void **state)
{
    (void)state;
    for (size_t offset = 1; offset < sizeof(float); offset++) {
        struct cpni_bytes *buffer = vector_of(offset + 100), *out = NULL;
        struct cpni_vector_in in = { 0 };
        struct cpni_msg_piece piece = { .session = session, .lane = 2, .round = 3, .total = 100, .data = cpni_bytes_slice(buffer, offset, 100) };
        assert_int_equal(cpni_vector_piece(&in, &piece, 100), 0);
        assert_int_equal(cpni_vector_take(&in, &session, 2, 3, 100, &out), 0);
        assert_int_equal((uintptr_t)out->data % _Alignof(float), 0);
        assert_int_equal(out->size, 100);
        assert_memory_equal(out->data, buffer->data + offset, 100);
        cpni_bytes_unref(out);
        cpni_bytes_unref(piece.data);
        cpni_bytes_unref(buffer);
    }
}

static void none(void **state)
{
    struct cpni_actions actions = { 0 };
    struct cpni_vector_in in = { 0 };
    struct cpni_bytes *out = (void *)&in;
    (void)state;
    assert_int_equal(cpni_vector_send(&actions, 9, 1, &session, 2, 3, NULL), 0);
    assert_int_equal(actions.count, 0);
    assert_int_equal(cpni_vector_take(&in, &session, 2, 3, 0, &out), 0);
    assert_null(out);
    cpni_actions_free(&actions);
}

static int feed(struct cpni_vector_in *in, uint64_t round, uint64_t offset, uint64_t total, size_t size, uint64_t limit)
{
    struct cpni_msg_piece piece = { .session = session, .lane = 2, .round = round, .offset = offset, .total = total };
    piece.data = size != 0 ? vector_of(size) : NULL;
    int rc = cpni_vector_piece(in, &piece, limit);
    cpni_bytes_unref(piece.data);
    return rc;
}

static void what_does_not_fit_is_refused(void **state)
{
    struct cpni_vector_in in = { 0 };
    struct cpni_bytes *out = NULL;
    (void)state;
    assert_int_equal(feed(&in, 3, 0, 300, 100, 299), CPN_ETOOBIG);
    assert_int_equal(feed(&in, 3, 0, CPNI_VECTOR_BYTES_MAX + 1, 100, UINT64_MAX), CPN_ETOOBIG);
    assert_int_equal(feed(&in, 3, 100, 300, 100, 1000), CPN_EPROTO); /* its beginning is not here */
    assert_int_equal(feed(&in, 3, 0, 300, 0, 1000), CPN_EPROTO);
    assert_int_equal(feed(&in, 3, 0, 50, 100, 1000), CPN_EPROTO);
    assert_int_equal(feed(&in, 3, UINT64_MAX, 50, 100, 1000), CPN_EPROTO);
    assert_int_equal(feed(&in, 3, 0, 300, 100, 1000), 0);
    assert_int_equal(feed(&in, 4, 100, 300, 100, 1000), CPN_EPROTO); /* another round */
    assert_int_equal(feed(&in, 3, 100, 300, 100, 1000), CPN_EPROTO); /* forgotten with that */
    assert_int_equal(feed(&in, 3, 0, 300, 100, 1000), 0);
    assert_int_equal(feed(&in, 3, 200, 300, 100, 1000), CPN_EPROTO); /* a hole */
    assert_int_equal(feed(&in, 3, 0, 300, 100, 1000), 0);
    assert_int_equal(feed(&in, 3, 100, 301, 100, 1000), CPN_EPROTO); /* another size */
    assert_int_equal(feed(&in, 3, 0, 300, 100, 1000), 0);
    assert_int_equal(cpni_vector_take(&in, &session, 2, 3, 300, &out), CPN_EPROTO); /* not whole */
    assert_int_equal(feed(&in, 3, 0, 100, 100, 1000), 0);
    assert_int_equal(cpni_vector_take(&in, &session, 1, 3, 100, &out), CPN_EPROTO); /* of another lane */
    assert_int_equal(feed(&in, 3, 0, 100, 100, 1000), 0);
    assert_int_equal(cpni_vector_take(&in, &session, 2, 3, 99, &out), CPN_EPROTO);
    assert_int_equal(feed(&in, 3, 0, 300, 100, 1000), 0);
    assert_int_equal(feed(&in, 5, 0, 100, 100, 1000), 0); /* begins anew */
    assert_int_equal(cpni_vector_take(&in, &session, 2, 5, 100, &out), 0);
    cpni_bytes_unref(out);
}

static void without_memory_nothing_is_left_behind(void **state)
{
    (void)state;
    for (unsigned nth = 1, made = nth; made >= nth; nth++) {
        struct cpni_bytes *vector = vector_of(2 * CPNI_VECTOR_PIECE_BYTES);
        struct cpni_actions actions = { 0 };
        struct cpni_vector_in in = { 0 };
        struct cpni_bytes *out = NULL;
        cpni_alloc_fail(nth);
        int rc = cpni_vector_send(&actions, 9, 1, &session, 2, 3, vector);
        for (size_t i = 0; rc == 0 && i < actions.count; i++) {
            rc = cpni_vector_piece(&in, &actions.list[i].send.msg.piece, UINT64_MAX);
        }
        rc = rc < 0 ? rc : cpni_vector_take(&in, &session, 2, 3, vector->size, &out);
        made = cpni_alloc_fail(0);
        assert_int_equal(rc, made >= nth ? CPN_ENOMEM : 0);
        assert_true((out != NULL) == (rc == 0));
        cpni_bytes_unref(out);
        cpni_vector_clear(&in);
        cpni_actions_free(&actions);
        assert_int_equal(vector->refs, 1);
        cpni_bytes_unref(vector);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_and_whole_again),
        cmocka_unit_test(at_an_odd_address),
        cmocka_unit_test(none),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(without_memory_nothing_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
