/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A process around a core, as a role is: takes what happened in the order in which it came, steps the core with one reading of the
 * clocks, carries out the actions in their order, sleeps until the core's deadline. A paused process finds all of it at once. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

/* ---- notes ---- */

struct note *note_new(enum cpni_event_type type)
{
    struct note *note = sim_alloc(sizeof *note);
    note->event.type = type;
    return note;
}

void note_free(struct note *note)
{
    if (note == NULL) {
        return;
    }
    for (size_t i = 0; i < note->count; i++) {
        cpni_bytes_unref(note->frames[i]);
    }
    free(note->frames);
    cpni_bytes_unref(note->own);
    cpni_bytes_unref(note->own2);
    free(note);
}

static void arm_wake(struct proc *proc)
{
    struct sim *sim = proc->sim;
    int64_t at_us = sim->now_us + rng_between(sim, 5, 300);
    timer_set(sim, &proc->wake, at_us > proc->paused_until_us ? at_us : proc->paused_until_us);
}

void proc_note(struct proc *proc, struct note *note)
{
    if (proc->dying || proc->stopped) {
        note_free(note);
        return;
    }
    bool first = proc->inbox == NULL;
    note->next = NULL;
    *proc->inbox_end = note;
    proc->inbox_end = &note->next;
    if (first) {
        arm_wake(proc);
    }
}

void proc_now(const struct proc *proc, struct cpni_now *now)
{
    now->mono_us = proc->sim->now_us + proc->mono_offset_us;
    now->wall_us = proc->sim->now_us + proc->wall_offset_us;
}

/* ---- jobs ---- */

void job_drop(struct job *job)
{
    LIST_DEL(job->proc->jobs, job);
    timer_stop(job->proc->sim, &job->timer);
    cpni_bytes_unref(job->disk.data);
    note_free(job->note);
    free(job);
}

static void job_fire(struct sim *sim, struct timer *timer)
{
    struct job *job = OWNER(timer, struct job, timer);
    trainer_said(job->proc, job);
    struct note *note = job->note;
    job->note = NULL;
    bool needed = job->is_disk && job->disk.op == CPNI_DISK_REMOVE && job->proc->kind == KIND_CLIENT &&
                  (program_needs(sim, job->proc, &job->disk.root, job->since_us) ||
                   session_needs(sim, job->proc, &job->disk.root, job->since_us));
    if (job->is_disk && !needed) {
        disk_do(sim, &job->proc->place->disk, &job->disk, &note->event.disk);
        note->own = note->event.disk.bytes;
    }
    if (job->is_disk && job->disk.ticket == 0) {
        note_free(note);
    } else {
        proc_note(job->proc, note);
    }
    job_drop(job);
}

struct job *proc_job(struct proc *proc, struct note *note, int64_t at_us)
{
    struct job *job = sim_alloc(sizeof *job);
    job->proc = proc;
    job->note = note;
    job->since_us = proc->sim->now_us;
    job->timer.fire = job_fire;
    LIST_ADD(proc->jobs, job);
    timer_set(proc->sim, &job->timer, at_us);
    return job;
}

static void act_disk(struct proc *proc, const struct cpni_act_disk *action)
{
    struct sim *sim = proc->sim;
    struct disk *disk = &proc->place->disk;
    int64_t from_us = disk->busy_until_us > sim->now_us ? disk->busy_until_us : sim->now_us;
    int64_t delay_us = rng_between(sim, 20, 3000);
    if (!sim->quiet && rng_chance(sim, sim->mix.slow_disk)) {
        delay_us += rng_between(sim, 50 * MS, 1500 * MS);
    }
    disk->busy_until_us = from_us + delay_us;
    struct job *job = proc_job(proc, note_new(CPNI_EV_DISK), disk->busy_until_us);
    job->is_disk = true;
    job->disk = *action;
    cpni_bytes_ref(job->disk.data);
}

/* ---- actions ---- */

static void flush(struct proc *proc)
{
    struct cpni_bytes *frames[CPNI_PACKET_FRAMES_ROOM];
    size_t count;
    uint64_t conn;
    int rc;
    while ((rc = cpni_outbox_next(proc->outbox, &conn, frames, &count)) != 0) {
        if (rc < 0) {
            check_fail(proc->sim, "a message cannot be encoded: %s", cpn_strerror(rc));
            return;
        }
        trace_mix(proc->sim, &conn, sizeof conn);
        trace_mix(proc->sim, frames[0]->data, frames[0]->size);
        net_send(proc, conn, frames, count);
        for (size_t i = 0; i < count; i++) {
            cpni_bytes_unref(frames[i]);
        }
    }
}

static void act(struct proc *proc, const struct cpni_action *action)
{
    switch (action->type) {
    case CPNI_ACT_SEND:
        cpni_outbox_add(proc->outbox, action->send.conn, action->send.link, &action->send.msg);
        break;
    case CPNI_ACT_DROP:
        flush(proc);
        cpni_outbox_forget(proc->outbox, action->conn.conn);
        if (proc->kind == KIND_MASTER) {
            net_drop(proc, action->conn.conn, action->conn.told);
        }
        break;
    case CPNI_ACT_RECONNECT:
        flush(proc);
        net_reconnect(proc, action->conn.conn);
        break;
    case CPNI_ACT_DISK:
        act_disk(proc, &action->disk);
        break;
    case CPNI_ACT_STOPPED:
        proc->stopped = true;
        break;
    case CPNI_ACT_LOG:
        break;
    default:
        if (proc->kind == KIND_MASTER) {
            master_act(proc, action);
        } else if (proc->kind == KIND_NODE) {
            node_act(proc, action);
        } else {
            client_act(proc, action);
        }
    }
}

/* ---- steps ---- */

static int step_core(struct proc *proc, const struct cpni_event *event, const struct cpni_now *now)
{
    switch (proc->kind) {
    case KIND_MASTER:
        return cpni_master_core_step(proc->master, event, now, &proc->actions);
    case KIND_NODE:
        return cpni_worker_core_step(proc->worker, event, now, &proc->actions);
    default:
        return cpni_client_core_step(proc->client, event, now, &proc->actions);
    }
}

static int64_t deadline(const struct proc *proc)
{
    switch (proc->kind) {
    case KIND_MASTER:
        return cpni_master_core_deadline(proc->master);
    case KIND_NODE:
        return cpni_worker_core_deadline(proc->worker);
    default:
        return cpni_client_core_deadline(proc->client);
    }
}

static void step(struct proc *proc, const struct cpni_event *event, const struct cpni_now *now)
{
    size_t from = proc->actions.count;
    trace_mix(proc->sim, &proc->sim->now_us, sizeof proc->sim->now_us);
    trace_mix(proc->sim, &event->type, sizeof event->type);
    trace_event(proc, event);
    check_event(proc, event);
    int rc = step_core(proc, event, now);
    proc->sim->steps++;
    proc->steps++;
    trace_actions(proc, from);
    if (rc < 0 && (event->type == CPNI_EV_SUBMIT || event->type == CPNI_EV_ASK) && !proc->actions.failed) {
        program_turned_down(proc, event, rc);
        rc = 0;
    }
    if (rc < 0 || proc->actions.failed) {
        check_fail(proc->sim, "%s: step of event %d failed: %s", proc->place->name, (int)event->type, cpn_strerror(rc));
        return;
    }
    check_actions(proc, event, from);
    check_core(proc);
}

/* What a role does with manifests before the core sees them. */
static void check_manifests(struct proc *proc, struct cpni_event_packet *packet)
{
    struct cpni_manifest_check *checks = cpni_arena_alloc(&proc->arena, packet->count * sizeof *checks);
    for (size_t i = 0; i < packet->count; i++) {
        const struct cpni_msg *msg = &packet->msgs[i];
        struct cpni_bytes *bytes = msg->type == CPNI_MSG_PREPARE ? msg->prepare.manifest
                                                                 : msg->type == CPNI_MSG_PUBLISH ? msg->publish.manifest : NULL;
        if (bytes == NULL) {
            continue;
        }
        struct disk scratch = { 0 };
        struct blob *blob = disk_import(&scratch, bytes, true);
        checks[i].root = blob->root;
        disk_free(&scratch);
        const struct model *model = model_find(proc->sim, &checks[i].root);
        checks[i].code = model == NULL ? CPN_EPROTO : 0;
        checks[i].text = model == NULL ? "no manifest" : "";
        checks[i].manifest = model == NULL ? NULL : &model->manifest;
    }
    packet->checks = checks;
}

static void take_packet(struct proc *proc, struct note *note, const struct cpni_now *now)
{
    char why[CPNI_WHY];
    struct cpni_packet_head head;
    struct cpni_event_packet *packet = &note->event.packet;
    int rc = cpni_packet_decode(note->frames, note->count, &proc->arena, &head, &packet->msgs, &packet->count, why);
    if (rc < 0) {
        struct cpni_event event = { .type = CPNI_EV_BAD_PACKET };
        event.bad.conn = packet->conn;
        event.bad.key = packet->key;
        event.bad.code = rc;
        event.bad.text = why;
        step(proc, &event, now);
        return;
    }
    packet->link = head.link;
    packet->sequence = head.seq;
    check_manifests(proc, packet);
    step(proc, &note->event, now);
    for (size_t i = 0; i < packet->count; i++) {
        cpni_msg_drop(&packet->msgs[i]);
    }
    cpni_arena_reset(&proc->arena);
}

/* A dealer's events: what its role does before the core hears of them. False: they were for a socket that is closed. */
static bool dealer_event(struct proc *proc, const struct note *note)
{
    const struct cpni_event *event = &note->event;
    bool dealers = event->type == CPNI_EV_CONNECTED || event->type == CPNI_EV_DISCONNECTED || event->type == CPNI_EV_REFUSED ||
                   event->type == CPNI_EV_PACKET;
    if (proc->kind == KIND_MASTER || !dealers) {
        return true;
    }
    uint64_t conn = event->type == CPNI_EV_PACKET ? event->packet.conn : event->lost.conn;
    struct channel *channel = &proc->channels[conn - CPNI_CONN_CONTROL];
    if (channel->socket != note->socket) {
        return false;
    }
    if (event->type == CPNI_EV_DISCONNECTED) {
        cpni_outbox_forget(proc->outbox, conn);
    }
    if (event->type != CPNI_EV_PACKET) {
        channel->told_up = event->type == CPNI_EV_CONNECTED;
    }
    return true;
}

static void take(struct proc *proc, struct note *note, const struct cpni_now *now)
{
    if (dealer_event(proc, note)) {
        if (note->event.type == CPNI_EV_PACKET) {
            take_packet(proc, note, now);
        } else {
            step(proc, &note->event, now);
        }
    }
    note_free(note);
}

static void carry_out(struct proc *proc)
{
    for (size_t i = 0; i < proc->actions.count && !proc->sim->failed; i++) {
        act(proc, &proc->actions.list[i]);
    }
    flush(proc);
    cpni_actions_clear(&proc->actions);
    proc->freed = 0;
}

static void tick_if_due(struct proc *proc, const struct cpni_now *now, bool *ticked)
{
    if (*ticked || deadline(proc) > now->mono_us) {
        return;
    }
    const struct cpni_event event = { .type = CPNI_EV_TICK };
    step(proc, &event, now);
    *ticked = true;
    proc->idle_ticks = deadline(proc) <= now->mono_us ? proc->idle_ticks + 1 : 0;
    if (proc->idle_ticks > 50) {
        check_fail(proc->sim, "%s: ticks do not move the deadline on: a busy loop", proc->place->name);
    }
}

static void arm(struct proc *proc)
{
    struct sim *sim = proc->sim;
    if (proc->inbox != NULL) {
        arm_wake(proc);
    }
    int64_t at_us = deadline(proc);
    if (at_us == INT64_MAX) {
        timer_stop(sim, &proc->tick);
        return;
    }
    at_us -= proc->mono_offset_us;
    at_us = (at_us > sim->now_us ? at_us : sim->now_us) + (rng_chance(sim, 20) ? rng_between(sim, 0, 50 * MS) : rng_between(sim, 0, 500));
    timer_set(sim, &proc->tick, at_us > proc->paused_until_us ? at_us : proc->paused_until_us);
}

static void after(struct proc *proc)
{
    if (proc->stopped) {
        struct sim *sim = proc->sim;
        struct place *place = proc->place;
        proc_kill(proc);
        place_restart(sim, place, rng_between(sim, 10 * MS, 3 * SECOND));
    } else {
        arm(proc);
    }
}

/* One turn of the role's loop: some of what waits, and the tick before or after it. */
static void turn(struct proc *proc)
{
    struct sim *sim = proc->sim;
    struct cpni_now now;
    proc_now(proc, &now);
    bool ticked = false;
    if (rng_chance(sim, 500)) {
        tick_if_due(proc, &now, &ticked);
    }
    for (uint64_t batch = 1 + rng_below(sim, 8); batch > 0 && proc->inbox != NULL && !sim->failed; batch--) {
        struct note *note = proc->inbox;
        proc->inbox = note->next;
        if (proc->inbox == NULL) {
            proc->inbox_end = &proc->inbox;
        }
        proc->freed += note->event.type == CPNI_EV_FINISHED;
        take(proc, note, &now);
        if (rng_chance(sim, 700)) {
            carry_out(proc); /* a role may step several times before it acts */
        }
    }
    tick_if_due(proc, &now, &ticked);
    carry_out(proc);
    after(proc);
}

static void wake_fire(struct sim *sim, struct timer *timer)
{
    (void)sim;
    turn(OWNER(timer, struct proc, wake));
}

static void tick_fire(struct sim *sim, struct timer *timer)
{
    (void)sim;
    turn(OWNER(timer, struct proc, tick));
}

/* ---- life ---- */

static int open_core(struct proc *proc)
{
    struct cpni_now now;
    proc_now(proc, &now);
    switch (proc->kind) {
    case KIND_MASTER:
        return master_open(proc, &now);
    case KIND_NODE:
        return node_open(proc, &now);
    default:
        return client_open(proc, &now);
    }
}

struct proc *proc_start(struct sim *sim, struct place *place, enum kind kind)
{
    struct proc *proc = sim_alloc(sizeof *proc);
    proc->sim = sim;
    proc->place = place;
    proc->kind = kind;
    proc->number = sim->next_proc++;
    rng_fill(sim, &proc->boot, sizeof proc->boot);
    proc->inbox_end = &proc->inbox;
    proc->wake.fire = wake_fire;
    proc->tick.fire = tick_fire;
    proc->load.fire = node_load;
    proc->mono_offset_us = place->mono_offset_us;
    proc->wall_offset_us = place->wall_offset_us;
    place->proc = proc;
    disk_restart(sim, &place->disk);
    trace_line(sim, proc, "== starts");
    if (cpni_outbox_new(&proc->outbox) < 0 || open_core(proc) < 0) {
        check_fail(sim, "%s does not start", place->name);
        return proc;
    }
    if (kind != KIND_MASTER) {
        net_open(proc);
    }
    if (kind == KIND_NODE) {
        timer_set(sim, &proc->load, sim->now_us + rng_between(sim, 0, SECOND));
    }
    arm(proc);
    return proc;
}

void proc_kill(struct proc *proc)
{
    struct sim *sim = proc->sim;
    proc->dying = true;
    trace_line(sim, proc, "== ends");
    check_proc_gone(proc);
    net_close(proc);
    trainers_free(proc);
    while (proc->jobs != NULL) {
        job_drop(proc->jobs);
    }
    while (proc->inbox != NULL) {
        struct note *note = proc->inbox;
        proc->inbox = note->next;
        note_free(note);
    }
    timer_stop(sim, &proc->wake);
    timer_stop(sim, &proc->tick);
    timer_stop(sim, &proc->load);
    if (proc->kind == KIND_MASTER) {
        store_crash(sim->store);
        cpni_master_core_free(proc->master);
    } else if (proc->kind == KIND_NODE) {
        cpni_worker_core_free(proc->worker);
    } else {
        cpni_client_core_free(proc->client);
    }
    cpni_actions_free(&proc->actions);
    cpni_arena_free(&proc->arena);
    cpni_outbox_free(proc->outbox);
    proc->place->proc = NULL;
    proc->place->deaths++;
    proc->place->disruptions++;
    sim->disruptions += proc->kind == KIND_MASTER;
    free(proc);
}

void proc_pause(struct proc *proc, int64_t until_us)
{
    proc->paused_until_us = until_us;
    proc->place->disruptions++;
    proc->sim->disruptions += proc->kind == KIND_MASTER;
    trace_line(proc->sim, proc, "== is paused for %lld ms", (long long)((until_us - proc->sim->now_us) / MS));
    struct timer *const timers[2] = { &proc->wake, &proc->tick };
    for (size_t i = 0; i < 2; i++) {
        if (timers[i]->heap.index != 0 && timers[i]->heap.at_us < until_us) {
            timer_set(proc->sim, timers[i], until_us);
        }
    }
}

void proc_stop(struct proc *proc, bool returning)
{
    struct note *note = note_new(CPNI_EV_STOP);
    note->event.stop.returning = returning;
    proc->stopping = true;
    proc_note(proc, note);
}
