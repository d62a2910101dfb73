/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See state.h.
 *
 * Layout, little-endian: the header below, then the first moments (momentum of SGD) and, for Adam, the second ones, in
 * the flat order of weights. To change it, raise VERSION and go on reading the old one for as long as sessions of an
 * older release may be resumed. */
#include "compute/trainers/state.h"

#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "compute/trainers/model.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the state is copied as it lies in memory");

#define VERSION 1

struct header {
    uint32_t magic;
    uint32_t version;
    uint64_t weights;
    uint32_t optimizer;
    uint32_t batch;
    uint64_t seed;
    uint64_t epoch;
    uint64_t next;
    uint64_t rows; /* bound when the state was taken; 0: none */
    uint64_t updates;
    double beta1_power, beta2_power;
};
_Static_assert(sizeof(struct header) == 80, "no padding");

void cpni_state_init(struct cpni_state *state, uint32_t magic, const struct cpn_trainer_spec *spec, size_t weights,
    struct cpni_order *order)
{
    *state = (struct cpni_state){ magic, spec, weights, order, 0, 1.0, 1.0 };
}

double cpni_state_next_beta1(const struct cpni_state *state)
{
    return state->beta1_power * (double)state->spec->beta1;
}

double cpni_state_next_beta2(const struct cpni_state *state)
{
    return state->beta2_power * (double)state->spec->beta2;
}

void cpni_state_updated(struct cpni_state *state)
{
    state->updates++;
    state->beta1_power = cpni_state_next_beta1(state);
    state->beta2_power = cpni_state_next_beta2(state);
}

static uint32_t moments(const struct cpni_state *state)
{
    return state->spec->optimizer == CPN_TRAINER_ADAM ? 2 : 1;
}

size_t cpni_state_bytes(const struct cpni_state *state)
{
    return sizeof(struct header) + moments(state) * state->weights * sizeof(float);
}

void cpni_state_save(const struct cpni_state *state, const float *first, const float *second, void *bytes)
{
    const struct cpni_order *order = state->order;
    struct header header = { .magic = state->magic,
        .version = VERSION,
        .weights = state->weights,
        .optimizer = state->spec->optimizer,
        .batch = state->spec->batch,
        .seed = state->spec->seed,
        .epoch = order->epoch,
        .next = order->next,
        .rows = order->order != NULL ? order->count : order->expected_count,
        .updates = state->updates,
        .beta1_power = state->beta1_power,
        .beta2_power = state->beta2_power };
    size_t size = state->weights * sizeof(float);
    uint8_t *to = bytes;
    memcpy(to, &header, sizeof header);
    memcpy(to + sizeof header, first, size);
    if (moments(state) == 2) {
        memcpy(to + sizeof header + size, second, size);
    }
}

static int check_header(const struct cpni_state *state, const struct header *header, char *detail)
{
    if (header->magic != state->magic || header->version != VERSION) {
        snprintf(detail, CPN_TRAINER_DETAIL, "state of another trainer or version; expected version %d of this one",
            VERSION);
        return CPN_EVERSION;
    }
    if (header->weights != state->weights || header->optimizer != state->spec->optimizer
        || header->batch != state->spec->batch || header->seed != state->spec->seed) {
        snprintf(detail, CPN_TRAINER_DETAIL, "state was taken with other widths, optimizer, batch size or seed");
        return CPN_ECORRUPT;
    }
    if (!(header->beta1_power >= 0 && header->beta1_power <= 1 && header->beta2_power >= 0
            && header->beta2_power <= 1)) {
        snprintf(detail, CPN_TRAINER_DETAIL, "state holds impossible powers of beta");
        return CPN_ECORRUPT;
    }
    return 0;
}

int cpni_state_load(struct cpni_state *state, const void *bytes, size_t size, float *first, float *second, char *detail)
{
    if (size != cpni_state_bytes(state)) {
        snprintf(detail, CPN_TRAINER_DETAIL, "state of %zu bytes; expected %zu", size, cpni_state_bytes(state));
        return CPN_ECORRUPT;
    }
    struct header header;
    memcpy(&header, bytes, sizeof header);
    const uint8_t *from = (const uint8_t *)bytes + sizeof header;
    int rc = check_header(state, &header, detail);
    float *to[2] = { first, second };
    for (uint32_t i = 0; rc == 0 && i < moments(state); i++) {
        memcpy(to[i], from + i * state->weights * sizeof(float), state->weights * sizeof(float));
        rc = cpni_model_check_finite(to[i], state->weights, "moment", detail);
    }
    if (rc == 0) {
        rc = cpni_order_seek(state->order, header.epoch, header.next, header.rows, detail);
    }
    if (rc < 0) {
        return rc;
    }
    state->updates = header.updates;
    state->beta1_power = header.beta1_power;
    state->beta2_power = header.beta2_power;
    return 0;
}
