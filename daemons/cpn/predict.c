/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn predict MODEL FILE|DIR… -o OUT; a table is for predict_table.c. A window of photos is under way at any time; each is read when its turn comes and let go of when its
 * result is written, so that memory does not grow with their number. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "commands.h"
#include "common/paths.h"
#include "common/signals.h"
#include "common/text.h"
#include "photos.h"
#include "predict.h"
#include "report.h"
#include "write.h"

#define JOBS 32                        /* photos under way: enough to keep a dozen nodes busy over a slow line */
#define UNDER_WAY_BYTES (128ull << 20) /* what they may take of the spool directory, which may be memory */

struct job {
    struct predict *predict;
    const struct photo *photo;
    struct cpn_task *task; /* NULL: free */
    uint64_t bytes;
};

struct predict {
    struct cli *cli;
    const char *model;
    uint64_t deadline_ms;
    uint32_t jobs_max;
    struct photos photos;
    struct report report;
    struct job jobs[PREDICT_JOBS_MAX];
    size_t next;            /* photo to be submitted */
    size_t under_way;
    uint64_t under_way_bytes;
    size_t done, failed, cancelled;
    bool copies;            /* are written, too */
    int fatal;              /* an error that every other photo would meet, too */
    char fatal_detail[CPN_DETAIL];
};

/* ---- the end of a photo ---- */

static void fail(struct predict *predict, const struct photo *photo, const struct cpn_task *task, int code, const char *detail)
{
    progress_clear(&predict->cli->progress);
    report_failure(&predict->report, photo, task, code, detail);
    predict->failed++;
}

bool predict_is_fatal(int code)
{
    return code == CPN_ENOTFOUND || code == CPN_EDENIED || code == CPN_EKEY || code == CPN_ENONODE || code == CPN_EVERSION;
}

static void succeed(struct predict *predict, const struct photo *photo, const struct cpn_task *task)
{
    size_t size = 0;
    const void *image = cpn_task_image(task, &size);
    int error = photo->out != NULL && image != NULL ? write_copy(photo->out, image, size) : 0;
    if (error != 0) {
        char detail[CPN_DETAIL];
        snprintf(detail, sizeof detail, "cannot write %.400s: %s", photo->out, strerror(error));
        fail(predict, photo, task, CPN_EIO, detail);
        return;
    }
    progress_clear(&predict->cli->progress);
    report_result(&predict->report, photo, task);
    predict->done++;
}

static void on_done(struct cpn_task *task, void *arg)
{
    struct job *job = arg;
    struct predict *predict = job->predict;
    int code = cpn_task_code(task);
    if (code == 0) {
        succeed(predict, job->photo, task);
    } else if (code == CPN_ECANCELLED && (signals_seen() || predict->fatal != 0)) {
        predict->cancelled++;
    } else if (predict_is_fatal(code)) {
        if (predict->fatal == 0) {
            predict->fatal = code;
            snprintf(predict->fatal_detail, sizeof predict->fatal_detail, "%s", cpn_task_detail(task));
        }
        predict->cancelled++;
    } else {
        fail(predict, job->photo, task, code, cpn_task_detail(task));
    }
    predict->under_way--;
    predict->under_way_bytes -= job->bytes;
    job->task = NULL;
    cpn_task_free(task);
}

/* ---- the beginning of one ---- */

static struct job *free_job(struct predict *predict)
{
    for (size_t i = 0; i < predict->jobs_max; i++) {
        if (predict->jobs[i].task == NULL) {
            return &predict->jobs[i];
        }
    }
    return NULL;
}

static int submit_data(struct predict *predict, struct job *job, const struct photo *photo, const void *data, size_t size)
{
    struct cpn_task_options options = CPN_TASK_OPTIONS_INIT;
    options.model = predict->model;
    options.data = data;
    options.data_size = size;
    options.name = photo->path;
    options.annotate = photo->out != NULL;
    options.deadline_ms = predict->deadline_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)predict->deadline_ms;
    options.done = on_done;
    options.done_arg = job;
    *job = (struct job){ .predict = predict, .photo = photo, .bytes = size };
    int rc = cpn_client_submit(predict->cli->client, &options, &job->task);
    if (rc == 0) {
        predict->under_way++;
        predict->under_way_bytes += size;
    }
    return rc;
}

static int submit_file(struct predict *predict, struct job *job, const struct photo *photo, char *detail)
{
    struct stat status;
    int fd = open(photo->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        snprintf(detail, CPN_DETAIL, "cannot read it: %s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return CPN_EIO;
    }
    if (status.st_size == 0) {
        snprintf(detail, CPN_DETAIL, "the file is empty");
        close(fd);
        return CPN_EBADINPUT;
    }
    size_t size = (size_t)status.st_size;
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (data == MAP_FAILED) {
        snprintf(detail, CPN_DETAIL, "cannot read it: %s", strerror(errno));
        return CPN_EIO;
    }
    int rc = submit_data(predict, job, photo, data, size);
    munmap(data, size);
    return rc;
}

static void fill_window(struct predict *predict)
{
    while (predict->next < predict->photos.count && predict->under_way < predict->jobs_max
           && predict->under_way_bytes < UNDER_WAY_BYTES && predict->fatal == 0 && !signals_seen()) {
        const struct photo *photo = &predict->photos.items[predict->next];
        char detail[CPN_DETAIL] = "";
        int rc = submit_file(predict, free_job(predict), photo, detail);
        if (rc == CPN_EBUSY && predict->under_way > 0) {
            return; /* this client's queue is full: something must be done first */
        }
        predict->next++;
        if (rc < 0) {
            fail(predict, photo, NULL, rc, *detail != 0 ? detail : cpn_client_detail(predict->cli->client));
        }
    }
}

/* ---- the whole ---- */

int64_t predict_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void show(struct predict *predict)
{
    char note[160] = "";
    const char *trouble = cpn_client_detail(predict->cli->client);
    if (*trouble != 0) {
        snprintf(note, sizeof note, "%s", trouble);
        text_clean(note);
    } else if (predict->failed > 0) {
        snprintf(note, sizeof note, "%zu failed", predict->failed);
    }
    progress_show(&predict->cli->progress, predict->done + predict->failed, predict->photos.count, false, note);
}

/* Cancel what is under way and wait a little until that is known; then it does not matter any more. */
static void cancel(struct predict *predict)
{
    for (size_t i = 0; i < predict->jobs_max; i++) {
        if (predict->jobs[i].task != NULL) {
            cpn_task_cancel(predict->jobs[i].task);
        }
    }
    int64_t deadline_ms = predict_now_ms() + PREDICT_CANCEL_MS;
    while (predict->under_way > 0 && predict_now_ms() < deadline_ms && cpn_client_dispatch(predict->cli->client, PREDICT_DISPATCH_MS) >= 0) { }
    for (size_t i = 0; i < predict->jobs_max; i++) {
        cpn_task_free(predict->jobs[i].task);
        predict->jobs[i].task = NULL;
    }
}

/* As behind `| head`: the network must not work for hours for nobody. */
static bool nobody_reads(const struct predict *predict)
{
    return !predict->copies && (fflush(stdout) != 0 || ferror(stdout));
}

static int run(struct predict *predict)
{
    int rc = 0;
    while (rc >= 0 && predict->fatal == 0 && !signals_seen() && !nobody_reads(predict)) {
        fill_window(predict);
        show(predict);
        if (predict->under_way == 0 && predict->next == predict->photos.count) {
            return 0;
        }
        rc = cpn_client_dispatch(predict->cli->client, PREDICT_DISPATCH_MS);
    }
    if (rc < 0) {
        predict->fatal = rc;
        snprintf(predict->fatal_detail, sizeof predict->fatal_detail, "%s", cpn_client_detail(predict->cli->client));
    } else if (predict->fatal == 0 && !signals_seen()) {
        predict->fatal = CPN_EIO;
        snprintf(predict->fatal_detail, sizeof predict->fatal_detail, "nobody reads the results: the rest is given up");
    }
    cancel(predict);
    return rc;
}

static int tell(struct predict *predict, int64_t started_ms, const char *out)
{
    double seconds = (double)(predict_now_ms() - started_ms) / 1e3;
    size_t left = predict->photos.count - predict->done - predict->failed;
    progress_clear(&predict->cli->progress);
    fflush(stdout);
    if (predict->fatal != 0) {
        text_clean(predict->fatal_detail);
        fprintf(stderr, "cpn predict: %s\n", *predict->fatal_detail != 0 ? predict->fatal_detail : cpn_strerror(predict->fatal));
    }
    if (!predict->cli->json || left > 0) {
        fprintf(stderr, "%s%zu of %zu photos done, %zu failed", signals_seen() ? "Interrupted: " : "", predict->done,
                predict->photos.count, predict->failed);
        if (left > 0) {
            fprintf(stderr, ", %zu not done", left);
        }
        fprintf(stderr, " in %.1f s (%.1f/s)%s%s\n", seconds, seconds > 0 ? (double)predict->done / seconds : 0,
                out != NULL ? "; annotated copies in " : "", out != NULL ? out : "");
    }
    if (signals_seen()) {
        return EXIT_CODE_INTERRUPTED;
    }
    return predict->fatal != 0 ? exit_code_of(predict->fatal) : predict->failed > 0 ? EXIT_CODE_PARTLY : EXIT_CODE_OK;
}

void predict_on_signal(void *client)
{
    if (signals_seen_twice()) {
        _exit(EXIT_CODE_INTERRUPTED);
    }
    cpn_client_wake(client);
}

static int predict_all(struct cli *cli, struct predict *predict, const char *out)
{
    if (out != NULL) {
        int error = paths_make(out, 0777);
        if (error != 0) {
            fprintf(stderr, "cpn predict: cannot make %s: %s\n", out, strerror(error));
            return EXIT_CODE_MACHINE;
        }
    }
    int status = cli_connect(cli);
    if (status != 0) {
        return status;
    }
    signals_install(predict_on_signal, cli->client);
    progress_start(&cli->progress, "photos", !cli->json);
    report_begin(&predict->report, cli->json, &predict->photos);
    int64_t started_ms = predict_now_ms();
    predict->copies = out != NULL;
    run(predict);
    signals_restore();
    return tell(predict, started_ms, out);
}

/* The one table among the operands; NULL: none. A table comes alone: what would -o be for two? */
static const char *find_table(char *const *operands, size_t count, int *status)
{
    const char *table = NULL;
    *status = 0;
    for (size_t i = 0; i < count; i++) {
        table = predict_is_table(operands[i]) ? operands[i] : table;
    }
    if (table != NULL && count > 1) {
        fprintf(stderr, "cpn predict: %s is a table: expected no other file or directory beside it\n", table);
        *status = EXIT_CODE_USAGE;
    }
    return table;
}

static int predict_operands(struct predict *predict, struct predict_options *options, char *const *operands, size_t count)
{
    int status;
    const char *table = find_table(operands, count, &status);
    if (status != 0) {
        return status;
    }
    if (table != NULL) {
        options->deadline_ms = predict->deadline_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)predict->deadline_ms;
        options->jobs_max = predict->jobs_max;
        return predict_table(options, table);
    }
    predict->cli = options->cli;
    predict->model = options->model;
    status = photos_collect(operands, count, options->out, &predict->photos);
    if (status == 0) {
        status = predict_all(options->cli, predict, options->out);
        photos_free(&predict->photos);
    }
    return status;
}

int command_predict(int argc, char **argv)
{
    static struct predict predict; /* its jobs are much for a stack */
    struct cli cli;
    struct predict_options options = { .cli = &cli };
    int status;
    predict.jobs_max = JOBS;
    const struct setting items[] = {
        { "output", 'o', SETTING_TEXT, &options.out, "OUT",
          "directory for annotated copies, file for a table's labelled rows; without it what was found is printed" },
        { "jobs", 'j', SETTING_COUNT, &predict.jobs_max, "N", "photos, or parts of a table, under way at a time, 1 to 1024; default 32" },
        { "deadline", 'd', SETTING_TIME, &predict.deadline_ms, "TIME", "for each photo or part, from when it is sent; default none" },
        { "no-header", 0, SETTING_FLAG, &options.no_header, NULL, "the table has no row of names: nor had the one that the model was trained on" },
    };
    const struct cli_usage usage = { "cpn predict", "MODEL FILE|DIR…|TABLE.csv [-o OUT]",
        "Send photos to a model (faces, or faces@3 for one version) and print what it found. Directories are searched for .jpg, .jpeg,\n"
        ".png and .webp. With --json, one object a line. A photo that fails is one line on stderr, and status 1 in the end.\n"
        "The rows of one table (.csv, .tsv, .txt) come back in their order with two more columns, label and confidence; a row that is wrong\n"
        "has none, and is one line on stderr that names row and column.\n",
        items, sizeof items / sizeof *items, 2, -1 };
    int first = cli_parse(&cli, &usage, argc, argv, &status);
    if (first < 0) {
        return status;
    }
    if (predict.jobs_max < 1 || predict.jobs_max > PREDICT_JOBS_MAX) {
        fprintf(stderr, "cpn predict: --jobs: expected 1 to %d\n", PREDICT_JOBS_MAX);
        return cli_end(&cli, EXIT_CODE_USAGE);
    }
    options.model = argv[first];
    return cli_end(&cli, predict_operands(&predict, &options, argv + first + 1, (size_t)(argc - first - 1)));
}
