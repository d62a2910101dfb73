/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Which blobs of the node's store somebody still needs. A blob is named by its bytes, so a photo that is submitted twice, or that is a
 * model's sample too, is one blob with several users; it is removed with the last one. Must not know what they use it for. */
#include <cpn/error.h>

#include "core/worker_priv.h"

static struct cpni_worker_file *find(struct cpni_worker_core *core, const struct cpn_hash *root)
{
    struct cpni_worker_file *file;
    HASH_FIND(hh, core->files, root, sizeof *root, file);
    return file;
}

int cpni_worker_file_use(struct cpni_worker_core *core, const struct cpn_hash *root)
{
    struct cpni_worker_file *file = find(core, root);
    if (file == NULL) {
        file = cpni_calloc(1, sizeof *file);
        if (file == NULL) {
            return CPN_ENOMEM;
        }
        file->root = *root;
        HASH_ADD(hh, core->files, root, sizeof file->root, file);
        if (cpni_hash_missed(file)) {
            cpni_free(file);
            return CPN_ENOMEM;
        }
    }
    file->users++;
    return 0;
}

void cpni_worker_file_drop(struct cpni_worker_core *core, const struct cpn_hash *root, struct cpni_actions *actions)
{
    struct cpni_worker_file *file = find(core, root);
    if (file == NULL || --file->users != 0) {
        return;
    }
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_DISK);
    if (action != NULL) { /* without memory the blob stays until the next start: spool goes then, files are fetched no second time */
        action->disk.op = CPNI_DISK_REMOVE;
        action->disk.root = *root;
    }
    HASH_DEL(core->files, file);
    cpni_free(file);
}
