/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the three roles do beyond proc.c: a master recovers from the store and asks it, a node runs tasks and prepares models, a client
 * tells its program. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- master ---- */

int master_open(struct proc *proc, const struct cpni_now *now)
{
    return store_recover(proc->sim->store, proc, now, &proc->master);
}

void master_act(struct proc *proc, const struct cpni_action *action)
{
    struct sim *sim = proc->sim;
    if (action->type == CPNI_ACT_COMMIT) {
        store_submit(sim->store, proc, action->commit.ticket, &action->commit.key, &action->commit.command);
    } else if (action->type == CPNI_ACT_NOTES) {
        struct note *note = note_new(CPNI_EV_NOTES);
        note->event.notes.ticket = action->notes.ticket;
        proc_job(proc, note, sim->now_us + rng_between(sim, 100, 20 * MS));
    } else {
        check_fail(sim, "the master wants action %d", (int)action->type);
    }
}

/* ---- node ---- */

int node_open(struct proc *proc, const struct cpni_now *now)
{
    struct place *place = proc->place;
    const struct cpni_str backends[] = { cpni_str("sim 1.0"), cpni_str("echo"), cpni_str("train.sim 1.0") };
    const struct cpni_str handlers[] = { cpni_str("handler") };
    struct cpni_rec_HELD held[16];
    const struct cpni_manifest *manifests[16];
    size_t count = 0;
    for (size_t i = 0; i < place->ready_count; i++) {
        const struct model *model = model_find(proc->sim, place->ready[i]);
        manifests[count] = &model->manifest;
        held[count++] = (struct cpni_rec_HELD){ .name = cpni_str(model->name), .version = model->version, .root = model->root,
                                                .state = CPNI_HELD_READY };
    }
    proc->slots = place->slots;
    const struct cpni_worker_config config = {
        .boot = proc->boot, .name = cpni_str(place->name), .software = cpni_str("sim"), .slots = place->slots, .cores = 4,
        .memory = place->memory, .backends = backends, .backend_count = place->trains ? 3 : 2, .handlers = handlers,
        .handler_count = place->handler ? 1 : 0, .models = held, .manifests = manifests,
        .model_count = count };
    return cpni_worker_core_new(&config, now, &proc->worker);
}

void node_load(struct sim *sim, struct timer *timer)
{
    struct proc *proc = OWNER(timer, struct proc, load);
    struct note *note = note_new(CPNI_EV_LOAD);
    note->event.load.cpu_permille = (uint32_t)rng_below(sim, 1000);
    note->event.load.free_memory = 1u << 30;
    note->event.load.rss = 15u << 20;
    proc_note(proc, note);
    timer_set(sim, timer, sim->now_us + SECOND);
}

struct outlook { /* how a run will end, and when */
    int code;
    enum cpni_failure failure;
    int64_t after_us;
};

static struct outlook foresee(struct sim *sim, const struct task *task)
{
    struct outlook look = { .after_us = task->run_us };
    bool crashes = task->kind == TASK_CRASHES || (task->kind == TASK_FLAKY && rng_chance(sim, 400)) ||
                   (!sim->quiet && rng_chance(sim, sim->mix.crashes_of_runners));
    if (crashes) {
        look = (struct outlook){ CPN_ECRASHED, CPNI_FAILURE_CRASH, rng_between(sim, 1 * MS, look.after_us) };
    } else if (task->kind == TASK_BAD_INPUT) {
        look = (struct outlook){ CPN_EBADINPUT, CPNI_FAILURE_INPUT, rng_between(sim, 1 * MS, 20 * MS) };
    } else if (task->kind == TASK_HANGS && task->deadline_ms != 0) {
        look.after_us = 3600 * SECOND;
    }
    return look;
}

static void finish_note(struct note *note, const struct outlook *look, const struct task *task)
{
    struct cpni_event_finished *finished = &note->event.finished;
    cpni_bytes_unref(note->own);
    note->own = NULL;
    finished->code = look->code;
    finished->failure = look->failure;
    finished->text = look->code < 0 ? cpn_strerror(look->code) : "";
    finished->labels = NULL;
    finished->label_count = 0;
    finished->image = NULL;
    if (look->code < 0) {
        return;
    }
    cpn_id_text(&task->id, note->label.name);
    note->label.confidence = 0.5f;
    finished->labels = &note->label;
    finished->label_count = 1;
    finished->width = finished->height = 64;
    finished->timings.infer_us = (uint64_t)look->after_us;
    if (task->annotate) {
        note->own = content_bytes(task->image_content, task->image_size);
        finished->image = note->own;
        finished->image_type = CPNI_IMAGE_JPEG;
    }
}

static void act_run(struct proc *proc, const struct cpni_act_run *run)
{
    struct sim *sim = proc->sim;
    struct task *task = task_find(sim, &run->task);
    check_run(proc, run, task);
    if (sim->failed) {
        return;
    }
    struct outlook look = foresee(sim, task);
    int64_t left_us = run->deadline_us - (sim->now_us + proc->mono_offset_us);
    if (run->deadline_us != 0 && left_us < look.after_us) {
        look = (struct outlook){ CPN_ETIMEDOUT, CPNI_FAILURE_DEADLINE, left_us > 0 ? left_us : 0 };
    }
    struct note *note = note_new(CPNI_EV_FINISHED);
    note->event.finished.ticket = run->ticket;
    finish_note(note, &look, task);
    struct job *job = proc_job(proc, note, sim->now_us + look.after_us);
    job->is_run = true;
    job->ticket = run->ticket;
    job->slot = run->slot;
    job->task = task;
    sim->runs++;
}

static void act_kill(struct proc *proc, uint64_t ticket)
{
    struct sim *sim = proc->sim;
    for (struct job *job = proc->jobs; job != NULL; job = job->next) {
        if (!job->is_run || job->ticket != ticket || job->killed) {
            continue;
        }
        job->killed = true;
        if (job->timer.heap.at_us > sim->now_us + 2 * MS || rng_chance(sim, 500)) { /* else it had just finished */
            const struct outlook look = { CPN_ECANCELLED, CPNI_FAILURE_CANCELLED, 0 };
            finish_note(job->note, &look, job->task);
            timer_set(sim, &job->timer, sim->now_us + rng_between(sim, 100, 20 * MS));
        }
        return;
    }
}

static void forget_ready(struct place *place, const struct cpn_hash *root)
{
    size_t kept = 0;
    for (size_t i = 0; i < place->ready_count; i++) {
        if (memcmp(place->ready[i], root, sizeof *root) != 0) {
            place->ready[kept++] = place->ready[i];
        }
    }
    place->ready_count = kept;
}

static void act_model(struct proc *proc, const struct cpn_hash *root, const struct cpni_manifest *manifest)
{
    struct sim *sim = proc->sim;
    struct place *place = proc->place;
    const struct model *model = model_find(sim, root);
    if (model == NULL || manifest == NULL || manifest->file_count != model->manifest.file_count) {
        check_fail(sim, "%s prepares a model that nobody published", place->name);
        return;
    }
    for (uint32_t i = 0; i < manifest->file_count; i++) {
        const struct blob *blob = disk_find(&place->disk, &manifest->files[i].root);
        if (blob == NULL || !blob->complete || blob->spool) {
            check_fail(sim, "%s prepares %s without its file %u", place->name, model->name, i);
            return;
        }
    }
    struct note *note = note_new(CPNI_EV_MODEL);
    note->event.model.root = *root;
    note->event.model.code = model->broken ? CPN_EMODEL : 0;
    note->event.model.text = model->broken ? "the self-test failed" : "";
    proc_job(proc, note, sim->now_us + rng_between(sim, 5 * MS, 400 * MS));
    forget_ready(place, root);
    if (!model->broken && place->ready_count < 16) {
        place->ready[place->ready_count++] = &model->root;
    }
}

void node_act(struct proc *proc, const struct cpni_action *action)
{
    switch (action->type) {
    case CPNI_ACT_RUN:
        act_run(proc, &action->run);
        break;
    case CPNI_ACT_KILL:
        act_kill(proc, action->kill.ticket);
        break;
    case CPNI_ACT_MODEL:
        act_model(proc, &action->model.root, action->model.manifest);
        break;
    case CPNI_ACT_TRAINER:
        trainer_act(proc, &action->trainer);
        break;
    case CPNI_ACT_UNMODEL:
        forget_ready(proc->place, &action->model.root);
        break;
    default:
        check_fail(proc->sim, "%s wants action %d", proc->place->name, (int)action->type);
    }
}

/* ---- client ---- */

int client_open(struct proc *proc, const struct cpni_now *now)
{
    struct place *place = proc->place;
    struct cpni_client_config config = { .boot = proc->boot, .name = cpni_str(place->name), .software = cpni_str("sim") };
    if (proc->kind == KIND_ENROL) {
        config.enrol = true;
        config.enrol_key = place->key;
    } else if (place->admin) {
        config.signer = place->signer;
    }
    int rc = cpni_client_core_new(&config, now, &proc->client);
    if (rc == 0 && proc->kind == KIND_CLIENT) {
        program_start(proc);
    }
    return rc;
}

void client_act(struct proc *proc, const struct cpni_action *action)
{
    if (action->type == CPNI_ACT_TELL) {
        program_tell(proc, &action->tell.msg);
    } else {
        check_fail(proc->sim, "%s wants action %d", proc->place->name, (int)action->type);
    }
}
