/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See csv_join.h. */
#include "data/csv_join.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "data/dataset.h"

int cpni_csv_fail(struct cpni_csv_report *report, int rc, const char *what)
{
    snprintf(report->error[0], sizeof report->error[0], "%s", what);
    report->errors = 1;
    return rc;
}

int cpni_csv_fail_errno(struct cpni_csv_report *report, const char *what)
{
    int error = errno;
    snprintf(report->error[0], sizeof report->error[0], "%s: %s", what, strerror(error));
    report->errors = 1;
    return error == ENOSPC || error == EDQUOT ? CPN_ENOSPC : CPN_EIO;
}

int cpni_csv_write(struct cpni_csv_report *report, int fd, const void *data, size_t size, uint64_t at)
{
    const char *from = data;
    while (size > 0) {
        ssize_t written = pwrite(fd, from, size, (off_t)at);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return cpni_csv_fail_errno(report, "cannot write the dataset");
        }
        from += written;
        at += (uint64_t)written;
        size -= (size_t)written;
    }
    return 0;
}

int cpni_csv_join_init(
    struct cpni_csv_join *join, const struct cpni_csv_plan *plan, int out, struct cpni_csv_report *report)
{
    *join = (struct cpni_csv_join){ .plan = plan, .report = report, .out = out };
    join->category_words = cpni_calloc(plan->raw_count, sizeof *join->category_words);
    return join->category_words != NULL ? 0
                                        : cpni_csv_fail(report, CPN_ENOMEM, "out of memory for the table's columns");
}

void cpni_csv_join_free(struct cpni_csv_join *join)
{
    cpni_words_free(&join->label_words);
    for (uint32_t i = 0; join->category_words != NULL && i < join->plan->raw_count; i++) {
        cpni_words_free(&join->category_words[i]);
    }
    cpni_free(join->category_words);
    cpni_free(join->labels);
}

static void report_wrong(struct cpni_csv_join *join, const struct cpni_csv_block *block)
{
    struct cpni_csv_report *report = join->report;
    const char *name = join->plan->options->name;
    for (uint64_t i = 0; i < block->wrong_count; i++) {
        if (report->errors < CPNI_CSV_ERRORS && i < CPNI_CSV_ERRORS) {
            snprintf(report->error[report->errors], sizeof report->error[0], "%.100s: row %" PRIu64 ", %s",
                name != NULL ? name : "table", join->records + block->wrong[i].record + 1, block->wrong[i].what);
        }
        report->errors++;
    }
}

static int reserve_labels(struct cpni_csv_join *join, uint64_t rows)
{
    if (rows <= join->label_capacity) {
        return 0;
    }
    uint64_t capacity = rows * 2 < 65536 ? 65536 : rows * 2;
    int32_t *labels = cpni_realloc(join->labels, capacity * sizeof *labels);
    if (labels == NULL) {
        return cpni_csv_fail(join->report, CPN_ENOMEM, "out of memory for the labels");
    }
    join->labels = labels;
    join->label_capacity = capacity;
    return 0;
}

/* What a block's numbers of words are in the whole table; NULL when none or too many. */
static uint32_t *renumber(struct cpni_csv_join *join, struct cpni_words *all, const struct cpni_words *words,
    uint32_t max, uint32_t column, int *rc)
{
    uint32_t *numbers = cpni_malloc((words->count + (size_t)1) * sizeof *numbers);
    *rc = numbers != NULL ? 0 : CPN_ENOMEM;
    for (uint32_t i = 0; i < words->count && *rc == 0; i++) {
        *rc = cpni_words_add(all, cpni_words_text(words, i), cpni_words_size(words, i), max, &numbers[i]);
    }
    if (*rc == CPN_ETOOBIG) {
        char name[96], what[CPNI_DATA_DETAIL];
        cpni_csv_plan_name(join->plan, column, name, sizeof name);
        snprintf(what, sizeof what, "%.100s: %s has more than %" PRIu32 " different values; is it a quantity?",
            join->plan->options->name != NULL ? join->plan->options->name : "table", name, max);
        *rc = cpni_csv_fail(join->report, CPN_EBADINPUT, what);
    } else if (*rc < 0) {
        *rc = cpni_csv_fail(join->report, CPN_ENOMEM, "out of memory for labels and categories");
    }
    if (*rc < 0) {
        cpni_free(numbers);
        return NULL;
    }
    return numbers;
}

static int join_labels(struct cpni_csv_join *join, const struct cpni_csv_block *block)
{
    const struct cpni_csv_plan *plan = join->plan;
    int rc = reserve_labels(join, join->rows + block->rows);
    if (rc < 0) {
        return rc;
    }
    int32_t *to = join->labels + join->rows;
    if (plan->label < 0 || plan->fixed) {
        for (uint32_t r = 0; r < block->rows; r++) {
            to[r] = plan->label < 0 ? -1 : (int32_t)block->labels[r];
        }
        return 0;
    }
    uint32_t *numbers
        = renumber(join, &join->label_words, &block->label_words, CPNI_DATA_CLASSES_MAX, (uint32_t)plan->label, &rc);
    for (uint32_t r = 0; numbers != NULL && r < block->rows; r++) {
        to[r] = (int32_t)numbers[block->labels[r]];
    }
    cpni_free(numbers);
    return rc;
}

static int join_categories(struct cpni_csv_join *join, struct cpni_csv_block *block)
{
    const struct cpni_csv_plan *plan = join->plan;
    int rc = 0;
    for (uint32_t place = 0; place < plan->raw_count && rc == 0 && !plan->fixed; place++) {
        uint32_t column = plan->sources[place];
        if (plan->roles[column] != CPNI_CSV_CATEGORY) {
            continue;
        }
        uint32_t *numbers = renumber(
            join, &join->category_words[place], &block->category_words[place], CPNI_DATA_CATEGORIES_MAX, column, &rc);
        for (uint32_t r = 0; numbers != NULL && r < block->rows; r++) {
            float *value = block->raw + (size_t)r * plan->raw_count + place;
            *value = isnan(*value) ? *value : (float)numbers[(uint32_t)*value];
        }
        cpni_free(numbers);
    }
    return rc;
}

int cpni_csv_join_block(struct cpni_csv_join *join, struct cpni_csv_block *block, uint64_t *at)
{
    report_wrong(join, block);
    *at = CPNI_DATASET_FEATURES_AT + join->rows * join->plan->raw_count * sizeof(float);
    if (join->report->errors > 0) { /* rows no longer matter, only what else is wrong */
        block->rows = 0;
    }
    if (join->rows + block->rows > CPNI_DATASET_ROWS_MAX) {
        return cpni_csv_fail(join->report, CPN_EBADINPUT, "the table has more than 2147483647 rows");
    }
    int rc = join_labels(join, block);
    rc = rc == 0 ? join_categories(join, block) : rc;
    join->rows += block->rows;
    join->records += block->records;
    return rc;
}

int cpni_csv_join_store(const struct cpni_csv_join *join, const struct cpni_csv_block *block, uint64_t at)
{
    size_t size = (size_t)block->rows * join->plan->raw_count * sizeof(float);
    return cpni_csv_write(join->report, join->out, block->raw, size, at);
}
