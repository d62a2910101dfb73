/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A progress bar: one line on stderr, drawn again and again, on terminals only. */
#ifndef CPN_PROGRESS_H
#define CPN_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool on, drawn;
    int64_t started_ms, shown_ms;
    const char *what; /* "photos" */
};

void progress_start(struct progress *progress, const char *what, bool wanted);
/* Draws at most ten times a second, and always when all is done. `note` follows the numbers. */
void progress_show(struct progress *progress, uint64_t done, uint64_t total, bool bytes, const char *note);
/* Take the line away, so that something else can be printed; the next show draws it anew. */
void progress_clear(struct progress *progress);

#endif
