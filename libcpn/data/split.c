/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Which rows are learned and which ones tell how well (dataset.h): stratified, seeded, and cut into shards. */
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "base/random.h"
#include "data/dataset.h"

#define STREAM_CLASS UINT64_C(0x73706c6900000000) /* "spli", and the class in the low half */
#define STREAM_ORDER UINT64_C(0x7368617264000000) /* "shard" */

/* Rows grouped by class, ascending in each; starts[c] is where class c begins. */
static int group(const int32_t *labels, uint32_t rows, uint32_t classes, uint32_t *starts, uint32_t *grouped)
{
    memset(starts, 0, (classes + (size_t)1) * sizeof *starts);
    for (uint32_t r = 0; r < rows; r++) {
        if (labels[r] < 0 || (uint32_t)labels[r] >= classes) {
            return CPN_EINVAL;
        }
        starts[labels[r] + 1]++;
    }
    for (uint32_t c = 0; c < classes; c++) {
        starts[c + 1] += starts[c];
    }
    for (uint32_t r = 0; r < rows; r++) {
        grouped[starts[labels[r]]++] = r;
    }
    memmove(starts + 1, starts, classes * sizeof *starts); /* each start had moved on to the next one's */
    starts[0] = 0;
    return 0;
}

/* Mark what goes to validation; returns how many. */
static uint32_t choose(
    uint32_t *grouped, const uint32_t *starts, uint32_t classes, double share, uint64_t seed, uint8_t *validates)
{
    uint32_t total = 0;
    for (uint32_t c = 0; c < classes; c++) {
        uint32_t count = starts[c + 1] - starts[c], chosen = (uint32_t)((double)count * share + 0.5);
        if (chosen >= count) {
            chosen = count > 0 ? count - 1 : 0;
        }
        struct cpni_random random;
        cpni_random_seed(&random, seed, STREAM_CLASS + c);
        cpni_random_shuffle(&random, grouped + starts[c], count);
        for (uint32_t i = 0; i < chosen; i++) {
            validates[grouped[starts[c] + i]] = 1;
        }
        total += chosen;
    }
    return total;
}

static void hand_out(const uint8_t *validates, uint32_t rows, uint32_t training, uint64_t seed, uint32_t *index)
{
    uint32_t trains = 0, rest = training;
    for (uint32_t r = 0; r < rows; r++) {
        index[validates[r] ? rest++ : trains++] = r;
    }
    struct cpni_random random;
    cpni_random_seed(&random, seed, STREAM_ORDER);
    cpni_random_shuffle(&random, index, training);
}

int64_t cpni_dataset_split(
    const int32_t *labels, uint64_t rows, uint32_t classes, double share, uint64_t seed, uint32_t *index)
{
    if (rows > CPNI_DATASET_ROWS_MAX || classes > CPNI_DATA_CLASSES_MAX || !(share >= 0 && share < 1)) {
        return CPN_EINVAL;
    }
    uint32_t count = (uint32_t)rows;
    uint32_t *starts = cpni_malloc((classes + (size_t)2) * sizeof *starts);
    uint32_t *grouped = cpni_malloc((count + (size_t)1) * sizeof *grouped);
    uint8_t *validates = cpni_calloc(count + (size_t)1, 1);
    int64_t training = CPN_ENOMEM;
    if (starts != NULL && grouped != NULL && validates != NULL) {
        training = group(labels, count, classes, starts, grouped);
    }
    if (training == 0) {
        training = count - choose(grouped, starts, classes, share, seed, validates);
        hand_out(validates, count, (uint32_t)training, seed, index);
    }
    cpni_free(starts);
    cpni_free(grouped);
    cpni_free(validates);
    return training;
}

void cpni_dataset_shard(uint64_t count, uint32_t shards, uint32_t shard, uint64_t *first, uint64_t *size)
{
    uint64_t base = count / shards, longer = count % shards; /* the first `longer` shards have one row more */
    *first = shard * base + (shard < longer ? shard : longer);
    *size = base + (shard < longer);
}
