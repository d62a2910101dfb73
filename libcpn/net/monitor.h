/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The events of a ZeroMQ socket's connections, as values. */
#ifndef CPNI_MONITOR_H
#define CPNI_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "net/context.h"

struct cpni_monitor_event {
    uint16_t event; /* ZMQ_EVENT_... */
    int32_t value;  /* a descriptor, an errno or a code; see zmq_socket_monitor(3) */
};

/* `out`: the reading end, a socket that a loop can watch. Before the socket binds or connects, so that nothing is
 * missed. CPN_ENOMEM, CPN_EIO. */
int cpni_monitor_open(struct cpni_context *context, void *socket, int events, void **out);
void cpni_monitor_close(void *socket, void *monitor); /* before the socket closes; monitor NULL is fine */
bool cpni_monitor_read(void *monitor, struct cpni_monitor_event *out); /* false: none waits */

#endif
