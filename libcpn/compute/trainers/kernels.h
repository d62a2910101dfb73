/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The inner loops of trainer dnn: matrix products with what follows them fused in, optimizer steps, softmax. One source
 * (kernels.inc), compiled for several instruction sets. Must not know layers or epochs.
 *
 * All variants but sse2 give the same bits on every machine: each sum runs in the order of its index in one accumulator
 * with one fused multiply-add a term, vectors lie across independent outputs, / and sqrt are IEEE's, exp and log are
 * our own, and the compiler may contract nothing (-ffp-contract=off). That is why the trainer is reproducible across
 * processors.
 *
 * Matrices are stored in panels of 32 columns, so that what a product reads lies in one stream. Columns past the last
 * are zero and stay zero. */
#ifndef CPNI_KERNELS_H
#define CPNI_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPNI_PANEL 32 /* columns; every width and the rows of transposed matrices are padded to it */
#define CPNI_KERNEL_ALIGN 64

struct cpni_adam {
    float beta1, rest1; /* rest = 1 - beta */
    float beta2, rest2;
    float step;       /* learning rate / (1 - beta1^t) */
    float root_scale; /* 1 / sqrt(1 - beta2^t) */
    float epsilon;
    float decay;
};

struct cpni_sgd {
    float rate;
    float momentum;
    float decay;
};

enum cpni_product_end {
    CPNI_PRODUCT_STORE, /* c = product */
    CPNI_PRODUCT_RELU,  /* c = max(product, 0) */
    CPNI_PRODUCT_ADAM,  /* the product is the gradient of weights c, whose moments are m and v */
    CPNI_PRODUCT_SGD,   /* likewise, momentum buffer m */
};

/* C[rows][panels * 32] = A[rows][depth] * B[depth][panels * 32]. Strides are in floats. */
struct cpni_product {
    size_t rows, depth, panels;
    const float *a;
    size_t a_row, a_depth; /* from one row, one depth to the next: (width, 1), or (1, width) for a transposed A */
    const float *b;
    size_t b_depth, b_panel;
    float *c;
    size_t c_row, c_panel;
    const float *start; /* every row starts from these panels * 32 floats (the bias); NULL: from 0 */
    bool add;           /* start from what is in c instead */
    enum cpni_product_end end;
    float *m, *v; /* laid out as c */
    const struct cpni_adam *adam;
    const struct cpni_sgd *sgd;
};

struct cpni_kernels {
    const char *name;
    const char *bits; /* variants with equal text give equal bits */
    void (*product)(const struct cpni_product *product);

    /* One optimizer step over `count` weights (a multiple of 32) with their gradient. */
    void (*adam)(const struct cpni_adam *adam, size_t count, const float *gradient, float *weights, float *m, float *v);
    void (*sgd)(const struct cpni_sgd *sgd, size_t count, const float *gradient, float *weights, float *m);

    /* sum[j] = a[0][j] + a[1][j] + ... for `width` columns (a multiple of 32). */
    void (*column_sums)(const float *a, size_t rows, size_t width, float *sums);

    /* Turn a row of logits into probabilities; returns the cross-entropy with `label`, or 0 for label -1. Error of a
     * probability and of the loss: under 1e-6 relative to the exact value, or 1e-30. */
    double (*softmax)(float *row, size_t classes, int32_t label);
};

/* The best that this processor runs. Any thread. */
const struct cpni_kernels *cpni_kernels_best(void);

/* By name ("avx512", "avx2", "sse2", "plain"); NULL when this build or processor has none of it. */
const struct cpni_kernels *cpni_kernels_named(const char *name);

#endif
