/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The master role: its life, and its rounds: what arrived becomes events, the core's actions are carried out. */
#include "role/master.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "role/clock.h"

#define SWEEP_US 1000000      /* cpni_router_sweep(): what one peer can pin in memory grows with the interval */
#define PACKETS_PER_ROUND 256 /* then the store, the disk and the clock get their turn; what goes out of one round travels together */

/* ---- life ---- */

int cpn_master_open(const struct cpn_master_options *given, struct cpn_master **out, char *detail)
{
    struct cpn_master_options options = { 0 };
    memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    if (options.data_dir == NULL || strlen(options.data_dir) >= PATH_MAX) {
        cpni_explain(detail, "a master needs a data directory");
        return CPN_EINVAL;
    }
    int rc = cpni_keys_init();
    struct cpn_master *master = rc == 0 ? cpni_calloc(1, sizeof *master) : NULL;
    if (master == NULL) {
        return rc < 0 ? rc : CPN_ENOMEM;
    }
    strcpy(master->dir, options.data_dir);
    master->backlog_end = &master->backlog;
    master->logger = (struct cpni_logger){ options.log, options.log_arg, options.log_level };
    /* The event ring keeps INFO and above, whoever listens. */
    master->actions.log_level = options.log == NULL || options.log_level > CPN_LOG_INFO ? CPN_LOG_INFO : options.log_level;
    master->now = cpni_clock_now();
    if (options.name != NULL) {
        snprintf(master->name, sizeof master->name, "%s", options.name);
    } else {
        gethostname(master->name, sizeof master->name - 1);
    }
    master->zmq = cpni_context_new();
    rc = master->zmq != NULL ? cpni_master_setup(master, &options) : CPN_ENOMEM;
    if (rc < 0) {
        if (detail != NULL) {
            snprintf(detail, CPN_DETAIL, "%s", master->detail[0] != 0 ? master->detail : cpn_strerror(rc));
        }
        cpn_master_close(master);
        return rc;
    }
    *out = master;
    return 0;
}

void cpn_master_close(struct cpn_master *master)
{
    if (master == NULL) {
        return;
    }
    cpni_router_close(master->router);
    cpni_zap_close(master->zap);
    if (master->loop != NULL && master->disk.async != NULL) {
        cpni_loop_remove_fd(master->loop, cpni_disk_fd(&master->disk));
    }
    if (master->loop != NULL && master->state != NULL) {
        cpni_loop_remove_fd(master->loop, cpni_state_fd(master->state));
    }
    cpni_disk_close(&master->disk);
    cpni_state_close(master->state);
    cpni_master_drop_backlog(master);
    cpni_free(master->pending);
    cpni_outbox_free(master->outbox);
    cpni_inbox_free(&master->inbox);
    cpni_master_core_free(master->core);
    cpni_actions_free(&master->actions);
    cpni_loop_close(master->loop);
    cpni_context_unref(master->zmq);
    cpni_wipe(&master->keys, sizeof master->keys);
    cpni_wipe(&master->local_sign, sizeof master->local_sign);
    cpni_free(master);
}

/* ---- rounds ---- */

static void step(struct cpn_master *master, const struct cpni_event *event)
{
    cpni_master_core_step(master->core, event, &master->now, &master->actions);
}

static void take_event(void *arg, const struct cpni_event *event)
{
    step(arg, event);
}

static void lost(struct cpn_master *master, uint64_t conn)
{
    cpni_outbox_forget(master->outbox, conn);
    const struct cpni_event event = { .type = CPNI_EV_DISCONNECTED,
                                      .lost = { .conn = conn, .code = CPN_EUNREACHABLE, .text = "the connection is gone" } };
    step(master, &event);
}

/* A peer whose queue is full does not read: it is treated as gone, and says HELLO when it is alive. So nothing piles up here. */
static void flush(struct cpn_master *master)
{
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t count;
    uint64_t conn;
    int rc;
    while ((rc = cpni_outbox_next(master->outbox, &conn, frames, &count)) != 0) {
        if (rc < 0) {
            continue; /* the sequence has a gap now; the peer says HELLO again */
        }
        rc = cpni_router_send(master->router, conn, frames, count);
        for (size_t i = 0; i < count; i++) {
            cpni_bytes_unref(frames[i]);
        }
        if (rc < 0) {
            lost(master, conn);
        }
    }
}

static void carry(struct cpn_master *master, const struct cpni_action *action)
{
    switch (action->type) {
    case CPNI_ACT_SEND:
        cpni_outbox_add(master->outbox, action->send.conn, action->send.link, &action->send.msg);
        break;
    case CPNI_ACT_DROP:
        flush(master); /* the reason leaves before the connection is forgotten */
        cpni_outbox_forget(master->outbox, action->conn.conn);
        cpni_router_cut(master->router, action->conn.conn, action->conn.told);
        break;
    case CPNI_ACT_COMMIT:
        cpni_master_commit(master, action->commit.ticket, &action->commit.key, &action->commit.command);
        break;
    case CPNI_ACT_NOTES:
        cpni_master_notes(master, action->notes.ticket, action->notes.filter, action->notes.since, action->notes.limit);
        break;
    case CPNI_ACT_DISK:
        cpni_disk_carry(&master->disk, &action->disk);
        break;
    case CPNI_ACT_LOG:
        cpni_logger_action(&master->logger, &master->now, action);
        cpni_master_ring(master, action);
        break;
    case CPNI_ACT_STOPPED:
        master->stopped = true;
        break;
    default:
        break; /* actions of other roles */
    }
}

/* A failed send makes the role step the core again while a list is carried out, so the list is taken away first. */
static void carry_all(struct cpn_master *master)
{
    while (master->actions.count != 0) {
        struct cpni_actions actions = master->actions;
        master->actions = (struct cpni_actions){ .log_level = actions.log_level };
        for (size_t i = 0; i < actions.count; i++) {
            carry(master, &actions.list[i]);
        }
        flush(master);
        if (master->actions.list == NULL && master->actions.arena.blocks == NULL) {
            cpni_actions_clear(&actions);
            master->actions = actions;
        } else {
            cpni_actions_free(&actions);
        }
    }
}

static bool take_packets(struct cpn_master *master)
{
    for (int i = 0; i < PACKETS_PER_ROUND; i++) {
        struct cpni_packet packet = { 0 };
        int rc = cpni_router_recv(master->router, &packet);
        if (rc == CPN_EAGAIN || rc == CPN_ECLOSED) {
            return false;
        }
        if (rc == 0) {
            cpni_inbox_take(&master->inbox, &packet, take_event, master);
        }
    }
    return true;
}

static void take_disk(struct cpn_master *master)
{
    struct cpni_blob_answer answer = { 0 };
    struct cpni_event event;
    int kind;
    while ((kind = cpni_disk_next(&master->disk, &answer, &event)) != 0) {
        if (kind == 2) {
            step(master, &event);
        }
        cpni_blob_answer_clear(&answer);
    }
}

/* Connections that send without ever ending a message. Only after draining: an honest peer's backlog must not count. */
static void sweep(struct cpn_master *master)
{
    struct cpni_cut cuts[16];
    if (master->more || master->now.mono_us < master->sweep_at_us) {
        return;
    }
    master->sweep_at_us = master->now.mono_us + SWEEP_US;
    size_t count = cpni_router_sweep(master->router, cuts, sizeof cuts / sizeof cuts[0]);
    for (size_t i = 0; i < count; i++) {
        cpni_logger_print(&master->logger, CPN_LOG_WARN, "CPN-PEER-CUT", "%s was cut: it sent %llu bytes without ending a message",
                          cuts[i].address, (unsigned long long)cuts[i].bytes);
    }
}

static void watch_disk(struct cpn_master *master)
{
    char detail[CPNI_STATE_DETAIL] = "";
    bool trouble = cpni_state_trouble(master->state, detail) < 0;
    if (trouble != master->disk_trouble) {
        master->disk_trouble = trouble;
        cpni_logger_print(&master->logger, trouble ? CPN_LOG_ERROR : CPN_LOG_INFO, trouble ? "CPN-STORE-TROUBLE" : "CPN-STORE-WELL", "%s",
                          trouble ? detail : "commits go through again");
    }
}

static void take_stop(struct cpn_master *master)
{
    while (master->stop_seen < atomic_load(&master->stop_asked)) {
        const struct cpni_event event = { .type = CPNI_EV_STOP, .stop = { .returning = true } };
        master->stop_seen++;
        step(master, &event);
    }
}

int cpn_master_dispatch(struct cpn_master *master, int timeout_ms)
{
    if (master->stopped) {
        return CPN_ECLOSED;
    }
    master->now = cpni_clock_now();
    const bool busy = master->more || master->stop_seen < atomic_load(&master->stop_asked);
    const int sleep_ms = busy ? 0 : cpni_clock_timeout_ms(&master->now, cpni_master_core_deadline(master->core), timeout_ms);
    int rc = cpni_loop_wait(master->loop, sleep_ms);
    if (rc < 0 && rc != CPN_EINTR) {
        return cpni_master_fail(master, rc, "cannot wait for messages: %s", cpn_strerror(rc));
    }
    master->now = cpni_clock_now();
    cpni_zap_service(master->zap);
    master->more = take_packets(master);
    cpni_master_answers(master, step);
    take_disk(master);
    take_stop(master);
    if (master->now.mono_us >= cpni_master_core_deadline(master->core)) {
        const struct cpni_event tick = { .type = CPNI_EV_TICK };
        step(master, &tick);
    }
    carry_all(master);
    sweep(master);
    watch_disk(master);
    return 0;
}

int cpn_master_run(struct cpn_master *master)
{
    int rc;
    do {
        rc = cpn_master_dispatch(master, -1);
    } while (rc == 0);
    return rc == CPN_ECLOSED ? 0 : rc;
}

int cpn_master_fd(const struct cpn_master *master)
{
    return cpni_loop_fd(master->loop);
}

int cpn_master_timeout_ms(struct cpn_master *master)
{
    if (master->more || master->actions.count != 0 || cpni_loop_pending(master->loop)) {
        return 0;
    }
    const struct cpni_now now = cpni_clock_now();
    return cpni_clock_timeout_ms(&now, cpni_master_core_deadline(master->core), -1);
}

void cpn_master_wake(struct cpn_master *master)
{
    cpni_loop_wake(master->loop);
}

void cpn_master_stop(struct cpn_master *master)
{
    atomic_fetch_add(&master->stop_asked, 1);
    cpni_loop_wake(master->loop);
}

/* ---- what it is ---- */

bool cpn_master_created(const struct cpn_master *master)
{
    return master->created;
}

bool cpn_master_has_admin(const struct cpn_master *master)
{
    return cpni_master_core_has_admin(master->core);
}

int cpn_master_port(const struct cpn_master *master)
{
    return cpni_router_port(master->router);
}

const char *cpn_master_name(const struct cpn_master *master)
{
    return master->name;
}

struct cpn_key cpn_master_key(const struct cpn_master *master)
{
    return master->keys.public_key;
}

const char *cpn_master_detail(const struct cpn_master *master)
{
    return master->detail;
}

struct cpni_context *cpni_master_zmq(struct cpn_master *master)
{
    return master->zmq;
}

const struct cpni_sign_keys *cpni_master_local_sign(const struct cpn_master *master)
{
    return &master->local_sign;
}
