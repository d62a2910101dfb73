/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What goes wrong, and when it stops: connections break, directions stall, processes pause, are stopped and killed, a data directory is
 * copied. Each seed has a mix of its own, so that some faults are also seen alone. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#define BEAT_US (100 * MS)

/* Rates are per process and second, per mille. */
static bool happens(struct sim *sim, unsigned rate)
{
    return rate != 0 && rng_below(sim, 10000) < rate;
}

static void copy_place(struct sim *sim, struct place *from)
{
    if (sim->place_count == PLACES_MAX || from->ready_count == 0) {
        return;
    }
    struct place *copy = sim_alloc(sizeof *copy);
    *copy = *from;
    copy->index = (unsigned)sim->place_count;
    snprintf(copy->name, sizeof copy->name, "%.10s-copy", from->name);
    copy->copy = true;
    copy->proc = NULL;
    copy->disk = (struct disk){ 0 };
    disk_copy(&copy->disk, &from->disk);
    memset(&copy->restart.heap, 0, sizeof copy->restart.heap);
    memset(&copy->program.heap, 0, sizeof copy->program.heap);
    from->disruptions++;
    copy->disruptions = 1;
    sim->places[sim->place_count++] = copy;
    proc_start(sim, copy, KIND_NODE);
}

static void retire(struct place *place)
{
    place->retired = true;
    if (place->proc != NULL) {
        proc_kill(place->proc);
    }
}

static void kill_one(struct sim *sim, struct place *place)
{
    proc_kill(place->proc);
    place_restart(sim, place, rng_chance(sim, 700) ? rng_between(sim, 5 * MS, SECOND) : rng_between(sim, SECOND, 8 * SECOND));
}

static void ail(struct sim *sim, struct place *place)
{
    const struct mix *mix = &sim->mix;
    bool master = place->kind == KIND_MASTER;
    if (happens(sim, mix->pauses)) {
        proc_pause(place->proc, sim->now_us + rng_between(sim, 100 * MS, 7 * SECOND));
    }
    if (!master && happens(sim, mix->breaks)) {
        net_break_one(sim, place);
    }
    if (!master && happens(sim, mix->partitions)) {
        unsigned ways = (unsigned)rng_between(sim, 1, 3);
        net_partition(sim, place, (ways & 1) != 0, (ways & 2) != 0, sim->now_us + rng_between(sim, 100 * MS, 12 * SECOND));
    }
    if (happens(sim, mix->stops)) {
        proc_stop(place->proc, rng_chance(sim, 700));
    }
    if (place->kind == KIND_NODE && !place->copy && happens(sim, mix->copies)) {
        copy_place(sim, place);
    } else if (place->copy && happens(sim, 300)) {
        retire(place);
        return;
    }
    unsigned crashes = master ? mix->master_crashes : place->kind == KIND_CLIENT ? mix->clients_leave : mix->crashes;
    if (happens(sim, crashes)) {
        kill_one(sim, place);
    }
}

static void go_quiet(struct sim *sim)
{
    sim->quiet = true;
    trace_line(sim, NULL, "== faults and submissions stop");
    for (size_t i = 0; i < sim->place_count; i++) {
        struct place *place = sim->places[i];
        place->stalled_to_master_us = place->stalled_to_peer_us = 0;
        if (place->copy) {
            retire(place);
        } else if (place->proc == NULL) {
            place_restart(sim, place, rng_between(sim, 0, SECOND));
        }
    }
}

static void fault_fire(struct sim *sim, struct timer *timer)
{
    if (sim->now_us >= sim->quiet_us) {
        go_quiet(sim);
        return;
    }
    size_t count = sim->place_count;
    for (size_t i = 0; i < count; i++) {
        struct place *place = sim->places[i];
        if (place->proc != NULL && place->proc->core != NULL && place->proc->paused_until_us <= sim->now_us) {
            ail(sim, place);
        }
    }
    timer_set(sim, timer, sim->now_us + BEAT_US);
}

static unsigned draw(struct sim *sim, unsigned given, int64_t most)
{
    unsigned drawn = (unsigned)rng_between(sim, 1, most);
    return rng_chance(sim, 500) ? 0 : given < drawn ? given : drawn;
}

/* Of what the options allow, some; one seed in ten has none. */
void faults_start(struct sim *sim)
{
    const struct mix *given = &sim->options->mix;
    bool calm = rng_chance(sim, 100);
    sim->mix = (struct mix){
        .breaks = draw(sim, given->breaks, 400), .partitions = draw(sim, given->partitions, 150),
        .pauses = draw(sim, given->pauses, 100), .crashes = draw(sim, given->crashes, 200),
        .master_crashes = draw(sim, given->master_crashes, 150), .slow_net = draw(sim, given->slow_net, 50),
        .slow_disk = draw(sim, given->slow_disk, 50), .slow_commit = draw(sim, given->slow_commit, 300),
        .lost_commit = draw(sim, given->lost_commit, 100), .corrupt = draw(sim, given->corrupt, 100),
        .no_space = draw(sim, given->no_space, 50), .copies = draw(sim, given->copies, 60), .drains = draw(sim, given->drains, 300),
        .revokes = draw(sim, given->revokes, 60), .stops = draw(sim, given->stops, 80),
        .clients_leave = draw(sim, given->clients_leave, 100), .crashes_of_runners = draw(sim, given->crashes_of_runners, 100),
        .admin = draw(sim, given->admin, 800),
    };
    if (calm) {
        sim->mix = (struct mix){ 0 };
        sim->calm = true;
    }
    sim->fault.fire = fault_fire;
    timer_set(sim, &sim->fault, SECOND);
}
