/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See cli.h. */
#include "cli.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/paths.h"
#include "common/text.h"

#define TIMEOUT_MS 10000 /* a master that is there answers in far less; a person waits for no longer */

int cli_parse(struct cli *cli, const struct cli_usage *usage, int argc, char **argv, int *status)
{
    *cli = (struct cli){ .name = usage->name, .timeout = TIMEOUT_MS, .spool_dir = getenv("TMPDIR") };
    const struct setting items[] = {
        { "context", 0, SETTING_TEXT, &cli->context_path, "FILE", "who you are in which network; default ~/.config/cpn/context" },
        { "json", 0, SETTING_FLAG, &cli->json, NULL, "for programs" },
        { "timeout", 0, SETTING_TIME, &cli->timeout, "TIME", "to wait for an answer of the master; default 10s" },
        { "spool-dir", 0, SETTING_TEXT, &cli->spool_dir, "DIR", "where large inputs and results wait; default $TMPDIR or /tmp" },
        { "log-level", 0, SETTING_TEXT, &cli->log_level, "LEVEL", "debug, info, warn or error; default none: failures are told anyway" },
        { "log-format", 0, SETTING_TEXT, &cli->log_format, "FORMAT", "text or json; default text on a terminal" },
    };
    const struct setting_table tables[] = { { NULL, usage->items, usage->count }, { "client", items, sizeof items / sizeof *items } };
    const struct program program
        = { usage->name, usage->synopsis, usage->about, tables, 2, usage->operands_min, usage->operands_max };
    int first = settings_parse(&program, argc, argv, &cli->settings, status);
    if (first >= 0 && !logprint_init(&cli->log, cli->log_level, cli->log_format != NULL ? cli->log_format : "text")) {
        settings_free(&cli->settings);
        *status = EXIT_CODE_USAGE;
        return -1;
    }
    return first;
}

int cli_timeout_ms(const struct cli *cli)
{
    return cli->timeout > INT_MAX ? INT_MAX : (int)cli->timeout;
}

bool cli_context_path(const struct cli *cli, char *path, size_t room)
{
    bool ok = cli->context_path != NULL ? snprintf(path, room, "%s", cli->context_path) < (int)room : paths_context(path, room);
    if (!ok) {
        fprintf(stderr, "%s: no home directory: say --context FILE\n", cli->name);
    }
    return ok;
}

static void log_line(const struct cpn_log_line *line, void *arg)
{
    struct cli *cli = arg;
    if (cli->log_level != NULL && line->level >= cli->log.least) {
        progress_clear(&cli->progress);
        logprint(line, &cli->log);
    }
}

static int load_context(struct cli *cli)
{
    char path[PATHS_MAX];
    char detail[CPN_DETAIL] = "";
    if (!cli_context_path(cli, path, sizeof path)) {
        return EXIT_CODE_USAGE;
    }
    if (access(path, F_OK) != 0) {
        fprintf(stderr, "%s: you have not joined a network: %s does not exist (cpn join 'cpn://…', or --context FILE)\n", cli->name, path);
        return EXIT_CODE_INPUT;
    }
    int rc = cpn_context_load(path, &cli->context, detail);
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", cli->name, *detail != 0 ? detail : cpn_strerror(rc));
        return exit_code_of(rc);
    }
    return 0;
}

int cli_connect(struct cli *cli)
{
    int status = load_context(cli);
    if (status != 0) {
        return status;
    }
    struct cpn_client_options options = CPN_CLIENT_OPTIONS_INIT;
    options.context = cli->context;
    options.name = cli->name;
    options.spool_dir = cli->spool_dir != NULL && *cli->spool_dir != 0 ? cli->spool_dir : NULL;
    options.log = log_line;
    options.log_arg = cli;
    char detail[CPN_DETAIL] = "";
    int rc = cpn_client_open(&options, &cli->client, detail);
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", cli->name, *detail != 0 ? detail : cpn_strerror(rc));
        return exit_code_of(rc);
    }
    rc = cpn_client_connect(cli->client, cli_timeout_ms(cli));
    return rc < 0 ? cli_fail(cli, "", rc) : 0;
}

void cli_close(struct cli *cli)
{
    progress_clear(&cli->progress);
    cpn_client_close(cli->client);
    cpn_context_free(cli->context);
    settings_free(&cli->settings);
}

bool cli_begin(struct cli *cli, const struct cli_usage *usage, int argc, char **argv, int *first, int *status)
{
    *first = cli_parse(cli, usage, argc, argv, status);
    if (*first < 0) {
        return false;
    }
    *status = cli_connect(cli);
    if (*status != 0) {
        cli_close(cli);
    }
    return *status == 0;
}

int cli_end(struct cli *cli, int status)
{
    cli_close(cli);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "%s: cannot write to standard output\n", cli->name);
        return EXIT_CODE_MACHINE;
    }
    return status;
}

int cli_fail(struct cli *cli, const char *what, int error)
{
    const char *detail = cli->client != NULL ? cpn_client_detail(cli->client) : "";
    char text[CPN_DETAIL];
    snprintf(text, sizeof text, "%s", *detail != 0 ? detail : cpn_strerror(error));
    progress_clear(&cli->progress);
    fprintf(stderr, "%s: %s%s%s\n", cli->name, what, *what != 0 ? ": " : "", text_clean(text));
    /* Of a network it says "try again later"; a daemon's own directory that is in use is this machine's trouble. */
    return error == CPN_EBUSY ? EXIT_CODE_UNREACHABLE : exit_code_of(error);
}

/* ---- JSON ---- */

json_t *cli_json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value != NULL) {
        return value;
    }
    char *copy = strdup(text); /* no UTF-8: keep what is ASCII */
    for (char *at = copy; at != NULL && *at != 0; at++) {
        *at = (unsigned char)*at < 0x80 ? *at : '?';
    }
    value = copy != NULL ? json_string(copy) : json_null();
    free(copy);
    return value;
}

json_t *cli_json_history(const struct cpn_history *history)
{
    return json_pack("{sI sI sI sI sI sI sI sI sI}", "first_join_us", (json_int_t)history->first_join_us, "last_seen_us",
                     (json_int_t)history->last_seen_us, "tasks", (json_int_t)history->tasks, "failures",
                     (json_int_t)history->failures, "busy_us", (json_int_t)history->busy_us, "bytes_in",
                     (json_int_t)history->bytes_in, "bytes_out", (json_int_t)history->bytes_out, "joins",
                     (json_int_t)history->joins, "losses", (json_int_t)history->losses);
}

void cli_history_cells(struct table *table, const struct cpn_history *history)
{
    char text[TEXT_SHORT];
    table_cell(table, "%s", text_time(history->first_join_us, text));
    table_cell(table, "%s", text_time(history->last_seen_us, text));
    table_cell(table, "%" PRIu64, history->tasks);
    table_cell(table, "%" PRIu64, history->failures);
    table_cell(table, "%s", text_duration(history->busy_us, text));
    table_cell(table, "%s", text_bytes(history->bytes_in, text));
    table_cell(table, "%s", text_bytes(history->bytes_out, text));
}

void cli_print_json(json_t *value, bool on_one_line)
{
    char *text = value != NULL ? json_dumps(value, (on_one_line ? JSON_COMPACT : JSON_INDENT(2)) | JSON_REAL_PRECISION(9)) : NULL;
    if (text != NULL) {
        puts(text);
    }
    free(text);
    json_decref(value);
}
