/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Log lines of libcpn, written to stderr: text for a person on a terminal, JSON lines for a program otherwise. */
#ifndef CPN_LOGPRINT_H
#define CPN_LOGPRINT_H

#include <stdbool.h>

#include <cpn/log.h>

struct logprint {
    enum cpn_log_level least; /* what is below is not written */
    bool json;
    bool colour;
};

/* From --log-level and --log-format (NULL: info, and text only on a terminal); false after a sentence on stderr. */
bool logprint_init(struct logprint *log, const char *level, const char *format);

void logprint(const struct cpn_log_line *line, void *logprint); /* a cpn_log_fn */

/* Whether escape sequences are welcome on a stream: a terminal, and no NO_COLOR. */
bool logprint_colour(int fd);

#endif
