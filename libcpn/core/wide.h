/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What lets a compiler make passes over whole vectors of weights several values at a time. Must not know what the numbers are. */
#ifndef CPNI_WIDE_H
#define CPNI_WIDE_H

#include <stdint.h>
#include <string.h>

/* Before the type of a static function (clang 14 makes no other one callable from elsewhere): it is made twice, once for processors that
 * have AVX2, and the loader chooses. The same bits come out: without -ffast-math and with -ffp-contract=off the two differ in how many
 * values they do at a time, in nothing else. */
#ifdef __has_feature
#define CPNI_HAS_FEATURE(name) __has_feature(name)
#else
#define CPNI_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || CPNI_HAS_FEATURE(thread_sanitizer) || !defined(__x86_64__) || !defined(__GLIBC__)
#define CPNI_WIDE /* the runtime of that sanitizer is not up yet when the loader chooses */
#elif defined(CPNI_NARROW) /* a test compares the two */
#define CPNI_WIDE
#else
#define CPNI_WIDE __attribute__((target_clones("avx2", "default")))
#endif

/* The largest magnitude of many floats. Magnitudes are compared as the integers that their bits are, which has the same outcome: those may
 * be compared in any order, floats may not. A value that is not finite is larger than all that are. */

/* Bits of the larger of the two; begin with 0. */
static inline int32_t cpni_larger(int32_t largest, float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= INT32_MAX;
    return bits > largest ? bits : largest;
}

/* What they stand for: not finite if one of the values was not. */
static inline float cpni_largest(int32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
