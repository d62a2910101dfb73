/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the files of the client's core share; nobody else includes it. client.c steps, client_task.c keeps submissions until their
 * result was told, client_ask.c keeps requests (blobs to be fetched among them) until their
 * answer was told, client_enrol.c speaks on a token's connection. */
#ifndef CPNI_CLIENT_PRIV_H
#define CPNI_CLIENT_PRIV_H

#include "base/hash.h"
#include "base/heap.h"
#include "core/client.h"
#include "core/keep.h"
#include "core/transfer.h"
#include "core/uplink.h"
#include "proto/limits.h"

enum cpni_submission_state {
    CPNI_SUBMISSION_WAITING = 1, /* for the window, or for the master */
    CPNI_SUBMISSION_SENT,
    CPNI_SUBMISSION_ACCEPTED,
    CPNI_SUBMISSION_FETCHING, /* its result is here, the image is on the way */
    CPNI_SUBMISSION_OVER      /* told as cancelled or timed out; the master may not know yet */
};

struct cpni_submission {
    UT_hash_handle hh; /* by task */
    UT_hash_handle hs; /* by serial */
    struct cpn_id task;
    uint64_t serial; /* in the order of submission; the ticket of the image's transfer, unlike those of cpni_ask.fetch */
    enum cpni_submission_state state;
    struct cpni_msg msg; /* SUBMIT; texts lie in `block` */
    void *block;
    bool sent_once;
    uint64_t sent_term; /* the first in which it was sent and not turned away; 0: none */
    bool has_input; /* counts as a user of its input blob, has_image: of its image */
    bool has_image;
    bool refetched; /* the master had lost the image once: it was asked for the task again */
    int cancel;     /* OVER: the code of CANCEL */
    int64_t deadline_us; /* 0: none */
    struct cpni_heap_entry timer; /* deadline, grace or the end of OVER; always in the heap */
    struct cpni_submission *prev, *next; /* core->waiting */
    struct cpni_msg result; /* FETCHING; texts and lists lie in `arena` */
    struct cpni_arena arena;
};

struct cpni_ask {
    UT_hash_handle hh; /* by request */
    uint64_t request;
    struct cpni_msg msg; /* of type NONE: a blob is fetched */
    struct cpni_arena arena;
    uint64_t fetch; /* ticket of its transfer; 0: none, or it ended with `code` */
    int code;
    struct cpn_hash blobs[2]; /* that must stay in the store meanwhile */
    uint32_t blob_count;
};

struct cpni_client_core {
    struct cpni_uplink uplink;
    struct cpni_transfer *transfer;
    struct cpni_client_config config; /* texts lie in `arena` */
    struct cpni_arena arena;
    struct cpni_now now; /* of the step */
    struct cpni_submission *tasks; /* by id, in order of submission */
    struct cpni_submission *by_serial;
    struct cpni_submission *waiting; /* by rising serial */
    struct cpni_heap timers;
    struct cpni_keep keep;
    uint64_t next_serial;
    uint64_t bytes;       /* inline inputs of all */
    uint32_t sent;        /* SENT, ACCEPTED, FETCHING: what the master's window counts */
    uint64_t sent_bytes;
    uint32_t window;      /* at most the master's; smaller after BUSY */
    int64_t resume_us;    /* after BUSY nothing is sent before; 0: go */
    struct cpni_ask *asks; /* by request, in order */
    int64_t enrol_us;     /* of ENROL: the last attempt; 0: none under way */
    bool enrolled;
    bool stopped;
    bool broken;          /* the last step ran out of memory */
};

/* client_task.c */
int cpni_client_submit(struct cpni_client_core *core, const struct cpni_msg_submit *submit);
void cpni_client_cancel(struct cpni_client_core *core, const struct cpn_id *task, struct cpni_actions *actions);
void cpni_client_accepted(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions);
void cpni_client_busy(struct cpni_client_core *core, const struct cpni_msg_busy *msg, struct cpni_actions *actions);
void cpni_client_result(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions);
void cpni_client_task_refused(struct cpni_client_core *core, const struct cpni_msg_refused *msg, struct cpni_actions *actions);
void cpni_client_image(struct cpni_client_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions);
void cpni_client_tasks_joined(struct cpni_client_core *core, bool new_term, struct cpni_actions *actions);
void cpni_client_fail_tasks(struct cpni_client_core *core, int code, const char *text, struct cpni_actions *actions);
void cpni_client_timers(struct cpni_client_core *core, struct cpni_actions *actions);
void cpni_client_send_tasks(struct cpni_client_core *core, struct cpni_actions *actions);
void cpni_client_free_tasks(struct cpni_client_core *core);
const char *cpni_client_check_tasks(const struct cpni_client_core *core);

/* client_ask.c */
int cpni_client_ask(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions);
void cpni_client_answer(struct cpni_client_core *core, const struct cpni_msg *msg, struct cpni_actions *actions);
void cpni_client_fail_asks(struct cpni_client_core *core, int code, const char *text, struct cpni_actions *actions);
int cpni_client_fetch(struct cpni_client_core *core, uint64_t request, const struct cpn_hash *root, uint64_t size, struct cpni_actions *actions);
bool cpni_client_fetched(struct cpni_client_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions);
void cpni_client_forget(struct cpni_client_core *core, uint64_t request, struct cpni_actions *actions);
void cpni_client_free_asks(struct cpni_client_core *core);
void cpni_client_asks_joined(struct cpni_client_core *core, struct cpni_actions *actions);

/* client_enrol.c */
void cpni_client_enrol(struct cpni_client_core *core, const struct cpni_event *event, struct cpni_actions *actions);
int64_t cpni_client_enrol_deadline(const struct cpni_client_core *core);

#endif
