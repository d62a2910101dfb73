/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Log lines: levels and the form in which a program receives them. The library itself prints nothing; the daemons print what this
 * hands them. Stable event ids ("CPN-NODE-JOINED") are listed in cpn.7. */
#ifndef CPN_LOG_H
#define CPN_LOG_H

#include <stdint.h>

#include <cpn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum cpn_log_level { CPN_LOG_DEBUG = 0, CPN_LOG_INFO = 1, CPN_LOG_WARN = 2, CPN_LOG_ERROR = 3 };

/* One line. Everything is borrowed for the call; "" where a line has none. */
struct cpn_log_line {
    uint32_t size;        /* bytes of this struct; newer libraries append fields */
    enum cpn_log_level level;
    int64_t wall_us;      /* since 1970 */
    const char *event;    /* stable id: "CPN-NODE-JOINED" */
    const char *node;     /* name of the node (or user) that it is about */
    const char *key;      /* its public key in hexadecimal */
    const char *task;     /* id of the task in hexadecimal */
    const char *model;    /* "faces@3" */
    const char *text;     /* one sentence for a person */
};

/* Called on the thread that drives the role (dispatch, run). Must not call back into the role. */
typedef void cpn_log_fn(const struct cpn_log_line *line, void *arg);

/* "debug", "info", "warn" or "error"; static. Any thread. */
const char *cpn_log_level_name(enum cpn_log_level level);

#ifdef __cplusplus
}
#endif

#endif
