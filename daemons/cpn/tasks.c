/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn tasks */
#include <stdio.h>

#include "cli.h"
#include "commands.h"
#include "common/table.h"
#include "common/text.h"

static void print_json(const struct cpn_task_info *tasks, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        char id[CPN_ID_TEXT];
        json_array_append_new(all, json_pack("{ss so sI ss so so so sI sI sI so}", "id", cpn_id_text(&tasks[i].id, id), "model",
            cli_json_text(tasks[i].model), "version", (json_int_t)tasks[i].version, "state", cpn_task_state_name(tasks[i].state),
            "user", cli_json_text(tasks[i].user), "node", cli_json_text(tasks[i].node), "name", cli_json_text(tasks[i].name), "attempt",
            (json_int_t)tasks[i].attempt, "age_us", (json_int_t)tasks[i].age_us, "bytes", (json_int_t)tasks[i].bytes, "text",
            cli_json_text(tasks[i].text)));
    }
    cli_print_json(all, false);
}

static void print_table(const struct cpn_task_info *tasks, size_t count)
{
    static const char *const titles[]
        = { "TASK", "MODEL", "STATE", "NODE", ">ATTEMPT", ">AGE", ">SIZE", "USER", "INPUT", "WHY", NULL };
    struct table table;
    table_init(&table, titles);
    for (size_t i = 0; i < count; i++) {
        char text[TEXT_SHORT], id[CPN_ID_TEXT];
        table_cell(&table, "%.8s", cpn_id_text(&tasks[i].id, id));
        table_cell(&table, "%s@%u", tasks[i].model, tasks[i].version);
        table_cell(&table, "%s", cpn_task_state_name(tasks[i].state));
        table_cell(&table, "%s", *tasks[i].node != 0 ? tasks[i].node : "-");
        table_cell(&table, "%u", tasks[i].attempt);
        table_cell(&table, "%s", text_duration(tasks[i].age_us, text));
        table_cell(&table, "%s", text_bytes(tasks[i].bytes, text));
        table_cell(&table, "%s", tasks[i].user);
        table_cell(&table, "%s", tasks[i].name);
        table_cell(&table, "%s", tasks[i].text);
    }
    table_print(&table, stdout);
    table_free(&table);
}

int command_tasks(int argc, char **argv)
{
    struct cli cli;
    int first, status;
    const struct cli_usage usage = { "cpn tasks", "[--json]", "The tasks that are not finished: where they are, and why they wait.\n", NULL, 0, 0, 0 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    struct cpn_task_info *tasks = NULL;
    size_t count = 0;
    int rc = cpn_client_tasks(cli.client, cli_timeout_ms(&cli), &tasks, &count);
    if (rc < 0) {
        return cli_end(&cli, cli_fail(&cli, "", rc));
    }
    if (cli.json) {
        print_json(tasks, count);
    } else if (count == 0) {
        printf("No task is waiting or running.\n");
    } else {
        print_table(tasks, count);
    }
    cpn_client_free_list(tasks);
    return cli_end(&cli, EXIT_CODE_OK);
}
