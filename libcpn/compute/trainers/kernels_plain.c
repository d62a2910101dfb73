/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See kernels.h: any processor, one float at a time. fmaf() is exact everywhere, if slow where the processor has none.
 */
#include <math.h>

#define NAME cpni_kernels_plain
#define NAME_TEXT "plain"
#define BITS "fused"
#define WIDTH 1
#define ROWS 4
#define VECTORS 2

typedef float vec;
#define vec_load(from) (*(from))
#define vec_store(to, x) (*(to) = (x))
#define vec_all(x) ((float)(x))
#define vec_fma(a, b, c) fmaf(a, b, c)
#define vec_add(a, b) ((a) + (b))
#define vec_sub(a, b) ((a) - (b))
#define vec_mul(a, b) ((a) * (b))
#define vec_div(a, b) ((a) / (b))
#define vec_sqrt(a) sqrtf(a)
#define vec_relu(a) (0.0f > (a) ? 0.0f : (a)) /* of a NaN: the NaN */

extern const struct cpni_kernels cpni_kernels_plain;
#include "compute/trainers/kernels.inc"
