/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A blob store for tests of cores: answers DISK actions one by one, in order, from memory. There is no hashing: byte 0 of a root says
 * what every chunk must consist of, chunk i of bytes (root[0] + i); its leaf list of leaves of that byte. Faults are countdowns. */
#ifndef FAKE_DISK_H
#define FAKE_DISK_H

#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "core/action.h"
#include "core/event.h"
#include "proto/limits.h"

#define FAKE_BLOBS 32
#define FAKE_JOBS 512

struct fake_blob {
    struct cpn_hash root;
    uint64_t size;
    bool used, begun, complete, spool;
    uint8_t have[256]; /* a byte a chunk */
};

struct fake_disk {
    struct fake_blob blobs[FAKE_BLOBS];
    struct cpni_act_disk jobs[FAKE_JOBS];
    unsigned first, count;
    unsigned busy; /* so many jobs are answered CPN_EBUSY */
    int fail;      /* every write and import fails with this */
    unsigned writes, reads, removed, aborted, imported;
};

static inline uint32_t fake_chunks(uint64_t size)
{
    return (uint32_t)((size + CPNI_CHUNK_BYTES - 1) / CPNI_CHUNK_BYTES);
}

static inline struct cpn_hash fake_root(uint8_t number)
{
    struct cpn_hash root = { .bytes = { number, 0xb1, 0x0b } };
    return root;
}

static inline struct fake_blob *fake_find(struct fake_disk *disk, const struct cpn_hash *root)
{
    for (unsigned i = 0; i < FAKE_BLOBS; i++) {
        if (disk->blobs[i].used && memcmp(&disk->blobs[i].root, root, sizeof *root) == 0) {
            return &disk->blobs[i];
        }
    }
    return NULL;
}

static inline struct fake_blob *fake_add(struct fake_disk *disk, const struct cpn_hash *root, uint64_t size)
{
    struct fake_blob *blob = fake_find(disk, root);
    for (unsigned i = 0; blob == NULL && i < FAKE_BLOBS; i++) {
        if (!disk->blobs[i].used) {
            blob = &disk->blobs[i];
            *blob = (struct fake_blob){ .root = *root, .size = size, .used = true };
        }
    }
    return blob;
}

/* A whole blob, as if imported. */
static inline void fake_put(struct fake_disk *disk, const struct cpn_hash *root, uint64_t size)
{
    struct fake_blob *blob = fake_add(disk, root, size);
    blob->begun = blob->complete = true;
    memset(blob->have, 1, sizeof blob->have);
}

static inline bool fake_has(struct fake_disk *disk, const struct cpn_hash *root)
{
    const struct fake_blob *blob = fake_find(disk, root);
    return blob != NULL && blob->complete;
}

static inline struct cpni_bytes *fake_fill(size_t size, uint8_t byte)
{
    uint8_t *data = malloc(size + 1); /* past the fault point: the network would have delivered it */
    memset(data, byte, size + 1);
    struct cpni_bytes *bytes = cpni_bytes_wrap(data, size, free, data);
    if (bytes == NULL) {
        free(data);
    }
    return bytes;
}

static inline struct cpni_bytes *fake_chunk(const struct fake_blob *blob, uint32_t index)
{
    uint64_t left = blob->size - (uint64_t)index * CPNI_CHUNK_BYTES;
    return fake_fill(left < CPNI_CHUNK_BYTES ? (size_t)left : CPNI_CHUNK_BYTES, (uint8_t)(blob->root.bytes[0] + index));
}

static inline void fake_take(struct fake_disk *disk, const struct cpni_act_disk *job)
{
    struct cpni_act_disk *slot = &disk->jobs[(disk->first + disk->count++) % FAKE_JOBS];
    *slot = *job;
    cpni_bytes_ref(slot->data);
}

static inline void fake_begin(struct fake_disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *out)
{
    struct fake_blob *blob = fake_find(disk, &job->root);
    if (job->data == NULL && (blob == NULL || !blob->begun)) {
        out->code = CPN_ENOTFOUND;
        return;
    }
    uint32_t chunks = fake_chunks(job->size);
    if (job->data != NULL && (job->data->size != chunks * 32u || (chunks != 0 && job->data->data[0] != job->root.bytes[0]))) {
        out->code = CPN_ECORRUPT;
        return;
    }
    bool fresh = blob == NULL;
    blob = fake_add(disk, &job->root, job->size);
    blob->spool = (fresh || blob->spool) && job->spool;
    blob->begun = true;
    out->complete = blob->complete;
    uint8_t bitmap[32] = { 0 };
    for (uint32_t i = 0; i < chunks; i++) {
        bitmap[i / 8] = (uint8_t)(bitmap[i / 8] | blob->have[i] << (i % 8));
    }
    out->bytes = cpni_bytes_copy(bitmap, sizeof bitmap);
    out->code = out->bytes != NULL ? 0 : CPN_EBUSY;
}

static inline void fake_write(struct fake_disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *out)
{
    struct fake_blob *blob = fake_find(disk, &job->root);
    uint8_t expected = (uint8_t)(job->root.bytes[0] + job->index);
    disk->writes++;
    if (blob == NULL || disk->fail != 0) {
        out->code = blob == NULL ? CPN_ENOTFOUND : disk->fail;
    } else if (job->data->data[0] != expected || job->data->data[job->data->size - 1] != expected) {
        out->code = CPN_ECORRUPT;
    } else {
        blob->have[job->index] = 1;
    }
}

static inline void fake_finish(struct fake_disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *out)
{
    struct fake_blob *blob = fake_find(disk, &job->root);
    bool whole = blob != NULL;
    for (uint32_t i = 0; whole && i < fake_chunks(blob->size); i++) {
        whole = blob->have[i];
    }
    out->code = whole ? 0 : CPN_ESTATE;
    if (whole) {
        blob->complete = true;
    }
}

static inline void fake_read(struct fake_disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *out)
{
    const struct fake_blob *blob = fake_find(disk, &job->root);
    disk->reads++;
    if (blob == NULL || !blob->complete) {
        out->code = CPN_ENOTFOUND;
        out->text = "no such blob here";
        return;
    }
    out->size = blob->size;
    out->bytes = job->op == CPNI_DISK_READ_LEAVES ? fake_fill(fake_chunks(blob->size) * 32u, blob->root.bytes[0]) : fake_chunk(blob, job->index);
    out->code = out->bytes != NULL ? 0 : CPN_EBUSY;
}

/* The answer to the oldest job; false: none, or one that wants no answer (done all the same). Drop out->bytes. */
static inline bool fake_answer(struct fake_disk *disk, struct cpni_event_disk *out)
{
    if (disk->count == 0) {
        return false;
    }
    struct cpni_act_disk job = disk->jobs[disk->first];
    disk->first = (disk->first + 1) % FAKE_JOBS;
    disk->count--;
    *out = (struct cpni_event_disk){ .ticket = job.ticket, .root = job.root };
    struct fake_blob *blob = fake_find(disk, &job.root);
    if (disk->busy != 0 && job.ticket != 0) {
        disk->busy--;
        out->code = CPN_EBUSY;
    } else if (job.op == CPNI_DISK_BEGIN) {
        fake_begin(disk, &job, out);
    } else if (job.op == CPNI_DISK_WRITE_CHUNK) {
        fake_write(disk, &job, out);
    } else if (job.op == CPNI_DISK_FINISH) {
        fake_finish(disk, &job, out);
    } else if (job.op == CPNI_DISK_READ_CHUNK || job.op == CPNI_DISK_READ_LEAVES) {
        fake_read(disk, &job, out);
    } else if (job.op == CPNI_DISK_IMPORT_BYTES && disk->fail != 0) {
        out->code = disk->fail;
    } else if (job.op == CPNI_DISK_IMPORT_BYTES) {
        out->root = fake_root(job.data->data[0]);
        out->size = job.data->size;
        fake_put(disk, &out->root, out->size);
        disk->imported++;
    } else if (job.op == CPNI_DISK_REMOVE || !(blob != NULL && blob->complete)) {
        disk->removed += job.op == CPNI_DISK_REMOVE;
        disk->aborted += job.op == CPNI_DISK_ABORT;
        if (blob != NULL) {
            *blob = (struct fake_blob){ 0 };
        }
    }
    cpni_bytes_unref(job.data);
    return job.ticket != 0;
}

static inline void fake_close(struct fake_disk *disk)
{
    struct cpni_event_disk answer;
    while (disk->count != 0) {
        answer.bytes = NULL;
        fake_answer(disk, &answer);
        cpni_bytes_unref(answer.bytes);
    }
}

#endif
