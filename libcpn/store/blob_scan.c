/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a store finds on its disk when it opens: whole blobs, partial ones to be resumed, and rubbish of a crash to
 * remove. Whatever is not exactly what the store would have written under that name goes: nothing else was ever
 * promised. File names that the store does not make are left alone. */
#include "store/blob_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/error.h>

#include "store/file.h"
#include "store/tree.h"

typedef int visit(struct cpni_blobs *blobs, enum cpni_blob_class class, const char *name);

/* Calls `fn` with every name in a directory of the store. */
static int each(struct cpni_blobs *blobs, const char *path, enum cpni_blob_class class, visit *fn)
{
    int fd = cpni_file_open(blobs->dir, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) {
        return cpni_blobs_fail_file(blobs, fd, path);
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return cpni_blobs_fail_memory(blobs);
    }
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        struct dirent *found = readdir(dir);
        if (found == NULL) {
            rc = errno != 0 ? cpni_blobs_fail_file(blobs, cpni_file_code(errno), path) : 0;
            break;
        }
        if (found->d_name[0] != '.') {
            rc = fn(blobs, class, found->d_name);
        }
    }
    closedir(dir);
    return rc;
}

/* Splits "<64 hex>SUFFIX". NULL when it is no such name. */
static const char *split(const char *name, struct cpn_hash *root)
{
    char hex[CPN_KEY_TEXT];
    if (strlen(name) < CPN_KEY_TEXT - 1) {
        return NULL;
    }
    memcpy(hex, name, CPN_KEY_TEXT - 1);
    hex[CPN_KEY_TEXT - 1] = 0;
    return cpn_hash_parse(hex, root) == 0 ? name + CPN_KEY_TEXT - 1 : NULL;
}

static bool is_file(struct cpni_blobs *blobs, const char *path, uint64_t *size)
{
    struct stat info;
    if (fstatat(blobs->dir, path, &info, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(info.st_mode)) {
        return false;
    }
    *size = (uint64_t)info.st_size;
    return true;
}

static int remove_file(struct cpni_blobs *blobs, const char *path)
{
    int rc = cpni_file_remove(blobs->dir, path);
    return rc < 0 ? cpni_blobs_fail_file(blobs, rc, path) : 0;
}

/* A name in blobs/ab: data with its leaf list is a blob; each without the other is half of a publish or of a removal.
 */
static int visit_whole(struct cpni_blobs *blobs, enum cpni_blob_class class, const char *name)
{
    struct cpn_hash root;
    const char *suffix = split(name, &root);
    if (suffix == NULL || (suffix[0] != 0 && strcmp(suffix, ".leaves") != 0)) {
        return 0;
    }
    struct cpni_blob_path data = cpni_blob_path(class, &root, CPNI_BLOB_FILE_DATA);
    struct cpni_blob_path leaves = cpni_blob_path(class, &root, CPNI_BLOB_FILE_LEAVES);
    uint64_t size, leaves_size;
    bool whole = is_file(blobs, data.text, &size) && is_file(blobs, leaves.text, &leaves_size)
        && leaves_size == cpni_tree_leaves(size) * sizeof root;
    if (!whole) {
        return remove_file(blobs, suffix[0] == 0 ? data.text : leaves.text);
    }
    struct cpni_blob_entry *entry;
    return suffix[0] == 0 ? cpni_blobs_add(blobs, &root, size, class, true, &entry) : 0;
}

static int visit_shard(struct cpni_blobs *blobs, enum cpni_blob_class class, const char *name)
{
    if (strlen(name) != 2 || strspn(name, "0123456789abcdef") != 2) {
        return 0;
    }
    char path[16];
    snprintf(path, sizeof path, "%s/%s", cpni_blob_class_dir(class), name);
    return each(blobs, path, class, visit_whole);
}

/* Chunks that the bitmap of a partial blob lists; not trusted before they are hashed. */
static uint32_t count_listed(struct cpni_blobs *blobs, const char *path, uint64_t size)
{
    uint8_t map[CPNI_BLOB_LEAVES_MAX / 8];
    size_t bytes = ((size_t)cpni_tree_leaves(size) + 7) / 8;
    int fd = cpni_file_open(blobs->dir, path, O_RDONLY, 0);
    if (fd < 0) {
        return 0;
    }
    uint32_t have = 0;
    if (cpni_file_read(fd, map, bytes, 0) == 0) {
        for (size_t i = 0; i < bytes; i++) {
            have += (uint32_t)__builtin_popcount(map[i]);
        }
    }
    close(fd);
    return have;
}

/* A name in blobs/partial: only a data file of the right size with a true leaf list can be resumed. */
static int visit_partial(struct cpni_blobs *blobs, enum cpni_blob_class class, const char *name)
{
    struct cpn_hash root;
    const char *suffix = split(name, &root);
    if (suffix == NULL) {
        return 0;
    }
    struct cpni_blob_path data = cpni_blob_path(class, &root, CPNI_BLOB_FILE_PART);
    struct cpni_blob_path leaves = cpni_blob_path(class, &root, CPNI_BLOB_FILE_PART_LEAVES);
    struct cpni_blob_path map = cpni_blob_path(class, &root, CPNI_BLOB_FILE_PART_MAP);
    uint64_t size = 0;
    struct cpn_hash *list = NULL;
    if (cpni_blobs_entry(blobs, &root) == NULL && is_file(blobs, data.text, &size) && size <= CPNI_BLOB_BYTES_MAX) {
        int rc = cpni_blobs_load_leaves(blobs, &root, size, leaves.text, &list);
        if (rc < 0 && rc != CPN_ECORRUPT && rc != CPN_ENOTFOUND) {
            return rc; /* could not look: no reason to throw it away */
        }
    }
    if (list == NULL) {
        struct cpni_blob_entry *entry = cpni_blobs_entry(blobs, &root);
        if (entry != NULL && !entry->complete) {
            return 0; /* another file of it came first */
        }
        char path[128];
        snprintf(path, sizeof path, "%s/partial/%.*s", cpni_blob_class_dir(class), 80, name);
        return remove_file(blobs, path);
    }
    cpni_free(list);
    struct cpni_blob_entry *entry;
    int rc = cpni_blobs_add(blobs, &root, size, class, false, &entry);
    if (rc == 0) {
        entry->have = count_listed(blobs, map.text, size);
    }
    return rc;
}

static int visit_temporary(struct cpni_blobs *blobs, enum cpni_blob_class class, const char *name)
{
    (void)class;
    char path[300];
    snprintf(path, sizeof path, "tmp/%s", name);
    return remove_file(blobs, path);
}

/* What is spooled does not outlive the process that spooled it. */
static int visit_spooled(struct cpni_blobs *blobs, enum cpni_blob_class class, const char *name)
{
    struct cpn_hash root;
    if (split(name, &root) == NULL) {
        return 0;
    }
    char path[300];
    char hex[CPN_KEY_TEXT];
    snprintf(path, sizeof path, "%s/%.2s/%s", cpni_blob_class_dir(class), cpn_hash_text(&root, hex), name);
    return remove_file(blobs, path);
}

static int visit_spool_shard(struct cpni_blobs *blobs, enum cpni_blob_class class, const char *name)
{
    if (strlen(name) != 2 || strspn(name, "0123456789abcdef") != 2) {
        return 0;
    }
    char path[16];
    snprintf(path, sizeof path, "%s/%s", cpni_blob_class_dir(class), name);
    return each(blobs, path, class, visit_spooled);
}

static int visit_spool_partial(struct cpni_blobs *blobs, enum cpni_blob_class class, const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "%s/partial/%s", cpni_blob_class_dir(class), name);
    return remove_file(blobs, path);
}

int cpni_blobs_scan(struct cpni_blobs *blobs)
{
    static const struct {
        const char *path;
        enum cpni_blob_class class;
        visit *fn;
    } steps[] = {
        { "tmp", CPNI_BLOB_SPOOL, visit_temporary }, { "spool/partial", CPNI_BLOB_SPOOL, visit_spool_partial },
        { "spool", CPNI_BLOB_SPOOL, visit_spool_shard }, { "blobs", CPNI_BLOB_KEPT, visit_shard },
        { "blobs/partial", CPNI_BLOB_KEPT, visit_partial }, /* after the whole ones: it must know them */
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof steps / sizeof steps[0]; i++) {
        rc = each(blobs, steps[i].path, steps[i].class, steps[i].fn);
    }
    return rc;
}
