/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* How the outputs of known detectors become boxes. Must not know images, labels or networks: numbers in, candidates
 * out. */
#ifndef CPNI_DNN_LAYOUTS_HH
#define CPNI_DNN_LAYOUTS_HH

#include <map>
#include <string>
#include <vector>

#include <opencv2/core.hpp>

namespace cpni
{

struct Candidate {
    cv::Rect2d box; /* fractions of the image: 0 to 1 */
    double score;
    int type; /* index of its class */
};

using Outputs = std::map<std::string, cv::Mat>;

/* Everything at least as sure as `threshold`, before overlaps are removed. A Failure with CPN_EMODEL when the outputs
 * are not of that layout; `input` is the size that the network was given. yunet       libfacedetection's detectors:
 * priors (outputs loc, conf, iou) or anchor-free (cls_8, obj_8, bbox_8, ...) ultraface   scores 1xNx2 and corners 1xNx4
 * in fractions fastestdet  one grid of 5 + classes channels: objectness, x, y, width, height, classes */
using Layout = std::vector<Candidate> (*)(const Outputs &outputs, const cv::Size &input, double threshold);

Layout layout_of(const std::string &name); /* nullptr: there is none of that name */

} // namespace cpni

#endif
