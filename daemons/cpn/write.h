/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Files that come back: annotated copies, labelled tables, curves. */
#ifndef CPN_WRITE_H
#define CPN_WRITE_H

#include <stddef.h>

/* The directories that a file is to lie in. 0 or an errno. */
int write_make_directory_of(const char *path);

/* Write a file (common/outfile.h). 0 or an errno. */
int write_whole(const char *path, const void *data, size_t size);

/* The same with the directories it lies in. */
int write_copy(const char *path, const void *data, size_t size);

#endif
