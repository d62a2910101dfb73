/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A CSV text as rows of bytes. Must not know what a cell means: a row is told from the next one as libcpn does, and copied as it is. */
#ifndef CPN_ROWS_H
#define CPN_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct row {
    const char *text;
    size_t size;     /* with its newline */
    size_t body;     /* without */
    uint64_t number; /* 1: the first of the text; empty ones count */
    bool empty;
    bool unclosed; /* a quote opens and never closes: it goes to the end of the text */
};

struct rows {
    const char *text, *at, *end;
    uint64_t number; /* of rows read */
    char delimiter;  /* the first of comma, semicolon and tab in the first row */
};

void rows_open(struct rows *rows, const char *text, size_t size);
bool rows_next(struct rows *rows, struct row *row); /* false: that was all */

/* Is `name` one of the row's cells? */
bool rows_names(const struct rows *rows, const struct row *row, const char *name);

#endif
