/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The stable ids of log lines, each with its level and meaning: people search for them, scripts match them, cpn.7 lists them (from
 * here). Never rename one. A core logs through cpni_log() only, so that an id that is not in this list does not compile. */
#ifndef CPNI_EVENTS_H
#define CPNI_EVENTS_H

#include "core/action.h"

/* X(name, id, level, meaning) */
/* clang-format off */
#define CPNI_LOG_EVENTS(X) \
    /* the way to the master: worker and client */ \
    X(MASTER_JOINED, "CPN-MASTER-JOINED", INFO, "the master welcomed this process") \
    X(MASTER_LOST, "CPN-MASTER-LOST", WARN, "the master is silent or unreachable; what runs goes on and is reported when it is back") \
    X(MASTER_BYE, "CPN-MASTER-BYE", INFO, "the master said goodbye") \
    X(MASTER_REFUSED, "CPN-MASTER-REFUSED", ERROR, "the master refuses this process; it gives up") \
    X(MASTER_TERM, "CPN-MASTER-TERM", INFO, "the master is another one or was restarted") \
    X(RESYNC, "CPN-RESYNC", INFO, "messages were lost or the link is unknown: inventories are exchanged again") \
    X(BAD_PACKET, "CPN-BAD-PACKET", WARN, "a packet that does not decode was dropped") \
    X(MSG_REFUSED, "CPN-MSG-REFUSED", WARN, "a message was refused") \
    /* transfer: all roles */ \
    X(CHUNK_REFUSED, "CPN-CHUNK-REFUSED", WARN, "a chunk or leaf list that does not verify was dropped and is asked for again") \
    X(CHUNK_STRAY, "CPN-CHUNK-STRAY", DEBUG, "a chunk or leaf list that nobody asked for was dropped") \
    X(TRANSFER_DONE, "CPN-TRANSFER-DONE", DEBUG, "a blob arrived whole and verified") \
    X(TRANSFER_FAILED, "CPN-TRANSFER-FAILED", WARN, "a blob could not be fetched") \
    X(TRANSFER_STALLED, "CPN-TRANSFER-STALLED", INFO, "a peer does not answer a request for chunks: asked again") \
    /* worker */ \
    X(TASK_TAKEN, "CPN-TASK-TAKEN", DEBUG, "a task arrived at this node") \
    X(TASK_RUN, "CPN-TASK-RUN", DEBUG, "a task began to run in a slot") \
    X(TASK_ENDED, "CPN-TASK-ENDED", DEBUG, "a run ended") \
    X(TASK_FAILED, "CPN-TASK-FAILED", WARN, "a run ended without a result") \
    X(TASK_CANCELLED, "CPN-TASK-CANCELLED", INFO, "a task was cancelled on this node") \
    X(TASK_RETURNED, "CPN-TASK-RETURNED", INFO, "a task was handed back to the master") \
    X(MODEL_FETCHING, "CPN-MODEL-FETCHING", INFO, "the files of a model that are not here are being fetched") \
    X(MODEL_READY, "CPN-MODEL-READY", INFO, "a model is ready to serve") \
    X(MODEL_FAILED, "CPN-MODEL-FAILED", ERROR, "a model does not verify, load or pass its self-test") \
    X(MODEL_UNMET, "CPN-MODEL-UNMET", WARN, "this node lacks what a model requires") \
    X(MODEL_DISCARDED, "CPN-MODEL-DISCARDED", INFO, "a model was removed from this node") \
    X(TRAIN_JOINED, "CPN-TRAIN-JOINED", INFO, "this node is locked to a training session and has its dataset") \
    X(TRAIN_REFUSED, "CPN-TRAIN-REFUSED", WARN, "this node cannot take part in a training session") \
    X(TRAIN_LEFT, "CPN-TRAIN-LEFT", INFO, "this node left a training session") \
    X(TRAIN_LANE, "CPN-TRAIN-LANE", INFO, "this node works on a lane of a training session from now on") \
    X(TRAIN_ROUND, "CPN-TRAIN-ROUND", DEBUG, "a round of a lane is done") \
    X(TRAIN_FAILED, "CPN-TRAIN-FAILED", WARN, "a lane cannot go on at this node") \
    X(DRAINING, "CPN-DRAINING", INFO, "an orderly end was asked for: what runs is finished, the rest handed back") \
    X(STOPPED, "CPN-STOPPED", INFO, "the orderly end is complete") \
    /* client */ \
    X(TASK_SUBMITTED, "CPN-TASK-SUBMITTED", DEBUG, "a task was sent to the master") \
    X(TASK_BUSY, "CPN-TASK-BUSY", DEBUG, "the master's queue is full: the task is sent again later") \
    X(TASK_DELIVERED, "CPN-TASK-DELIVERED", DEBUG, "a result was handed to the program") \
    /* master: links and registry */ \
    X(NODE_ENROLLED, "CPN-NODE-ENROLLED", INFO, "a node's key was bound by a join token") \
    X(USER_ENROLLED, "CPN-USER-ENROLLED", INFO, "a user's key was bound by a join token") \
    X(ENROL_REFUSED, "CPN-ENROL-REFUSED", WARN, "a join token was refused") \
    X(NODE_JOINED, "CPN-NODE-JOINED", INFO, "a node came for the first time since the master started") \
    X(NODE_RETURNED, "CPN-NODE-RETURNED", INFO, "a node that was gone, or its next process, came back") \
    X(NODE_LEFT, "CPN-NODE-LEFT", INFO, "a node said goodbye") \
    X(NODE_LOST, "CPN-NODE-LOST", WARN, "a node is silent for too long; its tasks run elsewhere") \
    X(NODE_COPIED, "CPN-NODE-COPIED", ERROR, "two processes use one node's identity; the newer was refused") \
    X(NODE_DRAINING, "CPN-NODE-DRAINING", INFO, "a node gets no more tasks") \
    X(NODE_RESUMED, "CPN-NODE-RESUMED", INFO, "a drained node gets tasks again") \
    X(CLIENT_JOINED, "CPN-CLIENT-JOINED", DEBUG, "a client process came") \
    X(CLIENT_LEFT, "CPN-CLIENT-LEFT", DEBUG, "a client process said goodbye") \
    X(CLIENT_LOST, "CPN-CLIENT-LOST", INFO, "a client process is silent for too long") \
    X(KEY_REVOKED, "CPN-KEY-REVOKED", WARN, "a node's or user's key was revoked") \
    X(CONN_DROPPED, "CPN-CONN-DROPPED", WARN, "a connection that sends what it must not was dropped") \
    X(TOKEN_CREATED, "CPN-TOKEN-CREATED", INFO, "a join token was created") \
    X(TOKEN_REVOKED, "CPN-TOKEN-REVOKED", INFO, "a join token was revoked") \
    X(RIGHT_CHANGED, "CPN-RIGHT-CHANGED", INFO, "a user was given the right to publish models, or lost it") \
    X(COMMIT_FAILED, "CPN-COMMIT-FAILED", ERROR, "the store could not make a change durable") \
    /* master: tasks */ \
    X(TASK_ACCEPTED, "CPN-TASK-ACCEPTED", DEBUG, "a task was accepted") \
    X(TASK_PLACED, "CPN-TASK-PLACED", DEBUG, "a task was sent to a node") \
    X(TASK_DONE, "CPN-TASK-DONE", DEBUG, "a task has its result") \
    X(TASK_REQUEUED, "CPN-TASK-REQUEUED", INFO, "a task lost its node and is placed again; counts as no failure") \
    X(TASK_RETRY, "CPN-TASK-RETRY", WARN, "an attempt crashed or timed out; the task is tried again") \
    X(TASK_POISON, "CPN-TASK-POISON", ERROR, "a task crashed or timed out too often and is parked") \
    X(TASK_DEADLINE, "CPN-TASK-DEADLINE", WARN, "a task's deadline passed") \
    X(TASK_ADOPTED, "CPN-TASK-ADOPTED", INFO, "work in flight from an earlier term was taken over, not restarted") \
    X(TASK_UNCLAIMED, "CPN-TASK-UNCLAIMED", INFO, "work of an earlier term that no client asked for was cancelled") \
    X(TASK_DROPPED, "CPN-TASK-DROPPED", INFO, "a task was cancelled, or its client is gone for good") \
    X(QUEUE_FULL, "CPN-QUEUE-FULL", WARN, "submissions are turned away with BUSY") \
    X(SETTLED, "CPN-SETTLED", INFO, "after a start: the nodes are back, or were waited for; tasks are placed from now on") \
    /* master: models */ \
    X(MODEL_PUBLISHED, "CPN-MODEL-PUBLISHED", INFO, "a new version of a model was published") \
    X(MODEL_REFUSED, "CPN-MODEL-REFUSED", WARN, "a model was not accepted") \
    X(MODEL_REMOVED, "CPN-MODEL-REMOVED", INFO, "a version of a model was removed from the network") \
    X(MODEL_PREPARING, "CPN-MODEL-PREPARING", DEBUG, "a node was asked to prepare a model") \
    /* master: training sessions */ \
    X(SESSION_STARTED, "CPN-SESSION-STARTED", INFO, "a training session was accepted and its peers are locked") \
    X(SESSION_TRAINING, "CPN-SESSION-TRAINING", INFO, "the peers of a session have its dataset: training begins") \
    X(SESSION_COMPLETED, "CPN-SESSION-COMPLETED", INFO, "a session has done all its rounds") \
    X(SESSION_FAILED, "CPN-SESSION-FAILED", ERROR, "a session cannot go on; the text says why") \
    X(SESSION_STOPPED, "CPN-SESSION-STOPPED", INFO, "a session was stopped by a person") \
    X(SESSION_RESTORED, "CPN-SESSION-RESTORED", INFO, "a session of an earlier term goes on") \
    X(SESSION_REMOVED, "CPN-SESSION-REMOVED", INFO, "an old session that ended was forgotten") \
    X(SESSION_PEER_LOCKED, "CPN-SESSION-PEER-LOCKED", INFO, "a node was locked to a session that was under way") \
    X(SESSION_PEER_LOST, "CPN-SESSION-PEER-LOST", WARN, "a session goes on without one of its nodes") \
    X(SESSION_ROUND_REPEATED, "CPN-SESSION-ROUND-REPEATED", INFO, "a round under way was lost with its node and begins anew") \
    X(SESSION_LANE_CRASHED, "CPN-SESSION-LANE-CRASHED", WARN, "a lane's trainer failed; it is tried again from its checkpoint") \
    X(SESSION_DIVERGED, "CPN-SESSION-DIVERGED", WARN, "a lane's loss or weights are no longer numbers") \
    X(SESSION_LATE, "CPN-SESSION-LATE", INFO, "a round's quorum was reached and a straggler cut")
/* clang-format on */

enum cpni_log_event {
#define CPNI_LOG_EVENT_ENUM(name, id, level, meaning) CPNI_LOG_##name,
    CPNI_LOG_EVENTS(CPNI_LOG_EVENT_ENUM)
#undef CPNI_LOG_EVENT_ENUM
        CPNI_LOG_EVENTS_COUNT
};

const char *cpni_log_event_id(enum cpni_log_event event);
const char *cpni_log_event_meaning(enum cpni_log_event event);
enum cpn_log_level cpni_log_event_level(enum cpni_log_event event);

/* Whom and what a line is about; all may be absent. */
struct cpni_log_about {
    const struct cpn_key *node;
    const struct cpn_key *user;
    const struct cpn_id *task;
    struct cpni_str name;  /* of the node or user */
    struct cpni_str model;
};

/* Append a LOG action with the event's id and level and a text (in the step's arena; format NULL: none). about: may be NULL. */
void cpni_log(struct cpni_actions *actions, enum cpni_log_event event, const struct cpni_log_about *about, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
