/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See heap.h. Indices are 1-based: the parent of i is i / 2. */
#include "heap.h"

#include <assert.h>

#include <cpn/error.h>

#include "alloc.h"

static bool before(const struct cpni_heap_entry *a, const struct cpni_heap_entry *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->sequence < b->sequence;
}

static void place(struct cpni_heap *heap, struct cpni_heap_entry *entry, size_t index)
{
    heap->entries[index - 1] = entry;
    entry->index = index;
}

static void sift(struct cpni_heap *heap, struct cpni_heap_entry *entry, size_t index)
{
    while (index > 1 && before(entry, heap->entries[index / 2 - 1])) {
        place(heap, heap->entries[index / 2 - 1], index);
        index /= 2;
    }
    for (;;) {
        size_t child = index * 2;
        if (child > heap->count) {
            break;
        }
        if (child < heap->count && before(heap->entries[child], heap->entries[child - 1])) {
            child++;
        }
        if (!before(heap->entries[child - 1], entry)) {
            break;
        }
        place(heap, heap->entries[child - 1], index);
        index = child;
    }
    place(heap, entry, index);
}

int cpni_heap_insert(struct cpni_heap *heap, struct cpni_heap_entry *entry, int64_t at_us)
{
    assert(entry->index == 0);
    if (heap->count == heap->capacity) {
        size_t capacity = heap->capacity == 0 ? 16 : heap->capacity * 2;
        struct cpni_heap_entry **entries = cpni_realloc(heap->entries, capacity * sizeof *entries);
        if (entries == NULL) {
            return CPN_ENOMEM;
        }
        heap->entries = entries;
        heap->capacity = capacity;
    }
    entry->at_us = at_us;
    entry->sequence = heap->next_sequence++;
    heap->count++;
    sift(heap, entry, heap->count);
    return 0;
}

void cpni_heap_move(struct cpni_heap *heap, struct cpni_heap_entry *entry, int64_t at_us)
{
    assert(entry->index != 0);
    entry->at_us = at_us;
    entry->sequence = heap->next_sequence++;
    sift(heap, entry, entry->index);
}

void cpni_heap_remove(struct cpni_heap *heap, struct cpni_heap_entry *entry)
{
    if (entry->index == 0) {
        return;
    }
    size_t index = entry->index;
    struct cpni_heap_entry *last = heap->entries[heap->count - 1];
    heap->count--;
    entry->index = 0;
    if (last != entry) {
        sift(heap, last, index);
    }
}

struct cpni_heap_entry *cpni_heap_first(const struct cpni_heap *heap)
{
    return heap->count == 0 ? NULL : heap->entries[0];
}

void cpni_heap_free(struct cpni_heap *heap)
{
    cpni_free(heap->entries);
    *heap = (struct cpni_heap){ 0 };
}
