/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Peers that come and go, and whose turn it is to ask: a few blobs at a time at each peer and in all, the peers in turn, the blobs of a
 * peer first come first served. Must not know what is asked. */
#include <cpn/error.h>

#include "core/transfer_priv.h"

void cpni_transfer_free_peer(struct cpni_transfer *transfer, struct cpni_transfer_peer *peer)
{
    cpni_serve_stop(transfer, peer);
    if (peer->hungry) {
        DL_DELETE2(transfer->hungry, peer, hungry_prev, hungry_next);
    }
    HASH_DEL(transfer->peers, peer);
    cpni_free(peer);
}

struct cpni_transfer_peer *cpni_transfer_peer(struct cpni_transfer *transfer, uint64_t id)
{
    struct cpni_transfer_peer *peer;
    HASH_FIND(hh, transfer->peers, &id, sizeof id, peer);
    return peer;
}

struct cpni_transfer_peer *cpni_transfer_have_peer(struct cpni_transfer *transfer, uint64_t id)
{
    struct cpni_transfer_peer *peer = cpni_transfer_peer(transfer, id);
    if (peer != NULL) {
        return peer;
    }
    peer = cpni_calloc(1, sizeof *peer);
    if (peer == NULL) {
        return NULL;
    }
    peer->id = id;
    peer->life = ++transfer->next_serial;
    HASH_ADD(hh, transfer->peers, id, sizeof peer->id, peer);
    if (cpni_hash_missed(peer)) {
        cpni_free(peer);
        return NULL;
    }
    return peer;
}

void cpni_transfer_release_peer(struct cpni_transfer *transfer, struct cpni_transfer_peer *peer)
{
    if (!peer->up && peer->waiters == NULL) {
        cpni_transfer_free_peer(transfer, peer);
    }
}

static void update_hunger(struct cpni_transfer *transfer, struct cpni_transfer_peer *peer)
{
    bool hungry = peer->up && peer->queue != NULL && peer->active < CPNI_TRANSFERS_ACTIVE_MAX;
    if (hungry && !peer->hungry) {
        DL_APPEND2(transfer->hungry, peer, hungry_prev, hungry_next);
    } else if (!hungry && peer->hungry) {
        DL_DELETE2(transfer->hungry, peer, hungry_prev, hungry_next);
    }
    peer->hungry = hungry;
}

void cpni_transfer_enqueue(struct cpni_transfer *transfer, struct cpni_waiter *waiter)
{
    if (!waiter->queued) {
        DL_APPEND2(waiter->peer->queue, waiter, queue_prev, queue_next);
        waiter->queued = true;
        update_hunger(transfer, waiter->peer);
    }
}

void cpni_transfer_dequeue(struct cpni_transfer *transfer, struct cpni_waiter *waiter)
{
    if (waiter->queued) {
        DL_DELETE2(waiter->peer->queue, waiter, queue_prev, queue_next);
        waiter->queued = false;
        update_hunger(transfer, waiter->peer);
    }
}

void cpni_transfer_wait(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob)
{
    struct cpni_waiter *waiter;
    blob->state = CPNI_FETCH_WAITING;
    DL_FOREACH2(blob->waiters, waiter, blob_next) {
        cpni_transfer_enqueue(transfer, waiter);
    }
}

/* It needs no peer any more. */
void cpni_transfer_unwait(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob)
{
    struct cpni_waiter *waiter;
    DL_FOREACH2(blob->waiters, waiter, blob_next) {
        cpni_transfer_dequeue(transfer, waiter);
    }
}

void cpni_transfer_detach(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob)
{
    struct cpni_transfer_peer *source = blob->source;
    if (source == NULL) {
        return;
    }
    cpni_ask_nothing(blob);
    cpni_heap_move(&transfer->stalls, &blob->stall, INT64_MAX);
    blob->source = NULL;
    source->active--;
    transfer->active--;
    update_hunger(transfer, source);
    if (blob->state == CPNI_FETCH_LEAVES || blob->state == CPNI_FETCH_CHUNKS) {
        cpni_transfer_wait(transfer, blob);
    }
}

bool cpni_transfer_others_wait(const struct cpni_transfer *transfer, const struct cpni_transfer_fetching *blob)
{
    return transfer->hungry != NULL || (blob->source != NULL && blob->source->queue != NULL);
}

void cpni_transfer_pump(struct cpni_transfer *transfer, struct cpni_actions *actions)
{
    while (transfer->hungry != NULL && transfer->active < CPNI_TRANSFERS_RECEIVING_MAX) {
        struct cpni_transfer_peer *peer = transfer->hungry;
        struct cpni_transfer_fetching *blob = peer->queue->blob;
        DL_DELETE2(transfer->hungry, peer, hungry_prev, hungry_next); /* to the end, if it stays hungry: round robin */
        peer->hungry = false;
        cpni_transfer_unwait(transfer, blob);
        blob->source = peer;
        peer->active++;
        transfer->active++;
        update_hunger(transfer, peer);
        cpni_receive_start(transfer, blob, actions);
    }
    cpni_serve_pump(transfer, actions);
}

void cpni_transfer_later(struct cpni_transfer *transfer)
{
    int64_t at_us = transfer->now.mono_us + (int64_t)CPNI_TRANSFER_AGAIN_MS * 1000;
    transfer->again_us = at_us < transfer->again_us ? at_us : transfer->again_us;
}

void cpni_transfer_hold(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob)
{
    cpni_transfer_later(transfer);
    if (!blob->held_back) {
        blob->held_back = true;
        DL_APPEND2(transfer->held, blob, held_prev, held_next);
    }
}

static void drop_link(struct cpni_transfer *transfer, struct cpni_transfer_peer *peer)
{
    peer->up = false;
    peer->life = ++transfer->next_serial;
    cpni_serve_stop(transfer, peer);
    struct cpni_waiter *waiter;
    DL_FOREACH2(peer->waiters, waiter, peer_next) {
        if (waiter->blob->source == peer) {
            cpni_transfer_detach(transfer, waiter->blob);
        }
    }
    update_hunger(transfer, peer);
}

int cpni_transfer_up(struct cpni_transfer *transfer, uint64_t peer_id, const struct cpni_transfer_link *link,
                     const struct cpni_now *now, struct cpni_actions *actions)
{
    transfer->now = *now;
    struct cpni_transfer_peer *peer = cpni_transfer_have_peer(transfer, peer_id);
    if (peer == NULL) {
        return CPN_ENOMEM;
    }
    drop_link(transfer, peer);
    peer->link = *link;
    peer->up = true;
    update_hunger(transfer, peer);
    cpni_transfer_pump(transfer, actions);
    return 0;
}

void cpni_transfer_down(struct cpni_transfer *transfer, uint64_t peer_id, const struct cpni_now *now, struct cpni_actions *actions)
{
    transfer->now = *now;
    struct cpni_transfer_peer *peer = cpni_transfer_peer(transfer, peer_id);
    if (peer == NULL || !peer->up) {
        return;
    }
    drop_link(transfer, peer);
    cpni_transfer_release_peer(transfer, peer);
    cpni_transfer_pump(transfer, actions);
}

void cpni_transfer_forget(struct cpni_transfer *transfer, uint64_t peer_id, int code, const char *text, const struct cpni_now *now,
                          struct cpni_actions *actions)
{
    transfer->now = *now;
    struct cpni_transfer_peer *peer = cpni_transfer_peer(transfer, peer_id);
    if (peer == NULL) {
        return;
    }
    drop_link(transfer, peer);
    peer->up = true; /* so that the last of its tickets does not free it under our feet */
    while (peer->waiters != NULL) {
        cpni_transfer_end(transfer, peer->waiters->blob, peer, code, text, actions);
    }
    peer->up = false;
    cpni_transfer_free_peer(transfer, peer);
    cpni_transfer_pump(transfer, actions);
}

static void do_again(struct cpni_transfer *transfer, struct cpni_actions *actions)
{
    struct cpni_transfer_fetching *blob;
    uint32_t count;
    transfer->again_us = INT64_MAX;
    transfer->reads_held = false;
    DL_COUNT2(transfer->held, blob, count, held_next);
    while (count-- > 0) { /* what is held back once more goes to the end */
        blob = transfer->held;
        DL_DELETE2(transfer->held, blob, held_prev, held_next);
        blob->held_back = false;
        cpni_receive_again(transfer, blob, actions);
    }
}

void cpni_transfer_tick(struct cpni_transfer *transfer, const struct cpni_now *now, struct cpni_actions *actions)
{
    transfer->now = *now;
    if (now->mono_us >= transfer->again_us) {
        do_again(transfer, actions);
    }
    for (struct cpni_heap_entry *entry; (entry = cpni_heap_first(&transfer->stalls)) != NULL && entry->at_us <= now->mono_us;) {
        cpni_receive_stalled(transfer, (void *)((char *)entry - offsetof(struct cpni_transfer_fetching, stall)), actions);
    }
    cpni_transfer_pump(transfer, actions);
}

int64_t cpni_transfer_deadline(const struct cpni_transfer *transfer)
{
    const struct cpni_heap_entry *first = cpni_heap_first(&transfer->stalls);
    return first != NULL && first->at_us < transfer->again_us ? first->at_us : transfer->again_us;
}
