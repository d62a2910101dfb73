/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* store/tree: against the vectors that the protocol page prints, in one piece and in many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "store/tree.h"

static uint8_t *pattern(size_t size)
{
    uint8_t *data = cpni_malloc(size);
    assert_non_null(data);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i % 251);
    }
    return data;
}

static void hash_in_pieces(
    const uint8_t *data, size_t size, size_t piece, struct cpni_tree *tree, struct cpn_hash *root)
{
    cpni_tree_init(tree);
    for (size_t at = 0; at < size; at += piece) {
        size_t take = size - at < piece ? size - at : piece;
        assert_int_equal(cpni_tree_update(tree, data + at, take), 0);
    }
    assert_int_equal(cpni_tree_final(tree, root), 0);
}

/* One vector: the leaves read so far and the root, against three ways to cut the same bytes. */
static void check(size_t size, const struct cpn_hash *leaves, size_t count, const struct cpn_hash *root)
{
    static const size_t pieces[] = { 1u << 20, 65537, 4096 };
    uint8_t *data = pattern(size);
    assert_int_equal(cpni_tree_leaves(size), count);
    for (size_t i = 0; i < 3; i++) {
        struct cpni_tree tree;
        struct cpn_hash got;
        hash_in_pieces(data, size, pieces[i], &tree, &got);
        assert_int_equal(tree.count, count);
        if (count != 0) {
            assert_memory_equal(tree.leaves, leaves, count * sizeof *leaves);
        }
        assert_memory_equal(&got, root, sizeof got);
        cpni_tree_free(&tree);
    }
    for (size_t i = 0; i < count; i++) {
        struct cpn_hash leaf;
        cpni_tree_leaf(data + i * CPNI_CHUNK_BYTES, cpni_tree_chunk_size(size, i), &leaf);
        assert_memory_equal(&leaf, &leaves[i], sizeof leaf);
    }
    cpni_free(data);
}

static void vectors(void **state)
{
    (void)state;
    FILE *file = fopen(CPN_SOURCE_ROOT "/libcpn/store/tree-vectors.txt", "r");
    assert_non_null(file);
    char line[256], hex[65];
    size_t size = 0, count = 0, checked = 0;
    struct cpn_hash leaves[4], root;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "blob %zu", &size) == 1) {
            count = 0;
        } else if (sscanf(line, "leaf %64s", hex) == 1) {
            assert_true(count < 4);
            assert_int_equal(cpn_hash_parse(hex, &leaves[count++]), 0);
        } else if (sscanf(line, "root %64s", hex) == 1) {
            assert_int_equal(cpn_hash_parse(hex, &root), 0);
            check(size, leaves, count, &root);
            checked++;
        }
    }
    fclose(file);
    assert_int_equal(checked, 4);
}

static void sizes(void **state)
{
    (void)state;
    assert_int_equal(cpni_tree_leaves(0), 0);
    assert_int_equal(cpni_tree_leaves(CPNI_BLOB_BYTES_MAX), CPNI_BLOB_LEAVES_MAX);
    assert_int_equal(cpni_tree_leaves(UINT64_MAX), (1ull << 44));
    assert_int_equal(cpni_tree_chunk_size(CPNI_CHUNK_BYTES + 1, 0), CPNI_CHUNK_BYTES);
    assert_int_equal(cpni_tree_chunk_size(CPNI_CHUNK_BYTES + 1, 1), 1);
    assert_int_equal(cpni_tree_chunk_size(CPNI_CHUNK_BYTES + 1, 2), 0);
    assert_int_equal(cpni_tree_chunk_size(0, 0), 0);
}

static void too_big_and_out_of_memory_are_errors(void **state)
{
    (void)state;
    struct cpni_tree tree;
    cpni_tree_init(&tree);
    tree.size = CPNI_BLOB_BYTES_MAX;
    assert_int_equal(cpni_tree_update(&tree, "x", 1), CPN_ETOOBIG);
    cpni_tree_init(&tree);
    assert_int_equal(cpni_tree_update(&tree, "x", 1), 0);
    cpni_alloc_fail(1);
    struct cpn_hash root;
    assert_int_equal(cpni_tree_final(&tree, &root), CPN_ENOMEM);
    cpni_tree_free(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(sizes),
        cmocka_unit_test(too_big_and_out_of_memory_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
