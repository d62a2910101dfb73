/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See action.h. */
#include "core/action.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

struct cpni_action *cpni_actions_add(struct cpni_actions *actions, enum cpni_action_type type)
{
    if (actions->count == actions->capacity) {
        size_t capacity = actions->capacity == 0 ? 32 : actions->capacity * 2;
        struct cpni_action *list = cpni_realloc(actions->list, capacity * sizeof *list);
        if (list == NULL) {
            actions->failed = true;
            return NULL;
        }
        actions->list = list;
        actions->capacity = capacity;
    }
    struct cpni_action *action = &actions->list[actions->count++];
    memset(action, 0, sizeof *action);
    action->type = type;
    return action;
}

/* A message that could not be copied must not leave half an action behind. */
static int put_msg(struct cpni_actions *actions, struct cpni_msg *to, const struct cpni_msg *from)
{
    int rc = cpni_msg_copy(&actions->arena, from, to);
    if (rc < 0) {
        actions->count--;
        actions->failed = true;
    }
    return rc;
}

int cpni_actions_send(struct cpni_actions *actions, uint64_t conn, uint32_t link, const struct cpni_msg *msg)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_SEND);
    if (action == NULL) {
        return CPN_ENOMEM;
    }
    action->send.conn = conn;
    action->send.link = link;
    return put_msg(actions, &action->send.msg, msg);
}

int cpni_actions_tell(struct cpni_actions *actions, const struct cpni_msg *msg)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_TELL);
    return action == NULL ? CPN_ENOMEM : put_msg(actions, &action->tell.msg, msg);
}

struct cpni_str cpni_actions_text(struct cpni_actions *actions, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (length < 0) {
        return (struct cpni_str){ 0 };
    }
    uint32_t size = (size_t)length < sizeof text ? (uint32_t)length : (uint32_t)sizeof text - 1;
    const char *copy = cpni_arena_memdup(&actions->arena, text, size + 1u);
    if (copy == NULL) {
        actions->failed = true;
        return (struct cpni_str){ 0 };
    }
    return (struct cpni_str){ .text = copy, .size = size };
}

static void clear_action(struct cpni_action *action)
{
    switch (action->type) {
    case CPNI_ACT_SEND:
        cpni_msg_drop(&action->send.msg);
        break;
    case CPNI_ACT_TELL:
        cpni_msg_drop(&action->tell.msg);
        break;
    case CPNI_ACT_COMMIT:
        cpni_bytes_unref(action->commit.command.payload);
        break;
    case CPNI_ACT_DISK:
        cpni_bytes_unref(action->disk.data);
        break;
    case CPNI_ACT_RUN:
        cpni_bytes_unref(action->run.input);
        break;
    case CPNI_ACT_TRAINER:
        cpni_bytes_unref(action->trainer.vector);
        break;
    default:
        break;
    }
}

void cpni_actions_truncate(struct cpni_actions *actions, size_t count)
{
    while (actions->count > count) {
        clear_action(&actions->list[--actions->count]);
    }
}

void cpni_actions_clear(struct cpni_actions *actions)
{
    cpni_actions_truncate(actions, 0);
    actions->failed = false;
    cpni_arena_reset(&actions->arena);
}

void cpni_actions_free(struct cpni_actions *actions)
{
    cpni_actions_clear(actions);
    cpni_free(actions->list);
    cpni_arena_free(&actions->arena);
    *actions = (struct cpni_actions){ .log_level = actions->log_level };
}
