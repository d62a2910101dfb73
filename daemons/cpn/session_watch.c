/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See session_watch.h. */
#include "session_watch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/screen.h"
#include "common/signals.h"
#include "common/table.h"
#include "common/text.h"
#include "session_outcome.h"
#include "session_view.h"

struct watch {
    struct cli *cli;
    struct screen screen;
    enum cpn_session_state state; /* told last */
    size_t points;                /* told */
};

/* ---- on a terminal ---- */

static void rate_cell(struct table *table, double rate)
{
    if (rate > 0) {
        table_cell(table, "%.0f", rate);
    } else {
        table_cell(table, "-");
    }
}

static void lane_cells(struct table *table, const struct cpn_session_report *report, size_t index)
{
    const struct cpn_lane_info *lane = &report->lanes[index];
    char text[TEXT_SHORT], settings[VIEW_SETTINGS];
    view_settings(report, index, settings);
    table_cell(table, "%u", lane->lane);
    table_cell(table, "%s", *lane->node != 0 ? lane->node : "-");
    table_cell(table, "%s", cpn_lane_state_name(lane->state));
    table_cell(table, "%u/%u", lane->epoch, lane->epochs);
    table_cell(table, "%" PRIu64 "/%" PRIu64, lane->step, lane->steps);
    table_cell(table, "%s", text_decimal(lane->loss, text));
    table_cell(table, "%s", text_percent(lane->accuracy, text));
    rate_cell(table, lane->samples_per_s);
    table_cell(table, "%s", text_clock(lane->eta_s, text));
    table_cell(table, "%s%s%s", settings, *settings != 0 && *lane->text != 0 ? "  " : "", lane->text);
}

/* Those that are trained now first, as many as there is room for. */
static size_t lanes_shown(const struct cpn_session_report *report, size_t room, struct table *table)
{
    size_t shown = 0;
    for (int training = 1; training >= 0; training--) {
        for (size_t i = 0; i < report->lane_count && shown < room; i++) {
            if ((report->lanes[i].state == CPN_LANE_TRAINING) == (training == 1)) {
                lane_cells(table, report, i);
                shown++;
            }
        }
    }
    return shown;
}

/* The last figures of the validation rows: those of a sweep's best lane, or of the model of all lanes. */
static void validation_line(const struct cpn_session_report *report, FILE *to)
{
    const struct cpn_session_info *info = &report->info;
    const struct cpn_point_info *common = view_last_point(report, CPN_LANE_ALL);
    char text[TEXT_SHORT], loss[TEXT_SHORT];
    if (common != NULL) {
        fprintf(to, "after epoch %u, of the validation rows: accuracy %s, loss %s\n", common->epoch, text_percent(common->accuracy, text),
                text_decimal(common->loss, loss));
    } else if (info->best != CPN_LANE_ALL && !isnan(info->accuracy)) {
        fprintf(to, "lane %u is the best so far, of the validation rows: accuracy %s, loss %s\n", info->best,
                text_percent(info->accuracy, text), text_decimal(info->loss, loss));
    }
}

static void draw(struct watch *watch, const struct cpn_session_report *report)
{
    static const char *const titles[]
        = { ">LANE", "NODE", "STATE", ">EPOCH", ">STEP", ">LOSS", ">ACCURACY", ">SAMPLES/S", ">ETA", "SETTINGS", NULL };
    const struct cpn_session_info *info = &report->info;
    char id[VIEW_ID], state[640], time[TEXT_SHORT], name[128];
    char *picture = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&picture, &bytes);
    if (out == NULL) {
        return;
    }
    snprintf(name, sizeof name, "%s", info->name);
    view_progress(info, state, sizeof state);
    fprintf(out, "Session %s (%s)  %s  %s, %u of %u peers  %s\n", view_id(&info->id, id), text_clean(name),
            text_clock(view_seconds(info), time), cpn_session_mode_name(info->mode), info->locked, info->peers, state);
    struct table table;
    table_init(&table, titles);
    size_t rows = screen_rows(&watch->screen);
    size_t shown = lanes_shown(report, rows > 6 ? rows - 6 : 1, &table);
    table_print(&table, out);
    table_free(&table);
    if (shown < report->lane_count) {
        fprintf(out, "… and %zu more lanes\n", report->lane_count - shown);
    }
    validation_line(report, out);
    const char *trouble = cpn_client_detail(watch->cli->client);
    if (*trouble != 0) {
        char text[CPN_DETAIL];
        snprintf(text, sizeof text, "%s", trouble);
        fprintf(out, "%s\n", text_clean(text));
    }
    if (fclose(out) == 0) {
        screen_draw(&watch->screen, picture);
    }
    free(picture);
}

/* ---- elsewhere: lines ---- */

static void state_line(struct watch *watch, const struct cpn_session_info *info)
{
    char id[VIEW_ID], state[640];
    if (info->state == watch->state || cpn_session_over(info->state)) {
        return; /* how it ended is the outcome's first line */
    }
    watch->state = info->state;
    view_progress(info, state, sizeof state);
    printf("session %s: %s\n", view_id(&info->id, id), state);
}

static void point_line(const struct cpn_session_report *report, const struct cpn_point_info *point)
{
    char who[64] = "all lanes", loss[TEXT_SHORT], accuracy[TEXT_SHORT], time[TEXT_SHORT];
    uint32_t epochs = 0;
    for (size_t i = 0; i < report->lane_count; i++) {
        epochs = report->lanes[i].epochs > epochs ? report->lanes[i].epochs : epochs;
    }
    if (point->lane != CPN_LANE_ALL) {
        snprintf(who, sizeof who, "lane %u on %.40s", point->lane, point->node);
    }
    printf("%7s  epoch %u/%u  %s", text_seconds(point->at_s, time), point->epoch, epochs, text_clean(who));
    if (!isnan(point->train_loss)) {
        printf("  loss %s  accuracy %s", text_decimal(point->train_loss, loss), text_percent(point->train_accuracy, accuracy));
    }
    if (!isnan(point->loss)) {
        printf("  validation loss %s  accuracy %s", text_decimal(point->loss, loss), text_percent(point->accuracy, accuracy));
    }
    if (point->samples_per_s > 0 && point->lane != CPN_LANE_ALL) {
        printf("  %.0f samples/s", point->samples_per_s);
    }
    putchar('\n');
}

static void tell_points(struct watch *watch, const struct cpn_session_report *report)
{
    for (; watch->points < report->point_count; watch->points++) {
        const struct cpn_point_info *point = &report->points[watch->points];
        if (watch->cli->json) {
            cli_print_json(json_pack("{so}", "point", view_point_json(point)), true);
        } else {
            point_line(report, point);
        }
    }
}

/* ---- both ---- */

static int look(void *arg, const struct cpn_session_report *report)
{
    struct watch *watch = arg;
    if (signals_seen()) {
        return 1;
    }
    if (watch->screen.able) {
        draw(watch, report);
        return 0;
    }
    if (!watch->cli->json) {
        state_line(watch, &report->info);
    }
    tell_points(watch, report);
    return fflush(stdout) != 0 || ferror(stdout) ? 1 : 0;
}

/* The first one ends the watching, at the next report; when none comes, the second one does. */
static void on_signal(void *client)
{
    if (signals_seen_twice()) {
        _exit(EXIT_CODE_INTERRUPTED);
    }
    cpn_client_wake(client);
}

static int leave(const struct cli *cli, const struct cpn_id *session)
{
    char id[VIEW_ID];
    view_id(session, id);
    fprintf(stderr, "%s: you stopped watching; session %s goes on without you.\n"
            "  to watch it again: cpn sessions watch %s\n  to stop it:        cpn sessions stop %s\n", cli->name, id, id, id);
    return EXIT_CODE_INTERRUPTED;
}

static int outcome(struct cli *cli, const struct cpn_id *session, const char *plot, bool hints)
{
    struct cpn_session_report *report = NULL;
    int rc = cpn_session_report(cli->client, session, cli_timeout_ms(cli), &report);
    if (rc < 0) {
        return cli_fail(cli, "", rc);
    }
    if (cli->json) {
        cli_print_json(view_report_json(report), true);
    } else {
        view_outcome(report, stdout);
        if (hints) {
            view_next(&report->info, stdout);
        }
    }
    int status = plot != NULL ? outcome_plot(cli, report, plot) : EXIT_CODE_OK;
    if (report->info.state != CPN_SESSION_COMPLETED) {
        status = EXIT_CODE_PARTLY;
    }
    fflush(stdout);
    cpn_session_report_free(report);
    return status;
}

int session_watch(struct cli *cli, const struct cpn_id *session, const char *plot, bool hints)
{
    struct watch watch = { .cli = cli };
    screen_start(&watch.screen, stdout);
    watch.screen.able = watch.screen.able && !cli->json;
    signals_install(on_signal, cli->client);
    int rc = cpn_session_watch(cli->client, session, look, &watch, -1);
    signals_restore();
    screen_clear(&watch.screen);
    if (signals_seen()) {
        return leave(cli, session);
    }
    if (rc < 0 && rc != CPN_ECANCELLED && rc != CPN_EFAILED) {
        return cli_fail(cli, "", rc);
    }
    return ferror(stdout) ? EXIT_CODE_MACHINE : outcome(cli, session, plot, hints);
}
