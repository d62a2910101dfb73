/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* net/: router and dealer over real sockets. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_fixture.h"

#include "base/alloc.h"

/* CONNECTED, possibly after failed attempts. */
static void expect_connected_at_last(struct net *net, struct cpni_dealer *dealer)
{
    enum cpni_dealer_event event;
    while ((event = net_event_within(net, dealer, PATIENCE_MS)) == CPNI_DEALER_UNREACHABLE) {
    }
    assert_int_equal(event, CPNI_DEALER_CONNECTED);
}

static void ping_pong_over_curve(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_curve_keys keys;
    struct cpni_dealer *dealer = net_dealer(&net, true, &keys);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);

    net_send_text(dealer, "ping");
    struct cpni_packet packet = { 0 };
    net_router_recv(&net, &packet);
    assert_int_equal(packet.fault, CPNI_PACKET_SOUND);
    assert_false(packet.local);
    assert_true(packet.keyed);
    assert_memory_equal(&packet.key, &keys.public_key, sizeof packet.key);
    assert_frame(&packet, 0, "ping");
    net_reply_text(&net, packet.conn, "pong", 0);
    cpni_packet_clear(&packet);

    net_dealer_recv(&net, dealer, &packet);
    assert_frame(&packet, 0, "pong");
    cpni_packet_clear(&packet);

    cpni_dealer_close(dealer);
    net_close(&net);
}

static void frames_travel_whole_and_by_reference(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_dealer *dealer = net_dealer(&net, true, NULL);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);

    static uint8_t big[300000];
    memset(big, 0x5a, sizeof big);
    struct cpni_bytes *frames[] = { cpni_bytes_copy("head", 4), cpni_bytes_copy(NULL, 0),
                                    cpni_bytes_copy(big, sizeof big) };
    assert_int_equal(cpni_dealer_send(dealer, frames, 3), 0);
    struct cpni_packet packet = { 0 };
    net_router_recv(&net, &packet);
    assert_int_equal(packet.count, 3);
    assert_frame(&packet, 0, "head");
    assert_int_equal(packet.frames[1]->size, 0);
    assert_int_equal(packet.frames[2]->size, sizeof big);
    assert_memory_equal(packet.frames[2]->data, big, sizeof big);

    /* what the master received it sends on as it is */
    assert_int_equal(cpni_router_send(net.router, packet.conn, packet.frames, packet.count), 0);
    cpni_packet_clear(&packet);
    net_dealer_recv(&net, dealer, &packet);
    assert_int_equal(packet.count, 3);
    assert_memory_equal(packet.frames[2]->data, big, sizeof big);
    cpni_packet_clear(&packet);

    for (size_t i = 0; i < 3; i++) {
        cpni_bytes_unref(frames[i]);
    }
    cpni_dealer_close(dealer);
    net_close(&net);
}

static void local_peers_have_no_key_and_are_told_apart(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    const struct cpni_dealer_options options = { .context = net.context, .loop = net.loop };
    struct cpni_dealer *local = NULL;
    assert_int_equal(cpni_dealer_open(&options, &local), 0);
    struct cpni_dealer *remote = net_dealer(&net, true, NULL);
    net_expect(&net, local, CPNI_DEALER_CONNECTED);
    net_expect(&net, remote, CPNI_DEALER_CONNECTED);
    net_send_text(local, "here");
    net_send_text(remote, "there");

    struct cpni_packet packets[2] = { 0 };
    net_router_recv(&net, &packets[0]);
    net_router_recv(&net, &packets[1]);
    const struct cpni_packet *here = packets[0].local ? &packets[0] : &packets[1];
    const struct cpni_packet *there = packets[0].local ? &packets[1] : &packets[0];
    assert_true(here->local && !here->keyed);
    assert_true(!there->local && there->keyed);
    assert_frame(here, 0, "here");
    assert_frame(there, 0, "there");
    assert_true(here->conn != there->conn);
    net_reply_text(&net, here->conn, "to you", 0);
    cpni_packet_clear(&packets[0]);
    cpni_packet_clear(&packets[1]);
    net_dealer_recv(&net, local, &packets[0]);
    assert_frame(&packets[0], 0, "to you");
    cpni_packet_clear(&packets[0]);

    cpni_dealer_close(local);
    cpni_dealer_close(remote);
    net_close(&net);
}

/* Wait until the router has noticed that a peer closed. */
static void expect_gone(struct net *net, uint64_t conn)
{
    struct cpni_bytes *frame = cpni_bytes_copy("late", 4);
    const int64_t deadline = now_ms() + PATIENCE_MS;
    int rc;
    while ((rc = cpni_router_send(net->router, conn, &frame, 1)) != CPN_EUNREACHABLE && now_ms() < deadline) {
        net_step(net, 10);
    }
    assert_int_equal(rc, CPN_EUNREACHABLE);
    cpni_bytes_unref(frame);
}

static void vanished_connection_is_unreachable(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_packet packet = { 0 };
    struct cpni_dealer *dealer = net_known(&net, &packet);
    const uint64_t conn = packet.conn;
    cpni_packet_clear(&packet);
    cpni_dealer_close(dealer);

    expect_gone(&net, conn);
    struct cpni_bytes *frame = cpni_bytes_copy("late", 4);
    assert_int_equal(cpni_router_send(net.router, 0, &frame, 1), CPN_EUNREACHABLE);
    assert_int_equal(cpni_router_send(net.router, conn + 1, &frame, 1), CPN_EUNREACHABLE);
    cpni_bytes_unref(frame);
    net_close(&net);
}

static void peers_return_under_new_connections_after_a_restart(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    enum { PEERS = 3 };
    struct cpni_dealer *dealers[PEERS];
    uint64_t before[PEERS];
    struct cpni_packet packet = { 0 };
    for (size_t i = 0; i < PEERS; i++) {
        dealers[i] = net_dealer(&net, true, NULL);
        net_expect(&net, dealers[i], CPNI_DEALER_CONNECTED);
        net_send_text(dealers[i], "hello");
        net_router_recv(&net, &packet);
        before[i] = packet.conn;
        cpni_packet_clear(&packet);
    }
    cpni_router_close(net.router);
    for (size_t i = 0; i < PEERS; i++) {
        net_expect(&net, dealers[i], CPNI_DEALER_DISCONNECTED);
        struct cpni_bytes *frame = cpni_bytes_copy("into the void", 13);
        assert_int_equal(cpni_dealer_send(dealers[i], &frame, 1), CPN_EUNREACHABLE);
        cpni_bytes_unref(frame);
    }
    net_bind(&net, net.endpoint);
    for (size_t i = 0; i < PEERS; i++) {
        expect_connected_at_last(&net, dealers[i]);
        net_send_text(dealers[i], "again");
        net_router_recv(&net, &packet);
        assert_frame(&packet, 0, "again");
        assert_true(packet.conn != before[i]);
        cpni_packet_clear(&packet);
    }
    for (size_t i = 0; i < PEERS; i++) {
        cpni_dealer_close(dealers[i]);
    }
    net_close(&net);
}

static void endless_message_is_cut(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_dealer *honest = net_dealer(&net, true, NULL);
    net_expect(&net, honest, CPNI_DEALER_CONNECTED);
    struct cpni_curve_keys keys;
    net_admit_new(&net, &keys);
    void *zmq = zmq_ctx_new();
    void *endless = raw_dealer(zmq, &net, &keys, NULL);
    /* not endless, but far beyond the limit before it ends: to the master it is the same */
    enum { PART = 1024 * 1024, PARTS = 400 };
    static uint8_t part[PART];
    for (int i = 0; i < PARTS; i++) {
        zmq_msg_t message;
        assert_int_equal(zmq_msg_init_data(&message, part, PART, NULL, NULL), 0);
        assert_int_equal(zmq_msg_send(&message, endless, i + 1 < PARTS ? ZMQ_SNDMORE : 0), PART);
    }
    struct cpni_cut cut = { 0 };
    struct cpni_packet packet = { 0 };
    const int64_t deadline = now_ms() + PATIENCE_MS;
    while (cpni_router_sweep(net.router, &cut, 1) == 0 && now_ms() < deadline) {
        net_step(&net, 10);
        assert_int_equal(cpni_router_recv(net.router, &packet), CPN_EAGAIN);
    }
    assert_true(cut.bytes > CPNI_ZMTP_MESSAGE_BYTES_MAX);
    assert_true(cut.bytes < (uint64_t)PART * PARTS);
    assert_non_null(strstr(cut.address, "127.0.0.1 port "));
    zmq_close(endless);

    net_send_text(honest, "still here");
    net_router_recv(&net, &packet);
    assert_frame(&packet, 0, "still here");
    cpni_packet_clear(&packet);
    assert_int_equal(cpni_dealer_event(honest), CPNI_DEALER_NOTHING);
    cpni_dealer_close(honest);
    zmq_ctx_term(zmq);
    net_close(&net);
}

/* The guard learns late that a peer closed: the next one, which has the same descriptor, was taken for it, and could not be cut. */
static void the_next_connection_with_a_descriptor_is_cut(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_packet packet = { 0 };
    struct cpni_dealer *dealer = net_known(&net, &packet);
    uint64_t before;
    int descriptor;
    int left = ADMITTED_MAX - 1;
    do { /* the peers' own descriptors come and go, too: sooner or later one follows on the other's */
        before = packet.conn;
        descriptor = packet.source_fd;
        cpni_packet_clear(&packet);
        cpni_dealer_close(dealer);
        expect_gone(&net, before);
        dealer = net_known(&net, &packet);
    } while (packet.source_fd != descriptor && --left > 0);
    assert_int_equal(packet.source_fd, descriptor);
    const uint64_t conn = packet.conn;
    cpni_packet_clear(&packet);
    assert_int_equal(cpni_router_cut(net.router, before, false), CPN_ENOTFOUND);
    assert_int_equal(cpni_router_cut(net.router, conn, false), 0);
    net_expect(&net, dealer, CPNI_DEALER_DISCONNECTED);
    cpni_dealer_close(dealer);
    net_close(&net);
}

/* Whoever is refused hears why: a connection that was shut down at once took the reason along. */
static void a_last_word_arrives_before_the_cut(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_packet packet = { 0 };
    struct cpni_dealer *dealer = net_known(&net, &packet);
    const uint64_t conn = packet.conn;
    cpni_packet_clear(&packet);
    struct cpni_cut cut;
    net_reply_text(&net, conn, "go away", 0);
    assert_int_equal(cpni_router_cut(net.router, conn, true), 0);
    assert_int_equal(cpni_router_sweep(net.router, &cut, 1), 0);
    net_dealer_recv(&net, dealer, &packet);
    assert_frame(&packet, 0, "go away");
    cpni_packet_clear(&packet);
    assert_int_equal(cpni_dealer_event(dealer), CPNI_DEALER_NOTHING);
    assert_int_equal(cpni_router_cut(net.router, conn, true), 0); /* does not put it off */
    assert_int_equal(cpni_router_sweep(net.router, &cut, 1), 0);
    net_expect(&net, dealer, CPNI_DEALER_DISCONNECTED);
    cpni_dealer_close(dealer);
    net_close(&net);
}

static void too_many_frames_are_flagged_and_the_next_message_is_whole(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_curve_keys keys;
    net_admit_new(&net, &keys);
    void *zmq = zmq_ctx_new();
    void *raw = raw_dealer(zmq, &net, &keys, NULL);
    for (int i = 0; i < 5000; i++) {
        zmq_send(raw, "x", 1, i < 4999 ? ZMQ_SNDMORE : 0);
    }
    zmq_send(raw, "next", 4, 0);
    struct cpni_packet packet = { 0 };
    net_router_recv(&net, &packet);
    assert_int_equal(packet.fault, CPNI_PACKET_OVERLONG);
    assert_int_equal(packet.count, CPNI_ZMTP_FRAMES_MAX);
    cpni_packet_clear(&packet);
    net_router_recv(&net, &packet);
    assert_int_equal(packet.fault, CPNI_PACKET_SOUND);
    assert_int_equal(packet.count, 1);
    assert_frame(&packet, 0, "next");
    cpni_packet_clear(&packet);
    zmq_close(raw);
    zmq_ctx_term(zmq);

    struct cpni_dealer *dealer = net_dealer(&net, true, NULL);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    struct cpni_bytes *frames[CPNI_ZMTP_FRAMES_MAX + 1];
    for (size_t i = 0; i <= CPNI_ZMTP_FRAMES_MAX; i++) {
        frames[i] = cpni_bytes_copy("f", 1);
    }
    assert_int_equal(cpni_dealer_send(dealer, frames, CPNI_ZMTP_FRAMES_MAX + 1), CPN_EINVAL);
    assert_int_equal(cpni_dealer_send(dealer, frames, 0), CPN_EINVAL);
    assert_int_equal(cpni_dealer_send(dealer, frames, CPNI_ZMTP_FRAMES_MAX), 0);
    net_router_recv(&net, &packet);
    assert_int_equal(packet.fault, CPNI_PACKET_SOUND);
    assert_int_equal(packet.count, CPNI_ZMTP_FRAMES_MAX);
    cpni_packet_clear(&packet);
    for (size_t i = 0; i <= CPNI_ZMTP_FRAMES_MAX; i++) {
        cpni_bytes_unref(frames[i]);
    }
    cpni_dealer_close(dealer);
    net_close(&net);
}

/* A frame over the limit ends its connection on arrival; the sender's own library refuses it before. */
static void too_large_a_frame_is_refused(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_dealer *dealer = net_dealer(&net, true, NULL);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    static uint8_t data[CPNI_ZMTP_FRAME_BYTES_MAX];
    struct cpni_bytes *frame = cpni_bytes_copy(data, sizeof data);
    assert_int_equal(cpni_dealer_send(dealer, &frame, 1), CPN_ETOOBIG);
    frame->size -= CPNI_ZMTP_FRAME_OVERHEAD;
    assert_int_equal(cpni_dealer_send(dealer, &frame, 1), 0);
    struct cpni_packet packet = { 0 };
    net_router_recv(&net, &packet);
    assert_int_equal(packet.frames[0]->size, sizeof data - CPNI_ZMTP_FRAME_OVERHEAD);
    cpni_packet_clear(&packet);

    struct cpni_bytes *many[CPNI_ZMTP_FRAMES_MAX];
    for (size_t i = 0; i < CPNI_ZMTP_FRAMES_MAX; i++) {
        many[i] = frame;
    }
    assert_int_equal(cpni_dealer_send(dealer, many, CPNI_ZMTP_FRAMES_MAX), CPN_ETOOBIG);
    cpni_bytes_unref(frame);
    cpni_dealer_close(dealer);
    net_close(&net);
}

static void full_queue_says_so_and_loses_nothing(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    const struct cpni_dealer_options options = { .context = net.context, .loop = net.loop };
    struct cpni_dealer *dealer = NULL;
    assert_int_equal(cpni_dealer_open(&options, &dealer), 0);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    uint32_t sent = 0;
    int rc = 0;
    while (sent < 100000) {
        struct cpni_bytes *frames[] = { cpni_bytes_copy(&sent, sizeof sent), cpni_bytes_copy("tail", 4) };
        rc = cpni_dealer_send(dealer, frames, 2);
        cpni_bytes_unref(frames[0]);
        cpni_bytes_unref(frames[1]);
        if (rc != 0) {
            break;
        }
        sent++;
    }
    assert_int_equal(rc, CPN_EAGAIN);
    assert_in_range(sent, 1, 2 * CPNI_ZMTP_HWM);
    for (uint32_t i = 0; i < sent; i++) {
        struct cpni_packet packet = { 0 };
        net_router_recv(&net, &packet);
        assert_int_equal(packet.count, 2);
        assert_memory_equal(packet.frames[0]->data, &i, sizeof i);
        cpni_packet_clear(&packet);
    }
    net_send_text(dealer, "room again");
    cpni_dealer_close(dealer);
    net_close(&net);
}

enum { MESSAGES = 200000, CREDIT = 64 };

struct flow {
    uint32_t sent;     /* by the dealer */
    uint32_t received; /* by the master, which returns one credit each */
    uint32_t returned; /* seen by the dealer */
};

static void send_on_credit(struct cpni_dealer *dealer, struct flow *flow)
{
    while (flow->sent < MESSAGES && flow->sent - flow->returned < CREDIT) {
        struct cpni_bytes *frame = cpni_bytes_copy(&flow->sent, sizeof flow->sent);
        assert_int_equal(cpni_dealer_send(dealer, &frame, 1), 0);
        cpni_bytes_unref(frame);
        flow->sent++;
    }
}

static void serve(struct net *net, struct flow *flow)
{
    struct cpni_packet packet = { 0 };
    while (cpni_router_recv(net->router, &packet) == 0) {
        assert_int_equal(packet.count, 1);
        assert_memory_equal(packet.frames[0]->data, &flow->received, sizeof flow->received); /* in order, none lost */
        flow->received++;
        assert_int_equal(cpni_router_send(net->router, packet.conn, packet.frames, 1), 0);
        cpni_packet_clear(&packet);
    }
}

static void take_credit(struct cpni_dealer *dealer, struct flow *flow)
{
    struct cpni_packet packet = { 0 };
    while (cpni_dealer_recv(dealer, &packet) == 0) {
        assert_memory_equal(packet.frames[0]->data, &flow->returned, sizeof flow->returned);
        flow->returned++;
        cpni_packet_clear(&packet);
    }
}

static void small_messages_under_credit_all_arrive_in_order(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_dealer *dealer = net_dealer(&net, true, NULL);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    struct flow flow = { 0 };
    while (flow.returned < MESSAGES) {
        send_on_credit(dealer, &flow);
        assert_int_equal(cpni_loop_wait(net.loop, PATIENCE_MS), 1); /* a timeout here is a lost wake-up */
        serve(&net, &flow);
        take_credit(dealer, &flow);
        assert_int_equal(cpni_dealer_event(dealer), CPNI_DEALER_NOTHING);
    }
    cpni_dealer_close(dealer);
    net_close(&net);
}

static void unreachable_master_is_reported_until_it_is_there(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    cpni_router_close(net.router);
    /* a port that is taken and does not listen: the closed router's may still answer for a moment */
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t size = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(net.endpoint, sizeof net.endpoint, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    struct cpni_dealer *dealer = net_dealer(&net, true, NULL);
    for (int i = 0; i < 4; i++) {
        net_expect(&net, dealer, CPNI_DEALER_UNREACHABLE);
    }
    close(fd);
    net_bind(&net, net.endpoint);
    expect_connected_at_last(&net, dealer);
    cpni_dealer_close(dealer);
    net_close(&net);
}

/* A name, where this machine knows one without asking a name server: a bare one has no /etc/hosts, and asking may take half a minute. */
static const char *name_of_loopback(void)
{
    char line[256];
    const char *name = "127.0.0.1";
    FILE *hosts = fopen("/etc/hosts", "re");
    while (hosts != NULL && fgets(line, sizeof line, hosts) != NULL) {
        if (line[0] != '#' && strstr(line, "localhost") != NULL) {
            name = "localhost";
        }
    }
    if (hosts != NULL) {
        fclose(hosts);
    }
    return name;
}

static void dealer_moves_to_another_endpoint_with_other_keys(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_dealer *dealer = net_dealer(&net, true, NULL);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    struct cpni_curve_keys own;
    net_admit_new(&net, &own);
    cpni_dealer_set_keys(dealer, &own);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "tcp://%s:%u", name_of_loopback(), cpni_router_port(net.router));
    assert_int_equal(cpni_dealer_reconnect(dealer, endpoint), 0);
    expect_connected_at_last(&net, dealer); /* the name may mean ::1 first, where nobody listens */
    net_send_text(dealer, "enrolled");
    struct cpni_packet packet = { 0 };
    net_router_recv(&net, &packet);
    assert_memory_equal(&packet.key, &own.public_key, sizeof packet.key);
    cpni_packet_clear(&packet);
    assert_int_equal(cpni_dealer_reconnect(dealer, "no endpoint at all"), CPN_EINVAL);
    struct cpni_bytes *frame = cpni_bytes_copy("x", 1);
    assert_int_equal(cpni_dealer_send(dealer, &frame, 1), CPN_EUNREACHABLE);
    cpni_bytes_unref(frame);
    assert_int_equal(cpni_dealer_reconnect(dealer, endpoint), 0);
    expect_connected_at_last(&net, dealer);
    cpni_dealer_close(dealer);
    net_close(&net);
}

/* Everything opened, one message each way, everything closed; the first error, with nothing left behind. */
static int one_round(const struct cpni_curve_keys *keys)
{
    struct cpni_context *context = cpni_context_new();
    struct cpni_loop *loop = NULL;
    struct cpni_zap *zap = NULL;
    struct cpni_router *router = NULL;
    struct cpni_dealer *dealer = NULL;
    struct cpni_bytes *frame = cpni_bytes_copy("x", 1);
    struct cpni_packet packet = { 0 };
    const char *const endpoints[] = { "tcp://127.0.0.1:0" };
    int rc = context != NULL && frame != NULL ? cpni_loop_open(&loop) : CPN_ENOMEM;
    rc = rc != 0 ? rc : cpni_zap_open(context, loop, net_admit, NULL, &zap);
    const struct cpni_router_options master = { .context = context, .loop = loop, .zap = zap, .endpoints = endpoints,
                                                .endpoint_count = 1, .keys = keys };
    rc = rc != 0 ? rc : cpni_router_open(&master, &router, NULL);
    const struct cpni_dealer_options peer = { .context = context, .loop = loop };
    rc = rc != 0 ? rc : cpni_dealer_open(&peer, &dealer);
    if (rc == 0) {
        assert_int_equal(cpni_dealer_event(dealer), CPNI_DEALER_CONNECTED);
        rc = cpni_dealer_send(dealer, &frame, 1);
    }
    rc = rc != 0 ? rc : cpni_router_recv(router, &packet);
    rc = rc != 0 ? rc : cpni_router_send(router, packet.conn, packet.frames, packet.count);
    cpni_packet_clear(&packet);
    rc = rc != 0 ? rc : cpni_dealer_recv(dealer, &packet);
    cpni_packet_clear(&packet);
    cpni_bytes_unref(frame);
    cpni_dealer_close(dealer);
    cpni_router_close(router);
    cpni_zap_close(zap);
    cpni_loop_close(loop);
    cpni_context_unref(context);
    return rc;
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    struct cpni_curve_keys keys;
    cpni_curve_generate(&keys);
    cpni_alloc_fail(0);
    assert_int_equal(one_round(&keys), 0);
    const unsigned requests = cpni_alloc_fail(0);
    assert_in_range(requests, 8, 100);
    for (unsigned nth = 1; nth <= requests; nth++) {
        cpni_alloc_fail(nth);
        assert_int_equal(one_round(&keys), CPN_ENOMEM);
    }
    cpni_alloc_fail(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ping_pong_over_curve),
        cmocka_unit_test(frames_travel_whole_and_by_reference),
        cmocka_unit_test(local_peers_have_no_key_and_are_told_apart),
        cmocka_unit_test(vanished_connection_is_unreachable),
        cmocka_unit_test(peers_return_under_new_connections_after_a_restart),
        cmocka_unit_test(endless_message_is_cut),
        cmocka_unit_test(the_next_connection_with_a_descriptor_is_cut),
        cmocka_unit_test(a_last_word_arrives_before_the_cut),
        cmocka_unit_test(too_many_frames_are_flagged_and_the_next_message_is_whole),
        cmocka_unit_test(too_large_a_frame_is_refused),
        cmocka_unit_test(full_queue_says_so_and_loses_nothing),
        cmocka_unit_test(small_messages_under_credit_all_arrive_in_order),
        cmocka_unit_test(unreachable_master_is_reported_until_it_is_there),
        cmocka_unit_test(dealer_moves_to_another_endpoint_with_other_keys),
        cmocka_unit_test(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
