/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See table.h. */
#include "table.h"

#include <stdarg.h>
#include <stdlib.h>

#include "text.h"

void table_init(struct table *table, const char *const *titles)
{
    *table = (struct table){ .titles = titles };
    while (table->columns < TABLE_COLUMNS_MAX && titles[table->columns] != NULL) {
        table->columns++;
    }
}

void table_cell(struct table *table, const char *format, ...)
{
    if (table->cell_count == table->room) {
        size_t room = table->room == 0 ? 64 : 2 * table->room;
        char **cells = realloc(table->cells, room * sizeof *cells);
        if (cells == NULL) {
            return;
        }
        table->cells = cells;
        table->room = room;
    }
    va_list args;
    va_start(args, format);
    char *cell = NULL;
    if (vasprintf(&cell, format, args) >= 0) {
        table->cells[table->cell_count++] = text_clean(cell);
    }
    va_end(args);
}

static void print_row(const char *const *row, size_t count, const size_t *widths, FILE *to)
{
    for (size_t i = 0; i < count; i++) {
        size_t pad = i + 1 < count ? widths[i] - text_width(row[i]) + 2 : 0; /* nothing after the last one */
        fprintf(to, "%s%*s", row[i], (int)pad, "");
    }
    fputc('\n', to);
}

void table_print(const struct table *table, FILE *to)
{
    size_t widths[TABLE_COLUMNS_MAX];
    for (size_t i = 0; i < table->columns; i++) {
        widths[i] = text_width(table->titles[i]);
    }
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t width = text_width(table->cells[i]);
        size_t column = i % table->columns;
        widths[column] = width > widths[column] ? width : widths[column];
    }
    print_row(table->titles, table->columns, widths, to);
    for (size_t i = 0; i + table->columns <= table->cell_count; i += table->columns) {
        print_row((const char *const *)&table->cells[i], table->columns, widths, to);
    }
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->cell_count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    *table = (struct table){ 0 };
}
