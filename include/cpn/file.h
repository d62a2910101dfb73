/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Files as the network names them: by the root of a BLAKE2b-256 tree over chunks of 1 MiB (cpn-protocol.7). */
#ifndef CPN_FILE_H
#define CPN_FILE_H

#include <cpn/error.h>
#include <cpn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The name of some bytes. Any thread. */
int cpn_data_hash(const void *data, size_t size, struct cpn_hash *out);

/* The name and size of a file, read once. Blocks. CPN_ENOTFOUND, CPN_EIO, CPN_ETOOBIG, CPN_EBADINPUT (changed while it was read). Any thread. */
int cpn_file_hash(const char *path, struct cpn_hash *out, uint64_t *size);

#ifdef __cplusplus
}
#endif

#endif
