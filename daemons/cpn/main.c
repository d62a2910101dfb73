/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* `cpn`: finds the command by its one or two words. */
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "common/exitcode.h"

static const struct command {
    const char *first, *second; /* "model", "push"; second "" when there is only one word */
    int (*run)(int argc, char **argv);
    const char *about;
} commands[] = {
    { "join", "", command_join, "join a network as a user, with a line that its master printed" },
    { "predict", "", command_predict, "send photos or the rows of a table to a model; annotated copies, labels and confidences come back" },
    { "models", "", command_models, "the models of the network, and where they are ready" },
    { "model", "train-faces", command_model_train_faces, "make a face model from folders of photos named by person" },
    { "model", "push", command_model_push, "publish a bundle as a new version, and wait for the nodes" },
    { "model", "rm", command_model_rm, "take a version out of service" },
    { "train", "", command_train, "train a model on a table with the nodes, and watch; --publish to serve it" },
    { "sessions", "", command_sessions, "the training sessions" },
    { "sessions", "show", command_sessions_show, "all about one: lanes, epochs, outcome; --csv, --plot" },
    { "sessions", "watch", command_sessions_watch, "watch one until it ends" },
    { "sessions", "stop", command_sessions_stop, "stop one; what was learned is kept" },
    { "sessions", "export", command_sessions_export, "its outcome as ONNX" },
    { "sessions", "publish", command_sessions_publish, "its outcome as a model of the network" },
    { "nodes", "", command_nodes, "the nodes: state, slots, load; --stats for their history" },
    { "node", "drain", command_node_drain, "give a node no new tasks" },
    { "node", "resume", command_node_resume, "give it tasks again" },
    { "node", "revoke", command_node_revoke, "shut a node out for good" },
    { "users", "", command_users, "the users; --stats for their history" },
    { "user", "revoke", command_user_revoke, "shut a user out for good" },
    { "user", "grant-publish", command_user_grant_publish, "let a user publish models" },
    { "user", "deny-publish", command_user_deny_publish, "take that back" },
    { "tasks", "", command_tasks, "the tasks that are not finished, and why they wait" },
    { "events", "", command_events, "what happened lately; --follow to stay" },
    { "token", "create", command_token_create, "a line with which nodes, users or administrators join" },
    { "token", "list", command_token_list, "the tokens that were made" },
    { "token", "revoke", command_token_revoke, "make a token useless" },
};
#define COMMANDS (sizeof commands / sizeof *commands)

static void help(FILE *to)
{
    fputs("usage: cpn COMMAND …\n\n", to);
    for (size_t i = 0; i < COMMANDS; i++) {
        char words[40];
        snprintf(words, sizeof words, "%s%s%s", commands[i].first, *commands[i].second != 0 ? " " : "", commands[i].second);
        fprintf(to, "  %-20s %s\n", words, commands[i].about);
    }
    fputs("  help, version\n\ncpn COMMAND --help tells more. Exit status: 0 done, 1 some of the work failed, 2 usage, 3 nobody answered,\n"
          "4 refused by the network, 5 bad input, 6 trouble with this machine, 130 interrupted.\n", to);
}

/* "sessions" alone is a command, and so is "sessions show": the second word decides when there is one. */
static const struct command *find(const char *first, const char *second)
{
    const struct command *alone = NULL;
    bool has_second_words = false;
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].first, first) != 0) {
            continue;
        }
        if (*commands[i].second == 0) {
            alone = &commands[i];
        } else if (strcmp(commands[i].second, second) == 0) {
            return &commands[i];
        }
        has_second_words = has_second_words || *commands[i].second != 0;
    }
    return has_second_words && *second != 0 && *second != '-' ? NULL : alone;
}

/* The second words of a first one, for who left it out or misspelt it. */
static int unknown(const char *first, const char *second)
{
    fprintf(stderr, "cpn: no such command: %s%s%s", first, *second != 0 ? " " : "", second);
    const char *before = "; there is ";
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].first, first) == 0 && *commands[i].second != 0) {
            fprintf(stderr, "%scpn %s %s", before, first, commands[i].second);
            before = ", ";
        }
    }
    fputs(strcmp(before, ", ") == 0 ? "\n" : "; see cpn help\n", stderr);
    return EXIT_CODE_USAGE;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* for the width of characters only: numbers stay as programs expect them */
    if (argc < 2) {
        help(stderr);
        return EXIT_CODE_USAGE;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help(stdout);
        return EXIT_CODE_OK;
    }
    if (strcmp(argv[1], "version") == 0 || strcmp(argv[1], "--version") == 0) {
        printf("cpn %s\n", CPN_PROGRAM_VERSION);
        return EXIT_CODE_OK;
    }
    const char *second = argc > 2 ? argv[2] : "";
    const struct command *command = find(argv[1], second);
    if (command == NULL) {
        return unknown(argv[1], second);
    }
    int words = *command->second != 0 ? 2 : 1;
    return command->run(argc - words, argv + words);
}
