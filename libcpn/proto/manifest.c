/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See manifest.h. */
#include "proto/manifest.h"

#include <cpn/error.h>

static int copy_str(struct cpni_arena *arena, struct cpni_str *str)
{
    str->text = cpni_arena_memdup(arena, str->text, str->size);
    return str->text != NULL ? 0 : CPN_ENOMEM;
}

static int copy_pairs(struct cpni_arena *arena, struct cpni_manifest_pair **pairs, uint32_t count)
{
    struct cpni_manifest_pair *copy = cpni_arena_memdup(arena, *pairs, count * sizeof *copy);
    int rc = copy != NULL ? 0 : CPN_ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = copy_str(arena, &copy[i].key);
        rc = rc < 0 ? rc : copy_str(arena, &copy[i].value);
    }
    *pairs = copy;
    return rc;
}

int cpni_manifest_copy(struct cpni_arena *arena, const struct cpni_manifest *from, struct cpni_manifest *to)
{
    struct cpni_manifest copy = *from;
    int rc = copy_str(arena, &copy.name);
    rc = rc < 0 ? rc : copy_str(arena, &copy.backend);
    rc = rc < 0 ? rc : copy_str(arena, &copy.sample);
    rc = rc < 0 ? rc : copy_pairs(arena, &copy.parameters, copy.parameter_count);
    rc = rc < 0 ? rc : copy_pairs(arena, &copy.requires, copy.requires_count);
    if (rc < 0) {
        return rc;
    }
    copy.files = cpni_arena_memdup(arena, from->files, from->file_count * sizeof *copy.files);
    if (copy.files == NULL) {
        return CPN_ENOMEM;
    }
    for (uint32_t i = 0; rc == 0 && i < copy.file_count; i++) {
        rc = copy_str(arena, &copy.files[i].name);
    }
    if (rc == 0) {
        *to = copy;
    }
    return rc;
}
