/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The ZeroMQ context: one io thread and the name space of inproc endpoints, shared by every role of a process that
 * should see each other. Counted; ref and unref are thread-safe. At most one master per context: the ZAP endpoint is
 * one. Must not know what the sockets carry. */
#ifndef CPNI_CONTEXT_H
#define CPNI_CONTEXT_H

struct cpni_context;

struct cpni_context *cpni_context_new(void); /* NULL when out of memory or descriptors */
struct cpni_context *cpni_context_ref(struct cpni_context *context);
/* The last unref waits for closing sockets, at most CPNI_ZMTP_LINGER_MS. NULL is fine. Never in a forked child
 * (ANCHORS 1.9). */
void cpni_context_unref(struct cpni_context *context);

/* A socket with the options that all of ours share set: limits, linger, heartbeats, IPv6. NULL when out of sockets or
 * memory. Closed with zmq_close. */
void *cpni_context_socket(struct cpni_context *context, int type);

/* Text for a person, of the errno that a ZeroMQ call left. */
const char *cpni_net_errno(void);

#endif
