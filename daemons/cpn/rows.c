/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See rows.h. */
#include "rows.h"

#include <string.h>

#define BOM "\xef\xbb\xbf"

/* Where the text of the first cell starts: some programs write a byte order mark. */
static const char *skip_bom(const struct rows *rows, const char *at)
{
    size_t left = (size_t)(rows->end - at);
    return at == rows->text && left >= strlen(BOM) && memcmp(at, BOM, strlen(BOM)) == 0 ? at + strlen(BOM) : at;
}

/* Behind the quote that closes the one at `open`; NULL: none does. Two quotes stand for one. */
static const char *behind_quotes(const char *open, const char *end)
{
    for (const char *at = open + 1;; at += 2) {
        at = at < end ? memchr(at, '"', (size_t)(end - at)) : NULL;
        if (at == NULL || at + 1 == end || at[1] != '"') {
            return at != NULL ? at + 1 : NULL;
        }
    }
}

/* Behind the cell at `at`, which is its delimiter, the row's newline or the end; NULL: its quote never closes. */
static const char *behind_cell(const struct rows *rows, const char *at)
{
    if (at < rows->end && *at == '"') {
        at = behind_quotes(at, rows->end);
    }
    while (at != NULL && at < rows->end && *at != rows->delimiter && *at != '\n') {
        at++;
    }
    return at;
}

/* The row's newline, or the end of the text. Only a row with a quote is looked at cell by cell. */
static const char *end_of_row(const struct rows *rows, const char *at, bool *unclosed)
{
    const char *newline = memchr(at, '\n', (size_t)(rows->end - at));
    newline = newline != NULL ? newline : rows->end;
    if (memchr(at, '"', (size_t)(newline - at)) == NULL) {
        return newline;
    }
    for (;;) {
        at = behind_cell(rows, at);
        *unclosed = at == NULL;
        if (at == NULL || at == rows->end) {
            return rows->end;
        }
        if (*at == '\n') {
            return at;
        }
        at++;
    }
}

static char find_delimiter(const struct rows *rows)
{
    bool quoted = false;
    for (const char *at = rows->text; at < rows->end && (quoted || *at != '\n'); at++) {
        quoted ^= *at == '"';
        if (!quoted && (*at == ',' || *at == ';' || *at == '\t')) {
            return *at;
        }
    }
    return ',';
}

void rows_open(struct rows *rows, const char *text, size_t size)
{
    *rows = (struct rows){ .text = text, .at = text, .end = text + size };
    rows->delimiter = find_delimiter(rows);
}

bool rows_next(struct rows *rows, struct row *row)
{
    if (rows->at == rows->end) {
        return false;
    }
    bool unclosed = false;
    const char *newline = end_of_row(rows, skip_bom(rows, rows->at), &unclosed);
    const char *next = newline < rows->end ? newline + 1 : newline;
    size_t body = (size_t)(newline - rows->at);
    body -= body > 0 && newline[-1] == '\r';
    *row = (struct row){ .text = rows->at, .size = (size_t)(next - rows->at), .body = body, .number = ++rows->number,
        .empty = body == 0, .unclosed = unclosed };
    rows->at = next;
    return true;
}

bool rows_names(const struct rows *rows, const struct row *row, const char *name)
{
    const struct rows cells = { .text = rows->text, .end = row->text + row->body, .delimiter = rows->delimiter };
    const char *at = skip_bom(rows, row->text);
    while (at != NULL) {
        const char *end = behind_cell(&cells, at);
        const char *stop = end != NULL ? end : cells.end;
        bool quoted = stop - at >= 2 && *at == '"' && stop[-1] == '"';
        size_t size = (size_t)(stop - at) - 2 * (size_t)quoted;
        if (size == strlen(name) && memcmp(at + quoted, name, size) == 0) {
            return true;
        }
        at = end != NULL && end < cells.end ? end + 1 : NULL;
    }
    return false;
}
