/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn model push BUNDLE: upload, then tell how the nodes get on with it. */
#include <stdio.h>

#include <cpn/model.h>

#include "cli.h"
#include "commands.h"
#include "common/signals.h"
#include "common/text.h"
#include "prepare.h"

#define PUBLISH_MS 600000 /* for the upload: a gigabyte over a slow line */

static void wake(void *client)
{
    cpn_client_wake(client);
}

static int progress(void *arg, uint64_t done, uint64_t total)
{
    struct cli *cli = arg;
    progress_show(&cli->progress, done, total, true, "");
    return signals_seen() ? 1 : 0;
}

static int publish(struct cli *cli, const struct cpn_model *model, uint32_t *version)
{
    progress_start(&cli->progress, "", !cli->json);
    int rc = cpn_client_publish(cli->client, model, progress, cli, PUBLISH_MS, version);
    progress_clear(&cli->progress);
    if (signals_seen()) {
        fprintf(stderr, "cpn model push: interrupted; what was uploaded is used when you push it again\n");
        return EXIT_CODE_INTERRUPTED;
    }
    if (rc < 0) {
        return cli_fail(cli, cpn_model_name(model), rc);
    }
    if (!cli->json) {
        char size[TEXT_SHORT];
        printf("%s@%u published (%s, backend %s)\n", cpn_model_name(model), *version, text_bytes(cpn_model_bytes(model), size),
               cpn_model_backend(model));
        fflush(stdout);
    }
    return EXIT_CODE_OK;
}

static int publish_and_wait(struct cli *cli, const struct cpn_model *model, bool no_wait)
{
    struct prepare prepare = { .cli = cli, .name = cpn_model_name(model), .backend = cpn_model_backend(model) };
    int status = publish(cli, model, &prepare.version);
    if (status == 0 && !no_wait) {
        status = prepare_wait(&prepare);
    }
    if (prepare.version > 0 && cli->json) {
        cli_print_json(prepare_json(&prepare), false);
    } else if (prepare.version > 0 && !no_wait) {
        prepare_tell(&prepare);
    }
    return status;
}

static int push_bundle(struct cli *cli, const char *dir, bool no_wait)
{
    struct cpn_model *model = NULL;
    char detail[CPN_DETAIL] = "";
    int rc = cpn_model_open(dir, &model, detail);
    if (rc < 0) {
        fprintf(stderr, "cpn model push: %s\n", *detail != 0 ? text_clean(detail) : cpn_strerror(rc));
        return exit_code_of(rc);
    }
    int status = cli_connect(cli);
    if (status == 0) {
        signals_install(wake, cli->client);
        status = publish_and_wait(cli, model, no_wait);
        signals_restore();
    }
    cpn_model_free(model);
    return status;
}

int command_model_push(int argc, char **argv)
{
    struct cli cli;
    bool no_wait = false;
    int status;
    const struct setting items[] = { { "no-wait", 0, SETTING_FLAG, &no_wait, NULL, "end when it is published; do not watch the nodes prepare it" } };
    const struct cli_usage usage = { "cpn model push", "BUNDLE [--no-wait]",
        "Publish a bundle as the next version of its model, and wait until the nodes that are there have prepared it.\n"
        "Status 1: a node failed to, or none can. The same bundle again is the same version.\n", items, 1, 1, 1 };
    int first = cli_parse(&cli, &usage, argc, argv, &status);
    if (first < 0) {
        return status;
    }
    return cli_end(&cli, push_bundle(&cli, argv[first], no_wait));
}
