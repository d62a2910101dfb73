/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See facetrain.h. The bundle grows in a directory beside its place and is renamed when it is whole, so that a
 * cancelled or failed training leaves nothing that looks like a model. */
#include "facetrain.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "compute/plugins.h"
#include "compute/runner.h"
#include "compute/runner_proto.h"

#define BACKEND "opencv.face"
#define LOOK_US 200000 /* how soon a cancellation is seen while the runner is silent */

struct training {
    struct cpni_runner runner;
    char line[1024];
    size_t line_size;
    int (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total);
    void *arg;
    char stage[64];
    uint64_t done, total;
    bool finished; /* the result has come */
    int code;
    char *detail;
};

/* ---- the directory ---- */

static void remove_flat(const char *dir)
{
    DIR *stream = opendir(dir);
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            unlinkat(dirfd(stream), entry->d_name, 0);
        }
    }
    if (stream != NULL) {
        closedir(stream);
    }
    rmdir(dir);
}

static int make_partial(const char *out, char partial[PATH_MAX], char *detail)
{
    struct stat status;
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/') {
        length--; /* beside it, not in it */
    }
    if (length == 0 || length > PATH_MAX - 16) {
        snprintf(detail, CPN_BACKEND_DETAIL, "the bundle's directory has no usable name");
        return CPN_EINVAL;
    }
    snprintf(partial, PATH_MAX, "%.*s.part-XXXXXX", (int)length, out);
    if (mkdtemp(partial) == NULL) {
        snprintf(
            detail, CPN_BACKEND_DETAIL, "cannot make a directory for the bundle beside %s: %s", out, strerror(errno));
        return CPN_EIO;
    }
    if (lstat(out, &status) == 0 && !S_ISDIR(status.st_mode)) {
        snprintf(detail, CPN_BACKEND_DETAIL, "%s is there already and is no directory", out);
        rmdir(partial);
        return CPN_EEXISTS;
    }
    return 0;
}

static int publish(const char *partial, const char *out, char *detail)
{
    if (rename(partial, out) == 0) { /* replaces an empty directory, nothing else */
        return 0;
    }
    int error = errno;
    bool full = error == ENOTEMPTY || error == EEXIST;
    snprintf(detail, CPN_BACKEND_DETAIL, "cannot put the bundle at %s: %s", out,
        full ? "the directory is not empty; name a new one" : strerror(error));
    return full ? CPN_EEXISTS : CPN_EIO;
}

/* ---- the runner's lines ---- */

static void take_line(struct training *training)
{
    unsigned long long done;
    unsigned long long total;
    int at = 0;
    if (sscanf(training->line, "progress %llu %llu %63[^\n]", &done, &total, training->stage) == 3) {
        training->done = done;
        training->total = total;
    } else if (sscanf(training->line, "result %d %n", &training->code, &at) == 1 && at > 0) {
        training->finished = true;
        snprintf(training->detail, CPN_BACKEND_DETAIL, "%.250s", training->line + at);
    }
}

/* False at the end. */
static bool read_some(struct training *training)
{
    char bytes[512];
    ssize_t got = read(training->runner.fd, bytes, sizeof bytes);
    if (got == 0 || (got < 0 && errno != EINTR)) {
        return false;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] == '\n') {
            training->line[training->line_size] = 0;
            take_line(training);
            training->line_size = 0;
        } else if (training->line_size < sizeof training->line - 1) {
            training->line[training->line_size++] = bytes[i];
        }
    }
    return true;
}

static int follow(struct training *training)
{
    for (;;) {
        enum cpni_runner_wait wait = cpni_runner_wait(&training->runner, -1, cpni_now_us() + LOOK_US);
        if (wait == CPNI_WAIT_READY && !read_some(training)) {
            return 0;
        }
        if (training->progress != NULL
            && training->progress(training->arg, training->stage, training->done, training->total) != 0) {
            snprintf(training->detail, CPN_BACKEND_DETAIL, "cancelled");
            return CPN_ECANCELLED;
        }
    }
}

/* ---- the call ---- */

static int make_arguments(const struct cpni_train_faces_options *options, const char *plugin, const char *partial,
    const char **args, char *parent, struct cpni_buf *texts)
{
    const char *fixed[] = { "cpn-runner", "--build", parent, plugin, options->from, partial };
    size_t count = 0;
    for (; count < sizeof fixed / sizeof *fixed; count++) {
        args[count] = fixed[count];
    }
    for (size_t i = 0; i < options->param_count; i++) {
        cpni_buf_printf(texts, "%s=%s%c", options->params[i].key, options->params[i].value, 0);
    }
    if (texts->failed) {
        return CPN_ENOMEM;
    }
    const char *at = (const char *)texts->data;
    for (size_t i = 0; i < options->param_count; i++, at += strlen(at) + 1) {
        args[count++] = at; /* only now: the buffer moves while it grows */
    }
    args[count] = NULL;
    return 0;
}

static int run(const struct cpni_train_faces_options *options, const char *partial, struct training *training)
{
    struct cpni_compute_paths paths;
    cpni_compute_paths(options->runner, options->plugins, &paths);
    char plugin[PATH_MAX + 64];
    snprintf(plugin, sizeof plugin, "%s/cpn-backend-" BACKEND ".so", paths.plugins);
    if (access(plugin, R_OK) < 0) {
        snprintf(training->detail, CPN_BACKEND_DETAIL,
            "training needs the backend " BACKEND ", which is not installed (no %.120s)", plugin);
        return CPN_ENOTSUP;
    }
    const char *args[CPNI_RUNNER_PARAMS_MAX + 8];
    char parent[32];
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    struct cpni_buf texts = { 0 };
    int rc = make_arguments(options, plugin, partial, args, parent, &texts);
    if (rc == 0) {
        rc = cpni_runner_spawn_tool(paths.runner, args, &training->runner, training->detail);
    }
    cpni_buf_free(&texts);
    if (rc != 0) {
        return rc;
    }
    rc = follow(training);
    char how[64];
    cpni_runner_end(&training->runner, how, sizeof how);
    if (rc == 0 && !training->finished) {
        snprintf(training->detail, CPN_BACKEND_DETAIL, "the training crashed (%s)", how);
        return CPN_ECRASHED;
    }
    return rc != 0 ? rc : training->code;
}

int cpni_train_faces(const struct cpni_train_faces_options *options,
    int (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total), void *arg,
    char detail[CPN_BACKEND_DETAIL])
{
    if (options->from == NULL || options->out == NULL || options->param_count > CPNI_RUNNER_PARAMS_MAX) {
        snprintf(detail, CPN_BACKEND_DETAIL, "expected a directory of photos and one for the bundle");
        return CPN_EINVAL;
    }
    char partial[PATH_MAX];
    detail[0] = 0;
    int rc = make_partial(options->out, partial, detail);
    if (rc != 0) {
        return rc;
    }
    struct training training = { .progress = progress, .arg = arg, .detail = detail, .stage = "starting" };
    rc = run(options, partial, &training);
    if (rc == 0) {
        rc = publish(partial, options->out, detail);
    }
    if (rc != 0) {
        remove_flat(partial);
    }
    return rc < 0 ? rc : 0;
}
