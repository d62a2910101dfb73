/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the files of the state store share. See state.h. */
#ifndef CPNI_STATE_STORE_H
#define CPNI_STATE_STORE_H

#include <pthread.h>
#include <stdbool.h>

#include "store/db.h"
#include "store/state.h"

/* One submit or query, from the owner to the helper thread and back. */
struct cpni_state_item {
    struct cpni_state_item *next;
    union { /* by answer.query */
        struct {
            struct cpni_command_key key;
            struct cpni_command command; /* payload referenced */
        };
        struct {
            struct cpni_state_filter filter;
            uint32_t limit;
        };
    };
    struct cpni_state_answer answer;
};

struct cpni_state_queue {
    struct cpni_state_item *first;
    struct cpni_state_item *last;
};

struct cpni_state {
    char *path; /* of state.db */
    int lock; /* descriptor of state.lock */
    struct cpni_db db; /* the owner's until start, then the helper thread's */
    struct cpn_id cluster;
    uint32_t retry_ms;
    uint32_t events_max;
    char detail[CPNI_STATE_DETAIL]; /* of open, recover, start: the owner's */

    bool started;
    pthread_t thread;
    int fd;
    size_t pending; /* the owner's, as the next two */
    size_t queries;
    uint64_t ticket;

    pthread_mutex_t mutex; /* what follows */
    pthread_cond_t wake;
    struct cpni_state_queue waiting;
    struct cpni_state_queue done;
    bool closing;
    int trouble; /* 0, or the CPN_E that commits meet now */
    char trouble_detail[CPNI_STATE_DETAIL];
};

/* Opens the directory: lock, identity, database, schema. On failure state->detail has the sentence and what was opened
 * is left to cpni_state_close(). */
int cpni_state_open_dir(struct cpni_state *state, const char *dir, const struct cpni_state_options *options);

int cpni_state_fail(struct cpni_state *state, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What the database said last, as a sentence with the path, into `detail`. Returns `code`. */
int cpni_state_describe(struct cpni_state *state, int code, char detail[CPNI_STATE_DETAIL]);

/* The helper thread's body; ends when closing and all that waited is answered. */
void *cpni_state_serve(void *arg);
/* The part of cpni_state_recover() that reads the training sessions. */
int cpni_state_sessions(
    struct cpni_state *state, int (*fn)(void *arg, const struct cpni_command *command), void *arg);
/* Runs the query of an item and fills in its answer. */
void cpni_state_run_query(struct cpni_state *state, struct cpni_state_item *item);
/* A row of `CPNI_EVENT_COLUMNS`. */
#define CPNI_EVENT_COLUMNS "number, wall, id, level, node, task, model, text"
void cpni_state_read_event(sqlite3_stmt *row, struct cpni_state_event *out);

void cpni_state_push(struct cpni_state_queue *queue, struct cpni_state_item *item);
struct cpni_state_item *cpni_state_take(struct cpni_state_queue *queue);

#endif
