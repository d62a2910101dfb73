/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn user revoke | grant-publish | deny-publish */
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

int command_user_revoke(int argc, char **argv)
{
    struct cli cli;
    int first, status;
    const struct cli_usage usage = { "cpn user revoke", "USER", "Shut a user out for good: the key is refused from now on.\n", NULL, 0, 1, 1 };
    if (!cli_begin(&cli, &usage, argc, argv, &first, &status)) {
        return status;
    }
    int rc = cpn_client_revoke(cli.client, argv[first], cli_timeout_ms(&cli));
    return cli_end(&cli, rc < 0 ? cli_fail(&cli, argv[first], rc) : EXIT_CODE_OK);
}
