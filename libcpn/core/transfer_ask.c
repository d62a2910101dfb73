/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The requests of one blob: which chunks are asked for, never more than the window, and until when an answer is expected. Must not know
 * what becomes of the answers. */
#include "core/transfer_priv.h"

void cpni_ask_expect(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob)
{
    bool asks = blob->state == CPNI_FETCH_LEAVES;
    for (uint32_t i = 0; i < CPNI_TRANSFER_WINDOW && blob->state == CPNI_FETCH_CHUNKS; i++) {
        asks = asks || blob->places[i].state == CPNI_PLACE_ASKED;
    }
    cpni_heap_move(&transfer->stalls, &blob->stall, asks ? transfer->now.mono_us + (int64_t)CPNI_TRANSFER_STALL_MS * 1000 : INT64_MAX);
}

void cpni_ask_want(struct cpni_transfer_fetching *blob, bool leaves, uint32_t first, uint32_t count, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_WANT };
    msg.want.root = blob->root;
    msg.want.leaves = leaves;
    msg.want.first = first;
    msg.want.count = count;
    msg.want.size = blob->size;
    cpni_actions_send(actions, blob->source->link.conn, blob->source->link.link, &msg);
}

void cpni_ask_leaves(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions)
{
    blob->state = CPNI_FETCH_LEAVES;
    cpni_ask_want(blob, true, 0, 0, actions);
    cpni_ask_expect(transfer, blob);
}

struct cpni_place *cpni_ask_place(struct cpni_transfer_fetching *blob, uint32_t index)
{
    for (uint32_t i = 0; i < CPNI_TRANSFER_WINDOW; i++) {
        if (blob->places[i].state != CPNI_PLACE_FREE && blob->places[i].index == index) {
            return &blob->places[i];
        }
    }
    return NULL;
}

static bool next_missing(struct cpni_transfer_fetching *blob, uint32_t *index)
{
    while (blob->cursor < blob->chunks && (cpni_fetching_has(blob, blob->cursor) || cpni_ask_place(blob, blob->cursor) != NULL)) {
        blob->cursor++;
    }
    *index = blob->cursor;
    return blob->cursor < blob->chunks;
}

/* Fill the window; neighbours share a request. */
void cpni_ask_chunks(struct cpni_transfer *transfer, struct cpni_transfer_fetching *blob, struct cpni_actions *actions)
{
    uint32_t first = 0, count = 0, index;
    for (uint32_t i = 0; i < CPNI_TRANSFER_WINDOW; i++) {
        struct cpni_place *place = &blob->places[i];
        if (place->state != CPNI_PLACE_FREE || !next_missing(blob, &index)) {
            continue;
        }
        *place = (struct cpni_place){ .state = CPNI_PLACE_ASKED, .index = index };
        if (count != 0 && index != first + count) {
            cpni_ask_want(blob, false, first, count, actions);
            count = 0;
        }
        first = count == 0 ? index : first;
        count++;
    }
    if (count != 0) {
        cpni_ask_want(blob, false, first, count, actions);
    }
    cpni_ask_expect(transfer, blob);
}

void cpni_ask_nothing(struct cpni_transfer_fetching *blob)
{
    for (uint32_t i = 0; i < CPNI_TRANSFER_WINDOW; i++) {
        if (blob->places[i].state == CPNI_PLACE_ASKED) {
            blob->places[i].state = CPNI_PLACE_FREE;
        }
    }
    blob->cursor = 0;
}
