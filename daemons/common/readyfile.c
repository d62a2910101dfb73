/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See readyfile.h. */
#include "readyfile.h"

#include <stdio.h>
#include <string.h>

#include "outfile.h"

bool readyfile_write(const char *program, const char *path, const char *text)
{
    struct outfile out;
    int error = outfile_open(&out, path, 0600);
    if (error == 0) {
        fputs(text, out.file);
        error = outfile_close(&out, true);
    }
    if (error != 0) {
        fprintf(stderr, "%s: cannot write %s: %s\n", program, path, strerror(error));
    }
    return error == 0;
}
