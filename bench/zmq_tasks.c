/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The peer of the task benchmark: the least broker that raw ZeroMQ makes possible. Two ROUTERs, CURVE on both, tasks of one frame,
 * workers with credit; no registry, no leases, no resends, no acknowledgement, no limits: what it reaches is what cpn pays for those.
 *
 *   zmq-tasks broker FRONT BACK KEYS                            prints "ready", runs until killed
 *   zmq-tasks tasks FRONT KEYS BYTES WINDOW SECONDS           one client; prints tasks_s=…, with WINDOW 1 also latencies
 *   zmq-tasks worker BACK KEYS CREDIT REPLY                   answers with REPLY bytes
 *
 * KEYS is a file of two lines, the server's public and secret key; clients make a key each. `zmq-tasks keys` prints such a file. */
#include <stdbool.h>

#include <zmq.h>

#include "measure.h"

#define KEY 41
#define DRAIN_MAX 64 /* messages taken from one socket before the other one is looked at */
#define WORKERS_MAX 64
#define ID_MAX 16 /* bytes of a ROUTER's own routing ids: 5 */
#define LATENCIES_MAX 1000000

struct keys {
    char public[KEY], secret[KEY];
};

static void read_keys(const char *path, struct keys *keys)
{
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%40s %40s", keys->public, keys->secret) != 2) {
        fail("zmq-tasks: %s: expected two keys", path);
    }
    fclose(file);
}

static void *make_socket(int type, const struct keys *keys, bool server)
{
    static void *context;
    if (context == NULL) {
        context = zmq_ctx_new();
    }
    void *socket = zmq_socket(context, type);
    const int unlimited = 0;
    const int linger = 0;
    zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    if (server) {
        const int on = 1;
        zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof on);
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->secret, KEY);
        return socket;
    }
    struct keys own;
    zmq_curve_keypair(own.public, own.secret);
    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, keys->public, KEY);
    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, own.public, KEY);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own.secret, KEY);
    return socket;
}

static void check(int rc, const char *what)
{
    if (rc < 0) {
        fail("zmq-tasks: %s: %s", what, zmq_strerror(errno));
    }
}

/* ---- the broker ---- */

struct worker {
    unsigned char id[ID_MAX];
    size_t id_size;
    int credit;
};

struct broker {
    void *front, *back;
    struct worker workers[WORKERS_MAX];
    size_t worker_count, next;
    int credit; /* of all workers */
};

static struct worker *find_worker(struct broker *broker, const void *id, size_t id_size)
{
    for (size_t i = 0; i < broker->worker_count; i++) {
        if (broker->workers[i].id_size == id_size && memcmp(broker->workers[i].id, id, id_size) == 0) {
            return &broker->workers[i];
        }
    }
    return NULL;
}

static void grant(struct broker *broker, const void *id, size_t id_size, int credit)
{
    struct worker *worker = find_worker(broker, id, id_size);
    if (worker == NULL && broker->worker_count < WORKERS_MAX && id_size <= ID_MAX) {
        worker = &broker->workers[broker->worker_count++];
        memcpy(worker->id, id, id_size);
        worker->id_size = id_size;
    }
    if (worker != NULL) {
        worker->credit += credit;
        broker->credit += credit;
    }
}

/* [worker][credit] or [worker][client][result]: the result goes to the client, and the worker has credit for one more. */
static bool from_worker(struct broker *broker)
{
    zmq_msg_t id, client, result;
    zmq_msg_init(&id);
    if (zmq_msg_recv(&id, broker->back, ZMQ_DONTWAIT) < 0) {
        return false;
    }
    zmq_msg_init(&client);
    check(zmq_msg_recv(&client, broker->back, 0), "receive");
    int credit = 1;
    if (zmq_msg_more(&client)) {
        zmq_msg_init(&result);
        check(zmq_msg_recv(&result, broker->back, 0), "receive");
        check(zmq_msg_send(&client, broker->front, ZMQ_SNDMORE), "send");
        check(zmq_msg_send(&result, broker->front, 0), "send");
    } else {
        memcpy(&credit, zmq_msg_data(&client), sizeof credit);
        zmq_msg_close(&client);
    }
    grant(broker, zmq_msg_data(&id), zmq_msg_size(&id), credit);
    zmq_msg_close(&id);
    return true;
}

static struct worker *choose(struct broker *broker)
{
    while (broker->workers[broker->next].credit == 0) {
        broker->next = (broker->next + 1) % broker->worker_count;
    }
    struct worker *worker = &broker->workers[broker->next];
    broker->next = (broker->next + 1) % broker->worker_count;
    return worker;
}

/* [client][task] goes to a worker with credit as [client][task]. */
static bool from_client(struct broker *broker)
{
    zmq_msg_t client, task;
    zmq_msg_init(&client);
    if (zmq_msg_recv(&client, broker->front, ZMQ_DONTWAIT) < 0) {
        return false;
    }
    zmq_msg_init(&task);
    check(zmq_msg_recv(&task, broker->front, 0), "receive");
    struct worker *worker = choose(broker);
    worker->credit--;
    broker->credit--;
    check(zmq_send(broker->back, worker->id, worker->id_size, ZMQ_SNDMORE), "send");
    check(zmq_msg_send(&client, broker->back, ZMQ_SNDMORE), "send");
    check(zmq_msg_send(&task, broker->back, 0), "send");
    return true;
}

static void run_broker(char **argv)
{
    struct keys keys;
    read_keys(argv[2], &keys);
    struct broker broker = { .front = make_socket(ZMQ_ROUTER, &keys, true), .back = make_socket(ZMQ_ROUTER, &keys, true) };
    check(zmq_bind(broker.front, argv[0]), argv[0]);
    check(zmq_bind(broker.back, argv[1]), argv[1]);
    puts("ready");
    fflush(stdout);
    for (;;) {
        zmq_pollitem_t items[] = { { broker.back, 0, ZMQ_POLLIN, 0 }, { broker.front, 0, ZMQ_POLLIN, 0 } };
        zmq_poll(items, broker.credit > 0 ? 2 : 1, -1);
        for (int i = 0; i < DRAIN_MAX && from_worker(&broker); i++) { }
        for (int i = 0; i < DRAIN_MAX && broker.credit > 0 && from_client(&broker); i++) { }
    }
}

/* ---- the worker ---- */

static void run_worker(char **argv)
{
    struct keys keys;
    read_keys(argv[1], &keys);
    void *socket = make_socket(ZMQ_DEALER, &keys, false);
    const int credit = atoi(argv[2]);
    const size_t reply_size = strtoul(argv[3], NULL, 10);
    char *reply = calloc(1, reply_size + sizeof(uint64_t));
    check(zmq_connect(socket, argv[0]), argv[0]);
    check(zmq_send(socket, &credit, sizeof credit, 0), "send");
    for (;;) {
        zmq_msg_t client, task;
        zmq_msg_init(&client);
        zmq_msg_init(&task);
        check(zmq_msg_recv(&client, socket, 0), "receive");
        check(zmq_msg_recv(&task, socket, 0), "receive");
        memcpy(reply, zmq_msg_data(&task), sizeof(uint64_t)); /* the task's number */
        check(zmq_msg_send(&client, socket, ZMQ_SNDMORE), "send");
        check(zmq_send(socket, reply, sizeof(uint64_t) + reply_size, 0), "send");
        zmq_msg_close(&task);
    }
}

/* ---- the client ---- */

static double latencies[LATENCIES_MAX];

static void run_tasks(char **argv)
{
    struct keys keys;
    read_keys(argv[1], &keys);
    void *socket = make_socket(ZMQ_DEALER, &keys, false);
    const size_t bytes = strtoul(argv[2], NULL, 10);
    const uint64_t window = strtoul(argv[3], NULL, 10);
    const double seconds = atof(argv[4]);
    char *payload = calloc(1, bytes + sizeof(uint64_t));
    char *result = malloc(1 << 20);
    check(zmq_connect(socket, argv[0]), argv[0]);
    uint64_t sent = 0;
    uint64_t done = 0;
    uint64_t warm = window; /* answered before the clock starts: connection and first allocations */
    double start = 0;
    double before = now_s();
    while (done < warm || now_s() - start < seconds) {
        for (; sent - done < window; sent++) {
            memcpy(payload, &sent, sizeof sent);
            before = now_s();
            check(zmq_send(socket, payload, bytes, 0), "send");
        }
        check(zmq_recv(socket, result, 1 << 20, 0), "receive");
        done++;
        if (done > warm && done - warm <= LATENCIES_MAX) {
            latencies[done - warm - 1] = now_s() - before;
        }
        if (done == warm) {
            start = now_s();
        }
    }
    printf("tasks_s=%.0f ", (double)(done - warm) / (now_s() - start));
    if (window == 1) {
        print_latencies(latencies, done - warm < LATENCIES_MAX ? done - warm : LATENCIES_MAX);
    } else {
        puts("");
    }
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "keys") == 0) {
        struct keys keys;
        zmq_curve_keypair(keys.public, keys.secret);
        printf("%s\n%s\n", keys.public, keys.secret);
    } else if (strcmp(verb, "broker") == 0 && argc == 5) {
        run_broker(argv + 2);
    } else if (strcmp(verb, "worker") == 0 && argc == 6) {
        run_worker(argv + 2);
    } else if (strcmp(verb, "tasks") == 0 && argc == 7) {
        run_tasks(argv + 2);
    } else {
        fail("zmq-tasks: keys | broker FRONT BACK KEYS | worker BACK KEYS CREDIT REPLY | tasks FRONT KEYS BYTES WINDOW SECONDS");
    }
    fflush(stdout);
    _Exit(0); /* the context's sockets are not worth a farewell */
}
