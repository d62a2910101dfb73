/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See report.h. Lines go out one by one, so the widths cannot be those of what is still to come: the photos' names are known, what
 * varies most stands last. */
#include "report.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "common/text.h"

#define PATH_WIDTH_MAX 48
#define NAMES_SHOWN 4 /* labels of a photo that a line names */

void report_begin(struct report *report, bool json, const struct photos *photos)
{
    *report = (struct report){ .json = json, .path_width = 5 };
    for (size_t i = 0; i < photos->count; i++) {
        int width = (int)text_width(photos->items[i].path);
        report->path_width = width > report->path_width ? width : report->path_width;
    }
    report->path_width = report->path_width < PATH_WIDTH_MAX ? report->path_width : PATH_WIDTH_MAX;
    if (!json) {
        printf("%-*s  %-12s  %-14s  %7s  %9s  %s\n", report->path_width, "PHOTO", "MODEL", "NODE", "ATTEMPT", "TIME", "LABELS");
    }
}

/* ---- JSON ---- */

static json_t *labels_json(const struct cpn_task *task)
{
    size_t count = 0;
    const struct cpn_label *labels = cpn_task_labels(task, &count);
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(all, json_pack("{so sf si si si si}", "name", cli_json_text(labels[i].name), "confidence",
            (double)labels[i].confidence, "x", (int)labels[i].x, "y", (int)labels[i].y, "width", (int)labels[i].width, "height",
            (int)labels[i].height));
    }
    return all;
}

static json_t *timings_json(const struct cpn_task *task)
{
    const struct cpn_timings *timings = cpn_task_timings(task);
    return json_pack("{sI sI sI sI sI sI}", "queued_us", (json_int_t)timings->queued_us, "waiting_us", (json_int_t)timings->waiting_us,
        "load_us", (json_int_t)timings->load_us, "decode_us", (json_int_t)timings->decode_us, "infer_us", (json_int_t)timings->infer_us,
        "encode_us", (json_int_t)timings->encode_us);
}

static void result_json(const struct photo *photo, const struct cpn_task *task)
{
    uint32_t width = 0, height = 0;
    char id[CPN_ID_TEXT];
    struct cpn_id task_id = cpn_task_id(task);
    cpn_task_image_size(task, &width, &height);
    cli_print_json(json_pack("{so so ss so sI so sI sI sI sI so so}", "photo", cli_json_text(photo->path), "output",
        photo->out != NULL ? cli_json_text(photo->out) : json_null(), "task", cpn_id_text(&task_id, id), "model",
        cli_json_text(cpn_task_model(task)), "version", (json_int_t)cpn_task_version(task), "node", cli_json_text(cpn_task_node(task)),
        "attempt", (json_int_t)cpn_task_attempt(task), "elapsed_us", (json_int_t)cpn_task_elapsed_us(task), "width", (json_int_t)width,
        "height", (json_int_t)height, "timings", timings_json(task), "labels", labels_json(task)), true);
}

/* ---- the table ---- */

/* The end of a long path says more than its start. */
static void print_path(const struct report *report, const char *path)
{
    char text[4 * PATH_WIDTH_MAX + 8];
    size_t skip = 0;
    size_t width = text_width(path);
    while (width > (size_t)report->path_width && path[skip] != 0) {
        do {
            skip++;
        } while (((unsigned char)path[skip] & 0xc0) == 0x80);
        width = 1 + text_width(path + skip);
    }
    snprintf(text, sizeof text, "%s%s", skip > 0 ? "…" : "", path + skip);
    printf("%s%*s", text_clean(text), report->path_width - (int)width, "");
}

static void labels_text(const struct cpn_task *task, char *text, size_t room)
{
    size_t count = 0;
    size_t length = 0;
    const struct cpn_label *labels = cpn_task_labels(task, &count);
    snprintf(text, room, "-");
    for (size_t i = 0; i < count && i < NAMES_SHOWN && length < room; i++) {
        length += (size_t)snprintf(text + length, room - length, "%s%s %.2f", i > 0 ? ", " : "", labels[i].name,
                                   (double)labels[i].confidence);
    }
    if (count > NAMES_SHOWN && length < room) {
        snprintf(text + length, room - length, ", and %zu more", count - NAMES_SHOWN);
    }
    text_clean(text);
}

void report_result(const struct report *report, const struct photo *photo, const struct cpn_task *task)
{
    if (report->json) {
        result_json(photo, task);
        return;
    }
    char model[CPN_NAME + 16], node[CPN_NAME], time[TEXT_SHORT];
    char labels[NAMES_SHOWN * (CPN_LABEL_NAME + 16)];
    snprintf(model, sizeof model, "%s@%u", cpn_task_model(task), cpn_task_version(task));
    snprintf(node, sizeof node, "%s", cpn_task_node(task));
    labels_text(task, labels, sizeof labels);
    print_path(report, photo->path);
    printf("  %-12s  %-14s  %7u  %9s  %s\n", text_clean(model), text_clean(node), cpn_task_attempt(task),
           text_duration(cpn_task_elapsed_us(task), time), labels);
}

void report_failure(const struct report *report, const struct photo *photo, const struct cpn_task *task, int code, const char *detail)
{
    char text[CPN_DETAIL];
    snprintf(text, sizeof text, "%s", detail != NULL && *detail != 0 ? detail : cpn_strerror(code));
    text_clean(text);
    if (report->json) {
        json_t *line = json_pack("{so ss so}", "photo", cli_json_text(photo->path), "error", cpn_error_name(code), "detail", cli_json_text(text));
        if (task != NULL) {
            json_object_set_new(line, "node", cli_json_text(cpn_task_node(task)));
            json_object_set_new(line, "attempt", json_integer((json_int_t)cpn_task_attempt(task)));
            json_object_set_new(line, "elapsed_us", json_integer((json_int_t)cpn_task_elapsed_us(task)));
        }
        cli_print_json(line, true);
        return;
    }
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", photo->path);
    text_clean(path);
    fprintf(stderr, "%s: %s\n", path, text);
}
