/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See logger.h. */
#include "role/logger.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "role/clock.h"

#define TEXT_MAX 1024

void cpni_logger_action(const struct cpni_logger *logger, const struct cpni_now *now, const struct cpni_action *action)
{
    if (logger->fn == NULL || action->log.level < logger->level) {
        return;
    }
    char name[CPNI_NAME], model[CPNI_NAME + 16], text[TEXT_MAX], key[CPN_KEY_TEXT] = "", task[CPN_ID_TEXT] = "";
    if (!cpni_all_zero(&action->log.node, sizeof action->log.node)) {
        cpn_key_text(&action->log.node, key);
    } else if (!cpni_all_zero(&action->log.user, sizeof action->log.user)) {
        cpn_key_text(&action->log.user, key);
    }
    if (!cpni_all_zero(&action->log.task, sizeof action->log.task)) {
        cpn_id_text(&action->log.task, task);
    }
    const struct cpn_log_line line = {
        .size = sizeof line,
        .level = action->log.level,
        .wall_us = now->wall_us,
        .event = action->log.event,
        .node = cpni_str_copy(action->log.name, name, sizeof name),
        .key = key,
        .task = task,
        .model = cpni_str_copy(action->log.model, model, sizeof model),
        .text = cpni_str_copy(action->log.text, text, sizeof text),
    };
    logger->fn(&line, logger->arg);
}

void cpni_logger_print(const struct cpni_logger *logger, enum cpn_log_level level, const char *event, const char *format, ...)
{
    if (logger->fn == NULL || level < logger->level) {
        return;
    }
    char text[TEXT_MAX];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    const struct cpni_now now = cpni_clock_now();
    const struct cpn_log_line line = { .size = sizeof line, .level = level, .wall_us = now.wall_us, .event = event,
                                       .node = "", .key = "", .task = "", .model = "", .text = text };
    logger->fn(&line, logger->arg);
}
