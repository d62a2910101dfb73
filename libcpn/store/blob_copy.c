/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Copies of blobs for people and for programs that want a path: under a temporary name in the target's directory first,
 * so that nobody sees half a file, then renamed. */
#include "store/blob_store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/error.h>

#include "store/file.h"

#define SLICE_BYTES ((uint64_t)CPNI_BLOB_SLICE_CHUNKS * CPNI_CHUNK_BYTES)

struct copy {
    struct cpni_blob_work work;
    struct cpn_hash root;
    uint64_t size;
    uint64_t done;
    int from;
    int to;
    bool linked;
    bool renamed;
    char *path;
    char *temporary; /* beside it */
};

static void copy_end(struct cpni_blob_work *work)
{
    struct copy *copy = (struct copy *)work;
    if (copy->from >= 0) {
        close(copy->from);
    }
    if (copy->to >= 0) {
        close(copy->to);
    }
    /* Linked: also after the rename, which does nothing when both names are links to the same file already. */
    if (copy->to >= 0 ? !copy->renamed : copy->linked) {
        unlink(copy->temporary);
    }
    cpni_free(copy->path);
    cpni_free(copy->temporary);
    cpni_free(copy);
}

static int fail_target(struct copy *copy, int code)
{
    return cpni_blobs_fail(copy->work.blobs, code, "%s: %s", copy->path, strerror(errno));
}

static int copy_finish(struct copy *copy, struct cpni_blob_info *out)
{
    if (copy->to >= 0 && cpni_file_sync(copy->to) < 0) {
        return fail_target(copy, cpni_file_code(errno));
    }
    if (rename(copy->temporary, copy->path) < 0) {
        return fail_target(copy, cpni_file_code(errno));
    }
    copy->renamed = true;
    return cpni_blobs_find(copy->work.blobs, &copy->root, out);
}

static int copy_step(struct cpni_blob_work *work, struct cpni_blob_info *out)
{
    struct copy *copy = (struct copy *)work;
    uint64_t end = copy->size - copy->done < SLICE_BYTES ? copy->size : copy->done + SLICE_BYTES;
    while (!copy->linked && copy->done < end) {
        off_t at = (off_t)copy->done;
        ssize_t sent = sendfile(copy->to, copy->from, &at, (size_t)(end - copy->done));
        if (sent < 0 && errno != EINTR) {
            return fail_target(copy, cpni_file_code(errno));
        }
        if (sent == 0) {
            return cpni_blobs_fail(work->blobs, CPN_ECORRUPT, "%s: the stored blob is shorter than %llu bytes",
                copy->path, (unsigned long long)copy->size);
        }
        copy->done += sent < 0 ? 0 : (uint64_t)sent;
    }
    return copy->linked || copy->done == copy->size ? copy_finish(copy, out) : 1;
}

/* A name for the unfinished copy in the directory of `path`; hidden, so that a drop folder or a shell pattern passes it
 * by. */
static char *temporary_beside(const char *path)
{
    static const char name[] = ".cpn-XXXXXX";
    const char *slash = strrchr(path, '/');
    size_t dir = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    char *text = cpni_malloc(dir + sizeof name);
    if (text != NULL) {
        memcpy(text, path, dir);
        memcpy(text + dir, name, sizeof name);
    }
    return text;
}

/* A hard link under a temporary name. False when the file system has none, or the target lies on another one. */
static bool try_link(struct copy *copy, enum cpni_blob_class class)
{
    struct cpni_blob_path data = cpni_blob_path(class, &copy->root, CPNI_BLOB_FILE_DATA);
    copy->linked = linkat(copy->work.blobs->dir, data.text, AT_FDCWD, copy->temporary, 0) == 0;
    return copy->linked;
}

static int copy_open(struct copy *copy, const struct cpni_blob_entry *entry, enum cpni_blob_copy how, unsigned mode)
{
    struct cpni_blobs *blobs = copy->work.blobs;
    copy->to = mkostemp(copy->temporary, O_CLOEXEC);
    if (copy->to < 0) {
        return fail_target(copy, cpni_file_code(errno));
    }
    if (how == CPNI_BLOB_LINK && unlink(copy->temporary) == 0 && try_link(copy, entry->class)) {
        close(copy->to);
        copy->to = -1;
        return 0;
    }
    if (how == CPNI_BLOB_LINK) { /* no links here: a copy after all, with a link's mode */
        close(copy->to);
        copy->to = open(copy->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        mode = 0444;
    }
    if (copy->to < 0 || fchmod(copy->to, mode) < 0) {
        return fail_target(copy, cpni_file_code(errno));
    }
    int rc = cpni_blobs_open_fd(blobs, &copy->root, &copy->from);
    if (rc == 0 && copy->size != 0 && ioctl(copy->to, FICLONE, copy->from) == 0) {
        copy->done = copy->size;
    }
    return rc;
}

int cpni_blob_work_copy_out(struct cpni_blobs *blobs, const struct cpn_hash *root, const char *path,
    enum cpni_blob_copy how, unsigned mode, struct cpni_blob_work **out)
{
    struct cpni_blob_entry *entry = cpni_blobs_complete(blobs, root);
    if (entry == NULL) {
        return CPN_ENOTFOUND;
    }
    struct copy *copy = cpni_calloc(1, sizeof *copy);
    if (copy == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    copy->work = (struct cpni_blob_work) { blobs, copy_step, copy_end };
    copy->root = *root;
    copy->size = entry->size;
    copy->from = copy->to = -1;
    copy->path = cpni_strdup(path);
    copy->temporary = temporary_beside(path);
    int rc = copy->path == NULL || copy->temporary == NULL ? cpni_blobs_fail_memory(blobs)
                                                           : copy_open(copy, entry, how, mode);
    if (rc < 0) {
        copy_end(&copy->work);
        return rc;
    }
    *out = &copy->work;
    return 0;
}

int cpni_blobs_copy_out(
    struct cpni_blobs *blobs, const struct cpn_hash *root, const char *path, enum cpni_blob_copy how, unsigned mode)
{
    struct cpni_blob_work *work;
    int rc = cpni_blob_work_copy_out(blobs, root, path, how, mode, &work);
    return rc < 0 ? rc : cpni_blob_work_run(work, NULL);
}
