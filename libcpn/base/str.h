/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A borrowed piece of text, not 0-terminated; as decoded messages hold it. */
#ifndef CPNI_STR_H
#define CPNI_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpni_str {
    const char *text;
    uint32_t size;
};

struct cpni_str cpni_str(const char *text); /* of a 0-terminated text; NULL gives an empty one */
bool cpni_str_equal(struct cpni_str a, struct cpni_str b);
/* Copy into a bounded array, 0-terminated, cut (at a UTF-8 boundary) to fit. Returns `to`. */
char *cpni_str_copy(struct cpni_str from, char *to, size_t room);

#endif
