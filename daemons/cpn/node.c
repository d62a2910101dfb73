/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn node revoke | drain | resume */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"

static int drain(int argc, char **argv, const struct cli_usage *usage, bool on)
{
    struct cli cli;
    int first, status;
    if (!cli_begin(&cli, usage, argc, argv, &first, &status)) {
        return status;
    }
    int rc = cpn_client_drain(cli.client, argv[first], on, cli_timeout_ms(&cli));
    return cli_end(&cli, rc < 0 ? cli_fail(&cli, argv[first], rc) : EXIT_CODE_OK);
}

int command_node_drain(int argc, char **argv)
{
    const struct cli_usage usage = { "cpn node drain", "NODE", "Give a node no new tasks; what it runs is finished.\n", NULL, 0, 1, 1 };
    return drain(argc, argv, &usage, true);
}

int command_node_resume(int argc, char **argv)
{
    const struct cli_usage usage = { "cpn node resume", "NODE", "Give a drained node tasks again.\n", NULL, 0, 1, 1 };
    return drain(argc, argv, &usage, false);
}

/* As in user.c: the name may be that of the machine's user. */
static int refuse_user(struct cli *cli, const char *which)
{
    struct cpn_user_info *users = NULL;
    size_t count = 0;
    bool found = false;
    int rc = cpn_client_users(cli->client, cli_timeout_ms(cli), &users, &count);
    if (rc < 0) {
        return cli_fail(cli, "", rc);
    }
    for (size_t i = 0; i < count; i++) {
        char key[CPN_KEY_TEXT];
        found = found || strcmp(users[i].name, which) == 0 || strcmp(cpn_key_text(&users[i].key, key), which) == 0;
    }
    cpn_client_free_list(users);
    if (found) {
        fprintf(stderr, "%s: %s is a user, not a node: cpn user revoke %s\n", cli->name, which, which);
    }
    return found ? EXIT_CODE_INPUT : EXIT_CODE_OK;
}

int command_node_revoke(int argc, char **argv)
{
    struct cli cli;
    int first, status;
    const struct cli_usage usage
        = { "cpn node revoke", "NODE", "Shut a node out for good: its key is refused from now on. Its tasks go to others.\n", NULL, 0, 1, 1 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    status = refuse_user(&cli, argv[first]);
    int rc = status == 0 ? cpn_client_revoke(cli.client, argv[first], cli_timeout_ms(&cli)) : 0;
    return cli_end(&cli, rc < 0 ? cli_fail(&cli, argv[first], rc) : status);
}
