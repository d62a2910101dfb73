/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Large inputs and results in passing: how long the master keeps each, and who may read what (DESIGN §5, §7). A blob is kept while a
 * task needs it; what is a file of a model too is never removed here. Must not know how bytes travel (core/transfer.h does). */
#include "core/master_state.h"

static struct cpni_mblob *find(const struct cpni_master_core *core, const struct cpn_hash *root)
{
    struct cpni_mblob *blob;
    HASH_FIND(hh, core->blobs, root, sizeof *root, blob);
    return blob;
}

static struct cpni_mblob *find_or_make(struct cpni_master_core *core, const struct cpn_hash *root, uint64_t size)
{
    struct cpni_mblob *blob = find(core, root);
    if (blob != NULL) {
        return blob;
    }
    blob = cpni_calloc(1, sizeof *blob);
    if (blob == NULL) {
        return NULL;
    }
    blob->root = *root;
    blob->size = size;
    HASH_ADD(hh, core->blobs, root, sizeof blob->root, blob);
    if (cpni_hash_missed(blob)) {
        cpni_free(blob);
        return NULL;
    }
    return blob;
}

static void drop_unused(struct cpni_master_core *core, struct cpni_mblob *blob)
{
    if (blob->refs == 0 && blob->files == 0 && blob->kept == 0) {
        HASH_DEL(core->blobs, blob);
        cpni_free(blob);
    }
}

struct cpni_mblob *cpni_mblob_ref(struct cpni_master_core *core, const struct cpn_hash *root, uint64_t size)
{
    struct cpni_mblob *blob = find_or_make(core, root, size);
    if (blob == NULL) {
        core->out->failed = true;
        return NULL;
    }
    if (blob->refs++ == 0) {
        core->spool_bytes += blob->size;
    }
    return blob;
}

void cpni_mblob_unref(struct cpni_master_core *core, struct cpni_mblob *blob)
{
    if (blob == NULL || --blob->refs != 0) {
        return;
    }
    core->spool_bytes -= blob->size;
    if (blob->files == 0 && blob->kept == 0 && core->out != NULL) { /* also one that came whole a moment ago and was not yet noticed */
        struct cpni_action *action = cpni_actions_add(core->out, CPNI_ACT_DISK);
        if (action != NULL) {
            action->disk.op = CPNI_DISK_REMOVE;
            action->disk.root = blob->root;
            action->disk.spool = true;
        }
    }
    drop_unused(core, blob);
}

int cpni_mblob_files(struct cpni_master_core *core, const struct cpni_mversion *version)
{
    for (uint32_t i = 0; i < version->manifest.file_count; i++) {
        const struct cpni_manifest_file *file = &version->manifest.files[i];
        struct cpni_mblob *blob = find_or_make(core, &file->root, file->size);
        if (blob == NULL) {
            while (i-- > 0) {
                blob = find(core, &version->manifest.files[i].root);
                blob->files--;
                drop_unused(core, blob);
            }
            return CPN_ENOMEM;
        }
        blob->files++;
    }
    return 0;
}

void cpni_mblob_unfiles(struct cpni_master_core *core, const struct cpni_mversion *version)
{
    for (uint32_t i = 0; i < version->manifest.file_count; i++) {
        struct cpni_mblob *blob = find(core, &version->manifest.files[i].root);
        blob->files--;
        if (blob->files == 0 && blob->kept == 0 && version->removed && core->out != NULL) {
            struct cpni_action *action = cpni_actions_add(core->out, CPNI_ACT_DISK);
            if (action != NULL) {
                action->disk.op = CPNI_DISK_REMOVE;
                action->disk.root = blob->root;
            }
        }
        drop_unused(core, blob);
    }
}

/* ---- what sessions keep ---- */

int cpni_mblob_keep(struct cpni_master_core *core, const struct cpn_hash *root, uint64_t size)
{
    struct cpni_mblob *blob = find_or_make(core, root, size);
    if (blob == NULL) {
        return CPN_ENOMEM;
    }
    blob->kept++;
    return 0;
}

/* Not removed at once: the very same bytes may be on their way in for another session (or another round), and that removal would come
 * after them. */
void cpni_mblob_unkeep(struct cpni_master_core *core, const struct cpn_hash *root)
{
    struct cpni_mblob *blob = find(core, root);
    if (blob != NULL && --blob->kept == 0) {
        core->blobs_idle = true;
    }
}

static void remove_kept(struct cpni_master_core *core, const struct cpn_hash *root)
{
    struct cpni_action *action = cpni_actions_add(core->out, CPNI_ACT_DISK);
    if (action != NULL) {
        action->disk.op = CPNI_DISK_REMOVE;
        action->disk.root = *root;
    }
}

void cpni_mblob_sweep(struct cpni_master_core *core)
{
    if (!core->blobs_idle || core->out->failed || cpni_msession_moving(core)) {
        return;
    }
    core->blobs_idle = false;
    struct cpni_mblob *blob, *next;
    HASH_ITER(hh, core->blobs, blob, next) {
        if (blob->refs == 0 && blob->files == 0 && blob->kept == 0) {
            remove_kept(core, &blob->root);
            drop_unused(core, blob);
        }
    }
}

/* Nobody waits for it any more, but the very same bytes may be on their way in once more. */
void cpni_mblob_orphan(struct cpni_master_core *core, const struct cpni_event_disk *event)
{
    bool import = event->code == 0 && !cpni_mhash_zero(&event->root) && event->bytes == NULL;
    if (import && find_or_make(core, &event->root, event->size) != NULL) {
        core->blobs_idle = true;
    }
}

/* ---- fetching for a task ---- */

void cpni_mblob_cancel(struct cpni_master_core *core, struct cpni_mtask *task)
{
    if (task->fetch == 0) {
        return;
    }
    cpni_transfer_cancel(core->transfer, task->fetch, &core->now, core->out);
    HASH_DELETE(fetch_hh, core->fetches, task);
    task->fetch = 0;
}

/* Brings the task's input or result here; from now on from this process. */
bool cpni_mblob_fetch(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mlink *from, struct cpni_mblob *blob)
{
    if (task->fetch == 0) {
        task->fetch = ++core->last_ticket;
        HASH_ADD(fetch_hh, core->fetches, fetch, sizeof task->fetch, task);
        if (task->fetch_hh.tbl == NULL) {
            task->fetch = 0;
            core->out->failed = true;
            return false;
        }
    }
    int rc = cpni_transfer_fetch(core->transfer, task->fetch, from->serial, &blob->root, blob->size, true, &core->now, core->out);
    if (rc == CPN_ENOMEM) {
        core->out->failed = true;
    }
    if (rc < 0) {
        HASH_DELETE(fetch_hh, core->fetches, task);
        task->fetch = 0;
    }
    return rc >= 0;
}

static void fetched(struct cpni_master_core *core, struct cpni_mtask *task, const struct cpni_transfer_outcome *outcome)
{
    HASH_DELETE(fetch_hh, core->fetches, task);
    task->fetch = 0;
    bool input = task->state == CPNI_JOB_UPLOADING;
    if (outcome->code == 0) {
        (input ? task->input_blob : task->result_blob)->here = true;
    }
    if (input && outcome->code == 0) {
        cpni_msubmit_queue(core, task);
    } else if (input) {
        cpni_mtask_end(core, task, outcome->code, CPNI_FAILURE_INPUT,
                       outcome->code == CPN_ENOSPC ? "the master cannot keep the input: %s" : "the input could not be fetched from its client: %s",
                       outcome->text);
    } else if (outcome->code == 0) {
        cpni_mlease_ack(core, task->node->link, &task->id, task->attempt);
        cpni_mlease_release(core, task);
        cpni_mtask_deliver(core, task);
    } else {
        cpni_mlease_image_failed(core, task, outcome->text);
    }
}

void cpni_mblob_outcomes(struct cpni_master_core *core)
{
    struct cpni_transfer_outcome outcome;
    while (cpni_transfer_next(core->transfer, &outcome)) {
        struct cpni_mtask *task;
        HASH_FIND(fetch_hh, core->fetches, &outcome.ticket, sizeof outcome.ticket, task);
        if (task != NULL) {
            fetched(core, task, &outcome);
        } else if (!cpni_mpublish_outcome(core, &outcome)) {
            cpni_msession_outcome(core, &outcome);
        }
    }
}

/* ---- serving ---- */

static bool input_of(const struct cpni_mtask *task, const struct cpn_hash *root)
{
    return task->input_blob != NULL && memcmp(&task->input_blob->root, root, sizeof *root) == 0;
}

static bool result_of(const struct cpni_mtask *task, const struct cpn_hash *root)
{
    return task->result_blob != NULL && task->state == CPNI_JOB_DELIVERING &&
           memcmp(&task->result_blob->root, root, sizeof *root) == 0;
}

/* A node reads the files of models and the inputs that it works on; a client the results of its user. */
static bool may_read(const struct cpni_master_core *core, const struct cpni_mlink *link, const struct cpni_mblob *blob)
{
    if (link->kind == CPNI_KIND_WORKER) {
        const struct cpni_mtask *task;
        DL_FOREACH(link->identity->node->leases, task) {
            if (input_of(task, &blob->root)) {
                return true;
            }
        }
        return blob->files != 0 || cpni_msession_may_read(core, link, &blob->root);
    }
    const struct cpni_mtask *task;
    DL_FOREACH2(link->tasks, task, owner_next) {
        if (result_of(task, &blob->root)) {
            return true;
        }
    }
    return cpni_msession_may_read(core, link, &blob->root);
}

void cpni_mblob_want(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_want *want)
{
    const struct cpni_mblob *blob = find(core, &want->root);
    if (blob == NULL || !may_read(core, conn->link, blob)) {
        cpni_transfer_refuse(core->out, conn->conn, conn->number, want, CPN_ENOTFOUND,
                             "the master has no such blob for this process");
        return;
    }
    cpni_transfer_serve(core->transfer, conn->link->serial, want, &core->now, core->out);
}
