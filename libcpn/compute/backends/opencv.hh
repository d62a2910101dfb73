/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the OpenCV backends share: parameters, decoding, drawing, encoding, and the wall that no exception crosses. A
 * backend is a class with a constructor that loads and a find() that answers; everything else is here. Must not know
 * any detector. */
#ifndef CPNI_OPENCV_HH
#define CPNI_OPENCV_HH

#include <functional>
#include <string>
#include <vector>

#include <opencv2/core.hpp>

#include <cpn/backend.h>
#include <cpn/error.h>

namespace cpni
{

/* A failure with the sentence for a person. */
struct Failure {
    int code;
    std::string text;
};

/* The manifest's parameters. What cannot be read, or is out of range, is a Failure with CPN_EMODEL that names the
 * parameter. */
class Params
{
public:
    explicit Params(const cpn_backend_bundle &bundle);
    Params(const cpn_backend_param *params, size_t count);
    std::string text(const char *key, const char *otherwise) const;
    double number(const char *key, double otherwise, double least, double most) const;
    int integer(const char *key, int otherwise, int least, int most) const;
    bool flag(const char *key, bool otherwise) const; /* true, false, 1, 0 */
    std::string path(const char *key, const char *otherwise) const; /* of a file in the bundle; "" when not named */

private:
    const cpn_backend_param *params_;
    size_t count_;
    std::string dir_;
};

/* The lines of a text file, without carriage returns. */
std::vector<std::string> read_lines(const std::string &path);

struct Finding {
    cv::Rect box; /* of the image; empty: about all of it */
    std::string name;
    double confidence;
};

class Model
{
public:
    virtual ~Model() = default;
    virtual std::vector<Finding> find(const cv::Mat &image) = 0; /* 8 bits, BGR */

    /* For a model whose input may be text: one finding a row, in the order of the table; whatever it throws is meant for
     * the sender of the task. `parsed` is called between reading and computing. */
    virtual bool takes_text() const { return false; }
    virtual std::vector<Finding> find_rows(const void *text, size_t size, const std::function<void()> &parsed);

    /* Whatever OpenCV makes at first use, before the runner is confined. */
    virtual void warm_up();
};

/* The image as a person sees it: 8 bits, BGR, turned as its EXIF orientation says; boxes refer to that. */
cv::Mat decode(const void *data, size_t size);

/* Boxes and names, in sizes that suit the image. */
void draw(cv::Mat &image, const std::vector<Finding> &findings);

/* Sort by confidence, cut to what a result may hold, keep boxes inside the image. */
void tidy(std::vector<Finding> &findings, const cv::Size &image);

/* Calls the body; an exception becomes its return value and a sentence in `detail`. `otherwise` is the code of what
 * OpenCV throws. */
int guard(char *detail, int otherwise, void (*body)(void *arg), void *arg) noexcept;

int run(void *model, const cpn_backend_input *input, const cpn_backend_sink *sink, char *detail) noexcept;
void unload(void *model) noexcept;

/* Loads and warms up, which is a run on a grey image unless the model says otherwise, so that everything that OpenCV makes at first use is there before the runner is
 * confined, and a model whose shapes do not fit is known now. */
int load_with(
    Model *(*make)(const cpn_backend_bundle &), const cpn_backend_bundle *bundle, void **model, char *detail) noexcept;

template <class M> int load(const cpn_backend_bundle *bundle, void **model, char *detail) noexcept
{
    return load_with([](const cpn_backend_bundle &from) -> Model * { return new M(from); }, bundle, model, detail);
}

} // namespace cpni

#endif
