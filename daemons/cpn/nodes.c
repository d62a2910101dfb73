/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn nodes [--stats] */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "common/table.h"
#include "common/text.h"

static json_t *held_json(const struct cpn_held_info *held)
{
    return json_pack("{so sI ss so}", "name", cli_json_text(held->name), "version", (json_int_t)held->version, "state",
                     cpn_held_state_name(held->state), "text", cli_json_text(held->text));
}

static json_t *node_json(const struct cpn_node_info *node)
{
    char key[CPN_KEY_TEXT];
    json_t *models = json_array();
    json_t *backends = json_array();
    for (size_t i = 0; i < node->model_count; i++) {
        json_array_append_new(models, held_json(&node->models[i]));
    }
    for (size_t i = 0; i < node->backend_count; i++) {
        json_array_append_new(backends, cli_json_text(node->backends[i]));
    }
    return json_pack("{so ss ss sb sI sI sI sI sI sI so so so so so}", "name", cli_json_text(node->name), "key",
                     cpn_key_text(&node->key, key), "state", cpn_node_state_name(node->state), "revoked", node->revoked, "slots",
                     (json_int_t)node->slots, "busy", (json_int_t)node->busy, "queued", (json_int_t)node->queued, "cores",
                     (json_int_t)node->cores, "memory", (json_int_t)node->memory, "rss", (json_int_t)node->rss, "gpu",
                     cli_json_text(node->gpu), "software", cli_json_text(node->software), "backends", backends, "models", models,
                     "history", cli_json_history(&node->history));
}

/* "faces@3, people@1 (fetching)" */
static void models_text(const struct cpn_node_info *node, char *text, size_t room)
{
    size_t length = 0;
    snprintf(text, room, "-");
    for (size_t i = 0; i < node->model_count && length < room; i++) {
        const struct cpn_held_info *held = &node->models[i];
        bool ready = held->state == CPN_HELD_READY;
        int wrote = snprintf(text + length, room - length, "%s%s@%u%s%s%s", i > 0 ? ", " : "", held->name, held->version,
                             ready ? "" : " (", ready ? "" : cpn_held_state_name(held->state), ready ? "" : ")");
        length += wrote > 0 ? (size_t)wrote : 0;
    }
}

static void print_state(const struct cpn_node_info *nodes, size_t count)
{
    static const char *const titles[] = { "NODE", "STATE", ">SLOTS", ">BUSY", ">QUEUED", ">CORES", ">MEMORY", ">USED", "GPU", "MODELS", NULL };
    struct table table;
    table_init(&table, titles);
    for (size_t i = 0; i < count; i++) {
        const struct cpn_node_info *node = &nodes[i];
        char memory[TEXT_SHORT], rss[TEXT_SHORT], models[400];
        models_text(node, models, sizeof models);
        table_cell(&table, "%s", node->name);
        table_cell(&table, "%s", node->revoked ? "revoked" : cpn_node_state_name(node->state));
        table_cell(&table, "%u", node->slots);
        table_cell(&table, "%u", node->busy);
        table_cell(&table, "%u", node->queued);
        table_cell(&table, "%u", node->cores);
        table_cell(&table, "%s", text_bytes(node->memory, memory));
        table_cell(&table, "%s", text_bytes(node->rss, rss));
        table_cell(&table, "%s", *node->gpu != 0 ? node->gpu : "-");
        table_cell(&table, "%s", models);
    }
    table_print(&table, stdout);
    table_free(&table);
}

static void print_stats(const struct cpn_node_info *nodes, size_t count)
{
    static const char *const titles[]
        = { "NODE", "STATE", "FIRST JOIN", "LAST SEEN", ">TASKS", ">FAILED", ">BUSY", ">IN", ">OUT", ">JOINS", ">LOSSES", NULL };
    struct table table;
    table_init(&table, titles);
    for (size_t i = 0; i < count; i++) {
        const struct cpn_history *history = &nodes[i].history;
        table_cell(&table, "%s", nodes[i].name);
        table_cell(&table, "%s", nodes[i].revoked ? "revoked" : cpn_node_state_name(nodes[i].state));
        cli_history_cells(&table, &nodes[i].history);
        table_cell(&table, "%" PRIu64, history->joins);
        table_cell(&table, "%" PRIu64, history->losses);
    }
    table_print(&table, stdout);
    table_free(&table);
}

static void print_json(const struct cpn_node_info *nodes, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(all, node_json(&nodes[i]));
    }
    cli_print_json(all, false);
}

int command_nodes(int argc, char **argv)
{
    struct cli cli;
    bool stats = false;
    int first, status;
    const struct setting items[] = { { "stats", 's', SETTING_FLAG, &stats, NULL, "their history: first join, tasks, failures, time, bytes" } };
    const struct cli_usage usage = { "cpn nodes", "[--stats] [--json]", "The nodes of the network.\n", items, 1, 0, 0 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    struct cpn_node_info *nodes = NULL;
    size_t count = 0;
    int rc = cpn_client_nodes(cli.client, cli_timeout_ms(&cli), &nodes, &count);
    if (rc < 0) {
        return cli_end(&cli, cli_fail(&cli, "", rc));
    }
    if (cli.json) {
        print_json(nodes, count);
    } else if (count == 0) {
        printf("No node has joined yet: cpn token create --role node\n");
    } else if (stats) {
        print_stats(nodes, count);
    } else {
        print_state(nodes, count);
    }
    cpn_client_free_list(nodes);
    return cli_end(&cli, EXIT_CODE_OK);
}
