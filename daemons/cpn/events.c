/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn events [--follow] [--about X] */
#include <inttypes.h>
#include <stdio.h>

#include "cli.h"
#include "commands.h"
#include "common/signals.h"
#include "common/text.h"

#define FOLLOW_MS 500 /* between two questions of --follow */
#define BATCH 1000    /* events of one answer */

static void print_event(const struct cli *cli, const struct cpn_event_info *event)
{
    if (cli->json) {
        cli_print_json(json_pack("{sI sI ss so so so so so}", "number", (json_int_t)event->number, "wall_us", (json_int_t)event->wall_us,
            "level", cpn_log_level_name(event->level), "event", cli_json_text(event->event), "node", cli_json_text(event->node), "task",
            cli_json_text(event->task), "model", cli_json_text(event->model), "text", cli_json_text(event->text)), true);
        return;
    }
    char time[TEXT_SHORT];
    char line[1024];
    int length = snprintf(line, sizeof line, "%s  %-5s  %-22s  %s", text_time(event->wall_us, time), cpn_log_level_name(event->level),
                          event->event, event->text);
    const char *const names[] = { "node", "model" };
    const char *const values[] = { event->node, event->model };
    for (size_t i = 0; i < 2 && length < (int)sizeof line; i++) {
        if (*values[i] != 0) {
            length += snprintf(line + length, sizeof line - (size_t)length, "  %s=%s", names[i], values[i]);
        }
    }
    if (*event->task != 0 && length < (int)sizeof line) {
        snprintf(line + length, sizeof line - (size_t)length, "  task=%.8s", event->task);
    }
    puts(text_clean(line));
}

static void wake(void *client)
{
    cpn_client_wake(client);
}

static int show(struct cli *cli, const char *about, uint32_t limit, bool follow)
{
    uint64_t since = 0;
    signals_install(wake, cli->client);
    do {
        struct cpn_event_info *events = NULL;
        size_t count = 0;
        int rc = cpn_client_events(cli->client, about, since, since == 0 ? limit : BATCH, cli_timeout_ms(cli), &events, &count);
        if (rc < 0 && !signals_seen() && !(follow && since > 0 && (rc == CPN_ETIMEDOUT || rc == CPN_EUNREACHABLE))) {
            signals_restore();
            return cli_fail(cli, "", rc);
        }
        for (size_t i = 0; rc >= 0 && i < count; i++) {
            print_event(cli, &events[i]);
            since = events[i].number;
        }
        fflush(stdout);
        cpn_client_free_list(events);
        if (follow && !signals_seen()) {
            cpn_client_dispatch(cli->client, FOLLOW_MS);
        }
    } while (follow && !signals_seen() && !ferror(stdout));
    signals_restore();
    return signals_seen() ? EXIT_CODE_INTERRUPTED : EXIT_CODE_OK;
}

int command_events(int argc, char **argv)
{
    struct cli cli;
    bool follow = false;
    const char *about = NULL;
    uint32_t limit = 50;
    int first, status;
    const struct setting items[] = {
        { "follow", 'f', SETTING_FLAG, &follow, NULL, "go on with what comes, until Ctrl-C" },
        { "about", 'a', SETTING_TEXT, &about, "WHAT", "only those of a node, user, model or task" },
        { "limit", 'n', SETTING_COUNT, &limit, "N", "how many to begin with; default 50" },
    };
    const struct cli_usage usage = { "cpn events", "[--follow] [--about WHAT] [--limit N] [--json]",
        "What happened lately, oldest first. With --json, one object a line.\n", items, sizeof items / sizeof *items, 0, 0 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    return cli_end(&cli, show(&cli, about, limit, follow));
}
