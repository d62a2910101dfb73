/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See keyfile.h. */
#include "keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include <cpn/error.h>

#define CURVE_KIND "cpn-curve-secret-1"
#define SIGN_KIND "cpn-sign-secret-1"
#define SECRET_BYTES_MAX 64
#define LINE_MAX_BYTES 256 /* a kind, a space, the secret in hexadecimal and a line end */

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
static int write_temporary(const char *temporary, const char *line, size_t size)
{
    unlink(temporary); /* of a start that crashed here */
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    const ssize_t written = write(fd, line, size);
    if (written >= 0 && written != (ssize_t)size) {
        errno = ENOSPC;
    }
    const int rc = written == (ssize_t)size && fsync(fd) == 0 ? 0 : -1;
    const int saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

static int write_line(const char *path, const char *line, size_t size, char *detail)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary) {
        errno = ENAMETOOLONG;
        return fail(detail, "write", path);
    }
    int rc = 0;
    if (write_temporary(temporary, line, size) != 0 || renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) != 0) {
        rc = fail(detail, "write", path);
        unlink(temporary);
    } else if (sync_directory_of(path) != 0) {
        rc = fail(detail, "write", path);
    }
    return rc;
}

static int write_secret(const char *path, const char *kind, const uint8_t *secret, size_t size, char *detail)
{
    char hex[2 * SECRET_BYTES_MAX + 1];
    char line[LINE_MAX_BYTES];
    sodium_bin2hex(hex, sizeof hex, secret, size);
    const int length = snprintf(line, sizeof line, "%s %s\n", kind, hex);
    const int rc = write_line(path, line, (size_t)length, detail);
    sodium_memzero(hex, sizeof hex);
    sodium_memzero(line, sizeof line);
    return rc;
}

/* The line of a file that nobody else can read; its size, or an error. */
static int read_line(const char *path, char line[LINE_MAX_BYTES], char *detail)
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
        cpni_explain(detail, "key file %s can be read by others (mode %04o): anybody may have copied it. chmod 600 it if you"
                     " are sure that nobody did", path, (unsigned)(status.st_mode & 07777));
        rc = CPN_EDENIED;
    } else {
        const ssize_t got = read(fd, line, LINE_MAX_BYTES - 1);
        rc = got < 0 ? fail(detail, "read", path) : (int)got;
    }
    close(fd);
    return rc;
}

static int read_secret(const char *path, const char *kind, uint8_t *secret, size_t size, char *detail)
{
    char line[LINE_MAX_BYTES];
    int rc = read_line(path, line, detail);
    if (rc >= 0) {
        const size_t prefix = strlen(kind) + 1;
        const size_t expected = prefix + 2 * size + 1;
        size_t decoded = 0;
        const bool shaped = (size_t)rc == expected && strncmp(line, kind, prefix - 1) == 0 && line[prefix - 1] == ' ' &&
                            line[expected - 1] == '\n';
        rc = shaped && sodium_hex2bin(secret, size, line + prefix, 2 * size, NULL, &decoded, NULL) == 0 && decoded == size
                 ? 0
                 : CPN_ECORRUPT;
        if (rc != 0) {
            cpni_explain(detail, "%s is damaged or not a key file of this kind (it starts with %s)", path, kind);
        }
    }
    sodium_memzero(line, sizeof line);
    return rc;
}

int cpni_keyfile_write_curve(const char *path, const struct cpni_curve_keys *keys, char detail[CPNI_NET_DETAIL])
{
    return write_secret(path, CURVE_KIND, keys->secret, sizeof keys->secret, detail);
}

int cpni_keyfile_read_curve(const char *path, struct cpni_curve_keys *out, char detail[CPNI_NET_DETAIL])
{
    uint8_t secret[sizeof out->secret];
    const int rc = read_secret(path, CURVE_KIND, secret, sizeof secret, detail);
    if (rc == 0) {
        cpni_curve_from_secret(secret, out);
    }
    sodium_memzero(secret, sizeof secret);
    return rc;
}

int cpni_keyfile_write_sign(const char *path, const struct cpni_sign_keys *keys, char detail[CPNI_NET_DETAIL])
{
    return write_secret(path, SIGN_KIND, keys->secret, sizeof keys->secret, detail);
}

int cpni_keyfile_read_sign(const char *path, struct cpni_sign_keys *out, char detail[CPNI_NET_DETAIL])
{
    uint8_t secret[sizeof out->secret];
    const int rc = read_secret(path, SIGN_KIND, secret, sizeof secret, detail);
    if (rc == 0) {
        cpni_sign_from_secret(secret, out);
    }
    sodium_memzero(secret, sizeof secret);
    return rc;
}
