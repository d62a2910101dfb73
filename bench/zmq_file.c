/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The peer of the transfer benchmark: a file in chunks of 1 MiB over a pair of raw ZeroMQ sockets with CURVE, each chunk hashed with
 * BLAKE2b-256 where it is read and hashed again before it is written. Nothing is resumed, nothing is kept about it, and the chunks are not
 * asked for one by one: the sender goes on as long as fewer than WINDOW are not acknowledged.
 *
 *   zmq-file receive ENDPOINT OUT WINDOW      prints "key PUBLIC" and, when the last byte is written, mb_s=…
 *   zmq-file send ENDPOINT FILE PUBLIC WINDOW
 *
 * The clock runs from the first chunk's request to the last byte's write. */
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>
#include <zmq.h>

#include "measure.h"

#define KEY 41
#define CHUNK (1024 * 1024)
#define HASH 32

struct head { /* of each chunk; size of the whole file */
    uint64_t offset, size;
    unsigned char hash[HASH];
};

static void check(int rc, const char *what)
{
    if (rc < 0) {
        fail("zmq-file: %s: %s", what, zmq_strerror(errno));
    }
}

static void *make_socket(void)
{
    void *socket = zmq_socket(zmq_ctx_new(), ZMQ_PAIR);
    const int unlimited = 0;
    zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    return socket;
}

static void receive(const char *endpoint, const char *path, int window)
{
    char public[KEY];
    char secret[KEY];
    void *socket = make_socket();
    const int on = 1;
    zmq_curve_keypair(public, secret);
    zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof on);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, KEY);
    check(zmq_bind(socket, endpoint), endpoint);
    printf("key %s\n", public);
    fflush(stdout);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(file, path);
    check(zmq_send(socket, &window, sizeof window, 0), "send"); /* waits for the sender to connect */
    double start = 0;
    struct head head = { .size = 1 };
    for (uint64_t done = 0; done < head.size;) {
        zmq_msg_t chunk;
        unsigned char hash[HASH];
        zmq_msg_init(&chunk);
        check(zmq_recv(socket, &head, sizeof head, 0), "receive");
        if (start == 0) {
            start = now_s();
        }
        check(zmq_msg_recv(&chunk, socket, 0), "receive");
        const size_t size = zmq_msg_size(&chunk);
        crypto_generichash(hash, HASH, zmq_msg_data(&chunk), size, NULL, 0);
        if (memcmp(hash, head.hash, HASH) != 0) {
            fail("zmq-file: a chunk is damaged");
        }
        if (pwrite(file, zmq_msg_data(&chunk), size, (off_t)head.offset) != (ssize_t)size) {
            fail("zmq-file: %s: %s", path, strerror(errno));
        }
        zmq_msg_close(&chunk);
        check(zmq_send(socket, "", 0, 0), "send");
        done += size;
    }
    printf("mb_s=%.1f\n", (double)head.size / 1e6 / (now_s() - start));
}

static void send_file(const char *endpoint, const char *path, const char *server, int window)
{
    char public[KEY];
    char secret[KEY];
    void *socket = make_socket();
    zmq_curve_keypair(public, secret);
    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server, KEY);
    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public, KEY);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, KEY);
    check(zmq_connect(socket, endpoint), endpoint);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    check(file, path);
    check(fstat(file, &stat), path);
    struct head head = { .size = (uint64_t)stat.st_size };
    char ack[sizeof(int)];
    check(zmq_recv(socket, ack, sizeof ack, 0), "receive"); /* the request */
    for (int credit = window; head.offset < head.size; credit--) {
        while (zmq_recv(socket, ack, sizeof ack, credit > 0 ? ZMQ_DONTWAIT : 0) >= 0) {
            credit++;
        }
        const uint64_t left = head.size - head.offset;
        const size_t size = left < CHUNK ? (size_t)left : CHUNK;
        zmq_msg_t chunk;
        check(zmq_msg_init_size(&chunk, size), "memory");
        if (pread(file, zmq_msg_data(&chunk), size, (off_t)head.offset) != (ssize_t)size) {
            fail("zmq-file: %s: %s", path, strerror(errno));
        }
        crypto_generichash(head.hash, HASH, zmq_msg_data(&chunk), size, NULL, 0);
        check(zmq_send(socket, &head, sizeof head, ZMQ_SNDMORE), "send");
        check(zmq_msg_send(&chunk, socket, 0), "send");
        head.offset += size;
    }
    const int farewell_ms = 1000; /* the last chunks are still in ZeroMQ's hands: stay while they are acknowledged */
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &farewell_ms, sizeof farewell_ms);
    while (zmq_recv(socket, ack, sizeof ack, 0) >= 0) { }
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (sodium_init() < 0) {
        fail("zmq-file: libsodium does not start");
    }
    if (strcmp(verb, "receive") == 0 && argc == 5) {
        receive(argv[2], argv[3], atoi(argv[4]));
    } else if (strcmp(verb, "send") == 0 && argc == 6) {
        send_file(argv[2], argv[3], argv[4], atoi(argv[5]));
    } else {
        fail("zmq-file: receive ENDPOINT OUT WINDOW | send ENDPOINT FILE PUBLIC WINDOW");
    }
    fflush(stdout);
    _Exit(0); /* the sockets are not worth a farewell */
}
