/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What must hold (DESIGN §15), checked from outside the cores at every step, by what goes over the wire and what is run; and the cores'
 * own full scans now and then. An observer knows only what the master was told and what it said. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct execution {
    struct execution *next;
    uint64_t term; /* each reign counts its attempts from 1 */
    uint32_t attempt;
    unsigned proc;
    bool ran;
};

struct lease { /* the master's promise not to place a task elsewhere */
    struct lease *next;
    uint64_t term;
    uint32_t attempt;
    unsigned place;
    uint64_t bytes;
    bool over;
};

struct sent_key { /* no padding */
    uint32_t place, index;
    struct cpn_hash root;
};
struct sent { /* a chunk that went over the wire */
    struct sent_key key;
    unsigned times;
    UT_hash_handle hh;
};
struct moved { /* what went twice, of one blob */
    struct sent_key key; /* index 0 */
    unsigned again;
    unsigned deaths; /* of both ends, when it began */
    UT_hash_handle hh;
};

struct watched { /* a node as the master was told of it */
    int64_t heard_us;
    uint32_t credit_tasks, outstanding;
    bool left;
    bool locked; /* ENABLE was said, and no STOP since */
    struct cpn_id session;
};

struct check {
    struct watched nodes[PLACES_MAX];
    struct sent *sent;
    struct moved *moved;
};

void check_fail(struct sim *sim, const char *format, ...)
{
    if (sim->failed) {
        return;
    }
    va_list list;
    va_start(list, format);
    vsnprintf(sim->failure, sizeof sim->failure, format, list);
    va_end(list);
    trace_line(sim, NULL, "!! %s", sim->failure);
    sim->failed = true;
}

void check_open(struct sim *sim)
{
    sim->check = sim_alloc(sizeof *sim->check);
}

void check_task_free(struct task *task)
{
    while (task->executions != NULL) {
        struct execution *execution = task->executions;
        task->executions = execution->next;
        free(execution);
    }
    while (task->leases != NULL) {
        struct lease *lease = task->leases;
        task->leases = lease->next;
        free(lease);
    }
}

void check_close(struct sim *sim)
{
    struct sent *sent, *next_sent;
    HASH_ITER(hh, sim->check->sent, sent, next_sent) {
        HASH_DEL(sim->check->sent, sent);
        free(sent);
    }
    struct moved *moved, *next_moved;
    HASH_ITER(hh, sim->check->moved, moved, next_moved) {
        HASH_DEL(sim->check->moved, moved);
        free(moved);
    }
    free(sim->check);
}

/* ---- leases and credit, at the master ---- */

static struct watched *watched(struct sim *sim, const struct place *place)
{
    return &sim->check->nodes[place->index];
}

static void lease_over(struct sim *sim, struct lease *lease)
{
    if (!lease->over) {
        lease->over = true;
        sim->check->nodes[lease->place].outstanding--;
    }
}

static void attempt_over(struct sim *sim, const struct place *place, const struct cpn_id *id, uint32_t attempt)
{
    struct task *task = task_find(sim, id);
    for (struct lease *lease = task == NULL ? NULL : task->leases; lease != NULL; lease = lease->next) {
        if (lease->place == place->index && lease->attempt == attempt) {
            lease_over(sim, lease);
        }
    }
}

static void node_over(struct sim *sim, const struct place *place, const struct cpni_msg_hello *but)
{
    for (struct task *task = sim->tasks; task != NULL; task = task->hh.next) {
        for (struct lease *lease = task->leases; lease != NULL; lease = lease->next) {
            bool kept = false;
            for (uint32_t i = 0; but != NULL && i < but->attempts_count; i++) {
                kept |= memcmp(&but->attempts[i].task, &task->id, sizeof task->id) == 0 && but->attempts[i].attempt == lease->attempt;
            }
            if (lease->place == place->index && !kept) {
                lease_over(sim, lease);
            }
        }
    }
}

static void node_says(struct sim *sim, const struct place *place, const struct cpni_msg *msg)
{
    struct watched *node = watched(sim, place);
    switch (msg->type) {
    case CPNI_MSG_HELLO:
        if (msg->hello.channel == CPNI_CHANNEL_CONTROL) {
            node->credit_tasks = msg->hello.credit_tasks;
            node->left = false;
            node->locked = false;
            node_over(sim, place, &msg->hello);
        }
        break;
    case CPNI_MSG_CREDIT:
        node->credit_tasks = msg->credit.tasks;
        break;
    case CPNI_MSG_RESULT:
        attempt_over(sim, place, &msg->result.task, msg->result.attempt);
        break;
    case CPNI_MSG_RETURN:
        attempt_over(sim, place, &msg->handback.task, msg->handback.attempt);
        break;
    case CPNI_MSG_ENABLED:
        node->locked = node->locked && msg->enabled.code == 0;
        break;
    case CPNI_MSG_BYE:
        node->left = true;
        node->locked = false;
        break;
    default:
        break;
    }
}

/* What a node is given to run: an attempt of one reign once, however often it is said. */
static void given(struct proc *proc, const struct cpni_msg_task *msg)
{
    struct task *task = task_find(proc->sim, &msg->task);
    for (const struct execution *execution = task == NULL ? NULL : task->executions; execution != NULL; execution = execution->next) {
        if (execution->attempt == msg->attempt && execution->term == msg->term && execution->proc == proc->number) {
            return;
        }
    }
    if (task != NULL) {
        struct execution *execution = sim_alloc(sizeof *execution);
        *execution = (struct execution){ .next = task->executions, .term = msg->term, .attempt = msg->attempt, .proc = proc->number };
        task->executions = execution;
    }
}

void check_event(struct proc *proc, const struct cpni_event *event)
{
    struct sim *sim = proc->sim;
    for (size_t i = 0; proc->kind == KIND_NODE && event->type == CPNI_EV_PACKET && i < event->packet.count; i++) {
        if (event->packet.msgs[i].type == CPNI_MSG_TASK) {
            given(proc, &event->packet.msgs[i].task);
        }
    }
    bool heard = proc->kind == KIND_MASTER && event->type == CPNI_EV_PACKET;
    struct place *place = heard ? net_place(sim, event->packet.conn) : NULL;
    place = heard && place == NULL ? place_by_key(sim, &event->packet.key) : place; /* its connection is gone since */
    if (place == NULL || place->kind != KIND_NODE) {
        return;
    }
    if (net_is_control(sim, event->packet.conn)) {
        watched(sim, place)->heard_us = sim->now_us;
    }
    for (size_t i = 0; i < event->packet.count; i++) {
        node_says(sim, place, &event->packet.msgs[i]);
    }
}

/* Whether the master has a reason to think that a lease is over although its node did not say so. */
static bool excused(struct sim *sim, const struct lease *lease, const struct task *task)
{
    const struct watched *node = &sim->check->nodes[lease->place];
    const struct place *place = sim->places[lease->place];
    uint32_t gone_ms = sim->master_config.gone_ms != 0 ? sim->master_config.gone_ms : CPNI_GONE_MS;
    return node->left || place->revoked || place->disruptions != 0 || sim->disruptions != 0 || task->cancelled || task->deadline_ms != 0 ||
           sim->now_us - node->heard_us >= gone_ms * MS - 50 * MS;
}

/* A node is in one session at a time, and has no tasks meanwhile. */
static void enabled(struct sim *sim, struct place *place, const struct cpni_msg_enable *msg)
{
    struct watched *node = watched(sim, place);
    if (node->locked && memcmp(&node->session, &msg->session, sizeof msg->session) != 0) {
        check_fail(sim, "%s is taken for a session while it is locked to another", place->name);
    }
    node->locked = true;
    node->session = msg->session;
}

static void released(struct sim *sim, struct place *place, const struct cpni_msg_stop *msg)
{
    struct watched *node = watched(sim, place);
    node->locked = node->locked && memcmp(&node->session, &msg->session, sizeof msg->session) != 0;
}

static void placed(struct proc *proc, const struct cpni_msg_task *msg, struct place *place)
{
    struct sim *sim = proc->sim;
    if (watched(sim, place)->locked) {
        check_fail(sim, "%s is given a task while it is locked to a session", place->name);
    }
    struct task *task = task_find(sim, &msg->task);
    char id[CPN_ID_TEXT];
    cpn_id_text(&msg->task, id);
    if (task == NULL) {
        check_fail(sim, "task %.8s was placed, which nobody submitted", id);
        return;
    }
    if (msg->term != store_term(sim->store)) {
        check_fail(sim, "task %.8s was placed under term %llu", id, (unsigned long long)msg->term);
    }
    for (struct lease *lease = task->leases; lease != NULL; lease = lease->next) {
        if (lease->term == msg->term && lease->attempt == msg->attempt) {
            check_fail(sim, "attempt %u of task %.8s was placed twice in term %llu", msg->attempt, id, (unsigned long long)msg->term);
        } else if (lease->term == msg->term && !lease->over && !excused(sim, lease, task)) {
            check_fail(sim, "task %.8s was placed on %s while its lease on %s lives", id, place->name, sim->places[lease->place]->name);
        }
        lease_over(sim, lease);
    }
    struct lease *lease = sim_alloc(sizeof *lease);
    *lease = (struct lease){ .next = task->leases, .term = msg->term, .attempt = msg->attempt, .place = place->index };
    task->leases = lease;
    struct watched *node = watched(sim, place);
    node->outstanding++;
    if (node->outstanding > node->credit_tasks && place->disruptions == 0 && sim->disruptions == 0) {
        check_fail(sim, "%s has %u tasks and granted credit for %u", place->name, node->outstanding, node->credit_tasks);
    }
}

/* ---- transfers ---- */

static unsigned disruptions(const struct sim *sim, const struct place *place)
{
    return place->disruptions + sim->disruptions;
}

static struct moved *moved_of(struct sim *sim, const struct place *place, const struct cpn_hash *root)
{
    struct sent_key key = { .place = place->index, .root = *root };
    struct moved *moved;
    HASH_FIND(hh, sim->check->moved, &key, sizeof key, moved);
    if (moved == NULL) {
        moved = sim_alloc(sizeof *moved);
        moved->key = key;
        HASH_ADD(hh, sim->check->moved, key, sizeof key, moved);
    }
    return moved;
}

static void chunk_sent(struct sim *sim, const struct place *place, const struct cpni_msg_chunk *chunk)
{
    struct sent_key key = { .place = place->index, .index = chunk->index, .root = chunk->root };
    struct sent *sent;
    HASH_FIND(hh, sim->check->sent, &key, sizeof key, sent);
    if (sent == NULL) {
        sent = sim_alloc(sizeof *sent);
        sent->key = key;
        HASH_ADD(hh, sim->check->sent, key, sizeof key, sent);
    }
    if (sent->times++ == 0) {
        return;
    }
    struct moved *moved = moved_of(sim, place, &chunk->root);
    moved->again++;
    bool rots = sim->mix.corrupt != 0 || sim->mix.no_space != 0 || sim->mix.slow_disk != 0 || sim->mix.slow_net != 0;
    bool kept = false; /* of a model: it stays over restarts; others are sent anew, and the same photo may come many times */
    for (size_t i = 0; i < sim->model_count; i++) {
        for (uint32_t f = 0; f < sim->models[i].manifest.file_count && !sim->models[i].broken; f++) {
            kept |= memcmp(&sim->models[i].files[f].root, &chunk->root, sizeof chunk->root) == 0;
        }
    }
    if (kept && !rots && moved->again > CPNI_TRANSFER_WINDOW * disruptions(sim, place)) {
        char text[CPN_KEY_TEXT];
        check_fail(sim, "%u chunks of %.8s went twice to or from %s after %u breaks", moved->again, cpn_hash_text(&chunk->root, text),
                   place->name, disruptions(sim, place));
    }
}

/* ---- actions ---- */

static struct place *receiver(struct proc *proc, uint64_t conn)
{
    return proc->kind == KIND_MASTER ? net_place(proc->sim, conn) : proc->place;
}

void check_actions(struct proc *proc, const struct cpni_event *event, size_t from)
{
    (void)event;
    for (size_t i = from; i < proc->actions.count; i++) {
        const struct cpni_action *action = &proc->actions.list[i];
        struct place *place = action->type != CPNI_ACT_SEND ? NULL : receiver(proc, action->send.conn);
        if (place == NULL) {
            continue;
        }
        if (action->send.msg.type == CPNI_MSG_TASK) {
            placed(proc, &action->send.msg.task, place);
        } else if (action->send.msg.type == CPNI_MSG_CANCEL && proc->kind == KIND_MASTER) {
            attempt_over(proc->sim, place, &action->send.msg.cancel.task, action->send.msg.cancel.attempt);
        } else if (action->send.msg.type == CPNI_MSG_ENABLE) {
            enabled(proc->sim, place, &action->send.msg.enable);
        } else if (action->send.msg.type == CPNI_MSG_STOP && proc->kind == KIND_MASTER) {
            released(proc->sim, place, &action->send.msg.stop);
        } else if (action->send.msg.type == CPNI_MSG_CHUNK) {
            chunk_sent(proc->sim, place, &action->send.msg.chunk);
        }
    }
}

void check_core(struct proc *proc)
{
    if (proc->steps % 16 != 0 || proc->sim->failed) {
        return;
    }
    const char *broken = proc->kind == KIND_MASTER ? cpni_master_core_check(proc->master)
                                                   : proc->kind == KIND_NODE ? cpni_worker_core_check(proc->worker)
                                                                             : cpni_client_core_check(proc->client);
    if (broken != NULL) {
        check_fail(proc->sim, "%s: %s", proc->place->name, broken);
    }
}

void check_proc_gone(struct proc *proc)
{
    if (proc->kind == KIND_MASTER) {
        for (struct task *task = proc->sim->tasks; task != NULL; task = task->hh.next) {
            for (struct lease *lease = task->leases; lease != NULL; lease = lease->next) {
                lease_over(proc->sim, lease);
            }
        }
        memset(proc->sim->check->nodes, 0, sizeof proc->sim->check->nodes);
    }
}

/* ---- runs ---- */

static void check_input(struct proc *proc, const struct cpni_act_run *run, const struct task *task, const char *id)
{
    if (!task->input_blob) {
        if (!content_is(task->content, task->input_size, run->input)) {
            check_fail(proc->sim, "%s runs task %.8s on another input", proc->place->name, id);
        }
        return;
    }
    const struct blob *blob = disk_find(&proc->place->disk, &run->input_root);
    if (memcmp(&run->input_root, &task->input_root, sizeof task->input_root) != 0 || run->input_size != task->input_size) {
        check_fail(proc->sim, "%s runs task %.8s on another blob", proc->place->name, id);
    } else if (blob == NULL || !blob->complete) {
        check_fail(proc->sim, "%s runs task %.8s before its input is here", proc->place->name, id);
    }
}

static bool model_is(struct sim *sim, const struct cpni_act_run *run, const struct place *place, const struct task *task)
{
    static const struct cpn_hash none;
    size_t length = strcspn(task->model, "@");
    if (memcmp(&run->model, &none, sizeof none) == 0) {
        return place->handler && strcmp(task->model, "handler") == 0;
    }
    const struct model *model = model_find(sim, &run->model);
    bool ready = false;
    for (size_t i = 0; i < place->ready_count; i++) {
        ready |= memcmp(place->ready[i], &run->model, sizeof run->model) == 0;
    }
    return model != NULL && ready && strlen(model->name) == length && memcmp(model->name, task->model, length) == 0;
}

/* A slot runs one task; callbacks may wait ahead for any slot, a bounded number, while all slots are taken. */
static void check_slot(struct proc *proc, const struct cpni_act_run *run, const char *id)
{
    struct sim *sim = proc->sim;
    static const struct cpn_hash none;
    const bool ahead = run->slot == CPNI_SLOT_ANY && memcmp(&run->model, &none, sizeof none) == 0;
    uint32_t taken = proc->freed, waiting = 0; /* it may have decided before it heard of those */
    if (run->slot >= proc->slots && !ahead) {
        check_fail(sim, "%s has %u slots and runs in slot %u", proc->place->name, proc->slots, run->slot);
    }
    for (const struct job *job = proc->jobs; job != NULL; job = job->next) {
        if (job->is_run && ((job->slot == run->slot && !ahead) || job->ticket == run->ticket)) {
            check_fail(sim, "%s runs task %.8s in slot %u, which is busy", proc->place->name, id, run->slot);
        }
        taken += job->is_run && job->slot != CPNI_SLOT_ANY;
        waiting += job->is_run && job->slot == CPNI_SLOT_ANY;
    }
    for (const struct note *note = proc->inbox; note != NULL; note = note->next) {
        taken += note->event.type == CPNI_EV_FINISHED; /* which the core has not heard of */
    }
    if (ahead && (taken < proc->slots || waiting >= CPNI_NODE_AHEAD_MAX)) {
        check_fail(sim, "%s runs task %.8s ahead of %u busy slots and %u that wait", proc->place->name, id, taken, waiting);
    }
}

void check_run(struct proc *proc, const struct cpni_act_run *run, struct task *task)
{
    struct sim *sim = proc->sim;
    char id[CPN_ID_TEXT];
    cpn_id_text(&run->task, id);
    if (task == NULL) {
        check_fail(sim, "%s runs a task that nobody submitted", proc->place->name);
        return;
    }
    check_slot(proc, run, id);
    struct execution *execution = task->executions;
    while (execution != NULL && (execution->attempt != run->attempt || execution->proc != proc->number)) {
        execution = execution->next;
    }
    if (execution == NULL || execution->ran) {
        check_fail(sim, "%s runs attempt %u of task %.8s again, or was not given it", proc->place->name, run->attempt, id);
    } else {
        execution->ran = true;
    }
    if (!model_is(sim, run, proc->place, task)) {
        check_fail(sim, "%s runs task %.8s with a model that it does not have or that was not asked for", proc->place->name, id);
    }
    check_input(proc, run, task, id);
    if (task->max_attempts == 1 && task->runs > 0 && sim->master->deaths == 0) {
        check_fail(sim, "task %.8s runs again although it may run once at most", id);
    }
    task->runs++;
}

/* ---- the end ---- */

static void check_spools(struct sim *sim)
{
    for (size_t i = 0; i < sim->place_count; i++) {
        char text[CPN_KEY_TEXT];
        size_t count = disk_spooled(sim, &sim->places[i]->disk, text);
        if (count != 0 && sim->places[i]->proc != NULL) {
            check_fail(sim, "%s still has %zu blobs in passing at the end, such as %.8s", sim->places[i]->name, count, text);
        }
    }
}

void check_end(struct sim *sim)
{
    char why[256];
    if (!program_settled(sim, why, sizeof why)) {
        check_fail(sim, "%s", why);
        return;
    }
    check_spools(sim);
    session_check_end(sim);
    for (size_t i = 0; i < sim->place_count; i++) {
        const struct proc *proc = sim->places[i]->proc;
        for (const struct job *job = proc == NULL ? NULL : proc->jobs; job != NULL; job = job->next) {
            if (job->is_run) {
                check_fail(sim, "%s still runs a task at the end", sim->places[i]->name);
            }
        }
    }
}
