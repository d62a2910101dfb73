/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Where the programs keep things of a user: the XDG places. */
#ifndef CPN_PATHS_H
#define CPN_PATHS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define PATHS_MAX PATH_MAX
#define PATHS_SYSTEM_CONFIG "/etc/cpn/cpn.conf"

/* $XDG_CONFIG_HOME/cpn/context, or ~/.config/cpn/context; false: no home. */
bool paths_context(char *path, size_t room);
bool paths_config(char *path, size_t room); /* likewise cpn.conf */

/* Make the directory that a path lies in, with its parents, for this user alone; 0 or an errno. */
int paths_make_parent(const char *path);
int paths_make(const char *dir, unsigned mode); /* the directory itself, with its parents */

#endif
