/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Face training, and naming with what it made: on patterns, and on the ORL faces where they are. */
#include "backends.h"

#include <dirent.h>
#include <sys/stat.h>

#include <cpn/error.h>

#include "compute/facetrain.h"
#include "../lib/png.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(training_refusals, make_workdir, remove_workdir),
        cmocka_unit_test_setup_teardown(training_and_naming, make_workdir, remove_workdir),
        cmocka_unit_test_setup_teardown(recognition_on_orl, make_workdir, remove_workdir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
