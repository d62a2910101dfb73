/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Face bundles from photos (cpn/model.h): options into what compute/facetrain.h takes. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <cpn/model.h>

#include "base/arena.h"
#include "compute/facetrain.h"
#include "net/detail.h"

static char *copy(struct cpni_arena *arena, const char *text, size_t size)
{
    char *to = cpni_arena_alloc(arena, size + 1);
    if (to != NULL) {
        memcpy(to, text, size);
    }
    return to;
}

/* "key=value" texts, and the model's name, as parameters. */
static int make_params(struct cpni_arena *arena, const struct cpn_train_faces_options *options, struct cpn_backend_param **out,
                       size_t *count, char *detail)
{
    size_t given = 0;
    while (options->parameters != NULL && options->parameters[given] != NULL) {
        given++;
    }
    struct cpn_backend_param *params = cpni_arena_alloc(arena, (given + 1) * sizeof *params);
    if (params == NULL) {
        return CPN_ENOMEM;
    }
    params[0] = (struct cpn_backend_param){ "name", options->name != NULL ? options->name : "faces" };
    for (size_t i = 0; i < given; i++) {
        const char *text = options->parameters[i];
        const char *equals = strchr(text, '=');
        if (equals == NULL || equals == text) {
            cpni_explain(detail, "parameter \"%s\": expected key=value", text);
            return CPN_EINVAL;
        }
        params[i + 1].key = copy(arena, text, (size_t)(equals - text));
        params[i + 1].value = copy(arena, equals + 1, strlen(equals + 1));
        if (params[i + 1].key == NULL || params[i + 1].value == NULL) {
            return CPN_ENOMEM;
        }
    }
    *out = params;
    *count = given + 1;
    return 0;
}

int cpn_train_faces(const struct cpn_train_faces_options *given, char *detail)
{
    struct cpn_train_faces_options options = { 0 };
    memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    if (options.from == NULL || options.out == NULL) {
        cpni_explain(detail, "training faces needs a folder of photos and a place for the bundle");
        return CPN_EINVAL;
    }
    struct cpni_arena arena = { 0 };
    struct cpn_backend_param *params = NULL;
    char runner[PATH_MAX];
    char why[CPN_BACKEND_DETAIL] = "";
    struct cpni_train_faces_options train = { .from = options.from, .out = options.out, .plugins = options.plugin_dir };
    if (options.libexec_dir != NULL) {
        snprintf(runner, sizeof runner, "%s/cpn-runner", options.libexec_dir);
        train.runner = runner;
    }
    int rc = make_params(&arena, &options, &params, &train.param_count, detail);
    if (rc == 0) {
        train.params = params;
        rc = cpni_train_faces(&train, options.progress, options.progress_arg, why);
        if (detail != NULL) {
            snprintf(detail, CPN_DETAIL, "%s", why);
        }
    }
    cpni_arena_free(&arena);
    return rc;
}
