/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The backend `opencv.people`: OpenCV's HOG detector for standing people. No file is needed; the parameters are
 *   working_width   wider images are scaled down to this for detection (default 640; 0: never)
 *   scale_factor    between pyramid levels (1.05)   hit_threshold  least distance from the plane (0)
 *   win_stride      pixels between windows (8)      group_threshold  windows that make a finding (2)
 *   min_confidence  of a finding (0.5)
 * A finding's confidence is the logistic function of its weight. */
#include <algorithm>
#include <cmath>

#include <opencv2/core/version.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/objdetect.hpp>

#include "opencv.hh"

namespace
{

const cv::Size window(64, 128);

class People : public cpni::Model
{
public:
    explicit People(const cpn_backend_bundle &bundle)
    {
        const cpni::Params params(bundle);
        working_width_ = params.integer("working_width", 640, 0, 1 << 20);
        scale_factor_ = params.number("scale_factor", 1.05, 1.01, 2);
        hit_threshold_ = params.number("hit_threshold", 0, -10, 10);
        win_stride_ = params.integer("win_stride", 8, 4, 64);
        group_threshold_ = params.number("group_threshold", 2, 0, 100);
        min_confidence_ = params.number("min_confidence", 0.5, 0, 1);
        hog_.setSVMDetector(cv::HOGDescriptor::getDefaultPeopleDetector());
    }

    std::vector<cpni::Finding> find(const cv::Mat &image) override
    {
        cv::Mat working = image;
        double scale = 1;
        if (working_width_ > 0 && image.cols > working_width_) {
            scale = static_cast<double>(image.cols) / working_width_;
            cv::resize(image, working, cv::Size(working_width_, std::max(1, cvRound(image.rows / scale))), 0, 0,
                cv::INTER_AREA);
        }
        std::vector<cpni::Finding> findings;
        if (working.cols < window.width || working.rows < window.height) {
            return findings; /* no window fits; HOG would not look at all */
        }
        std::vector<cv::Rect> boxes;
        std::vector<double> weights;
        hog_.detectMultiScale(working, boxes, weights, hit_threshold_, cv::Size(win_stride_, win_stride_),
            cv::Size(8, 8), scale_factor_, group_threshold_);
        for (size_t i = 0; i < boxes.size(); i++) {
            const double confidence = 1 / (1 + std::exp(-weights[i]));
            const cv::Rect &box = boxes[i];
            if (confidence >= min_confidence_) {
                findings.push_back({ cv::Rect(cvRound(box.x * scale), cvRound(box.y * scale),
                                         cvRound(box.width * scale), cvRound(box.height * scale)),
                    "person", confidence });
            }
        }
        return findings;
    }

private:
    cv::HOGDescriptor hog_;
    int working_width_;
    double scale_factor_;
    double hit_threshold_;
    int win_stride_;
    double group_threshold_;
    double min_confidence_;
};

} // namespace

extern "C" {
extern CPN_BACKEND_EXPORT const cpn_backend cpn_backend_v1;
const cpn_backend cpn_backend_v1 = {
    CPN_BACKEND_ABI,
    sizeof(cpn_backend),
    "opencv.people",
    CV_VERSION,
    0,
    cpni::load<People>,
    cpni::run,
    cpni::unload,
    nullptr,
};
}
