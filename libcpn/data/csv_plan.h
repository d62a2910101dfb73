/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Which column of a table is what: options (or a schema) and a header make a plan. Must not know rows.
 *
 * A row is parsed into `raw` floats, one a feature: the number, NaN for a missing value, or the number of a category.
 */
#ifndef CPNI_CSV_PLAN_H
#define CPNI_CSV_PLAN_H

#include "data/csv_convert.h"
#include "data/words.h"

enum cpni_csv_role { CPNI_CSV_SKIP, CPNI_CSV_NUMBER, CPNI_CSV_CATEGORY, CPNI_CSV_LABEL };

/* The column that has a name. */
struct cpni_csv_named {
    uint32_t column;
    bool twice; /* another one has it, too */
};

struct cpni_csv_plan {
    const struct cpni_csv_options *options;
    char delimiter;
    bool impute;
    bool header;
    char **columns; /* name by column */
    struct cpni_words names;
    struct cpni_csv_named *named; /* by number of the name */
    uint32_t column_count;
    uint8_t *roles;    /* enum cpni_csv_role by column */
    uint32_t *places;  /* raw place by column */
    uint32_t *sources; /* column by raw place */
    uint32_t *runs; /* by column: so many numbers follow each other here, in raw places, too; not the row's last cell */
    uint32_t raw_count;
    int64_t label; /* column, -1: none */
    bool fixed;    /* labels and categories are those of a schema: no new ones */
    struct cpni_words fixed_labels;
    struct cpni_words *fixed_categories; /* by raw place */
};

/* `row` is the table's first row: names, or data. CPN_EINVAL, CPN_EBADINPUT with a sentence in `detail`, CPN_ENOMEM. */
int cpni_csv_plan_init(
    struct cpni_csv_plan *plan, const struct cpni_csv_options *options, const char *row, const char *end, char *detail);
void cpni_csv_plan_free(struct cpni_csv_plan *plan);

/* "column 3 \"age\"", for messages. */
void cpni_csv_plan_name(const struct cpni_csv_plan *plan, uint32_t column, char *text, size_t room);

#endif
