/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The helper thread: takes all commands that wait, up to a bound, into one transaction (group commit); their answers
 * are given when it is on the disk. What comes meanwhile is the next transaction: the slower the disk, the larger the
 * groups.
 *
 * A disk that fails is tried again, the same group from its beginning, for retry_ms; then the group is answered
 * "unknown" and the next ones get one try each, until one succeeds. Trying again within this connection cannot apply a
 * group twice: SQLite has rolled it back, and the next transaction writes over whatever of it reached the log file.
 * Only a process that dies in between may find the group committed after all, which is why the answer is "unknown". */
#include "store/state_store.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "store/apply.h"

#define PAUSE_FIRST_MS 20
#define PAUSE_MAX_MS 1000

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A command whose apply is at odds with the tables is a bug of ours: it is rejected alone, the group goes on. */
static int apply_one(struct cpni_state *state, struct cpni_state_item *item)
{
    struct cpni_db *db = &state->db;
    int rc = cpni_db_run(db, cpni_db_use(db, "SAVEPOINT command"));
    if (rc < 0) {
        return rc;
    }
    rc = cpni_apply(db, &item->key, &item->command, state->events_max, &item->answer.commit);
    if (rc == CPN_EINTERNAL) {
        struct cpni_apply apply = { db, NULL, &item->answer.commit, 0 };
        cpni_reject(&apply, CPN_EINTERNAL, "%s", sqlite3_errmsg(db->sqlite));
        rc = cpni_db_run(db, cpni_db_use(db, "ROLLBACK TO command"));
    }
    return rc < 0 ? rc : cpni_db_run(db, cpni_db_use(db, "RELEASE command"));
}

/* One transaction, all or nothing. */
static int try_group(struct cpni_state *state, struct cpni_state_queue *group)
{
    struct cpni_db *db = &state->db;
    int rc = cpni_db_run(db, cpni_db_use(db, "BEGIN IMMEDIATE"));
    for (struct cpni_state_item *item = group->first; rc == 0 && item != NULL; item = item->next) {
        rc = apply_one(state, item);
    }
    return rc < 0 ? rc : cpni_db_run(db, cpni_db_use(db, "COMMIT"));
}

static void roll_back(struct cpni_state *state)
{
    if (!sqlite3_get_autocommit(state->db.sqlite)) { /* some errors roll back by themselves */
        cpni_db_exec(&state->db, "ROLLBACK");
    }
}

/* `detail` may be NULL when code is 0. */
static void set_trouble(struct cpni_state *state, int code)
{
    char detail[CPNI_STATE_DETAIL] = "";
    if (code != 0) {
        cpni_state_describe(state, code, detail);
    }
    pthread_mutex_lock(&state->mutex);
    state->trouble = code;
    memcpy(state->trouble_detail, detail, sizeof detail);
    pthread_mutex_unlock(&state->mutex);
}

/* False when the store is closing. */
static bool pause_ms(struct cpni_state *state, int64_t milliseconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    until.tv_sec += (time_t)(milliseconds / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&state->mutex);
    while (!state->closing && pthread_cond_timedwait(&state->wake, &state->mutex, &until) == 0) { }
    bool closing = state->closing;
    pthread_mutex_unlock(&state->mutex);
    return !closing;
}

static void answer_unknown(struct cpni_state *state, struct cpni_state_queue *group, int code)
{
    for (struct cpni_state_item *item = group->first; item != NULL; item = item->next) {
        struct cpni_commit *commit = &item->answer.commit;
        *commit = (struct cpni_commit) { .status = CPNI_UNKNOWN, .code = code };
        snprintf(commit->text, sizeof commit->text, "%.*s", (int)sizeof commit->text - 1, state->trouble_detail);
    }
}

static void commit_group(struct cpni_state *state, struct cpni_state_queue *group)
{
    bool troubled = state->trouble != 0; /* this thread alone writes it */
    int64_t give_up = now_ms() + (troubled ? 0 : (int64_t)state->retry_ms);
    int64_t pause = PAUSE_FIRST_MS;
    for (;;) {
        int rc = try_group(state, group);
        if (rc == 0) {
            if (state->trouble != 0) {
                set_trouble(state, 0);
            }
            return;
        }
        set_trouble(state, rc);
        roll_back(state);
        if (now_ms() >= give_up || !pause_ms(state, pause)) {
            answer_unknown(state, group, rc);
            return;
        }
        pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
    }
}

/* The commands at the head of the queue, or the one query. Empty: closing and nothing left. */
static struct cpni_state_queue next_group(struct cpni_state *state)
{
    struct cpni_state_queue group = { NULL, NULL };
    pthread_mutex_lock(&state->mutex);
    while (!state->closing && state->waiting.first == NULL) {
        pthread_cond_wait(&state->wake, &state->mutex);
    }
    for (size_t count = 0; count < CPNI_STATE_BATCH_MAX && state->waiting.first != NULL; count++) {
        bool query = state->waiting.first->answer.query;
        if (query && count != 0) {
            break;
        }
        cpni_state_push(&group, cpni_state_take(&state->waiting));
        if (query) {
            break;
        }
    }
    pthread_mutex_unlock(&state->mutex);
    return group;
}

static void deliver(struct cpni_state *state, struct cpni_state_queue *group)
{
    pthread_mutex_lock(&state->mutex);
    if (state->done.first == NULL) {
        eventfd_write(state->fd, 1);
        state->done = *group;
    } else {
        state->done.last->next = group->first;
        state->done.last = group->last;
    }
    pthread_mutex_unlock(&state->mutex);
}

void *cpni_state_serve(void *arg)
{
    struct cpni_state *state = arg;
    for (;;) {
        struct cpni_state_queue group = next_group(state);
        if (group.first == NULL) {
            return NULL;
        }
        if (group.first->answer.query) {
            cpni_state_run_query(state, group.first);
        } else {
            commit_group(state, &group);
        }
        deliver(state, &group);
    }
}
