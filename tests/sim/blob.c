/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Contents and the blob disk of a machine: the contract of store/blob.h in memory. Contents are windows on one region of noise, so
 * that a chunk is moved and compared without being copied; the quick toy hash looks at the ends of a window only, which tells all
 * windows apart. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "core/transfer.h"
#include "store/tree.h"

#define WINDOW_MAX (4u << 20)

static uint8_t *region;
static bool real_tree;

void content_real_tree(bool on)
{
    real_tree = on;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static const uint8_t *window(uint64_t number)
{
    static uint64_t space[REGION_BYTES / sizeof(uint64_t)];
    if (region == NULL) {
        for (size_t i = 0; i < REGION_BYTES / sizeof *space; i++) {
            space[i] = mix(i * 0x9e3779b97f4a7c15u + 1);
        }
        region = (uint8_t *)space;
    }
    return region + mix(number + 0x51ed270b) % (REGION_BYTES - WINDOW_MAX);
}

struct cpni_bytes *content_bytes(uint64_t number, uint64_t size)
{
    return cpni_bytes_wrap(window(number), (size_t)size, NULL, NULL);
}

bool content_is(uint64_t number, uint64_t size, const struct cpni_bytes *bytes)
{
    return bytes != NULL && bytes->size == size && (bytes->data == window(number) || memcmp(bytes->data, window(number), size) == 0);
}

/* ---- the tree ---- */

static void toy(const void *data, size_t size, uint64_t seed, struct cpn_hash *out)
{
    uint64_t state[4] = { seed, size, 3, 4 };
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, size - i < 8 ? size - i : 8);
        state[i / 8 % 4] = mix(state[i / 8 % 4] ^ word) + state[(i / 8 + 1) % 4];
    }
    for (size_t i = 0; i < 8; i++) {
        state[i % 4] = mix(state[i % 4] + state[(i + 3) % 4]);
    }
    memcpy(out->bytes, state, sizeof out->bytes);
}

static void leaf_of(const uint8_t *data, size_t size, struct cpn_hash *leaf)
{
    uint8_t ends[64] = { 0 };
    if (real_tree) {
        cpni_tree_leaf(data, size, leaf);
        return;
    }
    size_t part = size < 32 ? size : 32;
    memcpy(ends, data, part);
    memcpy(ends + 32, data + size - part, part);
    toy(ends, sizeof ends, size, leaf);
}

static void root_of(uint64_t size, const struct cpn_hash *leaves, size_t count, struct cpn_hash *root)
{
    if (real_tree) {
        cpni_tree_root(size, leaves, root);
    } else {
        toy(leaves, count * sizeof *leaves, mix(size + 77), root);
    }
}

static void leaves_of(const uint8_t *data, uint64_t size, struct cpn_hash *leaves)
{
    for (uint64_t i = 0; i < cpni_tree_leaves(size); i++) {
        leaf_of(data + i * CPNI_CHUNK_BYTES, cpni_tree_chunk_size(size, i), &leaves[i]);
    }
}

void content_root(uint64_t number, uint64_t size, struct cpn_hash *root)
{
    struct cpn_hash leaves[WINDOW_MAX / CPNI_CHUNK_BYTES];
    leaves_of(window(number), size, leaves);
    root_of(size, leaves, (size_t)cpni_tree_leaves(size), root);
}

/* ---- the disk ---- */

struct blob *disk_find(struct disk *disk, const struct cpn_hash *root)
{
    struct blob *blob;
    HASH_FIND(hh, disk->blobs, root, sizeof *root, blob);
    return blob;
}

static void blob_free(struct disk *disk, struct blob *blob)
{
    HASH_DEL(disk->blobs, blob);
    for (uint32_t i = 0; i < blob->chunks; i++) {
        cpni_bytes_unref(blob->chunk[i]);
    }
    cpni_bytes_unref(blob->leaves);
    free(blob->chunk);
    free(blob);
}

static struct blob *blob_add(struct disk *disk, const struct cpn_hash *root, uint64_t size, bool spool, struct cpni_bytes *leaves)
{
    struct blob *blob = sim_alloc(sizeof *blob);
    blob->root = *root;
    blob->size = size;
    blob->spool = spool;
    blob->chunks = (uint32_t)cpni_tree_leaves(size);
    blob->chunk = sim_alloc((blob->chunks + 1u) * sizeof *blob->chunk);
    blob->leaves = cpni_bytes_ref(leaves);
    HASH_ADD(hh, disk->blobs, root, sizeof *root, blob);
    return blob;
}

static void release_parent(void *arg)
{
    cpni_bytes_unref(arg);
}

struct blob *disk_import(struct disk *disk, struct cpni_bytes *bytes, bool spool)
{
    struct cpn_hash leaves[WINDOW_MAX / CPNI_CHUNK_BYTES], root;
    leaves_of(bytes->data, bytes->size, leaves);
    size_t count = (size_t)cpni_tree_leaves(bytes->size);
    root_of(bytes->size, leaves, count, &root);
    struct blob *blob = disk_find(disk, &root);
    if (blob != NULL && blob->complete) {
        blob->spool &= spool;
        return blob;
    }
    if (blob != NULL) {
        spool &= blob->spool;
        blob_free(disk, blob);
    }
    struct cpni_bytes *list = cpni_bytes_copy(leaves, count * sizeof *leaves);
    blob = blob_add(disk, &root, bytes->size, spool, list);
    cpni_bytes_unref(list);
    for (uint32_t i = 0; i < blob->chunks; i++) {
        blob->chunk[i] = cpni_bytes_wrap(bytes->data + (size_t)i * CPNI_CHUNK_BYTES, cpni_tree_chunk_size(bytes->size, i),
                                         release_parent, cpni_bytes_ref(bytes));
    }
    blob->have = blob->chunks;
    blob->complete = true;
    return blob;
}

void disk_remove(struct disk *disk, const struct cpn_hash *root)
{
    struct blob *blob = disk_find(disk, root);
    if (blob != NULL) {
        blob_free(disk, blob);
    }
}

void disk_free(struct disk *disk)
{
    struct blob *blob, *next;
    HASH_ITER(hh, disk->blobs, blob, next) {
        blob_free(disk, blob);
    }
}

/* Written chunks may not have reached the disk: the bitmap is verified again, so a lost one is merely missing. */
void disk_restart(struct sim *sim, struct disk *disk)
{
    struct blob *blob, *next;
    disk->busy_until_us = 0;
    HASH_ITER(hh, disk->blobs, blob, next) {
        if (blob->spool) {
            blob_free(disk, blob);
            continue;
        }
        for (uint32_t i = 0; !blob->complete && i < blob->chunks; i++) {
            if (blob->chunk[i] != NULL && rng_chance(sim, 100)) {
                cpni_bytes_unref(blob->chunk[i]);
                blob->chunk[i] = NULL;
                blob->have--;
            }
        }
    }
}

void disk_copy(struct disk *to, const struct disk *from)
{
    struct blob *blob, *next;
    HASH_ITER(hh, from->blobs, blob, next) {
        struct blob *copy = blob_add(to, &blob->root, blob->size, blob->spool, blob->leaves);
        for (uint32_t i = 0; i < blob->chunks; i++) {
            copy->chunk[i] = cpni_bytes_ref(blob->chunk[i]);
        }
        copy->have = blob->have;
        copy->complete = blob->complete;
    }
}

size_t disk_spooled(struct sim *sim, const struct disk *disk, char text[CPN_KEY_TEXT])
{
    size_t count = 0;
    bool spare = false;
    struct blob *blob, *next;
    HASH_ITER(hh, disk->blobs, blob, next) {
        if (blob->spool && !spare && session_has_dataset(sim, &blob->root)) {
            spare = true;
        } else if (blob->spool) {
            cpn_hash_text(&blob->root, text);
            count++;
        }
    }
    return count;
}

/* ---- jobs ---- */

static void describe(const struct blob *blob, struct cpni_event_disk *answer)
{
    answer->root = blob->root;
    answer->size = blob->size;
    answer->chunks = blob->chunks;
    answer->complete = blob->complete;
}

static struct cpni_bytes *bitmap_of(const struct blob *blob)
{
    uint8_t bits[64] = { 0 };
    for (uint32_t i = 0; i < blob->chunks; i++) {
        bits[i / 8] |= (uint8_t)(blob->chunk[i] != NULL ? 1u << (i % 8) : 0);
    }
    return cpni_bytes_copy(bits, (blob->chunks + 7u) / 8u);
}

static int do_begin(struct disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *answer)
{
    struct blob *blob = disk_find(disk, &job->root);
    if (blob == NULL && job->data == NULL) {
        return CPN_ENOTFOUND;
    }
    if (blob == NULL) {
        struct cpn_hash root;
        if (job->data->size != cpni_tree_leaves(job->size) * sizeof(struct cpn_hash)) {
            return CPN_ECORRUPT;
        }
        root_of(job->size, (const struct cpn_hash *)(const void *)job->data->data, job->data->size / sizeof root, &root);
        if (memcmp(&root, &job->root, sizeof root) != 0) {
            return CPN_ECORRUPT;
        }
        blob = blob_add(disk, &root, job->size, job->spool, job->data);
    }
    blob->spool &= job->spool;
    describe(blob, answer);
    answer->bytes = bitmap_of(blob);
    return 0;
}

static int do_write(struct disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *answer)
{
    struct blob *blob = disk_find(disk, &job->root);
    if (blob == NULL) {
        return CPN_ENOTFOUND;
    }
    struct cpn_hash leaf;
    if (job->index >= blob->chunks || job->data->size != cpni_tree_chunk_size(blob->size, job->index)) {
        return CPN_ECORRUPT;
    }
    leaf_of(job->data->data, job->data->size, &leaf);
    if (memcmp(&leaf, blob->leaves->data + job->index * sizeof leaf, sizeof leaf) != 0) {
        return CPN_ECORRUPT;
    }
    if (blob->chunk[job->index] == NULL) {
        blob->chunk[job->index] = cpni_bytes_ref(job->data);
        blob->have++;
    }
    describe(blob, answer);
    return 0;
}

static int do_finish(struct disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *answer)
{
    struct blob *blob = disk_find(disk, &job->root);
    if (blob == NULL) {
        return CPN_ENOTFOUND;
    }
    if (blob->have != blob->chunks) {
        return CPN_ESTATE;
    }
    blob->complete = true;
    describe(blob, answer);
    return 0;
}

static int do_read(struct disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *answer)
{
    struct blob *blob = disk_find(disk, &job->root);
    if (blob == NULL || !blob->complete) {
        return CPN_ENOTFOUND;
    }
    if (job->op == CPNI_DISK_READ_CHUNK && job->index >= blob->chunks) {
        return CPN_EINVAL;
    }
    describe(blob, answer);
    answer->bytes = cpni_bytes_ref(job->op == CPNI_DISK_READ_LEAVES ? blob->leaves : blob->chunk[job->index]);
    return 0;
}

static int do_abort(struct disk *disk, const struct cpni_act_disk *job)
{
    struct blob *blob = disk_find(disk, &job->root);
    if (blob != NULL && (!blob->complete || job->op == CPNI_DISK_REMOVE)) {
        blob_free(disk, blob);
    }
    return 0;
}

static bool writes(enum cpni_disk_op op)
{
    return op == CPNI_DISK_BEGIN || op == CPNI_DISK_WRITE_CHUNK || op == CPNI_DISK_FINISH || op == CPNI_DISK_IMPORT_BYTES;
}

static int do_job(struct disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *answer)
{
    switch (job->op) {
    case CPNI_DISK_BEGIN:
        return do_begin(disk, job, answer);
    case CPNI_DISK_WRITE_CHUNK:
        return do_write(disk, job, answer);
    case CPNI_DISK_FINISH:
        return do_finish(disk, job, answer);
    case CPNI_DISK_READ_CHUNK:
    case CPNI_DISK_READ_LEAVES:
        return do_read(disk, job, answer);
    case CPNI_DISK_ABORT:
    case CPNI_DISK_REMOVE:
        return do_abort(disk, job);
    case CPNI_DISK_IMPORT_BYTES:
        describe(disk_import(disk, job->data, job->spool), answer);
        return 0;
    default:
        return CPN_EINVAL;
    }
}

void disk_do(struct sim *sim, struct disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *answer)
{
    *answer = (struct cpni_event_disk){ .ticket = job->ticket, .root = job->root };
    if (!sim->quiet && writes(job->op) && rng_chance(sim, sim->mix.no_space)) {
        answer->code = CPN_ENOSPC;
    } else {
        answer->code = do_job(disk, job, answer);
    }
    bool sent = (job->ticket & CPNI_TRANSFER_TICKET) != 0;
    if (!sim->quiet && answer->code == 0 && job->op == CPNI_DISK_READ_CHUNK && sent && rng_chance(sim, sim->mix.corrupt)) {
        /* a disk that rots: the reader cannot know, whoever receives it must. What a process reads for itself nobody verifies. */
        size_t size = answer->bytes->size - (rng_chance(sim, 500) ? 1 : 0);
        cpni_bytes_unref(answer->bytes);
        answer->bytes = content_bytes(rng_next(sim), size);
    }
    answer->text = answer->code < 0 ? cpn_strerror(answer->code) : "";
}
