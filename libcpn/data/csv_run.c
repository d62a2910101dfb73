/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See csv_run.h. The delimiters of 64 bytes are found at once; then a cell does not have to be read to know where the
 * next one starts, so the processor works on several. Integers of up to 8 digits, which pixels and counts are, are
 * converted without a loop over their digits, whose length no branch predictor could guess. */
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

/* The 1 to 8 bytes before `stop` as an integer, if all are digits. They end a word of 8 bytes whose other bytes are
 * made 0. */
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

/* digits.digits, which statistics and measurements are. With its end known, the fraction needs no loop over digits
 * either: whole words, and a last one that ends where the cell ends. */
static inline int decimal(const char *at, const char *stop, float *to)
{
    static const uint32_t powers[9] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000 };
    int negative = *at == '-';
    uint64_t m = 0, word;
    const char *digits = at + negative, *point = cpni_number_digits(digits, &m), *p = point + 1;
    size_t fraction = (size_t)(stop - p);
    if (*point != '.' || fraction - 1 >= 19 || (size_t)(point - digits) + fraction - (*digits == '0') > 19) {
        return 0;
    }
    for (; stop - p > 8; p += 8) {
        memcpy(&word, p, sizeof word);
        word ^= UINT64_C(0x3030303030303030);
        if (!cpni_number_all(word)) {
            return 0;
        }
        m = m * 100000000 + cpni_number_join(word);
    }
    size_t rest = (size_t)(stop - p);
    unsigned unused = (unsigned)(64 - 8 * rest);
    memcpy(&word, stop - 8, sizeof word);
    word = (word ^ UINT64_C(0x3030303030303030)) >> unused << unused;
    if (!cpni_number_all(word) || !cpni_number_scale(m * powers[rest] + cpni_number_join(word), -(int)fraction, to)) {
        return 0;
    }
    *to = negative ? -*to : *to;
    return 1;
}

#define SINGLES UINT64_C(0xaaaaaaaaaaaaaaaa) /* a delimiter at every second byte */
#define SINGLES_MIN 8                        /* with fewer the loop is as fast */

/* How many cells of one digit each a window starts with: pixels, flags and one-hot columns come in long runs of them.
 */
static inline uint32_t count_singles(const char *window, uint64_t found)
{
    uint64_t others = found ^ SINGLES;
    if ((others & ((UINT64_C(1) << 2 * SINGLES_MIN) - 1)) != 0) {
        return 0;
    }
    __m128i below = _mm_set1_epi8('0' - 1), above = _mm_set1_epi8('9' + 1);
    for (int i = 0; i < WINDOW / 16; i++) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(window + 16 * i));
        __m128i digit = _mm_and_si128(_mm_cmpgt_epi8(bytes, below), _mm_cmplt_epi8(bytes, above));
        others |= (~(uint64_t)(uint32_t)_mm_movemask_epi8(digit) & 0x5555) << (16 * i);
    }
    return others == 0 ? WINDOW / 2 : (uint32_t)__builtin_ctzll(others) / 2;
}

/* All 32 cells of such a window at once; those that are something else are read again. */
static inline void convert_singles(const char *window, float *to)
{
    __m128i zero = _mm_setzero_si128(), digit = _mm_set1_epi16(0x0f);
    for (int i = 0; i < WINDOW / 16; i++) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(window + 16 * i));
        __m128i words = _mm_and_si128(bytes, digit);
        _mm_storeu_ps(to + 8 * i, _mm_cvtepi32_ps(_mm_unpacklo_epi16(words, zero)));
        _mm_storeu_ps(to + 8 * i + 4, _mm_cvtepi32_ps(_mm_unpackhi_epi16(words, zero)));
    }
}

/* As many cells as one window of bytes ends. Sets *other when it came upon something else. */
static inline const char *take_window(
    const char *at, const char *floor, char delimiter, float *to, uint32_t count, uint32_t *taken, int *other)
{
    const char *window = at;
    uint32_t done = *taken, singles;
    uint64_t found = find_delimiters(window, delimiter);
    if (count - done >= WINDOW / 2 && (singles = count_singles(window, found)) >= SINGLES_MIN) {
        convert_singles(window, to + done);
        *taken = done + singles;
        return window + 2 * (size_t)singles;
    }
    for (; found != 0 && done < count; found &= found - 1) {
        const char *stop = window + __builtin_ctzll(found);
        size_t size = (size_t)(stop - at);
        int known = stop - floor < 8 ? 0
            : size - 1 < 8           ? short_integer(stop, size, to + done)
                                     : decimal(at, stop, to + done);
        if (!known && cpni_number_fast(at, to + done) != stop) {
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

const char *cpni_csv_take_run(
    const char *at, const char *floor, const char *end, char delimiter, float *to, uint32_t count, uint32_t *taken)
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
