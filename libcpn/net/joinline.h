/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The join line: one word that a person pastes to bring a machine or a user into a network. It holds where the master
 * is, which key it must prove, and the seed of the token's key pair, and a check over all of it, so that a cut or
 * altered paste is told from a refused one. It is a secret as long as its token lives. Any thread.
 *
 *   cpn://HOST:PORT[,HOST:PORT...]/ROLE-CODE
 *
 * HOST: a name, an IPv4 address, or an IPv6 address in []. ROLE: node, user or admin: a hint for the person, the
 * master decides. CODE: base64url, unpadded, of master key (32 bytes), seed (32), and the first 5 bytes of
 * BLAKE2b-256(everything before CODE, master key, seed). */
#ifndef CPNI_JOINLINE_H
#define CPNI_JOINLINE_H

#include <stddef.h>

#include <cpn/types.h>

#include "net/endpoint.h"
#include "net/keys.h"

struct cpni_joinline {
    enum cpn_role role;
    struct cpn_key master;
    struct cpni_seed seed;
    size_t endpoint_count;
    char endpoints[CPNI_ENDPOINTS_MAX][CPNI_ENDPOINT_TEXT]; /* "tcp://HOST:PORT", to be tried in this order */
};

#define CPNI_JOINLINE_TEXT (CPNI_ENDPOINTS_MAX * CPNI_ENDPOINT_TEXT + 128) /* bytes of the longest, with its 0 */

/* CPN_EINVAL: no role, no endpoints, or one that is not of the form above. */
int cpni_joinline_print(const struct cpni_joinline *line, char text[CPNI_JOINLINE_TEXT]);

/* Spaces and line ends around it are forgiven. CPN_EINVAL: `detail` (may be NULL) says in one sentence what is wrong
 * with it and what to do; it never repeats the secret. */
int cpni_joinline_parse(const char *text, struct cpni_joinline *out, char detail[CPNI_NET_DETAIL]);

#endif
