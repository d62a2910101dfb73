/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Tasks, as the client sees them: one input for one model, and what came of it. A task belongs to its client and to the client's
 * thread. It is complete once, in one of: a result, a failure with its reason, or cancelled. */
#ifndef CPN_TASK_H
#define CPN_TASK_H

#include <stdbool.h>
#include <stddef.h>

#include <cpn/options.h>
#include <cpn/result.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cpn_client;
struct cpn_task;

struct cpn_task_options {
    uint32_t size;
    const char *model;      /* "faces" (its newest version that is ready) or "faces@3" */
    const void *data;       /* the input; borrowed for the call */
    size_t data_size;       /* bytes, 1 to 2^31 */
    const char *name;       /* of the input, for messages and logs: "photo.jpg"; NULL: "" */
    bool annotate;          /* an annotated copy of the image is wanted */
    uint32_t priority;      /* higher goes first; default 0 */
    uint32_t deadline_ms;   /* from now; after it the task ends with CPN_ETIMEDOUT; 0: none */
    uint32_t max_attempts;  /* 0: as the master's poison bound says; 1: at most once, also when a node is lost */
    void (*done)(struct cpn_task *task, void *arg); /* called once on completion, within dispatch or wait; may free the task; NULL: none */
    void *done_arg;
};
#define CPN_TASK_OPTIONS_INIT { .size = sizeof(struct cpn_task_options) }

/* Submit a task. The data is copied or spooled before it returns. CPN_EINVAL (no model, no data), CPN_ETOOBIG, CPN_EBUSY (this client's
 * queue is full: dispatch until something is done), CPN_ENOMEM, CPN_EIO, CPN_ENOSPC. It goes to the master with the next dispatch or wait, at
 * once or when the master is reached again; results are not lost by a broken connection. Free it with cpn_task_free(). */
int cpn_client_submit(struct cpn_client *client, const struct cpn_task_options *options, struct cpn_task **out);

/* Dispatch until this task is complete: 0 then (whatever its own outcome), CPN_ETIMEDOUT after timeout_ms (-1: wait for ever),
 * CPN_EKEY and the like when the network refuses this client. */
int cpn_task_wait(struct cpn_task *task, int timeout_ms);

bool cpn_task_complete(const struct cpn_task *task);

/* Ask for its end; it completes with CPN_ECANCELLED unless it was complete or completes meanwhile. */
int cpn_task_cancel(struct cpn_task *task);

/* Of a complete task: 0 or why it failed; the sentence ("" when it succeeded). CPN_EAGAIN while it is not complete. */
int cpn_task_code(const struct cpn_task *task);
const char *cpn_task_detail(const struct cpn_task *task);

/* The result of a complete task; everything is borrowed until cpn_task_free(). */
const struct cpn_label *cpn_task_labels(const struct cpn_task *task, size_t *count);
const void *cpn_task_image(const struct cpn_task *task, size_t *size); /* annotated copy in the input's format; NULL: none */
const char *cpn_task_image_type(const struct cpn_task *task);          /* "image/jpeg", "image/png", "image/webp" or "" */
void cpn_task_image_size(const struct cpn_task *task, uint32_t *width, uint32_t *height); /* of the input, pixels */
const char *cpn_task_model(const struct cpn_task *task); /* the name of the model that answered, without version */
uint32_t cpn_task_version(const struct cpn_task *task);
const char *cpn_task_node(const struct cpn_task *task);  /* the node that answered */
uint32_t cpn_task_attempt(const struct cpn_task *task);  /* 1: the first one succeeded */
const struct cpn_timings *cpn_task_timings(const struct cpn_task *task);
uint64_t cpn_task_elapsed_us(const struct cpn_task *task); /* from submit to completion, as this client saw it */
const char *cpn_task_name(const struct cpn_task *task);    /* of the input */
struct cpn_id cpn_task_id(const struct cpn_task *task);
void *cpn_task_arg(const struct cpn_task *task); /* done_arg */

void cpn_task_free(struct cpn_task *task); /* cancels it if it is not complete; NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
