/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* For tests: trained-bundle TABLE LABEL NAME DIRECTORY [WxH] [CATEGORICAL...]: a model trained here and now, as a session publishes it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cpn/trainer.h>

#include "data/csv_convert.h"
#include "data/dataset.h"
#include "train/onnx.h"
#include "train/schema_json.h"

extern const struct cpn_trainer cpn_trainer_v1;

#define EPOCHS 60

static void fail(const char *what)
{
    fprintf(stderr, "trained-bundle: %s\n", what);
    exit(1);
}

static void read_table(const char *path, const char *label, char **categorical, size_t count, struct cpni_dataset *set)
{
    struct cpni_csv_options options = { .name = path,
        .label = label,
        .categorical = (const char *const *)categorical,
        .categorical_count = count,
        .impute = true,
        .standardise = true };
    struct cpni_csv_report report;
    char detail[CPNI_DATA_DETAIL];
    int in = open(path, O_RDONLY | O_CLOEXEC), out = memfd_create("dataset", MFD_CLOEXEC);
    if (in < 0 || out < 0) {
        fail("cannot open the table");
    }
    if (cpni_csv_convert(&options, in, out, &report) < 0) {
        fail(report.error[0]);
    }
    if (cpni_dataset_open(out, set, detail) < 0) {
        fail(detail);
    }
}

static float *train(const struct cpni_dataset *set, const struct cpn_trainer_spec *spec)
{
    char detail[CPN_TRAINER_DETAIL];
    void *trainer;
    struct cpn_trainer_info info = { .size = sizeof info };
    struct cpn_trainer_result result;
    const struct cpn_trainer_rows rows
        = { sizeof rows, set->columns, set->features, set->labels, set->rows, NULL, set->rows };
    if (cpn_trainer_v1.create(spec, &trainer, detail) < 0 || cpn_trainer_v1.bind(trainer, &rows, detail) < 0
        || cpn_trainer_v1.step(trainer, EPOCHS * (set->rows / spec->batch + 1), NULL, NULL, &result, detail) < 0) {
        fail(detail);
    }
    cpn_trainer_v1.info(trainer, &info);
    float *weights = malloc(info.weights * sizeof *weights);
    cpn_trainer_v1.get_weights(trainer, weights);
    cpn_trainer_v1.destroy(trainer);
    return weights;
}

static void write_file(const char *dir, const char *name, const void *data, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *out = fopen(path, "wb");
    if (out == NULL || fwrite(data, 1, size, out) != size || fclose(out) != 0) {
        fail("cannot write the bundle");
    }
}

static void write_json(const char *dir, const char *name, json_t *json)
{
    char *text = json_dumps(json, 0);
    write_file(dir, name, text, strlen(text));
    free(text);
    json_decref(json);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fail("expected TABLE LABEL NAME DIRECTORY [WxH] [CATEGORICAL...]");
    }
    struct cpni_dataset set;
    struct cpni_model model;
    struct cpni_buf bytes = { 0 };
    char detail[CPN_TRAINER_DETAIL];
    const char *name = argv[3], *dir = argv[4], *image = argc > 5 ? argv[5] : "";
    read_table(argv[1], argv[2], argv + 6, argc > 6 ? (size_t)argc - 6 : 0, &set);
    struct cpn_trainer_spec spec = CPN_TRAINER_SPEC_INIT;
    spec.inputs = set.columns;
    spec.classes = set.classes;
    spec.batch = 16;
    float *weights = train(&set, &spec);
    if (cpni_model_init(&model, &spec, detail) < 0
        || cpni_onnx_write(&(struct cpni_onnx) { name, &model, weights, &set.schema }, &bytes) < 0) {
        fail("cannot write the network");
    }
    write_file(dir, "model.onnx", bytes.data, bytes.size);
    write_json(dir, "schema.json", cpni_schema_to_json(&set.schema));
    json_t *params = json_pack("{ss ss}", "layout", "table", "schema", "schema.json");
    if (*image != 0) {
        json_object_set_new(params, "image", json_string(image));
    }
    write_json(dir, "model.json", json_pack("{ss ss so}", "name", name, "backend", "opencv.dnn", "parameters", params));
    free(weights);
    cpni_buf_free(&bytes);
    cpni_dataset_close(&set);
    return 0;
}
