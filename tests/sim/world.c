/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The world of one run: virtual time, the places and their identities, the end. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_US (120 * SECOND) /* after the faults: every queue, retry and timeout of the network has had its turn by then */
/* And after the last task: acknowledgements, spools, liveness; the tasks of programs that left are kept for a minute. */
#define AFTERMATH_US (12 * SECOND + CPNI_CLAIM_MS * MS)
#define SESSION_PATIENCE_US (CPNI_SESSION_WAIT_MS * MS + 60 * SECOND) /* one that is left without nodes waits for some */
#define GRACE_US (CPNI_CLIENT_GRACE_MS * MS)

void *sim_alloc(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        perror("sim");
        exit(2);
    }
    return memory;
}

void timer_set(struct sim *sim, struct timer *timer, int64_t at_us)
{
    if (timer->heap.index != 0) {
        cpni_heap_move(&sim->queue, &timer->heap, at_us);
    } else if (cpni_heap_insert(&sim->queue, &timer->heap, at_us) < 0) {
        exit(2);
    }
}

void timer_stop(struct sim *sim, struct timer *timer)
{
    cpni_heap_remove(&sim->queue, &timer->heap);
}

struct place *place_by_key(struct sim *sim, const struct cpn_key *key)
{
    for (size_t i = 0; i < sim->place_count; i++) {
        if (memcmp(&sim->places[i]->key, key, sizeof *key) == 0) {
            return sim->places[i];
        }
    }
    return NULL;
}

/* ---- places ---- */

static void restart_fire(struct sim *sim, struct timer *timer)
{
    struct place *place = OWNER(timer, struct place, restart);
    if (place->proc != NULL || place->retired) {
        return;
    }
    enum kind kind = place->enrolled || place->kind == KIND_MASTER ? place->kind : KIND_ENROL;
    proc_start(sim, place, kind);
}

void place_restart(struct sim *sim, struct place *place, int64_t after_us)
{
    place->restart.fire = restart_fire;
    if (!place->retired) {
        timer_set(sim, &place->restart, sim->now_us + after_us);
    }
}

static void must(struct sim *sim, struct cpni_command *command)
{
    struct cpni_commit commit;
    if (store_apply_now(sim->store, command, &commit) < 0) {
        check_fail(sim, "the world cannot be made: %s", commit.text);
    }
}

static void enrol_now(struct sim *sim, struct place *place, enum cpn_role role)
{
    struct cpni_command add = { .type = CPNI_COMMAND_IDENTITY_ADD, .u.identity_add = { .key = place->key, .role = role } };
    memcpy(add.u.identity_add.name, place->name, sizeof place->name);
    must(sim, &add);
    place->enrolled = true;
}

static void give_token(struct sim *sim, struct place *place, enum cpn_role role)
{
    struct cpni_command add = { .type = CPNI_COMMAND_TOKEN_ADD, .u.token_add = { .role = role, .uses = 1 } };
    rng_fill(sim, &place->token, sizeof place->token);
    add.u.token_add.token = place->token;
    must(sim, &add);
}

static struct place *place_new(struct sim *sim, enum kind kind, const char *name, unsigned number)
{
    struct place *place = sim_alloc(sizeof *place);
    place->index = (unsigned)sim->place_count;
    place->kind = kind;
    snprintf(place->name, sizeof place->name, "%s%u", name, number);
    rng_fill(sim, &place->key, sizeof place->key);
    place->mono_offset_us = rng_between(sim, 0, 1000000 * SECOND); /* clocks of different machines have nothing in common */
    place->wall_offset_us = INT64_C(1790000000) * SECOND + rng_between(sim, -300 * SECOND, 300 * SECOND);
    sim->places[sim->place_count++] = place;
    return place;
}

static void make_nodes(struct sim *sim)
{
    unsigned count = sim->options->nodes != 0 ? sim->options->nodes : (unsigned)rng_between(sim, sim->options->train ? 2 : 1, 4);
    for (unsigned i = 0; i < count; i++) {
        struct place *place = place_new(sim, KIND_NODE, "node", i + 1);
        place->slots = (uint32_t)rng_between(sim, 1, 4);
        place->memory = (uint64_t)rng_between(sim, 1, 8) << 30;
        place->handler = i == 0 || rng_chance(sim, 300);
        place->trains = sim->options->train || rng_chance(sim, 850);
        place->odd = rng_chance(sim, 40);
        if (rng_chance(sim, 300)) {
            give_token(sim, place, CPN_ROLE_NODE);
        } else {
            enrol_now(sim, place, CPN_ROLE_NODE);
        }
    }
}

static void make_clients(struct sim *sim)
{
    bool trains = sim->options->train || rng_chance(sim, 200);
    unsigned count = sim->options->clients != 0 ? sim->options->clients : (unsigned)rng_between(sim, 1, 3);
    for (unsigned i = 0; i <= count; i++) {
        struct place *place = place_new(sim, KIND_CLIENT, i == 0 ? "admin" : "client", i);
        place->admin = i == 0;
        place->tasks_left = i == 0 ? 3 : sim->options->train ? (unsigned)rng_between(sim, 0, 5) : (unsigned)rng_between(sim, 5, 60);
        place->sessions_left = i != 0 && trains ? (unsigned)rng_between(sim, 1, sim->options->train ? 3 : 1) : 0;
        rng_fill(sim, &place->signer, sizeof place->signer);
        if (i > 1 && rng_chance(sim, 300)) { /* another program of the same user */
            place->key = sim->places[sim->place_count - 2]->key;
            place->enrolled = true;
        } else {
            enrol_now(sim, place, place->admin ? CPN_ROLE_ADMIN : CPN_ROLE_USER);
        }
    }
}

static uint32_t sometimes(struct sim *sim, int64_t least, int64_t most)
{
    uint32_t value = (uint32_t)rng_between(sim, least, most);
    return rng_chance(sim, 300) ? value : 0;
}

static void make_config(struct sim *sim)
{
    struct cpni_master_config *config = &sim->master_config;
    config->name = cpni_str("sim");
    config->tasks_max = sometimes(sim, 3, 20);
    config->user_tasks_max = sometimes(sim, 2, 10);
    config->task_bytes_max = sometimes(sim, 600000, 2000000);
    config->user_bytes_max = sometimes(sim, 600000, 1000000);
    config->spool_bytes_max = sometimes(sim, 8 << 20, 20 << 20);
    if (rng_chance(sim, 200)) {
        config->heartbeat_ms = 300;
        config->gone_ms = 1000;
    }
}

static void make(struct sim *sim)
{
    sim->store = store_new(sim);
    check_open(sim);
    make_config(sim);
    models_make(sim);
    sim->master = place_new(sim, KIND_MASTER, "master", 0);
    make_nodes(sim);
    make_clients(sim);
    faults_start(sim);
    sim->quiet_us = rng_between(sim, 5 * SECOND, 40 * SECOND);
    sim->end_us = INT64_MAX;
    for (size_t i = 0; i < sim->place_count; i++) {
        place_restart(sim, sim->places[i], rng_between(sim, 0, 2 * SECOND));
    }
}

/* ---- a run ---- */

/* When nothing is owed any more, a while longer; when something stays owed, for ever is here. */
static void look_for_the_end(struct sim *sim)
{
    char why[256];
    if (!sim->quiet || sim->failed) {
        return;
    }
    if (sim->end_us == INT64_MAX && program_settled(sim, why, sizeof why)) {
        sim->end_us = sim->now_us + AFTERMATH_US + (sim->mix.clients_leave != 0 || sim->mix.stops != 0 ? GRACE_US : 0);
    } else if (sim->end_us != INT64_MAX && sim->now_us >= sim->end_us - 2 * SECOND && sim->audit == 0) {
        program_audit(sim);
    } else if (sim->now_us >= sim->end_us) {
        check_end(sim);
        sim->finished = true;
    } else if (sim->end_us == INT64_MAX && sim->now_us > sim->quiet_us + PATIENCE_US + (sim->sessions != NULL ? SESSION_PATIENCE_US : 0)) {
        program_settled(sim, why, sizeof why);
        check_fail(sim, "%s", why);
    }
}

static void run(struct sim *sim)
{
    int64_t look_us = 0;
    while (!sim->failed && !sim->finished) {
        struct cpni_heap_entry *first = cpni_heap_first(&sim->queue);
        if (first == NULL) {
            check_fail(sim, "nothing happens any more");
            break;
        }
        struct timer *timer = OWNER(first, struct timer, heap);
        sim->now_us = first->at_us > sim->now_us ? first->at_us : sim->now_us;
        cpni_heap_remove(&sim->queue, first);
        timer->fire(sim, timer);
        if (sim->now_us >= look_us) {
            look_us = sim->now_us + 200 * MS;
            look_for_the_end(sim);
        }
    }
}

static void unmake(struct sim *sim)
{
    for (size_t i = 0; i < sim->place_count; i++) {
        if (sim->places[i]->proc != NULL) {
            proc_kill(sim->places[i]->proc);
        }
    }
    net_free(sim);
    program_free(sim);
    check_close(sim);
    store_free(sim->store);
    for (size_t i = 0; i < sim->place_count; i++) {
        disk_free(&sim->places[i]->disk);
        free(sim->places[i]);
    }
    cpni_heap_free(&sim->queue);
}

void sim_run(uint64_t seed, const struct options *options, struct outcome *out)
{
    struct sim *sim = sim_alloc(sizeof *sim);
    sim->seed = seed;
    sim->options = options;
    sim->hash = 0xcbf29ce484222325u;
    sim->next_conn = 100;
    sim->next_content = 1;
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < 4; i++) {
        state += 0x9e3779b97f4a7c15u;
        uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        sim->rng[i] = z ^ (z >> 31);
    }
    content_real_tree(options->real_tree);
    make(sim);
    run(sim);
    *out = (struct outcome){ .failed = sim->failed, .hash = sim->hash, .steps = sim->steps, .packets = sim->packets, .runs = sim->runs,
                             .delivered = sim->delivered, .sessions = sim->sessions_completed,
                             .rounds = sim->rounds, .replays = sim->replays, .changes = sim->changes, .end_us = sim->now_us };
    memcpy(out->failure, sim->failure, sizeof out->failure);
    unmake(sim);
    free(sim);
}
