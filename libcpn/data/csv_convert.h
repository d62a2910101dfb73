/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A CSV table into a dataset (dataset.h), streaming, with as many threads as wanted and always the same bytes. */
#ifndef CPNI_CSV_CONVERT_H
#define CPNI_CSV_CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/schema.h"

#define CPNI_CSV_ERRORS 5            /* the first few wrong places are told, the rest counted */
#define CPNI_CSV_ROW_MAX (64u << 20) /* bytes of a row: a longer one is an unclosed quote */
#define CPNI_CSV_BLOCK                                                                                                 \
    (1u << 18) /* bytes read and parsed at once, by one thread: with its numbers they fit its cache */
#define CPNI_CSV_LARGE (8u << 20) /* from this size on a second thread pays */
#define CPNI_CSV_THREADS_MAX 64

/* A column is meant by its name, or else by its number from 1; a range of columns by "first:last". */
struct cpni_csv_options {
    const char *name;  /* of the table, for messages: "digits.csv" */
    const char *label; /* the label's column; NULL: there is none, which only a table for prediction may lack */
    const char *const *features; /* names, numbers and ranges; feature_count 0: all columns but the label */
    size_t feature_count;
    const char *const *categorical; /* columns to be one-hot */
    size_t categorical_count;
    bool no_header;   /* the first row is data; columns are called by their numbers */
    bool impute;      /* replace missing values (mean, or most frequent category) rather than refuse them */
    bool standardise; /* numeric features to mean 0, deviation 1 */
    char delimiter;   /* 0: ',' */
    unsigned threads; /* 0: as many as there are processors, if the table is large */
    const struct cpni_schema *schema; /* treat the table as this one was: features, categorical, impute, standardise and
                                         no_header are taken from it. Its label's column may be absent. */
    /* Called with the bytes of the table read so far, by one thread at a time; not 0 gives up (CPN_ECANCELLED). */
    int (*progress)(void *arg, uint64_t bytes); /* NULL: nobody wants to know */
    void *progress_arg;
};

struct cpni_csv_report {
    uint64_t rows;
    uint32_t columns; /* features of a row */
    uint32_t classes;
    bool labelled;
    uint64_t bytes;  /* of the dataset */
    uint64_t errors; /* wrong places found; all of them if at most CPNI_CSV_ERRORS, else at least that many */
    char error[CPNI_CSV_ERRORS][CPNI_DATA_DETAIL]; /* "digits.csv: row 17, column 3 \"age\": ..."; row 1 is the first
                                                      of the file, header and empty rows count */
};

/* Read `in` (file or pipe) from where it stands to its end, write the dataset to `out` (a new, empty file, open for
 * both). On failure report->error[0] is the sentence (errors is then at least 1): CPN_EBADINPUT when the table is at
 * fault, CPN_EINVAL the options, CPN_ECANCELLED, CPN_EIO, CPN_ENOSPC, CPN_ENOMEM. Takes as long as it takes; no other thread may use
 * the descriptors. */
int cpni_csv_convert(const struct cpni_csv_options *options, int in, int out, struct cpni_csv_report *report);

#endif
