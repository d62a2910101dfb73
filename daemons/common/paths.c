/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See paths.h. */
#include "paths.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool below_config(const char *name, char *path, size_t room)
{
    const char *xdg = getenv("XDG_CONFIG_HOME");
    if (xdg != NULL && xdg[0] == '/') {
        return snprintf(path, room, "%s/cpn/%s", xdg, name) < (int)room;
    }
    const char *home = getenv("HOME");
    const struct passwd *user = home == NULL || *home == 0 ? getpwuid(getuid()) : NULL;
    home = user != NULL ? user->pw_dir : home;
    return home != NULL && *home != 0 && snprintf(path, room, "%s/.config/cpn/%s", home, name) < (int)room;
}

bool paths_context(char *path, size_t room)
{
    return below_config("context", path, room);
}

bool paths_config(char *path, size_t room)
{
    return below_config("cpn.conf", path, room);
}

int paths_make(const char *dir, unsigned mode)
{
    char path[PATHS_MAX];
    if (snprintf(path, sizeof path, "%s", dir) >= (int)sizeof path) {
        return ENAMETOOLONG;
    }
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, mode) != 0 && errno != EEXIST) {
            return errno;
        }
        *slash = '/';
    }
    struct stat status;
    if (mkdir(path, mode) != 0 && errno != EEXIST) {
        return errno;
    }
    return stat(path, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
}

int paths_make_parent(const char *path)
{
    char dir[PATHS_MAX];
    if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir) {
        return ENAMETOOLONG;
    }
    char *slash = strrchr(dir, '/');
    if (slash == NULL || slash == dir) {
        return 0;
    }
    *slash = 0;
    return paths_make(dir, 0700);
}
