/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What came of each photo, printed as it comes: a line of a table, or a JSON object. */
#ifndef CPN_REPORT_H
#define CPN_REPORT_H

#include <stdbool.h>

#include <cpn/task.h>

#include "photos.h"

struct report {
    bool json;
    int path_width; /* of the column of photos */
};

/* Choose the widths and print the head of the table. */
void report_begin(struct report *report, bool json, const struct photos *photos);
/* A complete task that succeeded. */
void report_result(const struct report *report, const struct photo *photo, const struct cpn_task *task);
/* One that did not, or that never became a task (task NULL). */
void report_failure(const struct report *report, const struct photo *photo, const struct cpn_task *task, int code, const char *detail);

#endif
