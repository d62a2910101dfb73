/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See outbox.h. Messages are noted by pointer in one list for all connections and chained by index, so that a step costs no
 * allocation once the list has grown; they are gathered into an array only when their packet is encoded. */
#include "wire/outbox.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size) cpni_malloc(size)
#define uthash_free(memory, size) cpni_free(memory)
#include <uthash.h>

#define NONE SIZE_MAX

struct item {
    const struct cpni_msg *msg;
    uint32_t link;
    size_t next; /* of the same connection; NONE: the last */
};

struct held { /* an encoded packet that its socket had no room for */
    struct held *next;
    size_t bytes;
    size_t count;
    struct cpni_bytes *frames[];
};

struct entry {
    uint64_t conn;
    uint64_t sequence; /* of the last packet; 0: none yet */
    size_t first, last; /* items */
    struct held *held, **held_end;
    size_t held_bytes;
    bool blocked; /* held packets wait for retry */
    bool queued;  /* stands in the list of connections that have something */
    struct entry *previous, *next;
    UT_hash_handle hh;
};

struct cpni_outbox {
    struct entry *entries;
    struct entry *head, *tail; /* those that have something, in the order in which it was added */
    struct item *items;
    size_t count, capacity;
    struct cpni_msg gathered[CPNI_PACKET_MESSAGES_MAX];
};

int cpni_outbox_new(struct cpni_outbox **out)
{
    struct cpni_outbox *outbox = cpni_calloc(1, sizeof *outbox);
    if (outbox == NULL) {
        return CPN_ENOMEM;
    }
    *out = outbox;
    return 0;
}

static void enqueue(struct cpni_outbox *outbox, struct entry *entry)
{
    if (entry->queued) {
        return;
    }
    entry->queued = true;
    entry->next = NULL;
    entry->previous = outbox->tail;
    *(outbox->tail != NULL ? &outbox->tail->next : &outbox->head) = entry;
    outbox->tail = entry;
}

static void dequeue(struct cpni_outbox *outbox, struct entry *entry)
{
    if (!entry->queued) {
        return;
    }
    entry->queued = false;
    *(entry->previous != NULL ? &entry->previous->next : &outbox->head) = entry->next;
    *(entry->next != NULL ? &entry->next->previous : &outbox->tail) = entry->previous;
    if (outbox->head == NULL) {
        outbox->count = 0; /* nobody refers to an item any more */
    }
}

static struct entry *find(struct cpni_outbox *outbox, uint64_t conn)
{
    struct entry *entry;
    HASH_FIND(hh, outbox->entries, &conn, sizeof conn, entry);
    return entry;
}

static struct entry *find_or_add(struct cpni_outbox *outbox, uint64_t conn)
{
    struct entry *entry = find(outbox, conn);
    if (entry != NULL) {
        return entry;
    }
    entry = cpni_calloc(1, sizeof *entry);
    if (entry == NULL) {
        return NULL;
    }
    entry->conn = conn;
    entry->first = entry->last = NONE;
    entry->held_end = &entry->held;
    HASH_ADD(hh, outbox->entries, conn, sizeof conn, entry);
    if (entry->hh.tbl == NULL) { /* uthash was out of memory */
        cpni_free(entry);
        return NULL;
    }
    return entry;
}

static void drop_held(struct entry *entry)
{
    while (entry->held != NULL) {
        struct held *held = entry->held;
        entry->held = held->next;
        for (size_t i = 0; i < held->count; i++) {
            cpni_bytes_unref(held->frames[i]);
        }
        cpni_free(held);
    }
    entry->held_end = &entry->held;
    entry->held_bytes = 0;
    entry->blocked = false;
}

static void remove_entry(struct cpni_outbox *outbox, struct entry *entry)
{
    dequeue(outbox, entry);
    drop_held(entry);
    HASH_DEL(outbox->entries, entry);
    cpni_free(entry);
}

void cpni_outbox_forget(struct cpni_outbox *outbox, uint64_t conn)
{
    struct entry *entry = find(outbox, conn);
    if (entry != NULL) {
        remove_entry(outbox, entry);
    }
}

void cpni_outbox_free(struct cpni_outbox *outbox)
{
    if (outbox == NULL) {
        return;
    }
    struct entry *entry, *next;
    HASH_ITER(hh, outbox->entries, entry, next) {
        remove_entry(outbox, entry);
    }
    cpni_free(outbox->items);
    cpni_free(outbox);
}

static int grow(struct cpni_outbox *outbox)
{
    size_t capacity = outbox->capacity == 0 ? 64 : outbox->capacity * 2;
    struct item *items = cpni_realloc(outbox->items, capacity * sizeof *items);
    if (items == NULL) {
        return CPN_ENOMEM;
    }
    outbox->items = items;
    outbox->capacity = capacity;
    return 0;
}

int cpni_outbox_add(struct cpni_outbox *outbox, uint64_t conn, uint32_t link, const struct cpni_msg *msg)
{
    struct entry *entry = find_or_add(outbox, conn);
    if (entry == NULL) {
        return CPN_ENOMEM; /* a connection without an entry has no sequence: its next packet is 1 again, a gap too */
    }
    if (outbox->count == outbox->capacity && grow(outbox) < 0) {
        entry->sequence++;
        return CPN_ENOMEM;
    }
    outbox->items[outbox->count] = (struct item){ .msg = msg, .link = link, .next = NONE };
    *(entry->last != NONE ? &outbox->items[entry->last].next : &entry->first) = outbox->count;
    entry->last = outbox->count++;
    enqueue(outbox, entry);
    return 0;
}

/* Drop what was queued, in a way that the peer notices. */
static int lose(struct cpni_outbox *outbox, struct entry *entry, int code)
{
    drop_held(entry);
    entry->first = entry->last = NONE;
    entry->sequence++;
    dequeue(outbox, entry);
    return code;
}

static void advance(struct entry *entry, const struct item *items, size_t messages)
{
    for (size_t i = 0; i < messages; i++) {
        entry->first = items[entry->first].next;
    }
    if (entry->first == NONE) {
        entry->last = NONE;
    }
}

/* One packet of what is queued for a connection: those messages, from the first on, that have the same link and fit. */
static int pack(struct cpni_outbox *outbox, struct entry *entry, struct cpni_bytes **frames, size_t *frame_count)
{
    uint32_t link = outbox->items[entry->first].link;
    size_t gathered = 0;
    for (size_t i = entry->first; i != NONE && outbox->items[i].link == link && gathered < CPNI_PACKET_MESSAGES_MAX;
         i = outbox->items[i].next) {
        outbox->gathered[gathered++] = *outbox->items[i].msg;
    }
    const struct cpni_packet_head head = { .link = link, .seq = entry->sequence + 1 };
    int rc = cpni_packet_encode(&head, outbox->gathered, gathered, frames, CPNI_PACKET_FRAMES_ROOM, frame_count);
    if (rc == CPN_ENOMEM) {
        return lose(outbox, entry, rc);
    }
    advance(entry, outbox->items, rc < 0 ? 1 : (size_t)rc);
    if (rc > 0) {
        entry->sequence++;
    }
    return rc;
}

static void take_held(struct entry *entry, struct cpni_bytes **frames, size_t *frame_count)
{
    struct held *held = entry->held;
    memcpy(frames, held->frames, held->count * sizeof *frames);
    *frame_count = held->count;
    entry->held = held->next;
    if (entry->held == NULL) {
        entry->held_end = &entry->held;
    }
    entry->held_bytes -= held->bytes;
    cpni_free(held);
}

static int keep(struct cpni_outbox *outbox, struct entry *entry, bool first, struct cpni_bytes *const *frames, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += frames[i]->size;
    }
    if (bytes > CPNI_OUTBOX_HELD_BYTES_MAX - entry->held_bytes) {
        return lose(outbox, entry, CPN_EBUSY);
    }
    struct held *held = cpni_malloc(sizeof *held + count * sizeof *frames);
    if (held == NULL) {
        return lose(outbox, entry, CPN_ENOMEM);
    }
    *held = (struct held){ .bytes = bytes, .count = count };
    for (size_t i = 0; i < count; i++) {
        held->frames[i] = cpni_bytes_ref(frames[i]);
    }
    struct held **place = first ? &entry->held : entry->held_end;
    held->next = *place;
    *place = held;
    if (held->next == NULL) {
        entry->held_end = &held->next;
    }
    entry->held_bytes += bytes;
    return 0;
}

/* What is queued for a connection that waits for its socket must not stay borrowed: encode it now, keep the packets. */
static int stash(struct cpni_outbox *outbox, struct entry *entry)
{
    int rc = 0;
    while (rc == 0 && entry->first != NONE) {
        struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
        size_t count;
        rc = pack(outbox, entry, frames, &count);
        if (rc > 0) {
            rc = keep(outbox, entry, false, frames, count);
            while (count > 0) {
                cpni_bytes_unref(frames[--count]);
            }
        }
    }
    if (rc == 0) {
        dequeue(outbox, entry);
    }
    return rc;
}

int cpni_outbox_next(struct cpni_outbox *outbox, uint64_t *conn, struct cpni_bytes **frames, size_t *count)
{
    while (outbox->head != NULL) {
        struct entry *entry = outbox->head;
        int rc = 0;
        *conn = entry->conn;
        if (entry->blocked) {
            rc = stash(outbox, entry);
        } else if (entry->held != NULL) {
            take_held(entry, frames, count);
            rc = 1;
        } else if (entry->first != NONE) {
            rc = pack(outbox, entry, frames, count);
        } else {
            dequeue(outbox, entry);
        }
        if (rc != 0) {
            return rc > 0 ? 1 : rc;
        }
    }
    return 0;
}

int cpni_outbox_hold(struct cpni_outbox *outbox, uint64_t conn, struct cpni_bytes *const *frames, size_t count)
{
    struct entry *entry = find_or_add(outbox, conn);
    if (entry == NULL) {
        return CPN_ENOMEM;
    }
    int rc = keep(outbox, entry, true, frames, count);
    entry->blocked = rc == 0;
    return rc;
}

void cpni_outbox_retry(struct cpni_outbox *outbox)
{
    struct entry *entry, *next;
    HASH_ITER(hh, outbox->entries, entry, next) {
        if (entry->blocked) {
            entry->blocked = false;
            enqueue(outbox, entry);
        }
    }
}
