/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* bench-dnn DATASET EPOCHS [KERNELS]: trains the default model on one thread and prints samples per second (of
 * processor time: other work on the machine does not count) and loss of the last epoch, as run.py reads them. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "compute/trainers/dnn.h"
#include "data/dataset.h"

extern const struct cpn_trainer cpn_trainer_v1;

static double busy_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int fail(const char *what)
{
    fprintf(stderr, "bench-dnn: %s\n", what);
    return 1;
}

int main(int argc, char **argv)
{
    char detail[CPNI_DATA_DETAIL] = "";
    struct cpni_dataset set;
    struct cpn_trainer_result result = { 0 };
    void *trainer = NULL;
    const struct cpni_kernels *kernels = argc > 3 ? cpni_kernels_named(argv[3]) : cpni_kernels_best();
    int fd = argc > 2 ? open(argv[1], O_RDONLY) : -1;
    if (fd < 0 || kernels == NULL || cpni_dataset_open(fd, &set, detail) < 0) {
        return fail(argc > 2 ? detail : "usage: bench-dnn DATASET EPOCHS [KERNELS]");
    }
    struct cpn_trainer_spec spec = CPN_TRAINER_SPEC_INIT;
    spec.inputs = set.columns;
    spec.classes = set.classes;
    spec.seed = 1;
    struct cpn_trainer_rows rows = {
        .size = sizeof rows, .columns = set.columns, .features = set.features, .labels = set.labels, .rows = set.rows
    };
    if (cpni_dnn_create(&spec, kernels, &trainer, detail) < 0 || cpn_trainer_v1.bind(trainer, &rows, detail) < 0) {
        return fail(detail);
    }
    double seconds = 0;
    for (int epoch = 0; epoch < atoi(argv[2]); epoch++) {
        double start = busy_s();
        if (cpn_trainer_v1.step(trainer, (set.rows + spec.batch - 1) / spec.batch, NULL, NULL, &result, detail) < 0) {
            return fail(detail);
        }
        seconds = busy_s() - start;
    }
    printf("%.0f %.6f %s\n", (double)result.samples / seconds, result.loss_sum / (double)result.samples, kernels->name);
    cpn_trainer_v1.destroy(trainer);
    cpni_dataset_close(&set);
    return 0;
}
