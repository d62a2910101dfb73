/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A growable byte buffer. After a failed append the buffer is unchanged and `failed` stays set, so that a run of appends
 * needs one check at its end. */
#ifndef CPNI_BUF_H
#define CPNI_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpni_buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
    bool failed;
};

int cpni_buf_append(struct cpni_buf *buf, const void *data, size_t size);
int cpni_buf_printf(struct cpni_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3))); /* no 0 stored */
void cpni_buf_clear(struct cpni_buf *buf); /* keeps the memory */
void cpni_buf_free(struct cpni_buf *buf);

#endif
