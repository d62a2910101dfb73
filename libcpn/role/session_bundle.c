/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The outcome of a session as a model of the network (cpn/session.h): a bundle is made in a folder of its own and published as any other. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include <cpn/model.h>

#include "base/alloc.h"
#include "role/clock.h"
#include "role/session.h"
#include "train/schema_json.h"

#define MODEL "model.onnx"
#define SCHEMA "schema.json"
#define SAMPLE "sample.csv"
#define MANIFEST "model.json"

struct bundle {
    struct cpn_client *client;
    const struct cpni_session_outcome *outcome;
    const struct cpn_session_publish_options *options;
    char dir[PATH_MAX];
};

/* ---- its files ---- */

static int write_named(struct bundle *bundle, const char *name, const void *data, size_t size)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/%s", bundle->dir, name);
    return cpni_session_write_file(bundle->client, path, data, size);
}

/* Takes the reference; NULL: out of memory. */
static int write_json(struct bundle *bundle, const char *name, json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_INDENT(1)) : NULL;
    int rc = text != NULL ? write_named(bundle, name, text, strlen(text)) : CPN_ENOMEM;
    free(text);
    json_decref(json);
    return rc;
}

static int write_manifest(struct bundle *bundle)
{
    const struct cpn_session_publish_options *options = bundle->options;
    char about[CPN_ID_TEXT + 64];
    char id[CPN_ID_TEXT];
    char image[32];
    snprintf(about, sizeof about, "trained in session %s", cpn_id_text(&bundle->outcome->report->info.id, id));
    json_t *parameters = json_pack("{s:s, s:s, s:s}", "layout", "table", "model", MODEL, "schema", SCHEMA);
    if (options->image_width != 0) {
        snprintf(image, sizeof image, "%ux%u", options->image_width, options->image_height);
        json_object_set_new(parameters, "image", json_string(image));
    }
    return write_json(bundle, MANIFEST,
                      json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", options->name, "description", about, "backend", "opencv.dnn", "sample",
                                SAMPLE, "parameters", parameters));
}

static void put_cell(struct cpni_buf *out, const char *text, bool last)
{
    bool quotes = text[strcspn(text, ",\"\r\n")] != 0;
    cpni_buf_append(out, "\"", quotes);
    for (; *text != 0; text++) {
        cpni_buf_append(out, text, 1);
        cpni_buf_append(out, text, quotes && *text == '"');
    }
    cpni_buf_append(out, "\"", quotes);
    cpni_buf_append(out, last ? "\n" : ",", 1);
}

/* A row that could stand in the table: means, and first categories. A node runs it before it offers the model. */
static int write_sample(struct bundle *bundle)
{
    const struct cpni_schema *schema = &bundle->outcome->schema;
    struct cpni_buf text = { 0 };
    for (uint32_t i = 0; schema->header && i < schema->feature_count; i++) {
        put_cell(&text, schema->features[i].name, i + 1 == schema->feature_count);
    }
    for (uint32_t i = 0; i < schema->feature_count; i++) {
        const struct cpni_feature *feature = &schema->features[i];
        char number[32];
        snprintf(number, sizeof number, "%lld", (long long)lround(feature->mean)); /* whole: no locale has another point */
        put_cell(&text, feature->categorical ? feature->categories[0] : number, i + 1 == schema->feature_count);
    }
    int rc = text.failed ? CPN_ENOMEM : write_named(bundle, SAMPLE, text.data, text.size);
    cpni_buf_free(&text);
    return rc;
}

static int write_files(struct bundle *bundle)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/" MODEL, bundle->dir);
    int rc = cpni_session_outcome_write(bundle->client, bundle->outcome, path);
    rc = rc == 0 ? write_json(bundle, SCHEMA, cpni_schema_to_json(&bundle->outcome->schema)) : rc;
    rc = rc == 0 ? write_sample(bundle) : rc;
    return rc == 0 ? write_manifest(bundle) : rc;
}

static void remove_files(const struct bundle *bundle)
{
    static const char *const names[] = { MODEL, SCHEMA, SAMPLE, MANIFEST };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[PATH_MAX + 16];
        snprintf(path, sizeof path, "%s/%s", bundle->dir, names[i]);
        unlink(path);
    }
    rmdir(bundle->dir);
}

/* ---- publishing ---- */

/* The caller's options, of whatever size, as this build's. CPN_EINVAL with a detail. */
static int options_of(struct cpn_client *client, const struct cpn_session_publish_options *given, struct cpn_session_publish_options *out)
{
    *out = (struct cpn_session_publish_options){ 0 };
    memcpy(out, given, given->size < sizeof *out ? given->size : sizeof *out);
    if (out->name == NULL || out->name[0] == 0 || (out->image_width == 0) != (out->image_height == 0)) {
        return cpni_client_fail(client, CPN_EINVAL, "a model to publish needs a name, and an image both width and height");
    }
    return 0;
}

/* What a node would find out only after it had fetched the bundle. */
static int check(struct cpn_client *client, const struct cpn_session_publish_options *options, const struct cpni_schema *schema)
{
    uint64_t pixels = (uint64_t)options->image_width * options->image_height;
    if (pixels != 0 && (pixels != schema->columns || schema->columns != schema->feature_count)) {
        return cpni_client_fail(client, CPN_EINVAL, "an image of %ux%u has %llu grey values; this model takes %u columns",
                                options->image_width, options->image_height, (unsigned long long)pixels, schema->feature_count);
    }
    for (uint32_t i = 0; i < schema->class_count; i++) {
        if (strlen(schema->classes[i]) >= sizeof((struct cpn_label *)0)->name) {
            return cpni_client_fail(client, CPN_EBADINPUT, "class '%.40s...' has a name of %zu bytes; a result holds %zu",
                                    schema->classes[i], strlen(schema->classes[i]), sizeof((struct cpn_label *)0)->name - 1);
        }
    }
    json_t *json = cpni_schema_to_json(schema);
    if (json == NULL) {
        return cpni_client_fail(client, CPN_EBADINPUT, "the names of columns or classes are not UTF-8: convert the table (iconv)");
    }
    json_decref(json);
    return 0;
}

int cpni_session_publishable(struct cpn_client *client, const struct cpn_session_publish_options *given, const struct cpni_schema *schema)
{
    struct cpn_session_publish_options options;
    int rc = options_of(client, given, &options);
    return rc == 0 ? check(client, &options, schema) : rc;
}

static int publish(struct bundle *bundle, int timeout_ms, uint32_t *version)
{
    struct cpn_model *model = NULL;
    char why[CPN_DETAIL] = "";
    int rc = cpn_model_open(bundle->dir, &model, why);
    if (rc < 0) {
        return cpni_client_fail(bundle->client, rc, "%s", why);
    }
    rc = cpn_client_publish(bundle->client, model, NULL, NULL, timeout_ms, version);
    cpn_model_free(model);
    return rc;
}

static int make_and_publish(struct bundle *bundle, int timeout_ms, uint32_t *version)
{
    int rc = check(bundle->client, bundle->options, &bundle->outcome->schema);
    if (rc < 0) {
        return rc;
    }
    if (snprintf(bundle->dir, sizeof bundle->dir, "%s/cpn-bundle-XXXXXX", bundle->client->spool_parent) >= (int)sizeof bundle->dir ||
        mkdtemp(bundle->dir) == NULL) {
        return cpni_client_fail(bundle->client, CPN_EIO, "cannot make a folder for the bundle in %s", bundle->client->spool_parent);
    }
    rc = write_files(bundle);
    rc = rc == 0 ? publish(bundle, timeout_ms, version) : rc;
    remove_files(bundle);
    return rc;
}

int cpn_session_publish(struct cpn_client *client, const struct cpn_id *session, const struct cpn_session_publish_options *given,
                        int timeout_ms, uint32_t *version)
{
    const int64_t until_us = cpni_client_until(timeout_ms);
    struct cpn_session_publish_options options;
    struct cpni_session_outcome outcome;
    int rc = options_of(client, given, &options);
    rc = rc == 0 ? cpni_session_outcome_fetch(client, session, timeout_ms, &outcome) : rc;
    if (rc < 0) {
        return rc;
    }
    struct bundle bundle = { .client = client, .outcome = &outcome, .options = &options };
    rc = make_and_publish(&bundle, cpni_client_left_ms(until_us), version);
    cpni_session_outcome_free(&outcome);
    if (rc == CPN_EDENIED) { /* the master's sentence says who may */
        char why[CPN_DETAIL];
        char id[CPN_ID_TEXT];
        memcpy(why, client->detail, sizeof why);
        return cpni_client_fail(client, rc, "%.440s; the outcome of session %.8s is kept", why, cpn_id_text(session, id));
    }
    return rc;
}
