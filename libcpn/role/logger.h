/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* From a core's LOG action to the line that the program's log function receives. */
#ifndef CPNI_LOGGER_H
#define CPNI_LOGGER_H

#include <cpn/log.h>

#include "core/action.h"

struct cpni_logger {
    cpn_log_fn *fn; /* NULL: nobody listens */
    void *arg;
    enum cpn_log_level level; /* lines below it are not for the listener */
};

void cpni_logger_action(const struct cpni_logger *logger, const struct cpni_now *now, const struct cpni_action *action);

/* A line of the role's own. */
void cpni_logger_print(const struct cpni_logger *logger, enum cpn_log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
