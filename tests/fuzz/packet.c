/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Any bytes as a packet: the first says how many payload frames follow the header, the rest is the header. What decodes must
 * encode again and then decode to the same. */
#include <stdio.h>
#include <stdlib.h>

#include <cpn/error.h>

#include "../unit/filler.h"
#include "fuzz.h"
#include "wire/packet.h"

#define FRAMES_ROOM 80 /* more than a packet may have */

static void drop(struct cpni_msg *msgs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cpni_msg_drop(&msgs[i]);
    }
}

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

/* Unknown messages cannot be sent on, so packets with one end here. */
static bool all_known(const struct cpni_msg *msgs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (msgs[i].type == CPNI_MSG_NONE) {
            return false;
        }
    }
    return true;
}

static void check_round_trip(const struct cpni_packet_head *head, const struct cpni_msg *msgs, size_t count)
{
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t frame_count = 0;
    int rc = cpni_packet_encode(head, msgs, count, frames, CPNI_PACKET_FRAMES_ROOM, &frame_count);
    require(rc == (int)count, "what was decoded does not fit a packet");
    struct cpni_arena arena = { 0 };
    struct cpni_packet_head again;
    struct cpni_msg *back;
    size_t back_count = 0;
    char why[CPNI_WHY];
    rc = cpni_packet_decode(frames, frame_count, &arena, &again, &back, &back_count, why);
    /* Numbers in longer forms than ours made the first header longer, and with it the memory that its lists may take. */
    require(rc == 0 || strstr(why, "so few bytes") != NULL, why);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        require(filler_equal(cpni_msg_layout(msgs[i].type), (const uint8_t *)&msgs[i].hello, (const uint8_t *)&back[i].hello),
                "a message changed on its way");
    }
    drop(back, rc == 0 ? back_count : 0);
    while (frame_count > 0) {
        cpni_bytes_unref(frames[--frame_count]);
    }
    cpni_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t count = size > 0 ? 1 + data[0] % (FRAMES_ROOM - 1) : 1;
    struct cpni_bytes *frames[FRAMES_ROOM];
    frames[0] = cpni_bytes_copy(size > 0 ? data + 1 : data, size > 0 ? size - 1 : 0);
    for (size_t i = 1; i < count; i++) {
        frames[i] = cpni_bytes_copy("x", i % 2);
    }
    struct cpni_arena arena = { 0 };
    struct cpni_packet_head head;
    struct cpni_msg *msgs;
    size_t msg_count = 0;
    char why[CPNI_WHY] = "";
    int rc = cpni_packet_decode(frames, count, &arena, &head, &msgs, &msg_count, why);
    require(rc == 0 || rc == CPN_EPROTO || rc == CPN_EVERSION, "an error that is not documented");
    require((rc == 0) == (why[0] == 0), "a refusal without a reason");
    if (rc == 0 && all_known(msgs, msg_count)) {
        check_round_trip(&head, msgs, msg_count);
    }
    drop(msgs, rc == 0 ? msg_count : 0);
    for (size_t i = 0; i < count; i++) {
        require(frames[i]->refs == 1, "a frame is still held");
        cpni_bytes_unref(frames[i]);
    }
    cpni_arena_free(&arena);
    return 0;
}
