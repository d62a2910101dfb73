/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Immutable bytes shared by reference count: payloads travel from socket to runner and back without a copy.
 * Must not know where the bytes came from: whoever wraps them says how they are released. ref and unref are thread-safe. */
#ifndef CPNI_BYTES_H
#define CPNI_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpni_bytes {
    const uint8_t *data;
    size_t size;
    unsigned refs; /* atomic */
    void (*release)(void *arg);
    void *arg;
};

/* New references, NULL when out of memory. copy copies; take owns malloc'd (cpni_malloc) data, on success only; wrap calls
 * release(arg) with the last unref. */
struct cpni_bytes *cpni_bytes_copy(const void *data, size_t size);
struct cpni_bytes *cpni_bytes_take(void *data, size_t size);
struct cpni_bytes *cpni_bytes_wrap(const void *data, size_t size, void (*release)(void *arg), void *arg);

/* A part of others, which live on while the part does: nothing is copied. All of them: another reference. NULL when out of memory. */
struct cpni_bytes *cpni_bytes_slice(struct cpni_bytes *bytes, size_t offset, size_t size);

struct cpni_bytes *cpni_bytes_ref(struct cpni_bytes *bytes); /* returns its argument; NULL is fine */
void cpni_bytes_unref(struct cpni_bytes *bytes);             /* NULL is fine */

/* Ids, keys and hashes of all zeros mean "none". */
bool cpni_all_zero(const void *data, size_t size);

#endif
