/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Blobs that arrive in chunks: begin or resume, chunk, finish. Each chunk is verified before it is written, so a
 * partial file holds only true chunks and holes; the map file tells which is which, and is no more than a hint after a
 * crash. */
#include "store/blob_store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <cpn/error.h>

#include "store/file.h"
#include "store/tree.h"

struct resume {
    struct cpni_blob_work work;
    struct cpn_hash root;
    int fd; /* the partial data */
    uint64_t size;
    uint32_t next; /* chunk */
    uint32_t have;
    struct cpn_hash *leaves;
    uint8_t *map; /* as the file says at first, as the hashes say in the end */
    uint8_t *buffer;
};

static size_t map_bytes(uint64_t size)
{
    return ((size_t)cpni_tree_leaves(size) + 7) / 8;
}

static bool has(const uint8_t *map, uint32_t index)
{
    return (map[index / 8] & (1u << (index & 7))) != 0;
}

static int write_map(struct cpni_blobs *blobs, const struct cpni_blob_entry *entry, size_t at, size_t size)
{
    struct cpni_blob_path path = cpni_blob_path(entry->class, &entry->root, CPNI_BLOB_FILE_PART_MAP);
    int fd = cpni_file_open(blobs->dir, path.text, O_WRONLY | O_CREAT, 0600);
    int rc = fd < 0 ? fd : cpni_file_write(fd, entry->map + at, size, at);
    if (rc < 0) {
        cpni_blobs_fail_file(blobs, rc, path.text);
    }
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

static int room_to_receive(struct cpni_blobs *blobs, uint64_t size)
{
    if (blobs->receiving >= CPNI_BLOB_RECEIVING_MAX
        || blobs->receiving_leaves + cpni_tree_leaves(size) > CPNI_BLOB_RECEIVING_LEAVES) {
        return cpni_blobs_fail(blobs, CPN_EBUSY, "%s: %zu blobs are being received already, retry when some are done",
            blobs->path, blobs->receiving);
    }
    return 0;
}

/* Takes leaves and map. */
static void make_ready(
    struct cpni_blobs *blobs, struct cpni_blob_entry *entry, struct cpn_hash *leaves, uint8_t *map, uint32_t have)
{
    entry->leaves = leaves;
    entry->map = map;
    entry->have = have;
    entry->ready = true;
    blobs->receiving++;
    blobs->receiving_leaves += (size_t)cpni_tree_leaves(entry->size);
}

/* The files of a new partial blob, in an order in which a crash leaves nothing that the scan would take for one to
 * resume: the leaf list is checked there, and without a map no chunk counts. */
static int create_files(struct cpni_blobs *blobs, const struct cpni_blob_entry *entry)
{
    struct cpni_blob_path data = cpni_blob_path(entry->class, &entry->root, CPNI_BLOB_FILE_PART);
    struct cpni_blob_path leaves = cpni_blob_path(entry->class, &entry->root, CPNI_BLOB_FILE_PART_LEAVES);
    int fd = cpni_file_open(blobs->dir, data.text, O_WRONLY | O_CREAT | O_TRUNC, 0444);
    int rc = fd < 0 ? fd : cpni_file_reserve(fd, entry->size);
    if (rc < 0) {
        cpni_blobs_fail_file(blobs, rc, data.text);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (rc == 0) {
        size_t size = (size_t)cpni_tree_leaves(entry->size) * sizeof *entry->leaves;
        rc = cpni_file_create(blobs->dir, leaves.text, entry->leaves, size, 0);
        if (rc < 0) {
            cpni_blobs_fail_file(blobs, rc, leaves.text);
        }
    }
    return rc == 0 ? write_map(blobs, entry, 0, map_bytes(entry->size)) : rc;
}

static int begin_new(struct cpni_blobs *blobs, const struct cpn_hash *root, uint64_t size, enum cpni_blob_class class,
    const void *leaves, struct cpni_blob_entry **out)
{
    int rc = cpni_blobs_room(blobs, size);
    if (rc == 0) {
        rc = room_to_receive(blobs, size);
    }
    if (rc < 0) {
        return rc;
    }
    struct cpn_hash *list = cpni_memdup(leaves, (size_t)cpni_tree_leaves(size) * sizeof *list);
    uint8_t *map = cpni_calloc(map_bytes(size), 1);
    struct cpni_blob_entry *entry = NULL;
    if (list == NULL || map == NULL) {
        cpni_free(list);
        cpni_free(map);
        return cpni_blobs_fail_memory(blobs);
    }
    rc = cpni_blobs_add(blobs, root, size, class, false, &entry);
    if (rc < 0) {
        cpni_free(list);
        cpni_free(map);
        return rc;
    }
    make_ready(blobs, entry, list, map, 0);
    rc = create_files(blobs, entry);
    if (rc < 0) {
        cpni_blobs_discard(blobs, entry);
        return rc;
    }
    *out = entry;
    return 0;
}

static int check_leaves(
    struct cpni_blobs *blobs, const struct cpn_hash *root, uint64_t size, const void *leaves, size_t leaves_size)
{
    char hex[CPN_KEY_TEXT];
    cpn_hash_text(root, hex);
    if (size > CPNI_BLOB_BYTES_MAX) {
        return cpni_blobs_room(blobs, size);
    }
    if (leaves == NULL && size != 0) {
        return cpni_blobs_fail(blobs, CPN_ENOTFOUND, "%s: no leaf list of blob %s yet", blobs->path, hex);
    }
    struct cpn_hash got = { { 0 } };
    bool fits = leaves_size == cpni_tree_leaves(size) * sizeof got;
    if (fits) {
        cpni_tree_root(size, leaves, &got);
    }
    if (!fits || memcmp(&got, root, sizeof got) != 0) {
        return cpni_blobs_fail(blobs, CPN_ECORRUPT,
            "the leaf list (%zu bytes) and size (%llu) announced for blob %s do not give that hash", leaves_size,
            (unsigned long long)size, hex);
    }
    return 0;
}

/* ---- Resuming ---- */

static void resume_end(struct cpni_blob_work *work)
{
    struct resume *resume = (struct resume *)work;
    if (resume->fd >= 0) {
        close(resume->fd);
    }
    cpni_free(resume->leaves);
    cpni_free(resume->map);
    cpni_free(resume->buffer);
    cpni_free(resume);
}

static int resume_finish(struct resume *resume, struct cpni_blob_info *out)
{
    struct cpni_blobs *blobs = resume->work.blobs;
    struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, &resume->root);
    if (entry == NULL) {
        return cpni_blobs_fail_unknown(blobs, &resume->root);
    }
    if (!entry->ready && !entry->complete) {
        make_ready(blobs, entry, resume->leaves, resume->map, resume->have);
        resume->leaves = NULL;
        resume->map = NULL;
        int rc = write_map(blobs, entry, 0, map_bytes(entry->size));
        if (rc < 0) {
            cpni_blobs_unready(blobs, entry);
            return rc;
        }
    }
    cpni_blob_info(entry, out);
    return 0;
}

static int resume_step(struct cpni_blob_work *work, struct cpni_blob_info *out)
{
    struct resume *resume = (struct resume *)work;
    uint32_t chunks = (uint32_t)cpni_tree_leaves(resume->size);
    for (uint32_t hashed = 0; resume->next < chunks; resume->next++) {
        uint32_t index = resume->next;
        if (!has(resume->map, index)) {
            continue;
        }
        if (hashed++ == CPNI_BLOB_SLICE_CHUNKS) {
            return 1;
        }
        size_t size = cpni_tree_chunk_size(resume->size, index);
        struct cpn_hash leaf;
        bool good = cpni_file_read(resume->fd, resume->buffer, size, (uint64_t)index * CPNI_CHUNK_BYTES) == 0;
        if (good) {
            cpni_tree_leaf(resume->buffer, size, &leaf);
            good = memcmp(&leaf, &resume->leaves[index], sizeof leaf) == 0;
        }
        if (good) {
            resume->have++;
        } else {
            resume->map[index / 8] &= (uint8_t) ~(1u << (index & 7));
        }
    }
    return resume_finish(resume, out);
}

/* The map file, or none of the chunks if it cannot be read. Bits past the last chunk are not ours. */
static void load_map(struct cpni_blobs *blobs, const struct cpni_blob_entry *entry, uint8_t *map)
{
    struct cpni_blob_path path = cpni_blob_path(entry->class, &entry->root, CPNI_BLOB_FILE_PART_MAP);
    size_t size = map_bytes(entry->size);
    uint32_t chunks = (uint32_t)cpni_tree_leaves(entry->size);
    int fd = cpni_file_open(blobs->dir, path.text, O_RDONLY, 0);
    if (fd < 0 || cpni_file_read(fd, map, size, 0) < 0) {
        memset(map, 0, size);
    }
    if (chunks % 8 != 0) {
        map[size - 1] &= (uint8_t)((1u << (chunks % 8)) - 1);
    }
    if (fd >= 0) {
        close(fd);
    }
}

static int resume_open(struct resume *resume, const struct cpni_blob_entry *entry)
{
    struct cpni_blobs *blobs = resume->work.blobs;
    struct cpni_blob_path data = cpni_blob_path(entry->class, &entry->root, CPNI_BLOB_FILE_PART);
    struct cpni_blob_path leaves = cpni_blob_path(entry->class, &entry->root, CPNI_BLOB_FILE_PART_LEAVES);
    resume->map = cpni_calloc(map_bytes(entry->size), 1);
    resume->buffer = cpni_malloc(CPNI_CHUNK_BYTES);
    if (resume->map == NULL || resume->buffer == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    resume->fd = cpni_file_open(blobs->dir, data.text, O_RDONLY, 0);
    if (resume->fd < 0) {
        return cpni_blobs_fail_file(blobs, resume->fd, data.text);
    }
    load_map(blobs, entry, resume->map);
    return cpni_blobs_load_leaves(blobs, &entry->root, entry->size, leaves.text, &resume->leaves);
}

static int resume_new(struct cpni_blobs *blobs, const struct cpni_blob_entry *entry, struct resume **out)
{
    int rc = room_to_receive(blobs, entry->size);
    if (rc < 0) {
        return rc;
    }
    struct resume *resume = cpni_calloc(1, sizeof *resume);
    if (resume == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    resume->work = (struct cpni_blob_work) { blobs, resume_step, resume_end };
    resume->root = entry->root;
    resume->size = entry->size;
    resume->fd = -1;
    rc = resume_open(resume, entry);
    if (rc < 0) {
        resume_end(&resume->work);
        return rc;
    }
    *out = resume;
    return 0;
}

/* ---- Begin ---- */

/* Work that has nothing left to do but to say how the blob stands. */
static int stands_step(struct cpni_blob_work *work, struct cpni_blob_info *out)
{
    struct resume *resume = (struct resume *)work;
    return cpni_blobs_find(work->blobs, &resume->root, out);
}

static int stands_new(struct cpni_blobs *blobs, const struct cpn_hash *root, struct resume **out)
{
    struct resume *resume = cpni_calloc(1, sizeof *resume);
    if (resume == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    resume->work = (struct cpni_blob_work) { blobs, stands_step, resume_end };
    resume->root = *root;
    resume->fd = -1;
    *out = resume;
    return 0;
}

int cpni_blob_work_begin(struct cpni_blobs *blobs, const struct cpn_hash *root, uint64_t size,
    enum cpni_blob_class class, const void *leaves, size_t leaves_size, struct cpni_blob_work **out)
{
    struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, root);
    struct resume *resume = NULL;
    int rc = 0;
    if (entry == NULL) {
        rc = check_leaves(blobs, root, size, leaves, leaves_size);
        if (rc == 0) {
            rc = begin_new(blobs, root, size, class, leaves, &entry);
        }
    } else if (entry->size != size) {
        rc = cpni_blobs_fail(blobs, CPN_ECORRUPT, "a blob of %llu bytes was announced under the hash of one of %llu",
            (unsigned long long)size, (unsigned long long)entry->size);
    } else if (class == CPNI_BLOB_KEPT && entry->class == CPNI_BLOB_SPOOL) {
        rc = cpni_blobs_keep(blobs, entry);
    }
    if (rc == 0) {
        rc = entry->complete || entry->ready ? stands_new(blobs, root, &resume) : resume_new(blobs, entry, &resume);
    }
    if (rc == 0) {
        *out = &resume->work;
    }
    return rc;
}

int cpni_blobs_begin(struct cpni_blobs *blobs, const struct cpn_hash *root, uint64_t size, enum cpni_blob_class class,
    const void *leaves, size_t leaves_size, struct cpni_blob_info *out)
{
    struct cpni_blob_work *work;
    int rc = cpni_blob_work_begin(blobs, root, size, class, leaves, leaves_size, &work);
    return rc < 0 ? rc : cpni_blob_work_run(work, out);
}

/* ---- Chunks ---- */

static int store_chunk(
    struct cpni_blobs *blobs, struct cpni_blob_entry *entry, uint32_t index, const void *data, size_t size)
{
    struct cpni_blob_path path = cpni_blob_path(entry->class, &entry->root, CPNI_BLOB_FILE_PART);
    int fd = cpni_file_open(blobs->dir, path.text, O_WRONLY, 0);
    int rc = fd < 0 ? fd : cpni_file_write(fd, data, size, (uint64_t)index * CPNI_CHUNK_BYTES);
    if (rc < 0) {
        cpni_blobs_fail_file(blobs, rc, path.text);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (rc < 0) {
        return rc;
    }
    entry->map[index / 8] |= (uint8_t)(1u << (index & 7));
    rc = write_map(blobs, entry, index / 8, 1);
    if (rc < 0) {
        entry->map[index / 8] &= (uint8_t) ~(1u << (index & 7));
        return rc;
    }
    entry->have++;
    return 0;
}

int cpni_blobs_write_chunk(struct cpni_blobs *blobs, const struct cpn_hash *root, uint32_t index, const void *data,
    size_t size, struct cpni_blob_info *out)
{
    struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, root);
    if (entry == NULL || (!entry->complete && !entry->ready)) {
        return cpni_blobs_fail_unknown(blobs, root);
    }
    char hex[CPN_KEY_TEXT];
    cpn_hash_text(root, hex);
    size_t expected = cpni_tree_chunk_size(entry->size, index);
    if (expected == 0 || expected != size) {
        return cpni_blobs_fail(
            blobs, CPN_ECORRUPT, "chunk %u of blob %s has %zu bytes instead of %zu", index, hex, size, expected);
    }
    if (!entry->complete && !has(entry->map, index)) {
        struct cpn_hash leaf;
        cpni_tree_leaf(data, size, &leaf);
        if (memcmp(&leaf, &entry->leaves[index], sizeof leaf) != 0) {
            return cpni_blobs_fail(blobs, CPN_ECORRUPT, "chunk %u of blob %s does not match its hash", index, hex);
        }
        int rc = store_chunk(blobs, entry, index, data, size);
        if (rc < 0) {
            return rc;
        }
    }
    cpni_blob_info(entry, out);
    return 0;
}

int cpni_blobs_bitmap(struct cpni_blobs *blobs, const struct cpn_hash *root, struct cpni_bytes **out)
{
    struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, root);
    if (entry == NULL || (!entry->complete && !entry->ready)) {
        return cpni_blobs_fail_unknown(blobs, root);
    }
    uint32_t chunks = (uint32_t)cpni_tree_leaves(entry->size);
    size_t size = map_bytes(entry->size);
    uint8_t *map = cpni_calloc(size, 1);
    if (map == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    for (uint32_t i = 0; i < chunks; i++) {
        if (entry->complete || has(entry->map, i)) {
            map[i / 8] |= (uint8_t)(1u << (i & 7));
        }
    }
    struct cpni_bytes *bytes = cpni_bytes_take(map, size);
    if (bytes == NULL) {
        cpni_free(map);
        return cpni_blobs_fail_memory(blobs);
    }
    *out = bytes;
    return 0;
}

int cpni_blobs_finish(struct cpni_blobs *blobs, const struct cpn_hash *root)
{
    struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, root);
    if (entry != NULL && entry->complete) {
        return 0;
    }
    if (entry == NULL || !entry->ready) {
        return cpni_blobs_fail_unknown(blobs, root);
    }
    uint32_t chunks = (uint32_t)cpni_tree_leaves(entry->size);
    if (entry->have != chunks) {
        char hex[CPN_KEY_TEXT];
        return cpni_blobs_fail(
            blobs, CPN_ESTATE, "blob %s: %u of %u chunks are here", cpn_hash_text(root, hex), entry->have, chunks);
    }
    struct cpni_blob_path data = cpni_blob_path(entry->class, root, CPNI_BLOB_FILE_PART);
    bool lost = false;
    int rc = cpni_blobs_publish(blobs, data.text, entry->class, root, entry->size, entry->leaves, &lost);
    if (rc < 0 && lost) {
        cpni_blobs_discard(blobs, entry);
    }
    if (rc < 0) {
        return rc;
    }
    cpni_file_remove(blobs->dir, cpni_blob_path(entry->class, root, CPNI_BLOB_FILE_PART_LEAVES).text);
    cpni_file_remove(blobs->dir, cpni_blob_path(entry->class, root, CPNI_BLOB_FILE_PART_MAP).text);
    cpni_blobs_unready(blobs, entry);
    entry->complete = true;
    return 0;
}
