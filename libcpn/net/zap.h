/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The ZAP 1.0 handler (ZeroMQ RFC 27): who may connect to the CURVE sockets of a context. Serviced inside the role's
 * loop, so that admission reads the role's own registry without a lock. Fails closed: no answer, no handler, or a
 * request that is not exactly what we expect means no connection. Must not know why a key is admitted. */
#ifndef CPNI_ZAP_H
#define CPNI_ZAP_H

#include <stdbool.h>
#include <stdint.h>

#include <cpn/types.h>

#include "net/context.h"
#include "net/loop.h"

#define CPNI_ZAP_DOMAIN "cpn" /* an empty domain would switch authentication off (ANCHORS 1.1) */

typedef bool cpni_zap_admit(void *arg, const struct cpn_key *key);

struct cpni_zap;

/* Before any router of the context binds. CPN_EEXISTS: the context has a handler (one master per context). CPN_ENOMEM,
 * CPN_EIO. */
int cpni_zap_open(struct cpni_context *context, struct cpni_loop *loop, cpni_zap_admit *admit, void *arg,
                  struct cpni_zap **out);

/* Answer the requests that wait. In every dispatch of the role: a client in handshake waits for it,
 * CPNI_ZMTP_HANDSHAKE_MS at most. */
void cpni_zap_service(struct cpni_zap *zap);

struct cpni_zap_counts {
    uint64_t admitted;
    uint64_t refused;   /* by admit */
    uint64_t malformed; /* requests of another version, mechanism, domain or shape */
};
struct cpni_zap_counts cpni_zap_counts(const struct cpni_zap *zap);

void cpni_zap_close(struct cpni_zap *zap); /* after the routers; NULL is fine */

#endif
