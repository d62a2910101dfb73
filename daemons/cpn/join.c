/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn join LINE */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cpn/context.h>

#include "cli.h"
#include "commands.h"
#include "common/paths.h"

static int join(struct cli *cli, const char *line, const char *name)
{
    char path[PATHS_MAX];
    char detail[CPN_DETAIL] = "";
    struct cpn_context *context = NULL;
    if (!cli_context_path(cli, path, sizeof path)) {
        return EXIT_CODE_USAGE;
    }
    int error = paths_make_parent(path);
    if (error != 0) {
        fprintf(stderr, "cpn join: cannot make the directory of %s: %s\n", path, strerror(error));
        return EXIT_CODE_MACHINE;
    }
    if (access(path, F_OK) == 0 && cpn_context_load(path, &context, NULL) == 0) {
        fprintf(stderr, "cpn join: %s belongs to %s at %s already; to join another network, say --context FILE\n", path,
                cpn_context_name(context), cpn_context_endpoint(context));
        cpn_context_free(context);
        return EXIT_CODE_INPUT;
    }
    int rc = cpn_context_join(line, name, CPN_ROLE_USER, path, cli_timeout_ms(cli), &context, detail);
    if (rc < 0) {
        fprintf(stderr, "cpn join: %s\n", *detail != 0 ? detail : cpn_strerror(rc));
        return exit_code_of(rc);
    }
    if (cli->json) {
        cli_print_json(json_pack("{so ss so ss}", "name", cli_json_text(cpn_context_name(context)), "role",
                                 cpn_role_name(cpn_context_role(context)), "endpoint", cli_json_text(cpn_context_endpoint(context)),
                                 "context", path), false);
    } else {
        printf("Joined %s as %s '%s'; the context is %s.\n", cpn_context_endpoint(context), cpn_role_name(cpn_context_role(context)),
               cpn_context_name(context), path);
    }
    cpn_context_free(context);
    return EXIT_CODE_OK;
}

int command_join(int argc, char **argv)
{
    struct cli cli;
    const char *name = NULL;
    int status;
    const struct setting items[] = { { "name", 'n', SETTING_TEXT, &name, "NAME", "how the network is to call you" } };
    const struct cli_usage usage = { "cpn join", "'cpn://…' [--name NAME]",
        "Join a network with a line that its master or `cpn token create` printed. Once for each account; the line is used up.\n", items, 1, 1, 1 };
    int first = cli_parse(&cli, &usage, argc, argv, &status);
    if (first < 0) {
        return status;
    }
    return cli_end(&cli, join(&cli, argv[first], name));
}
