/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the epochs of a training session came to: one point a lane and epoch, the first word on it counts, each is made durable. Must not
 * know where the figures come from. */
#include "core/master_session.h"

static uint64_t key_of(uint32_t lane, uint32_t epoch)
{
    return (uint64_t)lane << 32 | epoch;
}

struct cpni_mpoint *cpni_mpoint_find(const struct cpni_msession *session, uint32_t lane, uint32_t epoch)
{
    uint64_t key = key_of(lane, epoch);
    struct cpni_mpoint *point;
    HASH_FIND(hh, session->points, &key, sizeof key, point);
    return point;
}

struct cpni_mpoint *cpni_mpoint_add(struct cpni_master_core *core, struct cpni_msession *session,
                                    const struct cpni_command_session_point *values)
{
    if (cpni_mpoint_find(session, values->lane, values->epoch) != NULL || HASH_COUNT(session->points) >= 2 * CPNI_SESSION_POINTS_MAX) {
        return NULL;
    }
    struct cpni_mpoint *point = cpni_calloc(1, sizeof *point);
    if (point == NULL) {
        goto no_memory;
    }
    point->point = *values;
    point->point.session = session->id;
    point->key = key_of(values->lane, values->epoch);
    HASH_ADD(hh, session->points, key, sizeof point->key, point);
    if (cpni_hash_missed(point)) {
        cpni_free(point);
        goto no_memory;
    }
    session->points_dirty = true;
    session->dirty = true;
    return point;
no_memory:
    if (core->out != NULL) {
        core->out->failed = true;
    }
    return NULL;
}

void cpni_mpoint_store(struct cpni_master_core *core, struct cpni_msession *session)
{
    if (!session->points_dirty) {
        return;
    }
    bool open = false;
    struct cpni_mpoint *point;
    for (point = session->points; point != NULL; point = point->hh.next) {
        if (!point->committed && point->ticket == 0) {
            struct cpni_command command = { .type = CPNI_COMMAND_SESSION_POINT };
            command.u.session_point = point->point;
            point->ticket = cpni_msession_commit(core, session, &command, point->key);
        }
        open = open || !point->committed;
    }
    session->points_dirty = open;
}

void cpni_mpoint_done(struct cpni_msession *session, uint64_t key, const struct cpni_commit *commit)
{
    struct cpni_mpoint *point;
    HASH_FIND(hh, session->points, &key, sizeof key, point);
    if (point != NULL) {
        point->ticket = 0;
        point->committed = commit->status == CPNI_COMMITTED;
    }
}

static uint32_t ppm_of(uint64_t part, uint64_t of)
{
    return of == 0 || part > of ? 0 : (uint32_t)(part * 1000000 / of);
}

/* The common weights of average and sync, or a configuration of a sweep, after an epoch. Common weights have no figures of training: which
 * updates came before this one is chance, and those of an earlier term are not known; the lanes have their own. */
void cpni_mpoint_evaluated(struct cpni_master_core *core, struct cpni_mlane *lane, uint32_t number, uint32_t epoch,
                           const struct cpni_msg_update *update)
{
    struct cpni_msession *session = lane->session;
    bool common = number == CPNI_LANE_COMMON;
    struct cpni_command_session_point values = { .lane = number, .epoch = epoch,
        .samples = common ? 0 : update->samples,
        .train_loss_micro = common ? 0 : update->loss_micro,
        .train_ppm = common ? 0 : ppm_of(update->correct, update->samples),
        .evaluated = update->tested != 0, .loss_micro = update->tested_loss_micro,
        .accuracy_ppm = ppm_of(update->tested_correct, update->tested), .rate = lane->shown.rate,
        .at_us = core->now.wall_us - session->started_wall_us };
    if (lane->peer != NULL && !common) {
        memcpy(values.node, lane->peer->node->identity->name, sizeof values.node);
    }
    cpni_mpoint_add(core, session, &values);
}

/* The heartbeat of a lane. A sweep's epochs become points with the UPDATE that says how the validation went. */
void cpni_mpoint_epoch(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_epoch *epoch)
{
    struct cpni_msession *session = lane->session;
    if (!epoch->done && epoch->round != lane->training) {
        return; /* overtaken by the end of its round, on the other connection */
    }
    lane->shown.epoch = epoch->epoch;
    lane->shown.step = epoch->step;
    lane->shown.steps = epoch->steps;
    lane->shown.loss_micro = epoch->loss_micro;
    lane->shown.accuracy_ppm = epoch->accuracy_ppm;
    lane->shown.rate = epoch->rate;
    bool own = epoch->epoch != 0 && epoch->epoch <= cpni_session_lane(&session->spec, lane->number)->epochs;
    if (!epoch->done || !own || session->spec.mode == CPNI_MODE_SWEEP) {
        return;
    }
    struct cpni_command_session_point values = { .lane = lane->number, .epoch = epoch->epoch, .samples = epoch->samples,
        .train_loss_micro = epoch->loss_micro, .train_ppm = epoch->accuracy_ppm, .rate = epoch->rate,
        .at_us = core->now.wall_us - session->started_wall_us };
    memcpy(values.node, lane->peer->node->identity->name, sizeof values.node);
    cpni_mpoint_add(core, session, &values);
}
