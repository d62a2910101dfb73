/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See dnn_layouts.hh. The formulas are those of the detectors' own sources: libfacedetection (and OpenCV's
 * FaceDetectorYN, which follows one of its two layouts, another in each version of OpenCV),
 * Ultra-Light-Fast-Generic-Face-Detector-1MB, FastestDet. */
#include "dnn_layouts.hh"

#include <algorithm>
#include <cmath>

#include "opencv.hh"

namespace cpni
{

/* An output as rows of `columns` floats. */
static cv::Mat rows_of(const Outputs &outputs, const std::string &name, int columns)
{
    const auto found = outputs.find(name);
    if (found == outputs.end() || found->second.depth() != CV_32F
        || found->second.total() % static_cast<size_t>(columns) != 0) {
        throw Failure { CPN_EMODEL,
            "the model has no output '" + name + "' with rows of " + std::to_string(columns)
                + ": the parameter layout names another one" };
    }
    return found->second.reshape(1, static_cast<int>(found->second.total()) / columns);
}

static double unit(double value)
{
    return std::min(1.0, std::max(0.0, value));
}

static cv::Rect2d centred(double x, double y, double width, double height)
{
    return cv::Rect2d(x - width / 2, y - height / 2, width, height);
}

/* ---- priors: yunet's older layout and ultraface ---- */

/* Both regress boxes from the same default boxes: some sides on each of four grids, row by row. `places` holds centre
 * and size, of which the network gives the difference over 0.1 and the logarithm over 0.2. */
static std::vector<Candidate> from_priors(
    const cv::Mat &places, const std::vector<double> &scores, const cv::Size &input, double threshold)
{
    static const std::vector<std::vector<int>> sides = { { 10, 16, 24 }, { 32, 48 }, { 64, 96 }, { 128, 192, 256 } };
    std::vector<Candidate> found;
    size_t row = 0;
    for (int level = 0; level < 4; level++) {
        const int stride = 8 << level;
        const int columns = (input.width + stride - 1) / stride;
        const int cells = columns * ((input.height + stride - 1) / stride);
        const std::vector<int> &at_cell = sides[static_cast<size_t>(level)];
        for (int prior = 0; prior < cells * static_cast<int>(at_cell.size()); prior++, row++) {
            if (row >= scores.size() || scores[row] < threshold) {
                continue;
            }
            const int cell = prior / static_cast<int>(at_cell.size());
            const double side = at_cell[static_cast<size_t>(prior) % at_cell.size()];
            const float *place = places.ptr<float>(static_cast<int>(row));
            const double width = side / input.width;
            const double height = side / input.height;
            found.push_back({ centred((cell % columns + 0.5) * stride / input.width + place[0] * 0.1 * width,
                                  (cell / columns + 0.5) * stride / input.height + place[1] * 0.1 * height,
                                  width * std::exp(place[2] * 0.2), height * std::exp(place[3] * 0.2)),
                scores[row], 0 });
        }
    }
    if (row != scores.size() || places.rows != static_cast<int>(row)) {
        throw Failure { CPN_EMODEL, "the model's outputs do not fit the parameters input and layout" };
    }
    return found;
}

static std::vector<Candidate> yunet_priors(const Outputs &outputs, const cv::Size &input, double threshold)
{
    const cv::Mat types = rows_of(outputs, "conf", 2);
    const cv::Mat overlaps = rows_of(outputs, "iou", 1);
    std::vector<double> scores;
    for (int row = 0; row < std::min(types.rows, overlaps.rows); row++) {
        scores.push_back(std::sqrt(unit(types.at<float>(row, 1)) * unit(overlaps.at<float>(row, 0))));
    }
    return from_priors(rows_of(outputs, "loc", 14), scores, input, threshold);
}

static std::vector<Candidate> ultraface(const Outputs &outputs, const cv::Size &input, double threshold)
{
    const cv::Mat types = rows_of(outputs, "scores", 2);
    std::vector<double> scores;
    for (int row = 0; row < types.rows; row++) {
        scores.push_back(types.at<float>(row, 1));
    }
    return from_priors(rows_of(outputs, "boxes", 4), scores, input, threshold);
}

/* ---- yunet ---- */

static void yunet_level(
    const Outputs &outputs, const cv::Size &input, int stride, double threshold, std::vector<Candidate> &found)
{
    const std::string level = std::to_string(stride);
    const cv::Mat types = rows_of(outputs, "cls_" + level, 1);
    const cv::Mat objects = rows_of(outputs, "obj_" + level, 1);
    const cv::Mat boxes = rows_of(outputs, "bbox_" + level, 4);
    const int across = input.width / stride;
    const double cell_width = static_cast<double>(stride) / input.width;
    const double cell_height = static_cast<double>(stride) / input.height;
    if (types.rows != across * (input.height / stride) || objects.rows != types.rows || boxes.rows != types.rows) {
        throw Failure { CPN_EMODEL, "the model's outputs do not fit its input size (layout yunet)" };
    }
    for (int row = 0; row < types.rows; row++) {
        const double score = std::sqrt(unit(types.at<float>(row, 0)) * unit(objects.at<float>(row, 0)));
        if (score >= threshold) {
            const cv::Vec4d box = boxes.at<cv::Vec4f>(row, 0);
            found.push_back({ centred((row % across + box[0]) * cell_width, (row / across + box[1]) * cell_height,
                                  std::exp(box[2]) * cell_width, std::exp(box[3]) * cell_height),
                score, 0 });
        }
    }
}

static std::vector<Candidate> yunet(const Outputs &outputs, const cv::Size &input, double threshold)
{
    if (outputs.count("loc") != 0) {
        return yunet_priors(outputs, input, threshold);
    }
    std::vector<Candidate> found;
    for (int stride = 8; stride <= 32; stride *= 2) {
        yunet_level(outputs, input, stride, threshold, found);
    }
    return found;
}

/* ---- fastestdet ---- */

static double sigmoid(double value)
{
    return 1 / (1 + std::exp(-value));
}

static std::vector<Candidate> fastestdet(const Outputs &outputs, const cv::Size &input, double threshold)
{
    (void)input;
    const cv::Mat *grid = outputs.size() == 1 ? &outputs.begin()->second : nullptr;
    if (grid == nullptr || grid->dims != 4 || grid->size[0] != 1 || grid->size[1] < 6 || grid->depth() != CV_32F) {
        throw Failure { CPN_EMODEL,
            "the model does not have one output of 1 x (5 + classes) x rows x columns: the parameter layout "
            "names another one" };
    }
    const int classes = grid->size[1] - 5;
    const int rows = grid->size[2];
    const int columns = grid->size[3];
    const cv::Mat channels = grid->reshape(1, grid->size[1]); /* a row for each channel */
    const auto at = [&](int channel, int cell) -> double { return channels.at<float>(channel, cell); };
    std::vector<Candidate> found;
    for (int cell = 0; cell < rows * columns; cell++) {
        int best = 0;
        for (int type = 1; type < classes; type++) {
            best = at(5 + type, cell) > at(5 + best, cell) ? type : best;
        }
        const double score = std::pow(unit(at(0, cell)), 0.6) * std::pow(unit(at(5 + best, cell)), 0.4);
        if (score >= threshold) {
            found.push_back(
                { centred((cell % columns + std::tanh(at(1, cell))) / columns,
                      (cell / columns + std::tanh(at(2, cell))) / rows, sigmoid(at(3, cell)), sigmoid(at(4, cell))),
                    score, best });
        }
    }
    return found;
}

Layout layout_of(const std::string &name)
{
    static const std::map<std::string, Layout> layouts
        = { { "yunet", yunet }, { "ultraface", ultraface }, { "fastestdet", fastestdet } };
    const auto found = layouts.find(name);
    return found != layouts.end() ? found->second : nullptr;
}

} // namespace cpni
