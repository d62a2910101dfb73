/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A binary heap of deadlines. Ties are broken by insertion, so the order never comes from a pointer. Entries are embedded in
 * their owners. */
#ifndef CPNI_HEAP_H
#define CPNI_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpni_heap_entry {
    int64_t at_us;     /* monotonic */
    uint64_t sequence; /* set by insert */
    size_t index;      /* 1-based place in the heap; 0: not in one */
};

struct cpni_heap {
    struct cpni_heap_entry **entries;
    size_t count;
    size_t capacity;
    uint64_t next_sequence;
};

int cpni_heap_insert(struct cpni_heap *heap, struct cpni_heap_entry *entry, int64_t at_us); /* CPN_ENOMEM */
void cpni_heap_move(struct cpni_heap *heap, struct cpni_heap_entry *entry, int64_t at_us);  /* must be in the heap */
void cpni_heap_remove(struct cpni_heap *heap, struct cpni_heap_entry *entry);               /* not in the heap: nothing */
struct cpni_heap_entry *cpni_heap_first(const struct cpni_heap *heap);                      /* NULL when empty */
void cpni_heap_free(struct cpni_heap *heap); /* the entries belong to their owners */

#endif
