/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* store/blob with the nth file call failing, and with the process dying at the nth, for every n: a blob is whole or not
 * there, what was reported is there, and the books are right. The calls of store/file.h are wrapped by the linker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "store/blob.h"
#include "store/file.h"
#include "store/tree.h"

#include "../lib/tempdir.h"

#define MIB ((size_t)CPNI_CHUNK_BYTES)

static unsigned calls, fail_at; /* 0: none */
static int fail_errno;
static int die; /* at fail_at instead of failing */

static int meet(void)
{
    if (++calls != fail_at) {
        return 0;
    }
    if (die) {
        _exit(77);
    }
    errno = fail_errno;
    return cpni_file_code(fail_errno);
}

#define WRAP(name, parameters, arguments)                                                                              \
    int __real_##name parameters;                                                                                      \
    int __wrap_##name parameters;                                                                                      \
    int __wrap_##name parameters                                                                                       \
    {                                                                                                                  \
        int rc = meet();                                                                                               \
        return rc < 0 ? rc : __real_##name arguments;                                                                  \
    }
WRAP(cpni_file_open, (int dir, const char *path, int flags, unsigned mode), (dir, path, flags, mode))
WRAP(cpni_file_write, (int fd, const void *data, size_t size, uint64_t at), (fd, data, size, at))
WRAP(cpni_file_read, (int fd, void *data, size_t size, uint64_t at), (fd, data, size, at))
WRAP(cpni_file_reserve, (int fd, uint64_t size), (fd, size))
WRAP(cpni_file_sync, (int fd), (fd))
WRAP(cpni_file_sync_dir, (int dir, const char *path), (dir, path))
WRAP(cpni_file_mkdir, (int dir, const char *path), (dir, path))
WRAP(cpni_file_rename, (int dir, const char *from, const char *to), (dir, from, to))
WRAP(cpni_file_remove, (int dir, const char *path), (dir, path))
WRAP(cpni_file_create, (int dir, const char *path, const void *data, size_t size, int sync),
    (dir, path, data, size, sync))

/* ---- One life of a store ---- */

#define SAMPLES 4
enum { RECEIVED, IMPORTED, PROMOTED, REMOVED };
struct sample {
    uint8_t *data;
    size_t size;
    struct cpni_tree tree;
    struct cpn_hash root;
};
static struct sample samples[SAMPLES];

/* Bit i: sample i was reported as kept; SAMPLES + i: its removal was. In memory shared with the child that dies. */
static volatile unsigned *promised;

static void make_samples(void)
{
    static const size_t sizes[SAMPLES] = { 2 * MIB + 9, MIB + 1, 300000, 5 };
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sample *s = &samples[i];
        s->size = sizes[i];
        s->data = cpni_malloc(s->size);
        for (size_t k = 0; k < s->size; k++) {
            s->data[k] = (uint8_t)(k % 251 + i);
        }
        cpni_tree_init(&s->tree);
        assert_int_equal(cpni_tree_update(&s->tree, s->data, s->size), 0);
        assert_int_equal(cpni_tree_final(&s->tree, &s->root), 0);
    }
}

static int receive(struct cpni_blobs *blobs, const struct sample *s)
{
    struct cpni_blob_info info;
    int rc = cpni_blobs_begin(
        blobs, &s->root, s->size, CPNI_BLOB_KEPT, s->tree.leaves, s->tree.count * sizeof s->root, &info);
    for (uint32_t i = 0; rc == 0 && i < s->tree.count; i++) {
        rc = cpni_blobs_write_chunk(blobs, &s->root, i, s->data + i * MIB, cpni_tree_chunk_size(s->size, i), &info);
    }
    return rc < 0 ? rc : cpni_blobs_finish(blobs, &s->root);
}

static void promise(int rc, unsigned bit)
{
    if (rc == 0) {
        *promised |= 1u << bit;
    }
}

static void live(const char *dir)
{
    struct cpni_blobs *blobs;
    struct cpni_blob_info info;
    char detail[CPNI_BLOB_DETAIL] = "";
    int rc = cpni_blobs_open(dir, NULL, &blobs, detail);
    if (rc < 0) {
        assert_true(detail[0] != 0);
        return;
    }
    const struct sample *s = samples;
    promise(receive(blobs, &s[RECEIVED]), RECEIVED);
    promise(cpni_blobs_import_bytes(blobs, s[IMPORTED].data, s[IMPORTED].size, CPNI_BLOB_KEPT, &info), IMPORTED);
    rc = cpni_blobs_import_bytes(blobs, s[PROMOTED].data, s[PROMOTED].size, CPNI_BLOB_SPOOL, &info);
    promise(rc < 0 ? rc : cpni_blobs_begin(blobs, &s[PROMOTED].root, s[PROMOTED].size, CPNI_BLOB_KEPT, NULL, 0, &info),
        PROMOTED);
    rc = cpni_blobs_import_bytes(blobs, s[REMOVED].data, s[REMOVED].size, CPNI_BLOB_KEPT, &info);
    promise(rc, REMOVED);
    promise(rc < 0 ? rc : cpni_blobs_remove(blobs, &s[REMOVED].root), SAMPLES + REMOVED);
    cpni_blobs_close(blobs);
}

/* After it: whole or absent, the promised there, every byte counted, nothing in tmp/, and all of it can be done now. */
static void inspect(const char *dir)
{
    struct cpni_blobs *blobs;
    struct cpni_blob_info *list;
    size_t count;
    uint64_t bytes = 0;
    assert_int_equal(cpni_blobs_open(dir, NULL, &blobs, NULL), 0);
    assert_int_equal(cpni_blobs_list(blobs, &list, &count), 0);
    for (size_t i = 0; i < count; i++) {
        bytes += list[i].size + list[i].chunks * sizeof(struct cpn_hash);
        if (list[i].complete) {
            assert_int_equal(cpni_blobs_verify(blobs, &list[i].root), 0);
        }
    }
    cpni_free(list);
    assert_int_equal(cpni_blobs_usage(blobs), bytes);
    for (unsigned i = 0; i < SAMPLES; i++) {
        struct cpni_blob_info info = { .complete = false };
        int rc = cpni_blobs_find(blobs, &samples[i].root, &info);
        bool removed = (*promised & (1u << (SAMPLES + i))) != 0;
        if (removed) {
            assert_int_equal(rc, CPN_ENOTFOUND);
        } else if (i != REMOVED && (*promised & (1u << i))) { /* a removal that failed may have begun */
            assert_true(rc == 0 && info.complete && info.class == CPNI_BLOB_KEPT);
        }
        assert_int_equal(receive(blobs, &samples[i]), 0);
        assert_int_equal(cpni_blobs_verify(blobs, &samples[i].root), 0);
    }
    cpni_blobs_close(blobs);
    char command[256];
    snprintf(command, sizeof command, "test -z \"$(find %s/tmp %s/blobs/partial -type f)\"", dir, dir);
    assert_int_equal(system(command), 0);
}

static unsigned count_calls(const char *dir)
{
    fail_at = 0;
    calls = 0;
    *promised = 0;
    live(dir);
    assert_int_equal(*promised, 15 + (1 << (SAMPLES + REMOVED)));
    unsigned all = calls;
    assert_true(all > 30);
    inspect(dir);
    return all;
}

static void make_dir(char parent[128], char dir[160])
{
    assert_non_null(tempdir_make(parent));
    snprintf(dir, 160, "%s/store", parent);
}

static void every_call_fails_once(void **state)
{
    (void)state;
    char parent[128], dir[160];
    make_dir(parent, dir);
    unsigned all = count_calls(dir);
    tempdir_remove(parent);
    for (unsigned n = 1; n <= all; n++) {
        make_dir(parent, dir);
        *promised = 0;
        calls = 0;
        fail_at = n;
        fail_errno = n % 2 ? EIO : ENOSPC;
        live(dir);
        fail_at = 0;
        inspect(dir);
        tempdir_remove(parent);
    }
}

static void the_process_dies_at_every_call(void **state)
{
    (void)state;
    char parent[128], dir[160];
    make_dir(parent, dir);
    unsigned all = count_calls(dir);
    tempdir_remove(parent);
    for (unsigned n = 1; n <= all; n++) {
        make_dir(parent, dir);
        *promised = 0;
        pid_t child = fork();
        if (child == 0) {
            calls = 0;
            fail_at = n;
            die = 1;
            live(dir);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 77);
        inspect(dir);
        tempdir_remove(parent);
    }
}

/* The nth allocation. */
static void out_of_memory(void **state)
{
    (void)state;
    char parent[128], dir[160];
    for (unsigned n = 1; n <= 60; n++) {
        make_dir(parent, dir);
        *promised = 0;
        cpni_alloc_fail(n);
        live(dir);
        cpni_alloc_fail(0);
        inspect(dir);
        tempdir_remove(parent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_fails_once),
        cmocka_unit_test(the_process_dies_at_every_call),
        cmocka_unit_test(out_of_memory),
    };
    promised = mmap(NULL, sizeof *promised, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    make_samples();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
