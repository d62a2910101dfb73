/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Blobs in a directory: immutable bytes under the name of their tree root (tree.h). Everything here touches the disk
 * and may wait for it: role threads use blob_async.h. One thread at a time per store. Knows no network, no role and no
 * model.
 *
 *   DIR/blobs/ab/<hex>, <hex>.leaves   kept blobs: there until removed
 *   DIR/spool/ab/<hex>, <hex>.leaves   inputs and results in passing: gone with the next open
 *   DIR/blobs/partial/<hex>, .leaves, .map, and the same under spool/: being received
 *   DIR/tmp/                           being imported: gone with the next open
 *
 * Nothing has its final name before every byte of it is verified and (kept blobs) on the disk: the file is synced,
 * renamed, then its directory is synced. So a crash between any two steps leaves a partial blob or a whole one, never a
 * wrong one.
 *
 * Every call returns 0 or a CPN_E code; cpni_blobs_detail() then has the sentence, with the path where there is one.
 * CPN_ECORRUPT: bytes do not match their hash. CPN_ENOSPC: quota (with the numbers) or disk. CPN_EIO: the disk. */
#ifndef CPNI_BLOB_H
#define CPNI_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cpn/types.h>

#include "base/bytes.h"
#include "proto/limits.h"

struct cpni_blobs;

#define CPNI_BLOB_DETAIL 384 /* bytes of a sentence about a failure, with its terminating 0 */

enum cpni_blob_class { CPNI_BLOB_KEPT = 0, CPNI_BLOB_SPOOL = 1 };

struct cpni_blobs_options {
    uint64_t quota_bytes; /* for blobs, leaf lists and what is being received, together; 0: as much as the disk has */
};

struct cpni_blob_info {
    struct cpn_hash root;
    uint64_t size;
    enum cpni_blob_class class;
    uint32_t chunks; /* all of them; CPNI_CHUNK_BYTES each but the last */
    uint32_t have; /* equal to chunks when nothing is missing */
    bool complete; /* visible: can be read, opened, copied out */
};

/* Opens or creates the store under `dir` (created too, 0700), removes the spool and what was half imported. `options`
 * may be NULL. On failure `detail` (may be NULL) gets the sentence. */
int cpni_blobs_open(
    const char *dir, const struct cpni_blobs_options *options, struct cpni_blobs **out, char detail[CPNI_BLOB_DETAIL]);
void cpni_blobs_close(struct cpni_blobs *blobs);
const char *cpni_blobs_detail(const struct cpni_blobs *blobs); /* of the last failure; never NULL */

/* ---- What is there ---- */

/* CPN_ENOTFOUND when neither complete nor being received. */
int cpni_blobs_find(struct cpni_blobs *blobs, const struct cpn_hash *root, struct cpni_blob_info *out);
/* All of them, complete or not, sorted by root; the array is the caller's (cpni_free). */
int cpni_blobs_list(struct cpni_blobs *blobs, struct cpni_blob_info **out, size_t *count);
/* Bytes that count towards the quota. */
uint64_t cpni_blobs_usage(const struct cpni_blobs *blobs);

/* ---- Receiving ---- */

/* Starts or resumes. `leaves` is the leaf list as it travels, 32 bytes a leaf; refused (CPN_ECORRUPT) unless it and
 * `size` give `root`. `leaves` may be NULL when the store has the blob or its leaf list already: CPN_ENOTFOUND if not.
 * Idempotent: a blob that is complete answers so; one that is being received keeps its chunks; after a restart the
 * chunks that the bitmap lists are hashed again. A kept class given to a spooled blob keeps it; the reverse changes
 * nothing. Space is reserved now: CPN_ENOSPC here rather than in the middle. CPN_EBUSY: too many at a time. */
int cpni_blobs_begin(struct cpni_blobs *blobs, const struct cpn_hash *root, uint64_t size, enum cpni_blob_class class,
    const void *leaves, size_t leaves_size, struct cpni_blob_info *out);
/* One whole chunk. CPN_ECORRUPT when it is not the chunk that the leaf list names; CPN_ENOTFOUND without begin. A chunk
 * that is there already is not written again. */
int cpni_blobs_write_chunk(struct cpni_blobs *blobs, const struct cpn_hash *root, uint32_t index, const void *data,
    size_t size, struct cpni_blob_info *out);
/* Which chunks are there: bit (index & 7) of byte (index / 8), (chunks + 7) / 8 bytes. New reference; all ones when
 * complete. */
int cpni_blobs_bitmap(struct cpni_blobs *blobs, const struct cpn_hash *root, struct cpni_bytes **out);
/* Makes it visible. CPN_ESTATE while chunks are missing; 0 again when it is complete. */
int cpni_blobs_finish(struct cpni_blobs *blobs, const struct cpn_hash *root);
/* Drops what was received so far; nothing when the blob is complete or unknown. */
int cpni_blobs_abort(struct cpni_blobs *blobs, const struct cpn_hash *root);

/* ---- Bringing in ---- */

/* Copies (or reflinks) the file, hashing it once on the way. CPN_EBADINPUT when it changes meanwhile, CPN_EINVAL when
 * it is no regular file, CPN_ETOOBIG. */
int cpni_blobs_import_file(
    struct cpni_blobs *blobs, const char *path, enum cpni_blob_class class, struct cpni_blob_info *out);
int cpni_blobs_import_bytes(
    struct cpni_blobs *blobs, const void *data, size_t size, enum cpni_blob_class class, struct cpni_blob_info *out);

/* ---- Taking out (complete blobs only: CPN_ENOTFOUND) ---- */

/* New references. A chunk is read, not hashed: whoever receives it verifies it, and cpni_blobs_verify() tells who was
 * wrong. */
int cpni_blobs_read_chunk(
    struct cpni_blobs *blobs, const struct cpn_hash *root, uint32_t index, struct cpni_bytes **out);
int cpni_blobs_leaves(struct cpni_blobs *blobs, const struct cpn_hash *root, struct cpni_bytes **out);
/* Read-only descriptor, close-on-exec, the caller's to close; stays readable when the blob is removed. */
int cpni_blobs_open_fd(struct cpni_blobs *blobs, const struct cpn_hash *root, int *out);

enum cpni_blob_copy { CPNI_BLOB_COPY = 0, CPNI_BLOB_LINK = 1 };
/* A file `path` (replaced atomically if there) with the contents: a copy of its own, or (LINK) a read-only hard link
 * where the file system allows one. `mode` is that of a copy. The directory of `path` must exist. */
int cpni_blobs_copy_out(
    struct cpni_blobs *blobs, const struct cpn_hash *root, const char *path, enum cpni_blob_copy how, unsigned mode);

/* ---- Keeping house ---- */

/* Hashes the blob again; one that does not match is removed and CPN_ECORRUPT returned, so that it can be fetched anew.
 */
int cpni_blobs_verify(struct cpni_blobs *blobs, const struct cpn_hash *root);
/* Complete or partial. 0 also when it is not there. */
int cpni_blobs_remove(struct cpni_blobs *blobs, const struct cpn_hash *root);
/* All spooled blobs, complete or partial. */
int cpni_blobs_drop_spool(struct cpni_blobs *blobs);

/* ---- Long ones in slices (blob_async.c): the same as begin, import_file, copy_out and verify, a few MiB a step ----
 */

struct cpni_blob_work;
int cpni_blob_work_begin(struct cpni_blobs *blobs, const struct cpn_hash *root, uint64_t size,
    enum cpni_blob_class class, const void *leaves, size_t leaves_size, struct cpni_blob_work **out);
int cpni_blob_work_import(
    struct cpni_blobs *blobs, const char *path, enum cpni_blob_class class, struct cpni_blob_work **out);
int cpni_blob_work_copy_out(struct cpni_blobs *blobs, const struct cpn_hash *root, const char *path,
    enum cpni_blob_copy how, unsigned mode, struct cpni_blob_work **out);
int cpni_blob_work_verify(struct cpni_blobs *blobs, const struct cpn_hash *root, struct cpni_blob_work **out);
/* 1: more to do, 0: done, or an error. `out` (may be NULL) is set when done. */
int cpni_blob_work_step(struct cpni_blob_work *work, struct cpni_blob_info *out);
void cpni_blob_work_free(struct cpni_blob_work *work); /* an unfinished one leaves nothing behind; NULL is fine */

#endif
