/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* For tests of backends: a pool of one slot with the real runner, a directory to work in, and files. */
#ifndef TESTS_BACKENDS_H
#define TESTS_BACKENDS_H

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "compute/pool.h"

#define DOC_PHOTOS "/usr/share/doc/opencv-doc/examples/data"
#define CASCADES "/usr/share/opencv4/haarcascades"
#define PATIENCE_MS 120000

static struct cpni_pool *pool;

static inline int open_pool(void **state)
{
    (void)state;
    struct cpni_pool_options options = { .runner = CPN_TEST_RUNNER, .plugins = CPN_TEST_PLUGINS };
    char detail[CPN_BACKEND_DETAIL];
    return cpni_pool_open(&options, &pool, detail);
}

static inline int close_pool(void **state)
{
    (void)state;
    cpni_pool_close(pool);
    return 0;
}

static inline struct cpni_outcome ask(const struct cpni_pool_model *model, const void *data, size_t size, bool annotate)
{
    struct cpni_job job = { .ticket = 1, .model = *model, .input = cpni_bytes_copy(data, size), .annotate = annotate };
    assert_int_equal(cpni_pool_start(pool, 0, &job), 0);
    cpni_bytes_unref(job.input);
    struct pollfd fd = { .fd = cpni_pool_fd(pool), .events = POLLIN };
    assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
    struct cpni_outcome out = { 0 };
    assert_int_equal(cpni_pool_next(pool, &out), 1);
    return out;
}

static inline uint8_t *read_file(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        return NULL;
    }
    uint8_t *data = malloc(16u << 20);
    *size = fread(data, 1, 16u << 20, in);
    fclose(in);
    return data;
}

static inline struct cpni_outcome ask_file(const struct cpni_pool_model *model, const char *path, bool annotate)
{
    size_t size = 0;
    uint8_t *data = read_file(path, &size);
    assert_non_null(data);
    struct cpni_outcome out = ask(model, data, size, annotate);
    free(data);
    return out;
}

static inline const char *data_dir(void)
{
    const char *dir = getenv("CPN_TEST_DATA");
    return dir != NULL ? dir : CPN_SOURCE_ROOT "/../shared/data";
}

static inline void need(const char *path)
{
    if (access(path, R_OK) < 0) {
        printf("[  SKIPPED ] no %s\n", path);
        skip();
    }
}

static char workdir[64];

static inline int make_workdir(void **state)
{
    strcpy(workdir, "/tmp/cpn-backends-XXXXXX");
    return mkdtemp(workdir) == NULL ? -1 : open_pool(state);
}

static inline int remove_workdir(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", workdir);
    return system(command) + close_pool(state);
}

#endif
