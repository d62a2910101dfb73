/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Vectors of small changes in one byte a value. Nothing is lost for good: either what rounding takes away this time is
 * kept in a residual and added next time (error feedback), or values are rounded up or down by chance, so that their
 * mean over time is right and nothing need be remembered. Must not know what changed.
 *
 * Layout: for every block of 256 values (the last may be shorter) a float32 scale, little-endian, then one int8 a
 * value; value = int8 * scale. The scale is the block's largest magnitude / 127, so |value - decoded| <= scale / 2 (and
 * one float ulp), which is also the bound of the residual; by chance < scale. The same input gives the same bytes on
 * every machine. */
#ifndef CPNI_DELTA8_H
#define CPNI_DELTA8_H

#include <stddef.h>
#include <stdint.h>

#define CPNI_DELTA8_BLOCK 256

/* Bytes of `count` encoded values. */
size_t cpni_delta8_size(size_t count);

/* Encode delta + residual into cpni_delta8_size(count) bytes and leave in `residual` what they do not say.
 * CPN_EBADINPUT when a sum is not finite; then nothing was changed. */
int cpni_delta8_encode(const float *delta, size_t count, float *residual, uint8_t *out);

/* Encode delta, rounded by chance: `seed` and a value's place decide. CPN_EBADINPUT when a value is not finite. */
int cpni_delta8_dither(const float *delta, size_t count, uint64_t seed, uint8_t *out);

/* CPN_EPROTO when the size is not that of `count` values, or a scale is negative or not finite. */
int cpni_delta8_decode(const uint8_t *data, size_t size, size_t count, float *delta);

/* Likewise; the values are added to those that are there: the same bits wherever it is done. */
int cpni_delta8_add(const uint8_t *data, size_t size, size_t count, float *values);

#endif
