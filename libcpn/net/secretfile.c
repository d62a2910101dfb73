/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See secretfile.h. */
#include "net/secretfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/error.h>

static int fail(char *detail, const char *what, const char *path)
{
    const int error = errno;
    cpni_explain(detail, "cannot %s key file %s: %s", what, path, strerror(error));
    switch (error) {
    case ENOENT:
        return CPN_ENOTFOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return CPN_EDENIED;
    case EEXIST:
        return CPN_EEXISTS;
    case ENOSPC:
    case EDQUOT:
        return CPN_ENOSPC;
    default:
        return CPN_EIO;
    }
}

static int sync_directory_of(const char *path)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const int size = slash == NULL ? 0 : (int)(slash - path) + 1;
    snprintf(directory, sizeof directory, "%.*s.", size, path);
    const int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int rc = fd >= 0 ? fsync(fd) : -1;
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

/* The file under a temporary name, on disk. */
static int write_temporary(const char *temporary, const char *text, size_t size)
{
    unlink(temporary); /* of a start that crashed here */
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    const ssize_t written = write(fd, text, size);
    if (written >= 0 && written != (ssize_t)size) {
        errno = ENOSPC;
    }
    const int rc = written == (ssize_t)size && fsync(fd) == 0 ? 0 : -1;
    const int saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

int cpni_secretfile_write(const char *path, const char *text, size_t size, bool replace, char *detail)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary) {
        errno = ENAMETOOLONG;
        return fail(detail, "write", path);
    }
    int rc = 0;
    if (write_temporary(temporary, text, size) != 0 ||
        renameat2(AT_FDCWD, temporary, AT_FDCWD, path, replace ? 0 : RENAME_NOREPLACE) != 0) {
        rc = fail(detail, "write", path);
        unlink(temporary);
    } else if (sync_directory_of(path) != 0) {
        rc = fail(detail, "write", path);
    }
    return rc;
}

int cpni_secretfile_read(const char *path, char *text, size_t room, char *detail)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return fail(detail, "read", path);
    }
    struct stat status;
    int rc = fstat(fd, &status);
    if (rc != 0) {
        rc = fail(detail, "read", path);
    } else if (!S_ISREG(status.st_mode)) {
        cpni_explain(detail, "%s is not a key file", path);
        rc = CPN_ECORRUPT;
    } else if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        cpni_explain(detail, "key file %s can be read by others (mode %04o): anybody may have copied it. chmod 600 it"
                             " if you are sure that nobody did", path, (unsigned)(status.st_mode & 07777));
        rc = CPN_EDENIED;
    } else {
        const ssize_t got = read(fd, text, room - 1);
        rc = got < 0 ? fail(detail, "read", path) : (int)got;
        text[got < 0 ? 0 : got] = 0;
    }
    close(fd);
    return rc;
}

