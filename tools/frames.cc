/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* frames VIDEO DIR NAME STEP COUNT: every STEP-th frame as DIR/NAME-1.jpg … For the demo: Debian's opencv-doc has a video of pedestrians and
 * few photos of people. */
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/videoio.hpp>

static int extract(const std::string &video, const std::string &stem, long step, long count)
{
    cv::VideoCapture capture(video);
    if (!capture.isOpened()) {
        std::fprintf(stderr, "frames: cannot read %s\n", video.c_str());
        return 5;
    }
    cv::Mat frame;
    long taken = 0;
    for (long i = 0; taken < count && capture.read(frame); i++) {
        if (i % step == 0 && !cv::imwrite(stem + std::to_string(++taken) + ".jpg", frame)) {
            std::fprintf(stderr, "frames: cannot write %s%ld.jpg\n", stem.c_str(), taken);
            return 6;
        }
    }
    return taken == count ? 0 : 5;
}

int main(int argc, char **argv)
{
    if (argc != 6 || std::atol(argv[4]) < 1) {
        std::fprintf(stderr, "usage: frames VIDEO DIR NAME STEP COUNT\n");
        return 2;
    }
    try {
        return extract(argv[1], std::string(argv[2]) + "/" + argv[3] + "-", std::atol(argv[4]), std::atol(argv[5]));
    } catch (const std::exception &failure) {
        std::fprintf(stderr, "frames: %s\n", failure.what());
        return 6;
    }
}
