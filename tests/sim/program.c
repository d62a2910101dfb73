/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What people do with their clients: submit tasks of every kind, cancel some, look at what comes back; the administrator publishes
 * models and turns the network's knobs. A program believes what its library tells it and remembers what it was told. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTSTANDING_MAX 24

/* ---- models ---- */

static void model_make(struct sim *sim, const char *name, bool broken)
{
    struct model *model = &sim->models[sim->model_count++];
    snprintf(model->name, sizeof model->name, "%s", name);
    model->broken = broken;
    uint32_t files = (uint32_t)rng_between(sim, 1, 3);
    for (uint32_t i = 0; i < files; i++) {
        model->contents[i] = sim->next_content++;
        uint64_t size = rng_chance(sim, 600) ? rng_below(sim, 5000) : rng_below(sim, 4u << 20);
        snprintf(model->file_names[i], sizeof model->file_names[i], "f%u", i);
        model->files[i].name = cpni_str(model->file_names[i]);
        model->files[i].size = size;
        content_root(model->contents[i], size, &model->files[i].root);
    }
    model->manifest = (struct cpni_manifest){ .name = cpni_str(model->name), .backend = cpni_str("sim"), .files = model->files,
                                              .file_count = files };
    model->bytes = content_bytes(sim->next_content++, 200);
    struct disk scratch = { 0 };
    model->root = disk_import(&scratch, model->bytes, true)->root;
    disk_free(&scratch);
}

void models_make(struct sim *sim)
{
    model_make(sim, "m0", false);
    model_make(sim, "m1", false);
    model_make(sim, "m0", false); /* the next version */
    if (rng_chance(sim, 300)) {
        model_make(sim, "m2", true);
    }
}

struct model *model_find(struct sim *sim, const struct cpn_hash *root)
{
    for (size_t i = 0; i < sim->model_count; i++) {
        if (memcmp(&sim->models[i].root, root, sizeof *root) == 0) {
            return &sim->models[i];
        }
    }
    return NULL;
}

/* ---- tasks ---- */

struct task *task_find(struct sim *sim, const struct cpn_id *id)
{
    struct task *task;
    HASH_FIND(hh, sim->tasks, id, sizeof *id, task);
    return task;
}

size_t program_outstanding(struct sim *sim, const struct proc *proc)
{
    size_t count = 0;
    for (struct task *task = sim->tasks; task != NULL; task = task->hh.next) {
        count += task->proc == proc->number && task->ended == 0;
    }
    return count;
}

static enum task_kind draw_kind(struct sim *sim)
{
    uint64_t draw = rng_below(sim, 100);
    return draw < 78 ? TASK_GOOD : draw < 83 ? TASK_BAD_INPUT : draw < 86 ? TASK_CRASHES : draw < 93 ? TASK_FLAKY : TASK_HANGS;
}

static void draw_input(struct sim *sim, struct proc *proc, struct task *task)
{
    task->content = rng_chance(sim, 150) ? 1000000 + rng_below(sim, 3) : sim->next_content++; /* the same photo again */
    uint64_t draw = rng_below(sim, 100);
    bool shared = task->content >= 1000000;
    task->input_blob = shared || draw < 12;
    if (shared) {
        task->input_size = 300000 + (task->content - 1000000) * 900000;
    } else if (task->input_blob) {
        task->input_size = CPNI_INLINE_BYTES_MAX + 1 + rng_below(sim, 3u << 20);
    } else {
        task->input_size = draw < 14 ? CPNI_INLINE_BYTES_MAX - rng_below(sim, 2) : 1 + rng_below(sim, draw < 25 ? 60000 : 2000);
    }
    if (task->input_blob) {
        struct cpni_bytes *bytes = content_bytes(task->content, task->input_size);
        task->input_root = disk_import(&proc->place->disk, bytes, true)->root;
        cpni_bytes_unref(bytes);
    }
}

static struct task *task_new(struct proc *proc)
{
    struct sim *sim = proc->sim;
    struct task *task = sim_alloc(sizeof *task);
    rng_fill(sim, &task->id, sizeof task->id);
    task->proc = proc->number;
    task->place = proc->place;
    task->kind = draw_kind(sim);
    uint64_t draw = rng_below(sim, 100);
    snprintf(task->model, sizeof task->model, "%s",
             draw < 60 ? "m0" : draw < 90 ? "m1" : draw < 93 ? "handler" : draw < 96 ? "m2" : draw < 98 ? "m0@1" : "nothing");
    draw_input(sim, proc, task);
    task->annotate = rng_chance(sim, 400);
    task->image_content = sim->next_content++;
    task->image_size = rng_chance(sim, 250) ? CPNI_INLINE_BYTES_MAX + 1 + rng_below(sim, 2u << 20) : 1 + rng_below(sim, 3000);
    task->run_us = rng_chance(sim, 80) ? rng_between(sim, SECOND, 8 * SECOND) : rng_between(sim, 1 * MS, 300 * MS);
    if (task->kind == TASK_HANGS || rng_chance(sim, 100)) {
        task->deadline_ms = (uint32_t)rng_between(sim, 100, 10000);
    }
    task->max_attempts = rng_chance(sim, 50) ? 1 : 0;
    task->submitted_us = sim->now_us;
    HASH_ADD(hh, sim->tasks, id, sizeof task->id, task);
    return task;
}

static void submit(struct proc *proc)
{
    struct task *task = task_new(proc);
    struct note *note = note_new(CPNI_EV_SUBMIT);
    struct cpni_msg_submit *msg = &note->event.submit.submit;
    *msg = (struct cpni_msg_submit){ .task = task->id, .model = cpni_str(task->model), .input_name = cpni_str("photo.jpg"),
                                     .annotate = task->annotate, .deadline_ms = task->deadline_ms,
                                     .max_attempts = task->max_attempts, .priority = (uint32_t)rng_below(proc->sim, 3) };
    if (task->input_blob) {
        msg->input_root = task->input_root;
        msg->input_size = task->input_size;
    } else {
        note->own = content_bytes(task->content, task->input_size);
        msg->input = note->own;
    }
    char text[CPN_ID_TEXT];
    trace_line(proc->sim, proc, "** submits %.8s for %s, kind %d, input %llu%s, deadline %u", cpn_id_text(&task->id, text), task->model,
               (int)task->kind, (unsigned long long)task->input_size, task->input_blob ? " (blob)" : "", task->deadline_ms);
    proc_note(proc, note);
}

static void cancel_one(struct proc *proc)
{
    size_t skip = rng_below(proc->sim, program_outstanding(proc->sim, proc));
    for (struct task *task = proc->sim->tasks; task != NULL; task = task->hh.next) {
        if (task->proc == proc->number && task->ended == 0 && skip-- == 0) {
            struct note *note = note_new(CPNI_EV_CANCEL);
            note->event.cancel.task = task->id;
            task->cancelled = true;
            proc_note(proc, note);
            return;
        }
    }
}

/* ---- being told ---- */

bool program_needs(struct sim *sim, const struct proc *proc, const struct cpn_hash *root, int64_t since_us)
{
    for (const struct task *task = sim->tasks; task != NULL; task = task->hh.next) {
        if (task->ended == 0 && task->proc == proc->number && task->input_blob && task->submitted_us >= since_us &&
            memcmp(&task->input_root, root, sizeof *root) == 0) {
            return true;
        }
    }
    return false;
}

static void check_image(struct proc *proc, const struct task *task, const struct cpni_msg_result *result)
{
    static const struct cpn_hash none;
    if (result->image != NULL) {
        if (!content_is(task->image_content, task->image_size, result->image)) {
            check_fail(proc->sim, "a result's inline image is not the one that was made");
        }
        return;
    }
    struct cpn_hash root;
    content_root(task->image_content, task->image_size, &root);
    const struct blob *blob = disk_find(&proc->place->disk, &result->image_root);
    if (memcmp(&result->image_root, &none, sizeof none) == 0 || memcmp(&root, &result->image_root, sizeof root) != 0) {
        check_fail(proc->sim, "a result has another image than was made, or none");
    } else if (blob == NULL || !blob->complete) {
        check_fail(proc->sim, "a result was told before its image was here");
    }
}

static void check_result(struct proc *proc, const struct task *task, const struct cpni_msg_result *result)
{
    char id[CPN_ID_TEXT];
    cpn_id_text(&task->id, id);
    if (result->code != 0) {
        return;
    }
    if (task->kind == TASK_BAD_INPUT || task->kind == TASK_CRASHES) {
        check_fail(proc->sim, "task %.8s cannot have succeeded", id);
    } else if (result->labels_count != 1 || !cpni_str_equal(result->labels[0].name, cpni_str(id))) {
        check_fail(proc->sim, "task %.8s got the labels of another", id);
    } else if (task->annotate) {
        check_image(proc, task, result);
    }
}

static bool plausible(const struct sim *sim, const struct task *task, int code)
{
    switch (code) {
    case CPN_ECANCELLED:
        return task->cancelled;
    case CPN_ETIMEDOUT:
        return task->deadline_ms != 0;
    case CPN_EBADINPUT:
        return task->kind == TASK_BAD_INPUT;
    case CPN_EPOISON:
    case CPN_ECRASHED:
        return task->kind == TASK_CRASHES || task->kind == TASK_FLAKY || sim->mix.crashes_of_runners != 0 || sim->mix.no_space != 0 ||
               sim->mix.corrupt != 0; /* a node that cannot keep an input, or whose image never verifies */
    case CPN_ENODELOST:
        return task->max_attempts == 1;
    case CPN_EPROTO:
    case CPN_EINTERNAL:
    case CPN_EINVAL:
    case CPN_EBUSY:
    case CPN_EAGAIN:
        return false;
    default:
        return true;
    }
}

static void task_ends(struct proc *proc, const struct cpn_id *id, int code, const struct cpni_msg_result *result)
{
    struct sim *sim = proc->sim;
    struct task *task = task_find(sim, id);
    char text[CPN_ID_TEXT];
    cpn_id_text(id, text);
    if (task == NULL || task->proc != proc->number) {
        check_fail(sim, "%s is told of task %.8s, which is not its own", proc->place->name, text);
        return;
    }
    if (task->ended++ > 0) {
        check_fail(sim, "%s is told the end of task %.8s twice (%s, then %s)", proc->place->name, text, cpn_error_name(task->code),
                   cpn_error_name(code));
        return;
    }
    task->code = code;
    task->ended_us = sim->now_us;
    bool smooth = sim->calm && task->kind == TASK_GOOD && task->deadline_ms == 0 && !task->cancelled && task->model[1] < '2' &&
                  strncmp(task->model, "m", 1) == 0;
    if (smooth && (code == 0 ? task->runs != 1 : code != CPN_ENOTFOUND)) {
        check_fail(sim, "task %.8s ended with %s after %u runs although nothing went wrong", text, cpn_error_name(code), task->runs);
    }
    if (!plausible(sim, task, code)) {
        check_fail(sim, "task %.8s of kind %d ended with %s", text, (int)task->kind, cpn_error_name(code));
    }
    if (result != NULL) {
        check_result(proc, task, result);
        sim->delivered++;
    } else {
        sim->refused++;
    }
}

void program_turned_down(struct proc *proc, const struct cpni_event *event, int code)
{
    if (code != CPN_EBUSY && code != CPN_ECLOSED && code != CPN_EKEY) {
        check_fail(proc->sim, "%s is turned down: %s", proc->place->name, cpn_error_name(code));
    }
    if (event->type == CPNI_EV_SUBMIT) {
        struct task *task = task_find(proc->sim, &event->submit.submit.task);
        task->ended++;
        task->code = code;
        if (task->input_blob && !program_needs(proc->sim, proc, &task->input_root, 0)) {
            disk_remove(&proc->place->disk, &task->input_root);
        }
        return;
    }
    const struct cpni_msg *msg = &event->ask.msg;
    uint64_t request = msg->type == CPNI_MSG_QUERY     ? msg->query.request
                       : msg->type == CPNI_MSG_ADMIN   ? msg->admin.request
                       : msg->type == CPNI_MSG_SESSION ? msg->session.request
                       : msg->type == CPNI_MSG_STOP    ? msg->stop.request
                                                       : msg->publish.request;
    session_told(proc, request, CPN_ECLOSED);
    for (size_t i = 0; i < 8; i++) {
        proc->asks[i].request = proc->asks[i].request == request ? 0 : proc->asks[i].request;
    }
}

static void ask_ends(struct proc *proc, uint64_t request, bool published, uint32_t version)
{
    for (size_t i = 0; i < 8; i++) {
        if (proc->asks[i].request == request && request != 0) {
            proc->asks[i].request = 0;
            if (published && proc->asks[i].model != NULL) {
                proc->asks[i].model->published = true;
                proc->asks[i].model->version = version;
            }
            return;
        }
    }
    check_fail(proc->sim, "%s gets an answer to request %llu, which is not asked", proc->place->name, (unsigned long long)request);
}

static void audit(struct proc *proc, const struct cpni_msg_reply *reply);

void program_tell(struct proc *proc, const struct cpni_msg *msg)
{
    static const struct cpn_id none;
    switch (msg->type) {
    case CPNI_MSG_RESULT:
        task_ends(proc, &msg->result.task, msg->result.code, &msg->result);
        break;
    case CPNI_MSG_REFUSED:
        if (memcmp(&msg->refused.task, &none, sizeof none) != 0) {
            task_ends(proc, &msg->refused.task, msg->refused.code, NULL);
        } else if (msg->refused.request != 0) {
            session_told(proc, msg->refused.request, msg->refused.code);
            ask_ends(proc, msg->refused.request, false, 0);
        } else {
            proc->told_refused = true;
            proc->stopped = proc->kind == KIND_ENROL; /* whoever joins tries again, */
            proc->place->enrolled |= proc->kind == KIND_ENROL && msg->refused.code == CPN_EKEY; /* or has, and missed the answer */
        }
        break;
    case CPNI_MSG_PUBLISHED:
        ask_ends(proc, msg->published.request, true, msg->published.version);
        break;
    case CPNI_MSG_DONE:
        session_told(proc, msg->done.request, msg->done.code);
        ask_ends(proc, msg->done.request, false, 0);
        break;
    case CPNI_MSG_REPLY:
        audit(proc, &msg->reply);
        ask_ends(proc, msg->reply.request, false, 0);
        break;
    case CPNI_MSG_ENROLLED:
        proc->place->enrolled = true;
        proc->stopped = true;
        break;
    default:
        break; /* ACCEPTED, BYE, WELCOME: for people */
    }
}

/* ---- asking ---- */

static struct note *ask(struct proc *proc, enum cpni_msg_type type, struct model *model)
{
    for (size_t i = 0; i < 8; i++) {
        if (proc->asks[i].request == 0) {
            proc->asks[i].request = ++proc->request;
            proc->asks[i].since_us = proc->sim->now_us;
            proc->asks[i].model = model;
            struct note *note = note_new(CPNI_EV_ASK);
            note->event.ask.msg.type = type;
            return note;
        }
    }
    return NULL;
}

struct note *program_ask(struct proc *proc, enum cpni_msg_type type)
{
    return ask(proc, type, NULL);
}

static void query(struct proc *proc)
{
    struct note *note = ask(proc, CPNI_MSG_QUERY, NULL);
    if (note != NULL) {
        note->event.ask.msg.query.request = proc->request;
        note->event.ask.msg.query.what = (uint32_t)rng_between(proc->sim, CPNI_QUERY_NODES, CPNI_QUERY_EVENTS);
        note->event.ask.msg.query.limit = 50;
        proc_note(proc, note);
    }
}

void program_audit(struct sim *sim)
{
    for (size_t i = 0; i < sim->place_count; i++) {
        struct proc *proc = sim->places[i]->admin ? sim->places[i]->proc : NULL;
        struct note *note = proc == NULL || sim->audit != 0 ? NULL : ask(proc, CPNI_MSG_QUERY, NULL);
        if (note != NULL) {
            sim->audit = proc->request;
            note->event.ask.msg.query.request = proc->request;
            note->event.ask.msg.query.what = CPNI_QUERY_TASKS;
            proc_note(proc, note);
            note = ask(proc, CPNI_MSG_QUERY, NULL);
        }
        if (note != NULL) {
            note->event.ask.msg.query.request = proc->request;
            note->event.ask.msg.query.what = CPNI_QUERY_NODES;
            proc_note(proc, note);
        }
    }
}

static void audit(struct proc *proc, const struct cpni_msg_reply *reply)
{
    char text[CPN_ID_TEXT];
    for (uint32_t i = 0; proc->place->admin && reply->request == proc->sim->audit && i < reply->jobs_count; i++) {
        if (reply->jobs[i].state != CPNI_JOB_PARKED) {
            check_fail(proc->sim, "the master still has task %.8s, state %u, at the end", cpn_id_text(&reply->jobs[i].task, text),
                       reply->jobs[i].state);
        }
    }
    for (uint32_t i = 0; proc->sim->audit != 0 && i < reply->nodes_count; i++) {
        if (reply->nodes[i].state == CPNI_NODE_TRAINING) {
            check_fail(proc->sim, "the master still has a node locked to a session at the end");
        }
    }
}

static bool publish(struct proc *proc)
{
    for (size_t i = 0; i < proc->sim->model_count; i++) {
        struct model *model = &proc->sim->models[i];
        bool asked = false;
        for (size_t a = 0; a < 8; a++) {
            asked |= proc->asks[a].request != 0 && proc->asks[a].model == model;
        }
        struct note *note = model->published || asked ? NULL : ask(proc, CPNI_MSG_PUBLISH, model);
        if (note != NULL) {
            note->own = cpni_bytes_ref(model->bytes);
            note->event.ask.msg.publish = (struct cpni_msg_publish){ .request = proc->request, .manifest = note->own,
                                                                     .signer = proc->place->signer };
            proc_note(proc, note);
            return true;
        }
        if (!model->published) {
            return asked; /* versions of one name in their order */
        }
    }
    return false;
}

static struct place *some_node(struct sim *sim)
{
    struct place *place = sim->places[rng_below(sim, sim->place_count)];
    return place->kind == KIND_NODE && !place->copy ? place : NULL;
}

static size_t usable_nodes(const struct sim *sim)
{
    size_t count = 0;
    for (size_t i = 0; i < sim->place_count; i++) {
        count += sim->places[i]->kind == KIND_NODE && !sim->places[i]->copy && !sim->places[i]->revoked;
    }
    return count;
}

static void turn_knob(struct proc *proc)
{
    struct sim *sim = proc->sim;
    struct place *node = some_node(sim);
    uint32_t op = 0;
    if (node != NULL && rng_chance(sim, sim->mix.revokes) && usable_nodes(sim) > 1 && node->index % 2 == 0) {
        op = CPNI_ADMIN_REVOKE;
        node->revoked = true; /* from when it is asked on it may happen at any time */
    } else if (node != NULL && rng_chance(sim, sim->mix.drains)) {
        op = node->drained ? CPNI_ADMIN_RESUME : CPNI_ADMIN_DRAIN;
        node->drained = op == CPNI_ADMIN_DRAIN;
    }
    struct note *note = op == 0 ? NULL : ask(proc, CPNI_MSG_ADMIN, NULL);
    if (note != NULL) {
        note->event.ask.msg.admin = (struct cpni_msg_admin){ .request = proc->request, .op = op, .key = node->key };
        proc_note(proc, note);
    }
}

/* Whatever was drained works again: asked for as often as it takes. */
static void resume_all(struct proc *proc)
{
    struct sim *sim = proc->sim;
    for (size_t i = 0; i < sim->place_count; i++) {
        struct place *node = sim->places[i];
        struct note *note = node->kind == KIND_NODE && node->drained ? ask(proc, CPNI_MSG_ADMIN, NULL) : NULL;
        if (note != NULL) {
            node->drained = false;
            note->event.ask.msg.admin = (struct cpni_msg_admin){ .request = proc->request, .op = CPNI_ADMIN_RESUME, .key = node->key };
            proc_note(proc, note);
        }
    }
}

static void admin(struct proc *proc)
{
    struct sim *sim = proc->sim;
    if (publish(proc)) {
        return;
    }
    if (sim->quiet) {
        resume_all(proc);
    } else if (rng_chance(sim, sim->mix.admin)) {
        rng_chance(sim, 500) ? query(proc) : turn_knob(proc);
    }
}

/* ---- its life ---- */

void program_start(struct proc *proc)
{
    struct sim *sim = proc->sim;
    struct place *place = proc->place;
    for (size_t i = 0; place->admin && i < sim->model_count; i++) {
        for (uint32_t f = 0; f < sim->models[i].manifest.file_count; f++) {
            struct cpni_bytes *bytes = content_bytes(sim->models[i].contents[f], sim->models[i].files[f].size);
            disk_import(&place->disk, bytes, false);
            cpni_bytes_unref(bytes);
        }
    }
    place->program.fire = program_fire;
    timer_set(sim, &place->program, sim->now_us + rng_between(sim, 1 * MS, 200 * MS));
}

void program_fire(struct sim *sim, struct timer *timer)
{
    struct place *place = OWNER(timer, struct place, program);
    struct proc *proc = place->proc;
    if (proc == NULL || proc->kind != KIND_CLIENT || proc->told_refused) {
        return;
    }
    size_t outstanding = program_outstanding(sim, proc);
    if (place->admin) {
        admin(proc);
    } else if (!proc->stopping) {
        session_deed(proc);
    }
    if (!sim->quiet && place->tasks_left > 0 && outstanding < OUTSTANDING_MAX && !proc->stopping) {
        for (uint64_t burst = rng_chance(sim, 100) ? 8 : 1; burst > 0 && place->tasks_left > 0; burst--) {
            place->tasks_left--;
            submit(proc);
        }
    }
    if (outstanding > 0 && !sim->quiet && rng_chance(sim, 40)) {
        cancel_one(proc);
    }
    timer_set(sim, timer, sim->now_us + rng_between(sim, 20 * MS, 1500 * MS));
}

/* Nothing is owed to a living program any more. */
bool program_settled(struct sim *sim, char *why, size_t size)
{
    for (struct task *task = sim->tasks; task != NULL; task = task->hh.next) {
        const struct proc *proc = task->place->proc;
        char text[CPN_ID_TEXT];
        if (proc != NULL && proc->number == task->proc && task->ended == 0) {
            snprintf(why, size, "task %.8s of %s for %s, kind %d, never ends", cpn_id_text(&task->id, text), task->place->name,
                     task->model, (int)task->kind);
            return false;
        }
    }
    for (size_t i = 0; i < sim->place_count; i++) {
        const struct proc *proc = sim->places[i]->proc;
        for (size_t a = 0; proc != NULL && a < 8; a++) {
            if (proc->asks[a].request != 0) {
                snprintf(why, size, "request %llu of %s is never answered", (unsigned long long)proc->asks[a].request,
                         sim->places[i]->name);
                return false;
            }
        }
    }
    return session_settled(sim, why, size);
}

void program_free(struct sim *sim)
{
    session_free_all(sim);
    struct task *task, *next;
    HASH_ITER(hh, sim->tasks, task, next) {
        HASH_DEL(sim->tasks, task);
        check_task_free(task);
        free(task);
    }
    for (size_t i = 0; i < sim->model_count; i++) {
        cpni_bytes_unref(sim->models[i].bytes);
    }
}
