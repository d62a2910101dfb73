/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Decimal text to float32, fast and exact: the result is always (float)strtod(text) in the C locale, that is the
 * nearest double, then the nearest float. Must not know cells or columns. */
#ifndef CPNI_NUMBER_H
#define CPNI_NUMBER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum cpni_number { CPNI_NUMBER_OK, CPNI_NUMBER_NOT_ONE, CPNI_NUMBER_TOO_LARGE };

/* [+-] digits [. digits] [e [+-] digits], all of `text`, nothing else: no blanks, hexadecimal, infinities or NaN.
 * TOO_LARGE: no float32 is that large. */
enum cpni_number cpni_number_parse(const char *text, size_t size, float *out);

extern const double cpni_powers_of_ten[23];   /* 10^0 to 10^22, all exact */
extern const double cpni_fractions_of_ten[23]; /* 10^0 to 10^-22, rounded */

/* m * 10^exponent as a float, if that can be known without long arithmetic. 19 digits fit m. Three roundings (of m, of a
 * negative power, of the product) leave the double within 3 units of its last place; unless a float's midpoint lies that
 * near, the float is the right one. */
static inline int cpni_number_scale(uint64_t m, int exponent, float *out)
{
    double value = (double)m;
    if (exponent < 0) {
        if (exponent < -22) {
            return m == 0 ? (*out = 0, 1) : 0;
        }
        value *= cpni_fractions_of_ten[-exponent];
    } else {
        if (exponent > 22) {
            return m == 0 ? (*out = 0, 1) : 0;
        }
        value *= cpni_powers_of_ten[exponent];
    }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    /* 29 bits of a double have no place in a float; half of them set is the midpoint. Out of range: left to the slow
     * way. */
    if ((bits & 0x1fffffff) - 0x0ffffff8 <= 16 || !(value < 3e38) || (value < 1.2e-38 && m != 0)) {
        return 0;
    }
    *out = (float)value;
    return 1;
}

/* 8 digits at once: neighbours are joined to numbers of two digits, of four, and of eight. The first digit is the
 * lowest byte, bytes are digits' values. */
static inline uint64_t cpni_number_join(uint64_t digits)
{
    digits = digits * 10 + (digits >> 8);
    return ((digits & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x000f424000000064)
               + ((digits >> 16) & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x0000271000000001))
        >> 32;
}

/* Whether all 8 bytes are digits' values, 0 to 9. */
static inline int cpni_number_all(uint64_t digits)
{
    return (((digits + UINT64_C(0x7676767676767676)) | digits) & UINT64_C(0x8080808080808080)) == 0;
}

static inline const char *cpni_number_digits(const char *p, uint64_t *m)
{
    unsigned digit;
    while ((digit = (unsigned)(unsigned char)*p - '0') < 10) {
        *m = *m * 10 + digit;
        p++;
    }
    return p;
}

/* A run of digits that is probably long. */
static inline const char *cpni_number_fraction(const char *p, uint64_t *m)
{
    for (uint64_t word;; p += 8) {
        memcpy(&word, p, sizeof word);
        word ^= UINT64_C(0x3030303030303030);
        if (!cpni_number_all(word)) {
            return cpni_number_digits(p, m);
        }
        *m = *m * 100000000 + cpni_number_join(word);
    }
}

/* The number that starts at `p`, which must be followed by a byte that no number contains, and then by 8 that may be
 * read. Returns where it ends, or NULL when only cpni_number_parse() can tell. */
static inline const char *cpni_number_fast(const char *p, float *out)
{
    const char *start = p;
    int negative = *p == '-', exponent = 0;
    p += negative;
    uint64_t m = 0;
    const char *digits = p;
    unsigned digit;
    p = cpni_number_digits(p, &m);
    size_t count = (size_t)(p - digits);
    if (*p == '.') {
        const char *fraction = ++p;
        p = cpni_number_fraction(p, &m);
        exponent = -(int)(p - fraction);
        count += (size_t)(p - fraction);
    }
    if (count == 0 || count - (*digits == '0') > 19 || p - start > 64) {
        return NULL;
    }
    if ((*p | 32) == 'e') {
        int minus = p[1] == '-', sign = minus || p[1] == '+', written = 0, length = 0;
        p += 1 + sign;
        while ((digit = (unsigned)(unsigned char)*p - '0') < 10 && length < 4) {
            written = written * 10 + (int)digit;
            p++;
            length++;
        }
        if (length == 0 || length == 4) {
            return NULL;
        }
        exponent += minus ? -written : written;
    }
    float value;
    if (exponent == 0 && m < (1 << 24)) {
        value = (float)(int32_t)m;
    } else if (!cpni_number_scale(m, exponent, &value)) {
        return NULL;
    }
    *out = negative ? -value : value;
    return p;
}

#endif
