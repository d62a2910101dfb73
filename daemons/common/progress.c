/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See progress.h. */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

#define WIDTH 24

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void progress_start(struct progress *progress, const char *what, bool wanted)
{
    const char *term = getenv("TERM");
    bool able = isatty(STDERR_FILENO) && (term == NULL || strcmp(term, "dumb") != 0);
    *progress = (struct progress){ .on = wanted && able, .started_ms = now_ms(), .what = what };
}

static void numbers(const struct progress *progress, uint64_t done, uint64_t total, bool bytes, char *text, size_t room)
{
    char a[TEXT_SHORT], b[TEXT_SHORT], c[TEXT_SHORT];
    double seconds = (double)(progress->shown_ms - progress->started_ms) / 1e3;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    uint64_t left_us = rate > 0 ? (uint64_t)((double)(total - done) / rate * 1e6) : 0;
    left_us -= left_us % 1000000;
    if (bytes) {
        snprintf(text, room, "%s of %s, %s/s", text_bytes(done, a), text_bytes(total, b), text_bytes((uint64_t)rate, c));
    } else {
        snprintf(text, room, "%" PRIu64 "/%" PRIu64 " %s, %.1f/s%s%s", done, total, progress->what, rate, left_us > 0 ? ", left " : "",
                 left_us > 0 ? text_duration(left_us, c) : "");
    }
}

void progress_show(struct progress *progress, uint64_t done, uint64_t total, bool bytes, const char *note)
{
    int64_t now = now_ms();
    if (!progress->on || (progress->drawn && done < total && now - progress->shown_ms < 100)) {
        return;
    }
    progress->shown_ms = now;
    char bar[WIDTH + 1];
    char text[160];
    size_t full = total > 0 ? (size_t)((double)done / (double)total * WIDTH) : WIDTH;
    memset(bar, '.', WIDTH);
    memset(bar, '#', full < WIDTH ? full : WIDTH);
    bar[WIDTH] = 0;
    numbers(progress, done, total, bytes, text, sizeof text);
    fprintf(stderr, "\r[%s] %s%s%s\033[K", bar, text, *note != 0 ? "  " : "", note);
    fflush(stderr);
    progress->drawn = true;
}

void progress_clear(struct progress *progress)
{
    if (progress->drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress->drawn = false;
    }
}
