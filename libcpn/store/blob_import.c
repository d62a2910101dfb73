/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Blobs that are on this machine already: a file or bytes, hashed on the way into tmp/ and then published. */
#include "store/blob_store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/error.h>

#include "store/file.h"
#include "store/tree.h"

struct import {
    struct cpni_blob_work work;
    enum cpni_blob_class class;
    char *path; /* of the source; NULL: bytes */
    int from;
    int to;
    struct stat before; /* of the source */
    bool cloned; /* `to` has the bytes already: they are hashed from there */
    struct cpni_blob_path temporary;
    bool published;
    uint64_t reserved; /* counted towards the usage until the end */
    struct cpni_tree tree;
    uint8_t *buffer;
};

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static void import_end(struct cpni_blob_work *work)
{
    struct import *import = (struct import *)work;
    struct cpni_blobs *blobs = work->blobs;
    blobs->usage_bytes -= import->reserved;
    close_fd(&import->from);
    close_fd(&import->to);
    if (import->temporary.text[0] != 0 && !import->published) {
        cpni_file_remove(blobs->dir, import->temporary.text);
    }
    cpni_tree_free(&import->tree);
    cpni_free(import->path);
    cpni_free(import->buffer);
    cpni_free(import);
}

static struct import *import_new(struct cpni_blobs *blobs, enum cpni_blob_class class)
{
    struct import *import = cpni_calloc(1, sizeof *import);
    if (import == NULL) {
        return NULL;
    }
    import->work = (struct cpni_blob_work) { blobs, NULL, import_end };
    import->class = class;
    import->from = import->to = -1;
    cpni_tree_init(&import->tree);
    return import;
}

/* Space and a file for `size` bytes. */
static int open_temporary(struct import *import, uint64_t size)
{
    struct cpni_blobs *blobs = import->work.blobs;
    int rc = cpni_blobs_room(blobs, size);
    if (rc < 0) {
        return rc;
    }
    import->reserved = cpni_blob_cost(size);
    blobs->usage_bytes += import->reserved;
    import->temporary = cpni_blob_path_temporary(blobs);
    import->to = cpni_file_open(blobs->dir, import->temporary.text, O_RDWR | O_CREAT | O_TRUNC, 0444);
    if (import->to < 0) {
        rc = import->to;
        cpni_blobs_fail_file(blobs, rc, import->temporary.text);
        import->temporary.text[0] = 0;
    }
    return rc;
}

/* All bytes are in tmp/ and hashed: into the index, unless the blob is there already. */
static int import_finish(struct import *import, struct cpni_blob_info *out)
{
    struct cpni_blobs *blobs = import->work.blobs;
    struct cpn_hash root;
    if (cpni_tree_final(&import->tree, &root) < 0) {
        return cpni_blobs_fail_memory(blobs);
    }
    blobs->usage_bytes -= import->reserved;
    import->reserved = 0;
    struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, &root);
    if (entry != NULL && entry->complete) {
        int rc = import->class == CPNI_BLOB_KEPT ? cpni_blobs_keep(blobs, entry) : 0;
        if (rc == 0) {
            cpni_blob_info(entry, out);
        }
        return rc;
    }
    if (entry != NULL) { /* was being received: what is here already need not come */
        import->class = entry->class == CPNI_BLOB_KEPT ? CPNI_BLOB_KEPT : import->class;
        int rc = cpni_blobs_remove(blobs, &root);
        if (rc < 0) {
            return rc;
        }
    }
    int rc = cpni_blobs_add(blobs, &root, import->tree.size, import->class, true, &entry);
    if (rc < 0) {
        return rc;
    }
    bool lost = false;
    rc = cpni_blobs_publish(
        blobs, import->temporary.text, import->class, &root, import->tree.size, import->tree.leaves, &lost);
    if (rc < 0) {
        cpni_blobs_drop(blobs, entry);
        return rc;
    }
    import->published = true;
    cpni_blob_info(entry, out);
    return 0;
}

int cpni_blobs_import_bytes(
    struct cpni_blobs *blobs, const void *data, size_t size, enum cpni_blob_class class, struct cpni_blob_info *out)
{
    struct import *import = import_new(blobs, class);
    if (import == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    int rc = open_temporary(import, size);
    if (rc == 0 && cpni_tree_update(&import->tree, data, size) < 0) {
        rc = cpni_blobs_fail_memory(blobs);
    }
    if (rc == 0) {
        rc = cpni_file_write(import->to, data, size, 0);
        if (rc < 0) {
            cpni_blobs_fail_file(blobs, rc, import->temporary.text);
        }
    }
    if (rc == 0) {
        rc = import_finish(import, out);
    }
    import_end(&import->work);
    return rc;
}

/* ---- Files ---- */

static int fail_source(struct import *import, int code)
{
    return cpni_blobs_fail(import->work.blobs, code, "%s: %s", import->path, strerror(errno));
}

/* A file that changes while it is copied would be neither its old nor its new self. */
static int check_unchanged(struct import *import)
{
    struct stat now;
    const struct stat *was = &import->before;
    if (fstat(import->from, &now) < 0) {
        return fail_source(import, cpni_file_code(errno));
    }
    if (now.st_size != was->st_size || now.st_mtim.tv_sec != was->st_mtim.tv_sec
        || now.st_mtim.tv_nsec != was->st_mtim.tv_nsec || import->tree.size != (uint64_t)was->st_size) {
        return cpni_blobs_fail(import->work.blobs, CPN_EBADINPUT,
            "%s: changed while it was read (%lld bytes at first, %lld now); try again when it is complete",
            import->path, (long long)was->st_size, (long long)now.st_size);
    }
    return 0;
}

/* 1: a chunk was taken, 0: end of the file. */
static int import_chunk(struct import *import)
{
    struct cpni_blobs *blobs = import->work.blobs;
    uint64_t at = import->tree.size;
    size_t want = cpni_tree_chunk_size((uint64_t)import->before.st_size, at / CPNI_CHUNK_BYTES);
    if (want == 0) {
        return 0;
    }
    int rc = cpni_file_read(import->cloned ? import->to : import->from, import->buffer, want, at);
    if (rc == CPN_ECORRUPT) {
        return import->cloned ? cpni_blobs_fail_file(blobs, rc, import->temporary.text)
                              : 0; /* truncated: told at the end */
    }
    if (rc < 0) {
        return fail_source(import, rc);
    }
    if (cpni_tree_update(&import->tree, import->buffer, want) < 0) {
        return cpni_blobs_fail_memory(blobs);
    }
    rc = import->cloned ? 0 : cpni_file_write(import->to, import->buffer, want, at);
    return rc < 0 ? cpni_blobs_fail_file(blobs, rc, import->temporary.text) : 1;
}

static int import_step(struct cpni_blob_work *work, struct cpni_blob_info *out)
{
    struct import *import = (struct import *)work;
    for (int i = 0; i < CPNI_BLOB_SLICE_CHUNKS; i++) {
        int rc = import_chunk(import);
        if (rc < 0) {
            return rc;
        }
        if (rc == 0) {
            rc = import->cloned ? 0 : check_unchanged(import);
            return rc < 0 ? rc : import_finish(import, out);
        }
    }
    return 1;
}

static int import_open(struct import *import)
{
    struct cpni_blobs *blobs = import->work.blobs;
    import->buffer = cpni_malloc(CPNI_CHUNK_BYTES);
    if (import->buffer == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    /* O_NONBLOCK: opening a fifo would wait for a writer. */
    import->from = cpni_file_open(AT_FDCWD, import->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (import->from < 0) {
        return fail_source(import, import->from);
    }
    if (fstat(import->from, &import->before) < 0) {
        return fail_source(import, cpni_file_code(errno));
    }
    if (!S_ISREG(import->before.st_mode)) {
        return cpni_blobs_fail(blobs, CPN_EINVAL, "%s: not a regular file", import->path);
    }
    int rc = open_temporary(import, (uint64_t)import->before.st_size);
    if (rc < 0) {
        return rc;
    }
    /* A reflink takes no time and no space, and holds still whatever happens to the source. Few file systems have it.
     */
    struct stat clone;
    import->cloned = import->before.st_size != 0 && ioctl(import->to, FICLONE, import->from) == 0
        && fstat(import->to, &clone) == 0 && clone.st_size == import->before.st_size;
    return 0;
}

int cpni_blob_work_import(
    struct cpni_blobs *blobs, const char *path, enum cpni_blob_class class, struct cpni_blob_work **out)
{
    struct import *import = import_new(blobs, class);
    if (import == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    import->work.step = import_step;
    import->path = cpni_strdup(path);
    int rc = import->path == NULL ? cpni_blobs_fail_memory(blobs) : import_open(import);
    if (rc < 0) {
        import_end(&import->work);
        return rc;
    }
    *out = &import->work;
    return 0;
}

int cpni_blobs_import_file(
    struct cpni_blobs *blobs, const char *path, enum cpni_blob_class class, struct cpni_blob_info *out)
{
    struct cpni_blob_work *work;
    int rc = cpni_blob_work_import(blobs, path, class, &work);
    return rc < 0 ? rc : cpni_blob_work_run(work, out);
}
