/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* digits SHEET CSV DIR COUNT: Debian's opencv-doc has a sheet of 5,000 handwritten digits of 20x20, 50 rows of 100, five rows a digit. For the
 * demo they become a table, a digit a row: p1 … p400 are its grey values, row by row, label is the digit. COUNT of each kind are left out
 * of the table and written as DIR/7-1.png …, to see whether a model that has not seen them knows them. */
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <string>

#include <opencv2/imgcodecs.hpp>

static const int side = 20, columns = 100, rows = 50, kinds = 10;
static const int each = rows * columns / kinds;

static cv::Mat cell(const cv::Mat &sheet, int digit, int index)
{
    int row = digit * rows / kinds + index / columns;
    return sheet(cv::Rect(index % columns * side, row * side, side, side));
}

static void write_header(std::ofstream &table)
{
    for (int i = 1; i <= side * side; i++) {
        table << "p" << i << ",";
    }
    table << "label\n";
}

static void write_row(std::ofstream &table, const cv::Mat &image, int digit)
{
    for (int i = 0; i < side * side; i++) {
        table << static_cast<int>(image.at<unsigned char>(i / side, i % side)) << ",";
    }
    table << digit << "\n";
}

static int cut(const cv::Mat &sheet, const std::string &csv, const std::string &dir, int count)
{
    std::ofstream table(csv);
    write_header(table);
    for (int digit = 0; digit < kinds; digit++) {
        int step = each / count, taken = 0;
        for (int i = 0; i < each; i++) {
            cv::Mat image = cell(sheet, digit, i);
            if (i % step != step - 1 || taken == count) {
                write_row(table, image, digit);
            } else if (!cv::imwrite(dir + "/" + std::to_string(digit) + "-" + std::to_string(++taken) + ".png", image)) {
                std::fprintf(stderr, "digits: cannot write to %s\n", dir.c_str());
                return 6;
            }
        }
    }
    table.close();
    if (!table) {
        std::fprintf(stderr, "digits: cannot write %s\n", csv.c_str());
        return 6;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int count = argc == 5 ? std::atoi(argv[4]) : 0;
    if (count < 1 || count > each) {
        std::fprintf(stderr, "usage: digits SHEET CSV DIR COUNT\n");
        return 2;
    }
    try {
        cv::Mat sheet = cv::imread(argv[1], cv::IMREAD_GRAYSCALE);
        if (sheet.cols != columns * side || sheet.rows != rows * side) {
            std::fprintf(stderr, "digits: %s: expected an image of %dx%d\n", argv[1], columns * side, rows * side);
            return 5;
        }
        return cut(sheet, argv[2], argv[3], count);
    } catch (const std::exception &failure) {
        std::fprintf(stderr, "digits: %s\n", failure.what());
        return 6;
    }
}
