/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See router.h. */
#include "router.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "net/inproc.h"

/* Declared as draft, present in the stable 4.3.4 and 4.3.5; a libzmq without it makes the open fail, never open. */
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

#define TURN 64 /* messages of one socket before the other one is looked at: neither starves the other */

/* conn: the number of the routing id and one bit that says which socket it belongs to, so that it is never 0. */
#define CONN_TCP (UINT64_C(1) << 32)
#define CONN_LOCAL (UINT64_C(1) << 33)

enum { TCP, LOCAL, SOCKETS };

struct cpni_router {
    struct cpni_context *context;
    struct cpni_loop *loop;
    void *sockets[SOCKETS];   /* TCP is NULL without endpoints */
    struct cpni_guard *guard; /* likewise */
    uint16_t port;
    int turn;    /* the socket to read next */
    int in_turn; /* messages read from it in a row */
};

static int set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

static int set_router_options(void *socket)
{
    /* default: what cannot be routed or queued vanishes without a word */
    return set_int(socket, ZMQ_ROUTER_MANDATORY, 1) != 0 ||
                   /* default, said aloud: nobody may take over a connection by claiming its routing id */
                   set_int(socket, ZMQ_ROUTER_HANDOVER, 0) != 0
               ? CPN_EIO
               : 0;
}

static int set_curve_options(void *socket, const struct cpni_curve_keys *keys)
{
    return set_int(socket, ZMQ_CURVE_SERVER, 1) != 0 ||
                   zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->secret, sizeof keys->secret) != 0 ||
                   /* an empty domain would skip authentication even under enforce */
                   zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, CPNI_ZAP_DOMAIN, strlen(CPNI_ZAP_DOMAIN)) != 0 ||
                   /* default: without a handler every key is let in */
                   set_int(socket, ZMQ_ZAP_ENFORCE_DOMAIN, 1) != 0
               ? CPN_EIO
               : 0;
}

static uint16_t bound_port(void *socket)
{
    char endpoint[256];
    size_t size = sizeof endpoint;
    if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size) != 0) {
        return 0;
    }
    const char *colon = strrchr(endpoint, ':');
    return colon != NULL ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
}

static int open_tcp(struct cpni_router *router, const struct cpni_router_options *options, char *detail)
{
    void *socket = router->sockets[TCP] = cpni_context_socket(options->context, ZMQ_ROUTER);
    if (socket == NULL) {
        cpni_explain(detail, "cannot open a socket: %s", cpni_net_errno());
        return CPN_ENOMEM;
    }
    if (set_router_options(socket) != 0 || set_curve_options(socket, options->keys) != 0) {
        cpni_explain(detail, "libzmq cannot do CURVE with enforced ZAP (%s): 4.3.4 or newer with libsodium is needed",
                     cpni_net_errno());
        return CPN_EIO;
    }
    const int rc = cpni_guard_open(options->context, socket, &router->guard);
    if (rc != 0) {
        cpni_explain(detail, "cannot watch the connections: %s", cpn_strerror(rc));
        return rc;
    }
    for (size_t i = 0; i < options->endpoint_count; i++) {
        if (zmq_bind(socket, options->endpoints[i]) != 0) {
            cpni_explain(detail, "cannot listen on %s: %s%s", options->endpoints[i], cpni_net_errno(),
                    errno == EADDRINUSE ? "; does another cpn-master run here?" : "");
            return CPN_EIO;
        }
        if (i == 0) {
            router->port = bound_port(socket);
        }
    }
    return cpni_loop_add_socket(router->loop, socket);
}

static int open_local(struct cpni_router *router, char *detail)
{
    void *socket = router->sockets[LOCAL] = cpni_context_socket(router->context, ZMQ_ROUTER);
    if (socket == NULL || set_router_options(socket) != 0) {
        cpni_explain(detail, "cannot open a socket: %s", cpni_net_errno());
        return CPN_ENOMEM;
    }
    if (zmq_bind(socket, CPNI_INPROC_ENDPOINT) != 0) {
        cpni_explain(detail, "this context has a master already: give each master of a process a context of its own");
        return errno == EADDRINUSE ? CPN_EEXISTS : CPN_EIO;
    }
    return cpni_loop_add_socket(router->loop, socket);
}

int cpni_router_open(const struct cpni_router_options *options, struct cpni_router **out, char detail[CPNI_NET_DETAIL])
{
    if (options->endpoint_count != 0 && (options->zap == NULL || options->keys == NULL)) {
        cpni_explain(detail, "a router on TCP needs a ZAP handler and keys");
        return CPN_EINVAL;
    }
    struct cpni_router *router = cpni_calloc(1, sizeof *router);
    if (router == NULL) {
        cpni_explain(detail, "out of memory");
        return CPN_ENOMEM;
    }
    router->context = cpni_context_ref(options->context);
    router->loop = options->loop;
    int rc = open_local(router, detail);
    if (rc == 0 && options->endpoint_count != 0) {
        rc = open_tcp(router, options, detail);
    }
    if (rc != 0) {
        cpni_router_close(router);
        return rc;
    }
    *out = router;
    return 0;
}

void cpni_router_close(struct cpni_router *router)
{
    if (router == NULL) {
        return;
    }
    cpni_guard_close(router->guard);
    for (int i = 0; i < SOCKETS; i++) {
        if (router->sockets[i] != NULL) {
            cpni_loop_remove_socket(router->loop, router->sockets[i]);
            zmq_close(router->sockets[i]);
        }
    }
    cpni_context_unref(router->context);
    cpni_free(router);
}

uint16_t cpni_router_port(const struct cpni_router *router)
{
    return router->port;
}

/* What nobody vouches for gets no further than this, and its connection ends. */
static void refuse(struct cpni_router *router, struct cpni_packet *packet)
{
    cpni_packet_drop_frames(packet);
    if (!packet->local) {
        cpni_guard_cut_fd(router->guard, packet->source_fd);
    }
}

static int recv_from(struct cpni_router *router, int which, struct cpni_packet *packet)
{
    if (router->sockets[which] == NULL) {
        return CPN_EAGAIN;
    }
    const int rc = cpni_packet_recv(router->sockets[which], true, packet);
    if (rc != 0) {
        return rc;
    }
    packet->local = which == LOCAL;
    if (packet->fault == CPNI_PACKET_FOREIGN) {
        refuse(router, packet);
        return 0;
    }
    packet->conn |= packet->local ? CONN_LOCAL : CONN_TCP;
    if (!packet->local && !packet->keyed) {
        packet->fault = CPNI_PACKET_UNKEYED;
        refuse(router, packet);
    } else if (!packet->local) {
        cpni_guard_message(router->guard, packet->source_fd, packet->conn);
    }
    return 0;
}

int cpni_router_recv(struct cpni_router *router, struct cpni_packet *packet)
{
    if (router->in_turn >= TURN) {
        router->turn = 1 - router->turn;
        router->in_turn = 0;
    }
    int rc = recv_from(router, router->turn, packet);
    if (rc == CPN_EAGAIN) {
        router->turn = 1 - router->turn;
        router->in_turn = 0;
        rc = recv_from(router, router->turn, packet);
    }
    router->in_turn++;
    return rc;
}

int cpni_router_send(struct cpni_router *router, uint64_t conn, struct cpni_bytes *const *frames, size_t count)
{
    void *socket = router->sockets[(conn & CONN_LOCAL) != 0 ? LOCAL : TCP];
    if (socket == NULL || (conn & (CONN_LOCAL | CONN_TCP)) == 0) {
        return CPN_EUNREACHABLE;
    }
    const uint8_t route[5] = { 0, (uint8_t)(conn >> 24), (uint8_t)(conn >> 16), (uint8_t)(conn >> 8), (uint8_t)conn };
    return cpni_packet_send(socket, route, sizeof route, frames, count);
}

size_t cpni_router_sweep(struct cpni_router *router, struct cpni_cut *cuts, size_t room)
{
    return router->guard != NULL ? cpni_guard_sweep(router->guard, cuts, room) : 0;
}

int cpni_router_cut(struct cpni_router *router, uint64_t conn, bool later)
{
    return router->guard != NULL ? cpni_guard_cut(router->guard, conn, later) : CPN_ENOTFOUND;
}
