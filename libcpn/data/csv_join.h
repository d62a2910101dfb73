/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Parsed blocks, in the order of the table, become one raw dataset: the file's rows as the blocks have them, labels and
 * categories renumbered. Then, with all rows known, the raw rows are made what was asked for. Must not know threads. */
#ifndef CPNI_CSV_JOIN_H
#define CPNI_CSV_JOIN_H

#include "data/csv_block.h"

struct cpni_csv_join {
    const struct cpni_csv_plan *plan;
    struct cpni_csv_report *report;
    int out;
    uint64_t rows;
    uint64_t records; /* of the table so far, for messages */
    struct cpni_words label_words;
    struct cpni_words *category_words; /* by raw place */
    int32_t *labels;
    uint64_t label_capacity;
};

int cpni_csv_join_init(
    struct cpni_csv_join *join, const struct cpni_csv_plan *plan, int out, struct cpni_csv_report *report);
void cpni_csv_join_free(struct cpni_csv_join *join);

/* Take the next block: renumber it in place, and say where its raw rows belong. Afterwards cpni_csv_join_store() writes
 * them, which any thread may do. Wrong rows are added to the report. CPN_ENOMEM, CPN_ETOOBIG; report->error[0] then
 * says why. */
int cpni_csv_join_block(struct cpni_csv_join *join, struct cpni_csv_block *block, uint64_t *at);
int cpni_csv_join_store(const struct cpni_csv_join *join, const struct cpni_csv_block *block, uint64_t at);

/* All blocks are stored: impute, standardise, one-hot, labels, schema, header. */
int cpni_csv_finish(struct cpni_csv_join *join);

/* Make `rc` with errno, or a sentence, the report's only error. Returns rc. */
int cpni_csv_fail(struct cpni_csv_report *report, int rc, const char *what);
int cpni_csv_fail_errno(struct cpni_csv_report *report, const char *what); /* CPN_ENOSPC, CPN_EIO */

int cpni_csv_write(struct cpni_csv_report *report, int fd, const void *data, size_t size, uint64_t at);

#endif
