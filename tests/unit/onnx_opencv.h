/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* OpenCV's dnn for the test of ONNX files, where it is. */
#ifndef ONNX_OPENCV_H
#define ONNX_OPENCV_H

#include <stddef.h>

#ifdef HAVE_OPENCV
enum { ONNX_OPENCV = 1 };
#ifdef __cplusplus
#define ONNX_NOEXCEPT noexcept
extern "C" {
#else
#define ONNX_NOEXCEPT
#endif

/* Probabilities of rows; 0, or -1 when OpenCV throws. */
int onnx_opencv_forward(const void *onnx, size_t size, const float *input, int rows, int inputs, float *output,
    int classes) ONNX_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#else
enum { ONNX_OPENCV = 0 };

static inline int onnx_opencv_forward(const void *onnx, size_t size, const float *input, int rows, int inputs, float *output,
    int classes)
{
    (void)onnx, (void)size, (void)input, (void)rows, (void)inputs, (void)output, (void)classes;
    return -1;
}
#endif

#endif
