/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* One blob on its way here, from the question whether the disk has it to the last chunk. What arrives is believed only after the disk
 * has verified it: leaves against the root and the announced size, chunks against their leaves. */
#include <string.h>

#include <cpn/error.h>

#include "core/events.h"
#include "core/transfer_priv.h"

static struct cpni_disk_job job_of(const struct cpni_transfer_fetching *blob, enum cpni_disk_kind kind)
{
    return (struct cpni_disk_job){ .kind = kind, .root = blob->root, .serial = blob->serial };
}

static struct cpni_log_about about(const struct cpni_transfer_fetching *blob)
{
    struct cpni_log_about who = { 0 };
    if (blob->source != NULL) {
        who.node = &blob->source->link.node;
        who.user = &blob->source->link.user;
    }
    return who;
}

static size_t chunk_size(const struct cpni_transfer_fetching *blob, uint32_t index)
{
    uint64_t left = blob->size - (uint64_t)index * CPNI_CHUNK_BYTES;
    return left < CPNI_CHUNK_BYTES ? (size_t)left : CPNI_CHUNK_BYTES;
}

static void begin(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, enum cpni_disk_kind kind, struct cpni_actions *actions)
{
    struct cpni_disk_job job = job_of(blob, kind);
    struct cpni_act_disk *disk = cpni_transfer_job(transfer, &job, CPNI_DISK_BEGIN, actions);
    if (disk == NULL) {
        cpni_transfer_hold(transfer, blob);
        return;
    }
    disk->size = blob->size;
    disk->spool = blob->spool;
    disk->data = kind == CPNI_JOB_VERIFY ? cpni_bytes_ref(blob->leaves) : NULL;
    blob->begun_spool = blob->spool;
    blob->asked_disk = true;
}

void cpni_receive_check(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions)
{
    blob->state = CPNI_FETCH_CHECK;
    begin(transfer, blob, CPNI_JOB_CHECK, actions);
}

static void finish(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions)
{
    struct cpni_disk_job job = job_of(blob, CPNI_JOB_FINISH);
    blob->state = CPNI_FETCH_FINISH;
    cpni_heap_move(&transfer->stalls, &blob->stall, INT64_MAX);
    blob->asked_disk = cpni_transfer_job(transfer, &job, CPNI_DISK_FINISH, actions) != NULL;
    if (!blob->asked_disk) {
        cpni_transfer_hold(transfer, blob);
    }
}

/* Chunks, or what comes after the last one. */
static void go_on(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions)
{
    if (blob->have_count == blob->chunks) {
        finish(transfer, blob, actions);
    } else if (blob->source == NULL) {
        cpni_transfer_wait(transfer, blob);
    } else {
        blob->state = CPNI_FETCH_CHUNKS;
        cpni_ask_chunks(transfer, blob, actions);
    }
}

void cpni_receive_start(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions)
{
    if (blob->have == NULL) {
        cpni_ask_leaves(transfer, blob, actions);
    } else {
        go_on(transfer, blob, actions);
    }
}

/* ---- what arrives ---- */

static void stray(struct cpni_transfer *transfer, uint64_t peer, const struct cpn_hash *root, const char *what, struct cpni_actions *actions)
{
    char name[CPN_KEY_TEXT];
    const struct cpni_transfer_peer *from = cpni_transfer_peer(transfer, peer);
    struct cpni_log_about who = { 0 };
    if (from != NULL) {
        who.node = &from->link.node;
        who.user = &from->link.user;
    }
    cpni_log(actions, CPNI_LOG_CHUNK_STRAY, &who, "%s of blob %s was not asked for", what, cpn_hash_text(root, name));
}

static void log_refused(const struct cpni_transfer_fetching *blob, const char *what, uint32_t index, const char *why, struct cpni_actions *actions)
{
    char name[CPN_KEY_TEXT];
    struct cpni_log_about who = about(blob);
    cpni_log(actions, CPNI_LOG_CHUNK_REFUSED, &who, "%s %u of blob %s: %s", what, (unsigned)index, cpn_hash_text(&blob->root, name), why);
}

/* Fail for the peer that it came from; whoever else has the blob is asked next. */
static void give_up(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, int code, const char *text, struct cpni_actions *actions)
{
    cpni_transfer_end(transfer, blob, blob->source, code, text, actions);
}

static void refuse_leaves(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, const char *why, struct cpni_actions *actions)
{
    log_refused(blob, "leaf list", 0, why, actions);
    cpni_bytes_unref(blob->leaves);
    blob->leaves = NULL;
    if (blob->source == NULL) { /* its link broke meanwhile */
        cpni_transfer_wait(transfer, blob);
        return;
    }
    blob->state = CPNI_FETCH_LEAVES;
    if (++blob->leaves_refused > CPNI_TRANSFER_RETRIES) {
        give_up(transfer, blob, CPN_ECORRUPT, why, actions);
    } else {
        cpni_ask_leaves(transfer, blob, actions);
    }
}

static void leaves(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, const struct cpni_msg_leaves *msg,
                   struct cpni_actions *actions)
{
    size_t size = msg->leaves != NULL ? msg->leaves->size : 0;
    if (msg->size != blob->size || size != (size_t)blob->chunks * sizeof(struct cpn_hash)) {
        refuse_leaves(transfer, blob, "its size is not the one that was announced", actions);
        return;
    }
    blob->leaves = msg->leaves != NULL ? cpni_bytes_ref(msg->leaves) : cpni_bytes_copy("", 0);
    if (blob->leaves == NULL) {
        actions->failed = true; /* the connection is made anew, and the leaves asked for again */
        return;
    }
    blob->state = CPNI_FETCH_VERIFY;
    cpni_heap_move(&transfer->stalls, &blob->stall, INT64_MAX);
    begin(transfer, blob, CPNI_JOB_VERIFY, actions);
}

static void write_chunk(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_place *place,
                        struct cpni_actions *actions)
{
    struct cpni_disk_job job = job_of(blob, CPNI_JOB_WRITE);
    job.index = place->index;
    struct cpni_act_disk *disk = cpni_transfer_job(transfer, &job, CPNI_DISK_WRITE_CHUNK, actions);
    if (disk == NULL) {
        place->state = CPNI_PLACE_HELD;
        cpni_transfer_hold(transfer, blob);
        return;
    }
    disk->data = cpni_bytes_ref(place->data);
    place->state = CPNI_PLACE_WRITING;
}

static void refuse_chunk(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_place *place, const char *why,
                         struct cpni_actions *actions)
{
    log_refused(blob, "chunk", place->index, why, actions);
    cpni_bytes_unref(place->data);
    place->data = NULL;
    if (blob->source == NULL) {
        place->state = CPNI_PLACE_FREE;
        blob->cursor = 0;
    } else if (++place->refused > CPNI_TRANSFER_RETRIES) {
        place->state = CPNI_PLACE_FREE;
        give_up(transfer, blob, CPN_ECORRUPT, why, actions);
    } else {
        place->state = CPNI_PLACE_ASKED;
        cpni_ask_want(blob, false, place->index, 1, actions);
        cpni_ask_expect(transfer, blob);
    }
}

static void chunk(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, const struct cpni_msg_chunk *msg,
                  struct cpni_actions *actions)
{
    struct cpni_place *place = cpni_ask_place(blob, msg->index);
    if (msg->data == NULL || msg->data->size != chunk_size(blob, msg->index)) {
        refuse_chunk(transfer, blob, place, "it has the wrong size", actions);
        return;
    }
    place->data = cpni_bytes_ref(msg->data);
    write_chunk(transfer, blob, place, actions);
    cpni_ask_expect(transfer, blob);
}

static void missing(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, const struct cpni_msg_missing *msg,
                    struct cpni_actions *actions)
{
    if (msg->code == CPN_EBUSY || msg->code == CPN_EAGAIN) {
        struct cpni_place *place = blob->state == CPNI_FETCH_CHUNKS ? cpni_ask_place(blob, msg->index) : NULL;
        if (place != NULL && place->state == CPNI_PLACE_ASKED) {
            place->state = CPNI_PLACE_FREE;
            blob->cursor = 0;
        }
        cpni_transfer_hold(transfer, blob);
        return;
    }
    char text[CPNI_TRANSFER_TEXT];
    cpni_str_copy(msg->text, text, sizeof text);
    give_up(transfer, blob, msg->code < 0 ? msg->code : CPN_ENOTFOUND, text, actions);
}

static bool expected(struct cpni_transfer_fetching *blob, const struct cpni_transfer_peer *from, const struct cpni_msg *msg)
{
    if (blob == NULL || from == NULL || blob->source != from) {
        return false;
    }
    switch (msg->type) {
    case CPNI_MSG_LEAVES:
        return blob->state == CPNI_FETCH_LEAVES;
    case CPNI_MSG_CHUNK: {
        const struct cpni_place *place = blob->state == CPNI_FETCH_CHUNKS ? cpni_ask_place(blob, msg->chunk.index) : NULL;
        return place != NULL && place->state == CPNI_PLACE_ASKED;
    }
    default:
        return blob->state == CPNI_FETCH_LEAVES || blob->state == CPNI_FETCH_CHUNKS;
    }
}

void cpni_transfer_message(struct cpni_transfer *transfer, uint64_t peer, const struct cpni_msg *msg, const struct cpni_now *now,
                           struct cpni_actions *actions)
{
    const struct cpn_hash *root = msg->type == CPNI_MSG_LEAVES ? &msg->leaves.root : msg->type == CPNI_MSG_CHUNK ? &msg->chunk.root
                                                                                                                 : &msg->missing.root;
    struct cpni_transfer_fetching *blob = cpni_transfer_blob(transfer, root);
    transfer->now = *now;
    if (!expected(blob, cpni_transfer_peer(transfer, peer), msg)) {
        stray(transfer, peer, root, cpni_msg_name(msg->type), actions);
    } else if (msg->type == CPNI_MSG_LEAVES) {
        leaves(transfer, blob, &msg->leaves, actions);
    } else if (msg->type == CPNI_MSG_CHUNK) {
        chunk(transfer, blob, &msg->chunk, actions);
    } else {
        missing(transfer, blob, &msg->missing, actions);
    }
    cpni_transfer_tick(transfer, now, actions);
}

/* ---- the disk's answers ---- */

/* False: no memory for the bitmap. */
static bool take_bitmap(struct cpni_transfer_fetching *blob, const struct cpni_bytes *bitmap)
{
    size_t size = ((size_t)blob->chunks + 7) / 8;
    uint8_t *have = cpni_calloc(1, size);
    if (have == NULL) {
        return false;
    }
    if (bitmap != NULL && bitmap->size >= size) {
        memcpy(have, bitmap->data, size);
    }
    cpni_free(blob->have);
    blob->have = have;
    blob->have_count = 0;
    for (uint32_t i = 0; i < blob->chunks; i++) {
        blob->have_count += cpni_fetching_has(blob, i);
    }
    blob->cursor = 0;
    return true;
}

/* Here whole. A blob begun as spool that somebody wants kept meanwhile is begun once more: that keeps it. */
static void whole(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions)
{
    if (blob->begun_spool && !blob->spool) {
        cpni_transfer_detach(transfer, blob);
        cpni_receive_check(transfer, blob, actions);
    } else {
        cpni_transfer_end(transfer, blob, NULL, 0, NULL, actions);
    }
}

static void begun(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, const struct cpni_event_disk *event,
                  struct cpni_actions *actions)
{
    if (event->code == CPN_ENOTFOUND && blob->state == CPNI_FETCH_CHECK) {
        cpni_transfer_wait(transfer, blob);
    } else if (event->code == CPN_ECORRUPT && blob->state == CPNI_FETCH_VERIFY) {
        refuse_leaves(transfer, blob, "it does not verify", actions);
    } else if (event->code != 0) {
        cpni_transfer_end(transfer, blob, NULL, event->code, event->text, actions);
    } else if (event->complete) {
        whole(transfer, blob, actions);
    } else if (!take_bitmap(blob, event->bytes)) {
        cpni_transfer_hold(transfer, blob); /* the disk is asked once more */
    } else {
        cpni_bytes_unref(blob->leaves);
        blob->leaves = NULL;
        go_on(transfer, blob, actions);
    }
}

static void written(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, uint32_t index,
                    const struct cpni_event_disk *event, struct cpni_actions *actions)
{
    struct cpni_place *place = cpni_ask_place(blob, index);
    if (place == NULL || place->state != CPNI_PLACE_WRITING) {
        return;
    }
    if (event->code == CPN_EBUSY) {
        place->state = CPNI_PLACE_HELD;
        cpni_transfer_hold(transfer, blob);
        return;
    }
    if (event->code == CPN_ECORRUPT) {
        refuse_chunk(transfer, blob, place, "it does not verify", actions);
        return;
    }
    if (event->code != 0) {
        cpni_transfer_end(transfer, blob, NULL, event->code, event->text, actions);
        return;
    }
    cpni_bytes_unref(place->data);
    *place = (struct cpni_place){ 0 };
    blob->stalls = 0;
    if (!cpni_fetching_has(blob, index)) {
        blob->have[index / 8] = (uint8_t)(blob->have[index / 8] | 1u << (index % 8));
        blob->have_count++;
    }
    if (blob->state == CPNI_FETCH_CHUNKS || blob->have_count == blob->chunks) {
        if (blob->state == CPNI_FETCH_WAITING) {
            cpni_transfer_unwait(transfer, blob);
        }
        go_on(transfer, blob, actions);
    }
}

static void finished(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, const struct cpni_event_disk *event,
                     struct cpni_actions *actions)
{
    if (event->code != 0) {
        cpni_transfer_end(transfer, blob, NULL, event->code, event->text, actions);
    } else {
        whole(transfer, blob, actions);
    }
}

void cpni_receive_answer(struct cpni_transfer *transfer, const struct cpni_disk_job *job, const struct cpni_event_disk *event,
                         struct cpni_actions *actions)
{
    struct cpni_transfer_fetching *blob = cpni_transfer_blob(transfer, &job->root);
    if (blob == NULL || blob->serial != job->serial) {
        return; /* cancelled meanwhile */
    }
    if (job->kind == CPNI_JOB_WRITE) {
        written(transfer, blob, job->index, event, actions);
        return;
    }
    blob->asked_disk = false;
    if (event->code == CPN_EBUSY) {
        cpni_transfer_hold(transfer, blob);
    } else if (job->kind == CPNI_JOB_FINISH) {
        finished(transfer, blob, event, actions);
    } else {
        begun(transfer, blob, event, actions);
    }
}

/* ---- once more ---- */

void cpni_receive_again(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions)
{
    for (uint32_t i = 0; i < CPNI_TRANSFER_WINDOW; i++) {
        if (blob->places[i].state == CPNI_PLACE_HELD) {
            write_chunk(transfer, blob, &blob->places[i], actions);
        }
    }
    if (blob->asked_disk) {
        return;
    }
    switch (blob->state) {
    case CPNI_FETCH_CHECK:
        begin(transfer, blob, CPNI_JOB_CHECK, actions);
        break;
    case CPNI_FETCH_LEAVES:
        cpni_ask_leaves(transfer, blob, actions);
        break;
    case CPNI_FETCH_VERIFY:
        begin(transfer, blob, CPNI_JOB_VERIFY, actions);
        break;
    case CPNI_FETCH_CHUNKS:
        cpni_ask_chunks(transfer, blob, actions);
        break;
    case CPNI_FETCH_FINISH:
        finish(transfer, blob, actions);
        break;
    default:
        break;
    }
}

void cpni_receive_stalled(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions)
{
    char name[CPN_KEY_TEXT];
    struct cpni_log_about who = about(blob);
    blob->stalls++;
    cpni_log(actions, CPNI_LOG_TRANSFER_STALLED, &who, "blob %s, %u of %u chunks are here", cpn_hash_text(&blob->root, name),
             (unsigned)blob->have_count, (unsigned)blob->chunks);
    if (blob->stalls >= CPNI_TRANSFER_STALLS_MAX) {
        give_up(transfer, blob, CPN_ETIMEDOUT, "the sender does not answer", actions);
    } else if (cpni_transfer_others_wait(transfer, blob)) {
        cpni_transfer_detach(transfer, blob); /* its place is better used by another; it comes last now */
    } else if (blob->state == CPNI_FETCH_LEAVES) {
        cpni_ask_leaves(transfer, blob, actions);
    } else {
        cpni_ask_nothing(blob);
        cpni_ask_chunks(transfer, blob, actions);
    }
}
