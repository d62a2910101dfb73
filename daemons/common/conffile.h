/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn.conf: sections [master], [worker] and [client], one "key = value" a line. What is not known is refused with file and line: a
 * misspelt limit that is silently ignored is no limit. */
#ifndef CPN_CONFFILE_H
#define CPN_CONFFILE_H

#include "settings.h"

/* Apply what the file says to this program; other programs' sections are left to them. False after a sentence on stderr. */
bool conffile_apply(const char *path, const struct program *program, struct settings *settings);

#endif
