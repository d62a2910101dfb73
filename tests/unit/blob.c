/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* store/blob: what goes in comes out, what is wrong stays out, what was cut off is taken up again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "store/blob.h"
#include "store/tree.h"

#include "../lib/tempdir.h"

#define MIB ((size_t)CPNI_CHUNK_BYTES)

struct fixture {
    char dir[128];
    char store[160];
    struct cpni_blobs *blobs;
};

/* Bytes, their leaves and their root. */
struct sample {
    uint8_t *data;
    size_t size;
    struct cpni_tree tree;
    struct cpn_hash root;
};

static void sample_make(struct sample *sample, size_t size, uint32_t seed)
{
    sample->size = size;
    sample->data = cpni_malloc(size);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        sample->data[i] = (uint8_t)(seed >> 24);
    }
    cpni_tree_init(&sample->tree);
    assert_int_equal(cpni_tree_update(&sample->tree, sample->data, size), 0);
    assert_int_equal(cpni_tree_final(&sample->tree, &sample->root), 0);
}

static void sample_free(struct sample *sample)
{
    cpni_tree_free(&sample->tree);
    cpni_free(sample->data);
}

static int begin(struct fixture *f, const struct sample *s, enum cpni_blob_class class, struct cpni_blob_info *info)
{
    return cpni_blobs_begin(
        f->blobs, &s->root, s->size, class, s->tree.leaves, s->tree.count * sizeof(struct cpn_hash), info);
}

static int chunk(struct fixture *f, const struct sample *s, uint32_t index, struct cpni_blob_info *info)
{
    return cpni_blobs_write_chunk(
        f->blobs, &s->root, index, s->data + index * MIB, cpni_tree_chunk_size(s->size, index), info);
}

static int setup(void **state)
{
    struct fixture *f = cpni_calloc(1, sizeof *f);
    assert_non_null(tempdir_make(f->dir));
    snprintf(f->store, sizeof f->store, "%s/store", f->dir);
    assert_int_equal(cpni_blobs_open(f->store, NULL, &f->blobs, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cpni_blobs_close(f->blobs);
    char small[200];
    snprintf(small, sizeof small, "%s/small", f->dir);
    umount2(small, MNT_DETACH); /* left by a test that failed */
    tempdir_remove(f->dir);
    cpni_free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    cpni_blobs_close(f->blobs);
    f->blobs = NULL;
    assert_int_equal(cpni_blobs_open(f->store, NULL, &f->blobs, NULL), 0);
}

static void assert_contents(struct fixture *f, const struct sample *s)
{
    for (uint32_t i = 0; i < s->tree.count; i++) {
        struct cpni_bytes *bytes;
        assert_int_equal(cpni_blobs_read_chunk(f->blobs, &s->root, i, &bytes), 0);
        assert_int_equal(bytes->size, cpni_tree_chunk_size(s->size, i));
        assert_memory_equal(bytes->data, s->data + i * MIB, bytes->size);
        cpni_bytes_unref(bytes);
    }
    struct cpni_bytes *leaves;
    assert_int_equal(cpni_blobs_leaves(f->blobs, &s->root, &leaves), 0);
    assert_int_equal(leaves->size, s->tree.count * sizeof(struct cpn_hash));
    if (leaves->size != 0) {
        assert_memory_equal(leaves->data, s->tree.leaves, leaves->size);
    }
    cpni_bytes_unref(leaves);
}

static void data_path(struct fixture *f, const struct sample *s, const char *kind, const char *suffix, char path[320])
{
    char hex[CPN_KEY_TEXT];
    cpn_hash_text(&s->root, hex);
    if (strcmp(kind, "partial") == 0) {
        snprintf(path, 320, "%s/blobs/partial/%s%s", f->store, hex, suffix);
    } else {
        snprintf(path, 320, "%s/%s/%.2s/%s%s", f->store, kind, hex, hex, suffix);
    }
}

static void flip_byte(const char *path, off_t at)
{
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void received_out_of_order(void **state)
{
    struct fixture *f = *state;
    struct sample s;
    struct cpni_blob_info info;
    sample_make(&s, 2 * MIB + 77, 1);
    assert_int_equal(chunk(f, &s, 0, &info), CPN_ENOTFOUND);
    assert_int_equal(begin(f, &s, CPNI_BLOB_KEPT, &info), 0);
    assert_int_equal(info.chunks, 3);
    assert_int_equal(info.have, 0);
    assert_int_equal(cpni_blobs_finish(f->blobs, &s.root), CPN_ESTATE);
    assert_int_equal(chunk(f, &s, 2, &info), 0);
    assert_int_equal(chunk(f, &s, 0, &info), 0);
    assert_int_equal(chunk(f, &s, 0, &info), 0);
    assert_int_equal(info.have, 2);
    struct cpni_bytes *map;
    assert_int_equal(cpni_blobs_bitmap(f->blobs, &s.root, &map), 0);
    assert_int_equal(map->size, 1);
    assert_int_equal(map->data[0], 5);
    cpni_bytes_unref(map);
    struct cpni_bytes *none;
    assert_int_equal(cpni_blobs_read_chunk(f->blobs, &s.root, 0, &none), CPN_ENOTFOUND);
    assert_int_equal(chunk(f, &s, 1, &info), 0);
    assert_false(info.complete);
    assert_int_equal(cpni_blobs_finish(f->blobs, &s.root), 0);
    assert_int_equal(cpni_blobs_finish(f->blobs, &s.root), 0);
    assert_contents(f, &s);
    assert_int_equal(begin(f, &s, CPNI_BLOB_KEPT, &info), 0);
    assert_true(info.complete && info.have == 3);
    assert_int_equal(chunk(f, &s, 1, &info), 0);
    reopen(f);
    assert_contents(f, &s);
    assert_int_equal(cpni_blobs_usage(f->blobs), s.size + 3 * 32);
    sample_free(&s);
}

static void the_empty_blob(void **state)
{
    struct fixture *f = *state;
    struct sample s;
    struct cpni_blob_info info;
    sample_make(&s, 0, 1);
    assert_int_equal(cpni_blobs_begin(f->blobs, &s.root, 0, CPNI_BLOB_KEPT, NULL, 0, &info), 0);
    assert_int_equal(info.chunks, 0);
    assert_int_equal(cpni_blobs_finish(f->blobs, &s.root), 0);
    assert_contents(f, &s);
    reopen(f);
    assert_contents(f, &s);
    sample_free(&s);
}

static void wrong_announcements_are_refused(void **state)
{
    struct fixture *f = *state;
    struct sample s, other;
    struct cpni_blob_info info;
    size_t bytes = 2 * sizeof(struct cpn_hash);
    sample_make(&s, 2 * MIB, 1);
    sample_make(&other, 2 * MIB, 2);
    assert_int_equal(
        cpni_blobs_begin(f->blobs, &s.root, s.size, CPNI_BLOB_KEPT, other.tree.leaves, bytes, &info), CPN_ECORRUPT);
    assert_int_equal(
        cpni_blobs_begin(f->blobs, &s.root, s.size + 1, CPNI_BLOB_KEPT, s.tree.leaves, bytes, &info), CPN_ECORRUPT);
    assert_int_equal(
        cpni_blobs_begin(f->blobs, &s.root, s.size - 1, CPNI_BLOB_KEPT, s.tree.leaves, bytes, &info), CPN_ECORRUPT);
    assert_int_equal(
        cpni_blobs_begin(f->blobs, &s.root, s.size, CPNI_BLOB_KEPT, s.tree.leaves, bytes - 1, &info), CPN_ECORRUPT);
    assert_int_equal(cpni_blobs_begin(f->blobs, &s.root, s.size, CPNI_BLOB_KEPT, NULL, 0, &info), CPN_ENOTFOUND);
    assert_int_equal(
        cpni_blobs_begin(f->blobs, &s.root, UINT64_MAX, CPNI_BLOB_KEPT, s.tree.leaves, bytes, &info), CPN_ETOOBIG);
    assert_int_equal(cpni_blobs_usage(f->blobs), 0);
    assert_int_equal(begin(f, &s, CPNI_BLOB_KEPT, &info), 0);
    assert_int_equal(
        cpni_blobs_begin(f->blobs, &s.root, s.size + 1, CPNI_BLOB_KEPT, s.tree.leaves, bytes, &info), CPN_ECORRUPT);
    sample_free(&s);
    sample_free(&other);
}

static void corrupted_chunks_are_refused(void **state)
{
    struct fixture *f = *state;
    struct sample s;
    struct cpni_blob_info info;
    sample_make(&s, MIB + 10, 1);
    assert_int_equal(begin(f, &s, CPNI_BLOB_KEPT, &info), 0);
    s.data[5] ^= 1;
    assert_int_equal(chunk(f, &s, 0, &info), CPN_ECORRUPT);
    assert_non_null(strstr(cpni_blobs_detail(f->blobs), "chunk 0"));
    s.data[5] ^= 1;
    assert_int_equal(cpni_blobs_write_chunk(f->blobs, &s.root, 0, s.data, MIB - 1, &info), CPN_ECORRUPT);
    assert_int_equal(cpni_blobs_write_chunk(f->blobs, &s.root, 1, s.data, 10, &info), CPN_ECORRUPT);
    assert_int_equal(cpni_blobs_write_chunk(f->blobs, &s.root, 2, s.data, 10, &info), CPN_ECORRUPT);
    assert_int_equal(cpni_blobs_write_chunk(f->blobs, &s.root, UINT32_MAX, s.data, 0, &info), CPN_ECORRUPT);
    assert_int_equal(chunk(f, &s, 0, &info), 0);
    assert_int_equal(chunk(f, &s, 1, &info), 0);
    assert_int_equal(cpni_blobs_finish(f->blobs, &s.root), 0);
    sample_free(&s);
}

/* The bitmap survives; a chunk that the crash tore is not trusted; the rest is not asked for again. */
static void resume_rehashes(void **state)
{
    struct fixture *f = *state;
    struct sample s;
    struct cpni_blob_info info;
    char path[320];
    sample_make(&s, 12 * MIB, 1);
    assert_int_equal(begin(f, &s, CPNI_BLOB_KEPT, &info), 0);
    for (uint32_t i = 1; i < 12; i++) {
        assert_int_equal(chunk(f, &s, i, &info), 0);
    }
    cpni_blobs_close(f->blobs);
    data_path(f, &s, "partial", "", path);
    flip_byte(path, 7 * (off_t)MIB + 3);
    data_path(f, &s, "partial", ".map", path);
    flip_byte(path, 0); /* claims chunk 0, which is a hole */
    assert_int_equal(cpni_blobs_open(f->store, NULL, &f->blobs, NULL), 0);
    assert_int_equal(cpni_blobs_find(f->blobs, &s.root, &info), 0);
    assert_int_equal(info.have, 12); /* as listed, not yet hashed */
    assert_int_equal(chunk(f, &s, 7, &info), CPN_ENOTFOUND);
    assert_int_equal(cpni_blobs_begin(f->blobs, &s.root, s.size, CPNI_BLOB_KEPT, NULL, 0, &info), 0);
    assert_int_equal(info.have, 10);
    assert_int_equal(chunk(f, &s, 7, &info), 0);
    assert_int_equal(cpni_blobs_finish(f->blobs, &s.root), CPN_ESTATE);
    assert_int_equal(chunk(f, &s, 0, &info), 0);
    assert_int_equal(cpni_blobs_finish(f->blobs, &s.root), 0);
    assert_contents(f, &s);
    assert_int_equal(cpni_blobs_verify(f->blobs, &s.root), 0);
    sample_free(&s);
}

static void torn_partials_are_dropped_at_open(void **state)
{
    struct fixture *f = *state;
    struct sample s, t;
    struct cpni_blob_info info;
    char path[320];
    sample_make(&s, 3 * MIB, 1);
    sample_make(&t, 3 * MIB, 2);
    assert_int_equal(begin(f, &s, CPNI_BLOB_KEPT, &info), 0);
    assert_int_equal(begin(f, &t, CPNI_BLOB_KEPT, &info), 0);
    data_path(f, &s, "partial", ".leaves", path);
    flip_byte(path, 40);
    data_path(f, &t, "partial", "", path);
    assert_int_equal(truncate(path, 5), 0);
    reopen(f);
    assert_int_equal(cpni_blobs_find(f->blobs, &s.root, &info), CPN_ENOTFOUND);
    assert_int_equal(cpni_blobs_find(f->blobs, &t.root, &info), CPN_ENOTFOUND);
    assert_int_equal(cpni_blobs_usage(f->blobs), 0);
    data_path(f, &s, "partial", ".map", path);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(begin(f, &s, CPNI_BLOB_KEPT, &info), 0);
    sample_free(&s);
    sample_free(&t);
}

/* A process is killed while it receives; another takes it up with at most the chunk at hand lost. */
static void killed_while_receiving(void **state)
{
    struct fixture *f = *state;
    struct sample s;
    struct cpni_blob_info info;
    sample_make(&s, 6 * MIB + 1, 3);
    cpni_blobs_close(f->blobs);
    f->blobs = NULL;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        cpni_blobs_open(f->store, NULL, &f->blobs, NULL);
        begin(f, &s, CPNI_BLOB_KEPT, &info);
        for (uint32_t i = 0; i < 4; i++) {
            chunk(f, &s, i, &info);
            if (write(pipes[1], "x", 1) != 1) {
                break;
            }
        }
        pause();
        _exit(0);
    }
    char got[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(read(pipes[0], &got[i], 1), 1);
    }
    close(pipes[0]);
    close(pipes[1]);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(cpni_blobs_open(f->store, NULL, &f->blobs, NULL), 0);
    assert_int_equal(begin(f, &s, CPNI_BLOB_KEPT, &info), 0);
    assert_int_equal(info.have, 4);
    for (uint32_t i = 4; i < 7; i++) {
        assert_int_equal(chunk(f, &s, i, &info), 0);
    }
    assert_int_equal(cpni_blobs_finish(f->blobs, &s.root), 0);
    assert_contents(f, &s);
    sample_free(&s);
}

static void several_at_once(void **state)
{
    struct fixture *f = *state;
    struct sample s[4];
    struct cpni_blob_info info;
    for (uint32_t i = 0; i < 4; i++) {
        sample_make(&s[i], MIB * (i + 1) - 5, i);
        assert_int_equal(begin(f, &s[i], i % 2 ? CPNI_BLOB_SPOOL : CPNI_BLOB_KEPT, &info), 0);
    }
    for (uint32_t c = 0; c < 4; c++) {
        for (uint32_t i = c; i < 4; i++) {
            assert_int_equal(chunk(f, &s[i], c, &info), 0);
        }
    }
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(cpni_blobs_finish(f->blobs, &s[i].root), 0);
        assert_contents(f, &s[i]);
    }
    struct cpni_blob_info *list;
    size_t count;
    assert_int_equal(cpni_blobs_list(f->blobs, &list, &count), 0);
    assert_int_equal(count, 4);
    for (size_t i = 1; i < count; i++) {
        assert_true(memcmp(&list[i - 1].root, &list[i].root, 32) < 0);
    }
    cpni_free(list);
    for (uint32_t i = 0; i < 4; i++) {
        sample_free(&s[i]);
    }
}

static void spool_ends_with_the_process(void **state)
{
    struct fixture *f = *state;
    struct sample s, kept, partial;
    struct cpni_blob_info info;
    sample_make(&s, MIB + 1, 1);
    sample_make(&kept, MIB + 2, 2);
    sample_make(&partial, MIB + 3, 3);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, s.data, s.size, CPNI_BLOB_SPOOL, &info), 0);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, kept.data, kept.size, CPNI_BLOB_SPOOL, &info), 0);
    assert_int_equal(begin(f, &partial, CPNI_BLOB_SPOOL, &info), 0);
    assert_int_equal(chunk(f, &partial, 0, &info), 0);
    assert_int_equal(begin(f, &partial, CPNI_BLOB_KEPT, &info), 0);
    assert_int_equal(info.have, 1);
    assert_int_equal(begin(f, &kept, CPNI_BLOB_KEPT, &info), 0); /* promoted */
    assert_true(info.complete && info.class == CPNI_BLOB_KEPT);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, kept.data, kept.size, CPNI_BLOB_SPOOL, &info), 0);
    assert_int_equal(info.class, CPNI_BLOB_KEPT); /* and not taken back */
    reopen(f);
    assert_int_equal(cpni_blobs_find(f->blobs, &s.root, &info), CPN_ENOTFOUND);
    assert_contents(f, &kept);
    assert_int_equal(cpni_blobs_begin(f->blobs, &partial.root, partial.size, CPNI_BLOB_KEPT, NULL, 0, &info), 0);
    assert_int_equal(info.have, 1);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, s.data, s.size, CPNI_BLOB_SPOOL, &info), 0);
    assert_int_equal(cpni_blobs_drop_spool(f->blobs), 0);
    assert_int_equal(cpni_blobs_find(f->blobs, &s.root, &info), CPN_ENOTFOUND);
    assert_contents(f, &kept);
    sample_free(&s);
    sample_free(&kept);
    sample_free(&partial);
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void files_come_in_and_go_out(void **state)
{
    struct fixture *f = *state;
    struct sample s;
    struct cpni_blob_info info;
    char path[200];
    sample_make(&s, 9 * MIB + 5, 1);
    snprintf(path, sizeof path, "%s/in", f->dir);
    write_file(path, s.data, s.size);
    assert_int_equal(cpni_blobs_import_file(f->blobs, path, CPNI_BLOB_KEPT, &info), 0);
    assert_memory_equal(&info.root, &s.root, sizeof s.root);
    assert_true(info.complete && info.size == s.size && info.chunks == 10);
    assert_int_equal(cpni_blobs_import_file(f->blobs, path, CPNI_BLOB_KEPT, &info), 0);
    assert_int_equal(cpni_blobs_usage(f->blobs), s.size + 10 * 32);
    assert_contents(f, &s);

    uint8_t *copy = cpni_malloc(s.size);
    snprintf(path, sizeof path, "%s/out", f->dir);
    write_file(path, "old", 3);
    for (int how = CPNI_BLOB_COPY; how <= CPNI_BLOB_LINK; how++) {
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(cpni_blobs_copy_out(f->blobs, &s.root, path, (enum cpni_blob_copy)how, 0640), 0);
        }
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, how == CPNI_BLOB_COPY ? 0640 : 0444);
        assert_int_equal(st.st_nlink, how == CPNI_BLOB_COPY ? 1 : 2);
        FILE *file = fopen(path, "r");
        assert_int_equal(fread(copy, 1, s.size, file), s.size);
        assert_int_equal(fgetc(file), EOF);
        fclose(file);
        assert_memory_equal(copy, s.data, s.size);
    }
    cpni_free(copy);
    int fd;
    assert_int_equal(cpni_blobs_open_fd(f->blobs, &s.root, &fd), 0);
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(cpni_blobs_remove(f->blobs, &s.root), 0);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, 5), 1);
    assert_int_equal(byte, s.data[5]);
    close(fd);
    assert_int_equal(cpni_blobs_usage(f->blobs), 0);
    reopen(f);
    assert_int_equal(cpni_blobs_find(f->blobs, &s.root, &info), CPN_ENOTFOUND);
    assert_int_equal(cpni_blobs_copy_out(f->blobs, &s.root, path, CPNI_BLOB_COPY, 0640), CPN_ENOTFOUND);
    sample_free(&s);
}

static void imports_that_cannot_be(void **state)
{
    struct fixture *f = *state;
    struct cpni_blob_info info;
    char path[200];
    assert_int_equal(cpni_blobs_import_file(f->blobs, f->dir, CPNI_BLOB_KEPT, &info), CPN_EINVAL);
    snprintf(path, sizeof path, "%s/none", f->dir);
    assert_int_equal(cpni_blobs_import_file(f->blobs, path, CPNI_BLOB_KEPT, &info), CPN_ENOTFOUND);
    assert_non_null(strstr(cpni_blobs_detail(f->blobs), path));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(cpni_blobs_import_file(f->blobs, path, CPNI_BLOB_KEPT, &info), CPN_EINVAL);
    snprintf(path, sizeof path, "%s/huge", f->dir);
    write_file(path, "x", 1);
    if (truncate(path, (off_t)CPNI_BLOB_BYTES_MAX + 1) == 0) {
        assert_int_equal(cpni_blobs_import_file(f->blobs, path, CPNI_BLOB_KEPT, &info), CPN_ETOOBIG);
    }
}

/* Grows, shrinks, or is rewritten between two slices of an import. */
static void source_changes_while_imported(void **state)
{
    struct fixture *f = *state;
    struct sample s;
    char path[200];
    snprintf(path, sizeof path, "%s/in", f->dir);
    sample_make(&s, 9 * MIB, 1);
    for (int how = 0; how < 2; how++) {
        struct cpni_blob_work *work;
        struct cpni_blob_info info;
        write_file(path, s.data, s.size);
        assert_int_equal(cpni_blob_work_import(f->blobs, path, CPNI_BLOB_KEPT, &work), 0);
        assert_int_equal(cpni_blob_work_step(work, &info), 1);
        assert_int_equal(truncate(path, how == 0 ? (off_t)(5 * MIB) : (off_t)(10 * MIB)), 0);
        int rc;
        while ((rc = cpni_blob_work_step(work, &info)) == 1) { }
        /* A reflink, where there are any, holds still. */
        assert_true(rc == CPN_EBADINPUT || (rc == 0 && memcmp(&info.root, &s.root, sizeof s.root) == 0));
        cpni_blob_work_free(work);
        cpni_blobs_remove(f->blobs, &s.root);
        assert_int_equal(cpni_blobs_usage(f->blobs), 0);
    }
    sample_free(&s);
}

static void unfinished_work_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct sample s;
    struct cpni_blob_info info;
    struct cpni_blob_work *work;
    char path[200], command[512];
    snprintf(path, sizeof path, "%s/in", f->dir);
    sample_make(&s, 9 * MIB, 1);
    write_file(path, s.data, s.size);
    assert_int_equal(cpni_blob_work_import(f->blobs, path, CPNI_BLOB_KEPT, &work), 0);
    assert_int_equal(cpni_blob_work_step(work, &info), 1);
    cpni_blob_work_free(work);
    assert_int_equal(cpni_blobs_import_file(f->blobs, path, CPNI_BLOB_KEPT, &info), 0);
    snprintf(path, sizeof path, "%s/out", f->dir);
    assert_int_equal(cpni_blob_work_copy_out(f->blobs, &s.root, path, CPNI_BLOB_COPY, 0600, &work), 0);
    cpni_blob_work_step(work, &info);
    cpni_blob_work_free(work);
    snprintf(command, sizeof command, "test -z \"$(find %s/tmp -type f; find %s -name '.cpn-*')\"", f->store, f->dir);
    assert_int_equal(system(command), 0);
    sample_free(&s);
}

static void quota_counts_everything(void **state)
{
    struct fixture *f = *state;
    struct sample a, b;
    struct cpni_blob_info info;
    cpni_blobs_close(f->blobs);
    struct cpni_blobs_options options = { .quota_bytes = 3 * MIB };
    assert_int_equal(cpni_blobs_open(f->store, &options, &f->blobs, NULL), 0);
    sample_make(&a, 2 * MIB, 1);
    sample_make(&b, MIB, 2);
    assert_int_equal(begin(f, &a, CPNI_BLOB_KEPT, &info), 0);
    assert_int_equal(begin(f, &b, CPNI_BLOB_KEPT, &info), CPN_ENOSPC); /* the leaf lists are too much */
    assert_non_null(strstr(cpni_blobs_detail(f->blobs), "3145728"));
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, b.data, b.size, CPNI_BLOB_SPOOL, &info), CPN_ENOSPC);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, b.data, b.size - 200, CPNI_BLOB_SPOOL, &info), 0);
    assert_int_equal(cpni_blobs_abort(f->blobs, &a.root), 0);
    assert_int_equal(begin(f, &b, CPNI_BLOB_KEPT, &info), 0);
    sample_free(&a);
    sample_free(&b);
}

static void damage_is_found_and_cured(void **state)
{
    struct fixture *f = *state;
    struct sample s;
    struct cpni_blob_info info;
    struct cpni_bytes *leaves;
    char path[320];
    sample_make(&s, 2 * MIB + 9, 1);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, s.data, s.size, CPNI_BLOB_KEPT, &info), 0);
    data_path(f, &s, "blobs", ".leaves", path);
    flip_byte(path, 33);
    assert_int_equal(cpni_blobs_leaves(f->blobs, &s.root, &leaves), CPN_ECORRUPT);
    assert_int_equal(cpni_blobs_verify(f->blobs, &s.root), 0);
    assert_contents(f, &s);
    data_path(f, &s, "blobs", "", path);
    flip_byte(path, 2 * (off_t)MIB + 3);
    assert_int_equal(cpni_blobs_verify(f->blobs, &s.root), CPN_ECORRUPT);
    assert_non_null(strstr(cpni_blobs_detail(f->blobs), path));
    assert_int_equal(cpni_blobs_find(f->blobs, &s.root, &info), CPN_ENOTFOUND);
    sample_free(&s);
}

/* What a crash between two steps of publishing or removing leaves behind. */
static void halves_are_removed_at_open(void **state)
{
    struct fixture *f = *state;
    struct sample s, t;
    struct cpni_blob_info info;
    char path[320];
    sample_make(&s, MIB, 1);
    sample_make(&t, MIB, 2);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, s.data, s.size, CPNI_BLOB_KEPT, &info), 0);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, t.data, t.size, CPNI_BLOB_KEPT, &info), 0);
    data_path(f, &s, "blobs", "", path);
    assert_int_equal(unlink(path), 0);
    data_path(f, &t, "blobs", ".leaves", path);
    assert_int_equal(unlink(path), 0);
    reopen(f);
    assert_int_equal(cpni_blobs_find(f->blobs, &s.root, &info), CPN_ENOTFOUND);
    assert_int_equal(cpni_blobs_find(f->blobs, &t.root, &info), CPN_ENOTFOUND);
    data_path(f, &t, "blobs", "", path);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, s.data, s.size, CPNI_BLOB_KEPT, &info), 0);
    assert_contents(f, &s);
    sample_free(&s);
    sample_free(&t);
}

static void one_process_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct cpni_blobs *second = NULL;
    char detail[CPNI_BLOB_DETAIL];
    assert_int_equal(cpni_blobs_open(f->store, NULL, &second, detail), CPN_EBUSY);
    assert_non_null(strstr(detail, f->store));
    assert_null(second);
    assert_int_equal(cpni_blobs_open("/proc/none", NULL, &second, detail), CPN_ENOTFOUND);
    assert_non_null(strstr(detail, "/proc/none"));
}

/* A file system of 4 MiB: space is refused at the beginning, and what was there stays. */
static void disk_full(void **state)
{
    struct fixture *f = *state;
    struct sample small, big;
    struct cpni_blob_info info;
    char path[200];
    snprintf(path, sizeof path, "%s/small", f->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    if (mount("none", path, "tmpfs", 0, "size=4m") < 0) {
        skip();
    }
    cpni_blobs_close(f->blobs);
    snprintf(f->store, sizeof f->store, "%s/small/store", f->dir);
    assert_int_equal(cpni_blobs_open(f->store, NULL, &f->blobs, NULL), 0);
    sample_make(&small, MIB, 1);
    sample_make(&big, 8 * MIB, 2);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, small.data, small.size, CPNI_BLOB_KEPT, &info), 0);
    assert_int_equal(begin(f, &big, CPNI_BLOB_KEPT, &info), CPN_ENOSPC);
    assert_non_null(strstr(cpni_blobs_detail(f->blobs), f->store));
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, big.data, big.size, CPNI_BLOB_KEPT, &info), CPN_ENOSPC);
    assert_int_equal(cpni_blobs_usage(f->blobs), MIB + 32);
    assert_contents(f, &small);
    sample_free(&big);
    sample_make(&big, 2 * MIB, 3);
    assert_int_equal(cpni_blobs_import_bytes(f->blobs, big.data, big.size, CPNI_BLOB_KEPT, &info), 0);
    cpni_blobs_close(f->blobs);
    f->blobs = NULL;
    assert_int_equal(umount(path), 0);
    sample_free(&small);
    sample_free(&big);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(received_out_of_order),
        TEST(the_empty_blob),
        TEST(wrong_announcements_are_refused),
        TEST(corrupted_chunks_are_refused),
        TEST(resume_rehashes),
        TEST(torn_partials_are_dropped_at_open),
        TEST(killed_while_receiving),
        TEST(several_at_once),
        TEST(spool_ends_with_the_process),
        TEST(files_come_in_and_go_out),
        TEST(imports_that_cannot_be),
        TEST(source_changes_while_imported),
        TEST(unfinished_work_leaves_nothing),
        TEST(quota_counts_everything),
        TEST(damage_is_found_and_cured),
        TEST(halves_are_removed_at_open),
        TEST(one_process_at_a_time),
        TEST(disk_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
