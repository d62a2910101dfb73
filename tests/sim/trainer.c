/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The trainer processes of a node: what its role and its runners do with the core's orders. An order that makes no sense (a round in a
 * process that has one under way, a blob that is not here) fails the run. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "core/delta8.h"

struct trainer {
    struct trainer *previous, *next;
    uint64_t ticket;
    struct cpni_session_spec spec; /* its own */
    struct session *session;
    struct cpn_hash dataset;
    uint64_t train_rows;
    struct brain brain;
    bool opened, busy;
    uint64_t rounds; /* done */
    struct cpni_act_trainer round; /* under way */
    uint64_t step;
    float *before;   /* weights with which it began, as given; NULL: its own */
    int64_t step_us;
};

static struct trainer *find(struct proc *proc, uint64_t ticket)
{
    for (struct trainer *trainer = proc->trainers; trainer != NULL; trainer = trainer->next) {
        if (trainer->ticket == ticket) {
            return trainer;
        }
    }
    return NULL;
}

static void destroy(struct proc *proc, struct trainer *trainer)
{
    for (struct job *job = proc->jobs, *next; job != NULL; job = next) {
        next = job->next;
        if (job->trainer == trainer) {
            job_drop(job);
        }
    }
    LIST_DEL(proc->trainers, trainer);
    brain_free(&trainer->brain);
    free(trainer->spec.lanes);
    free(trainer->before);
    free(trainer);
}

void trainers_free(struct proc *proc)
{
    while (proc->trainers != NULL) {
        destroy(proc, proc->trainers);
    }
}

/* ---- what they say ---- */

static struct note *say(struct trainer *trainer, uint64_t ticket, enum cpni_trainer_said said, int code)
{
    struct note *note = note_new(CPNI_EV_TRAINER);
    struct cpni_event_trainer *event = &note->event.trainer;
    event->ticket = ticket;
    event->said = said;
    event->code = code;
    event->text = code < 0 ? cpn_strerror(code) : "";
    event->round = trainer != NULL ? trainer->round.round : 0;
    return note;
}

static void send(struct proc *proc, struct trainer *trainer, struct note *note, int64_t after_us, bool ends)
{
    struct job *job = proc_job(proc, note, proc->sim->now_us + after_us);
    job->trainer = trainer;
    job->ends = ends;
}

/* The job fired: the core hears of it now. */
void trainer_said(struct proc *proc, struct job *job)
{
    struct trainer *trainer = job->trainer;
    const struct cpni_event_trainer *event = &job->note->event.trainer;
    if (trainer == NULL || !job->ends) {
        return;
    }
    trainer->busy = false;
    trainer->opened = true;
    if (event->said == CPNI_TRAINED_ROUND && event->code == 0) {
        trainer->rounds = event->round;
        proc->sim->replays += trainer->round.replay;
        if (!trainer->round.replay) {
            session_did(proc->sim, trainer->session, trainer->brain.lane, event->round);
        }
    }
    job->trainer = NULL;
    if (event->code < 0 && event->code != CPN_EDIVERGED) {
        destroy(proc, trainer); /* as a process that died */
    }
}

/* ---- blobs ---- */

static struct cpni_bytes *read_blob(struct proc *proc, const struct cpn_hash *root, const char *what)
{
    const struct blob *blob = disk_find(&proc->place->disk, root);
    if (blob == NULL || !blob->complete) {
        char text[CPN_KEY_TEXT];
        check_fail(proc->sim, "%s trains without its %s %.8s", proc->place->name, what, cpn_hash_text(root, text));
        return NULL;
    }
    uint8_t *data = sim_alloc(blob->size + 1);
    size_t at = 0;
    for (uint32_t i = 0; i < blob->chunks; i++) {
        memcpy(data + at, blob->chunk[i]->data, blob->chunk[i]->size);
        at += blob->chunk[i]->size;
    }
    struct cpni_bytes *bytes = cpni_bytes_wrap(data, at, free, data);
    return bytes;
}

static bool is_zero(const struct cpn_hash *root)
{
    return cpni_all_zero(root, sizeof *root);
}

/* ---- orders ---- */

static void probe(struct proc *proc, const struct cpni_act_trainer *act)
{
    struct sim *sim = proc->sim;
    struct cpni_bytes *data = read_blob(proc, &act->dataset, "dataset");
    cpni_bytes_unref(data);
    bool fails = !sim->quiet && rng_chance(sim, sim->mix.crashes_of_runners / 4);
    struct note *note = say(NULL, act->ticket, CPNI_TRAINED_PROBE, fails ? CPN_ENOTSUP : 0);
    note->event.trainer.device = "cpu";
    note->event.trainer.fingerprint = proc->place->odd ? "sim odd" : "sim even";
    note->event.trainer.reproducible = true;
    send(proc, NULL, note, rng_between(sim, 1 * MS, 50 * MS), true);
}

static void open_lane(struct proc *proc, const struct cpni_act_trainer *act)
{
    struct sim *sim = proc->sim;
    if (find(proc, act->ticket) != NULL) {
        check_fail(sim, "%s opens a trainer under a ticket that lives", proc->place->name);
        return;
    }
    struct trainer *trainer = sim_alloc(sizeof *trainer);
    trainer->ticket = act->ticket;
    trainer->spec = *act->spec;
    trainer->spec.lanes = sim_alloc(act->spec->lane_count * sizeof *trainer->spec.lanes);
    memcpy(trainer->spec.lanes, act->spec->lanes, act->spec->lane_count * sizeof *trainer->spec.lanes);
    trainer->train_rows = act->train_rows;
    trainer->session = session_by_spec(sim, &act->dataset, act->spec);
    trainer->busy = true;
    trainer->round.op = CPNI_TRAINER_OPEN;
    int64_t most_us = sim->options->train ? 120 * MS : 20 * MS;
    trainer->step_us = rng_chance(sim, 50) ? rng_between(sim, 50 * MS, 400 * MS) : rng_between(sim, 1 * MS, most_us);
    brain_fresh(&trainer->brain, act->spec, act->lane);
    LIST_ADD(proc->trainers, trainer);
    cpni_bytes_unref(read_blob(proc, &act->dataset, "dataset"));
    struct cpni_bytes *state = is_zero(&act->state_root) ? NULL : read_blob(proc, &act->state_root, "checkpoint");
    if (state != NULL && !brain_thaw(&trainer->brain, state->data, state->size, &trainer->rounds)) {
        check_fail(sim, "%s opens lane %u on the checkpoint of something else", proc->place->name, act->lane);
    }
    cpni_bytes_unref(state);
    bool fails = !sim->quiet && rng_chance(sim, sim->mix.crashes_of_runners / 4);
    send(proc, trainer, say(trainer, act->ticket, CPNI_TRAINED_OPEN, fails ? CPN_ENOMEM : 0), rng_between(sim, 1 * MS, 100 * MS), true);
}

static void fill_round(struct trainer *trainer, struct note *note, const struct verdict *verdict)
{
    struct cpni_event_trainer *event = &note->event.trainer;
    const struct cpni_act_trainer *round = &trainer->round;
    struct brain *brain = &trainer->brain;
    event->steps = round->steps;
    event->samples = brain_samples(&trainer->spec, brain->lane, trainer->train_rows, round->steps);
    event->correct = event->samples / 2;
    event->loss_micro = brain->momentum % 1000000;
    event->tested = verdict->tested;
    event->tested_correct = verdict->correct;
    event->tested_loss_micro = verdict->loss_micro;
    bool int8 = trainer->spec.int8 && trainer->before != NULL;
    note->own = int8 ? brain_change(brain, trainer->before) : cpni_bytes_copy(brain->weights, brain->count * sizeof *brain->weights);
    event->vector = round->replay ? NULL : note->own;
    event->encoding = int8 ? 1 : 0;
    if (round->state) {
        note->own2 = brain_freeze(brain, round->round);
        event->state = note->own2;
    }
}

/* What is said after a step of the round: an epoch that ends, and now and then a heartbeat. */
static void heartbeat(struct proc *proc, struct trainer *trainer, uint64_t step, int64_t after_us)
{
    const struct cpni_act_trainer *round = &trainer->round;
    uint64_t epoch = cpni_session_epoch_steps(&trainer->spec, trainer->brain.lane, trainer->train_rows), before = 0;
    for (uint64_t r = 1; r < round->round; r++) {
        before += cpni_session_round_steps(&trainer->spec, trainer->brain.lane, trainer->train_rows, r);
    }
    bool done = (before + step) % epoch == 0;
    if (!done && step % 4 != 1) {
        return;
    }
    struct note *note = say(trainer, trainer->ticket, CPNI_TRAINED_PROGRESS, 0);
    struct cpni_event_trainer *event = &note->event.trainer;
    event->epoch = (uint32_t)((before + step - 1) / epoch + 1);
    event->epoch_done = done;
    event->steps = epoch;
    event->step = done ? epoch : (before + step) % epoch;
    event->samples = event->step * 10;
    event->correct = event->epoch;
    event->loss_micro = 1000000 / event->epoch + trainer->brain.lane;
    event->rate = 1000;
    send(proc, trainer, note, after_us, false);
}

static bool diverges(const struct trainer *trainer)
{
    return strcmp(cpni_session_lane(&trainer->spec, trainer->brain.lane)->lr, "9") == 0 && trainer->round.round == 2;
}

static void end_round(struct proc *proc, struct trainer *trainer, int64_t after_us)
{
    struct sim *sim = proc->sim;
    struct verdict verdict = { 0 };
    bool crashes = !sim->quiet && !sim->calm && rng_chance(sim, sim->mix.crashes_of_runners / 2);
    int code = crashes ? CPN_ECRASHED : diverges(trainer) ? CPN_EDIVERGED : 0;
    struct note *note = say(trainer, trainer->ticket, CPNI_TRAINED_ROUND, code);
    if (trainer->round.evaluate && !trainer->round.evaluate_after) {
        verdict = brain_judge(&trainer->brain);
    }
    if (!trainer->round.exchange) {
        brain_steps(&trainer->brain, trainer->round.steps);
    }
    if (trainer->round.evaluate_after) {
        verdict = brain_judge(&trainer->brain);
    }
    if (code == 0) {
        fill_round(trainer, note, &verdict);
    }
    send(proc, trainer, note, after_us, true);
}

static void say_gradient(struct proc *proc, struct trainer *trainer)
{
    size_t size = trainer->brain.count * sizeof(float);
    float *gradient = sim_alloc(size);
    struct note *note = say(trainer, trainer->ticket, CPNI_TRAINED_GRADIENT, 0);
    brain_gradient(&trainer->brain, gradient);
    note->own = cpni_bytes_wrap(gradient, size, free, gradient);
    note->event.trainer.step = ++trainer->step;
    note->event.trainer.samples = brain_samples(&trainer->spec, trainer->brain.lane, trainer->train_rows, 1);
    note->event.trainer.vector = note->own;
    send(proc, trainer, note, trainer->step_us, false);
}

static bool take_weights(struct proc *proc, struct trainer *trainer, const struct cpni_act_trainer *act)
{
    struct cpni_bytes *vector = act->vector != NULL ? cpni_bytes_ref(act->vector)
                              : is_zero(&act->vector_root) ? NULL : read_blob(proc, &act->vector_root, "weights");
    size_t size = trainer->brain.count * sizeof(float);
    if (vector == NULL) {
        free(trainer->before);
        trainer->before = NULL;
        return is_zero(&act->vector_root);
    }
    bool fits;
    if (act->encoding != 0) {
        fits = trainer->before != NULL && trainer->rounds + 1 == act->round &&
               cpni_delta8_add(vector->data, vector->size, trainer->brain.count, trainer->before) == 0;
        proc->sim->changes += fits;
    } else if ((fits = vector->size == size)) {
        free(trainer->before);
        trainer->before = sim_alloc(size);
        memcpy(trainer->before, vector->data, size);
    }
    if (fits) {
        brain_set(&trainer->brain, trainer->before);
    }
    cpni_bytes_unref(vector);
    return fits;
}

static void begin_round(struct proc *proc, const struct cpni_act_trainer *act)
{
    struct sim *sim = proc->sim;
    struct trainer *trainer = find(proc, act->ticket);
    if (trainer == NULL) {
        return; /* it died, and the note that says so is on its way */
    }
    bool next = act->round == trainer->rounds + 1 || trainer->spec.quorum != 0;
    if (trainer->busy || !trainer->opened || !next) {
        check_fail(sim, "%s trains round %llu of lane %u after round %llu%s", proc->place->name, (unsigned long long)act->round,
                   trainer->brain.lane, (unsigned long long)trainer->rounds, trainer->busy ? ", while busy" : "");
        return;
    }
    if (!take_weights(proc, trainer, act)) {
        check_fail(sim, "%s trains lane %u from weights of another size, from none, or from a change of others", proc->place->name, trainer->brain.lane);
        return;
    }
    trainer->busy = true;
    trainer->round = *act;
    trainer->round.vector = NULL;
    trainer->step = 0;
    if (act->exchange && act->steps != 0) {
        say_gradient(proc, trainer);
        return;
    }
    for (uint64_t step = 1; step <= act->steps && !act->replay; step++) {
        heartbeat(proc, trainer, step, (int64_t)step * trainer->step_us);
    }
    end_round(proc, trainer, (int64_t)act->steps * trainer->step_us + rng_between(sim, 0, 5 * MS));
}

static void apply(struct proc *proc, const struct cpni_act_trainer *act)
{
    struct trainer *trainer = find(proc, act->ticket);
    if (trainer == NULL) {
        return;
    }
    if (!trainer->busy || !trainer->round.exchange || act->vector->size != trainer->brain.count * sizeof(float)) {
        check_fail(proc->sim, "%s applies a gradient that no step waits for", proc->place->name);
        return;
    }
    float *mean = sim_alloc(act->vector->size);
    memcpy(mean, act->vector->data, act->vector->size);
    brain_apply(&trainer->brain, mean);
    free(mean);
    heartbeat(proc, trainer, trainer->step, 0);
    if (trainer->step < trainer->round.steps) {
        say_gradient(proc, trainer);
    } else {
        end_round(proc, trainer, rng_between(proc->sim, 0, 5 * MS));
    }
}

void trainer_act(struct proc *proc, const struct cpni_act_trainer *act)
{
    struct trainer *trainer = find(proc, act->ticket);
    switch (act->op) {
    case CPNI_TRAINER_PROBE:
        probe(proc, act);
        break;
    case CPNI_TRAINER_OPEN:
        open_lane(proc, act);
        break;
    case CPNI_TRAINER_ROUND:
        begin_round(proc, act);
        break;
    case CPNI_TRAINER_APPLY:
        apply(proc, act);
        break;
    case CPNI_TRAINER_CLOSE:
        if (trainer != NULL) {
            destroy(proc, trainer);
        }
        break;
    default:
        check_fail(proc->sim, "%s wants %d of a trainer", proc->place->name, (int)act->op);
    }
}
