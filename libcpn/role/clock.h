/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The one place where roles read the clocks. */
#ifndef CPNI_CLOCK_H
#define CPNI_CLOCK_H

#include "core/event.h"

struct cpni_now cpni_clock_now(void);

/* Milliseconds to sleep until `at_us` (monotonic; INT64_MAX: never) but no longer than limit_ms (-1: no limit). Rounded up, so that the
 * sleeper does not wake a moment early and spin. */
int cpni_clock_timeout_ms(const struct cpni_now *now, int64_t at_us, int limit_ms);

#endif
