/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The way of a question to the disk and of its answer back to the blob or peer that asked, which may be gone by then. Also the scan of
 * the invariants. */
#include <string.h>

#include <cpn/error.h>

#include "core/transfer_priv.h"

bool cpni_transfer_owns(uint64_t disk_ticket)
{
    return (disk_ticket & CPNI_TRANSFER_TICKET) != 0;
}

struct cpni_act_disk *cpni_transfer_job(struct cpni_transfer *transfer, const struct cpni_disk_job *job, enum cpni_disk_op op,
                                        struct cpni_actions *actions)
{
    struct cpni_disk_job *copy = cpni_malloc(sizeof *copy);
    if (copy == NULL) {
        return NULL;
    }
    *copy = *job;
    copy->ticket = ++transfer->next_serial | CPNI_TRANSFER_TICKET;
    HASH_ADD(hh, transfer->jobs, ticket, sizeof copy->ticket, copy);
    if (cpni_hash_missed(copy)) {
        cpni_free(copy);
        return NULL;
    }
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_DISK);
    if (action == NULL) {
        HASH_DEL(transfer->jobs, copy);
        cpni_free(copy);
        return NULL;
    }
    action->disk.op = op;
    action->disk.ticket = copy->ticket;
    action->disk.root = copy->root;
    action->disk.index = copy->index;
    return &action->disk;
}

void cpni_transfer_disk(struct cpni_transfer *transfer, const struct cpni_event_disk *event, const struct cpni_now *now,
                        struct cpni_actions *actions)
{
    struct cpni_disk_job *job;
    HASH_FIND(hh, transfer->jobs, &event->ticket, sizeof event->ticket, job);
    if (job == NULL) {
        return;
    }
    HASH_DEL(transfer->jobs, job);
    transfer->now = *now;
    if (job->kind == CPNI_JOB_READ) {
        cpni_serve_answer(transfer, job, event, actions);
    } else {
        cpni_receive_answer(transfer, job, event, actions);
    }
    cpni_free(job);
    cpni_transfer_tick(transfer, now, actions);
}

static uint32_t count_bits(const uint8_t *bitmap, uint32_t count)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        bits += ((uint32_t)bitmap[i / 8] >> (i % 8)) & 1u;
    }
    return bits;
}

static const char *check_blob(const struct cpni_transfer_fetching *blob)
{
    if (blob->waiters == NULL) {
        return "transfer: a blob that nobody waits for";
    }
    if (blob->have != NULL && count_bits(blob->have, blob->chunks) != blob->have_count) {
        return "transfer: the count of chunks differs from the bitmap";
    }
    bool places = blob->source != NULL;
    if (places && (blob->state == CPNI_FETCH_CHECK || blob->state == CPNI_FETCH_WAITING)) {
        return "transfer: a waiting blob has a place";
    }
    if (!places && (blob->state == CPNI_FETCH_LEAVES || blob->state == CPNI_FETCH_CHUNKS)) {
        return "transfer: a blob asks without a place";
    }
    for (uint32_t i = 0; i < CPNI_TRANSFER_WINDOW; i++) {
        const struct cpni_place *place = &blob->places[i];
        if (place->state == CPNI_PLACE_ASKED && !places) {
            return "transfer: a chunk is asked of nobody";
        }
        if ((place->state == CPNI_PLACE_HELD || place->state == CPNI_PLACE_WRITING) != (place->data != NULL)) {
            return "transfer: a chunk is kept that is not being written, or not kept though it is";
        }
    }
    return NULL;
}

static const char *check_waiters(const struct cpni_transfer *transfer, const struct cpni_transfer_fetching *blob, uint32_t *count)
{
    const struct cpni_waiter *waiter;
    bool sourced = blob->source == NULL;
    (void)transfer;
    DL_FOREACH2(blob->waiters, waiter, blob_next) {
        ++*count;
        sourced = sourced || waiter->peer == blob->source;
        if (waiter->blob != blob || waiter->queued != (blob->state == CPNI_FETCH_WAITING)) {
            return "transfer: a ticket is queued though its blob does not wait, or the reverse";
        }
    }
    return sourced ? NULL : "transfer: a blob comes from a peer that no ticket names";
}

static const char *check_peers(const struct cpni_transfer *transfer)
{
    uint32_t active = 0, reads = 0;
    const struct cpni_transfer_peer *peer;
    for (peer = transfer->peers; peer != NULL; peer = peer->hh.next) {
        active += peer->active;
        reads += peer->reads;
        if (peer->active > CPNI_TRANSFERS_ACTIVE_MAX || (!peer->up && peer->active != 0)) {
            return "transfer: too many places at a peer";
        }
        if (peer->hungry != (peer->up && peer->queue != NULL && peer->active < CPNI_TRANSFERS_ACTIVE_MAX)) {
            return "transfer: a peer waits for a turn that it does not want, or the reverse";
        }
        if (peer->reads > CPNI_SERVE_READS_MAX || peer->want_count > CPNI_SERVE_WANTS_MAX) {
            return "transfer: too much is read for a peer";
        }
        if (!peer->up && peer->waiters == NULL) {
            return "transfer: a peer that is neither up nor waited for";
        }
    }
    if (active != transfer->active || active > CPNI_TRANSFERS_RECEIVING_MAX) {
        return "transfer: the count of places is wrong";
    }
    return reads <= transfer->reads && transfer->reads <= CPNI_SERVE_READS_ALL_MAX ? NULL : "transfer: the count of reads is wrong";
}

const char *cpni_transfer_check(const struct cpni_transfer *transfer)
{
    uint32_t count = 0, active = 0;
    const struct cpni_transfer_fetching *blob;
    for (blob = transfer->blobs; blob != NULL; blob = blob->hh.next) {
        const char *broken = check_blob(blob);
        broken = broken != NULL ? broken : check_waiters(transfer, blob, &count);
        if (broken != NULL) {
            return broken;
        }
        active += blob->source != NULL;
    }
    const struct cpni_waiter *waiter;
    DL_FOREACH2(transfer->outcomes, waiter, blob_next) {
        count++;
    }
    if (count != HASH_COUNT(transfer->tickets)) {
        return "transfer: a ticket is lost";
    }
    return active == transfer->active ? check_peers(transfer) : "transfer: a place is taken by nobody";
}
