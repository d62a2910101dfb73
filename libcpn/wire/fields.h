/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A struct to and from a msgpack map {field number: value}, by its layout (proto/msg.h): the common part of packets and
 * manifests. A zero field is not sent; a field whose number the layout does not have is skipped. Must not know what
 * surrounds the map. */
#ifndef CPNI_FIELDS_H
#define CPNI_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <msgpack/pack.h>

#include "base/arena.h"
#include "base/buf.h"
#include "proto/msg.h"
#include "wire/reader.h"

#define CPNI_PATH_DEPTH 4 /* fields inside one another: message, list, list in its records */

/* Where encoded bytes go. After an error nothing more is written and `error` stays: one check after a run of writes. */
struct cpni_pack {
    msgpack_packer packer; /* writes into buf; set by cpni_pack_init */
    struct cpni_buf buf;
    size_t limit; /* bytes that buf may hold */
    struct cpni_bytes **frames; /* payload frames met so far, each referenced */
    size_t frame_count;
    size_t frame_room;
    size_t payload_left; /* bytes that frames may still have: a larger message would cost the connection (net/) */
    int error; /* 0, CPN_ENOMEM, CPN_ETOOBIG, CPN_EINVAL */
};

/* In place: the packer points to the pack itself. `frames` may be NULL for layouts without FRAME fields. */
void cpni_pack_init(struct cpni_pack *pack, size_t limit, struct cpni_bytes **frames, size_t frame_room);
void cpni_pack_fields(struct cpni_pack *pack, const struct cpni_layout *layout, const void *body);

/* What is decoded, and how far. */
struct cpni_unpack {
    struct cpni_reader reader;
    struct cpni_arena *arena;
    struct cpni_bytes *const *frames; /* payload frames only */
    size_t frame_count;               /* at most 64 */
    uint64_t frames_used;             /* a bit each */
    size_t memory_left;               /* bytes that lists may still take */
    bool skipped;                     /* something unknown was met */
    char *why;                        /* CPNI_WHY bytes */
    size_t message;                   /* for `why`: which message, from 1; 0: the subject is no message */
    const char *subject;              /* for `why`: "TASK", "manifest" */
    struct {
        const struct cpni_field *field;
        uint32_t index; /* in a list */
    } path[CPNI_PATH_DEPTH];
    size_t depth;
};

/* Into a zeroed body. After a failure the body may hold frames already: drop them. CPN_EPROTO, CPN_ENOMEM. */
int cpni_unpack_fields(struct cpni_unpack *unpack, const struct cpni_layout *layout, void *body);

/* Write `why` ("message 2 TASK, deadline_ms: " and the sentence) and return CPN_EPROTO. */
int cpni_unpack_refuse(struct cpni_unpack *unpack, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The next token, which must be of this kind; `expected` completes "expected …". */
int cpni_unpack_token(struct cpni_unpack *unpack, enum cpni_token_kind kind, const char *expected,
                      struct cpni_token *token);

#endif
