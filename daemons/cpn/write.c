/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See write.h. */
#include "write.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t wrote = write(fd, data, size);
        if (wrote < 0 && errno != EINTR) {
            return errno;
        }
        if (wrote > 0) {
            data += wrote;
            size -= (size_t)wrote;
        }
    }
    return 0;
}

int write_copy(const char *path, const void *data, size_t size)
{
    char temporary[PATH_MAX];
    int rc = write_make_directory_of(path);
    if (rc == 0 && snprintf(temporary, sizeof temporary, "%s.part", path) >= (int)sizeof temporary) {
        rc = ENAMETOOLONG;
    }
    if (rc != 0) {
        return rc;
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        return errno;
    }
    rc = write_all(fd, data, size);
    if (close(fd) != 0 && rc == 0) {
        rc = errno;
    }
    if (rc == 0 && rename(temporary, path) != 0) {
        rc = errno;
    }
    if (rc != 0) {
        unlink(temporary);
    }
    return rc;
}
