/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A file as bytes, mapped: a large input or image costs no copy, and the file's name may go. */
#ifndef CPNI_MAPPING_H
#define CPNI_MAPPING_H

#include "base/bytes.h"

/* A new reference to the first `size` bytes of a readable file; the descriptor stays the caller's. NULL: no memory, or not to be mapped. */
struct cpni_bytes *cpni_mapping_open(int fd, size_t size);

#endif
