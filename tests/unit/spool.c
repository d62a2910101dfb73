/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* role/spool: what a client that was killed left behind goes, what others still use stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cpn/error.h>

#include "role/spool.h"

/* A folder with a file in it, last changed so many seconds ago. */
static void folder(char path[PATH_MAX], const char *parent, const char *name, int age_s)
{
    char file[PATH_MAX + 8];
    const struct timespec times[2] = { { .tv_sec = time(NULL) - age_s }, { .tv_sec = time(NULL) - age_s } };
    assert_true(snprintf(path, PATH_MAX, "%s/%s", parent, name) < PATH_MAX);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(file, sizeof file, "%s/blob", path);
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void abandoned_folders_go(void **state)
{
    (void)state;
    char parent[] = "/tmp/cpn-test-XXXXXX", left[PATH_MAX], used[PATH_MAX], young[PATH_MAX], other[PATH_MAX], made[PATH_MAX];
    assert_non_null(mkdtemp(parent));
    folder(left, parent, "cpn-spool-aaaaaa", 1000);
    folder(used, parent, "cpn-spool-bbbbbb", 1000);
    folder(young, parent, "cpn-spool-cccccc", 0);
    folder(other, parent, "else-aaaaaa", 1000);
    int lock = open(used, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(cpni_spool_make(parent, made), 0);
    assert_int_equal(access(made, R_OK | W_OK | X_OK), 0);
    assert_int_equal(access(left, F_OK), -1);
    assert_int_equal(access(used, F_OK), 0);
    assert_int_equal(access(young, F_OK), 0);
    assert_int_equal(access(other, F_OK), 0);
    close(lock);
    cpni_spool_remove(parent);
    assert_int_equal(access(parent, F_OK), -1);
}

static void where_none_can_be(void **state)
{
    (void)state;
    char made[PATH_MAX], long_name[PATH_MAX];
    assert_int_equal(cpni_spool_make("/nonexistent", made), CPN_EIO);
    assert_int_equal(errno, ENOENT);
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    assert_int_equal(cpni_spool_make(long_name, made), CPN_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(abandoned_folders_go),
        cmocka_unit_test(where_none_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
