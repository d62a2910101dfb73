/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See outfile.h. */
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where the file is to lie in the end. */
static int resolve(struct outfile *out, const char *path, bool *as_it_is)
{
    struct stat status;
    *as_it_is = false;
    if (stat(path, &status) != 0) {
        int length = errno == ENOENT ? snprintf(out->path, sizeof out->path, "%s", path) : -1;
        return length < 0 ? errno : length >= (int)sizeof out->path ? ENAMETOOLONG : 0;
    }
    *as_it_is = !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
    if (S_ISDIR(status.st_mode)) {
        return EISDIR;
    }
    return *as_it_is || realpath(path, out->path) != NULL ? 0 : errno;
}

static int open_beside(struct outfile *out, mode_t mode)
{
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != sizeof number) {
        return -1;
    }
    const char *slash = strrchr(out->path, '/');
    int dir = slash != NULL ? (int)(slash - out->path) + 1 : 0;
    if (snprintf(out->temporary, sizeof out->temporary, "%.*s.cpn-%016llx.part", dir, out->path, (unsigned long long)number)
        >= (int)sizeof out->temporary) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
}

int outfile_open(struct outfile *out, const char *path, mode_t mode)
{
    bool as_it_is = false;
    out->file = NULL;
    out->temporary[0] = 0;
    int error = resolve(out, path, &as_it_is);
    if (error != 0) {
        return error;
    }
    int fd = as_it_is ? open(path, O_WRONLY | O_CLOEXEC) : open_beside(out, mode);
    if (fd < 0) {
        return errno;
    }
    out->file = fdopen(fd, "w");
    if (out->file == NULL) {
        close(fd);
        unlink(out->temporary);
        return ENOMEM;
    }
    return 0;
}

int outfile_close(struct outfile *out, bool keep)
{
    int error = ferror(out->file) != 0 ? EIO : 0;
    error = fclose(out->file) != 0 ? errno : error;
    if (out->temporary[0] == 0) {
        return error;
    }
    if (keep && error == 0 && rename(out->temporary, out->path) != 0) {
        error = errno;
    }
    if (!keep || error != 0) {
        unlink(out->temporary);
    }
    return error;
}
