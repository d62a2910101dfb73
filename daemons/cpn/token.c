/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn token create | list | revoke */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "common/table.h"
#include "common/text.h"

/* ---- create ---- */

static bool parse_role(const char *text, enum cpn_role *role)
{
    for (int i = CPN_ROLE_NODE; i <= CPN_ROLE_ADMIN; i++) {
        if (text != NULL && strcmp(text, cpn_role_name((enum cpn_role)i)) == 0) {
            *role = (enum cpn_role)i;
            return true;
        }
    }
    fprintf(stderr, "cpn token create: --role: expected node, user or admin\n");
    return false;
}

static int create(struct cli *cli, enum cpn_role role, const char *name, uint64_t ttl_ms, uint32_t uses)
{
    char line[CPN_LINE];
    char text[TEXT_SHORT];
    int rc = cpn_client_token_create(cli->client, role, name, ttl_ms, uses, cli_timeout_ms(cli), line);
    if (rc < 0) {
        return cli_fail(cli, "", rc);
    }
    if (cli->json) {
        cli_print_json(json_pack("{ss ss sI sI}", "line", line, "role", cpn_role_name(role), "ttl_ms", (json_int_t)ttl_ms, "uses",
                                 (json_int_t)uses), false);
        return EXIT_CODE_OK;
    }
    printf("%s\n", line); /* alone on stdout: scripts take it from there */
    fflush(stdout);
    fprintf(stderr, "Good for %u, for %s. Use it with: %s '…'\n", uses, text_duration(ttl_ms * 1000, text),
            role == CPN_ROLE_NODE ? "cpn-worker --data DIR --join" : "cpn join");
    return EXIT_CODE_OK;
}

int command_token_create(int argc, char **argv)
{
    struct cli cli;
    const char *role_text = NULL, *name = NULL;
    uint64_t ttl = 3600000;
    uint32_t uses = 1;
    int status;
    enum cpn_role role;
    const struct setting items[] = {
        { "role", 'r', SETTING_TEXT, &role_text, "ROLE", "node, user or admin" },
        { "ttl", 't', SETTING_TIME, &ttl, "TIME", "how long the line is good; default 1h" },
        { "uses", 'u', SETTING_COUNT, &uses, "N", "for how many it is good; default 1" },
        { "name", 'n', SETTING_TEXT, &name, "NAME", "how who joins with it is called" },
    };
    const struct cli_usage usage = { "cpn token create", "--role node|user|admin [--ttl 1h] [--uses N] [--name NAME]",
        "A line with which somebody joins. Whoever has it may join: give it only to whom it is meant for.\n", items,
        sizeof items / sizeof *items, 0, 0 };
    if (cli_parse(&cli, &usage, argc, argv, &status) < 0) {
        return status;
    }
    if (!parse_role(role_text, &role)) {
        return cli_end(&cli, EXIT_CODE_USAGE);
    }
    if (ttl == 0 || uses == 0) {
        fprintf(stderr, "cpn token create: --ttl and --uses: expected more than 0\n");
        return cli_end(&cli, EXIT_CODE_USAGE);
    }
    status = cli_connect(&cli);
    return cli_end(&cli, status != 0 ? status : create(&cli, role, name, ttl, uses));
}

/* ---- list ---- */

static void list_json(const struct cpn_token_info *tokens, size_t count)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        char key[CPN_KEY_TEXT];
        json_array_append_new(all, json_pack("{ss ss so sI sI sb}", "key", cpn_key_text(&tokens[i].key, key), "role",
            cpn_role_name(tokens[i].role), "name", cli_json_text(tokens[i].name), "expires_us", (json_int_t)tokens[i].expires_us,
            "uses_left", (json_int_t)tokens[i].uses_left, "revoked", tokens[i].revoked));
    }
    cli_print_json(all, false);
}

static void list_table(const struct cpn_token_info *tokens, size_t count)
{
    static const char *const titles[] = { "KEY", "ROLE", "NAME", "EXPIRES", ">USES LEFT", "REVOKED", NULL };
    struct table table;
    table_init(&table, titles);
    for (size_t i = 0; i < count; i++) {
        char key[CPN_KEY_TEXT], text[TEXT_SHORT];
        table_cell(&table, "%.16s", cpn_key_text(&tokens[i].key, key));
        table_cell(&table, "%s", cpn_role_name(tokens[i].role));
        table_cell(&table, "%s", *tokens[i].name != 0 ? tokens[i].name : "-");
        table_cell(&table, "%s", text_time(tokens[i].expires_us, text));
        table_cell(&table, "%u", tokens[i].uses_left);
        table_cell(&table, "%s", tokens[i].revoked ? "yes" : "no");
    }
    table_print(&table, stdout);
    table_free(&table);
}

int command_token_list(int argc, char **argv)
{
    struct cli cli;
    int first, status;
    const struct cli_usage usage = { "cpn token list", "[--json]", "The join tokens; their secrets are known to nobody here.\n", NULL, 0, 0, 0 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    struct cpn_token_info *tokens = NULL;
    size_t count = 0;
    int rc = cpn_client_tokens(cli.client, cli_timeout_ms(&cli), &tokens, &count);
    if (rc < 0) {
        return cli_end(&cli, cli_fail(&cli, "", rc));
    }
    if (cli.json) {
        list_json(tokens, count);
    } else {
        list_table(tokens, count);
    }
    cpn_client_free_list(tokens);
    return cli_end(&cli, EXIT_CODE_OK);
}

/* ---- revoke ---- */

int command_token_revoke(int argc, char **argv)
{
    struct cli cli;
    int first, status;
    const struct cli_usage usage = { "cpn token revoke", "KEY", "Make a token useless. KEY: the first digits that `cpn token list` shows.\n", NULL, 0, 1, 1 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    int rc = cpn_client_token_revoke(cli.client, argv[first], cli_timeout_ms(&cli));
    return cli_end(&cli, rc < 0 ? cli_fail(&cli, argv[first], rc) : EXIT_CODE_OK);
}
