/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See labelling.h. A part with a wrong row is refused as a whole and names the first such row: that one is failed, and the others go
 * out again, what lies behind it in two halves, so that many wrong rows cost a part n log n. */
#include "labelling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/signals.h"
#include "common/text.h"

#define PART_BYTES (192u << 10)   /* of rows: with its message a part then travels without a detour over the disk */
#define ROW_BYTES_MAX (64u << 20) /* as the nodes have it: a longer one is an unclosed quote */

void labelling_give_up(struct labelling *table, int code, const char *detail)
{
    if (table->fatal == 0) {
        table->fatal = code;
        snprintf(table->fatal_detail, sizeof table->fatal_detail, "%s", detail);
    }
}

/* ---- answers ---- */

static void settle(struct labelling *table, struct part *part, size_t row, struct labelled_answer answer)
{
    if (answer.text == NULL || (answer.code == 0 && answer.node == NULL)) {
        labelling_give_up(table, CPN_ENOMEM, "out of memory");
    }
    part->answers[row] = answer;
    part->left--;
}

static void fail_row(struct span *span, size_t row, int code, const char *what)
{
    char text[CPN_DETAIL + 32];
    snprintf(text, sizeof text, "row %llu%s", (unsigned long long)span->part->rows[row].number, what);
    settle(span->table, span->part, row, (struct labelled_answer){ .code = code, .text = strdup(text_clean(text)) });
}

static void fail_span(struct span *span, int code, const char *detail)
{
    char what[CPN_DETAIL + 2];
    snprintf(what, sizeof what, ": %s", *detail != 0 ? detail : cpn_strerror(code));
    for (size_t i = span->first; i < span->first + span->count; i++) {
        if (!span->part->rows[i].empty) {
            fail_row(span, i, code, what);
        }
    }
}

static size_t rows_of(const struct span *span)
{
    size_t count = 0;
    for (size_t i = 0; i < span->count; i++) {
        count += !span->part->rows[span->first + i].empty;
    }
    return count;
}

static void take_labels(struct span *span, const struct cpn_task *task)
{
    size_t count = 0, at = 0;
    const struct cpn_label *labels = cpn_task_labels(task, &count);
    size_t expected = rows_of(span);
    if (count != expected) {
        char detail[CPN_DETAIL];
        snprintf(detail, sizeof detail, "%s answered %zu rows with %zu labels: %s", cpn_task_model(task), expected, count,
                 count == expected + 1 ? "it was trained on a table without names (--no-header)" : "it does not take tables");
        labelling_give_up(span->table, CPN_EINVAL, detail);
        return;
    }
    for (size_t i = span->first; i < span->first + span->count; i++) {
        if (!span->part->rows[i].empty) {
            settle(span->table, span->part, i, (struct labelled_answer){ .text = strdup(labels[at].name),
                .node = strdup(cpn_task_node(task)), .confidence = labels[at].confidence, .version = cpn_task_version(task) });
            at++;
        }
    }
}

/* ---- parts of parts ---- */

static void push_span(struct labelling *table, struct part *part, size_t first, size_t count)
{
    struct span *span = calloc(1, sizeof *span);
    if (span == NULL) {
        labelling_give_up(table, CPN_ENOMEM, "out of memory");
        return;
    }
    *span = (struct span){ .table = table, .part = part, .first = first, .count = count, .next = table->todo };
    if (rows_of(span) == 0) {
        free(span);
        return;
    }
    table->todo = span;
}

/* The place in the part of what the task calls row `number`; the end when it has no such row. */
static size_t find_row(const struct span *span, unsigned long number)
{
    unsigned long counted = span->table->header.text != NULL;
    size_t i = span->first;
    for (; i < span->first + span->count; i++) {
        counted += !span->part->rows[i].empty;
        if (counted == number && !span->part->rows[i].empty) {
            break;
        }
    }
    return i;
}

/* "row 3, column 2 ...": that row is wrong, and we do not know yet about those behind it. */
static void refuse_row(struct span *span, const char *detail)
{
    unsigned long number = 0;
    int length = 0;
    size_t end = span->first + span->count;
    size_t row = sscanf(detail, "row %lu%n", &number, &length) == 1 ? find_row(span, number) : end;
    if (row == end) {
        labelling_give_up(span->table, CPN_EBADINPUT, detail); /* about the names, or the model takes no tables */
        return;
    }
    fail_row(span, row, CPN_EBADINPUT, detail + length);
    size_t behind = end - row - 1;
    push_span(span->table, span->part, row + 1 + behind / 2, behind - behind / 2);
    push_span(span->table, span->part, row + 1, behind / 2);
    push_span(span->table, span->part, span->first, row - span->first);
}

/* ---- tasks ---- */

static void forget_span(struct span *span)
{
    struct span **link = &span->table->under_way;
    while (*link != span) {
        link = &(*link)->next;
    }
    *link = span->next;
    span->table->tasks--;
    cpn_task_free(span->task);
    free(span);
}

static void on_done(struct cpn_task *task, void *arg)
{
    struct span *span = arg;
    struct labelling *table = span->table;
    int code = cpn_task_code(task);
    if (code == 0) {
        take_labels(span, task);
    } else if (code == CPN_EBADINPUT) {
        refuse_row(span, cpn_task_detail(task));
    } else if (predict_is_fatal(code)) {
        labelling_give_up(table, code, cpn_task_detail(task));
    } else if (code != CPN_ECANCELLED || !(signals_seen() || table->fatal != 0)) {
        fail_span(span, code, cpn_task_detail(task));
    }
    forget_span(span);
}

/* The text of a task: names, then rows. */
static char *text_of(const struct span *span, size_t *size)
{
    const struct row *header = &span->table->header;
    size_t room = header->size + 1;
    for (size_t i = 0; i < span->count; i++) {
        room += span->part->rows[span->first + i].size + 1;
    }
    char *text = malloc(room);
    size_t used = 0;
    for (size_t i = 0; text != NULL && i <= span->count; i++) {
        const struct row *row = i == 0 ? header : &span->part->rows[span->first + i - 1];
        if (row->text != NULL && !row->empty) {
            memcpy(text + used, row->text, row->size);
            used += row->size;
            if (row->size == row->body) {
                text[used++] = '\n'; /* the last row of the table may go out again in the middle of a task */
            }
        }
    }
    *size = used;
    return text;
}

static int submit(struct span *span)
{
    struct labelling *table = span->table;
    const struct row *rows = span->part->rows + span->first;
    char name[128];
    size_t size = 0;
    char *text = text_of(span, &size);
    if (text == NULL) {
        return CPN_ENOMEM;
    }
    const char *slash = strrchr(table->path, '/');
    snprintf(name, sizeof name, "%.80s:%llu-%llu", slash != NULL ? slash + 1 : table->path, (unsigned long long)rows->number,
             (unsigned long long)rows[span->count - 1].number);
    struct cpn_task_options options = CPN_TASK_OPTIONS_INIT;
    options.model = table->options->model;
    options.data = text;
    options.data_size = size;
    options.name = name;
    options.deadline_ms = table->options->deadline_ms;
    options.done = on_done;
    options.done_arg = span;
    int rc = cpn_client_submit(table->options->cli->client, &options, &span->task);
    free(text);
    return rc;
}

/* False: this client's queue is full. */
static bool start_span(struct labelling *table)
{
    struct span *span = table->todo;
    int rc = submit(span);
    if (rc == CPN_EBUSY && table->tasks > 0) {
        return false;
    }
    table->todo = span->next;
    if (rc == 0) {
        span->next = table->under_way;
        table->under_way = span;
        table->tasks++;
        return true;
    }
    fail_span(span, rc, cpn_client_detail(table->options->cli->client));
    free(span);
    return true;
}

/* ---- the table's parts ---- */

static bool next_row(struct labelling *table, struct row *row)
{
    *row = table->ahead;
    table->ahead = (struct row){ 0 };
    return row->text != NULL || rows_next(&table->rows, row);
}

static void fail_long_row(struct labelling *table, struct part *part, size_t row)
{
    struct span span = { .table = table, .part = part };
    fail_row(&span, row, CPN_EBADINPUT, ": it is longer than 64 MiB: is a quote never closed?");
    part->rows[row].empty = true; /* nothing to send */
}

/* The next rows as a part. False at the end of the table. */
static bool read_part(struct labelling *table)
{
    struct part *part = calloc(1, sizeof *part);
    size_t bytes = 0;
    if (part == NULL) {
        labelling_give_up(table, CPN_ENOMEM, "out of memory");
        return false;
    }
    for (struct row row; part->count < PART_ROWS && next_row(table, &row);) {
        if (part->count > 0 && bytes + row.size > PART_BYTES) {
            table->ahead = row;
            break;
        }
        bytes += row.size;
        part->left += !row.empty;
        part->rows[part->count++] = row;
        if (row.size > ROW_BYTES_MAX) {
            fail_long_row(table, part, part->count - 1);
        }
    }
    if (part->count == 0) {
        free(part);
        return false;
    }
    table->parts[(table->head + table->count++) % PREDICT_JOBS_MAX] = part;
    push_span(table, part, 0, part->count);
    return true;
}

void labelling_fill_window(struct labelling *table)
{
    while (table->fatal == 0 && !signals_seen() && table->tasks < table->options->jobs_max) {
        if (table->todo == NULL && (table->count == table->options->jobs_max || !read_part(table))) {
            return;
        }
        if (table->todo != NULL && !start_span(table)) {
            return;
        }
    }
}

void labelling_free_part(struct part *part)
{
    for (size_t i = 0; i < part->count; i++) {
        free(part->answers[i].text);
        free(part->answers[i].node);
    }
    free(part);
}

struct part *labelling_take_part(struct labelling *table)
{
    struct part *part = table->count > 0 ? table->parts[table->head] : NULL;
    if (part == NULL || part->left > 0) {
        return NULL;
    }
    table->head = (table->head + 1) % PREDICT_JOBS_MAX;
    table->count--;
    return part;
}

bool labelling_ended(const struct labelling *table)
{
    return table->count == 0 && table->ahead.text == NULL && table->rows.at == table->rows.end;
}

/* ---- the end ---- */

void labelling_cancel(struct labelling *table)
{
    for (struct span *span = table->under_way; span != NULL; span = span->next) {
        cpn_task_cancel(span->task);
    }
    int64_t deadline_ms = predict_now_ms() + PREDICT_CANCEL_MS;
    struct cpn_client *client = table->options->cli->client;
    while (table->tasks > 0 && predict_now_ms() < deadline_ms && cpn_client_dispatch(client, PREDICT_DISPATCH_MS) >= 0) { }
}

void labelling_free(struct labelling *table)
{
    for (; table->count > 0; table->count--) {
        labelling_free_part(table->parts[table->head]);
        table->head = (table->head + 1) % PREDICT_JOBS_MAX;
    }
    while (table->under_way != NULL) {
        forget_span(table->under_way);
    }
    for (struct span *span = table->todo; span != NULL; span = table->todo) {
        table->todo = span->next;
        free(span);
    }
}
