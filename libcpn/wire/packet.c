/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See packet.h. */
#include "wire/packet.h"

#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "wire/fields.h"

#define HEAD_ROOM 32 /* the packet's head is written last, before the items, and takes at most 25 bytes */

/* ---- encoding ---- */

static void pack_message(struct cpni_pack *pack, const struct cpni_msg *msg)
{
    const struct cpni_layout *layout = cpni_msg_layout(msg->type);
    if (layout == NULL) {
        pack->error = CPN_EINVAL;
        return;
    }
    msgpack_pack_array(&pack->packer, 2);
    msgpack_pack_uint32(&pack->packer, (uint32_t)msg->type);
    cpni_pack_fields(pack, layout, &msg->hello); /* all members of the union start where the union does */
}

/* As many messages as fit; a message that does not leaves no trace. Returns how many, or why not even the first. */
static int pack_messages(struct cpni_pack *pack, const struct cpni_msg *msgs, size_t count)
{
    size_t done = 0;
    while (done < count && done < CPNI_PACKET_MESSAGES_MAX) {
        size_t bytes = pack->buf.size;
        size_t frames = pack->frame_count;
        pack_message(pack, &msgs[done]);
        if (pack->error != 0) {
            pack->buf.size = bytes;
            while (pack->frame_count > frames) {
                cpni_bytes_unref(pack->frames[--pack->frame_count]);
            }
            break;
        }
        done++;
    }
    return done > 0 ? (int)done : pack->error;
}

/* Put the head right before the items and give the memory away as frame 0. */
static int finish_header(struct cpni_pack *pack, const struct cpni_packet_head *head, size_t count,
                         struct cpni_bytes **header)
{
    uint8_t room[HEAD_ROOM];
    struct cpni_pack prefix;
    cpni_pack_init(&prefix, sizeof room, NULL, 0);
    prefix.buf = (struct cpni_buf){ .data = room, .capacity = sizeof room };
    msgpack_pack_array(&prefix.packer, 4);
    msgpack_pack_uint32(&prefix.packer, head->version != 0 ? head->version : CPNI_PROTOCOL_VERSION);
    msgpack_pack_uint32(&prefix.packer, head->link);
    msgpack_pack_uint64(&prefix.packer, head->seq);
    msgpack_pack_array(&prefix.packer, count);
    uint8_t *start = pack->buf.data + HEAD_ROOM - prefix.buf.size;
    memcpy(start, room, prefix.buf.size);
    size_t size = pack->buf.size - HEAD_ROOM + prefix.buf.size;
    struct cpni_bytes *bytes = cpni_bytes_wrap(start, size, cpni_free, pack->buf.data);
    if (bytes == NULL) {
        return CPN_ENOMEM;
    }
    *header = bytes;
    return 0;
}

int cpni_packet_encode(const struct cpni_packet_head *head, const struct cpni_msg *msgs, size_t count,
                       struct cpni_bytes **frames, size_t room, size_t *frame_count)
{
    if (count == 0 || room == 0) {
        return CPN_EINVAL;
    }
    size_t payload_room = room - 1 < CPNI_PACKET_FRAMES_MAX ? room - 1 : CPNI_PACKET_FRAMES_MAX;
    struct cpni_pack pack;
    cpni_pack_init(&pack, CPNI_HEADER_BYTES_MAX, frames + 1, payload_room);
    static const uint8_t head_room[HEAD_ROOM];
    int done = cpni_buf_append(&pack.buf, head_room, sizeof head_room);
    if (done == 0) {
        done = pack_messages(&pack, msgs, count);
    }
    int rc = done < 0 ? done : finish_header(&pack, head, (size_t)done, &frames[0]);
    if (rc < 0) {
        while (pack.frame_count > 0) {
            cpni_bytes_unref(pack.frames[--pack.frame_count]);
        }
        cpni_buf_free(&pack.buf);
        return rc;
    }
    *frame_count = 1 + pack.frame_count;
    return done;
}

/* ---- decoding ---- */

/* Up to the messages: their count. */
static int unpack_head(struct cpni_unpack *unpack, struct cpni_packet_head *head, uint32_t *count)
{
    struct cpni_token token = { 0 };
    int rc = cpni_unpack_token(unpack, CPNI_TOKEN_ARRAY, "a list of 4", &token);
    uint32_t parts = token.size;
    if (rc == 0) {
        rc = cpni_unpack_token(unpack, CPNI_TOKEN_UINT, "the protocol version", &token);
    }
    if (rc < 0) {
        return rc;
    }
    if (token.number != CPNI_PROTOCOL_VERSION) {
        cpni_unpack_refuse(unpack, "protocol version %llu, this program speaks %d", (unsigned long long)token.number,
                           CPNI_PROTOCOL_VERSION);
        return CPN_EVERSION;
    }
    head->version = CPNI_PROTOCOL_VERSION;
    if (parts != 4) {
        return cpni_unpack_refuse(unpack, "expected a list of 4, got one of %u", parts);
    }
    rc = cpni_unpack_token(unpack, CPNI_TOKEN_UINT, "the link", &token);
    if (rc == 0 && token.number > UINT32_MAX) {
        rc = cpni_unpack_refuse(unpack, "link %llu is over 4294967295", (unsigned long long)token.number);
    }
    head->link = rc == 0 ? (uint32_t)token.number : 0;
    if (rc == 0) {
        rc = cpni_unpack_token(unpack, CPNI_TOKEN_UINT, "the sequence", &token);
        head->seq = token.number;
    }
    if (rc == 0) {
        rc = cpni_unpack_token(unpack, CPNI_TOKEN_ARRAY, "the list of messages", &token);
    }
    if (rc == 0 && (token.size == 0 || token.size > CPNI_PACKET_MESSAGES_MAX)) {
        rc = cpni_unpack_refuse(unpack, "%u messages, 1 to %d are taken", token.size, CPNI_PACKET_MESSAGES_MAX);
    }
    *count = token.size;
    return rc;
}

static int unpack_message(struct cpni_unpack *unpack, struct cpni_msg *msg)
{
    struct cpni_token token = { 0 };
    unpack->subject = "?";
    int rc = cpni_unpack_token(unpack, CPNI_TOKEN_ARRAY, "a list of type and fields", &token);
    if (rc == 0 && token.size != 2) {
        rc = cpni_unpack_refuse(unpack, "expected a list of type and fields, got one of %u", token.size);
    }
    if (rc == 0) {
        rc = cpni_unpack_token(unpack, CPNI_TOKEN_UINT, "a message type", &token);
    }
    if (rc == 0 && token.number > UINT32_MAX) {
        rc = cpni_unpack_refuse(unpack, "message type %llu is over 4294967295", (unsigned long long)token.number);
    }
    if (rc < 0) {
        return rc;
    }
    uint32_t type = (uint32_t)token.number;
    const struct cpni_layout *layout = cpni_msg_layout(type);
    unpack->subject = cpni_msg_name(type);
    if (layout == NULL) {
        static const struct cpni_layout nothing_known = { .name = "?" };
        unpack->skipped = true;
        msg->type = CPNI_MSG_NONE;
        msg->refused.type = type;
        return cpni_unpack_fields(unpack, &nothing_known, &msg->hello);
    }
    msg->type = (enum cpni_msg_type)type;
    return cpni_unpack_fields(unpack, layout, &msg->hello);
}

/* A frame that nothing names is an error, unless something that was skipped may have named it. */
static int check_end(struct cpni_unpack *unpack)
{
    unpack->message = 0;
    unpack->subject = "packet";
    if (unpack->reader.at != unpack->reader.end) {
        return cpni_unpack_refuse(unpack, "%td bytes after the last message", unpack->reader.end - unpack->reader.at);
    }
    for (size_t i = 0; i < unpack->frame_count && !unpack->skipped; i++) {
        if ((unpack->frames_used >> i & 1) == 0) {
            return cpni_unpack_refuse(unpack, "payload frame %zu belongs to no message", i);
        }
    }
    return 0;
}

/* What the bounds say before a byte is looked at. */
static int check_frames(struct cpni_unpack *unpack, struct cpni_bytes *const *frames, size_t count)
{
    if (count == 0) {
        return cpni_unpack_refuse(unpack, "no frame");
    }
    if (count > CPNI_PACKET_FRAMES_ROOM) {
        return cpni_unpack_refuse(unpack, "%zu payload frames, at most %d are taken", count - 1,
                                  CPNI_PACKET_FRAMES_MAX);
    }
    if (frames[0]->size > CPNI_HEADER_BYTES_MAX) {
        return cpni_unpack_refuse(unpack, "header of %zu bytes, at most %d are taken", frames[0]->size,
                                  CPNI_HEADER_BYTES_MAX);
    }
    return 0;
}

static int unpack_messages(struct cpni_unpack *unpack, struct cpni_msg *msgs, uint32_t count)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        unpack->message = i + 1;
        rc = unpack_message(unpack, &msgs[i]);
    }
    if (rc == 0) {
        rc = check_end(unpack);
    }
    for (uint32_t i = 0; rc < 0 && i < count; i++) {
        cpni_msg_drop(&msgs[i]);
    }
    return rc;
}

int cpni_packet_decode(struct cpni_bytes *const *frames, size_t count, struct cpni_arena *arena,
                       struct cpni_packet_head *head, struct cpni_msg **msgs, size_t *msg_count, char *why)
{
    struct cpni_unpack unpack = { .arena = arena, .why = why, .subject = "packet" };
    int rc = check_frames(&unpack, frames, count);
    if (rc < 0) {
        return rc;
    }
    unpack.reader = (struct cpni_reader){ frames[0]->data, frames[0]->data + frames[0]->size };
    unpack.frames = frames + 1;
    unpack.frame_count = count - 1;
    unpack.memory_left = frames[0]->size * CPNI_PACKET_MEMORY_FACTOR + CPNI_PACKET_MEMORY_MIN;
    struct cpni_packet_head read = { 0 };
    uint32_t read_count = 0;
    rc = unpack_head(&unpack, &read, &read_count);
    if (rc < 0) {
        return rc;
    }
    struct cpni_msg *read_msgs = cpni_arena_alloc(arena, read_count * sizeof *read_msgs);
    if (read_msgs == NULL) {
        snprintf(why, CPNI_WHY, "out of memory");
        return CPN_ENOMEM;
    }
    rc = unpack_messages(&unpack, read_msgs, read_count);
    if (rc < 0) {
        return rc;
    }
    *head = read;
    *msgs = read_msgs;
    *msg_count = read_count;
    return 0;
}
