/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See onnx_opencv.h. */
#include "onnx_opencv.h"

#include <cstdio>
#include <cstring>

#include <opencv2/dnn.hpp>

extern "C" int onnx_opencv_forward(const void *onnx, size_t size, const float *input, int rows, int inputs, float *output,
    int classes) noexcept
try {
    cv::dnn::Net net = cv::dnn::readNetFromONNX(static_cast<const char *>(onnx), size);
    cv::Mat blob(rows, inputs, CV_32F);
    std::memcpy(blob.data, input, static_cast<size_t>(rows) * static_cast<size_t>(inputs) * sizeof(float));
    net.setInput(blob, "input");
    cv::Mat out = net.forward();
    if (out.total() != static_cast<size_t>(rows) * static_cast<size_t>(classes)) {
        return -1;
    }
    std::memcpy(output, out.data, out.total() * sizeof(float));
    return 0;
} catch (const std::exception &e) {
    std::fprintf(stderr, "%s\n", e.what());
    return -1;
}
