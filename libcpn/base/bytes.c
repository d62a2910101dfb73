/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See bytes.h. */
#include "bytes.h"

#include <assert.h>

#include "alloc.h"

struct cpni_bytes *cpni_bytes_wrap(const void *data, size_t size, void (*release)(void *arg), void *arg)
{
    struct cpni_bytes *bytes = cpni_malloc(sizeof *bytes);
    if (bytes == NULL) {
        return NULL;
    }
    *bytes = (struct cpni_bytes){ .data = data, .size = size, .refs = 1, .release = release, .arg = arg };
    return bytes;
}

struct cpni_bytes *cpni_bytes_take(void *data, size_t size)
{
    return cpni_bytes_wrap(data, size, cpni_free, data);
}

struct cpni_bytes *cpni_bytes_copy(const void *data, size_t size)
{
    void *copy = cpni_memdup(data, size);
    struct cpni_bytes *bytes = copy != NULL ? cpni_bytes_take(copy, size) : NULL;
    if (bytes == NULL) {
        cpni_free(copy);
    }
    return bytes;
}

static void release_whole(void *arg)
{
    cpni_bytes_unref(arg);
}

struct cpni_bytes *cpni_bytes_slice(struct cpni_bytes *bytes, size_t offset, size_t size)
{
    assert(offset <= bytes->size && size <= bytes->size - offset);
    if (size == bytes->size) {
        return cpni_bytes_ref(bytes);
    }
    struct cpni_bytes *slice = cpni_bytes_wrap(bytes->data + offset, size, release_whole, bytes);
    if (slice != NULL) {
        cpni_bytes_ref(bytes);
    }
    return slice;
}

struct cpni_bytes *cpni_bytes_ref(struct cpni_bytes *bytes)
{
    if (bytes != NULL) {
        __atomic_add_fetch(&bytes->refs, 1, __ATOMIC_RELAXED);
    }
    return bytes;
}

void cpni_bytes_unref(struct cpni_bytes *bytes)
{
    if (bytes == NULL || __atomic_sub_fetch(&bytes->refs, 1, __ATOMIC_ACQ_REL) != 0) {
        return;
    }
    if (bytes->release != NULL) {
        bytes->release(bytes->arg);
    }
    cpni_free(bytes);
}

bool cpni_all_zero(const void *data, size_t size)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < size; i++) {
        if (at[i] != 0) {
            return false;
        }
    }
    return true;
}
