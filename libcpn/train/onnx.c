/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See onnx.h. The messages and what they point to live in one struct; protobuf-c (generated at build from onnx.proto)
 * packs them. */
#include "train/onnx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "onnx.pb-c.h"
#include "train/schema_json.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw tensor data is little-endian");

#define OPSET 11 /* what OpenCV 4.6 and every runtime of today read */
#define LAYERS_MAX (CPN_TRAINER_HIDDEN_MAX + 1)
#define NODES_MAX (2 * LAYERS_MAX)   /* by layer: Gemm, and Relu or Softmax */
#define TENSORS_MAX (2 * LAYERS_MAX) /* by layer: weights and bias */
#define NAME 32

struct node {
    Onnx__NodeProto proto;
    char *inputs[3], *output;
    char name[NAME], value[NAME]; /* of the node, and of what it computes */
    Onnx__AttributeProto attribute, *attributes;
};

struct tensor {
    Onnx__TensorProto proto;
    int64_t dims[2];
    char name[NAME];
};

struct value {
    Onnx__ValueInfoProto proto, *pointer;
    Onnx__TypeProto type;
    Onnx__TypeProto__Tensor tensor;
    Onnx__TensorShapeProto shape;
    Onnx__TensorShapeProto__Dimension dims[2], *pointers[2];
};

struct graph {
    Onnx__GraphProto proto;
    struct node nodes[NODES_MAX];
    Onnx__NodeProto *node_pointers[NODES_MAX];
    struct tensor tensors[TENSORS_MAX];
    Onnx__TensorProto *tensor_pointers[TENSORS_MAX];
    struct value input, output;
    const char *last; /* the value that the next node reads */
    float *weights;   /* as the file has them: matrices turned, standardisation folded in */
};

/* protobuf-c has no const; packing changes nothing. */
static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant;
}

static const char *add_tensor(struct graph *g, const char *name, const float *data, int64_t rows, int64_t columns)
{
    size_t dims = columns > 0 ? 2 : 1, count = (size_t)rows * (size_t)(columns > 0 ? columns : 1);
    struct tensor *tensor = &g->tensors[g->proto.n_initializer];
    onnx__tensor_proto__init(&tensor->proto);
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->dims[0] = rows;
    tensor->dims[1] = columns;
    tensor->proto.name = tensor->name;
    tensor->proto.n_dims = dims;
    tensor->proto.dims = tensor->dims;
    tensor->proto.has_data_type = 1;
    tensor->proto.data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->proto.has_raw_data = 1;
    tensor->proto.raw_data.len = count * sizeof *data;
    tensor->proto.raw_data.data = (uint8_t *)(uintptr_t)data;
    g->tensor_pointers[g->proto.n_initializer++] = &tensor->proto;
    return tensor->name;
}

/* A node that reads the last value and up to two tensors, and computes the next value. */
static struct node *add_node(
    struct graph *g, const char *operation, const char *second, const char *third, const char *value)
{
    struct node *node = &g->nodes[g->proto.n_node];
    onnx__node_proto__init(&node->proto);
    snprintf(node->name, sizeof node->name, "%s_%zu", operation, g->proto.n_node);
    snprintf(node->value, sizeof node->value, "%s", value);
    node->inputs[0] = text(g->last);
    node->inputs[1] = text(second);
    node->inputs[2] = text(third);
    node->output = node->value;
    node->proto.n_input = third != NULL ? 3 : second != NULL ? 2 : 1;
    node->proto.input = node->inputs;
    node->proto.n_output = 1;
    node->proto.output = &node->output;
    node->proto.name = node->name;
    node->proto.op_type = text(operation);
    g->node_pointers[g->proto.n_node++] = &node->proto;
    g->last = node->value;
    return node;
}

/* The node's only attribute, 1. */
static void set_attribute(struct node *node, const char *name)
{
    onnx__attribute_proto__init(&node->attribute);
    node->attribute.name = text(name);
    node->attribute.has_type = 1;
    node->attribute.type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    node->attribute.has_i = 1;
    node->attribute.i = 1;
    node->attributes = &node->attribute;
    node->proto.n_attribute = 1;
    node->proto.attribute = &node->attributes;
}

/* (x - mean) / deviation, then the matrix and the bias, is another matrix and bias. OpenCV 4.6 cannot subtract one row
 * from many, and needs no nodes for this so. In double: the sums of the bias may cancel. */
static void fold(struct graph *g, const struct cpni_model_layer *layer, const struct cpni_schema *schema)
{
    float *matrix = g->weights + layer->weights, *bias = matrix + (size_t)layer->in * layer->out;
    for (size_t o = 0; o < layer->out; o++) {
        double sum = (double)bias[o];
        for (uint32_t f = 0; f < schema->feature_count; f++) {
            const struct cpni_feature *feature = &schema->features[f];
            for (uint32_t i = feature->first; i < feature->first + feature->width; i++) {
                double weight = (double)matrix[o * layer->in + i] / feature->deviation;
                sum -= weight * feature->mean;
                matrix[o * layer->in + i] = (float)weight;
            }
        }
        bias[o] = (float)sum;
    }
}

/* Matrices as [outputs][inputs], as PyTorch exports them: OpenCV 4.6 refuses the other way. */
static void turn(struct graph *g, const struct cpni_model_layer *layer, const float *weights)
{
    const float *from = weights + layer->weights;
    float *to = g->weights + layer->weights;
    for (size_t i = 0; i < layer->in; i++) {
        for (size_t o = 0; o < layer->out; o++) {
            to[o * layer->in + i] = from[i * layer->out + o];
        }
    }
    size_t matrix = (size_t)layer->in * layer->out;
    memcpy(to + matrix, from + matrix, layer->out * sizeof *to);
}

static void add_layer(struct graph *g, uint32_t number, const struct cpni_model_layer *layer)
{
    char name[NAME], value[NAME];
    const float *matrix = g->weights + layer->weights;
    snprintf(name, sizeof name, "weights_%u", number);
    const char *left = add_tensor(g, name, matrix, layer->out, layer->in);
    snprintf(name, sizeof name, "bias_%u", number);
    const char *bias = add_tensor(g, name, matrix + (size_t)layer->in * layer->out, layer->out, 0);
    snprintf(value, sizeof value, "sum_%u", number);
    set_attribute(add_node(g, "Gemm", left, bias, value), "transB");
}

/* [rows, width], any number of rows. */
static void describe_value(struct value *value, const char *name, int64_t width)
{
    onnx__value_info_proto__init(&value->proto);
    onnx__type_proto__init(&value->type);
    onnx__type_proto__tensor__init(&value->tensor);
    onnx__tensor_shape_proto__init(&value->shape);
    for (int i = 0; i < 2; i++) {
        onnx__tensor_shape_proto__dimension__init(&value->dims[i]);
        value->pointers[i] = &value->dims[i];
    }
    value->dims[0].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    value->dims[0].dim_param = text("rows");
    value->dims[1].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    value->dims[1].dim_value = width;
    value->shape.n_dim = 2;
    value->shape.dim = value->pointers;
    value->tensor.has_elem_type = 1;
    value->tensor.elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    value->tensor.shape = &value->shape;
    value->type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    value->type.tensor_type = &value->tensor;
    value->proto.name = text(name);
    value->proto.type = &value->type;
    value->pointer = &value->proto;
}

static int build(struct graph *g, const struct cpni_onnx *onnx)
{
    const struct cpni_model *model = onnx->model;
    onnx__graph_proto__init(&g->proto);
    g->last = CPNI_ONNX_INPUT;
    g->weights = cpni_malloc(model->weight_count * sizeof *g->weights);
    if (g->weights == NULL) {
        return CPN_ENOMEM;
    }
    for (uint32_t l = 0; l < model->layer_count; l++) {
        turn(g, &model->layers[l], onnx->weights);
        if (l == 0 && onnx->schema != NULL) {
            fold(g, &model->layers[0], onnx->schema);
        }
        add_layer(g, l, &model->layers[l]);
        if (l + 1 < model->layer_count) {
            char value[NAME];
            snprintf(value, sizeof value, "hidden_%u", l);
            add_node(g, "Relu", NULL, NULL, value);
        }
    }
    set_attribute(add_node(g, "Softmax", NULL, NULL, CPNI_ONNX_OUTPUT), "axis");
    describe_value(&g->input, CPNI_ONNX_INPUT, model->layers[0].in);
    describe_value(&g->output, CPNI_ONNX_OUTPUT, model->layers[model->layer_count - 1].out);
    g->proto.name = text(onnx->name);
    g->proto.node = g->node_pointers;
    g->proto.initializer = g->tensor_pointers;
    g->proto.n_input = g->proto.n_output = 1;
    g->proto.input = &g->input.pointer;
    g->proto.output = &g->output.pointer;
    return 0;
}

static int pack(struct graph *g, char *schema, struct cpni_buf *out)
{
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT, *opsets = &opset;
    Onnx__StringStringEntryProto entry = ONNX__STRING_STRING_ENTRY_PROTO__INIT, *entries = &entry;
    Onnx__ModelProto proto = ONNX__MODEL_PROTO__INIT;
    entry.key = text(CPNI_ONNX_SCHEMA);
    entry.value = schema;
    proto.n_metadata_props = schema != NULL;
    proto.metadata_props = &entries;
    opset.domain = text("");
    opset.has_version = 1;
    opset.version = OPSET;
    proto.has_ir_version = 1;
    proto.ir_version = ONNX__VERSION__IR_VERSION_2019_9_19; /* that of opset 11 */
    proto.n_opset_import = 1;
    proto.opset_import = &opsets;
    proto.producer_name = text("cpn");
    proto.graph = &g->proto;
    size_t size = onnx__model_proto__get_packed_size(&proto);
    uint8_t *bytes = cpni_malloc(size);
    if (bytes == NULL) {
        return CPN_ENOMEM;
    }
    onnx__model_proto__pack(&proto, bytes);
    int rc = cpni_buf_append(out, bytes, size);
    cpni_free(bytes);
    return rc;
}

int cpni_onnx_write(const struct cpni_onnx *onnx, struct cpni_buf *out)
{
    if (onnx->schema != NULL && onnx->schema->columns != onnx->model->layers[0].in) {
        return CPN_EINVAL;
    }
    struct graph *g = cpni_calloc(1, sizeof *g);
    if (g == NULL) {
        return CPN_ENOMEM;
    }
    json_t *json = onnx->schema != NULL ? cpni_schema_to_json(onnx->schema) : NULL;
    char *schema = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL; /* not if a name is not UTF-8: protobuf's texts are */
    int rc = build(g, onnx);
    rc = rc == 0 ? pack(g, schema, out) : rc;
    free(schema);
    json_decref(json);
    cpni_free(g->weights);
    cpni_free(g);
    return rc;
}
