/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See screen.h. One write a picture, so that the terminal never shows half of one. */
#include "screen.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "text.h"

void screen_start(struct screen *screen, FILE *to)
{
    const char *term = getenv("TERM");
    *screen = (struct screen){ .to = to, .able = isatty(fileno(to)) && (term == NULL || strcmp(term, "dumb") != 0) };
}

static struct winsize size_of(const struct screen *screen)
{
    struct winsize size;
    if (ioctl(fileno(screen->to), TIOCGWINSZ, &size) != 0 || size.ws_col < 2 || size.ws_row < 2) {
        size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
    }
    return size;
}

size_t screen_rows(const struct screen *screen)
{
    return size_of(screen).ws_row - 1u;
}

/* The bytes of a line that fill at most so many columns. */
static size_t fitting(const char *line, size_t length, size_t columns)
{
    char start[1024];
    length = length < sizeof start - 1 ? length : sizeof start - 1;
    memcpy(start, line, length);
    start[length] = 0;
    while (length > 0 && text_width(start) > columns) {
        do {
            length--;
        } while (length > 0 && ((unsigned char)start[length] & 0xc0) == 0x80); /* not within a character */
        start[length] = 0;
    }
    return length;
}

static void back(const struct screen *screen, FILE *out)
{
    if (screen->lines > 0) {
        fprintf(out, "\r\033[%zuA", screen->lines);
    }
}

void screen_draw(struct screen *screen, const char *text)
{
    char *picture = NULL;
    size_t bytes = 0;
    FILE *out = screen->able ? open_memstream(&picture, &bytes) : NULL;
    if (out == NULL) {
        return;
    }
    const struct winsize size = size_of(screen);
    size_t lines = 0;
    back(screen, out);
    for (const char *end; lines + 1u < size.ws_row && (end = strchr(text, '\n')) != NULL; text = end + 1) {
        size_t length = fitting(text, (size_t)(end - text), size.ws_col - 1u);
        fprintf(out, "%.*s\033[K\n", (int)length, text);
        lines++;
    }
    fputs("\033[J", out); /* the last one may have had more lines */
    if (fclose(out) == 0) {
        fwrite(picture, 1, bytes, screen->to);
        fflush(screen->to);
        screen->lines = lines;
    }
    free(picture);
}

void screen_clear(struct screen *screen)
{
    if (screen->lines > 0) {
        back(screen, screen->to);
        fputs("\033[J", screen->to);
        fflush(screen->to);
        screen->lines = 0;
    }
}
