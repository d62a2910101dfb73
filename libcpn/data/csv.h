/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* RFC 4180: bytes into rows and cells. Must not know what a cell means.
 *
 * A cell that starts with a quote ends at the next single quote; two quotes in it stand for one; delimiters and
 * newlines in it are text. A quote anywhere else is an ordinary character. Rows end with LF or CRLF, the last one also
 * with the file. */
#ifndef CPNI_CSV_H
#define CPNI_CSV_H

#include <stdbool.h>
#include <stddef.h>

struct cpni_csv_cell {
    const char *text; /* between the quotes, if there are any */
    size_t size;
    bool quoted;
    bool escaped; /* `text` holds doubled quotes */
    bool bad;     /* text follows the closing quote */
    bool last;    /* of its row */
};

/* The cell that starts at `at`; returns where the next one (or, after the last, the next row) starts. At end[-1] or
 * before there is a newline, as after every whole row. */
const char *cpni_csv_cell(const char *at, const char *end, char delimiter, struct cpni_csv_cell *cell);

/* Write the cell's text, doubled quotes made one, to `to` (cell->size bytes suffice). Returns its size. */
size_t cpni_csv_unquote(const struct cpni_csv_cell *cell, char *to);

/* How many of the bytes, which start with a row, are whole rows: the place after the last newline outside quotes, 0 for
 * none. */
size_t cpni_csv_whole_rows(const char *bytes, size_t size, char delimiter);

#endif
