/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See write.h. */
#include "write.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/outfile.h"
#include "common/paths.h"

int write_make_directory_of(const char *path)
{
    char dir[PATH_MAX];
    if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir) {
        return ENAMETOOLONG;
    }
    char *slash = strrchr(dir, '/');
    if (slash == NULL || slash == dir) {
        return 0;
    }
    *slash = 0;
    return paths_make(dir, 0777);
}

int write_whole(const char *path, const void *data, size_t size)
{
    struct outfile out;
    int error = outfile_open(&out, path, 0666);
    if (error != 0) {
        return error;
    }
    error = fwrite(data, 1, size, out.file) == size ? 0 : errno;
    int closed = outfile_close(&out, error == 0);
    return error != 0 ? error : closed;
}

int write_copy(const char *path, const void *data, size_t size)
{
    int error = write_make_directory_of(path);
    return error != 0 ? error : write_whole(path, data, size);
}
