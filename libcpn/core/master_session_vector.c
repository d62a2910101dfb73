/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Weights and gradients in pieces: out without a copy, in with one, within bounds. Must not know what the numbers mean. */
#include "core/master_session.h"

static void release_part(void *whole)
{
    cpni_bytes_unref(whole);
}

static struct cpni_bytes *part_of(struct cpni_bytes *vector, uint64_t offset, uint64_t size)
{
    struct cpni_bytes *part = cpni_bytes_wrap(vector->data + offset, size, release_part, cpni_bytes_ref(vector));
    if (part == NULL) {
        cpni_bytes_unref(vector);
    }
    return part;
}

void cpni_mvector_send(struct cpni_master_core *core, struct cpni_mconn *bulk, const struct cpni_mlane *lane, uint64_t round,
                       struct cpni_bytes *vector)
{
    for (uint64_t offset = 0; offset < vector->size && !core->out->failed; offset += CPNI_VECTOR_PIECE_BYTES) {
        uint64_t left = vector->size - offset;
        struct cpni_bytes *part = part_of(vector, offset, left < CPNI_VECTOR_PIECE_BYTES ? left : CPNI_VECTOR_PIECE_BYTES);
        if (part == NULL) {
            core->out->failed = true;
            return;
        }
        struct cpni_msg msg = { .type = CPNI_MSG_PIECE };
        msg.piece.session = lane->session->id;
        msg.piece.lane = lane->number;
        msg.piece.round = round;
        msg.piece.offset = offset;
        msg.piece.total = vector->size;
        msg.piece.data = part;
        cpni_mconn_send(core, bulk, &msg);
        cpni_bytes_unref(part);
    }
}

void cpni_mvector_drop(struct cpni_master_core *core, struct cpni_mvector *vector)
{
    core->vector_bytes -= vector->data != NULL ? vector->total : 0;
    cpni_free(vector->data);
    *vector = (struct cpni_mvector){ 0 };
}

/* What a peer may announce: once the first vector has shown how many values the model has, that many. */
static bool plausible(const struct cpni_master_core *core, const struct cpni_msession *session, uint64_t total)
{
    if (total == 0 || total > CPNI_VECTOR_BYTES_MAX || total > CPNI_VECTORS_BYTES_MAX - core->vector_bytes) {
        return false;
    }
    return session->values == 0 || total == session->values * sizeof(float) || total == cpni_delta8_size(session->values);
}

void cpni_mvector_piece(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_piece *piece)
{
    struct cpni_mvector *vector = &lane->vector;
    uint64_t size = piece->data != NULL ? piece->data->size : 0;
    if (piece->offset == 0) {
        cpni_mvector_drop(core, vector);
        if (!plausible(core, lane->session, piece->total)) {
            return; /* the message that ends it finds it missing, and it is asked for again */
        }
        vector->data = cpni_malloc(piece->total);
        core->out->failed = core->out->failed || vector->data == NULL;
        if (vector->data == NULL) {
            return;
        }
        vector->total = piece->total;
        vector->round = piece->round;
        core->vector_bytes += piece->total;
    }
    if (vector->data == NULL || piece->offset != vector->have || piece->total != vector->total || piece->round != vector->round ||
        size == 0 || size > vector->total - vector->have) {
        cpni_mvector_drop(core, vector);
        return;
    }
    memcpy(vector->data + vector->have, piece->data->data, size);
    vector->have += size;
}

bool cpni_mvector_whole(const struct cpni_mvector *vector, uint64_t round, uint64_t bytes)
{
    return vector->data != NULL && vector->round == round && vector->total == bytes && vector->have == bytes;
}

struct cpni_bytes *cpni_mvector_take(struct cpni_master_core *core, struct cpni_mvector *vector)
{
    struct cpni_bytes *bytes = cpni_bytes_take(vector->data, vector->total);
    if (bytes == NULL) {
        core->out->failed = true;
        return NULL;
    }
    core->vector_bytes -= vector->total;
    *vector = (struct cpni_mvector){ 0 };
    return bytes;
}
