/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See faces_validate.hh. */
#include "faces_validate.hh"

#include <algorithm>
#include <cmath>
#include <limits>

#include <opencv2/imgproc.hpp>

namespace cpni
{

static const size_t rounds_max = 5;
static const size_t people_for_ratio = 3; /* one left out, and still a nearest and a second nearest */

namespace
{

    struct Trial {
        bool known; /* the person was in the gallery */
        bool correct; /* and is the nearest */
        double nearest, second;
    };

    struct Split {
        std::vector<size_t> gallery, probes;
        std::vector<bool> left_out; /* by person */
    };

} // namespace

static cv::Mat all_distances(
    const std::vector<cv::Mat> &histograms, const std::function<void(size_t, size_t)> &progress)
{
    const int count = static_cast<int>(histograms.size());
    cv::Mat distances(count, count, CV_32F, cv::Scalar(0));
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < i; k++) {
            const double distance = cv::compareHist(histograms[static_cast<size_t>(i)],
                histograms[static_cast<size_t>(k)], cv::HISTCMP_CHISQR_ALT); /* as LBPH's predict() does */
            distances.at<float>(i, k) = distances.at<float>(k, i) = static_cast<float>(distance);
        }
        progress(static_cast<size_t>(i) + 1, histograms.size());
    }
    return distances;
}

static Split split(const std::vector<int> &labels, size_t people, size_t rounds, size_t round)
{
    Split out;
    std::vector<size_t> seen(people, 0);
    for (size_t person = 0; person < people; person++) {
        out.left_out.push_back(people > 1 && person % rounds == round);
    }
    for (size_t i = 0; i < labels.size(); i++) {
        const size_t person = static_cast<size_t>(labels[i]);
        /* offset by the person, so that a person with fewer photos than rounds is tried in some round */
        const bool probe = (seen[person]++ + person) % rounds == round;
        (probe || out.left_out[person] ? out.probes : out.gallery).push_back(i);
    }
    return out;
}

static Trial try_one(const cv::Mat &distances, const std::vector<int> &labels, const Split &split, size_t probe)
{
    Trial trial = { false, false, std::numeric_limits<double>::max(), std::numeric_limits<double>::max() };
    int person = -1;
    for (const size_t i : split.gallery) {
        const double distance = distances.at<float>(static_cast<int>(probe), static_cast<int>(i));
        trial.known = trial.known || labels[i] == labels[probe];
        if (labels[i] == person) {
            trial.nearest = std::min(trial.nearest, distance);
        } else if (distance < trial.nearest) {
            trial.second = trial.nearest;
            trial.nearest = distance;
            person = labels[i];
        } else {
            trial.second = std::min(trial.second, distance);
        }
    }
    trial.correct = person == labels[probe];
    return trial;
}

static double share(size_t part, size_t whole)
{
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

static void count_at(Validation &out, const std::vector<Trial> &trials)
{
    size_t identified = 0;
    size_t misnamed = 0;
    size_t false_names = 0;
    out.known_count = out.unknown_count = 0;
    for (const Trial &trial : trials) {
        const bool named
            = score_from(out.score, trial.nearest, trial.second) <= out.threshold && trial.nearest <= out.distance_max;
        (trial.known ? out.known_count : out.unknown_count)++;
        identified += trial.known && trial.correct && named;
        misnamed += trial.known && !trial.correct && named;
        false_names += !trial.known && named;
    }
    out.identified = share(identified, out.known_count);
    out.misnamed = share(misnamed, out.known_count);
    out.false_names = share(false_names, out.unknown_count);
}

/* The largest score that is allowed: the wrong ones up to it are at most `most` of theirs. */
static double threshold_for(std::vector<double> &right, std::vector<double> &wrong, double most)
{
    std::sort(right.begin(), right.end());
    std::sort(wrong.begin(), wrong.end());
    const double highest = right.empty() ? 0 : right.back();
    if (wrong.empty()) {
        return right.empty() ? 0 : right[right.size() / 2]; /* nobody to be mistaken for: rather miss than misname */
    }
    const size_t allowed = static_cast<size_t>(most * static_cast<double>(wrong.size()));
    if (allowed >= wrong.size()) {
        return highest;
    }
    /* Between the last that may pass and the first that may not there are no wrong ones: stop in the middle. */
    const double below = allowed > 0 ? wrong[allowed - 1] : 0;
    const double above = wrong[allowed];
    const auto right_below = std::lower_bound(right.begin(), right.end(), above);
    const double last_right = right_below == right.begin() ? below : *(right_below - 1);
    return (std::max(below, last_right) + above) / 2;
}

static Validation measure(const std::vector<Trial> &trials, Score score, double false_names)
{
    Validation out;
    std::vector<double> right;
    std::vector<double> wrong;
    for (const Trial &trial : trials) {
        const double value = score_from(score, trial.nearest, trial.second);
        if (!trial.known || !trial.correct) {
            wrong.push_back(value);
        } else {
            right.push_back(value);
            out.distance_max = std::max(out.distance_max, trial.nearest);
        }
    }
    out.score = score;
    out.threshold = threshold_for(right, wrong, false_names);
    const double median = right.empty() ? 0 : right[right.size() / (wrong.empty() ? 4 : 2)];
    out.spread = std::max((out.threshold - median) / std::log(19), 0.02 * out.threshold); /* the median is 95 % sure */
    count_at(out, trials);
    return out;
}

Validation validate(const std::vector<cv::Mat> &histograms, const std::vector<int> &labels, double false_names,
    const std::function<void(size_t done, size_t total)> &progress)
{
    const size_t people = static_cast<size_t>(*std::max_element(labels.begin(), labels.end())) + 1;
    const size_t rounds = std::min(rounds_max, std::max<size_t>(2, people));
    const cv::Mat distances = all_distances(histograms, progress);
    std::vector<Trial> trials;
    for (size_t round = 0; round < rounds; round++) {
        const Split parts = split(labels, people, rounds, round);
        for (const size_t probe : parts.probes) {
            if (!parts.gallery.empty()) {
                trials.push_back(try_one(distances, labels, parts, probe));
            }
        }
    }
    return measure(trials, people < people_for_ratio ? Score::distance : Score::ratio, false_names);
}

} // namespace cpni
