/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* One message as it crosses a socket: where it came from and its frames, which are moved between ZeroMQ and cpni_bytes
 * without a copy. Shared by router and dealer. Must not know what the frames mean. */
#ifndef CPNI_NET_PACKET_H
#define CPNI_NET_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cpn/types.h>

#include "base/bytes.h"
#include "proto/limits.h"

enum cpni_packet_fault {
    CPNI_PACKET_SOUND = 0,
    CPNI_PACKET_OVERLONG, /* more than CPNI_ZMTP_FRAMES_MAX frames: the first ones are here, the rest is gone */
    CPNI_PACKET_UNKEYED,  /* from TCP without a User-Id, nobody vouches for it: no frames, cut. Must never happen: log */
    CPNI_PACKET_FOREIGN,  /* the peer chose its own routing id (ANCHORS 1.2): no frames, conn is 0, cut */
};

/* Zeroed is empty. */
struct cpni_packet {
    uint64_t conn;      /* the connection, never 0 in a sound one; a peer that reconnects gets another. Never tell it to
                           a peer: routing ids are guarded by being unknown. Always 0 at a dealer */
    struct cpn_key key; /* the peer's public key as ZAP admitted it; zeroed when local, and at a dealer */
    bool keyed;         /* there is one */
    bool local;         /* over inproc: a role of this very process */
    int source_fd;      /* the connection's descriptor, for the router's guard; -1: unknown */
    enum cpni_packet_fault fault;
    size_t count;
    struct cpni_bytes *frames[CPNI_ZMTP_FRAMES_MAX]; /* one reference each */
};

void cpni_packet_clear(struct cpni_packet *packet); /* releases the frames and leaves it empty */
void cpni_packet_drop_frames(struct cpni_packet *packet); /* releases the frames and keeps the rest */

/* The next message of a ZeroMQ socket into an empty packet; routed: a ROUTER's, whose first part is the routing id.
 * CPN_EAGAIN: none waits. CPN_ENOMEM: one was read and lost (the protocol's sequence numbers find the gap).
 * CPN_ECLOSED. */
int cpni_packet_recv(void *socket, bool routed, struct cpni_packet *packet);

/* Send frames as one message, to a routing id or (route_size 0) to the only peer; takes references of its own.
 * CPN_EINVAL: none or too many. CPN_ETOOBIG: a frame, or all. CPN_EAGAIN: queue full, or no peer (DEALER).
 * CPN_EUNREACHABLE: no such route. */
int cpni_packet_send(void *socket, const void *route, size_t route_size, struct cpni_bytes *const *frames,
                     size_t count);

#endif
