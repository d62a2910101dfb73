/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The rows of a table on their way: parts in the order of the table, of each the tasks it is made of now. Must not know where answers are
 * written, nor when the whole ends. */
#ifndef CPN_LABELLING_H
#define CPN_LABELLING_H

#include "labelled.h"
#include "predict.h"

#define PART_ROWS CPN_RESULT_LABELS /* what one task may answer */

/* Neighbours in the table. Its answers are written when it is the first one under way and all are there. */
struct part {
    struct row rows[PART_ROWS];
    struct labelled_answer answers[PART_ROWS];
    size_t count, left;
};

/* Rows of a part that make a task. */
struct span {
    struct labelling *table;
    struct part *part;
    size_t first, count;
    struct cpn_task *task;
    struct span *next; /* to do, or under way */
};

struct labelling {
    const struct predict_options *options;
    const char *path;
    struct rows rows;
    struct row header; /* text NULL: none */
    struct row ahead;  /* read, but did not fit the part before */
    struct labelled labelled;
    struct part *parts[PREDICT_JOBS_MAX]; /* a ring */
    size_t head, count;
    struct span *todo, *under_way;
    size_t tasks;
    uint64_t done, failed;
    int fatal;
    char fatal_detail[CPN_DETAIL];
};

/* End the whole; the first reason counts. */
void labelling_give_up(struct labelling *table, int code, const char *detail);

/* Read and submit until the window is full. */
void labelling_fill_window(struct labelling *table);

/* The oldest part, when each of its rows has an answer; NULL: not yet, or none is left. Then it is no longer the table's. */
struct part *labelling_take_part(struct labelling *table);
void labelling_free_part(struct part *part);
bool labelling_ended(const struct labelling *table); /* every row was in a part that was taken */

/* Cancel what is under way, and wait a little until that is known. */
void labelling_cancel(struct labelling *table);
void labelling_free(struct labelling *table);

#endif
