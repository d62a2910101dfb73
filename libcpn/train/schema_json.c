/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See schema_json.h. */
#include "train/schema_json.h"

#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

#define VERSION 1

static json_t *texts_json(char **texts, uint32_t count)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(array, json_string(texts[i]));
    }
    if (json_array_size(array) != count) { /* an append failed */
        json_decref(array);
        return NULL;
    }
    return array;
}

static json_t *feature_json(const struct cpni_feature *feature)
{
    json_t *object = json_pack("{s:s}", "name", feature->name);
    int rc = object != NULL ? 0 : -1;
    if (rc == 0 && feature->categorical) {
        rc = json_object_set_new(object, "categories", texts_json(feature->categories, feature->width));
    }
    if (rc == 0 && feature->fills) {
        rc = json_object_set_new(object, "fill", json_real(feature->fill));
    }
    if (rc == 0 && (feature->mean != 0 || feature->deviation != 1)) {
        rc = json_object_set_new(object, "mean", json_real(feature->mean));
        rc = rc == 0 ? json_object_set_new(object, "deviation", json_real(feature->deviation)) : rc;
    }
    if (rc < 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *cpni_schema_to_json(const struct cpni_schema *schema)
{
    json_t *features = json_array();
    for (uint32_t i = 0; i < schema->feature_count; i++) {
        json_array_append_new(features, feature_json(&schema->features[i]));
    }
    if (json_array_size(features) != schema->feature_count) {
        json_decref(features);
        return NULL;
    }
    return json_pack("{s:i, s:b, s:s, s:I, s:o, s:o}", "version", VERSION, "header", (int)schema->header, "label",
        schema->label, "columns", (json_int_t)schema->columns, "classes",
        texts_json(schema->classes, schema->class_count), "features", features);
}

/* A reader that stays at its first error. */
struct reader {
    int rc;
    char *detail;
};

static void refuse(struct reader *reader, const char *what)
{
    if (reader->rc == 0) {
        snprintf(reader->detail, CPNI_DATA_DETAIL, "the model's description of its columns: %s", what);
        reader->rc = CPN_ECORRUPT;
    }
}

static char *read_text(struct reader *reader, const json_t *json, const char *what)
{
    const char *text = json_string_value(json);
    if (text == NULL || json_string_length(json) > CPNI_DATA_NAME_MAX || strlen(text) != json_string_length(json)) {
        refuse(reader, what);
        return NULL;
    }
    char *copy = cpni_strdup(text);
    if (copy == NULL && reader->rc == 0) {
        reader->rc = CPN_ENOMEM;
    }
    return copy;
}

static char **read_texts(struct reader *reader, const json_t *json, size_t max, uint32_t *count, const char *what)
{
    size_t size = json_array_size(json);
    if (!json_is_array(json) || size > max) {
        refuse(reader, what);
        return NULL;
    }
    char **texts = cpni_calloc(size + 1, sizeof *texts);
    if (texts == NULL) {
        reader->rc = reader->rc < 0 ? reader->rc : CPN_ENOMEM;
        return NULL;
    }
    for (size_t i = 0; i < size; i++) {
        texts[i] = read_text(reader, json_array_get(json, i), what);
    }
    *count = (uint32_t)size;
    return texts;
}

static double read_number(struct reader *reader, const json_t *object, const char *key, double absent, const char *what)
{
    const json_t *json = json_object_get(object, key);
    if (json != NULL && !json_is_number(json)) {
        refuse(reader, what);
    }
    return json != NULL ? json_number_value(json) : absent;
}

static void read_feature(struct reader *reader, const json_t *json, struct cpni_schema *schema)
{
    struct cpni_feature *feature = &schema->features[schema->feature_count++];
    const json_t *categories = json_object_get(json, "categories");
    feature->name = read_text(reader, json_object_get(json, "name"), "a feature's \"name\" must be a text");
    feature->first = schema->columns;
    feature->width = 1;
    feature->fills = json_object_get(json, "fill") != NULL;
    feature->fill = read_number(reader, json, "fill", 0, "\"fill\" must be a number");
    feature->mean = read_number(reader, json, "mean", 0, "\"mean\" must be a number");
    feature->deviation = read_number(reader, json, "deviation", 1, "\"deviation\" must be a number");
    if (!(feature->deviation > 0)) {
        refuse(reader, "\"deviation\" must be above 0");
    }
    if (categories != NULL) {
        uint32_t count = 0;
        feature->categories = read_texts(reader, categories, CPNI_DATA_CATEGORIES_MAX, &count,
            "\"categories\" must be an array of at most 1000 texts");
        feature->categorical = feature->categories != NULL;
        feature->width = count;
        if (count == 0 || !(feature->fill >= 0 && feature->fill < count)) {
            refuse(reader, "\"categories\" must not be empty, nor \"fill\" name another one");
        }
    }
    if (feature->width > CPNI_DATA_COLUMNS_MAX - schema->columns) {
        refuse(reader, "more than 65536 columns");
        return;
    }
    schema->columns += feature->width;
}

static void read_schema(struct reader *reader, const json_t *json, struct cpni_schema *schema)
{
    const json_t *features = json_object_get(json, "features");
    size_t count = json_array_size(features);
    schema->header = json_is_true(json_object_get(json, "header"));
    schema->label = read_text(reader, json_object_get(json, "label"), "\"label\" must be a text");
    schema->classes = read_texts(reader, json_object_get(json, "classes"), CPNI_DATA_CLASSES_MAX, &schema->class_count,
        "\"classes\" must be an array of at most 10000 texts");
    if (!json_is_array(features) || count == 0 || count > CPNI_DATA_COLUMNS_MAX) {
        refuse(reader, "\"features\" must be an array of 1 to 65536 objects");
        return;
    }
    schema->features = cpni_calloc(count, sizeof *schema->features);
    if (schema->features == NULL) {
        reader->rc = reader->rc < 0 ? reader->rc : CPN_ENOMEM;
        return;
    }
    for (size_t i = 0; i < count && reader->rc == 0; i++) {
        read_feature(reader, json_array_get(features, i), schema);
    }
    if (reader->rc == 0 && json_integer_value(json_object_get(json, "columns")) != (json_int_t)schema->columns) {
        refuse(reader, "\"columns\" is not the number that its features make");
    }
}

int cpni_schema_from_json(const json_t *json, struct cpni_schema *out, char *detail)
{
    struct reader reader = { 0, detail };
    struct cpni_schema schema = { 0 };
    json_t *version = json_object_get(json, "version");
    if (json_is_integer(version) && json_integer_value(version) != VERSION) {
        snprintf(detail, CPNI_DATA_DETAIL,
            "the model's description of its columns is of version %lld; this program reads %d",
            (long long)json_integer_value(version), VERSION);
        return CPN_EVERSION;
    }
    if (!json_is_integer(version)) {
        refuse(&reader, "\"version\" must be a number");
    }
    read_schema(&reader, json, &schema);
    if (reader.rc == CPN_ENOMEM) {
        snprintf(detail, CPNI_DATA_DETAIL, "out of memory for the model's columns");
    }
    if (reader.rc < 0) {
        cpni_schema_free(&schema);
        return reader.rc;
    }
    *out = schema;
    return 0;
}
