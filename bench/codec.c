/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the codec costs a message: small TASKs and their RESULTs, alone and 16 in a packet, encoded and decoded again. Prints
 * nanoseconds a message, the least of several rounds (the machine is shared). */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/str.h"
#include "wire/packet.h"

#define ROUNDS 15
#define MESSAGES 65536

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static struct cpni_msg task(struct cpni_bytes *input)
{
    struct cpni_msg msg = { .type = CPNI_MSG_TASK };
    msg.task = (struct cpni_msg_task){
        .task = { { 1, 2, 3, 4 } }, .attempt = 1, .term = 3, .model = cpni_str("faces"), .version = 7,
        .root = { { 9, 9, 9 } }, .input = input, .input_name = cpni_str("photo-0001.jpg"), .deadline_ms = 60000,
    };
    return msg;
}

static struct cpni_msg result(struct cpni_rec_LABEL *labels, uint32_t count)
{
    struct cpni_msg msg = { .type = CPNI_MSG_RESULT };
    msg.result = (struct cpni_msg_result){
        .task = { { 1, 2, 3, 4 } }, .attempt = 1, .term = 3, .labels = labels, .labels_count = count, .width = 640,
        .height = 480, .waiting_us = 20, .decode_us = 1600, .infer_us = 142000, .model = cpni_str("faces"), .version = 7,
    };
    return msg;
}

struct times {
    double encode_ns, decode_ns;
    size_t header_bytes;
};

static void fail(const char *what)
{
    fprintf(stderr, "codec: %s\n", what);
    exit(1);
}

static void measure(const struct cpni_msg *msgs, size_t count, struct times *least)
{
    static struct cpni_arena arena;
    const struct cpni_packet_head head = { .link = 12, .seq = 34567 };
    struct times times = { 0 };
    for (size_t done = 0; done < MESSAGES; done += count) {
        struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
        size_t frame_count = 0;
        double start = now_ns();
        if (cpni_packet_encode(&head, msgs, count, frames, CPNI_PACKET_FRAMES_ROOM, &frame_count) != (int)count) {
            fail("the messages do not fit one packet");
        }
        double middle = now_ns();
        struct cpni_packet_head back_head;
        struct cpni_msg *back;
        size_t back_count = 0;
        char why[CPNI_WHY];
        if (cpni_packet_decode(frames, frame_count, &arena, &back_head, &back, &back_count, why) < 0) {
            fail(why);
        }
        for (size_t i = 0; i < back_count; i++) {
            cpni_msg_drop(&back[i]);
        }
        cpni_arena_reset(&arena);
        times.encode_ns += middle - start;
        times.decode_ns += now_ns() - middle;
        times.header_bytes = frames[0]->size;
        while (frame_count > 0) {
            cpni_bytes_unref(frames[--frame_count]);
        }
    }
    if (least->header_bytes == 0 || times.encode_ns + times.decode_ns < least->encode_ns + least->decode_ns) {
        *least = times;
    }
}

static void report(const char *name, const struct cpni_msg *msg, size_t count)
{
    struct cpni_msg msgs[16];
    struct times least = { 0 };
    for (size_t i = 0; i < count; i++) {
        msgs[i] = *msg;
    }
    for (int round = 0; round < ROUNDS; round++) {
        measure(msgs, count, &least);
    }
    printf("%-28s %2zu in a packet: encode %4.0f ns, decode %4.0f ns a message, header %zu bytes\n", name, count,
           least.encode_ns / MESSAGES, least.decode_ns / MESSAGES, least.header_bytes);
}

int main(void)
{
    struct cpni_bytes *input = cpni_bytes_copy("0123456789", 10);
    struct cpni_rec_LABEL labels[4];
    for (int32_t i = 0; i < 4; i++) {
        labels[i] = (struct cpni_rec_LABEL){ cpni_str("ann"), 0.93f, 100 + i, 20, 64, 64 };
    }
    const struct cpni_msg messages[] = { task(input), result(NULL, 0), result(labels, 4) };
    static const char *const names[] = { "TASK", "RESULT, no labels", "RESULT, 4 labels" };
    for (size_t i = 0; i < 3; i++) {
        report(names[i], &messages[i], 1);
        report(names[i], &messages[i], 16);
    }
    cpni_bytes_unref(input);
    return 0;
}
