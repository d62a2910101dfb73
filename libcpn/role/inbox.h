/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A received packet as an event: decoded, and the manifests in it checked (signature, form, root), so that the cores see values
 * only. Must not know who may send what. */
#ifndef CPNI_INBOX_H
#define CPNI_INBOX_H

#include "base/arena.h"
#include "core/event.h"
#include "net/packet.h"

struct cpni_inbox {
    struct cpni_arena arena; /* of the packet at hand */
};

/* Calls sink once, with EV_PACKET or EV_BAD_PACKET, and clears the packet. */
void cpni_inbox_take(struct cpni_inbox *inbox, struct cpni_packet *packet, void (*sink)(void *arg, const struct cpni_event *event), void *arg);
void cpni_inbox_free(struct cpni_inbox *inbox);

#endif
