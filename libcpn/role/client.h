/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The client role's insides, shared by its files: client.c (life and rounds), task.c, ask.c (questions and administration), lists.c,
 * publish.c, join.c and session_*.c (role/session.h). */
#ifndef CPNI_ROLE_CLIENT_H
#define CPNI_ROLE_CLIENT_H

#include <limits.h>

#include <uthash.h>

#include <cpn/client.h>

#include "core/client.h"
#include "role/context.h"
#include "role/disk.h"
#include "role/logger.h"
#include "role/peer.h"

/* A question that waits for its answer; on the stack of who asks. */
struct cpni_ask {
    uint64_t request;
    bool answered;
    int code;
    void (*reply)(void *arg, const struct cpni_msg *msg); /* REPLY, PUBLISHED or DONE with code 0; may be NULL */
    void *arg;
    struct cpni_ask *outer; /* a done callback may ask while its program asks */
};

/* Who wants to be told how much of an upload went out. */
struct cpni_progress {
    int (*fn)(void *arg, uint64_t done, uint64_t total); /* NULL: nobody */
    void *arg;
    uint64_t from; /* chunk_bytes when it began */
    uint64_t total;
};

struct cpn_client {
    const struct cpn_context *context; /* NULL in the master's own process */
    struct cpn_master *master;
    struct cpni_context *zmq;
    struct cpni_loop *loop;
    struct cpni_peer *peer;
    struct cpni_client_core *core;
    struct cpni_actions actions;
    struct cpni_now now; /* of the round under way */
    struct cpni_logger logger;
    struct cpni_disk disk; /* opened with the first blob */
    char spool[PATH_MAX];  /* its private folder; "": none yet */
    char spool_parent[PATH_MAX];
    struct cpn_task *tasks;     /* by id */
    struct cpn_task *completed; /* whose done callback is to be called, in order */
    struct cpn_task **completed_end;
    struct cpni_ask *ask;
    uint64_t next_request;
    size_t importing;          /* inputs on their way into the spool */
    struct cpn_hash *removals; /* what the core wanted removed meanwhile: see cpni_client_remove() */
    size_t removal_count;
    uint64_t chunk_bytes; /* sent so far */
    struct cpni_progress progress;
    bool more;            /* the last round left something */
    bool welcomed;
    uint64_t welcomes; /* how often: the master was another one in between, perhaps */
    int refused; /* why the network refuses this client; 0: it does not */
    struct cpni_msg_enrolled *enrolled;  /* where join.c wants the answer */
    char detail[CPN_DETAIL];
};

struct cpn_task {
    struct cpn_id id;
    struct cpn_client *client;
    UT_hash_handle hh;
    struct cpn_task *next_completed;
    void (*done)(struct cpn_task *task, void *arg);
    void *done_arg;
    bool complete;
    bool core_knows; /* false while its input is being spooled */
    struct cpni_msg_submit submit; /* until the core knows it; texts point at the arrays below */
    char model[CPN_NAME + 16];
    char name[CPN_NAME * 2];
    int64_t submitted_us;
    int64_t completed_us;
    int code;
    char detail[CPN_DETAIL];
    struct cpn_label *labels;
    size_t label_count;
    struct cpni_bytes *image;
    uint32_t image_type;
    uint32_t width, height, version, attempt;
    struct cpn_timings timings;
    char answered_by[CPN_NAME];
    char answered_model[CPN_NAME];
};

/* What differs between a client and a join. */
struct cpni_client_setup {
    const struct cpn_client_options *options;
    const char *endpoints; /* NULL: inproc */
    const struct cpn_key *master_key;
    const struct cpni_curve_keys *keys;
    struct cpni_client_config config;
};
int cpni_client_start(const struct cpni_client_setup *setup, struct cpn_client **out, char *detail);

/* Hand the core an event; what it wants done is carried out by the next round. */
int cpni_client_step(struct cpn_client *client, const struct cpni_event *event);

/* Remember a sentence; returns code. */
int cpni_client_fail(struct cpn_client *client, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A text of the program's, which may be anything, as one line of UTF-8, cut to fit: what else the codec takes for no text. */
struct cpni_str cpni_client_line(const char *from, char *to, size_t room);
/* CPN_EINVAL with a sentence when a text of a message is none: its packet would never leave, nor any after it. */
int cpni_client_check_texts(struct cpn_client *client, const struct cpni_msg *msg);

/* The spool, made when it is first needed. */
int cpni_client_spool(struct cpn_client *client);

/* Submit a job of the client's own on the spool; `user` is handed to cpni_client_answer_fn. */
typedef void cpni_client_answer_fn(struct cpn_client *client, void *user, struct cpni_blob_answer *answer);
struct cpni_client_job {
    cpni_client_answer_fn *fn;
    void *user;
};
int cpni_client_job(struct cpn_client *client, struct cpni_blob_job *job, cpni_client_answer_fn *fn, void *user);

/* The same photo may be imported again while the core has its blob removed for an earlier task: the import finds it there, and then it
 * goes. So removals wait while an import is under way, and one whose blob the core holds again when its turn comes is left out. */
void cpni_client_remove(struct cpn_client *client, const struct cpni_act_disk *act);
void cpni_client_imported(struct cpn_client *client);

/* task.c, called by the round. */
void cpni_task_result(struct cpn_client *client, const struct cpni_msg_result *result);
void cpni_task_refused(struct cpn_client *client, const struct cpni_msg_refused *refused);
void cpni_task_callbacks(struct cpn_client *client);

/* Ask and wait for the answer; `msg` is a QUERY, ADMIN, PUBLISH, SESSION or STOP whose request is filled in here. */
int cpni_client_request(struct cpn_client *client, struct cpni_msg *msg, struct cpni_ask *ask, int timeout_ms);

/* Bring a blob of the master's here, and wait for it. Its bytes are the caller's; the spool forgets it. */
int cpni_client_fetch_blob(struct cpn_client *client, const struct cpn_hash *root, uint64_t size, int timeout_ms, struct cpni_bytes **out);

/* The deadline of a call: INT64_MAX for -1. And what is left of it, in milliseconds. */
int64_t cpni_client_until(int timeout_ms);
int cpni_client_left_ms(int64_t until_us);

#endif
