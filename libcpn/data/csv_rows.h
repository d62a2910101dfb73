/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A few rows of a table in memory, for a model to be asked about: as cpni_csv_convert() with a schema, without any file.
 * The label's column is not looked at, so it may be absent, empty, or name classes that the model does not know. */
#ifndef CPNI_CSV_ROWS_H
#define CPNI_CSV_ROWS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cpni_schema;

struct cpni_csv_rows {
    float *features; /* [rows][schema->columns] */
    uint32_t rows;   /* empty rows do not count */
};

/* Names (unless the schema's table had none) and rows; cells are separated by whichever of ",", ";" and tab makes the
 * schema's columns. CPN_EBADINPUT with a sentence (CPNI_DATA_DETAIL bytes) that starts with "row N, column N" where one
 * is wrong (row 1 is the first of the text), CPN_ENOMEM. Free it with cpni_csv_rows_free(). */
int cpni_csv_rows_read(const struct cpni_schema *schema, const void *text, size_t size, uint32_t rows_max,
    struct cpni_csv_rows *out, char *detail);
void cpni_csv_rows_free(struct cpni_csv_rows *rows);

#ifdef __cplusplus
}
#endif

#endif
