/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* store/blob_async: order per blob, bounds, long jobs beside short ones, an end at any time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "store/blob_async.h"
#include "store/tree.h"

#include "../lib/tempdir.h"

#define MIB ((size_t)CPNI_CHUNK_BYTES)

struct fixture {
    char dir[128];
    char store[160];
    struct cpni_blob_async *async;
};

static void open_async(struct fixture *f, size_t jobs, uint64_t bytes)
{
    struct cpni_blobs *blobs;
    assert_int_equal(cpni_blobs_open(f->store, NULL, &blobs, NULL), 0);
    assert_int_equal(cpni_blob_async_open(blobs, jobs, bytes, &f->async), 0);
}

static int setup(void **state)
{
    struct fixture *f = cpni_calloc(1, sizeof *f);
    assert_non_null(tempdir_make(f->dir));
    snprintf(f->store, sizeof f->store, "%s/store", f->dir);
    open_async(f, 0, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cpni_blob_async_close(f->async);
    tempdir_remove(f->dir);
    cpni_free(f);
    return 0;
}

static void pop(struct fixture *f, struct cpni_blob_answer *answer)
{
    while (cpni_blob_async_pop(f->async, answer) == 0) {
        struct pollfd wait = { .fd = cpni_blob_async_fd(f->async), .events = POLLIN };
        assert_int_equal(poll(&wait, 1, 30000), 1);
    }
}

static struct cpni_bytes *random_bytes(size_t size, uint32_t seed)
{
    uint8_t *data = cpni_malloc(size);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (uint8_t)(seed >> 24);
    }
    return cpni_bytes_take(data, size);
}

static struct cpn_hash hash_of(const struct cpni_bytes *bytes, struct cpni_bytes **leaves)
{
    struct cpni_tree tree;
    struct cpn_hash root;
    cpni_tree_init(&tree);
    assert_int_equal(cpni_tree_update(&tree, bytes->data, bytes->size), 0);
    assert_int_equal(cpni_tree_final(&tree, &root), 0);
    if (leaves != NULL) {
        *leaves = cpni_bytes_copy(tree.leaves, tree.count * sizeof root);
    }
    cpni_tree_free(&tree);
    return root;
}

/* Everything about one blob, submitted at once: the answers come in that order. */
static void a_blob_from_begin_to_remove(void **state)
{
    struct fixture *f = *state;
    struct cpni_bytes *data = random_bytes(2 * MIB + 5, 1), *leaves;
    struct cpn_hash root = hash_of(data, &leaves);
    struct cpni_blob_job job = { .op = CPNI_BLOB_BEGIN, .root = root, .size = data->size, .payload = leaves };
    uint64_t tag = 0;
    assert_int_equal(cpni_blob_async_submit(f->async, &job), 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct cpni_bytes *chunk = cpni_bytes_copy(data->data + i * MIB, cpni_tree_chunk_size(data->size, i));
        job = (struct cpni_blob_job) {
            .op = CPNI_BLOB_WRITE_CHUNK, .tag = ++tag, .root = root, .index = i, .payload = chunk
        };
        assert_int_equal(cpni_blob_async_submit(f->async, &job), 0);
        cpni_bytes_unref(chunk);
    }
    static const enum cpni_blob_op rest[] = { CPNI_BLOB_FINISH, CPNI_BLOB_FIND, CPNI_BLOB_LIST, CPNI_BLOB_READ_CHUNK,
        CPNI_BLOB_LEAVES, CPNI_BLOB_OPEN_FD, CPNI_BLOB_COPY_OUT, CPNI_BLOB_VERIFY, CPNI_BLOB_REMOVE, CPNI_BLOB_FIND };
    char path[200];
    snprintf(path, sizeof path, "%s/out", f->dir);
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        job = (struct cpni_blob_job) {
            .op = rest[i], .tag = ++tag, .root = root, .index = 2, .path = path, .mode = 0600
        };
        assert_int_equal(cpni_blob_async_submit(f->async, &job), 0);
    }
    for (uint64_t expected = 0; expected <= tag; expected++) {
        struct cpni_blob_answer answer;
        pop(f, &answer);
        assert_int_equal(answer.tag, expected);
        assert_int_equal(answer.status, expected == tag ? CPN_ENOTFOUND : 0);
        if (answer.op == CPNI_BLOB_BEGIN) {
            assert_int_equal(answer.bytes->size, 1);
            assert_int_equal(answer.bytes->data[0], 0);
        } else if (answer.op == CPNI_BLOB_READ_CHUNK) {
            assert_int_equal(answer.bytes->size, 5);
            assert_memory_equal(answer.bytes->data, data->data + 2 * MIB, 5);
        } else if (answer.op == CPNI_BLOB_LEAVES) {
            assert_int_equal(answer.bytes->size, leaves->size);
        } else if (answer.op == CPNI_BLOB_LIST) {
            assert_int_equal(answer.count, 1);
        } else if (answer.op == CPNI_BLOB_OPEN_FD) {
            assert_true(answer.fd >= 0 && answer.info.size == data->size);
        }
        cpni_blob_answer_clear(&answer);
    }
    assert_int_equal(cpni_blob_async_pending(f->async), 0);
    cpni_bytes_unref(data);
    cpni_bytes_unref(leaves);
}

static void submit_bytes(struct fixture *f, struct cpni_bytes *bytes, uint64_t tag, int expected)
{
    struct cpni_blob_job job = { .op = CPNI_BLOB_IMPORT_BYTES, .tag = tag, .payload = bytes, .class = CPNI_BLOB_SPOOL };
    assert_int_equal(cpni_blob_async_submit(f->async, &job), expected);
}

static void submit_long(struct fixture *f, enum cpni_blob_op op, const struct cpn_hash *root, const char *path)
{
    struct cpni_blob_job job = { .op = op, .tag = 1, .root = *root, .path = path };
    assert_int_equal(cpni_blob_async_submit(f->async, &job), 0);
}

/* The tags of three answers, all of them good. */
static void pop_three(struct fixture *f, char tags[4])
{
    for (size_t i = 0; i < 3; i++) {
        struct cpni_blob_answer answer;
        pop(f, &answer);
        assert_int_equal(answer.status, 0);
        tags[i] = (char)('0' + answer.tag);
        cpni_blob_answer_clear(&answer);
    }
    tags[3] = 0;
}

/* 1: a long job, 2: another about the same blob, 3: a short one about another. Should the long one be done before this
 * thread came to submit the short one, the attempt says nothing. */
static void short_jobs_pass_long_ones(void **state)
{
    struct fixture *f = *state;
    char path[200], tags[4] = "";
    snprintf(path, sizeof path, "%s/in", f->dir);
    struct cpni_bytes *big = random_bytes(64 * MIB, 1), *small = random_bytes(1000, 2);
    struct cpn_hash root = hash_of(big, NULL);
    FILE *file = fopen(path, "w");
    assert_int_equal(fwrite(big->data, 1, big->size, file), big->size);
    fclose(file);
    for (int attempt = 0; attempt < 20 && strcmp(tags, "321") != 0; attempt++) {
        submit_long(f, CPNI_BLOB_IMPORT_FILE, &root, path);
        submit_bytes(f, small, 3, 0);
        submit_bytes(f, small, 2, 0);
        pop_three(f, tags);
    }
    assert_string_equal(tags, "321");
    for (int attempt = 0; attempt < 20 && strcmp(tags, "312") != 0; attempt++) {
        struct cpni_blob_job job = { .op = CPNI_BLOB_FIND, .tag = 2, .root = root };
        submit_long(f, CPNI_BLOB_VERIFY, &root, NULL);
        assert_int_equal(cpni_blob_async_submit(f->async, &job), 0);
        submit_bytes(f, small, 3, 0);
        pop_three(f, tags);
    }
    assert_string_equal(tags, "312");
    cpni_bytes_unref(big);
    cpni_bytes_unref(small);
}

static void bounds_hold_until_answers_are_read(void **state)
{
    struct fixture *f = *state;
    struct cpni_blob_answer answer;
    struct cpni_bytes *bytes = random_bytes(1000, 1), *big = random_bytes(9000, 2);
    cpni_blob_async_close(f->async);
    open_async(f, 3, 1u << 20);
    for (uint64_t i = 0; i < 3; i++) {
        submit_bytes(f, bytes, i, 0);
    }
    submit_bytes(f, bytes, 3, CPN_EBUSY);
    pop(f, &answer);
    submit_bytes(f, bytes, 3, 0);
    assert_int_equal(cpni_blob_async_pending(f->async), 3);
    cpni_blob_async_close(f->async);
    open_async(f, 100, 2000);
    submit_bytes(f, bytes, 0, 0);
    submit_bytes(f, bytes, 1, 0);
    submit_bytes(f, bytes, 2, CPN_EBUSY);
    pop(f, &answer);
    pop(f, &answer);
    submit_bytes(f, big, 3, 0); /* alone it may be larger than the bound */
    pop(f, &answer);
    assert_int_equal(answer.status, 0);
    assert_int_equal(answer.tag, 3);
    struct cpni_blob_job bad = { .op = CPNI_BLOB_WRITE_CHUNK };
    assert_int_equal(cpni_blob_async_submit(f->async, &bad), CPN_EINVAL);
    cpni_bytes_unref(bytes);
    cpni_bytes_unref(big);
}

static void failures_carry_their_sentence(void **state)
{
    struct fixture *f = *state;
    struct cpni_blob_job job = { .op = CPNI_BLOB_IMPORT_FILE, .path = "/none/such" };
    struct cpni_blob_answer answer;
    assert_int_equal(cpni_blob_async_submit(f->async, &job), 0);
    pop(f, &answer);
    assert_int_equal(answer.status, CPN_ENOTFOUND);
    assert_non_null(strstr(answer.detail, "/none/such"));
}

/* Closed with everything under way: nothing leaks (the sanitizers say), nothing half is left. */
static void closed_in_the_middle(void **state)
{
    struct fixture *f = *state;
    char path[200], command[512];
    snprintf(path, sizeof path, "%s/in", f->dir);
    struct cpni_bytes *big = random_bytes(32 * MIB, 1);
    FILE *file = fopen(path, "w");
    assert_int_equal(fwrite(big->data, 1, big->size, file), big->size);
    fclose(file);
    struct cpni_blob_job job = { .op = CPNI_BLOB_IMPORT_FILE, .tag = 1, .path = path };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cpni_blob_async_submit(f->async, &job), 0);
    }
    for (uint64_t i = 0; i < 2; i++) {
        struct cpni_bytes *small = random_bytes(1000, (uint32_t)i);
        submit_bytes(f, small, i, 0);
        cpni_bytes_unref(small);
    }
    struct cpni_blob_answer answer;
    pop(f, &answer);
    cpni_blob_answer_clear(&answer);
    cpni_blob_async_close(f->async);
    f->async = NULL;
    snprintf(command, sizeof command, "test -z \"$(find %s/tmp -type f)\"", f->store);
    assert_int_equal(system(command), 0);
    cpni_bytes_unref(big);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_blob_from_begin_to_remove),
        TEST(short_jobs_pass_long_ones),
        TEST(bounds_hold_until_answers_are_read),
        TEST(failures_carry_their_sentence),
        TEST(closed_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
