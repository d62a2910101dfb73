/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A node's or a client's side of the network: one connection to one master, over TCP with CURVE or over inproc. What
 * happens to the connection arrives as events, read in the same loop. ZeroMQ reconnects by itself (100 ms, doubling
 * to 2 s) while the master cannot be reached or after a break, under a new connection and with what was in flight
 * lost. When a handshake fails it stops instead, so that a refused key is never tried for ever in silence: whoever
 * drives the dealer tells the person, waits as long as it finds right, and says cpni_dealer_reconnect(). From the
 * thread of its loop. Must not know message types, or which endpoint of several to prefer. */
#ifndef CPNI_DEALER_H
#define CPNI_DEALER_H

#include "base/bytes.h"
#include "net/context.h"
#include "net/keys.h"
#include "net/loop.h"
#include "net/packet.h"

struct cpni_dealer;

enum cpni_dealer_event {
    CPNI_DEALER_NOTHING = 0,      /* no event waits */
    CPNI_DEALER_CONNECTED,        /* handshake done: the master admitted our key. The time to say HELLO */
    CPNI_DEALER_DISCONNECTED,     /* the connection broke; it tries again by itself */
    CPNI_DEALER_UNREACHABLE,      /* one more attempt to connect failed; it tries again by itself */
    CPNI_DEALER_REFUSED,          /* our key is not enrolled or revoked; stopped until reconnect */
    CPNI_DEALER_HANDSHAKE_FAILED, /* wrong master key, no cpn master at this address, or no answer in time;
                                     stopped until reconnect */
};

struct cpni_dealer_options {
    struct cpni_context *context;
    struct cpni_loop *loop;
    const char *endpoint; /* "tcp://HOST:PORT"; NULL: the router of this context. Copied */
    const struct cpn_key *server_key;   /* with an endpoint; copied */
    const struct cpni_curve_keys *keys; /* our own; with an endpoint; copied */
};

/* Starts to connect and returns at once. CPN_EINVAL (also for an endpoint that cannot be one), CPN_ENOMEM, CPN_EIO. */
int cpni_dealer_open(const struct cpni_dealer_options *options, struct cpni_dealer **out);

/* Drop the connection, with what it has queued, and connect afresh; to another endpoint unless NULL. An inproc dealer
 * stays one. On failure it is stopped, and reconnect may be tried again. Errors as of open. */
int cpni_dealer_reconnect(struct cpni_dealer *dealer, const char *endpoint);

/* Other keys for the next reconnect (a node that enrolled by token returns under its own). */
void cpni_dealer_set_keys(struct cpni_dealer *dealer, const struct cpni_curve_keys *keys);

/* The next event; drain until CPNI_DEALER_NOTHING. An inproc dealer reports CONNECTED once and nothing else: that its
 * master closed shows only in the protocol's silence. */
enum cpni_dealer_event cpni_dealer_event(struct cpni_dealer *dealer);
const char *cpni_dealer_event_text(enum cpni_dealer_event event); /* for a person; static */

/* The next message into an empty packet; conn, key and local say nothing here. CPN_EAGAIN: none waits; drain until
 * then. CPN_ENOMEM: one message was lost. CPN_ECLOSED. */
int cpni_dealer_recv(struct cpni_dealer *dealer, struct cpni_packet *packet);

/* Send frames (references are taken) as one message. CPN_EUNREACHABLE: no CONNECTED event yet, or none since the
 * last break. CPN_EAGAIN: the queue is full, keep the message. CPN_EINVAL, CPN_ETOOBIG, CPN_ENOMEM. 0 means queued:
 * only the master's answer means received. */
int cpni_dealer_send(struct cpni_dealer *dealer, struct cpni_bytes *const *frames, size_t count);

void cpni_dealer_close(struct cpni_dealer *dealer); /* what is queued goes on for CPNI_ZMTP_LINGER_MS; NULL is fine */

#endif
