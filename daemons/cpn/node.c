/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn node revoke | drain | resume */
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

int command_node_revoke(int argc, char **argv)
{
    struct cli cli;
    int first, status;
    const struct cli_usage usage
        = { "cpn node revoke", "NODE", "Shut a node out for good: its key is refused from now on. Its tasks go to others.\n", NULL, 0, 1, 1 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    int rc = cpn_client_revoke(cli.client, argv[first], cli_timeout_ms(&cli));
    return cli_end(&cli, rc < 0 ? cli_fail(&cli, argv[first], rc) : EXIT_CODE_OK);
}
