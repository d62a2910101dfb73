/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A table for people: columns as wide as their widest cell. Holds all cells until it is printed. */
#ifndef CPN_TABLE_H
#define CPN_TABLE_H

#include <stdio.h>

#define TABLE_COLUMNS_MAX 24

struct table {
    const char *const *titles;
    size_t columns;
    char **cells;
    size_t cell_count, room;
};

/* `titles` is NULL-terminated and borrowed. A title that begins with ">" has its column flush right, as numbers are. */
void table_init(struct table *table, const char *const *titles);
/* The next cell, row by row; without memory the table ends there. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_print(const struct table *table, FILE *to);
void table_free(struct table *table);

#endif
