/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A core's DISK actions carried out on the blob store's thread, and their answers as events. Owned and called by a role's thread. */
#ifndef CPNI_DISK_H
#define CPNI_DISK_H

#include "core/action.h"
#include "store/blob_async.h"

struct cpni_disk {
    struct cpni_blob_async *async; /* NULL until opened: then every job fails with CPN_ENOTSUP */
    struct cpni_disk_waiting *waiting;     /* jobs that the full queue did not take, in order */
};

/* `dir` and what is in it is the store's. CPN_E… with the sentence in detail (CPNI_BLOB_DETAIL). */
int cpni_disk_open(struct cpni_disk *disk, const char *dir, uint64_t quota_bytes, char *detail);
void cpni_disk_close(struct cpni_disk *disk);
int cpni_disk_fd(const struct cpni_disk *disk); /* -1: not open */

/* Submit a core's job. Its answer comes from cpni_disk_next() as an event. CPN_ENOMEM. */
int cpni_disk_carry(struct cpni_disk *disk, const struct cpni_act_disk *act);

/* Submit a job of the role's own: job->user must not be NULL; its answer comes from cpni_disk_next() as it is. CPN_ENOMEM. */
int cpni_disk_submit(struct cpni_disk *disk, const struct cpni_blob_job *job);

/* The next answer: 0: none; 1: `answer` of the role's own job; 2: `event` for the core (borrowing from `answer`). Clear the answer either way. */
int cpni_disk_next(struct cpni_disk *disk, struct cpni_blob_answer *answer, struct cpni_event *event);

#endif
