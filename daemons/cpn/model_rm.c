/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn model rm NAME@N */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "common/settings.h"

static bool parse_version(const char *text, char *name, size_t room, uint32_t *version)
{
    const char *at = strrchr(text, '@');
    char *end = NULL;
    unsigned long number = at != NULL && at[1] >= '0' && at[1] <= '9' ? strtoul(at + 1, &end, 10) : 0;
    if (number == 0 || number > UINT32_MAX || *end != 0 || (size_t)(at - text) >= room) {
        fprintf(stderr, "cpn model rm: '%s': expected NAME@N, such as faces@3 (cpn models lists them)\n", text);
        return false;
    }
    snprintf(name, room, "%.*s", (int)(at - text), text);
    *version = (uint32_t)number;
    return true;
}

int command_model_rm(int argc, char **argv)
{
    struct cli cli;
    int status;
    char name[CPN_NAME];
    uint32_t version;
    const struct cli_usage usage = { "cpn model rm", "NAME@N", "Take a version of a model out of service, on all nodes.\n", NULL, 0, 1, 1 };
    int first = cli_parse(&cli, &usage, argc, argv, &status);
    if (first < 0) {
        return status;
    }
    if (!parse_version(argv[first], name, sizeof name, &version)) {
        return cli_end(&cli, EXIT_CODE_USAGE);
    }
    status = cli_connect(&cli);
    if (status == 0) {
        int rc = cpn_client_model_remove(cli.client, name, version, cli_timeout_ms(&cli));
        status = rc < 0 ? cli_fail(&cli, argv[first], rc) : EXIT_CODE_OK;
    }
    return cli_end(&cli, status);
}
