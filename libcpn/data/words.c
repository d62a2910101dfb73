/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See words.h. */
#include "data/words.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size) cpni_malloc(size)
#define uthash_free(memory, size) cpni_free(memory)
#include <uthash.h>

struct cpni_word {
    UT_hash_handle hh;
    uint32_t number;
    size_t size;
    char text[];
};

int cpni_words_find(const struct cpni_words *words, const char *text, size_t size, uint32_t *number)
{
    struct cpni_word *word;
    HASH_FIND(hh, words->table, text, size, word);
    if (word == NULL) {
        return CPN_ENOTFOUND;
    }
    *number = word->number;
    return 0;
}

static int reserve(struct cpni_words *words)
{
    if (words->count < words->capacity) {
        return 0;
    }
    uint32_t capacity = words->capacity == 0 ? 16 : words->capacity * 2;
    struct cpni_word **grown = cpni_realloc(words->words, capacity * sizeof(struct cpni_word *));
    if (grown == NULL) {
        return CPN_ENOMEM;
    }
    words->words = grown;
    words->capacity = capacity;
    return 0;
}

int cpni_words_add(struct cpni_words *words, const char *text, size_t size, uint32_t max, uint32_t *number)
{
    if (cpni_words_find(words, text, size, number) == 0) {
        return 0;
    }
    if (words->count >= max) {
        return CPN_ETOOBIG;
    }
    struct cpni_word *word = reserve(words) == 0 ? cpni_calloc(1, sizeof *word + size + 1) : NULL;
    if (word == NULL) {
        return CPN_ENOMEM;
    }
    memcpy(word->text, text, size);
    word->size = size;
    word->number = words->count;
    HASH_ADD_KEYPTR(hh, words->table, word->text, word->size, word);
    if (word->hh.tbl == NULL) { /* uthash was out of memory */
        cpni_free(word);
        return CPN_ENOMEM;
    }
    words->words[words->count++] = word;
    *number = word->number;
    return 0;
}

const char *cpni_words_text(const struct cpni_words *words, uint32_t number)
{
    return words->words[number]->text;
}

size_t cpni_words_size(const struct cpni_words *words, uint32_t number)
{
    return words->words[number]->size;
}

static bool is_integer(const struct cpni_word *word)
{
    size_t sign = word->text[0] == '-';
    if (word->size == sign || word->size > 18) { /* 18 digits fit a long long */
        return false;
    }
    return strspn(word->text + sign, "0123456789") == word->size - sign;
}

static int compare_bytes(const void *a, const void *b)
{
    const struct cpni_word *left = *(struct cpni_word *const *)a, *right = *(struct cpni_word *const *)b;
    int order = memcmp(left->text, right->text, left->size < right->size ? left->size : right->size);
    return order != 0 ? order : (left->size > right->size) - (left->size < right->size);
}

static int compare_integers(const void *a, const void *b)
{
    long long left = atoll((*(struct cpni_word *const *)a)->text), right = atoll((*(struct cpni_word *const *)b)->text);
    return left != right ? (left > right) - (left < right) : compare_bytes(a, b);
}

int cpni_words_rank(const struct cpni_words *words, uint32_t *rank)
{
    struct cpni_word **sorted = cpni_malloc((words->count + 1) * sizeof(struct cpni_word *));
    if (sorted == NULL) {
        return CPN_ENOMEM;
    }
    bool integers = true;
    for (uint32_t i = 0; i < words->count; i++) {
        sorted[i] = words->words[i];
        integers &= is_integer(sorted[i]);
    }
    if (words->count > 0) {
        qsort(sorted, words->count, sizeof *sorted, integers ? compare_integers : compare_bytes);
    }
    for (uint32_t i = 0; i < words->count; i++) {
        rank[sorted[i]->number] = i;
    }
    cpni_free(sorted);
    return 0;
}

void cpni_words_free(struct cpni_words *words)
{
    HASH_CLEAR(hh, words->table);
    for (uint32_t i = 0; i < words->count; i++) {
        cpni_free(words->words[i]);
    }
    cpni_free(words->words);
    *words = (struct cpni_words){ 0 };
}
