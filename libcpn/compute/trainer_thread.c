/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The thread of a lane: starts its runner, speaks with it, posts what it says, reaps it. PDEATHSIG goes by thread, and
 * this one lives as long as its runner. What a runner says is checked: it may be a process that was taken over. */
#include "trainer_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utlist.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "core/delta8.h"

/* ---- posting ---- */

/* What was said must not get lost, or the session would wait for it: while memory is short, the lane waits. */
static struct cpni_said *new_said(const struct cpni_trainer_thread *lane)
{
    struct cpni_said *said = cpni_calloc(1, sizeof *said);
    while (said == NULL && !atomic_load(&lane->ended)) {
        poll(NULL, 0, 100);
        said = cpni_calloc(1, sizeof *said);
    }
    return said;
}

/* Takes what `trained` owns. */
static void post(struct cpni_trainer_thread *lane, struct cpni_trained *trained)
{
    struct cpni_trainers *owner = lane->owner;
    bool heartbeat = trained->said == CPNI_SAID_PROGRESS && !trained->epoch_done;
    struct cpni_said *said = new_said(lane);
    trained->ticket = lane->ticket;
    trained->probe = lane->probe;
    pthread_mutex_lock(&owner->lock);
    bool ended = atomic_load(&lane->ended);
    if (ended || (heartbeat && lane->progress != NULL)) {
        if (!ended) {
            lane->progress->trained
                = *trained; /* the one before was not read: this says more. Heartbeats own nothing */
        }
        cpni_trained_clear(trained);
        cpni_free(said);
        pthread_mutex_unlock(&owner->lock);
        return;
    }
    *said = (struct cpni_said) { .by = lane, .trained = *trained };
    if (owner->said == NULL) {
        eventfd_write(owner->ready_fd, 1);
    }
    DL_APPEND(owner->said, said);
    lane->progress = heartbeat ? said : NULL;
    lane->unread++;
    if (trained->said == CPNI_SAID_ROUND) {
        lane->busy = false;
    }
    pthread_mutex_unlock(&owner->lock);
    *trained = (struct cpni_trained) { 0 };
}

static int explain(struct cpni_trained *out, int code, const char *text)
{
    out->code = code;
    snprintf(out->detail, sizeof out->detail, "%s", text);
    return code;
}

/* ---- waiting ---- */

/* Until the runner says something (1), or there is an order to look at (0). CPN_ECANCELLED when the lane was ended. */
static int wait_for(struct cpni_trainer_thread *lane)
{
    struct cpni_trainers *owner = lane->owner;
    pthread_mutex_lock(&owner->lock);
    lane->stalled = lane->unread >= CPNI_TRAINERS_UNREAD_MAX;
    bool stalled = lane->stalled;
    pthread_mutex_unlock(&owner->lock);
    struct pollfd fds[]
        = { { .fd = lane->wake_fd, .events = POLLIN }, { .fd = stalled ? -1 : lane->runner.fd, .events = POLLIN } };
    while (poll(fds, 2, -1) < 0 && errno == EINTR) { }
    if (fds[0].revents != 0) {
        eventfd_t value;
        eventfd_read(lane->wake_fd, &value);
    }
    return atomic_load(&lane->ended) ? CPN_ECANCELLED : fds[1].revents != 0;
}

/* What the runner says next. CPN_ECRASHED when it ended or talks nonsense. */
static int receive(struct cpni_trainer_thread *lane, struct cpni_trainer_answer *answer)
{
    int rc;
    while ((rc = wait_for(lane)) == 0) { }
    if (rc < 0) {
        return rc;
    }
    ssize_t got = cpni_runner_receive(&lane->runner, answer, sizeof *answer);
    if (got == CPN_EAGAIN) {
        return receive(lane, answer);
    }
    answer->detail[sizeof answer->detail - 1] = 0;
    answer->device[sizeof answer->device - 1] = 0;
    answer->fingerprint[sizeof answer->fingerprint - 1] = 0;
    return got == (ssize_t)sizeof *answer && answer->version == CPNI_TRAINER_VERSION ? 0 : CPN_ECRASHED;
}

static int tell(struct cpni_trainer_thread *lane, const void *packet, size_t size, int fd)
{
    return cpni_runner_send(&lane->runner, packet, size, NULL, 0, fd) < 0 ? CPN_ECRASHED : 0;
}

/* ---- opening ---- */

/* The memory that both sides write into. The descriptor is the caller's. */
static int make_region(struct cpni_trainer_thread *lane, int *out)
{
    int fd = memfd_create("cpn-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return CPN_ENOMEM;
    }
    lane->region = cpni_trainer_region(lane->weights, lane->state_bytes);
    void *map = MAP_FAILED;
    if (ftruncate(fd, (off_t)lane->region.size) == 0
        && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
        map = mmap(NULL, lane->region.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (map == MAP_FAILED) {
        close(fd);
        return CPN_ENOMEM;
    }
    lane->map = map;
    *out = fd;
    return 0;
}

static int share(struct cpni_trainer_thread *lane, struct cpni_trained *out)
{
    int fd, rc = make_region(lane, &fd);
    if (rc < 0) {
        return explain(out, rc, "no memory for the weights of the lane");
    }
    struct cpni_trainer_share packet
        = { CPNI_TRAINER_VERSION, CPNI_TRAINER_SHARE_PACKET, lane->region.size, lane->state_fd >= 0 };
    rc = tell(lane, &packet, sizeof packet, fd);
    close(fd);
    if (rc == 0 && lane->state_fd >= 0) {
        packet = (struct cpni_trainer_share) { CPNI_TRAINER_VERSION, CPNI_TRAINER_STATE_PACKET, lane->state_size, 0 };
        rc = tell(lane, &packet, sizeof packet, lane->state_fd);
    }
    return rc;
}

static int failed_there(const struct cpni_trainer_answer *answer, struct cpni_trained *out)
{
    return explain(out, answer->code, answer->detail[0] != 0 ? answer->detail : cpn_strerror(answer->code));
}

static int open_lane(struct cpni_trainer_thread *lane, struct cpni_trained *out)
{
    struct cpni_trainer_answer answer;
    int rc = tell(lane, &lane->open, sizeof lane->open, lane->dataset_fd);
    rc = rc < 0 ? rc : receive(lane, &answer);
    if (rc < 0 || answer.type != CPNI_TRAINER_SIZED) {
        return rc < 0 ? rc : CPN_ECRASHED;
    }
    if (answer.code < 0) {
        return failed_there(&answer, out);
    }
    lane->weights = answer.weights;
    lane->state_bytes = answer.state_bytes;
    if (answer.weights - 1 >= CPN_TRAINER_WEIGHTS_MAX || answer.state_bytes > 8 * CPNI_VECTOR_BYTES_MAX) {
        return CPN_ECRASHED;
    }
    rc = share(lane, out);
    rc = rc < 0 ? rc : receive(lane, &answer);
    if (rc < 0 || answer.type != CPNI_TRAINER_OPENED) {
        return rc < 0 ? rc : CPN_ECRASHED;
    }
    if (answer.code < 0) {
        return failed_there(&answer, out);
    }
    out->round = answer.round;
    out->reproducible = answer.reproducible != 0;
    snprintf(out->device, sizeof out->device, "%s", answer.device);
    snprintf(out->fingerprint, sizeof out->fingerprint, "%s", answer.fingerprint);
    return 0;
}

/* ---- rounds ---- */

static int read_vector(struct cpni_trainer_thread *lane, const struct cpni_round_job *job, struct cpni_trained *out)
{
    const uint64_t size = job->encoding != 0 ? cpni_delta8_size(lane->weights) : lane->weights * sizeof(float);
    uint8_t *in = lane->map + lane->region.in_at;
    if ((job->vector != NULL ? job->vector->size : job->vector_size) != size) {
        return explain(out, CPN_EBADINPUT, "the weights to begin from are not of this model's size");
    }
    if (job->vector != NULL) {
        memcpy(in, job->vector->data, size);
        return 0;
    }
    for (uint64_t at = 0; at < size;) {
        ssize_t got = pread(job->vector_fd, in + at, size - at, (off_t)at);
        if (got <= 0 && !(got < 0 && errno == EINTR)) {
            return explain(out, CPN_EIO, "the weights to begin from cannot be read");
        }
        at += got > 0 ? (uint64_t)got : 0;
    }
    return 0;
}

/* A copy of what the runner left in the region: it goes on writing there. */
static int copy_out(
    struct cpni_trainer_thread *lane, const struct cpni_trainer_answer *answer, struct cpni_trained *out)
{
    if (answer->vector_bytes > lane->weights * sizeof(float)
        || (answer->state_bytes != 0 && answer->state_bytes != lane->state_bytes)) {
        return CPN_ECRASHED;
    }
    if (answer->vector_bytes != 0) {
        out->vector = cpni_bytes_copy(lane->map + lane->region.out_at, answer->vector_bytes);
    }
    if (answer->state_bytes != 0) {
        out->state = cpni_bytes_copy(lane->map + lane->region.state_at, answer->state_bytes);
    }
    if ((answer->vector_bytes != 0 && out->vector == NULL) || (answer->state_bytes != 0 && out->state == NULL)) {
        return explain(out, CPN_ENOMEM, "no memory for what the round came to");
    }
    return 0;
}

static struct cpni_trained told(enum cpni_trainer_word said, const struct cpni_trainer_answer *answer)
{
    return (struct cpni_trained) { .said = said,
        .round = answer->round,
        .step = answer->step,
        .steps = answer->steps,
        .samples = answer->samples,
        .correct = answer->correct,
        .loss_micro = answer->loss_micro,
        .rate = answer->rate,
        .epoch = answer->epoch,
        .epoch_done = answer->epoch_done != 0,
        .tested = answer->tested,
        .tested_correct = answer->tested_correct,
        .tested_loss_micro = answer->tested_loss_micro,
        .encoding = answer->encoding,
        .elapsed_us = answer->elapsed_us };
}

static struct cpni_bytes *take_gradient(struct cpni_trainer_thread *lane)
{
    pthread_mutex_lock(&lane->owner->lock);
    struct cpni_bytes *gradient = lane->gradient;
    lane->gradient = NULL;
    pthread_mutex_unlock(&lane->owner->lock);
    return gradient;
}

/* The mean of all peers' gradients, and on with it. */
static int exchange(
    struct cpni_trainer_thread *lane, const struct cpni_trainer_answer *answer, struct cpni_trained *out)
{
    struct cpni_trained step = told(CPNI_SAID_GRADIENT, answer);
    struct cpni_bytes *mean;
    int rc = copy_out(lane, answer, &step);
    if (rc < 0) {
        cpni_trained_clear(&step);
        return explain(out, rc, cpn_strerror(rc));
    }
    post(lane, &step);
    while ((mean = take_gradient(lane)) == NULL) {
        rc = wait_for(lane);
        if (rc != 0) {
            return rc < 0 ? rc : CPN_ECRASHED; /* it has nothing to say now: it ended */
        }
    }
    rc = mean->size == lane->weights * sizeof(float)
        ? 0
        : explain(out, CPN_EBADINPUT, "the gradient is not of this model's size");
    if (rc == 0) {
        memcpy(lane->map + lane->region.in_at, mean->data, mean->size);
    }
    cpni_bytes_unref(mean);
    const struct cpni_trainer_share packet = { CPNI_TRAINER_VERSION, CPNI_TRAINER_APPLY_PACKET, 0, 0 };
    return rc < 0 ? rc : tell(lane, &packet, sizeof packet, -1);
}

static int finish_round(
    struct cpni_trainer_thread *lane, const struct cpni_trainer_answer *answer, struct cpni_trained *out)
{
    struct cpni_trained done = told(CPNI_SAID_ROUND, answer);
    int rc = answer->code < 0 ? failed_there(answer, &done) : copy_out(lane, answer, &done);
    if (rc < 0 && rc != CPN_EDIVERGED) {
        *out = done;
        return rc;
    }
    post(lane, &done);
    return 0;
}

/* Until the round is over. */
static int follow_round(struct cpni_trainer_thread *lane, struct cpni_trained *out)
{
    struct cpni_trainer_answer answer;
    for (;;) {
        int rc = receive(lane, &answer);
        if (rc == 0 && answer.type == CPNI_TRAINER_ROUNDED) {
            return finish_round(lane, &answer, out);
        }
        if (rc == 0 && answer.type == CPNI_TRAINER_PROGRESS) {
            struct cpni_trained progress = told(CPNI_SAID_PROGRESS, &answer);
            post(lane, &progress);
        } else if (rc == 0 && answer.type == CPNI_TRAINER_GRADIENT) {
            rc = exchange(lane, &answer, out);
        } else if (rc == 0) {
            rc = CPN_ECRASHED;
        }
        if (rc < 0) {
            return rc;
        }
    }
}

static void drop_order(struct cpni_round_job *job)
{
    cpni_bytes_unref(job->vector);
    if (job->vector_fd >= 0) {
        close(job->vector_fd);
    }
    *job = (struct cpni_round_job) { .vector_fd = -1 };
}

static int do_round(struct cpni_trainer_thread *lane, struct cpni_round_job *job, struct cpni_trained *out)
{
    const struct cpni_trainer_round packet = { .version = CPNI_TRAINER_VERSION,
        .type = CPNI_TRAINER_ROUND_PACKET,
        .round = job->round,
        .steps = job->steps,
        .has_vector = job->vector != NULL || job->vector_fd >= 0,
        .encoding = job->encoding,
        .evaluate = job->evaluate,
        .evaluate_after = job->evaluate_after,
        .state = job->state,
        .exchange = job->exchange,
        .replay = job->replay };
    *out = (struct cpni_trained) { .said = CPNI_SAID_ROUND, .round = job->round };
    int rc = packet.has_vector ? read_vector(lane, job, out) : 0;
    drop_order(job);
    rc = rc < 0 ? rc : tell(lane, &packet, sizeof packet, -1);
    return rc < 0 ? rc : follow_round(lane, out);
}

static bool take_order(struct cpni_trainer_thread *lane, struct cpni_round_job *job)
{
    pthread_mutex_lock(&lane->owner->lock);
    bool ordered = lane->ordered;
    if (ordered) {
        *job = lane->round;
        lane->ordered = false;
    }
    pthread_mutex_unlock(&lane->owner->lock);
    return ordered;
}

/* ---- its life ---- */

/* Open, then round after round. Ends with what went wrong; 0: a probe that went well, CPN_ECANCELLED: ended by the
 * caller. */
static int serve(struct cpni_trainer_thread *lane, struct cpni_trained *out)
{
    int rc = open_lane(lane, out);
    if (rc < 0 || lane->probe) {
        return rc;
    }
    post(lane, out);
    for (;;) {
        struct cpni_round_job job;
        if (take_order(lane, &job)) {
            rc = do_round(lane, &job, out);
        } else {
            *out = (struct cpni_trained) { .said = CPNI_SAID_ROUND };
            rc = wait_for(lane);
            rc = rc > 0 ? CPN_ECRASHED : rc; /* it speaks unasked: it ended */
        }
        if (rc < 0) {
            return rc;
        }
    }
}

static int spawn(struct cpni_trainer_thread *lane, struct cpni_trained *out)
{
    struct cpni_trainers *owner = lane->owner;
    struct cpni_runner runner;
    int rc = cpni_runner_spawn(owner->paths.runner, "--train", &runner, out->detail);
    if (rc < 0) {
        out->code = rc;
        return rc;
    }
    pthread_mutex_lock(&owner->lock);
    lane->runner = runner;
    lane->alive = true;
    pthread_mutex_unlock(&owner->lock);
    return 0;
}

static void end_runner(struct cpni_trainer_thread *lane, char *how, size_t room)
{
    pthread_mutex_lock(&lane->owner->lock); /* nobody may signal a process that is reaped */
    bool alive = lane->alive;
    lane->alive = false;
    pthread_mutex_unlock(&lane->owner->lock);
    if (alive) {
        cpni_runner_end(&lane->runner, how, room);
    }
}

static void close_all(struct cpni_trainer_thread *lane)
{
    if (lane->map != NULL) {
        munmap(lane->map, lane->region.size);
    }
    close(lane->dataset_fd);
    if (lane->state_fd >= 0) {
        close(lane->state_fd);
    }
}

static void explain_crash(struct cpni_trained *last, const char *how)
{
    char during[48] = "while it opened the lane";
    if (last->said != CPNI_SAID_OPEN && last->round == 0) {
        snprintf(during, sizeof during, "between two rounds");
    } else if (last->said != CPNI_SAID_OPEN) {
        snprintf(during, sizeof during, "in round %llu", (unsigned long long)last->round);
    }
    last->code = CPN_ECRASHED;
    snprintf(last->detail, sizeof last->detail, "the trainer's process ended %s (%s)", during, how);
}

void *cpni_trainer_thread_main(void *arg)
{
    struct cpni_trainer_thread *lane = arg;
    struct cpni_trained last = { .said = CPNI_SAID_OPEN };
    char how[64] = "gone";
    sigset_t all;
    sigfillset(&all); /* a host's signal handlers run on the host's threads */
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    int rc = spawn(lane, &last);
    rc = rc < 0 ? rc : serve(lane, &last);
    end_runner(lane, how, sizeof how);
    if (rc == CPN_ECRASHED) {
        explain_crash(&last, how);
    }
    close_all(lane);
    post(lane, &last); /* drops it when the lane was ended */
    pthread_mutex_lock(&lane->owner->lock);
    lane->exited = true;
    pthread_mutex_unlock(&lane->owner->lock);
    return NULL;
}
