/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The backend opencv.dnn: a network made here byte by byte, and those of the shared data where they are. */
#include "backends.h"

#include <cpn/error.h>

#include "../lib/png.h"

/* An ONNX file of one node, Flatten: its classes are the pixels of a 4x4 picture, and the brightest wins. Fields as in
 * onnx.proto. */
struct proto {
    uint8_t data[512];
    size_t size;
};

static void put_bytes(struct proto *to, uint8_t field, const void *data, size_t size)
{
    to->data[to->size++] = (uint8_t)(field << 3 | 2);
    to->data[to->size++] = (uint8_t)size; /* below 128 everywhere here */
    memcpy(to->data + to->size, data, size);
    to->size += size;
}

static void put_number(struct proto *to, uint8_t field, uint8_t value)
{
    to->data[to->size++] = (uint8_t)(field << 3);
    to->data[to->size++] = value;
}

static void put_value(struct proto *graph, uint8_t field, const char *name, const uint8_t *sizes, size_t count)
{
    struct proto shape = { 0 }, tensor = { 0 }, type = { 0 }, value = { 0 };
    for (size_t i = 0; i < count; i++) {
        struct proto dimension = { 0 };
        put_number(&dimension, 1, sizes[i]);
        put_bytes(&shape, 1, dimension.data, dimension.size);
    }
    put_number(&tensor, 1, 1); /* float */
    put_bytes(&tensor, 2, shape.data, shape.size);
    put_bytes(&type, 1, tensor.data, tensor.size);
    put_bytes(&value, 1, name, strlen(name));
    put_bytes(&value, 2, type.data, type.size);
    put_bytes(graph, field, value.data, value.size);
}

static void write_flatten_onnx(const char *path)
{
    struct proto node = { 0 }, graph = { 0 }, opset = { 0 }, model = { 0 };
    put_bytes(&node, 1, "x", 1);
    put_bytes(&node, 2, "y", 1);
    put_bytes(&node, 4, "Flatten", 7);
    put_bytes(&graph, 1, node.data, node.size);
    put_bytes(&graph, 2, "g", 1);
    put_value(&graph, 11, "x", (const uint8_t[]) { 1, 1, 4, 4 }, 4);
    put_value(&graph, 12, "y", (const uint8_t[]) { 1, 16 }, 2);
    put_number(&opset, 2, 11);
    put_number(&model, 1, 6);
    put_bytes(&model, 7, graph.data, graph.size);
    put_bytes(&model, 8, opset.data, opset.size);
    FILE *out = fopen(path, "wb");
    assert_int_equal(fwrite(model.data, 1, model.size, out), model.size);
    fclose(out);
}

static void a_network_classifies(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/model.onnx", workdir);
    write_flatten_onnx(path);
    snprintf(path, sizeof path, "%s/names.txt", workdir);
    FILE *names = fopen(path, "w");
    for (int i = 0; i < 16; i++) {
        fprintf(names, "pixel %d\r\n", i);
    }
    fclose(names);
    struct cpn_backend_param params[] = { { "input", "4x4" }, { "channels", "1" }, { "scale", "0.1" },
        { "labels", "names.txt" }, { "threshold", "0.2" } };
    struct cpni_pool_model model = { "net@1", workdir, "opencv.dnn", params, 5 };
    uint8_t pixels[16] = { 0 };
    pixels[6] = 250;
    size_t size;
    uint8_t *png = test_png(pixels, 4, 4, 1, &size);
    struct cpni_outcome out = ask(&model, png, size, true);
    assert_string_equal(out.detail, "");
    assert_int_equal(out.label_count, 1);
    assert_string_equal(out.labels[0].name, "pixel 6");
    assert_true(out.labels[0].confidence > 0.99f);
    assert_int_equal(out.labels[0].width, 0);
    assert_int_equal(out.width, 4);
    cpni_outcome_clear(&out);

    static const struct {
        struct cpn_backend_param param;
        const char *says;
    } wrong[] = {
        { { "input", "4" }, "expected WIDTHxHEIGHT" },
        { { "layout", "yolo" }, "expected classifier, yunet, ultraface, fastestdet or table" },
        { { "layout", "yunet" }, "layout names another one" },
        { { "layout", "fastestdet" }, "layout names another one" },
        { { "mean", "1,2,3,4" }, "expected one number or three" },
        { { "labels", "none.txt" }, "none.txt" },
        { { "model", "names.txt" }, "cannot load names.txt" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct cpn_backend_param with[] = { wrong[i].param, params[0], params[1] };
        struct cpni_pool_model bad = { "bad@1", workdir, "opencv.dnn", with, 3 };
        out = ask(&bad, png, size, false);
        assert_int_equal(out.class, CPNI_OUTCOME_MODEL);
        assert_non_null(strstr(out.detail, wrong[i].says));
    }
    free(png);
}

static void unsupported_networks_are_refused(void **state)
{
    (void)state;
    static const char *const files[] = { "old_task1_yunet", "retinaface_mbnet0.25", "scrfd_500m_bnkps",
        "yolo5face_500m_320x320", "yunet_n_dynamic", "yunet_yunet_final_dynamic_simplify" };
    char dir[256];
    snprintf(dir, sizeof dir, "%s/onnx/unsupported", data_dir());
    need(dir);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char file[128];
        snprintf(file, sizeof file, "%s.onnx", files[i]);
        struct cpn_backend_param params[] = { { "model", file }, { "input", "320x320" }, { "layout", "yunet" } };
        struct cpni_pool_model model = { "m@1", dir, "opencv.dnn", params, 3 };
        struct cpni_outcome out = ask(&model, "", 0, false);
        assert_int_equal(out.class, CPNI_OUTCOME_MODEL); /* not a crash, and not the photo's fault */
        assert_true(strlen(out.detail) > 20);
    }
}

static void faces_by_network(void **state)
{
    (void)state;
    char dir[256];
    char photo[256];
    snprintf(dir, sizeof dir, "%s/onnx", data_dir());
    need(dir);
    snprintf(photo, sizeof photo, "%s/photos/faces_group/13.jpg", data_dir()); /* two men, and nobody else */
    static const struct cpn_backend_param ultraface[]
        = { { "model", "version-RFB-320_simplified.onnx" }, { "layout", "ultraface" }, { "input", "320x240" },
              { "scale", "0.0078125" }, { "mean", "0.9921875" }, { "swap_rb", "true" } };
    static const struct cpn_backend_param older[]
        = { { "model", "yunet_yunet_final_320_320_simplify.onnx" }, { "layout", "yunet" }, { "input", "320x320" } };
    static const struct cpn_backend_param newer[]
        = { { "model", "yunet_n_320_320.onnx" }, { "layout", "yunet" }, { "input", "320x320" } };
    const struct {
        const char *folder;
        const struct cpn_backend_param *params;
        size_t count;
    } nets[] = { { "ultraface", ultraface, 6 }, { "yunet", older, 3 }, { "yunet", newer, 3 } };
    for (size_t i = 0; i < 3; i++) {
        char bundle[300];
        snprintf(bundle, sizeof bundle, "%s/%s", dir, nets[i].folder);
        char key[8] = { (char)('a' + i), 0 };
        struct cpni_pool_model model = { key, bundle, "opencv.dnn", nets[i].params, nets[i].count };
        struct cpni_outcome out = ask_file(&model, photo, false);
        assert_int_equal(out.code, 0);
        assert_int_equal(out.label_count, 2);
        for (size_t k = 0; k < 2; k++) {
            int left = out.labels[k].x < 200; /* one face on either side */
            assert_in_range(out.labels[k].x + out.labels[k].width / 2, left ? 110 : 310, left ? 150 : 350);
        }
        cpni_outcome_clear(&out);
    }
}

static void digits(void **state)
{
    (void)state;
    char dir[256];
    char command[512];
    snprintf(dir, sizeof dir, "%s/onnx/mnist/mnist_8", data_dir());
    need(dir);
    static uint8_t pixels[16 + 500 * 784];
    static uint8_t truth[8 + 500];
    const char *files[] = { "images-idx3", "labels-idx1" };
    for (int i = 0; i < 2; i++) {
        snprintf(command, sizeof command, "gzip -dc '%s/mnist/t10k-%s-ubyte.gz' 2>/dev/null", data_dir(), files[i]);
        FILE *in = popen(command, "r");
        size_t want = i == 0 ? sizeof pixels : sizeof truth;
        assert_int_equal(fread(i == 0 ? pixels : truth, 1, want, in), want);
        pclose(in);
    }
    static const struct cpn_backend_param params[] = { { "input", "28x28" }, { "channels", "1" }, { "top", "1" } };
    struct cpni_pool_model model = { "mnist@1", dir, "opencv.dnn", params, 3 };
    int right = 0;
    for (size_t i = 0; i < 500; i++) {
        size_t size;
        uint8_t *png = test_png(pixels + 16 + i * 784, 28, 28, 1, &size);
        struct cpni_outcome out = ask(&model, png, size, false);
        assert_int_equal(out.code, 0);
        assert_int_equal(out.label_count, 1);
        right += atoi(out.labels[0].name + strlen("class ")) == truth[8 + i];
        cpni_outcome_clear(&out);
        free(png);
    }
    printf("MNIST: %d of 500 digits\n", right);
    assert_true(right >= 485);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_network_classifies, make_workdir, remove_workdir),
        cmocka_unit_test_setup_teardown(unsupported_networks_are_refused, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(faces_by_network, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(digits, open_pool, close_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
