/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn models */
#include <stdio.h>

#include "cli.h"
#include "commands.h"
#include "common/table.h"
#include "common/text.h"

static void print_json(const struct cpn_model_info *models, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        char root[CPN_KEY_TEXT];
        json_array_append_new(all, json_pack("{so sI so ss sI sI so sI sI sI so}", "name", cli_json_text(models[i].name), "version",
            (json_int_t)models[i].version, "backend", cli_json_text(models[i].backend), "root", cpn_hash_text(&models[i].root, root),
            "bytes", (json_int_t)models[i].bytes, "added_us", (json_int_t)models[i].added_us, "publisher",
            cli_json_text(models[i].publisher), "ready", (json_int_t)models[i].ready, "preparing", (json_int_t)models[i].preparing,
            "failed", (json_int_t)models[i].failed, "text", cli_json_text(models[i].text)));
    }
    cli_print_json(all, false);
}

static void print_table(const struct cpn_model_info *models, size_t count)
{
    static const char *const titles[]
        = { "MODEL", "BACKEND", ">SIZE", "ADDED", "BY", ">READY", ">PREPARING", ">FAILED", "WHY", NULL };
    struct table table;
    table_init(&table, titles);
    for (size_t i = 0; i < count; i++) {
        char text[TEXT_SHORT];
        table_cell(&table, "%s@%u", models[i].name, models[i].version);
        table_cell(&table, "%s", models[i].backend);
        table_cell(&table, "%s", text_bytes(models[i].bytes, text));
        table_cell(&table, "%s", text_time(models[i].added_us, text));
        table_cell(&table, "%s", models[i].publisher);
        table_cell(&table, "%u", models[i].ready);
        table_cell(&table, "%u", models[i].preparing);
        table_cell(&table, "%u", models[i].failed);
        table_cell(&table, "%s", models[i].text);
    }
    table_print(&table, stdout);
    table_free(&table);
}

int command_models(int argc, char **argv)
{
    struct cli cli;
    int first, status;
    const struct cli_usage usage
        = { "cpn models", "[--json]", "The models of the network, and on how many nodes each is ready.\n", NULL, 0, 0, 0 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    struct cpn_model_info *models = NULL;
    size_t count = 0;
    int rc = cpn_client_models(cli.client, cli_timeout_ms(&cli), &models, &count);
    if (rc < 0) {
        return cli_end(&cli, cli_fail(&cli, "", rc));
    }
    if (cli.json) {
        print_json(models, count);
    } else if (count == 0) {
        printf("No model yet: cpn model push BUNDLE\n");
    } else {
        print_table(models, count);
    }
    cpn_client_free_list(models);
    return cli_end(&cli, EXIT_CODE_OK);
}
