/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Any bytes as a CSV table: converted or refused with a sentence; what was converted can be mapped, and treating the
 * same table by the schema that came out gives the same features, from a file and in memory. The first byte chooses the
 * options. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cpn/error.h>

#include "data/csv_convert.h"
#include "data/csv_rows.h"
#include "data/dataset.h"
#include "fuzz.h"

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "table: %s: %s\n", what, why);
    abort();
}

/* The dataset, or its rows 0. */
static struct cpni_dataset convert(const struct cpni_csv_options *options, const uint8_t *data, size_t size)
{
    static struct cpni_csv_report report;
    struct cpni_dataset set = { 0 };
    char detail[CPNI_DATA_DETAIL] = "";
    int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);
    if (in < 0 || out < 0 || write(in, data, size) != (ssize_t)size || lseek(in, 0, SEEK_SET) != 0) {
        abort();
    }
    int rc = cpni_csv_convert(options, in, out, &report);
    if (rc < 0 && (report.errors == 0 || report.error[0][0] == '\0' || (rc != CPN_EBADINPUT && rc != CPN_EINVAL))) {
        fail("refused without reason", report.error[0]);
    }
    if (rc == 0 && (cpni_dataset_open(out, &set, detail) < 0 || set.rows != report.rows || set.rows == 0)) {
        fail("cannot be opened", detail);
    }
    close(in);
    close(out);
    return set;
}

/* `again` is what conversion made of the table by the same schema; rows 0: it was refused, perhaps for its labels. */
static void read_rows(
    const struct cpni_dataset *set, const struct cpni_dataset *again, bool comma, const uint8_t *data, size_t size)
{
    struct cpni_csv_rows rows;
    char detail[CPNI_DATA_DETAIL] = "";
    int rc = cpni_csv_rows_read(&set->schema, data, size, CPNI_DATASET_ROWS_MAX, &rows, detail);
    if (rc < 0 && (rc != CPN_EBADINPUT || detail[0] == '\0')) {
        fail("rows refused without reason", detail);
    }
    bool text = memchr(data, '\0', size) == NULL;
    if (again->rows > 0 && comma && text
        && (rc < 0 || rows.rows != again->rows
            || memcmp(rows.features, again->features, again->rows * again->columns * sizeof(float)) != 0)) {
        fail("rows in memory", rc < 0 ? detail : "other features");
    }
    if (rc == 0) {
        cpni_csv_rows_free(&rows);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const second = "2";
    if (size == 0) {
        return 0;
    }
    struct cpni_csv_options options = { .label = "1",
        .no_header = data[0] & 1,
        .impute = data[0] & 2,
        .standardise = data[0] & 4,
        .delimiter = data[0] & 8 ? ';' : ',',
        .categorical = &second,
        .categorical_count = (data[0] >> 4) & 1,
        .threads = 1 };
    struct cpni_dataset set = convert(&options, data + 1, size - 1);
    if (set.rows > 0) {
        struct cpni_csv_options alike = { .schema = &set.schema, .delimiter = options.delimiter, .threads = 1 };
        struct cpni_dataset again = convert(&alike, data + 1, size - 1);
        /* A table in which a name stands twice can be read by number only. */
        if (again.rows > 0
            && (again.rows != set.rows
                || memcmp(again.features, set.features, set.rows * set.columns * sizeof(float)) != 0)) {
            fail("by its own schema", "other features");
        }
        read_rows(&set, &again, options.delimiter == ',', data + 1, size - 1);
        cpni_dataset_close(&again);
    }
    cpni_dataset_close(&set);
    return 0;
}
