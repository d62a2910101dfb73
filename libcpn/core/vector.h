/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Weights and gradients on their way over a bulk connection: a vector is cut into PIECEs, and the message after them (TRAIN, UPDATE,
 * GRADIENT) takes it. The sender says all of one vector in one go, so a receiver needs one cpni_vector_in a connection. Nothing is copied
 * on the way out, nor on the way in when one piece is the whole and lies where floats can be read. Must not know sessions or what the
 * numbers mean. */
#ifndef CPNI_VECTOR_H
#define CPNI_VECTOR_H

#include "core/action.h"

/* What has arrived. Zeroed: nothing. */
struct cpni_vector_in {
    struct cpn_id session; /* whose pieces they are */
    uint32_t lane;
    uint64_t round, total, have;
    struct cpni_bytes *whole; /* of one piece, aligned */
    uint8_t *data;            /* else: the first `have` bytes are there */
};

/* Takes a piece; one with offset 0 begins a new vector, and what there was of another is gone. limit: bytes of the largest one that the
 * owner wants. CPN_EPROTO: not the piece that follows; CPN_ETOOBIG; CPN_ENOMEM. After any of these nothing is kept, and the pieces up to
 * the next with offset 0 are CPN_EPROTO too. */
int cpni_vector_piece(struct cpni_vector_in *in, const struct cpni_msg_piece *piece, uint64_t limit);

/* Hands over the vector that a message ends, aligned for floats, which the caller unrefs from then on; afterwards nothing is kept,
 * whatever comes out.
 * bytes 0: NULL. CPN_EPROTO: there is no whole one of so many bytes for this session, lane and round; CPN_ENOMEM. */
int cpni_vector_take(struct cpni_vector_in *in, const struct cpn_id *session, uint32_t lane, uint64_t round, uint64_t bytes,
                     struct cpni_bytes **out);

/* The connection broke, or its owner ends. */
void cpni_vector_clear(struct cpni_vector_in *in);

/* Append the pieces of a vector (NULL or empty: none) as SENDs. The caller appends the message that ends them next, in the same step.
 * CPN_ENOMEM: none was appended, actions->failed is set. */
int cpni_vector_send(struct cpni_actions *actions, uint64_t conn, uint32_t link, const struct cpn_id *session, uint32_t lane, uint64_t round,
                     struct cpni_bytes *vector);

#endif
