/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The worker as a program: join once, then <cpn/worker.h> until a signal. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cpn/context.h>
#include <cpn/worker.h>

#include "common/exitcode.h"
#include "common/logprint.h"
#include "common/paths.h"
#include "common/readyfile.h"
#include "common/settings.h"
#include "common/signals.h"

struct arguments {
    const char *data, *join, *name, *libexec_dir, *plugin_dir, *ready_file, *log_level, *log_format;
    uint32_t slots;
    uint64_t runner_memory, disk_bytes, join_timeout;
};

static const char about[]
    = "A node's program: it joins a network, keeps the models that the master gives it, and runs tasks. A line that the master printed\n"
      "(or `cpn token create --role node`) is needed once; afterwards DIR knows who this node is and --join is ignored.\n";

static int parse(int argc, char **argv, struct arguments *a, struct settings *settings, int *status)
{
    const struct setting items[] = {
        { "data", 'd', SETTING_TEXT, &a->data, "DIR", "this node's keys and models; made if it does not exist" },
        { "join", 'j', SETTING_TEXT, &a->join, "LINE", "cpn://… as the master printed it; ignored once DIR is enrolled" },
        { "name", 'n', SETTING_TEXT, &a->name, "NAME", "of this node, when it joins; default the host's name" },
        { "join-timeout", 0, SETTING_TIME, &a->join_timeout, "TIME", "to try to reach the master for joining; default 60s" },
        { "slots", 's', SETTING_COUNT, &a->slots, "N", "tasks at a time; default one per core" },
        { "runner-memory", 0, SETTING_BYTES, &a->runner_memory, "SIZE", "for models kept warm; default a quarter of the machine's" },
        { "disk-bytes", 0, SETTING_BYTES, &a->disk_bytes, "SIZE", "for models and files in passing; default what the disk has" },
        { "libexec-dir", 0, SETTING_TEXT, &a->libexec_dir, "DIR", "where cpn-runner is; default beside this program or installed" },
        { "plugin-dir", 0, SETTING_TEXT, &a->plugin_dir, "DIR", "where the backends are; likewise" },
        { "ready-file", 0, SETTING_TEXT, &a->ready_file, "FILE", "written when it starts to serve: pid and name" },
        { "log-level", 0, SETTING_TEXT, &a->log_level, "LEVEL", "debug, info, warn or error; default info" },
        { "log-format", 0, SETTING_TEXT, &a->log_format, "FORMAT", "text or json; default text on a terminal" },
    };
    const struct setting_table table = { "worker", items, sizeof items / sizeof *items };
    const struct program program = { "cpn-worker", "--data DIR [--join LINE] [--slots N] [--name NAME]", about, &table, 1, 0, 0 };
    if (settings_parse(&program, argc, argv, settings, status) < 0) {
        return -1;
    }
    if (a->data == NULL) {
        fprintf(stderr, "cpn-worker: --data DIR is missing: where this node's keys and models are kept\n");
        settings_free(settings);
        *status = EXIT_CODE_USAGE;
        return -1;
    }
    return 0;
}

/* Who this node is: from DIR, or by joining. */
static int enrol(const struct arguments *arguments, struct cpn_context **out)
{
    char path[PATHS_MAX];
    char detail[CPN_DETAIL] = "";
    int error = paths_make(arguments->data, 0700);
    if (error == 0 && access(arguments->data, W_OK | X_OK) != 0) {
        error = errno;
    }
    if (error != 0 || snprintf(path, sizeof path, "%s/context", arguments->data) >= (int)sizeof path) {
        fprintf(stderr, "cpn-worker: cannot use the data directory %s: %s\n", arguments->data, strerror(error));
        return CPN_EIO;
    }
    if (arguments->join == NULL && access(path, F_OK) != 0) {
        fprintf(stderr, "cpn-worker: %s has not joined a network: start once with --join 'cpn://…' "
                        "(`cpn token create --role node` prints a line)\n", arguments->data);
        return CPN_EINVAL;
    }
    int rc = arguments->join == NULL ? cpn_context_load(path, out, detail)
                                     : cpn_context_join(arguments->join, arguments->name, CPN_ROLE_NODE, path,
                                                        (int)arguments->join_timeout, out, detail);
    if (rc < 0) {
        fprintf(stderr, "cpn-worker: %s\n", *detail != 0 ? detail : cpn_strerror(rc));
    }
    return rc;
}

static int open_worker(const struct arguments *arguments, const struct cpn_context *context, struct logprint *log, struct cpn_worker **out)
{
    struct cpn_worker_options options = CPN_WORKER_OPTIONS_INIT;
    options.context = context;
    options.data_dir = arguments->data;
    options.slots = arguments->slots;
    options.runner_memory = arguments->runner_memory;
    options.disk_bytes = arguments->disk_bytes;
    options.libexec_dir = arguments->libexec_dir;
    options.plugin_dir = arguments->plugin_dir;
    options.log = logprint;
    options.log_arg = log;
    char detail[CPN_DETAIL] = "";
    int rc = cpn_worker_open(&options, out, detail);
    if (rc < 0) {
        fprintf(stderr, "cpn-worker: %s\n", *detail != 0 ? detail : cpn_strerror(rc));
    }
    return rc;
}

static void stop(void *worker)
{
    cpn_worker_stop(worker);
}

static int run(struct cpn_worker *worker, const struct arguments *arguments)
{
    char text[64 + CPN_NAME];
    snprintf(text, sizeof text, "pid=%d\nname=%s\n", (int)getpid(), cpn_worker_name(worker));
    if (arguments->ready_file != NULL && !readyfile_write("cpn-worker", arguments->ready_file, text)) {
        return EXIT_CODE_MACHINE;
    }
    signals_install(stop, worker);
    int rc = cpn_worker_run(worker);
    signals_restore();
    if (rc < 0) {
        const char *detail = cpn_worker_detail(worker);
        fprintf(stderr, "cpn-worker: %s\n", *detail != 0 ? detail : cpn_strerror(rc));
    }
    return exit_code_of(rc);
}

static int serve(const struct arguments *arguments)
{
    struct logprint log;
    struct cpn_context *context = NULL;
    struct cpn_worker *worker = NULL;
    if (!logprint_init(&log, arguments->log_level, arguments->log_format)) {
        return EXIT_CODE_USAGE;
    }
    int rc = enrol(arguments, &context);
    if (rc == 0) {
        rc = open_worker(arguments, context, &log, &worker);
    }
    int status = rc < 0 ? exit_code_of(rc) : run(worker, arguments);
    cpn_worker_close(worker);
    cpn_context_free(context);
    return status;
}

int main(int argc, char **argv)
{
    struct arguments arguments = { .join_timeout = 60000 };
    struct settings settings;
    int status = EXIT_CODE_USAGE;
    if (parse(argc, argv, &arguments, &settings, &status) < 0) {
        return status;
    }
    status = serve(&arguments);
    settings_free(&settings);
    return status;
}
