/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* bench-average TRAIN TEST PEERS EPOCHS: what averaging costs in accuracy and saves in bytes. Trains alone, then on
 * shards with the weights averaged every H steps, as float32 and as int8 changes both ways, as a session's; all peers in
 * this process, one after the other, through the plug-in's entries and the exact sums that a session uses. With peers there
 * are fewer updates, of more rows each; the last lines make up for that with a learning rate times the root of the
 * number of peers. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cpn/trainer.h>

#include "core/delta8.h"
#include "core/exactsum.h"
#include "data/dataset.h"

extern const struct cpn_trainer cpn_trainer_v1;

struct peer {
    void *trainer;
    float *residual;
};

struct bench {
    struct cpni_dataset train, test;
    struct cpn_trainer_spec spec;
    uint32_t *index;
    size_t weights;
    float *global, *local, *mean;
    uint8_t *bytes;
    float rate; /* times the spec's */
    uint64_t seed; /* of the first peer; the others have the next */
};

static void check(int rc, const char *detail)
{
    if (rc < 0) {
        fprintf(stderr, "bench-average: %d %s\n", rc, detail);
        exit(1);
    }
}

static struct cpn_trainer_rows rows_of(const struct cpni_dataset *set)
{
    return (struct cpn_trainer_rows){ .size = sizeof(struct cpn_trainer_rows),
        .columns = set->columns,
        .features = set->features,
        .labels = set->labels,
        .rows = set->rows };
}

static void *new_trainer(const struct bench *b, uint32_t peers, uint32_t peer)
{
    char detail[CPN_TRAINER_DETAIL] = "";
    struct cpn_trainer_spec spec = b->spec;
    struct cpn_trainer_rows rows = rows_of(&b->train);
    uint64_t first, size;
    void *trainer = NULL;
    cpni_dataset_shard(b->train.rows, peers, peer, &first, &size);
    rows.index = b->index + first;
    rows.index_count = size;
    spec.seed = b->seed + peer;
    spec.learning_rate *= b->rate;
    check(cpn_trainer_v1.create(&spec, &trainer, detail), detail);
    check(cpn_trainer_v1.bind(trainer, &rows, detail), detail);
    return trainer;
}

static double accuracy(const struct bench *b, void *trainer)
{
    char detail[CPN_TRAINER_DETAIL] = "";
    struct cpn_trainer_rows rows = rows_of(&b->test);
    struct cpn_trainer_result result;
    check(cpn_trainer_v1.evaluate(trainer, &rows, NULL, NULL, &result, detail), detail);
    return 100.0 * (double)result.correct / (double)result.samples;
}

/* What a peer changed, through one byte a value and back. */
static void through_delta8(const struct bench *b, float *local, float *residual)
{
    for (size_t i = 0; i < b->weights; i++) {
        local[i] -= b->global[i];
    }
    check(cpni_delta8_encode(local, b->weights, residual, b->bytes), "encode");
    check(cpni_delta8_decode(b->bytes, cpni_delta8_size(b->weights), b->weights, local), "decode");
}

/* The weights, or what all have changed them by, likewise. */
static void conclude(const struct bench *b, const struct cpni_exactsum *sum, int small, uint64_t round)
{
    check(cpni_exactsum_mean(sum, small ? b->local : b->global), "mean");
    if (small) {
        check(cpni_delta8_dither(b->local, b->weights, b->seed ^ round << 32, b->bytes), "dither");
        check(cpni_delta8_add(b->bytes, cpni_delta8_size(b->weights), b->weights, b->global), "add");
    }
}

static void round_of(const struct bench *b, struct peer *peers, uint32_t count, uint64_t steps, int small,
    struct cpni_exactsum *sum, uint64_t round)
{
    char detail[CPN_TRAINER_DETAIL] = "";
    struct cpn_trainer_result result;
    cpni_exactsum_reset(sum);
    for (uint32_t p = 0; p < count; p++) {
        check(cpn_trainer_v1.set_weights(peers[p].trainer, b->global, detail), detail);
        check(cpn_trainer_v1.step(peers[p].trainer, steps, NULL, NULL, &result, detail), detail);
        check(cpn_trainer_v1.get_weights(peers[p].trainer, b->local), detail);
        if (small) {
            through_delta8(b, b->local, peers[p].residual);
        }
        check(cpni_exactsum_add(sum, b->local, result.samples), "sum");
    }
    conclude(b, sum, small, round);
}

static void average(const struct bench *b, uint32_t count, uint64_t epochs, uint64_t steps, int small)
{
    struct peer *peers = calloc(count, sizeof *peers);
    struct cpni_exactsum sum;
    char detail[CPN_TRAINER_DETAIL] = "";
    uint64_t all = (b->train.rows / count + b->spec.batch - 1) / b->spec.batch * epochs, rounds = 0;
    check(cpni_exactsum_init(&sum, b->weights, UINT64_C(1) << 24, CPNI_EXACTSUM_WEIGHT_BITS), "sum");
    for (uint32_t p = 0; p < count; p++) {
        peers[p] = (struct peer){ new_trainer(b, count, p), calloc(b->weights, sizeof(float)) };
    }
    check(cpn_trainer_v1.get_weights(peers[0].trainer, b->global), "weights");
    for (uint64_t done = 0; done < all; done += steps, rounds++) {
        round_of(b, peers, count, all - done < steps ? all - done : steps, small, &sum, rounds + 1);
    }
    check(cpn_trainer_v1.set_weights(peers[0].trainer, b->global, detail), detail);
    size_t up = small ? cpni_delta8_size(b->weights) : b->weights * sizeof(float);
    printf("%u peers, H = %3llu, lr x %.1f, %-7s  %5.2f%%  %7.1f MB up a peer\n", count, (unsigned long long)steps,
        (double)b->rate, small ? "int8" : "float32", accuracy(b, peers[0].trainer), (double)(up * rounds) / 1e6);
    for (uint32_t p = 0; p < count; p++) {
        cpn_trainer_v1.destroy(peers[p].trainer);
        free(peers[p].residual);
    }
    free(peers);
    cpni_exactsum_free(&sum);
}

static void open_set(const char *path, struct cpni_dataset *set)
{
    char detail[CPNI_DATA_DETAIL] = "cannot open";
    int fd = open(path, O_RDONLY);
    check(fd < 0 ? -1 : cpni_dataset_open(fd, set, detail), detail);
}

int main(int argc, char **argv)
{
    struct bench b = { .spec = CPN_TRAINER_SPEC_INIT, .rate = 1, .seed = argc > 5 ? strtoull(argv[5], NULL, 10) : 1 };
    struct cpn_trainer_info info = { .size = sizeof info };
    struct cpn_trainer_result result;
    char detail[CPN_TRAINER_DETAIL] = "";
    if (argc < 5) {
        fprintf(stderr, "usage: bench-average TRAIN TEST PEERS EPOCHS [SEED]\n");
        return 2;
    }
    open_set(argv[1], &b.train);
    open_set(argv[2], &b.test);
    uint32_t peers = (uint32_t)atoi(argv[3]), epochs = (uint32_t)atoi(argv[4]);
    b.spec.inputs = b.train.columns;
    b.spec.classes = b.train.classes;
    b.index = malloc(b.train.rows * sizeof *b.index);
    check(
        (int)(cpni_dataset_split(b.train.labels, b.train.rows, b.train.classes, 0, 1, b.index) > 0 ? 0 : -1), "split");
    void *alone = new_trainer(&b, 1, 0);
    check(cpn_trainer_v1.info(alone, &info), "info");
    b.weights = info.weights;
    b.global = malloc(b.weights * sizeof(float));
    b.local = malloc(b.weights * sizeof(float));
    b.bytes = malloc(cpni_delta8_size(b.weights));
    check(cpn_trainer_v1.step(alone, info.epoch_steps * epochs, NULL, NULL, &result, detail), detail);
    printf("alone, %u epochs                    %5.2f%%\n", epochs, accuracy(&b, alone));
    cpn_trainer_v1.destroy(alone);
    static const uint64_t steps[] = { 10, 50, 200, 500 };
    for (size_t i = 0; i < 2 * sizeof steps / sizeof *steps; i++) {
        b.rate = i < sizeof steps / sizeof *steps ? 1 : sqrtf((float)peers);
        average(&b, peers, epochs, steps[i % (sizeof steps / sizeof *steps)], 0);
        average(&b, peers, epochs, steps[i % (sizeof steps / sizeof *steps)], 1);
    }
    free(b.index);
    free(b.global);
    free(b.local);
    free(b.bytes);
    cpni_dataset_close(&b.train);
    cpni_dataset_close(&b.test);
    return 0;
}
