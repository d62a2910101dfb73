/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Secrets in files: one line of text, readable by its owner alone. A file is either whole under its name or not
 * there, so that a crash at the first start leaves nothing that blocks the second. Blocks on the disk. Any thread. */
#ifndef CPNI_KEYFILE_H
#define CPNI_KEYFILE_H

#include "net/detail.h"
#include "net/keys.h"

/* Each returns 0 or, with the reason in `detail` (may be NULL): CPN_EEXISTS (write: there is one, left alone),
 * CPN_ENOTFOUND, CPN_EDENIED (unreadable, or readable by others), CPN_ECORRUPT (not a key file of this kind),
 * CPN_EIO, CPN_ENOSPC. */
int cpni_keyfile_write_curve(const char *path, const struct cpni_curve_keys *keys, char detail[CPNI_NET_DETAIL]);
int cpni_keyfile_read_curve(const char *path, struct cpni_curve_keys *out, char detail[CPNI_NET_DETAIL]);
int cpni_keyfile_write_sign(const char *path, const struct cpni_sign_keys *keys, char detail[CPNI_NET_DETAIL]);
int cpni_keyfile_read_sign(const char *path, struct cpni_sign_keys *out, char detail[CPNI_NET_DETAIL]);

#endif
