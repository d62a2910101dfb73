/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a runner gives up before it sees its first input. */
#ifndef CPNI_SANDBOX_H
#define CPNI_SANDBOX_H

#include <stdint.h>

/* Die with the parent, whatever this process is doing then. CPN_ECLOSED when `parent` is gone already. */
int cpni_sandbox_follow(long parent);

/* Limits and the system call filter, for good. `flags` of enum cpn_backend_flag, `threads` that the backend may have,
 * `memory_bytes` more address space than now. `detail` has CPN_BACKEND_DETAIL bytes. */
int cpni_sandbox_enter(uint32_t flags, uint32_t threads, uint64_t memory_bytes, char *detail);

#endif
