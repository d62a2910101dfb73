/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See csv_rows.h. */
#include "data/csv_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "data/csv.h"
#include "data/csv_block.h"

static const char delimiters[] = { ',', ';', '\t' };

struct reading {
    const struct cpni_schema *schema;
    struct cpni_csv_options options;
    struct cpni_csv_plan plan;
    struct cpni_csv_block block;
    char *text; /* a copy: parsing changes it and looks a little behind its end */
    size_t size;
    uint32_t rows_max;
    char *detail;
};

static int refuse(const struct reading *r, int code, const char *what)
{
    snprintf(r->detail, CPNI_DATA_DETAIL, "%s", what);
    return code;
}

/* The first row makes the plan. A table whose columns no delimiter makes is told what a comma made of it. */
static int make_plan(struct reading *r)
{
    char other[CPNI_DATA_DETAIL];
    int rc = CPN_EINVAL;
    for (size_t i = 0; i < sizeof delimiters && rc < 0 && rc != CPN_ENOMEM; i++) {
        r->options.delimiter = delimiters[i];
        rc = cpni_csv_plan_init(&r->plan, &r->options, r->text, r->text + r->size, i == 0 ? r->detail : other);
    }
    return rc == CPN_EINVAL ? CPN_EBADINPUT : rc; /* the options are the model's: it is the table that lacks a column */
}

static int copy_text(struct reading *r, const char *text, size_t size)
{
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        size -= 3;
    }
    if (memchr(text, '\0', size) != NULL) {
        return refuse(r, CPN_EBADINPUT, "not a table: expected CSV in UTF-8, names in the first row");
    }
    if (size == 0 || text[0] == '\n' || (text[0] == '\r' && size > 1 && text[1] == '\n')) {
        return refuse(
            r, CPN_EBADINPUT, "the table is empty or starts with an empty row; expected names, then rows of data");
    }
    int rc = cpni_csv_block_reserve(&r->block, size + 1);
    if (rc < 0) {
        return refuse(r, rc, "out of memory for the rows of the table");
    }
    r->text = r->block.bytes;
    memcpy(r->text, text, size);
    if (text[size - 1] != '\n') {
        r->text[size++] = '\n';
    }
    r->size = size;
    return 0;
}

/* A quote that never closes swallows the rows after it. */
static void cut_unclosed(struct reading *r)
{
    size_t whole = cpni_csv_whole_rows(r->text, r->size, r->plan.delimiter);
    r->block.unclosed = whole < r->size;
    r->size = whole;
}

static int parse(struct reading *r)
{
    struct cpni_csv_block block;
    int rc = cpni_csv_block_init(&block, &r->plan);
    if (rc < 0) {
        return refuse(r, rc, "out of memory for the rows of the table");
    }
    block.bytes = r->block.bytes;
    block.capacity = r->block.capacity;
    r->block = block;
    cut_unclosed(r);
    const char *at = r->text, *end = r->text + r->size;
    struct cpni_csv_cell cell = { .last = !r->plan.header || r->size == 0 };
    while (!cell.last) {
        at = cpni_csv_cell(at, end, r->plan.delimiter, &cell);
    }
    r->block.size = (size_t)(end - at);
    memmove(r->block.bytes, at, r->block.size);
    rc = cpni_csv_block_parse(&r->block, &r->plan);
    return rc < 0 ? refuse(r, rc, "out of memory for the rows of the table") : 0;
}

static int check(const struct reading *r)
{
    const struct cpni_csv_block *block = &r->block;
    if (block->wrong_count > 0) {
        snprintf(r->detail, CPNI_DATA_DETAIL, "row %" PRIu64 ", %s", block->wrong[0].record + r->plan.header + 1,
            block->wrong[0].what);
        return CPN_EBADINPUT;
    }
    if (block->rows == 0) {
        return refuse(r, CPN_EBADINPUT, "the table has no rows of data");
    }
    if (block->rows > r->rows_max) {
        snprintf(r->detail, CPNI_DATA_DETAIL, "the table has %" PRIu32 " rows of data; one task takes at most %" PRIu32
                                              ": split it, each part with the first row",
            block->rows, r->rows_max);
        return CPN_EBADINPUT;
    }
    return 0;
}

static int widen(const struct reading *r, struct cpni_csv_rows *out)
{
    const struct cpni_csv_block *block = &r->block;
    size_t columns = r->schema->columns;
    float *features = cpni_calloc(block->rows, columns * sizeof *features);
    if (features == NULL) {
        return refuse(r, CPN_ENOMEM, "out of memory for the rows of the table");
    }
    for (uint32_t row = 0; row < block->rows; row++) {
        cpni_schema_widen(r->schema, block->raw + (size_t)row * r->plan.raw_count, features + row * columns);
    }
    *out = (struct cpni_csv_rows){ features, block->rows };
    return 0;
}

int cpni_csv_rows_read(const struct cpni_schema *schema, const void *text, size_t size, uint32_t rows_max,
    struct cpni_csv_rows *out, char *detail)
{
    struct reading r = { .schema = schema,
        .options = { .label = "", .schema = schema },
        .rows_max = rows_max,
        .detail = detail };
    int rc = copy_text(&r, text, size);
    rc = rc == 0 ? make_plan(&r) : rc;
    rc = rc == 0 ? parse(&r) : rc;
    rc = rc == 0 ? check(&r) : rc;
    rc = rc == 0 ? widen(&r, out) : rc;
    cpni_csv_block_free(&r.block, &r.plan);
    cpni_csv_plan_free(&r.plan);
    return rc;
}

void cpni_csv_rows_free(struct cpni_csv_rows *rows)
{
    cpni_free(rows->features);
    *rows = (struct cpni_csv_rows){ 0 };
}
