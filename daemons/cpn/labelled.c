/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See labelled.h. */
#include "labelled.h"

#include <errno.h>
#include <string.h>

#include "cli.h"
#include "write.h"

int labelled_open(struct labelled *labelled)
{
    if (labelled->out == NULL) {
        labelled->file = labelled->json ? NULL : stdout;
        return 0;
    }
    int error = write_make_directory_of(labelled->out);
    error = error == 0 ? outfile_open(&labelled->outfile, labelled->out, 0666) : error;
    labelled->file = error == 0 ? labelled->outfile.file : NULL;
    return error;
}

/* RFC 4180: a cell that could be taken for more than its text stands in quotes. */
static void put_cell(const struct labelled *labelled, const char *text)
{
    putc(labelled->rows->delimiter, labelled->file);
    if (strpbrk(text, "\"\r\n,;\t") == NULL && *text != ' ' && (*text == 0 || text[strlen(text) - 1] != ' ')) {
        fputs(text, labelled->file);
        return;
    }
    putc('"', labelled->file);
    for (; *text != 0; text++) {
        if (*text == '"') {
            putc('"', labelled->file);
        }
        putc(*text, labelled->file);
    }
    putc('"', labelled->file);
}

static void put_row(struct labelled *labelled, const struct row *row, const char *label, const char *confidence)
{
    fwrite(row->text, 1, row->body, labelled->file);
    if (!row->empty && !row->unclosed) { /* behind an open quote there is no cell */
        put_cell(labelled, label);
        put_cell(labelled, confidence);
    }
    fwrite(row->text + row->body, 1, row->size - row->body, labelled->file);
}

void labelled_header(struct labelled *labelled, const struct row *row)
{
    if (labelled->file != NULL) {
        put_row(labelled, row, rows_names(labelled->rows, row, "label") ? "predicted" : "label",
                rows_names(labelled->rows, row, "confidence") ? "predicted_confidence" : "confidence");
    }
}

static void print_json(const struct labelled *labelled, const struct row *row, const struct labelled_answer *answer)
{
    json_t *line = json_pack("{so sI}", "table", cli_json_text(labelled->table), "row", (json_int_t)row->number);
    if (answer->code != 0) {
        json_object_set_new(line, "error", json_string(cpn_error_name(answer->code)));
        json_object_set_new(line, "detail", cli_json_text(answer->text));
    } else {
        json_object_set_new(line, "label", cli_json_text(answer->text));
        json_object_set_new(line, "confidence", json_real((double)answer->confidence));
        json_object_set_new(line, "model", cli_json_text(labelled->model));
        json_object_set_new(line, "version", json_integer((json_int_t)answer->version));
        json_object_set_new(line, "node", cli_json_text(answer->node));
    }
    cli_print_json(line, true);
}

void labelled_row(struct labelled *labelled, const struct row *row, const struct labelled_answer *answer)
{
    char confidence[32] = "";
    if (labelled->json && (!row->empty || answer->code != 0)) {
        print_json(labelled, row, answer);
    }
    if (labelled->file == NULL) {
        return;
    }
    if (answer->code == 0) {
        snprintf(confidence, sizeof confidence, "%.6g", (double)answer->confidence);
    }
    put_row(labelled, row, answer->code == 0 && !row->empty ? answer->text : "", confidence);
}

bool labelled_failed(const struct labelled *labelled)
{
    return labelled->file != NULL && ferror(labelled->file) != 0;
}

int labelled_close(struct labelled *labelled, bool keep)
{
    if (labelled->file == NULL) {
        return 0;
    }
    if (labelled->file == stdout) {
        int error = ferror(stdout) != 0 ? EIO : 0;
        return fflush(stdout) != 0 ? errno : error;
    }
    return outfile_close(&labelled->outfile, keep);
}
