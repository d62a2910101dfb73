/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See keep.h. */
#include "core/keep.h"

#include <cpn/error.h>

#include "base/hash.h"

struct cpni_keep_blob {
    UT_hash_handle hh; /* by root */
    struct cpn_hash root;
    uint32_t users;
};

static struct cpni_keep_blob *find(const struct cpni_keep *keep, const struct cpn_hash *root)
{
    struct cpni_keep_blob *blob;
    HASH_FIND(hh, keep->blobs, root, sizeof *root, blob);
    return blob;
}

int cpni_keep_use(struct cpni_keep *keep, const struct cpn_hash *root)
{
    struct cpni_keep_blob *blob = find(keep, root);
    if (blob == NULL) {
        blob = cpni_calloc(1, sizeof *blob);
        if (blob == NULL) {
            return CPN_ENOMEM;
        }
        blob->root = *root;
        HASH_ADD(hh, keep->blobs, root, sizeof blob->root, blob);
        if (cpni_hash_missed(blob)) {
            cpni_free(blob);
            return CPN_ENOMEM;
        }
    }
    blob->users++;
    return 0;
}

void cpni_keep_drop(struct cpni_keep *keep, const struct cpn_hash *root, struct cpni_actions *actions)
{
    struct cpni_keep_blob *blob = find(keep, root);
    if (blob == NULL || --blob->users != 0) {
        return;
    }
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_DISK);
    if (action != NULL) { /* without memory for this the blob only takes up space: the store's next start clears the spool */
        action->disk.op = CPNI_DISK_REMOVE;
        action->disk.root = *root;
    }
    HASH_DEL(keep->blobs, blob);
    cpni_free(blob);
}

bool cpni_keep_has(const struct cpni_keep *keep, const struct cpn_hash *root)
{
    return find(keep, root) != NULL;
}

void cpni_keep_free(struct cpni_keep *keep)
{
    struct cpni_keep_blob *blob, *after;
    HASH_ITER(hh, keep->blobs, blob, after) {
        HASH_DEL(keep->blobs, blob);
        cpni_free(blob);
    }
}
