/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The photos of one `cpn predict`: what the command line names, directories recursively, each with the path of its annotated copy.
 * Holds names only, never contents. */
#ifndef CPN_PHOTOS_H
#define CPN_PHOTOS_H

#include <stddef.h>

#define PHOTOS_MAX 1000000 /* about 200 MB of names; more goes in several calls */

struct photo {
    char *path;
    char *out; /* NULL: no copy is wanted */
};

struct photos {
    struct photo *items;
    size_t count, room;
};

/* Collect the operands. `out` (may be NULL) is the directory for the copies: it is not searched for photos itself, names in it stay as
 * they are below their operand, and no copy lies where a photo lies. 0, or the exit status after a sentence on stderr. */
int photos_collect(char *const *operands, size_t count, const char *out, struct photos *photos);
void photos_free(struct photos *photos);

#endif
