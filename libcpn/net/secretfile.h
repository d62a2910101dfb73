/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A small text file that only its owner may read: keys, contexts. It is either whole under its name or not there, so
 * that a crash at the first start leaves nothing that blocks the second. Blocks on the disk. Any thread. Must not
 * know what the text means. */
#ifndef CPNI_SECRETFILE_H
#define CPNI_SECRETFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "net/detail.h"

/* Mode 0600, synced with its directory. 0 or, with the reason in `detail` (may be NULL): CPN_EEXISTS (there is one,
 * and replace is false), CPN_ENOTFOUND (no such directory), CPN_EDENIED, CPN_ENOSPC, CPN_EIO. */
int cpni_secretfile_write(const char *path, const char *text, size_t size, bool replace, char *detail);

/* Its size, at most room - 1 (more is cut), with a 0 behind it; or CPN_ENOTFOUND, CPN_EDENIED (unreadable, or
 * readable by others), CPN_ECORRUPT (no regular file), CPN_EIO. */
int cpni_secretfile_read(const char *path, char *text, size_t room, char *detail);

#endif
