/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See runner_io.h. */
#include "runner_io.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <cpn/error.h>

#include "compute/runner_proto.h"

int cpni_body_send(const void *head, size_t head_size, const void *body, size_t body_size)
{
    struct iovec parts[] = { { (void *)head, head_size }, { (void *)body, body_size } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = body_size != 0 ? 2 : 1 };
    ssize_t sent;
    do {
        sent = sendmsg(CPNI_RUNNER_FD, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? CPN_ECLOSED : 0;
}

size_t cpni_body_receive(void *packet, size_t room, int *fd)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = { packet, room };
    struct msghdr message
        = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t got;
    do {
        got = recvmsg(CPNI_RUNNER_FD, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    *fd = -1;
    struct cmsghdr *item = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (item != NULL && item->cmsg_type == SCM_RIGHTS) {
        memcpy(fd, CMSG_DATA(item), sizeof *fd);
    }
    return got < 0 ? 0 : (size_t)got;
}
