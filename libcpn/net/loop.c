/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See loop.h. */
#include "loop.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <zmq.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "proto/limits.h"

#define READY_BATCH 16 /* descriptors reported by one epoll_wait; only whether there are any matters */

struct cpni_loop {
    int epoll;
    int wake;
    size_t count;
    struct {
        void *socket;
        int fd;
    } sockets[CPNI_LOOP_SOCKETS_MAX];
};

int cpni_loop_open(struct cpni_loop **out)
{
    struct cpni_loop *loop = cpni_calloc(1, sizeof *loop);
    if (loop == NULL) {
        return CPN_ENOMEM;
    }
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll < 0 || loop->wake < 0 || cpni_loop_add_fd(loop, loop->wake) != 0) {
        cpni_loop_close(loop);
        return CPN_EIO;
    }
    *out = loop;
    return 0;
}

void cpni_loop_close(struct cpni_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    if (loop->wake >= 0) {
        close(loop->wake);
    }
    if (loop->epoll >= 0) {
        close(loop->epoll);
    }
    cpni_free(loop);
}

int cpni_loop_add_fd(struct cpni_loop *loop, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data = { .fd = fd } };
    return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : CPN_EIO;
}

void cpni_loop_remove_fd(struct cpni_loop *loop, int fd)
{
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL);
}

int cpni_loop_add_socket(struct cpni_loop *loop, void *socket)
{
    if (loop->count == CPNI_LOOP_SOCKETS_MAX) {
        return CPN_ETOOBIG;
    }
    int fd = -1;
    size_t size = sizeof fd;
    if (zmq_getsockopt(socket, ZMQ_FD, &fd, &size) != 0 || cpni_loop_add_fd(loop, fd) != 0) {
        return CPN_EIO;
    }
    loop->sockets[loop->count].socket = socket;
    loop->sockets[loop->count++].fd = fd;
    return 0;
}

void cpni_loop_remove_socket(struct cpni_loop *loop, void *socket)
{
    for (size_t i = 0; i < loop->count; i++) {
        if (loop->sockets[i].socket == socket) {
            cpni_loop_remove_fd(loop, loop->sockets[i].fd);
            loop->sockets[i] = loop->sockets[--loop->count];
            return;
        }
    }
}

void cpni_loop_wake(struct cpni_loop *loop)
{
    const int saved = errno; /* a signal handler must not change it under the interrupted code */
    const uint64_t one = 1;
    while (write(loop->wake, &one, sizeof one) < 0 && errno == EINTR) {
        /* EAGAIN means that the counter is full: awake already */
    }
    errno = saved;
}

int cpni_loop_fd(const struct cpni_loop *loop)
{
    return loop->epoll;
}

bool cpni_loop_pending(struct cpni_loop *loop)
{
    for (size_t i = 0; i < loop->count; i++) {
        int events = 0;
        size_t size = sizeof events;
        if (zmq_getsockopt(loop->sockets[i].socket, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN) != 0) {
            return true;
        }
    }
    return false;
}

int cpni_loop_wait(struct cpni_loop *loop, int timeout_ms)
{
    const bool pending = cpni_loop_pending(loop);
    struct epoll_event ready[READY_BATCH];
    const int count = epoll_wait(loop->epoll, ready, READY_BATCH, pending ? 0 : timeout_ms);
    if (count < 0) {
        return errno == EINTR ? CPN_EINTR : CPN_EIO;
    }
    for (int i = 0; i < count; i++) {
        uint64_t wakes;
        if (ready[i].data.fd == loop->wake && read(loop->wake, &wakes, sizeof wakes) < 0 && errno != EAGAIN) {
            return CPN_EIO;
        }
    }
    return pending || count > 0;
}
