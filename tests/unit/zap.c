/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* net/zap: nobody gets in whom the master did not admit, whatever is sent (ANCHORS 1.1 to 1.3, 1.6). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_fixture.h"

static void known_key_is_admitted_and_named_on_every_packet(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_curve_keys keys;
    struct cpni_dealer *dealer = net_dealer(&net, true, &keys);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    enum { PACKETS = 500 };
    for (size_t i = 0; i < PACKETS; i++) {
        net_send_text(dealer, "x");
    }
    for (size_t i = 0; i < PACKETS; i++) {
        struct cpni_packet packet = { 0 };
        /* asking for events between makes libzmq fetch ahead, which loses the properties of the first part in 4.3.4 */
        cpni_loop_pending(net.loop);
        net_router_recv(&net, &packet);
        assert_int_equal(packet.fault, CPNI_PACKET_SOUND);
        assert_true(packet.keyed);
        assert_memory_equal(&packet.key, &keys.public_key, sizeof packet.key);
        cpni_packet_clear(&packet);
    }
    assert_int_equal(cpni_zap_counts(net.zap).admitted, 1);
    cpni_dealer_close(dealer);
    net_close(&net);
}

static void unknown_key_is_refused_once_and_told(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_curve_keys keys;
    struct cpni_dealer *dealer = net_dealer(&net, false, &keys);
    net_expect(&net, dealer, CPNI_DEALER_REFUSED);
    assert_string_equal(cpni_dealer_event_text(CPNI_DEALER_REFUSED), "key not enrolled or revoked");
    /* it does not try again by itself */
    assert_int_equal(net_event_within(&net, dealer, 500), CPNI_DEALER_NOTHING);
    assert_int_equal(cpni_zap_counts(net.zap).refused, 1);
    /* but when told, and it is let in once it is enrolled */
    net.admitted[net.admitted_count++] = keys.public_key;
    assert_int_equal(cpni_dealer_reconnect(dealer, NULL), 0);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    cpni_dealer_close(dealer);
    net_close(&net);
}


/* An honest peer connects and is heard: whatever else is going on has not disturbed the master, and whatever was sent
 * before would have arrived by now. Asserts that nothing else arrived. */
static void only_an_honest_peer_is_heard(struct net *net)
{
    struct cpni_dealer *honest = net_dealer(net, true, NULL);
    net_expect(net, honest, CPNI_DEALER_CONNECTED);
    net_send_text(honest, "honest");
    struct cpni_packet packet = { 0 };
    net_router_recv(net, &packet);
    assert_int_equal(packet.fault, CPNI_PACKET_SOUND);
    assert_frame(&packet, 0, "honest");
    cpni_packet_clear(&packet);
    assert_int_equal(cpni_router_recv(net->router, &packet), CPN_EAGAIN);
    cpni_dealer_close(honest);
}

static void dead_handler_lets_nobody_in(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    cpni_zap_close(net.zap);
    net.zap = NULL;
    struct cpni_dealer *dealer = net_dealer(&net, true, NULL); /* even a key that would be admitted */
    net_expect(&net, dealer, CPNI_DEALER_HANDSHAKE_FAILED);
    struct cpni_packet packet = { 0 };
    assert_int_equal(cpni_router_recv(net.router, &packet), CPN_EAGAIN);
    cpni_dealer_close(dealer);
    net_close(&net);
}

static void silent_handler_lets_nobody_in(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    net.zap_serviced = false;
    struct cpni_dealer *dealer = net_dealer(&net, true, NULL);
    assert_int_equal(net_event_within(&net, dealer, 700), CPNI_DEALER_NOTHING);
    struct cpni_packet packet = { 0 };
    assert_int_equal(cpni_router_recv(net.router, &packet), CPN_EAGAIN);
    /* the request waits, and an answer within the handshake's time is still good */
    net.zap_serviced = true;
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    cpni_dealer_close(dealer);
    net_close(&net);
}

static void revoked_key_does_not_come_back(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_packet packet = { 0 };
    struct cpni_dealer *dealer = net_known(&net, &packet);
    net.admitted_count = 0;
    assert_int_equal(cpni_router_cut(net.router, packet.conn, false), 0);
    net_expect(&net, dealer, CPNI_DEALER_DISCONNECTED);
    net_expect(&net, dealer, CPNI_DEALER_REFUSED);
    net_reply_text(&net, packet.conn, "?", CPN_EUNREACHABLE);
    assert_int_equal(cpni_router_cut(net.router, packet.conn, false), CPN_ENOTFOUND);
    cpni_packet_clear(&packet);
    cpni_dealer_close(dealer);
    net_close(&net);
}

static void plaintext_client_is_never_heard(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    void *zmq = zmq_ctx_new();
    void *plain = raw_dealer(zmq, &net, NULL, NULL);
    assert_int_equal(zmq_send(plain, "let me in", 9, 0), 9);
    only_an_honest_peer_is_heard(&net);
    assert_int_equal(cpni_zap_counts(net.zap).admitted, 1);
    zmq_close(plain);
    zmq_ctx_term(zmq);
    net_close(&net);
}

static void wrong_master_key_is_reported(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_curve_keys other;
    struct cpni_curve_keys keys;
    cpni_curve_generate(&other);
    net_admit_new(&net, &keys);
    const struct cpni_dealer_options options = { .context = net.context, .loop = net.loop, .endpoint = net.endpoint,
                                                 .server_key = &other.public_key, .keys = &keys };
    struct cpni_dealer *dealer = NULL;
    assert_int_equal(cpni_dealer_open(&options, &dealer), 0);
    net_expect(&net, dealer, CPNI_DEALER_HANDSHAKE_FAILED);
    assert_int_equal(net_event_within(&net, dealer, 300), CPNI_DEALER_NOTHING);
    only_an_honest_peer_is_heard(&net);
    assert_int_equal(cpni_zap_counts(net.zap).admitted, 1);
    cpni_dealer_close(dealer);
    net_close(&net);
}

static int raw_tcp(const struct net *net, const void *data, size_t size)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(cpni_router_port(net->router)),
                                         .sin_addr = { htonl(INADDR_LOOPBACK) } };
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
    return fd;
}

#define GREETING_CURVE "\xff\0\0\0\0\0\0\0\1\x7f\3\0CURVE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" /* 33 of its 64 bytes */

static void garbage_and_half_open_connections_harm_nothing(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char zmtp1[] = "\1\0\5\0hello";
    char noise[4096];
    srand(7);
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (char)rand();
    }
    char huge[64 + 9] = GREETING_CURVE; /* a whole greeting, then a command that announces 2^62 bytes */
    memcpy(huge + 64, "\6\x40\0\0\0\0\0\0\0", 9);
    char short_hello[64 + 2 + 6] = GREETING_CURVE;
    memcpy(short_hello + 64, "\4\6\5HELLO", 8);
    const int fds[] = {
        raw_tcp(&net, "", 0),          raw_tcp(&net, "\xff", 1),         raw_tcp(&net, http, sizeof http - 1),
        raw_tcp(&net, zmtp1, 9),       raw_tcp(&net, noise, sizeof noise), raw_tcp(&net, huge, sizeof huge),
        raw_tcp(&net, huge, 64),       raw_tcp(&net, huge, 40),          raw_tcp(&net, short_hello, sizeof short_hello),
    };
    only_an_honest_peer_is_heard(&net);
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        close(fds[i]);
    }
    only_an_honest_peer_is_heard(&net);
    net_close(&net);
}

static void chosen_routing_id_is_refused_and_cut(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_curve_keys keys;
    net_admit_new(&net, &keys);
    void *zmq = zmq_ctx_new();
    void *chooser = raw_dealer(zmq, &net, &keys, "victim");
    assert_int_equal(zmq_send(chooser, "I am somebody", 13, 0), 13);
    struct cpni_packet packet = { 0 };
    net_router_recv(&net, &packet);
    assert_int_equal(packet.fault, CPNI_PACKET_FOREIGN);
    assert_int_equal(packet.count, 0);
    assert_int_equal(packet.conn, 0);
    assert_memory_equal(&packet.key, &keys.public_key, sizeof packet.key);
    cpni_packet_clear(&packet);
    zmq_close(chooser);
    only_an_honest_peer_is_heard(&net);
    zmq_ctx_term(zmq);
    net_close(&net);
}

struct malformed {
    const char *frames[8]; /* NULL ends; "KEY" stands for 32 bytes */
};

static void malformed_requests_are_refused(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    net.admitted_count = 1; /* the key of zeros that the requests show would be admitted */
    static const struct malformed requests[] = {
        { { "1.0", "1", "cpn", "127.0.0.1", "", "CURVE", "KEY" } }, /* sound: the others fail for their own fault */
        { { "1.1", "1", "cpn", "127.0.0.1", "", "CURVE", "KEY" } },
        { { "1.0", "1", "", "127.0.0.1", "", "CURVE", "KEY" } },
        { { "1.0", "1", "other", "127.0.0.1", "", "CURVE", "KEY" } },
        { { "1.0", "1", "cpn", "127.0.0.1", "", "NULL" } },
        { { "1.0", "1", "cpn", "127.0.0.1", "", "NULL", "KEY" } },
        { { "1.0", "1", "cpn", "127.0.0.1", "", "PLAIN", "admin", "secret" } },
        { { "1.0", "1", "cpn", "127.0.0.1", "", "CURVE", "short" } },
        { { "1.0", "1", "cpn", "127.0.0.1", "", "CURVE", "KEY", "more" } },
        { { "1.0", "1", "cpn" } },
        { { "1.0" } },
        { { "" } },
    };
    static const char key[32];
    for (size_t r = 0; r < sizeof requests / sizeof requests[0]; r++) {
        void *asker = cpni_context_socket(net.context, ZMQ_REQ);
        assert_int_equal(zmq_connect(asker, "inproc://zeromq.zap.01"), 0);
        const char *const *frames = requests[r].frames;
        for (size_t i = 0; i < 8 && frames[i] != NULL; i++) {
            const bool is_key = strcmp(frames[i], "KEY") == 0;
            zmq_send(asker, is_key ? key : frames[i], is_key ? 32 : strlen(frames[i]),
                     i + 1 < 8 && frames[i + 1] != NULL ? ZMQ_SNDMORE : 0);
        }
        cpni_zap_service(net.zap);
        char reply[6][80];
        for (size_t i = 0; i < 6; i++) {
            const int size = zmq_recv(asker, reply[i], sizeof reply[i] - 1, 0);
            assert_in_range(size, 0, 79);
            reply[i][size] = 0;
        }
        assert_string_equal(reply[0], "1.0");
        assert_string_equal(reply[1], frames[1] != NULL ? "1" : "");
        assert_string_equal(reply[2], r == 0 ? "200" : "400");
        assert_int_equal(strlen(reply[4]), r == 0 ? 64 : 0);
        zmq_close(asker);
    }
    assert_int_equal(cpni_zap_counts(net.zap).admitted, 1);
    assert_int_equal(cpni_zap_counts(net.zap).malformed, sizeof requests / sizeof requests[0] - 1);
    net_close(&net);
}

/* A handler that is not ours admits without naming the key: the router must not take its word for it. */
static void packet_without_user_id_is_refused(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    cpni_router_close(net.router);
    struct cpni_context *elsewhere = net.context; /* our handler stays here, useless */
    net.context = cpni_context_new();
    void *handler = cpni_context_socket(net.context, ZMQ_REP);
    assert_int_equal(zmq_bind(handler, "inproc://zeromq.zap.01"), 0);
    net_bind(&net, "tcp://127.0.0.1:0");
    struct cpni_dealer *dealer = net_dealer(&net, true, NULL);
    char sink[64];
    for (size_t i = 0; i < 7; i++) {
        assert_true(zmq_recv(handler, sink, sizeof sink, 0) >= 0);
    }
    static const char *const answer[] = { "1.0", "1", "200", "OK", "", "" };
    for (size_t i = 0; i < 6; i++) {
        zmq_send(handler, answer[i], strlen(answer[i]), i < 5 ? ZMQ_SNDMORE : 0);
    }
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    net_send_text(dealer, "trust me");
    struct cpni_packet packet = { 0 };
    net_router_recv(&net, &packet);
    assert_int_equal(packet.fault, CPNI_PACKET_UNKEYED);
    assert_int_equal(packet.count, 0);
    cpni_packet_clear(&packet);
    net_expect(&net, dealer, CPNI_DEALER_DISCONNECTED);
    cpni_dealer_close(dealer);
    zmq_close(handler);
    net_close(&net);
    cpni_context_unref(elsewhere);
}

static void a_context_has_one_master(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_zap *second = NULL;
    assert_int_equal(cpni_zap_open(net.context, net.loop, net_admit, &net, &second), CPN_EEXISTS);
    struct cpni_router *router = NULL;
    char detail[CPNI_NET_DETAIL] = "";
    const struct cpni_router_options local = { .context = net.context, .loop = net.loop };
    assert_int_equal(cpni_router_open(&local, &router, detail), CPN_EEXISTS);
    assert_non_null(strstr(detail, "context of its own"));
    const char *const endpoints[] = { net.endpoint };
    struct cpni_router_options tcp = { .context = net.context, .loop = net.loop, .endpoints = endpoints,
                                       .endpoint_count = 1, .keys = &net.master };
    assert_int_equal(cpni_router_open(&tcp, &router, detail), CPN_EINVAL); /* no handler, no TCP */
    tcp.zap = net.zap;
    tcp.context = cpni_context_new();
    assert_int_equal(cpni_router_open(&tcp, &router, detail), CPN_EIO);
    assert_non_null(strstr(detail, net.endpoint));
    assert_non_null(strstr(detail, "another cpn-master"));
    cpni_context_unref(tcp.context);
    net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_key_is_admitted_and_named_on_every_packet),
        cmocka_unit_test(unknown_key_is_refused_once_and_told),
        cmocka_unit_test(dead_handler_lets_nobody_in),
        cmocka_unit_test(silent_handler_lets_nobody_in),
        cmocka_unit_test(revoked_key_does_not_come_back),
        cmocka_unit_test(plaintext_client_is_never_heard),
        cmocka_unit_test(wrong_master_key_is_reported),
        cmocka_unit_test(garbage_and_half_open_connections_harm_nothing),
        cmocka_unit_test(chosen_routing_id_is_refused_and_cut),
        cmocka_unit_test(malformed_requests_are_refused),
        cmocka_unit_test(packet_without_user_id_is_refused),
        cmocka_unit_test(a_context_has_one_master),
    };
    return cmocka_run_group_tests_name("zap", tests, NULL, NULL);
}
