/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The blob store's index and house-keeping: open, close, find, list, remove, quota. See blob.h. */
#include "store/blob_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/error.h>

#include "store/file.h"
#include "store/tree.h"

int cpni_blobs_fail(struct cpni_blobs *blobs, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(blobs->detail, sizeof blobs->detail, format, list);
    va_end(list);
    return code;
}

int cpni_blobs_fail_file(struct cpni_blobs *blobs, int code, const char *path)
{
    const char *why = code == CPN_ECORRUPT && errno == 0 ? "shorter than expected" : strerror(errno);
    return cpni_blobs_fail(blobs, code, "%s: %s/%s", why, blobs->path, path); /* the path may be cut on its way to a person */
}

int cpni_blobs_fail_memory(struct cpni_blobs *blobs)
{
    return cpni_blobs_fail(blobs, CPN_ENOMEM, "%s: out of memory", blobs->path);
}

int cpni_blobs_fail_unknown(struct cpni_blobs *blobs, const struct cpn_hash *root)
{
    char hex[CPN_KEY_TEXT];
    return cpni_blobs_fail(blobs, CPN_ENOTFOUND, "%s: no blob %s", blobs->path, cpn_hash_text(root, hex));
}

const char *cpni_blob_class_dir(enum cpni_blob_class class)
{
    return class == CPNI_BLOB_SPOOL ? "spool" : "blobs";
}

struct cpni_blob_path cpni_blob_path(enum cpni_blob_class class, const struct cpn_hash *root, enum cpni_blob_file file)
{
    static const char *const suffixes[] = { "", ".leaves", "", ".leaves", ".map" };
    char hex[CPN_KEY_TEXT];
    cpn_hash_text(root, hex);
    struct cpni_blob_path path;
    if (file == CPNI_BLOB_FILE_DATA || file == CPNI_BLOB_FILE_LEAVES) {
        snprintf(path.text, sizeof path.text, "%s/%.2s/%s%s", cpni_blob_class_dir(class), hex, hex, suffixes[file]);
    } else {
        snprintf(path.text, sizeof path.text, "%s/partial/%s%s", cpni_blob_class_dir(class), hex, suffixes[file]);
    }
    return path;
}

struct cpni_blob_path cpni_blob_path_temporary(struct cpni_blobs *blobs)
{
    struct cpni_blob_path path;
    snprintf(path.text, sizeof path.text, "tmp/%llu", (unsigned long long)blobs->temporary++);
    return path;
}

uint64_t cpni_blob_cost(uint64_t size)
{
    return size + cpni_tree_leaves(size) * sizeof(struct cpn_hash);
}

void cpni_blob_info(const struct cpni_blob_entry *entry, struct cpni_blob_info *out)
{
    if (out == NULL) {
        return;
    }
    uint32_t chunks = (uint32_t)cpni_tree_leaves(entry->size);
    *out = (struct cpni_blob_info) {
        .root = entry->root,
        .size = entry->size,
        .class = entry->class,
        .chunks = chunks,
        .have = entry->complete ? chunks : entry->have,
        .complete = entry->complete,
    };
}

struct cpni_blob_entry *cpni_blobs_entry(struct cpni_blobs *blobs, const struct cpn_hash *root)
{
    struct cpni_blob_entry *entry = NULL;
    HASH_FIND(hh, blobs->entries, root, sizeof *root, entry);
    return entry;
}

struct cpni_blob_entry *cpni_blobs_complete(struct cpni_blobs *blobs, const struct cpn_hash *root)
{
    struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, root);
    if (entry == NULL || !entry->complete) {
        cpni_blobs_fail_unknown(blobs, root);
        return NULL;
    }
    return entry;
}

int cpni_blobs_add(struct cpni_blobs *blobs, const struct cpn_hash *root, uint64_t size, enum cpni_blob_class class,
    bool complete, struct cpni_blob_entry **out)
{
    struct cpni_blob_entry *entry = cpni_calloc(1, sizeof *entry);
    if (entry == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    entry->root = *root;
    entry->size = size;
    entry->class = class;
    entry->complete = complete;
    HASH_ADD(hh, blobs->entries, root, sizeof entry->root, entry);
    if (cpni_hash_missed(entry)) {
        cpni_free(entry);
        return cpni_blobs_fail_memory(blobs);
    }
    blobs->usage_bytes += cpni_blob_cost(size);
    *out = entry;
    return 0;
}

void cpni_blobs_unready(struct cpni_blobs *blobs, struct cpni_blob_entry *entry)
{
    if (entry->ready) {
        blobs->receiving--;
        blobs->receiving_leaves -= (size_t)cpni_tree_leaves(entry->size);
    }
    entry->ready = false;
    cpni_free(entry->leaves);
    cpni_free(entry->map);
    entry->leaves = NULL;
    entry->map = NULL;
}

void cpni_blobs_drop(struct cpni_blobs *blobs, struct cpni_blob_entry *entry)
{
    cpni_blobs_unready(blobs, entry);
    blobs->usage_bytes -= cpni_blob_cost(entry->size);
    HASH_DEL(blobs->entries, entry);
    cpni_free(entry);
}

/* The data first: what has no data is not a blob, and a crash here leaves leaf lists that the scan removes. */
int cpni_blobs_remove_files(struct cpni_blobs *blobs, const struct cpni_blob_entry *entry)
{
    static const enum cpni_blob_file whole[] = { CPNI_BLOB_FILE_DATA, CPNI_BLOB_FILE_LEAVES };
    static const enum cpni_blob_file part[]
        = { CPNI_BLOB_FILE_PART, CPNI_BLOB_FILE_PART_LEAVES, CPNI_BLOB_FILE_PART_MAP };
    const enum cpni_blob_file *files = entry->complete ? whole : part;
    for (size_t i = 0; i < (entry->complete ? 2u : 3u); i++) {
        struct cpni_blob_path path = cpni_blob_path(entry->class, &entry->root, files[i]);
        int rc = cpni_file_remove(blobs->dir, path.text);
        if (rc < 0) {
            return cpni_blobs_fail_file(blobs, rc, path.text);
        }
    }
    return 0;
}

int cpni_blobs_room(struct cpni_blobs *blobs, uint64_t size)
{
    if (size > CPNI_BLOB_BYTES_MAX) {
        return cpni_blobs_fail(blobs, CPN_ETOOBIG, "%s: a blob of %llu bytes is larger than the limit of %llu",
            blobs->path, (unsigned long long)size, (unsigned long long)CPNI_BLOB_BYTES_MAX);
    }
    if (HASH_COUNT(blobs->entries) >= CPNI_BLOBS_MAX) {
        return cpni_blobs_fail(
            blobs, CPN_ENOSPC, "%s: holds its limit of %u blobs; remove some", blobs->path, (unsigned)CPNI_BLOBS_MAX);
    }
    uint64_t cost = cpni_blob_cost(size);
    if (blobs->quota_bytes != 0
        && (blobs->usage_bytes > blobs->quota_bytes || cost > blobs->quota_bytes - blobs->usage_bytes)) {
        return cpni_blobs_fail(blobs, CPN_ENOSPC, "%s: %llu bytes asked for, %llu of the quota of %llu used",
            blobs->path, (unsigned long long)cost, (unsigned long long)blobs->usage_bytes,
            (unsigned long long)blobs->quota_bytes);
    }
    return 0;
}

/* The directories of a new store, synced so that a blob that was promised does not lose the way to it. */
static int make_dirs(struct cpni_blobs *blobs)
{
    static const char *const dirs[] = { "tmp", "blobs", "blobs/partial", "spool", "spool/partial" };
    int made = 0;
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        int rc = cpni_file_mkdir(blobs->dir, dirs[i]);
        if (rc < 0) {
            return cpni_blobs_fail_file(blobs, rc, dirs[i]);
        }
        made |= rc;
    }
    int rc = made ? cpni_file_sync_dir(blobs->dir, ".") : 0;
    return rc < 0 ? cpni_blobs_fail_file(blobs, rc, ".") : 0;
}

static int open_dir(struct cpni_blobs *blobs)
{
    int rc = cpni_file_mkdir(AT_FDCWD, blobs->path);
    if (rc < 0) {
        return cpni_blobs_fail(blobs, rc, "%s: %s", blobs->path, strerror(errno));
    }
    rc = cpni_file_open(AT_FDCWD, blobs->path, O_RDONLY | O_DIRECTORY, 0);
    if (rc < 0) {
        return cpni_blobs_fail(blobs, rc, "%s: %s", blobs->path, strerror(errno));
    }
    blobs->dir = rc;
    if (flock(blobs->dir, LOCK_EX | LOCK_NB) < 0) {
        return cpni_blobs_fail(blobs, CPN_EBUSY, "%s: another process uses this blob store", blobs->path);
    }
    return make_dirs(blobs);
}

int cpni_blobs_open(
    const char *dir, const struct cpni_blobs_options *options, struct cpni_blobs **out, char detail[CPNI_BLOB_DETAIL])
{
    struct cpni_blobs *blobs = cpni_calloc(1, sizeof *blobs);
    char *path = cpni_strdup(dir);
    if (blobs == NULL || path == NULL) {
        cpni_free(blobs);
        cpni_free(path);
        if (detail != NULL) {
            snprintf(detail, CPNI_BLOB_DETAIL, "%s: out of memory", dir);
        }
        return CPN_ENOMEM;
    }
    blobs->dir = -1;
    blobs->path = path;
    blobs->quota_bytes = options != NULL ? options->quota_bytes : 0;
    int rc = open_dir(blobs);
    if (rc == 0) {
        rc = cpni_blobs_scan(blobs);
    }
    if (rc < 0) {
        if (detail != NULL) {
            memcpy(detail, blobs->detail, CPNI_BLOB_DETAIL);
        }
        cpni_blobs_close(blobs);
        return rc;
    }
    *out = blobs;
    return 0;
}

void cpni_blobs_close(struct cpni_blobs *blobs)
{
    if (blobs == NULL) {
        return;
    }
    struct cpni_blob_entry *entry, *next;
    HASH_ITER(hh, blobs->entries, entry, next)
    {
        cpni_blobs_drop(blobs, entry);
    }
    if (blobs->dir >= 0) {
        close(blobs->dir);
    }
    cpni_free(blobs->path);
    cpni_free(blobs);
}

const char *cpni_blobs_detail(const struct cpni_blobs *blobs)
{
    return blobs->detail;
}

uint64_t cpni_blobs_usage(const struct cpni_blobs *blobs)
{
    return blobs->usage_bytes;
}

int cpni_blobs_find(struct cpni_blobs *blobs, const struct cpn_hash *root, struct cpni_blob_info *out)
{
    struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, root);
    if (entry == NULL) {
        return cpni_blobs_fail_unknown(blobs, root);
    }
    cpni_blob_info(entry, out);
    return 0;
}

static int by_root(const void *a, const void *b)
{
    const struct cpni_blob_info *left = a, *right = b;
    return memcmp(&left->root, &right->root, sizeof left->root);
}

int cpni_blobs_list(struct cpni_blobs *blobs, struct cpni_blob_info **out, size_t *count)
{
    size_t all = HASH_COUNT(blobs->entries);
    struct cpni_blob_info *list = cpni_calloc(all, sizeof *list);
    if (list == NULL) {
        return cpni_blobs_fail_memory(blobs);
    }
    size_t i = 0;
    for (struct cpni_blob_entry *entry = blobs->entries; entry != NULL; entry = entry->hh.next) {
        cpni_blob_info(entry, &list[i++]);
    }
    qsort(list, all, sizeof *list, by_root);
    *out = list;
    *count = all;
    return 0;
}

static int remove_entry(struct cpni_blobs *blobs, struct cpni_blob_entry *entry)
{
    int rc = cpni_blobs_remove_files(blobs, entry);
    if (rc == 0) {
        cpni_blobs_drop(blobs, entry);
    }
    return rc;
}

int cpni_blobs_remove(struct cpni_blobs *blobs, const struct cpn_hash *root)
{
    struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, root);
    return entry == NULL ? 0 : remove_entry(blobs, entry);
}

int cpni_blobs_abort(struct cpni_blobs *blobs, const struct cpn_hash *root)
{
    struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, root);
    return entry == NULL || entry->complete ? 0 : remove_entry(blobs, entry);
}

int cpni_blobs_drop_spool(struct cpni_blobs *blobs)
{
    int first = 0;
    struct cpni_blob_entry *entry, *next;
    HASH_ITER(hh, blobs->entries, entry, next)
    {
        if (entry->class == CPNI_BLOB_SPOOL) {
            int rc = remove_entry(blobs, entry);
            first = first == 0 ? rc : first;
        }
    }
    return first;
}

int cpni_blob_work_step(struct cpni_blob_work *work, struct cpni_blob_info *out)
{
    return work->step(work, out);
}

void cpni_blob_work_free(struct cpni_blob_work *work)
{
    if (work != NULL) {
        work->end(work);
    }
}

int cpni_blob_work_run(struct cpni_blob_work *work, struct cpni_blob_info *out)
{
    int rc;
    do {
        rc = work->step(work, out);
    } while (rc == 1);
    work->end(work);
    return rc;
}
