/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A bundle's directory to a manifest: its model.json (cpn.7 describes it) and its files. Needs jansson, which is why
 * it is a library of its own: a build without it has no way to publish, and no other loss. Must not know hashes: the
 * caller fills in the files' roots. */
#ifndef CPNI_MANIFEST_JSON_H
#define CPNI_MANIFEST_JSON_H

#include "base/arena.h"
#include "proto/manifest.h"
#include "wire/packet.h" /* CPNI_WHY */

#define CPNI_MODEL_JSON "model.json"
#define CPNI_MODEL_JSON_BYTES_MAX (256 * 1024) /* a manifest's bound, with room for spaces and comments in texts */

/* Everything but the files' roots, which stay zero; in the arena. CPN_ENOTFOUND (no such directory, no model.json,
 * or a file that it names), CPN_EBADINPUT (what is written there), CPN_EIO, CPN_ENOMEM; `why` (CPNI_WHY bytes) names
 * file and field. */
int cpni_bundle_read(const char *dir, struct cpni_arena *arena, struct cpni_manifest *out, char *why);

#endif
