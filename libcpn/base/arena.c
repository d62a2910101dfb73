/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See arena.h. */
#include "arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include <cpn/error.h>

#include "alloc.h"

#define BLOCK_SIZE ((size_t)16 * 1024 - sizeof(struct cpni_arena_block))

struct cpni_arena_block {
    struct cpni_arena_block *next;
    size_t used;
    size_t size;
    alignas(max_align_t) uint8_t data[];
};

static struct cpni_arena_block *add_block(struct cpni_arena *arena, size_t room)
{
    struct cpni_arena_block *block = cpni_malloc(sizeof *block + room);
    if (block != NULL) {
        block->next = arena->blocks;
        block->used = 0;
        block->size = room;
        arena->blocks = block;
    }
    return block;
}

static size_t rounded(size_t size)
{
    const size_t align = alignof(max_align_t);
    return (size + align - 1) / align * align;
}

int cpni_arena_reserve(struct cpni_arena *arena, size_t size)
{
    assert(arena->blocks == NULL);
    return add_block(arena, rounded(size)) == NULL ? CPN_ENOMEM : 0;
}

void *cpni_arena_alloc(struct cpni_arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size = rounded(size);
    struct cpni_arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < size) {
        block = add_block(arena, size > BLOCK_SIZE ? size : BLOCK_SIZE);
        if (block == NULL) {
            return NULL;
        }
    }
    void *memory = block->data + block->used;
    block->used += size;
    memset(memory, 0, size);
    return memory;
}

void *cpni_arena_memdup(struct cpni_arena *arena, const void *data, size_t size)
{
    void *copy = cpni_arena_alloc(arena, size);
    if (copy != NULL && size != 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

void cpni_arena_reset(struct cpni_arena *arena)
{
    struct cpni_arena_block *kept = NULL;
    while (arena->blocks != NULL) {
        struct cpni_arena_block *block = arena->blocks;
        arena->blocks = block->next;
        if (kept == NULL && block->size == BLOCK_SIZE) {
            kept = block;
        } else {
            cpni_free(block);
        }
    }
    if (kept != NULL) {
        kept->next = NULL;
        kept->used = 0;
        arena->blocks = kept;
    }
}

void cpni_arena_free(struct cpni_arena *arena)
{
    while (arena->blocks != NULL) {
        struct cpni_arena_block *block = arena->blocks;
        arena->blocks = block->next;
        cpni_free(block);
    }
}
