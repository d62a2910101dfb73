/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See csv.h. */
#include "data/csv.h"

#include <string.h>

static const char *end_cell(const char *at, char delimiter, struct cpni_csv_cell *cell)
{
    cell->last = *at != delimiter;
    return at + 1;
}

/* From the opening quote to the closing one, NULL when there is none. */
static const char *closing_quote(const char *open, const char *end, bool *escaped)
{
    for (const char *at = open + 1;; at += 2) {
        at = at < end ? memchr(at, '"', (size_t)(end - at)) : NULL;
        if (at == NULL || at + 1 >= end || at[1] != '"') {
            return at;
        }
        *escaped = true;
    }
}

static const char *skip_plain(const char *at, char delimiter)
{
    while (*at != delimiter && *at != '\n') {
        at++;
    }
    return at;
}

const char *cpni_csv_cell(const char *at, const char *end, char delimiter, struct cpni_csv_cell *cell)
{
    *cell = (struct cpni_csv_cell){ .text = at };
    const char *close = *at == '"' ? closing_quote(at, end, &cell->escaped) : NULL;
    if (close == NULL) {
        const char *stop = skip_plain(at, delimiter);
        cell->size = (size_t)(stop - at);
        if (*stop == '\n' && cell->size > 0 && stop[-1] == '\r') {
            cell->size--;
        }
        return end_cell(stop, delimiter, cell);
    }
    cell->text = at + 1;
    cell->size = (size_t)(close - cell->text);
    cell->quoted = true;
    const char *stop = skip_plain(close + 1, delimiter);
    size_t trailing = (size_t)(stop - close) - 1;
    cell->bad = trailing != 0 && !(trailing == 1 && *stop == '\n' && close[1] == '\r');
    return end_cell(stop, delimiter, cell);
}

size_t cpni_csv_unquote(const struct cpni_csv_cell *cell, char *to)
{
    size_t size = 0;
    for (size_t i = 0; i < cell->size; i++) {
        to[size++] = cell->text[i];
        i += cell->escaped && cell->text[i] == '"'; /* the second of two */
    }
    return size;
}

/* The place after the last newline in plain text, or `none`. */
static size_t after_last_newline(const char *bytes, size_t from, size_t to, size_t none)
{
    const char *newline = memrchr(bytes + from, '\n', to - from);
    return newline != NULL ? (size_t)(newline - bytes) + 1 : none;
}

size_t cpni_csv_whole_rows(const char *bytes, size_t size, char delimiter)
{
    size_t at = 0, whole = 0;
    for (;;) {
        const char *quote = memchr(bytes + at, '"', size - at);
        size_t open = quote != NULL ? (size_t)(quote - bytes) : size;
        whole = after_last_newline(bytes, at, open, whole);
        if (quote == NULL) {
            return whole;
        }
        if (open > 0 && bytes[open - 1] != delimiter && bytes[open - 1] != '\n') {
            at = open + 1; /* not at the start of a cell: a character like others */
            continue;
        }
        bool escaped = false;
        const char *close = closing_quote(quote, bytes + size, &escaped);
        if (close == NULL) {
            return whole;
        }
        at = (size_t)(close - bytes) + 1;
    }
}
