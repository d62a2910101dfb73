/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See guard.h. */
#include "guard.h"

#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <zmq.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "net/monitor.h"
#include "proto/limits.h"

struct connection {
    bool open;
    bool messages; /* at least one was read since the last sweep */
    bool marked;   /* `mark` is valid */
    uint8_t sweeps; /* until it is cut; 0: it is not */
    uint64_t mark; /* bytes received when the first sweep without a message looked */
    uint64_t conn; /* of its messages; 0 before the first */
    struct sockaddr_storage peer;
};

struct cpni_guard {
    void *socket;
    void *monitor;
    struct connection *connections; /* by descriptor: the kernel gives out the lowest free ones */
    size_t count;
};

int cpni_guard_open(struct cpni_context *context, void *router_socket, struct cpni_guard **out)
{
    struct cpni_guard *guard = cpni_calloc(1, sizeof *guard);
    if (guard == NULL) {
        return CPN_ENOMEM;
    }
    guard->socket = router_socket;
    const int events = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED;
    const int rc = cpni_monitor_open(context, router_socket, events, &guard->monitor);
    if (rc != 0) {
        cpni_free(guard);
        return rc;
    }
    *out = guard;
    return 0;
}

void cpni_guard_close(struct cpni_guard *guard)
{
    if (guard != NULL) {
        cpni_monitor_close(guard->socket, guard->monitor);
        cpni_free(guard->connections);
        cpni_free(guard);
    }
}

static bool peer_of(int fd, struct sockaddr_storage *peer)
{
    memset(peer, 0, sizeof *peer);
    socklen_t size = sizeof *peer;
    return getpeername(fd, (struct sockaddr *)peer, &size) == 0;
}

/* Room for a descriptor; false when out of memory: the connection then goes unguarded. */
static bool reserve(struct cpni_guard *guard, size_t fd)
{
    if (fd < guard->count) {
        return true;
    }
    const size_t count = fd + 64;
    struct connection *grown = cpni_realloc(guard->connections, count * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    memset(grown + guard->count, 0, (count - guard->count) * sizeof *grown);
    guard->connections = grown;
    guard->count = count;
    return true;
}

static void read_events(struct cpni_guard *guard)
{
    struct cpni_monitor_event event;
    while (cpni_monitor_read(guard->monitor, &event)) {
        const int fd = (int)event.value;
        if (fd < 0 || !reserve(guard, (size_t)fd)) {
            continue;
        }
        struct connection *connection = &guard->connections[fd];
        *connection = (struct connection){ .open = false };
        connection->open = event.event == ZMQ_EVENT_ACCEPTED && peer_of(fd, &connection->peer);
    }
}

/* The connection of a descriptor as far as the events were read, NULL when there is none. */
static struct connection *find(struct cpni_guard *guard, int fd)
{
    return fd >= 0 && (size_t)fd < guard->count && guard->connections[fd].open ? &guard->connections[fd] : NULL;
}

void cpni_guard_message(struct cpni_guard *guard, int fd, uint64_t conn)
{
    struct connection *connection = find(guard, fd);
    if (connection == NULL || connection->conn != conn) {
        /* The first message of a connection. The news of it, and of the end of the one that had its descriptor, may still be
         * unread: the number would be noted with the old one and be forgotten when the news is read. */
        read_events(guard);
        connection = find(guard, fd);
    }
    if (connection == NULL) {
        return;
    }
    connection->messages = true;
    /* What an earlier connection with this descriptor left behind may be read late: numbers rise, the later one
     * counts. */
    if (connection->conn == 0 || (int32_t)((uint32_t)conn - (uint32_t)connection->conn) > 0) {
        connection->conn = conn;
    }
}

/* Bytes that the kernel received on a connection; 0 when it cannot say. */
static uint64_t received(int fd)
{
    struct tcp_info info;
    memset(&info, 0, sizeof info);
    socklen_t size = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_bytes_received : 0;
}

/* End a connection. The io thread may have closed the descriptor and the number may be another's by now, so whoever
 * is at its other end is compared first; the io thread sees the end of the stream and cleans up. */
static bool cut(struct connection *connection, int fd)
{
    struct sockaddr_storage peer;
    if (!peer_of(fd, &peer) || memcmp(&peer, &connection->peer, sizeof peer) != 0) {
        return false;
    }
    connection->open = false;
    return shutdown(fd, SHUT_RDWR) == 0;
}

static void describe(const struct connection *connection, struct cpni_cut *out)
{
    char host[48] = "";
    char port[8] = "";
    const struct sockaddr *peer = (const struct sockaddr *)&connection->peer;
    const int numbers = NI_NUMERICHOST | NI_NUMERICSERV;
    if (getnameinfo(peer, sizeof connection->peer, host, sizeof host, port, sizeof port, numbers) == 0) {
        snprintf(out->address, sizeof out->address, "%s port %s", host, port);
    } else {
        snprintf(out->address, sizeof out->address, "unknown");
    }
    out->conn = connection->conn;
}

/* Bytes received since the last whole message, as far as sweeps have seen: the mark is set at the first sweep after
 * it. */
static uint64_t since_message(struct connection *connection, int fd)
{
    if (connection->messages) {
        connection->messages = false;
        connection->marked = false;
        return 0;
    }
    const uint64_t now = received(fd);
    if (!connection->marked && connection->conn != 0) {
        connection->mark = now;
        connection->marked = true;
    }
    return now - connection->mark; /* before the first message: everything */
}

size_t cpni_guard_sweep(struct cpni_guard *guard, struct cpni_cut *cuts, size_t room)
{
    read_events(guard);
    size_t count = 0;
    for (size_t i = 0; i < guard->count && count < room; i++) {
        struct connection *connection = &guard->connections[i];
        if (!connection->open) {
            continue;
        }
        if (connection->sweeps != 0 && --connection->sweeps == 0) {
            cut(connection, (int)i);
            continue;
        }
        const uint64_t bytes = since_message(connection, (int)i);
        if (bytes > CPNI_ZMTP_MESSAGE_BYTES_MAX && cut(connection, (int)i)) {
            cuts[count] = (struct cpni_cut){ .bytes = bytes };
            describe(connection, &cuts[count++]);
        }
    }
    return count;
}

int cpni_guard_cut(struct cpni_guard *guard, uint64_t conn, bool later)
{
    read_events(guard);
    for (size_t i = 0; i < guard->count; i++) {
        struct connection *connection = &guard->connections[i];
        if (!connection->open || connection->conn != conn) {
            continue;
        }
        if (!later) {
            return cut(connection, (int)i) ? 0 : CPN_ENOTFOUND;
        }
        connection->sweeps = connection->sweeps != 0 ? connection->sweeps : 2;
        return 0;
    }
    return CPN_ENOTFOUND;
}

void cpni_guard_cut_fd(struct cpni_guard *guard, int fd)
{
    read_events(guard);
    struct connection *connection = find(guard, fd);
    if (connection != NULL) {
        cut(connection, fd);
    }
}
