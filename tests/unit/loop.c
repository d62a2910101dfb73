/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* net/loop: nobody sleeps beside a full queue, and everybody can be woken. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#include "net_fixture.h"

static void wake_ends_this_wait_or_the_next(void **state)
{
    (void)state;
    struct cpni_loop *loop = NULL;
    assert_int_equal(cpni_loop_open(&loop), 0);
    assert_int_equal(cpni_loop_wait(loop, 0), 0);
    cpni_loop_wake(loop);
    cpni_loop_wake(loop);
    assert_int_equal(cpni_loop_wait(loop, PATIENCE_MS), 1);
    assert_int_equal(cpni_loop_wait(loop, 0), 0); /* many wakes are one */
    cpni_loop_close(loop);
    cpni_loop_close(NULL);
}

static void *wake_from_thread(void *arg)
{
    cpni_loop_wake(arg);
    return NULL;
}

static void wake_from_another_thread(void **state)
{
    (void)state;
    struct cpni_loop *loop = NULL;
    assert_int_equal(cpni_loop_open(&loop), 0);
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wake_from_thread, loop), 0);
        assert_int_equal(cpni_loop_wait(loop, PATIENCE_MS), 1);
        pthread_join(thread, NULL);
    }
    cpni_loop_close(loop);
}

static struct cpni_loop *signalled;

static void on_signal(int number)
{
    (void)number;
    cpni_loop_wake(signalled);
}

static void wake_from_a_signal_handler(void **state)
{
    (void)state;
    assert_int_equal(cpni_loop_open(&signalled), 0);
    const struct sigaction action = { .sa_handler = on_signal };
    struct sigaction before;
    sigaction(SIGALRM, &action, &before);
    const struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
    setitimer(ITIMER_REAL, &soon, NULL);
    const int rc = cpni_loop_wait(signalled, PATIENCE_MS);
    assert_true(rc == CPN_EINTR || rc == 1);
    assert_true(rc == 1 || cpni_loop_wait(signalled, PATIENCE_MS) == 1);
    sigaction(SIGALRM, &before, NULL);
    cpni_loop_close(signalled);
}

static void descriptors_of_helper_threads_are_watched(void **state)
{
    (void)state;
    struct cpni_loop *loop = NULL;
    assert_int_equal(cpni_loop_open(&loop), 0);
    const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(cpni_loop_add_fd(loop, fd), 0);
    assert_int_equal(cpni_loop_wait(loop, 0), 0);
    const uint64_t one = 1;
    assert_int_equal(write(fd, &one, sizeof one), sizeof one);
    assert_int_equal(cpni_loop_wait(loop, PATIENCE_MS), 1);
    assert_int_equal(cpni_loop_wait(loop, PATIENCE_MS), 1); /* level-triggered: until it is drained */
    cpni_loop_remove_fd(loop, fd);
    assert_int_equal(cpni_loop_wait(loop, 0), 0);
    assert_int_equal(cpni_loop_add_fd(loop, -1), CPN_EIO);
    close(fd);
    cpni_loop_close(loop);
}

static bool readable(int fd)
{
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
    return poll(&poll_fd, 1, 0) == 1;
}

/* The trap: a message arrives, a send on the same socket takes note of it, and the descriptor falls silent though the
 * message is still unread. */
static void a_send_does_not_hide_what_arrived(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct cpni_loop *loop = NULL; /* of the peer, as another process would have */
    assert_int_equal(cpni_loop_open(&loop), 0);
    struct cpni_curve_keys keys;
    net_admit_new(&net, &keys);
    const struct cpni_dealer_options options = { .context = net.context, .loop = loop, .endpoint = net.endpoint,
                                                 .server_key = &net.master.public_key, .keys = &keys };
    struct cpni_dealer *dealer = NULL;
    assert_int_equal(cpni_dealer_open(&options, &dealer), 0);
    net_expect(&net, dealer, CPNI_DEALER_CONNECTED);
    net_send_text(dealer, "hello");
    struct cpni_packet packet = { 0 };
    net_router_recv(&net, &packet);
    const uint64_t conn = packet.conn;
    cpni_packet_clear(&packet);
    bool trapped = false;
    for (int i = 0; i < 200 && !trapped; i++) {
        while (cpni_dealer_recv(dealer, &packet) == 0) {
            cpni_packet_clear(&packet);
        }
        net_reply_text(&net, conn, "for you", 0);
        assert_int_equal(cpni_loop_wait(loop, PATIENCE_MS), 1); /* it has arrived */
        cpni_loop_pending(loop);                                /* what a send does now and then: look */
        net_send_text(dealer, "busy");
        trapped = !readable(cpni_loop_fd(loop));
        assert_true(cpni_loop_pending(loop));
        assert_int_equal(cpni_loop_wait(loop, PATIENCE_MS), 1);
    }
    assert_true(trapped); /* else this test shows nothing */
    cpni_dealer_close(dealer);
    net_close(&net);
    cpni_loop_close(loop);
}

static void sockets_are_bounded_and_can_leave(void **state)
{
    (void)state;
    struct cpni_context *context = cpni_context_new();
    struct cpni_loop *loop = NULL;
    assert_int_equal(cpni_loop_open(&loop), 0);
    void *sockets[CPNI_LOOP_SOCKETS_MAX + 1];
    for (size_t i = 0; i <= CPNI_LOOP_SOCKETS_MAX; i++) {
        sockets[i] = cpni_context_socket(context, ZMQ_PAIR);
        assert_int_equal(cpni_loop_add_socket(loop, sockets[i]), i < CPNI_LOOP_SOCKETS_MAX ? 0 : CPN_ETOOBIG);
    }
    cpni_loop_remove_socket(loop, sockets[7]);
    assert_int_equal(cpni_loop_add_socket(loop, sockets[CPNI_LOOP_SOCKETS_MAX]), 0);
    for (size_t i = 0; i <= CPNI_LOOP_SOCKETS_MAX; i++) {
        cpni_loop_remove_socket(loop, sockets[i]); /* number 7 again: nothing */
        zmq_close(sockets[i]);
    }
    assert_false(cpni_loop_pending(loop));
    cpni_loop_close(loop);
    cpni_context_unref(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wake_ends_this_wait_or_the_next),
        cmocka_unit_test(wake_from_another_thread),
        cmocka_unit_test(wake_from_a_signal_handler),
        cmocka_unit_test(descriptors_of_helper_threads_are_watched),
        cmocka_unit_test(a_send_does_not_hide_what_arrived),
        cmocka_unit_test(sockets_are_bounded_and_can_leave),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
