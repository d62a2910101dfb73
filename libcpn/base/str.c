/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See str.h. */
#include "str.h"

#include <string.h>

struct cpni_str cpni_str(const char *text)
{
    return (struct cpni_str){ .text = text, .size = text == NULL ? 0 : (uint32_t)strlen(text) };
}

bool cpni_str_equal(struct cpni_str a, struct cpni_str b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.text, b.text, a.size) == 0);
}

char *cpni_str_copy(struct cpni_str from, char *to, size_t room)
{
    size_t size = from.size < room ? from.size : room - 1;
    if (size < from.size) {
        while (size > 0 && ((unsigned char)from.text[size] & 0xc0) == 0x80) {
            size--;
        }
    }
    if (size != 0) {
        memcpy(to, from.text, size);
    }
    to[size] = 0;
    return to;
}
