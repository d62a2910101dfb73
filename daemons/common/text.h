/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Numbers, times and foreign texts as a person reads them on a terminal. */
#ifndef CPN_TEXT_H
#define CPN_TEXT_H

#include <stddef.h>
#include <stdint.h>

#define TEXT_SHORT 48

/* Each writes into `text` and returns it. */
char *text_bytes(uint64_t bytes, char text[TEXT_SHORT]);      /* "12.3 MiB" */
char *text_duration(uint64_t us, char text[TEXT_SHORT]);      /* "840 us", "12.3 ms", "4.1 s", "2:05:09" */
char *text_clock(double seconds, char text[TEXT_SHORT]);      /* "0:07", "2:05:09"; "-": not known, or below 0 */
char *text_seconds(double seconds, char text[TEXT_SHORT]);    /* "0.4 s" below a minute and a half, then as a clock; "-": not known */
char *text_decimal(double value, char text[TEXT_SHORT]);      /* "0.1234", "1.2e+09"; "-": not known */
char *text_percent(double share, char text[TEXT_SHORT]);      /* "97.51%" for 0.9751; "-": not known */
char *text_time(int64_t wall_us, char text[TEXT_SHORT]);      /* "2026-01-31 08:15:02" in the local zone; "-": never */

/* Columns that a UTF-8 text takes on a terminal; a program calls setlocale() first. */
size_t text_width(const char *text);

/* Replace control characters, in place: names and sentences come from elsewhere, and a terminal obeys escape sequences. */
char *text_clean(char *text);

#endif
