/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See kernels.h: x86-64 without FMA, 3 x 2 vectors of 4. Multiplies and adds round apart, so its bits are not those of
 * the others: the fingerprint says so. */
#include <emmintrin.h>

#define NAME cpni_kernels_sse2
#define NAME_TEXT "sse2"
#define BITS "unfused"
#define WIDTH 4
#define ROWS 3
#define VECTORS 2

typedef __m128 vec;
#define vec_load(from) _mm_loadu_ps(from)
#define vec_store(to, x) _mm_storeu_ps(to, x)
#define vec_all(x) _mm_set1_ps(x)
#define vec_fma(a, b, c) _mm_add_ps(_mm_mul_ps(a, b), c)
#define vec_add(a, b) _mm_add_ps(a, b)
#define vec_sub(a, b) _mm_sub_ps(a, b)
#define vec_mul(a, b) _mm_mul_ps(a, b)
#define vec_div(a, b) _mm_div_ps(a, b)
#define vec_sqrt(a) _mm_sqrt_ps(a)
#define vec_relu(a) _mm_max_ps(_mm_setzero_ps(), a) /* of a NaN: the NaN, the second operand */

extern const struct cpni_kernels cpni_kernels_sse2;
#include "compute/trainers/kernels.inc"
