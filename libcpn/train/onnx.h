/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A trained network as ONNX (opset 11): Gemm and Relu by layer, then Softmax. What the schema standardised is folded
 * into the first layer, so the network takes rows as they would lie in a dataset that was not standardised, and gives
 * probabilities by class; what they are stands in the file's metadata. Must not know bundles or files. */
#ifndef CPNI_ONNX_H
#define CPNI_ONNX_H

#include "base/buf.h"
#include "compute/trainers/model.h"
#include "data/schema.h"

#define CPNI_ONNX_INPUT "input"          /* float32 [rows, inputs], any number of rows */
#define CPNI_ONNX_SCHEMA "schema"       /* of the metadata: which column and category each input is, the names of the classes (schema_json.h) */
#define CPNI_ONNX_OUTPUT "probabilities" /* float32 [rows, classes] */

struct cpni_onnx {
    const char *name; /* of the graph */
    const struct cpni_model *model;
    const float *weights;             /* flat, as in <cpn/trainer.h> */
    const struct cpni_schema *schema; /* NULL: rows were not standardised */
};

/* Append the file's bytes. CPN_EINVAL when schema and model differ in width, CPN_ENOMEM. */
int cpni_onnx_write(const struct cpni_onnx *onnx, struct cpni_buf *out);

#endif
