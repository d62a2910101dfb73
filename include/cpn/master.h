/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A master: the one program that nodes and clients connect to. It keeps who belongs to the network, which models there are, and places
 * tasks on nodes; it runs none itself. One thread at a time drives a master; wake and stop may come from any thread and from signal handlers. */
#ifndef CPN_MASTER_H
#define CPN_MASTER_H

#include <stdbool.h>
#include <stddef.h>

#include <cpn/options.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cpn_master;

struct cpn_master_options {
    uint32_t size;
    const char *data_dir;         /* state, models, keys. Required */
    bool create;                  /* make a new network in an empty or absent data_dir; without it that is CPN_ENOTFOUND */
    bool adopt_copy;              /* accept a data_dir that was copied or restored from a backup; never run both */
    const char *name;             /* of the network; NULL: the host's name */
    const char *const *listen;    /* "tcp://ADDRESS:PORT", NULL-terminated; port 0 picks one; NULL: all interfaces, CPN_PORT */
    bool local_only;              /* no TCP at all: only clients and workers of this process */
    const char *const *advertise; /* "HOST:PORT" for join lines, NULL-terminated; NULL: the address in `listen`, or all of this machine's */
    uint32_t heartbeat_ms;        /* 0: 1000 */
    uint32_t gone_ms;             /* a node that is silent for so long is gone; 0: 3000 */
    uint32_t tasks_max;           /* accepted and unfinished; more are answered BUSY; 0: 100,000; likewise below */
    uint64_t task_bytes_max;      /* inline inputs and results in memory, all users; 0: 256 MiB */
    uint32_t user_tasks_max;      /* 0: 4,096 */
    uint64_t user_bytes_max;      /* 0: 64 MiB */
    uint64_t spool_bytes_max;     /* inputs and results over 256 KiB, on disk; 0: 8 GiB */
    uint32_t poison_attempts;     /* crashes or timeouts after which a task is parked; 0: 3 */
    cpn_log_fn *log;
    void *log_arg;
    enum cpn_log_level log_level; /* lines below this level are not even made; default CPN_LOG_DEBUG: all */
};
#define CPN_MASTER_OPTIONS_INIT { .size = sizeof(struct cpn_master_options) }

/* Opens the data directory (making keys and state when `create`), binds, and is ready to be dispatched. CPN_ENOTFOUND, CPN_EBUSY (another process has
 * the directory or the port), CPN_ECOPIED, CPN_ECORRUPT, CPN_EVERSION, CPN_EIO; `detail` (CPN_DETAIL bytes, may be NULL) has the sentence. */
int cpn_master_open(const struct cpn_master_options *options, struct cpn_master **out, char *detail);
void cpn_master_close(struct cpn_master *master); /* commits what waits; NULL is fine */

bool cpn_master_created(const struct cpn_master *master); /* this open made the network */
/* Somebody can administer it: not before cpn_master_admin_context(), nor after a first start that was cut off before that. */
bool cpn_master_has_admin(const struct cpn_master *master);
int cpn_master_port(const struct cpn_master *master);     /* the first TCP port that was bound; 0: none */
const char *cpn_master_name(const struct cpn_master *master);
struct cpn_key cpn_master_key(const struct cpn_master *master);

/* ---- for who starts the master, before the first dispatch; each blocks until it is durable ---- */

/* Make an identity of role admin and write its context file (0600): the first administrator. CPN_EEXISTS: the file is there. The file
 * comes first: if the program is killed in between, the same call later goes on with what it finds. */
int cpn_master_admin_context(struct cpn_master *master, const char *name, const char *path);
/* A join line for `uses` nodes or users, valid for ttl_ms. */
int cpn_master_join_line(struct cpn_master *master, enum cpn_role role, uint64_t ttl_ms, uint32_t uses, char line[CPN_LINE]);

/* ---- driving it ---- */

int cpn_master_run(struct cpn_master *master); /* dispatch until stopped: 0, or why it cannot go on */
int cpn_master_dispatch(struct cpn_master *master, int timeout_ms); /* one round; CPN_ECLOSED after the orderly stop */
int cpn_master_fd(const struct cpn_master *master);
int cpn_master_timeout_ms(struct cpn_master *master);
void cpn_master_wake(struct cpn_master *master);
/* Tell everyone, commit, end. A second call: at once. Any thread, signal handlers. */
void cpn_master_stop(struct cpn_master *master);
const char *cpn_master_detail(const struct cpn_master *master);

#ifdef __cplusplus
}
#endif

#endif
