/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Some whole rows of a table, parsed: what one thread works on. Must not know other blocks: row numbers, labels and
 * categories count from 0 in each, and who joins the blocks renumbers them. */
#ifndef CPNI_CSV_BLOCK_H
#define CPNI_CSV_BLOCK_H

#include "data/csv_plan.h"
#include "data/words.h"

struct cpni_csv_wrong {
    uint64_t record;                   /* of the block */
    char what[CPNI_DATA_DETAIL - 128]; /* "column 3 \"age\": ..." */
};

struct cpni_csv_block {
    char *bytes;
    size_t size; /* whole rows */
    size_t capacity;
    bool unclosed; /* after these rows a quote opens that never closes */

    float *raw; /* [rows][plan->raw_count] */
    uint32_t *labels;
    uint32_t rows, row_capacity;
    uint64_t records; /* rows, and those that are empty or wrong */
    struct cpni_words label_words;
    struct cpni_words *category_words; /* by raw place */
    struct cpni_csv_wrong wrong[CPNI_CSV_ERRORS];
    uint64_t wrong_count;
};

int cpni_csv_block_init(struct cpni_csv_block *block, const struct cpni_csv_plan *plan); /* CPN_ENOMEM */
void cpni_csv_block_free(struct cpni_csv_block *block, const struct cpni_csv_plan *plan);

/* Room for `capacity` bytes and the newline that may have to follow them. CPN_ENOMEM. */
int cpni_csv_block_reserve(struct cpni_csv_block *block, size_t capacity);

/* Parse the bytes anew. CPN_ENOMEM; wrong rows are no failure, they are counted in the block. */
int cpni_csv_block_parse(struct cpni_csv_block *block, const struct cpni_csv_plan *plan);

#endif
