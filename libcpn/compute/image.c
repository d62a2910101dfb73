/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See image.h. */
#include "image.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cpn/backend.h>
#include <cpn/error.h>

#define SIDE_MAX (1 << 20) /* OpenCV's own limit for one side */

struct cursor {
    const uint8_t *data;
    size_t size;
    char *detail;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct cursor *file, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(file->detail, CPN_BACKEND_DETAIL, format, list);
    va_end(list);
    return CPN_EBADINPUT;
}

static uint32_t be16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t be32(const uint8_t *at)
{
    return be16(at) << 16 | be16(at + 2);
}

static uint32_t le24(const uint8_t *at)
{
    return (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static uint32_t le32(const uint8_t *at)
{
    return (uint32_t)at[3] << 24 | le24(at);
}

static int set_size(
    const struct cursor *file, const char *kind, uint32_t width, uint32_t height, struct cpni_image_info *out)
{
    if (width == 0 || height == 0) {
        return refuse(file, "%s without a size (%ux%u pixels)", kind, width, height);
    }
    if (width > SIDE_MAX || height > SIDE_MAX || (uint64_t)width * height > CPNI_IMAGE_PIXELS_MAX) {
        return refuse(file, "%s of %ux%u pixels: at most %d million pixels are processed; scale it down", kind, width,
            height, CPNI_IMAGE_PIXELS_MAX / 1000000);
    }
    out->width = (int32_t)width;
    out->height = (int32_t)height;
    return 0;
}

/* ---- JPEG: markers up to the scan, then scans and markers up to EOI ---- */

static bool is_frame(uint8_t marker) /* SOF0..SOF15 without DHT, JPG and DAC */
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

/* Position behind the next marker, 0 at the end of the data. Skips entropy-coded bytes, stuffing, restarts and fill
 * bytes, and, as libjpeg does, garbage between segments. */
static size_t next_marker(const struct cursor *file, size_t at, uint8_t *marker)
{
    while (at + 1 < file->size) {
        const uint8_t *ff = memchr(file->data + at, 0xff, file->size - 1 - at);
        if (ff == NULL) {
            return 0;
        }
        at = (size_t)(ff - file->data) + 1;
        uint8_t code = file->data[at];
        if (code != 0xff && code != 0x00 && code != 0x01 && !(code >= 0xd0 && code <= 0xd7)) {
            *marker = code;
            return at + 1;
        }
    }
    return 0;
}

static int check_jpeg(const struct cursor *file, struct cpni_image_info *out)
{
    size_t at = 2;
    uint8_t marker = 0;
    bool sized = false;
    bool scanned = false;
    while ((at = next_marker(file, at, &marker)) != 0 && marker != 0xd9) {
        if (marker == 0xd8) {
            return refuse(file, "damaged JPEG: a second image begins inside the first");
        }
        uint32_t length = at + 2 <= file->size ? be16(file->data + at) : 0;
        if (length < 2 || length > file->size - at) {
            break;
        }
        if (is_frame(marker) && !sized) {
            if (length < 8) {
                return refuse(file, "damaged JPEG: its frame header is too short");
            }
            int rc = set_size(file, "JPEG", be16(file->data + at + 5), be16(file->data + at + 3), out);
            if (rc < 0) {
                return rc;
            }
            sized = true;
        }
        scanned = scanned || marker == 0xda;
        at += length;
    }
    if (marker != 0xd9 || at == 0) {
        return refuse(file, "truncated JPEG: its %zu bytes end before the image does (no EOI marker)", file->size);
    }
    return sized && scanned ? 0 : refuse(file, "damaged JPEG: it holds no image");
}

/* ---- PNG: the chunks from IHDR to IEND ---- */

static int check_png(const struct cursor *file, struct cpni_image_info *out)
{
    size_t at = 8;
    bool has_data = false;
    while (file->size - at >= 12) {
        uint32_t length = be32(file->data + at);
        const uint8_t *type = file->data + at + 4;
        if (length > file->size - at - 12) {
            break;
        }
        if (at == 8) {
            if (length != 13 || memcmp(type, "IHDR", 4) != 0) {
                return refuse(file, "damaged PNG: it does not begin with its header (IHDR)");
            }
            int rc = set_size(file, "PNG", be32(type + 4), be32(type + 8), out);
            if (rc < 0) {
                return rc;
            }
        }
        has_data = has_data || memcmp(type, "IDAT", 4) == 0;
        if (memcmp(type, "IEND", 4) == 0) {
            return has_data ? 0 : refuse(file, "damaged PNG: it holds no image (no IDAT)");
        }
        at += 12 + (size_t)length;
    }
    return refuse(file, "truncated PNG: its %zu bytes end before the image does (no IEND)", file->size);
}

/* ---- WebP: RIFF chunks ---- */

static int webp_size(const struct cursor *file, const uint8_t *chunk, uint32_t length, struct cpni_image_info *out)
{
    const uint8_t *body = chunk + 8;
    if (memcmp(chunk, "VP8 ", 4) == 0 && length >= 10 && memcmp(body + 3, "\x9d\x01\x2a", 3) == 0) {
        return set_size(file, "WebP", le24(body + 6) & 0x3fff, (uint32_t)(body[8] | body[9] << 8) & 0x3fff, out);
    }
    if (memcmp(chunk, "VP8L", 4) == 0 && length >= 5 && body[0] == 0x2f) {
        uint32_t bits = le32(body + 1);
        return set_size(file, "WebP", (bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1, out);
    }
    if (memcmp(chunk, "VP8X", 4) == 0 && length >= 10) {
        if ((body[0] & 0x02) != 0) {
            return refuse(file, "animated WebP: expected a single image");
        }
        return set_size(file, "WebP", le24(body + 4) + 1, le24(body + 7) + 1, out);
    }
    return refuse(file, "damaged WebP: its first chunk is no image header");
}

static int check_webp(const struct cursor *file, struct cpni_image_info *out)
{
    size_t end = (size_t)le32(file->data + 4) + 8;
    if (end > file->size) {
        return refuse(file, "truncated WebP: %zu of %zu bytes", file->size, end);
    }
    bool has_data = false;
    size_t at = 12;
    while (at < end && end - at >= 8) {
        const uint8_t *chunk = file->data + at;
        uint32_t length = le32(chunk + 4);
        if (length > end - at - 8) {
            return refuse(file, "truncated WebP: a chunk is longer than the file");
        }
        int rc = at == 12 ? webp_size(file, chunk, length, out) : 0;
        if (rc < 0) {
            return rc;
        }
        has_data = has_data || memcmp(chunk, "VP8 ", 4) == 0 || memcmp(chunk, "VP8L", 4) == 0;
        at += 8 + (size_t)length + (length & 1);
    }
    return has_data ? 0 : refuse(file, "damaged WebP: it holds no image");
}

/* ---- what it is ---- */

static bool starts(const struct cursor *file, size_t at, const char *magic, size_t length)
{
    return file->size >= at + length && memcmp(file->data + at, magic, length) == 0;
}

static bool looks_like_text(const struct cursor *file)
{
    for (size_t i = 0; i < file->size && i < 256; i++) {
        uint8_t c = file->data[i];
        if (c == 0x7f || (c < 0x20 && c != '\n' && c != '\r' && c != '\t' && c != '\f')) {
            return false;
        }
    }
    return true;
}

static int refuse_other(const struct cursor *file)
{
    static const struct {
        size_t at;
        const char *magic;
        const char *name;
    } others[] = {
        { 0, "GIF8", "a GIF image" },
        { 0, "BM", "a BMP image" },
        { 0, "II*", "a TIFF image" },
        { 0, "MM", "a TIFF image" },
        { 4, "ftyphei", "a HEIC image" },
        { 4, "ftypmif1", "a HEIF image" },
        { 4, "ftypavif", "an AVIF image" },
        { 0, "%PDF", "a PDF document" },
        { 0, "\x1f\x8b", "a gzip file" },
        { 0, "PK\x03\x04", "a zip file" },
        { 0, "RIFF", "a RIFF file (audio or video)" },
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (starts(file, others[i].at, others[i].magic, strlen(others[i].magic))) {
            return refuse(file, "%s: expected JPEG, PNG or WebP", others[i].name);
        }
    }
    return refuse(
        file, "%s: expected a JPEG, PNG or WebP image", looks_like_text(file) ? "a text file" : "not an image");
}

enum cpni_image_kind cpni_image_kind_of(const void *data, size_t size)
{
    const struct cursor file = { data, size, NULL };
    if (starts(&file, 0, "\xff\xd8\xff", 3)) {
        return CPNI_IMAGE_JPEG;
    }
    if (starts(&file, 0, "\x89PNG\r\n\x1a\n", 8)) {
        return CPNI_IMAGE_PNG;
    }
    return starts(&file, 0, "RIFF", 4) && starts(&file, 8, "WEBP", 4) ? CPNI_IMAGE_WEBP : CPNI_IMAGE_OTHER;
}

int cpni_image_check(const void *data, size_t size, struct cpni_image_info *out, char *detail)
{
    const struct cursor file = { data, size, detail };
    struct cpni_image_info info = { .kind = cpni_image_kind_of(data, size) };
    int rc;
    if (size == 0) {
        return refuse(&file, "an empty file (0 bytes): expected a JPEG, PNG or WebP image");
    }
    if (info.kind == CPNI_IMAGE_JPEG) {
        rc = check_jpeg(&file, &info);
    } else if (info.kind == CPNI_IMAGE_PNG) {
        rc = check_png(&file, &info);
    } else if (info.kind == CPNI_IMAGE_WEBP) {
        rc = check_webp(&file, &info);
    } else {
        rc = refuse_other(&file);
    }
    if (rc == 0) {
        *out = info;
    }
    return rc;
}

const char *cpni_image_type(enum cpni_image_kind kind)
{
    return kind == CPNI_IMAGE_PNG ? "image/png" : kind == CPNI_IMAGE_WEBP ? "image/webp" : "image/jpeg";
}
