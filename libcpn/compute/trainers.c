/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The caller's side of the trainers: start, order, collect, end. See trainers.h for the contract and trainer_thread.c
 * for what a lane's thread does. */
#include "trainers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utlist.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "compute/trainer_thread.h"

#define RUNNER_BYTES                                                                                                   \
    (4ull << 30) /* a batch of 65536 rows through the widest layer that the limits allow has no place; all usual ones  \
                    do */
#define PREFIX "cpn-trainer-"
#define SUFFIX ".so"

/* ---- which there are ---- */

static int is_trainer(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name), skip = sizeof PREFIX - 1, end = sizeof SUFFIX - 1;
    return length > skip + end && strncmp(entry->d_name, PREFIX, skip) == 0
        && strcmp(entry->d_name + length - end, SUFFIX) == 0;
}

static int list_names(struct cpni_trainers *trainers)
{
    struct dirent **entries = NULL;
    int count = scandir(trainers->paths.trainers, &entries, is_trainer, alphasort);
    int found = 0;
    trainers->names = cpni_calloc((size_t)(count > 0 ? count : 0) + 1, sizeof *trainers->names);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name + sizeof PREFIX - 1;
        char *copy = trainers->names != NULL ? cpni_memdup(name, strlen(name) + 1) : NULL;
        if (copy != NULL) {
            copy[strlen(copy) - (sizeof SUFFIX - 1)] = 0;
            trainers->names[found++] = copy;
        }
        free(entries[i]);
    }
    free(entries);
    return trainers->names != NULL && (count < 0 || found == count) ? 0 : CPN_ENOMEM;
}

const char *const *cpni_trainers_names(const struct cpni_trainers *trainers)
{
    return trainers->names;
}

/* ---- life ---- */

static void free_all(struct cpni_trainers *trainers)
{
    for (size_t i = 0; trainers->names != NULL && trainers->names[i] != NULL; i++) {
        cpni_free((char *)trainers->names[i]);
    }
    cpni_free(trainers->names);
    if (trainers->ready_fd >= 0) {
        close(trainers->ready_fd);
    }
    cpni_free(trainers);
}

int cpni_trainers_open(const struct cpni_trainers_options *options, struct cpni_trainers **out, char *detail)
{
    struct cpni_trainers *trainers = cpni_calloc(1, sizeof *trainers);
    if (trainers == NULL) {
        snprintf(detail, CPNI_TRAINERS_DETAIL, "no memory for trainers");
        return CPN_ENOMEM;
    }
    cpni_compute_paths(options->runner, NULL, &trainers->paths);
    if (options->plugins != NULL) {
        snprintf(trainers->paths.trainers, sizeof trainers->paths.trainers, "%s", options->plugins);
    }
    trainers->threads = options->threads != 0 ? options->threads : 1;
    trainers->runner_bytes = options->runner_bytes != 0 ? options->runner_bytes : RUNNER_BYTES;
    trainers->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = trainers->ready_fd < 0 ? CPN_EIO : list_names(trainers);
    if (rc == 0 && pthread_mutex_init(&trainers->lock, NULL) != 0) {
        rc = CPN_ENOMEM;
    }
    if (rc < 0) {
        snprintf(detail, CPNI_TRAINERS_DETAIL, "no memory or descriptors for trainers");
        free_all(trainers);
        return rc;
    }
    *out = trainers;
    return 0;
}

static void free_thread(struct cpni_trainer_thread *lane)
{
    if (lane->ordered) { /* else the thread took it */
        cpni_bytes_unref(lane->round.vector);
        if (lane->round.vector_fd >= 0) {
            close(lane->round.vector_fd);
        }
    }
    cpni_bytes_unref(lane->gradient);
    close(lane->wake_fd);
    cpni_free(lane);
}

/* What an ended lane said and nobody read. Under the lock. */
static void drop_said(struct cpni_trainers *trainers, const struct cpni_trainer_thread *lane)
{
    struct cpni_said *said, *next;
    DL_FOREACH_SAFE(trainers->said, said, next)
    {
        if (said->by == lane) {
            DL_DELETE(trainers->said, said);
            cpni_trained_clear(&said->trained);
            cpni_free(said);
        }
    }
    if (trainers->said == NULL) {
        eventfd_t value;
        eventfd_read(trainers->ready_fd, &value);
    }
}

/* Kill, and hear no more of it. Under the lock; its thread does the rest. */
static void end(struct cpni_trainers *trainers, struct cpni_trainer_thread *lane)
{
    atomic_store(&lane->ended, true);
    lane->progress = NULL;
    if (lane->alive) {
        cpni_runner_kill(&lane->runner);
    }
    eventfd_write(lane->wake_fd, 1);
    drop_said(trainers, lane);
}

/* Threads of ended lanes: those that are done, or (all) each as soon as it is. */
static void reap(struct cpni_trainers *trainers, bool all)
{
    struct cpni_trainer_thread *lane, *next;
    DL_FOREACH_SAFE(trainers->list, lane, next)
    { /* only this thread changes the list */
        pthread_mutex_lock(&trainers->lock);
        bool gone = atomic_load(&lane->ended) && (lane->exited || all);
        pthread_mutex_unlock(&trainers->lock);
        if (gone) {
            pthread_join(lane->thread, NULL);
            pthread_mutex_lock(&trainers->lock);
            DL_DELETE(trainers->list, lane);
            pthread_mutex_unlock(&trainers->lock);
            free_thread(lane);
        }
    }
}

void cpni_trainers_close(struct cpni_trainers *trainers)
{
    if (trainers == NULL) {
        return;
    }
    struct cpni_trainer_thread *lane;
    pthread_mutex_lock(&trainers->lock);
    DL_FOREACH(trainers->list, lane)
    {
        end(trainers, lane);
    }
    pthread_mutex_unlock(&trainers->lock);
    reap(trainers, true);
    pthread_mutex_destroy(&trainers->lock);
    free_all(trainers);
}

/* ---- orders ---- */

/* Only the calling thread ends lanes or changes the list, so it may look without the lock. */
static struct cpni_trainer_thread *find(struct cpni_trainers *trainers, uint64_t ticket)
{
    struct cpni_trainer_thread *lane;
    DL_FOREACH(trainers->list, lane)
    {
        if (lane->ticket == ticket && !atomic_load(&lane->ended)) {
            return lane;
        }
    }
    return NULL;
}

static int fill_open(
    const struct cpni_trainers *trainers, const struct cpni_lane_job *job, struct cpni_trainer_open *open)
{
    const struct cpni_session_spec *spec = job->spec;
    if (job->lane >= cpni_session_lanes(spec)
        || strspn(spec->trainer, "abcdefghijklmnopqrstuvwxyz0123456789") != strlen(spec->trainer)) {
        return CPN_EINVAL; /* the name becomes part of a path */
    }
    *open = (struct cpni_trainer_open) { .version = CPNI_TRAINER_VERSION,
        .type = CPNI_TRAINER_OPEN_PACKET,
        .threads = trainers->threads,
        .train_rows = job->train_rows,
        .memory_bytes = trainers->runner_bytes };
    open->lane = (struct cpni_trainer_lane) { .lane = job->lane,
        .mode = spec->mode,
        .peers = spec->peers,
        .validation_ppm = spec->validation_ppm,
        .local_steps = spec->local_steps,
        .int8 = spec->int8,
        .split_seed = spec->split_seed,
        .settings = *cpni_session_lane(spec, job->lane) };
    int length = snprintf(
        open->plugin, sizeof open->plugin, "%s/" PREFIX "%s" SUFFIX, trainers->paths.trainers, spec->trainer);
    return length > 0 && (size_t)length < sizeof open->plugin ? 0 : CPN_EINVAL;
}

static int duplicate(int fd)
{
    return fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
}

static int launch(struct cpni_trainers *trainers, const struct cpni_lane_job *job, struct cpni_trainer_thread *lane)
{
    lane->owner = trainers;
    lane->ticket = job->ticket;
    lane->probe = job->probe;
    lane->state_size = job->state_size;
    lane->round.vector_fd = -1;
    lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    lane->dataset_fd = duplicate(job->dataset_fd);
    lane->state_fd = duplicate(job->state_fd);
    int rc = lane->wake_fd < 0 || lane->dataset_fd < 0 || (job->state_fd >= 0 && lane->state_fd < 0) ? CPN_ENOMEM : 0;
    rc = rc < 0 ? rc : fill_open(trainers, job, &lane->open);
    if (rc == 0 && pthread_create(&lane->thread, NULL, cpni_trainer_thread_main, lane) != 0) {
        rc = CPN_ENOMEM;
    }
    if (rc < 0) {
        const int fds[] = { lane->wake_fd, lane->dataset_fd, lane->state_fd };
        for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
            if (fds[i] >= 0) {
                close(fds[i]);
            }
        }
    }
    return rc;
}

int cpni_trainers_start(struct cpni_trainers *trainers, const struct cpni_lane_job *job)
{
    struct cpni_trainer_thread *lane;
    int count;
    reap(trainers, false);
    if (find(trainers, job->ticket) != NULL) {
        return CPN_EEXISTS;
    }
    DL_COUNT(trainers->list, lane, count);
    if (count >= CPNI_LANES_OF_NODE_MAX) {
        return CPN_EBUSY;
    }
    lane = cpni_calloc(1, sizeof *lane);
    int rc = lane != NULL ? launch(trainers, job, lane) : CPN_ENOMEM;
    if (rc < 0) {
        cpni_free(lane);
        return rc;
    }
    pthread_mutex_lock(&trainers->lock);
    DL_APPEND(trainers->list, lane);
    pthread_mutex_unlock(&trainers->lock);
    return 0;
}

int cpni_trainers_round(struct cpni_trainers *trainers, uint64_t ticket, const struct cpni_round_job *job)
{
    struct cpni_trainer_thread *lane = find(trainers, ticket);
    if (lane == NULL) {
        return CPN_ENOTFOUND;
    }
    struct cpni_round_job own = *job;
    own.vector_fd = job->vector == NULL ? duplicate(job->vector_fd) : -1;
    if (job->vector == NULL && job->vector_fd >= 0 && own.vector_fd < 0) {
        return CPN_ENOMEM;
    }
    pthread_mutex_lock(&trainers->lock);
    bool busy = lane->busy;
    if (!busy) {
        cpni_bytes_ref(own.vector);
        lane->round = own;
        lane->busy = lane->ordered = true;
        eventfd_write(lane->wake_fd, 1);
    }
    pthread_mutex_unlock(&trainers->lock);
    if (busy && own.vector_fd >= 0) {
        close(own.vector_fd);
    }
    return busy ? CPN_EBUSY : 0;
}

int cpni_trainers_apply(struct cpni_trainers *trainers, uint64_t ticket, struct cpni_bytes *gradient)
{
    struct cpni_trainer_thread *lane = find(trainers, ticket);
    if (lane == NULL) {
        return CPN_ENOTFOUND;
    }
    pthread_mutex_lock(&trainers->lock);
    bool busy = lane->gradient != NULL;
    if (!busy) {
        lane->gradient = cpni_bytes_ref(gradient);
        eventfd_write(lane->wake_fd, 1);
    }
    pthread_mutex_unlock(&trainers->lock);
    return busy ? CPN_EBUSY : 0;
}

void cpni_trainers_end(struct cpni_trainers *trainers, uint64_t ticket)
{
    struct cpni_trainer_thread *lane = find(trainers, ticket);
    if (lane != NULL) {
        pthread_mutex_lock(&trainers->lock);
        end(trainers, lane);
        pthread_mutex_unlock(&trainers->lock);
    }
    reap(trainers, false);
}

/* ---- collecting ---- */

void cpni_trainers_usage(struct cpni_trainers *trainers, uint32_t *runners, uint64_t *memory_bytes)
{
    struct cpni_trainer_thread *lane;
    *runners = 0;
    *memory_bytes = 0;
    pthread_mutex_lock(&trainers->lock);
    DL_FOREACH(trainers->list, lane)
    {
        *runners += lane->alive;
        *memory_bytes += lane->alive ? cpni_runner_memory(&lane->runner) : 0;
    }
    pthread_mutex_unlock(&trainers->lock);
}

int cpni_trainers_fd(const struct cpni_trainers *trainers)
{
    return trainers->ready_fd;
}

/* A lane whose process is gone is there until that was read, so that an order in between is no error. */
static bool is_last(const struct cpni_trained *trained)
{
    return (trained->code != 0 && trained->code != CPN_EDIVERGED) || trained->probe;
}

int cpni_trainers_next(struct cpni_trainers *trainers, struct cpni_trained *out)
{
    reap(trainers, false);
    pthread_mutex_lock(&trainers->lock);
    struct cpni_said *said = trainers->said;
    if (said != NULL) {
        struct cpni_trainer_thread *lane = said->by;
        DL_DELETE(trainers->said, said);
        lane->unread--;
        lane->progress = lane->progress == said ? NULL : lane->progress;
        if (lane->stalled && lane->unread < CPNI_TRAINERS_UNREAD_MAX / 2) {
            lane->stalled = false;
            eventfd_write(lane->wake_fd, 1);
        }
        *out = said->trained;
        if (is_last(out)) {
            end(trainers, lane);
        }
    }
    if (trainers->said == NULL) {
        eventfd_t value;
        eventfd_read(trainers->ready_fd, &value);
    }
    pthread_mutex_unlock(&trainers->lock);
    cpni_free(said);
    return said != NULL;
}

void cpni_trained_clear(struct cpni_trained *trained)
{
    cpni_bytes_unref(trained->vector);
    cpni_bytes_unref(trained->state);
    trained->vector = trained->state = NULL;
}
