/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn user revoke | grant-publish | deny-publish */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"

static int publish(int argc, char **argv, const struct cli_usage *usage, bool granted)
{
    struct cli cli;
    int first, status;
    if (!cli_begin(&cli, usage, argc, argv, &first, &status)) {
        return status;
    }
    int rc = cpn_client_grant_publish(cli.client, argv[first], granted, cli_timeout_ms(&cli));
    return cli_end(&cli, rc < 0 ? cli_fail(&cli, argv[first], rc) : EXIT_CODE_OK);
}

int command_user_grant_publish(int argc, char **argv)
{
    const struct cli_usage usage = { "cpn user grant-publish", "USER",
        "Let a user publish models. Every node runs what they publish: grant it to whom you trust.\n", NULL, 0, 1, 1 };
    return publish(argc, argv, &usage, true);
}

int command_user_deny_publish(int argc, char **argv)
{
    const struct cli_usage usage = { "cpn user deny-publish", "USER", "Take the right to publish models back.\n", NULL, 0, 1, 1 };
    return publish(argc, argv, &usage, false);
}

/* Names are shared by users and nodes, often a machine's and its user's: what is meant for one must not end the other for good. */
static int refuse_node(struct cli *cli, const char *which)
{
    struct cpn_node_info *nodes = NULL;
    size_t count = 0;
    bool found = false;
    int rc = cpn_client_nodes(cli->client, cli_timeout_ms(cli), &nodes, &count);
    if (rc < 0) {
        return cli_fail(cli, "", rc);
    }
    for (size_t i = 0; i < count; i++) {
        char key[CPN_KEY_TEXT];
        found = found || strcmp(nodes[i].name, which) == 0 || strcmp(cpn_key_text(&nodes[i].key, key), which) == 0;
    }
    cpn_client_free_list(nodes);
    if (found) {
        fprintf(stderr, "%s: %s is a node, not a user: cpn node revoke %s\n", cli->name, which, which);
    }
    return found ? EXIT_CODE_INPUT : EXIT_CODE_OK;
}

int command_user_revoke(int argc, char **argv)
{
    struct cli cli;
    int first, status;
    const struct cli_usage usage = { "cpn user revoke", "USER", "Shut a user out for good: the key is refused from now on.\n", NULL, 0, 1, 1 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    status = refuse_node(&cli, argv[first]);
    int rc = status == 0 ? cpn_client_revoke(cli.client, argv[first], cli_timeout_ms(&cli)) : 0;
    return cli_end(&cli, rc < 0 ? cli_fail(&cli, argv[first], rc) : status);
}
