/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See plugins.h. */
#include "plugins.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cpn/backend.h>
#include <cpn/error.h>

#include "compute/runner.h"

#define DESCRIBE_TIMEOUT_US 30000000 /* a cold disk and 130 libraries */

/* ---- where things are ---- */

static bool first_that_exists(const char *base, const char *const *candidates, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) {
        char path[PATH_MAX];
        int length = snprintf(path, sizeof path, "%s%s", candidates[i][0] == '/' ? "" : base, candidates[i]);
        if (length > 0 && (size_t)length < sizeof path && access(path, R_OK) == 0) {
            memcpy(out, path, (size_t)length + 1);
            return true;
        }
    }
    return false;
}

void cpni_compute_paths(const char *runner, const char *plugins, struct cpni_compute_paths *out)
{
    static const char *const runners[] = { "cpn-runner", "../libexec/cpn/cpn-runner", CPN_RUNNER_PATH };
    static const char *const directories[]
        = { "../lib/cpn/backends", "../" CPN_LIBDIR "/cpn/backends", CPN_PLUGIN_PATH };
    static const char *const trainers[]
        = { "../lib/cpn/trainers", "../" CPN_LIBDIR "/cpn/trainers", CPN_PLUGIN_PATH "/../trainers" };
    char base[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", base, sizeof base - 1);
    base[length > 0 ? length : 0] = 0;
    char *slash = strrchr(base, '/');
    slash = slash != NULL ? slash + 1 : base;
    *slash = 0;
    if (runner != NULL) {
        snprintf(out->runner, sizeof out->runner, "%s", runner);
    } else if (!first_that_exists(base, runners, sizeof runners / sizeof *runners, out->runner)) {
        snprintf(out->runner, sizeof out->runner, "%s", CPN_RUNNER_PATH); /* the message names it */
    }
    if (plugins != NULL) {
        snprintf(out->plugins, sizeof out->plugins, "%s", plugins);
    } else if (!first_that_exists(base, directories, sizeof directories / sizeof *directories, out->plugins)) {
        snprintf(out->plugins, sizeof out->plugins, "%s", CPN_PLUGIN_PATH);
    }
    if (plugins != NULL || !first_that_exists(base, trainers, sizeof trainers / sizeof *trainers, out->trainers)) {
        snprintf(out->trainers, sizeof out->trainers, "%.*s/../trainers", PATH_MAX - 16, out->plugins);
    }
}

/* ---- what they are ---- */

/* What the runner prints, up to room bytes, 0-terminated. */
static void read_all(const struct cpni_runner *tool, char *text, size_t room)
{
    size_t size = 0;
    int64_t deadline_us = cpni_now_us() + DESCRIBE_TIMEOUT_US;
    while (size < room - 1 && cpni_runner_wait(tool, -1, deadline_us) == CPNI_WAIT_READY) {
        ssize_t got = read(tool->fd, text + size, room - 1 - size);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            break;
        }
        size += got > 0 ? (size_t)got : 0;
    }
    text[size] = 0;
}

/* A process for each: one that crashes its loader takes no other with it. */
static bool describe(const char *runner, const char *dir, const char *file, struct cpni_backend_info *out)
{
    char path[PATH_MAX + NAME_MAX + 2];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    const char *args[] = { "cpn-runner", "--describe", path, NULL };
    char detail[CPN_BACKEND_DETAIL];
    char text[256];
    struct cpni_runner tool;
    if (cpni_runner_spawn_tool(runner, args, &tool, detail) != 0) {
        return false;
    }
    read_all(&tool, text, sizeof text);
    char how[64];
    cpni_runner_end(&tool, how, sizeof how);
    return sscanf(text, "%63s %31s", out->name, out->version) == 2; /* the widths of the fields, less one */
}

static bool is_plugin(const char *name, const char *prefix)
{
    size_t length = strlen(name), skip = strlen(prefix);
    return strncmp(name, prefix, skip) == 0 && length > skip + 3 && strcmp(name + length - 3, ".so") == 0;
}

static int is_backend(const struct dirent *entry)
{
    return is_plugin(entry->d_name, "cpn-backend-");
}

static int is_trainer(const struct dirent *entry)
{
    return is_plugin(entry->d_name, "cpn-trainer-");
}

static int list(const char *runner, const char *dir, int (*wanted)(const struct dirent *), struct cpni_backend_info *out, size_t room)
{
    struct dirent **entries = NULL;
    int count = scandir(dir, &entries, wanted, alphasort);
    if (count < 0) {
        return errno == ENOENT ? 0 : CPN_EIO;
    }
    size_t found = 0;
    for (int i = 0; i < count; i++) {
        if (i < CPNI_BACKENDS_MAX && found < room && describe(runner, dir, entries[i]->d_name, &out[found])) {
            found++;
        }
        free(entries[i]);
    }
    free(entries);
    return (int)found;
}

int cpni_backends_list(const struct cpni_compute_paths *paths, struct cpni_backend_info *out, size_t room)
{
    return list(paths->runner, paths->plugins, is_backend, out, room);
}

int cpni_trainers_list(const struct cpni_compute_paths *paths, struct cpni_backend_info *out, size_t room)
{
    return list(paths->runner, paths->trainers, is_trainer, out, room);
}
