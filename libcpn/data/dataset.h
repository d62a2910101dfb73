/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A dataset: rows of float32 features, one int32 class a row, and the schema; one file that peers map read-only and
 * know by its hash. Must not know tables or networks.
 *
 * Layout, little-endian:
 *   0    the header below, padded with zeros to 128 bytes
 *   128  features: rows * columns float32, row after row, nothing between
 *   -    labels: rows int32, at the next multiple of 64; -1 in all rows when the table had no label
 *   -    the schema (schema.c), at the next multiple of 64; the file ends with it
 * Bytes between the parts are 0. The same table and options give the same bytes, however many threads read it. To
 * change anything, raise VERSION; readers refuse what they do not know, and whoever has the table converts it again. */
#ifndef CPNI_DATASET_H
#define CPNI_DATASET_H

#include <stddef.h>
#include <stdint.h>

#include "data/schema.h"

#define CPNI_DATASET_MAGIC "cpn-set\n"
#define CPNI_DATASET_VERSION 1
#define CPNI_DATASET_FEATURES_AT 128
#define CPNI_DATASET_ROWS_MAX UINT32_C(0x7fffffff) /* row numbers are 32 bits wide */

struct cpni_dataset_header {
    char magic[8];
    uint32_t version;
    uint32_t columns;
    uint64_t rows;
    uint32_t classes;
    uint32_t reserved; /* 0 */
    uint64_t labels_at;
    uint64_t schema_at;
    uint64_t schema_bytes;
};
_Static_assert(sizeof(struct cpni_dataset_header) == 56, "no padding");

struct cpni_dataset {
    const float *features; /* [rows][columns], aligned to 64 bytes */
    const int32_t *labels; /* [rows] */
    uint64_t rows;
    uint32_t columns;
    uint32_t classes;
    struct cpni_schema schema;
    void *map;
    size_t map_bytes;
};

/* The header of a dataset of such sizes. */
struct cpni_dataset_header cpni_dataset_layout(
    uint64_t rows, uint32_t columns, uint32_t classes, uint64_t schema_bytes);

/* Map a dataset; the descriptor may be closed after. Sizes and schema are checked, values are not. CPN_ECORRUPT,
 * CPN_EVERSION with a sentence (CPNI_DATA_DETAIL bytes), CPN_EIO, CPN_ENOMEM. */
int cpni_dataset_open(int fd, struct cpni_dataset *out, char *detail);
void cpni_dataset_close(struct cpni_dataset *dataset);

/* Divide the rows, class by class, into training and validation: `index` (room for all rows) gets the training rows in
 * an order that the seed shuffles, so that any stretch of it is a fair shard, then the validation rows, ascending.
 * `share` (0 to below 1) of each class, rounded, goes to validation, but never a class's only row. A function of its
 * arguments alone. Returns how many are for training; CPN_ENOMEM, CPN_EINVAL (more than CPNI_DATASET_ROWS_MAX rows, a
 * label not below `classes`). */
int64_t cpni_dataset_split(
    const int32_t *labels, uint64_t rows, uint32_t classes, double share, uint64_t seed, uint32_t *index);

/* The stretch of `count` rows that is shard `shard` of `shards`; sizes differ by one at most. */
void cpni_dataset_shard(uint64_t count, uint32_t shards, uint32_t shard, uint64_t *first, uint64_t *size);

#endif
