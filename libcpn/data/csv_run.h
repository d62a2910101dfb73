/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The hot loop of reading a table: cells that are nothing but numbers, one after the other. Must not know columns. */
#ifndef CPNI_CSV_RUN_H
#define CPNI_CSV_RUN_H

#include <stdint.h>

/* Read up to `count` plain numbers, each ended by the delimiter, into `to`. Returns where the first cell starts that is
 * something else (empty, quoted, padded, a row's last, ...) or was not wanted any more; *taken says how many were read.
 * The bytes from `floor` to end + 8 may be looked at; end[-1] is a newline. */
const char *cpni_csv_take_run(
    const char *at, const char *floor, const char *end, char delimiter, float *to, uint32_t count, uint32_t *taken);

#endif
