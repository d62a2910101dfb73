/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A worker: a node's program. It joins a master, keeps the models that the master gives it, and runs tasks: those of models in runner
 * processes, those of the program's own callbacks on threads of its slots. One thread at a time drives a worker; wake and stop may come
 * from any thread and from signal handlers. Heartbeats never depend on a callback. */
#ifndef CPN_WORKER_H
#define CPN_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include <cpn/options.h>
#include <cpn/result.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cpn_worker;
struct cpn_master;

struct cpn_worker_options {
    uint32_t size;
    const struct cpn_context *context; /* who and where; borrowed until cpn_worker_close(). Either this */
    struct cpn_master *master;         /* or a master in this process, which must outlive the worker */
    const char *name;         /* only with `master`: with a context the name is the context's */
    const char *data_dir;     /* where models are kept; NULL: none, only callbacks and no input over 256 KiB */
    uint32_t slots;           /* tasks at a time; 0: one per core */
    uint64_t runner_memory;   /* bytes that idle warm runners may hold; 0: a quarter of the machine's memory */
    uint64_t disk_bytes;      /* quota for models and files in passing; 0: what the disk has */
    bool no_backends;         /* offer callbacks only */
    const char *libexec_dir;  /* where cpn-runner is; NULL: beside this program or where it was installed */
    const char *plugin_dir;   /* where the backends are, beside it in "trainers" the trainers; NULL likewise */
    cpn_log_fn *log;
    void *log_arg;
    enum cpn_log_level log_level; /* lines below this level are not even made; default CPN_LOG_DEBUG: all */
};
#define CPN_WORKER_OPTIONS_INIT { .size = sizeof(struct cpn_worker_options) }

/* CPN_EINVAL, CPN_EBUSY (another process has the data directory), CPN_EIO, CPN_ENOMEM; `detail` (CPN_DETAIL bytes, may be NULL) has the sentence.
 * Does not wait for the master. Give it its callbacks before the first dispatch. */
int cpn_worker_open(const struct cpn_worker_options *options, struct cpn_worker **out, char *detail);

/* Ends at once: kills runners, waits for callbacks that run. Drain first with cpn_worker_stop(). NULL is fine. */
void cpn_worker_close(struct cpn_worker *worker);

/* ---- callbacks: a C function as a model ---- */

struct cpn_attempt; /* one placement of a task on this node */
#define CPN_ATTEMPT_LATER 1

/* Runs on a slot's thread, several at a time if there are several slots. Returns 0 or CPN_E… (CPN_EBADINPUT is final, others are tried again
 * elsewhere), or CPN_ATTEMPT_LATER when cpn_attempt_finish() will follow. `attempt` is borrowed until it returns, or until finish. */
typedef int cpn_worker_fn(struct cpn_attempt *attempt, void *arg);

/* Serve model `name` with a function. CPN_EINVAL, CPN_EEXISTS, CPN_ESTATE (after the first dispatch). */
int cpn_worker_handle(struct cpn_worker *worker, const char *name, cpn_worker_fn *fn, void *arg);

const void *cpn_attempt_input(const struct cpn_attempt *attempt, size_t *size);
const char *cpn_attempt_input_name(const struct cpn_attempt *attempt);
const char *cpn_attempt_model(const struct cpn_attempt *attempt);
struct cpn_id cpn_attempt_task(const struct cpn_attempt *attempt);
uint32_t cpn_attempt_number(const struct cpn_attempt *attempt); /* 1: the first attempt; more: it may have run before */
bool cpn_attempt_annotate(const struct cpn_attempt *attempt);   /* an annotated image is wanted */
int cpn_attempt_label(struct cpn_attempt *attempt, const struct cpn_label *label);                 /* CPN_ETOOBIG, CPN_ENOMEM */
int cpn_attempt_image(struct cpn_attempt *attempt, const void *data, size_t size, const char *type); /* copied; "image/png" */
int cpn_attempt_detail(struct cpn_attempt *attempt, const char *text); /* the sentence for a failure */

/* Any thread: whether its client cancelled it, its deadline passed, or the worker stops at once. */
bool cpn_attempt_cancelled(const struct cpn_attempt *attempt);
/* Any thread: the end of an attempt whose function returned CPN_ATTEMPT_LATER. */
void cpn_attempt_finish(struct cpn_attempt *attempt, int code);

/* ---- driving it ---- */

/* dispatch until stopped: 0 after an orderly stop, or why the network refuses this node (CPN_EKEY, CPN_ECOPIED, CPN_EVERSION). */
int cpn_worker_run(struct cpn_worker *worker);
int cpn_worker_dispatch(struct cpn_worker *worker, int timeout_ms); /* as run, one round; CPN_ECLOSED after the orderly stop */
int cpn_worker_fd(const struct cpn_worker *worker);
int cpn_worker_timeout_ms(struct cpn_worker *worker);
void cpn_worker_wake(struct cpn_worker *worker);
/* Drain: finish what runs, hand back what waits, say goodbye. A second call: at once. Any thread, signal handlers. */
void cpn_worker_stop(struct cpn_worker *worker);
const char *cpn_worker_detail(const struct cpn_worker *worker); /* the sentence about the last failure */
const char *cpn_worker_name(const struct cpn_worker *worker);

#ifdef __cplusplus
}
#endif

#endif
