/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the files of the blob store share: the index, paths, and the last steps of every way in. See blob.h. */
#ifndef CPNI_BLOB_STORE_H
#define CPNI_BLOB_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "store/blob.h"

/* One blob of the index. */
struct cpni_blob_entry {
    struct cpn_hash root;
    uint64_t size;
    enum cpni_blob_class class;
    bool complete;
    /* While it is being received: */
    bool ready; /* begun since the open, its chunks hashed: leaves and map are there */
    uint32_t have; /* bits of the map */
    struct cpn_hash *leaves; /* NULL unless ready (or empty) */
    uint8_t *map; /* likewise */
    UT_hash_handle hh;
};

struct cpni_blobs {
    int dir;
    char *path;
    struct cpni_blob_entry *entries;
    uint64_t quota_bytes; /* 0: none */
    uint64_t usage_bytes;
    size_t receiving; /* entries that are ready */
    size_t receiving_leaves; /* of those */
    uint64_t temporary; /* number of the next file in tmp/ */
    char detail[CPNI_BLOB_DETAIL];
};

/* Sets the detail, returns `code`. */
int cpni_blobs_fail(struct cpni_blobs *blobs, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Likewise for a failed file call: "DIR/path: what errno says". */
int cpni_blobs_fail_file(struct cpni_blobs *blobs, int code, const char *path);
int cpni_blobs_fail_memory(struct cpni_blobs *blobs);
int cpni_blobs_fail_unknown(struct cpni_blobs *blobs, const struct cpn_hash *root);

/* Names inside the store. */
enum cpni_blob_file {
    CPNI_BLOB_FILE_DATA,
    CPNI_BLOB_FILE_LEAVES,
    CPNI_BLOB_FILE_PART,
    CPNI_BLOB_FILE_PART_LEAVES,
    CPNI_BLOB_FILE_PART_MAP
};
struct cpni_blob_path {
    char text[96];
};
struct cpni_blob_path cpni_blob_path(enum cpni_blob_class class, const struct cpn_hash *root, enum cpni_blob_file file);
struct cpni_blob_path cpni_blob_path_temporary(struct cpni_blobs *blobs);
const char *cpni_blob_class_dir(enum cpni_blob_class class);

/* The index. add counts the entry towards the usage, drop forgets it (files untouched). */
struct cpni_blob_entry *cpni_blobs_entry(struct cpni_blobs *blobs, const struct cpn_hash *root);
struct cpni_blob_entry *cpni_blobs_complete(
    struct cpni_blobs *blobs, const struct cpn_hash *root); /* sets the detail */
int cpni_blobs_add(struct cpni_blobs *blobs, const struct cpn_hash *root, uint64_t size, enum cpni_blob_class class,
    bool complete, struct cpni_blob_entry **out);
void cpni_blobs_drop(struct cpni_blobs *blobs, struct cpni_blob_entry *entry);
void cpni_blobs_unready(struct cpni_blobs *blobs, struct cpni_blob_entry *entry); /* frees leaves and map */
int cpni_blobs_remove_files(struct cpni_blobs *blobs, const struct cpni_blob_entry *entry);
uint64_t cpni_blob_cost(uint64_t size); /* bytes that count: contents and leaf list */
int cpni_blobs_room(struct cpni_blobs *blobs, uint64_t size); /* CPN_ENOSPC (quota or count), CPN_ETOOBIG */
void cpni_blob_info(const struct cpni_blob_entry *entry, struct cpni_blob_info *out); /* out may be NULL */

/* Gives the file `from` its final name, beside a leaf list written now. Syncs what is kept. The entry is not touched.
 * After a failure `from` is as it was, or, when the disk did not take it and what it holds cannot be known, gone:
 * *lost. */
int cpni_blobs_publish(struct cpni_blobs *blobs, const char *from, enum cpni_blob_class class,
    const struct cpn_hash *root, uint64_t size, const struct cpn_hash *leaves, bool *lost);
/* Removes an entry and what it has on the disk; keeps the detail of the failure that led here. */
void cpni_blobs_discard(struct cpni_blobs *blobs, struct cpni_blob_entry *entry);
/* Makes a spooled blob a kept one. */
int cpni_blobs_keep(struct cpni_blobs *blobs, struct cpni_blob_entry *entry);
/* The leaf list of a complete or partial blob, from its file and checked against its root; the caller's (cpni_free). */
int cpni_blobs_load_leaves(
    struct cpni_blobs *blobs, const struct cpn_hash *root, uint64_t size, const char *path, struct cpn_hash **out);

/* Fills the index at open. */
int cpni_blobs_scan(struct cpni_blobs *blobs);

/* A long job in slices. The first member of each kind. Between two steps the index may change: no entry is held. */
struct cpni_blob_work {
    struct cpni_blobs *blobs;
    int (*step)(struct cpni_blob_work *work, struct cpni_blob_info *out); /* as cpni_blob_work_step() */
    void (*end)(struct cpni_blob_work *work); /* frees all, the work too */
};
#define CPNI_BLOB_SLICE_CHUNKS 4 /* chunks a step: about 5 ms of hashing, which others may have to wait */
/* Steps to the end and frees. */
int cpni_blob_work_run(struct cpni_blob_work *work, struct cpni_blob_info *out);

#endif
