/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See buf.h. */
#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "alloc.h"

static int reserve(struct cpni_buf *buf, size_t more)
{
    if (buf->failed || more > SIZE_MAX / 2 - buf->size) {
        buf->failed = true;
        return CPN_ENOMEM;
    }
    if (buf->size + more <= buf->capacity) {
        return 0;
    }
    size_t capacity = buf->capacity < 256 ? 256 : buf->capacity * 2;
    if (capacity < buf->size + more) {
        capacity = buf->size + more;
    }
    uint8_t *data = cpni_realloc(buf->data, capacity);
    if (data == NULL) {
        buf->failed = true;
        return CPN_ENOMEM;
    }
    buf->data = data;
    buf->capacity = capacity;
    return 0;
}

int cpni_buf_append(struct cpni_buf *buf, const void *data, size_t size)
{
    int rc = reserve(buf, size);
    if (rc < 0) {
        return rc;
    }
    if (size != 0) {
        memcpy(buf->data + buf->size, data, size);
        buf->size += size;
    }
    return 0;
}

int cpni_buf_printf(struct cpni_buf *buf, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int length = vsnprintf(NULL, 0, format, list);
    va_end(list);
    if (length < 0) {
        return CPN_EINVAL;
    }
    int rc = reserve(buf, (size_t)length + 1); /* vsnprintf stores a 0, which does not count */
    if (rc < 0) {
        return rc;
    }
    va_start(list, format);
    vsnprintf((char *)buf->data + buf->size, (size_t)length + 1, format, list);
    va_end(list);
    buf->size += (size_t)length;
    return 0;
}

void cpni_buf_clear(struct cpni_buf *buf)
{
    buf->size = 0;
    buf->failed = false;
}

void cpni_buf_free(struct cpni_buf *buf)
{
    cpni_free(buf->data);
    *buf = (struct cpni_buf){ 0 };
}
