/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn model train-faces DIR -o BUNDLE: needs no network. */
#include <stdio.h>

#include <cpn/model.h>

#include "cli.h"
#include "commands.h"
#include "common/signals.h"
#include "common/text.h"

static void nothing(void *arg)
{
    (void)arg;
}

static int progress(void *arg, const char *stage, uint64_t done, uint64_t total)
{
    struct cli *cli = arg;
    progress_show(&cli->progress, done, total, false, stage);
    return signals_seen() ? 1 : 0;
}

static int train(struct cli *cli, struct cpn_train_faces_options *options)
{
    char detail[CPN_DETAIL] = "";
    options->progress = progress;
    options->progress_arg = cli;
    progress_start(&cli->progress, "photos", !cli->json);
    signals_install(nothing, NULL);
    int rc = cpn_train_faces(options, detail);
    signals_restore();
    progress_clear(&cli->progress);
    text_clean(detail);
    if (rc < 0) {
        fprintf(stderr, "cpn model train-faces: %s\n", *detail != 0 ? detail : cpn_strerror(rc));
        return exit_code_of(rc);
    }
    if (cli->json) {
        cli_print_json(json_pack("{so so}", "bundle", cli_json_text(options->out), "summary", cli_json_text(detail)), false);
    } else {
        printf("%s: %s\n", options->out, detail);
    }
    return EXIT_CODE_OK;
}

int command_model_train_faces(int argc, char **argv)
{
    struct cli cli;
    struct cpn_train_faces_options options = CPN_TRAIN_FACES_OPTIONS_INIT;
    struct setting_list parameters = { 0 };
    int status;
    const struct setting items[] = {
        { "output", 'o', SETTING_TEXT, &options.out, "BUNDLE", "the directory to make" },
        { "name", 'n', SETTING_TEXT, &options.name, "NAME", "of the model; default faces" },
        { "set", 's', SETTING_LIST, &parameters, "KEY=VALUE", "a parameter of the backend opencv.face; repeat for more" },
        { "libexec-dir", 0, SETTING_TEXT, &options.libexec_dir, "DIR", "where cpn-runner is; default beside this program or installed" },
        { "plugin-dir", 0, SETTING_TEXT, &options.plugin_dir, "DIR", "where the backends are; likewise" },
    };
    const struct cli_usage usage = { "cpn model train-faces", "DIR -o BUNDLE [--name NAME] [--set KEY=VALUE]",
        "Make a face model from photos: DIR/ann/1.jpg, DIR/ann/2.jpg, DIR/bob/… Publish it with cpn model push BUNDLE.\n", items,
        sizeof items / sizeof *items, 1, 1 };
    int first = cli_parse(&cli, &usage, argc, argv, &status);
    if (first < 0) {
        return status;
    }
    if (options.out == NULL) {
        fprintf(stderr, "cpn model train-faces: -o BUNDLE is missing: the directory to make\n");
        return cli_end(&cli, EXIT_CODE_USAGE);
    }
    options.from = argv[first];
    options.parameters = parameters.count > 0 ? parameters.items : NULL;
    return cli_end(&cli, train(&cli, &options));
}
