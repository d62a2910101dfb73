/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See csv_plan.h. */
#include "data/csv_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "data/csv.h"

static int out_of_memory(char *detail)
{
    snprintf(detail, CPNI_DATA_DETAIL, "out of memory for the table's columns");
    return CPN_ENOMEM;
}

static uint32_t count_cells(const char *row, const char *end, char delimiter)
{
    struct cpni_csv_cell cell = { .last = false };
    uint32_t count = 0;
    while (!cell.last && count <= CPNI_DATA_COLUMNS_MAX) {
        row = cpni_csv_cell(row, end, delimiter, &cell);
        count++;
    }
    return count;
}

static char *column_name(const struct cpni_csv_plan *plan, uint32_t column, const struct cpni_csv_cell *cell)
{
    if (!plan->header) {
        char number[16];
        snprintf(number, sizeof number, "%" PRIu32, column + 1);
        return cpni_strdup(number);
    }
    char *name = cpni_malloc(cell->size + 1);
    if (name != NULL) {
        size_t size = cpni_csv_unquote(cell, name);
        name[size] = '\0';
    }
    return name;
}

static int add_name(struct cpni_csv_plan *plan, uint32_t column)
{
    uint32_t number, known = plan->names.count;
    const char *name = plan->columns[column];
    int rc = cpni_words_add(&plan->names, name, strlen(name), CPNI_DATA_COLUMNS_MAX, &number);
    if (rc == 0 && number == known) {
        plan->named[number].column = column;
    } else if (rc == 0) {
        plan->named[number].twice = true;
    }
    return rc;
}

static int read_names(struct cpni_csv_plan *plan, const char *row, const char *end, char *detail)
{
    for (uint32_t i = 0; i < plan->column_count; i++) {
        struct cpni_csv_cell cell;
        row = cpni_csv_cell(row, end, plan->delimiter, &cell);
        if (plan->header
            && (cell.bad || cell.size > CPNI_DATA_NAME_MAX || memchr(cell.text, '\0', cell.size) != NULL)) {
            snprintf(detail, CPNI_DATA_DETAIL,
                "row 1: the name of column %" PRIu32 " is malformed; expected up to %d bytes "
                "of text, in quotes if need be (is the table CSV in UTF-8?)",
                i + 1, CPNI_DATA_NAME_MAX);
            return CPN_EBADINPUT;
        }
        plan->columns[i] = column_name(plan, i, &cell);
        if (plan->columns[i] == NULL || add_name(plan, i) < 0) {
            return out_of_memory(detail);
        }
    }
    return 0;
}

/* "...; the columns are a, b, c": what a person needs who mistyped a name. */
static int no_column(const struct cpni_csv_plan *plan, const char *what, const char *wanted, char *detail)
{
    int used = snprintf(detail, CPNI_DATA_DETAIL, "no column \"%.100s\" (%s); the columns are", wanted, what);
    for (uint32_t i = 0; i < plan->column_count && used < 300; i++) {
        used += snprintf(
            detail + used, CPNI_DATA_DETAIL - (size_t)used, "%s \"%.60s\"", i > 0 ? "," : "", plan->columns[i]);
    }
    if (plan->column_count == 1) {
        snprintf(detail + used, CPNI_DATA_DETAIL - (size_t)used, " (is the delimiter not '%c'?)", plan->delimiter);
    }
    return CPN_EINVAL;
}

/* A column by name, else by number. CPN_ENOTFOUND; CPN_EINVAL for a name that two columns have. */
static int find_column(const struct cpni_csv_plan *plan, const char *name, size_t size, uint32_t *column)
{
    uint32_t number;
    if (cpni_words_find(&plan->names, name, size, &number) == 0) {
        *column = plan->named[number].column;
        return plan->named[number].twice ? CPN_EINVAL : 0;
    }
    if (size > 0 && size < 7 && strspn(name, "0123456789") >= size) {
        unsigned long counted = strtoul(name, NULL, 10);
        if (counted >= 1 && counted <= plan->column_count) {
            *column = (uint32_t)counted - 1;
            return 0;
        }
    }
    return CPN_ENOTFOUND;
}

/* One column or a range. */
static int find_columns(
    const struct cpni_csv_plan *plan, const char *item, const char *what, uint32_t *first, uint32_t *last, char *detail)
{
    int rc = find_column(plan, item, strlen(item), first);
    *last = *first;
    const char *colon = rc == CPN_ENOTFOUND ? strchr(item, ':') : NULL;
    if (colon != NULL) {
        rc = find_column(plan, item, (size_t)(colon - item), first);
        rc = rc == 0 ? find_column(plan, colon + 1, strlen(colon + 1), last) : rc;
    }
    if (rc == CPN_EINVAL) {
        snprintf(detail, CPNI_DATA_DETAIL, "two columns have the name in \"%.100s\" (%s): use the number", item, what);
        return rc;
    }
    if (rc < 0) {
        return no_column(plan, what, item, detail);
    }
    if (*last < *first) {
        snprintf(detail, CPNI_DATA_DETAIL, "range \"%.100s\" (%s) ends before it starts", item, what);
        return CPN_EINVAL;
    }
    return 0;
}

static void add_feature(struct cpni_csv_plan *plan, uint32_t column, enum cpni_csv_role role)
{
    if (plan->roles[column] == CPNI_CSV_SKIP) {
        plan->roles[column] = (uint8_t)role;
        plan->places[column] = plan->raw_count;
        plan->sources[plan->raw_count++] = column;
    }
}

static int choose_label(struct cpni_csv_plan *plan, const char *label, bool optional, char *detail)
{
    uint32_t column;
    plan->label = -1;
    if (label == NULL || label[0] == '\0') {
        return 0;
    }
    int rc = find_column(plan, label, strlen(label), &column);
    if (rc == CPN_EINVAL) {
        snprintf(detail, CPNI_DATA_DETAIL, "two columns are called \"%.100s\" (label): use the number", label);
        return rc;
    }
    if (rc < 0) {
        return optional ? 0 : no_column(plan, "label", label, detail);
    }
    plan->label = column;
    plan->roles[column] = CPNI_CSV_LABEL;
    return 0;
}

static int choose_features(struct cpni_csv_plan *plan, char *detail)
{
    const struct cpni_csv_options *options = plan->options;
    uint32_t first, last;
    for (size_t i = 0; i < options->feature_count; i++) {
        int rc = find_columns(plan, options->features[i], "feature", &first, &last, detail);
        if (rc < 0) {
            return rc;
        }
        if (first == last && plan->roles[first] == CPNI_CSV_LABEL) {
            snprintf(
                detail, CPNI_DATA_DETAIL, "\"%.100s\" is the label; it cannot be a feature, too", options->features[i]);
            return CPN_EINVAL;
        }
        for (uint32_t column = first; column <= last; column++) {
            add_feature(plan, column, CPNI_CSV_NUMBER);
        }
    }
    for (uint32_t column = 0; options->feature_count == 0 && column < plan->column_count; column++) {
        add_feature(plan, column, CPNI_CSV_NUMBER);
    }
    for (size_t i = 0; i < options->categorical_count; i++) {
        int rc = find_columns(plan, options->categorical[i], "categorical", &first, &last, detail);
        if (rc < 0) {
            return rc;
        }
        for (uint32_t column = first; column <= last; column++) {
            if (plan->roles[column] == CPNI_CSV_NUMBER) {
                plan->roles[column] = CPNI_CSV_CATEGORY;
            }
        }
    }
    if (plan->raw_count == 0) {
        snprintf(detail, CPNI_DATA_DETAIL, "no column is left as a feature");
        return CPN_EINVAL;
    }
    return 0;
}

/* A table for a schema has the schema's columns, in any order, and may have others. */
static int follow_schema(struct cpni_csv_plan *plan, const struct cpni_schema *schema, char *detail)
{
    for (uint32_t i = 0; i < schema->feature_count; i++) {
        const struct cpni_feature *feature = &schema->features[i];
        uint32_t column;
        if (find_column(plan, feature->name, strlen(feature->name), &column) < 0
            || plan->roles[column] != CPNI_CSV_SKIP) {
            return no_column(plan, "feature of the model", feature->name, detail);
        }
        add_feature(plan, column, feature->categorical ? CPNI_CSV_CATEGORY : CPNI_CSV_NUMBER);
    }
    return 0;
}

static void find_runs(struct cpni_csv_plan *plan)
{
    for (uint32_t i = plan->column_count - 1; i-- > 0;) {
        bool joins = plan->runs[i + 1] > 0 && plan->places[i + 1] == plan->places[i] + 1;
        plan->runs[i] = plan->roles[i] != CPNI_CSV_NUMBER ? 0 : joins ? plan->runs[i + 1] + 1 : 1;
    }
}

static int fix_words(struct cpni_words *words, char **texts, uint32_t count)
{
    uint32_t number;
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        rc = cpni_words_add(words, texts[i], strlen(texts[i]), count, &number);
    }
    return rc;
}

static int fix_all_words(struct cpni_csv_plan *plan, const struct cpni_schema *schema, char *detail)
{
    plan->fixed_categories = cpni_calloc(schema->feature_count, sizeof *plan->fixed_categories);
    int rc = plan->fixed_categories != NULL ? fix_words(&plan->fixed_labels, schema->classes, schema->class_count)
                                            : CPN_ENOMEM;
    for (uint32_t i = 0; i < schema->feature_count && rc == 0; i++) {
        const struct cpni_feature *feature = &schema->features[i];
        rc = feature->categorical ? fix_words(&plan->fixed_categories[i], feature->categories, feature->width) : 0;
    }
    return rc < 0 ? out_of_memory(detail) : 0;
}

static int choose(struct cpni_csv_plan *plan, char *detail)
{
    const struct cpni_schema *schema = plan->options->schema;
    const char *label = plan->options->label;
    if (schema != NULL && label == NULL) {
        label = schema->label;
    }
    int rc = choose_label(plan, label, schema != NULL, detail);
    if (rc < 0) {
        return rc;
    }
    if (schema == NULL) {
        return choose_features(plan, detail);
    }
    rc = follow_schema(plan, schema, detail);
    return rc == 0 ? fix_all_words(plan, schema, detail) : rc;
}

static int allocate(struct cpni_csv_plan *plan, char *detail)
{
    plan->columns = cpni_calloc(plan->column_count, sizeof *plan->columns);
    plan->named = cpni_calloc(plan->column_count, sizeof *plan->named);
    plan->roles = cpni_calloc(plan->column_count, sizeof *plan->roles);
    plan->places = cpni_calloc(plan->column_count, sizeof *plan->places);
    plan->sources = cpni_calloc(plan->column_count, sizeof *plan->sources);
    plan->runs = cpni_calloc(plan->column_count, sizeof *plan->runs);
    if (plan->columns == NULL || plan->named == NULL || plan->roles == NULL || plan->places == NULL
        || plan->sources == NULL || plan->runs == NULL) {
        return out_of_memory(detail);
    }
    return 0;
}

int cpni_csv_plan_init(
    struct cpni_csv_plan *plan, const struct cpni_csv_options *options, const char *row, const char *end, char *detail)
{
    const struct cpni_schema *schema = options->schema;
    struct cpni_csv_plan made = { .options = options,
        .delimiter = options->delimiter != 0 ? options->delimiter : ',',
        .impute = options->impute,
        .header = schema != NULL ? schema->header : !options->no_header,
        .fixed = schema != NULL };
    if (made.delimiter == '"' || made.delimiter == '\n' || made.delimiter == '\r') {
        snprintf(detail, CPNI_DATA_DETAIL, "a quote or a newline cannot be the delimiter");
        return CPN_EINVAL;
    }
    made.column_count = count_cells(row, end, made.delimiter);
    if (made.column_count > CPNI_DATA_COLUMNS_MAX) {
        snprintf(detail, CPNI_DATA_DETAIL, "row 1 has more than %d cells", CPNI_DATA_COLUMNS_MAX);
        return CPN_EBADINPUT;
    }
    int rc = allocate(&made, detail);
    rc = rc == 0 ? read_names(&made, row, end, detail) : rc;
    rc = rc == 0 ? choose(&made, detail) : rc;
    if (rc < 0) {
        cpni_csv_plan_free(&made);
        return rc;
    }
    find_runs(&made);
    *plan = made;
    return 0;
}

void cpni_csv_plan_free(struct cpni_csv_plan *plan)
{
    for (uint32_t i = 0; plan->columns != NULL && i < plan->column_count; i++) {
        cpni_free(plan->columns[i]);
    }
    cpni_free(plan->columns);
    cpni_free(plan->named);
    cpni_words_free(&plan->names);
    for (uint32_t i = 0; plan->fixed_categories != NULL && i < plan->raw_count; i++) {
        cpni_words_free(&plan->fixed_categories[i]);
    }
    cpni_free(plan->fixed_categories);
    cpni_words_free(&plan->fixed_labels);
    cpni_free(plan->roles);
    cpni_free(plan->places);
    cpni_free(plan->sources);
    cpni_free(plan->runs);
    *plan = (struct cpni_csv_plan){ 0 };
}

void cpni_csv_plan_name(const struct cpni_csv_plan *plan, uint32_t column, char *text, size_t room)
{
    if (plan->header) {
        snprintf(text, room, "column %" PRIu32 " \"%.60s\"", column + 1, plan->columns[column]);
    } else {
        snprintf(text, room, "column %" PRIu32, column + 1);
    }
}
