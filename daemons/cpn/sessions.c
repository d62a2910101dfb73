/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn sessions [show | watch | stop | export | publish] */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "common/table.h"
#include "common/text.h"
#include "session_outcome.h"
#include "session_view.h"
#include "session_watch.h"

#define EXPORT_MS 600000 /* to fetch the weights over a slow line */

static int find(struct cli *cli, const char *text, struct cpn_id *session)
{
    int rc = cpn_session_find(cli->client, text, cli_timeout_ms(cli), session);
    return rc < 0 ? cli_fail(cli, "", rc) : EXIT_CODE_OK;
}

/* ---- cpn sessions ---- */

static void print_table(const struct cpn_session_info *sessions, size_t count)
{
    static const char *const titles[]
        = { "SESSION", "NAME", "STATE", "MODE", ">PEERS", ">ROUND", ">ACCURACY", ">LOSS", "STARTED", ">TOOK", "USER", "NOTE", NULL };
    struct table table;
    table_init(&table, titles);
    for (size_t i = 0; i < count; i++) {
        const struct cpn_session_info *session = &sessions[i];
        char text[TEXT_SHORT], id[VIEW_ID];
        table_cell(&table, "%s", view_id(&session->id, id));
        table_cell(&table, "%s", session->name);
        table_cell(&table, "%s", cpn_session_state_name(session->state));
        table_cell(&table, "%s", cpn_session_mode_name(session->mode));
        table_cell(&table, "%u", session->peers);
        table_cell(&table, "%" PRIu64 "/%" PRIu64, session->round, session->rounds);
        table_cell(&table, "%s", text_percent(session->accuracy, text));
        table_cell(&table, "%s", text_decimal(session->loss, text));
        table_cell(&table, "%s", text_time(session->started_us, text));
        table_cell(&table, "%s", text_clock(view_seconds(session), text));
        table_cell(&table, "%s", session->user);
        table_cell(&table, "%s", session->text);
    }
    table_print(&table, stdout);
    table_free(&table);
}

int command_sessions(int argc, char **argv)
{
    struct cli cli;
    int first, status;
    const struct cli_usage usage = { "cpn sessions", "[--json]",
        "The training sessions, newest first. One of them: cpn sessions show|watch|stop|export|publish SESSION, by its id, the start of\n"
        "its id, or its name. A new one: cpn train.\n", NULL, 0, 0, 0 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    struct cpn_session_info *sessions = NULL;
    size_t count = 0;
    int rc = cpn_client_sessions(cli.client, cli_timeout_ms(&cli), &sessions, &count);
    if (rc < 0) {
        return cli_end(&cli, cli_fail(&cli, "", rc));
    }
    if (cli.json) {
        json_t *all = json_array();
        for (size_t i = 0; i < count; i++) {
            json_array_append_new(all, view_session_json(&sessions[i]));
        }
        cli_print_json(all, false);
    } else if (count == 0) {
        printf("No session yet: cpn train --csv FILE --label COLUMN\n");
    } else {
        print_table(sessions, count);
    }
    cpn_client_free_list(sessions);
    return cli_end(&cli, EXIT_CODE_OK);
}

/* ---- cpn sessions show ---- */

static int print_csv(const struct cpn_session_report *report)
{
    char *text = NULL;
    size_t size = 0;
    int rc = cpn_session_history(report, CPN_HISTORY_CSV, &text, &size);
    if (rc < 0) {
        fprintf(stderr, "cpn sessions show: %s\n", cpn_strerror(rc));
        return exit_code_of(rc);
    }
    fwrite(text, 1, size, stdout);
    cpn_client_free_list(text);
    return EXIT_CODE_OK;
}

static int show(struct cli *cli, const char *which, bool csv, const char *plot)
{
    struct cpn_id session;
    struct cpn_session_report *report = NULL;
    int status = find(cli, which, &session);
    if (status != 0) {
        return status;
    }
    int rc = cpn_session_report(cli->client, &session, cli_timeout_ms(cli), &report);
    if (rc < 0) {
        return cli_fail(cli, "", rc);
    }
    if (csv) {
        status = print_csv(report);
    } else if (cli->json) {
        cli_print_json(view_report_json(report), false);
    } else {
        view_outcome(report, stdout);
        view_next(&report->info, stdout);
        view_epochs(report, stdout);
    }
    if (status == 0 && plot != NULL) {
        status = outcome_plot(cli, report, plot);
    }
    cpn_session_report_free(report);
    return status;
}

int command_sessions_show(int argc, char **argv)
{
    struct cli cli;
    bool csv = false;
    const char *plot = NULL;
    int first, status;
    const struct setting items[] = {
        { "csv", 0, SETTING_FLAG, &csv, NULL, "its history as CSV: a row for each epoch of each lane" },
        { "plot", 0, SETTING_TEXT, &plot, "FILE", "write the learning curves there, as SVG" },
    };
    const struct cli_usage usage = { "cpn sessions show", "SESSION [--json | --csv] [--plot FILE]",
        "All about one session: its lanes, its epochs, its outcome.\n", items, sizeof items / sizeof *items, 1, 1 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    return cli_end(&cli, show(&cli, argv[first], csv, plot));
}

/* ---- the others ---- */

int command_sessions_watch(int argc, char **argv)
{
    struct cli cli;
    struct cpn_id session;
    int first, status;
    const struct cli_usage usage = { "cpn sessions watch", "SESSION [--json]",
        "Watch a session until it ends, then tell its outcome. Ctrl-C ends the watching, not the session. With --json, one object a\n"
        "line. Status 1: it failed or was stopped.\n", NULL, 0, 1, 1 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    status = find(&cli, argv[first], &session);
    return cli_end(&cli, status != 0 ? status : session_watch(&cli, &session, NULL, true));
}

/* Of a session that is over already, too: a stop that came late is no fault. */
static int stop(struct cli *cli, const char *which)
{
    struct cpn_id session;
    struct cpn_session_report *report = NULL;
    int status = find(cli, which, &session);
    if (status != 0) {
        return status;
    }
    int rc = cpn_session_stop(cli->client, &session, cli_timeout_ms(cli));
    rc = rc == 0 ? cpn_session_report(cli->client, &session, cli_timeout_ms(cli), &report) : rc;
    if (rc < 0) {
        return cli_fail(cli, which, rc);
    }
    char id[VIEW_ID];
    if (cli->json) {
        cli_print_json(view_session_json(&report->info), false);
    } else {
        printf("Session %s: %s\n", view_id(&session, id), cpn_session_state_name(report->info.state));
    }
    cpn_session_report_free(report);
    return EXIT_CODE_OK;
}

int command_sessions_stop(int argc, char **argv)
{
    struct cli cli;
    int first, status;
    const struct cli_usage usage
        = { "cpn sessions stop", "SESSION [--json]", "Stop a session that you started, or any as an admin. What was learned so far is kept.\n", NULL, 0, 1, 1 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    return cli_end(&cli, stop(&cli, argv[first]));
}

static int export_model(struct cli *cli, const char *which, const char *path)
{
    struct cpn_id session;
    int status = find(cli, which, &session);
    int rc = status == 0 ? cpn_session_export(cli->client, &session, path, EXPORT_MS) : 0;
    if (status != 0 || rc < 0) {
        return status != 0 ? status : cli_fail(cli, which, rc);
    }
    char id[CPN_ID_TEXT];
    if (cli->json) {
        cli_print_json(json_pack("{ss so}", "session", cpn_id_text(&session, id), "file", cli_json_text(path)), false);
    } else {
        printf("%s\n", path);
    }
    return EXIT_CODE_OK;
}

int command_sessions_export(int argc, char **argv)
{
    struct cli cli;
    const char *path = NULL;
    int status;
    const struct setting items[] = { { "output", 'o', SETTING_TEXT, &path, "FILE", "where to write it: model.onnx" } };
    const struct cli_usage usage = { "cpn sessions export", "SESSION -o FILE",
        "Write the outcome of a session as ONNX: the columns of the table as they are in, the probabilities of the classes out.\n", items, 1, 1, 1 };
    int first = cli_parse(&cli, &usage, argc, argv, &status);
    if (first < 0) {
        return status;
    }
    if (path == NULL) {
        fprintf(stderr, "cpn sessions export: -o FILE is missing: where to write the model\n");
        return cli_end(&cli, EXIT_CODE_USAGE);
    }
    status = cli_connect(&cli);
    return cli_end(&cli, status != 0 ? status : export_model(&cli, argv[first], path));
}

int command_sessions_publish(int argc, char **argv)
{
    struct cli cli;
    struct cpn_id session;
    struct cpn_session_publish_options options = CPN_SESSION_PUBLISH_OPTIONS_INIT;
    const char *image = NULL;
    bool published;
    int status;
    const struct setting items[]
        = { { "image", 0, SETTING_TEXT, &image, "WxH", "the columns are the grey values of such images, row by row: take photos, too" } };
    const struct cli_usage usage = { "cpn sessions publish", "SESSION NAME [--image WxH]",
        "Publish the outcome of a session as the next version of model NAME, and wait until the nodes have prepared it. Needs the right to\n"
        "publish.\n", items, 1, 2, 2 };
    int first = cli_parse(&cli, &usage, argc, argv, &status);
    if (first < 0) {
        return status;
    }
    options.name = argv[first + 1];
    if (!outcome_name(&cli, options.name) || !outcome_image(&cli, image, &options.image_width, &options.image_height)) {
        return cli_end(&cli, EXIT_CODE_USAGE);
    }
    status = cli_connect(&cli);
    status = status != 0 ? status : find(&cli, argv[first], &session);
    return cli_end(&cli, status != 0 ? status : outcome_publish(&cli, &session, &options, &published));
}
