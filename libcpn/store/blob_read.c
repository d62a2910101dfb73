/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Reading blobs: chunks and leaf lists for transfers, descriptors for runners. */
#include "store/blob_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cpn/error.h>

#include "store/file.h"
#include "store/tree.h"

int cpni_blobs_open_fd(struct cpni_blobs *blobs, const struct cpn_hash *root, int *out)
{
    struct cpni_blob_entry *entry = cpni_blobs_complete(blobs, root);
    if (entry == NULL) {
        return CPN_ENOTFOUND;
    }
    struct cpni_blob_path path = cpni_blob_path(entry->class, root, CPNI_BLOB_FILE_DATA);
    int fd = cpni_file_open(blobs->dir, path.text, O_RDONLY, 0);
    if (fd < 0) {
        return cpni_blobs_fail_file(blobs, fd, path.text);
    }
    *out = fd;
    return 0;
}

/* Takes `data` (also on failure). */
static int wrap(struct cpni_blobs *blobs, void *data, size_t size, struct cpni_bytes **out)
{
    struct cpni_bytes *bytes = cpni_bytes_take(data, size);
    if (bytes == NULL) {
        cpni_free(data);
        return cpni_blobs_fail_memory(blobs);
    }
    *out = bytes;
    return 0;
}

int cpni_blobs_read_chunk(
    struct cpni_blobs *blobs, const struct cpn_hash *root, uint32_t index, struct cpni_bytes **out)
{
    struct cpni_blob_entry *entry = cpni_blobs_complete(blobs, root);
    if (entry == NULL) {
        return CPN_ENOTFOUND;
    }
    size_t size = cpni_tree_chunk_size(entry->size, index);
    if (size == 0) {
        char hex[CPN_KEY_TEXT];
        return cpni_blobs_fail(blobs, CPN_EINVAL, "blob %s has no chunk %u", cpn_hash_text(root, hex), index);
    }
    int fd;
    int rc = cpni_blobs_open_fd(blobs, root, &fd);
    if (rc < 0) {
        return rc;
    }
    void *data = cpni_malloc(size);
    rc = data == NULL ? cpni_blobs_fail_memory(blobs)
                      : cpni_file_read(fd, data, size, (uint64_t)index * CPNI_CHUNK_BYTES);
    if (rc < 0 && data != NULL) {
        cpni_blobs_fail_file(blobs, rc, cpni_blob_path(entry->class, root, CPNI_BLOB_FILE_DATA).text);
    }
    close(fd);
    if (rc < 0) {
        cpni_free(data);
        return rc;
    }
    return wrap(blobs, data, size, out);
}

int cpni_blobs_leaves(struct cpni_blobs *blobs, const struct cpn_hash *root, struct cpni_bytes **out)
{
    struct cpni_blob_entry *entry = cpni_blobs_complete(blobs, root);
    if (entry == NULL) {
        return CPN_ENOTFOUND;
    }
    struct cpn_hash *leaves;
    struct cpni_blob_path path = cpni_blob_path(entry->class, root, CPNI_BLOB_FILE_LEAVES);
    int rc = cpni_blobs_load_leaves(blobs, root, entry->size, path.text, &leaves);
    return rc < 0 ? rc : wrap(blobs, leaves, (size_t)cpni_tree_leaves(entry->size) * sizeof *leaves, out);
}
