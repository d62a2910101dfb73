/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See schema.h.
 *
 * Layout, little-endian, one after the other: u32 flags (bit 0: header), text label, u32 columns, u32 features, u32
 * classes; per feature: text name, u32 flags (bit 0: categorical, bit 1: fills), u32 first, u32 width, f64 fill, f64
 * mean, f64 deviation, and if categorical `width` texts; then `classes` texts. A text is u32 size and that many bytes
 * without 0. The dataset's version (dataset.h) covers this, too: to change it, raise that. */
#include "data/schema.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie in memory");

enum { FLAG_HEADER = 1, FLAG_CATEGORICAL = 1, FLAG_FILLS = 2 };

static void put_u32(struct cpni_buf *out, uint32_t value)
{
    cpni_buf_append(out, &value, sizeof value);
}

static void put_text(struct cpni_buf *out, const char *text)
{
    size_t size = strlen(text);
    put_u32(out, (uint32_t)size);
    cpni_buf_append(out, text, size);
}

static void put_feature(struct cpni_buf *out, const struct cpni_feature *feature)
{
    double numbers[3] = { feature->fill, feature->mean, feature->deviation };
    put_text(out, feature->name);
    put_u32(out, (feature->categorical ? FLAG_CATEGORICAL : 0) | (feature->fills ? FLAG_FILLS : 0));
    put_u32(out, feature->first);
    put_u32(out, feature->width);
    cpni_buf_append(out, numbers, sizeof numbers);
    for (uint32_t i = 0; feature->categorical && i < feature->width; i++) {
        put_text(out, feature->categories[i]);
    }
}

int cpni_schema_write(const struct cpni_schema *schema, struct cpni_buf *out)
{
    put_u32(out, schema->header ? FLAG_HEADER : 0);
    put_text(out, schema->label);
    put_u32(out, schema->columns);
    put_u32(out, schema->feature_count);
    put_u32(out, schema->class_count);
    for (uint32_t i = 0; i < schema->feature_count; i++) {
        put_feature(out, &schema->features[i]);
    }
    for (uint32_t i = 0; i < schema->class_count; i++) {
        put_text(out, schema->classes[i]);
    }
    return out->failed ? CPN_ENOMEM : 0;
}

/* A reader that stays at its first error. */
struct reader {
    const uint8_t *at, *end;
    int rc;
};

static void get(struct reader *reader, void *to, size_t size)
{
    if (reader->rc == 0 && (size_t)(reader->end - reader->at) < size) {
        reader->rc = CPN_ECORRUPT;
    }
    if (reader->rc < 0) {
        memset(to, 0, size);
        return;
    }
    memcpy(to, reader->at, size);
    reader->at += size;
}

static uint32_t get_u32(struct reader *reader, uint32_t max)
{
    uint32_t value;
    get(reader, &value, sizeof value);
    if (value > max) {
        reader->rc = reader->rc < 0 ? reader->rc : CPN_ECORRUPT;
        return 0;
    }
    return value;
}

static char *get_text(struct reader *reader)
{
    uint32_t size = get_u32(reader, CPNI_DATA_NAME_MAX);
    if (reader->rc < 0 || (size_t)(reader->end - reader->at) < size || memchr(reader->at, '\0', size) != NULL) {
        reader->rc = reader->rc < 0 ? reader->rc : CPN_ECORRUPT;
        return NULL;
    }
    char *text = cpni_malloc(size + 1);
    if (text == NULL) {
        reader->rc = CPN_ENOMEM;
        return NULL;
    }
    memcpy(text, reader->at, size);
    text[size] = '\0';
    reader->at += size;
    return text;
}

/* `count` texts need at least four bytes each, so a count that the bytes cannot hold allocates nothing. */
static char **get_texts(struct reader *reader, uint32_t count)
{
    if (reader->rc < 0 || (size_t)(reader->end - reader->at) / 4 < count) {
        reader->rc = reader->rc < 0 ? reader->rc : CPN_ECORRUPT;
        return NULL;
    }
    char **texts = cpni_calloc(count + (size_t)1, sizeof *texts);
    if (texts == NULL) {
        reader->rc = CPN_ENOMEM;
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        texts[i] = get_text(reader);
    }
    return texts;
}

static bool is_finite(double value)
{
    return value <= DBL_MAX && value >= -DBL_MAX;
}

/* Features lie one after the other: `next` is where this one must start. */
static void get_feature(struct reader *reader, struct cpni_feature *feature, uint32_t *next, uint32_t columns)
{
    double numbers[3];
    feature->name = get_text(reader);
    uint32_t flags = get_u32(reader, FLAG_CATEGORICAL | FLAG_FILLS);
    feature->categorical = flags & FLAG_CATEGORICAL;
    feature->fills = flags & FLAG_FILLS;
    feature->first = get_u32(reader, CPNI_DATA_COLUMNS_MAX);
    feature->width = get_u32(reader, feature->categorical ? CPNI_DATA_CATEGORIES_MAX : 1);
    get(reader, numbers, sizeof numbers);
    feature->fill = numbers[0];
    feature->mean = numbers[1];
    feature->deviation = numbers[2];
    bool sound = is_finite(feature->fill) && is_finite(feature->mean) && is_finite(feature->deviation)
        && feature->deviation > 0 && feature->first == *next && feature->width > 0 && feature->width <= columns - *next
        && (!feature->categorical || (feature->fill >= 0 && feature->fill < feature->width));
    if (reader->rc == 0 && !sound) {
        reader->rc = CPN_ECORRUPT;
    }
    if (feature->categorical) {
        feature->categories = get_texts(reader, feature->width);
    }
    *next += feature->width;
}

static void get_schema(struct reader *reader, struct cpni_schema *schema)
{
    schema->header = get_u32(reader, FLAG_HEADER) != 0;
    schema->label = get_text(reader);
    schema->columns = get_u32(reader, CPNI_DATA_COLUMNS_MAX);
    uint32_t features = get_u32(reader, CPNI_DATA_COLUMNS_MAX), classes = get_u32(reader, CPNI_DATA_CLASSES_MAX),
             next = 0;
    if (reader->rc < 0) {
        return;
    }
    schema->features = cpni_calloc(features + (size_t)1, sizeof *schema->features);
    if (schema->features == NULL) {
        reader->rc = CPN_ENOMEM;
        return;
    }
    schema->feature_count = features;
    for (uint32_t i = 0; i < features && reader->rc == 0; i++) {
        get_feature(reader, &schema->features[i], &next, schema->columns);
    }
    schema->classes = get_texts(reader, classes);
    schema->class_count = schema->classes != NULL ? classes : 0;
    if (reader->rc == 0 && (next != schema->columns || reader->at != reader->end)) {
        reader->rc = CPN_ECORRUPT;
    }
}

int cpni_schema_read(const void *bytes, size_t size, struct cpni_schema *out, char *detail)
{
    struct reader reader = { bytes, (const uint8_t *)bytes + size, 0 };
    struct cpni_schema schema = { 0 };
    get_schema(&reader, &schema);
    if (reader.rc < 0) {
        snprintf(detail, CPNI_DATA_DETAIL, "%s",
            reader.rc == CPN_ENOMEM ? "out of memory for the columns of the dataset"
                                    : "the description of the dataset's columns is damaged: convert the table again");
        cpni_schema_free(&schema);
        return reader.rc;
    }
    *out = schema;
    return 0;
}

static void free_texts(char **texts, uint32_t count)
{
    for (uint32_t i = 0; texts != NULL && i < count; i++) {
        cpni_free(texts[i]);
    }
    cpni_free(texts);
}

void cpni_schema_free(struct cpni_schema *schema)
{
    for (uint32_t i = 0; schema->features != NULL && i < schema->feature_count; i++) {
        cpni_free(schema->features[i].name);
        free_texts(schema->features[i].categories, schema->features[i].width);
    }
    cpni_free(schema->features);
    cpni_free(schema->label);
    free_texts(schema->classes, schema->class_count);
    *schema = (struct cpni_schema){ 0 };
}

void cpni_schema_widen(const struct cpni_schema *schema, const float *raw, float *to)
{
    for (uint32_t i = 0; i < schema->feature_count; i++) {
        const struct cpni_feature *feature = &schema->features[i];
        double value = isnan(raw[i]) ? feature->fill : (double)raw[i];
        if (!feature->categorical) {
            to[feature->first] = (float)((value - feature->mean) / feature->deviation);
            continue;
        }
        memset(to + feature->first, 0, feature->width * sizeof *to);
        to[feature->first + (uint32_t)value] = 1;
    }
}
