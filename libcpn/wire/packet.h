/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A packet: what travels between two processes at a time (DESIGN §5; man/cpn-protocol.7). Frame 0 is the header,
 * msgpack [version, link, seq, [[type, {field number: value}], ...]]; the payload frames follow it, and a field of
 * kind FRAME holds the place of its frame among them, from 0. Both directions go by the field tables of proto/msg.h.
 * Must not know who may send what, or what a message means. */
#ifndef CPNI_WIRE_PACKET_H
#define CPNI_WIRE_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "proto/limits.h"
#include "proto/msg.h"

#define CPNI_PACKET_FRAMES_ROOM (1 + CPNI_PACKET_FRAMES_MAX) /* frames of the largest packet, header included */
#define CPNI_WHY 256                                         /* bytes of the line that explains a refusal, with its 0 */
#define CPNI_PACKET_MEMORY_FACTOR 16 /* lists of a decoded packet take so many times the header's bytes at most, ... */
#define CPNI_PACKET_MEMORY_MIN (64 * 1024) /* ... and may always take this: empty records are no way to our memory */

struct cpni_packet_head {
    uint32_t version; /* 0 when encoding: CPNI_PROTOCOL_VERSION */
    uint32_t link;
    uint64_t seq;
};

/* Encode as many of the messages as fit one packet, from the first on: returns how many that were, so that the
 * caller sends the rest in the next packet. frames[0] becomes the header, payload frames follow by reference; the
 * caller unrefs all *frame_count of them. `room` counts frames; CPNI_PACKET_FRAMES_ROOM always suffices. Negative
 * when already the first message can not be sent: CPN_ETOOBIG (more bytes, list elements or text than a packet
 * takes), CPN_EINVAL (no such type, a text that is not UTF-8 or holds a zero byte, a float that is no finite number:
 * the receiver would refuse the whole packet), CPN_ENOMEM. A message that fails for itself further back ends the
 * packet before it. count is at least 1. */
int cpni_packet_encode(const struct cpni_packet_head *head, const struct cpni_msg *msgs, size_t count,
                       struct cpni_bytes **frames, size_t room, size_t *frame_count);

/* Decode a packet that anybody may have sent. The messages and their lists lie in the arena, their texts in
 * frames[0] (keep it as long as the messages, or cpni_msg_copy them), their payload frames are new references:
 * cpni_msg_drop each message. A message of a type that this program does not know arrives with type CPNI_MSG_NONE,
 * its number in refused.type. CPN_EVERSION for another protocol version, CPN_EPROTO for anything malformed or over a
 * limit, CPN_ENOMEM; then `why` (CPNI_WHY bytes) holds one line that says where, what was expected and what was
 * found, and nothing is held. */
int cpni_packet_decode(struct cpni_bytes *const *frames, size_t count, struct cpni_arena *arena,
                       struct cpni_packet_head *head, struct cpni_msg **msgs, size_t *msg_count, char *why);

#endif
