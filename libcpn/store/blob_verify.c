/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Hashing a stored blob again: who asks has seen a chunk refused, or wonders about his disk. */
#include "store/blob_store.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <cpn/error.h>

#include "store/file.h"
#include "store/tree.h"

struct verify {
    struct cpni_blob_work work;
    struct cpn_hash root;
    uint64_t size;
    int fd;
    struct cpni_tree tree;
    uint8_t *buffer;
};

static void verify_end(struct cpni_blob_work *work)
{
    struct verify *verify = (struct verify *)work;
    if (verify->fd >= 0) {
        close(verify->fd);
    }
    cpni_tree_free(&verify->tree);
    cpni_free(verify->buffer);
    cpni_free(verify);
}

/* The bytes are judged by the root alone: a leaf list that rotted is written anew from them. */
static int verify_finish(struct verify *verify, struct cpni_blob_info *out)
{
    struct cpni_blobs *blobs = verify->work.blobs;
    struct cpni_blob_entry *entry = cpni_blobs_complete(blobs, &verify->root);
    struct cpn_hash got;
    if (entry == NULL) {
        return CPN_ENOTFOUND;
    }
    if (cpni_tree_final(&verify->tree, &got) < 0) {
        return cpni_blobs_fail_memory(blobs);
    }
    struct cpni_blob_path data = cpni_blob_path(entry->class, &entry->root, CPNI_BLOB_FILE_DATA);
    struct cpni_blob_path list = cpni_blob_path(entry->class, &entry->root, CPNI_BLOB_FILE_LEAVES);
    if (memcmp(&got, &verify->root, sizeof got) != 0) {
        int rc = cpni_blobs_fail(
            blobs, CPN_ECORRUPT, "%s/%s: damaged on the disk; removed, to be fetched again", blobs->path, data.text);
        cpni_blobs_discard(blobs, entry);
        return rc;
    }
    struct cpn_hash *leaves;
    int rc = cpni_blobs_load_leaves(blobs, &entry->root, entry->size, list.text, &leaves);
    if (rc == 0) {
        cpni_free(leaves);
    } else if (rc == CPN_ECORRUPT || rc == CPN_ENOTFOUND) {
        struct cpni_blob_path temporary = cpni_blob_path_temporary(blobs);
        rc = cpni_file_create(blobs->dir, temporary.text, verify->tree.leaves, verify->tree.count * sizeof got, 1);
        rc = rc < 0 ? rc : cpni_file_rename(blobs->dir, temporary.text, list.text);
        rc = rc < 0 ? cpni_blobs_fail_file(blobs, rc, list.text) : 0;
    }
    if (rc == 0) {
        cpni_blob_info(entry, out);
    }
    return rc;
}

static int verify_step(struct cpni_blob_work *work, struct cpni_blob_info *out)
{
    struct verify *verify = (struct verify *)work;
    for (int i = 0; i < CPNI_BLOB_SLICE_CHUNKS; i++) {
        uint64_t at = verify->tree.size;
        size_t want = cpni_tree_chunk_size(verify->size, at / CPNI_CHUNK_BYTES);
        int rc = want == 0 ? 0 : cpni_file_read(verify->fd, verify->buffer, want, at);
        if (want == 0 || rc == CPN_ECORRUPT) { /* the end; too early, and the root will say so */
            return verify_finish(verify, out);
        }
        if (rc < 0) {
            return cpni_blobs_fail_file(
                work->blobs, rc, cpni_blob_path(CPNI_BLOB_KEPT, &verify->root, CPNI_BLOB_FILE_DATA).text);
        }
        if (cpni_tree_update(&verify->tree, verify->buffer, want) < 0) {
            return cpni_blobs_fail_memory(work->blobs);
        }
    }
    return 1;
}

int cpni_blob_work_verify(struct cpni_blobs *blobs, const struct cpn_hash *root, struct cpni_blob_work **out)
{
    struct cpni_blob_entry *entry = cpni_blobs_complete(blobs, root);
    if (entry == NULL) {
        return CPN_ENOTFOUND;
    }
    struct verify *verify = cpni_calloc(1, sizeof *verify);
    if (verify == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    verify->work = (struct cpni_blob_work) { blobs, verify_step, verify_end };
    verify->root = *root;
    verify->size = entry->size;
    verify->fd = -1;
    cpni_tree_init(&verify->tree);
    verify->buffer = cpni_malloc(CPNI_CHUNK_BYTES);
    int rc = verify->buffer == NULL ? cpni_blobs_fail_memory(blobs) : cpni_blobs_open_fd(blobs, root, &verify->fd);
    if (rc < 0) {
        verify_end(&verify->work);
        return rc;
    }
    *out = &verify->work;
    return 0;
}

int cpni_blobs_verify(struct cpni_blobs *blobs, const struct cpn_hash *root)
{
    struct cpni_blob_work *work;
    int rc = cpni_blob_work_verify(blobs, root, &work);
    return rc < 0 ? rc : cpni_blob_work_run(work, NULL);
}
