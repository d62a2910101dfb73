/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The names of bytes and files (cpn/file.h). */
#include <cpn/file.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "store/tree.h"

int cpn_data_hash(const void *data, size_t size, struct cpn_hash *out)
{
    struct cpni_tree tree;
    cpni_tree_init(&tree);
    int rc = cpni_tree_update(&tree, data, size);
    if (rc == 0) {
        rc = cpni_tree_final(&tree, out);
    }
    cpni_tree_free(&tree);
    return rc;
}

static int hash_fd(int fd, struct cpni_tree *tree)
{
    const size_t room = 256 * 1024;
    char *buffer = cpni_malloc(room);
    if (buffer == NULL) {
        return CPN_ENOMEM;
    }
    ssize_t got;
    int rc = 0;
    while (rc == 0 && (got = read(fd, buffer, room)) != 0) {
        if (got > 0) {
            rc = cpni_tree_update(tree, buffer, (size_t)got);
        } else if (errno != EINTR) {
            rc = CPN_EIO;
        }
    }
    cpni_free(buffer);
    return rc;
}

int cpn_file_hash(const char *path, struct cpn_hash *out, uint64_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? CPN_ENOTFOUND : CPN_EIO;
    }
    struct cpni_tree tree;
    struct stat before;
    struct stat after;
    struct cpn_hash root;
    cpni_tree_init(&tree);
    int rc = fstat(fd, &before) == 0 && S_ISREG(before.st_mode) ? hash_fd(fd, &tree) : CPN_EIO;
    if (rc == 0 && (fstat(fd, &after) != 0 || after.st_size != before.st_size || (uint64_t)after.st_size != tree.size ||
                    after.st_mtim.tv_sec != before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec)) {
        rc = CPN_EBADINPUT;
    }
    if (rc == 0) {
        rc = cpni_tree_final(&tree, &root);
    }
    if (rc == 0) {
        *out = root;
        *size = tree.size;
    }
    cpni_tree_free(&tree);
    close(fd);
    return rc;
}
