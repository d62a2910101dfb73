/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Mode sync: at every step the gradients of all lanes are averaged by samples, exactly, and every lane applies the same mean, so that all
 * have the same weights all along (DESIGN §9). A round is so many steps and ends with a checkpoint of every lane; when one lane loses its
 * place in a round, all begin the round anew. Must not know who the lanes' peers are. */
#include "core/master_session.h"

static uint64_t samples_of_step(const struct cpni_msession *session)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        uint64_t rows = cpni_session_lane_rows(&session->spec, i, session->train_rows);
        uint64_t batch = cpni_session_lane(&session->spec, i)->batch;
        all += batch < rows ? batch : rows;
    }
    return all != 0 ? all : 1;
}

/* ---- a step ---- */

static int prepare_sum(struct cpni_master_core *core, struct cpni_msession *session, uint64_t values)
{
    if (session->summing) {
        return 0;
    }
    values = session->values != 0 ? session->values : values;
    int rc = cpni_exactsum_init(&session->sum, values, samples_of_step(session), CPNI_EXACTSUM_GRADIENT_BITS);
    core->out->failed = core->out->failed || rc == CPN_ENOMEM;
    if (rc == 0) {
        session->summing = true;
        session->values = values;
    }
    return rc;
}

static void send_mean(struct cpni_master_core *core, struct cpni_mlane *lane)
{
    struct cpni_msession *session = lane->session;
    struct cpni_mlink *link = lane->peer != NULL ? lane->peer->node->link : NULL;
    struct cpni_mconn *bulk = link != NULL ? link->bulk : NULL;
    if (bulk == NULL || bulk->deaf || bulk->dropped || lane->training == 0) {
        return; /* it says its gradient again when it is back */
    }
    cpni_mvector_send(core, bulk, lane, lane->training, session->gradient);
    struct cpni_msg msg = { .type = CPNI_MSG_GRADIENT };
    msg.gradient.session = session->id;
    msg.gradient.lane = lane->number;
    msg.gradient.round = lane->training;
    msg.gradient.step = session->step;
    msg.gradient.samples = session->sum.weight;
    msg.gradient.bytes = session->gradient->size;
    cpni_mconn_send(core, bulk, &msg);
}

static void end_step(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_bytes *mean = cpni_msession_mean(core, session);
    if (mean == NULL) {
        return; /* out of memory: all say their gradients again, and this one counts as it did */
    }
    cpni_bytes_unref(session->gradient);
    session->gradient = mean;
    session->step++;
    session->answers = 0;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        send_mean(core, &session->lanes[i]);
    }
    cpni_exactsum_reset(&session->sum);
}

static int count_in(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_gradient *msg)
{
    struct cpni_msession *session = lane->session;
    struct cpni_bytes *vector = cpni_mvector_take(core, lane, msg->round, msg->bytes);
    if (vector == NULL) {
        return CPN_EPROTO;
    }
    uint64_t values = vector->size / sizeof(float);
    int rc = vector->size % sizeof(float) != 0 ? CPN_EPROTO : prepare_sum(core, session, values);
    rc = rc == 0 && values != session->values ? CPN_EPROTO : rc;
    rc = rc < 0 ? rc : cpni_exactsum_add(&session->sum, (const float *)(const void *)vector->data, msg->samples);
    cpni_bytes_unref(vector);
    if (rc == 0) {
        lane->step_answered = msg->step;
        session->answers++;
    }
    return rc;
}

/* One that comes again after its step is over missed the mean; one that comes again before counts once. */
void cpni_msession_gradient(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_gradient *msg)
{
    struct cpni_msession *session = lane->session;
    bool asked = lane->training != 0 && msg->round == lane->training && session->spec.mode == CPNI_MODE_SYNC;
    int rc = 0;
    if (asked && msg->step == session->step && session->gradient != NULL) {
        send_mean(core, lane);
    } else if (asked && msg->step == session->step + 1 && lane->step_answered != msg->step) {
        rc = count_in(core, lane, msg);
    }
    cpni_mvector_drop(core, lane);
    if (rc < 0 && !core->out->failed) {
        cpni_mlane_failed(core, lane, rc == CPN_EBADINPUT ? CPN_EDIVERGED : rc,
                          cpni_str(rc == CPN_EBADINPUT ? "a gradient is not finite or too large to average" : "its gradient does not fit the session"));
    } else if (session->answers == session->lane_count) {
        end_step(core, session);
    }
}

/* ---- a round ---- */

void cpni_msession_sync_update(struct cpni_master_core *core, struct cpni_mlane *lane, const struct cpni_msg_update *update)
{
    struct cpni_msession *session = lane->session;
    struct cpni_bytes *weights = cpni_mvector_take(core, lane, update->round, update->bytes);
    if (session->step != cpni_session_round_steps(&session->spec, 0, session->train_rows, update->round)) {
        cpni_bytes_unref(weights); /* of the round as it was before it began anew */
        return;
    }
    bool fits = weights != NULL && weights->size == session->values * sizeof(float) && update->encoding == 0 &&
                !cpni_mhash_zero(&update->state_root);
    if (core->out->failed) {
        return; /* it is asked again */
    }
    if (!fits) {
        cpni_bytes_unref(weights);
        cpni_mlane_failed(core, lane, CPN_EPROTO, cpni_str("its update does not fit the session"));
        return;
    }
    if (lane->number == 0) {
        cpni_bytes_unref(session->weights);
        session->weights = weights;
    } else {
        cpni_bytes_unref(weights);
    }
    cpni_msession_fetch_state(core, lane, update);
    if (core->out->failed) {
        return;
    }
    cpni_msession_evaluated(core, session, lane, update);
    lane->round = update->round;
    lane->training = 0;
    lane->answered = true;
    lane->state = CPNI_LANE_WAITING;
}

/* All that the lanes did of the round is of no use: they go back to their last checkpoints, which are of one and the same round. */
static void begin_anew(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_log_about about = cpni_msession_about(core, session, NULL);
    cpni_log(core->out, CPNI_LOG_SESSION_ROUND_REPEATED, &about, "round %llu of all lanes", (unsigned long long)session->round + 1);
    session->repeated++;
    session->state_dirty = true;
    session->restart = false;
    session->step = 0;
    session->answers = 0;
    cpni_bytes_unref(session->gradient);
    session->gradient = NULL;
    if (session->summing) {
        cpni_exactsum_reset(&session->sum);
    }
    for (uint32_t i = 0; i < session->lane_count; i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        lane->training = lane->step_answered = 0;
        lane->laned_on = lane->trained_on = 0;
        lane->answered = false;
        lane->round = session->round;
        cpni_mvector_drop(core, lane);
        if (lane->state_next.round > session->round) {
            cpni_transfer_cancel(core->transfer, lane->state_next.ticket, &core->now, core->out);
            cpni_mstored_drop(core, &lane->state_next);
        }
    }
}

/* A HELLO in the middle of a round (a lane that is told its place again restores it), or a checkpoint that did not come. */
static bool lost_place(const struct cpni_mlane *lane)
{
    const struct cpni_mlink *link = lane->peer != NULL ? lane->peer->node->link : NULL;
    if (lane->training != 0) {
        return link != NULL && link->bulk != NULL && link->bulk->number != lane->laned_on;
    }
    return lane->answered && lane->state_next.round != lane->round && lane->state_kept.round != lane->round;
}

static bool round_over(const struct cpni_msession *session)
{
    for (uint32_t i = 0; i < session->lane_count; i++) {
        const struct cpni_mlane *lane = &session->lanes[i];
        if (!lane->answered || !lane->state_next.here) {
            return false;
        }
    }
    return true;
}

static void end_round(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_mstored *stored = cpni_mstored_place(core, session);
    if (stored == NULL) {
        return;
    }
    *stored = (struct cpni_mstored){ .round = session->round + 1, .data = cpni_bytes_ref(session->weights) };
    session->round++;
    session->step = 0;
    session->answers = 0;
    cpni_bytes_unref(session->gradient);
    session->gradient = NULL;
    for (uint32_t i = 0; i < session->lane_count; i++) {
        session->lanes[i].answered = false;
        session->lanes[i].step_answered = 0;
    }
    cpni_msession_store(core, session);
}

/* Checkpoints are durable before the next round begins: there is one place for one on its way. */
static bool lanes_saved(const struct cpni_msession *session)
{
    for (uint32_t i = 0; i < session->lane_count; i++) {
        if (session->lanes[i].state_next.round != 0 && !session->lanes[i].answered) {
            return false;
        }
    }
    return true;
}

static void train_lanes(struct cpni_master_core *core, struct cpni_msession *session)
{
    struct cpni_mtrain train = { .round = session->round + 1, .state = true, .exchange = true };
    train.steps = cpni_session_round_steps(&session->spec, 0, session->train_rows, train.round);
    for (uint32_t i = 0; i < session->lane_count && !core->out->failed; i++) {
        struct cpni_mlane *lane = &session->lanes[i];
        if (lane->peer != NULL && !lane->answered) {
            train.evaluate = i == 0 && cpni_msession_evaluates(session, train.round);
            cpni_mlane_train(core, lane, &train);
        }
    }
}

void cpni_msession_sync(struct cpni_master_core *core, struct cpni_msession *session)
{
    bool training = session->round < session->rounds;
    for (uint32_t i = 0; training && i < session->lane_count; i++) {
        session->restart = session->restart || lost_place(&session->lanes[i]);
    }
    if (training && session->restart) {
        begin_anew(core, session);
    }
    cpni_mlane_share(core, session);
    if (training && round_over(session)) {
        end_round(core, session);
    }
    if (cpni_msession_over(session) || core->out->failed) {
        return;
    }
    if (session->round >= session->rounds) {
        cpni_msession_finish(core, session);
    } else if (lanes_saved(session)) {
        train_lanes(core, session);
    }
}
