/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the tests of tables and datasets share. */
#ifndef DATASET_FIXTURE_H
#define DATASET_FIXTURE_H

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "base/random.h"
#include "data/csv_convert.h"
#include "data/dataset.h"

static struct cpni_csv_report report;

static int file_of(const void *bytes, size_t size)
{
    int fd = memfd_create("table", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static int new_file(void)
{
    int fd = memfd_create("dataset", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Convert a text; the dataset's descriptor, or the error. */
static int converted(struct cpni_csv_options options, const char *text)
{
    int in = file_of(text, strlen(text)), out = new_file();
    options.name = "t.csv";
    int rc = cpni_csv_convert(&options, in, out, &report);
    close(in);
    if (rc < 0) {
        close(out);
        assert_true(report.errors >= 1 && report.error[0][0] != '\0');
        return rc;
    }
    assert_int_equal(report.errors, 0);
    return out;
}

static struct cpni_dataset opened(struct cpni_csv_options options, const char *text)
{
    struct cpni_dataset set;
    char detail[CPNI_DATA_DETAIL] = "";
    int fd = converted(options, text);
    if (fd < 0) {
        fail_msg("%s", report.error[0]);
    }
    if (cpni_dataset_open(fd, &set, detail) < 0) {
        fail_msg("%s", detail);
    }
    close(fd);
    return set;
}

static const struct cpni_csv_options by_y = { .label = "y" };

#endif
