/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What came of each row of a table: the row as it was with two more cells in a CSV file, or a JSON object, in the order of the table. */
#ifndef CPN_LABELLED_H
#define CPN_LABELLED_H

#include <stdio.h>

#include "common/outfile.h"
#include "rows.h"

struct labelled_answer {
    char *text; /* the label, or what is wrong with the row */
    char *node;
    float confidence;
    uint32_t version;
    int code; /* not 0: failed */
};

struct labelled {
    const char *table, *model;
    const char *out; /* NULL: standard output, if json is false */
    bool json;
    const struct rows *rows;
    FILE *file; /* NULL: JSON alone */
    struct outfile outfile;
};

/* The file appears under its name when it is whole. 0 or an errno. */
int labelled_open(struct labelled *labelled);
/* The names, with those of the new columns. */
void labelled_header(struct labelled *labelled, const struct row *row);
void labelled_row(struct labelled *labelled, const struct row *row, const struct labelled_answer *answer);
/* Keep what was written, or not. 0 or an errno. */
int labelled_close(struct labelled *labelled, bool keep);
bool labelled_failed(const struct labelled *labelled); /* a write did: the disk is full, nobody reads */

#endif
