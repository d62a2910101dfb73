/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a role's thread sleeps on: ZeroMQ sockets, descriptors of helper threads, and a wake-up from anywhere. It says
 * only that there is something to do; the role then drains every source it has (a source left undrained makes the loop
 * spin).
 *
 * The trap it exists for: ZMQ_FD is not "a message waits" but "look at the socket". Looking (ZMQ_EVENTS, and every send
 * and receive) clears it, though messages may have arrived meanwhile; whoever then sleeps on the descriptor alone
 * sleeps beside a full queue. So the loop asks each socket before it sleeps, and a host that sleeps by itself on
 * cpni_loop_fd() must ask cpni_loop_pending() first and take a timeout of 0 when it says yes.
 *
 * All from the role's thread, except wake. Must not know what the sources carry. */
#ifndef CPNI_LOOP_H
#define CPNI_LOOP_H

#include <stdbool.h>

struct cpni_loop;

int cpni_loop_open(struct cpni_loop **out); /* CPN_ENOMEM, CPN_EIO */
void cpni_loop_close(struct cpni_loop *loop); /* after its sockets and descriptors were removed; NULL is fine */

int cpni_loop_add_socket(struct cpni_loop *loop, void *socket); /* a ZeroMQ socket; CPN_ETOOBIG, CPN_EIO */
void cpni_loop_remove_socket(struct cpni_loop *loop, void *socket); /* before it is closed; not there: nothing */

int cpni_loop_add_fd(struct cpni_loop *loop, int fd); /* readable is ready, level-triggered; CPN_EIO */
void cpni_loop_remove_fd(struct cpni_loop *loop, int fd);

/* Ends a wait, now or the next. Any thread, and signal handlers. */
void cpni_loop_wake(struct cpni_loop *loop);

int cpni_loop_fd(const struct cpni_loop *loop); /* readable when there may be something to do; owned by the loop */
bool cpni_loop_pending(struct cpni_loop *loop); /* a ZeroMQ socket has input now, whatever the descriptor says */

/* 1: something to do; 0: timeout_ms passed (-1: none); CPN_EINTR: a signal; CPN_EIO. */
int cpni_loop_wait(struct cpni_loop *loop, int timeout_ms);

#endif
