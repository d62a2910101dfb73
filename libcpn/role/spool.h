/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The private folders in which clients keep what is in passing. One whose process was killed stays behind, as large as what it sent: the
 * next client of the same user removes it. Must not know what is in them. */
#ifndef CPNI_SPOOL_H
#define CPNI_SPOOL_H

#include <limits.h>

/* A new folder in `parent`, readable by its owner alone; abandoned ones in there go first. The blob store that is opened in it holds
 * its lock, and thereby keeps it. CPN_EIO with errno, CPN_EINVAL: the path is too long. */
int cpni_spool_make(const char *parent, char path[PATH_MAX]);

/* With all that is in it. */
void cpni_spool_remove(const char *path);

#endif
