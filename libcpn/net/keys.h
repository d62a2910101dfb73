/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Key material: the CURVE pair that is an identity and the Ed25519 pair that signs manifests. Any thread.
 * Must not know where keys are stored (keyfile.h) or how they travel (joinline.h). */
#ifndef CPNI_KEYS_H
#define CPNI_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include <cpn/types.h>

#include "proto/signature.h"

#define CPNI_SEED_BYTES 32

struct cpni_seed { uint8_t bytes[CPNI_SEED_BYTES]; }; /* of a join token; secret */

struct cpni_curve_keys {
    struct cpn_key public_key;
    uint8_t secret[32];
};

struct cpni_sign_keys {
    struct cpn_key public_key;
    uint8_t secret[64];
};

/* Once before any other function here; again is fine. CPN_EIO: the system has no random source. */
int cpni_keys_init(void);

void cpni_curve_generate(struct cpni_curve_keys *out);
void cpni_seed_generate(struct cpni_seed *out);
/* The pair that a join token stands for; the same on both sides, for ever (tokens outlive programs). */
void cpni_curve_from_seed(const struct cpni_seed *seed, struct cpni_curve_keys *out);
/* The pair of a stored secret. */
void cpni_curve_from_secret(const uint8_t secret[32], struct cpni_curve_keys *out);

void cpni_sign_generate(struct cpni_sign_keys *out);
void cpni_sign_from_secret(const uint8_t secret[64], struct cpni_sign_keys *out);
void cpni_sign(const struct cpni_sign_keys *keys, const void *data, size_t size, struct cpni_signature *out);
/* CPN_ECORRUPT: not signed by this key, or changed since. */
int cpni_sign_verify(const struct cpn_key *public_key, const void *data, size_t size,
                     const struct cpni_signature *signature);

void cpni_wipe(void *secret, size_t size); /* zeroes; not optimised away */

#endif
