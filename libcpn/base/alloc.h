/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Memory. The only place where libcpn asks for it, so that a test can make the nth request fail (tests/fault).
 * Must not know what the memory is for. */
#ifndef CPNI_ALLOC_H
#define CPNI_ALLOC_H

#include <stddef.h>

void *cpni_malloc(size_t size);
void *cpni_calloc(size_t count, size_t size);
void *cpni_realloc(void *old, size_t size);
void *cpni_memdup(const void *data, size_t size);
char *cpni_strdup(const char *text);
void cpni_free(void *memory); /* NULL is fine */

/* Tests only: the nth request from now (1 = the next) fails once; 0 disarms. Returns how many requests were made since
 * the last call. */
unsigned cpni_alloc_fail(unsigned nth);

#endif
