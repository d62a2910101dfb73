/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Texts numbered in the order in which they first appear: labels, and the values of a categorical column. */
#ifndef CPNI_WORDS_H
#define CPNI_WORDS_H

#include <stddef.h>
#include <stdint.h>

struct cpni_word;
struct cpni_words {
    struct cpni_word *table;
    struct cpni_word **words; /* by number */
    uint32_t count;
    uint32_t capacity;
};

/* The number of a text, a new one if need be: CPN_ETOOBIG when there are `max` already, CPN_ENOMEM. */
int cpni_words_add(struct cpni_words *words, const char *text, size_t size, uint32_t max, uint32_t *number);
int cpni_words_find(
    const struct cpni_words *words, const char *text, size_t size, uint32_t *number); /* CPN_ENOTFOUND */
const char *cpni_words_text(const struct cpni_words *words, uint32_t number);         /* 0-terminated */
size_t cpni_words_size(const struct cpni_words *words, uint32_t number);

/* Where each number comes in order: by value when all are integers, else bytewise. `rank` has room for all. CPN_ENOMEM.
 */
int cpni_words_rank(const struct cpni_words *words, uint32_t *rank);
void cpni_words_free(struct cpni_words *words);

#endif
