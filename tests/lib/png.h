/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* For tests: a grey or colour picture as PNG without compression, so that a test needs no image library. */
#ifndef CPN_TEST_PNG_H
#define CPN_TEST_PNG_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline void test_png_put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static inline size_t test_png_chunk(uint8_t *at, const char *type, const uint8_t *body, size_t size)
{
    test_png_put32(at, (uint32_t)size);
    memcpy(at + 4, type, 4);
    if (size > 0) {
        memcpy(at + 8, body, size);
    }
    uint32_t crc = 0xffffffff;
    for (size_t i = 4; i < 8 + size; i++) {
        crc ^= at[i];
        for (int k = 0; k < 8; k++) {
            crc = crc >> 1 ^ (0xedb88320u & (0 - (crc & 1)));
        }
    }
    test_png_put32(at + 8 + size, ~crc);
    return size + 12;
}

/* `channels` 1 (grey) or 3 (RGB), rows from the top. To be freed. */
static inline uint8_t *test_png(const uint8_t *pixels, uint32_t width, uint32_t height, uint32_t channels, size_t *size)
{
    const size_t row = (size_t)width * channels;
    uint8_t *data = malloc((row + 1 + 5) * height + 16); /* a stored deflate block a row */
    uint8_t *out = malloc((row + 1 + 5) * height + 128);
    uint32_t a = 1;
    uint32_t b = 0;
    size_t at = 0;
    data[at++] = 0x78;
    data[at++] = 0x01;
    for (uint32_t y = 0; y < height; y++) {
        const size_t length = row + 1;
        const uint8_t head[5]
            = { y + 1 == height, (uint8_t)length, (uint8_t)(length >> 8), (uint8_t)~length, (uint8_t)(~length >> 8) };
        memcpy(data + at, head, 5);
        data[at + 5] = 0; /* no filter */
        memcpy(data + at + 6, pixels + y * row, row);
        for (size_t i = 0; i < length; i++) {
            a = (a + data[at + 5 + i]) % 65521;
            b = (b + a) % 65521;
        }
        at += 5 + length;
    }
    test_png_put32(data + at, b << 16 | a);
    uint8_t header[13] = { 0 };
    test_png_put32(header, width);
    test_png_put32(header + 4, height);
    header[8] = 8;
    header[9] = channels == 3 ? 2 : 0;
    memcpy(out, "\x89PNG\r\n\x1a\n", 8);
    size_t used = 8;
    used += test_png_chunk(out + used, "IHDR", header, 13);
    used += test_png_chunk(out + used, "IDAT", data, at + 4);
    used += test_png_chunk(out + used, "IEND", NULL, 0);
    free(data);
    *size = used;
    return out;
}

#endif
