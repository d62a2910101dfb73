/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What happens to a core: the only way in. A role (or the simulator) turns packets, completions and calls into these, hands them
 * to a step one at a time with the time at which they happened, and carries out the actions that come back (action.h). Everything
 * that an event points to is borrowed for the step; frames are kept by cpni_bytes_ref. Must not know of sockets or threads. */
#ifndef CPNI_EVENT_H
#define CPNI_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cpn/result.h>
#include <cpn/types.h>

#include "proto/command.h"
#include "proto/manifest.h"
#include "proto/msg.h"

/* One reading of both clocks per step. */
struct cpni_now {
    int64_t mono_us; /* leases, deadlines, heartbeats */
    int64_t wall_us; /* since 1970: tokens, history */
};

/* The two connections of a node or client to its master; at a master, a connection is a number that the net layer made. */
#define CPNI_CONN_CONTROL ((uint64_t)1)
#define CPNI_CONN_BULK ((uint64_t)2)

enum cpni_event_type {
    CPNI_EV_TICK = 0,     /* the deadline that the core named has come, or nothing happened */
    CPNI_EV_PACKET,       /* a decoded packet arrived */
    CPNI_EV_BAD_PACKET,   /* one arrived that does not decode */
    CPNI_EV_CONNECTED,    /* node, client: a connection's handshake succeeded */
    CPNI_EV_DISCONNECTED, /* node, client: it broke; master: a send failed, that peer is gone */
    CPNI_EV_REFUSED,      /* node, client: the master does not admit this key, or is not the master expected */
    CPNI_EV_COMMIT,       /* master: a command's answer from the store */
    CPNI_EV_NOTES,        /* master: the answer to an event query */
    CPNI_EV_DISK,         /* a blob job's answer */
    CPNI_EV_MODEL,        /* worker: a model's files were put in place, loaded and self-tested, or not */
    CPNI_EV_FINISHED,     /* worker: a run ended */
    CPNI_EV_TRAINER,      /* worker: what the trainer of a lane came to */
    CPNI_EV_LOAD,         /* worker: fresh load figures for the heartbeat */
    CPNI_EV_SUBMIT,       /* client: the program submits a task */
    CPNI_EV_CANCEL,       /* client: the program cancels a task */
    CPNI_EV_ASK,          /* client: the program asks (QUERY, ADMIN, PUBLISH, SESSION, STOP) */
    CPNI_EV_FETCH,        /* client: the program wants a blob of the master's in its store; a TELL of DONE with the request answers */
    CPNI_EV_FORGET_ASK,   /* client: the program no longer waits for a request */
    CPNI_EV_STOP          /* orderly end; a second one: at once */
};

/* What the role found when it checked the manifest of a PREPARE or PUBLISH message (signature, decoding, root of its bytes). */
struct cpni_manifest_check {
    int code; /* 0, CPN_ECORRUPT (signature), CPN_EPROTO (malformed) */
    const char *text;
    struct cpn_hash root; /* tree root of the manifest's bytes: names the version */
    const struct cpni_manifest *manifest; /* NULL unless code is 0 */
};

struct cpni_event_packet {
    uint64_t conn;
    struct cpn_key key; /* as authenticated; zero when local */
    bool local;         /* a role of this very process, over inproc: trusted as admin and node alike */
    uint32_t link;
    uint64_t sequence; /* 1, 2, 3 … per connection and direction; a HELLO may come with any and restarts the count */
    struct cpni_msg *msgs;
    const struct cpni_manifest_check *checks; /* one a message; only those of PREPARE and PUBLISH are set. NULL: none set */
    size_t count;
};

struct cpni_event_disk {
    uint64_t ticket; /* as in the action */
    int code;        /* 0 or CPN_E… */
    const char *text;
    struct cpn_hash root; /* of imports: the new blob's */
    uint64_t size;
    uint32_t chunks;
    bool complete;            /* BEGIN, FINISH: the blob is there whole */
    struct cpni_bytes *bytes; /* READ_CHUNK: the chunk; READ_LEAVES: the leaves; BEGIN: the bitmap of what is there (bit i of byte i/8) */
};

struct cpni_event_model {
    struct cpn_hash root;
    int code; /* 0: ready; CPN_EMODEL: cannot be loaded; CPN_ENOTSUP: no such backend */
    const char *text;
};

/* What a run ended with; becomes a RESULT. */
struct cpni_event_finished {
    uint64_t ticket;
    int code;
    enum cpni_failure failure; /* CPNI_FAILURE_… by class of the outcome */
    const char *text;
    const struct cpn_label *labels;
    size_t label_count;
    struct cpni_bytes *image; /* annotated, or NULL */
    enum cpni_image_type image_type;
    uint32_t width, height;
    struct cpn_timings timings; /* load, decode, infer, encode */
};

enum cpni_trainer_said {
    CPNI_TRAINED_PROBE = 1, /* device, fingerprint, reproducible */
    CPNI_TRAINED_OPEN,
    CPNI_TRAINED_PROGRESS, /* during a round: epoch, step, means since the epoch began */
    CPNI_TRAINED_GRADIENT, /* sync: vector, samples; the round waits for APPLY */
    CPNI_TRAINED_ROUND     /* the end of a round */
};

struct cpni_event_trainer {
    uint64_t ticket;
    enum cpni_trainer_said said;
    int code;         /* 0; CPN_EDIVERGED, CPN_ECRASHED, CPN_EBADINPUT, CPN_ENOMEM ...: the process is gone after any but EDIVERGED */
    const char *text;
    const char *device, *fingerprint; /* PROBE, OPEN */
    bool reproducible;
    uint64_t round, step, steps, samples, correct, loss_micro; /* PROGRESS: of the epoch; ROUND, GRADIENT: of the round, the step */
    uint32_t epoch; /* PROGRESS: from 1 */
    bool epoch_done;
    uint64_t rate;  /* samples a second */
    uint64_t tested, tested_correct, tested_loss_micro; /* ROUND with evaluate; loss_micro is a mean over the rows, as everywhere */
    struct cpni_bytes *vector; /* GRADIENT; ROUND: weights, or their change in int8 */
    uint32_t encoding;         /* 0 float32, 1 int8 (core/delta8.h) */
    struct cpni_bytes *state;  /* ROUND, if wanted */
    uint64_t elapsed_us;
};

struct cpni_event_load {
    uint32_t cpu_permille; /* of all cores */
    uint64_t free_memory;
    uint64_t rss; /* worker and runners */
    uint32_t runners;
};

/* The program's own task: the input is inline bytes, or (over CPNI_INLINE_BYTES_MAX) a blob that the role imported first. */
struct cpni_event_submit {
    struct cpni_msg_submit submit;
};

struct cpni_event {
    enum cpni_event_type type;
    union {
        struct cpni_event_packet packet;
        struct {
            uint64_t conn;
            struct cpn_key key;
            int code;
            const char *text; /* what was wrong with it, one line */
        } bad;
        struct {
            uint64_t conn;
        } connected;
        struct {
            uint64_t conn;
            int code;
            const char *text;
        } lost; /* DISCONNECTED, REFUSED */
        struct {
            uint64_t ticket;
            struct cpni_commit commit;
        } commit;
        struct {
            uint64_t ticket;
            int code;
            struct cpni_rec_NOTE *notes;
            uint32_t count;
        } notes;
        struct cpni_event_disk disk;
        struct cpni_event_model model;
        struct cpni_event_finished finished;
        struct cpni_event_trainer trainer;
        struct cpni_event_load load;
        struct cpni_event_submit submit;
        struct {
            struct cpn_id task;
        } cancel;
        struct {
            struct cpni_msg msg; /* its request number is set by the caller and unique in this client */
        } ask;
        struct {
            uint64_t request; /* unique among those of ASK */
            struct cpn_hash root;
            uint64_t size;
        } fetch;
        struct {
            uint64_t request;
        } forget;
        struct {
            bool returning; /* a restart is meant */
        } stop;
    };
};

#endif
