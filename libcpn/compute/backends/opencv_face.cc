/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The backend `opencv.face`: finds faces (faces.hh has the parameters of the search) and, when the bundle holds faces
 * of people, says whose they are. Then also: faces      a picture of all known faces, cut and grey, tile by tile
 * (faces.png); without it faces are found and called "face" people     a text file: the name of each tile's person, a
 * line each (people.txt) score      ratio or distance     threshold, spread  of that score, as training measured them
 * A face that is nobody's is called "unknown". LBPH is trained on the tiles when the model is loaded: that takes less
 * time than reading its own file format, which is 60 times as large, and a person can look at what the model knows. */
#include <limits>
#include <map>

#include <opencv2/core/version.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "faces.hh"
#include "faces_build.hh"

namespace
{

class Faces : public cpni::Model
{
public:
    explicit Faces(const cpn_backend_bundle &bundle)
        : Faces(cpni::Params(bundle))
    {
    }

    explicit Faces(const cpni::Params &params)
        : finder_(params, params.path("cascade", "haarcascade_frontalface_default.xml"))
    {
        const std::string tiles = params.path("faces", "");
        if (!tiles.empty()) {
            learn(params, tiles, params.path("people", "people.txt"));
        }
    }

    std::vector<cpni::Finding> find(const cv::Mat &image) override
    {
        cv::Mat grey;
        cv::cvtColor(image, grey, cv::COLOR_BGR2GRAY);
        std::vector<cpni::Finding> findings;
        for (const cpni::Face &face : finder_.find(grey)) {
            findings.push_back({ face.box, "face", face.confidence });
            if (!lbph_.empty()) {
                name(face.crop, findings.back());
            }
        }
        if (findings.empty() && !lbph_.empty() && cpni::FaceFinder::is_portrait(grey)) {
            cpni::Finding whole = { cv::Rect(cv::Point(), grey.size()), "", 0 };
            name(finder_.cut_whole(grey), whole);
            if (whole.name != "unknown") { /* perhaps no face at all, so only a name counts */
                findings.push_back(whole);
            }
        }
        return findings;
    }

private:
    void learn(const cpni::Params &params, const std::string &tiles, const std::string &people)
    {
        const cv::Mat sheet = cv::imread(tiles, cv::IMREAD_GRAYSCALE);
        const int side = params.integer("face_size", 72, 24, 512);
        const std::vector<std::string> names = cpni::read_lines(people);
        const size_t across = static_cast<size_t>(sheet.cols / side);
        if (sheet.empty() || names.empty() || names.size() > across * static_cast<size_t>(sheet.rows / side)) {
            throw cpni::Failure { CPN_EMODEL, tiles + " does not hold a face for each line of " + people };
        }
        std::vector<cv::Mat> crops;
        std::vector<int> labels;
        std::map<std::string, int> numbers;
        for (size_t i = 0; i < names.size(); i++) {
            const auto known = numbers.emplace(names[i], static_cast<int>(numbers.size()));
            if (known.second) {
                names_.push_back(names[i]);
            }
            const cv::Rect tile(static_cast<int>(i % across) * side, static_cast<int>(i / across) * side, side, side);
            crops.push_back(cpni::normalise_face(sheet(tile)));
            labels.push_back(known.first->second);
        }
        score_ = cpni::score_of(params.text("score", "ratio"));
        threshold_ = params.number("threshold", 0.9, 0, 1e9);
        distance_max_ = params.number("distance_max", 1e9, 0, 1e9);
        spread_ = params.number("spread", 0.05, 0, 1e9);
        lbph_ = cpni::make_lbph(params);
        lbph_->train(crops, labels);
    }

    void name(const cv::Mat &crop, cpni::Finding &finding)
    {
        const auto collector = cv::face::StandardCollector::create();
        lbph_->predict(cpni::normalise_face(crop), collector);
        double nearest = std::numeric_limits<double>::max();
        double second = nearest;
        int person = -1;
        for (const auto &result : collector->getResults(true)) { /* by rising distance, one for each tile */
            if (person < 0) {
                person = result.first;
                nearest = result.second;
            } else if (result.first != person) {
                second = result.second;
                break;
            }
        }
        const double score = cpni::score_from(score_, nearest, second);
        const double confidence = cpni::identity_confidence(score, threshold_, spread_);
        const bool known = person >= 0 && score <= threshold_ && nearest <= distance_max_;
        finding.name = known ? names_[static_cast<size_t>(person)] : "unknown";
        finding.confidence = known ? confidence : std::max(0.5, 1 - confidence);
    }

    cpni::FaceFinder finder_;
    cv::Ptr<cv::face::LBPHFaceRecognizer> lbph_;
    std::vector<std::string> names_;
    cpni::Score score_ = cpni::Score::ratio;
    double threshold_ = 0;
    double distance_max_ = 0;
    double spread_ = 0;
};

} // namespace

extern "C" {
extern CPN_BACKEND_EXPORT const cpn_backend cpn_backend_v1;
const cpn_backend cpn_backend_v1 = {
    CPN_BACKEND_ABI,
    sizeof(cpn_backend),
    "opencv.face",
    CV_VERSION,
    0,
    cpni::load<Faces>,
    cpni::run,
    cpni::unload,
    cpni::build_faces,
};
}
