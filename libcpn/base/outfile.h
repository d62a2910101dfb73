/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A file that a program named to be written, from memory. It appears under its name when it is whole: until then it lies in the same
 * directory under a name that nobody can foresee. What is there and is no regular file (a terminal, /dev/null, a pipe) is written to as
 * it is and never replaced; a link stays one. */
#ifndef CPNI_OUTFILE_H
#define CPNI_OUTFILE_H

#include <stddef.h>

/* 0 or an errno: then nothing is left behind. */
int cpni_outfile_write(const char *path, const void *data, size_t size);

#endif
