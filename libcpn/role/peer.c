/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See peer.h. */
#include "role/peer.h"

#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "role/clock.h"
#include "role/inbox.h"

#define PACKETS_PER_PUMP 64   /* then heartbeats and helpers get their turn */
#define RETRY_US 10000        /* a full socket queue is looked at again */
#define HANDSHAKE_US 1000000  /* a failed handshake is tried again: the master may have been overloaded, or just be starting */
#define TROUBLE_MAX 384

struct connection {
    struct cpni_dealer *dealer; /* NULL: not used */
    size_t endpoint;            /* which of the list it tries */
    int64_t retry_us;           /* when a failed handshake is tried again; 0: none failed */
};

struct cpni_peer {
    struct cpni_context *context;
    struct cpni_outbox *outbox;
    struct cpni_inbox inbox;
    struct connection connections[2]; /* control, bulk */
    char *endpoints;                  /* a copy, cut at the commas; NULL: inproc */
    size_t endpoint_count;
    bool fresh; /* a dealer was opened or reconnected: over inproc no descriptor tells that it is connected */
    bool stuck; /* packets are held because a queue was full */
    int64_t stuck_until_us;
    char trouble[TROUBLE_MAX];
};

static uint64_t conn_of(const struct cpni_peer *peer, const struct connection *connection)
{
    return connection == &peer->connections[0] ? CPNI_CONN_CONTROL : CPNI_CONN_BULK;
}

static const char *endpoint_at(const struct cpni_peer *peer, size_t index)
{
    const char *at = peer->endpoints;
    for (size_t i = 0; i < index; i++) {
        at += strlen(at) + 1;
    }
    return at;
}

static int copy_endpoints(struct cpni_peer *peer, const char *endpoints)
{
    peer->endpoints = cpni_strdup(endpoints);
    if (peer->endpoints == NULL) {
        return CPN_ENOMEM;
    }
    peer->endpoint_count = 1;
    for (char *at = peer->endpoints; *at != 0; at++) {
        if (*at == ',') {
            *at = 0;
            peer->endpoint_count++;
        }
    }
    return 0;
}

static int open_dealers(struct cpni_peer *peer, const struct cpni_peer_options *options)
{
    const struct cpni_dealer_options dealer = {
        .context = options->context,
        .loop = options->loop,
        .endpoint = peer->endpoints,
        .server_key = options->master,
        .keys = options->keys,
    };
    int rc = cpni_dealer_open(&dealer, &peer->connections[0].dealer);
    if (rc == 0 && options->bulk) {
        rc = cpni_dealer_open(&dealer, &peer->connections[1].dealer);
    }
    return rc;
}

int cpni_peer_open(const struct cpni_peer_options *options, struct cpni_peer **out)
{
    struct cpni_peer *peer = cpni_calloc(1, sizeof *peer);
    if (peer == NULL) {
        return CPN_ENOMEM;
    }
    peer->context = cpni_context_ref(options->context);
    int rc = options->endpoints != NULL ? copy_endpoints(peer, options->endpoints) : 0;
    if (rc == 0) {
        rc = cpni_outbox_new(&peer->outbox);
    }
    if (rc == 0) {
        rc = open_dealers(peer, options);
    }
    if (rc < 0) {
        cpni_peer_close(peer);
        return rc;
    }
    peer->fresh = true;
    *out = peer;
    return 0;
}

void cpni_peer_close(struct cpni_peer *peer)
{
    if (peer == NULL) {
        return;
    }
    cpni_dealer_close(peer->connections[0].dealer);
    cpni_dealer_close(peer->connections[1].dealer);
    cpni_outbox_free(peer->outbox);
    cpni_inbox_free(&peer->inbox);
    cpni_free(peer->endpoints);
    cpni_context_unref(peer->context);
    cpni_free(peer);
}

/* The bulk connection goes where the control connection goes. */
static void next_endpoint(struct cpni_peer *peer, struct connection *connection)
{
    if (connection == &peer->connections[0]) {
        connection->endpoint = peer->endpoint_count > 1 ? (connection->endpoint + 1) % peer->endpoint_count : 0;
    } else {
        connection->endpoint = peer->connections[0].endpoint;
    }
    peer->fresh = true;
    cpni_dealer_reconnect(connection->dealer, peer->endpoints != NULL ? endpoint_at(peer, connection->endpoint) : NULL);
}

static void explain(struct cpni_peer *peer, const struct connection *connection, enum cpni_dealer_event event)
{
    if (connection == &peer->connections[0]) {
        snprintf(peer->trouble, sizeof peer->trouble, "%s: %s",
                 peer->endpoints != NULL ? endpoint_at(peer, connection->endpoint) : "this process", cpni_dealer_event_text(event));
    }
}

/* A handshake that fails may mean an overloaded or starting master, so it is tried again, at the next endpoint, after a pause; only a
 * refused key is final, which the core decides. */
static void pump_dealer_event(struct cpni_peer *peer, struct connection *connection, enum cpni_dealer_event happened,
                              const struct cpni_now *now, cpni_peer_sink *sink, void *arg)
{
    struct cpni_event event = { .type = CPNI_EV_DISCONNECTED };
    if (happened == CPNI_DEALER_CONNECTED) {
        event.type = CPNI_EV_CONNECTED;
        event.connected.conn = conn_of(peer, connection);
        if (connection == &peer->connections[0]) {
            peer->trouble[0] = 0;
        }
        sink(arg, &event);
        return;
    }
    explain(peer, connection, happened);
    cpni_outbox_forget(peer->outbox, conn_of(peer, connection));
    event.lost.conn = conn_of(peer, connection);
    event.lost.code = CPN_EUNREACHABLE;
    event.lost.text = cpni_dealer_event_text(happened);
    if (happened == CPNI_DEALER_REFUSED) {
        event.type = CPNI_EV_REFUSED;
        event.lost.code = CPN_EKEY;
    } else if (happened == CPNI_DEALER_HANDSHAKE_FAILED) {
        connection->retry_us = now->mono_us + HANDSHAKE_US;
    } else if (happened == CPNI_DEALER_UNREACHABLE && peer->endpoint_count > 1) {
        next_endpoint(peer, connection);
    }
    sink(arg, &event);
}

static bool pump_packets(struct cpni_peer *peer, struct connection *connection, cpni_peer_sink *sink, void *arg)
{
    for (int i = 0; i < PACKETS_PER_PUMP; i++) {
        struct cpni_packet packet = { 0 };
        int rc = cpni_dealer_recv(connection->dealer, &packet);
        if (rc == CPN_EAGAIN || rc == CPN_ECLOSED) {
            return false;
        }
        if (rc == 0) {
            packet.conn = conn_of(peer, connection);
            cpni_inbox_take(&peer->inbox, &packet, sink, arg);
        }
    }
    return true;
}

bool cpni_peer_pump(struct cpni_peer *peer, const struct cpni_now *now, cpni_peer_sink *sink, void *arg)
{
    bool more = false;
    peer->fresh = false;
    for (size_t i = 0; i < 2; i++) {
        struct connection *connection = &peer->connections[i];
        if (connection->dealer == NULL) {
            continue;
        }
        if (connection->retry_us != 0 && now->mono_us >= connection->retry_us) {
            connection->retry_us = 0;
            next_endpoint(peer, connection);
        }
        enum cpni_dealer_event happened;
        while ((happened = cpni_dealer_event(connection->dealer)) != CPNI_DEALER_NOTHING) {
            pump_dealer_event(peer, connection, happened, now, sink, arg);
        }
        more = pump_packets(peer, connection, sink, arg) || more;
    }
    if (peer->stuck && now->mono_us >= peer->stuck_until_us) {
        peer->stuck = false;
        cpni_outbox_retry(peer->outbox);
    }
    return more;
}

static struct connection *connection_of(struct cpni_peer *peer, uint64_t conn)
{
    return &peer->connections[conn == CPNI_CONN_BULK];
}

void cpni_peer_carry(struct cpni_peer *peer, const struct cpni_action *action)
{
    if (action->type == CPNI_ACT_SEND) {
        cpni_outbox_add(peer->outbox, action->send.conn, action->send.link, &action->send.msg);
        return;
    }
    cpni_peer_flush(peer); /* the farewell leaves before its connection is closed */
    struct connection *connection = connection_of(peer, action->conn.conn);
    cpni_outbox_forget(peer->outbox, action->conn.conn);
    if (action->type == CPNI_ACT_RECONNECT && connection->dealer != NULL) {
        next_endpoint(peer, connection);
    }
}

void cpni_peer_flush(struct cpni_peer *peer)
{
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t count;
    uint64_t conn;
    int rc;
    while ((rc = cpni_outbox_next(peer->outbox, &conn, frames, &count)) != 0) {
        if (rc < 0) {
            continue; /* the sequence has a gap now; the master asks for a HELLO */
        }
        struct cpni_dealer *dealer = connection_of(peer, conn)->dealer;
        rc = dealer != NULL ? cpni_dealer_send(dealer, frames, count) : CPN_EUNREACHABLE;
        if (rc == CPN_EAGAIN && cpni_outbox_hold(peer->outbox, conn, frames, count) == 0) {
            peer->stuck = true;
            peer->stuck_until_us = cpni_clock_now().mono_us + RETRY_US;
        }
        for (size_t i = 0; i < count; i++) {
            cpni_bytes_unref(frames[i]);
        }
    }
}

int64_t cpni_peer_deadline(const struct cpni_peer *peer)
{
    if (peer->fresh) {
        return 0;
    }
    int64_t at_us = peer->stuck ? peer->stuck_until_us : INT64_MAX;
    for (size_t i = 0; i < 2; i++) {
        int64_t retry_us = peer->connections[i].retry_us;
        if (retry_us != 0 && retry_us < at_us) {
            at_us = retry_us;
        }
    }
    return at_us;
}

const char *cpni_peer_trouble(const struct cpni_peer *peer)
{
    return peer->trouble;
}
