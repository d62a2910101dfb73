/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The network as ZeroMQ makes it (DESIGN §5): packets of one connection stay in order; at a break any suffix is lost in each direction,
 * what comes before it still arrives, late or early against what the sockets tell of the break; a dealer connects again by itself
 * under a new connection at the router; either side may believe in a dead connection for seconds. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#define HALF_OPEN_US (6 * SECOND) /* what ZMTP's own heartbeat needs to find a dead connection */

struct flight {
    struct flight *next;
    int64_t at_us;
    struct cpni_bytes **frames;
    size_t count;
};

struct path { /* one direction of a connection */
    struct timer timer;
    struct conn *conn;
    struct flight *head, **end;
    size_t count;
    int64_t last_us;
};

struct conn {
    struct conn *previous, *next;
    uint64_t id;
    struct proc *peer, *master; /* NULL: gone */
    struct place *place;        /* of the peer */
    struct cpn_key key;
    unsigned number; /* CPNI_CONN_… at the dealer */
    uint32_t socket;
    bool up, router_knows;
    struct path to_master, to_peer;
    struct timer knows, aware; /* when the router, the dealer learns of the break */
    struct timer dropped;      /* when the master's role cuts it */
};

static struct channel *channel_of(const struct conn *conn)
{
    struct channel *channel = conn->peer == NULL ? NULL : &conn->peer->channels[conn->number - CPNI_CONN_CONTROL];
    return channel != NULL && channel->socket == conn->socket ? channel : NULL;
}

static void flight_free(struct flight *flight)
{
    for (size_t i = 0; i < flight->count; i++) {
        cpni_bytes_unref(flight->frames[i]);
    }
    free(flight->frames);
    free(flight);
}

static void cut(struct sim *sim, struct path *path, size_t keep)
{
    struct flight **at = &path->head;
    for (size_t i = 0; i < keep; i++) {
        at = &(*at)->next;
    }
    while (*at != NULL) {
        struct flight *flight = *at;
        *at = flight->next;
        flight_free(flight);
        path->count--;
    }
    path->end = at;
    if (path->head == NULL) {
        timer_stop(sim, &path->timer);
    }
}

static void conn_free(struct sim *sim, struct conn *conn)
{
    cut(sim, &conn->to_master, 0);
    cut(sim, &conn->to_peer, 0);
    timer_stop(sim, &conn->knows);
    timer_stop(sim, &conn->aware);
    timer_stop(sim, &conn->dropped);
    LIST_DEL(sim->conns, conn);
    free(conn);
}

static bool conn_over(struct sim *sim, struct conn *conn)
{
    bool over = !conn->up && conn->to_master.head == NULL && conn->to_peer.head == NULL && conn->aware.heap.index == 0 &&
                (conn->master == NULL || conn->router_knows);
    if (over) {
        conn_free(sim, conn);
    }
    return over;
}

/* ---- packets ---- */

static void packet_arrives(struct conn *conn, struct path *path, struct flight *flight)
{
    bool up = path == &conn->to_master;
    struct channel *channel = up ? NULL : channel_of(conn);
    struct proc *proc = up ? conn->master : channel != NULL ? channel->proc : NULL;
    if (proc == NULL) {
        flight_free(flight);
        return;
    }
    struct note *note = note_new(CPNI_EV_PACKET);
    note->event.packet.conn = up ? conn->id : conn->number;
    if (up) {
        note->event.packet.key = conn->key;
    }
    note->socket = conn->socket;
    note->frames = flight->frames;
    note->count = flight->count;
    free(flight);
    proc_note(proc, note);
}

static void path_fire(struct sim *sim, struct timer *timer)
{
    struct path *path = OWNER(timer, struct path, timer);
    struct conn *conn = path->conn;
    while (path->head != NULL && path->head->at_us <= sim->now_us) {
        struct flight *flight = path->head;
        path->head = flight->next;
        path->count--;
        if (path->head == NULL) {
            path->end = &path->head;
        }
        packet_arrives(conn, path, flight);
    }
    if (path->head != NULL) {
        timer_set(sim, &path->timer, path->head->at_us);
    }
    conn_over(sim, conn);
}

static void path_send(struct sim *sim, struct path *path, struct cpni_bytes **frames, size_t count)
{
    struct conn *conn = path->conn;
    size_t bytes = 0;
    struct flight *flight = sim_alloc(sizeof *flight);
    flight->frames = sim_alloc(count * sizeof *frames);
    flight->count = count;
    for (size_t i = 0; i < count; i++) {
        flight->frames[i] = cpni_bytes_ref(frames[i]);
        bytes += frames[i]->size;
    }
    int64_t delay_us = rng_between(sim, 50, 2000) + (int64_t)bytes / 100;
    if (!sim->quiet && rng_chance(sim, sim->mix.slow_net)) {
        delay_us += rng_between(sim, 10 * MS, 800 * MS);
    }
    int64_t stalled_us = path == &conn->to_master ? conn->place->stalled_to_master_us : conn->place->stalled_to_peer_us;
    flight->at_us = sim->now_us + delay_us;
    flight->at_us = flight->at_us > stalled_us ? flight->at_us : stalled_us;
    flight->at_us = flight->at_us > path->last_us ? flight->at_us : path->last_us;
    path->last_us = flight->at_us;
    *path->end = flight;
    path->end = &flight->next;
    path->count++;
    timer_set(sim, &path->timer, path->head->at_us);
    sim->packets++;
}

static struct conn *conn_find(const struct sim *sim, uint64_t id)
{
    struct conn *conn = sim->conns;
    while (conn != NULL && conn->id != id) {
        conn = conn->next;
    }
    return conn;
}

struct place *net_place(struct sim *sim, uint64_t id)
{
    const struct conn *conn = conn_find(sim, id);
    return conn == NULL ? NULL : conn->place;
}

bool net_is_control(struct sim *sim, uint64_t id)
{
    const struct conn *conn = conn_find(sim, id);
    return conn != NULL && conn->number == CPNI_CONN_CONTROL;
}

/* The router says at once that a connection is gone; a dealer that knows it is down drops; both may be wrong about it. */
void net_send(struct proc *proc, uint64_t id, struct cpni_bytes **frames, size_t count)
{
    struct sim *sim = proc->sim;
    if (proc->kind != KIND_MASTER) {
        struct channel *channel = &proc->channels[id - CPNI_CONN_CONTROL];
        if (channel->told_up && channel->conn != NULL && channel->conn->up) {
            path_send(sim, &channel->conn->to_master, frames, count);
        }
        return;
    }
    struct conn *conn = conn_find(sim, id);
    if (conn == NULL || conn->router_knows) {
        cpni_outbox_forget(proc->outbox, id);
        struct note *note = note_new(CPNI_EV_DISCONNECTED);
        note->event.lost.conn = id;
        note->event.lost.code = CPN_EUNREACHABLE;
        note->event.lost.text = "the connection is gone";
        proc_note(proc, note);
    } else if (conn->up) {
        path_send(sim, &conn->to_peer, frames, count);
    }
}

/* ---- connections ---- */

static void tell(struct channel *channel, enum cpni_event_type type, int code)
{
    struct note *note = note_new(type);
    note->event.lost.conn = channel->number;
    note->socket = channel->socket;
    if (type != CPNI_EV_CONNECTED) {
        note->event.lost.code = code;
        note->event.lost.text = cpn_strerror(code);
    }
    proc_note(channel->proc, note);
}

static void knows_fire(struct sim *sim, struct timer *timer)
{
    struct conn *conn = OWNER(timer, struct conn, knows);
    conn->router_knows = true;
    conn_over(sim, conn);
}

/* From now on the dealer tries again; whether it says so before or after what still arrives is chance: see proc.c. */
static void aware_fire(struct sim *sim, struct timer *timer)
{
    struct conn *conn = OWNER(timer, struct conn, aware);
    struct channel *channel = channel_of(conn);
    if (channel != NULL && channel->conn == conn) {
        channel->conn = NULL;
        channel->retry_us = 100 * MS;
        tell(channel, CPNI_EV_DISCONNECTED, CPN_EUNREACHABLE);
        timer_set(sim, &channel->connect, sim->now_us + rng_between(sim, 0, 150 * MS));
    }
    conn_over(sim, conn);
}

static int64_t learns(struct sim *sim)
{
    bool late = !sim->quiet && rng_chance(sim, 200);
    return sim->now_us + (late ? rng_between(sim, 100 * MS, HALF_OPEN_US) : rng_between(sim, 0, 60 * MS));
}

void net_break(struct sim *sim, struct conn *conn)
{
    if (!conn->up) {
        return;
    }
    conn->up = false;
    conn->place->disruptions++;
    trace_line(sim, conn->peer, "-- connection %llu (%s) breaks", (unsigned long long)conn->id,
               conn->number == CPNI_CONN_BULK ? "bulk" : "control");
    cut(sim, &conn->to_master, conn->master == NULL ? 0 : rng_below(sim, conn->to_master.count + 1));
    cut(sim, &conn->to_peer, conn->peer == NULL ? 0 : rng_below(sim, conn->to_peer.count + 1));
    timer_set(sim, &conn->knows, learns(sim));
    timer_set(sim, &conn->aware, learns(sim));
}

static void dropped_fire(struct sim *sim, struct timer *timer)
{
    net_break(sim, OWNER(timer, struct conn, dropped));
}

/* The master forgot a connection: it is cut, at once or when a last word has had the time to arrive (net/guard.h). */
void net_drop(struct proc *proc, uint64_t id, bool later)
{
    struct conn *conn = conn_find(proc->sim, id);
    if (conn == NULL || !conn->up) {
        return;
    }
    if (later) {
        timer_set(proc->sim, &conn->dropped, proc->sim->now_us + rng_between(proc->sim, 1 * SECOND, 2 * SECOND));
    } else {
        net_break(proc->sim, conn);
    }
}

static void path_init(struct path *path, struct conn *conn)
{
    path->conn = conn;
    path->timer.fire = path_fire;
    path->end = &path->head;
}

static void conn_new(struct channel *channel, struct proc *master, const struct cpn_key *key)
{
    struct sim *sim = master->sim;
    struct conn *conn = sim_alloc(sizeof *conn);
    conn->id = sim->next_conn++;
    conn->peer = channel->proc;
    conn->master = master;
    conn->place = channel->proc->place;
    conn->key = *key;
    conn->number = channel->number;
    conn->socket = channel->socket;
    conn->up = true;
    conn->knows.fire = knows_fire;
    conn->aware.fire = aware_fire;
    conn->dropped.fire = dropped_fire;
    path_init(&conn->to_master, conn);
    path_init(&conn->to_peer, conn);
    LIST_ADD(sim->conns, conn);
    channel->conn = conn;
    channel->retry_us = 100 * MS;
    tell(channel, CPNI_EV_CONNECTED, 0);
}

static bool reachable(const struct sim *sim, const struct place *place)
{
    const struct proc *master = sim->master->proc;
    return master != NULL && master->core != NULL && master->paused_until_us <= sim->now_us && place->stalled_to_master_us <= sim->now_us &&
           place->stalled_to_peer_us <= sim->now_us;
}

static void connect_fire(struct sim *sim, struct timer *timer)
{
    struct channel *channel = OWNER(timer, struct channel, connect);
    struct place *place = channel->proc->place;
    if (channel->stopped || channel->conn != NULL) {
        return;
    }
    if (!reachable(sim, place)) {
        timer_set(sim, &channel->connect, sim->now_us + channel->retry_us);
        channel->retry_us = channel->retry_us >= SECOND ? 2 * SECOND : channel->retry_us * 2;
        return;
    }
    struct proc *master = sim->master->proc;
    const struct cpn_key *key = channel->proc->kind == KIND_ENROL ? &place->token : &place->key;
    struct cpni_now now;
    proc_now(master, &now);
    if (!cpni_master_core_admits(master->master, key, &now)) {
        channel->stopped = true;
        tell(channel, CPNI_EV_REFUSED, CPN_EKEY);
        return;
    }
    conn_new(channel, master, key);
}

void net_open(struct proc *proc)
{
    for (unsigned i = 0; i < 2; i++) {
        proc->channels[i].connect.fire = connect_fire;
        proc->channels[i].proc = proc;
        proc->channels[i].number = (unsigned)CPNI_CONN_CONTROL + i;
        proc->channels[i].retry_us = 100 * MS;
        timer_set(proc->sim, &proc->channels[i].connect, proc->sim->now_us + rng_between(proc->sim, 0, 20 * MS));
    }
}

/* The socket is closed: what was on its way to it is dropped, what it sent may arrive in part. */
static void abandon(struct sim *sim, struct conn *conn)
{
    cut(sim, &conn->to_peer, 0);
    if (conn->up) {
        conn->up = false;
        cut(sim, &conn->to_master, rng_below(sim, conn->to_master.count + 1));
        timer_set(sim, &conn->knows, learns(sim));
    }
    timer_stop(sim, &conn->aware);
}

void net_reconnect(struct proc *proc, uint64_t id)
{
    struct channel *channel = &proc->channels[id - CPNI_CONN_CONTROL];
    proc->place->disruptions++;
    if (channel->conn != NULL) {
        abandon(proc->sim, channel->conn);
        conn_over(proc->sim, channel->conn);
    }
    channel->conn = NULL;
    channel->socket++;
    channel->told_up = channel->stopped = false;
    channel->retry_us = 100 * MS;
    cpni_outbox_forget(proc->outbox, id);
    timer_set(proc->sim, &channel->connect, proc->sim->now_us + rng_between(proc->sim, 0, 30 * MS));
}

void net_close(struct proc *proc)
{
    struct sim *sim = proc->sim;
    for (struct conn *conn = sim->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->peer == proc) {
            abandon(sim, conn);
            conn->peer = NULL;
            conn_over(sim, conn);
        } else if (conn->master == proc) {
            net_break(sim, conn);
            cut(sim, &conn->to_master, 0);
            conn->master = NULL;
            conn_over(sim, conn);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        timer_stop(sim, &proc->channels[i].connect);
    }
}

/* ---- faults ---- */

static void stall(struct sim *sim, struct path *path, int64_t until_us)
{
    for (struct flight *flight = path->head; flight != NULL; flight = flight->next) {
        flight->at_us = flight->at_us > until_us ? flight->at_us : until_us;
        path->last_us = path->last_us > flight->at_us ? path->last_us : flight->at_us;
    }
    if (path->head != NULL) {
        timer_set(sim, &path->timer, path->head->at_us);
    }
}

void net_partition(struct sim *sim, struct place *place, bool to_master, bool to_peer, int64_t until_us)
{
    place->disruptions++;
    if (to_master) {
        place->stalled_to_master_us = until_us;
    }
    if (to_peer) {
        place->stalled_to_peer_us = until_us;
    }
    for (struct conn *conn = sim->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->place != place) {
            continue;
        }
        if (to_master) {
            stall(sim, &conn->to_master, until_us);
        }
        if (to_peer) {
            stall(sim, &conn->to_peer, until_us);
        }
        if (until_us - sim->now_us > HALF_OPEN_US || rng_chance(sim, 200)) {
            net_break(sim, conn);
        }
    }
}

void net_break_one(struct sim *sim, struct place *place)
{
    unsigned which = (unsigned)rng_below(sim, 3); /* control, bulk, both */
    for (struct conn *conn = sim->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->place == place && (which == 2 || conn->number == CPNI_CONN_CONTROL + which)) {
            net_break(sim, conn);
        }
    }
}

void net_free(struct sim *sim)
{
    while (sim->conns != NULL) {
        conn_free(sim, sim->conns);
    }
}
