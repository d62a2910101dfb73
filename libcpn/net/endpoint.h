/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Addresses as text: what a person writes (HOST:PORT) and what ZeroMQ takes (tcp://HOST:PORT), and those of this
 * machine. Any thread. */
#ifndef CPNI_ENDPOINT_H
#define CPNI_ENDPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "net/detail.h"

#define CPNI_ENDPOINT_SCHEME "tcp://"
#define CPNI_HOST_TEXT 256      /* bytes of a host: a DNS name has 253 at most */
#define CPNI_ENDPOINT_TEXT 272  /* "tcp://", a host, [], ":65535" and the 0 */
#define CPNI_ENDPOINTS_MAX 16   /* of one master: its interfaces, as join lines list them */

/* "HOST:PORT" (IPv6 in []), `size` bytes, to "tcp://HOST:PORT". CPN_EINVAL: anything else. */
int cpni_endpoint_parse(const char *text, size_t size, char out[CPNI_ENDPOINT_TEXT]);

/* From a host (IPv6 without []) and a port. CPN_EINVAL. */
int cpni_endpoint_make(const char *host, uint16_t port, char out[CPNI_ENDPOINT_TEXT]);

/* The addresses at which others reach this machine, of interfaces that are up: IPv4, then IPv6, and 127.0.0.1 last,
 * always (the same machine is a client too). IPv6 link-local ones are left out: they mean nothing on another
 * machine. Returns how many, at least 1. */
size_t cpni_local_addresses(char out[CPNI_ENDPOINTS_MAX][CPNI_HOST_TEXT]);

#endif
