/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See csv_run.h. The delimiters of 64 bytes are found at once; then a cell does not have to be read to know where the next one
 * starts, so the processor works on several. Integers of up to 8 digits, which pixels and counts are, are converted without a
 * loop over their digits, whose length no branch predictor could guess. */
#include "data/csv_run.h"

#include <stddef.h>
#include <string.h>

#include "data/number.h"

#ifdef __SSE2__
#include <emmintrin.h>

#define WINDOW 64

static inline uint64_t find_delimiters(const char *at, char delimiter)
{
    __m128i wanted = _mm_set1_epi8(delimiter);
    uint64_t found = 0;
    for (int i = 0; i < WINDOW / 16; i++) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * i));
        found |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, wanted)) << (16 * i);
    }
    return found;
}

/* The 1 to 8 bytes before `stop` as an integer, if all are digits. They end a word of 8 bytes whose other bytes are made 0. */
static inline int short_integer(const char *stop, size_t size, float *to)
{
    uint64_t word;
    memcpy(&word, stop - 8, sizeof word);
    unsigned unused = (unsigned)(64 - 8 * size);
    word = (word ^ UINT64_C(0x3030303030303030)) >> unused << unused;
    if (!cpni_number_all(word)) {
        return 0;
    }
    *to = (float)(int32_t)cpni_number_join(word);
    return 1;
}

/* As many cells as one window of bytes ends. Sets *other when it came upon something else. */
static inline const char *take_window(const char *at, const char *floor, char delimiter, float *to, uint32_t count,
    uint32_t *taken, int *other)
{
    const char *window = at;
    uint32_t done = *taken;
    for (uint64_t found = find_delimiters(window, delimiter); found != 0 && done < count; found &= found - 1) {
        const char *stop = window + __builtin_ctzll(found);
        size_t size = (size_t)(stop - at);
        if ((size - 1 >= 8 || stop - floor < 8 || !short_integer(stop, size, to + done))
            && cpni_number_fast(at, to + done) != stop) {
            *other = 1;
            break;
        }
        at = stop + 1;
        done++;
    }
    *taken = done;
    return at;
}
#endif

const char *cpni_csv_take_run(const char *at, const char *floor, const char *end, char delimiter, float *to, uint32_t count,
    uint32_t *taken)
{
    uint32_t done = 0;
#ifdef __SSE2__
    int other = 0;
    for (const char *before = NULL; done < count && end - at >= WINDOW && at != before && !other;) {
        before = at; /* a window without a delimiter is for the loop below */
        at = take_window(at, floor, delimiter, to, count, &done, &other);
    }
    if (other) {
        *taken = done;
        return at;
    }
#else
    (void)floor;
#endif
    for (float value; done < count; done++) {
        const char *stop = cpni_number_fast(at, &value);
        if (stop == NULL || *stop != delimiter) {
            break;
        }
        to[done] = value;
        at = stop + 1;
    }
    *taken = done;
    return at;
}
