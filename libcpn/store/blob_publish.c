/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The last steps of every way into the store, in the order that makes a crash between any two of them safe:
 *   sync the data; write and sync the leaf list under its final name; rename the data; sync the directory.
 * The data's final name is what makes a blob visible, so it comes when all else is on the disk. What is spooled is
 * never looked at after a crash and skips the syncs. A sync that fails says that the disk lost writes and will not say
 * which: the file is given up, not synced again. */
#include "store/blob_store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <cpn/error.h>

#include "store/file.h"
#include "store/tree.h"

static int sync_file(struct cpni_blobs *blobs, const char *path)
{
    int fd = cpni_file_open(blobs->dir, path, O_RDONLY, 0);
    int rc = fd < 0 ? fd : cpni_file_sync(fd);
    if (rc < 0) {
        cpni_blobs_fail_file(blobs, rc, path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

static int sync_dir(struct cpni_blobs *blobs, const char *path)
{
    int rc = cpni_file_sync_dir(blobs->dir, path);
    return rc < 0 ? cpni_blobs_fail_file(blobs, rc, path) : 0;
}

/* blobs/ab, in which `path` lies. */
static struct cpni_blob_path shard_of(const struct cpni_blob_path *path)
{
    struct cpni_blob_path shard = *path;
    *strrchr(shard.text, '/') = 0;
    return shard;
}

static int make_shard(struct cpni_blobs *blobs, enum cpni_blob_class class, const char *shard)
{
    int rc = cpni_file_mkdir(blobs->dir, shard);
    if (rc < 0) {
        return cpni_blobs_fail_file(blobs, rc, shard);
    }
    return rc == 1 && class == CPNI_BLOB_KEPT ? sync_dir(blobs, cpni_blob_class_dir(class)) : 0;
}

static int rename_file(struct cpni_blobs *blobs, const char *from, const char *to)
{
    int rc = cpni_file_rename(blobs->dir, from, to);
    return rc < 0 ? cpni_blobs_fail_file(blobs, rc, to) : 0;
}

int cpni_blobs_publish(struct cpni_blobs *blobs, const char *from, enum cpni_blob_class class,
    const struct cpn_hash *root, uint64_t size, const struct cpn_hash *leaves, bool *lost)
{
    bool kept = class == CPNI_BLOB_KEPT;
    struct cpni_blob_path data = cpni_blob_path(class, root, CPNI_BLOB_FILE_DATA);
    struct cpni_blob_path list = cpni_blob_path(class, root, CPNI_BLOB_FILE_LEAVES);
    struct cpni_blob_path shard = shard_of(&data);
    int rc = make_shard(blobs, class, shard.text);
    if (rc < 0) {
        return rc;
    }
    rc = kept ? sync_file(blobs, from) : 0;
    if (rc < 0) {
        *lost = true;
        return rc;
    }
    cpni_file_remove(blobs->dir, list.text); /* read-only leavings of a crash, which cannot be opened for writing */
    rc = cpni_file_create(blobs->dir, list.text, leaves, (size_t)cpni_tree_leaves(size) * sizeof *leaves, kept);
    if (rc < 0) {
        return cpni_blobs_fail_file(blobs, rc, list.text);
    }
    rc = rename_file(blobs, from, data.text);
    if (rc < 0) {
        cpni_file_remove(blobs->dir, list.text);
        return rc;
    }
    rc = kept ? sync_dir(blobs, shard.text) : 0;
    if (rc < 0) {
        *lost = true;
        cpni_file_remove(blobs->dir, data.text);
        cpni_file_remove(blobs->dir, list.text);
    }
    return rc;
}

void cpni_blobs_discard(struct cpni_blobs *blobs, struct cpni_blob_entry *entry)
{
    char detail[CPNI_BLOB_DETAIL];
    memcpy(detail, blobs->detail, sizeof detail);
    cpni_blobs_remove_files(blobs, entry);
    cpni_blobs_drop(blobs, entry);
    memcpy(blobs->detail, detail, sizeof detail);
}

static int keep_whole(struct cpni_blobs *blobs, struct cpni_blob_entry *entry)
{
    struct cpni_blob_path data = cpni_blob_path(CPNI_BLOB_SPOOL, &entry->root, CPNI_BLOB_FILE_DATA);
    struct cpni_blob_path list = cpni_blob_path(CPNI_BLOB_SPOOL, &entry->root, CPNI_BLOB_FILE_LEAVES);
    struct cpn_hash *leaves;
    int rc = cpni_blobs_load_leaves(blobs, &entry->root, entry->size, list.text, &leaves);
    if (rc < 0) {
        return rc;
    }
    bool lost = false;
    rc = cpni_blobs_publish(blobs, data.text, CPNI_BLOB_KEPT, &entry->root, entry->size, leaves, &lost);
    cpni_free(leaves);
    if (rc < 0 && lost) {
        cpni_blobs_discard(blobs, entry);
    } else if (rc == 0) {
        cpni_file_remove(blobs->dir, list.text);
        entry->class = CPNI_BLOB_KEPT;
    }
    return rc;
}

/* The leaf list last: without it the scan takes none of the three for a blob to resume, so a crash costs the chunks
 * only. */
static int keep_partial(struct cpni_blobs *blobs, struct cpni_blob_entry *entry)
{
    static const enum cpni_blob_file files[]
        = { CPNI_BLOB_FILE_PART, CPNI_BLOB_FILE_PART_MAP, CPNI_BLOB_FILE_PART_LEAVES };
    for (size_t i = 0; i < 3; i++) {
        int rc = rename_file(blobs, cpni_blob_path(CPNI_BLOB_SPOOL, &entry->root, files[i]).text,
            cpni_blob_path(CPNI_BLOB_KEPT, &entry->root, files[i]).text);
        if (rc < 0) {
            cpni_blobs_discard(blobs, entry);
            return rc;
        }
    }
    entry->class = CPNI_BLOB_KEPT;
    return 0;
}

int cpni_blobs_keep(struct cpni_blobs *blobs, struct cpni_blob_entry *entry)
{
    if (entry->class == CPNI_BLOB_KEPT) {
        return 0;
    }
    return entry->complete ? keep_whole(blobs, entry) : keep_partial(blobs, entry);
}

int cpni_blobs_load_leaves(
    struct cpni_blobs *blobs, const struct cpn_hash *root, uint64_t size, const char *path, struct cpn_hash **out)
{
    size_t bytes = (size_t)cpni_tree_leaves(size) * sizeof(struct cpn_hash);
    struct cpn_hash *leaves = cpni_malloc(bytes);
    if (leaves == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    int fd = cpni_file_open(blobs->dir, path, O_RDONLY, 0);
    int rc = fd < 0 ? fd : cpni_file_read(fd, leaves, bytes, 0);
    if (rc < 0) {
        cpni_blobs_fail_file(blobs, rc, path);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (rc == 0) {
        struct cpn_hash got;
        cpni_tree_root(size, leaves, &got);
        if (memcmp(&got, root, sizeof got) != 0) {
            rc = cpni_blobs_fail(
                blobs, CPN_ECORRUPT, "%s/%s: damaged, does not give the blob's hash", blobs->path, path);
        }
    }
    if (rc < 0) {
        cpni_free(leaves);
        return rc;
    }
    *out = leaves;
    return 0;
}
