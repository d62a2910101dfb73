/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See dataset.h. */
#include "data/dataset.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cpn/error.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is used as it lies in memory");

#define ALIGN 64

static uint64_t aligned(uint64_t at)
{
    return (at + ALIGN - 1) / ALIGN * ALIGN;
}

struct cpni_dataset_header cpni_dataset_layout(uint64_t rows, uint32_t columns, uint32_t classes, uint64_t schema_bytes)
{
    struct cpni_dataset_header header = { .magic = CPNI_DATASET_MAGIC,
        .version = CPNI_DATASET_VERSION,
        .columns = columns,
        .rows = rows,
        .classes = classes,
        .schema_bytes = schema_bytes };
    header.labels_at = aligned(CPNI_DATASET_FEATURES_AT + rows * columns * sizeof(float));
    header.schema_at = aligned(header.labels_at + rows * sizeof(int32_t));
    return header;
}

static int refuse(int rc, const char *why, char *detail)
{
    snprintf(detail, CPNI_DATA_DETAIL, "not a dataset that this version can use: %s", why);
    return rc;
}

/* Every place follows from the sizes, so the header is right if it is the one that would be written. */
static int check_header(const struct cpni_dataset_header *header, uint64_t bytes, char *detail)
{
    if (memcmp(header->magic, CPNI_DATASET_MAGIC, sizeof header->magic) != 0) {
        return refuse(CPN_ECORRUPT, "it does not start like one", detail);
    }
    if (header->version != CPNI_DATASET_VERSION) {
        return refuse(CPN_EVERSION, "its format is of another version; convert the table again", detail);
    }
    if (header->rows > CPNI_DATASET_ROWS_MAX || header->columns > CPNI_DATA_COLUMNS_MAX
        || header->classes > CPNI_DATA_CLASSES_MAX || header->schema_bytes > CPNI_DATA_SCHEMA_MAX) {
        return refuse(CPN_ECORRUPT, "its sizes are beyond the limits", detail);
    }
    struct cpni_dataset_header expected
        = cpni_dataset_layout(header->rows, header->columns, header->classes, header->schema_bytes);
    if (memcmp(header, &expected, sizeof expected) != 0 || header->schema_at + header->schema_bytes != bytes) {
        return refuse(CPN_ECORRUPT, "it is cut short or damaged", detail);
    }
    return 0;
}

static int open_map(struct cpni_dataset *set, char *detail)
{
    struct cpni_dataset_header header;
    memcpy(&header, set->map, sizeof header);
    int rc = check_header(&header, set->map_bytes, detail);
    if (rc < 0) {
        return rc;
    }
    const char *bytes = set->map;
    rc = cpni_schema_read(bytes + header.schema_at, header.schema_bytes, &set->schema, detail);
    if (rc < 0) {
        return rc;
    }
    if (set->schema.columns != header.columns || set->schema.class_count != header.classes) {
        cpni_schema_free(&set->schema);
        return refuse(CPN_ECORRUPT, "header and schema disagree", detail);
    }
    set->features = (const float *)(const void *)(bytes + CPNI_DATASET_FEATURES_AT);
    set->labels = (const int32_t *)(const void *)(bytes + header.labels_at);
    set->rows = header.rows;
    set->columns = header.columns;
    set->classes = header.classes;
    return 0;
}

int cpni_dataset_open(int fd, struct cpni_dataset *out, char *detail)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        snprintf(detail, CPNI_DATA_DETAIL, "cannot read the dataset: %s", strerror(errno));
        return CPN_EIO;
    }
    if (status.st_size < CPNI_DATASET_FEATURES_AT) {
        return refuse(CPN_ECORRUPT, "it is too short", detail);
    }
    struct cpni_dataset set = { .map_bytes = (size_t)status.st_size };
    set.map = mmap(NULL, set.map_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (set.map == MAP_FAILED) {
        snprintf(detail, CPNI_DATA_DETAIL, "cannot map the dataset: %s", strerror(errno));
        return CPN_EIO;
    }
    int rc = open_map(&set, detail);
    if (rc < 0) {
        munmap(set.map, set.map_bytes);
        return rc;
    }
    *out = set;
    return 0;
}

void cpni_dataset_close(struct cpni_dataset *dataset)
{
    cpni_schema_free(&dataset->schema);
    if (dataset->map != NULL) {
        munmap(dataset->map, dataset->map_bytes);
    }
    *dataset = (struct cpni_dataset){ 0 };
}
