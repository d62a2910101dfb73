/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What libzmq does not do for a ROUTER: bound a message that never ends, and drop a peer.
 *
 * A message reaches the router only whole. Until its last part arrives, libzmq keeps all parts, and none of its limits
 * looks: MAXMSGSIZE is about one part, the high-water mark counts whole messages. A peer that goes on sending SNDMORE
 * would fill the master's memory. So the guard keeps a table of the TCP connections (from the router's socket monitor)
 * and compares, now and then, what the kernel received on each with what it had received when the last whole message
 * was read: beyond CPNI_ZMTP_MESSAGE_BYTES_MAX the connection is shut down, and libzmq frees what it kept. What one
 * connection can pin is that limit and what arrives between two sweeps.
 *
 * From the router's thread. Must not know messages, only that one was read from a descriptor. */
#ifndef CPNI_GUARD_H
#define CPNI_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/context.h"

struct cpni_guard;

/* A connection that was cut. */
struct cpni_cut {
    uint64_t conn;    /* 0: it never sent a whole message */
    uint64_t bytes;   /* received since its last whole message */
    char address[64]; /* of the peer */
};

/* Before the socket binds. CPN_ENOMEM, CPN_EIO. */
int cpni_guard_open(struct cpni_context *context, void *router_socket, struct cpni_guard **out);
void cpni_guard_close(struct cpni_guard *guard); /* before the socket closes; NULL is fine */

/* A whole message of this connection was read; descriptor as libzmq tells it (ZMQ_SRCFD), -1: unknown. */
void cpni_guard_message(struct cpni_guard *guard, int fd, uint64_t conn);

/* Cut what sends without end, at most `room` connections; returns how many. And those that were to be cut later. */
size_t cpni_guard_sweep(struct cpni_guard *guard, struct cpni_cut *cuts, size_t room);

/* Now, or at the second sweep from now: libzmq's thread then has sent what was queued. CPN_ENOTFOUND: gone, or it never
 * sent a message. */
int cpni_guard_cut(struct cpni_guard *guard, uint64_t conn, bool later);
void cpni_guard_cut_fd(struct cpni_guard *guard, int fd);    /* the connection of this descriptor, if it is there */

#endif
