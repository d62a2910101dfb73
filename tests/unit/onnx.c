/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* ONNX of a trained network: what the file says, and that OpenCV (where it is) computes the same from it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>
#include <cpn/trainer.h>

#include "base/alloc.h"
#include "base/random.h"
#include "onnx.pb-c.h"
#include "train/onnx.h"
#include "onnx_opencv.h"

enum { ROWS = 17, INPUTS = 21, CLASSES = 5 };

extern const struct cpn_trainer cpn_trainer_v1;

/* A network with weights as after some training, its input as the table has it and as the trainer sees it. */
struct net {
    struct cpn_trainer_spec spec;
    struct cpni_model model;
    void *trainer;
    float *weights;
    struct cpni_feature features[INPUTS];
    struct cpni_schema schema;
    char label[8], name[8];
    float raw[ROWS * INPUTS], standardised[ROWS * INPUTS], expected[ROWS * CLASSES];
};

static void make_net(struct net *net, uint32_t hidden)
{
    char detail[CPN_TRAINER_DETAIL];
    struct cpni_random random;
    *net = (struct net){ .spec = CPN_TRAINER_SPEC_INIT };
    net->spec.inputs = INPUTS;
    net->spec.classes = CLASSES;
    net->spec.hidden_count = hidden;
    net->schema.columns = net->schema.feature_count = INPUTS;
    net->schema.features = net->features;
    net->schema.label = net->label;
    snprintf(net->label, sizeof net->label, "digit");
    snprintf(net->name, sizeof net->name, "pixel");
    cpni_random_seed(&random, 1, hidden);
    for (uint32_t i = 0; i < INPUTS; i++) {
        net->features[i] = (struct cpni_feature){ .name = net->name,
            .first = i,
            .width = 1,
            .mean = (double)cpni_random_uniform(&random) * 5,
            .deviation = (double)cpni_random_uniform(&random) + 2 };
    }
    for (uint32_t i = 0; i < ROWS * INPUTS; i++) {
        const struct cpni_feature *feature = &net->features[i % INPUTS];
        net->raw[i] = cpni_random_uniform(&random) * 10;
        net->standardised[i] = (float)(((double)net->raw[i] - feature->mean) / feature->deviation);
    }
    assert_int_equal(cpni_model_init(&net->model, &net->spec, detail), 0);
    assert_int_equal(cpn_trainer_v1.create(&net->spec, &net->trainer, detail), 0);
    net->weights = malloc(net->model.weight_count * sizeof *net->weights);
    for (size_t i = 0; i < net->model.weight_count; i++) {
        net->weights[i] = cpni_random_uniform(&random) * 0.3f;
    }
    assert_int_equal(cpn_trainer_v1.set_weights(net->trainer, net->weights, detail), 0);
    assert_int_equal(cpn_trainer_v1.forward(net->trainer, net->standardised, ROWS, net->expected, detail), 0);
}

static void free_net(struct net *net)
{
    cpn_trainer_v1.destroy(net->trainer);
    free(net->weights);
}

static void the_file_says_what_was_trained(void **state)
{
    (void)state;
    struct net net;
    struct cpni_buf bytes = { 0 };
    make_net(&net, 2);
    assert_int_equal(cpni_onnx_write(&(struct cpni_onnx){ "digits", &net.model, net.weights, &net.schema }, &bytes), 0);
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, bytes.size, bytes.data);
    assert_non_null(model);
    assert_int_equal(model->opset_import[0]->version, 11);
    assert_int_equal(model->n_metadata_props, 1); /* what the inputs are, for whoever has the file alone */
    assert_string_equal(model->metadata_props[0]->key, CPNI_ONNX_SCHEMA);
    assert_non_null(strstr(model->metadata_props[0]->value, "\"label\":\"digit\""));
    assert_non_null(strstr(model->metadata_props[0]->value, "{\"name\":\"pixel\",\"mean\":"));
    const Onnx__GraphProto *graph = model->graph;
    assert_string_equal(graph->name, "digits");
    static const char *const operations[] = { "Gemm", "Relu", "Gemm", "Relu", "Gemm", "Softmax" };
    assert_int_equal(graph->n_node, 6);
    const char *last = CPNI_ONNX_INPUT;
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(graph->node[i]->op_type, operations[i]);
        assert_string_equal(graph->node[i]->input[0], last);
        last = graph->node[i]->output[0];
    }
    assert_string_equal(last, CPNI_ONNX_OUTPUT);
    assert_int_equal(graph->n_initializer, 6);
    const Onnx__TensorProto *second = graph->initializer[2];
    assert_string_equal(second->name, "weights_1");
    assert_true(second->dims[0] == 64 && second->dims[1] == 128 && second->raw_data.len == 64 * 128 * sizeof(float));
    float value;
    memcpy(&value, second->raw_data.data + (5 * 128 + 77) * sizeof value, sizeof value);
    assert_true(value == net.weights[net.model.layers[1].weights + 77 * 64 + 5]);
    onnx__model_proto__free_unpacked(model, NULL);
    cpni_buf_free(&bytes);
    free_net(&net);
}

static void opencv_computes_the_same(void **state)
{
    (void)state;
    if (!ONNX_OPENCV) {
        skip();
    }
    for (uint32_t hidden = 0; hidden <= 2; hidden++) {
        for (int standardised = 0; standardised <= 1; standardised++) {
            struct net net;
            struct cpni_buf bytes = { 0 };
            float seen[ROWS * CLASSES];
            make_net(&net, hidden);
            struct cpni_onnx onnx = { "net", &net.model, net.weights, standardised ? &net.schema : NULL };
            assert_int_equal(cpni_onnx_write(&onnx, &bytes), 0);
            const float *input = standardised ? net.raw : net.standardised;
            assert_int_equal(onnx_opencv_forward(bytes.data, bytes.size, input, ROWS, INPUTS, seen, CLASSES), 0);
            for (size_t i = 0; i < ROWS * CLASSES; i++) {
                assert_true(fabsf(seen[i] - net.expected[i]) < 1e-5f);
            }
            assert_int_equal(onnx_opencv_forward(bytes.data, bytes.size, input, 1, INPUTS, seen, CLASSES), 0);
            assert_true(fabsf(seen[0] - net.expected[0]) < 1e-5f);
            cpni_buf_free(&bytes);
            free_net(&net);
        }
    }
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    struct net net;
    make_net(&net, 1);
    struct cpni_onnx onnx = { "net", &net.model, net.weights, &net.schema };
    int rc = CPN_ENOMEM;
    for (unsigned nth = 1; rc != 0; nth++) {
        struct cpni_buf bytes = { 0 };
        cpni_alloc_fail(nth);
        rc = cpni_onnx_write(&onnx, &bytes);
        cpni_alloc_fail(0);
        assert_true(rc == 0 || (rc == CPN_ENOMEM && bytes.size == 0));
        cpni_buf_free(&bytes);
    }
    struct cpni_buf bytes = { 0 };
    net.schema.columns++;
    assert_int_equal(cpni_onnx_write(&onnx, &bytes), CPN_EINVAL);
    free_net(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_says_what_was_trained),
        cmocka_unit_test(opencv_computes_the_same),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
