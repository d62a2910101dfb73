/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A node's or a client's two connections to its master as a source of events and a sink of messages: dealers, packets, the codec.
 * Owned and called by a role's thread. Must not know what the messages mean. */
#ifndef CPNI_PEER_H
#define CPNI_PEER_H

#include <stdbool.h>

#include "core/action.h"
#include "net/context.h"
#include "net/dealer.h"
#include "net/keys.h"
#include "net/loop.h"
#include "wire/outbox.h"

struct cpni_peer;

struct cpni_peer_options {
    struct cpni_context *context; /* referenced */
    struct cpni_loop *loop;
    const char *endpoints; /* "tcp://HOST:PORT", comma-separated, tried in turn; NULL: the master of this context, over inproc */
    const struct cpn_key *master;       /* its public key; with endpoints */
    const struct cpni_curve_keys *keys; /* our own; with endpoints */
    bool bulk;                          /* the second connection too */
};

int cpni_peer_open(const struct cpni_peer_options *options, struct cpni_peer **out);
void cpni_peer_close(struct cpni_peer *peer); /* NULL is fine */

typedef void cpni_peer_sink(void *arg, const struct cpni_event *event);

/* Turn what arrived into events, a bounded number at a time. true: there may be more. */
bool cpni_peer_pump(struct cpni_peer *peer, const struct cpni_now *now, cpni_peer_sink *sink, void *arg);

/* SEND, DROP and RECONNECT of a list of actions, which must stay until cpni_peer_flush() returned. */
void cpni_peer_carry(struct cpni_peer *peer, const struct cpni_action *action);
void cpni_peer_flush(struct cpni_peer *peer);

/* When the pump wants to be called although nothing arrives: a full queue, a handshake to be tried again, a new connection. INT64_MAX: never. */
int64_t cpni_peer_deadline(const struct cpni_peer *peer);

/* What is wrong with the control connection now, for a person; "" when nothing is. */
const char *cpni_peer_trouble(const struct cpni_peer *peer);

#endif
