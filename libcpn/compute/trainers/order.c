/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See order.h. */
#include "compute/trainers/order.h"

#include <inttypes.h>
#include <stdio.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "base/random.h"

#define STREAM_ROWS UINT64_C(0x726f777300000000) /* "rows", and the epoch in the low half */

uint64_t cpni_rows_count(const struct cpn_trainer_rows *rows)
{
    return rows->index != NULL ? rows->index_count : rows->rows;
}

uint64_t cpni_rows_at(const struct cpn_trainer_rows *rows, uint64_t place)
{
    return rows->index != NULL ? rows->index[place] : place;
}

int cpni_rows_check(const struct cpn_trainer_rows *rows, uint32_t inputs, uint32_t classes, char *detail)
{
    uint64_t count = cpni_rows_count(rows);
    if (rows->size < sizeof *rows || rows->features == NULL || rows->labels == NULL) {
        snprintf(detail, CPN_TRAINER_DETAIL, "rows without features or labels");
        return CPN_EINVAL;
    }
    if (rows->columns != inputs) {
        snprintf(detail, CPN_TRAINER_DETAIL, "rows have %" PRIu32 " features; the model takes %" PRIu32, rows->columns,
            inputs);
        return CPN_EBADINPUT;
    }
    if (count == 0 || rows->rows > UINT32_MAX || count > UINT32_MAX) {
        snprintf(detail, CPN_TRAINER_DETAIL, "%" PRIu64 " rows; expected 1 to 4294967295", count);
        return CPN_EBADINPUT;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t row = cpni_rows_at(rows, i);
        if (row >= rows->rows) {
            snprintf(detail, CPN_TRAINER_DETAIL, "index names row %" PRIu64 " of %" PRIu64, row, rows->rows);
            return CPN_EBADINPUT;
        }
        if (rows->labels[row] < 0 || (uint32_t)rows->labels[row] >= classes) {
            snprintf(detail, CPN_TRAINER_DETAIL, "row %" PRIu64 " has label %" PRId32 "; expected 0 to %" PRIu32, row,
                rows->labels[row], classes - 1);
            return CPN_EBADINPUT;
        }
    }
    return 0;
}

void cpni_order_init(struct cpni_order *order, uint64_t seed, uint32_t batch)
{
    *order = (struct cpni_order){ .seed = seed, .batch = batch };
}

void cpni_order_free(struct cpni_order *order)
{
    cpni_free(order->order);
    order->order = NULL;
}

static int mismatch(uint64_t have, uint64_t expected, char *detail)
{
    snprintf(detail, CPN_TRAINER_DETAIL, "%" PRIu64 " rows; the state was taken with %" PRIu64, have, expected);
    return CPN_EBADINPUT;
}

int cpni_order_bind(struct cpni_order *order, const struct cpn_trainer_rows *rows, char *detail)
{
    uint64_t count = cpni_rows_count(rows);
    if (order->expected_count != 0 && order->expected_count != count) {
        return mismatch(count, order->expected_count, detail);
    }
    uint32_t *places = cpni_malloc(count * sizeof *places);
    if (places == NULL) {
        snprintf(detail, CPN_TRAINER_DETAIL, "out of memory for the order of %" PRIu64 " rows", count);
        return CPN_ENOMEM;
    }
    if (order->expected_count == 0) {
        order->epoch = 0;
        order->next = 0;
    }
    cpni_free(order->order);
    order->order = places;
    order->rows = *rows;
    order->count = (uint32_t)count;
    order->shuffled = false;
    order->expected_count = 0;
    return 0;
}

int cpni_order_seek(struct cpni_order *order, uint64_t epoch, uint64_t next, uint64_t count, char *detail)
{
    if (order->order != NULL && count != order->count) {
        return mismatch(order->count, count, detail);
    }
    if (next > count || next % order->batch != 0 || (count != 0 && next == count)) {
        snprintf(detail, CPN_TRAINER_DETAIL, "the state's place is row %" PRIu64 " of %" PRIu64 " rows", next, count);
        return CPN_EBADINPUT;
    }
    order->epoch = epoch;
    order->next = (uint32_t)next;
    order->shuffled = false;
    order->expected_count = order->order == NULL ? count : 0;
    return 0;
}

static void shuffle(struct cpni_order *order)
{
    struct cpni_random random;
    cpni_random_seed(&random, order->seed, STREAM_ROWS + order->epoch);
    for (uint32_t i = 0; i < order->count; i++) {
        order->order[i] = i;
    }
    cpni_random_shuffle(&random, order->order, order->count);
    order->shuffled = true;
}

uint32_t cpni_order_batch(struct cpni_order *order, uint32_t *rows)
{
    if (!order->shuffled) {
        shuffle(order);
    }
    uint32_t left = order->count - order->next, size = left < order->batch ? left : order->batch;
    for (uint32_t i = 0; i < size; i++) {
        rows[i] = (uint32_t)cpni_rows_at(&order->rows, order->order[order->next + i]);
    }
    return size;
}

void cpni_order_advance(struct cpni_order *order)
{
    uint32_t left = order->count - order->next;
    if (left > order->batch) {
        order->next += order->batch;
        return;
    }
    order->next = 0;
    order->epoch++;
    order->shuffled = false;
}
