/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See table.h. */
#include "table.h"

#include <stdarg.h>
#include <stdbool.h>
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

/* The title without its mark. */
static const char *title_of(const struct table *table, size_t column)
{
    return table->titles[column] + (*table->titles[column] == '>');
}

static void print_cell(const struct table *table, const char *cell, size_t column, const size_t *widths, FILE *to)
{
    int pad = (int)(widths[column] - text_width(cell));
    bool last = column + 1 == table->columns; /* nothing after the last one */
    if (*table->titles[column] == '>') {
        fprintf(to, "%*s%s%s", pad, "", cell, last ? "" : "  ");
    } else {
        fprintf(to, "%s%*s", cell, last ? 0 : pad + 2, "");
    }
}

void table_print(const struct table *table, FILE *to)
{
    size_t widths[TABLE_COLUMNS_MAX];
    for (size_t i = 0; i < table->columns; i++) {
        widths[i] = text_width(title_of(table, i));
    }
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t width = text_width(table->cells[i]);
        size_t column = i % table->columns;
        widths[column] = width > widths[column] ? width : widths[column];
    }
    for (size_t i = 0; i < table->columns; i++) {
        print_cell(table, title_of(table, i), i, widths, to);
    }
    fputc('\n', to);
    for (size_t row = 0; row + table->columns <= table->cell_count; row += table->columns) {
        for (size_t i = 0; i < table->columns; i++) {
            print_cell(table, table->cells[row + i], i, widths, to);
        }
        fputc('\n', to);
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
