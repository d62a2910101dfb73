/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A client: submits tasks, publishes models, asks about the network and administers it, as far as its role allows.
 * One thread at a time drives a client (dispatch, wait, every call below); only cpn_client_wake() may come from another thread or a
 * signal handler. A client connects by itself, in the background of its dispatches, and comes back after a break. */
#ifndef CPN_CLIENT_H
#define CPN_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include <cpn/options.h>
#include <cpn/task.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cpn_client;
struct cpn_master;

struct cpn_client_options {
    uint32_t size;
    const struct cpn_context *context; /* who and where; borrowed until cpn_client_close(). Either this */
    struct cpn_master *master;         /* or a master in this process, which must outlive the client */
    const char *name;                  /* how the logs call this program; NULL: "client" */
    const char *spool_dir;             /* where inputs and results over 256 KiB wait; a private folder is made in it; NULL: /tmp */
    cpn_log_fn *log;
    void *log_arg;
    enum cpn_log_level log_level; /* lines below this level are not even made; default CPN_LOG_DEBUG: all */
};
#define CPN_CLIENT_OPTIONS_INIT { .size = sizeof(struct cpn_client_options) }

/* CPN_EINVAL (neither context nor master), CPN_ENOMEM, CPN_EIO; `detail` (CPN_DETAIL bytes, may be NULL) has the sentence. Does not wait for the master. */
int cpn_client_open(const struct cpn_client_options *options, struct cpn_client **out, char *detail);

/* Says goodbye, cancels what is not complete, frees its tasks. NULL is fine. */
void cpn_client_close(struct cpn_client *client);

/* Wait until the master welcomed this client. 0, CPN_ETIMEDOUT or CPN_EUNREACHABLE (nobody answers there), CPN_EKEY, CPN_EVERSION. */
int cpn_client_connect(struct cpn_client *client, int timeout_ms);

/* The sentence about the last failed call or the present trouble with the connection; "" when there is none. Borrowed until the next call. */
const char *cpn_client_detail(const struct cpn_client *client);

/* ---- driving it: wait for something and handle all that is there; 0, or why the network refuses this client ---- */

int cpn_client_dispatch(struct cpn_client *client, int timeout_ms);
int cpn_client_fd(const struct cpn_client *client);   /* for a host's own loop: readable when dispatch(0) has work … */
int cpn_client_timeout_ms(struct cpn_client *client); /* … or after so many milliseconds (-1: none); ask before every wait */
void cpn_client_wake(struct cpn_client *client);      /* ends a waiting dispatch. Any thread, signal handlers */

/* ---- asking. Each waits up to timeout_ms and gives an array to be freed with cpn_client_free_list(); its texts live as long ---- */

enum cpn_node_state {
    CPN_NODE_GONE = 0,
    CPN_NODE_JOINING,
    CPN_NODE_PREPARING,
    CPN_NODE_READY,
    CPN_NODE_BUSY,
    CPN_NODE_DRAINING,
    CPN_NODE_TRAINING /* locked to a session: it gets no tasks */
};
const char *cpn_node_state_name(enum cpn_node_state state);
enum cpn_held_state { CPN_HELD_NONE = 0, CPN_HELD_FETCHING, CPN_HELD_LOADING, CPN_HELD_READY, CPN_HELD_FAILED, CPN_HELD_UNMET };
const char *cpn_held_state_name(enum cpn_held_state state);
enum cpn_task_state {
    CPN_TASK_UPLOADING = 1, /* its input is on its way to the master */
    CPN_TASK_QUEUED,
    CPN_TASK_PLACED, /* sent to a node, not yet running */
    CPN_TASK_RUNNING,
    CPN_TASK_FETCHING, /* its result is on its way to the master */
    CPN_TASK_DELIVERING,
    CPN_TASK_PARKED
};
const char *cpn_task_state_name(enum cpn_task_state state);

struct cpn_held_info { /* a model as a node holds it */
    const char *name;
    uint32_t version;
    enum cpn_held_state state;
    const char *text; /* why not ready */
};
struct cpn_history {
    int64_t first_join_us, last_seen_us; /* since 1970; 0: never */
    uint64_t tasks, failures, busy_us, bytes_in, bytes_out, joins, losses;
};
struct cpn_node_info {
    struct cpn_key key;
    const char *name;
    enum cpn_node_state state;
    bool revoked;
    uint32_t slots, busy, queued, cores;
    uint64_t memory; /* bytes of the machine */
    uint64_t rss;    /* bytes of the worker and its runners */
    const char *gpu; /* "": none */
    const char *software;
    const char *const *backends;
    size_t backend_count;
    const struct cpn_held_info *models;
    size_t model_count;
    struct cpn_history history;
};
struct cpn_user_info {
    struct cpn_key key;
    const char *name;
    enum cpn_role role;
    bool publish, revoked;
    uint32_t links; /* programs of this user that are connected now */
    struct cpn_history history;
};
struct cpn_model_info {
    const char *name;
    uint32_t version;
    const char *backend;
    struct cpn_hash root;
    uint64_t bytes;
    int64_t added_us; /* since 1970 */
    const char *publisher;
    uint32_t ready, preparing, failed; /* nodes */
    const char *text;                  /* why a node failed, the first one */
};
struct cpn_task_info {
    struct cpn_id id;
    const char *model;
    uint32_t version;
    enum cpn_task_state state;
    const char *user, *node, *name;
    uint32_t attempt;
    uint64_t age_us, bytes;
    const char *text; /* why it waits, or the evidence of a parked one */
};
struct cpn_token_info {
    struct cpn_key key;
    enum cpn_role role;
    const char *name;
    int64_t expires_us; /* since 1970; 0: never */
    uint32_t uses_left;
    bool revoked;
};
struct cpn_event_info {
    uint64_t number;
    int64_t wall_us; /* since 1970 */
    enum cpn_log_level level;
    const char *event, *node, *task, *model, *text;
};

int cpn_client_nodes(struct cpn_client *client, int timeout_ms, struct cpn_node_info **out, size_t *count);
int cpn_client_users(struct cpn_client *client, int timeout_ms, struct cpn_user_info **out, size_t *count);
int cpn_client_models(struct cpn_client *client, int timeout_ms, struct cpn_model_info **out, size_t *count);
int cpn_client_tasks(struct cpn_client *client, int timeout_ms, struct cpn_task_info **out, size_t *count);
int cpn_client_tokens(struct cpn_client *client, int timeout_ms, struct cpn_token_info **out, size_t *count);
/* The newest events, oldest first, at most `limit`, only those after number `since`; about a node, task or model when `filter` is not NULL. */
int cpn_client_events(struct cpn_client *client, const char *filter, uint64_t since, uint32_t limit, int timeout_ms,
                      struct cpn_event_info **out, size_t *count);
void cpn_client_free_list(void *list); /* NULL is fine */

/* ---- administering (role admin; CPN_EDENIED otherwise). Each waits until the change is durable ---- */

/* A line with which `uses` nodes or users may join until ttl_ms have passed (0: one hour; uses 0: 1). The secret never leaves this process
 * but in the line. */
int cpn_client_token_create(struct cpn_client *client, enum cpn_role role, const char *name, uint64_t ttl_ms, uint32_t uses,
                            int timeout_ms, char line[CPN_LINE]);
int cpn_client_token_revoke(struct cpn_client *client, const char *key, int timeout_ms); /* its hexadecimal key, or the start of it */

/* `who`: the name or the hexadecimal key of a node or user. */
int cpn_client_revoke(struct cpn_client *client, const char *who, int timeout_ms);
int cpn_client_drain(struct cpn_client *client, const char *node, bool drain, int timeout_ms); /* false: take tasks again */
int cpn_client_grant_publish(struct cpn_client *client, const char *user, bool granted, int timeout_ms);
int cpn_client_model_remove(struct cpn_client *client, const char *name, uint32_t version, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
