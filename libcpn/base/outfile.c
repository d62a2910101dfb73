/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See outfile.h. */
#include "base/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t wrote = write(fd, data, size);
        if (wrote < 0 && errno != EINTR) {
            return errno;
        }
        data += wrote > 0 ? wrote : 0;
        size -= wrote > 0 ? (size_t)wrote : 0;
    }
    return 0;
}

/* Takes the descriptor. */
static int fill(int fd, const void *data, size_t size)
{
    int error = write_all(fd, data, size);
    if (close(fd) != 0 && error == 0) { /* where quotas and networks tell it */
        error = errno;
    }
    return error;
}

static int write_beside(const char *path, const void *data, size_t size)
{
    char temporary[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int dir = slash != NULL ? (int)(slash - path) + 1 : 0;
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != sizeof number) {
        return errno;
    }
    if (snprintf(temporary, sizeof temporary, "%.*s.cpn-%016llx.part", dir, path, (unsigned long long)number) >= (int)sizeof temporary) {
        return ENAMETOOLONG;
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        return errno;
    }
    int error = fill(fd, data, size);
    if (error == 0 && rename(temporary, path) != 0) {
        error = errno;
    }
    if (error != 0) {
        unlink(temporary);
    }
    return error;
}

int cpni_outfile_write(const char *path, const void *data, size_t size)
{
    struct stat status;
    char target[PATH_MAX];
    if (stat(path, &status) != 0) {
        return errno == ENOENT ? write_beside(path, data, size) : errno;
    }
    if (S_ISDIR(status.st_mode)) {
        return EISDIR;
    }
    if (S_ISREG(status.st_mode)) {
        return realpath(path, target) != NULL ? write_beside(target, data, size) : errno;
    }
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 ? fill(fd, data, size) : errno;
}
