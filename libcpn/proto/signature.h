/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* An Ed25519 signature as a value: messages carry it, commands keep it, net/keys.h makes and checks it. */
#ifndef CPNI_SIGNATURE_H
#define CPNI_SIGNATURE_H

#include <stdint.h>

struct cpni_signature {
    uint8_t bytes[64];
};

#endif
