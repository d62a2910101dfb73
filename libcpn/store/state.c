/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The owner's side of the door: open, submit, pop, close. See state.h; the helper thread's side is state_commit.c. */
#include "store/state_store.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cpn/error.h>

#include "base/alloc.h"

int cpni_state_fail(struct cpni_state *state, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(state->detail, sizeof state->detail, format, list);
    va_end(list);
    return code;
}

int cpni_state_describe(struct cpni_state *state, int code, char detail[CPNI_STATE_DETAIL])
{
    int cause = state->db.sqlite != NULL ? sqlite3_system_errno(state->db.sqlite) : 0;
    const char *why = sqlite3_errmsg(state->db.sqlite);
    if (code == CPN_ENOSPC) {
        snprintf(detail, CPNI_STATE_DETAIL, "%s: no space left; free some", state->path);
    } else if (code == CPN_ECORRUPT) {
        snprintf(detail, CPNI_STATE_DETAIL, "%s: damaged (%s); restore it from a backup", state->path, why);
    } else if (code == CPN_EIO && cause != 0) {
        snprintf(detail, CPNI_STATE_DETAIL, "%s: %s (%s)", state->path, why, strerror(cause));
    } else {
        snprintf(detail, CPNI_STATE_DETAIL, "%s: %s", state->path, why);
    }
    return code;
}

void cpni_state_push(struct cpni_state_queue *queue, struct cpni_state_item *item)
{
    item->next = NULL;
    if (queue->last != NULL) {
        queue->last->next = item;
    } else {
        queue->first = item;
    }
    queue->last = item;
}

struct cpni_state_item *cpni_state_take(struct cpni_state_queue *queue)
{
    struct cpni_state_item *item = queue->first;
    if (item != NULL) {
        queue->first = item->next;
        if (queue->first == NULL) {
            queue->last = NULL;
        }
    }
    return item;
}

static void free_item(struct cpni_state_item *item)
{
    if (!item->answer.query) {
        cpni_bytes_unref(item->command.payload);
    }
    cpni_state_answer_clear(&item->answer);
    cpni_free(item);
}

void cpni_state_answer_clear(struct cpni_state_answer *answer)
{
    cpni_free(answer->events);
    answer->events = NULL;
    answer->events_count = 0;
}

int cpni_state_open(
    const char *dir, const struct cpni_state_options *options, struct cpni_state **out, char detail[CPNI_STATE_DETAIL])
{
    static const struct cpni_state_options defaults = { 0 };
    options = options != NULL ? options : &defaults;
    struct cpni_state *state = cpni_calloc(1, sizeof *state);
    if (state == NULL) {
        if (detail != NULL) {
            snprintf(detail, CPNI_STATE_DETAIL, "%s: out of memory", dir);
        }
        return CPN_ENOMEM;
    }
    state->lock = state->fd = -1;
    state->retry_ms = options->retry_ms != 0 ? options->retry_ms : CPNI_STATE_RETRY_MS;
    state->events_max = options->events_max != 0 ? options->events_max : CPNI_STATE_EVENTS_MAX;
    pthread_mutex_init(&state->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* the retry's pauses are no matter of wall time */
    pthread_cond_init(&state->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    int rc = cpni_state_open_dir(state, dir, options);
    if (rc < 0) {
        if (detail != NULL) {
            memcpy(detail, state->detail, CPNI_STATE_DETAIL);
        }
        cpni_state_close(state);
        return rc;
    }
    *out = state;
    return 0;
}

int cpni_state_start(struct cpni_state *state)
{
    state->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (state->fd < 0) {
        return cpni_state_fail(state, CPN_EIO, "eventfd: %s", strerror(errno));
    }
    sigset_t all, old; /* the host's signals are not for a thread that it does not know */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&state->thread, NULL, cpni_state_serve, state);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed != 0) {
        return cpni_state_fail(state, CPN_ENOMEM, "cannot start a thread: %s", strerror(failed));
    }
    state->started = true;
    return 0;
}

int cpni_state_fd(const struct cpni_state *state)
{
    return state->fd;
}

const char *cpni_state_detail(const struct cpni_state *state)
{
    return state->detail;
}

struct cpn_id cpni_state_cluster(const struct cpni_state *state)
{
    return state->cluster;
}

size_t cpni_state_pending(const struct cpni_state *state)
{
    return state->pending;
}

/* Takes the item. */
static void enqueue(struct cpni_state *state, struct cpni_state_item *item, uint64_t *ticket)
{
    item->answer.ticket = ++state->ticket;
    if (ticket != NULL) {
        *ticket = state->ticket;
    }
    state->pending++;
    pthread_mutex_lock(&state->mutex);
    cpni_state_push(&state->waiting, item);
    pthread_cond_signal(&state->wake);
    pthread_mutex_unlock(&state->mutex);
}

/* Whether the payload is one that the command may have. */
static bool payload_fits(const struct cpni_command *command)
{
    size_t size = command->payload != NULL ? command->payload->size : 0;
    switch (command->type) {
    case CPNI_COMMAND_MODEL_ADD:
        return size <= CPNI_MANIFEST_BYTES_MAX;
    case CPNI_COMMAND_NODE_STATS:
        return size <= CPNI_STATE_CAPABILITIES_BYTES_MAX;
    case CPNI_COMMAND_SESSION_ADD:
        return size <= CPNI_SESSION_SPEC_BYTES_MAX;
    default:
        return command->payload == NULL;
    }
}

int cpni_state_submit(
    struct cpni_state *state, const struct cpni_command_key *key, const struct cpni_command *command, uint64_t *ticket)
{
    if (command->type <= CPNI_COMMAND_NONE || command->type >= CPNI_COMMAND_TYPES || !payload_fits(command)
        || (key != NULL && key->sequence > INT64_MAX)) {
        return CPN_EINVAL;
    }
    if (state->pending >= CPNI_STATE_WAITING_MAX) {
        return CPN_EBUSY;
    }
    struct cpni_state_item *item = cpni_calloc(1, sizeof *item);
    if (item == NULL) {
        return CPN_ENOMEM;
    }
    item->key = key != NULL ? *key : (struct cpni_command_key) { .sequence = 0 };
    item->command = *command;
    cpni_bytes_ref(command->payload);
    item->answer.type = command->type;
    enqueue(state, item, ticket);
    return 0;
}

int cpni_state_query_events(
    struct cpni_state *state, const struct cpni_state_filter *filter, uint32_t limit, uint64_t *ticket)
{
    if (state->queries >= CPNI_STATE_QUERY_MAX || state->pending >= CPNI_STATE_WAITING_MAX) {
        return CPN_EBUSY;
    }
    struct cpni_state_item *item = cpni_calloc(1, sizeof *item);
    if (item == NULL) {
        return CPN_ENOMEM;
    }
    item->filter = *filter;
    item->limit = limit < CPNI_STATE_EVENTS_READ_MAX ? limit : CPNI_STATE_EVENTS_READ_MAX;
    item->answer.query = true;
    state->queries++;
    enqueue(state, item, ticket);
    return 0;
}

int cpni_state_pop(struct cpni_state *state, struct cpni_state_answer *out)
{
    pthread_mutex_lock(&state->mutex);
    struct cpni_state_item *item = cpni_state_take(&state->done);
    if (state->done.first == NULL) {
        eventfd_t count;
        eventfd_read(state->fd, &count);
    }
    pthread_mutex_unlock(&state->mutex);
    if (item == NULL) {
        return 0;
    }
    state->pending--;
    state->queries -= item->answer.query;
    *out = item->answer;
    item->answer.events = NULL; /* the caller's now */
    free_item(item);
    return 1;
}

int cpni_state_trouble(struct cpni_state *state, char detail[CPNI_STATE_DETAIL])
{
    pthread_mutex_lock(&state->mutex);
    int trouble = state->trouble;
    if (trouble != 0) {
        memcpy(detail, state->trouble_detail, CPNI_STATE_DETAIL);
    }
    pthread_mutex_unlock(&state->mutex);
    return trouble;
}

static void free_queue(struct cpni_state_queue *queue)
{
    for (struct cpni_state_item *item; (item = cpni_state_take(queue)) != NULL;) {
        free_item(item);
    }
}

void cpni_state_close(struct cpni_state *state)
{
    if (state == NULL) {
        return;
    }
    if (state->started) {
        pthread_mutex_lock(&state->mutex);
        state->closing = true;
        pthread_cond_signal(&state->wake);
        pthread_mutex_unlock(&state->mutex);
        pthread_join(state->thread, NULL);
    }
    free_queue(&state->waiting);
    free_queue(&state->done);
    cpni_db_close(&state->db);
    if (state->fd >= 0) {
        close(state->fd);
    }
    if (state->lock >= 0) {
        close(state->lock); /* after the database: the next process must find it closed */
    }
    pthread_cond_destroy(&state->wake);
    pthread_mutex_destroy(&state->mutex);
    cpni_free(state->path);
    cpni_free(state);
}
