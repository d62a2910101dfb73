/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See values.h. */
#include "values.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static bool number_with_unit(const char *text, const struct unit *units, size_t count, uint64_t *out)
{
    if (!isdigit((unsigned char)*text)) {
        return false; /* strtoull would take a sign or a space */
    }
    char *end;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (errno != 0) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t product;
        if (strcmp(end, units[i].name) == 0 && !__builtin_mul_overflow(number, units[i].factor, &product)) {
            *out = product;
            return true;
        }
    }
    return false;
}

bool setting_time(const char *text, uint64_t *ms)
{
    static const struct unit units[]
        = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "min", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
    return number_with_unit(text, units, sizeof units / sizeof *units, ms);
}

bool setting_bytes(const char *text, uint64_t *bytes)
{
    static const struct unit units[] = { { "", 1 }, { "B", 1 }, { "KiB", 1u << 10 }, { "MiB", 1u << 20 }, { "GiB", 1u << 30 },
        { "TiB", 1ull << 40 }, { "K", 1u << 10 }, { "M", 1u << 20 }, { "G", 1u << 30 }, { "T", 1ull << 40 } };
    return number_with_unit(text, units, sizeof units / sizeof *units, bytes);
}

static bool apply_count(const char *text, uint32_t *to)
{
    static const struct unit one = { "", 1 };
    uint64_t number;
    if (!number_with_unit(text, &one, 1, &number) || number > UINT32_MAX) {
        return false;
    }
    *to = (uint32_t)number;
    return true;
}

/* No "inf", "nan" or hexadecimal digits: nobody means them. */
static bool apply_number(const char *text, double *to)
{
    char *end;
    double number = strtod(text, &end);
    if (*text == 0 || strspn(text, "0123456789+-.eE") != strlen(text) || *end != 0 || !isfinite(number)) {
        return false;
    }
    *to = number;
    return true;
}

static bool apply_flag(const char *text, bool *to)
{
    static const char *const yes[] = { "1", "yes", "true", "on" };
    static const char *const no[] = { "0", "no", "false", "off" };
    if (text == NULL) { /* a flag of the command line */
        *to = true;
        return true;
    }
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *to = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool list_add(struct setting_list *list, const char *item)
{
    if (*item == 0 || list->count == SETTING_LIST_MAX) {
        return false;
    }
    list->items[list->count++] = item;
    list->items[list->count] = NULL;
    return true;
}

static bool apply_list(const char *text, struct setting_list *to, bool first, struct settings *settings)
{
    if (first) {
        *to = (struct setting_list){ 0 };
    }
    char *copy = value_keep(settings, text);
    bool ok = copy != NULL;
    while (ok && copy != NULL) {
        char *item = strsep(&copy, ",");
        while (isspace((unsigned char)*item)) {
            item++;
        }
        ok = list_add(to, item);
    }
    return ok;
}

static bool apply_repeat(const char *text, struct setting_list *to, bool first)
{
    if (first) {
        *to = (struct setting_list){ 0 };
    }
    return list_add(to, text);
}

static const char *expected(enum setting_kind kind)
{
    switch (kind) {
    case SETTING_FLAG:
        return "yes or no";
    case SETTING_LIST:
        return "up to 128 items separated by commas";
    case SETTING_REPEAT:
        return "a text, up to 128 times";
    case SETTING_COUNT:
        return "a whole number";
    case SETTING_NUMBER:
        return "a number such as 0.1";
    case SETTING_TIME:
        return "a time such as 500ms, 30s, 10m, 1h or 7d";
    case SETTING_BYTES:
        return "a size such as 64MiB or 8GiB";
    default:
        return "a text";
    }
}

bool value_apply(const struct setting *setting, const char *text, bool first, const char *origin, struct settings *settings)
{
    bool ok = true;
    switch (setting->kind) {
    case SETTING_FLAG:
        ok = apply_flag(text, setting->to);
        break;
    case SETTING_TEXT:
        *(const char **)setting->to = text;
        break;
    case SETTING_LIST:
        ok = apply_list(text, setting->to, first, settings);
        break;
    case SETTING_REPEAT:
        ok = apply_repeat(text, setting->to, first);
        break;
    case SETTING_NUMBER:
        ok = apply_number(text, setting->to);
        break;
    case SETTING_COUNT:
        ok = apply_count(text, setting->to);
        break;
    case SETTING_TIME:
        ok = setting_time(text, setting->to);
        break;
    case SETTING_BYTES:
        ok = setting_bytes(text, setting->to);
        break;
    }
    if (!ok) {
        fprintf(stderr, "%s: '%s': expected %s\n", origin, text, expected(setting->kind));
    }
    return ok;
}

char *value_keep(struct settings *settings, const char *text)
{
    char **texts = realloc(settings->texts, (settings->text_count + 1) * sizeof *texts);
    if (texts == NULL) {
        return NULL;
    }
    settings->texts = texts;
    texts[settings->text_count] = strdup(text);
    return texts[settings->text_count] != NULL ? texts[settings->text_count++] : NULL;
}

void value_variable(const char *name, char *variable, size_t room)
{
    snprintf(variable, room, "CPN_%s", name);
    for (char *at = variable; *at != 0; at++) {
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    }
}
