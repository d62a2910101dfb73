/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A CSV file as a dataset: converted on a thread of its own, while the client's thread keeps its connections alive and tells how far it
 * is. Must not know the master. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "data/csv_convert.h"
#include "data/dataset.h"
#include "role/session.h"

#define PROGRESS_MS 50 /* between two calls of the program's progress function */

/* What both threads see. The converting one writes the rest of it and sets `done` last. */
struct reading {
    const struct cpn_table_options *options;
    const struct cpni_session_spec *spec;
    struct cpn_client *client;
    const char *name; /* of the table in sentences */
    int in;
    struct cpni_session_table table;
    atomic_uint_fast64_t bytes;
    atomic_bool give_up, done;
    int rc;
    char detail[CPN_DETAIL];
};

static int fail(struct reading *reading, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct reading *reading, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(reading->detail, sizeof reading->detail, format, list);
    va_end(list);
    return code;
}

/* ---- on the converting thread ---- */

static int read_so_far(void *arg, uint64_t bytes)
{
    struct reading *reading = arg;
    atomic_store(&reading->bytes, bytes);
    return atomic_load(&reading->give_up);
}

static size_t count_of(const char *const *texts)
{
    size_t count = 0;
    while (texts != NULL && texts[count] != NULL) {
        count++;
    }
    return count;
}

static int convert(struct reading *reading)
{
    const struct cpn_table_options *from = reading->options;
    const struct cpni_csv_options options = {
        .name = reading->name,
        .label = from->label,
        .features = from->features,
        .feature_count = count_of(from->features),
        .categorical = from->categorical,
        .categorical_count = count_of(from->categorical),
        .no_header = from->no_header,
        .impute = from->impute,
        .standardise = !from->keep_scale,
        .delimiter = from->delimiter,
        .threads = from->threads,
        .progress = read_so_far,
        .progress_arg = reading,
    };
    struct cpni_csv_report *report = cpni_calloc(1, sizeof *report);
    if (report == NULL) {
        return CPN_ENOMEM;
    }
    int rc = cpni_csv_convert(&options, reading->in, reading->table.fd, report);
    if (rc < 0 && report->errors > 1) {
        fail(reading, rc, "%s (and more: at least %llu wrong places)", report->error[0], (unsigned long long)report->errors);
    } else if (rc == CPN_ENOSPC) {
        fail(reading, rc, "%s (the client's spool is in %s)", report->error[0], reading->client->spool_parent);
    } else if (rc < 0) {
        bool named = strncmp(report->error[0], reading->name, strlen(reading->name)) == 0;
        fail(reading, rc, "%s%s%s", named ? "" : reading->name, named ? "" : ": ", report->error[0]);
    }
    cpni_free(report);
    return rc;
}

/* Peers divide the rows by the same function, so this is how many each of them will find. */
static int split(struct reading *reading, const struct cpni_dataset *set)
{
    const double share = (double)reading->spec->validation_ppm / 1e6;
    uint32_t *index = cpni_malloc(set->rows * sizeof *index);
    if (index == NULL) {
        return CPN_ENOMEM;
    }
    int64_t train = cpni_dataset_split(set->labels, set->rows, set->classes, share, reading->spec->split_seed, index);
    cpni_free(index);
    reading->table.train_rows = train > 0 ? (uint64_t)train : 0;
    return train < 0 ? (int)train : 0;
}

static int describe(struct reading *reading)
{
    struct cpni_session_table *table = &reading->table;
    struct cpni_dataset set;
    char why[CPNI_DATA_DETAIL] = "";
    int rc = cpni_dataset_open(table->fd, &set, why);
    if (rc < 0) {
        return fail(reading, rc, "%s", why);
    }
    table->rows = set.rows;
    table->columns = set.columns;
    table->classes = set.classes;
    rc = set.classes < 2 ? fail(reading, CPN_EBADINPUT, "%s: all labels in column '%s' are the same: there is nothing to tell apart",
                                reading->name, set.schema.label)
                         : split(reading, &set);
    rc = rc == 0 ? cpni_schema_write(&set.schema, &table->schema) : rc;
    cpni_dataset_close(&set);
    return rc;
}

static void *work(void *arg)
{
    struct reading *reading = arg;
    int rc = convert(reading);
    reading->rc = rc == 0 ? describe(reading) : rc;
    atomic_store(&reading->done, true);
    cpn_client_wake(reading->client);
    return NULL;
}

/* ---- on the client's thread ---- */

static int open_table(struct reading *reading)
{
    const char *path = reading->options->path;
    const char *slash = strrchr(path, '/');
    reading->name = slash != NULL && slash[1] != 0 ? slash + 1 : path;
    reading->in = open(path, O_RDONLY | O_CLOEXEC);
    if (reading->in < 0) {
        return fail(reading, errno == ENOENT ? CPN_ENOTFOUND : CPN_EIO, "%s: %s", path, strerror(errno));
    }
    struct stat status;
    if (fstat(reading->in, &status) == 0 && S_ISDIR(status.st_mode)) {
        return fail(reading, CPN_EBADINPUT, "%s is a directory; expected a CSV file", path);
    }
    return 0;
}

/* Without a name from the start: nothing stays behind, however this process ends. */
static int open_dataset(struct reading *reading, const char *dir)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/cpn-dataset-XXXXXX", dir);
    reading->table.fd = mkostemp(path, O_CLOEXEC);
    if (reading->table.fd < 0) {
        return fail(reading, CPN_EIO, "cannot make a file for the dataset in %s: %s", dir, strerror(errno));
    }
    unlink(path);
    return 0;
}

static bool goes_on(const struct cpn_session_options *options, struct reading *reading, uint64_t total)
{
    uint64_t done = atomic_load(&reading->bytes);
    return options->progress == NULL || options->progress(options->progress_arg, "read", done, total > done ? total : done) == 0;
}

static int wait_for(struct cpn_client *client, const struct cpn_session_options *options, struct reading *reading)
{
    struct stat status;
    uint64_t total = fstat(reading->in, &status) == 0 && S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
    int rc = 0;
    while (!atomic_load(&reading->done)) {
        if (rc < 0) { /* the thread sees it with the next block that it reads */
            struct timespec pause = { .tv_nsec = PROGRESS_MS * 1000000L };
            nanosleep(&pause, NULL);
            continue;
        }
        rc = cpn_client_dispatch(client, PROGRESS_MS);
        if (rc == 0 && !goes_on(options, reading, total)) {
            rc = cpni_client_fail(client, CPN_ECANCELLED, "given up");
        }
        if (rc < 0) {
            atomic_store(&reading->give_up, true);
        }
    }
    if (rc == 0 && !goes_on(options, reading, total)) {
        rc = cpni_client_fail(client, CPN_ECANCELLED, "given up");
    }
    return rc;
}

static int run(struct cpn_client *client, const struct cpn_session_options *options, struct reading *reading)
{
    pthread_t thread;
    int rc = open_table(reading);
    rc = rc == 0 ? open_dataset(reading, client->spool_parent) : rc;
    if (rc < 0) {
        return rc;
    }
    if (pthread_create(&thread, NULL, work, reading) != 0) {
        return CPN_ENOMEM;
    }
    rc = wait_for(client, options, reading);
    pthread_join(thread, NULL);
    return rc == 0 ? reading->rc : rc;
}

int cpni_session_table_read(struct cpn_client *client, const struct cpn_session_options *options, const struct cpni_session_spec *spec,
                            struct cpni_session_table *out)
{
    struct reading reading = { .options = &options->table, .spec = spec, .client = client, .in = -1, .table = { .fd = -1 } };
    int rc = run(client, options, &reading);
    if (reading.in >= 0) {
        close(reading.in);
    }
    if (rc < 0) {
        cpni_session_table_free(&reading.table);
        return reading.detail[0] != 0 && rc != CPN_ECANCELLED ? cpni_client_fail(client, rc, "%s", reading.detail) : rc;
    }
    *out = reading.table;
    return 0;
}

void cpni_session_table_free(struct cpni_session_table *table)
{
    if (table->fd >= 0) {
        close(table->fd);
    }
    cpni_buf_free(&table->schema);
    *table = (struct cpni_session_table){ .fd = -1 };
}
