/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* For tests: flood ENDPOINT MASTER SECRET: an enrolled member (keys in hex) that sends a message of 4 GiB, to the master one without an end,
 * until the connection is cut (exit status 0) or a minute has passed (1). All parts are one piece of memory: ZeroMQ sends nothing of a
 * message before it has its last part. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#define PART (1024 * 1024)
#define PARTS 4096
#define PATIENCE_MS 60000

static void key(void *socket, int option, const char *hex)
{
    uint8_t bytes[32];
    for (size_t i = 0; i < sizeof bytes; i++) {
        const char digits[3] = { hex[2 * i], hex[2 * i + 1], 0 };
        bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    char text[41], own[41];
    zmq_setsockopt(socket, option, bytes, sizeof bytes);
    if (option == ZMQ_CURVE_SECRETKEY && zmq_z85_encode(text, bytes, sizeof bytes) != NULL && zmq_curve_public(own, text) == 0) {
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, own, 40);
    }
}

static int send_endless(void *socket)
{
    static uint8_t part[PART];
    for (int i = 0; i < PARTS; i++) {
        zmq_msg_t message;
        if (zmq_msg_init_data(&message, part, PART, NULL, NULL) < 0 || zmq_msg_send(&message, socket, i + 1 < PARTS ? ZMQ_SNDMORE : 0) < 0) {
            return -1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4 || strlen(argv[2]) != 64 || strlen(argv[3]) != 64) {
        fprintf(stderr, "usage: flood ENDPOINT MASTER SECRET\n");
        return 2;
    }
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_DEALER), *monitor = zmq_socket(context, ZMQ_PAIR);
    const int none = 0;
    zmq_setsockopt(socket, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    key(socket, ZMQ_CURVE_SERVERKEY, argv[2]);
    key(socket, ZMQ_CURVE_SECRETKEY, argv[3]);
    zmq_socket_monitor(socket, "inproc://monitor", ZMQ_EVENT_DISCONNECTED);
    zmq_connect(monitor, "inproc://monitor");
    zmq_pollitem_t cut = { .socket = monitor, .events = ZMQ_POLLIN };
    int status = zmq_connect(socket, argv[1]) == 0 && send_endless(socket) == 0 && zmq_poll(&cut, 1, PATIENCE_MS) == 1 ? 0 : 1;
    zmq_close(monitor);
    zmq_close(socket);
    zmq_ctx_term(context);
    return status;
}
