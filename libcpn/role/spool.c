/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See spool.h. */
#include "role/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cpn/error.h>

#define PREFIX "cpn-spool-"
#define YOUNG_S 60 /* between its making and its lock a folder looks abandoned */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

void cpni_spool_remove(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Ours, old enough, and nobody holds it. */
static bool abandoned(int parent, const char *name)
{
    struct stat status;
    int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0) {
        return false;
    }
    bool is = fstat(dir, &status) == 0 && status.st_uid == geteuid() && time(NULL) - status.st_mtime > YOUNG_S &&
              flock(dir, LOCK_EX | LOCK_NB) == 0;
    close(dir);
    return is;
}

static void sweep(const char *parent)
{
    char path[PATH_MAX];
    DIR *dir = opendir(parent);
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        bool named = strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0;
        if (named && abandoned(dirfd(dir), entry->d_name) &&
            snprintf(path, sizeof path, "%s/%s", parent, entry->d_name) < (int)sizeof path) {
            cpni_spool_remove(path);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

int cpni_spool_make(const char *parent, char path[PATH_MAX])
{
    sweep(parent);
    if (snprintf(path, PATH_MAX, "%s/" PREFIX "XXXXXX", parent) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return CPN_EINVAL;
    }
    return mkdtemp(path) != NULL ? 0 : CPN_EIO;
}
