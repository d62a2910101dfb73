/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See session_view.h. */
#include "session_view.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include <cpn/types.h>

#include "cli.h"
#include "common/table.h"
#include "common/text.h"

char *view_id(const struct cpn_id *id, char text[VIEW_ID])
{
    char whole[CPN_ID_TEXT];
    snprintf(text, VIEW_ID, "%.8s", cpn_id_text(id, whole));
    return text;
}

/* Whether "lr=0.01" is among the settings "batch=64,lr=0.01,…". */
static bool has_setting(const char *settings, const char *item, size_t length)
{
    for (const char *at = settings; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, item, length) == 0 && (at[length] == ',' || at[length] == 0)) {
            return true;
        }
    }
    return false;
}

static bool is_common(const struct cpn_session_report *report, const char *item, size_t length)
{
    for (size_t i = 0; i < report->lane_count; i++) {
        if (!has_setting(report->lanes[i].settings, item, length)) {
            return false;
        }
    }
    return true;
}

void view_settings(const struct cpn_session_report *report, size_t lane, char text[VIEW_SETTINGS])
{
    size_t used = 0;
    *text = 0;
    for (const char *at = report->lanes[lane].settings; *at != 0;) {
        size_t length = strcspn(at, ",");
        if (!is_common(report, at, length) && used + length + 2 < VIEW_SETTINGS) {
            used += (size_t)snprintf(text + used, VIEW_SETTINGS - used, "%s%.*s", used > 0 ? "," : "", (int)length, at);
        }
        at += length;
        at += *at == ',';
    }
}

void view_progress(const struct cpn_session_info *info, char *text, size_t room)
{
    int used = snprintf(text, room, "%s", cpn_session_state_name(info->state));
    if (info->state == CPN_SESSION_TRAINING && info->mode != CPN_MODE_SWEEP && info->rounds > 0 && used < (int)room) {
        used += snprintf(text + used, room - (size_t)used, ", round %" PRIu64 " of %" PRIu64, info->round, info->rounds);
    }
    if (*info->text != 0 && used < (int)room) {
        snprintf(text + used, room - (size_t)used, ": %s", info->text);
    }
    text_clean(text);
}

double view_seconds(const struct cpn_session_info *info)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t end_us = info->ended_us > 0 ? info->ended_us : (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    return info->started_us > 0 && end_us >= info->started_us ? (double)(end_us - info->started_us) / 1e6 : NAN;
}

/* ---- JSON ---- */

static bool has_weights(const struct cpn_session_info *info)
{
    static const struct cpn_hash none;
    return memcmp(&info->weights, &none, sizeof none) != 0;
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* null: the common model of all lanes */
static json_t *lane_number(uint32_t lane)
{
    return lane != CPN_LANE_ALL ? json_integer((json_int_t)lane) : json_null();
}

static json_t *weights_json(const struct cpn_session_info *info)
{
    char text[CPN_KEY_TEXT];
    return has_weights(info) ? json_string(cpn_hash_text(&info->weights, text)) : json_null();
}

json_t *view_session_json(const struct cpn_session_info *info)
{
    char id[CPN_ID_TEXT];
    json_t *all = json_pack("{ss so so so so ss ss sI sI sI sI sI sI sI sI}", "id", cpn_id_text(&info->id, id), "name",
        cli_json_text(info->name), "user", cli_json_text(info->user), "trainer", cli_json_text(info->trainer), "text",
        cli_json_text(info->text), "mode", cpn_session_mode_name(info->mode), "state", cpn_session_state_name(info->state), "peers",
        (json_int_t)info->peers, "locked", (json_int_t)info->locked, "lanes", (json_int_t)info->lanes, "round", (json_int_t)info->round,
        "rounds", (json_int_t)info->rounds, "repeated", (json_int_t)info->repeated, "started_us", (json_int_t)info->started_us,
        "ended_us", (json_int_t)info->ended_us);
    json_t *outcome = json_pack("{sI sI sI sI so so so sb so so}", "rows", (json_int_t)info->rows, "train_rows",
        (json_int_t)info->train_rows, "columns", (json_int_t)info->columns, "classes", (json_int_t)info->classes, "loss",
        number(info->loss), "accuracy", number(info->accuracy), "best", lane_number(info->best), "reproducible", info->reproducible,
        "why", cli_json_text(info->why), "weights", weights_json(info));
    json_object_update(all, outcome);
    json_decref(outcome);
    return all;
}

static json_t *lane_json(const struct cpn_lane_info *lane)
{
    return json_pack("{sI so so so ss so sI sI sI sI sI so so so so}", "lane", (json_int_t)lane->lane, "node", cli_json_text(lane->node),
        "settings", cli_json_text(lane->settings), "device", cli_json_text(lane->device), "state", cpn_lane_state_name(lane->state),
        "text", cli_json_text(lane->text), "round", (json_int_t)lane->round, "step", (json_int_t)lane->step, "steps",
        (json_int_t)lane->steps, "epoch", (json_int_t)lane->epoch, "epochs", (json_int_t)lane->epochs, "loss", number(lane->loss),
        "accuracy", number(lane->accuracy), "samples_per_s", number(lane->samples_per_s), "eta_s", number(lane->eta_s));
}

json_t *view_point_json(const struct cpn_point_info *point)
{
    return json_pack("{so sI so sI so so so so so so}", "lane", lane_number(point->lane), "epoch", (json_int_t)point->epoch, "node",
        cli_json_text(point->node), "samples", (json_int_t)point->samples, "train_loss", number(point->train_loss), "train_accuracy",
        number(point->train_accuracy), "loss", number(point->loss), "accuracy", number(point->accuracy), "samples_per_s",
        number(point->samples_per_s), "at_s", number(point->at_s));
}

json_t *view_report_json(const struct cpn_session_report *report)
{
    json_t *lanes = json_array();
    json_t *points = json_array();
    for (size_t i = 0; i < report->lane_count; i++) {
        json_array_append_new(lanes, lane_json(&report->lanes[i]));
    }
    for (size_t i = 0; i < report->point_count; i++) {
        json_array_append_new(points, view_point_json(&report->points[i]));
    }
    return json_pack("{so so so}", "session", view_session_json(&report->info), "lanes", lanes, "points", points);
}

/* ---- for people ---- */

const struct cpn_point_info *view_last_point(const struct cpn_session_report *report, uint32_t lane)
{
    for (size_t i = report->point_count; i > 0; i--) {
        if (report->points[i - 1].lane == lane) {
            return &report->points[i - 1];
        }
    }
    return NULL;
}

/* The figures of an epoch; a lane that finished none has none. */
static void figures(struct table *table, const struct cpn_point_info *point)
{
    char text[TEXT_SHORT];
    table_cell(table, "%s", text_decimal(point != NULL ? point->train_loss : NAN, text));
    table_cell(table, "%s", text_percent(point != NULL ? point->train_accuracy : NAN, text));
    table_cell(table, "%s", text_decimal(point != NULL ? point->loss : NAN, text));
    table_cell(table, "%s", text_percent(point != NULL ? point->accuracy : NAN, text));
    if (point != NULL && point->samples_per_s > 0 && point->lane != CPN_LANE_ALL) {
        table_cell(table, "%.0f", point->samples_per_s);
    } else {
        table_cell(table, "-");
    }
}

/* Which columns have anything to say. */
struct lane_columns {
    bool device, notes;
};

static struct lane_columns lane_columns(const struct cpn_session_report *report)
{
    struct lane_columns columns = { 0 };
    for (size_t i = 0; i < report->lane_count; i++) {
        char settings[VIEW_SETTINGS];
        view_settings(report, i, settings);
        columns.device = columns.device || *report->lanes[i].device != 0;
        columns.notes = columns.notes || *settings != 0 || *report->lanes[i].text != 0;
    }
    return columns;
}

static void lane_row(struct table *table, const struct cpn_session_report *report, size_t index, struct lane_columns columns)
{
    const struct cpn_lane_info *lane = &report->lanes[index];
    const struct cpn_point_info *point = view_last_point(report, lane->lane);
    char settings[VIEW_SETTINGS];
    view_settings(report, index, settings);
    table_cell(table, "%u", lane->lane);
    table_cell(table, "%s", *lane->node != 0 ? lane->node : point != NULL ? point->node : "-");
    table_cell(table, "%s", cpn_lane_state_name(lane->state));
    table_cell(table, "%u", point != NULL ? point->epoch : 0);
    figures(table, point);
    if (columns.device) {
        table_cell(table, "%s", *lane->device != 0 ? lane->device : "-");
    }
    if (columns.notes) {
        table_cell(table, "%s%s%s", settings, *settings != 0 && *lane->text != 0 ? "  " : "", lane->text);
    }
}

/* What average and sync evaluate is the model of all lanes. */
static void common_row(struct table *table, const struct cpn_session_report *report, struct lane_columns columns)
{
    const struct cpn_point_info *point = view_last_point(report, CPN_LANE_ALL);
    if (point == NULL) {
        return;
    }
    table_cell(table, "all");
    table_cell(table, "-");
    table_cell(table, "%s", cpn_session_state_name(report->info.state));
    table_cell(table, "%u", point->epoch);
    figures(table, point);
    for (int i = columns.device + columns.notes; i > 0; i--) {
        table_cell(table, "-");
    }
}

static void lanes_table(const struct cpn_session_report *report, FILE *to)
{
    const char *titles[] = { ">LANE", "NODE", "STATE", ">EPOCHS", ">LOSS", ">ACCURACY", ">VAL LOSS", ">VAL ACCURACY", ">SAMPLES/S",
        NULL, NULL, NULL };
    const struct lane_columns columns = lane_columns(report);
    size_t count = 9;
    if (columns.device) {
        titles[count++] = "DEVICE";
    }
    if (columns.notes) {
        titles[count++] = "SETTINGS";
    }
    struct table table;
    table_init(&table, titles);
    for (size_t i = 0; i < report->lane_count; i++) {
        lane_row(&table, report, i, columns);
    }
    common_row(&table, report, columns);
    table_print(&table, to);
    table_free(&table);
}

static void headline(const struct cpn_session_report *report, FILE *to)
{
    const struct cpn_session_info *info = &report->info;
    char id[VIEW_ID], state[640], time[TEXT_SHORT], name[256];
    snprintf(name, sizeof name, "%s", info->name);
    view_progress(info, state, sizeof state);
    fprintf(to, "Session %s (%s): %s", view_id(&info->id, id), text_clean(name), state);
    double seconds = view_seconds(info);
    if (seconds >= 0) {
        fprintf(to, "; %s", text_duration((uint64_t)(seconds * 1e6), time));
    }
    fprintf(to, "\n%" PRIu64 " rows to learn from, %" PRIu64 " for validation; %u columns, %u classes; %s, %u peer%s, trainer %s\n",
            info->train_rows, info->rows - info->train_rows, info->columns, info->classes, cpn_session_mode_name(info->mode), info->peers,
            info->peers == 1 ? "" : "s", info->trainer);
}

/* What all lanes have in common is told once, above the table. */
static void common_settings(const struct cpn_session_report *report, FILE *to)
{
    const char *before = "Settings: ";
    for (const char *at = report->lane_count > 0 ? report->lanes[0].settings : ""; *at != 0;) {
        size_t length = strcspn(at, ",");
        if (is_common(report, at, length)) {
            fprintf(to, "%s%.*s", before, (int)length, at);
            before = ",";
        }
        at += length;
        at += *at == ',';
    }
    if (*before == ',') {
        fputc('\n', to);
    }
}

static void best(const struct cpn_session_report *report, FILE *to)
{
    const struct cpn_session_info *info = &report->info;
    char loss[TEXT_SHORT], accuracy[TEXT_SHORT], settings[VIEW_SETTINGS] = "";
    if (isnan(info->loss) && isnan(info->accuracy)) {
        return;
    }
    if (info->best == CPN_LANE_ALL) {
        fprintf(to, "Outcome:      ");
    } else {
        for (size_t i = 0; i < report->lane_count; i++) {
            if (report->lanes[i].lane == info->best) {
                view_settings(report, i, settings);
            }
        }
        fprintf(to, "Best:         lane %u%s%s, ", info->best, *settings != 0 ? " with " : "", settings);
    }
    fprintf(to, "accuracy %s, loss %s on the validation rows\n", text_percent(info->accuracy, accuracy), text_decimal(info->loss, loss));
}

static void reproducible(const struct cpn_session_info *info, FILE *to)
{
    char hash[CPN_KEY_TEXT], why[CPN_DETAIL];
    snprintf(why, sizeof why, "%s", info->why);
    if (info->state == CPN_SESSION_COMPLETED) {
        fprintf(to, "Reproducible: %s%s%s\n", info->reproducible ? "yes, the same table and settings give the same weights" : "no",
                *why != 0 ? ": " : "", text_clean(why));
    }
    if (info->repeated > 0) {
        fprintf(to, "Repeated:     %" PRIu64 " round%s, after a peer or the master was lost\n", info->repeated,
                info->repeated > 1 ? "s" : "");
    }
    if (has_weights(info)) {
        fprintf(to, "Weights:      %s\n", cpn_hash_text(&info->weights, hash));
    }
}

void view_next(const struct cpn_session_info *info, FILE *to)
{
    char id[VIEW_ID];
    view_id(&info->id, id);
    if (!cpn_session_over(info->state)) {
        fprintf(to, "Next:         cpn sessions watch %s\n", id);
    } else if (has_weights(info)) {
        fprintf(to, "Next:         cpn sessions export %s -o model.onnx\n              cpn sessions publish %s NAME\n", id, id);
    }
}

void view_outcome(const struct cpn_session_report *report, FILE *to)
{
    headline(report, to);
    common_settings(report, to);
    if (report->lane_count > 0) {
        fputc('\n', to);
        lanes_table(report, to);
        fputc('\n', to);
    }
    best(report, to);
    reproducible(&report->info, to);
}

void view_epochs(const struct cpn_session_report *report, FILE *to)
{
    static const char *const titles[]
        = { ">EPOCH", "NODE", ">LOSS", ">ACCURACY", ">VAL LOSS", ">VAL ACCURACY", ">SAMPLES/S", ">AT", NULL };
    struct table table;
    table_init(&table, titles);
    for (size_t i = 0; i < report->point_count; i++) {
        const struct cpn_point_info *point = &report->points[i];
        char text[TEXT_SHORT];
        if (point->lane == report->info.best) {
            table_cell(&table, "%u", point->epoch);
            table_cell(&table, "%s", *point->node != 0 ? point->node : "-");
            figures(&table, point);
            table_cell(&table, "%s", text_seconds(point->at_s, text));
        }
    }
    if (table.cell_count > 0) {
        fputc('\n', to);
        table_print(&table, to);
    }
    table_free(&table);
}
