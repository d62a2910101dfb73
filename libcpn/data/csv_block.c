/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See csv_block.h. */
#include "data/csv_block.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "data/csv.h"
#include "data/csv_run.h"
#include "data/number.h"

#define READ_AHEAD 8 /* bytes after the last newline that the number parser may look at */

int cpni_csv_block_init(struct cpni_csv_block *block, const struct cpni_csv_plan *plan)
{
    *block = (struct cpni_csv_block){ 0 };
    block->category_words = cpni_calloc(plan->raw_count, sizeof *block->category_words);
    return block->category_words != NULL ? 0 : CPN_ENOMEM;
}

static void forget_words(struct cpni_csv_block *block, const struct cpni_csv_plan *plan)
{
    cpni_words_free(&block->label_words);
    for (uint32_t i = 0; block->category_words != NULL && i < plan->raw_count; i++) {
        cpni_words_free(&block->category_words[i]);
    }
}

void cpni_csv_block_free(struct cpni_csv_block *block, const struct cpni_csv_plan *plan)
{
    forget_words(block, plan);
    cpni_free(block->category_words);
    cpni_free(block->bytes);
    cpni_free(block->raw);
    cpni_free(block->labels);
    *block = (struct cpni_csv_block){ 0 };
}

int cpni_csv_block_reserve(struct cpni_csv_block *block, size_t capacity)
{
    if (capacity <= block->capacity) {
        return 0;
    }
    char *bytes = cpni_realloc(block->bytes, capacity + 1 + READ_AHEAD);
    if (bytes == NULL) {
        return CPN_ENOMEM;
    }
    block->bytes = bytes;
    block->capacity = capacity;
    return 0;
}

static int reserve_rows(struct cpni_csv_block *block, const struct cpni_csv_plan *plan)
{
    if (block->rows < block->row_capacity) {
        return 0;
    }
    uint32_t capacity = block->row_capacity == 0 ? 256 : block->row_capacity * 2;
    float *raw = cpni_realloc(block->raw, (size_t)capacity * plan->raw_count * sizeof *raw);
    if (raw == NULL) {
        return CPN_ENOMEM;
    }
    block->raw = raw;
    uint32_t *labels = cpni_realloc(block->labels, capacity * sizeof *labels);
    if (labels == NULL) {
        return CPN_ENOMEM;
    }
    block->labels = labels;
    block->row_capacity = capacity;
    return 0;
}

static void wrong(struct cpni_csv_block *block, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void wrong(struct cpni_csv_block *block, const char *format, ...)
{
    if (block->wrong_count++ >= CPNI_CSV_ERRORS) {
        return;
    }
    struct cpni_csv_wrong *entry = &block->wrong[block->wrong_count - 1];
    entry->record = block->records;
    va_list list;
    va_start(list, format);
    vsnprintf(entry->what, sizeof entry->what, format, list);
    va_end(list);
}

/* A cell as one looks at it: up to 40 bytes of printable text. */
static const char *shown(const char *text, size_t size, char to[48])
{
    size_t used = 0;
    for (size_t i = 0; i < size && used < 40; i++) {
        to[used++] = (unsigned char)text[i] < ' ' || text[i] == 127 ? ' ' : text[i];
    }
    memcpy(to + used, size > 40 ? "..." : "", size > 40 ? 4 : 1);
    return to;
}

static bool is_missing(const char *text, size_t size)
{
    static const char *const words[] = { "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i]) == size && memcmp(words[i], text, size) == 0) {
            return true;
        }
    }
    return size == 0;
}

/* The cell without blanks around it and with doubled quotes made one, in place. */
static void trim(struct cpni_csv_cell *cell)
{
    if (cell->escaped) {
        char *text = (char *)(uintptr_t)cell->text; /* the block's own bytes, which nobody reads again */
        cell->size = cpni_csv_unquote(cell, text);
        cell->escaped = false;
    }
    while (cell->size > 0 && (cell->text[0] == ' ' || cell->text[0] == '\t')) {
        cell->text++;
        cell->size--;
    }
    while (cell->size > 0 && (cell->text[cell->size - 1] == ' ' || cell->text[cell->size - 1] == '\t')) {
        cell->size--;
    }
}

static bool may_be_missing(const struct cpni_csv_plan *plan, uint32_t column)
{
    const struct cpni_schema *schema = plan->options->schema;
    return schema != NULL ? schema->features[plan->places[column]].fills : plan->impute;
}

static int missing(
    struct cpni_csv_block *block, const struct cpni_csv_plan *plan, uint32_t column, const char *expected, float *to)
{
    if (may_be_missing(plan, column)) {
        *to = NAN;
        return 0;
    }
    char name[96];
    cpni_csv_plan_name(plan, column, name, sizeof name);
    wrong(block, "%s: the value is missing; expected %s (missing values can be imputed on request)", name, expected);
    return CPN_EBADINPUT;
}

static int take_number(struct cpni_csv_block *block, const struct cpni_csv_plan *plan, uint32_t column,
    struct cpni_csv_cell *cell, float *to)
{
    trim(cell);
    enum cpni_number is = cpni_number_parse(cell->text, cell->size, to);
    if (is == CPNI_NUMBER_OK) {
        return 0;
    }
    if (is == CPNI_NUMBER_NOT_ONE && is_missing(cell->text, cell->size)) {
        return missing(block, plan, column, "a number", to);
    }
    char name[96], text[48];
    cpni_csv_plan_name(plan, column, name, sizeof name);
    if (is == CPNI_NUMBER_TOO_LARGE) {
        wrong(block, "%s: \"%s\" is too large; expected a number within +-3.4e38", name,
            shown(cell->text, cell->size, text));
    } else {
        wrong(block, "%s: \"%s\" is not a number (a column of words must be left out or declared categorical)", name,
            shown(cell->text, cell->size, text));
    }
    return CPN_EBADINPUT;
}

/* "007" and "+7" are the class 7. */
static void plain_integer(struct cpni_csv_cell *cell)
{
    size_t sign = cell->size > 0 && cell->text[0] == '+';
    size_t digits = strspn(cell->text + sign, "0123456789");
    if (sign + digits < cell->size || digits == 0) {
        return;
    }
    cell->text += sign;
    cell->size -= sign;
    while (cell->size > 1 && cell->text[0] == '0') {
        cell->text++;
        cell->size--;
    }
}

/* The number of a word: among those of the schema, or a new one of this block. */
static int take_word(struct cpni_csv_block *block, const struct cpni_csv_plan *plan, uint32_t column,
    const struct cpni_csv_cell *cell, uint32_t *number)
{
    bool label = plan->roles[column] == CPNI_CSV_LABEL;
    uint32_t place = plan->places[column], max = label ? CPNI_DATA_CLASSES_MAX : CPNI_DATA_CATEGORIES_MAX;
    char name[96], text[48];
    int rc = CPN_ETOOBIG;
    if (plan->fixed) {
        rc = cpni_words_find(
            label ? &plan->fixed_labels : &plan->fixed_categories[place], cell->text, cell->size, number);
    } else if (cell->size <= CPNI_DATA_NAME_MAX && memchr(cell->text, '\0', cell->size) == NULL) {
        struct cpni_words *words = label ? &block->label_words : &block->category_words[place];
        rc = cpni_words_add(words, cell->text, cell->size, max, number);
    }
    if (rc == 0 || rc == CPN_ENOMEM) {
        return rc;
    }
    cpni_csv_plan_name(plan, column, name, sizeof name);
    shown(cell->text, cell->size, text);
    if (plan->fixed) {
        wrong(block, "%s: the model knows no \"%s\"", name, text);
    } else {
        wrong(block,
            "%s: \"%s\" is one value too many, or too long; expected at most %" PRIu32 " different ones (is it a "
            "quantity?)",
            name, text, max);
    }
    return CPN_EBADINPUT;
}

static int take_category(struct cpni_csv_block *block, const struct cpni_csv_plan *plan, uint32_t column,
    struct cpni_csv_cell *cell, float *to)
{
    trim(cell);
    if (is_missing(cell->text, cell->size)) {
        return missing(block, plan, column, "a category", to);
    }
    uint32_t number;
    int rc = take_word(block, plan, column, cell, &number);
    if (rc == 0) {
        *to = (float)number;
    }
    return rc;
}

static int take_label(struct cpni_csv_block *block, const struct cpni_csv_plan *plan, uint32_t column,
    struct cpni_csv_cell *cell, uint32_t *to)
{
    trim(cell);
    if (is_missing(cell->text, cell->size)) {
        char name[96];
        cpni_csv_plan_name(plan, column, name, sizeof name);
        wrong(block, "%s: the label is missing; expected a class (an integer or a word)", name);
        return CPN_EBADINPUT;
    }
    plain_integer(cell);
    return take_word(block, plan, column, cell, to);
}

static int take_cell(
    struct cpni_csv_block *block, const struct cpni_csv_plan *plan, uint32_t column, struct cpni_csv_cell *cell)
{
    if (cell->bad) {
        char name[96];
        cpni_csv_plan_name(plan, column, name, sizeof name);
        wrong(
            block, "%s: text follows the closing quote; expected a delimiter (quotes inside a cell are doubled)", name);
        return CPN_EBADINPUT;
    }
    float *to = block->raw + (size_t)block->rows * plan->raw_count + plan->places[column];
    switch ((enum cpni_csv_role)plan->roles[column]) {
    case CPNI_CSV_NUMBER:
        return take_number(block, plan, column, cell, to);
    case CPNI_CSV_CATEGORY:
        return take_category(block, plan, column, cell, to);
    case CPNI_CSV_LABEL:
        return take_label(block, plan, column, cell, &block->labels[block->rows]);
    case CPNI_CSV_SKIP:
        break;
    }
    return 0;
}

/* The plain numbers from `column` on, which are nearly all cells of nearly all tables: as far as they go, straight from
 * the bytes. Returns where the first other cell starts; *column is its number. */
static const char *take_plain_numbers(
    float *row, const struct cpni_csv_plan *plan, const char *at, const char *floor, const char *end, uint32_t *column)
{
    uint32_t run = plan->runs[*column];
    if (run == 0) {
        return at;
    }
    float *to = row + plan->places[*column];
    uint32_t taken = 0;
    at = cpni_csv_take_run(at, floor, end, plan->delimiter, to, run, &taken);
    *column += taken;
    return at;
}

static const char *skip_row(const char *at, const char *end, char delimiter, uint32_t *cells)
{
    struct cpni_csv_cell cell = { .last = false };
    while (!cell.last) {
        at = cpni_csv_cell(at, end, delimiter, &cell);
        ++*cells;
    }
    return at;
}

static const char *parse_row(
    struct cpni_csv_block *block, const struct cpni_csv_plan *plan, const char *at, const char *end, int *rc)
{
    uint32_t count = plan->column_count;
    float *row = block->raw + (size_t)block->rows * plan->raw_count;
    for (uint32_t column = 0;; column++) {
        at = take_plain_numbers(row, plan, at, block->bytes, end, &column);
        struct cpni_csv_cell cell;
        const char *next = cpni_csv_cell(at, end, plan->delimiter, &cell);
        if (cell.last != (column + 1 == count)) {
            uint32_t cells = column + 1;
            next = cell.last ? next : skip_row(next, end, plan->delimiter, &cells);
            wrong(block, "%" PRIu32 " cells; expected %" PRIu32 ", as in row 1", cells, count);
            *rc = CPN_EBADINPUT;
            return next;
        }
        int took = take_cell(block, plan, column, &cell);
        *rc = took < 0 ? took : *rc; /* and on to the next cell: whoever mends the table wants to know all of them */
        if (cell.last || took == CPN_ENOMEM) {
            return next;
        }
        at = next;
    }
}

static bool is_empty(const char *at)
{
    return at[0] == '\n' || (at[0] == '\r' && at[1] == '\n');
}

int cpni_csv_block_parse(struct cpni_csv_block *block, const struct cpni_csv_plan *plan)
{
    const char *at = block->bytes, *end = block->bytes + block->size;
    memset(block->bytes + block->size, 0, READ_AHEAD);
    forget_words(block, plan);
    block->rows = 0;
    block->records = 0;
    block->wrong_count = 0;
    while (at < end) {
        if (is_empty(at)) {
            at = (const char *)memchr(at, '\n', 2) + 1;
            block->records++;
            continue;
        }
        int rc = reserve_rows(block, plan);
        if (rc == 0) {
            at = parse_row(block, plan, at, end, &rc);
        }
        if (rc < 0 && rc != CPN_EBADINPUT) {
            return rc;
        }
        block->rows += rc == 0;
        block->records++;
    }
    if (block->unclosed) {
        wrong(block, "a quote opens and never closes");
    }
    return 0;
}
