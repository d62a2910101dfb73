/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn train --csv FILE --label COLUMN: flags to a session; then it is watched. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "commands.h"
#include "common/signals.h"
#include "common/text.h"
#include "session_outcome.h"
#include "session_view.h"
#include "session_watch.h"

#define START_MS 3600000 /* to send the dataset over a slow line; Ctrl-C ends it */

struct train {
    struct cli cli;
    struct cpn_session_options options;
    struct cpn_session_publish_options publish;
    struct setting_list features, categorical, set, configurations, sweep;
    const char *delimiter, *mode, *image, *plot;
    char *settings; /* all of --set */
    double validation;
    uint32_t split_seed;
    bool detach;
};

/* ---- from flags to options ---- */

static bool wrong(const char *sentence)
{
    fprintf(stderr, "cpn train: %s\n", sentence);
    return false;
}

static bool set_mode(struct train *train)
{
    for (int mode = CPN_MODE_SWEEP; train->mode != NULL && mode <= CPN_MODE_SYNC; mode++) {
        if (strcmp(train->mode, cpn_session_mode_name((enum cpn_session_mode)mode)) == 0) {
            train->options.mode = (enum cpn_session_mode)mode;
        }
    }
    return train->mode == NULL || train->options.mode != CPN_MODE_DEFAULT || wrong("--mode: expected sweep, average or sync");
}

static bool set_delimiter(struct train *train)
{
    const char *text = train->delimiter;
    if (text == NULL) {
        return true;
    }
    train->options.table.delimiter = strcmp(text, "tab") == 0 ? '\t' : *text;
    return strcmp(text, "tab") == 0 || (*text != 0 && text[1] == 0) || wrong("--delimiter: expected one character, or tab");
}

static bool set_validation(struct train *train)
{
    if (!(train->validation >= 0 && train->validation <= 0.9)) {
        return wrong("--validation: expected a share of the rows, 0 to 0.9");
    }
    train->options.validation = train->validation > 0 ? train->validation : -1; /* 0 is the default there */
    return true;
}

/* Several --set are one text: "lr=1e-3" and "batch=64,epochs=10" */
static bool set_settings(struct train *train)
{
    size_t bytes = 1;
    for (size_t i = 0; i < train->set.count; i++) {
        bytes += strlen(train->set.items[i]) + 1;
    }
    train->settings = calloc(1, bytes);
    if (train->settings == NULL) {
        return wrong("out of memory");
    }
    for (size_t i = 0; i < train->set.count; i++) {
        strcat(strcat(train->settings, i > 0 ? "," : ""), train->set.items[i]);
    }
    train->options.settings = train->set.count > 0 ? train->settings : NULL;
    return true;
}

static bool set_publish(struct train *train)
{
    if (train->publish.name != NULL && !outcome_name(&train->cli, train->publish.name)) {
        return false;
    }
    if (train->image != NULL && train->publish.name == NULL) {
        return wrong("--image says how the published model takes photos: it needs --publish NAME");
    }
    if (train->detach && (train->publish.name != NULL || train->plot != NULL)) {
        return wrong("--detach does not wait for the outcome: publish or plot it later (cpn sessions publish, cpn sessions show --plot)");
    }
    train->options.publish = train->publish.name != NULL ? &train->publish : NULL;
    return outcome_image(&train->cli, train->image, &train->publish.image_width, &train->publish.image_height);
}

static const char *const *list_of(const struct setting_list *list)
{
    return list->count > 0 ? list->items : NULL;
}

static bool set_options(struct train *train)
{
    struct cpn_session_options *options = &train->options;
    if (options->table.path == NULL) {
        return wrong("--csv FILE is missing: the table to learn from");
    }
    if (options->table.label == NULL) {
        return wrong("--label COLUMN is missing: the column that is to be predicted");
    }
    options->table.features = list_of(&train->features);
    options->table.categorical = list_of(&train->categorical);
    options->configurations = list_of(&train->configurations);
    options->sweep = list_of(&train->sweep);
    options->split_seed = train->split_seed;
    if (options->peers == 0 && train->sweep.count == 0) {
        options->peers = (uint32_t)train->configurations.count; /* each its own peer */
    }
    return set_mode(train) && set_delimiter(train) && set_validation(train) && set_settings(train) && set_publish(train);
}

/* ---- the session ---- */

static int progress(void *arg, const char *stage, uint64_t done, uint64_t total)
{
    struct cli *cli = arg;
    progress_show(&cli->progress, done, total, true, stage);
    return signals_seen() ? 1 : 0;
}

static void on_signal(void *client)
{
    if (signals_seen_twice()) {
        _exit(EXIT_CODE_INTERRUPTED);
    }
    cpn_client_wake(client);
}

static int start(struct train *train, struct cpn_id *session)
{
    struct cli *cli = &train->cli;
    train->options.progress = progress;
    train->options.progress_arg = cli;
    progress_start(&cli->progress, "", !cli->json);
    signals_install(on_signal, cli->client);
    int rc = cpn_session_start(cli->client, &train->options, START_MS, session);
    signals_restore();
    progress_clear(&cli->progress);
    if (rc < 0 && signals_seen()) {
        fprintf(stderr, "cpn train: interrupted before the session began; nothing is trained\n");
        return EXIT_CODE_INTERRUPTED;
    }
    return rc < 0 ? cli_fail(cli, rc == CPN_EBUSY ? "cannot start now" : "", rc) : EXIT_CODE_OK;
}

static void tell_start(const struct train *train, const struct cpn_id *session)
{
    char id[CPN_ID_TEXT], start[VIEW_ID];
    view_id(session, start);
    if (train->cli.json) {
        cli_print_json(json_pack("{s{ss}}", "started", "id", cpn_id_text(session, id)), true);
    } else if (train->detach) {
        printf("Session %s has started: cpn sessions watch %s\n", start, start);
    }
    fflush(stdout);
}

/* Who stops watching does not publish; and what cannot be published now is kept. */
static void tell_publish_later(const struct train *train, const struct cpn_id *session)
{
    char id[VIEW_ID];
    fprintf(stderr, "  to publish it later: cpn sessions publish %s %s%s%s\n", view_id(session, id), train->publish.name,
            train->image != NULL ? " --image " : "", train->image != NULL ? train->image : "");
}

static int train_and_watch(struct train *train)
{
    struct cpn_id session;
    int status = cli_connect(&train->cli);
    status = status != 0 ? status : start(train, &session);
    if (status != 0) {
        return status;
    }
    tell_start(train, &session);
    if (train->detach) {
        return EXIT_CODE_OK;
    }
    status = session_watch(&train->cli, &session, train->plot, train->publish.name == NULL);
    if (train->publish.name == NULL || (status != 0 && status != EXIT_CODE_INTERRUPTED)) {
        return status;
    }
    bool published = false;
    if (status == 0) {
        status = outcome_publish(&train->cli, &session, &train->publish, &published);
    }
    if (!published) {
        tell_publish_later(train, &session);
    }
    return status;
}

/* ---- the command ---- */

static int parse(struct train *train, int argc, char **argv, int *status)
{
    struct cpn_session_options *options = &train->options;
    struct cpn_table_options *table = &options->table;
    const struct setting items[] = {
        { "csv", 0, SETTING_TEXT, &table->path, "FILE", "the table to learn from" },
        { "label", 'l', SETTING_TEXT, &table->label, "COLUMN", "what is to be predicted: a column by name, or by number from 1" },
        { "features", 0, SETTING_LIST, &train->features, "COLUMNS", "what to predict it from: names, numbers, 3:7; default all others" },
        { "categorical", 0, SETTING_LIST, &train->categorical, "COLUMNS", "features that name categories: an input for each" },
        { "no-header", 0, SETTING_FLAG, &table->no_header, NULL, "the first row is data; columns are called by their numbers" },
        { "impute", 0, SETTING_FLAG, &table->impute, NULL, "replace missing values (mean, most frequent) rather than refuse them" },
        { "no-standardise", 0, SETTING_FLAG, &table->keep_scale, NULL, "leave numbers as they are; else mean 0, deviation 1" },
        { "delimiter", 0, SETTING_TEXT, &train->delimiter, "C", "between columns: a character, or tab; default a comma" },
        { "validation", 0, SETTING_NUMBER, &train->validation, "SHARE", "of the rows, not learned from, to judge by; default 0.1" },
        { "split-seed", 0, SETTING_COUNT, &train->split_seed, "N", "which rows those are; default 1" },
        { "trainer", 0, SETTING_TEXT, &options->trainer, "NAME", "dnn or torch; default dnn" },
        { "mode", 'm', SETTING_TEXT, &train->mode, "MODE", "average, sync or sweep; default sweep with several configurations, else average" },
        { "peers", 'p', SETTING_COUNT, &options->peers, "N", "nodes to train on; default one for each --peer, or 1" },
        { "set", 's', SETTING_REPEAT, &train->set, "SETTINGS", "lr, batch, epochs, hidden, optimizer, momentum, decay, seed: lr=1e-3,batch=64" },
        { "peer", 0, SETTING_REPEAT, &train->configurations, "SETTINGS", "a configuration of a sweep; repeat for more" },
        { "sweep", 0, SETTING_REPEAT, &train->sweep, "KEY=A,B", "try each value; repeated, all combinations" },
        { "halving", 0, SETTING_FLAG, &options->halving, NULL, "sweep: cut the worse half after 1, 2, 4 ... epochs" },
        { "local-steps", 0, SETTING_COUNT, &options->local_steps, "N", "average: steps between averages; sync: between checkpoints; default 200, an epoch at most" },
        { "checkpoint", 0, SETTING_COUNT, &options->checkpoint, "N", "average: rounds between checkpoints; default 10" },
        { "quorum", 0, SETTING_COUNT, &options->quorum, "N", "average: updates that end a round; the late are cut; default all" },
        { "int8", 0, SETTING_FLAG, &options->int8, NULL, "average: peers send changes of a byte each" },
        { "name", 'n', SETTING_TEXT, &options->name, "NAME", "of the session; default the table's file name" },
        { "publish", 0, SETTING_TEXT, &train->publish.name, "NAME", "publish the outcome as a version of this model" },
        { "image", 0, SETTING_TEXT, &train->image, "WxH", "with --publish: the columns are grey images, row by row: take photos, too" },
        { "plot", 0, SETTING_TEXT, &train->plot, "FILE", "write the learning curves there, as SVG, when it has ended" },
        { "detach", 0, SETTING_FLAG, &train->detach, NULL, "end when the session has started; it goes on without you" },
    };
    const struct cli_usage usage = { "cpn train", "--csv FILE --label COLUMN [--peers N] [--publish NAME] …",
        "Train a model on a table with nodes of the network, and watch. Ctrl-C ends the watching, not the session (cpn sessions). With\n"
        "--json, one object a line. Status 1: it failed or was stopped.\n", items, sizeof items / sizeof *items, 0, 0 };
    return cli_parse(&train->cli, &usage, argc, argv, status);
}

int command_train(int argc, char **argv)
{
    struct train train = { .options = CPN_SESSION_OPTIONS_INIT, .publish = CPN_SESSION_PUBLISH_OPTIONS_INIT, .validation = 0.1 };
    int status;
    if (parse(&train, argc, argv, &status) < 0) {
        return status;
    }
    status = set_options(&train) ? train_and_watch(&train) : EXIT_CODE_USAGE;
    free(train.settings);
    return cli_end(&train.cli, status);
}
