/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The backend `opencv.dnn`: any ONNX network that OpenCV loads, as a classifier, as one of the detectors of
 * dnn_layouts.hh, or (layout table) what a training session made: see dnn_table.hh. The parameters of the others:
 *   model      file (model.onnx)
 *   layout     classifier, yunet, ultraface, fastestdet (classifier)
 *   input      WIDTHxHEIGHT that the network takes; no default
 *   channels   3 or 1 (3)
 *   swap_rb    true: RGB, false: BGR (false)
 *   mean, std  of each channel, in the network's order: "0.485,0.456,0.406" (0; 1); pixel -> (pixel * scale - mean) / std
 *   scale      of a pixel's 0 to 255 (1)
 *   crop       keep the proportions and cut the rest, instead of stretching (false)
 *   flatten    true: the network takes one row of numbers instead of planes (false)
 *   labels     text file, a class on each line; else "class 0" (a classifier, fastestdet) or "face"
 *   threshold  least confidence (0.5 for a detector, 0 for a classifier)
 *   nms        largest overlap of two boxes of one class (0.45)
 *   only       the classes that are wanted, separated by commas (all)
 *   softmax    of a classifier's outputs (true)
 *   top        how many classes a classifier answers (5) */
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <sstream>

#include <opencv2/core/version.hpp>
#include <opencv2/dnn.hpp>
#include <opencv2/imgproc.hpp>

#include "dnn_layouts.hh"
#include "dnn_table.hh"
#include "opencv.hh"

namespace cpni
{

cv::Size size_of(const Params &params, const char *key)
{
    int width = 0;
    int height = 0;
    int end = 0;
    const std::string text = params.text(key, "");
    if (std::sscanf(text.c_str(), "%dx%d%n", &width, &height, &end) != 2 || end != static_cast<int>(text.size())
        || width < 1 || height < 1 || width > 4096 || height > 4096) {
        throw Failure { CPN_EMODEL,
            std::string("parameter ") + key + " is '" + text
                + "': expected WIDTHxHEIGHT of the network's input, as 320x240" };
    }
    return cv::Size(width, height);
}

cv::dnn::Net load_net(const std::string &path)
{
    try {
        cv::dnn::Net net = cv::dnn::readNetFromONNX(path);
        net.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
        return net;
    } catch (const cv::Exception &exception) {
        throw Failure { CPN_EMODEL,
            "OpenCV " CV_VERSION " cannot load " + path.substr(path.find_last_of('/') + 1) + ": " + exception.err };
    }
}

} // namespace cpni

namespace
{

cv::Scalar channels_of(const cpni::Params &params, const char *key, double otherwise)
{
    cv::Scalar values = cv::Scalar::all(otherwise);
    std::istringstream in(params.text(key, ""));
    std::string part;
    int count = 0;
    for (; std::getline(in, part, ','); count++) {
        char *end = nullptr;
        const double value = std::strtod(part.c_str(), &end);
        if (count == 3 || part.empty() || *end != 0) {
            throw cpni::Failure { CPN_EMODEL,
                std::string("parameter ") + key + ": expected one number or three, separated by commas" };
        }
        values[count] = value;
    }
    return count == 1 ? cv::Scalar::all(values[0]) : values;
}

class Network : public cpni::Model
{
public:
    explicit Network(const cpn_backend_bundle &bundle)
        : Network(cpni::Params(bundle))
    {
    }

    explicit Network(const cpni::Params &params)
        : size_(cpni::size_of(params, "input"))
        , channels_(params.integer("channels", 3, 1, 3))
        , scale_(params.number("scale", 1, 1e-9, 1e9))
        , mean_(channels_of(params, "mean", 0))
        , std_(channels_of(params, "std", 1))
        , swap_rb_(params.flag("swap_rb", false))
        , crop_(params.flag("crop", false))
        , flatten_(params.flag("flatten", false))
        , softmax_(params.flag("softmax", true))
        , top_(params.integer("top", 5, 1, CPN_RESULT_LABELS))
        , nms_(params.number("nms", 0.45, 0, 1))
    {
        const std::string layout = params.text("layout", "classifier");
        layout_ = cpni::layout_of(layout);
        if (layout_ == nullptr && layout != "classifier") {
            throw cpni::Failure { CPN_EMODEL,
                "parameter layout is '" + layout + "': expected classifier, yunet, ultraface, fastestdet or table" };
        }
        static const std::map<std::string, double> thresholds
            = { { "yunet", 0.8 }, { "ultraface", 0.7 }, { "fastestdet", 0.5 } };
        const auto usual = thresholds.find(layout);
        threshold_ = params.number("threshold", usual != thresholds.end() ? usual->second : 0, 0, 1);
        default_name_ = layout_ != nullptr && layout != "fastestdet" ? "face" : "class ";
        const std::string labels = params.path("labels", "");
        if (!labels.empty()) {
            labels_ = cpni::read_lines(labels);
        }
        std::istringstream only(params.text("only", ""));
        for (std::string name; std::getline(only, name, ',');) {
            only_.push_back(name);
        }
        net_ = cpni::load_net(params.path("model", "model.onnx"));
        outputs_ = net_.getUnconnectedOutLayersNames();
    }

    std::vector<cpni::Finding> find(const cv::Mat &image) override
    {
        net_.setInput(blob_of(image));
        std::vector<cv::Mat> blobs;
        net_.forward(blobs, outputs_);
        return layout_ != nullptr ? detect(blobs, image.size()) : classify(blobs);
    }

private:
    cv::Mat blob_of(const cv::Mat &image) const
    {
        cv::Mat source = image;
        if (channels_ == 1) {
            cv::cvtColor(image, source, cv::COLOR_BGR2GRAY);
        }
        /* blobFromImage subtracts before it scales: (pixel - mean / scale) * scale */
        cv::Mat blob = cv::dnn::blobFromImage(source, scale_, size_, mean_ / scale_, swap_rb_, crop_);
        for (int channel = 0; channel < channels_; channel++) {
            if (std_[channel] != 1) {
                cv::Mat plane(size_, CV_32F, blob.ptr<float>(0, channel));
                plane /= std_[channel];
            }
        }
        return flatten_ ? blob.reshape(1, 1) : blob;
    }

    std::string name_of(int type) const
    {
        if (type >= 0 && static_cast<size_t>(type) < labels_.size()) {
            return labels_[static_cast<size_t>(type)];
        }
        return default_name_ == "face" ? default_name_ : default_name_ + std::to_string(type);
    }

    bool wanted(const std::string &name) const
    {
        return only_.empty() || std::find(only_.begin(), only_.end(), name) != only_.end();
    }

    std::vector<cpni::Finding> detect(const std::vector<cv::Mat> &blobs, const cv::Size &image) const
    {
        cpni::Outputs outputs;
        for (size_t i = 0; i < blobs.size(); i++) {
            outputs[outputs_[i]] = blobs[i];
        }
        const std::vector<cpni::Candidate> candidates = layout_(outputs, size_, threshold_);
        std::map<int, std::vector<size_t>> by_type;
        for (size_t i = 0; i < candidates.size(); i++) {
            by_type[candidates[i].type].push_back(i);
        }
        std::vector<cpni::Finding> findings;
        for (const auto &type : by_type) {
            const std::string name = name_of(type.first);
            if (wanted(name)) {
                add_distinct(candidates, type.second, name, image, findings);
            }
        }
        return findings;
    }

    void add_distinct(const std::vector<cpni::Candidate> &candidates, const std::vector<size_t> &chosen,
        const std::string &name, const cv::Size &image, std::vector<cpni::Finding> &findings) const
    {
        std::vector<cv::Rect2d> boxes;
        std::vector<float> scores;
        for (const size_t i : chosen) {
            const cv::Rect2d &box = candidates[i].box;
            boxes.push_back(cv::Rect2d(
                box.x * image.width, box.y * image.height, box.width * image.width, box.height * image.height));
            scores.push_back(static_cast<float>(candidates[i].score));
        }
        std::vector<int> kept;
        cv::dnn::NMSBoxes(boxes, scores, 0, static_cast<float>(nms_), kept);
        for (const int index : kept) {
            const size_t i = static_cast<size_t>(index);
            const cv::Rect2d box
                = boxes[i] & cv::Rect2d(0, 0, image.width, image.height); /* before it is made of integers */
            findings.push_back({ cv::Rect(box), name, scores[i] });
        }
    }

    std::vector<cpni::Finding> classify(const std::vector<cv::Mat> &blobs) const
    {
        if (blobs.size() != 1 || blobs[0].depth() != CV_32F || blobs[0].total() > 1000000) {
            throw cpni::Failure { CPN_EMODEL,
                "the model does not have one row of numbers as output: it is no classifier" };
        }
        const cv::Mat row = blobs[0].reshape(1, 1);
        std::vector<double> scores(row.begin<float>(), row.end<float>());
        if (softmax_) {
            const double largest = *std::max_element(scores.begin(), scores.end());
            double sum = 0;
            for (double &score : scores) {
                score = std::exp(score - largest);
                sum += score;
            }
            for (double &score : scores) {
                score /= sum;
            }
        }
        std::vector<int> order(scores.size());
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
            [&](int a, int b) { return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)]; });
        std::vector<cpni::Finding> findings;
        for (const int type : order) {
            const double score = scores[static_cast<size_t>(type)];
            if (findings.size() < static_cast<size_t>(top_) && score >= threshold_ && wanted(name_of(type))) {
                findings.push_back({ cv::Rect(), name_of(type), score });
            }
        }
        return findings;
    }

    cv::Size size_;
    int channels_;
    double scale_;
    cv::Scalar mean_;
    cv::Scalar std_;
    bool swap_rb_;
    bool crop_;
    bool flatten_;
    bool softmax_;
    int top_;
    double nms_;
    double threshold_ = 0;
    cpni::Layout layout_ = nullptr;
    std::string default_name_;
    std::vector<std::string> labels_;
    std::vector<std::string> only_;
    cv::dnn::Net net_;
    std::vector<std::string> outputs_;
};

cpni::Model *make(const cpn_backend_bundle &bundle)
{
    return cpni::Params(bundle).text("layout", "") == "table" ? cpni::make_table_model(bundle) : new Network(bundle);
}

int load(const cpn_backend_bundle *bundle, void **model, char *detail) noexcept
{
    return cpni::load_with(make, bundle, model, detail);
}

} // namespace

extern "C" {
extern CPN_BACKEND_EXPORT const cpn_backend cpn_backend_v1;
const cpn_backend cpn_backend_v1 = {
    CPN_BACKEND_ABI,
    sizeof(cpn_backend),
    "opencv.dnn",
    CV_VERSION,
    0,
    load,
    cpni::run,
    cpni::unload,
    nullptr,
};
}
