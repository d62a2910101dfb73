/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a daemon tells programs that started it: a file of "key=value" lines that appears, whole, when the daemon is ready. */
#ifndef CPN_READYFILE_H
#define CPN_READYFILE_H

#include <stdbool.h>

/* Write `text` to `path`, mode 0600 (it may hold join lines), through a temporary name. False after a sentence on stderr. */
bool readyfile_write(const char *program, const char *path, const char *text);

#endif
