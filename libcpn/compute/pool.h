/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The execution places of a worker (DESIGN §8). Each slot is one thread, which runs one task at a time: a model's
 * task in a runner process, an embedder's callback in this process. A slot keeps warm runners, one per model, as
 * long as all of them together stay under a memory bound. A runner that crashes, hangs past its deadline or is
 * cancelled is killed; that costs its attempt alone. Must not know what a lease, a node or a message is: the role
 * maps those to tickets. */
#ifndef CPNI_POOL_H
#define CPNI_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cpn/backend.h>
#include <cpn/result.h>

#include "base/bytes.h"

#define CPNI_POOL_SLOTS_MAX 256 /* a machine of 2026; each slot costs a thread */
#define CPNI_POOL_RUNNERS_MAX 32 /* warm runners of one slot: bounds descriptors, whatever the memory bound says */
#define CPNI_POOL_ANY UINT32_MAX /* for a handler's job: the slot that is free first, but for the kept ones */
#define CPNI_POOL_AHEAD_MAX 64 /* jobs that wait for any slot: a wake of the caller is dear, more per wake gains little */
#define CPNI_POOL_PENDING 1 /* a handler's answer: finished later with cpni_pool_finish() */
#define CPNI_OUTPUT_MAX (256u << 20) /* bytes of one annotated image: 2^26 pixels of PNG with room */

struct cpni_pool;

struct cpni_pool_options {
    uint32_t slots; /* 0: 1 */
    uint32_t kept_slots; /* the last ones of them run only what is started on them, nothing for any slot */
    const char *runner; /* path of cpn-runner; NULL: found beside the program, else where it was installed */
    const char *plugins; /* directory of the plug-ins; NULL likewise */
    uint64_t memory_bytes; /* bound for idle runners' memory, all slots together; 0: a quarter of the machine's */
    uint64_t runner_bytes; /* what one runner may ask for beyond what it has after loading; 0: 2 GiB */
    uint32_t runner_threads; /* threads inside one runner; 0: 1 */
    int64_t load_timeout_us; /* longest wait for a model to load; 0: 60 s */
};

/* A model as a runner needs it. cpni_pool_start() copies all of it. */
struct cpni_pool_model {
    const char *key; /* tells two models apart: "faces@3" or the bundle's hash */
    const char *dir; /* the verified bundle */
    const char *backend;
    const struct cpn_backend_param *params;
    size_t param_count;
};

enum cpni_outcome_class {
    CPNI_OUTCOME_OK,
    CPNI_OUTCOME_BAD_INPUT, /* final: CPN_EBADINPUT */
    CPNI_OUTCOME_MODEL, /* this node cannot load it: CPN_EMODEL, CPN_ENOTSUP when the backend is not here */
    CPNI_OUTCOME_CRASH, /* CPN_ECRASHED */
    CPNI_OUTCOME_TIMEOUT, /* CPN_ETIMEDOUT */
    CPNI_OUTCOME_CANCELLED, /* CPN_ECANCELLED */
    CPNI_OUTCOME_INTERNAL, /* no memory, no process, a backend's own error */
};

/* What became of a job. Owned by whom cpni_pool_next() gave it to: cpni_outcome_clear(). */
struct cpni_outcome {
    uint64_t ticket;
    uint32_t slot;
    int code; /* 0 or CPN_E... */
    enum cpni_outcome_class class;
    char detail[CPN_BACKEND_DETAIL]; /* one sentence for a person; "" when OK */
    struct cpn_label *labels; /* cpni_malloc'd */
    size_t label_count;
    struct cpni_bytes *output; /* annotated image, or NULL */
    char output_type[32]; /* "image/jpeg" */
    int32_t width, height; /* pixels of the input image; 0: not an image */
    struct cpn_timings timings; /* load, decode, infer, encode */
    int32_t pid; /* of the runner; 0: none was involved */
    uint64_t memory_bytes; /* resident, of the runner, after the job */
    bool spawned; /* a new runner was started for this job */
};

/* What a handler sees. Borrowed until it returns, or, when it answered CPNI_POOL_PENDING, only `pool` and `ticket`. */
struct cpni_call {
    struct cpni_pool *pool;
    uint64_t ticket;
    struct cpni_bytes *input; /* ref it to keep it */
    const char *input_name;
    bool annotate;
};

enum cpni_job_kind {
    CPNI_JOB_TASK,
    CPNI_JOB_PREPARE, /* load the model; run the input, the bundle's sample, if there is one */
};

struct cpni_job {
    uint64_t ticket; /* chosen by the caller; no two unfinished jobs share one */
    enum cpni_job_kind kind;
    struct cpni_pool_model model;
    struct cpni_bytes *input; /* referenced until the outcome; NULL: see input_fd */
    int input_fd; /* with input NULL and input_size not 0: a readable file, duplicated; not read here */
    uint64_t input_size;
    const char *input_name; /* copied; NULL: "" */
    bool annotate;
    int64_t deadline_us; /* CLOCK_MONOTONIC; 0: none */

    /* Not NULL: an embedder's callback instead of a runner, called on the slot's thread. It fills `out` (code,
     * detail, labels, output; class follows from code) and returns 0, or returns CPNI_POOL_PENDING and calls
     * cpni_pool_finish() later, from any thread, or returns a negative code. It cannot be killed: at its deadline or
     * when cancelled, cpni_pool_cancelled() turns true, and its slot is free again when it returns. */
    int (*handler)(const struct cpni_call *call, struct cpni_outcome *out, void *arg);
    void *handler_arg;
    void (*handler_unused)(void *arg); /* or NULL: called instead of the handler when the job ends without a call of it */
};

int cpni_pool_open(const struct cpni_pool_options *options, struct cpni_pool **out, char detail[CPN_BACKEND_DETAIL]);
uint32_t cpni_pool_slots(const struct cpni_pool *pool);

/* Start a job on a slot that has none (a slot is free again once cpni_pool_next() gave its outcome): CPN_EBUSY
 * otherwise, CPN_EINVAL for a bad model or slot, CPN_ENOMEM. Never blocks. One thread calls start, cancel, next,
 * forget and close. On CPNI_POOL_ANY a handler's job waits, up to CPNI_POOL_AHEAD_MAX of them (CPN_EBUSY), for
 * whichever slot is free first: a slot goes from one to the next without its caller, which is what short callbacks
 * would otherwise spend their time on. Jobs that wait start in the order of these calls. */
int cpni_pool_start(struct cpni_pool *pool, uint32_t slot, const struct cpni_job *job);

/* Kill what the ticket runs; its outcome follows (CANCELLED, or what it was if it had just finished). CPN_ENOTFOUND.
 * Never blocks. */
int cpni_pool_cancel(struct cpni_pool *pool, uint64_t ticket);

/* Readable while an outcome waits. Owned by the pool. */
int cpni_pool_fd(const struct cpni_pool *pool);

/* The next outcome, in the order in which jobs finished: 1, or 0 when none waits. Never blocks. */
int cpni_pool_next(struct cpni_pool *pool, struct cpni_outcome *out);

/* End the warm runners of a model; one that is busy ends after its task. */
void cpni_pool_forget(struct cpni_pool *pool, const char *key);

/* Kill all runners and join the slots; waits for handlers that run (they see cpni_pool_cancelled()). NULL is fine. */
void cpni_pool_close(struct cpni_pool *pool);

/* Any thread. finish takes labels and output on success; CPN_ENOTFOUND when the job was cancelled or timed out
 * meanwhile. */
int cpni_pool_finish(struct cpni_pool *pool, uint64_t ticket, struct cpni_outcome *outcome);
bool cpni_pool_cancelled(struct cpni_pool *pool, uint64_t ticket);

void cpni_outcome_clear(struct cpni_outcome *outcome);

/* The class that follows from a backend's or a handler's code. */
enum cpni_outcome_class cpni_outcome_class(int code);

/* Warm runners and what they hold, for heartbeats and tests. Any thread. */
struct cpni_pool_usage {
    uint32_t runners;
    uint64_t memory_bytes;
    uint64_t spawned; /* runners started since the pool was opened */
};
void cpni_pool_usage(struct cpni_pool *pool, struct cpni_pool_usage *out);

#endif
