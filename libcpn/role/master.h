/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The master role's insides, shared by its files: master.c (life and rounds), master_open.c (what a start reads and makes),
 * master_store.c (commands and their answers); and what roles of the same process need of it. */
#ifndef CPNI_ROLE_MASTER_H
#define CPNI_ROLE_MASTER_H

#include <limits.h>
#include <stdatomic.h>

#include <cpn/master.h>

#include "core/master.h"
#include "net/context.h"
#include "net/joinline.h"
#include "net/keys.h"
#include "net/router.h"
#include "role/disk.h"
#include "role/inbox.h"
#include "role/logger.h"
#include "store/state.h"
#include "wire/outbox.h"

/* A command that the store has not answered, in the order of submission; the store answers in order. */
struct cpni_master_pending {
    uint64_t ticket; /* of the core; 0: nobody waits (a row of the event ring) */
    bool notes;      /* a query of the event ring */
};

struct cpni_master_backlog; /* commands that the store's full queue did not take */

struct cpn_master {
    char dir[PATH_MAX];
    char name[CPN_NAME];
    struct cpni_context *zmq;
    struct cpni_loop *loop;
    struct cpni_zap *zap;
    struct cpni_router *router;
    struct cpni_outbox *outbox;
    struct cpni_inbox inbox;
    struct cpni_master_core *core;
    struct cpni_actions actions;
    struct cpni_now now;
    struct cpni_logger logger;
    struct cpni_disk disk;
    struct cpni_state *state;
    struct cpni_master_pending *pending; /* ring */
    size_t pending_first, pending_count, pending_room;
    struct cpni_master_backlog *backlog;
    struct cpni_master_backlog **backlog_end;
    struct cpni_curve_keys keys;
    struct cpni_sign_keys local_sign; /* with which clients of this process publish */
    char endpoints[CPNI_ENDPOINTS_MAX][CPNI_ENDPOINT_TEXT]; /* for join lines */
    size_t endpoint_count;
    bool created;
    bool more;
    bool stopped;
    int64_t sweep_at_us;
    bool disk_trouble; /* told once, until it is over */
    atomic_int stop_asked;
    int stop_seen;
    char detail[CPN_DETAIL];
};

/* ---- for roles of the same process ---- */

struct cpni_context *cpni_master_zmq(struct cpn_master *master);
const struct cpni_sign_keys *cpni_master_local_sign(const struct cpn_master *master);
int cpni_master_print_line(const struct cpn_master *master, enum cpn_role role, const struct cpni_seed *seed, char line[CPN_LINE]);

/* ---- between the files of the role ---- */

/* Everything that an open makes: state, keys, core, sockets. */
int cpni_master_setup(struct cpn_master *master, const struct cpn_master_options *options);

int cpni_master_fail(struct cpn_master *master, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Submit a command, or keep it until the store has room. */
void cpni_master_commit(struct cpn_master *master, uint64_t ticket, const struct cpni_command_key *key, const struct cpni_command *command);
void cpni_master_notes(struct cpn_master *master, uint64_t ticket, struct cpni_str filter, uint64_t since, uint32_t limit);
/* A log line of the core as a row of the event ring. */
void cpni_master_ring(struct cpn_master *master, const struct cpni_action *log);
/* The store's answers as events, through `step`. */
void cpni_master_answers(struct cpn_master *master, void (*step)(struct cpn_master *master, const struct cpni_event *event));
void cpni_master_drop_backlog(struct cpn_master *master);

/* Submit one command and wait for its answer; only before the first round. */
int cpni_master_commit_now(struct cpn_master *master, const struct cpni_command *command, struct cpni_commit *out);

#endif
