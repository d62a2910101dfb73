/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See blob_async.h. One helper thread owns the store; the owner thread sees the two queues only.
 *
 * Jobs run in the order of submission. One that is not done after its first slice goes to a second list, `bulk`, whose
 * members get a slice each in turn, one between two ordinary jobs. Jobs about the blob of a bulk job wait behind it, so
 * that the answers about one blob keep their order. */
#include "store/blob_async.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cpn/error.h>

#include "base/alloc.h"

struct job;
struct queue {
    struct job *first;
    struct job *last;
};

struct job {
    struct cpni_blob_job ask; /* payload referenced, path owned */
    struct cpni_blob_answer answer;
    struct cpni_blob_work *work; /* of a bulk job */
    struct queue behind; /* jobs about the same blob, while this one is bulk */
    uint64_t bytes;
    struct job *next;
};

struct cpni_blob_async {
    struct cpni_blobs *blobs; /* the helper thread's */
    struct queue bulk; /* likewise */
    pthread_t thread;
    int fd;
    size_t jobs_max;
    uint64_t bytes_max;
    size_t pending; /* the owner's */
    uint64_t bytes; /* likewise */

    pthread_mutex_t mutex; /* what follows */
    pthread_cond_t wake;
    struct queue waiting;
    struct queue done;
    bool closing;
};

/* ---- Queues ---- */

static void push(struct queue *queue, struct job *job)
{
    job->next = NULL;
    if (queue->last != NULL) {
        queue->last->next = job;
    } else {
        queue->first = job;
    }
    queue->last = job;
}

static struct job *take(struct queue *queue)
{
    struct job *job = queue->first;
    if (job != NULL) {
        queue->first = job->next;
        if (queue->first == NULL) {
            queue->last = NULL;
        }
        job->next = NULL;
    }
    return job;
}

/* All of `front` before what `queue` has. */
static void put_first(struct queue *queue, struct queue *front)
{
    if (front->first == NULL) {
        return;
    }
    front->last->next = queue->first;
    queue->first = front->first;
    if (queue->last == NULL) {
        queue->last = front->last;
    }
    *front = (struct queue) { NULL, NULL };
}

static void free_job(struct job *job)
{
    cpni_blob_work_free(job->work);
    cpni_blob_answer_clear(&job->answer);
    cpni_bytes_unref(job->ask.payload);
    cpni_free((char *)job->ask.path);
    cpni_free(job);
}

static void free_queue(struct queue *queue)
{
    for (struct job *job; (job = take(queue)) != NULL;) {
        free_queue(&job->behind);
        free_job(job);
    }
}

void cpni_blob_answer_clear(struct cpni_blob_answer *answer)
{
    cpni_bytes_unref(answer->bytes);
    cpni_free(answer->list);
    if (answer->fd >= 0) {
        close(answer->fd);
    }
    answer->bytes = NULL;
    answer->list = NULL;
    answer->count = 0;
    answer->fd = -1;
}

/* ---- Jobs, on the helper thread: each returns as cpni_blob_work_step() does ---- */

static int step(struct cpni_blobs *blobs, struct job *job)
{
    int rc = cpni_blob_work_step(job->work, &job->answer.info);
    if (rc == 0 && job->ask.op == CPNI_BLOB_BEGIN) {
        rc = cpni_blobs_bitmap(blobs, &job->ask.root, &job->answer.bytes);
    }
    return rc;
}

static int run_begin(struct cpni_blobs *blobs, struct job *job)
{
    const struct cpni_blob_job *ask = &job->ask;
    int rc = cpni_blob_work_begin(blobs, &ask->root, ask->size, ask->class, ask->payload ? ask->payload->data : NULL,
        ask->payload ? ask->payload->size : 0, &job->work);
    return rc < 0 ? rc : step(blobs, job);
}

static int run_write_chunk(struct cpni_blobs *blobs, struct job *job)
{
    const struct cpni_blob_job *ask = &job->ask;
    return cpni_blobs_write_chunk(
        blobs, &ask->root, ask->index, ask->payload->data, ask->payload->size, &job->answer.info);
}

static int run_finish(struct cpni_blobs *blobs, struct job *job)
{
    int rc = cpni_blobs_finish(blobs, &job->ask.root);
    return rc < 0 ? rc : cpni_blobs_find(blobs, &job->ask.root, &job->answer.info);
}

static int run_abort(struct cpni_blobs *blobs, struct job *job)
{
    return cpni_blobs_abort(blobs, &job->ask.root);
}

static int run_find(struct cpni_blobs *blobs, struct job *job)
{
    int rc = cpni_blobs_find(blobs, &job->ask.root, &job->answer.info);
    if (rc == 0 && cpni_blobs_bitmap(blobs, &job->ask.root, &job->answer.bytes) == CPN_ENOMEM) {
        rc = CPN_ENOMEM;
    }
    return rc;
}

static int run_list(struct cpni_blobs *blobs, struct job *job)
{
    return cpni_blobs_list(blobs, &job->answer.list, &job->answer.count);
}

static int run_import_file(struct cpni_blobs *blobs, struct job *job)
{
    int rc = cpni_blob_work_import(blobs, job->ask.path, job->ask.class, &job->work);
    return rc < 0 ? rc : step(blobs, job);
}

static int run_import_bytes(struct cpni_blobs *blobs, struct job *job)
{
    const struct cpni_bytes *payload = job->ask.payload;
    return cpni_blobs_import_bytes(blobs, payload->data, payload->size, job->ask.class, &job->answer.info);
}

static int run_read_chunk(struct cpni_blobs *blobs, struct job *job)
{
    return cpni_blobs_read_chunk(blobs, &job->ask.root, job->ask.index, &job->answer.bytes);
}

static int run_leaves(struct cpni_blobs *blobs, struct job *job)
{
    int rc = cpni_blobs_leaves(blobs, &job->ask.root, &job->answer.bytes);
    return rc < 0 ? rc : cpni_blobs_find(blobs, &job->ask.root, &job->answer.info);
}

static int run_open_fd(struct cpni_blobs *blobs, struct job *job)
{
    int rc = cpni_blobs_open_fd(blobs, &job->ask.root, &job->answer.fd);
    return rc < 0 ? rc : cpni_blobs_find(blobs, &job->ask.root, &job->answer.info);
}

static int run_copy_out(struct cpni_blobs *blobs, struct job *job)
{
    const struct cpni_blob_job *ask = &job->ask;
    int rc = cpni_blob_work_copy_out(blobs, &ask->root, ask->path, ask->how, ask->mode, &job->work);
    return rc < 0 ? rc : step(blobs, job);
}

static int run_verify(struct cpni_blobs *blobs, struct job *job)
{
    int rc = cpni_blob_work_verify(blobs, &job->ask.root, &job->work);
    return rc < 0 ? rc : step(blobs, job);
}

static int run_remove(struct cpni_blobs *blobs, struct job *job)
{
    return cpni_blobs_remove(blobs, &job->ask.root);
}

static int run_drop_spool(struct cpni_blobs *blobs, struct job *job)
{
    (void)job;
    return cpni_blobs_drop_spool(blobs);
}

static int run(struct cpni_blobs *blobs, struct job *job)
{
    static int (*const table[])(struct cpni_blobs *, struct job *) = {
        [CPNI_BLOB_BEGIN] = run_begin,
        [CPNI_BLOB_WRITE_CHUNK] = run_write_chunk,
        [CPNI_BLOB_FINISH] = run_finish,
        [CPNI_BLOB_ABORT] = run_abort,
        [CPNI_BLOB_FIND] = run_find,
        [CPNI_BLOB_LIST] = run_list,
        [CPNI_BLOB_IMPORT_FILE] = run_import_file,
        [CPNI_BLOB_IMPORT_BYTES] = run_import_bytes,
        [CPNI_BLOB_READ_CHUNK] = run_read_chunk,
        [CPNI_BLOB_LEAVES] = run_leaves,
        [CPNI_BLOB_OPEN_FD] = run_open_fd,
        [CPNI_BLOB_COPY_OUT] = run_copy_out,
        [CPNI_BLOB_VERIFY] = run_verify,
        [CPNI_BLOB_REMOVE] = run_remove,
        [CPNI_BLOB_DROP_SPOOL] = run_drop_spool,
    };
    return table[job->ask.op](blobs, job);
}

/* ---- The helper thread ---- */

static void deliver(struct cpni_blob_async *async, struct job *job, int status)
{
    struct cpni_blob_answer *answer = &job->answer;
    answer->status = status;
    answer->usage_bytes = cpni_blobs_usage(async->blobs);
    if (status < 0) {
        memcpy(answer->detail, cpni_blobs_detail(async->blobs), sizeof answer->detail);
    } else if (job->ask.op == CPNI_BLOB_IMPORT_FILE || job->ask.op == CPNI_BLOB_IMPORT_BYTES) {
        answer->root = answer->info.root;
    }
    cpni_blob_work_free(job->work);
    job->work = NULL;
    pthread_mutex_lock(&async->mutex);
    if (async->done.first == NULL) {
        eventfd_write(async->fd, 1);
    }
    push(&async->done, job);
    put_first(&async->waiting, &job->behind);
    pthread_mutex_unlock(&async->mutex);
}

/* The bulk job about the same blob, if any. An import's blob has no name before its end. */
static struct job *bulk_of(struct cpni_blob_async *async, const struct job *job)
{
    for (struct job *bulk = async->bulk.first; bulk != NULL; bulk = bulk->next) {
        if (bulk->ask.op != CPNI_BLOB_IMPORT_FILE
            && memcmp(&bulk->ask.root, &job->ask.root, sizeof job->ask.root) == 0) {
            return bulk;
        }
    }
    return NULL;
}

static void run_first_slice(struct cpni_blob_async *async, struct job *job)
{
    struct job *bulk = bulk_of(async, job);
    if (bulk != NULL) {
        push(&bulk->behind, job);
        return;
    }
    int rc = run(async->blobs, job);
    if (rc == 1) {
        push(&async->bulk, job);
    } else {
        deliver(async, job, rc);
    }
}

static void run_bulk_slice(struct cpni_blob_async *async)
{
    struct job *job = take(&async->bulk);
    int rc = step(async->blobs, job);
    if (rc == 1) {
        push(&async->bulk, job);
    } else {
        deliver(async, job, rc);
    }
}

static void *serve(void *arg)
{
    struct cpni_blob_async *async = arg;
    for (;;) {
        pthread_mutex_lock(&async->mutex);
        while (!async->closing && async->waiting.first == NULL && async->bulk.first == NULL) {
            pthread_cond_wait(&async->wake, &async->mutex);
        }
        bool closing = async->closing;
        struct job *job = closing ? NULL : take(&async->waiting);
        pthread_mutex_unlock(&async->mutex);
        if (closing) {
            return NULL;
        }
        if (job != NULL) {
            run_first_slice(async, job);
        }
        if (async->bulk.first != NULL) {
            run_bulk_slice(async);
        }
    }
}

/* ---- The owner thread ---- */

/* The host's signals are not for a thread that it does not know. */
static int start_thread(struct cpni_blob_async *async)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&async->thread, NULL, serve, async);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? 0 : CPN_ENOMEM;
}

int cpni_blob_async_open(struct cpni_blobs *blobs, size_t jobs_max, uint64_t bytes_max, struct cpni_blob_async **out)
{
    struct cpni_blob_async *async = cpni_calloc(1, sizeof *async);
    if (async == NULL) {
        return CPN_ENOMEM;
    }
    async->blobs = blobs;
    async->jobs_max = jobs_max != 0 ? jobs_max : CPNI_BLOB_JOBS_MAX;
    async->bytes_max = bytes_max != 0 ? bytes_max : CPNI_BLOB_JOB_BYTES_MAX;
    async->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (async->fd < 0) {
        cpni_free(async);
        return CPN_EIO;
    }
    pthread_mutex_init(&async->mutex, NULL);
    pthread_cond_init(&async->wake, NULL);
    int rc = start_thread(async);
    if (rc < 0) {
        pthread_cond_destroy(&async->wake);
        pthread_mutex_destroy(&async->mutex);
        close(async->fd);
        cpni_free(async);
        return rc;
    }
    *out = async;
    return 0;
}

int cpni_blob_async_fd(const struct cpni_blob_async *async)
{
    return async->fd;
}

size_t cpni_blob_async_pending(const struct cpni_blob_async *async)
{
    return async->pending;
}

/* What the job will hold in memory until its answer is popped. */
static uint64_t bytes_of(const struct cpni_blob_job *ask)
{
    uint64_t bytes = ask->payload != NULL ? ask->payload->size : 0;
    return ask->op == CPNI_BLOB_READ_CHUNK || ask->op == CPNI_BLOB_LEAVES ? bytes + CPNI_CHUNK_BYTES : bytes;
}

static bool well_formed(const struct cpni_blob_job *ask)
{
    switch (ask->op) {
    case CPNI_BLOB_WRITE_CHUNK:
    case CPNI_BLOB_IMPORT_BYTES:
        return ask->payload != NULL;
    case CPNI_BLOB_IMPORT_FILE:
    case CPNI_BLOB_COPY_OUT:
        return ask->path != NULL;
    default:
        return (unsigned)ask->op <= CPNI_BLOB_DROP_SPOOL;
    }
}

int cpni_blob_async_submit(struct cpni_blob_async *async, const struct cpni_blob_job *ask)
{
    if (!well_formed(ask)) {
        return CPN_EINVAL;
    }
    uint64_t bytes = bytes_of(ask);
    /* One that is larger than the bound alone goes through when nothing else does. */
    if (async->pending >= async->jobs_max || (async->bytes != 0 && async->bytes + bytes > async->bytes_max)) {
        return CPN_EBUSY;
    }
    struct job *job = cpni_calloc(1, sizeof *job);
    char *path = ask->path != NULL ? cpni_strdup(ask->path) : NULL;
    if (job == NULL || (ask->path != NULL && path == NULL)) {
        cpni_free(job);
        cpni_free(path);
        return CPN_ENOMEM;
    }
    job->ask = *ask;
    job->ask.path = path;
    job->ask.payload = cpni_bytes_ref(ask->payload);
    job->bytes = bytes;
    job->answer = (struct cpni_blob_answer) {
        .op = ask->op, .tag = ask->tag, .user = ask->user, .root = ask->root, .index = ask->index, .fd = -1
    };
    async->pending++;
    async->bytes += bytes;
    pthread_mutex_lock(&async->mutex);
    push(&async->waiting, job);
    pthread_cond_signal(&async->wake);
    pthread_mutex_unlock(&async->mutex);
    return 0;
}

int cpni_blob_async_pop(struct cpni_blob_async *async, struct cpni_blob_answer *out)
{
    pthread_mutex_lock(&async->mutex);
    struct job *job = take(&async->done);
    if (async->done.first == NULL) {
        eventfd_t count;
        eventfd_read(async->fd, &count);
    }
    pthread_mutex_unlock(&async->mutex);
    if (job == NULL) {
        return 0;
    }
    async->pending--;
    async->bytes -= job->bytes;
    *out = job->answer;
    job->answer = (struct cpni_blob_answer) { .fd = -1 }; /* its contents are the caller's now */
    free_job(job);
    return 1;
}

void cpni_blob_async_close(struct cpni_blob_async *async)
{
    if (async == NULL) {
        return;
    }
    pthread_mutex_lock(&async->mutex);
    async->closing = true;
    pthread_cond_signal(&async->wake);
    pthread_mutex_unlock(&async->mutex);
    pthread_join(async->thread, NULL);
    free_queue(&async->bulk);
    free_queue(&async->waiting);
    free_queue(&async->done);
    cpni_blobs_close(async->blobs);
    pthread_cond_destroy(&async->wake);
    pthread_mutex_destroy(&async->mutex);
    close(async->fd);
    cpni_free(async);
}
