/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See file.h. */
#include "store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/error.h>

int cpni_file_code(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return CPN_ENOSPC;
    case ENOENT:
    case ENOTDIR:
        return CPN_ENOTFOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return CPN_EDENIED;
    case EEXIST:
        return CPN_EEXISTS;
    case EFBIG:
        return CPN_ETOOBIG;
    case ENOMEM:
        return CPN_ENOMEM;
    default:
        return CPN_EIO;
    }
}

int cpni_file_open(int dir, const char *path, int flags, unsigned mode)
{
    int fd = openat(dir, path, flags | O_CLOEXEC, mode);
    return fd < 0 ? cpni_file_code(errno) : fd;
}

int cpni_file_write(int fd, const void *data, size_t size, uint64_t at)
{
    const uint8_t *from = data;
    while (size != 0) {
        ssize_t done = pwrite(fd, from, size, (off_t)at);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return cpni_file_code(errno);
        }
        from += done;
        at += (uint64_t)done;
        size -= (size_t)done;
    }
    return 0;
}

int cpni_file_read(int fd, void *data, size_t size, uint64_t at)
{
    uint8_t *to = data;
    while (size != 0) {
        ssize_t done = pread(fd, to, size, (off_t)at);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return cpni_file_code(errno);
        }
        if (done == 0) {
            errno = 0;
            return CPN_ECORRUPT;
        }
        to += done;
        at += (uint64_t)done;
        size -= (size_t)done;
    }
    return 0;
}

int cpni_file_size(int fd, uint64_t *size)
{
    struct stat info;
    if (fstat(fd, &info) < 0) {
        return cpni_file_code(errno);
    }
    *size = (uint64_t)info.st_size;
    return 0;
}

int cpni_file_reserve(int fd, uint64_t size)
{
    if (size == 0 || fallocate(fd, 0, 0, (off_t)size) == 0) {
        return 0;
    }
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR) {
        return cpni_file_code(errno);
    }
    return ftruncate(fd, (off_t)size) < 0 ? cpni_file_code(errno) : 0;
}

int cpni_file_sync(int fd)
{
    return fsync(fd) < 0 ? cpni_file_code(errno) : 0;
}

int cpni_file_sync_dir(int dir, const char *path)
{
    int fd = cpni_file_open(dir, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) {
        return fd;
    }
    int rc = cpni_file_sync(fd);
    int saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

int cpni_file_mkdir(int dir, const char *path)
{
    if (mkdirat(dir, path, 0700) == 0) {
        return 1;
    }
    return errno == EEXIST ? 0 : cpni_file_code(errno);
}

int cpni_file_rename(int dir, const char *from, const char *to)
{
    return renameat(dir, from, dir, to) < 0 ? cpni_file_code(errno) : 0;
}

int cpni_file_remove(int dir, const char *path)
{
    return unlinkat(dir, path, 0) < 0 && errno != ENOENT ? cpni_file_code(errno) : 0;
}

int cpni_file_create(int dir, const char *path, const void *data, size_t size, int sync)
{
    int fd = cpni_file_open(dir, path, O_WRONLY | O_CREAT | O_TRUNC, 0444);
    if (fd < 0) {
        return fd;
    }
    int rc = cpni_file_write(fd, data, size, 0);
    if (rc == 0 && sync) {
        rc = cpni_file_sync(fd);
    }
    int saved = errno;
    close(fd);
    if (rc < 0) {
        cpni_file_remove(dir, path);
    }
    errno = saved;
    return rc;
}
