/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A file that a person named to be written. It appears under its name when it is whole: until then it lies in the same directory under
 * a name that nobody can foresee. What is there and is no regular file (a terminal, /dev/null, a pipe) is written to as it is and never replaced; a
 * link stays one. */
#ifndef CPN_OUTFILE_H
#define CPN_OUTFILE_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct outfile {
    FILE *file;
    char path[PATH_MAX];
    char temporary[PATH_MAX]; /* "": written to as it is */
};

/* 0 or an errno. `mode` of a new file, less the umask. */
int outfile_open(struct outfile *out, const char *path, mode_t mode);
/* Keep what was written, or not. 0 or an errno: then nothing is kept. */
int outfile_close(struct outfile *out, bool keep);

#endif
