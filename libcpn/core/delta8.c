/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See delta8.h. */
#include "core/delta8.h"

#include <float.h>
#include <string.h>

#include <cpn/error.h>

#include "core/wide.h"

_Static_assert(FLT_EVAL_METHOD == 0, "rounding needs float to be what it says");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "scales are copied as they lie in memory");

#define ROUND_MAGIC 12582912.0f /* 1.5 * 2^23: see exactsum.c */
#define STEPS 127.0f

static size_t block_of(size_t count, size_t at)
{
    return count - at < CPNI_DELTA8_BLOCK ? count - at : CPNI_DELTA8_BLOCK;
}

size_t cpni_delta8_size(size_t count)
{
    return count + (count + CPNI_DELTA8_BLOCK - 1) / CPNI_DELTA8_BLOCK * sizeof(float);
}

/* ---- encoding ---- */

/* A block's scale, written before its steps; 0 when its values are so small that 1 / scale would overflow. */
static float put_scale(int32_t largest, uint8_t *out)
{
    float scale = cpni_largest(largest) / STEPS;
    scale = scale < FLT_MIN * 4 ? 0 : scale;
    memcpy(out, &scale, sizeof scale);
    return scale;
}

/* Of the sums, or of delta alone. */
static CPNI_WIDE int32_t largest_of(const float *delta, const float *residual, size_t count)
{
    int32_t largest = 0;
    for (size_t i = 0; residual != NULL && i < count; i++) {
        largest = cpni_larger(largest, delta[i] + residual[i]);
    }
    for (size_t i = 0; residual == NULL && i < count; i++) {
        largest = cpni_larger(largest, delta[i]);
    }
    return largest;
}

static CPNI_WIDE void encode_block(const float *delta, size_t count, float *residual, uint8_t *out)
{
    const float scale = put_scale(largest_of(delta, residual, count), out);
    const float inverse = scale > 0 ? 1.0f / scale : 0;
    int8_t *steps = (int8_t *)(out + sizeof scale);
    for (size_t i = 0; i < count; i++) {
        float value = delta[i] + residual[i];
        float step = (value * inverse + ROUND_MAGIC) - ROUND_MAGIC;
        step = step > STEPS ? STEPS : step < -STEPS ? -STEPS : step;
        steps[i] = (int8_t)step;
        residual[i] = value - step * scale; /* all of what is too small for a scale */
    }
}

int cpni_delta8_encode(const float *delta, size_t count, float *residual, uint8_t *out)
{
    if (!(cpni_largest(largest_of(delta, residual, count)) <= FLT_MAX)) {
        return CPN_EBADINPUT;
    }
    for (size_t at = 0; at < count; at += CPNI_DELTA8_BLOCK) {
        size_t block = block_of(count, at);
        encode_block(delta + at, block, residual + at, out);
        out += sizeof(float) + block;
    }
    return 0;
}

/* In [0, 1), from the place of a value: a hash of 32 bits whose steps are each reversible. */
static float chance(uint32_t place)
{
    place ^= place >> 16;
    place *= 0x7feb352du;
    place ^= place >> 15;
    place *= 0x846ca68bu;
    place ^= place >> 16;
    return (float)(int32_t)(place >> 8) * 0x1p-24f;
}

static CPNI_WIDE void dither_block(const float *delta, size_t count, uint32_t first, uint8_t *out)
{
    const float scale = put_scale(largest_of(delta, NULL, count), out);
    const float inverse = scale > 0 ? 1.0f / scale : 0;
    int8_t *steps = (int8_t *)(out + sizeof scale);
    for (size_t i = 0; i < count; i++) {
        /* above zero, cutting off is rounding down */
        int step = (int)(delta[i] * inverse + (STEPS + 1) + chance(first + (uint32_t)i)) - (int)(STEPS + 1);
        steps[i] = (int8_t)(step > (int)STEPS ? (int)STEPS : step < -(int)STEPS ? -(int)STEPS : step);
    }
}

int cpni_delta8_dither(const float *delta, size_t count, uint64_t seed, uint8_t *out)
{
    if (!(cpni_largest(largest_of(delta, NULL, count)) <= FLT_MAX)) {
        return CPN_EBADINPUT;
    }
    const uint32_t first = (uint32_t)((seed * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
    for (size_t at = 0; at < count; at += CPNI_DELTA8_BLOCK) {
        size_t block = block_of(count, at);
        dither_block(delta + at, block, first + (uint32_t)at, out);
        out += sizeof(float) + block;
    }
    return 0;
}

/* ---- decoding ---- */

static int check(const uint8_t *data, size_t size, size_t count)
{
    if (size != cpni_delta8_size(count)) {
        return CPN_EPROTO;
    }
    for (size_t at = 0; at < count; at += CPNI_DELTA8_BLOCK) {
        float scale;
        memcpy(&scale, data, sizeof scale);
        if (!(scale >= 0 && scale <= FLT_MAX / STEPS)) {
            return CPN_EPROTO;
        }
        data += sizeof scale + block_of(count, at);
    }
    return 0;
}

static CPNI_WIDE void add_block(const int8_t *steps, size_t count, float scale, float *values)
{
    for (size_t i = 0; i < count; i++) {
        values[i] += (float)steps[i] * scale;
    }
}

static void add_all(const uint8_t *data, size_t count, float *values)
{
    for (size_t at = 0; at < count; at += CPNI_DELTA8_BLOCK) {
        float scale;
        memcpy(&scale, data, sizeof scale);
        const size_t block = block_of(count, at);
        add_block((const int8_t *)(data + sizeof scale), block, scale, values + at);
        data += sizeof scale + block;
    }
}

int cpni_delta8_add(const uint8_t *data, size_t size, size_t count, float *values)
{
    const int rc = check(data, size, count);
    if (rc == 0) {
        add_all(data, count, values);
    }
    return rc;
}

int cpni_delta8_decode(const uint8_t *data, size_t size, size_t count, float *delta)
{
    const int rc = check(data, size, count);
    if (rc == 0) {
        memset(delta, 0, count * sizeof *delta);
        add_all(data, count, delta);
    }
    return rc;
}
