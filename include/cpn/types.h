/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Identifiers. Each is a struct of its own so that the compiler catches a mix-up. All are compared bytewise. */
#ifndef CPN_TYPES_H
#define CPN_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cpn_id { uint8_t bytes[16]; };   /* tasks, sessions, boots: random, chosen by whoever starts the thing */
struct cpn_key { uint8_t bytes[32]; };  /* Curve25519 public key: the identity of a node or user */
struct cpn_hash { uint8_t bytes[32]; }; /* root of a blob's BLAKE2b-256 tree: the name of the blob */

#define CPN_ID_TEXT 33  /* bytes of the hexadecimal text of an id, with its terminating 0 */
#define CPN_KEY_TEXT 65 /* the same of a key or a hash */

/* Write the lower-case hexadecimal text of a value into `text`. Return `text`. Any thread. */
char *cpn_id_text(const struct cpn_id *id, char text[CPN_ID_TEXT]);
char *cpn_key_text(const struct cpn_key *key, char text[CPN_KEY_TEXT]);
char *cpn_hash_text(const struct cpn_hash *hash, char text[CPN_KEY_TEXT]);

/* Read a value from exactly its hexadecimal text. CPN_EINVAL on anything else. Any thread. */
int cpn_id_parse(const char *text, struct cpn_id *out);
int cpn_key_parse(const char *text, struct cpn_key *out);
int cpn_hash_parse(const char *text, struct cpn_hash *out);

/* What an identity may do. Every message type names the roles that may send it. */
enum cpn_role { CPN_ROLE_NONE = 0, CPN_ROLE_NODE = 1, CPN_ROLE_USER = 2, CPN_ROLE_ADMIN = 3 };

/* "node", "user", "admin" or "none"; static. Any thread. */
const char *cpn_role_name(enum cpn_role role);

#ifdef __cplusplus
}
#endif

#endif
