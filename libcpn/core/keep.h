/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Which blobs of a process' store somebody still needs. A blob is named by its bytes, so a photo that is submitted twice, or that is a
 * model's sample too, is one blob with several users; it is removed with the last one. Must not know what they use it for. */
#ifndef CPNI_KEEP_H
#define CPNI_KEEP_H

#include "core/action.h"

struct cpni_keep_blob;
struct cpni_keep {
    struct cpni_keep_blob *blobs;
};

int cpni_keep_use(struct cpni_keep *keep, const struct cpn_hash *root); /* CPN_ENOMEM */
void cpni_keep_drop(struct cpni_keep *keep, const struct cpn_hash *root, struct cpni_actions *actions);
bool cpni_keep_has(const struct cpni_keep *keep, const struct cpn_hash *root);
void cpni_keep_free(struct cpni_keep *keep); /* removes nothing */

#endif
