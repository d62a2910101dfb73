/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The hash tree that names a blob (DESIGN §7), in one pass over its bytes. Knows no file and no store.
 *
 *   leaf i = BLAKE2b, 32 bytes out, no key, no salt, personal "cpn-leaf", of chunk i: bytes [i MiB, i MiB + 1 MiB), the
 * last one shorter, never empty root   = BLAKE2b, 32 bytes out, no key, no salt, personal "cpn-root", of u64le size,
 * u32le 1048576, leaf 0, leaf 1, ...
 *
 * "personal" is BLAKE2b's 16-byte personalisation parameter: the 8 letters followed by 8 zero bytes (as Python's
 * hashlib.blake2b(digest_size=32, person=b"cpn-leaf") pads it). An empty blob has no leaves.
 * libcpn/store/tree-vectors.txt holds test vectors. */
#ifndef CPNI_TREE_H
#define CPNI_TREE_H

#include <stddef.h>
#include <stdint.h>

#include <sodium.h>

#include <cpn/types.h>

#include "proto/limits.h"

/* How many leaves a blob of `size` bytes has, and how many bytes its chunk `index` has (0 past the end). */
uint64_t cpni_tree_leaves(uint64_t size);
size_t cpni_tree_chunk_size(uint64_t size, uint64_t index);

/* The leaf of one whole chunk; the root over all leaves. Any thread. */
void cpni_tree_leaf(const void *chunk, size_t size, struct cpn_hash *leaf);
void cpni_tree_root(uint64_t size, const struct cpn_hash *leaves, struct cpn_hash *root);

/* The same of bytes that arrive in pieces of any size. */
struct cpni_tree {
    crypto_generichash_blake2b_state chunk;
    size_t in_chunk; /* bytes that the open chunk has */
    uint64_t size;
    struct cpn_hash *leaves;
    size_t count;
    size_t capacity;
};

void cpni_tree_init(struct cpni_tree *tree);
/* CPN_ETOOBIG over CPNI_BLOB_BYTES_MAX, CPN_ENOMEM: both leave the tree unusable but for _free. */
int cpni_tree_update(struct cpni_tree *tree, const void *data, size_t size);
/* Closes the last chunk; tree->leaves and tree->count are complete then. Once. */
int cpni_tree_final(struct cpni_tree *tree, struct cpn_hash *root);
void cpni_tree_free(struct cpni_tree *tree);

#endif
