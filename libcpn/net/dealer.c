/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See dealer.h. */
#include "dealer.h"

#include <errno.h>
#include <string.h>

#include <zmq.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "net/endpoint.h"
#include "net/inproc.h"
#include "net/monitor.h"

#define MONITORED                                                                                                      \
    (ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |           \
     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED)

#define PATIENCE_MAX 8 /* failed attempts with one address family: about 7 s of refusals */

struct cpni_dealer {
    struct cpni_context *context;
    struct cpni_loop *loop;
    char *endpoint; /* NULL: inproc */
    struct cpn_key server_key;
    struct cpni_curve_keys keys;
    void *socket;           /* NULL: stopped */
    void *monitor;          /* the reading end of the socket's events; NULL over inproc and when stopped */
    bool connected;         /* CONNECTED was reported and nothing to the contrary since */
    bool broke;             /* the retry that libzmq announces next follows a break, it is not a failed attempt */
    bool announce;          /* inproc: CONNECTED is still to be reported */
    bool ipv4;              /* resolve the host's name to IPv4 only; see try_other_family */
    int failures;           /* attempts of this socket that could not connect */
    int patience;           /* of them, before the other family is tried */
};

static int set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

static int set_tcp_options(const struct cpni_dealer *dealer)
{
    void *socket = dealer->socket;
    return set_int(socket, ZMQ_RECONNECT_IVL, CPNI_ZMTP_RECONNECT_MS) != 0 ||
                   set_int(socket, ZMQ_RECONNECT_IVL_MAX, CPNI_ZMTP_RECONNECT_MAX_MS) != 0 ||
                   /* default: the kernel's, two minutes for a host that swallows packets */
                   set_int(socket, ZMQ_CONNECT_TIMEOUT, CPNI_ZMTP_CONNECT_MS) != 0 ||
                   /* see try_other_family */
                   set_int(socket, ZMQ_IPV6, dealer->ipv4 ? 0 : 1) != 0 ||
                   /* default: messages queue for connections that do not exist, and arrive who knows when */
                   set_int(socket, ZMQ_IMMEDIATE, 1) != 0 ||
                   zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, dealer->server_key.bytes,
                                  sizeof dealer->server_key.bytes) != 0 ||
                   zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, dealer->keys.public_key.bytes,
                                  sizeof dealer->keys.public_key.bytes) != 0 ||
                   zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, dealer->keys.secret, sizeof dealer->keys.secret) != 0
               ? CPN_EIO
               : 0;
}

static int open_monitor(struct cpni_dealer *dealer)
{
    const int rc = cpni_monitor_open(dealer->context, dealer->socket, MONITORED, &dealer->monitor);
    return rc != 0 ? rc : cpni_loop_add_socket(dealer->loop, dealer->monitor);
}

static void stop(struct cpni_dealer *dealer, int linger_ms)
{
    if (dealer->monitor != NULL) {
        cpni_loop_remove_socket(dealer->loop, dealer->monitor);
        cpni_monitor_close(dealer->socket, dealer->monitor);
    }
    if (dealer->socket != NULL) {
        cpni_loop_remove_socket(dealer->loop, dealer->socket);
        set_int(dealer->socket, ZMQ_LINGER, linger_ms);
        zmq_close(dealer->socket);
    }
    dealer->socket = NULL;
    dealer->monitor = NULL;
    dealer->connected = false;
    dealer->broke = false;
    dealer->announce = false;
    dealer->failures = 0;
}

static int start(struct cpni_dealer *dealer)
{
    dealer->socket = cpni_context_socket(dealer->context, ZMQ_DEALER);
    int rc = dealer->socket != NULL ? 0 : CPN_ENOMEM;
    if (rc == 0) {
        rc = cpni_loop_add_socket(dealer->loop, dealer->socket);
    }
    if (rc == 0 && dealer->endpoint != NULL) {
        rc = set_tcp_options(dealer);
        rc = rc != 0 ? rc : open_monitor(dealer); /* before connect: no event is missed */
    }
    const char *endpoint = dealer->endpoint != NULL ? dealer->endpoint : CPNI_INPROC_ENDPOINT;
    if (rc == 0 && zmq_connect(dealer->socket, endpoint) != 0) {
        rc = errno == EINVAL || errno == EPROTONOSUPPORT ? CPN_EINVAL : CPN_EIO;
    }
    if (rc != 0) {
        stop(dealer, 0);
        return rc;
    }
    dealer->announce = dealer->endpoint == NULL;
    return 0;
}

int cpni_dealer_open(const struct cpni_dealer_options *options, struct cpni_dealer **out)
{
    if (options->endpoint != NULL && (options->server_key == NULL || options->keys == NULL)) {
        return CPN_EINVAL;
    }
    struct cpni_dealer *dealer = cpni_calloc(1, sizeof *dealer);
    if (dealer == NULL) {
        return CPN_ENOMEM;
    }
    dealer->context = cpni_context_ref(options->context);
    dealer->loop = options->loop;
    dealer->patience = 1;
    int rc = 0;
    if (options->endpoint != NULL) {
        dealer->server_key = *options->server_key;
        dealer->keys = *options->keys;
        dealer->endpoint = cpni_strdup(options->endpoint);
        rc = dealer->endpoint != NULL ? 0 : CPN_ENOMEM;
    }
    rc = rc != 0 ? rc : start(dealer);
    if (rc != 0) {
        cpni_dealer_close(dealer);
        return rc;
    }
    *out = dealer;
    return 0;
}

int cpni_dealer_reconnect(struct cpni_dealer *dealer, const char *endpoint)
{
    if (endpoint != NULL && dealer->endpoint != NULL) {
        char *copy = cpni_strdup(endpoint);
        if (copy == NULL) {
            return CPN_ENOMEM;
        }
        cpni_free(dealer->endpoint);
        dealer->endpoint = copy;
        dealer->ipv4 = false;
        dealer->patience = 1;
    }
    stop(dealer, 0); /* what the old connection still has queued must not arrive beside the new one */
    return start(dealer);
}

void cpni_dealer_set_keys(struct cpni_dealer *dealer, const struct cpni_curve_keys *keys)
{
    dealer->keys = *keys;
}

void cpni_dealer_close(struct cpni_dealer *dealer)
{
    if (dealer == NULL) {
        return;
    }
    stop(dealer, CPNI_ZMTP_LINGER_MS);
    cpni_wipe(&dealer->keys, sizeof dealer->keys);
    cpni_context_unref(dealer->context);
    cpni_free(dealer->endpoint);
    cpni_free(dealer);
}

static bool is_name(const char *endpoint)
{
    const char *host = endpoint + strlen(CPNI_ENDPOINT_SCHEME);
    return host[0] != '[' && host[strspn(host, "0123456789.")] != ':';
}

/* libzmq asks for one address of a name, IPv6 if there is any, and stays with it: "localhost" would never reach a
 * master that listens on 127.0.0.1. So after failed attempts the other family has its turn. Each turn is longer, so
 * that libzmq's growing interval between attempts has its effect. */
static enum cpni_dealer_event try_other_family(struct cpni_dealer *dealer)
{
    dealer->failures++;
    if (dealer->failures < dealer->patience || !is_name(dealer->endpoint)) {
        return CPNI_DEALER_UNREACHABLE;
    }
    dealer->patience += dealer->patience < PATIENCE_MAX;
    dealer->ipv4 = !dealer->ipv4;
    stop(dealer, 0);
    return start(dealer) == 0 ? CPNI_DEALER_UNREACHABLE : CPNI_DEALER_HANDSHAKE_FAILED;
}

static enum cpni_dealer_event translate(struct cpni_dealer *dealer, int event)
{
    const bool was_connected = dealer->connected;
    const bool broke = dealer->broke;
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        dealer->connected = true;
        dealer->patience = 1;
        return CPNI_DEALER_CONNECTED;
    case ZMQ_EVENT_DISCONNECTED:
        dealer->connected = false;
        dealer->broke = true;
        return was_connected ? CPNI_DEALER_DISCONNECTED : CPNI_DEALER_NOTHING;
    case ZMQ_EVENT_CONNECT_RETRIED:
        dealer->broke = false;
        return broke ? CPNI_DEALER_NOTHING : try_other_family(dealer);
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        stop(dealer, 0);
        return CPNI_DEALER_REFUSED;
    default:
        stop(dealer, 0);
        return CPNI_DEALER_HANDSHAKE_FAILED;
    }
}

enum cpni_dealer_event cpni_dealer_event(struct cpni_dealer *dealer)
{
    if (dealer->announce) {
        dealer->announce = false;
        dealer->connected = true;
        return CPNI_DEALER_CONNECTED;
    }
    struct cpni_monitor_event raw;
    while (dealer->monitor != NULL && cpni_monitor_read(dealer->monitor, &raw)) {
        const enum cpni_dealer_event event = translate(dealer, raw.event);
        if (event != CPNI_DEALER_NOTHING) {
            return event;
        }
    }
    return CPNI_DEALER_NOTHING;
}

const char *cpni_dealer_event_text(enum cpni_dealer_event event)
{
    switch (event) {
    case CPNI_DEALER_CONNECTED:
        return "connected";
    case CPNI_DEALER_DISCONNECTED:
        return "connection to the master lost, trying again";
    case CPNI_DEALER_UNREACHABLE:
        return "master cannot be reached, trying again";
    case CPNI_DEALER_REFUSED:
        return "key not enrolled or revoked";
    case CPNI_DEALER_HANDSHAKE_FAILED:
        return "no master with the expected key answers at this address";
    case CPNI_DEALER_NOTHING:
        break;
    }
    return "";
}

int cpni_dealer_recv(struct cpni_dealer *dealer, struct cpni_packet *packet)
{
    return dealer->socket != NULL ? cpni_packet_recv(dealer->socket, false, packet) : CPN_EAGAIN;
}

int cpni_dealer_send(struct cpni_dealer *dealer, struct cpni_bytes *const *frames, size_t count)
{
    /* libzmq reports a break before it takes the connection's queue away: a message sent meanwhile would be lost. */
    return dealer->connected ? cpni_packet_send(dealer->socket, NULL, 0, frames, count) : CPN_EUNREACHABLE;
}
