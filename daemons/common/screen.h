/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Lines on a terminal that are drawn again and again in the same place. */
#ifndef CPN_SCREEN_H
#define CPN_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct screen {
    FILE *to;
    bool able;    /* a terminal that can move its cursor; otherwise nothing is ever drawn */
    size_t lines; /* drawn now */
};

void screen_start(struct screen *screen, FILE *to);
/* Lines that fit the terminal at present, one kept free for the cursor. */
size_t screen_rows(const struct screen *screen);
/* Draw a text of whole lines over the last one. What is wider or higher than the terminal is cut, since a line that wraps could not be
 * drawn over. */
void screen_draw(struct screen *screen, const char *text);
/* Take the lines away, so that something else can be printed. */
void screen_clear(struct screen *screen);

#endif
