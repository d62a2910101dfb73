/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* net/zap: nobody gets in whom the master did not admit, whatever is sent (ANCHORS 1.1 to 1.3, 1.6). */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_key_is_admitted_and_named_on_every_packet),
        cmocka_unit_test(unknown_key_is_refused_once_and_told),
    };
    return cmocka_run_group_tests_name("zap", tests, NULL, NULL);
}
