/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See monitor.h. */
#include "monitor.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <zmq.h>

#include <cpn/error.h>

int cpni_monitor_open(struct cpni_context *context, void *socket, int events, void **out)
{
    char name[64]; /* unique in the process as long as the socket lives, and the monitor ends with it */
    snprintf(name, sizeof name, "inproc://cpn-monitor-%p", socket);
    void *monitor = cpni_context_socket(context, ZMQ_PAIR);
    if (monitor == NULL) {
        return CPN_ENOMEM;
    }
    /* No high-water mark: at one the io thread, which serves every socket, would wait for the reader of these
     * events. */
    const int unlimited = 0;
    if (zmq_setsockopt(monitor, ZMQ_RCVHWM, &unlimited, sizeof unlimited) != 0 ||
        zmq_socket_monitor(socket, name, events) != 0 || zmq_connect(monitor, name) != 0) {
        zmq_close(monitor);
        return CPN_EIO;
    }
    *out = monitor;
    return 0;
}

void cpni_monitor_close(void *socket, void *monitor)
{
    if (monitor != NULL) {
        zmq_socket_monitor(socket, NULL, 0); /* ends the sending end first: it never waits for a reader that left */
        zmq_close(monitor);
    }
}

/* Two parts: 16 bits of event and 32 bits of value, then the address. */
bool cpni_monitor_read(void *monitor, struct cpni_monitor_event *out)
{
    uint8_t head[sizeof out->event + sizeof out->value];
    if (zmq_recv(monitor, head, sizeof head, ZMQ_DONTWAIT) != (int)sizeof head) {
        return false;
    }
    zmq_recv(monitor, NULL, 0, ZMQ_DONTWAIT);
    memcpy(&out->event, head, sizeof out->event);
    memcpy(&out->value, head + sizeof out->event, sizeof out->value);
    return true;
}
