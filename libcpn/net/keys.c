/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See keys.h. */
#include "keys.h"

#include <string.h>

#include <sodium.h>

#include <cpn/error.h>

/* Keeps the seed's other uses, should there ever be one, apart from this one. Part of the protocol: never changes. */
#define SEED_CONTEXT "cpn join token 1"

int cpni_keys_init(void)
{
    return sodium_init() >= 0 ? 0 : CPN_EIO;
}

void cpni_curve_generate(struct cpni_curve_keys *out)
{
    randombytes_buf(out->secret, sizeof out->secret);
    cpni_curve_from_secret(out->secret, out);
}

void cpni_seed_generate(struct cpni_seed *out)
{
    randombytes_buf(out->bytes, sizeof out->bytes);
}

void cpni_curve_from_secret(const uint8_t secret[32], struct cpni_curve_keys *out)
{
    struct cpni_curve_keys keys;
    memcpy(keys.secret, secret, sizeof keys.secret);
    crypto_scalarmult_base(keys.public_key.bytes, keys.secret);
    *out = keys;
    sodium_memzero(&keys, sizeof keys);
}

void cpni_curve_from_seed(const struct cpni_seed *seed, struct cpni_curve_keys *out)
{
    uint8_t secret[32];
    crypto_generichash(secret, sizeof secret, (const uint8_t *)SEED_CONTEXT, strlen(SEED_CONTEXT), seed->bytes,
                       sizeof seed->bytes);
    cpni_curve_from_secret(secret, out);
    sodium_memzero(secret, sizeof secret);
}

void cpni_sign_generate(struct cpni_sign_keys *out)
{
    crypto_sign_keypair(out->public_key.bytes, out->secret);
}

void cpni_sign_from_secret(const uint8_t secret[64], struct cpni_sign_keys *out)
{
    memcpy(out->secret, secret, sizeof out->secret);
    crypto_sign_ed25519_sk_to_pk(out->public_key.bytes, out->secret);
}

void cpni_sign(const struct cpni_sign_keys *keys, const void *data, size_t size, struct cpni_signature *out)
{
    crypto_sign_detached(out->bytes, NULL, data, size, keys->secret);
}

int cpni_sign_verify(const struct cpn_key *public_key, const void *data, size_t size,
                     const struct cpni_signature *signature)
{
    return crypto_sign_verify_detached(signature->bytes, data, size, public_key->bytes) == 0 ? 0 : CPN_ECORRUPT;
}

void cpni_wipe(void *secret, size_t size)
{
    sodium_memzero(secret, size);
}
