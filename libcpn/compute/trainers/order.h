/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Which rows make the next batch. Epoch e's order is a function of (seed, e, number of rows), so a place in training is
 * two numbers, and any node that holds the rows can go on from there (DESIGN 9: a round is a pure function). */
#ifndef CPNI_TRAINER_ORDER_H
#define CPNI_TRAINER_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include <cpn/trainer.h>

struct cpni_order {
    struct cpn_trainer_rows rows;
    uint32_t *order; /* places in rows.index, or rows, shuffled for the epoch */
    uint32_t count;
    uint32_t batch;
    uint64_t seed;
    uint64_t epoch;
    uint32_t next;           /* rows of the epoch already given out */
    bool shuffled;           /* `order` is that of `epoch` */
    uint64_t expected_count; /* of the state that was set before rows were bound; 0: none was */
};

/* CPN_EBADINPUT for rows that a model of `inputs` and `classes` cannot use (a sentence in `detail`). */
int cpni_rows_check(const struct cpn_trainer_rows *rows, uint32_t inputs, uint32_t classes, char *detail);
uint64_t cpni_rows_count(const struct cpn_trainer_rows *rows);
uint64_t cpni_rows_at(const struct cpn_trainer_rows *rows, uint64_t place); /* the row number at a place of the index */

void cpni_order_init(struct cpni_order *order, uint64_t seed, uint32_t batch);
void cpni_order_free(struct cpni_order *order);

/* Take (checked) rows. The place set before stays. CPN_EBADINPUT, CPN_ENOMEM; then nothing changed. */
int cpni_order_bind(struct cpni_order *order, const struct cpn_trainer_rows *rows, char *detail);

/* Go to a place: an epoch, rows given out of it, and the number of rows it was taken with (0: none were bound).
 * CPN_EBADINPUT when it does not fit the rows. */
int cpni_order_seek(struct cpni_order *order, uint64_t epoch, uint64_t next, uint64_t count, char *detail);

/* The row numbers of the next batch and how many (at least 1); rows must be bound. Stays there until advanced: a batch
 * that was not learned is given out again. */
uint32_t cpni_order_batch(struct cpni_order *order, uint32_t *rows);
void cpni_order_advance(struct cpni_order *order);

#endif
