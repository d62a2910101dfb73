/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See mapping.h. */
#include "role/mapping.h"

#include <sys/mman.h>

#include "base/alloc.h"

struct mapping {
    void *at;
    size_t size;
};

static void unmap(void *arg)
{
    struct mapping *mapping = arg;
    munmap(mapping->at, mapping->size);
    cpni_free(mapping);
}

struct cpni_bytes *cpni_mapping_open(int fd, size_t size)
{
    struct mapping *mapping = cpni_malloc(sizeof *mapping);
    if (mapping == NULL) {
        return NULL;
    }
    *mapping = (struct mapping){ mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0), size };
    if (mapping->at == MAP_FAILED) {
        cpni_free(mapping);
        return NULL;
    }
    struct cpni_bytes *bytes = cpni_bytes_wrap(mapping->at, size, unmap, mapping);
    if (bytes == NULL) {
        unmap(mapping);
    }
    return bytes;
}
