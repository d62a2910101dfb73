/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* net/: router and dealer over real sockets. */
#include "net_fixture.h"

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
    struct cpni_bytes *frames[] = { cpni_bytes_copy("head", 4), cpni_bytes_copy(NULL, 0), cpni_bytes_copy(big, sizeof big) };
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

static void vanished_connection_is_unreachable(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_dealer *dealer = net_dealer(&net, true, NULL);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    net_send_text(dealer, "ping");
    struct cpni_packet packet = { 0 };
    net_router_recv(&net, &packet);
    const uint64_t conn = packet.conn;
    cpni_packet_clear(&packet);
    cpni_dealer_close(dealer);

    struct cpni_bytes *frame = cpni_bytes_copy("late", 4);
    const int64_t deadline = now_ms() + PATIENCE_MS;
    int rc;
    while ((rc = cpni_router_send(net.router, conn, &frame, 1)) != CPN_EUNREACHABLE && now_ms() < deadline) {
        net_step(&net, 10);
    }
    assert_int_equal(rc, CPN_EUNREACHABLE);
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
        enum cpni_dealer_event event;
        while ((event = net_event_within(&net, dealers[i], PATIENCE_MS)) == CPNI_DEALER_UNREACHABLE) {
        }
        assert_int_equal(event, CPNI_DEALER_CONNECTED);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ping_pong_over_curve),
        cmocka_unit_test(frames_travel_whole_and_by_reference),
        cmocka_unit_test(local_peers_have_no_key_and_are_told_apart),
        cmocka_unit_test(vanished_connection_is_unreachable),
        cmocka_unit_test(peers_return_under_new_connections_after_a_restart),
    };
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
