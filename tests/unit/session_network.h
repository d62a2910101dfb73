/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A master's core with training sessions: a store and a disk that answer at once (or when told to), and workers that train by a rule of
 * their own: round k of lane l with weights w gives w + k + l in every value, exactly; in sync mode step s of lane l has the gradient
 * l + s, and is added. So a test knows what the weights must be. */
#ifndef SESSION_NETWORK_H
#define SESSION_NETWORK_H

#include "core/delta8.h"
#include "master_fixture.h"

#define VALUES 300 /* more than a block of int8, less than a piece */
#define TRAINERS 4
#define COMMANDS 4096

struct trainer { /* a node, and what it was told */
    struct peer control, bulk;
    bool up;
    bool silent; /* answers nothing */
    unsigned boot;
    unsigned delay; /* turns until it answers a TRAIN */
    struct cpni_msg_train train[8]; /* by lane */
    float weights[8][VALUES], mean[VALUES];
    uint8_t vector[8][VALUES * sizeof(float)]; /* on its way in */
    float given[8][VALUES]; /* weights that the last TRAIN with any began from */
    uint64_t given_round[8];
    unsigned changes; /* TRAINs that said what these changed by */
    bool own[8]; /* it goes on from its own weights */
    unsigned due[8]; /* turns left; 0: nothing to do */
    bool has[8];     /* the lane has a process here */
    uint64_t rounds[8]; /* completed */
    uint64_t step[8];   /* sync: complete ones of the round */
    bool waits[8];      /* sync: for the mean of the next */
    unsigned enables, lanes, unlanes, stops, trains;
    struct cpni_msg_lane lane[8]; /* as told last; replay is not kept */
    unsigned replays[8];
};

struct network {
    struct fixture f;
    struct peer user, user_bulk;
    struct trainer t[TRAINERS];
    unsigned count;
    bool hold_disk, hold_store;
    bool hold_transfers; /* checkpoints stay on their way */
    unsigned cut_replies; /* of the store: so many are UNKNOWN */
    struct cpni_command stored[COMMANDS]; /* what was committed, in order */
    unsigned stored_count;
    struct { uint64_t ticket; struct cpni_command command; } asked[256];
    unsigned asked_count;
    struct { struct cpni_act_disk act; } jobs[256];
    unsigned job_count;
    float outcome[VALUES]; /* of the last import */
    struct { struct cpn_hash root; float values[VALUES]; } blobs[512];
    unsigned blob_count;
    struct cpn_hash removed[1024]; /* from the disk, since then not there */
    unsigned removed_count;
    struct cpn_hash outcome_root;
    unsigned done, refused;
    int refused_code;
    char refused_text[512];
    struct cpni_rec_SESSION row; /* its texts are gone, but for */
    char text[512], why[512];
    char mode; /* 'a'verage, 's'ync, s'w'eep */
    uint64_t steps; /* sync: of a round */
    unsigned lanes; /* sync */
    bool gaps;      /* lanes may leave rounds out */
    bool int8;      /* changes instead of weights, but for the first round */
    unsigned seed; /* of the order of answers */
    int answer_code; /* of the next answer of a trainer, once */
    uint64_t answer_round;
};

/* ---- parts ---- */

static inline struct cpn_hash hash_of(const struct cpni_bytes *bytes)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < bytes->size; i++) {
        h = (h ^ bytes->data[i]) * UINT64_C(1099511628211);
    }
    struct cpn_hash hash = { { 9 } };
    memcpy(hash.bytes + 8, &h, sizeof h);
    return hash;
}

static void pump(struct network *n);

static inline void take_actions(struct network *n)
{
    for (size_t i = 0; i < n->f.actions.count; i++) {
        const struct cpni_action *a = &n->f.actions.list[i];
        if (a->type == CPNI_ACT_COMMIT) {
            assert_true(n->asked_count < 256);
            n->asked[n->asked_count].ticket = a->commit.ticket;
            n->asked[n->asked_count].command = a->commit.command;
            cpni_bytes_ref(a->commit.command.payload);
            n->asked_count++;
        } else if (a->type == CPNI_ACT_DISK) {
            assert_true(n->job_count < 256);
            n->jobs[n->job_count].act = a->disk;
            cpni_bytes_ref(a->disk.data);
            n->job_count++;
        }
    }
}

static inline struct trainer *trainer_of(struct network *n, uint64_t conn)
{
    for (unsigned i = 0; i < n->count; i++) {
        if (n->t[i].up && (n->t[i].control.conn == conn || n->t[i].bulk.conn == conn)) {
            return &n->t[i];
        }
    }
    return NULL;
}

/* What a restored lane has: in sync all have the same, in a sweep each its own. */
static inline float restored(const struct network *n, uint32_t lane, uint64_t round)
{
    float value = 0;
    for (uint64_t r = 1; r <= round; r++) {
        for (uint64_t s = 1; n->mode == 's' && s <= n->steps; s++) {
            value += (float)s + (float)(n->lanes - 1) / 2;
        }
        value += n->mode == 'w' ? (float)r + (float)lane : 0;
    }
    return value;
}

static inline bool is_removed(const struct network *n, const struct cpn_hash *root)
{
    for (unsigned i = 0; i < n->removed_count; i++) {
        if (memcmp(&n->removed[i], root, sizeof *root) == 0) {
            return true;
        }
    }
    return false;
}

static inline void set_removed(struct network *n, const struct cpn_hash *root, bool removed)
{
    for (unsigned i = 0; i < n->removed_count; i++) {
        if (memcmp(&n->removed[i], root, sizeof *root) == 0) {
            n->removed[i] = n->removed[--n->removed_count];
            i--;
        }
    }
    if (removed && n->removed_count < 1024) {
        n->removed[n->removed_count++] = *root;
    }
}

/* As a worker does: a lane that is in its place, or a round before it, stays as it is; but for sync, where a round begins anew. */
static inline void take_lane(struct network *n, struct trainer *t, const struct cpni_msg_lane *msg)
{
    uint32_t l = msg->lane;
    bool sync = n->mode == 's', runs = t->due[l] != 0 || t->waits[l];
    uint64_t at = runs ? t->train[l].round - 1 : t->rounds[l];
    bool in_place = t->has[l] && ((at == msg->round && (!sync || !runs)) || (!sync && !runs && at == msg->round + 1));
    t->lanes++;
    t->lane[l] = *msg;
    t->replays[l] = msg->replay_count;
    assert_false(is_removed(n, &msg->state_root));
    assert_true(msg->replay_count == msg->round - msg->state_round);
    for (uint32_t i = 0; i < msg->replay_count; i++) {
        assert_int_equal(msg->replay[i].round, msg->state_round + 1 + i);
        assert_false(is_removed(n, &msg->replay[i].root));
    }
    if (in_place) {
        return;
    }
    for (unsigned i = 0; n->mode != 'a' && i < VALUES; i++) {
        t->weights[l][i] = restored(n, l, msg->round);
    }
    t->has[l] = true;
    t->rounds[l] = msg->round;
    t->step[l] = 0;
    t->waits[l] = false;
    t->due[l] = runs && t->train[l].round == msg->round + 1;
}

/* The weights that a round begins from: in the pieces before it, or what they changed by since the round before. */
static inline void take_weights(struct trainer *t, const struct cpni_msg_train *msg)
{
    uint32_t l = msg->lane;
    if (msg->encoding != 0) {
        assert_int_equal(t->given_round[l] + 1, msg->round);
        assert_int_equal(cpni_delta8_add(t->vector[l], msg->bytes, VALUES, t->given[l]), 0);
        t->changes++;
    } else {
        assert_int_equal(msg->bytes, sizeof t->given[l]);
        memcpy(t->given[l], t->vector[l], sizeof t->given[l]);
    }
    t->given_round[l] = msg->round;
    memcpy(t->weights[l], t->given[l], sizeof t->weights[l]);
}

static inline void take_train(struct network *n, struct trainer *t, const struct cpni_msg_train *msg)
{
    if (msg->bytes != 0) {
        take_weights(t, msg);
    }
    uint32_t l = msg->lane;
    bool runs = t->due[l] != 0 || t->waits[l], same = t->train[l].round == msg->round;
    t->trains++;
    assert_true(t->has[l]);
    assert_true(n->gaps || msg->round == t->rounds[l] + 1 || msg->round == t->rounds[l]);
    t->own[l] = msg->bytes == 0;
    if (!runs || !same || t->waits[l]) {
        t->due[l] = 1 + t->delay;
    }
    t->train[l] = *msg;
}

static inline void take_mean(struct trainer *t, const struct cpni_msg_gradient *msg)
{
    uint32_t l = msg->lane;
    if (!t->waits[l] || msg->step != t->step[l] + 1 || msg->round != t->train[l].round) {
        return;
    }
    for (unsigned i = 0; i < VALUES; i++) {
        t->weights[l][i] += t->mean[i];
    }
    t->step[l]++;
    t->waits[l] = false;
    t->due[l] = 1;
}

static inline void take_trainer(struct network *n, struct trainer *t, const struct cpni_msg *msg, struct cpni_msg *answer)
{
    switch (msg->type) {
    case CPNI_MSG_ENABLE:
        t->enables++;
        answer->type = CPNI_MSG_ENABLED;
        answer->enabled.session = msg->enable.session;
        answer->enabled.device = cpni_str("cpu");
        answer->enabled.fingerprint = cpni_str("same");
        answer->enabled.reproducible = true;
        break;
    case CPNI_MSG_LANE:
        take_lane(n, t, &msg->lane);
        break;
    case CPNI_MSG_GRADIENT:
        take_mean(t, &msg->gradient);
        break;
    case CPNI_MSG_UNLANE:
        t->unlanes++;
        t->has[msg->unlane.lane] = false;
        t->due[msg->unlane.lane] = 0;
        break;
    case CPNI_MSG_STOP:
        t->stops++;
        memset(t->has, 0, sizeof t->has);
        memset(t->due, 0, sizeof t->due);
        break;
    case CPNI_MSG_PIECE:
        assert_true(msg->piece.total == sizeof t->vector[0] || (n->int8 && msg->piece.total == cpni_delta8_size(VALUES)));
        memcpy(n->mode == 's' ? (uint8_t *)t->mean : t->vector[msg->piece.lane], msg->piece.data->data, msg->piece.total);
        break;
    case CPNI_MSG_TRAIN:
        take_train(n, t, &msg->train);
        break;
    default:
        break;
    }
}

/* What the last step sent to trainers and to the user. The ENABLED answers go out at the end, for they are steps of their own. */
static inline void take_sends(struct network *n)
{
    struct cpni_msg answers[16];
    struct trainer *from[16];
    unsigned count = 0;
    for (size_t i = 0; i < n->f.actions.count; i++) {
        const struct cpni_action *a = &n->f.actions.list[i];
        if (a->type != CPNI_ACT_SEND) {
            continue;
        }
        const struct cpni_msg *msg = &a->send.msg;
        if (a->send.conn == n->user.conn) {
            n->done += msg->type == CPNI_MSG_DONE;
            if (msg->type == CPNI_MSG_REFUSED) {
                n->refused++;
                n->refused_code = msg->refused.code;
                cpni_str_copy(msg->refused.text, n->refused_text, sizeof n->refused_text);
            }
            continue;
        }
        struct trainer *t = trainer_of(n, a->send.conn);
        if (t == NULL || t->silent) {
            continue;
        }
        assert_true(count < 16);
        answers[count] = (struct cpni_msg){ .type = CPNI_MSG_NONE };
        take_trainer(n, t, msg, &answers[count]);
        from[count] = t;
        count += answers[count].type != CPNI_MSG_NONE;
    }
    take_actions(n);
    for (unsigned i = 0; i < count; i++) {
        say(&n->f, &from[i]->control, answers[i]);
        take_sends(n);
    }
}

static inline void do_step(struct network *n, struct peer *p, struct cpni_msg msg)
{
    say(&n->f, p, msg);
    take_sends(n);
}

static inline void store_answers(struct network *n)
{
    while (n->asked_count != 0) {
        uint64_t ticket = n->asked[0].ticket;
        struct cpni_command command = n->asked[0].command;
        memmove(n->asked, n->asked + 1, --n->asked_count * sizeof n->asked[0]);
        bool lost = n->cut_replies != 0;
        n->cut_replies -= lost;
        assert_true(n->stored_count < COMMANDS);
        if (lost) {
            cpni_bytes_unref(command.payload);
        } else {
            n->stored[n->stored_count++] = command;
        }
        commit_as(&n->f, ticket, lost ? CPNI_UNKNOWN : CPNI_COMMITTED, lost ? CPN_EIO : 0, 1, "");
        take_sends(n);
    }
}

static inline void disk_answer(struct network *n, const struct cpni_act_disk *act)
{
    struct cpni_event event = { .type = CPNI_EV_DISK, .disk = { .ticket = act->ticket, .root = act->root, .complete = true } };
    struct cpni_bytes *chunk = NULL;
    if (act->op == CPNI_DISK_IMPORT_BYTES) {
        event.disk.root = hash_of(act->data);
        event.disk.size = act->data->size;
        assert_int_equal(act->data->size, sizeof n->outcome);
        memcpy(n->outcome, act->data->data, sizeof n->outcome);
        n->outcome_root = event.disk.root;
        set_removed(n, &event.disk.root, false);
        n->blobs[n->blob_count % 512].root = event.disk.root;
        memcpy(n->blobs[n->blob_count++ % 512].values, n->outcome, sizeof n->outcome);
    } else if (act->op == CPNI_DISK_READ_CHUNK) {
        for (unsigned i = 0; i < 512 && chunk == NULL; i++) {
            if (memcmp(&n->blobs[i].root, &act->root, sizeof act->root) == 0) {
                chunk = cpni_bytes_copy(n->blobs[i].values, sizeof n->blobs[i].values);
            }
        }
        assert_non_null(chunk);
        event.disk.bytes = chunk;
    } else if (act->op == CPNI_DISK_BEGIN) {
        set_removed(n, &act->root, false);
        event.disk.size = act->size; /* everything that is asked for is there already: transfers are tested elsewhere */
    }
    if (act->op == CPNI_DISK_REMOVE) {
        set_removed(n, &act->root, true);
    }
    if (act->op == CPNI_DISK_READ_CHUNK) {
        assert_false(is_removed(n, &act->root));
    }
    if (act->ticket != 0) {
        step(&n->f, &event);
        take_sends(n);
    }
    cpni_bytes_unref(chunk);
}

static inline void disk_answers(struct network *n)
{
    unsigned held = 0;
    while (n->job_count > held) {
        struct cpni_act_disk act = n->jobs[held].act;
        if (act.op == CPNI_DISK_BEGIN && n->hold_transfers) {
            held++;
            continue;
        }
        memmove(n->jobs + held, n->jobs + held + 1, (--n->job_count - held) * sizeof n->jobs[0]);
        disk_answer(n, &act);
        cpni_bytes_unref(act.data);
    }
}

/* sync: a trainer says its next gradient. */
static inline void answer_step(struct network *n, struct trainer *t, uint32_t lane)
{
    const struct cpni_msg_train train = t->train[lane];
    struct cpni_msg msgs[2] = { { .type = CPNI_MSG_PIECE }, { .type = CPNI_MSG_GRADIENT } };
    float gradient[VALUES];
    for (unsigned i = 0; i < VALUES; i++) {
        gradient[i] = (float)(t->step[lane] + 1) + (float)lane;
    }
    struct cpni_bytes *bytes = cpni_bytes_copy(gradient, sizeof gradient);
    msgs[0].piece = (struct cpni_msg_piece){ .session = train.session, .lane = lane, .round = train.round, .total = bytes->size, .data = bytes };
    msgs[1].gradient = (struct cpni_msg_gradient){ .session = train.session, .lane = lane, .round = train.round, .step = t->step[lane] + 1,
        .samples = 10, .bytes = bytes->size };
    t->due[lane] = 0;
    t->waits[lane] = true;
    say_many(&n->f, &t->bulk, msgs, 2);
    take_sends(n);
    cpni_bytes_unref(bytes);
}

/* Weights after a round, or what they changed by. */
static inline struct cpni_bytes *vector_of(const struct network *n, const struct trainer *t, uint32_t lane)
{
    float change[VALUES], residual[VALUES] = { 0 };
    uint8_t out[2 * VALUES];
    if (!n->int8 || t->own[lane]) {
        return cpni_bytes_copy(t->weights[lane], sizeof t->weights[lane]);
    }
    for (unsigned i = 0; i < VALUES; i++) {
        change[i] = (float)t->train[lane].round + (float)lane;
    }
    assert_int_equal(cpni_delta8_encode(change, VALUES, residual, out), 0);
    return cpni_bytes_copy(out, cpni_delta8_size(VALUES));
}

/* A trainer ends a round. */
static inline void answer_train(struct network *n, struct trainer *t, uint32_t lane)
{
    const struct cpni_msg_train train = t->train[lane];
    bool again = t->rounds[lane] >= train.round; /* it said so before */
    if (train.exchange && t->step[lane] < train.steps && !again) {
        answer_step(n, t, lane);
        return;
    }
    struct cpni_msg msgs[2] = { { .type = CPNI_MSG_PIECE }, { .type = CPNI_MSG_UPDATE } };
    t->step[lane] = 0;
    if (t->own[lane] && train.round == 1 && n->mode == 'a') {
        memset(t->weights[lane], 0, sizeof t->weights[lane]);
    }
    for (unsigned i = 0; train.steps != 0 && !train.exchange && !(again && n->mode == 'w') && i < VALUES; i++) {
        t->weights[lane][i] += (float)train.round + (float)lane;
    }
    struct cpni_bytes *bytes = vector_of(n, t, lane);
    msgs[0].piece.session = train.session;
    msgs[0].piece.lane = lane;
    msgs[0].piece.round = train.round;
    msgs[0].piece.total = bytes->size;
    msgs[0].piece.data = bytes;
    msgs[1].update.session = train.session;
    msgs[1].update.lane = lane;
    msgs[1].update.round = train.round;
    msgs[1].update.bytes = train.steps != 0 ? bytes->size : 0;
    msgs[1].update.encoding = n->int8 && !t->own[lane];
    msgs[1].update.steps = train.steps;
    msgs[1].update.samples = train.steps * 10;
    msgs[1].update.loss_micro = 500000;
    msgs[1].update.correct = train.steps * 5;
    if (train.evaluate) {
        msgs[1].update.tested = 100;
        msgs[1].update.tested_correct = n->mode == 'w' ? 20 + (lane * 7 + train.round) % 60 : 50 + (train.round < 50 ? train.round : 50);
        msgs[1].update.tested_loss_micro = 1000000 - train.round;
    }
    if (train.state) {
        msgs[1].update.state_root = a_hash(10000 + (unsigned)train.round * 10 + lane);
        msgs[1].update.state_size = 64;
    }
    if (n->answer_code != 0 && n->answer_round == train.round) {
        msgs[1].update.code = n->answer_code;
        n->answer_code = 0;
        t->has[lane] = false;
    } else {
        t->rounds[lane] = train.round;
    }
    t->due[lane] = 0;
    t->waits[lane] = false;
    unsigned first = train.steps == 0 || msgs[1].update.code != 0;
    say_many(&n->f, &t->bulk, msgs + first, 2 - first);
    take_sends(n);
    cpni_bytes_unref(bytes);
}

/* One answer of one trainer, in an order that the seed chooses. false: nobody had anything to say. */
static inline bool answer_one(struct network *n)
{
    unsigned ready[TRAINERS * 8], count = 0;
    for (unsigned i = 0; i < n->count; i++) {
        for (unsigned lane = 0; lane < 8; lane++) {
            if (n->t[i].up && !n->t[i].silent && n->t[i].due[lane] != 0) {
                n->t[i].due[lane] -= n->t[i].due[lane] > 1;
                ready[count] = i * 8 + lane;
                count += n->t[i].due[lane] == 1;
            }
        }
    }
    if (count == 0) {
        return false;
    }
    n->seed = n->seed * 1103515245u + 12345u;
    unsigned chosen = ready[(n->seed >> 16) % count];
    answer_train(n, &n->t[chosen / 8], chosen % 8);
    return true;
}

static inline void pump(struct network *n)
{
    for (unsigned i = 0; i < 100 && ((n->asked_count != 0 && !n->hold_store) || (n->job_count != 0 && !n->hold_disk)); i++) {
        if (!n->hold_store) {
            store_answers(n);
        }
        if (!n->hold_disk) {
            disk_answers(n);
        }
    }
}

/* Until nothing moves any more, or so many rounds were answered. */
static inline unsigned train_on(struct network *n, unsigned answers)
{
    unsigned done = 0;
    pump(n);
    while (done < answers && answer_one(n)) {
        pump(n);
        done++;
    }
    return done;
}

#endif
