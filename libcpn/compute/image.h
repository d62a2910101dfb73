/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What an image file claims, read before a decoder sees it: kind by magic number, size in pixels, and whether it is all
 * there. OpenCV decodes a JPEG that was cut to a tenth without an error and returns grey; it would also allocate
 * whatever a header asks for. Must not know OpenCV: plug-ins and tests link this alone. */
#ifndef CPNI_IMAGE_H
#define CPNI_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CPNI_IMAGE_PIXELS_MAX (1 << 26) /* 64 megapixels: 200 MB decoded */

enum cpni_image_kind { CPNI_IMAGE_OTHER = 0, CPNI_IMAGE_JPEG = 1, CPNI_IMAGE_PNG, CPNI_IMAGE_WEBP };

struct cpni_image_info {
    enum cpni_image_kind kind;
    int32_t width, height; /* as stored, before any EXIF orientation */
};

/* By the magic number alone. */
enum cpni_image_kind cpni_image_kind_of(const void *data, size_t size);

/* 0, or CPN_EBADINPUT with one sentence in `detail` (CPN_BACKEND_DETAIL bytes). Bytes behind the end of the image are
 * fine. */
int cpni_image_check(const void *data, size_t size, struct cpni_image_info *out, char *detail);

/* "image/jpeg" */
const char *cpni_image_type(enum cpni_image_kind kind);

#ifdef __cplusplus
}
#endif

#endif
