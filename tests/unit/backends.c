/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* compute/backends: the OpenCV backends in real runners, on pictures made here, on Debian's photos and on shared data
 * where they are. */
#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "compute/facetrain.h"
#include "compute/image.h"
#include "compute/plugins.h"
#include "compute/pool.h"
#include "../lib/png.h"

#define DOC_PHOTOS "/usr/share/doc/opencv-doc/examples/data"
#define CASCADES "/usr/share/opencv4/haarcascades"
#define PATIENCE_MS 120000

static struct cpni_pool *pool;

static int open_pool(void **state)
{
    (void)state;
    struct cpni_pool_options options = { .runner = CPN_TEST_RUNNER, .plugins = CPN_TEST_PLUGINS };
    char detail[CPN_BACKEND_DETAIL];
    return cpni_pool_open(&options, &pool, detail);
}

static int close_pool(void **state)
{
    (void)state;
    cpni_pool_close(pool);
    return 0;
}

static struct cpni_outcome ask(const struct cpni_pool_model *model, const void *data, size_t size, bool annotate)
{
    struct cpni_job job = { .ticket = 1, .model = *model, .input = cpni_bytes_copy(data, size), .annotate = annotate };
    assert_int_equal(cpni_pool_start(pool, 0, &job), 0);
    cpni_bytes_unref(job.input);
    struct pollfd fd = { .fd = cpni_pool_fd(pool), .events = POLLIN };
    assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
    struct cpni_outcome out = { 0 };
    assert_int_equal(cpni_pool_next(pool, &out), 1);
    return out;
}

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        return NULL;
    }
    uint8_t *data = malloc(16u << 20);
    *size = fread(data, 1, 16u << 20, in);
    fclose(in);
    return data;
}

static struct cpni_outcome ask_file(const struct cpni_pool_model *model, const char *path, bool annotate)
{
    size_t size = 0;
    uint8_t *data = read_file(path, &size);
    assert_non_null(data);
    struct cpni_outcome out = ask(model, data, size, annotate);
    free(data);
    return out;
}

static const char *data_dir(void)
{
    const char *dir = getenv("CPN_TEST_DATA");
    return dir != NULL ? dir : CPN_SOURCE_ROOT "/../shared/data";
}

static void need(const char *path)
{
    if (access(path, R_OK) < 0) {
        printf("[  SKIPPED ] no %s\n", path);
        skip();
    }
}

/* The cascade alone: faces are found, not named. */
static const struct cpn_backend_param face_params[] = { { "min_neighbors", "5" } };
static const struct cpni_pool_model faces = { "faces@1", CASCADES, "opencv.face", face_params, 1 };
static const struct cpni_pool_model people = { "people@1", "/", "opencv.people", NULL, 0 };

static char workdir[64];

static int make_workdir(void **state)
{
    strcpy(workdir, "/tmp/cpn-backends-XXXXXX");
    return mkdtemp(workdir) == NULL ? -1 : open_pool(state);
}

static int remove_workdir(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", workdir);
    return system(command) + close_pool(state);
}

/* ---- inputs ---- */

static void bad_inputs_are_refused_in_one_line(void **state)
{
    (void)state;
    need(CASCADES);
    size_t size;
    uint8_t grey[64 * 64] = { 0 };
    uint8_t *png = test_png(grey, 64, 64, 1, &size);
    uint8_t *bomb = malloc(size);
    memcpy(bomb, png, size);
    test_png_put32(bomb + 16, 40000);
    test_png_put32(bomb + 20, 40000);
    uint8_t *damaged = malloc(size);
    memcpy(damaged, png, size);
    damaged[80] ^= 0xff; /* in the pixels: the structure is right, the checksum is not */
    const struct {
        const void *data;
        size_t size;
        const char *says;
    } cases[] = {
        { "", 0, "0 bytes" },
        { "hello, I am a text\n", 19, "text" },
        { bomb, size, "40000x40000" },
        { png, size / 10, "image" },
        { png, size - 12, "truncated PNG" },
        { damaged, size, "damaged image" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cpni_outcome out = ask(&faces, cases[i].data, cases[i].size, true);
        assert_int_equal(out.code, CPN_EBADINPUT);
        assert_int_equal(out.class, CPNI_OUTCOME_BAD_INPUT);
        assert_non_null(strstr(out.detail, cases[i].says));
        assert_null(strchr(out.detail, '\n'));
        assert_null(out.output);
        assert_int_equal(out.spawned, i == 0); /* the runner serves on */
    }
    free(png);
    free(bomb);
    free(damaged);
}

static void models_that_cannot_be_loaded(void **state)
{
    (void)state;
    struct cpn_backend_param param = { "cascade", "no-such.xml" };
    struct cpni_pool_model model = { "broken@1", CASCADES, "opencv.face", &param, 1 };
    struct cpni_outcome out = ask(&model, "", 0, false);
    assert_int_equal(out.class, CPNI_OUTCOME_MODEL);
    assert_non_null(strstr(out.detail, "no-such.xml"));
    param = (struct cpn_backend_param) { "cascade", "../lbpcascades/lbpcascade_frontalface.xml" };
    out = ask(&model, "", 0, false);
    assert_int_equal(out.class, CPNI_OUTCOME_MODEL);
    param = (struct cpn_backend_param) { "scale_factor", "1,1" };
    out = ask(&model, "", 0, false);
    assert_int_equal(out.class, CPNI_OUTCOME_MODEL);
    assert_non_null(strstr(out.detail, "scale_factor is '1,1': expected a number from 1.01 to 2"));
}

/* ---- finding ---- */

static void a_player_has_one_face(void **state)
{
    (void)state;
    const char *photo = DOC_PHOTOS "/messi5.jpg";
    need(photo);
    need(CASCADES);
    struct cpni_outcome out = ask_file(&faces, photo, true);
    assert_int_equal(out.code, 0);
    assert_int_equal(out.width, 548);
    assert_int_equal(out.label_count, 1);
    assert_string_equal(out.labels[0].name, "face");
    assert_in_range(out.labels[0].x, 215, 240); /* looked at */
    assert_in_range(out.labels[0].y, 80, 105);
    assert_in_range(out.labels[0].width, 30, 50);
    assert_string_equal(out.output_type, "image/jpeg");
    struct cpni_image_info info;
    char detail[CPN_BACKEND_DETAIL];
    assert_int_equal(cpni_image_check(out.output->data, out.output->size, &info, detail), 0);
    assert_int_equal(info.width, 548);
    assert_true(out.timings.decode_us > 0 && out.timings.infer_us > 0 && out.timings.encode_us > 0);
    cpni_outcome_clear(&out);
}

static void people_are_found_and_png_stays_png(void **state)
{
    (void)state;
    const char *photo = DOC_PHOTOS "/basketball1.png";
    need(photo);
    struct cpni_outcome out = ask_file(&people, photo, true);
    assert_int_equal(out.code, 0);
    assert_true(out.label_count >= 1);
    assert_string_equal(out.labels[0].name, "person");
    assert_string_equal(out.output_type, "image/png");
    struct cpni_image_info info;
    char detail[CPN_BACKEND_DETAIL];
    assert_int_equal(cpni_image_check(out.output->data, out.output->size, &info, detail), 0);
    assert_int_equal(info.kind, CPNI_IMAGE_PNG);
    for (size_t i = 0; i < out.label_count; i++) {
        assert_true(out.labels[i].x >= 0 && out.labels[i].x + out.labels[i].width <= out.width);
        assert_true(i == 0 || out.labels[i].confidence <= out.labels[i - 1].confidence);
    }
    cpni_outcome_clear(&out);
}

static void nothing_is_an_answer(void **state)
{
    (void)state;
    need(CASCADES);
    size_t size;
    uint8_t grey[10 * 10] = { 0 };
    uint8_t *png = test_png(grey, 10, 10, 1, &size);
    const struct cpni_pool_model *models[] = { &faces, &people };
    for (size_t i = 0; i < 2; i++) {
        struct cpni_outcome out = ask(models[i], png, size, true);
        assert_int_equal(out.code, 0);
        assert_int_equal(out.label_count, 0);
        assert_non_null(out.output);
        cpni_outcome_clear(&out);
    }
    free(png);
}

/* ---- training ---- */

static int train(const char *from, const char *out, char *detail)
{
    static const struct cpn_backend_param name = { "name", "orl" };
    struct cpni_train_faces_options options = { .from = from, .out = out, .params = &name, .param_count = 1 };
    options.runner = CPN_TEST_RUNNER;
    options.plugins = CPN_TEST_PLUGINS;
    return cpni_train_faces(&options, NULL, NULL, detail);
}

static void training_refusals(void **state)
{
    (void)state;
    need(CASCADES);
    char detail[CPN_BACKEND_DETAIL];
    char from[128];
    char out[128];
    char photo[160];
    snprintf(from, sizeof from, "%s/people", workdir);
    snprintf(out, sizeof out, "%s/bundle", workdir);
    assert_int_equal(train(from, out, detail), CPN_ENOTFOUND);
    assert_non_null(strstr(detail, from));
    assert_int_equal(mkdir(from, 0700), 0);
    assert_int_equal(train(from, out, detail), CPN_ENOTFOUND);
    assert_non_null(strstr(detail, "one folder for each person"));
    snprintf(photo, sizeof photo, "%s/ann", from);
    assert_int_equal(mkdir(photo, 0700), 0);
    snprintf(photo, sizeof photo, "%s/ann/1.jpg", from);
    FILE *text = fopen(photo, "w");
    fputs("no photo", text);
    fclose(text);
    assert_int_equal(train(from, out, detail), CPN_EBADINPUT);
    assert_non_null(strstr(detail, "ann/1.jpg: a text file"));
    assert_int_equal(access(out, F_OK), -1); /* nothing is left that looks like a bundle */
    assert_int_equal(train(from, from, detail), CPN_EBADINPUT);
    DIR *dir = opendir(workdir);
    int entries = 0;
    while (readdir(dir) != NULL) {
        entries++;
    }
    closedir(dir);
    assert_int_equal(entries, 3); /* ., .., people */
}

/* PGM to PNG, which a task may be. */
static uint8_t *orl_photo(int person, int photo, size_t *size)
{
    char path[512];
    size_t length = 0;
    snprintf(path, sizeof path, "%s/orl_faces/s%d/%d.pgm", data_dir(), person, photo);
    uint8_t *data = read_file(path, &length);
    assert_non_null(data);
    assert_true(length >= 92 * 112);
    uint8_t *png = test_png(data + length - 92 * 112, 92, 112, 1, size);
    free(data);
    return png;
}

static void copy_orl(const char *to)
{
    assert_int_equal(mkdir(to, 0700), 0);
    for (int person = 1; person <= 35; person++) {
        char path[256];
        snprintf(path, sizeof path, "%s/s%d", to, person);
        assert_int_equal(mkdir(path, 0700), 0);
        for (int photo = 1; photo <= 9; photo += 2) {
            size_t size;
            uint8_t *png = orl_photo(person, photo, &size);
            snprintf(path, sizeof path, "%s/s%d/%d.png", to, person, photo);
            FILE *out = fopen(path, "wb");
            assert_int_equal(fwrite(png, 1, size, out), size);
            fclose(out);
            free(png);
        }
    }
}

/* The few lines of a manifest that we wrote ourselves. */
static size_t read_params(const char *bundle, struct cpn_backend_param *params, char texts[][2][64], size_t room)
{
    char path[256];
    snprintf(path, sizeof path, "%s/model.json", bundle);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    size_t count = 0;
    bool inside = false;
    for (char line[512]; fgets(line, sizeof line, in) != NULL;) {
        if (strstr(line, "\"parameters\"") != NULL) {
            inside = true;
        } else if (inside && count < room
            && sscanf(line, " \"%63[^\"]\": \"%63[^\"]\"", texts[count][0], texts[count][1]) == 2) {
            params[count].key = texts[count][0];
            params[count].value = texts[count][1];
            count++;
        } else if (strchr(line, '}') != NULL) {
            inside = false;
        }
    }
    fclose(in);
    return count;
}

/* A picture in which no face is found is compared as a whole when it is as small as a portrait, so that patterns stand
 * in for people where no photos of people are at hand. */
static uint8_t *pattern(int person, int photo, size_t *size)
{
    enum { SIDE = 96 };
    static uint8_t pixels[SIDE * SIDE];
    uint32_t random = (uint32_t)(person * 1000 + photo);
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            random = random * 1664525u + 1013904223u;
            int wave = (x * (person + 2) / 3 + y * (7 - person) / 4) % 48;
            pixels[y * SIDE + x] = (uint8_t)(60 + (wave < 24 ? wave : 48 - wave) * 5 + (int)(random >> 28));
        }
    }
    return test_png(pixels, SIDE, SIDE, 1, size);
}

static void write_patterns(const char *to, int people, int photos)
{
    assert_int_equal(mkdir(to, 0700), 0);
    for (int person = 0; person < people; person++) {
        char path[256];
        snprintf(path, sizeof path, "%s/p%d", to, person);
        assert_int_equal(mkdir(path, 0700), 0);
        for (int photo = 0; photo < photos; photo++) {
            size_t size;
            uint8_t *png = pattern(person, photo, &size);
            snprintf(path, sizeof path, "%s/p%d/%d.png", to, person, photo);
            FILE *out = fopen(path, "wb");
            assert_int_equal(fwrite(png, 1, size, out), size);
            fclose(out);
            free(png);
        }
    }
}

static int count_then_cancel(void *arg, const char *stage, uint64_t done, uint64_t total)
{
    int *left = arg;
    assert_non_null(stage);
    assert_true(done <= total);
    return --*left <= 0;
}

static void training_and_naming(void **state)
{
    (void)state;
    need(CASCADES);
    char from[128];
    char bundle[128];
    char path[256];
    char detail[CPN_BACKEND_DETAIL];
    snprintf(from, sizeof from, "%s/people", workdir);
    snprintf(bundle, sizeof bundle, "%s/new.model", workdir);
    write_patterns(from, 4, 5);
    snprintf(path, sizeof path, "%s/lonely", from);
    assert_int_equal(mkdir(path, 0700), 0);
    struct cpni_train_faces_options options = { .from = from, .out = bundle, .runner = CPN_TEST_RUNNER };
    options.plugins = CPN_TEST_PLUGINS;
    int left = 1;
    assert_int_equal(cpni_train_faces(&options, count_then_cancel, &left, detail), CPN_ECANCELLED);
    assert_int_equal(access(bundle, F_OK), -1);
    left = 1000000;
    assert_int_equal(cpni_train_faces(&options, count_then_cancel, &left, detail), 0);
    assert_true(left < 1000000);
    assert_non_null(strstr(detail, "4 people, 20 photos, 1 people left out (first: lonely)"));
    assert_int_equal(cpni_train_faces(&options, NULL, NULL, detail), CPN_EEXISTS); /* never over a bundle */
    struct cpn_backend_param params[32];
    char texts[32][2][64];
    struct cpni_pool_model model = { "new@1", bundle, "opencv.face", params, 0 };
    model.param_count = read_params(bundle, params, texts, 32);
    for (int person = 0; person < 4; person++) {
        size_t size;
        uint8_t *png = pattern(person, 77, &size);
        struct cpni_outcome out = ask(&model, png, size, true);
        assert_string_equal(out.detail, "");
        assert_int_equal(out.label_count, 1);
        char name[8];
        snprintf(name, sizeof name, "p%d", person);
        assert_string_equal(out.labels[0].name, name);
        assert_true(out.labels[0].confidence >= 0.5f);
        assert_int_equal(out.labels[0].width, 96);
        cpni_outcome_clear(&out);
        free(png);
    }
    static const struct cpn_backend_param odd = { "min_neighbours", "3" };
    options.params = &odd;
    options.param_count = 1;
    options.out = path;
    assert_int_equal(cpni_train_faces(&options, NULL, NULL, detail), CPN_EINVAL);
    assert_non_null(strstr(detail, "min_neighbours"));
}

static void recognition_on_orl(void **state)
{
    (void)state;
    char from[128];
    char bundle[128];
    char detail[CPN_BACKEND_DETAIL];
    snprintf(from, sizeof from, "%s/orl_faces", data_dir());
    need(from);
    need(CASCADES);
    snprintf(from, sizeof from, "%s/orl", workdir);
    snprintf(bundle, sizeof bundle, "%s/orl.model", workdir);
    copy_orl(from);
    assert_int_equal(train(from, bundle, detail), 0);
    printf("%s\n", detail);
    struct cpn_backend_param params[32];
    char texts[32][2][64];
    struct cpni_pool_model model = { "orl@1", bundle, "opencv.face", params, 0 };
    model.param_count = read_params(bundle, params, texts, 32);
    int known = 0, identified = 0, misnamed = 0, unknown = 0, false_names = 0;
    for (int person = 1; person <= 40; person++) {
        for (int photo = 1; photo <= 10; photo++) {
            if (person <= 35 && photo % 2 == 1) {
                continue; /* was shown */
            }
            size_t size;
            uint8_t *png = orl_photo(person, photo, &size);
            struct cpni_outcome out = ask(&model, png, size, false);
            assert_int_equal(out.code, 0);
            char name[16];
            snprintf(name, sizeof name, "s%d", person);
            const char *said = out.label_count > 0 ? out.labels[0].name : "unknown";
            bool named = strcmp(said, "unknown") != 0;
            known += person <= 35;
            unknown += person > 35;
            identified += person <= 35 && strcmp(said, name) == 0;
            misnamed += person <= 35 && named && strcmp(said, name) != 0;
            false_names += person > 35 && named;
            cpni_outcome_clear(&out);
            free(png);
        }
    }
    printf("ORL: %d of %d known photos identified (%.1f %%), %d misnamed; %d of %d unknown photos named (%.1f %%)\n",
        identified, known, 100.0 * identified / known, misnamed, false_names, unknown, 100.0 * false_names / unknown);
    assert_true(identified * 100 >= known * 85);
    assert_true(misnamed * 100 <= known * 3);
    assert_true(false_names * 100 <= unknown * 6);
}

/* ---- networks ---- */

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
        { { "layout", "yolo" }, "expected classifier, yunet, ultraface or fastestdet" },
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

static void backends_are_listed(void **state)
{
    (void)state;
    struct cpni_compute_paths paths;
    cpni_compute_paths(CPN_TEST_RUNNER, CPN_TEST_PLUGINS, &paths);
    struct cpni_backend_info list[CPNI_BACKENDS_MAX];
    int count = cpni_backends_list(&paths, list, CPNI_BACKENDS_MAX);
    assert_true(count >= 2);
    assert_string_equal(list[0].name, "echo");
    assert_string_equal(list[0].version, "1");
    assert_string_equal(list[1].name, "opencv.dnn");
    cpni_compute_paths(CPN_TEST_RUNNER, "/nowhere", &paths);
    assert_int_equal(cpni_backends_list(&paths, list, CPNI_BACKENDS_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backends_are_listed),
        cmocka_unit_test_setup_teardown(bad_inputs_are_refused_in_one_line, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(models_that_cannot_be_loaded, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(a_player_has_one_face, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(people_are_found_and_png_stays_png, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(nothing_is_an_answer, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(a_network_classifies, make_workdir, remove_workdir),
        cmocka_unit_test_setup_teardown(unsupported_networks_are_refused, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(faces_by_network, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(digits, open_pool, close_pool),
        cmocka_unit_test_setup_teardown(training_refusals, make_workdir, remove_workdir),
        cmocka_unit_test_setup_teardown(training_and_naming, make_workdir, remove_workdir),
        cmocka_unit_test_setup_teardown(recognition_on_orl, make_workdir, remove_workdir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
