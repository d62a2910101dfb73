/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See dnn_table.hh. All rows of a task go through the network at once. */
#include "dnn_table.hh"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include <opencv2/imgproc.hpp>

#include "data/csv_rows.h"
extern "C" {
#include "train/schema_json.h"
}

namespace cpni
{

namespace
{

/* A schema whose numbers stay as the table has them: how they were standardised, the network knows. */
class Schema
{
public:
    explicit Schema(const std::string &path)
    {
        char detail[CPNI_DATA_DETAIL] = "";
        json_error_t error;
        const std::unique_ptr<json_t, void (*)(json_t *)> json(
            json_load_file(path.c_str(), 0, &error), [](json_t *loaded) { json_decref(loaded); });
        if (json == nullptr) {
            throw Failure { CPN_EMODEL,
                path.substr(path.find_last_of('/') + 1) + ", line " + std::to_string(error.line) + ": " + error.text };
        }
        if (cpni_schema_from_json(json.get(), &schema_, detail) < 0) {
            throw Failure { CPN_EMODEL, detail };
        }
        for (uint32_t i = 0; i < schema_.feature_count; i++) {
            schema_.features[i].mean = 0;
            schema_.features[i].deviation = 1;
        }
    }
    ~Schema() { cpni_schema_free(&schema_); }
    Schema(const Schema &) = delete;
    Schema &operator=(const Schema &) = delete;

    const cpni_schema *operator->() const { return &schema_; }
    const cpni_schema &operator*() const { return schema_; }

private:
    cpni_schema schema_ = {};
};

struct Rows : cpni_csv_rows {
    Rows()
        : cpni_csv_rows()
    {
    }
    ~Rows() { cpni_csv_rows_free(this); }
    Rows(const Rows &) = delete;
    Rows &operator=(const Rows &) = delete;
};

class TableModel : public Model
{
public:
    explicit TableModel(const cpn_backend_bundle &bundle)
        : TableModel(Params(bundle))
    {
    }

    explicit TableModel(const Params &params)
        : schema_(params.path("schema", "schema.json"))
        , top_(params.integer("top", 5, 1, CPN_RESULT_LABELS))
        , net_(load_net(params.path("model", "model.onnx")))
    {
        if (!params.text("image", "").empty()) {
            image_ = size_of(params, "image");
        }
        if (!image_.empty() && static_cast<uint32_t>(image_.area()) != schema_->columns) {
            throw Failure { CPN_EMODEL,
                "parameter image is '" + params.text("image", "") + "': the network takes "
                    + std::to_string(schema_->columns) + " columns" };
        }
        for (uint32_t i = 0; i < schema_->class_count; i++) {
            if (std::string(schema_->classes[i]).size() >= CPN_LABEL_NAME) {
                throw Failure { CPN_EMODEL,
                    "class " + std::to_string(i) + " has a name of more than " + std::to_string(CPN_LABEL_NAME - 1)
                        + " bytes, which no result can hold: name it shorter in the table" };
            }
        }
    }

    void warm_up() override
    {
        for (const int rows : { 2, 1 }) {
            forward(cv::Mat::zeros(rows, static_cast<int>(schema_->columns), CV_32F));
        }
        if (!image_.empty()) {
            Model::warm_up();
        }
    }

    std::vector<Finding> find(const cv::Mat &image) override
    {
        if (image_.empty()) {
            throw Failure { CPN_EBADINPUT, "an image: this model takes rows of a table (CSV)" };
        }
        cv::Mat grey;
        cv::Mat sized;
        cv::Mat row;
        cv::cvtColor(image, grey, cv::COLOR_BGR2GRAY);
        const bool smaller = image_.width <= grey.cols && image_.height <= grey.rows;
        cv::resize(grey, sized, image_, 0, 0, smaller ? cv::INTER_AREA : cv::INTER_LINEAR);
        sized.reshape(1, 1).convertTo(row, CV_32F);
        const cv::Mat chances = forward(row);
        const float *chance = chances.ptr<float>();
        std::vector<int> order(schema_->class_count);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [chance](int a, int b) { return chance[a] > chance[b]; });
        std::vector<Finding> findings;
        for (const int type : order) {
            if (findings.size() < static_cast<size_t>(top_)) {
                findings.push_back({ cv::Rect(), schema_->classes[type], chance[type] });
            }
        }
        return findings;
    }

    bool takes_text() const override { return true; }

    std::vector<Finding> find_rows(const void *text, size_t size, const std::function<void()> &parsed) override
    {
        char detail[CPNI_DATA_DETAIL] = "";
        Rows rows;
        const int rc = cpni_csv_rows_read(&*schema_, text, size, CPN_RESULT_LABELS, &rows, detail);
        if (rc < 0) {
            throw Failure { rc, detail };
        }
        parsed();
        const cv::Mat chances = forward(
            cv::Mat(static_cast<int>(rows.rows), static_cast<int>(schema_->columns), CV_32F, rows.features));
        std::vector<Finding> findings;
        for (int row = 0; row < chances.rows; row++) {
            const float *chance = chances.ptr<float>(row);
            const auto best = std::max_element(chance, chance + chances.cols);
            if (!std::isfinite(*best)) {
                throw Failure { CPN_EBADINPUT,
                    "row " + std::to_string(row + 1 + schema_->header)
                        + ", all columns: the values are too large for the network to answer" };
            }
            findings.push_back({ cv::Rect(), schema_->classes[best - chance], *best });
        }
        return findings;
    }

private:
    /* Probabilities: [rows][classes]. */
    cv::Mat forward(const cv::Mat &rows)
    {
        net_.setInput(rows);
        const cv::Mat chances = net_.forward();
        if (chances.dims != 2 || chances.depth() != CV_32F || chances.rows != rows.rows
            || static_cast<uint32_t>(chances.cols) != schema_->class_count || chances.cols == 0) {
            throw Failure { CPN_EMODEL,
                "the network does not answer a row of the table with " + std::to_string(schema_->class_count)
                    + " probabilities, the number of classes in the schema" };
        }
        return chances;
    }

    Schema schema_;
    cv::Size image_;
    int top_;
    cv::dnn::Net net_;
};

} // namespace

Model *make_table_model(const cpn_backend_bundle &bundle)
{
    return new TableModel(bundle);
}

} // namespace cpni
