/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Every message of CPN/1 (man/cpn-protocol.7): one list of fields a message, from which the structs, the field tables (msg.c),
 * the codec (wire/) and the copy into the actions of a step all derive. To add a message: write its field list, add one line to
 * CPNI_MESSAGES, describe it in man/cpn-protocol.7. To add a field: append it with a new number; never reuse or retype one.
 * A field that is absent on the wire is zero in the struct and a zero field is not sent, so old and new understand each other.
 * Must not know how messages are encoded or who handles them. */
#ifndef CPNI_MSG_H
#define CPNI_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cpn/types.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/str.h"
#include "proto/signature.h"

/* The kinds of a field. STR is a borrowed view; FRAME is a payload frame that travels beside the header, never copied. */
#define CPNI_TYPE_BOOL bool
#define CPNI_TYPE_U32 uint32_t
#define CPNI_TYPE_U64 uint64_t
#define CPNI_TYPE_I32 int32_t
#define CPNI_TYPE_F32 float
#define CPNI_TYPE_STR struct cpni_str
#define CPNI_TYPE_ID struct cpn_id
#define CPNI_TYPE_KEY struct cpn_key
#define CPNI_TYPE_HASH struct cpn_hash
#define CPNI_TYPE_SIG struct cpni_signature
#define CPNI_TYPE_FRAME struct cpni_bytes *

/* clang-format off */

/* ---- records: structs that stand in lists inside messages. F(number, KIND, name), L(number, RECORD, name) ---- */

#define CPNI_FIELDS_REC_TEXT(F, L) \
    F(1, STR, text)
#define CPNI_FIELDS_REC_ATTEMPT(F, L) \
    F(1, ID, task) F(2, U32, attempt) F(3, U64, term)
/* A model as a node holds it. */
#define CPNI_FIELDS_REC_HELD(F, L) \
    F(1, STR, name) F(2, U32, version) F(3, HASH, root) F(4, U32, state) F(5, STR, text)
#define CPNI_FIELDS_REC_LABEL(F, L) \
    F(1, STR, name) F(2, F32, confidence) F(3, I32, x) F(4, I32, y) F(5, I32, width) F(6, I32, height)
#define CPNI_FIELDS_REC_NODE(F, L) \
    F(1, KEY, key) F(2, STR, name) F(3, U32, state) F(4, U32, slots) F(5, U32, busy) F(6, U32, queued) F(7, U32, cores) \
    F(8, U64, memory) F(9, STR, gpu) L(10, TEXT, backends) L(11, HELD, models) F(12, U64, first_join_ms) \
    F(13, U64, last_seen_ms) F(14, U64, tasks) F(15, U64, failures) F(16, U64, busy_us) F(17, U64, bytes_in) \
    F(18, U64, bytes_out) F(19, U64, joins) F(20, U64, losses) F(21, STR, software) F(22, U64, rss) F(23, BOOL, revoked)
#define CPNI_FIELDS_REC_USER(F, L) \
    F(1, KEY, key) F(2, STR, name) F(3, U32, role) F(4, BOOL, publish) F(5, BOOL, revoked) F(6, U32, links) \
    F(7, U64, first_join_ms) F(8, U64, last_seen_ms) F(9, U64, tasks) F(10, U64, failures) F(11, U64, busy_us) \
    F(12, U64, bytes_in) F(13, U64, bytes_out)
#define CPNI_FIELDS_REC_MODEL(F, L) \
    F(1, STR, name) F(2, U32, version) F(3, STR, backend) F(4, HASH, root) F(5, U64, bytes) F(6, U64, added_ms) \
    F(7, U32, ready) F(8, U32, preparing) F(9, U32, failed) F(10, STR, publisher) F(11, STR, text)
/* A task as `cpn tasks` shows it. */
#define CPNI_FIELDS_REC_JOB(F, L) \
    F(1, ID, task) F(2, STR, model) F(3, U32, version) F(4, U32, state) F(5, STR, user) F(6, STR, node) F(7, U32, attempt) \
    F(8, U64, age_ms) F(9, STR, input_name) F(10, U64, input_bytes) F(11, STR, text)
#define CPNI_FIELDS_REC_TOKEN(F, L) \
    F(1, KEY, key) F(2, U32, role) F(3, STR, name) F(4, U64, expires_ms) F(5, U32, uses_left) F(6, BOOL, revoked)
/* A row of the event ring. */
#define CPNI_FIELDS_REC_NOTE(F, L) \
    F(1, U64, sequence) F(2, U64, at_ms) F(3, U32, level) F(4, STR, event) F(5, STR, node) F(6, STR, task) F(7, STR, model) \
    F(8, STR, text)

/* The weights with which a round began, for a replay. */
#define CPNI_FIELDS_REC_WEIGHTS(F, L) \
    F(1, U64, round) F(2, HASH, root) F(3, U64, size)
/* A training session as `cpn sessions` shows it. lane: whose weights these are; LANES_MAX and above: the session's own. Accuracies are in
 * millionths, losses in millionths of a nat. */
#define CPNI_FIELDS_REC_SESSION(F, L) \
    F(1, ID, session) F(2, STR, name) F(3, STR, user) F(4, U32, mode) F(5, U32, state) F(6, STR, text) F(7, STR, trainer) \
    F(8, U32, peers) F(9, U32, locked) F(10, U32, lanes) F(11, U64, round) F(12, U64, rounds) F(13, U64, started_ms) \
    F(14, U64, ended_ms) F(15, U32, lane) F(16, HASH, weights_root) F(17, U64, weights_size) F(18, HASH, schema_root) \
    F(19, U64, schema_size) F(20, U64, rows) F(21, U64, train_rows) F(22, U32, columns) F(23, U32, classes) \
    F(24, BOOL, evaluated) F(25, U32, accuracy_ppm) F(26, U64, loss_micro) F(27, BOOL, reproducible) F(28, STR, why) \
    F(29, U32, points) F(30, U64, repeated)
/* A lane of a session: a shard (average, sync) or a configuration (sweep), with who works on it now. */
#define CPNI_FIELDS_REC_LANE(F, L) \
    F(1, U32, lane) F(2, STR, node) F(3, STR, settings) F(4, STR, device) F(5, U32, state) F(6, STR, text) F(7, U64, round) \
    F(8, U32, epoch) F(9, U32, epochs) F(10, U64, step) F(11, U64, steps) F(12, U64, loss_micro) F(13, U32, accuracy_ppm) \
    F(14, U64, rate) F(15, HASH, weights_root) F(16, U64, weights_size)
/* An epoch that a lane finished. */
#define CPNI_FIELDS_REC_POINT(F, L) \
    F(1, U32, lane) F(2, U32, epoch) F(3, STR, node) F(4, U64, samples) F(5, U64, train_loss_micro) F(6, U32, train_ppm) \
    F(7, BOOL, evaluated) F(8, U64, loss_micro) F(9, U32, accuracy_ppm) F(10, U64, rate) F(11, U64, at_ms)

#define CPNI_RECORDS(X) \
    X(TEXT) X(ATTEMPT) X(HELD) X(LABEL) X(NODE) X(USER) X(MODEL) X(JOB) X(TOKEN) X(NOTE) X(WEIGHTS) X(SESSION) X(LANE) X(POINT)

/* ---- messages ---- */

/* First on every connection, and again after RESYNC: who this process is and all that it holds. signer: the Ed25519 public key
 * with which this user signs manifests. handlers: model names that an embedder's callbacks serve. sessions: ids, as text, of those that
 * this node is locked to. */
#define CPNI_FIELDS_HELLO(F, L) \
    F(1, ID, boot) F(2, U32, channel) F(3, U32, kind) F(4, STR, name) F(5, STR, software) F(6, U32, slots) F(7, U32, cores) \
    F(8, U64, memory) F(9, STR, gpu) L(10, TEXT, backends) L(11, ATTEMPT, attempts) L(12, ATTEMPT, results) \
    L(13, HELD, models) F(14, BOOL, draining) F(15, U32, credit_tasks) F(16, U64, credit_bytes) L(17, TEXT, handlers) \
    F(18, KEY, signer) L(19, TEXT, sessions)
#define CPNI_FIELDS_WELCOME(F, L) \
    F(1, U32, link) F(2, U64, term) F(3, U32, heartbeat_ms) F(4, U32, gone_ms) F(5, U32, role) F(6, STR, name) \
    F(7, U32, window_tasks) F(8, U64, window_bytes) F(9, STR, master) F(10, STR, software)
/* The master does not know this link, or saw a gap: say HELLO again with the full inventory. */
#define CPNI_FIELDS_RESYNC(F, L) \
    F(1, I32, code) F(2, STR, text)
#define CPNI_FIELDS_REFUSED(F, L) \
    F(1, I32, code) F(2, STR, text) F(3, U64, request) F(4, ID, task) F(5, U32, type)
#define CPNI_FIELDS_BEAT(F, L) \
    F(1, U64, term) F(2, U32, busy) F(3, U32, queued) F(4, U32, cpu_permille) F(5, U64, free_memory) F(6, U64, rss) \
    F(7, U32, runners)
/* An orderly goodbye. returning: a restart is meant; wait for it rather than give up. */
#define CPNI_FIELDS_BYE(F, L) \
    F(1, I32, code) F(2, STR, text) F(3, BOOL, returning)
#define CPNI_FIELDS_ENROL(F, L) \
    F(1, KEY, key) F(2, STR, name)
#define CPNI_FIELDS_ENROLLED(F, L) \
    F(1, U32, role) F(2, STR, name) F(3, KEY, key)

/* Either input (inline) or input_root + input_size (a blob that the client serves until RECEIVED). deadline_ms from now; 0: none.
 * max_attempts: 0 is the master's K; 1 is at most once. sent_term: in which term it was sent before (and not answered with BUSY); 0: never.
 * A later master that knows nothing of it cannot tell whether it ran. */
#define CPNI_FIELDS_SUBMIT(F, L) \
    F(1, ID, task) F(2, STR, model) F(3, FRAME, input) F(4, HASH, input_root) F(5, U64, input_size) F(6, STR, input_name) \
    F(7, BOOL, annotate) F(8, U32, priority) F(9, U32, deadline_ms) F(10, U32, max_attempts) F(11, U64, sent_term)
#define CPNI_FIELDS_ACCEPTED(F, L) \
    F(1, ID, task) F(2, STR, model) F(3, U32, version)
#define CPNI_FIELDS_BUSY(F, L) \
    F(1, ID, task) F(2, U32, retry_ms) F(3, STR, text)
#define CPNI_FIELDS_TASK(F, L) \
    F(1, ID, task) F(2, U32, attempt) F(3, U64, term) F(4, STR, model) F(5, U32, version) F(6, HASH, root) F(7, FRAME, input) \
    F(8, HASH, input_root) F(9, U64, input_size) F(10, STR, input_name) F(11, BOOL, annotate) F(12, U32, deadline_ms)
#define CPNI_FIELDS_STARTED(F, L) \
    F(1, ID, task) F(2, U32, attempt) F(3, U64, term)
/* From a node to the master, and on from the master (node, queued_us filled in) to the client. image or image_root + image_size. */
#define CPNI_FIELDS_RESULT(F, L) \
    F(1, ID, task) F(2, U32, attempt) F(3, U64, term) F(4, I32, code) F(5, U32, failure) F(6, STR, text) L(7, LABEL, labels) \
    F(8, FRAME, image) F(9, HASH, image_root) F(10, U64, image_size) F(11, U32, image_type) F(12, U32, width) \
    F(13, U32, height) F(14, U64, queued_us) F(15, U64, waiting_us) F(16, U64, load_us) F(17, U64, decode_us) \
    F(18, U64, infer_us) F(19, U64, encode_us) F(20, STR, model) F(21, U32, version) F(22, STR, node) F(23, FRAME, output)
#define CPNI_FIELDS_ACK(F, L) \
    F(1, ID, task) F(2, U32, attempt)
/* A node hands a task back that it did not finish (draining, model gone): counts as no failure of the task. */
#define CPNI_FIELDS_RETURN(F, L) \
    F(1, ID, task) F(2, U32, attempt) F(3, U64, term) F(4, I32, code) F(5, STR, text)
#define CPNI_FIELDS_CANCEL(F, L) \
    F(1, ID, task) F(2, U32, attempt) F(3, I32, code)
/* The most tasks and input bytes that the node will hold at a time: absolute, so that a lost or repeated one does no harm. */
#define CPNI_FIELDS_CREDIT(F, L) \
    F(1, U32, tasks) F(2, U64, bytes) F(3, BOOL, draining)

#define CPNI_FIELDS_PREPARE(F, L) \
    F(1, STR, name) F(2, U32, version) F(3, HASH, root) F(4, FRAME, manifest) F(5, SIG, signature) F(6, KEY, signer)
#define CPNI_FIELDS_HELD(F, L) \
    F(1, STR, name) F(2, U32, version) F(3, HASH, root) F(4, U32, state) F(5, STR, text) F(6, U64, done) F(7, U64, total)
#define CPNI_FIELDS_DISCARD(F, L) \
    F(1, STR, name) F(2, U32, version) F(3, HASH, root)
#define CPNI_FIELDS_PUBLISH(F, L) \
    F(1, U64, request) F(2, FRAME, manifest) F(3, SIG, signature) F(4, KEY, signer)
#define CPNI_FIELDS_PUBLISHED(F, L) \
    F(1, U64, request) F(2, STR, name) F(3, U32, version) F(4, BOOL, existed)

/* Transfer, on the bulk channel: the receiver asks, the sender answers; what is asked for and not yet answered is the window. */
#define CPNI_FIELDS_WANT(F, L) \
    F(1, HASH, root) F(2, BOOL, leaves) F(3, U32, first) F(4, U32, count) F(5, U64, size)
#define CPNI_FIELDS_LEAVES(F, L) \
    F(1, HASH, root) F(2, U64, size) F(3, FRAME, leaves)
#define CPNI_FIELDS_CHUNK(F, L) \
    F(1, HASH, root) F(2, U32, index) F(3, FRAME, data)
#define CPNI_FIELDS_MISSING(F, L) \
    F(1, HASH, root) F(2, U32, index) F(3, I32, code) F(4, STR, text)
/* The receiver has the blob whole, verified and durable: the sender may drop its copy. */
#define CPNI_FIELDS_RECEIVED(F, L) \
    F(1, HASH, root)

/* since: rows to skip, of events the number of the last one seen. limit: rows of the REPLY at most; 0: as many as fit. name: of nodes,
 * users and models their own, of tasks their model's. */
#define CPNI_FIELDS_QUERY(F, L) \
    F(1, U64, request) F(2, U32, what) F(3, STR, name) F(4, U64, since) F(5, U32, limit)
#define CPNI_FIELDS_REPLY(F, L) \
    F(1, U64, request) F(2, BOOL, more) L(3, NODE, nodes) L(4, USER, users) L(5, MODEL, models) L(6, JOB, jobs) \
    L(7, TOKEN, tokens) L(8, NOTE, notes) L(9, SESSION, sessions) L(10, LANE, lanes) L(11, POINT, points)
#define CPNI_FIELDS_ADMIN(F, L) \
    F(1, U64, request) F(2, U32, op) F(3, KEY, key) F(4, STR, name) F(5, U32, role) F(6, U64, ttl_ms) F(7, U32, uses) \
    F(8, U32, version)
#define CPNI_FIELDS_DONE(F, L) \
    F(1, U64, request) F(2, I32, code) F(3, STR, text)

/* ---- training (DESIGN section 9; proto/session_spec.h is the text of a spec) ---- */

/* A user asks for a session. dataset and schema are blobs that the client serves until RECEIVED. Answered by DONE when it is durable and
 * its peers are locked, or REFUSED. The same id again is answered again. */
#define CPNI_FIELDS_SESSION(F, L) \
    F(1, U64, request) F(2, ID, session) F(3, STR, name) F(4, FRAME, spec) F(5, HASH, dataset_root) F(6, U64, dataset_size) \
    F(7, HASH, schema_root) F(8, U64, schema_size) F(9, U64, rows) F(10, U64, train_rows) F(11, U32, columns) F(12, U32, classes)
/* From a person: end this session (answered by DONE). From the master to a node: leave it; within a batch, whatever runs. */
#define CPNI_FIELDS_STOP(F, L) \
    F(1, U64, request) F(2, ID, session) F(3, I32, code) F(4, STR, text)
/* The node is locked to a session and must fetch its dataset. Again: answered by ENABLED again. */
#define CPNI_FIELDS_ENABLE(F, L) \
    F(1, ID, session) F(2, FRAME, spec) F(3, HASH, dataset_root) F(4, U64, dataset_size) F(5, U64, rows) F(6, U64, train_rows) \
    F(7, U32, columns) F(8, U32, classes)
/* code 0: the dataset is here and a trainer of this spec can be made. Else why not (disk full, no memory): the node is not locked. */
#define CPNI_FIELDS_ENABLED(F, L) \
    F(1, ID, session) F(2, I32, code) F(3, STR, text) F(4, STR, device) F(5, STR, fingerprint) F(6, BOOL, reproducible)
/* The node works on a lane from now on, which has completed `round` rounds. If the node does not hold it in just that place it restores
 * the state (zero root: a fresh trainer, round 0) and replays the rounds that follow, each from the weights with which it began. */
#define CPNI_FIELDS_LANE(F, L) \
    F(1, ID, session) F(2, U32, lane) F(3, U64, round) F(4, U64, state_round) F(5, HASH, state_root) F(6, U64, state_size) \
    L(7, WEIGHTS, replay) F(8, U64, steps)
/* The node no longer works on a lane. */
#define CPNI_FIELDS_UNLANE(F, L) \
    F(1, ID, session) F(2, U32, lane)
/* A part of the vector that the next TRAIN, UPDATE or GRADIENT for the same lane and round on this connection (bulk) ends. */
#define CPNI_FIELDS_PIECE(F, L) \
    F(1, ID, session) F(2, U32, lane) F(3, U64, round) F(4, U64, offset) F(5, U64, total) F(6, FRAME, data)
/* Do round `round` (1 and up) of a lane: `steps` batches from the weights in the pieces before it (bytes 0: from the lane's own;
 * encoding 1: their int8 change since those from which the round before began). evaluate: of the validation rows, before the steps
 * (average, sync: the common weights) or after them (sweep). state: a checkpoint is wanted. exchange: gradients are exchanged at each
 * step (sync). Bulk; the same round again is answered again. */
#define CPNI_FIELDS_TRAIN(F, L) \
    F(1, ID, session) F(2, U32, lane) F(3, U64, round) F(4, U64, steps) F(5, U64, bytes) F(6, BOOL, evaluate) F(7, BOOL, state) \
    F(8, BOOL, exchange) F(9, U32, encoding)
/* A round is done: the weights (or their int8 change, encoding 1) in the pieces before it. What was learned in the round, what was
 * evaluated, and the checkpoint, a blob that the node serves until RECEIVED. code: CPN_EDIVERGED, CPN_ECRASHED, CPN_ENOSPC, ... */
#define CPNI_FIELDS_UPDATE(F, L) \
    F(1, ID, session) F(2, U32, lane) F(3, U64, round) F(4, I32, code) F(5, STR, text) F(6, U64, bytes) F(7, U32, encoding) \
    F(8, U64, steps) F(9, U64, samples) F(10, U64, correct) F(11, U64, loss_micro) F(12, U64, tested) F(13, U64, tested_correct) \
    F(14, U64, tested_loss_micro) F(15, HASH, state_root) F(16, U64, state_size) F(17, U64, elapsed_us)
/* sync: step `step` (1 and up) of a round; to the master the gradient of `samples` rows, from it the mean of all. Bulk. */
#define CPNI_FIELDS_GRADIENT(F, L) \
    F(1, ID, session) F(2, U32, lane) F(3, U64, round) F(4, U64, step) F(5, U64, samples) F(6, U64, bytes)
/* The heartbeat of a lane, once a second: means since the epoch began. Of a finished epoch (done) it comes right before the UPDATE of its
 * round, each time that is said. Bulk if done. */
#define CPNI_FIELDS_EPOCH(F, L) \
    F(1, ID, session) F(2, U32, lane) F(3, U64, round) F(4, U32, epoch) F(5, U64, step) F(6, U64, steps) F(7, U64, samples) \
    F(8, U64, loss_micro) F(9, U32, accuracy_ppm) F(10, U64, rate) F(11, BOOL, done)

/* Who may send a message: checked for every message before anything else looks at it. */
enum {
    CPNI_FROM_NODE = 1,
    CPNI_FROM_USER = 2,
    CPNI_FROM_ADMIN = 4,
    CPNI_FROM_TOKEN = 8,
    CPNI_FROM_MASTER = 16,
    CPNI_FROM_PEOPLE = CPNI_FROM_USER | CPNI_FROM_ADMIN,
    CPNI_FROM_MEMBERS = CPNI_FROM_NODE | CPNI_FROM_PEOPLE,
    CPNI_FROM_ANY = CPNI_FROM_MEMBERS | CPNI_FROM_MASTER
};

/* X(number, NAME, name, who may send it) */
#define CPNI_MESSAGES(X) \
    X(1, HELLO, hello, CPNI_FROM_MEMBERS) \
    X(2, WELCOME, welcome, CPNI_FROM_MASTER) \
    X(3, RESYNC, resync, CPNI_FROM_MASTER) \
    X(4, REFUSED, refused, CPNI_FROM_MASTER) \
    X(5, BEAT, beat, CPNI_FROM_ANY) \
    X(6, BYE, bye, CPNI_FROM_ANY) \
    X(7, ENROL, enrol, CPNI_FROM_TOKEN) \
    X(8, ENROLLED, enrolled, CPNI_FROM_MASTER) \
    X(9, SUBMIT, submit, CPNI_FROM_PEOPLE) \
    X(10, ACCEPTED, accepted, CPNI_FROM_MASTER) \
    X(11, BUSY, busy, CPNI_FROM_MASTER) \
    X(12, TASK, task, CPNI_FROM_MASTER) \
    X(13, STARTED, started, CPNI_FROM_NODE) \
    X(14, RESULT, result, CPNI_FROM_NODE | CPNI_FROM_MASTER) \
    X(15, ACK, ack, CPNI_FROM_PEOPLE | CPNI_FROM_MASTER) \
    X(16, RETURN, handback, CPNI_FROM_NODE) \
    X(17, CANCEL, cancel, CPNI_FROM_PEOPLE | CPNI_FROM_MASTER) \
    X(18, CREDIT, credit, CPNI_FROM_NODE) \
    X(19, PREPARE, prepare, CPNI_FROM_MASTER) \
    X(20, HELD, held, CPNI_FROM_NODE) \
    X(21, DISCARD, discard, CPNI_FROM_MASTER) \
    X(22, PUBLISH, publish, CPNI_FROM_PEOPLE) \
    X(23, PUBLISHED, published, CPNI_FROM_MASTER) \
    X(24, WANT, want, CPNI_FROM_ANY) \
    X(25, LEAVES, leaves, CPNI_FROM_ANY) \
    X(26, CHUNK, chunk, CPNI_FROM_ANY) \
    X(27, MISSING, missing, CPNI_FROM_ANY) \
    X(28, RECEIVED, received, CPNI_FROM_ANY) \
    X(29, QUERY, query, CPNI_FROM_PEOPLE) \
    X(30, REPLY, reply, CPNI_FROM_MASTER) \
    X(31, ADMIN, admin, CPNI_FROM_ADMIN) \
    X(32, DONE, done, CPNI_FROM_MASTER) \
    X(33, SESSION, session, CPNI_FROM_PEOPLE) \
    X(34, STOP, stop, CPNI_FROM_PEOPLE | CPNI_FROM_MASTER) \
    X(35, ENABLE, enable, CPNI_FROM_MASTER) \
    X(36, ENABLED, enabled, CPNI_FROM_NODE) \
    X(37, LANE, lane, CPNI_FROM_MASTER) \
    X(38, UNLANE, unlane, CPNI_FROM_MASTER) \
    X(39, PIECE, piece, CPNI_FROM_NODE | CPNI_FROM_MASTER) \
    X(40, TRAIN, train, CPNI_FROM_MASTER) \
    X(41, UPDATE, update, CPNI_FROM_NODE) \
    X(42, GRADIENT, gradient, CPNI_FROM_NODE | CPNI_FROM_MASTER) \
    X(43, EPOCH, epoch, CPNI_FROM_NODE)

/* ---- what the lists above yield: struct cpni_rec_TEXT ..., struct cpni_msg_hello ..., CPNI_MSG_HELLO ... ---- */

#define CPNI_STRUCT_FIELD(number, kind, name) CPNI_TYPE_##kind name;
#define CPNI_STRUCT_LIST(number, record, name) struct cpni_rec_##record *name; uint32_t name##_count;
#define CPNI_RECORD_STRUCT(NAME) struct cpni_rec_##NAME { CPNI_FIELDS_REC_##NAME(CPNI_STRUCT_FIELD, CPNI_STRUCT_LIST) };
#define CPNI_MESSAGE_STRUCT(number, NAME, name, from) \
    struct cpni_msg_##name { CPNI_FIELDS_##NAME(CPNI_STRUCT_FIELD, CPNI_STRUCT_LIST) };
CPNI_RECORDS(CPNI_RECORD_STRUCT)
CPNI_MESSAGES(CPNI_MESSAGE_STRUCT)

/* clang-format on */

enum cpni_msg_type {
    CPNI_MSG_NONE = 0,
#define CPNI_MESSAGE_ENUM(number, NAME, name, from) CPNI_MSG_##NAME = number,
    CPNI_MESSAGES(CPNI_MESSAGE_ENUM)
#undef CPNI_MESSAGE_ENUM
    CPNI_MSG_TYPES
};

struct cpni_msg {
    enum cpni_msg_type type;
    union {
#define CPNI_MESSAGE_MEMBER(number, NAME, name, from) struct cpni_msg_##name name;
        CPNI_MESSAGES(CPNI_MESSAGE_MEMBER)
#undef CPNI_MESSAGE_MEMBER
    };
};

/* ---- values of enumerated fields; the numbers go over the wire ---- */

enum cpni_channel { CPNI_CHANNEL_CONTROL = 0, CPNI_CHANNEL_BULK = 1 }; /* hello.channel */
enum cpni_kind { CPNI_KIND_CLIENT = 0, CPNI_KIND_WORKER = 1 };         /* hello.kind */
enum cpni_failure {             /* result.failure, DESIGN section 6 */
    CPNI_FAILURE_NONE = 0,
    CPNI_FAILURE_INPUT = 1,     /* bad input: final */
    CPNI_FAILURE_CRASH = 2,     /* runner crash or timeout: counts towards poison */
    CPNI_FAILURE_MODEL = 3,     /* this node cannot run the model: elsewhere, counts for nothing */
    CPNI_FAILURE_DEADLINE = 4,  /* the task's own deadline: final */
    CPNI_FAILURE_CANCELLED = 5, /* final */
    CPNI_FAILURE_POISON = 6,    /* parked after K: final */
    CPNI_FAILURE_NODE = 7       /* node lost or drained: back to the front, counts for nothing */
};
enum cpni_held_state { /* held.state */
    CPNI_HELD_NONE = 0,
    CPNI_HELD_FETCHING = 1,
    CPNI_HELD_LOADING = 2,
    CPNI_HELD_READY = 3,
    CPNI_HELD_FAILED = 4, /* does not verify, load or pass its self-test: text says why */
    CPNI_HELD_UNMET = 5   /* the node lacks what the manifest requires: text says what */
};
enum cpni_node_state { /* node.state */
    CPNI_NODE_GONE = 0,
    CPNI_NODE_JOINING = 1,
    CPNI_NODE_PREPARING = 2,
    CPNI_NODE_READY = 3,
    CPNI_NODE_BUSY = 4,
    CPNI_NODE_DRAINING = 5,
    CPNI_NODE_TRAINING = 6 /* locked to a session: no tasks */
};
enum cpni_job_state { /* job.state */
    CPNI_JOB_UPLOADING = 1, /* its input blob is on its way to the master */
    CPNI_JOB_QUEUED = 2,
    CPNI_JOB_PLACED = 3, /* sent to a node */
    CPNI_JOB_RUNNING = 4,
    CPNI_JOB_FETCHING = 5, /* its result blob is on its way to the master */
    CPNI_JOB_DELIVERING = 6,
    CPNI_JOB_PARKED = 7
};
enum cpni_session_state { /* session.state */
    CPNI_SESSION_CREATED = 1,  /* its dataset is on its way to the master */
    CPNI_SESSION_LOCKING,      /* its peers take no more tasks and finish those that they have */
    CPNI_SESSION_DISTRIBUTING, /* they fetch the dataset */
    CPNI_SESSION_TRAINING,
    CPNI_SESSION_AGGREGATING, /* the last evaluation; the outcome is being stored */
    CPNI_SESSION_COMPLETED,
    CPNI_SESSION_FAILED,
    CPNI_SESSION_STOPPED
};
enum cpni_lane_state { /* lane.state */
    CPNI_LANE_WAITING = 1, /* for a peer, or for the others */
    CPNI_LANE_TRAINING,
    CPNI_LANE_COMPLETED,
    CPNI_LANE_FAILED,
    CPNI_LANE_CUT, /* by successive halving */
    CPNI_LANE_STOPPED
};
enum cpni_image_type { CPNI_IMAGE_NONE = 0, CPNI_IMAGE_JPEG = 1, CPNI_IMAGE_PNG = 2, CPNI_IMAGE_WEBP = 3 };
enum cpni_query { /* query.what */
    CPNI_QUERY_NODES = 1,
    CPNI_QUERY_USERS = 2,
    CPNI_QUERY_MODELS = 3,
    CPNI_QUERY_TASKS = 4,
    CPNI_QUERY_TOKENS = 5,
    CPNI_QUERY_EVENTS = 6,  /* since: sequence; name: node, task or model to filter by */
    CPNI_QUERY_SESSIONS = 7, /* name: one of them, by its id or the start of it; since: rows to skip, newest first */
    CPNI_QUERY_LANES = 8,    /* name: the session's id; since: rows to skip; likewise */
    CPNI_QUERY_POINTS = 9
};
enum cpni_admin { /* admin.op */
    CPNI_ADMIN_TOKEN_CREATE = 1,   /* key: public half of the token's pair; role, ttl_ms, uses, name (hint) */
    CPNI_ADMIN_TOKEN_REVOKE = 2,   /* key */
    CPNI_ADMIN_REVOKE = 3,         /* key, or name, of a node or user */
    CPNI_ADMIN_DRAIN = 4,          /* key, or name, of a node */
    CPNI_ADMIN_RESUME = 5,         /* key, or name, of a node */
    CPNI_ADMIN_MODEL_REMOVE = 6,   /* name, version */
    CPNI_ADMIN_GRANT_PUBLISH = 7,  /* key, or name, of a user */
    CPNI_ADMIN_REVOKE_PUBLISH = 8
};

/* ---- descriptions, for the codec and the copy ---- */

enum cpni_field_kind {
    CPNI_FIELD_BOOL,
    CPNI_FIELD_U32,
    CPNI_FIELD_U64,
    CPNI_FIELD_I32,
    CPNI_FIELD_F32,
    CPNI_FIELD_STR,
    CPNI_FIELD_ID,
    CPNI_FIELD_KEY,
    CPNI_FIELD_HASH,
    CPNI_FIELD_SIG,
    CPNI_FIELD_FRAME,
    CPNI_FIELD_LIST
};

struct cpni_layout;
struct cpni_field {
    uint8_t number;
    enum cpni_field_kind kind;
    size_t offset;                    /* in the struct; of the pointer for a list */
    size_t count_offset;              /* lists only */
    const struct cpni_layout *record; /* lists only */
    const char *name;
};
struct cpni_layout {
    const char *name;
    size_t size;   /* of the struct */
    unsigned from; /* CPNI_FROM_…; messages only */
    const struct cpni_field *fields; /* by rising number */
    size_t field_count;
};

/* The layout of a message type; NULL for a number that is none. Static. */
const struct cpni_layout *cpni_msg_layout(unsigned type);

/* The name of a message type ("HELLO"); "?" for a number that is none. Static. */
const char *cpni_msg_name(unsigned type);

/* The struct of a message, whichever it is: where the offsets of its layout count from. */
void *cpni_msg_body(struct cpni_msg *msg);

/* Deep copy: texts and lists into the arena, payload frames by reference (release them with cpni_msg_drop). CPN_ENOMEM. */
int cpni_msg_copy(struct cpni_arena *arena, const struct cpni_msg *from, struct cpni_msg *to);

/* The most bytes of an arena that a copy takes: for cpni_arena_reserve. */
size_t cpni_msg_copy_bytes(const struct cpni_msg *msg);

/* Release the payload frames of a copied or decoded message. */
void cpni_msg_drop(struct cpni_msg *msg);

#endif
