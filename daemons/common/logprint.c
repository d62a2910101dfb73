/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See logprint.h. A line is one write, so that lines of several programs on one terminal stay whole. */
#include "logprint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include <cpn/log.h>

bool logprint_colour(int fd)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return isatty(fd) && (no_color == NULL || *no_color == 0) && (term == NULL || strcmp(term, "dumb") != 0);
}

static bool parse_level(const char *text, enum cpn_log_level *out)
{
    for (int level = CPN_LOG_DEBUG; level <= CPN_LOG_ERROR; level++) {
        if (strcmp(text, cpn_log_level_name((enum cpn_log_level)level)) == 0) {
            *out = (enum cpn_log_level)level;
            return true;
        }
    }
    fprintf(stderr, "log-level: '%s': expected debug, info, warn or error\n", text);
    return false;
}

bool logprint_init(struct logprint *log, const char *level, const char *format)
{
    *log = (struct logprint){ .least = CPN_LOG_INFO, .json = isatty(STDERR_FILENO) == 0, .colour = logprint_colour(STDERR_FILENO) };
    if (level != NULL && !parse_level(level, &log->least)) {
        return false;
    }
    if (format != NULL) {
        if (strcmp(format, "text") != 0 && strcmp(format, "json") != 0) {
            fprintf(stderr, "log-format: '%s': expected text or json\n", format);
            return false;
        }
        log->json = strcmp(format, "json") == 0;
    }
    return true;
}

/* Seconds in the local zone for a person, UTC for programs. */
static void format_time(int64_t wall_us, bool utc, char *text, size_t room)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    size_t length = strftime(text, room, utc ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S",
                             utc ? gmtime_r(&seconds, &tm) : localtime_r(&seconds, &tm));
    snprintf(text + length, room - length, utc ? ".%06dZ" : ".%03d", (int)(utc ? wall_us % 1000000 : wall_us / 1000 % 1000));
}

static void put(FILE *out, const char *name, const char *value)
{
    if (*value != 0) {
        fprintf(out, "  %s=%s", name, value);
    }
}

static void print_text(const struct logprint *log, const struct cpn_log_line *line)
{
    static const char *const colours[] = { "\033[2m", "", "\033[33m", "\033[31m" };
    const char *colour = log->colour ? colours[line->level] : "";
    char time[40];
    char task[9];
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return;
    }
    format_time(line->wall_us, false, time, sizeof time);
    snprintf(task, sizeof task, "%.8s", line->task);
    fprintf(out, "%s%s %-5s %-22s %s", colour, time, cpn_log_level_name(line->level), line->event, line->text);
    put(out, "node", line->node);
    put(out, "model", line->model);
    put(out, "task", task);
    put(out, "key", *line->node == 0 ? line->key : "");
    fprintf(out, "%s\n", *colour != 0 ? "\033[0m" : "");
    if (fclose(out) == 0) {
        fwrite(text, 1, size, stderr);
    }
    free(text);
}

static void set_text(json_t *object, const char *key, const char *text)
{
    if (*text != 0) {
        json_t *value = json_string(text); /* NULL when it is no UTF-8: then it is left out */
        json_object_set_new(object, key, value != NULL ? value : json_string("?"));
    }
}

static void print_json(const struct cpn_log_line *line)
{
    char time[40];
    format_time(line->wall_us, true, time, sizeof time);
    json_t *object = json_object();
    set_text(object, "time", time);
    set_text(object, "level", cpn_log_level_name(line->level));
    set_text(object, "event", line->event);
    set_text(object, "text", line->text);
    set_text(object, "node", line->node);
    set_text(object, "key", line->key);
    set_text(object, "model", line->model);
    set_text(object, "task", line->task);
    char *text = json_dumps(object, JSON_COMPACT);
    if (text != NULL) {
        fprintf(stderr, "%s\n", text);
    }
    free(text);
    json_decref(object);
}

void logprint(const struct cpn_log_line *line, void *arg)
{
    const struct logprint *log = arg;
    if (line->level < log->least) {
        return;
    }
    if (log->json) {
        print_json(line);
    } else {
        print_text(log, line);
    }
    fflush(stderr);
}
