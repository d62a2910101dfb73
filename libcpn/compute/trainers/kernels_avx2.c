/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See kernels.h: AVX2 with FMA, 6 x 2 vectors of 8. */
#include <immintrin.h>

#define NAME cpni_kernels_avx2
#define NAME_TEXT "avx2"
#define BITS "fused"
#define WIDTH 8
#define ROWS 6
#define VECTORS 2

typedef __m256 vec;
#define vec_load(from) _mm256_loadu_ps(from)
#define vec_store(to, x) _mm256_storeu_ps(to, x)
#define vec_all(x) _mm256_set1_ps(x)
#define vec_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vec_add(a, b) _mm256_add_ps(a, b)
#define vec_sub(a, b) _mm256_sub_ps(a, b)
#define vec_mul(a, b) _mm256_mul_ps(a, b)
#define vec_div(a, b) _mm256_div_ps(a, b)
#define vec_sqrt(a) _mm256_sqrt_ps(a)
#define vec_relu(a) _mm256_max_ps(_mm256_setzero_ps(), a) /* of a NaN: the NaN, the second operand */

extern const struct cpni_kernels cpni_kernels_avx2;
#include "compute/trainers/kernels.inc"
