/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The peer of the averaging benchmark: the least star that raw ZeroMQ makes possible. A ROUTER and PEERS processes with
 * a DEALER each, CURVE on, over loopback; in each round every peer sends its floats as one frame and gets the mean
 * back. No piece, bound, hash, checkpoint or exact sum.
 *
 *   zmq-star PEERS FLOATS ROUNDS      prints p50_us=… p99_us=… of a round */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zmq.h>

#include "../measure.h"

#define KEY 41
#define PEERS_MAX 16
#define WARM_UP 5 /* rounds that are not counted: connecting, first pages */

static char server_public[KEY], server_secret[KEY];

static void check(int rc, const char *what)
{
    if (rc < 0) {
        fail("zmq-star: %s: %s", what, zmq_strerror(errno));
    }
}

static void be_a_peer(const char *endpoint, size_t floats, int rounds)
{
    char public[KEY], secret[KEY];
    float *values = malloc(floats * sizeof *values);
    void *socket = zmq_socket(zmq_ctx_new(), ZMQ_DEALER);
    zmq_curve_keypair(public, secret);
    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_public, KEY);
    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public, KEY);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, KEY);
    check(zmq_connect(socket, endpoint), "connect");
    for (size_t i = 0; i < floats; i++) {
        values[i] = (float)i / (float)floats;
    }
    for (int r = 0; r < rounds; r++) {
        check(zmq_send(socket, values, floats * sizeof *values, 0), "send");
        check(zmq_recv(socket, values, floats * sizeof *values, 0), "receive");
    }
    _exit(0);
}

/* One round at the hub: all vectors in, their mean out to all. */
static void round_of(void *socket, int peers, size_t floats, float *sum)
{
    unsigned char ids[PEERS_MAX][16];
    int sizes[PEERS_MAX];
    memset(sum, 0, floats * sizeof *sum);
    for (int p = 0; p < peers; p++) {
        zmq_msg_t part;
        sizes[p] = zmq_recv(socket, ids[p], sizeof ids[p], 0);
        check(sizes[p], "receive");
        zmq_msg_init(&part);
        check(zmq_msg_recv(&part, socket, 0), "receive");
        const float *values = zmq_msg_data(&part);
        for (size_t i = 0; i < floats; i++) {
            sum[i] += values[i];
        }
        zmq_msg_close(&part);
    }
    for (size_t i = 0; i < floats; i++) {
        sum[i] /= (float)peers;
    }
    for (int p = 0; p < peers; p++) {
        check(zmq_send(socket, ids[p], (size_t)sizes[p], ZMQ_SNDMORE), "send");
        check(zmq_send(socket, sum, floats * sizeof *sum, 0), "send");
    }
}

int main(int argc, char **argv)
{
    char endpoint[64];
    size_t endpoint_size = sizeof endpoint;
    const int on = 1;
    int peers = argc == 4 ? atoi(argv[1]) : 0, ways[2];
    size_t floats = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    int rounds = argc == 4 ? atoi(argv[3]) + WARM_UP : 0;
    if (peers < 1 || peers > PEERS_MAX || floats == 0 || rounds <= WARM_UP || pipe(ways) < 0) {
        fail("usage: zmq-star PEERS FLOATS ROUNDS");
    }
    zmq_curve_keypair(server_public, server_secret);
    for (int p = 0; p < peers; p++) { /* before there is a ZeroMQ context in this process */
        if (fork() == 0) {
            ssize_t got = read(ways[0], endpoint, sizeof endpoint);
            be_a_peer(got == (ssize_t)sizeof endpoint ? endpoint : "", floats, rounds);
        }
    }
    void *socket = zmq_socket(zmq_ctx_new(), ZMQ_ROUTER);
    zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof on);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, server_secret, KEY);
    check(zmq_bind(socket, "tcp://127.0.0.1:*"), "bind");
    check(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &endpoint_size), "endpoint");
    for (int p = 0; p < peers; p++) {
        if (write(ways[1], endpoint, sizeof endpoint) != (ssize_t)sizeof endpoint) {
            fail("zmq-star: cannot tell the peers where");
        }
    }
    float *sum = malloc(floats * sizeof *sum);
    double *seconds = malloc((size_t)rounds * sizeof *seconds);
    for (int r = 0; r < rounds; r++) {
        double from = now_s();
        round_of(socket, peers, floats, sum);
        seconds[r] = now_s() - from;
    }
    print_latencies(seconds + WARM_UP, (size_t)(rounds - WARM_UP));
    while (wait(NULL) > 0) { }
    return 0;
}
