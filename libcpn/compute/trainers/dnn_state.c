/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a dnn trainer's next steps depend on besides weights and rows, as bytes (<cpn/trainer.h>, get_state).
 *
 * Layout, little-endian: the header below, then the first moments (momentum of SGD) and, for Adam, the second ones, in the
 * flat order of weights. To change it, raise VERSION and go on reading the old one for as long as sessions of an older
 * release may be resumed. */
#include "compute/trainers/dnn.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the state is copied as it lies in memory");

#define MAGIC UINT32_C(0x736e6464) /* "ddns" */
#define VERSION 1

struct state_header {
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
_Static_assert(sizeof(struct state_header) == 80, "no padding");

static uint32_t moments(const struct cpni_dnn *dnn)
{
    return dnn->spec.optimizer == CPN_TRAINER_ADAM ? 2 : 1;
}

size_t cpni_dnn_state_bytes(const struct cpni_dnn *dnn)
{
    return sizeof(struct state_header) + moments(dnn) * dnn->net.model.weight_count * sizeof(float);
}

static uint64_t bound_rows(const struct cpni_order *order)
{
    return order->order != NULL ? order->count : order->expected_count;
}

int cpni_dnn_get_state(void *trainer, void *state)
{
    struct cpni_dnn *dnn = trainer;
    struct state_header header = { .magic = MAGIC,
        .version = VERSION,
        .weights = dnn->net.model.weight_count,
        .optimizer = dnn->spec.optimizer,
        .batch = dnn->spec.batch,
        .seed = dnn->spec.seed,
        .epoch = dnn->order.epoch,
        .next = dnn->order.next,
        .rows = bound_rows(&dnn->order),
        .updates = dnn->updates,
        .beta1_power = dnn->beta1_power,
        .beta2_power = dnn->beta2_power };
    size_t bytes = dnn->net.model.weight_count * sizeof(float);
    uint8_t *to = state;
    memcpy(to, &header, sizeof header);
    const float *from[2] = { dnn->net.m, dnn->net.v };
    for (uint32_t i = 0; i < moments(dnn); i++) {
        cpni_net_export(&dnn->net, from[i], dnn->flat);
        memcpy(to + sizeof header + i * bytes, dnn->flat, bytes);
    }
    return 0;
}

static int check_header(const struct cpni_dnn *dnn, const struct state_header *header, char *detail)
{
    if (header->magic != MAGIC || header->version != VERSION) {
        snprintf(detail, CPN_TRAINER_DETAIL, "state of another trainer or version; expected dnn state version %d", VERSION);
        return CPN_EVERSION;
    }
    if (header->weights != dnn->net.model.weight_count || header->optimizer != dnn->spec.optimizer
        || header->batch != dnn->spec.batch || header->seed != dnn->spec.seed) {
        snprintf(detail, CPN_TRAINER_DETAIL, "state was taken with other widths, optimizer, batch size or seed");
        return CPN_ECORRUPT;
    }
    if (!(header->beta1_power >= 0 && header->beta1_power <= 1 && header->beta2_power >= 0 && header->beta2_power <= 1)) {
        snprintf(detail, CPN_TRAINER_DETAIL, "state holds impossible powers of beta");
        return CPN_ECORRUPT;
    }
    return 0;
}

int cpni_dnn_set_state(void *trainer, const void *state, size_t size, char *detail)
{
    struct cpni_dnn *dnn = trainer;
    if (size != cpni_dnn_state_bytes(dnn)) {
        snprintf(detail, CPN_TRAINER_DETAIL, "state of %zu bytes; expected %zu", size, cpni_dnn_state_bytes(dnn));
        return CPN_ECORRUPT;
    }
    struct state_header header;
    memcpy(&header, state, sizeof header);
    const uint8_t *from = (const uint8_t *)state + sizeof header;
    size_t count = dnn->net.model.weight_count, bytes = count * sizeof(float);
    int rc = check_header(dnn, &header, detail);
    for (uint32_t i = 0; rc == 0 && i < moments(dnn); i++) {
        memcpy(dnn->flat, from + i * bytes, bytes);
        rc = cpni_model_check_finite(dnn->flat, count, "moment", detail);
    }
    if (rc == 0) {
        rc = cpni_order_seek(&dnn->order, header.epoch, header.next, header.rows, detail);
    }
    if (rc < 0) {
        return rc;
    }
    float *to[2] = { dnn->net.m, dnn->net.v };
    for (uint32_t i = 0; i < moments(dnn); i++) {
        memcpy(dnn->flat, from + i * bytes, bytes);
        cpni_net_import(&dnn->net, dnn->flat, to[i]);
    }
    dnn->updates = header.updates;
    dnn->beta1_power = header.beta1_power;
    dnn->beta2_power = header.beta2_power;
    return 0;
}
