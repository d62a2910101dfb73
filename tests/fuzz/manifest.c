/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Any bytes as a manifest. What decodes and holds nothing unknown has these bytes and no others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cpn/error.h>

#include "fuzz.h"
#include "wire/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cpni_arena arena = { 0 };
    struct cpni_manifest manifest;
    char why[CPNI_WHY] = "";
    int rc = cpni_manifest_decode(data, size, &arena, &manifest, why);
    struct cpni_bytes *again = NULL;
    if ((rc != 0 && rc != CPN_EPROTO) || (rc == 0) != (why[0] == 0) ||
        (rc == 0 && cpni_manifest_encode(&manifest, &again, why) != 0) || (again != NULL && again->size > size)) {
        fprintf(stderr, "manifest: %d %s\n", rc, why);
        abort();
    }
    cpni_bytes_unref(again);
    cpni_arena_free(&arena);
    return 0;
}
