/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* compute/backends: photos in real runners: what is refused, what is found, what comes back. */
#include "backends.h"

#include <cpn/error.h>

#include "compute/image.h"
#include "compute/plugins.h"
#include "../lib/png.h"

/* The cascade alone: faces are found, not named. */
static const struct cpn_backend_param face_params[] = { { "min_neighbors", "5" } };
static const struct cpni_pool_model faces = { "faces@1", CASCADES, "opencv.face", face_params, 1 };
static const struct cpni_pool_model people = { "people@1", "/", "opencv.people", NULL, 0 };

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
