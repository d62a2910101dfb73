/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The place of a lane: LANE says after how many rounds it is to stand, and if it does not stand there its checkpoint and the weights of the
 * rounds since are fetched, a process is opened on them, and those rounds are done once more in silence. Must not know what a round
 * comes to. */
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "core/events.h"
#include "core/worker_train.h"

static uint32_t count_lanes(const struct cpni_worker_core *core)
{
    uint32_t count = 0;
    for (const struct cpni_train_session *session = core->sessions; session != NULL; session = session->hh.next) {
        count += HASH_COUNT(session->lanes);
    }
    return count;
}

static void free_lane(struct cpni_train_lane *lane)
{
    cpni_train_forget_round(&lane->due);
    cpni_train_forget_update(&lane->update);
    cpni_train_forget_update(&lane->earlier);
    cpni_free(lane->replay);
    cpni_free(lane->epochs);
    HASH_DEL(lane->session->lanes, lane);
    cpni_free(lane);
}

/* A TRAIN that waits for its LANE makes room: if that comes after all, the master is told that there is no place, and sees to it. */
static void make_room(struct cpni_worker_core *core)
{
    for (struct cpni_train_session *session = core->sessions; session != NULL; session = session->hh.next) {
        for (struct cpni_train_lane *lane = session->lanes; lane != NULL; lane = lane->hh.next) {
            if (lane->state == CPNI_TRAIN_EMPTY) {
                free_lane(lane);
                return;
            }
        }
    }
}

struct cpni_train_lane *cpni_train_lane(struct cpni_worker_core *core, struct cpni_train_session *session, uint32_t number)
{
    struct cpni_train_lane *lane;
    HASH_FIND(hh, session->lanes, &number, sizeof number, lane);
    if (lane != NULL) {
        return lane;
    }
    if (count_lanes(core) >= CPNI_LANES_OF_NODE_MAX) {
        make_room(core);
    }
    lane = count_lanes(core) < CPNI_LANES_OF_NODE_MAX ? cpni_calloc(1, sizeof *lane) : NULL;
    if (lane == NULL) {
        return NULL;
    }
    lane->session = session;
    lane->number = number;
    HASH_ADD(hh, session->lanes, number, sizeof lane->number, lane);
    if (cpni_hash_missed(lane)) {
        cpni_free(lane);
        return NULL;
    }
    return lane;
}

/* ---- the blobs of a restore: number 0 is the state, then what is replayed ---- */

static const struct cpn_hash *blob_of(const struct cpni_train_lane *lane, uint32_t number, uint64_t *size)
{
    const struct cpn_hash *root = number == 0 ? &lane->state_root : &lane->replay[number - 1].root;
    *size = number == 0 ? lane->state_size : lane->replay[number - 1].size;
    return cpni_hash_is_zero(root) ? NULL : root;
}

static uint64_t fetch_ticket(const struct cpni_train_lane *lane, uint32_t number)
{
    return CPNI_FETCH_RESTORE | lane->fetch << CPNI_FETCH_RESTORE_SHIFT | number;
}

static void drop_blobs(struct cpni_worker_core *core, struct cpni_train_lane *lane, uint32_t count, struct cpni_actions *actions)
{
    uint64_t size;
    for (uint32_t i = 0; i < count; i++) {
        const struct cpn_hash *root = blob_of(lane, i, &size);
        if (root != NULL) {
            cpni_transfer_cancel(core->transfer, fetch_ticket(lane, i), &core->now, actions);
            cpni_keep_drop(&core->keep, root, actions);
        }
    }
}

static void release(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions)
{
    if (lane->holds) {
        drop_blobs(core, lane, 1 + lane->replay_count, actions);
    }
    lane->holds = false;
    lane->missing = 0;
}

static int fetch_blobs(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions)
{
    uint64_t size;
    lane->fetch = ++core->next_serial;
    lane->missing = 0;
    for (uint32_t i = 0; i <= lane->replay_count; i++) {
        const struct cpn_hash *root = blob_of(lane, i, &size);
        int rc = root != NULL ? cpni_keep_use(&core->keep, root) : 0;
        if (rc < 0) {
            drop_blobs(core, lane, i, actions);
            return rc;
        }
        rc = root != NULL ? cpni_transfer_fetch(core->transfer, fetch_ticket(lane, i), CPNI_TRANSFER_MASTER, root, size, true, &core->now,
                                                actions)
                          : 0;
        if (rc < 0) {
            drop_blobs(core, lane, i + 1, actions);
            return rc;
        }
        lane->missing += root != NULL;
    }
    lane->holds = true;
    return 0;
}

/* ---- restore ---- */

void cpni_train_end_process(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions)
{
    release(core, lane, actions);
    if (lane->ticket != 0) {
        cpni_train_act(CPNI_TRAINER_CLOSE, lane->ticket, lane, actions);
    }
    lane->ticket = 0;
    lane->import = 0;
    cpni_bytes_unref(lane->state_bytes);
    lane->state_bytes = NULL;
    cpni_bytes_unref(lane->gradient);
    lane->gradient = NULL;
    cpni_train_forget_round(&lane->now);
    lane->state = CPNI_TRAIN_BROKEN;
}

void cpni_train_close(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions)
{
    cpni_train_end_process(core, lane, actions);
    free_lane(lane);
}

/* Whether all rounds from the next to `last` are done and what they came to is kept. */
static bool has_ahead(const struct cpni_train_lane *lane, uint64_t next, uint64_t last)
{
    for (uint64_t round = next; round <= last; round++) {
        if (cpni_train_kept(lane, round) == NULL) {
            return false;
        }
    }
    return true;
}

/* Whether the lane stands where LANE wants it, or is on the way there, or further but still knows all that will be asked of it again. In
 * sync mode the others begin the round anew, so that this one must as well, wherever in it it is. */
static bool in_place(const struct cpni_train_lane *lane, const struct cpni_msg_lane *msg)
{
    bool alone = lane->session->spec.mode != CPNI_MODE_SYNC;
    switch (lane->state) {
    case CPNI_TRAIN_FETCHING:
    case CPNI_TRAIN_OPENING:
    case CPNI_TRAIN_REPLAYING:
        return lane->target == msg->round && memcmp(&lane->state_root, &msg->state_root, sizeof lane->state_root) == 0;
    case CPNI_TRAIN_IDLE:
    case CPNI_TRAIN_STORING:
        return lane->done == msg->round || (alone && lane->done > msg->round && has_ahead(lane, msg->round + 1, lane->done));
    case CPNI_TRAIN_RUNNING:
        return alone && lane->now.msg.round > msg->round && has_ahead(lane, msg->round + 1, lane->now.msg.round - 1);
    default:
        return false;
    }
}

/* Said before the last TRAIN, which has overtaken it: within its term a master goes back by no more than the round under way. */
static bool is_stale(const struct cpni_worker_core *core, const struct cpni_train_lane *lane, const struct cpni_msg_lane *msg)
{
    return lane->state != CPNI_TRAIN_EMPTY && lane->state != CPNI_TRAIN_BROKEN && lane->asked_term == core->uplink.term &&
           msg->round + 1 < lane->asked_round;
}

/* The rounds since the checkpoint, each once and in order. */
static bool makes_sense(const struct cpni_msg_lane *msg)
{
    if (msg->state_round > msg->round || msg->round - msg->state_round != msg->replay_count || msg->replay_count > CPNI_SESSION_REPLAY_MAX ||
        cpni_all_zero(&msg->state_root, sizeof msg->state_root) != (msg->state_round == 0)) {
        return false;
    }
    for (uint32_t i = 0; i < msg->replay_count; i++) {
        if (msg->replay[i].round != msg->state_round + 1 + i) {
            return false;
        }
    }
    return true;
}

/* What is due after the restore: what waited already, or what it interrupts. */
static void keep_due(struct cpni_train_lane *lane, uint64_t round)
{
    if (lane->now.msg.round == round + 1 && lane->due.msg.round != round + 1) {
        cpni_train_forget_round(&lane->due);
        lane->due = lane->now;
        lane->now = (struct cpni_train_round){ 0 };
    }
}

static void restore(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_msg_lane *msg, struct cpni_actions *actions)
{
    size_t bytes = msg->replay_count * sizeof *msg->replay;
    struct cpni_rec_WEIGHTS *replay = bytes != 0 ? cpni_memdup(msg->replay, bytes) : NULL;
    keep_due(lane, msg->round);
    cpni_train_end_process(core, lane, actions);
    lane->lost = 0;
    lane->target = msg->round;
    lane->state_round = msg->state_round;
    lane->state_root = msg->state_root;
    lane->state_size = msg->state_size;
    cpni_free(lane->replay);
    lane->replay = replay;
    lane->replay_count = replay != NULL ? msg->replay_count : 0;
    if (lane->update.msg.round > msg->round || lane->update.msg.code < 0) { /* of a round that is done again, or of what was broken before */
        cpni_train_forget_update(&lane->update);
    }
    if (lane->earlier.msg.round > msg->round) {
        cpni_train_forget_update(&lane->earlier);
    }
    int rc = bytes != 0 && replay == NULL ? CPN_ENOMEM : fetch_blobs(core, lane, actions);
    if (rc < 0) {
        cpni_train_fail(core, lane, rc, cpn_strerror(rc), actions);
        return;
    }
    lane->state = CPNI_TRAIN_FETCHING;
    cpni_train_open(core, lane, actions);
}

void cpni_worker_lane(struct cpni_worker_core *core, const struct cpni_msg_lane *msg, struct cpni_actions *actions)
{
    struct cpni_train_session *session = cpni_train_find(core, &msg->session);
    struct cpni_train_lane *lane = session != NULL && msg->lane < cpni_session_lanes(&session->spec) ? cpni_train_lane(core, session, msg->lane)
                                                                                                    : NULL;
    if (lane == NULL || in_place(lane, msg) || is_stale(core, lane, msg)) {
        return; /* without a place for it: the UPDATE that answers its TRAIN says so */
    }
    char name[CPN_ID_TEXT];
    cpni_log(actions, CPNI_LOG_TRAIN_LANE, NULL, "session %s, lane %u after round %llu, %u rounds again", cpn_id_text(&session->id, name),
             (unsigned)lane->number, (unsigned long long)msg->round, (unsigned)msg->replay_count);
    if (!makes_sense(msg)) {
        lane->target = msg->round;
        cpni_train_fail(core, lane, CPN_EPROTO, "the rounds to be done again are not those since the checkpoint", actions);
        return;
    }
    restore(core, lane, msg, actions);
}

void cpni_worker_unlane(struct cpni_worker_core *core, const struct cpni_msg_unlane *msg, struct cpni_actions *actions)
{
    struct cpni_train_session *session = cpni_train_find(core, &msg->session);
    struct cpni_train_lane *lane = NULL;
    if (session != NULL) {
        HASH_FIND(hh, session->lanes, &msg->lane, sizeof msg->lane, lane);
    }
    if (lane == NULL) {
        return;
    }
    struct cpni_train_round due = lane->due.msg.round != 0 ? lane->due : lane->now;
    cpni_bytes_ref(due.weights);
    cpni_train_close(core, lane, actions);
    if (due.msg.round != 0 && (lane = cpni_train_lane(core, session, msg->lane)) != NULL) {
        lane->due_us = core->now.mono_us;
        lane->due = due; /* it may have overtaken this UNLANE and the LANE after it */
    } else {
        cpni_bytes_unref(due.weights);
    }
}

void cpni_worker_restore(struct cpni_worker_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions)
{
    uint64_t serial = (outcome->ticket & ~CPNI_FETCH_KIND) >> CPNI_FETCH_RESTORE_SHIFT;
    struct cpni_train_session *session, *after;
    HASH_ITER(hh, core->sessions, session, after) {
        struct cpni_train_lane *lane, *after_lane;
        HASH_ITER(hh, session->lanes, lane, after_lane) {
            if (lane->fetch != serial || lane->state != CPNI_TRAIN_FETCHING) {
                continue;
            }
            if (outcome->code != 0) {
                char text[CPNI_TRAIN_TEXT];
                snprintf(text, sizeof text, "its checkpoint: %s", outcome->text);
                cpni_train_fail(core, lane, outcome->code, text, actions);
                return;
            }
            lane->missing--;
            cpni_train_open(core, lane, actions);
            return;
        }
    }
}

void cpni_train_open(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions)
{
    if (lane->state != CPNI_TRAIN_FETCHING || lane->missing != 0 || !lane->session->ready) {
        return;
    }
    const struct cpni_session_spec *spec = cpni_train_spec(lane->session, actions);
    struct cpni_act_trainer *act = spec != NULL ? cpni_train_act(CPNI_TRAINER_OPEN, ++core->next_serial, lane, actions) : NULL;
    if (act == NULL) {
        cpni_train_fail(core, lane, CPN_ENOMEM, "out of memory", actions);
        return;
    }
    act->spec = spec;
    act->dataset = lane->session->dataset;
    act->train_rows = lane->session->train_rows;
    act->state_root = lane->state_root;
    lane->ticket = act->ticket;
    lane->done = lane->state_round;
    lane->state = CPNI_TRAIN_OPENING;
}

static void replay_next(struct cpni_worker_core *core, struct cpni_train_lane *lane, struct cpni_actions *actions)
{
    if (lane->done == lane->target) {
        release(core, lane, actions);
        lane->state = CPNI_TRAIN_IDLE;
        cpni_train_begin(core, lane, actions);
        return;
    }
    const struct cpni_rec_WEIGHTS *weights = &lane->replay[lane->done - lane->state_round];
    struct cpni_act_trainer *act = cpni_train_act(CPNI_TRAINER_ROUND, lane->ticket, lane, actions);
    if (act == NULL) {
        cpni_train_fail(core, lane, CPN_ENOMEM, "out of memory", actions);
        return;
    }
    act->round = weights->round;
    act->steps = cpni_session_round_steps(&lane->session->spec, lane->number, lane->session->train_rows, weights->round);
    act->vector_root = weights->root;
    act->replay = true;
    lane->state = CPNI_TRAIN_REPLAYING;
}

void cpni_train_restored(struct cpni_worker_core *core, struct cpni_train_lane *lane, const struct cpni_event_trainer *event,
                         struct cpni_actions *actions)
{
    bool opened = lane->state == CPNI_TRAIN_OPENING && event->said == CPNI_TRAINED_OPEN;
    bool replayed = lane->state == CPNI_TRAIN_REPLAYING && event->said == CPNI_TRAINED_ROUND;
    if (event->code < 0) {
        cpni_train_fail(core, lane, event->code, event->text != NULL && event->text[0] != 0 ? event->text : cpn_strerror(event->code), actions);
        return;
    }
    if (opened || replayed) {
        lane->done += replayed;
        replay_next(core, lane, actions);
    }
}
