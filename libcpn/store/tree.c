/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See tree.h. */
#include "store/tree.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

static const unsigned char personal_leaf[crypto_generichash_blake2b_PERSONALBYTES] = "cpn-leaf";
static const unsigned char personal_root[crypto_generichash_blake2b_PERSONALBYTES] = "cpn-root";

/* Without sodium_init() libsodium hashes with its slow portable code; should it fail, that code is right as well. */
static void init_sodium(void)
{
    if (sodium_init() < 0) {
        return;
    }
}

static void begin(crypto_generichash_blake2b_state *hash, const unsigned char *personal)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_sodium);
    int rc = crypto_generichash_blake2b_init_salt_personal(hash, NULL, 0, sizeof(struct cpn_hash), NULL, personal);
    assert(rc == 0); /* fails only on bad lengths */
    (void)rc;
}

static void add(crypto_generichash_blake2b_state *hash, const void *data, size_t size)
{
    if (size != 0) {
        crypto_generichash_blake2b_update(hash, data, size);
    }
}

static void end(crypto_generichash_blake2b_state *hash, struct cpn_hash *out)
{
    crypto_generichash_blake2b_final(hash, out->bytes, sizeof out->bytes);
}

static void store_le(uint8_t *to, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}

uint64_t cpni_tree_leaves(uint64_t size)
{
    return size / CPNI_CHUNK_BYTES + (size % CPNI_CHUNK_BYTES != 0);
}

size_t cpni_tree_chunk_size(uint64_t size, uint64_t index)
{
    if (index >= cpni_tree_leaves(size)) {
        return 0;
    }
    uint64_t left = size - index * CPNI_CHUNK_BYTES;
    return left < CPNI_CHUNK_BYTES ? (size_t)left : CPNI_CHUNK_BYTES;
}

void cpni_tree_leaf(const void *chunk, size_t size, struct cpn_hash *leaf)
{
    crypto_generichash_blake2b_state hash;
    begin(&hash, personal_leaf);
    add(&hash, chunk, size);
    end(&hash, leaf);
}

void cpni_tree_root(uint64_t size, const struct cpn_hash *leaves, struct cpn_hash *root)
{
    uint8_t head[12];
    store_le(head, size, 8);
    store_le(head + 8, CPNI_CHUNK_BYTES, 4);
    crypto_generichash_blake2b_state hash;
    begin(&hash, personal_root);
    add(&hash, head, sizeof head);
    add(&hash, leaves, (size_t)cpni_tree_leaves(size) * sizeof *leaves);
    end(&hash, root);
}

void cpni_tree_init(struct cpni_tree *tree)
{
    memset(tree, 0, sizeof *tree);
}

static int close_chunk(struct cpni_tree *tree)
{
    if (tree->count == tree->capacity) {
        size_t capacity = tree->capacity == 0 ? 16 : tree->capacity * 2;
        struct cpn_hash *leaves = cpni_realloc(tree->leaves, capacity * sizeof *leaves);
        if (leaves == NULL) {
            return CPN_ENOMEM;
        }
        tree->leaves = leaves;
        tree->capacity = capacity;
    }
    end(&tree->chunk, &tree->leaves[tree->count]);
    tree->count++;
    tree->in_chunk = 0;
    return 0;
}

int cpni_tree_update(struct cpni_tree *tree, const void *data, size_t size)
{
    if (size > CPNI_BLOB_BYTES_MAX - tree->size) {
        return CPN_ETOOBIG;
    }
    const uint8_t *from = data;
    while (size != 0) {
        if (tree->in_chunk == 0) {
            begin(&tree->chunk, personal_leaf);
        }
        size_t take = CPNI_CHUNK_BYTES - tree->in_chunk;
        take = take < size ? take : size;
        add(&tree->chunk, from, take);
        tree->in_chunk += take;
        tree->size += take;
        from += take;
        size -= take;
        if (tree->in_chunk == CPNI_CHUNK_BYTES) {
            int rc = close_chunk(tree);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

int cpni_tree_final(struct cpni_tree *tree, struct cpn_hash *root)
{
    if (tree->in_chunk != 0) {
        int rc = close_chunk(tree);
        if (rc < 0) {
            return rc;
        }
    }
    cpni_tree_root(tree->size, tree->leaves, root);
    return 0;
}

void cpni_tree_free(struct cpni_tree *tree)
{
    cpni_free(tree->leaves);
    tree->leaves = NULL;
    tree->count = tree->capacity = 0;
}
