/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See events.h. */
#include "core/events.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct entry {
    const char *id;
    const char *meaning;
    enum cpn_log_level level;
};

static const struct entry entries[CPNI_LOG_EVENTS_COUNT] = {
#define ENTRY(name, id_, level_, meaning_) { .id = (id_), .meaning = (meaning_), .level = CPN_LOG_##level_ },
    CPNI_LOG_EVENTS(ENTRY)
};

const char *cpni_log_event_id(enum cpni_log_event event)
{
    return entries[event].id;
}

const char *cpni_log_event_meaning(enum cpni_log_event event)
{
    return entries[event].meaning;
}

enum cpn_log_level cpni_log_event_level(enum cpni_log_event event)
{
    return entries[event].level;
}

/* A list outlives the event that caused it: a role carries out the actions of many events together. */
static struct cpni_str keep(struct cpni_actions *actions, struct cpni_str text)
{
    const char *copy = text.size != 0 ? cpni_arena_memdup(&actions->arena, text.text, text.size) : NULL;
    return copy != NULL ? (struct cpni_str){ copy, text.size } : (struct cpni_str){ 0 };
}

void cpni_log(struct cpni_actions *actions, enum cpni_log_event event, const struct cpni_log_about *about, const char *format, ...)
{
    if (entries[event].level < actions->log_level) {
        return;
    }
    char text[512] = "";
    va_list list;
    va_start(list, format);
    if (format != NULL) {
        vsnprintf(text, sizeof text, format, list);
    }
    va_end(list);
    struct cpni_str copy = text[0] != 0 ? cpni_actions_text(actions, "%s", text) : (struct cpni_str){ 0 };
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_LOG);
    if (action == NULL) {
        return;
    }
    action->log.level = entries[event].level;
    action->log.event = entries[event].id;
    action->log.text = copy;
    if (about != NULL) {
        action->log.node = about->node != NULL ? *about->node : (struct cpn_key){ 0 };
        action->log.user = about->user != NULL ? *about->user : (struct cpn_key){ 0 };
        action->log.task = about->task != NULL ? *about->task : (struct cpn_id){ 0 };
        action->log.name = keep(actions, about->name);
        action->log.model = keep(actions, about->model);
    }
}
