/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A directory of a test's own, gone afterwards. */
#ifndef TESTS_TEMPDIR_H
#define TESTS_TEMPDIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Makes one under $TMPDIR or /tmp. Returns `path`, or NULL. */
static inline char *tempdir_make(char path[128])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, 128, "%s/cpn-test-XXXXXX", base != NULL ? base : "/tmp");
    return mkdtemp(path);
}

static inline int tempdir_remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

static inline void tempdir_remove(const char *path)
{
    nftw(path, tempdir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
