/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See kernels.h: AVX-512, 8 x 2 vectors of 16. */
#include <immintrin.h>

#define NAME cpni_kernels_avx512
#define NAME_TEXT "avx512"
#define BITS "fused"
#define WIDTH 16
#define ROWS 8
#define VECTORS 2

typedef __m512 vec;
#define vec_load(from) _mm512_loadu_ps(from)
#define vec_store(to, x) _mm512_storeu_ps(to, x)
#define vec_all(x) _mm512_set1_ps(x)
#define vec_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define vec_add(a, b) _mm512_add_ps(a, b)
#define vec_sub(a, b) _mm512_sub_ps(a, b)
#define vec_mul(a, b) _mm512_mul_ps(a, b)
#define vec_div(a, b) _mm512_div_ps(a, b)
#define vec_sqrt(a) _mm512_sqrt_ps(a)
#define vec_relu(a) _mm512_max_ps(_mm512_setzero_ps(), a) /* of a NaN: the NaN, the second operand */

extern const struct cpni_kernels cpni_kernels_avx512;
#include "compute/trainers/kernels.inc"
