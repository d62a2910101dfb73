/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* base/: containers and identifiers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>
#include <cpn/types.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/heap.h"
#include "base/str.h"

static void heap_orders_by_time_then_insertion(void **state)
{
    (void)state;
    struct cpni_heap heap = { 0 };
    struct cpni_heap_entry entries[200];
    memset(entries, 0, sizeof entries);
    uint32_t random = 7;
    for (size_t i = 0; i < 200; i++) {
        random = random * 1664525u + 1013904223u;
        assert_int_equal(cpni_heap_insert(&heap, &entries[i], (int64_t)(random >> 28)), 0);
    }
    for (size_t i = 0; i < 200; i += 3) {
        cpni_heap_remove(&heap, &entries[i]);
    }
    for (size_t i = 1; i < 200; i += 3) {
        cpni_heap_move(&heap, &entries[i], entries[i].at_us + 3);
    }
    int64_t at_us = -1;
    uint64_t sequence = 0;
    size_t seen = 0;
    for (struct cpni_heap_entry *e; (e = cpni_heap_first(&heap)) != NULL; seen++) {
        assert_true(e->at_us > at_us || (e->at_us == at_us && e->sequence > sequence));
        at_us = e->at_us;
        sequence = e->sequence;
        cpni_heap_remove(&heap, e);
        assert_int_equal(e->index, 0);
    }
    assert_int_equal(seen, 200 - 67);
    cpni_heap_free(&heap);
}

static void buf_failure_leaves_it_unchanged(void **state)
{
    (void)state;
    struct cpni_buf buf = { 0 };
    assert_int_equal(cpni_buf_printf(&buf, "%s-%d", "node", 7), 0);
    assert_int_equal(buf.size, 6);
    assert_memory_equal(buf.data, "node-7", 6);
    char large[1000] = { 0 };
    cpni_alloc_fail(1);
    assert_int_equal(cpni_buf_append(&buf, large, sizeof large), CPN_ENOMEM);
    cpni_alloc_fail(0);
    assert_true(buf.failed);
    assert_int_equal(buf.size, 6);
    assert_int_equal(cpni_buf_append(&buf, "x", 1), CPN_ENOMEM); /* sticky until cleared */
    cpni_buf_clear(&buf);
    assert_int_equal(cpni_buf_append(&buf, large, sizeof large), 0);
    cpni_buf_free(&buf);
}

static void count_release(void *arg)
{
    ++*(int *)arg;
}

static void bytes_release_once(void **state)
{
    (void)state;
    int released = 0;
    struct cpni_bytes *bytes = cpni_bytes_wrap("abc", 3, count_release, &released);
    assert_ptr_equal(cpni_bytes_ref(bytes), bytes);
    cpni_bytes_unref(bytes);
    assert_int_equal(released, 0);
    cpni_bytes_unref(bytes);
    assert_int_equal(released, 1);
    cpni_bytes_unref(NULL);
}

static void arena_survives_reset(void **state)
{
    (void)state;
    struct cpni_arena arena = { 0 };
    for (int round = 0; round < 3; round++) {
        for (size_t i = 1; i < 60; i++) {
            uint8_t *p = cpni_arena_alloc(&arena, i * 100);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % sizeof(max_align_t) % 16, 0);
            assert_int_equal(p[i * 100 - 1], 0);
            memset(p, 0xaa, i * 100);
        }
        assert_non_null(cpni_arena_alloc(&arena, 100000));
        cpni_arena_reset(&arena);
    }
    cpni_arena_free(&arena);
}

static void ids_read_back(void **state)
{
    (void)state;
    struct cpn_key key;
    struct cpn_key back;
    for (size_t i = 0; i < sizeof key.bytes; i++) {
        key.bytes[i] = (uint8_t)(i * 37);
    }
    char text[CPN_KEY_TEXT];
    assert_int_equal(cpn_key_parse(cpn_key_text(&key, text), &back), 0);
    assert_memory_equal(&key, &back, sizeof key);
    text[5] = 'G';
    assert_int_equal(cpn_key_parse(text, &back), CPN_EINVAL);
    assert_int_equal(cpn_key_parse("00", &back), CPN_EINVAL);
    assert_memory_equal(&key, &back, sizeof key); /* untouched on failure */
}

static void str_cuts_between_characters(void **state)
{
    (void)state;
    char room[4];
    assert_string_equal(cpni_str_copy(cpni_str("a\xc3\xa4\xc3\xb6"), room, sizeof room), "a\xc3\xa4");
    assert_string_equal(cpni_str_copy(cpni_str("ab\xc3\xa4"), room, sizeof room), "ab");
    assert_string_equal(cpni_str_copy(cpni_str(NULL), room, sizeof room), "");
}

static void every_error_has_a_name(void **state)
{
    (void)state;
    for (int error = -1; error >= CPN_ESTATE; error--) {
        assert_string_not_equal(cpn_strerror(error), "unknown error");
        assert_string_not_equal(cpn_error_name(error), "CPN_E?");
    }
    assert_string_equal(cpn_strerror(-1000), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_orders_by_time_then_insertion),
        cmocka_unit_test(buf_failure_leaves_it_unchanged),
        cmocka_unit_test(bytes_release_once),
        cmocka_unit_test(arena_survives_reset),
        cmocka_unit_test(ids_read_back),
        cmocka_unit_test(str_cuts_between_characters),
        cmocka_unit_test(every_error_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
