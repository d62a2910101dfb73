/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn predict MODEL TABLE.csv -o LABELLED.csv: the rows go out in parts, each with the row of names, a window of parts at a time, and come
 * back in order. Memory holds the window's answers; the table is mapped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/signals.h"
#include "common/text.h"
#include "labelling.h"

#define TOLD_MAX 100 /* wrong rows that are told in a line each; --json tells all */

bool predict_is_table(const char *path)
{
    static const char *const kinds[] = { ".csv", ".tsv", ".txt" };
    const char *dot = strrchr(path, '.');
    struct stat status;
    for (size_t i = 0; dot != NULL && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcasecmp(dot, kinds[i]) == 0) {
            return stat(path, &status) != 0 || !S_ISDIR(status.st_mode);
        }
    }
    return false;
}

static void tell_wrong(struct labelling *table, const char *what)
{
    table->failed++;
    if (!table->options->cli->json && table->failed <= TOLD_MAX) {
        progress_clear(&table->options->cli->progress);
        fprintf(stderr, "%s: %s%s\n", table->path, what, table->failed == TOLD_MAX ? " (more rows are only counted)" : "");
    }
}

static void write_parts(struct labelling *table)
{
    struct part *part;
    while (table->fatal == 0 && (part = labelling_take_part(table)) != NULL) {
        for (size_t i = 0; i < part->count; i++) {
            if (part->answers[i].code != 0) {
                tell_wrong(table, part->answers[i].text);
            }
            table->done += part->answers[i].code == 0 && !part->rows[i].empty;
            labelled_row(&table->labelled, &part->rows[i], &part->answers[i]);
        }
        labelling_free_part(part);
        if (labelled_failed(&table->labelled)) {
            labelling_give_up(table, CPN_EIO, "cannot write the labelled rows");
        }
    }
}

static void show(struct labelling *table)
{
    char note[160] = "";
    const char *trouble = cpn_client_detail(table->options->cli->client);
    if (*trouble != 0) {
        snprintf(note, sizeof note, "%s", trouble);
        text_clean(note);
    } else if (table->failed > 0) {
        snprintf(note, sizeof note, "%llu rows failed", (unsigned long long)table->failed);
    }
    const struct row *next = table->count > 0 ? &table->parts[table->head]->rows[0] : &table->ahead;
    const char *at = next->text != NULL ? next->text : table->rows.at;
    progress_show(&table->options->cli->progress, (uint64_t)(at - table->rows.text),
                  (uint64_t)(table->rows.end - table->rows.text), true, note);
}

static void run(struct labelling *table)
{
    for (;;) {
        labelling_fill_window(table);
        write_parts(table);
        show(table);
        if (table->fatal != 0 || signals_seen() || labelling_ended(table)) {
            break;
        }
        if (table->tasks > 0) {
            int rc = cpn_client_dispatch(table->options->cli->client, PREDICT_DISPATCH_MS);
            if (rc < 0) {
                labelling_give_up(table, rc, cpn_client_detail(table->options->cli->client));
            }
        }
    }
    labelling_cancel(table);
}

static int tell(struct labelling *table, int64_t started_ms)
{
    bool interrupted = signals_seen();
    bool whole = !interrupted && table->fatal == 0;
    const char *out = table->options->out;
    double seconds = (double)(predict_now_ms() - started_ms) / 1e3;
    int error = labelled_close(&table->labelled, whole);
    progress_clear(&table->options->cli->progress);
    if (error != 0 && table->fatal == 0) {
        table->fatal = CPN_EIO;
        snprintf(table->fatal_detail, sizeof table->fatal_detail, "cannot write %.400s: %s", out != NULL ? out : "standard output",
                 strerror(error));
    }
    if (table->fatal != 0) {
        text_clean(table->fatal_detail);
        bool about_table = table->fatal == CPN_EBADINPUT || table->fatal == CPN_EINVAL;
        fprintf(stderr, "cpn predict: %s%s%s\n", about_table ? table->path : "", about_table ? ": " : "",
                *table->fatal_detail != 0 ? table->fatal_detail : cpn_strerror(table->fatal));
    }
    if (!table->options->cli->json || interrupted) {
        fprintf(stderr, "%s%llu rows done, %llu failed in %.1f s (%.0f/s)%s%s\n", interrupted ? "Interrupted: " : "",
                (unsigned long long)table->done, (unsigned long long)table->failed, seconds,
                seconds > 0 ? (double)table->done / seconds : 0, out == NULL ? "" : whole ? "; with labels in " : "; not written: ",
                out != NULL ? out : "");
    }
    return interrupted ? EXIT_CODE_INTERRUPTED
        : table->fatal != 0 ? exit_code_of(table->fatal)
        : table->failed > 0 ? EXIT_CODE_PARTLY : EXIT_CODE_OK;
}

static int label_rows(struct labelling *table)
{
    const struct predict_options *options = table->options;
    if (!options->no_header && (!rows_next(&table->rows, &table->header) || table->header.empty)) {
        fprintf(stderr, "cpn predict: %s starts with an empty row: expected names, then rows of data\n", table->path);
        return EXIT_CODE_INPUT;
    }
    int status = cli_connect(options->cli);
    if (status != 0) {
        return status;
    }
    table->labelled = (struct labelled){ .table = table->path, .model = options->model, .out = options->out,
        .json = options->cli->json, .rows = &table->rows };
    int error = labelled_open(&table->labelled);
    if (error != 0) {
        fprintf(stderr, "cpn predict: cannot write %s: %s\n", options->out, strerror(error));
        return EXIT_CODE_MACHINE;
    }
    if (!options->no_header) {
        labelled_header(&table->labelled, &table->header);
    }
    signals_install(predict_on_signal, options->cli->client);
    progress_start(&options->cli->progress, "rows", !options->cli->json);
    int64_t started_ms = predict_now_ms();
    run(table);
    status = tell(table, started_ms);
    labelling_free(table);
    signals_restore();
    return status;
}

/* 0, or the exit status after a sentence on stderr. */
static int check_out(const char *out, const struct stat *table)
{
    struct stat status;
    if (out == NULL || stat(out, &status) != 0) {
        return 0;
    }
    if (S_ISDIR(status.st_mode)) {
        fprintf(stderr, "cpn predict: -o %s is a directory: expected the name of the file for the labelled rows\n", out);
        return EXIT_CODE_USAGE;
    }
    if (status.st_dev == table->st_dev && status.st_ino == table->st_ino) {
        fprintf(stderr, "cpn predict: %s would overwrite the table itself; say another -o\n", out);
        return EXIT_CODE_USAGE;
    }
    return 0;
}

int predict_table(const struct predict_options *options, const char *path)
{
    static struct labelling table; /* its ring is much for a stack */
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) {
        fprintf(stderr, "cpn predict: %s: %s\n", path,
                fd < 0 ? strerror(errno) : "expected a CSV file: a row of names, then rows of data");
        if (fd >= 0) {
            close(fd);
        }
        return EXIT_CODE_INPUT;
    }
    int rc = check_out(options->out, &status);
    size_t size = (size_t)status.st_size;
    void *text = rc == 0 ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (rc != 0) {
        return rc;
    }
    if (text == MAP_FAILED) {
        fprintf(stderr, "cpn predict: cannot read %s: %s\n", path, strerror(errno));
        return EXIT_CODE_MACHINE;
    }
    table = (struct labelling){ .options = options, .path = path };
    rows_open(&table.rows, text, size);
    rc = label_rows(&table);
    munmap(text, size);
    return rc;
}
