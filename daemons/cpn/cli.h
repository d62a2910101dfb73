/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the commands of `cpn` share: the settings that all of them take, the connection, and how failures and JSON are printed. */
#ifndef CPN_CLI_H
#define CPN_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include <cpn/client.h>

#include "common/exitcode.h"
#include "common/logprint.h"
#include "common/progress.h"
#include "common/settings.h"
#include "common/table.h"

struct cli {
    const char *name; /* "cpn predict" */
    const char *context_path, *spool_dir, *log_level, *log_format;
    bool json;
    uint64_t timeout; /* ms; for each answer of the master */
    struct settings settings;
    struct logprint log;
    struct progress progress;
    struct cpn_context *context;
    struct cpn_client *client;
};

/* One command, as help and the command line see it. */
struct cli_usage {
    const char *name, *synopsis, *about;
    const struct setting *items; /* flags of this command alone */
    size_t count;
    int operands_min, operands_max;
};

/* Read the settings. Returns the index of the first operand, or -1 when the command is to end with *status. */
int cli_parse(struct cli *cli, const struct cli_usage *usage, int argc, char **argv, int *status);

/* Load the context and wait for the master's welcome. 0, or the exit status after a sentence on stderr. */
int cli_connect(struct cli *cli);
void cli_close(struct cli *cli);

/* Parse, connect: what most commands begin with. True when it is done; otherwise *status is what to end with. */
bool cli_begin(struct cli *cli, const struct cli_usage *usage, int argc, char **argv, int *first, int *status);
/* Close and hand the status through. */
int cli_end(struct cli *cli, int status);

/* Where this user's context is: --context, CPN_CONTEXT, cpn.conf, or the usual place. False after a sentence on stderr. */
bool cli_context_path(const struct cli *cli, char *path, size_t room);

/* Tell on stderr that `what` ("" or "token create") failed, in the client's words if it has some. Returns the exit status. */
int cli_fail(struct cli *cli, const char *what, int error);

int cli_timeout_ms(const struct cli *cli);

/* Print a JSON value, then release it. */
void cli_print_json(json_t *value, bool on_one_line);
json_t *cli_json_text(const char *text); /* a string, whatever bytes there are */
json_t *cli_json_history(const struct cpn_history *history);
/* FIRST JOIN, LAST SEEN, >TASKS, >FAILED, >BUSY, >IN, >OUT of the row. */
void cli_history_cells(struct table *table, const struct cpn_history *history);

#endif
