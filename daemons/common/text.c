/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See text.h. */
#include "text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

char *text_bytes(uint64_t bytes, char text[TEXT_SHORT])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    snprintf(text, TEXT_SHORT, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

char *text_duration(uint64_t us, char text[TEXT_SHORT])
{
    uint64_t seconds = us / 1000000;
    if (us < 1000) {
        snprintf(text, TEXT_SHORT, "%" PRIu64 " us", us);
    } else if (us < 1000000) {
        snprintf(text, TEXT_SHORT, "%.1f ms", (double)us / 1e3);
    } else if (seconds < 120) {
        snprintf(text, TEXT_SHORT, "%.2f s", (double)us / 1e6);
    } else if (seconds < 86400) {
        snprintf(text, TEXT_SHORT, "%" PRIu64 ":%02d:%02d", seconds / 3600, (int)(seconds / 60 % 60), (int)(seconds % 60));
    } else {
        snprintf(text, TEXT_SHORT, "%" PRIu64 " d %d h", seconds / 86400, (int)(seconds / 3600 % 24));
    }
    return text;
}

char *text_clock(double seconds, char text[TEXT_SHORT])
{
    if (!(seconds >= 0) || seconds > 1e9) {
        snprintf(text, TEXT_SHORT, "-");
        return text;
    }
    uint64_t whole = (uint64_t)(seconds + 0.5);
    if (whole < 3600) {
        snprintf(text, TEXT_SHORT, "%d:%02d", (int)(whole / 60), (int)(whole % 60));
    } else {
        snprintf(text, TEXT_SHORT, "%" PRIu64 ":%02d:%02d", whole / 3600, (int)(whole / 60 % 60), (int)(whole % 60));
    }
    return text;
}

char *text_seconds(double seconds, char text[TEXT_SHORT])
{
    if (!(seconds >= 0 && seconds < 90)) {
        return text_clock(seconds, text);
    }
    snprintf(text, TEXT_SHORT, "%.1f s", seconds);
    return text;
}

char *text_decimal(double value, char text[TEXT_SHORT])
{
    if (isnan(value)) {
        snprintf(text, TEXT_SHORT, "-");
    } else {
        snprintf(text, TEXT_SHORT, fabs(value) < 1e6 ? "%.4f" : "%.1e", value);
    }
    return text;
}

char *text_percent(double share, char text[TEXT_SHORT])
{
    if (isnan(share)) {
        snprintf(text, TEXT_SHORT, "-");
    } else {
        snprintf(text, TEXT_SHORT, "%.2f%%", 100 * share);
    }
    return text;
}

char *text_time(int64_t wall_us, char text[TEXT_SHORT])
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    if (wall_us <= 0 || localtime_r(&seconds, &tm) == NULL || strftime(text, TEXT_SHORT, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
        snprintf(text, TEXT_SHORT, "-");
    }
    return text;
}

size_t text_width(const char *text)
{
    size_t width = 0;
    mbstate_t state = { 0 };
    size_t left = strlen(text);
    while (left > 0) {
        wchar_t wide;
        size_t used = mbrtowc(&wide, text, left, &state);
        if (used == 0 || used > left) { /* no character of this locale: a column for each byte */
            memset(&state, 0, sizeof state);
            used = 1;
            width++;
        } else {
            int columns = wcwidth(wide);
            width += columns > 0 ? (size_t)columns : 0;
        }
        text += used;
        left -= used;
    }
    return width;
}

char *text_clean(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at != 0; at++) {
        if (*at < 0x20 || *at == 0x7f) {
            *at = *at == '\t' || *at == '\n' ? ' ' : '?';
        }
    }
    return text;
}
