/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See opencv.hh. */
#include "opencv.hh"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "compute/image.h"

namespace cpni
{

/* ---- parameters ---- */

Params::Params(const cpn_backend_bundle &bundle)
    : params_(bundle.params)
    , count_(bundle.param_count)
    , dir_(bundle.dir)
{
}

Params::Params(const cpn_backend_param *params, size_t count)
    : params_(params)
    , count_(count)
{
}

std::string Params::text(const char *key, const char *otherwise) const
{
    for (size_t i = 0; i < count_; i++) {
        if (std::strcmp(params_[i].key, key) == 0) {
            return params_[i].value;
        }
    }
    return otherwise;
}

double Params::number(const char *key, double otherwise, double least, double most) const
{
    const std::string value = text(key, "");
    if (value.empty()) {
        return otherwise;
    }
    char *end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    if (*end != 0 || !(number >= least && number <= most)) {
        char range[64];
        std::snprintf(range, sizeof range, "%g to %g", least, most);
        throw Failure { CPN_EMODEL,
            std::string("parameter ") + key + " is '" + value + "': expected a number from " + range };
    }
    return number;
}

int Params::integer(const char *key, int otherwise, int least, int most) const
{
    return static_cast<int>(std::lround(number(key, otherwise, least, most)));
}

bool Params::flag(const char *key, bool otherwise) const
{
    const std::string value = text(key, otherwise ? "true" : "false");
    if (value != "true" && value != "false" && value != "1" && value != "0") {
        throw Failure { CPN_EMODEL, std::string("parameter ") + key + " is '" + value + "': expected true or false" };
    }
    return value == "true" || value == "1";
}

std::string Params::path(const char *key, const char *otherwise) const
{
    const std::string name = text(key, otherwise);
    if (name.find('/') != std::string::npos) {
        throw Failure { CPN_EMODEL,
            std::string("parameter ") + key + " is '" + name + "': expected a file of the bundle" };
    }
    return name.empty() ? name : dir_ + "/" + name;
}

std::vector<std::string> read_lines(const std::string &path)
{
    std::ifstream in(path);
    if (!in) {
        throw Failure { CPN_EMODEL, "cannot read " + path };
    }
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
        if (!line.empty() && line.back() == '\r') {
            line.pop_back();
        }
        lines.push_back(line);
    }
    return lines;
}

/* ---- the wall ---- */

static int explain(char *detail, int code, const std::string &text) noexcept
{
    std::snprintf(detail, CPN_BACKEND_DETAIL, "%s", text.c_str());
    return code;
}

int guard(char *detail, int otherwise, void (*body)(void *arg), void *arg) noexcept
{
    try {
        body(arg);
        return 0;
    } catch (const Failure &failure) {
        return explain(detail, failure.code, failure.text);
    } catch (const cv::Exception &exception) {
        const bool memory = exception.code == cv::Error::StsNoMem;
        return explain(detail, memory ? CPN_ENOMEM : otherwise, "OpenCV: " + exception.err);
    } catch (const std::bad_alloc &) {
        return explain(detail, CPN_ENOMEM, "out of memory");
    } catch (const std::exception &exception) {
        return explain(detail, otherwise, exception.what());
    } catch (...) {
        return explain(detail, CPN_EINTERNAL, "unknown exception");
    }
}

/* ---- images ---- */

cv::Mat decode(const void *data, size_t size)
{
    const cv::Mat bytes(1, static_cast<int>(size), CV_8UC1, const_cast<void *>(data));
    cv::Mat image;
    try {
        image = cv::imdecode(bytes, cv::IMREAD_COLOR);
    } catch (const cv::Exception &exception) {
        if (exception.code == cv::Error::StsNoMem) {
            throw;
        }
    }
    if (image.empty()) {
        throw Failure { CPN_EBADINPUT, "damaged image: it has the right structure, but cannot be decoded" };
    }
    return image;
}

static void encode(const cv::Mat &image, cpni_image_kind kind, std::vector<uchar> &out)
{
    const char *extension = kind == CPNI_IMAGE_PNG ? ".png" : kind == CPNI_IMAGE_WEBP ? ".webp" : ".jpg";
    std::vector<int> options;
    if (kind != CPNI_IMAGE_PNG) {
        options = { kind == CPNI_IMAGE_WEBP ? cv::IMWRITE_WEBP_QUALITY : cv::IMWRITE_JPEG_QUALITY, 95 };
    }
    if (!cv::imencode(extension, image, out, options)) {
        throw Failure { CPN_EINTERNAL, "the annotated image cannot be encoded" };
    }
}

/* ---- drawing ---- */

/* OpenCV's fonts have ASCII alone: one '?' for any other character instead of one for each of its bytes. */
static std::string drawable(const std::string &name)
{
    std::string text;
    for (const char c : name) {
        const unsigned char byte = static_cast<unsigned char>(c);
        if (byte < 0x80) {
            text += c;
        } else if (byte >= 0xc0) {
            text += '?';
        }
    }
    return text;
}

static cv::Scalar colour_of(const Finding &finding)
{
    return finding.name == "unknown" ? cv::Scalar(0, 165, 255) : cv::Scalar(80, 220, 60);
}

/* Black on the box's colour, above the box if there is room, else inside it; never beyond the image. A text wider than
 * its box is made smaller, down to what can still be read, so that neighbours in a group stay visible. */
static void draw_text(cv::Mat &image, const Finding &finding, double font, double font_least)
{
    char text[CPN_LABEL_NAME + 16];
    std::snprintf(text, sizeof text, "%s %.0f%%", drawable(finding.name).c_str(), finding.confidence * 100);
    int base = 0;
    const int wide = cv::getTextSize(text, cv::FONT_HERSHEY_SIMPLEX, font, 1, &base).width;
    if (finding.box.width > 0 && wide > finding.box.width) {
        font = std::max(font_least, font * finding.box.width / wide);
    }
    const int line = std::max(1, cvRound(font * 1.6));
    const cv::Size size = cv::getTextSize(text, cv::FONT_HERSHEY_SIMPLEX, font, line, &base);
    const int pad = std::max(2, line);
    const int height = size.height + base + pad;
    const int x = std::max(0, std::min(finding.box.x, image.cols - size.width - 2 * pad));
    const bool above = finding.box.height > 0 && finding.box.y >= height;
    const int y = above ? finding.box.y - height : finding.box.y;
    const cv::Rect back = cv::Rect(x, y, size.width + 2 * pad, height) & cv::Rect(0, 0, image.cols, image.rows);
    cv::rectangle(image, back, colour_of(finding), cv::FILLED);
    cv::putText(image, text, cv::Point(x + pad, y + pad + size.height), cv::FONT_HERSHEY_SIMPLEX, font,
        cv::Scalar(0, 0, 0), line, cv::LINE_AA);
}

/* Labels about the whole image stand below each other in its corner. */
static const int corner_max = 3;

/* A picture too small to write on is enlarged: an annotated copy is for eyes. */
static std::vector<Finding> make_room(cv::Mat &image, const std::vector<Finding> &findings)
{
    const int readable = 240;
    const int factor = (readable - 1) / std::max(image.cols, image.rows) + 1;
    std::vector<Finding> shown = findings;
    if (factor > 1) {
        cv::Mat larger;
        cv::resize(image, larger, cv::Size(), factor, factor, cv::INTER_CUBIC);
        image = larger;
    }
    for (Finding &finding : shown) {
        finding.box = cv::Rect(finding.box.tl() * factor, finding.box.size() * factor);
    }
    return shown;
}

void draw(cv::Mat &image, const std::vector<Finding> &findings)
{
    std::vector<Finding> shown = make_room(image, findings);
    const double scale = std::max(image.cols, image.rows) / 1000.0;
    const double font = std::max(0.35, scale * 0.6);
    const int line = std::max(1, cvRound(scale * 2));
    int corner = 0;
    for (Finding &finding : shown) {
        if (!finding.box.empty()) {
            cv::rectangle(image, finding.box, colour_of(finding), line);
        } else {
            finding.box = cv::Rect(0, cvRound(corner++ * font * 40), 0, 0);
        }
    }
    for (auto finding = shown.rbegin(); finding != shown.rend(); ++finding) { /* the surest on top */
        if (!finding->box.empty() || corner-- <= corner_max) {
            draw_text(image, *finding, font, std::max(0.35, scale * 0.36));
        }
    }
}

void tidy(std::vector<Finding> &findings, const cv::Size &image)
{
    for (Finding &finding : findings) {
        finding.box &= cv::Rect(cv::Point(), image);
    }
    std::stable_sort(findings.begin(), findings.end(),
        [](const Finding &a, const Finding &b) { return a.confidence > b.confidence; });
    if (findings.size() > CPN_RESULT_LABELS) {
        findings.resize(CPN_RESULT_LABELS);
    }
}

/* ---- a task ---- */

static uint64_t now_us()
{
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

static void send_labels(const std::vector<Finding> &findings, const cpn_backend_sink &sink)
{
    for (const Finding &finding : findings) {
        cpn_label label = {};
        std::snprintf(label.name, sizeof label.name, "%s", finding.name.c_str());
        label.confidence = static_cast<float>(finding.confidence);
        label.x = finding.box.x;
        label.y = finding.box.y;
        label.width = finding.box.width;
        label.height = finding.box.height;
        const int rc = sink.label(sink.arg, &label);
        if (rc < 0) {
            throw Failure { rc, "a label was refused" };
        }
    }
}

struct Call {
    Model *model;
    const cpn_backend_input *input;
    const cpn_backend_sink *sink;
    char *detail;
};

std::vector<Finding> Model::find_rows(const void *, size_t, const std::function<void()> &)
{
    throw Failure { CPN_EBADINPUT, "this model takes images" };
}

void Model::warm_up()
{
    find(cv::Mat(240, 320, CV_8UC3, cv::Scalar::all(127)));
}

static void run_text(const Call &call)
{
    const uint64_t began_us = now_us();
    uint64_t parsed_us = began_us;
    send_labels(
        call.model->find_rows(call.input->data, call.input->data_size, [&parsed_us] { parsed_us = now_us(); }),
        *call.sink);
    call.sink->timing(call.sink->arg, parsed_us - began_us, now_us() - parsed_us, 0);
}

static void run_image(const Call &call)
{
    const cpn_backend_input &input = *call.input;
    const cpn_backend_sink &sink = *call.sink;
    const uint64_t began_us = now_us();
    cpni_image_info info;
    const int rc = cpni_image_check(input.data, input.data_size, &info, call.detail);
    if (rc < 0) {
        throw Failure { rc, call.detail };
    }
    cv::Mat image = decode(input.data, input.data_size);
    sink.image(sink.arg, image.cols, image.rows);
    const uint64_t decoded_us = now_us();
    std::vector<Finding> findings = call.model->find(image);
    tidy(findings, image.size());
    send_labels(findings, sink);
    const uint64_t found_us = now_us();
    if (input.annotate != 0) {
        std::vector<uchar> bytes;
        draw(image, findings);
        encode(image, info.kind, bytes);
        const int sent = sink.output(sink.arg, bytes.data(), bytes.size(), cpni_image_type(info.kind));
        if (sent < 0) {
            throw Failure { sent, "the annotated image is too large to return" };
        }
    }
    sink.timing(sink.arg, decoded_us - began_us, found_us - decoded_us, input.annotate != 0 ? now_us() - found_us : 0);
}

static void run_one(void *arg)
{
    const Call &call = *static_cast<const Call *>(arg);
    const bool image = cpni_image_kind_of(call.input->data, call.input->data_size) != CPNI_IMAGE_OTHER;
    if (!image && call.model->takes_text()) {
        run_text(call);
    } else {
        run_image(call);
    }
}

int run(void *model, const cpn_backend_input *input, const cpn_backend_sink *sink, char *detail) noexcept
{
    Call call = { static_cast<Model *>(model), input, sink, detail };
    return guard(detail, CPN_EINTERNAL, run_one, &call);
}

void unload(void *model) noexcept
{
    delete static_cast<Model *>(model);
}

/* ---- a model ---- */

struct Loading {
    Model *(*make)(const cpn_backend_bundle &);
    const cpn_backend_bundle *bundle;
    std::unique_ptr<Model> model;
};

static void load_one(void *arg)
{
    Loading &loading = *static_cast<Loading *>(arg);
    cv::setNumThreads(static_cast<int>(loading.bundle->threads));
    loading.model.reset(loading.make(*loading.bundle));
    loading.model->warm_up();
}

int load_with(
    Model *(*make)(const cpn_backend_bundle &), const cpn_backend_bundle *bundle, void **model, char *detail) noexcept
{
    Loading loading = { make, bundle, nullptr };
    const int rc = guard(detail, CPN_EMODEL, load_one, &loading);
    if (rc == 0) {
        *model = loading.model.release();
    }
    return rc;
}

} // namespace cpni
