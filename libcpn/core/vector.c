/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See vector.h. */
#include "core/vector.h"

#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "proto/limits.h"

void cpni_vector_clear(struct cpni_vector_in *in)
{
    cpni_bytes_unref(in->whole);
    cpni_free(in->data);
    *in = (struct cpni_vector_in){ 0 };
}

static bool is_for(const struct cpni_vector_in *in, const struct cpn_id *session, uint32_t lane, uint64_t round)
{
    return memcmp(&in->session, session, sizeof *session) == 0 && in->lane == lane && in->round == round;
}

/* A part of a packet lies wherever the socket's buffer had it; reading a float at an odd address is undefined. */
static bool is_aligned(const struct cpni_bytes *bytes)
{
    return (uintptr_t)bytes->data % _Alignof(float) == 0;
}

static int begin(struct cpni_vector_in *in, const struct cpni_msg_piece *piece, uint64_t limit)
{
    cpni_vector_clear(in);
    if (piece->total > limit || piece->total > CPNI_VECTOR_BYTES_MAX) {
        return CPN_ETOOBIG;
    }
    if (piece->data->size == piece->total && is_aligned(piece->data)) {
        in->whole = cpni_bytes_ref(piece->data);
    } else {
        in->data = cpni_malloc((size_t)piece->total);
        if (in->data == NULL) {
            return CPN_ENOMEM;
        }
    }
    in->session = piece->session;
    in->lane = piece->lane;
    in->round = piece->round;
    in->total = piece->total;
    return 0;
}

int cpni_vector_piece(struct cpni_vector_in *in, const struct cpni_msg_piece *piece, uint64_t limit)
{
    if (piece->data == NULL || piece->data->size == 0 || piece->offset > piece->total ||
        piece->data->size > piece->total - piece->offset) {
        cpni_vector_clear(in);
        return CPN_EPROTO;
    }
    if (piece->offset == 0) {
        int rc = begin(in, piece, limit);
        if (rc < 0) {
            return rc;
        }
    } else if (in->data == NULL || piece->offset != in->have || piece->total != in->total ||
               !is_for(in, &piece->session, piece->lane, piece->round)) {
        cpni_vector_clear(in);
        return CPN_EPROTO;
    }
    if (in->data != NULL) {
        memcpy(in->data + in->have, piece->data->data, piece->data->size);
    }
    in->have += piece->data->size;
    return 0;
}

int cpni_vector_take(struct cpni_vector_in *in, const struct cpn_id *session, uint32_t lane, uint64_t round, uint64_t bytes,
                     struct cpni_bytes **out)
{
    struct cpni_bytes *vector = NULL;
    int rc = 0;
    if (bytes != 0 && (in->total != bytes || in->have != bytes || !is_for(in, session, lane, round))) {
        rc = CPN_EPROTO;
    } else if (bytes != 0) {
        vector = in->whole != NULL ? cpni_bytes_ref(in->whole) : cpni_bytes_take(in->data, (size_t)bytes);
        rc = vector != NULL ? 0 : CPN_ENOMEM;
        in->data = rc == 0 ? NULL : in->data; /* given away */
    }
    cpni_vector_clear(in);
    if (rc == 0) {
        *out = vector;
    }
    return rc;
}

int cpni_vector_send(struct cpni_actions *actions, uint64_t conn, uint32_t link, const struct cpn_id *session, uint32_t lane, uint64_t round,
                     struct cpni_bytes *vector)
{
    size_t before = actions->count;
    size_t total = vector != NULL ? vector->size : 0;
    for (size_t at = 0, size; at < total; at += size) {
        size = total - at < CPNI_VECTOR_PIECE_BYTES ? total - at : CPNI_VECTOR_PIECE_BYTES;
        struct cpni_msg msg = { .type = CPNI_MSG_PIECE };
        msg.piece.session = *session;
        msg.piece.lane = lane;
        msg.piece.round = round;
        msg.piece.offset = at;
        msg.piece.total = total;
        msg.piece.data = cpni_bytes_slice(vector, at, size);
        int rc = msg.piece.data != NULL ? cpni_actions_send(actions, conn, link, &msg) : CPN_ENOMEM;
        cpni_msg_drop(&msg);
        if (rc < 0) {
            cpni_actions_truncate(actions, before);
            actions->failed = true;
            return rc;
        }
    }
    return 0;
}
