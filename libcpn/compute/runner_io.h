/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* How the process of a runner speaks with its parent: packets over its end of the pair. Knows none of them. */
#ifndef CPNI_RUNNER_IO_H
#define CPNI_RUNNER_IO_H

#include <stddef.h>

/* One packet, head and body. Waits for room. CPN_ECLOSED when the parent is gone. */
int cpni_body_send(const void *head, size_t head_size, const void *body, size_t body_size);

/* A packet's size, 0 at the end. A descriptor that came along is stored, else -1. */
size_t cpni_body_receive(void *packet, size_t room, int *fd);

#endif
