/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See faces.hh. */
#include "faces.hh"

#include <algorithm>
#include <cmath>

#include <opencv2/imgproc.hpp>

namespace cpni
{

static const int portrait_max = 256; /* pixels of the longer side */

FaceFinder::FaceFinder(const Params &params, const std::string &cascade_path)
    : scale_factor_(params.number("scale_factor", 1.1, 1.01, 2))
    , min_neighbors_(params.integer("min_neighbors", 5, 0, 1000))
    , min_size_(params.integer("min_size", 30, 1, 1 << 20))
    , working_width_(params.integer("working_width", 800, 0, 1 << 20))
    , face_size_(params.integer("face_size", 72, 24, 512))
{
    /* OpenCV accepts a missing or foreign file and then finds nothing */
    if (!cascade_.load(cascade_path) || cascade_.empty()) {
        throw Failure { CPN_EMODEL, "cannot load the cascade " + cascade_path };
    }
}

bool FaceFinder::is_portrait(const cv::Mat &grey)
{
    return std::max(grey.cols, grey.rows) <= portrait_max;
}

std::vector<Face> FaceFinder::find(const cv::Mat &grey)
{
    cv::Mat working = grey;
    double scale = 1;
    int border = 0;
    if (working_width_ > 0 && grey.cols > working_width_) {
        scale = static_cast<double>(grey.cols) / working_width_;
        cv::resize(
            grey, working, cv::Size(working_width_, std::max(1, cvRound(grey.rows / scale))), 0, 0, cv::INTER_AREA);
    } else if (is_portrait(grey)) {
        border = std::min(grey.cols, grey.rows) / 5;
        cv::copyMakeBorder(grey, working, border, border, border, border, cv::BORDER_REPLICATE);
    }
    std::vector<cv::Rect> boxes;
    std::vector<int> hits;
    cascade_.detectMultiScale(working, boxes, hits, scale_factor_, min_neighbors_, 0, cv::Size(min_size_, min_size_));
    std::vector<Face> faces;
    for (size_t i = 0; i < boxes.size(); i++) {
        const cv::Rect &box = boxes[i];
        const cv::Rect place(cvRound((box.x - border) * scale), cvRound((box.y - border) * scale),
            cvRound(box.width * scale), cvRound(box.height * scale));
        /* From the photo itself, for its detail; a portrait's face may reach into the border. */
        const cv::Mat crop = border > 0 ? cut(working, box) : cut(grey, place);
        faces.push_back(
            { place & cv::Rect(cv::Point(), grey.size()), (hits[i] + 1e-9) / (hits[i] + min_neighbors_ + 1e-9), crop });
    }
    return faces;
}

cv::Mat FaceFinder::cut(const cv::Mat &grey, const cv::Rect &box) const
{
    cv::Mat crop;
    cv::resize(
        grey(box & cv::Rect(cv::Point(), grey.size())), crop, cv::Size(face_size_, face_size_), 0, 0, cv::INTER_AREA);
    return crop;
}

cv::Mat FaceFinder::cut_whole(const cv::Mat &grey) const
{
    const int side = std::min(grey.cols, grey.rows);
    return cut(grey, cv::Rect((grey.cols - side) / 2, (grey.rows - side) / 2, side, side));
}

/* ---- comparing ---- */

cv::Ptr<cv::face::LBPHFaceRecognizer> make_lbph(const Params &params)
{
    const int grid = params.integer("lbph_grid", 6, 1, 16);
    return cv::face::LBPHFaceRecognizer::create(
        params.integer("lbph_radius", 3, 1, 8), params.integer("lbph_neighbors", 8, 4, 12), grid, grid);
}

/* X. Tan and B. Triggs, "Enhanced local texture feature sets for face recognition under difficult lighting conditions",
 * 2010: with their constants. */
cv::Mat normalise_face(const cv::Mat &crop)
{
    const double alpha = 0.1;
    const double tau = 10;
    cv::Mat face;
    cv::Mat narrow;
    cv::Mat wide;
    cv::Mat power;
    crop.convertTo(face, CV_32F, 1 / 255.0);
    cv::pow(face, 0.2, face);
    cv::GaussianBlur(face, narrow, cv::Size(), 1);
    cv::GaussianBlur(face, wide, cv::Size(), 2);
    face = narrow - wide;
    cv::pow(cv::abs(face), alpha, power);
    face /= std::pow(cv::mean(power)[0], 1 / alpha) + 1e-9;
    cv::pow(cv::min(cv::abs(face), tau), alpha, power);
    face /= std::pow(cv::mean(power)[0], 1 / alpha) + 1e-9;
    for (auto value = face.begin<float>(); value != face.end<float>(); ++value) {
        *value = static_cast<float>(tau * std::tanh(*value / tau));
    }
    cv::normalize(face, face, 0, 255, cv::NORM_MINMAX);
    cv::Mat out;
    face.convertTo(out, CV_8U);
    return out;
}

Score score_of(const std::string &name)
{
    if (name != "ratio" && name != "distance") {
        throw Failure { CPN_EMODEL, "parameter score is '" + name + "': expected ratio or distance" };
    }
    return name == "ratio" ? Score::ratio : Score::distance;
}

const char *name_of(Score score)
{
    return score == Score::ratio ? "ratio" : "distance";
}

double score_from(Score score, double nearest, double second)
{
    return score == Score::ratio ? (second > 0 ? nearest / second : 1) : nearest;
}

double identity_confidence(double score, double threshold, double spread)
{
    return 1 / (1 + std::exp((score - threshold) / std::max(spread, 1e-9)));
}

} // namespace cpni
