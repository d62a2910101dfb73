/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Weights and gradients of lanes on their way out and in (vector.h), those on their way in within a bound for all together. Must not know
 * what the numbers mean. */
#include "core/master_session.h"

void cpni_mvector_send(struct cpni_master_core *core, struct cpni_mconn *bulk, const struct cpni_mlane *lane, uint64_t round,
                       struct cpni_bytes *vector)
{
    if (!bulk->dropped) {
        cpni_vector_send(core->out, bulk->conn, bulk->number, &lane->session->id, lane->number, round, vector);
    }
}

static uint64_t held(const struct cpni_vector_in *vector)
{
    return vector->whole != NULL || vector->data != NULL ? vector->total : 0;
}

void cpni_mvector_drop(struct cpni_master_core *core, struct cpni_mlane *lane)
{
    core->vector_bytes -= held(&lane->vector);
    cpni_vector_clear(&lane->vector);
}

/* What a peer may announce: once the first vector has shown how many values the model has, that many. */
static bool plausible(const struct cpni_master_core *core, const struct cpni_msession *session, uint64_t total)
{
    if (total == 0 || total > CPNI_VECTORS_BYTES_MAX - core->vector_bytes) {
        return false;
    }
    return session->values == 0 || total == session->values * sizeof(float) || total == cpni_delta8_size(session->values);
}

void cpni_mvector_piece(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_piece *piece)
{
    uint64_t before = held(&lane->vector);
    if (piece->offset == 0) {
        cpni_mvector_drop(core, lane);
        before = 0;
        if (!plausible(core, lane->session, piece->total)) {
            return; /* the message that ends it finds it missing, and it is asked for again */
        }
    }
    if (cpni_vector_piece(&lane->vector, piece, CPNI_VECTOR_BYTES_MAX) == CPN_ENOMEM) {
        core->out->failed = true;
    }
    core->vector_bytes += held(&lane->vector) - before;
}

struct cpni_bytes *cpni_mvector_take(struct cpni_master_core *core, struct cpni_mlane *lane, uint64_t round, uint64_t bytes)
{
    struct cpni_bytes *vector = NULL;
    core->vector_bytes -= held(&lane->vector);
    if (cpni_vector_take(&lane->vector, &lane->session->id, lane->number, round, bytes, &vector) == CPN_ENOMEM) {
        core->out->failed = true;
    }
    return vector;
}
