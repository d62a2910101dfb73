/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* opencv.dnn's layout `table`: a network trained on a table, as a session publishes it. Its input is CSV text, or an image
 * where the table's rows were images. The parameters:
 *   model   file (model.onnx): input [rows, columns], values as they stand in the table (missing ones filled,
 *           categories one-hot); output [rows, classes], probabilities
 *   schema  file (schema.json): which columns, filled with what, and what the classes are called; as
 *           train/schema_json.h writes it. What it says of standardising is in the network already
 *   image   WIDTHxHEIGHT: a row is a grey image of that size, row by row, 0 to 255; images are taken, too (no images)
 *   top     how many classes an image is answered with (5); a row of a table has one answer, its best class */
#ifndef CPNI_DNN_TABLE_HH
#define CPNI_DNN_TABLE_HH

#include <opencv2/dnn.hpp>

#include "opencv.hh"

namespace cpni
{

Model *make_table_model(const cpn_backend_bundle &bundle);

/* Of opencv_dnn.cc, for both. */
cv::Size size_of(const Params &params, const char *key);
cv::dnn::Net load_net(const std::string &path);

} // namespace cpni

#endif
