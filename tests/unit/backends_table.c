/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* opencv.dnn's layout table: what a session would publish, made here with the parts a session uses, answers rows and
 * images as the trainer does. */
#include "backends.h"

#include <math.h>
#include <sys/mman.h>

#include <cpn/error.h>
#include <cpn/trainer.h>

#include "../lib/png.h"
#include "base/random.h"
#include "data/csv_convert.h"
#include "data/dataset.h"
#include "train/onnx.h"
#include "train/schema_json.h"

extern const struct cpn_trainer cpn_trainer_v1;

enum { TABLE_BYTES = 1 << 20 };

static void write_bundle(const struct cpn_trainer_spec *spec, const struct cpni_schema *schema, const float *weights)
{
    char detail[CPN_TRAINER_DETAIL], path[128];
    struct cpni_model model;
    struct cpni_buf bytes = { 0 };
    assert_int_equal(cpni_model_init(&model, spec, detail), 0);
    assert_int_equal(cpni_onnx_write(&(struct cpni_onnx) { "test", &model, weights, schema }, &bytes), 0);
    snprintf(path, sizeof path, "%s/model.onnx", workdir);
    FILE *out = fopen(path, "wb");
    assert_int_equal(fwrite(bytes.data, 1, bytes.size, out), bytes.size);
    fclose(out);
    cpni_buf_free(&bytes);
    json_t *json = cpni_schema_to_json(schema);
    snprintf(path, sizeof path, "%s/schema.json", workdir);
    assert_int_equal(json_dump_file(json, path, 0), 0);
    json_decref(json);
}

/* What the table `text` becomes in a session: a dataset, some steps of training, a bundle. Returns the trainer. */
static void *train(const char *text, const char *label, bool standardise, struct cpni_dataset *set)
{
    static const char *const categorical[] = { "island" };
    struct cpni_csv_options options = { .name = "t.csv", .label = label, .impute = true, .standardise = standardise };
    struct cpni_csv_report report;
    char detail[CPNI_DATA_DETAIL];
    options.categorical = categorical;
    options.categorical_count = strstr(text, "island") != NULL;
    int in = memfd_create("table", 0), out = memfd_create("dataset", 0);
    assert_int_equal(write(in, text, strlen(text)), (ssize_t)strlen(text));
    lseek(in, 0, SEEK_SET);
    if (cpni_csv_convert(&options, in, out, &report) < 0) {
        fail_msg("%s", report.error[0]);
    }
    assert_int_equal(cpni_dataset_open(out, set, detail), 0);
    close(in);
    close(out);
    struct cpn_trainer_spec spec = CPN_TRAINER_SPEC_INIT;
    spec.inputs = set->columns;
    spec.classes = set->classes;
    spec.batch = 8;
    spec.learning_rate = 1e-2f;
    void *trainer;
    struct cpn_trainer_rows rows = { sizeof rows, set->columns, set->features, set->labels, set->rows, NULL, set->rows };
    struct cpn_trainer_result result;
    assert_int_equal(cpn_trainer_v1.create(&spec, &trainer, detail), 0);
    assert_int_equal(cpn_trainer_v1.bind(trainer, &rows, detail), 0);
    assert_int_equal(cpn_trainer_v1.step(trainer, 30, NULL, NULL, &result, detail), 0);
    struct cpn_trainer_info info = { .size = sizeof info };
    cpn_trainer_v1.info(trainer, &info);
    float *weights = malloc(info.weights * sizeof *weights);
    cpn_trainer_v1.get_weights(trainer, weights);
    write_bundle(&spec, &set->schema, weights);
    free(weights);
    return trainer;
}

static char *penguins(void)
{
    static const char *const islands[] = { "Biscoe", "Dream", "\"Torgersen, the small one\"" };
    static const char *const kinds[] = { "Adelie", "Chinstrap", "\"Gen\"\"too\"" };
    struct cpni_random random;
    cpni_random_seed(&random, 1, 1);
    char *text = malloc(TABLE_BYTES), *at = text;
    at += sprintf(at, "species,bill,island,mass\n");
    for (int i = 0; i < 120; i++) {
        int kind = i % 3;
        at += sprintf(at, "%s,%g,%s,", kinds[kind], (double)cpni_random_uniform(&random) * 3 + 10 * kind,
            i % 17 == 5 ? "" : islands[cpni_random_below(&random, 3)]);
        at += i % 13 == 4 ? sprintf(at, "\n")
                          : sprintf(at, "%g\n", (double)cpni_random_uniform(&random) * 900 + 4000);
    }
    return text;
}

static const struct cpn_backend_param table_params[]
    = { { "layout", "table" }, { "schema", "schema.json" }, { "image", "4x4" } };

static void check_answers(const struct cpni_outcome *out, void *trainer, const struct cpni_dataset *set)
{
    char detail[CPN_TRAINER_DETAIL];
    float *expected = malloc(set->rows * set->classes * sizeof *expected);
    assert_int_equal(cpn_trainer_v1.forward(trainer, set->features, set->rows, expected, detail), 0);
    assert_int_equal(out->label_count, set->rows);
    for (uint64_t row = 0; row < set->rows; row++) {
        uint32_t best = 0;
        for (uint32_t type = 1; type < set->classes; type++) {
            best = expected[row * set->classes + type] > expected[row * set->classes + best] ? type : best;
        }
        assert_string_equal(out->labels[row].name, set->schema.classes[best]);
        assert_true(fabsf(out->labels[row].confidence - expected[row * set->classes + best]) < 1e-5f);
    }
    free(expected);
}

static void rows_are_answered_as_by_the_trainer(void **state)
{
    (void)state;
    struct cpni_dataset set;
    char *text = penguins();
    for (int standardise = 0; standardise <= 1; standardise++) {
        void *trainer = train(text, "species", standardise, &set);
        struct cpni_pool_model model = { standardise ? "b" : "a", workdir, "opencv.dnn", table_params, 2 };
        struct cpni_outcome out = ask(&model, text, strlen(text), true);
        assert_string_equal(out.detail, "");
        check_answers(&out, trainer, &set);
        assert_null(out.output); /* nothing to draw on */
        cpni_outcome_clear(&out);
        cpn_trainer_v1.destroy(trainer);
        cpni_dataset_close(&set);
    }
    free(text);
}

static void ask_text(const struct cpni_pool_model *model, const char *text, const char *says)
{
    struct cpni_outcome out = ask(model, text, strlen(text), false);
    if (says == NULL) {
        assert_string_equal(out.detail, "");
        assert_int_equal(out.label_count, 1);
    } else {
        if (out.code != CPN_EBADINPUT || strstr(out.detail, says) == NULL) {
            fail_msg("expected \"%s\", got \"%s\"", says, out.detail);
        }
    }
    cpni_outcome_clear(&out);
}

static void tables_that_differ(void **state)
{
    (void)state;
    struct cpni_dataset set;
    char *text = penguins();
    void *trainer = train(text, "species", false, &set);
    struct cpni_pool_model model = { "a", workdir, "opencv.dnn", table_params, 2 };
    ask_text(&model, "bill,island,mass\n1,Dream,3\n", NULL);
    ask_text(&model, "\xef\xbb\xbfmass;note;island;bill\r\n3;\"a;\nb\";Dream;1", NULL);
    ask_text(&model, "species,bill,island,mass\nunheard of,1,,\n", NULL);
    ask_text(&model, "bill,island,mass\n1,Dream,3\n1,Dream,three\n", "row 3, column 3 \"mass\": \"three\" is not a number");
    ask_text(&model, "bill,island,mass\n\n1,Atlantis,3\n", "row 3, column 2 \"island\": the model knows no \"Atlantis\"");
    ask_text(&model, "bill,island,mass\n1,Dream\n", "row 2, 2 cells; expected 3");
    ask_text(&model, "bill,island,mass\n1,\"Dream,3\n", "row 2, a quote opens and never closes");
    ask_text(&model, "bill,mass\n1,3\n", "no column \"island\" (feature of the model)");
    ask_text(&model, "bill,island,mass\n", "no rows of data");
    ask_text(&model, "\n", "starts with an empty row");
    struct cpni_outcome out = ask(&model, "GIF89a\0\0\0", 9, false);
    assert_int_equal(out.code, CPN_EBADINPUT);
    assert_string_equal(out.detail, "not a table: expected CSV in UTF-8, names in the first row");
    size_t size;
    uint8_t pixels[16] = { 0 }, *png = test_png(pixels, 4, 4, 1, &size);
    out = ask(&model, png, size, false);
    assert_int_equal(out.code, CPN_EBADINPUT);
    assert_string_equal(out.detail, "an image: this model takes rows of a table (CSV)");
    free(png);
    char *many = malloc(TABLE_BYTES), *at = many + sprintf(many, "bill,island,mass\n");
    for (int i = 0; i <= CPN_RESULT_LABELS; i++) {
        at += sprintf(at, "%d,Dream,3\n", i);
    }
    ask_text(&model, many, "has 1025 rows of data; one task takes at most 1024");
    free(many);
    cpn_trainer_v1.destroy(trainer);
    cpni_dataset_close(&set);
    free(text);
}

/* A table of images of 4x4: label and pixels; the brighter half is the class. */
static char *images(uint8_t pixels[40][16])
{
    struct cpni_random random;
    cpni_random_seed(&random, 2, 1);
    char *text = malloc(TABLE_BYTES), *at = text + sprintf(text, "half");
    for (int i = 0; i < 16; i++) {
        at += sprintf(at, ",p%d", i);
    }
    for (int row = 0; row < 40; row++) {
        at += sprintf(at, "\n%s", row % 2 == 0 ? "top" : "bottom");
        for (int i = 0; i < 16; i++) {
            pixels[row][i] = (uint8_t)(cpni_random_below(&random, 80) + ((i < 8) == (row % 2 == 0) ? 150 : 0));
            at += sprintf(at, ",%d", pixels[row][i]);
        }
    }
    return text;
}

static void images_are_rows(void **state)
{
    (void)state;
    static uint8_t pixels[40][16];
    struct cpni_dataset set;
    char *text = images(pixels), detail[CPN_TRAINER_DETAIL];
    void *trainer = train(text, "half", true, &set);
    struct cpni_pool_model model = { "a", workdir, "opencv.dnn", table_params, 3 };
    struct cpni_outcome out = ask(&model, text, strlen(text), false);
    assert_string_equal(out.detail, "");
    check_answers(&out, trainer, &set);
    cpni_outcome_clear(&out);
    for (int row = 0; row < 4; row++) {
        float expected[2];
        size_t size;
        assert_int_equal(cpn_trainer_v1.forward(trainer, set.features + row * 16, 1, expected, detail), 0);
        uint8_t *png = test_png(pixels[row], 4, 4, 1, &size);
        out = ask(&model, png, size, true);
        assert_string_equal(out.detail, "");
        assert_int_equal(out.label_count, 2);
        assert_string_equal(out.labels[0].name, row % 2 == 0 ? "top" : "bottom");
        assert_true(fabsf(out.labels[0].confidence - expected[row % 2 == 0]) < 1e-5f);
        assert_string_equal(out.output_type, "image/png");
        cpni_outcome_clear(&out);
        free(png);
    }
    cpn_trainer_v1.destroy(trainer);
    cpni_dataset_close(&set);
    free(text);
}

static void bundles_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        struct cpn_backend_param param;
        const char *says;
    } wrong[] = {
        { { "image", "28x28" }, "'28x28': the network takes 16 columns" },
        { { "image", "16" }, "expected WIDTHxHEIGHT" },
        { { "schema", "none.json" }, "none.json" },
        { { "schema", "model.onnx" }, "model.onnx, line 1" },
        { { "schema", "two.json" }, "with 1 probabilities, the number of classes in the schema" },
    };
    static uint8_t pixels[40][16];
    struct cpni_dataset set;
    char *text = images(pixels), path[128];
    cpn_trainer_v1.destroy(train(text, "half", false, &set));
    set.schema.class_count = 1;
    json_t *json = cpni_schema_to_json(&set.schema);
    set.schema.class_count = 2;
    snprintf(path, sizeof path, "%s/two.json", workdir);
    assert_int_equal(json_dump_file(json, path, 0), 0);
    json_decref(json);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct cpn_backend_param with[] = { wrong[i].param, table_params[0] };
        struct cpni_pool_model bad = { "bad@1", workdir, "opencv.dnn", with, 2 };
        struct cpni_outcome out = ask(&bad, text, strlen(text), false);
        assert_int_equal(out.class, CPNI_OUTCOME_MODEL);
        if (strstr(out.detail, wrong[i].says) == NULL) {
            fail_msg("expected \"%s\", got \"%s\"", wrong[i].says, out.detail);
        }
    }
    cpni_dataset_close(&set);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_are_answered_as_by_the_trainer, make_workdir, remove_workdir),
        cmocka_unit_test_setup_teardown(tables_that_differ, make_workdir, remove_workdir),
        cmocka_unit_test_setup_teardown(images_are_rows, make_workdir, remove_workdir),
        cmocka_unit_test_setup_teardown(bundles_that_do_not_fit, make_workdir, remove_workdir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
