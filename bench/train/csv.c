/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* bench-csv TABLE LABEL THREADS DATASET [scale]: converts a table and prints the seconds that it and its processors
 * took, as run.py reads them. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "data/csv_convert.h"

static double now_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
    static struct cpni_csv_report report;
    if (argc < 5) {
        fprintf(stderr, "usage: bench-csv TABLE LABEL THREADS DATASET [scale]\n");
        return 2;
    }
    struct cpni_csv_options options
        = { .name = argv[1], .label = argv[2], .threads = (unsigned)atoi(argv[3]), .standardise = argc > 5 };
    int in = open(argv[1], O_RDONLY), out = open(argv[4], O_RDWR | O_CREAT | O_TRUNC, 0600);
    double start = now_s(CLOCK_MONOTONIC), busy = now_s(CLOCK_PROCESS_CPUTIME_ID);
    if (in < 0 || out < 0 || cpni_csv_convert(&options, in, out, &report) < 0) {
        fprintf(stderr, "bench-csv: %s\n", report.error[0]);
        return 1;
    }
    printf("%.6f %.6f\n", now_s(CLOCK_MONOTONIC) - start, now_s(CLOCK_PROCESS_CPUTIME_ID) - busy);
    return 0;
}
