/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The master's side of the network: one ROUTER on TCP, behind CURVE and ZAP, and one on inproc for roles of the same
 * process, so that a message without a key is never mistaken for a trusted one. From the thread of its loop.
 * Must not know message types, roles or links: it carries packets between connections. */
#ifndef CPNI_ROUTER_H
#define CPNI_ROUTER_H

#include "base/bytes.h"
#include "net/context.h"
#include "net/detail.h"
#include "net/guard.h"
#include "net/keys.h"
#include "net/loop.h"
#include "net/packet.h"
#include "net/zap.h"

struct cpni_router;

struct cpni_router_options {
    struct cpni_context *context;
    struct cpni_loop *loop;
    struct cpni_zap *zap;             /* proof that the handler is up; needed with endpoints */
    const char *const *endpoints;     /* "tcp://...:PORT", port 0: any free one */
    size_t endpoint_count;            /* 0: inproc only */
    const struct cpni_curve_keys *keys; /* the master's; needed with endpoints */
};

/* CPN_EINVAL, CPN_ENOMEM, CPN_EIO (cannot bind), CPN_EEXISTS (the context has a router); `detail` (may be NULL) then
 * says what and what to do. */
int cpni_router_open(const struct cpni_router_options *options, struct cpni_router **out, char detail[CPNI_NET_DETAIL]);

uint16_t cpni_router_port(const struct cpni_router *router); /* of the first endpoint; 0 without one */

/* The next message into an empty packet (cpni_packet_clear it after use). Its fault must be looked at first.
 * CPN_EAGAIN: none waits; drain until then. CPN_ENOMEM: one message was lost. CPN_ECLOSED. */
int cpni_router_recv(struct cpni_router *router, struct cpni_packet *packet);

/* Send frames (references are taken) as one message. CPN_EUNREACHABLE: the connection is gone. CPN_EAGAIN: its queue
 * is full, keep the message. CPN_EINVAL, CPN_ETOOBIG, CPN_ENOMEM. 0 means queued: only the peer's answer means
 * received. */
int cpni_router_send(struct cpni_router *router, uint64_t conn, struct cpni_bytes *const *frames, size_t count);

/* Cut the TCP connections that have sent more than CPNI_ZMTP_MESSAGE_BYTES_MAX without ending a message (guard.h),
 * at most `room`; returns how many, for the log. Once a second, after draining: what one peer can pin grows with the
 * interval. */
size_t cpni_router_sweep(struct cpni_router *router, struct cpni_cut *cuts, size_t room);

/* Drop a TCP connection (its key was revoked, it breaks the protocol, it said BYE): now, and what was queued for it is
 * lost; or, so that a last word arrives, at the second sweep from now, if the peer did not close it before. A peer whose
 * key is still admitted comes back. CPN_ENOTFOUND: gone already, or not TCP. */
int cpni_router_cut(struct cpni_router *router, uint64_t conn, bool later);

void cpni_router_close(struct cpni_router *router); /* what is queued goes on for CPNI_ZMTP_LINGER_MS; NULL is fine */

#endif
