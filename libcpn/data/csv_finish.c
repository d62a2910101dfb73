/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The last part of csv_join.h: all rows lie raw in the file, now they become what was asked for. A wider row (one-hot)
 * ends after the raw one it comes from, so going backwards the file is rewritten in place. All sums run in the order of
 * rows. */
#include "data/csv_join.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "data/dataset.h"

#define BYTES_AT_ONCE (4u << 20)
#define DEVIATION_MIN 1e-30 /* a column that differs by less is constant: a weight divided by it, as in ONNX, is no float */

/* What is known of one raw column. */
struct column {
    bool categorical;
    double sum, squares; /* squares: of the distances from the mean */
    uint64_t count;      /* of values that are not missing */
    uint64_t *uses;      /* of each category, by its number in order of appearance */
    uint32_t *ranks;     /* the category's place in the one-hot */
};

struct finish {
    struct cpni_csv_join *join;
    struct column *columns;
    struct cpni_schema schema;
    float *rows; /* one stretch, as it is read */
    float *wide; /* and as it is written */
    uint64_t rows_at_once;
};

static int out_of_memory(const struct finish *f)
{
    return cpni_csv_fail(f->join->report, CPN_ENOMEM, "out of memory to finish the dataset");
}

static int read_rows(const struct finish *f, uint64_t first, uint64_t count)
{
    size_t width = f->join->plan->raw_count * sizeof(float), size = count * width;
    uint64_t at = CPNI_DATASET_FEATURES_AT + first * width;
    for (char *to = (char *)f->rows; size > 0;) {
        ssize_t got = pread(f->join->out, to, size, (off_t)at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? cpni_csv_fail_errno(f->join->report, "cannot read the dataset again")
                           : cpni_csv_fail(f->join->report, CPN_EIO, "the dataset became shorter while it was written");
        }
        to += got;
        at += (uint64_t)got;
        size -= (size_t)got;
    }
    return 0;
}

/* Visit all rows in order, a stretch at a time. */
static int each_stretch(struct finish *f, void (*visit)(struct finish *f, const float *row))
{
    uint32_t width = f->join->plan->raw_count;
    for (uint64_t first = 0; first < f->join->rows; first += f->rows_at_once) {
        uint64_t left = f->join->rows - first, count = left < f->rows_at_once ? left : f->rows_at_once;
        int rc = read_rows(f, first, count);
        if (rc < 0) {
            return rc;
        }
        for (uint64_t r = 0; r < count; r++) {
            visit(f, f->rows + r * width);
        }
    }
    return 0;
}

static void add_row(struct finish *f, const float *row)
{
    for (uint32_t i = 0; i < f->join->plan->raw_count; i++) {
        struct column *column = &f->columns[i];
        if (isnan(row[i])) {
            continue;
        }
        column->count++;
        if (column->categorical) {
            column->uses[(uint32_t)row[i]]++;
        } else {
            column->sum += (double)row[i];
        }
    }
}

static void add_squares(struct finish *f, const float *row)
{
    for (uint32_t i = 0; i < f->join->plan->raw_count; i++) {
        double distance = (double)row[i] - f->schema.features[i].mean;
        f->columns[i].squares += isnan(row[i]) ? 0 : distance * distance;
    }
}

static char **texts_of(const struct cpni_words *words, const uint32_t *ranks)
{
    char **texts = cpni_calloc(words->count + (size_t)1, sizeof *texts);
    for (uint32_t i = 0; texts != NULL && i < words->count; i++) {
        texts[ranks[i]] = cpni_strdup(cpni_words_text(words, i));
        if (texts[ranks[i]] == NULL) {
            for (uint32_t j = 0; j < words->count; j++) {
                cpni_free(texts[j]);
            }
            cpni_free(texts);
            return NULL;
        }
    }
    return texts;
}

static int describe_column(struct finish *f, uint32_t place)
{
    const struct cpni_csv_plan *plan = f->join->plan;
    const struct cpni_words *words = &f->join->category_words[place];
    struct column *column = &f->columns[place];
    struct cpni_feature *feature = &f->schema.features[place];
    *feature = (struct cpni_feature){ .name = cpni_strdup(plan->columns[plan->sources[place]]),
        .first = f->schema.columns,
        .width = 1,
        .fills = plan->impute,
        .deviation = 1 };
    f->schema.feature_count++;
    column->categorical = plan->roles[plan->sources[place]] == CPNI_CSV_CATEGORY;
    if (feature->name == NULL) {
        return out_of_memory(f);
    }
    if (column->categorical && words->count > 0) {
        column->uses = cpni_calloc(words->count, sizeof *column->uses);
        column->ranks = cpni_calloc(words->count, sizeof *column->ranks);
        if (column->uses == NULL || column->ranks == NULL || cpni_words_rank(words, column->ranks) < 0) {
            return out_of_memory(f);
        }
        feature->categories = texts_of(words, column->ranks);
        if (feature->categories == NULL) {
            return out_of_memory(f);
        }
        feature->categorical = true;
        feature->width = words->count;
    }
    if (feature->width > CPNI_DATA_COLUMNS_MAX - f->schema.columns) {
        return cpni_csv_fail(f->join->report, CPN_EBADINPUT, "one-hot makes more than 65536 features of the columns");
    }
    f->schema.columns += feature->width;
    return 0;
}

static int describe(struct finish *f)
{
    const struct cpni_csv_plan *plan = f->join->plan;
    f->schema.header = plan->header;
    f->schema.label = cpni_strdup(plan->label >= 0 ? plan->columns[plan->label] : "");
    f->schema.features = cpni_calloc(plan->raw_count, sizeof *f->schema.features);
    if (f->schema.label == NULL || f->schema.features == NULL) {
        return out_of_memory(f);
    }
    int rc = 0;
    for (uint32_t place = 0; place < plan->raw_count && rc == 0; place++) {
        rc = describe_column(f, place);
    }
    return rc;
}

/* Labels by rank instead of appearance. */
static int order_labels(struct finish *f)
{
    const struct cpni_words *words = &f->join->label_words;
    uint32_t *ranks = cpni_malloc((words->count + (size_t)1) * sizeof *ranks);
    int rc = ranks != NULL ? cpni_words_rank(words, ranks) : CPN_ENOMEM;
    f->schema.classes = rc == 0 ? texts_of(words, ranks) : NULL;
    if (f->schema.classes == NULL) {
        cpni_free(ranks);
        return out_of_memory(f);
    }
    f->schema.class_count = words->count;
    for (uint64_t r = 0; r < f->join->rows && words->count > 0; r++) {
        f->join->labels[r] = (int32_t)ranks[f->join->labels[r]];
    }
    cpni_free(ranks);
    return 0;
}

static uint32_t most_used(const struct column *column, uint32_t count)
{
    uint32_t best = 0; /* ties: the first by rank, not by appearance */
    for (uint32_t i = 1; i < count; i++) {
        if (column->uses[i] > column->uses[best]
            || (column->uses[i] == column->uses[best] && column->ranks[i] < column->ranks[best])) {
            best = i;
        }
    }
    return column->ranks[best];
}

static int measure(struct finish *f)
{
    const struct cpni_csv_plan *plan = f->join->plan;
    int rc = each_stretch(f, add_row);
    for (uint32_t i = 0; i < plan->raw_count && rc == 0; i++) {
        struct cpni_feature *feature = &f->schema.features[i];
        if (f->columns[i].count == 0) {
            char name[96], what[CPNI_DATA_DETAIL];
            cpni_csv_plan_name(plan, plan->sources[i], name, sizeof name);
            snprintf(what, sizeof what, "%s has no values at all: leave it out of the features", name);
            return cpni_csv_fail(f->join->report, CPN_EBADINPUT, what);
        }
        feature->mean = feature->categorical ? 0 : f->columns[i].sum / (double)f->columns[i].count;
        feature->fill = feature->categorical ? most_used(&f->columns[i], feature->width) : feature->mean;
    }
    if (rc == 0 && plan->options->standardise) {
        rc = each_stretch(f, add_squares);
    }
    for (uint32_t i = 0; i < plan->raw_count && rc == 0; i++) {
        struct cpni_feature *feature = &f->schema.features[i];
        bool scaled = plan->options->standardise && !feature->categorical;
        double deviation = scaled ? sqrt(f->columns[i].squares / (double)f->columns[i].count) : 1;
        feature->deviation = deviation >= DEVIATION_MIN ? deviation : 1; /* a constant column becomes 0 */
        feature->mean = scaled ? feature->mean : 0;
    }
    return rc;
}

/* Categories by rank instead of appearance. */
static void rank_categories(const struct cpni_schema *schema, const struct column *columns, float *raw)
{
    for (uint32_t i = 0; i < schema->feature_count; i++) {
        if (schema->features[i].categorical && !isnan(raw[i])) {
            raw[i] = (float)columns[i].ranks[(uint32_t)raw[i]];
        }
    }
}

/* columns NULL: the raw numbers of categories are ranks already. */
static int widen_all(struct finish *f, const struct cpni_schema *schema, const struct column *columns)
{
    uint32_t narrow = f->join->plan->raw_count;
    f->wide = cpni_malloc(f->rows_at_once * schema->columns * sizeof *f->wide);
    if (f->wide == NULL) {
        return out_of_memory(f);
    }
    for (uint64_t end = f->join->rows; end > 0;) {
        uint64_t count = end < f->rows_at_once ? end : f->rows_at_once, first = end - count;
        int rc = read_rows(f, first, count);
        for (uint64_t r = 0; r < count && rc == 0; r++) {
            if (columns != NULL) {
                rank_categories(schema, columns, f->rows + r * narrow);
            }
            cpni_schema_widen(schema, f->rows + r * narrow, f->wide + r * schema->columns);
        }
        size_t width = schema->columns * sizeof(float);
        uint64_t at = CPNI_DATASET_FEATURES_AT + first * width;
        rc = rc == 0 ? cpni_csv_write(f->join->report, f->join->out, f->wide, count * width, at) : rc;
        if (rc < 0) {
            return rc;
        }
        end = first;
    }
    return 0;
}

/* The header comes last: a file that was cut short is no dataset. */
static int write_rest(struct finish *f, const struct cpni_schema *schema)
{
    struct cpni_csv_join *join = f->join;
    struct cpni_buf bytes = { 0 };
    int rc = cpni_schema_write(schema, &bytes) < 0 || bytes.size > CPNI_DATA_SCHEMA_MAX ? out_of_memory(f) : 0;
    struct cpni_dataset_header header
        = cpni_dataset_layout(join->rows, schema->columns, schema->class_count, bytes.size);
    if (rc == 0) {
        rc = cpni_csv_write(join->report, join->out, join->labels, join->rows * sizeof *join->labels, header.labels_at);
    }
    if (rc == 0) {
        rc = cpni_csv_write(join->report, join->out, bytes.data, bytes.size, header.schema_at);
    }
    if (rc == 0) {
        rc = cpni_csv_write(join->report, join->out, &header, sizeof header, 0);
    }
    join->report->rows = join->rows;
    join->report->columns = schema->columns;
    join->report->classes = schema->class_count;
    join->report->labelled = join->plan->label >= 0;
    join->report->bytes = header.schema_at + bytes.size;
    cpni_buf_free(&bytes);
    return rc;
}

static bool any_categorical(const struct cpni_schema *schema)
{
    for (uint32_t i = 0; i < schema->feature_count; i++) {
        if (schema->features[i].categorical) {
            return true;
        }
    }
    return false;
}

static int finish_new(struct finish *f)
{
    const struct cpni_csv_options *options = f->join->plan->options;
    int rc = describe(f);
    rc = rc == 0 ? order_labels(f) : rc;
    if (rc == 0 && (options->impute || options->standardise || any_categorical(&f->schema))) {
        rc = measure(f);
        rc = rc == 0 ? widen_all(f, &f->schema, f->columns) : rc;
    }
    return rc == 0 ? write_rest(f, &f->schema) : rc;
}

static void free_all(struct finish *f)
{
    for (uint32_t i = 0; f->columns != NULL && i < f->join->plan->raw_count; i++) {
        cpni_free(f->columns[i].uses);
        cpni_free(f->columns[i].ranks);
    }
    cpni_free(f->columns);
    cpni_free(f->rows);
    cpni_free(f->wide);
    cpni_schema_free(&f->schema);
}

int cpni_csv_finish(struct cpni_csv_join *join)
{
    const struct cpni_schema *given = join->plan->options->schema;
    uint64_t width = join->plan->raw_count * sizeof(float), at_once = BYTES_AT_ONCE / width;
    struct finish f = { .join = join, .rows_at_once = at_once > 0 ? at_once : 1 };
    f.rows_at_once = f.rows_at_once > join->rows ? join->rows : f.rows_at_once;
    f.columns = cpni_calloc(join->plan->raw_count, sizeof *f.columns);
    f.rows = cpni_malloc(f.rows_at_once * width);
    int rc = f.columns == NULL || f.rows == NULL ? out_of_memory(&f) : 0;
    if (rc == 0 && given == NULL) {
        rc = finish_new(&f);
    } else if (rc == 0) {
        rc = widen_all(&f, given, NULL);
        rc = rc == 0 ? write_rest(&f, given) : rc;
    }
    free_all(&f);
    return rc;
}
