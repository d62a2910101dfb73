/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See disk.h. */
#include "role/disk.h"

#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

/* A copy of a job that waits for room in the store's queue. Bounded by what the cores have under way (limits.h). */
struct cpni_disk_waiting {
    struct cpni_disk_waiting *next;
    struct cpni_blob_job job;
    char path[];
};

int cpni_disk_open(struct cpni_disk *disk, const char *dir, uint64_t quota_bytes, char *detail)
{
    struct cpni_blobs *blobs;
    const struct cpni_blobs_options options = { .quota_bytes = quota_bytes };
    int rc = cpni_blobs_open(dir, &options, &blobs, detail);
    if (rc < 0) {
        return rc;
    }
    rc = cpni_blob_async_open(blobs, 0, 0, &disk->async);
    if (rc < 0) {
        cpni_blobs_close(blobs);
        snprintf(detail, CPNI_BLOB_DETAIL, "cannot start the disk thread: %s", cpn_strerror(rc));
    }
    return rc;
}

static void drop_waiting(struct cpni_disk *disk)
{
    struct cpni_disk_waiting *first = disk->waiting;
    disk->waiting = first->next;
    cpni_bytes_unref(first->job.payload);
    cpni_free(first);
}

void cpni_disk_close(struct cpni_disk *disk)
{
    while (disk->waiting != NULL) {
        drop_waiting(disk);
    }
    cpni_blob_async_close(disk->async);
    *disk = (struct cpni_disk){ 0 };
}

int cpni_disk_fd(const struct cpni_disk *disk)
{
    return disk->async != NULL ? cpni_blob_async_fd(disk->async) : -1;
}

/* Jobs about one blob must keep their order, so once one waits all later ones wait behind it. */
static int keep_waiting(struct cpni_disk *disk, const struct cpni_blob_job *job)
{
    size_t path_size = job->path != NULL ? strlen(job->path) + 1 : 0;
    struct cpni_disk_waiting *waiting = cpni_malloc(sizeof *waiting + path_size);
    if (waiting == NULL) {
        return CPN_ENOMEM;
    }
    waiting->next = NULL;
    waiting->job = *job;
    cpni_bytes_ref(job->payload);
    if (path_size != 0) {
        memcpy(waiting->path, job->path, path_size);
        waiting->job.path = waiting->path;
    }
    struct cpni_disk_waiting **end = &disk->waiting;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = waiting;
    return 0;
}

int cpni_disk_submit(struct cpni_disk *disk, const struct cpni_blob_job *job)
{
    if (disk->async == NULL) {
        return CPN_ENOTSUP;
    }
    int rc = disk->waiting != NULL ? CPN_EBUSY : cpni_blob_async_submit(disk->async, job);
    return rc == CPN_EBUSY ? keep_waiting(disk, job) : rc;
}

static void submit_waiting(struct cpni_disk *disk)
{
    while (disk->waiting != NULL && cpni_blob_async_submit(disk->async, &disk->waiting->job) != CPN_EBUSY) {
        drop_waiting(disk);
    }
}

static enum cpni_blob_op op_of(enum cpni_disk_op op)
{
    switch (op) {
    case CPNI_DISK_BEGIN:
        return CPNI_BLOB_BEGIN;
    case CPNI_DISK_WRITE_CHUNK:
        return CPNI_BLOB_WRITE_CHUNK;
    case CPNI_DISK_FINISH:
        return CPNI_BLOB_FINISH;
    case CPNI_DISK_ABORT:
        return CPNI_BLOB_ABORT;
    case CPNI_DISK_READ_CHUNK:
        return CPNI_BLOB_READ_CHUNK;
    case CPNI_DISK_READ_LEAVES:
        return CPNI_BLOB_LEAVES;
    case CPNI_DISK_IMPORT_BYTES:
        return CPNI_BLOB_IMPORT_BYTES;
    case CPNI_DISK_REMOVE:
        break;
    }
    return CPNI_BLOB_REMOVE;
}

int cpni_disk_carry(struct cpni_disk *disk, const struct cpni_act_disk *act)
{
    const struct cpni_blob_job job = {
        .op = op_of(act->op),
        .tag = act->ticket,
        .root = act->root,
        .size = act->size,
        .index = act->index,
        .class = act->spool ? CPNI_BLOB_SPOOL : CPNI_BLOB_KEPT,
        .payload = act->data,
    };
    return cpni_disk_submit(disk, &job);
}

int cpni_disk_next(struct cpni_disk *disk, struct cpni_blob_answer *answer, struct cpni_event *event)
{
    do { /* a core that gave no ticket wants no answer: it would be one to whatever has none under way */
        if (disk->async == NULL || cpni_blob_async_pop(disk->async, answer) == 0) {
            return 0;
        }
        submit_waiting(disk);
        if (answer->user != NULL) {
            return 1;
        }
        if (answer->tag == 0) {
            cpni_blob_answer_clear(answer);
        }
    } while (answer->tag == 0);
    *event = (struct cpni_event){
        .type = CPNI_EV_DISK,
        .disk = { .ticket = answer->tag, .code = answer->status, .text = answer->detail, .root = answer->root,
                  .size = answer->info.size, .chunks = answer->info.chunks, .complete = answer->info.complete,
                  .bytes = answer->bytes },
    };
    return 2;
}
