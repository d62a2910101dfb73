/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See delta8.h. */
#include "core/delta8.h"

#include <float.h>
#include <stdbool.h>
#include <string.h>

#include <cpn/error.h>

_Static_assert(FLT_EVAL_METHOD == 0, "rounding needs float to be what it says");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "scales are copied as they lie in memory");

#define ROUND_MAGIC 12582912.0f /* 1.5 * 2^23: see exactsum.c */
#define STEPS 127.0f

/* No branch on a sign: it is a coin's toss, and guessing it wrong cost most of the time of an encoding. */
static float magnitude(float value)
{
    return __builtin_fabsf(value);
}

static size_t block_of(size_t count, size_t at)
{
    return count - at < CPNI_DELTA8_BLOCK ? count - at : CPNI_DELTA8_BLOCK;
}

size_t cpni_delta8_size(size_t count)
{
    return count + (count + CPNI_DELTA8_BLOCK - 1) / CPNI_DELTA8_BLOCK * sizeof(float);
}

static void encode_block(const float *delta, size_t count, float *residual, uint8_t *out)
{
    float largest = 0;
    for (size_t i = 0; i < count; i++) {
        float size = magnitude(delta[i] + residual[i]);
        largest = size > largest ? size : largest;
    }
    float scale = largest / STEPS;
    if (scale < FLT_MIN * 4) {
        scale = 0; /* so small that 1 / scale would overflow: left to the residual */
    }
    float inverse = scale > 0 ? 1.0f / scale : 0;
    memcpy(out, &scale, sizeof scale);
    int8_t *steps = (int8_t *)(out + sizeof scale);
    for (size_t i = 0; i < count; i++) {
        float value = delta[i] + residual[i];
        float step = (value * inverse + ROUND_MAGIC) - ROUND_MAGIC;
        step = step > STEPS ? STEPS : step < -STEPS ? -STEPS : step;
        steps[i] = (int8_t)step;
        residual[i] = value - step * scale;
    }
}

int cpni_delta8_encode(const float *delta, size_t count, float *residual, uint8_t *out)
{
    bool finite = true;
    for (size_t i = 0; i < count; i++) {
        finite &= magnitude(delta[i] + residual[i]) <= FLT_MAX; /* false for a NaN */
    }
    if (!finite) {
        return CPN_EBADINPUT;
    }
    for (size_t at = 0; at < count; at += CPNI_DELTA8_BLOCK) {
        size_t block = block_of(count, at);
        encode_block(delta + at, block, residual + at, out);
        out += sizeof(float) + block;
    }
    return 0;
}

int cpni_delta8_decode(const uint8_t *data, size_t size, size_t count, float *delta)
{
    if (size != cpni_delta8_size(count)) {
        return CPN_EPROTO;
    }
    const uint8_t *check = data;
    for (size_t at = 0; at < count; at += CPNI_DELTA8_BLOCK) {
        float scale;
        memcpy(&scale, check, sizeof scale);
        if (!(scale >= 0 && scale <= FLT_MAX / STEPS)) {
            return CPN_EPROTO;
        }
        check += sizeof scale + block_of(count, at);
    }
    for (size_t at = 0; at < count; at += CPNI_DELTA8_BLOCK) {
        float scale;
        memcpy(&scale, data, sizeof scale);
        const int8_t *steps = (const int8_t *)(data + sizeof scale);
        size_t block = block_of(count, at);
        for (size_t i = 0; i < block; i++) {
            delta[at + i] = (float)steps[i] * scale;
        }
        data += sizeof scale + block;
    }
    return 0;
}
