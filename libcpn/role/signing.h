/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Manifests as they are signed: the root that names a version, making and checking the signature. */
#ifndef CPNI_SIGNING_H
#define CPNI_SIGNING_H

#include "base/bytes.h"
#include "net/keys.h"

/* The tree root of a manifest's bytes, which are at most one chunk. */
void cpni_signing_root(const struct cpni_bytes *manifest, struct cpn_hash *root);
int cpni_signing_sign(const struct cpni_sign_keys *keys, const struct cpni_bytes *manifest, struct cpni_signature *out); /* CPN_ENOMEM */
/* CPN_ECORRUPT, CPN_ENOMEM. */
int cpni_signing_verify(const struct cpn_key *signer, const struct cpni_bytes *manifest, const struct cpni_signature *signature);

#endif
