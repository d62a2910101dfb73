/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A model's manifest as a value (DESIGN section 7): what its publisher signs and its nodes check. wire/manifest.h encodes and
 * decodes it, wire/manifest_json.h reads it from a bundle's model.json. Must not know where the files are. */
#ifndef CPNI_MANIFEST_H
#define CPNI_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include <cpn/types.h>

#include "base/arena.h"
#include "base/str.h"

struct cpni_manifest_file {
    struct cpni_str name; /* a plain file name: no '/', no leading '.' */
    uint64_t size;
    struct cpn_hash root;
};

struct cpni_manifest_pair {
    struct cpni_str key;
    struct cpni_str value;
};

/* Borrowed: the arrays and texts live in the arena or the bytes that it was decoded from. */
struct cpni_manifest {
    struct cpni_str name;
    struct cpni_str backend;
    struct cpni_manifest_pair *parameters; /* by rising key */
    uint32_t parameter_count;
    struct cpni_manifest_file *files; /* by rising name */
    uint32_t file_count;
    struct cpni_manifest_pair *requires; /* what a node must have: "memory" bytes, "cores", "gpu", "backend" version at least */
    uint32_t requires_count;
    struct cpni_str sample; /* the file that the self-test runs on; empty: none */
};

/* Deep copy into the arena. CPN_ENOMEM. */
int cpni_manifest_copy(struct cpni_arena *arena, const struct cpni_manifest *from, struct cpni_manifest *to);

#endif
