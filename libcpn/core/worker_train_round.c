/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The rounds of a lane: TRAIN begins one, its heartbeats and (sync) its gradients go to the master while it lasts, and its UPDATE is kept
 * until the round after the next is done, so that it can be said again however often the way to the master breaks, and to a master that
 * comes after this one and knows of neither. A state that was asked for lies in our
 * store until the master took it. */
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "core/events.h"
#include "core/worker_train.h"

void cpni_train_forget_round(struct cpni_train_round *round)
{
    cpni_bytes_unref(round->weights);
    *round = (struct cpni_train_round){ 0 };
}

void cpni_train_forget_update(struct cpni_train_update *update)
{
    cpni_bytes_unref(update->vector);
    *update = (struct cpni_train_update){ 0 };
}

/* With a quorum the weights of the next round may be others the second time: then only the last one counts. */
const struct cpni_train_update *cpni_train_kept(const struct cpni_train_lane *lane, uint64_t round)
{
    const struct cpni_session_spec *spec = &lane->session->spec;
    if (lane->update.msg.round == round) {
        return &lane->update;
    }
    bool both = spec->mode == CPNI_MODE_AVERAGE && spec->quorum == 0;
    return both && lane->earlier.msg.round == round ? &lane->earlier : NULL;
}

/* ---- to the master ---- */

static bool bulk_ready(const struct cpni_worker_core *core)
{
    return core->uplink.bulk.welcomed;
}

static void say_on_bulk(struct cpni_worker_core *core, const struct cpni_train_lane *lane, uint64_t round, struct cpni_bytes *vector,
                        const struct cpni_msg *msg, struct cpni_actions *actions)
{
    uint32_t link = core->uplink.bulk.link;
    if (cpni_vector_send(actions, CPNI_CONN_BULK, link, &lane->session->id, lane->number, round, vector) == 0) {
        cpni_actions_send(actions, CPNI_CONN_BULK, link, msg);
    }
}

static void say_epoch(struct cpni_worker_core *core, const struct cpni_msg_epoch *epoch, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_EPOCH, .epoch = *epoch };
    if (bulk_ready(core)) {
        cpni_actions_send(actions, CPNI_CONN_BULK, core->uplink.bulk.link, &msg);
    }
}

static void say_update(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_train_update *update,
                       struct cpni_actions *actions)
{
    if (!bulk_ready(core)) {
        return; /* the master says TRAIN again when it is */
    }
    for (uint32_t i = 0; i < lane->epoch_count; i++) {
        if (lane->epochs[i].round == update->msg.round) {
            say_epoch(core, &lane->epochs[i], actions);
        }
    }
    struct cpni_msg msg = { .type = CPNI_MSG_UPDATE, .update = update->msg };
    msg.update.session = lane->session->id;
    msg.update.lane = lane->number;
    msg.update.text = cpni_str(update->msg.code < 0 ? lane->text : "");
    msg.update.bytes = update->vector != NULL ? update->vector->size : 0;
    say_on_bulk(core, lane, update->msg.round, update->vector, &msg, actions);
    lane->sent_life = update == &lane->update ? core->bulk_life : lane->sent_life;
}

static void say_gradient(struct cpni_worker_core *core, const struct cpni_train_lane *lane, struct cpni_actions *actions)
{
    if (!bulk_ready(core) || lane->gradient == NULL) {
        return;
    }
    struct cpni_msg msg = { .type = CPNI_MSG_GRADIENT };
    msg.gradient.session = lane->session->id;
    msg.gradient.lane = lane->number;
    msg.gradient.round = lane->now.msg.round;
    msg.gradient.step = lane->step;
    msg.gradient.samples = lane->samples;
    msg.gradient.bytes = lane->gradient->size;
    say_on_bulk(core, lane, lane->now.msg.round, lane->gradient, &msg, actions);
}

/* A TRAIN that has no lane to be answered by. */
static void turn_down(struct cpni_worker_core *core, const struct cpni_msg_train *train, int code, const char *text,
                      struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_UPDATE };
    msg.update.session = train->session;
    msg.update.lane = train->lane;
    msg.update.round = train->round;
    msg.update.code = code;
    msg.update.text = cpni_str(text);
    cpni_actions_send(actions, CPNI_CONN_BULK, core->uplink.bulk.link, &msg);
}

/* ---- the end of a round ---- */

static void set_update(struct cpni_train_lane *lane, uint64_t round, int code, const char *text)
{
    if (lane->update.msg.round != 0 && lane->update.msg.round < round) {
        cpni_train_forget_update(&lane->earlier);
        lane->earlier = lane->update;
        lane->update.vector = NULL;
    }
    cpni_train_forget_update(&lane->update);
    lane->update.msg = (struct cpni_msg_update){ .round = round, .code = code };
    snprintf(lane->text, sizeof lane->text, "%s", text);
    lane->sent_life = 0;
}

void cpni_train_fail(struct cpni_worker_core *core, struct cpni_train_lane *lane, int code, const char *text, struct cpni_actions *actions)
{
    char name[CPN_ID_TEXT];
    bool known = lane->state == CPNI_TRAIN_IDLE || lane->state == CPNI_TRAIN_STORING;
    uint64_t round = lane->now.msg.round != 0 ? lane->now.msg.round : known ? lane->done + 1 : lane->target + 1;
    bool asked = lane->now.msg.round != 0 || lane->due.msg.round == round;
    cpni_log(actions, CPNI_LOG_TRAIN_FAILED, NULL, "session %s, lane %u, round %llu: %s", cpn_id_text(&lane->session->id, name),
             (unsigned)lane->number, (unsigned long long)round, text);
    set_update(lane, round, code, text);
    cpni_train_end_process(core, lane, actions);
    if (asked) {
        cpni_train_forget_round(&lane->due);
        say_update(core, lane, &lane->update, actions);
    }
}

static void import_state(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_DISK);
    if (action == NULL) {
        cpni_train_fail(core, lane, CPN_ENOMEM, "out of memory", actions);
        return;
    }
    action->disk.op = CPNI_DISK_IMPORT_BYTES;
    action->disk.ticket = lane->import = ++core->next_serial;
    action->disk.spool = true;
    action->disk.size = lane->state_bytes->size;
    action->disk.data = cpni_bytes_ref(lane->state_bytes);
    lane->state = CPNI_TRAIN_STORING;
}

static void finish(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions)
{
    lane->state = CPNI_TRAIN_IDLE;
    lane->import = 0;
    cpni_bytes_unref(lane->state_bytes);
    lane->state_bytes = NULL;
    say_update(core, lane, &lane->update, actions);
    if (lane->lost != 0) {
        cpni_train_end_process(core, lane, actions);
    }
    cpni_train_begin(core, lane, actions);
}

static void ended(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_event_trainer *event,
                  struct cpni_actions *actions)
{
    char name[CPN_ID_TEXT];
    struct cpni_msg_update *update = &lane->update.msg;
    set_update(lane, lane->now.msg.round, 0, "");
    update->encoding = event->encoding;
    update->steps = event->steps;
    update->samples = event->samples;
    update->correct = event->correct;
    update->loss_micro = event->loss_micro;
    update->tested = event->tested;
    update->tested_correct = event->tested_correct;
    update->tested_loss_micro = event->tested_loss_micro;
    update->elapsed_us = event->elapsed_us;
    lane->update.vector = cpni_bytes_ref(event->vector);
    lane->done = lane->now.msg.round;
    cpni_log(actions, CPNI_LOG_TRAIN_ROUND, NULL, "session %s, lane %u, round %llu, %llu us", cpn_id_text(&lane->session->id, name),
             (unsigned)lane->number, (unsigned long long)lane->done, (unsigned long long)event->elapsed_us);
    bool stores = lane->now.msg.state && event->state != NULL;
    cpni_bytes_unref(lane->gradient);
    lane->gradient = NULL;
    cpni_train_forget_round(&lane->now);
    if (stores) {
        lane->state_bytes = cpni_bytes_ref(event->state);
        import_state(core, lane, actions);
    } else {
        finish(core, lane, actions);
    }
}

/* Those that the master did not take in time go: it has newer ones by now. */
static int add_checkpoint(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpn_hash *root, struct cpni_actions *actions)
{
    struct cpni_train_session *session = lane->session;
    struct cpni_train_checkpoint *checkpoint, *oldest = NULL, *added = cpni_calloc(1, sizeof *added);
    uint32_t count = 0;
    if (added == NULL || cpni_keep_use(&core->keep, root) < 0) {
        cpni_free(added);
        return CPN_ENOMEM;
    }
    added->root = *root;
    added->lane = lane->number;
    DL_FOREACH(session->checkpoints, checkpoint) {
        oldest = oldest == NULL && checkpoint->lane == lane->number ? checkpoint : oldest;
        count += checkpoint->lane == lane->number;
    }
    if (count >= CPNI_LANE_CHECKPOINTS_MAX) {
        cpni_keep_drop(&core->keep, &oldest->root, actions);
        DL_DELETE(session->checkpoints, oldest);
        cpni_free(oldest);
    }
    DL_APPEND(session->checkpoints, added);
    return 0;
}

void cpni_train_stored(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_event_disk *event,
                       struct cpni_actions *actions)
{
    if (event->code == CPN_EBUSY) { /* the disk's queue was full; its other answers make room */
        import_state(core, lane, actions);
        return;
    }
    int rc = event->code != 0 ? event->code : add_checkpoint(core, lane, &event->root, actions);
    if (rc < 0) {
        char text[CPNI_TRAIN_TEXT];
        snprintf(text, sizeof text, "its checkpoint: %s", event->code != 0 && event->text != NULL && event->text[0] != 0 ? event->text
                                                                                                                     : cpn_strerror(rc));
        lane->now.msg.round = lane->update.msg.round; /* it is this round that failed */
        cpni_train_fail(core, lane, rc, text, actions);
        return;
    }
    lane->update.msg.state_root = event->root;
    lane->update.msg.state_size = lane->state_bytes->size;
    finish(core, lane, actions);
}

/* ---- heartbeats ---- */

/* A finished epoch is said with the UPDATE of its round, whenever that is said: so no round is durable whose epochs are not. Those for
 * which there is no memory go out before it. */
static void keep_epoch(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_msg_epoch *epoch,
                       struct cpni_actions *actions)
{
    if (lane->epochs == NULL) {
        lane->epochs = cpni_malloc(CPNI_LANE_EPOCHS_MAX * sizeof *lane->epochs);
    }
    if (lane->epochs == NULL) {
        say_epoch(core, epoch, actions);
        return;
    }
    if (lane->epoch_count == CPNI_LANE_EPOCHS_MAX) {
        say_epoch(core, &lane->epochs[0], actions);
        memmove(lane->epochs, lane->epochs + 1, --lane->epoch_count * sizeof *lane->epochs);
    }
    lane->epochs[lane->epoch_count++] = *epoch;
}

/* A round is asked for only when the one two before it is durable, and its epochs with it. */
static void forget_epochs(struct cpni_train_lane *lane, uint64_t before)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < lane->epoch_count; i++) {
        if (lane->epochs[i].round >= before) {
            lane->epochs[kept++] = lane->epochs[i];
        }
    }
    lane->epoch_count = kept;
}

static void progress(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_event_trainer *event,
                     struct cpni_actions *actions)
{
    if (!event->epoch_done && core->now.mono_us - lane->told_us < (int64_t)CPNI_SESSION_PROGRESS_MS * 1000) {
        return;
    }
    struct cpni_msg msg = { .type = CPNI_MSG_EPOCH };
    msg.epoch = (struct cpni_msg_epoch){ .session = lane->session->id, .lane = lane->number, .round = lane->now.msg.round,
                                         .epoch = event->epoch, .step = event->step, .steps = event->steps, .samples = event->samples,
                                         .loss_micro = event->loss_micro, .rate = event->rate, .done = event->epoch_done };
    msg.epoch.accuracy_ppm = event->samples != 0 ? (uint32_t)(event->correct * 1000000 / event->samples) : 0;
    lane->told_us = core->now.mono_us;
    if (event->epoch_done) {
        keep_epoch(core, lane, &msg.epoch, actions);
    } else {
        cpni_uplink_send(&core->uplink, actions, &msg);
    }
}

/* ---- during a round ---- */

/* Between two rounds: what the last one came to is good, and the next cannot be done here. */
static void lost(struct cpni_worker_core *core, struct cpni_train_lane *lane, int code, const char *text, struct cpni_actions *actions)
{
    lane->lost = code;
    snprintf(lane->lost_text, sizeof lane->lost_text, "%s", text);
    if (lane->state == CPNI_TRAIN_IDLE) {
        cpni_train_end_process(core, lane, actions);
    }
}

void cpni_train_went(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_event_trainer *event,
                     struct cpni_actions *actions)
{
    const char *text = event->text != NULL && event->text[0] != 0 ? event->text : cpn_strerror(event->code);
    if (lane->state != CPNI_TRAIN_RUNNING) {
        if (event->code < 0) {
            lost(core, lane, event->code, text, actions);
        }
        return;
    }
    if (event->code < 0) {
        cpni_train_fail(core, lane, event->code, text, actions);
        return;
    }
    switch (event->said) {
    case CPNI_TRAINED_PROGRESS:
        progress(core, lane, event, actions);
        break;
    case CPNI_TRAINED_GRADIENT:
        cpni_bytes_unref(lane->gradient);
        lane->gradient = cpni_bytes_ref(event->vector);
        lane->step = event->step;
        lane->samples = event->samples;
        say_gradient(core, lane, actions);
        break;
    case CPNI_TRAINED_ROUND:
        ended(core, lane, event, actions);
        break;
    default:
        break;
    }
}

/* ---- from the master ---- */

/* After a cut the others are further: the lane joins them where they are. Only then may rounds be left out. */
static bool fits(const struct cpni_train_lane *lane)
{
    uint64_t round = lane->due.msg.round;
    return round == lane->done + 1 || (lane->session->spec.quorum != 0 && round > lane->done + 1);
}

void cpni_train_begin(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions)
{
    if (lane->state != CPNI_TRAIN_IDLE || lane->due.msg.round == 0 || !fits(lane)) {
        return;
    }
    const struct cpni_msg_train *msg = &lane->due.msg;
    struct cpni_act_trainer *act = cpni_train_act(CPNI_TRAINER_ROUND, lane->ticket, lane, actions);
    if (act == NULL) {
        cpni_train_fail(core, lane, CPN_ENOMEM, "out of memory", actions);
        return;
    }
    act->round = msg->round;
    act->steps = msg->steps;
    act->vector = cpni_bytes_ref(lane->due.weights);
    act->encoding = msg->encoding;
    act->evaluate = msg->evaluate;
    act->evaluate_after = msg->evaluate && lane->session->spec.mode == CPNI_MODE_SWEEP;
    act->state = msg->state;
    act->exchange = msg->exchange;
    forget_epochs(lane, lane->done);
    lane->now = lane->due;
    lane->due = (struct cpni_train_round){ 0 };
    lane->state = CPNI_TRAIN_RUNNING;
    lane->told_us = core->now.mono_us;
}

/* What was said before may not have arrived, or (a failure) it did and the round is to be tried again, after a LANE. */
static bool says_again(struct cpni_worker_core *core, struct cpni_train_lane *lane, uint64_t round, struct cpni_actions *actions)
{
    if (lane->now.msg.round == round) {
        say_gradient(core, lane, actions);
        return true;
    }
    const struct cpni_train_update *kept = cpni_train_kept(lane, round);
    if (kept == NULL || (kept->msg.code < 0 && lane->sent_life == core->bulk_life)) {
        return false;
    }
    if (kept != &lane->update || lane->state != CPNI_TRAIN_STORING) {
        say_update(core, lane, kept, actions);
    }
    return true;
}

/* The process of this lane died after the round before: nothing but another LANE helps. */
static bool says_lost(struct cpni_worker_core *core, struct cpni_train_lane *lane, uint64_t round, struct cpni_actions *actions)
{
    if (lane->state != CPNI_TRAIN_BROKEN || lane->lost == 0 || round != lane->done + 1) {
        return false;
    }
    set_update(lane, round, lane->lost, lane->lost_text);
    lane->lost = 0;
    say_update(core, lane, &lane->update, actions);
    return true;
}

void cpni_worker_train(struct cpni_worker_core *core, const struct cpni_msg_train *msg, struct cpni_actions *actions)
{
    struct cpni_train_session *session = cpni_train_find(core, &msg->session);
    struct cpni_bytes *weights = NULL;
    int rc = cpni_vector_take(&core->pieces, &msg->session, msg->lane, msg->round, msg->bytes, &weights);
    if (rc < 0 && rc != CPN_EPROTO) {
        actions->failed = true; /* the connections are made anew, and the master says it again */
        return;
    }
    if (rc < 0 || msg->round == 0 || session == NULL || msg->lane >= cpni_session_lanes(&session->spec) ||
        (msg->encoding != 0 && !session->spec.int8)) {
        turn_down(core, msg, session == NULL ? CPN_ENOTFOUND : CPN_EPROTO,
                  session == NULL ? "the node is not in this session" : "the weights are not those that TRAIN names", actions);
        cpni_bytes_unref(weights);
        return;
    }
    struct cpni_train_lane *lane = cpni_train_lane(core, session, msg->lane);
    if (lane == NULL) {
        turn_down(core, msg, CPN_EBUSY, "the node works on as many lanes as it can", actions);
        cpni_bytes_unref(weights);
        return;
    }
    lane->asked_round = msg->round;
    lane->asked_term = core->uplink.term;
    bool said = says_again(core, lane, msg->round, actions) || says_lost(core, lane, msg->round, actions);
    bool anew = said && session->spec.mode == CPNI_MODE_SYNC && lane->now.msg.round != msg->round;
    if (said && !anew) {
        cpni_bytes_unref(weights);
        return;
    }
    /* anew: if all lanes begin this round once more, the LANE that says so is still on its way */
    cpni_train_forget_round(&lane->due);
    lane->due = (struct cpni_train_round){ .msg = *msg, .weights = weights };
    lane->due_us = core->now.mono_us;
    cpni_train_begin(core, lane, actions);
}

/* Nothing under way here leads to the round that is due: the master takes the lane to be where it is not. It is told, and says LANE. */
void cpni_worker_overdue(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    core->overdue_us = INT64_MAX;
    for (struct cpni_train_session *session = core->sessions; session != NULL; session = session->hh.next) {
        struct cpni_train_lane *lane, *after;
        HASH_ITER(hh, session->lanes, lane, after) {
            bool waits = lane->state == CPNI_TRAIN_EMPTY || lane->state == CPNI_TRAIN_IDLE || lane->state == CPNI_TRAIN_BROKEN;
            int64_t at_us = lane->due_us + (int64_t)CPNI_LANE_PATIENCE_MS * 1000;
            if (!waits || lane->due.msg.round == 0 || cpni_train_kept(lane, lane->due.msg.round) != NULL) {
                continue;
            }
            if (core->now.mono_us < at_us) {
                core->overdue_us = at_us < core->overdue_us ? at_us : core->overdue_us;
                continue;
            }
            set_update(lane, lane->due.msg.round, CPN_ESTATE, "the lane is not where this round begins");
            cpni_train_forget_round(&lane->due);
            say_update(core, lane, &lane->update, actions);
        }
    }
}

void cpni_worker_piece(struct cpni_worker_core *core, const struct cpni_msg_piece *msg, struct cpni_actions *actions)
{
    if (cpni_vector_piece(&core->pieces, msg, CPNI_VECTOR_BYTES_MAX) == CPN_ENOMEM) {
        actions->failed = true;
    }
}

void cpni_worker_gradient(struct cpni_worker_core *core, const struct cpni_msg_gradient *msg, struct cpni_actions *actions)
{
    struct cpni_train_session *session = cpni_train_find(core, &msg->session);
    struct cpni_train_lane *lane = NULL;
    struct cpni_bytes *mean = NULL;
    int rc = cpni_vector_take(&core->pieces, &msg->session, msg->lane, msg->round, msg->bytes, &mean);
    if (session != NULL) {
        HASH_FIND(hh, session->lanes, &msg->lane, sizeof msg->lane, lane);
    }
    bool awaited = lane != NULL && lane->gradient != NULL && lane->now.msg.round == msg->round && lane->step == msg->step;
    if (rc == 0 && awaited && mean != NULL && mean->size == lane->gradient->size) {
        struct cpni_act_trainer *act = cpni_train_act(CPNI_TRAINER_APPLY, lane->ticket, lane, actions);
        if (act != NULL) {
            act->round = msg->round;
            act->vector = cpni_bytes_ref(mean);
            cpni_bytes_unref(lane->gradient);
            lane->gradient = NULL;
        }
    }
    cpni_bytes_unref(mean);
}
