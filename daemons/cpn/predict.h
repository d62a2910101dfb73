/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the two halves of `cpn predict` share: photos (predict.c) and the rows of a table (predict_table.c). */
#ifndef CPN_PREDICT_H
#define CPN_PREDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "cli.h"

#define PREDICT_JOBS_MAX 1024
#define PREDICT_DISPATCH_MS 100
#define PREDICT_CANCEL_MS 2000 /* for the master to confirm what Ctrl-C cancelled */

struct predict_options {
    struct cli *cli;
    const char *model;
    const char *out; /* NULL: none */
    uint32_t deadline_ms;
    uint32_t jobs_max; /* tasks under way */
    bool no_header;    /* of a table: its first row is data */
};

/* By the name: a file .csv, .tsv or .txt. */
bool predict_is_table(const char *path);

/* Label the rows of one table; the exit status. The client is not connected yet. */
int predict_table(const struct predict_options *options, const char *path);

/* Errors that are about the call, not about one photo or row. */
bool predict_is_fatal(int code);

int64_t predict_now_ms(void);

/* For signals_install(): the first signal wakes the loop, which cancels; the second one ends at once. */
void predict_on_signal(void *client);

#endif
