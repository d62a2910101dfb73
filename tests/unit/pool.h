/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* For tests of the pool: one with the real runner, and jobs of the echo backend that take their input for a command. */
#ifndef TESTS_POOL_H
#define TESTS_POOL_H

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
#include "compute/runner.h"

#define PATIENCE_US 30000000

static inline struct cpni_pool *open_pool(uint32_t slots, uint64_t memory_bytes)
{
    struct cpni_pool_options options = { .slots = slots, .runner = CPN_TEST_RUNNER, .plugins = CPN_TEST_PLUGINS };
    options.memory_bytes = memory_bytes;
    options.runner_bytes = 256u << 20;
    struct cpni_pool *pool = NULL;
    char detail[CPN_BACKEND_DETAIL] = "";
    assert_int_equal(cpni_pool_open(&options, &pool, detail), 0);
    return pool;
}

/* A job of an echo model that takes its input for a command. */
static inline struct cpni_job command_job(uint64_t ticket, const char *key, const char *command)
{
    static const struct cpn_backend_param params[] = { { "test", "1" } };
    struct cpni_job job = { .ticket = ticket, .model = { key, "/", "echo", params, 1 } };
    job.input = cpni_bytes_copy(command, strlen(command));
    assert_non_null(job.input);
    return job;
}

static inline void start(struct cpni_pool *pool, uint32_t slot, struct cpni_job job)
{
    assert_int_equal(cpni_pool_start(pool, slot, &job), 0);
    cpni_bytes_unref(job.input);
}

static inline struct cpni_outcome next(struct cpni_pool *pool)
{
    struct cpni_outcome out = { 0 };
    struct pollfd fd = { .fd = cpni_pool_fd(pool), .events = POLLIN };
    assert_int_equal(poll(&fd, 1, PATIENCE_US / 1000), 1);
    assert_int_equal(cpni_pool_next(pool, &out), 1);
    return out;
}

static inline struct cpni_outcome obey(struct cpni_pool *pool, const char *command)
{
    static uint64_t ticket = 1000;
    start(pool, 0, command_job(++ticket, "echo@1", command));
    struct cpni_outcome out = next(pool);
    assert_int_equal(out.ticket, ticket);
    return out;
}

static inline uint64_t spawned(struct cpni_pool *pool)
{
    struct cpni_pool_usage usage;
    cpni_pool_usage(pool, &usage);
    return usage.spawned;
}

#endif
