/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Mode average: every lane trains on its shard for a round, the weights (or their changes) are averaged by samples, exactly, so that
 * neither order nor deaths change a bit of them; then the next round begins (DESIGN §9). With int8 changes of a byte a value go both ways.
 * The next round does not wait for the store, the one after it does: a master's death repeats one round at most. With a quorum a round
 * ends without the slowest. Must not know who the lanes' peers are. */
#include "core/master_session.h"

#include <string.h>

/* ---- figures ---- */

static uint64_t steps_before(const struct cpni_msession *session, uint64_t round)
{
    const struct cpni_session_spec *spec = &session->spec;
    uint64_t all = cpni_session_epoch_steps(spec, 0, session->train_rows) * cpni_session_lane(spec, 0)->epochs;
    uint64_t steps = (round - 1) * spec->local_steps;
    return steps < all ? steps : all;
}

static uint64_t epochs_before(const struct cpni_msession *session, uint64_t round)
{
    return steps_before(session, round) / cpni_session_epoch_steps(&session->spec, 0, session->train_rows);
}

/* The first round after an epoch's worth of steps begins with weights worth a look; so does what follows the last round. */
bool cpni_msession_evaluates(const struct cpni_msession *session, uint64_t round)
{
    return session->spec.validation_ppm != 0 && round > 1 && epochs_before(session, round) != epochs_before(session, round - 1);
}

/* The most samples that one round's mean can have: what the exact sum must have room for. */
static uint64_t samples_max(const struct cpni_msession *session, uint64_t steps)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        uint64_t rows = cpni_session_lane_rows(&session->spec, i, session->train_rows);
        uint64_t batch = cpni_session_lane(&session->spec, i)->batch;
        all += steps * (batch < rows ? batch : rows);
    }
    return all != 0 ? all : 1;
}

/* ---- an answer ---- */

/* The first vector says how many values the model has. */
static int prepare_sum(struct cpni_master_core *core, struct cpni_msession *session, uint64_t values)
{
    if (session->summing) {
        return 0;
    }
    values = session->values != 0 ? session->values : values;
    int rc = cpni_exactsum_init(&session->sum, values, samples_max(session, session->spec.local_steps), CPNI_EXACTSUM_WEIGHT_BITS);
    core->out->failed = core->out->failed || rc == CPN_ENOMEM;
    if (rc == 0) {
        session->summing = true;
        session->values = values;
        session->answers = 0;
    }
    return rc;
}

/* Weights, or what has changed of them: one kind in a round. */
static int add_to_sum(struct cpni_master_core *core, struct cpni_msession *session, const struct cpni_bytes *vector,
                      const struct cpni_msg_update *update)
{
    bool int8 = update->encoding != 0;
    if ((int8 && session->weights == NULL) || (session->answers != 0 && session->sum_int8 != int8)) {
        return CPN_EPROTO;
    }
    if (!int8) {
        return vector->size % sizeof(float) != 0 || vector->size / sizeof(float) != session->values
                   ? CPN_EPROTO
                   : cpni_exactsum_add(&session->sum, (const float *)(const void *)vector->data, update->samples);
    }
    float *change = cpni_malloc(session->values * sizeof *change);
    if (change == NULL) {
        core->out->failed = true;
        return CPN_ENOMEM;
    }
    int rc = cpni_delta8_decode(vector->data, vector->size, session->values, change);
    rc = rc < 0 ? rc : cpni_exactsum_add(&session->sum, change, update->samples);
    cpni_free(change);
    return rc;
}

static int count_in(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update)
{
    struct cpni_msession *session = lane->session;
    struct cpni_bytes *vector = cpni_mvector_take(core, lane, update->round, update->bytes);
    if (vector == NULL) {
        return CPN_EPROTO;
    }
    int rc = prepare_sum(core, session, vector->size / sizeof(float));
    rc = rc < 0 ? rc : add_to_sum(core, session, vector, update);
    cpni_bytes_unref(vector);
    if (rc == 0) {
        session->sum_int8 = update->encoding != 0;
        session->answers++;
        lane->answered = true;
    }
    return rc;
}

void cpni_msession_evaluated(struct cpni_master_core *core, struct cpni_msession *session, struct cpni_mlane *lane,
                             const struct cpni_msg_update *update)
{
    bool last = update->round > session->rounds;
    if (update->tested == 0 || (!last && !cpni_msession_evaluates(session, update->round))) {
        return;
    }
    uint64_t epoch = epochs_before(session, update->round);
    cpni_mpoint_evaluated(core, lane, CPNI_LANE_COMMON, (uint32_t)epoch, update);
    const struct cpni_mpoint *point = cpni_mpoint_find(session, CPNI_LANE_COMMON, (uint32_t)epoch);
    if (point != NULL) { /* of a session that is stopped the last ones are what is known of its outcome */
        session->evaluated = true;
        session->accuracy_ppm = point->point.accuracy_ppm;
        session->loss_micro = point->point.loss_micro;
    }
}

void cpni_msession_last(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update)
{
    cpni_msession_evaluated(core, lane->session, lane, update);
    if (!core->out->failed) {
        lane->session->evaluated_last = true;
        lane->training = 0;
    }
}

void cpni_msession_average_update(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update)
{
    struct cpni_msession *session = lane->session;
    bool late = update->round != session->round + 1;
    int rc = late ? 0 : count_in(core, lane, update);
    cpni_mvector_drop(core, lane);
    if (core->out->failed) {
        return; /* it is asked again */
    }
    if (rc < 0) {
        cpni_mlane_failed(core, lane, rc == CPN_EBADINPUT ? CPN_EDIVERGED : rc,
                          cpni_str(rc == CPN_EBADINPUT ? "a weight is not finite or too large to average" : "its update does not fit the session"));
        return;
    }
    cpni_msession_evaluated(core, session, lane, update);
    cpni_msession_fetch_state(core, lane, update);
    lane->round = update->round;
    lane->training = 0;
    lane->state = CPNI_LANE_WAITING;
    if (session->spec.quorum != 0 && session->answers == session->spec.quorum && session->cut_us == 0 && !late) {
        int64_t took_us = core->now.mono_us - session->began_us;
        session->cut_us = core->now.mono_us + (took_us > 1000000 ? took_us : 1000000);
    }
}

/* ---- the end of a round ---- */

/* Owns what was allocated; NULL, and the step has failed, when it was not. */
static struct cpni_bytes *owned(struct cpni_master_core *core, void *data, size_t size)
{
    struct cpni_bytes *bytes = data != NULL ? cpni_bytes_take(data, size) : NULL;
    if (bytes == NULL) {
        core->out->failed = true;
        cpni_free(data);
    }
    return bytes;
}

struct cpni_bytes *cpni_msession_mean(struct cpni_master_core *core, const struct cpni_msession *session)
{
    float *mean = cpni_malloc(session->values * sizeof *mean);
    if (mean != NULL && cpni_exactsum_mean(&session->sum, mean) < 0) {
        cpni_free(mean);
        return NULL;
    }
    return owned(core, mean, session->values * sizeof *mean);
}

/* int8: what goes out is a byte a value, too, so this is what the weights change by. By chance, not with a residual: that would have to
 * outlive the master, as the weights do. */
static struct cpni_bytes *encoded_change(struct cpni_master_core *core, const struct cpni_msession *session, const struct cpni_bytes *mean)
{
    const uint64_t seed = cpni_session_lane(&session->spec, 0)->seed ^ (session->round + 1) << 32;
    uint8_t *change = cpni_malloc(cpni_delta8_size(session->values));
    if (change != NULL) {
        cpni_delta8_dither((const float *)(const void *)mean->data, session->values, seed, change); /* a mean is finite */
    }
    return owned(core, change, cpni_delta8_size(session->values));
}

static struct cpni_bytes *changed_weights(struct cpni_master_core *core, const struct cpni_msession *session, const struct cpni_bytes *change)
{
    float *weights = cpni_malloc(session->weights->size);
    if (weights != NULL) {
        memcpy(weights, session->weights->data, session->weights->size);
        cpni_delta8_add(change->data, change->size, session->values, weights);
    }
    return owned(core, weights, session->weights->size);
}

/* What the round comes to: weights, and with int8 the change that leads to them. NULL: no memory. */
static struct cpni_bytes *conclude(struct cpni_master_core *core, const struct cpni_msession *session, struct cpni_bytes **change)
{
    struct cpni_bytes *mean = cpni_msession_mean(core, session);
    *change = NULL;
    if (mean == NULL || !session->sum_int8) {
        return mean;
    }
    *change = encoded_change(core, session, mean);
    struct cpni_bytes *weights = *change != NULL ? changed_weights(core, session, *change) : NULL;
    cpni_bytes_unref(mean);
    return weights;
}

static void cut(struct cpni_master_core *core, struct cpni_msession *session)
{
    for (uint32_t i = 0; i < session->lane_count; i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        if (!lane->answered) {
            struct cpni_log_about about = cpni_msession_about(core, session, lane->peer != NULL ? lane->peer->node : NULL);
            cpni_log(core->out, CPNI_LOG_SESSION_LATE, &about, "lane %u, round %llu", i, (unsigned long long)session->round + 1);
        }
        lane->answered = false;
    }
}

/* The place of the new weights among those that are kept. */
struct cpni_mstored *cpni_mstored_place(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_mstored *stored = &session->history[(session->round + 1) % CPNI_MSESSION_ROUNDS];
    if (stored->round != 0 && session->spec.quorum == 0) {
        cpni_msession_end(core, session, CPNI_SESSION_FAILED, CPN_EIO, "no checkpoint of a lane came for %d rounds", CPNI_MSESSION_ROUNDS);
        return NULL;
    }
    cpni_mstored_drop(core, stored); /* with a quorum a lane may be late for ever: it goes on without what it missed */
    return stored;
}

static void end_round(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_bytes *change;
    struct cpni_bytes *weights = conclude(core, session, &change);
    struct cpni_mstored *stored = weights != NULL ? cpni_mstored_place(core, session) : NULL;
    if (stored == NULL) {
        cpni_bytes_unref(weights);
        cpni_bytes_unref(change);
        return;
    }
    cut(core, session);
    *stored = (struct cpni_mstored){ .round = session->round + 1, .data = cpni_bytes_ref(weights) };
    cpni_bytes_unref(session->weights);
    cpni_bytes_unref(session->change);
    session->weights = weights;
    session->change = change;
    session->round++;
    session->answers = 0;
    session->cut_us = session->began_us = 0;
    cpni_exactsum_reset(&session->sum);
    cpni_msession_store(core, session);
}

static bool round_over(const struct cpni_master_core *core, const struct cpni_msession *session)
{
    return session->answers != 0 &&
           (session->answers == session->lane_count || (session->cut_us != 0 && core->now.mono_us >= session->cut_us));
}

/* ---- what is due ---- */

/* A checkpoint is due with the first round of each period that a lane does; where one was lost, with its next. Twice in the time that a
 * replay may span at most, so that one may be on its way or lost. One at a time: rounds can be so short that each checkpoint would take
 * the place of the one before, and none ever arrive. */
static bool state_due(const struct cpni_mlane *lane, uint64_t round)
{
    uint64_t every = lane->session->spec.checkpoint;
    every = every < CPNI_SESSION_REPLAY_MAX / 2 ? every : CPNI_SESSION_REPLAY_MAX / 2;
    return lane->state_next.round == 0 && round / every > lane->state_kept.round / every;
}

/* A round more than could be replayed is not begun while the checkpoint that would allow it is on its way. */
static bool awaits_checkpoint(const struct cpni_msession *session)
{
    for (uint32_t i = 0; session->spec.quorum == 0 && i < session->lane_count; i++) {
        const struct cpni_mlane *lane = &session->lanes[i];
        if (lane->state_next.round != 0 && session->round - lane->state_kept.round >= CPNI_SESSION_REPLAY_MAX) {
            return true;
        }
    }
    return false;
}

static void train_lanes(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_mtrain train = { .round = session->round + 1, .weights = session->weights, .change = session->change };
    if (train.round > session->committed_round + 2 || awaits_checkpoint(session)) {
        return; /* a death now would repeat more than a round, or could not be made good */
    }
    if (session->began_us == 0) {
        session->began_us = core->now.mono_us;
    }
    train.steps = cpni_session_round_steps(&session->spec, 0, session->train_rows, train.round);
    for (uint32_t i = 0; i < session->lane_count && !core->out->failed; i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        if (lane->peer != NULL && !lane->answered) {
            train.evaluate = i == 0 && cpni_msession_evaluates(session, train.round);
            train.state = state_due(lane, train.round);
            cpni_mlane_train(core, lane, &train);
        }
    }
}

void cpni_msession_finish(struct cpni_master_core *core, struct cpni_msession *session)
{
    cpni_msession_state(core, session, CPNI_SESSION_AGGREGATING);
    bool evaluated = session->evaluated_last || session->spec.validation_ppm == 0;
    if (!evaluated && session->lanes[0].peer != NULL) {
        bool own = session->spec.mode == CPNI_MODE_SYNC; /* they are the common ones */
        const struct cpni_mtrain train = { .round = session->rounds + 1, .weights = own ? NULL : session->weights,
                                           .change = session->change, .evaluate = true };
        cpni_mlane_train(core, &session->lanes[0], &train);
    } else if (evaluated && cpni_msession_saved(session)) {
        cpni_msession_end(core, session, CPNI_SESSION_COMPLETED, 0, "%llu rounds", (unsigned long long)session->rounds);
    }
}

void cpni_msession_average(struct cpni_master_core *core, struct cpni_msession *session)
{
    if (session->round != 0 && session->weights == NULL) {
        cpni_msession_load(core, session);
        return;
    }
    cpni_mlane_share(core, session);
    if (round_over(core, session)) {
        end_round(core, session);
    }
    if (cpni_msession_over(session) || core->out->failed) {
        return;
    }
    if (session->round >= session->rounds) {
        cpni_msession_finish(core, session);
    } else {
        train_lanes(core, session);
    }
}
