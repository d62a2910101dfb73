/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A node's training sessions: ENABLE has the dataset fetched and a trainer probed, ENABLED says what came of it, STOP ends everything.
 * The last dataset stays, so that a second session on the same data transfers nothing. Must not know what a lane does. */
#include "core/worker_train.h"

#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "core/events.h"

struct cpni_train_session *cpni_train_find(struct cpni_worker_core *core, const struct cpn_id *id)
{
    struct cpni_train_session *session;
    HASH_FIND(hh, core->sessions, id, sizeof *id, session);
    return session;
}

/* The action outlives the session: a role carries out the actions of many events together. */
const struct cpni_session_spec *cpni_train_spec(const struct cpni_train_session *session, struct cpni_actions *actions)
{
    struct cpni_session_spec *spec = cpni_arena_memdup(&actions->arena, &session->spec, sizeof *spec);
    if (spec != NULL) {
        spec->lanes = cpni_arena_memdup(&actions->arena, session->spec.lanes, spec->lane_count * sizeof *spec->lanes);
    }
    if (spec == NULL || spec->lanes == NULL) {
        actions->failed = true;
        return NULL;
    }
    return spec;
}

struct cpni_act_trainer *cpni_train_act(enum cpni_trainer_op op, uint64_t ticket, const struct cpni_train_lane *lane,
                                        struct cpni_actions *actions)
{
    struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_TRAINER);
    if (action == NULL) {
        return NULL;
    }
    action->trainer.op = op;
    action->trainer.ticket = ticket;
    action->trainer.lane = lane != NULL ? lane->number : 0;
    return &action->trainer;
}

static void say_enabled(struct cpni_worker_core *core, const struct cpn_id *id, int code, const char *text, struct cpni_actions *actions)
{
    const struct cpni_train_session *session = code == 0 ? cpni_train_find(core, id) : NULL;
    struct cpni_msg msg = { .type = CPNI_MSG_ENABLED };
    msg.enabled.session = *id;
    msg.enabled.code = code;
    msg.enabled.text = cpni_str(text);
    if (session != NULL) {
        msg.enabled.device = cpni_str(session->device);
        msg.enabled.fingerprint = cpni_str(session->fingerprint);
        msg.enabled.reproducible = session->reproducible;
    }
    cpni_uplink_send(&core->uplink, actions, &msg);
}

/* ---- the dataset ---- */

static void drop_spare(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    if (!cpni_hash_is_zero(&core->spare)) {
        cpni_keep_drop(&core->keep, &core->spare, actions);
        core->spare = (struct cpn_hash){ 0 };
    }
}

/* In passing: what is left of it when the process dies would have nobody to remove it. */
static int fetch_dataset(struct cpni_worker_core *core, struct cpni_train_session *session, struct cpni_actions *actions)
{
    int rc = cpni_keep_use(&core->keep, &session->dataset);
    if (rc < 0) {
        return rc;
    }
    drop_spare(core, actions); /* not removed if it is this one */
    rc = cpni_transfer_fetch(core->transfer, CPNI_FETCH_DATASET | session->serial, CPNI_TRANSFER_MASTER, &session->dataset,
                             session->dataset_size, true, &core->now, actions);
    if (rc < 0) {
        cpni_keep_drop(&core->keep, &session->dataset, actions);
    }
    return rc;
}

static void release_dataset(struct cpni_worker_core *core, struct cpni_train_session *session, struct cpni_actions *actions)
{
    cpni_transfer_cancel(core->transfer, CPNI_FETCH_DATASET | session->serial, &core->now, actions);
    if (!session->here) {
        cpni_keep_drop(&core->keep, &session->dataset, actions);
        return;
    }
    drop_spare(core, actions);
    core->spare = session->dataset; /* its use goes over */
}

/* ---- joining ---- */

static void free_session(struct cpni_worker_core *core, struct cpni_train_session *session)
{
    HASH_DEL(core->sessions, session);
    cpni_session_spec_free(&session->spec);
    cpni_free(session);
}

static void drop_checkpoint(struct cpni_worker_core *core, struct cpni_train_session *session, struct cpni_train_checkpoint *checkpoint,
                            struct cpni_actions *actions)
{
    cpni_keep_drop(&core->keep, &checkpoint->root, actions);
    DL_DELETE(session->checkpoints, checkpoint);
    cpni_free(checkpoint);
}

static void leave(struct cpni_worker_core *core, struct cpni_train_session *session, const char *text, struct cpni_actions *actions)
{
    char name[CPN_ID_TEXT];
    cpni_log(actions, CPNI_LOG_TRAIN_LEFT, NULL, "session %s%s%s", cpn_id_text(&session->id, name), text[0] != 0 ? ": " : "", text);
    if (session->here && !session->ready) {
        cpni_train_act(CPNI_TRAINER_CLOSE, session->serial, NULL, actions);
    }
    struct cpni_train_lane *lane, *after_lane;
    HASH_ITER(hh, session->lanes, lane, after_lane) {
        cpni_train_close(core, lane, actions);
    }
    struct cpni_train_checkpoint *checkpoint, *after;
    DL_FOREACH_SAFE(session->checkpoints, checkpoint, after) {
        drop_checkpoint(core, session, checkpoint, actions);
    }
    release_dataset(core, session, actions);
    free_session(core, session);
}

static void refuse(struct cpni_worker_core *core, const struct cpn_id *id, int code, const char *text, struct cpni_actions *actions)
{
    char name[CPN_ID_TEXT];
    struct cpni_train_session *session = cpni_train_find(core, id);
    cpni_log(actions, CPNI_LOG_TRAIN_REFUSED, NULL, "session %s: %s", cpn_id_text(id, name), text);
    say_enabled(core, id, code, text, actions);
    if (session != NULL) {
        leave(core, session, "", actions);
    }
}

static struct cpni_train_session *create(struct cpni_worker_core *core, const struct cpni_msg_enable *msg, struct cpni_session_spec *spec)
{
    struct cpni_train_session *session = cpni_calloc(1, sizeof *session);
    if (session == NULL) {
        return NULL;
    }
    session->id = msg->session;
    session->serial = ++core->next_serial;
    session->dataset = msg->dataset_root;
    session->dataset_size = msg->dataset_size;
    session->train_rows = msg->train_rows;
    HASH_ADD(hh, core->sessions, id, sizeof session->id, session);
    if (cpni_hash_missed(session)) {
        cpni_free(session);
        return NULL;
    }
    session->spec = *spec;
    return session;
}

static void join(struct cpni_worker_core *core, const struct cpni_msg_enable *msg, struct cpni_session_spec *spec, struct cpni_actions *actions)
{
    struct cpni_train_session *session = create(core, msg, spec);
    if (session == NULL) {
        cpni_session_spec_free(spec);
        refuse(core, &msg->session, CPN_ENOMEM, "out of memory", actions);
        return;
    }
    int rc = fetch_dataset(core, session, actions);
    if (rc < 0) {
        free_session(core, session);
        refuse(core, &msg->session, rc, cpn_strerror(rc), actions);
    }
}

void cpni_worker_enable(struct cpni_worker_core *core, const struct cpni_msg_enable *msg, struct cpni_actions *actions)
{
    struct cpni_session_spec spec;
    char detail[CPNI_SPEC_DETAIL] = "its text is missing";
    const struct cpni_train_session *session = cpni_train_find(core, &msg->session);
    if (session != NULL) {
        if (session->ready) {
            say_enabled(core, &msg->session, 0, "", actions);
        }
        return;
    }
    if (core->stops != 0) {
        refuse(core, &msg->session, CPN_EAGAIN, "the node is draining", actions);
        return;
    }
    if (HASH_COUNT(core->sessions) >= CPNI_NODE_SESSIONS_MAX) {
        refuse(core, &msg->session, CPN_EBUSY, "the node is in other sessions", actions);
        return;
    }
    struct cpni_str text = msg->spec != NULL ? (struct cpni_str){ .text = (const char *)msg->spec->data, .size = (uint32_t)msg->spec->size }
                                             : (struct cpni_str){ 0 };
    int rc = msg->spec != NULL && msg->spec->size <= CPNI_SESSION_SPEC_BYTES_MAX ? cpni_session_spec_read(text, &spec, detail) : CPN_EBADINPUT;
    if (rc < 0) {
        refuse(core, &msg->session, rc, rc == CPN_ENOMEM ? "out of memory" : detail, actions);
        return;
    }
    join(core, msg, &spec, actions);
}

void cpni_worker_dataset(struct cpni_worker_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions)
{
    struct cpni_train_session *session, *after;
    HASH_ITER(hh, core->sessions, session, after) {
        if (session->serial == (outcome->ticket & ~CPNI_FETCH_KIND)) {
            break;
        }
    }
    if (session == NULL) {
        return;
    }
    char text[CPNI_TRAIN_TEXT];
    if (outcome->code != 0) {
        snprintf(text, sizeof text, "its dataset: %s", outcome->text);
        struct cpn_id id = session->id;
        refuse(core, &id, outcome->code, text, actions);
        return;
    }
    session->here = true;
    const struct cpni_session_spec *spec = cpni_train_spec(session, actions);
    struct cpni_act_trainer *act = spec != NULL ? cpni_train_act(CPNI_TRAINER_PROBE, session->serial, NULL, actions) : NULL;
    if (act == NULL) {
        struct cpn_id id = session->id;
        refuse(core, &id, CPN_ENOMEM, "out of memory", actions);
        return;
    }
    act->spec = spec;
    act->dataset = session->dataset;
    act->train_rows = session->train_rows;
}

static void probed(struct cpni_worker_core *core, struct cpni_train_session *session, const struct cpni_event_trainer *event,
                   struct cpni_actions *actions)
{
    char name[CPN_ID_TEXT];
    if (event->code < 0) {
        char text[CPNI_TRAIN_TEXT];
        struct cpn_id id = session->id;
        snprintf(text, sizeof text, "%s", event->text != NULL && event->text[0] != 0 ? event->text : cpn_strerror(event->code));
        session->here = event->code != CPN_EBADINPUT; /* then it is of no use to another session either */
        refuse(core, &id, event->code, text, actions);
        return;
    }
    session->ready = true;
    session->reproducible = event->reproducible;
    snprintf(session->device, sizeof session->device, "%s", event->device != NULL ? event->device : "");
    snprintf(session->fingerprint, sizeof session->fingerprint, "%s", event->fingerprint != NULL ? event->fingerprint : "");
    cpni_log(actions, CPNI_LOG_TRAIN_JOINED, NULL, "session %s, %s on %s", cpn_id_text(&session->id, name), session->spec.trainer,
             session->device);
    say_enabled(core, &session->id, 0, "", actions);
    struct cpni_train_lane *lane, *after;
    HASH_ITER(hh, session->lanes, lane, after) {
        cpni_train_open(core, lane, actions);
    }
}

/* ---- leaving ---- */

void cpni_worker_leave(struct cpni_worker_core *core, const struct cpni_msg_stop *msg, struct cpni_actions *actions)
{
    struct cpni_train_session *session = cpni_train_find(core, &msg->session);
    char text[CPNI_TRAIN_TEXT];
    if (session != NULL) {
        leave(core, session, cpni_str_copy(msg->text, text, sizeof text), actions);
    }
}

void cpni_worker_leave_all(struct cpni_worker_core *core, const char *text, struct cpni_actions *actions)
{
    struct cpni_train_session *session, *after;
    HASH_ITER(hh, core->sessions, session, after) {
        leave(core, session, text, actions);
    }
    drop_spare(core, actions);
}

/* ---- what comes for a lane ---- */

static struct cpni_train_lane *lane_of(struct cpni_worker_core *core, uint64_t ticket)
{
    struct cpni_train_session *session, *after;
    HASH_ITER(hh, core->sessions, session, after) {
        struct cpni_train_lane *lane, *after_lane;
        HASH_ITER(hh, session->lanes, lane, after_lane) {
            if (lane->ticket == ticket || lane->import == ticket) {
                return lane;
            }
        }
    }
    return NULL;
}

void cpni_worker_trained(struct cpni_worker_core *core, const struct cpni_event_trainer *event, struct cpni_actions *actions)
{
    struct cpni_train_lane *lane = lane_of(core, event->ticket);
    if (lane != NULL && (lane->state == CPNI_TRAIN_OPENING || lane->state == CPNI_TRAIN_REPLAYING)) {
        cpni_train_restored(core, lane, event, actions);
    } else if (lane != NULL) {
        cpni_train_went(core, lane, event, actions);
    }
    struct cpni_train_session *session, *after;
    HASH_ITER(hh, core->sessions, session, after) {
        if (lane == NULL && event->said == CPNI_TRAINED_PROBE && session->serial == event->ticket && session->here && !session->ready) {
            probed(core, session, event, actions);
            return;
        }
    }
}

bool cpni_worker_checkpoint(struct cpni_worker_core *core, const struct cpni_event_disk *event, struct cpni_actions *actions)
{
    struct cpni_train_lane *lane = lane_of(core, event->ticket);
    if (lane != NULL) {
        cpni_train_stored(core, lane, event, actions);
    }
    return lane != NULL;
}

void cpni_worker_stray(struct cpni_worker_core *core, const struct cpni_event_disk *event, struct cpni_actions *actions)
{
    struct cpni_train_checkpoint *stray = event->code == 0 ? cpni_calloc(1, sizeof *stray) : NULL;
    if (stray == NULL || cpni_keep_use(&core->keep, &event->root) < 0) {
        cpni_free(stray); /* then it takes up space until the next start */
        actions->failed = actions->failed || event->code == 0;
        return;
    }
    stray->root = event->root;
    DL_APPEND(core->strays, stray);
}

/* Not while something is being stored: it may be the same bytes, and its removal would come after that. */
void cpni_worker_drop_strays(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    struct cpni_train_checkpoint *stray, *next;
    for (const struct cpni_train_session *session = core->sessions; core->strays != NULL && session != NULL; session = session->hh.next) {
        for (const struct cpni_train_lane *lane = session->lanes; lane != NULL; lane = lane->hh.next) {
            if (lane->import != 0) {
                return;
            }
        }
    }
    DL_FOREACH_SAFE(core->strays, stray, next) {
        cpni_keep_drop(&core->keep, &stray->root, actions);
        DL_DELETE(core->strays, stray);
        cpni_free(stray);
    }
}

void cpni_worker_taken(struct cpni_worker_core *core, const struct cpn_hash *root, struct cpni_actions *actions)
{
    struct cpni_train_session *session, *after;
    HASH_ITER(hh, core->sessions, session, after) {
        struct cpni_train_checkpoint *checkpoint, *next;
        DL_FOREACH_SAFE(session->checkpoints, checkpoint, next) {
            if (memcmp(&checkpoint->root, root, sizeof *root) == 0) {
                drop_checkpoint(core, session, checkpoint, actions);
            }
        }
    }
}

int cpni_worker_list_sessions(struct cpni_worker_core *core, struct cpni_rec_TEXT **out, uint32_t *out_count, struct cpni_actions *actions)
{
    uint32_t count = 0;
    struct cpni_rec_TEXT *list = cpni_arena_alloc(&actions->arena, HASH_COUNT(core->sessions) * sizeof *list);
    struct cpni_train_session *session, *after;
    HASH_ITER(hh, core->sessions, session, after) {
        char *text = list != NULL ? cpni_arena_alloc(&actions->arena, CPN_ID_TEXT) : NULL;
        if (text == NULL) {
            return CPN_ENOMEM;
        }
        list[count++].text = cpni_str(cpn_id_text(&session->id, text));
    }
    if (list == NULL) {
        return CPN_ENOMEM;
    }
    *out = list;
    *out_count = count;
    return 0;
}

/* ---- invariants ---- */

static const char *check_lane(const struct cpni_train_lane *lane)
{
    bool process = lane->state == CPNI_TRAIN_OPENING || lane->state == CPNI_TRAIN_REPLAYING || lane->state == CPNI_TRAIN_IDLE ||
                   lane->state == CPNI_TRAIN_RUNNING || lane->state == CPNI_TRAIN_STORING;
    if (process != (lane->ticket != 0)) {
        return "worker: a lane without a process is at work, or one has a process and is not";
    }
    if ((lane->state == CPNI_TRAIN_RUNNING) != (lane->now.msg.round != 0)) {
        return "worker: a lane runs no round, or has one that it does not run";
    }
    if ((lane->state == CPNI_TRAIN_STORING) != (lane->import != 0)) {
        return "worker: a lane stores nothing, or stores and does not wait for it";
    }
    if (lane->state == CPNI_TRAIN_FETCHING && lane->missing == 0 && lane->session->ready) {
        return "worker: a lane waits for nothing";
    }
    bool restoring = lane->state == CPNI_TRAIN_FETCHING || lane->state == CPNI_TRAIN_OPENING || lane->state == CPNI_TRAIN_REPLAYING;
    if (lane->holds != restoring) {
        return "worker: a lane that is restored lacks its blobs, or another keeps them";
    }
    return lane->gradient != NULL && lane->state != CPNI_TRAIN_RUNNING ? "worker: a gradient of no round" : NULL;
}

const char *cpni_worker_check_sessions(const struct cpni_worker_core *core)
{
    uint32_t lanes = 0;
    for (const struct cpni_train_session *session = core->sessions; session != NULL; session = session->hh.next) {
        if (session->ready && !session->here) {
            return "worker: a session is ready without its dataset";
        }
        if (!cpni_keep_has(&core->keep, &session->dataset)) {
            return "worker: a session's dataset is not kept";
        }
        for (const struct cpni_train_lane *lane = session->lanes; lane != NULL; lane = lane->hh.next) {
            const char *broken = check_lane(lane);
            if (broken != NULL) {
                return broken;
            }
            lanes++;
        }
    }
    return lanes <= CPNI_LANES_OF_NODE_MAX && HASH_COUNT(core->sessions) <= CPNI_NODE_SESSIONS_MAX ? NULL : "worker: too many lanes";
}
