/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* core/uplink: HELLO and WELCOME, heartbeats, gaps, silence, another reign, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "core/uplink.h"
#include "steps.h"

struct rig {
    struct steps s;
    struct cpni_uplink uplink;
    unsigned flags;  /* of the last step */
    unsigned passed; /* messages for the owner in the last step */
    unsigned hellos; /* inventories asked for */
};

static int inventory(void *arg, struct cpni_msg_hello *hello, struct cpni_actions *actions)
{
    struct rig *rig = arg;
    (void)actions;
    rig->hellos++;
    hello->kind = CPNI_KIND_WORKER;
    return 0;
}

static void load(void *arg, struct cpni_msg_beat *beat)
{
    (void)arg;
    beat->busy = 3;
}

static int step(void *core, const struct cpni_event *event, const struct cpni_now *now, struct cpni_actions *actions)
{
    struct rig *rig = core;
    rig->passed = 0;
    rig->flags = cpni_uplink_event(&rig->uplink, event, now, actions);
    if (event->type == CPNI_EV_PACKET) {
        unsigned flags = 0;
        bool accepted = cpni_uplink_packet(&rig->uplink, &event->packet, now, actions, &flags);
        rig->flags |= flags;
        for (size_t i = 0; accepted && i < event->packet.count; i++) {
            flags = cpni_uplink_message(&rig->uplink, event->packet.conn, &event->packet.msgs[i], now, actions);
            rig->passed += (flags & CPNI_UPLINK_PASS) != 0;
            rig->flags |= flags;
        }
    }
    return 0;
}

static const char *check(const void *core)
{
    return cpni_uplink_check(&((const struct rig *)core)->uplink);
}

static int setup(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct cpn_id boot = { .bytes = { 9 } };
    rig->s = (struct steps){ .core = rig, .step = step, .check = check, .now = { .mono_us = 5000000 }, .link = 7, .term = 3 };
    cpni_uplink_init(&rig->uplink, &boot, inventory, load, rig);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;
    steps_close(&rig->s);
    free(rig);
    return 0;
}

static void hello_then_welcome_then_bulk(void **state)
{
    struct rig *rig = *state;
    steps_connected(&rig->s, CPNI_CONN_BULK);
    assert_null(steps_sent(&rig->s, CPNI_MSG_HELLO, 0)); /* the master does not know the process yet */
    steps_connected(&rig->s, CPNI_CONN_CONTROL);
    const struct cpni_action *hello = steps_act(&rig->s, CPNI_ACT_SEND, 0);
    assert_int_equal(hello->send.msg.type, CPNI_MSG_HELLO);
    assert_int_equal(hello->send.msg.hello.boot.bytes[0], 9);
    assert_int_equal(hello->send.link, 0);
    assert_false(cpni_uplink_ready(&rig->uplink));
    steps_welcome(&rig->s, CPNI_CONN_CONTROL);
    assert_int_equal(rig->flags & (CPNI_UPLINK_JOINED | CPNI_UPLINK_NEW_TERM), CPNI_UPLINK_JOINED | CPNI_UPLINK_NEW_TERM);
    assert_true(cpni_uplink_ready(&rig->uplink));
    hello = steps_act(&rig->s, CPNI_ACT_SEND, 0);
    assert_int_equal(hello->send.conn, CPNI_CONN_BULK);
    assert_int_equal(hello->send.msg.hello.channel, CPNI_CHANNEL_BULK);
    steps_welcome(&rig->s, CPNI_CONN_BULK);
    assert_true(rig->flags & CPNI_UPLINK_BULK_UP);
}

static void beats_until_the_master_is_silent(void **state)
{
    struct rig *rig = *state;
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    steps_join(&rig->s);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(cpni_uplink_deadline(&rig->uplink), rig->s.now.mono_us + 1000000);
        steps_tick(&rig->s, 1000000);
        assert_int_equal(steps_sent(&rig->s, CPNI_MSG_BEAT, 0)->beat.busy, 3);
        steps_msg(&rig->s, &beat);
    }
    steps_tick(&rig->s, 2999999);
    assert_false(rig->flags & CPNI_UPLINK_LOST);
    steps_tick(&rig->s, 1);
    assert_true(rig->flags & CPNI_UPLINK_LOST);
    assert_int_equal(steps_act(&rig->s, CPNI_ACT_RECONNECT, 0)->conn.conn, CPNI_CONN_CONTROL);
    assert_int_equal(steps_act(&rig->s, CPNI_ACT_RECONNECT, 1)->conn.conn, CPNI_CONN_BULK);
    assert_int_equal(cpni_uplink_deadline(&rig->uplink), INT64_MAX); /* the next thing is a connection */
    steps_tick(&rig->s, 100000000);
    assert_null(steps_act(&rig->s, CPNI_ACT_RECONNECT, 0));
    steps_join(&rig->s);
    assert_true(cpni_uplink_ready(&rig->uplink));
}

static void an_unanswered_hello_connects_anew(void **state)
{
    struct rig *rig = *state;
    steps_connected(&rig->s, CPNI_CONN_CONTROL);
    steps_tick(&rig->s, 3000000);
    assert_non_null(steps_act(&rig->s, CPNI_ACT_RECONNECT, 0));
}

static void a_gap_says_hello_again(void **state)
{
    struct rig *rig = *state;
    struct cpni_msg ack = { .type = CPNI_MSG_ACK };
    steps_join(&rig->s);
    steps_msg(&rig->s, &ack);
    assert_int_equal(rig->passed, 1);
    rig->s.sequence[CPNI_CONN_CONTROL]++;
    steps_msg(&rig->s, &ack);
    assert_int_equal(rig->passed, 0);
    assert_true(rig->flags & CPNI_UPLINK_LOST);
    assert_non_null(steps_sent(&rig->s, CPNI_MSG_HELLO, 0));
    steps_msg(&rig->s, &ack); /* sent before the master saw the HELLO: it would take it back */
    assert_int_equal(rig->passed, 0);
    steps_welcome(&rig->s, CPNI_CONN_CONTROL);
    assert_int_equal(rig->flags & (CPNI_UPLINK_JOINED | CPNI_UPLINK_NEW_TERM), CPNI_UPLINK_JOINED);
    assert_null(steps_sent(&rig->s, CPNI_MSG_HELLO, 0)); /* the bulk link is still that of this process */
    steps_msg(&rig->s, &ack);
    assert_int_equal(rig->passed, 1);
}

static void only_the_last_welcome_counts(void **state)
{
    struct rig *rig = *state;
    struct cpni_msg resync = { .type = CPNI_MSG_RESYNC };
    steps_join(&rig->s);
    steps_msg(&rig->s, &resync);
    assert_non_null(steps_sent(&rig->s, CPNI_MSG_HELLO, 0));
    steps_msg(&rig->s, &resync); /* another one for the same trouble */
    assert_null(steps_sent(&rig->s, CPNI_MSG_HELLO, 0));
    steps_welcome(&rig->s, CPNI_CONN_CONTROL);
    assert_true(cpni_uplink_ready(&rig->uplink));
    struct cpni_event bad = { .type = CPNI_EV_BAD_PACKET, .bad = { .conn = CPNI_CONN_CONTROL, .text = "cut short" } };
    steps_event(&rig->s, &bad);
    assert_non_null(steps_sent(&rig->s, CPNI_MSG_HELLO, 0));
    assert_false(cpni_uplink_ready(&rig->uplink));
}

static void a_hello_that_is_answered_with_resync_is_said_again(void **state)
{
    struct rig *rig = *state;
    struct cpni_msg resync = { .type = CPNI_MSG_RESYNC };
    steps_connected(&rig->s, CPNI_CONN_CONTROL);
    steps_msg(&rig->s, &resync);
    assert_null(steps_sent(&rig->s, CPNI_MSG_HELLO, 0)); /* it may have been sent before the HELLO came */
    steps_tick(&rig->s, cpni_uplink_deadline(&rig->uplink) - rig->s.now.mono_us);
    assert_non_null(steps_sent(&rig->s, CPNI_MSG_HELLO, 0));
    steps_welcome(&rig->s, CPNI_CONN_CONTROL);
    assert_true(cpni_uplink_ready(&rig->uplink));
    steps_msg(&rig->s, &resync);
    for (int i = 0; i < 8; i++) { /* a master that never welcomes */
        steps_msg(&rig->s, &resync);
        steps_tick(&rig->s, 400000);
    }
    assert_non_null(steps_act(&rig->s, CPNI_ACT_RECONNECT, 0));
}

static void out_of_memory_connects_anew(void **state)
{
    struct rig *rig = *state;
    steps_join(&rig->s);
    cpni_actions_clear(&rig->s.actions);
    assert_true(cpni_uplink_break(&rig->uplink, &rig->s.actions) & CPNI_UPLINK_LOST);
    assert_non_null(steps_act(&rig->s, CPNI_ACT_RECONNECT, 1));
    assert_false(cpni_uplink_ready(&rig->uplink));
}

static void another_reign_renews_the_bulk_link(void **state)
{
    struct rig *rig = *state;
    steps_join(&rig->s);
    steps_lost(&rig->s, CPNI_CONN_CONTROL);
    assert_true(rig->flags & CPNI_UPLINK_LOST);
    rig->s.term = 4;
    steps_connected(&rig->s, CPNI_CONN_CONTROL);
    steps_welcome(&rig->s, CPNI_CONN_CONTROL);
    assert_true(rig->flags & CPNI_UPLINK_NEW_TERM);
    assert_true(rig->flags & CPNI_UPLINK_BULK_DOWN);
    assert_int_equal(steps_sent(&rig->s, CPNI_MSG_HELLO, 0)->hello.channel, CPNI_CHANNEL_BULK);
}

static void a_refused_key_is_never_tried_again(void **state)
{
    struct rig *rig = *state;
    struct cpni_event event = { .type = CPNI_EV_REFUSED, .lost = { .conn = CPNI_CONN_CONTROL, .code = CPN_EKEY, .text = "key not enrolled" } };
    steps_event(&rig->s, &event);
    assert_true(rig->flags & CPNI_UPLINK_FATAL);
    assert_true(steps_logged(&rig->s, "CPN-MASTER-REFUSED"));
    assert_string_equal(rig->uplink.text, "key not enrolled");
    steps_connected(&rig->s, CPNI_CONN_CONTROL);
    assert_int_equal(rig->s.actions.count, 0);
    assert_int_equal(cpni_uplink_deadline(&rig->uplink), INT64_MAX);
}

static void trouble_that_may_pass_is_tried_again(void **state)
{
    struct rig *rig = *state;
    struct cpni_event event = { .type = CPNI_EV_REFUSED, .lost = { .conn = CPNI_CONN_CONTROL, .code = CPN_EUNREACHABLE } };
    steps_event(&rig->s, &event);
    assert_true(rig->flags & CPNI_UPLINK_TROUBLE);
    assert_null(steps_act(&rig->s, CPNI_ACT_RECONNECT, 0));
    steps_tick(&rig->s, cpni_uplink_deadline(&rig->uplink) - rig->s.now.mono_us);
    assert_non_null(steps_act(&rig->s, CPNI_ACT_RECONNECT, 0));
}

static void refusals_of_one_message_are_the_owners(void **state)
{
    struct rig *rig = *state;
    struct cpni_msg msg = { .type = CPNI_MSG_REFUSED };
    steps_join(&rig->s);
    msg.refused.code = CPN_EDENIED;
    msg.refused.type = CPNI_MSG_ADMIN;
    msg.refused.request = 4;
    steps_msg(&rig->s, &msg);
    assert_int_equal(rig->passed, 1);
    msg.refused.type = CPNI_MSG_HELLO;
    msg.refused.request = 0;
    msg.refused.code = CPN_ECOPIED;
    steps_msg(&rig->s, &msg);
    assert_true(rig->flags & CPNI_UPLINK_FATAL);
    assert_int_equal(rig->uplink.code, CPN_ECOPIED);
}

static void a_goodbye_waits_for_the_return(void **state)
{
    struct rig *rig = *state;
    struct cpni_msg bye = { .type = CPNI_MSG_BYE, .bye.returning = true };
    steps_join(&rig->s);
    steps_msg(&rig->s, &bye);
    assert_int_equal(rig->flags & (CPNI_UPLINK_BYE | CPNI_UPLINK_LOST), CPNI_UPLINK_BYE | CPNI_UPLINK_LOST);
    assert_true(rig->uplink.returning);
    assert_false(cpni_uplink_ready(&rig->uplink));
    steps_lost(&rig->s, CPNI_CONN_CONTROL);
    steps_connected(&rig->s, CPNI_CONN_CONTROL);
    assert_non_null(steps_sent(&rig->s, CPNI_MSG_HELLO, 0));
}

static void a_goodbye_without_an_end_ends(void **state)
{
    struct rig *rig = *state;
    struct cpni_msg bye = { .type = CPNI_MSG_BYE };
    steps_join(&rig->s);
    steps_msg(&rig->s, &bye);
    steps_tick(&rig->s, 3000000);
    assert_non_null(steps_act(&rig->s, CPNI_ACT_RECONNECT, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hello_then_welcome_then_bulk, setup, teardown),
        cmocka_unit_test_setup_teardown(beats_until_the_master_is_silent, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unanswered_hello_connects_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_gap_says_hello_again, setup, teardown),
        cmocka_unit_test_setup_teardown(only_the_last_welcome_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hello_that_is_answered_with_resync_is_said_again, setup, teardown),
        cmocka_unit_test_setup_teardown(out_of_memory_connects_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(another_reign_renews_the_bulk_link, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_key_is_never_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(trouble_that_may_pass_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_of_one_message_are_the_owners, setup, teardown),
        cmocka_unit_test_setup_teardown(a_goodbye_waits_for_the_return, setup, teardown),
        cmocka_unit_test_setup_teardown(a_goodbye_without_an_end_ends, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
