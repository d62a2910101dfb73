/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a dataset's columns are and what was done to them: all that is needed to treat another table, or one row, alike.
 * It lies in the dataset's file and travels with the model. Must not know files or threads. */
#ifndef CPNI_SCHEMA_H
#define CPNI_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define CPNI_DATA_COLUMNS_MAX                                                                                          \
    65536 /* of a table, and of features after one-hot: <cpn/trainer.h> takes no more inputs */
#define CPNI_DATA_CLASSES_MAX 10000   /* more distinct labels mean that the label is a quantity, not a class */
#define CPNI_DATA_CATEGORIES_MAX 1000 /* likewise, of one categorical column */
#define CPNI_DATA_NAME_MAX 4096       /* bytes of a column's or a class's name */
#define CPNI_DATA_SCHEMA_MAX (64u << 20)
#define CPNI_DATA_DETAIL 512 /* bytes of a sentence about what is wrong */

struct cpni_feature {
    char *name;
    uint32_t first; /* its place in a row of the dataset */
    uint32_t width; /* 1, or the number of categories */
    bool categorical;
    char **categories;      /* one-hot: category i sets place first + i to 1, the others are 0 */
    bool fills;             /* missing values were replaced, by: */
    double fill;            /* a number, or the number of a category */
    double mean, deviation; /* numeric: stored = (value - mean) / deviation; 0 and 1 when not standardised */
};

struct cpni_schema {
    bool header; /* the columns had names, else they are called "1", "2", ... */
    char *label; /* name of the label's column; "" when there was none */
    struct cpni_feature *features;
    uint32_t feature_count;
    uint32_t columns; /* floats of a row */
    char **classes;   /* class i was written so in the table */
    uint32_t class_count;
};

/* Append the schema's bytes (layout in schema.c). CPN_ENOMEM. */
int cpni_schema_write(const struct cpni_schema *schema, struct cpni_buf *out);

/* Read untrusted bytes. CPN_ECORRUPT with a sentence (CPNI_DATA_DETAIL bytes), CPN_ENOMEM. */
int cpni_schema_read(const void *bytes, size_t size, struct cpni_schema *out, char *detail);

/* A row as it was parsed (a float a feature: the number, the number of a category, NaN for a missing value) as it lies
 * in the dataset: filled, standardised, one-hot, `columns` floats. */
void cpni_schema_widen(const struct cpni_schema *schema, const float *raw, float *to);

void cpni_schema_free(struct cpni_schema *schema);

#endif
