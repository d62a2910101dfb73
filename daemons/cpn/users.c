/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn users [--stats] */
#include <stdio.h>

#include "cli.h"
#include "commands.h"
#include "common/table.h"
#include "common/text.h"

static void print_json(const struct cpn_user_info *users, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        char key[CPN_KEY_TEXT];
        json_array_append_new(all, json_pack("{so ss ss sb sb sI so}", "name", cli_json_text(users[i].name), "key",
            cpn_key_text(&users[i].key, key), "role", cpn_role_name(users[i].role), "publish", users[i].publish, "revoked",
            users[i].revoked, "links", (json_int_t)users[i].links, "history", cli_json_history(&users[i].history)));
    }
    cli_print_json(all, false);
}

static void print_state(const struct cpn_user_info *users, size_t count)
{
    static const char *const titles[] = { "USER", "ROLE", "PUBLISH", ">CONNECTED", "LAST SEEN", "KEY", NULL };
    struct table table;
    table_init(&table, titles);
    for (size_t i = 0; i < count; i++) {
        char text[TEXT_SHORT], key[CPN_KEY_TEXT];
        table_cell(&table, "%s", users[i].name);
        table_cell(&table, "%s", users[i].revoked ? "revoked" : cpn_role_name(users[i].role));
        table_cell(&table, "%s", users[i].publish ? "yes" : "no");
        table_cell(&table, "%u", users[i].links);
        table_cell(&table, "%s", text_time(users[i].history.last_seen_us, text));
        table_cell(&table, "%.16s", cpn_key_text(&users[i].key, key));
    }
    table_print(&table, stdout);
    table_free(&table);
}

static void print_stats(const struct cpn_user_info *users, size_t count)
{
    static const char *const titles[]
        = { "USER", "ROLE", "FIRST JOIN", "LAST SEEN", ">TASKS", ">FAILED", ">BUSY", ">IN", ">OUT", NULL };
    struct table table;
    table_init(&table, titles);
    for (size_t i = 0; i < count; i++) {
        table_cell(&table, "%s", users[i].name);
        table_cell(&table, "%s", users[i].revoked ? "revoked" : cpn_role_name(users[i].role));
        cli_history_cells(&table, &users[i].history);
    }
    table_print(&table, stdout);
    table_free(&table);
}

int command_users(int argc, char **argv)
{
    struct cli cli;
    bool stats = false;
    int first, status;
    const struct setting items[] = { { "stats", 's', SETTING_FLAG, &stats, NULL, "their history: tasks, failures, time, bytes" } };
    const struct cli_usage usage = { "cpn users", "[--stats] [--json]", "The users of the network.\n", items, 1, 0, 0 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    struct cpn_user_info *users = NULL;
    size_t count = 0;
    int rc = cpn_client_users(cli.client, cli_timeout_ms(&cli), &users, &count);
    if (rc < 0) {
        return cli_end(&cli, cli_fail(&cli, "", rc));
    }
    if (cli.json) {
        print_json(users, count);
    } else if (stats) {
        print_stats(users, count);
    } else {
        print_state(users, count);
    }
    cpn_client_free_list(users);
    return cli_end(&cli, EXIT_CODE_OK);
}
