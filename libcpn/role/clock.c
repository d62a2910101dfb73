/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See clock.h. */
#include "role/clock.h"

#include <limits.h>
#include <time.h>

struct cpni_now cpni_clock_now(void)
{
    struct timespec mono;
    struct timespec wall;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    clock_gettime(CLOCK_REALTIME, &wall);
    return (struct cpni_now){
        .mono_us = (int64_t)mono.tv_sec * 1000000 + mono.tv_nsec / 1000,
        .wall_us = (int64_t)wall.tv_sec * 1000000 + wall.tv_nsec / 1000,
    };
}

int cpni_clock_timeout_ms(const struct cpni_now *now, int64_t at_us, int limit_ms)
{
    if (at_us == INT64_MAX) {
        return limit_ms;
    }
    int64_t left_ms = at_us <= now->mono_us ? 0 : (at_us - now->mono_us + 999) / 1000;
    if (limit_ms >= 0 && left_ms > limit_ms) {
        return limit_ms;
    }
    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}
