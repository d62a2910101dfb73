/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See signing.h. */
#include "role/signing.h"

#include "store/tree.h"
#include "wire/manifest.h"

void cpni_signing_root(const struct cpni_bytes *manifest, struct cpn_hash *root)
{
    struct cpn_hash leaf;
    cpni_tree_leaf(manifest->data, manifest->size, &leaf);
    cpni_tree_root(manifest->size, &leaf, root);
}

int cpni_signing_sign(const struct cpni_sign_keys *keys, const struct cpni_bytes *manifest, struct cpni_signature *out)
{
    struct cpni_buf text = { 0 };
    int rc = cpni_manifest_signed_bytes(manifest->data, manifest->size, &text);
    if (rc == 0) {
        cpni_sign(keys, text.data, text.size, out);
    }
    cpni_buf_free(&text);
    return rc;
}

int cpni_signing_verify(const struct cpn_key *signer, const struct cpni_bytes *manifest, const struct cpni_signature *signature)
{
    struct cpni_buf text = { 0 };
    int rc = cpni_manifest_signed_bytes(manifest->data, manifest->size, &text);
    if (rc == 0) {
        rc = cpni_sign_verify(signer, text.data, text.size, signature);
    }
    cpni_buf_free(&text);
    return rc;
}
