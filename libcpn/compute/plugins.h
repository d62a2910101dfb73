/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Which backends this machine has, found without loading them into this process. */
#ifndef CPNI_PLUGINS_H
#define CPNI_PLUGINS_H

#include <limits.h>
#include <stddef.h>

#define CPNI_BACKENDS_MAX 64 /* plug-ins looked at in a directory */
#define CPNI_BACKEND_NAME 64 /* bytes of a backend's name, with its terminating 0 */

struct cpni_backend_info {
    char name[CPNI_BACKEND_NAME];
    char version[32];
};

/* Where the runner and the plug-ins are: what the caller named, else beside the running program (as in a build tree
 * or below one prefix), else where this build was installed. */
struct cpni_compute_paths {
    char runner[PATH_MAX];
    char plugins[PATH_MAX]; /* the backends */
    char trainers[PATH_MAX]; /* beside them */
};
void cpni_compute_paths(const char *runner, const char *plugins, struct cpni_compute_paths *out);

/* Ask a runner process for the name and version of each plug-in; one that cannot be loaded (a library is missing) is
 * left out. Returns how many were stored, or negative. Blocks for about 0.1 s a plug-in (1 s for libtorch): not for a thread that has
 * sockets to serve. */
int cpni_backends_list(const struct cpni_compute_paths *paths, struct cpni_backend_info *out, size_t room);
/* Likewise the trainers. */
int cpni_trainers_list(const struct cpni_compute_paths *paths, struct cpni_backend_info *out, size_t room);

#endif
