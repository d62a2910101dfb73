/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* base/outfile.h: files that somebody named, whatever lies there. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../lib/tempdir.h"
#include "base/outfile.h"

struct place {
    char dir[128], file[160], link[160], pipe[160];
};

static int set_up(void **state)
{
    static struct place place;
    assert_non_null(tempdir_make(place.dir));
    snprintf(place.file, sizeof place.file, "%s/file", place.dir);
    snprintf(place.link, sizeof place.link, "%s/link", place.dir);
    snprintf(place.pipe, sizeof place.pipe, "%s/pipe", place.dir);
    *state = &place;
    return 0;
}

static int tear_down(void **state)
{
    tempdir_remove(((struct place *)*state)->dir);
    return 0;
}

static void assert_holds(const char *path, const char *text)
{
    char read[64] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(read, 1, sizeof read - 1, file), strlen(text));
    fclose(file);
    assert_string_equal(read, text);
}

static unsigned kind_of(const char *path)
{
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return status.st_mode & S_IFMT;
}

static void a_file_is_made_or_replaced(void **state)
{
    const struct place *place = *state;
    assert_int_equal(cpni_outfile_write(place->file, "first", 5), 0);
    assert_int_equal(cpni_outfile_write(place->file, "2", 1), 0);
    assert_holds(place->file, "2");
    assert_int_equal(unlink(place->file), 0);
    assert_int_equal(rmdir(place->dir), 0); /* nothing else was left there */
    assert_int_equal(cpni_outfile_write(place->file, "2", 1), ENOENT);
}

static void a_link_stays_one(void **state)
{
    const struct place *place = *state;
    assert_int_equal(cpni_outfile_write(place->file, "old", 3), 0);
    assert_int_equal(symlink("file", place->link), 0);
    assert_int_equal(cpni_outfile_write(place->link, "new", 3), 0);
    assert_int_equal(kind_of(place->link), S_IFLNK);
    assert_holds(place->file, "new");
}

/* `-o /dev/null` of an administrator replaced the machine's /dev/null by a file. */
static void what_is_no_file_is_never_replaced(void **state)
{
    const struct place *place = *state;
    char got[8] = "";
    assert_int_equal(mkfifo(place->pipe, 0600), 0);
    int reader = open(place->pipe, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    assert_int_equal(cpni_outfile_write(place->pipe, "bytes", 5), 0);
    assert_int_equal(read(reader, got, sizeof got), 5);
    assert_string_equal(got, "bytes");
    close(reader);
    assert_int_equal(kind_of(place->pipe), S_IFIFO);
    assert_int_equal(symlink("/dev/full", place->link), 0);
    assert_int_equal(cpni_outfile_write(place->link, "bytes", 5), ENOSPC);
    assert_int_equal(kind_of(place->link), S_IFLNK);
    assert_int_equal(cpni_outfile_write(place->dir, "bytes", 5), EISDIR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_made_or_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_link_stays_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_never_replaced, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
