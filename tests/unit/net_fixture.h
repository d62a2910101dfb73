/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A master's side and its peers in one thread, over real sockets, for the tests of net/. Nothing sleeps: step()
 * waits for the loop, and whoever waits for something calls it until a deadline that only a failure reaches. */
#ifndef CPN_TEST_NET_FIXTURE_H
#define CPN_TEST_NET_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <zmq.h>

#include <cpn/error.h>

#include "net/dealer.h"
#include "net/router.h"

#define PATIENCE_MS 20000
#define ADMITTED_MAX 16

struct net {
    struct cpni_context *context;
    struct cpni_loop *loop;
    struct cpni_zap *zap;
    struct cpni_router *router;
    struct cpni_curve_keys master;
    struct cpn_key admitted[ADMITTED_MAX];
    size_t admitted_count;
    bool zap_serviced;
    char endpoint[64];
};

static inline int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline bool net_admit(void *arg, const struct cpn_key *key)
{
    const struct net *net = arg;
    for (size_t i = 0; i < net->admitted_count; i++) {
        if (memcmp(&net->admitted[i], key, sizeof *key) == 0) {
            return true;
        }
    }
    return false;
}

static inline void net_bind(struct net *net, const char *endpoint)
{
    const char *const endpoints[] = { endpoint };
    const struct cpni_router_options options = { .context = net->context, .loop = net->loop, .zap = net->zap,
                                                 .endpoints = endpoints, .endpoint_count = 1, .keys = &net->master };
    char detail[CPNI_NET_DETAIL] = "";
    const int64_t deadline = now_ms() + PATIENCE_MS;
    int rc;
    /* a port just left may take a moment to become free: the closed socket's io thread lets go of it later */
    while ((rc = cpni_router_open(&options, &net->router, detail)) != 0 && now_ms() < deadline) {
        cpni_loop_wait(net->loop, 10);
    }
    if (rc != 0) {
        fail_msg("%s", detail);
    }
    snprintf(net->endpoint, sizeof net->endpoint, "tcp://127.0.0.1:%u", cpni_router_port(net->router));
}

static inline void net_open(struct net *net)
{
    memset(net, 0, sizeof *net);
    net->zap_serviced = true;
    assert_int_equal(cpni_keys_init(), 0);
    cpni_curve_generate(&net->master);
    net->context = cpni_context_new();
    assert_non_null(net->context);
    assert_int_equal(cpni_loop_open(&net->loop), 0);
    assert_int_equal(cpni_zap_open(net->context, net->loop, net_admit, net, &net->zap), 0);
    net_bind(net, "tcp://127.0.0.1:0");
}

static inline void net_close(struct net *net)
{
    cpni_router_close(net->router);
    cpni_zap_close(net->zap);
    cpni_loop_close(net->loop);
    cpni_context_unref(net->context);
}

static inline void net_admit_new(struct net *net, struct cpni_curve_keys *keys)
{
    cpni_curve_generate(keys);
    assert_true(net->admitted_count < ADMITTED_MAX);
    net->admitted[net->admitted_count++] = keys->public_key;
}

/* A peer with keys of its own; admitted or not. endpoint NULL: the master's. */
static inline struct cpni_dealer *net_dealer(struct net *net, bool admitted, struct cpni_curve_keys *keys)
{
    struct cpni_curve_keys own;
    keys = keys != NULL ? keys : &own;
    if (admitted) {
        net_admit_new(net, keys);
    } else {
        cpni_curve_generate(keys);
    }
    const struct cpni_dealer_options options = { .context = net->context, .loop = net->loop, .endpoint = net->endpoint,
                                                 .server_key = &net->master.public_key, .keys = keys };
    struct cpni_dealer *dealer = NULL;
    assert_int_equal(cpni_dealer_open(&options, &dealer), 0);
    return dealer;
}

/* A DEALER of another process, as far as libzmq knows, with nothing of ours in it; keys NULL: plaintext. */
static inline void *raw_dealer(void *zmq, const struct net *net, const struct cpni_curve_keys *keys,
                               const char *routing_id)
{
    void *socket = zmq_socket(zmq, ZMQ_DEALER);
    assert_non_null(socket);
    const int zero = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &zero, sizeof zero);
    if (routing_id != NULL) {
        assert_int_equal(zmq_setsockopt(socket, ZMQ_ROUTING_ID, routing_id, strlen(routing_id)), 0);
    }
    if (keys != NULL) {
        zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, net->master.public_key.bytes, 32);
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, keys->public_key.bytes, 32);
        assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->secret, 32), 0);
    }
    assert_int_equal(zmq_connect(socket, net->endpoint), 0);
    return socket;
}

static inline void net_step(struct net *net, int timeout_ms)
{
    cpni_loop_wait(net->loop, timeout_ms);
    if (net->zap_serviced && net->zap != NULL) {
        cpni_zap_service(net->zap);
    }
}

/* The next event, or NOTHING after the time. */
static inline enum cpni_dealer_event net_event_within(struct net *net, struct cpni_dealer *dealer, int within_ms)
{
    const int64_t deadline = now_ms() + within_ms;
    enum cpni_dealer_event event;
    while ((event = cpni_dealer_event(dealer)) == CPNI_DEALER_NOTHING && now_ms() < deadline) {
        net_step(net, 20);
    }
    return event;
}

static inline void net_expect(struct net *net, struct cpni_dealer *dealer, enum cpni_dealer_event event)
{
    assert_int_equal(net_event_within(net, dealer, PATIENCE_MS), event);
}

static inline void net_send_text(struct cpni_dealer *dealer, const char *text)
{
    struct cpni_bytes *frame = cpni_bytes_copy(text, strlen(text));
    assert_int_equal(cpni_dealer_send(dealer, &frame, 1), 0);
    cpni_bytes_unref(frame);
}

static inline void net_reply_text(struct net *net, uint64_t conn, const char *text, int expected)
{
    struct cpni_bytes *frame = cpni_bytes_copy(text, strlen(text));
    assert_int_equal(cpni_router_send(net->router, conn, &frame, 1), expected);
    cpni_bytes_unref(frame);
}

/* The master's next packet; asserts that there is one. */
static inline void net_router_recv(struct net *net, struct cpni_packet *packet)
{
    const int64_t deadline = now_ms() + PATIENCE_MS;
    int rc;
    while ((rc = cpni_router_recv(net->router, packet)) == CPN_EAGAIN && now_ms() < deadline) {
        net_step(net, 20);
    }
    assert_int_equal(rc, 0);
}

/* A peer whose first message the master has read, into `packet`. */
static inline struct cpni_dealer *net_known(struct net *net, struct cpni_packet *packet)
{
    struct cpni_dealer *dealer = net_dealer(net, true, NULL);
    net_expect(net, dealer, CPNI_DEALER_CONNECTED);
    net_send_text(dealer, "hello");
    net_router_recv(net, packet);
    return dealer;
}

static inline void net_dealer_recv(struct net *net, struct cpni_dealer *dealer, struct cpni_packet *packet)
{
    const int64_t deadline = now_ms() + PATIENCE_MS;
    int rc;
    while ((rc = cpni_dealer_recv(dealer, packet)) == CPN_EAGAIN && now_ms() < deadline) {
        net_step(net, 20);
    }
    assert_int_equal(rc, 0);
}

static inline void assert_frame(const struct cpni_packet *packet, size_t index, const char *text)
{
    assert_true(index < packet->count);
    assert_int_equal(packet->frames[index]->size, strlen(text));
    assert_memory_equal(packet->frames[index]->data, text, strlen(text));
}

#endif
