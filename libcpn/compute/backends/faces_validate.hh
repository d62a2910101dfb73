/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Which threshold tells known faces from unknown ones, measured on the training photos themselves. */
#ifndef CPNI_FACES_VALIDATE_HH
#define CPNI_FACES_VALIDATE_HH

#include <functional>
#include <vector>

#include <opencv2/core.hpp>

#include "faces.hh"

namespace cpni
{

struct Validation {
    Score score = Score::distance;
    double threshold = 0;
    double spread = 0;
    double distance_max = 0; /* the largest at which a known face was still right: beyond it no score counts */
    double identified = 0; /* of photos of known people, those that got their name; 0 to 1 */
    double misnamed = 0; /* of the same, those that got another's */
    double false_names = 0; /* of photos of people left out, those that got a name */
    size_t known_count = 0; /* how many of each were tried */
    size_t unknown_count = 0;
};

/* `labels[i]` is the person of `histograms[i]`. In each of up to five rounds a fifth of the people is left out whole,
 * as unknown, and of the others a fifth of the photos, as known; both are compared to the rest. The threshold is the
 * largest that gives at most `false_names` (0 to 1) of the unknown, and of the known, a wrong name. With one person
 * nobody can be left out: then it is what half of the known would pass, and false_names is not measured
 * (unknown_count 0). The score is the ratio from three people on: on small collections it
 * gave a tenth of the distance's false names. */
Validation validate(const std::vector<cv::Mat> &histograms, const std::vector<int> &labels, double false_names,
    const std::function<void(size_t done, size_t total)> &progress);

} // namespace cpni

#endif
