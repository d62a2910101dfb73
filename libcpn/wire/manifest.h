/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A manifest to and from its one encoding: the bytes that a publisher signs, whose tree root names the version, and
 * that travel in PUBLISH and PREPARE. Two encodings of one manifest would be two versions, so what is not canonical
 * is refused. Must not know the files, the hash (store/tree.h) or the keys (net/keys.h). */
#ifndef CPNI_WIRE_MANIFEST_H
#define CPNI_WIRE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "proto/manifest.h"
#include "wire/packet.h" /* CPNI_WHY */

#define CPNI_MANIFEST_FILES_MAX 256     /* files of a bundle: a node opens a transfer for each */
#define CPNI_MANIFEST_PAIRS_MAX 256     /* parameters, and requirements */
#define CPNI_FILE_NAME_BYTES_MAX 128    /* 256 names and roots fit CPNI_MANIFEST_BYTES_MAX; file systems take 255 */
#define CPNI_MANIFEST_DOMAIN "cpn-manifest-1" /* before the bytes, with its 0: no other text signs a model */

/* Canonical bytes, a new reference. Pairs and files come by strictly rising key and name (bytewise). CPN_EINVAL with
 * the reason in `why` (CPNI_WHY bytes), CPN_ETOOBIG over CPNI_MANIFEST_BYTES_MAX, CPN_ENOMEM. */
int cpni_manifest_encode(const struct cpni_manifest *manifest, struct cpni_bytes **out, char *why);

/* From bytes of anybody; arrays in the arena, texts in the bytes. Checked like the encoder's input, and canonical.
 * Fields that a newer publisher added are skipped. CPN_EPROTO with the reason in `why`, CPN_ENOMEM. */
int cpni_manifest_decode(const void *data, size_t size, struct cpni_arena *arena, struct cpni_manifest *out, char *why);

/* What the publisher signs: the domain, then the bytes. CPN_ENOMEM. */
int cpni_manifest_signed_bytes(const void *data, size_t size, struct cpni_buf *out);

/* The check that both directions make, for whoever builds a manifest. CPN_EINVAL with the reason in `why`. */
int cpni_manifest_check(const struct cpni_manifest *manifest, char *why);

/* Names of models and backends: 1 to 63 of a-z A-Z 0-9 . _ -, a letter or digit first ('@' starts a version). */
bool cpni_model_name_valid(struct cpni_str name);

/* Names of files in a bundle: they are created in a directory of the node, so no '/', no leading '.', no control
 * character. */
bool cpni_file_name_valid(struct cpni_str name);

#endif
