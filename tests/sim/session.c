/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions as people start, watch and stop them, and what must hold of them: every one that the master took ends, its peers are
 * released, an epoch is counted once, and what a reproducible one comes to is, to the bit, what it comes to when nothing goes wrong. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 6 /* of a session that the master has no nodes for */

/* ---- what is asked for ---- */

static void draw_size(struct sim *sim, uint32_t hidden[2])
{
    uint64_t draw = rng_below(sim, 100);
    hidden[0] = draw < 3 ? 600 : (uint32_t)rng_between(sim, 4, 12);
    hidden[1] = draw < 3 ? 500 : (uint32_t)rng_between(sim, 4, 12); /* 300,000 values: weights of more than one piece */
}

static void draw_spec(struct sim *sim, char *text, size_t room)
{
    static const char *const modes[] = { "average", "sweep", "sync" };
    uint32_t hidden[2];
    uint64_t draw = rng_below(sim, 100);
    const char *mode = modes[sim->options->mode != NULL ? 0 : draw < 60 ? 0 : draw < 85 ? 1 : 2];
    mode = sim->options->mode != NULL ? sim->options->mode : mode;
    bool sweep = strcmp(mode, "sweep") == 0, average = strcmp(mode, "average") == 0;
    unsigned peers = (unsigned)rng_between(sim, 1, 3);
    draw_size(sim, hidden);
    /* One draw a statement: the order within a list of arguments is the compiler's. */
    unsigned local = (unsigned)rng_between(sim, 1, 6);
    unsigned checkpoint = average ? (unsigned)rng_between(sim, 1, 4) : 1;
    unsigned quorum = average && peers > 1 && rng_chance(sim, 150) ? (unsigned)rng_between(sim, 1, peers) : 0;
    bool int8 = average && rng_chance(sim, 300), halving = sweep && rng_chance(sim, 400), validates = rng_chance(sim, 800);
    unsigned lanes = sweep ? (unsigned)rng_between(sim, 1, 5) : 1;
    unsigned epochs = (unsigned)rng_between(sim, 1, 4);
    int n = snprintf(text, room, "mode %s\ntrainer sim\npeers %u\nlocal-steps %u\ncheckpoint %u\nquorum %u\nencoding %s\nhalving %d\nvalidation %u\n",
                     mode, peers, local, checkpoint, quorum, int8 ? "int8" : "float32", halving, validates ? 100000u : 0);
    for (unsigned i = 0; i < lanes; i++) {
        const char *lr = rng_chance(sim, 50) ? "9" : "1";
        unsigned batch = (unsigned)rng_between(sim, 5, 20);
        unsigned seed = (unsigned)rng_between(sim, 1, 9);
        n += snprintf(text + n, room - (size_t)n, "lane lr=%s,batch=%u,epochs=%u,hidden=%u:%u,seed=%u\n", lr, batch, epochs, hidden[0], hidden[1],
                      seed);
    }
}

static struct session *session_new(struct proc *proc)
{
    struct sim *sim = proc->sim;
    struct session *session = sim_alloc(sizeof *session);
    char detail[CPNI_SPEC_DETAIL];
    rng_fill(sim, &session->id, sizeof session->id);
    cpn_id_text(&session->id, session->name);
    session->place = proc->place;
    draw_spec(sim, session->text, sizeof session->text);
    if (cpni_session_spec_read(cpni_str(session->text), &session->spec, detail) < 0) {
        check_fail(sim, "a spec that does not read: %s", detail);
    }
    bool shared = rng_chance(sim, 400); /* the same data again */
    session->content = shared ? 2000000 + rng_below(sim, 2) : sim->next_content++;
    session->size = shared ? 5000 + (session->content - 2000000) * 1100000 : 1 + rng_below(sim, rng_chance(sim, 200) ? 3u << 20 : 9000);
    session->schema_content = sim->next_content++;
    session->schema_size = 1 + rng_below(sim, 500);
    session->rows = (uint64_t)rng_between(sim, 20, 120);
    session->train_rows = session->rows - session->rows / 10;
    content_root(session->content, session->size, &session->dataset);
    content_root(session->schema_content, session->schema_size, &session->schema);
    session->stops = rng_chance(sim, 120);
    session->next = sim->sessions;
    sim->sessions = session;
    return session;
}

static void import(struct proc *proc, uint64_t content, uint64_t size)
{
    struct cpni_bytes *bytes = content_bytes(content, size);
    disk_import(&proc->place->disk, bytes, true);
    cpni_bytes_unref(bytes);
}

static void start(struct proc *proc, struct session *session)
{
    struct note *note = program_ask(proc, CPNI_MSG_SESSION);
    if (note == NULL) {
        return;
    }
    import(proc, session->content, session->size);
    import(proc, session->schema_content, session->schema_size);
    session->proc = proc->number;
    session->request = proc->request;
    session->asked_us = proc->sim->now_us;
    session->tries++;
    note->own = cpni_bytes_copy(session->text, strlen(session->text));
    note->event.ask.msg.session = (struct cpni_msg_session){ .request = proc->request, .session = session->id, .name = cpni_str("session"),
        .spec = note->own, .dataset_root = session->dataset, .dataset_size = session->size, .schema_root = session->schema,
        .schema_size = session->schema_size, .rows = session->rows, .train_rows = session->train_rows, .columns = 3, .classes = 2 };
    trace_line(proc->sim, proc, "** starts session %.8s: %s", session->name, session->text);
    proc_note(proc, note);
}

/* ---- what is asked about it ---- */

static void stop(struct proc *proc, struct session *session)
{
    struct note *note = program_ask(proc, CPNI_MSG_STOP);
    if (note != NULL) {
        session->stopped = true;
        note->event.ask.msg.stop = (struct cpni_msg_stop){ .request = proc->request, .session = session->id };
        proc_note(proc, note);
    }
}

static void watch(struct proc *proc, struct session *session)
{
    struct note *note = program_ask(proc, CPNI_MSG_QUERY);
    if (note != NULL) {
        note->event.ask.msg.query = (struct cpni_msg_query){ .request = proc->request, .limit = 20, .name = cpni_str(session->name),
            .what = (uint32_t)rng_between(proc->sim, CPNI_QUERY_SESSIONS, CPNI_QUERY_POINTS) };
        proc_note(proc, note);
    }
}

/* Of a client: begin one, begin it again if there was no room, look at one, stop it. */
void session_deed(struct proc *proc)
{
    struct sim *sim = proc->sim;
    struct session *session = sim->sessions;
    for (; session != NULL; session = session->next) {
        if (session->place == proc->place && session->request == 0 && session->wanted && !sim->quiet) {
            start(proc, session);
            return;
        }
    }
    for (session = sim->sessions; session != NULL; session = session->next) {
        if (session->place == proc->place && session->taken && !sim->quiet && rng_chance(sim, 200)) {
            session->stops && !session->stopped ? stop(proc, session) : watch(proc, session);
            return;
        }
    }
    if (!sim->quiet && proc->place->sessions_left > 0 && rng_chance(sim, 300)) {
        proc->place->sessions_left--;
        start(proc, session_new(proc));
    }
}

void session_told(struct proc *proc, uint64_t request, int code)
{
    for (struct session *session = proc->sim->sessions; session != NULL; session = session->next) {
        if (session->place != proc->place || session->proc != proc->number || session->request != request || request == 0) {
            continue;
        }
        session->request = 0;
        session->taken = code == 0;
        session->wanted = code == CPN_EBUSY && session->tries < TRIES_MAX;
        if (code == CPN_EPROTO || code == CPN_EINVAL || code == CPN_EINTERNAL || code == CPN_EBADINPUT) {
            bool sensible = code == CPN_EBADINPUT && session->train_rows < session->spec.peers;
            if (!sensible) {
                check_fail(proc->sim, "session %.8s is refused: %s", session->name, cpn_error_name(code));
            }
        }
    }
}

bool session_needs(struct sim *sim, const struct proc *proc, const struct cpn_hash *root, int64_t since_us)
{
    for (const struct session *session = sim->sessions; session != NULL; session = session->next) {
        bool names = memcmp(&session->dataset, root, sizeof *root) == 0 || memcmp(&session->schema, root, sizeof *root) == 0;
        if (names && session->request != 0 && session->proc == proc->number && session->asked_us >= since_us) {
            return true;
        }
    }
    return false;
}

bool session_has_dataset(struct sim *sim, const struct cpn_hash *root)
{
    for (const struct session *session = sim->sessions; session != NULL; session = session->next) {
        if (memcmp(&session->dataset, root, sizeof *root) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- what is seen of it ---- */

struct session *session_find(struct sim *sim, const struct cpn_id *id)
{
    struct session *session = sim->sessions;
    while (session != NULL && memcmp(&session->id, id, sizeof *id) != 0) {
        session = session->next;
    }
    return session;
}

/* A round that a node did in earnest. */
void session_did(struct sim *sim, struct session *session, uint32_t lane, uint64_t round)
{
    sim->rounds++;
    if (session != NULL && lane < SESSION_LANES && round < SESSION_ROUNDS) {
        session->did[lane][round]++;
        trace_line(sim, NULL, "** session %.8s lane %u round %llu, time %u", session->name, lane, (unsigned long long)round,
                   session->did[lane][round]);
    }
}

static bool same_point(const struct cpni_command_session_point *a, const struct cpni_command_session_point *b)
{
    return a->samples == b->samples && a->train_loss_micro == b->train_loss_micro && a->train_ppm == b->train_ppm &&
           a->loss_micro == b->loss_micro && a->accuracy_ppm == b->accuracy_ppm && a->evaluated == b->evaluated;
}

/* An epoch that is told twice must be the same epoch. */
void session_point(struct sim *sim, const struct cpni_command_session_point *point)
{
    struct session *session = session_find(sim, &point->session);
    if (session == NULL) {
        check_fail(sim, "an epoch of a session that nobody started");
        return;
    }
    for (struct seen_point *seen = session->points; seen != NULL; seen = seen->next) {
        if (seen->point.lane != point->lane || seen->point.epoch != point->epoch) {
            continue;
        }
        if (!same_point(&seen->point, point) && !session_loose(sim, session)) {
            check_fail(sim, "session %.8s: epoch %u of lane %d is counted twice, and differs", session->name, point->epoch, (int)point->lane);
        }
        return;
    }
    struct seen_point *seen = sim_alloc(sizeof *seen);
    *seen = (struct seen_point){ .next = session->points, .point = *point };
    session->points = seen;
}

/* Not bound to be the same every time. */
bool session_loose(struct sim *sim, const struct session *session)
{
    bool odd = false, even = false;
    for (size_t i = 0; i < sim->place_count; i++) {
        odd |= sim->places[i]->kind == KIND_NODE && sim->places[i]->odd;
        even |= sim->places[i]->kind == KIND_NODE && !sim->places[i]->odd;
    }
    return session->spec.quorum != 0 || (odd && even);
}

/* ---- the end ---- */

static bool is_over(const struct session *session)
{
    return session->stored && session->state.state >= CPNI_SESSION_COMPLETED;
}

/* What the store says now. */
static int note_stored(void *arg, const struct cpni_command *command)
{
    struct sim *sim = arg;
    struct session *session = NULL;
    switch (command->type) {
    case CPNI_COMMAND_SESSION_ADD:
        session = session_find(sim, &command->u.session_add.session);
        session->stored = true;
        session->state = (struct cpni_command_session_state){ .state = CPNI_SESSION_CREATED };
        break;
    case CPNI_COMMAND_SESSION_STATE:
        session = session_find(sim, &command->u.session_state.session);
        session->state = command->u.session_state;
        break;
    case CPNI_COMMAND_SESSION_LANE:
        session = session_find(sim, &command->u.session_lane.session);
        if (command->u.session_lane.lane < SESSION_LANES) {
            session->lanes[command->u.session_lane.lane] = command->u.session_lane;
        }
        break;
    default:
        break;
    }
    return 0;
}

bool session_settled(struct sim *sim, char *why, size_t size)
{
    store_sessions(sim->store, note_stored, sim);
    for (const struct session *session = sim->sessions; session != NULL; session = session->next) {
        if ((session->stored || session->taken) && !is_over(session)) {
            snprintf(why, size, "session %.8s never ends: state %u, \"%.100s\"", session->name, session->state.state, session->state.text);
            return false;
        }
    }
    for (size_t i = 0; i < sim->place_count; i++) {
        if (sim->places[i]->proc != NULL && sim->places[i]->proc->trainers != NULL) {
            snprintf(why, size, "%s still trains although no session is under way", sim->places[i]->name);
            return false;
        }
    }
    return true;
}

static bool outcome_is(struct sim *sim, const struct session *session, uint32_t lane, const struct cpn_hash *root)
{
    struct disk scratch = { 0 };
    struct cpni_bytes *expected = brain_expected(&session->spec, session->train_rows, lane);
    bool same = memcmp(&disk_import(&scratch, expected, true)->root, root, sizeof *root) == 0;
    disk_free(&scratch);
    cpni_bytes_unref(expected);
    const struct blob *blob = disk_find(&sim->master->disk, root);
    if (blob == NULL || !blob->complete) {
        check_fail(sim, "session %.8s: the master does not have the weights that it names", session->name);
    }
    return same;
}

static void check_epochs(struct sim *sim, const struct session *session, uint32_t lane)
{
    uint32_t told = 0;
    for (const struct seen_point *seen = session->points; seen != NULL; seen = seen->next) {
        told += seen->point.lane == lane;
    }
    uint32_t epochs = cpni_session_lane(&session->spec, lane)->epochs;
    if (told != epochs) {
        check_fail(sim, "session %.8s: lane %u is complete after %u epochs, %u were told", session->name, lane, epochs, told);
    }
}

static void check_outcome(struct sim *sim, const struct session *session)
{
    bool sweep = session->spec.mode == CPNI_MODE_SWEEP;
    if (session->state.state != CPNI_SESSION_COMPLETED || !session->state.reproducible) {
        return;
    }
    uint32_t lane = sweep ? session->state.lane : 0;
    if (!outcome_is(sim, session, lane, &session->state.weights_root)) {
        check_fail(sim, "session %.8s, %s: its weights are not those of a run in which nothing goes wrong", session->name, session->text);
    }
    for (uint32_t i = 0; !sweep && i < session->spec.peers; i++) {
        check_epochs(sim, session, i);
    }
    for (uint32_t i = 0; sweep && i < session->spec.lane_count && i < SESSION_LANES; i++) {
        if (session->lanes[i].state == CPNI_LANE_COMPLETED) {
            check_epochs(sim, session, i);
        }
        if (session->lanes[i].state == CPNI_LANE_COMPLETED && !outcome_is(sim, session, i, &session->lanes[i].weights_root)) {
            check_fail(sim, "session %.8s: the weights of lane %u are not those of a run in which nothing goes wrong", session->name, i);
        }
    }
}

/* A master's death repeats one round at most of each lane; whatever else goes wrong may as well. */
static void check_repeated(struct sim *sim, const struct session *session)
{
    const struct mix *mix = &sim->mix;
    unsigned others = mix->breaks | mix->partitions | mix->pauses | mix->crashes | mix->copies | mix->revokes | mix->stops | mix->drains |
                      mix->crashes_of_runners | mix->no_space | mix->corrupt | mix->lost_commit | mix->slow_net;
    for (uint32_t lane = 0; lane < SESSION_LANES && others == 0; lane++) {
        unsigned again = 0;
        for (uint32_t round = 0; round < SESSION_ROUNDS; round++) {
            again += session->did[lane][round] > 1 ? session->did[lane][round] - 1 : 0;
        }
        if (again > sim->master->deaths) {
            check_fail(sim, "session %.8s: lane %u did %u rounds again after %u deaths of the master", session->name, lane, again,
                       sim->master->deaths);
        }
    }
}

static void check_calm(struct sim *sim, const struct session *session)
{
    bool diverges = strstr(session->text, "lr=9") != NULL;
    bool sweep = session->spec.mode == CPNI_MODE_SWEEP;
    if (sim->calm && session->taken && !session->stopped && !(diverges && !sweep) && session->state.state != CPNI_SESSION_COMPLETED &&
        !(diverges && sweep)) {
        check_fail(sim, "session %.8s ended in state %u although nothing went wrong: %.200s", session->name, session->state.state,
                   session->state.text);
    }
    if (session->stored && !session->state.reproducible && !session_loose(sim, session)) {
        check_fail(sim, "session %.8s is not reproducible, it says: %.100s", session->name, session->state.why);
    }
}

void session_check_end(struct sim *sim)
{
    for (const struct session *session = sim->sessions; session != NULL && !sim->failed; session = session->next) {
        if (!session->stored) {
            continue;
        }
        check_outcome(sim, session);
        check_repeated(sim, session);
        check_calm(sim, session);
        sim->sessions_completed += session->state.state == CPNI_SESSION_COMPLETED;
    }
}

void session_free_all(struct sim *sim)
{
    while (sim->sessions != NULL) {
        struct session *session = sim->sessions;
        sim->sessions = session->next;
        while (session->points != NULL) {
            struct seen_point *seen = session->points;
            session->points = seen->next;
            free(seen);
        }
        cpni_session_spec_free(&session->spec);
        free(session);
    }
}

/* Whose trainer it is: the text of its spec and its dataset tell. */
struct session *session_by_spec(struct sim *sim, const struct cpn_hash *dataset, const struct cpni_session_spec *spec)
{
    for (struct session *session = sim->sessions; session != NULL; session = session->next) {
        bool same = memcmp(&session->dataset, dataset, sizeof *dataset) == 0 && session->spec.lane_count == spec->lane_count &&
                    session->spec.mode == spec->mode && session->spec.peers == spec->peers &&
                    session->spec.local_steps == spec->local_steps && session->spec.checkpoint == spec->checkpoint &&
                    memcmp(session->spec.lanes, spec->lanes, spec->lane_count * sizeof *spec->lanes) == 0;
        if (same) {
            return session;
        }
    }
    check_fail(sim, "a trainer of a session that nobody started");
    return NULL;
}
