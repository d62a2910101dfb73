/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See context.h. */
#include "context.h"

#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include <zmq.h>

#include "base/alloc.h"
#include "proto/limits.h"

#define IO_THREADS_MAX 4

struct cpni_context {
    void *zmq;
    unsigned refs; /* atomic */
};

/* They encipher, half a GB/s each: what a master sends to many peers at once is bound by them. The other half of the cores is for those
 * who make and use the bytes. */
static int io_threads(void)
{
    long half = sysconf(_SC_NPROCESSORS_ONLN) / 2;
    return half < 1 ? 1 : half > IO_THREADS_MAX ? IO_THREADS_MAX : (int)half;
}

struct cpni_context *cpni_context_new(void)
{
    struct cpni_context *context = cpni_malloc(sizeof *context);
    void *zmq = context != NULL ? zmq_ctx_new() : NULL;
    if (zmq == NULL) {
        cpni_free(context);
        return NULL;
    }
    zmq_ctx_set(zmq, ZMQ_IO_THREADS, io_threads()); /* they block all signals, so the host's handlers stay its own */
    zmq_ctx_set(zmq, ZMQ_MAX_SOCKETS, CPNI_ZMTP_SOCKETS_MAX);
    *context = (struct cpni_context){ .zmq = zmq, .refs = 1 };
    return context;
}

struct cpni_context *cpni_context_ref(struct cpni_context *context)
{
    if (context != NULL) {
        __atomic_add_fetch(&context->refs, 1, __ATOMIC_RELAXED);
    }
    return context;
}

void cpni_context_unref(struct cpni_context *context)
{
    if (context == NULL || __atomic_sub_fetch(&context->refs, 1, __ATOMIC_ACQ_REL) != 0) {
        return;
    }
    while (zmq_ctx_term(context->zmq) != 0 && errno == EINTR) {
        /* a signal arrived while it waited for the linger of closing sockets */
    }
    cpni_free(context);
}

static int set_shared_options(void *socket)
{
    static const struct {
        int option;
        int value;
    } shared[] = {
        /* default: wait for ever for a peer that may never return */
        { ZMQ_LINGER, CPNI_ZMTP_LINGER_MS },
        { ZMQ_SNDHWM, CPNI_ZMTP_HWM },
        { ZMQ_RCVHWM, CPNI_ZMTP_HWM },
        /* default: 30 s, during which anybody may hold a descriptor */
        { ZMQ_HANDSHAKE_IVL, CPNI_ZMTP_HANDSHAKE_MS },
        /* default: off; a peer that lost power would look alive until TCP gives up */
        { ZMQ_HEARTBEAT_IVL, CPNI_ZMTP_HEARTBEAT_MS },
        { ZMQ_HEARTBEAT_TIMEOUT, CPNI_ZMTP_HEARTBEAT_TIMEOUT_MS },
        { ZMQ_HEARTBEAT_TTL, CPNI_ZMTP_HEARTBEAT_TIMEOUT_MS },
        /* listens and connects on both families; falls back by itself where the kernel has no IPv6 */
        { ZMQ_IPV6, 1 },
    };
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++) {
        if (zmq_setsockopt(socket, shared[i].option, &shared[i].value, sizeof shared[i].value) != 0) {
            return -1;
        }
    }
    /* default: unlimited, and the decoder allocates what the peer announces (ANCHORS 1.6) */
    const int64_t frame_bytes_max = CPNI_ZMTP_FRAME_BYTES_MAX;
    return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max);
}

void *cpni_context_socket(struct cpni_context *context, int type)
{
    void *socket = zmq_socket(context->zmq, type);
    if (socket != NULL && set_shared_options(socket) != 0) {
        zmq_close(socket);
        return NULL;
    }
    return socket;
}

const char *cpni_net_errno(void)
{
    return zmq_strerror(zmq_errno());
}
