/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See faces_build.hh. Reads photos that its own user chose, so it is not confined as a runner with a task is; still a
 * process of its own. */
#include "faces_build.hh"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include <opencv2/core/version.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "compute/image.h"
#include "faces.hh"
#include "faces_validate.hh"

namespace cpni
{

static const size_t photos_max = 5000; /* tiles of a bundle; each costs 37 kB in a runner and 10 us a face */
static const size_t validated_max = 2000; /* photos in the cross-validation, which compares each with each */
static const char *const cascade_dirs[] = { "/usr/share/opencv4/haarcascades/", "/usr/share/opencv4/lbpcascades/" };

namespace
{

    struct Known {
        cv::Mat crop;
        int person;
    };

    struct Training {
        const Params &params;
        void (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total);
        void *arg;
        std::vector<std::string> people;
        std::vector<Known> known;
        std::vector<std::string> skipped; /* "ann/3.jpg: no face found" */
        std::vector<std::string> left_out;
        std::vector<uchar> sample; /* a photo with a face, as JPEG */
    };

} // namespace

/* ---- reading ---- */

static std::vector<std::string> list(const std::string &dir, mode_t kind)
{
    std::vector<std::string> names;
    DIR *stream = opendir(dir.c_str());
    if (stream == nullptr) {
        throw Failure { CPN_ENOTFOUND, "cannot read the directory " + dir + ": " + std::strerror(errno) };
    }
    while (const dirent *entry = readdir(stream)) {
        struct stat status;
        if (entry->d_name[0] != '.' && stat((dir + "/" + entry->d_name).c_str(), &status) == 0
            && (status.st_mode & S_IFMT) == kind) {
            names.push_back(entry->d_name);
        }
    }
    closedir(stream);
    std::sort(names.begin(), names.end());
    return names;
}

static std::vector<char> read_file(const std::string &path)
{
    std::ifstream in(path, std::ios::binary);
    return std::vector<char>(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

/* PGM too, which a photo of a task may not be: collections of faces come in it. */
static cv::Mat read_photo(const std::string &path)
{
    const std::vector<char> bytes = read_file(path);
    cpni_image_info info;
    char detail[CPN_BACKEND_DETAIL] = "";
    const bool grey_map = bytes.size() > 2 && bytes[0] == 'P' && (bytes[1] == '5' || bytes[1] == '2');
    if (!grey_map && cpni_image_check(bytes.data(), bytes.size(), &info, detail) < 0) {
        throw Failure { CPN_EBADINPUT, detail };
    }
    return decode(bytes.data(), bytes.size());
}

/* The largest face of a photo; the portrait as a whole when it shows none; else an empty crop. */
static cv::Mat cut_face(FaceFinder &finder, const cv::Mat &photo, bool &found)
{
    cv::Mat grey;
    cv::cvtColor(photo, grey, cv::COLOR_BGR2GRAY);
    cv::Mat crop;
    int largest = 0;
    for (const Face &face : finder.find(grey)) {
        if (face.box.area() > largest) {
            largest = face.box.area();
            crop = face.crop;
        }
    }
    found = !crop.empty();
    return !found && FaceFinder::is_portrait(grey) ? finder.cut_whole(grey) : crop;
}

static void read_one(Training &training, FaceFinder &finder, const std::string &path, const std::string &shown)
{
    try {
        const cv::Mat photo = read_photo(path);
        bool found = false;
        const cv::Mat crop = cut_face(finder, photo, found);
        if (crop.empty()) {
            training.skipped.push_back(shown + ": no face found");
            return;
        }
        if (found && training.sample.empty()) {
            cv::imencode(".jpg", photo, training.sample);
        }
        training.known.push_back({ crop, static_cast<int>(training.people.size()) });
    } catch (const Failure &failure) {
        if (failure.code != CPN_EBADINPUT) {
            throw;
        }
        training.skipped.push_back(shown + ": " + failure.text);
    }
}

static void read_person(Training &training, FaceFinder &finder, const std::string &from, const std::string &person,
    const std::vector<std::string> &photos)
{
    const size_t before = training.known.size();
    for (const std::string &photo : photos) {
        read_one(training, finder, from + "/" + person + "/" + photo, person + "/" + photo);
    }
    if (training.known.size() - before < 2) {
        training.left_out.push_back(person);
        training.known.resize(before);
        return;
    }
    training.people.push_back(person);
}

static void read_all(Training &training, FaceFinder &finder, const std::string &from)
{
    const std::vector<std::string> folders = list(from, S_IFDIR);
    std::vector<std::vector<std::string>> photos;
    size_t total = 0;
    for (const std::string &person : folders) {
        if (person == "unknown" || person.size() >= CPN_LABEL_NAME) {
            throw Failure { CPN_EINVAL,
                "a folder is called '" + person + "': expected a person's name of at most 95 bytes, not 'unknown'" };
        }
        photos.push_back(list(from + "/" + person, S_IFREG));
        total += photos.back().size();
    }
    if (total == 0 || total > photos_max) {
        throw Failure { total == 0 ? CPN_ENOTFOUND : CPN_ETOOBIG,
            from + " has " + std::to_string(folders.size()) + " folders and " + std::to_string(total)
                + " photos in them: expected one folder for each person, with 2 photos or more, "
                + std::to_string(photos_max) + " in all" };
    }
    size_t done = 0;
    for (size_t i = 0; i < folders.size(); i++) {
        training.progress(training.arg, "reading photos", done, total);
        read_person(training, finder, from, folders[i], photos[i]);
        done += photos[i].size();
    }
    training.progress(training.arg, "reading photos", total, total);
    if (training.people.empty()) {
        const std::string why = training.skipped.empty() ? "" : " (" + training.skipped[0] + ")";
        throw Failure { CPN_EBADINPUT, "nobody in " + from + " has 2 photos that show a face" + why };
    }
}

/* ---- comparing ---- */

static Validation measure(const Training &training)
{
    /* Of a large collection each person's first photos are enough to place a threshold. */
    const size_t each = std::max<size_t>(2, validated_max / training.people.size());
    std::vector<cv::Mat> crops;
    std::vector<int> labels;
    size_t of_person = 0;
    for (size_t i = 0; i < training.known.size() && crops.size() < validated_max; i++) {
        of_person = i > 0 && training.known[i].person == training.known[i - 1].person ? of_person + 1 : 0;
        if (of_person < each) {
            crops.push_back(normalise_face(training.known[i].crop));
            labels.push_back(training.known[i].person);
        }
    }
    const auto lbph = make_lbph(training.params);
    lbph->train(crops, labels);
    const auto progress
        = [&](size_t done, size_t total) { training.progress(training.arg, "cross-validating", done, total); };
    return validate(lbph->getHistograms(), labels, training.params.number("false_names", 2, 0, 100) / 100, progress);
}

/* ---- writing ---- */

static void write_file(const std::string &path, const char *data, size_t size)
{
    std::ofstream out(path, std::ios::binary);
    out.write(data, static_cast<std::streamsize>(size));
    out.close();
    if (!out) {
        throw Failure { CPN_EIO, "cannot write " + path + ": " + std::strerror(errno) };
    }
}

static void write_text(const std::string &path, const std::string &text)
{
    write_file(path, text.data(), text.size());
}

static void write_tiles(const Training &training, const std::string &out)
{
    const int side = training.known[0].crop.cols;
    const int across = static_cast<int>(std::ceil(std::sqrt(static_cast<double>(training.known.size()))));
    const int rows = (static_cast<int>(training.known.size()) + across - 1) / across;
    cv::Mat sheet(rows * side, across * side, CV_8UC1, cv::Scalar(0));
    std::string names;
    for (size_t i = 0; i < training.known.size(); i++) {
        const int tile = static_cast<int>(i);
        training.known[i].crop.copyTo(sheet(cv::Rect(tile % across * side, tile / across * side, side, side)));
        names += training.people[static_cast<size_t>(training.known[i].person)] + "\n";
    }
    std::vector<uchar> png;
    cv::imencode(".png", sheet, png);
    write_file(out + "/faces.png", reinterpret_cast<const char *>(png.data()), png.size());
    write_text(out + "/people.txt", names);
}

static std::string find_cascade(const Params &params)
{
    const std::string name = params.text("cascade", "haarcascade_frontalface_default.xml");
    for (const char *dir : cascade_dirs) {
        struct stat status;
        if (name.find('/') == std::string::npos && stat((dir + name).c_str(), &status) == 0) {
            return dir + name;
        }
    }
    return name;
}

static std::string percent(double share)
{
    char text[32];
    std::snprintf(text, sizeof text, "%.1f %%", share * 100);
    return text;
}

static std::string number(double value)
{
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", value);
    return text;
}

static void write_manifest(
    const Training &training, const Validation &measured, const std::string &cascade, const std::string &out)
{
    const Params &params = training.params;
    std::ostringstream json;
    json << "{\n  \"name\": \"" << params.text("name", "faces")
         << "\",\n  \"backend\": \"opencv.face\",\n  \"parameters\": {\n";
    const std::pair<const char *, std::string> entries[] = {
        { "cascade", cascade },
        { "scale_factor", params.text("scale_factor", "1.1") },
        { "min_neighbors", params.text("min_neighbors", "5") },
        { "min_size", params.text("min_size", "30") },
        { "working_width", params.text("working_width", "800") },
        { "faces", "faces.png" },
        { "people", "people.txt" },
        { "face_size", params.text("face_size", "72") },
        { "lbph_radius", params.text("lbph_radius", "3") },
        { "lbph_neighbors", params.text("lbph_neighbors", "8") },
        { "lbph_grid", params.text("lbph_grid", "6") },
        { "score", name_of(measured.score) },
        { "threshold", number(measured.threshold) },
        { "spread", number(measured.spread) },
        { "distance_max", number(measured.distance_max) },
        { "measured_identified", number(measured.identified) },
        { "measured_misnamed", number(measured.misnamed) },
        { "measured_false_names", measured.unknown_count > 0 ? number(measured.false_names) : "not measured" },
    };
    const char *comma = "";
    for (const auto &entry : entries) {
        json << comma << "    \"" << entry.first << "\": \"" << entry.second << "\"";
        comma = ",\n";
    }
    json << "\n  },\n  \"files\": [\"" << cascade << "\", \"faces.png\", \"people.txt\", \"training.txt\""
         << (training.sample.empty() ? "]" : ", \"sample.jpg\"],\n  \"sample\": \"sample.jpg\"") << "\n}\n";
    write_text(out + "/model.json", json.str());
}

static std::string rates(const Validation &measured)
{
    std::string text
        = percent(measured.identified) + " of known faces identified, " + percent(measured.misnamed) + " misnamed, ";
    return text
        + (measured.unknown_count > 0 ? percent(measured.false_names) + " of unknown faces named"
                                      : "unknown faces not measured: one person alone has nobody to be told from");
}

static void write_report(const Training &training, const Validation &measured, const std::string &out)
{
    std::ostringstream text;
    text << training.people.size() << " people, " << training.known.size() << " photos\n"
         << "cross-validated on " << measured.known_count << " known and " << measured.unknown_count
         << " unknown faces: " << rates(measured) << "\n";
    for (const std::string &person : training.left_out) {
        text << "left out: " << person << ": fewer than 2 photos that show a face\n";
    }
    for (const std::string &photo : training.skipped) {
        text << "skipped: " << photo << "\n";
    }
    write_text(out + "/training.txt", text.str());
}

static std::string summary(const Training &training, const Validation &measured)
{
    std::string text
        = std::to_string(training.people.size()) + " people, " + std::to_string(training.known.size()) + " photos";
    if (!training.left_out.empty()) {
        text += ", " + std::to_string(training.left_out.size()) + " people left out (first: " + training.left_out[0]
            + ")";
    }
    if (!training.skipped.empty()) {
        text += ", " + std::to_string(training.skipped.size()) + " photos skipped (first: " + training.skipped[0] + ")";
    }
    return text + "; cross-validated: " + rates(measured);
}

/* ---- the whole ---- */

static void check_name(const std::string &name)
{
    if (name.empty() || name.size() > 63
        || name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
            != std::string::npos) {
        throw Failure { CPN_EINVAL,
            "a model cannot be called '" + name + "': expected letters, digits, '.', '_' and '-', at most 63" };
    }
}

static void check_keys(const cpn_backend_param *params, size_t count)
{
    static const char *const known[] = { "name", "cascade", "false_names", "scale_factor", "min_neighbors", "min_size",
        "face_size", "lbph_radius", "lbph_neighbors", "lbph_grid", "working_width" };
    for (size_t i = 0; i < count; i++) {
        const auto same = [&](const char *key) { return std::strcmp(key, params[i].key) == 0; };
        if (std::none_of(std::begin(known), std::end(known), same)) {
            throw Failure { CPN_EINVAL, std::string("opencv.face has no training parameter '") + params[i].key + "'" };
        }
    }
}

namespace
{

    struct Arguments {
        std::string from, out;
        const cpn_backend_param *params;
        size_t param_count;
        void (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total);
        void *arg;
        std::string summary;
    };

} // namespace

static void build(void *arg)
{
    Arguments &arguments = *static_cast<Arguments *>(arg);
    const Params params(arguments.params, arguments.param_count);
    check_keys(arguments.params, arguments.param_count);
    check_name(params.text("name", "faces"));
    const std::string cascade = find_cascade(params);
    const std::string cascade_name = cascade.substr(cascade.find_last_of('/') + 1);
    FaceFinder finder(params, cascade);
    Training training = { params, arguments.progress, arguments.arg, {}, {}, {}, {}, {} };
    read_all(training, finder, arguments.from);
    const Validation measured = measure(training);
    const std::vector<char> xml = read_file(cascade);
    write_file(arguments.out + "/" + cascade_name, xml.data(), xml.size());
    write_tiles(training, arguments.out);
    if (!training.sample.empty()) {
        write_file(arguments.out + "/sample.jpg", reinterpret_cast<const char *>(training.sample.data()),
            training.sample.size());
    }
    write_report(training, measured, arguments.out);
    write_manifest(training, measured, cascade_name, arguments.out);
    arguments.summary = summary(training, measured);
}

int build_faces(const char *from, const char *out, const cpn_backend_param *params, size_t param_count,
    void (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total), void *arg, char *detail) noexcept
{
    Arguments arguments = { from, out, params, param_count, progress, arg, "" };
    const int rc = guard(detail, CPN_EINTERNAL, build, &arguments);
    if (rc == 0) {
        std::snprintf(detail, CPN_BACKEND_DETAIL, "%s", arguments.summary.c_str());
    }
    return rc;
}

} // namespace cpni
