/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Faces: finding them in a photo and telling whose they are. Shared by the backend and by its training, so that both
 * cut and compare a face in exactly the same way. Must not know bundles' layout, drawing or tasks. */
#ifndef CPNI_FACES_HH
#define CPNI_FACES_HH

#include <string>
#include <vector>

#include <opencv2/core.hpp>
#include <opencv2/face.hpp>
#include <opencv2/objdetect.hpp>

#include "opencv.hh"

namespace cpni
{

struct Face {
    cv::Rect box; /* of the photo */
    double confidence;
    cv::Mat crop; /* grey, square, FaceCutter's size; raw */
};

/* Finds faces with a Haar or LBP cascade. The parameters:
 *   cascade        file (haarcascade_frontalface_default.xml)
 *   scale_factor   between pyramid levels (1.1)      min_neighbors   hits that make a face (5)
 *   min_size       smallest face, pixels of the image that is searched (30)
 *   working_width  wider photos are scaled down to this for the search (800; 0: never)
 *   face_size      side of a cut face, pixels (72)
 * A photo of at most 256 pixels is taken for a portrait that fills its frame, where a cascade misses faces that touch
 * the border: such a one is searched with its border repeated around it. A face's confidence is n / (n + min_neighbors)
 * of its n hits. */
class FaceFinder
{
public:
    FaceFinder(const Params &params, const std::string &cascade_path);
    std::vector<Face> find(const cv::Mat &grey);
    cv::Mat cut_whole(const cv::Mat &grey) const; /* the middle square of a portrait in which no face was found */
    static bool is_portrait(const cv::Mat &grey);

private:
    cv::Mat cut(const cv::Mat &grey, const cv::Rect &box) const;
    cv::CascadeClassifier cascade_;
    double scale_factor_;
    int min_neighbors_;
    int min_size_;
    int working_width_;
    int face_size_;
};

/* How two faces are compared: LBPH of the crop after Tan and Triggs' illumination normalisation (gamma, difference of
 * Gaussians, contrast). The parameters lbph_radius (3), lbph_neighbors (8) and lbph_grid (6) are OpenCV's. */
cv::Ptr<cv::face::LBPHFaceRecognizer> make_lbph(const Params &params);
cv::Mat normalise_face(const cv::Mat &crop);

/* How far a face is from the nearest of the people that are known; the smaller the surer. *ratio*: the distance to the
 * nearest person over that to the second nearest, which a poor photo of anybody raises alike; *distance*: the first
 * alone, for few people. Training chooses, and measures where the threshold is.
 */
enum class Score { ratio, distance };
Score score_of(const std::string &name);
const char *name_of(Score score);
double score_from(Score score, double nearest, double second);

/* 0.5 at the threshold, 0.95 one training median below it. */
double identity_confidence(double score, double threshold, double spread);

} // namespace cpni

#endif
