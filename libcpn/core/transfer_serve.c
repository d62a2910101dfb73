/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The sending side: WANTs wait in a bounded queue per peer, the disk reads a few chunks at a time, each peer in turn, and each answer
 * goes out at once. How much is under way to a peer is the receiver's business: it asks. Must not know who may read what. */
#include <string.h>

#include <cpn/error.h>

#include "core/transfer_priv.h"

static void update(struct cpni_transfer *transfer, struct cpni_transfer_peer *peer)
{
    bool serving = peer->up && peer->want_count != 0 && peer->reads < CPNI_SERVE_READS_MAX;
    if (serving && !peer->serving) {
        DL_APPEND2(transfer->serving, peer, serving_prev, serving_next);
    } else if (!serving && peer->serving) {
        DL_DELETE2(transfer->serving, peer, serving_prev, serving_next);
    }
    peer->serving = serving;
}

void cpni_serve_stop(struct cpni_transfer *transfer, struct cpni_transfer_peer *peer)
{
    peer->want_first = peer->want_count = 0;
    peer->reads = 0; /* the answers find another life of the peer, and only count down those of all */
    cpni_free(peer->wants);
    peer->wants = NULL;
    update(transfer, peer);
}

static void say_missing(struct cpni_actions *actions, uint64_t conn, uint32_t link, const struct cpn_hash *root, uint32_t index, int code,
                        const char *text)
{
    struct cpni_msg msg = { .type = CPNI_MSG_MISSING };
    msg.missing.root = *root;
    msg.missing.index = index;
    msg.missing.code = code;
    msg.missing.text = cpni_str(text != NULL && text[0] != 0 ? text : cpn_strerror(code));
    cpni_actions_send(actions, conn, link, &msg);
}

static uint32_t bounded(const struct cpni_msg_want *want)
{
    uint32_t count = want->leaves || want->count == 0 ? 1 : want->count;
    return count < CPNI_TRANSFER_WINDOW ? count : CPNI_TRANSFER_WINDOW;
}

void cpni_transfer_refuse(struct cpni_actions *actions, uint64_t conn, uint32_t link, const struct cpni_msg_want *want, int code,
                          const char *text)
{
    for (uint32_t i = 0; i < bounded(want); i++) {
        say_missing(actions, conn, link, &want->root, want->first + i, code, text);
        if (code != CPN_EBUSY && code != CPN_EAGAIN) {
            return; /* final for the blob, whatever the chunk */
        }
    }
}

void cpni_transfer_serve(struct cpni_transfer *transfer, uint64_t peer_id, const struct cpni_msg_want *want, const struct cpni_now *now,
                         struct cpni_actions *actions)
{
    struct cpni_transfer_peer *peer = cpni_transfer_peer(transfer, peer_id);
    transfer->now = *now;
    if (peer == NULL || !peer->up) {
        return;
    }
    if (peer->wants == NULL) {
        peer->wants = cpni_malloc(CPNI_SERVE_WANTS_MAX * sizeof *peer->wants);
    }
    if (peer->wants == NULL || peer->want_count == CPNI_SERVE_WANTS_MAX) {
        cpni_transfer_refuse(actions, peer->link.conn, peer->link.link, want, CPN_EBUSY, "too many requests wait");
        return;
    }
    uint32_t at = (peer->want_first + peer->want_count++) % CPNI_SERVE_WANTS_MAX;
    peer->wants[at] = (struct cpni_want){ .root = want->root, .leaves = want->leaves, .first = want->first, .count = bounded(want) };
    update(transfer, peer);
    cpni_serve_pump(transfer, actions);
}

static void pop(struct cpni_transfer_peer *peer)
{
    struct cpni_want *want = &peer->wants[peer->want_first];
    want->first++;
    if (--want->count == 0) {
        peer->want_first = (peer->want_first + 1) % CPNI_SERVE_WANTS_MAX;
        peer->want_count--;
    }
}

void cpni_serve_pump(struct cpni_transfer *transfer, struct cpni_actions *actions)
{
    while (transfer->serving != NULL && transfer->reads < CPNI_SERVE_READS_ALL_MAX && !transfer->reads_held) {
        struct cpni_transfer_peer *peer = transfer->serving;
        const struct cpni_want *want = &peer->wants[peer->want_first];
        struct cpni_disk_job job = { .kind = CPNI_JOB_READ, .root = want->root, .serial = peer->life, .peer = peer->id,
                                     .index = want->first, .leaves = want->leaves };
        if (cpni_transfer_job(transfer, &job, want->leaves ? CPNI_DISK_READ_LEAVES : CPNI_DISK_READ_CHUNK, actions) == NULL) {
            transfer->reads_held = true;
            cpni_transfer_later(transfer);
            return;
        }
        pop(peer);
        peer->reads++;
        transfer->reads++;
        DL_DELETE2(transfer->serving, peer, serving_prev, serving_next); /* to the end, if it wants more: round robin */
        peer->serving = false;
        update(transfer, peer);
    }
}

/* The disk's queue was full: the read comes first again, a little later. */
static void again(struct cpni_transfer *transfer, struct cpni_transfer_peer *peer, const struct cpni_disk_job *job,
                  struct cpni_actions *actions)
{
    if (peer->want_count == CPNI_SERVE_WANTS_MAX || peer->wants == NULL) {
        say_missing(actions, peer->link.conn, peer->link.link, &job->root, job->index, CPN_EBUSY, "the disk is busy");
        return;
    }
    peer->want_first = (peer->want_first + CPNI_SERVE_WANTS_MAX - 1) % CPNI_SERVE_WANTS_MAX;
    peer->want_count++;
    peer->wants[peer->want_first] = (struct cpni_want){ .root = job->root, .leaves = job->leaves, .first = job->index, .count = 1 };
    transfer->reads_held = true;
    cpni_transfer_later(transfer);
}

static void send(const struct cpni_transfer_peer *peer, const struct cpni_disk_job *job, const struct cpni_event_disk *event,
                 struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = job->leaves ? CPNI_MSG_LEAVES : CPNI_MSG_CHUNK };
    if (job->leaves) {
        msg.leaves.root = job->root;
        msg.leaves.size = event->size;
        msg.leaves.leaves = event->bytes;
    } else {
        msg.chunk.root = job->root;
        msg.chunk.index = job->index;
        msg.chunk.data = event->bytes;
    }
    cpni_actions_send(actions, peer->link.conn, peer->link.link, &msg);
}

void cpni_serve_answer(struct cpni_transfer *transfer, const struct cpni_disk_job *job, const struct cpni_event_disk *event,
                       struct cpni_actions *actions)
{
    struct cpni_transfer_peer *peer = cpni_transfer_peer(transfer, job->peer);
    transfer->reads--;
    if (peer == NULL || peer->life != job->serial) {
        return; /* gone, or come back: it asks again for what it still wants */
    }
    peer->reads--;
    if (event->code == 0) {
        send(peer, job, event, actions);
    } else if (event->code == CPN_EBUSY) {
        again(transfer, peer, job, actions);
    } else {
        say_missing(actions, peer->link.conn, peer->link.link, &job->root, job->index, event->code, event->text);
    }
    update(transfer, peer);
}
