/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See transfer.h and transfer_priv.h. Here: tickets and their outcomes. */
#include "core/transfer.h"

#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "core/events.h"
#include "core/transfer_priv.h"

int cpni_transfer_new(struct cpni_transfer **out)
{
    struct cpni_transfer *transfer = cpni_calloc(1, sizeof *transfer);
    if (transfer == NULL) {
        return CPN_ENOMEM;
    }
    transfer->again_us = INT64_MAX;
    *out = transfer;
    return 0;
}

static void free_blob(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob)
{
    for (uint32_t i = 0; i < CPNI_TRANSFER_WINDOW; i++) {
        cpni_bytes_unref(blob->places[i].data);
    }
    if (blob->held_back) {
        DL_DELETE2(transfer->held, blob, held_prev, held_next);
    }
    cpni_heap_remove(&transfer->stalls, &blob->stall);
    cpni_bytes_unref(blob->leaves);
    cpni_free(blob->have);
    HASH_DEL(transfer->blobs, blob);
    cpni_free(blob);
}

void cpni_transfer_free(struct cpni_transfer *transfer)
{
    if (transfer == NULL) {
        return;
    }
    struct cpni_waiter *waiter, *after_waiter;
    HASH_ITER(hh, transfer->tickets, waiter, after_waiter) {
        HASH_DEL(transfer->tickets, waiter);
        cpni_free(waiter);
    }
    struct cpni_transfer_fetching *blob, *after_blob;
    HASH_ITER(hh, transfer->blobs, blob, after_blob) {
        free_blob(transfer, blob);
    }
    struct cpni_transfer_peer *peer, *after_peer;
    HASH_ITER(hh, transfer->peers, peer, after_peer) {
        cpni_transfer_free_peer(transfer, peer);
    }
    struct cpni_disk_job *job, *after_job;
    HASH_ITER(hh, transfer->jobs, job, after_job) {
        HASH_DEL(transfer->jobs, job);
        cpni_free(job);
    }
    cpni_heap_free(&transfer->stalls);
    cpni_free(transfer);
}

struct cpni_transfer_fetching *cpni_transfer_blob(struct cpni_transfer *transfer, const struct cpn_hash *root)
{
    struct cpni_transfer_fetching *blob;
    HASH_FIND(hh, transfer->blobs, root, sizeof *root, blob);
    return blob;
}

static struct cpni_waiter *find_ticket(const struct cpni_transfer *transfer, uint64_t ticket)
{
    struct cpni_waiter *waiter;
    HASH_FIND(hh, transfer->tickets, &ticket, sizeof ticket, waiter);
    return waiter;
}

static void unlink_waiter(struct cpni_transfer *transfer, struct cpni_waiter *waiter)
{
    cpni_transfer_dequeue(transfer, waiter);
    DL_DELETE2(waiter->blob->waiters, waiter, blob_prev, blob_next);
    DL_DELETE2(waiter->peer->waiters, waiter, peer_prev, peer_next);
    waiter->blob = NULL;
}

static bool waits_for(const struct cpni_transfer_fetching *blob, const struct cpni_transfer_peer *peer)
{
    const struct cpni_waiter *waiter;
    DL_FOREACH2(blob->waiters, waiter, blob_next) {
        if (waiter->peer == peer) {
            return true;
        }
    }
    return false;
}

/* With FINISH on its way to the disk the blob may be whole by the time that the disk reads this. */
static void abort_blob(const struct cpni_transfer_fetching *blob, struct cpni_actions *actions)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_DISK);
    if (action != NULL) {
        action->disk.op = blob->state == CPNI_FETCH_FINISH ? CPNI_DISK_REMOVE : CPNI_DISK_ABORT;
        action->disk.root = blob->root;
    }
}

static void end_one(struct cpni_transfer *transfer, struct cpni_waiter *waiter, int code, const char *text, struct cpni_actions *actions)
{
    struct cpni_transfer_fetching *blob = waiter->blob;
    struct cpni_transfer_peer *peer = waiter->peer;
    waiter->outcome = (struct cpni_transfer_outcome){ .ticket = waiter->ticket, .root = blob->root, .size = blob->size, .code = code };
    snprintf(waiter->outcome.text, sizeof waiter->outcome.text, "%s", code != 0 && text != NULL && text[0] != 0 ? text : cpn_strerror(code));
    unlink_waiter(transfer, waiter);
    DL_APPEND2(transfer->outcomes, waiter, blob_prev, blob_next);
    if (code == 0 && peer->up && !waits_for(blob, peer)) {
        struct cpni_msg msg = { .type = CPNI_MSG_RECEIVED, .received.root = blob->root };
        cpni_actions_send(actions, peer->link.conn, peer->link.link, &msg);
    }
    cpni_transfer_release_peer(transfer, peer);
}

/* What a failure leaves behind: a file that is to be kept is worth resuming, unless it is the file itself that is the trouble. */
static bool worth_keeping(const struct cpni_transfer_fetching *blob, int code)
{
    return code == 0 || (!blob->spool && code != CPN_ECORRUPT && code != CPN_ENOSPC);
}

void cpni_transfer_end(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_transfer_peer *peer, int code,
                       const char *text, struct cpni_actions *actions)
{
    char name[CPN_KEY_TEXT];
    cpni_log(actions, code == 0 ? CPNI_LOG_TRANSFER_DONE : CPNI_LOG_TRANSFER_FAILED,
             peer != NULL ? &(struct cpni_log_about){ .node = &peer->link.node, .user = &peer->link.user } : NULL, "blob %s, %llu bytes%s%s",
             cpn_hash_text(&blob->root, name), (unsigned long long)blob->size, code == 0 ? "" : ": ",
             code == 0 ? "" : text != NULL && text[0] != 0 ? text : cpn_strerror(code));
    if (peer == NULL || blob->source == peer) {
        cpni_transfer_detach(transfer, blob);
    }
    struct cpni_waiter *waiter, *after;
    DL_FOREACH_SAFE2(blob->waiters, waiter, after, blob_next) {
        if (peer == NULL || waiter->peer == peer) {
            end_one(transfer, waiter, code, text, actions);
        }
    }
    if (blob->waiters == NULL) {
        if (!worth_keeping(blob, code)) {
            abort_blob(blob, actions);
        }
        free_blob(transfer, blob);
    }
}

static struct cpni_waiter *new_waiter(struct cpni_transfer *transfer, uint64_t ticket)
{
    struct cpni_waiter *waiter = cpni_calloc(1, sizeof *waiter);
    if (waiter == NULL) {
        return NULL;
    }
    waiter->ticket = ticket;
    HASH_ADD(hh, transfer->tickets, ticket, sizeof waiter->ticket, waiter);
    if (cpni_hash_missed(waiter)) {
        cpni_free(waiter);
        return NULL;
    }
    return waiter;
}

static struct cpni_transfer_fetching *new_blob(struct cpni_transfer *transfer, const struct cpn_hash *root, uint64_t size, bool spool)
{
    struct cpni_transfer_fetching *blob = cpni_calloc(1, sizeof *blob);
    if (blob == NULL || cpni_heap_insert(&transfer->stalls, &blob->stall, INT64_MAX) < 0) {
        cpni_free(blob);
        return NULL;
    }
    blob->root = *root;
    blob->serial = ++transfer->next_serial;
    blob->size = size;
    blob->chunks = (uint32_t)((size + CPNI_CHUNK_BYTES - 1) / CPNI_CHUNK_BYTES);
    blob->spool = spool;
    blob->state = CPNI_FETCH_CHECK;
    HASH_ADD(hh, transfer->blobs, root, sizeof blob->root, blob);
    if (cpni_hash_missed(blob)) {
        cpni_heap_remove(&transfer->stalls, &blob->stall);
        cpni_free(blob);
        return NULL;
    }
    return blob;
}

static void link_waiter(struct cpni_transfer *transfer, struct cpni_waiter *waiter, struct cpni_transfer_fetching *blob,
                        struct cpni_transfer_peer *peer)
{
    waiter->blob = blob;
    waiter->peer = peer;
    DL_APPEND2(blob->waiters, waiter, blob_prev, blob_next);
    DL_APPEND2(peer->waiters, waiter, peer_prev, peer_next);
    if (blob->state == CPNI_FETCH_WAITING) {
        cpni_transfer_enqueue(transfer, waiter);
    }
}

static void move_waiter(struct cpni_transfer *transfer, struct cpni_waiter *waiter, struct cpni_transfer_peer *peer)
{
    struct cpni_transfer_fetching *blob = waiter->blob;
    struct cpni_transfer_peer *before = waiter->peer;
    if (before == peer) {
        return;
    }
    unlink_waiter(transfer, waiter);
    link_waiter(transfer, waiter, blob, peer);
    if (blob->source == before && !waits_for(blob, before)) {
        cpni_transfer_detach(transfer, blob);
    }
    cpni_transfer_release_peer(transfer, before);
}

int cpni_transfer_fetch(struct cpni_transfer *transfer, uint64_t ticket, uint64_t peer_id, const struct cpn_hash *root, uint64_t size,
                        bool spool, const struct cpni_now *now, struct cpni_actions *actions)
{
    transfer->now = *now;
    if (size > CPNI_BLOB_BYTES_MAX) {
        return CPN_ETOOBIG;
    }
    struct cpni_transfer_fetching *blob = cpni_transfer_blob(transfer, root);
    if (blob != NULL && blob->size != size) {
        return CPN_EINVAL;
    }
    struct cpni_waiter *known = find_ticket(transfer, ticket);
    if (known == NULL && HASH_COUNT(transfer->tickets) >= CPNI_TRANSFERS_MAX) {
        return CPN_EBUSY;
    }
    struct cpni_transfer_peer *peer = cpni_transfer_have_peer(transfer, peer_id);
    if (peer == NULL) {
        return CPN_ENOMEM;
    }
    if (known != NULL) {
        if (known->blob != NULL) {
            move_waiter(transfer, known, peer);
        }
        cpni_transfer_pump(transfer, actions);
        cpni_transfer_release_peer(transfer, peer);
        return 0;
    }
    struct cpni_waiter *waiter = new_waiter(transfer, ticket);
    bool fresh = blob == NULL;
    blob = waiter != NULL && fresh ? new_blob(transfer, root, size, spool) : blob;
    if (waiter == NULL || blob == NULL) {
        if (waiter != NULL) {
            HASH_DEL(transfer->tickets, waiter);
            cpni_free(waiter);
        }
        cpni_transfer_release_peer(transfer, peer);
        return CPN_ENOMEM;
    }
    blob->spool = blob->spool && spool;
    link_waiter(transfer, waiter, blob, peer);
    if (fresh) {
        cpni_receive_check(transfer, blob, actions);
    }
    cpni_transfer_pump(transfer, actions);
    return 0;
}

void cpni_transfer_cancel(struct cpni_transfer *transfer, uint64_t ticket, const struct cpni_now *now, struct cpni_actions *actions)
{
    struct cpni_waiter *waiter = find_ticket(transfer, ticket);
    transfer->now = *now;
    if (waiter == NULL) {
        return;
    }
    struct cpni_transfer_fetching *blob = waiter->blob;
    struct cpni_transfer_peer *peer = waiter->peer;
    HASH_DEL(transfer->tickets, waiter);
    if (blob == NULL) {
        DL_DELETE2(transfer->outcomes, waiter, blob_prev, blob_next);
        cpni_free(waiter);
        return;
    }
    unlink_waiter(transfer, waiter);
    cpni_free(waiter);
    if (blob->source == peer && !waits_for(blob, peer)) {
        cpni_transfer_detach(transfer, blob);
    }
    if (blob->waiters == NULL) {
        abort_blob(blob, actions);
        free_blob(transfer, blob);
    }
    cpni_transfer_release_peer(transfer, peer);
    cpni_transfer_pump(transfer, actions);
}

bool cpni_transfer_next(struct cpni_transfer *transfer, struct cpni_transfer_outcome *out)
{
    struct cpni_waiter *waiter = transfer->outcomes;
    if (waiter == NULL) {
        return false;
    }
    *out = waiter->outcome;
    DL_DELETE2(transfer->outcomes, waiter, blob_prev, blob_next);
    HASH_DEL(transfer->tickets, waiter);
    cpni_free(waiter);
    return true;
}

bool cpni_transfer_progress(const struct cpni_transfer *transfer, uint64_t ticket, uint64_t *done, uint64_t *total)
{
    const struct cpni_waiter *waiter = find_ticket(transfer, ticket);
    if (waiter == NULL) {
        return false;
    }
    const struct cpni_transfer_fetching *blob = waiter->blob;
    uint64_t size = blob != NULL ? blob->size : waiter->outcome.size;
    uint64_t here = blob != NULL ? (uint64_t)blob->have_count * CPNI_CHUNK_BYTES : waiter->outcome.code == 0 ? size : 0;
    *done = here < size ? here : size;
    *total = size;
    return true;
}

