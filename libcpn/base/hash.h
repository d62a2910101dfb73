/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* uthash with our memory, and without its exit() when memory runs out: after a HASH_ADD, cpni_hash_missed(entry) tells that the entry
 * is not in the table (which is as before). Iteration is in the order of insertion, so no order comes from a pointer. Must be
 * included instead of uthash.h. */
#ifndef CPNI_HASH_H
#define CPNI_HASH_H

#include "base/alloc.h"

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size) cpni_malloc(size)
#define uthash_free(memory, size) cpni_free(memory)
#include <uthash.h>
#include <utlist.h>

#define cpni_hash_missed(entry) ((entry)->hh.tbl == NULL)

#endif
