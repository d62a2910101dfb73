/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a core wants done: the only way out. A step appends to the list in the order in which the actions must be carried out; a
 * role groups the messages for one connection into packets (wire/outbox.h) and hands the rest to its helpers. Everything is owned by
 * the list until cpni_actions_clear(): texts and lists lie in its arena, frames are referenced. Must not know how anything is done. */
#ifndef CPNI_ACTION_H
#define CPNI_ACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cpn/log.h>
#include <cpn/types.h>

#include "base/arena.h"
#include "core/event.h"
#include "proto/command.h"
#include "proto/msg.h"
#include "proto/session_spec.h"

enum cpni_action_type {
    CPNI_ACT_SEND = 1,  /* a message to a connection */
    CPNI_ACT_DROP,      /* forget a connection: nothing more is for it (the role drops its sequence numbers) */
    CPNI_ACT_RECONNECT, /* node, client: close this connection and make it anew */
    CPNI_ACT_COMMIT,    /* master: a command for the store; EV_COMMIT answers */
    CPNI_ACT_NOTES,     /* master: read the event ring; EV_NOTES answers */
    CPNI_ACT_DISK,      /* a blob job; EV_DISK answers unless ticket is 0 */
    CPNI_ACT_RUN,       /* worker: start a task in a slot; EV_FINISHED answers */
    CPNI_ACT_KILL,      /* worker: end a run at once; EV_FINISHED still answers */
    CPNI_ACT_MODEL,     /* worker: put the files in place, load, self-test; EV_MODEL answers */
    CPNI_ACT_UNMODEL,   /* worker: end its runners, remove its directory */
    CPNI_ACT_TRAINER,   /* worker: something for the trainer process of a lane; EV_TRAINER answers */
    CPNI_ACT_TELL,      /* client: tell the program (ACCEPTED, RESULT, REPLY, PUBLISHED, DONE, REFUSED, BYE, WELCOME) */
    CPNI_ACT_LOG,       /* one line of the log; on a master of level INFO and above also a row of the event ring (EVENT command) */
    CPNI_ACT_STOPPED    /* the orderly end is complete: the role may close */
};

enum cpni_disk_op {
    CPNI_DISK_BEGIN = 1,    /* root, size, spool, data: the leaf list (NULL: ask whether the blob is there: CPN_ENOTFOUND if not) */
    CPNI_DISK_WRITE_CHUNK,  /* root, index, data: verified against its leaf, CPN_ECORRUPT */
    CPNI_DISK_FINISH,       /* root: durable and visible from now on */
    CPNI_DISK_ABORT,        /* root: forget what was received */
    CPNI_DISK_READ_CHUNK,   /* root, index */
    CPNI_DISK_READ_LEAVES,  /* root */
    CPNI_DISK_IMPORT_BYTES, /* data, spool */
    CPNI_DISK_REMOVE        /* root */
};

struct cpni_act_disk {
    enum cpni_disk_op op;
    uint64_t ticket; /* of the core; never 0 unless no answer is wanted */
    struct cpn_hash root;
    uint64_t size;
    uint32_t index;
    bool spool; /* an input or a result in passing, gone with the process; else kept */
    struct cpni_bytes *data;
};

#define CPNI_SLOT_ANY UINT32_MAX

struct cpni_act_run {
    uint64_t ticket; /* of the core; EV_FINISHED names it */
    uint32_t slot; /* or CPNI_SLOT_ANY: of a callback, whichever slot is free first, after those that wait so already */
    struct cpn_id task;
    uint32_t attempt;
    struct cpn_hash model; /* root of its manifest; all zero: the handler (an embedder's callback) called `name` */
    struct cpni_str name;
    struct cpni_bytes *input;   /* inline; or NULL and */
    struct cpn_hash input_root; /* a whole blob of the node's store */
    uint64_t input_size;
    struct cpni_str input_name;
    bool annotate;
    int64_t deadline_us; /* monotonic; 0: none */
};

enum cpni_trainer_op {
    CPNI_TRAINER_PROBE = 1, /* can a trainer of this spec be made here: device, fingerprint */
    CPNI_TRAINER_OPEN,      /* start a process for the lane, map the dataset, restore the state */
    CPNI_TRAINER_ROUND,     /* one round */
    CPNI_TRAINER_APPLY,     /* sync: the mean gradient of the step that the open ROUND waits for */
    CPNI_TRAINER_CLOSE      /* end the process, within a batch, whatever it does: no answer, and none to what it still owed */
};

struct cpni_act_trainer {
    enum cpni_trainer_op op;
    uint64_t ticket; /* of the lane, chosen at OPEN (PROBE: of its own): names the process in what follows; EV_TRAINER has it */
    uint32_t lane;
    const struct cpni_session_spec *spec; /* PROBE, OPEN: borrowed for the carrying out */
    struct cpn_hash dataset;              /* PROBE, OPEN: a whole blob of the node's store */
    uint64_t train_rows;                  /* OPEN: as the session says; another split here is CPN_EBADINPUT */
    struct cpn_hash state_root;           /* OPEN: a blob here; zero: fresh */
    uint64_t round, steps;                /* ROUND */
    struct cpni_bytes *vector;            /* ROUND: weights to begin from; APPLY: the gradient; NULL: none, and then */
    uint32_t encoding;                    /* ROUND: 1: `vector` is their int8 change since those of the round before */
    struct cpn_hash vector_root;          /* ROUND: a blob here; zero: the lane's own weights */
    bool evaluate, evaluate_after, state, exchange, replay; /* ROUND; replay: nothing but the end of it is wanted */
};

struct cpni_action {
    enum cpni_action_type type;
    union {
        struct {
            uint64_t conn;
            uint32_t link; /* 0 before WELCOME */
            struct cpni_msg msg;
        } send;
        struct {
            uint64_t conn;
            bool told; /* DROP: a last word goes before it, and must arrive */
        } conn; /* DROP, RECONNECT */
        struct {
            uint64_t ticket;
            struct cpni_command_key key;
            struct cpni_command command;
        } commit;
        struct {
            uint64_t ticket;
            struct cpni_str filter;
            uint64_t since;
            uint32_t limit;
        } notes;
        struct cpni_act_disk disk;
        struct cpni_act_run run;
        struct cpni_act_trainer trainer;
        struct {
            uint64_t ticket;
        } kill;
        struct {
            struct cpn_hash root;
            const struct cpni_manifest *manifest; /* a copy in the arena; NULL for UNMODEL */
        } model;
        struct {
            struct cpni_msg msg;
        } tell;
        struct {
            enum cpn_log_level level;
            const char *event;    /* a stable id: "CPN-NODE-JOINED", static */
            struct cpn_key node;  /* zero: none */
            struct cpn_key user;  /* zero: none */
            struct cpn_id task;   /* zero: none */
            struct cpni_str name; /* of the node or user, empty: none */
            struct cpni_str model;
            struct cpni_str text;
        } log;
        struct {
            int code; /* 0: as asked; else why the network refuses this process */
            struct cpni_str text;
        } stopped;
    };
};

struct cpni_actions {
    struct cpni_action *list;
    size_t count;
    size_t capacity;
    struct cpni_arena arena;
    enum cpn_log_level log_level; /* set by the role: lines below it are not made */
    /* Memory ran out in the step. What is in the list is whole and to be carried out; then, nothing half-said being trusted, connections
     * are made anew: a worker's and a client's core do so by themselves with the next step (their deadline is now). */
    bool failed;
};

/* Append a zeroed action; NULL (and failed set) when out of memory. */
struct cpni_action *cpni_actions_add(struct cpni_actions *actions, enum cpni_action_type type);

/* Append SEND or TELL with a deep copy of a message. */
int cpni_actions_send(struct cpni_actions *actions, uint64_t conn, uint32_t link, const struct cpni_msg *msg);
int cpni_actions_tell(struct cpni_actions *actions, const struct cpni_msg *msg);

/* A text made for the step: printf into the arena. Empty when out of memory. */
struct cpni_str cpni_actions_text(struct cpni_actions *actions, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Take back the last ones, so that `count` are left: a step that fails leaves none of its own behind. */
void cpni_actions_truncate(struct cpni_actions *actions, size_t count);

/* Release all; the memory of the list stays for the next step. */
void cpni_actions_clear(struct cpni_actions *actions);
void cpni_actions_free(struct cpni_actions *actions);

#endif
