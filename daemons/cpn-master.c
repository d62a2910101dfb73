/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The master as a program: settings in, <cpn/master.h>, signals, and what a person needs to go on after the first start. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cpn/context.h>
#include <cpn/master.h>

#include "common/exitcode.h"
#include "common/logprint.h"
#include "common/paths.h"
#include "common/readyfile.h"
#include "common/settings.h"
#include "common/signals.h"

#define JOIN_TTL_MS 3600000 /* of the lines of the first start: long enough to paste them, too short to be found later */
#define JOIN_USES 16        /* machines or people that a first evening brings together */
#define HEARTBEAT_MS 1000   /* the library's defaults */
#define GONE_MS 3000

struct join_line {
    char text[CPN_LINE];
};

struct arguments {
    const char *data, *name, *context, *ready_file, *log_level, *log_format;
    bool adopt_copy;
    struct setting_list listen, advertise;
    uint64_t heartbeat, gone, user_bytes_max, task_bytes_max, spool_bytes_max;
    uint32_t tasks_max, user_tasks_max, poison_attempts;
};

/* What the first start made, or the one after a first start that did not get so far (its port was taken, or it was killed). */
struct first_start {
    bool made;
    char context[PATHS_MAX];
    bool context_is_default; /* where `cpn` finds it by itself */
    struct join_line nodes, users;
};

static const char about[]
    = "The master of a network: the one program that nodes and clients connect to. The first start with an empty DIR makes a new\n"
      "network, its keys and the first administrator, and prints the lines with which nodes and users join.\n";

static bool check(const struct arguments *a)
{
    if (a->data == NULL) {
        fprintf(stderr, "cpn-master: --data DIR is missing: where keys, state and models are kept\n");
        return false;
    }
    if ((a->gone != 0 ? a->gone : GONE_MS) < 2 * (a->heartbeat != 0 ? a->heartbeat : HEARTBEAT_MS)) {
        fprintf(stderr, "cpn-master: --gone must be at least twice --heartbeat: one late sign of life is no death\n");
        return false;
    }
    return true;
}

static int parse(int argc, char **argv, struct arguments *arguments, struct settings *settings, int *status)
{
    struct arguments *a = arguments;
    const struct setting items[] = {
        { "data", 'd', SETTING_TEXT, &a->data, "DIR", "keys, state and models; made if it does not exist" },
        { "listen", 'l', SETTING_LIST, &a->listen, "tcp://ADDRESS:PORT", "default tcp://*:7130, all interfaces" },
        { "advertise", 'a', SETTING_LIST, &a->advertise, "HOST:PORT", "what join lines say instead of this machine's addresses" },
        { "name", 'n', SETTING_TEXT, &a->name, "NAME", "of the network; default the host's name" },
        { "admin-context", 0, SETTING_TEXT, &a->context, "FILE", "where the first start puts the administrator's context" },
        { "adopt-copy", 0, SETTING_FLAG, &a->adopt_copy, NULL, "accept a DIR that was copied or restored from a backup" },
        { "heartbeat", 0, SETTING_TIME, &a->heartbeat, "TIME", "between signs of life; default 1s" },
        { "gone", 0, SETTING_TIME, &a->gone, "TIME", "of silence after which a node is gone; default 3s" },
        { "tasks-max", 0, SETTING_COUNT, &a->tasks_max, "N", "tasks accepted and unfinished; default 100000" },
        { "task-bytes-max", 0, SETTING_BYTES, &a->task_bytes_max, "SIZE", "small inputs and results in memory; default 256MiB" },
        { "user-tasks-max", 0, SETTING_COUNT, &a->user_tasks_max, "N", "the same for one user; default 4096" },
        { "user-bytes-max", 0, SETTING_BYTES, &a->user_bytes_max, "SIZE", "likewise; default 64MiB" },
        { "spool-bytes-max", 0, SETTING_BYTES, &a->spool_bytes_max, "SIZE", "large inputs and results on disk; default 8GiB" },
        { "poison-attempts", 0, SETTING_COUNT, &a->poison_attempts, "N", "crashes after which a task is parked; default 3" },
        { "ready-file", 0, SETTING_TEXT, &a->ready_file, "FILE", "written when ready: pid, port, key and join lines" },
        { "log-level", 0, SETTING_TEXT, &a->log_level, "LEVEL", "debug, info, warn or error; default info" },
        { "log-format", 0, SETTING_TEXT, &a->log_format, "FORMAT", "text or json; default text on a terminal" },
    };
    const struct setting_table table = { "master", items, sizeof items / sizeof *items };
    const struct program program = { "cpn-master", "--data DIR [--listen tcp://*:7130] [--advertise HOST:PORT]", about, &table, 1, 0, 0 };
    if (settings_parse(&program, argc, argv, settings, status) < 0) {
        return -1;
    }
    if (check(a)) {
        return 0;
    }
    settings_free(settings);
    *status = EXIT_CODE_USAGE;
    return -1;
}

static int open_master(const struct arguments *arguments, struct logprint *log, struct cpn_master **out)
{
    struct cpn_master_options options = CPN_MASTER_OPTIONS_INIT;
    options.data_dir = arguments->data;
    options.create = true;
    options.adopt_copy = arguments->adopt_copy;
    options.name = arguments->name;
    options.listen = arguments->listen.count > 0 ? arguments->listen.items : NULL;
    options.advertise = arguments->advertise.count > 0 ? arguments->advertise.items : NULL;
    options.heartbeat_ms = (uint32_t)arguments->heartbeat;
    options.gone_ms = (uint32_t)arguments->gone;
    options.tasks_max = arguments->tasks_max;
    options.task_bytes_max = arguments->task_bytes_max;
    options.user_tasks_max = arguments->user_tasks_max;
    options.user_bytes_max = arguments->user_bytes_max;
    options.spool_bytes_max = arguments->spool_bytes_max;
    options.poison_attempts = arguments->poison_attempts;
    options.log = logprint;
    options.log_arg = log;
    char detail[CPN_DETAIL] = "";
    int rc = cpn_master_open(&options, out, detail);
    if (rc < 0) {
        fprintf(stderr, "cpn-master: %s\n", *detail != 0 ? detail : cpn_strerror(rc));
    }
    return rc;
}

/* ---- the first start ---- */

static const char *user_name(void)
{
    const struct passwd *user = getpwuid(getuid());
    return user != NULL ? user->pw_name : "admin";
}

static int put_context(struct cpn_master *master, const char *path)
{
    int error = paths_make_parent(path);
    if (error != 0) {
        fprintf(stderr, "cpn-master: cannot make the directory of %s: %s\n", path, strerror(error));
        return CPN_EIO;
    }
    int rc = cpn_master_admin_context(master, user_name(), path);
    if (rc < 0 && rc != CPN_EEXISTS) {
        const char *detail = cpn_master_detail(master);
        fprintf(stderr, "cpn-master: %s: %s\n", path, *detail != 0 ? detail : cpn_strerror(rc));
    }
    return rc;
}

/* The administrator's context goes where `cpn` looks for it, unless one of another network is there. */
static int make_context(struct cpn_master *master, const struct arguments *arguments, struct first_start *first)
{
    int rc = CPN_EEXISTS;
    first->context_is_default = arguments->context == NULL && paths_context(first->context, sizeof first->context);
    if (first->context_is_default) {
        rc = put_context(master, first->context);
    }
    if (rc == CPN_EEXISTS) {
        first->context_is_default = false;
        int length = arguments->context != NULL ? snprintf(first->context, sizeof first->context, "%s", arguments->context)
                                                : snprintf(first->context, sizeof first->context, "%s/admin.context", arguments->data);
        rc = length < (int)sizeof first->context ? put_context(master, first->context) : CPN_EINVAL;
    }
    if (rc == CPN_EEXISTS) {
        fprintf(stderr, "cpn-master: %s\n", cpn_master_detail(master));
    }
    return rc;
}

static int make_first(struct cpn_master *master, const struct arguments *arguments, struct first_start *first)
{
    int rc = make_context(master, arguments, first);
    if (rc < 0) {
        return rc;
    }
    rc = cpn_master_join_line(master, CPN_ROLE_NODE, JOIN_TTL_MS, JOIN_USES, first->nodes.text);
    if (rc == 0) {
        rc = cpn_master_join_line(master, CPN_ROLE_USER, JOIN_TTL_MS, JOIN_USES, first->users.text);
    }
    if (rc < 0) {
        const char *detail = cpn_master_detail(master);
        fprintf(stderr, "cpn-master: cannot make join lines: %s; the administrator's context is %s\n",
                *detail != 0 ? detail : cpn_strerror(rc), first->context);
    }
    first->made = rc == 0;
    return rc;
}

static void tell_first(const struct cpn_master *master, const struct arguments *arguments, const struct first_start *first)
{
    printf(cpn_master_created(master) ? "Made a new network '%s' in %s.\n\n" : "The network '%s' in %s had no administrator yet.\n\n",
           cpn_master_name(master), arguments->data);
    printf("You are its administrator; the context is %s (keep it secret).\n", first->context);
    if (!first->context_is_default) {
        printf("Use it with: cpn COMMAND --context %s  or  export CPN_CONTEXT=%s\n", first->context, first->context);
    }
    printf("\nOn each machine that is to work, within one hour:\n  cpn-worker --data ./w1 --join '%s'\n", first->nodes.text);
    printf("\nFor each other person (or account), within one hour:\n  cpn join '%s'\n", first->users.text);
    printf("\nEach line is good for %d of them. More: cpn token create --role node|user|admin\n\n", JOIN_USES);
}

static void tell(const struct cpn_master *master, const struct arguments *arguments, const struct first_start *first)
{
    if (first->made) {
        tell_first(master, arguments, first);
    } else {
        printf("Network '%s' of %s. Join lines: cpn token create --role node|user|admin\n", cpn_master_name(master), arguments->data);
    }
    fflush(stdout);
}

static bool tell_programs(const struct cpn_master *master, const struct arguments *arguments, const struct first_start *first)
{
    if (arguments->ready_file == NULL) {
        return true;
    }
    struct cpn_key id = cpn_master_key(master);
    char key[CPN_KEY_TEXT];
    char text[3 * CPN_LINE + PATHS_MAX];
    int length = snprintf(text, sizeof text, "pid=%d\nport=%d\nkey=%s\n", (int)getpid(), cpn_master_port(master), cpn_key_text(&id, key));
    if (first->made) {
        snprintf(text + length, sizeof text - (size_t)length, "context=%s\nnode_join=%s\nuser_join=%s\n", first->context,
                 first->nodes.text, first->users.text);
    }
    return readyfile_write("cpn-master", arguments->ready_file, text);
}

/* ---- running ---- */

static void stop(void *master)
{
    cpn_master_stop(master);
}

static int run(struct cpn_master *master, const struct arguments *arguments)
{
    struct first_start *first = calloc(1, sizeof *first);
    int rc = first == NULL ? CPN_ENOMEM : cpn_master_has_admin(master) ? 0 : make_first(master, arguments, first);
    if (rc < 0) {
        free(first);
        return exit_code_of(rc);
    }
    tell(master, arguments, first);
    bool told = tell_programs(master, arguments, first);
    free(first);
    if (!told) {
        return EXIT_CODE_MACHINE;
    }
    signals_install(stop, master);
    rc = cpn_master_run(master);
    signals_restore();
    if (rc < 0) {
        const char *detail = cpn_master_detail(master);
        fprintf(stderr, "cpn-master: %s\n", *detail != 0 ? detail : cpn_strerror(rc));
    }
    return exit_code_of(rc);
}

int main(int argc, char **argv)
{
    struct arguments arguments = { 0 };
    struct settings settings;
    struct logprint log;
    struct cpn_master *master = NULL;
    int status = EXIT_CODE_USAGE;
    if (parse(argc, argv, &arguments, &settings, &status) < 0) {
        return status;
    }
    if (logprint_init(&log, arguments.log_level, arguments.log_format)) {
        int rc = open_master(&arguments, &log, &master);
        status = rc < 0 ? exit_code_of(rc) : run(master, &arguments);
        cpn_master_close(master);
    }
    settings_free(&settings);
    return status;
}
