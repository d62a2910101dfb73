/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See detail.h. */
#include "detail.h"

#include <stdarg.h>
#include <stdio.h>

void cpni_explain(char *detail, const char *format, ...)
{
    if (detail != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(detail, CPNI_NET_DETAIL, format, args);
        va_end(args);
    }
}
