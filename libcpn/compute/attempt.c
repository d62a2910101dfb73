/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See attempt.h. */
#include "attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "base/str.h"
#include "compute/runner_proto.h"

/* ---- the job's copy ---- */

/* A backend's name becomes part of a path: nothing but what a file name of ours has. */
static bool good_backend_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");
    return length > 0 && length < 64 && name[length] == 0 && name[0] != '.';
}

static int make_load_packet(const struct cpni_pool_model *model, const char *plugins, struct cpni_buf *out)
{
    struct cpni_runner_load load = { .head = { CPNI_RUNNER_VERSION, CPNI_RUNNER_LOAD } };
    load.param_count = (uint32_t)model->param_count;
    cpni_buf_append(out, &load, sizeof load);
    cpni_buf_printf(out, "%s/cpn-backend-%s.so%c", plugins, model->backend, 0);
    cpni_buf_append(out, model->dir, strlen(model->dir) + 1);
    for (size_t i = 0; i < model->param_count; i++) {
        cpni_buf_append(out, model->params[i].key, strlen(model->params[i].key) + 1);
        cpni_buf_append(out, model->params[i].value, strlen(model->params[i].value) + 1);
    }
    if (out->failed) {
        return CPN_ENOMEM;
    }
    load.text_bytes = out->size - sizeof load;
    memcpy(out->data, &load, sizeof load);
    return load.text_bytes <= CPNI_RUNNER_LOAD_MAX ? 0 : CPN_ETOOBIG;
}

static int copy_model(const struct cpni_pool_model *model, const char *plugins, struct cpni_attempt_job *out)
{
    if (model->key == NULL || model->dir == NULL || model->backend == NULL || !good_backend_name(model->backend)
        || model->param_count > CPNI_RUNNER_PARAMS_MAX) {
        return CPN_EINVAL;
    }
    out->key = cpni_strdup(model->key);
    out->backend = cpni_strdup(model->backend);
    return out->key != NULL && out->backend != NULL ? make_load_packet(model, plugins, &out->load) : CPN_ENOMEM;
}

int cpni_attempt_job_copy(const struct cpni_job *job, const char *plugins, struct cpni_attempt_job *out)
{
    struct cpni_attempt_job copy = { .job = *job };
    copy.job.input = NULL;
    copy.job.input_fd = -1;
    int rc = job->handler == NULL ? copy_model(&job->model, plugins, &copy) : 0;
    copy.input_name = rc == 0 ? cpni_strdup(job->input_name != NULL ? job->input_name : "") : NULL;
    if (rc == 0 && copy.input_name == NULL) {
        rc = CPN_ENOMEM;
    }
    if (rc == 0 && job->input == NULL && job->input_size != 0) {
        copy.job.input_fd = fcntl(job->input_fd, F_DUPFD_CLOEXEC, 3);
        rc = copy.job.input_fd < 0 ? CPN_EINVAL : 0;
    }
    if (rc < 0) {
        cpni_attempt_job_clear(&copy);
        return rc;
    }
    copy.job.input = cpni_bytes_ref(job->input);
    copy.job.input_size = job->input != NULL ? job->input->size : job->input_size;
    copy.job.input_name = copy.input_name;
    copy.job.model = (struct cpni_pool_model) { .key = copy.key, .backend = copy.backend };
    *out = copy;
    return 0;
}

void cpni_attempt_job_clear(struct cpni_attempt_job *job)
{
    cpni_bytes_unref(job->job.input);
    if (job->job.input_fd >= 0) {
        close(job->job.input_fd);
    }
    cpni_free(job->key);
    cpni_free(job->backend);
    cpni_free(job->input_name);
    cpni_buf_free(&job->load);
    *job = (struct cpni_attempt_job) { .job.input_fd = -1 };
}

/* ---- outcomes ---- */

void cpni_outcome_fail(struct cpni_outcome *out, int code, enum cpni_outcome_class class, const char *format, ...)
{
    out->code = code;
    out->class = class;
    va_list list;
    va_start(list, format);
    vsnprintf(out->detail, sizeof out->detail, format, list);
    va_end(list);
}

enum cpni_outcome_class cpni_outcome_class(int code)
{
    switch (code) {
    case CPN_OK:
        return CPNI_OUTCOME_OK;
    case CPN_EBADINPUT:
        return CPNI_OUTCOME_BAD_INPUT;
    case CPN_EMODEL:
    case CPN_ENOTSUP:
        return CPNI_OUTCOME_MODEL;
    case CPN_ECRASHED:
        return CPNI_OUTCOME_CRASH;
    case CPN_ETIMEDOUT:
        return CPNI_OUTCOME_TIMEOUT;
    case CPN_ECANCELLED:
        return CPNI_OUTCOME_CANCELLED;
    default:
        return CPNI_OUTCOME_INTERNAL;
    }
}

void cpni_outcome_clear(struct cpni_outcome *outcome)
{
    if (outcome != NULL) {
        cpni_free(outcome->labels);
        cpni_bytes_unref(outcome->output);
        outcome->labels = NULL;
        outcome->label_count = 0;
        outcome->output = NULL;
    }
}

/* Text from a runner goes to a terminal some day: no control characters, always ended. */
static void clean_text(char *text, size_t room)
{
    text[room - 1] = 0;
    for (; *text != 0; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            *text = ' ';
        }
    }
}

/* ---- waiting ---- */

static bool crashed(struct cpni_outcome *out)
{
    cpni_outcome_fail(out, CPN_ECRASHED, CPNI_OUTCOME_CRASH, "%s", "");
    return false;
}

/* A packet of at least `least` bytes and that type; 0 when there is none, with the outcome set. */
static size_t await(const struct cpni_attempt *attempt, int64_t deadline_us, const char *late, struct cpni_outcome *out)
{
    for (;;) {
        switch (cpni_runner_wait(attempt->runner, attempt->wake_fd, deadline_us)) {
        case CPNI_WAIT_TIMEOUT:
            cpni_outcome_fail(out, CPN_ETIMEDOUT, CPNI_OUTCOME_TIMEOUT, "%s; its runner was killed", late);
            return 0;
        case CPNI_WAIT_WOKEN: {
            eventfd_t value;
            eventfd_read(attempt->wake_fd, &value);
            if (atomic_load(attempt->stop)) {
                cpni_outcome_fail(out, CPN_ECANCELLED, CPNI_OUTCOME_CANCELLED, "cancelled; its runner was killed");
                return 0;
            }
            break;
        }
        case CPNI_WAIT_READY: {
            ssize_t size = cpni_runner_receive(attempt->runner, attempt->packet, CPNI_RUNNER_PACKET_MAX);
            if (size == CPN_EAGAIN) {
                break;
            }
            const struct cpni_runner_head *head = (const struct cpni_runner_head *)attempt->packet;
            if (size < (ssize_t)sizeof *head || head->version != CPNI_RUNNER_VERSION) {
                crashed(out);
                return 0;
            }
            return (size_t)size;
        }
        }
    }
}

/* ---- load ---- */

bool cpni_attempt_load(const struct cpni_attempt *attempt, int64_t timeout_us, struct cpni_outcome *out)
{
    const struct cpni_attempt_job *job = attempt->job;
    int64_t deadline_us = cpni_now_us() + timeout_us;
    if (job->job.deadline_us != 0 && job->job.deadline_us < deadline_us) {
        deadline_us = job->job.deadline_us;
    }
    if (cpni_runner_send(attempt->runner, job->load.data, job->load.size, NULL, 0, -1) != 0) {
        return crashed(out);
    }
    size_t size = await(attempt, deadline_us, "the model was not loaded in time", out);
    if (size == 0) {
        return false;
    }
    struct cpni_runner_loaded *loaded = (struct cpni_runner_loaded *)attempt->packet;
    if (size != sizeof *loaded || loaded->head.type != CPNI_RUNNER_LOADED) {
        return crashed(out);
    }
    if (loaded->code != 0) {
        enum cpni_outcome_class class = cpni_outcome_class(loaded->code);
        clean_text(loaded->detail, sizeof loaded->detail);
        /* Only these two can be told about a load: a hostile model may not pass for a bad photo. */
        class = class == CPNI_OUTCOME_MODEL ? class : CPNI_OUTCOME_INTERNAL;
        cpni_outcome_fail(out, loaded->code < 0 ? loaded->code : CPN_EINTERNAL, class, "%s", loaded->detail);
        return false;
    }
    return true;
}

/* ---- run ---- */

/* The input in a memfd: the runner maps it, and can harm nobody's copy but this one. */
static int copy_to_memfd(const struct cpni_bytes *input)
{
    int fd = memfd_create("cpn-input", MFD_CLOEXEC);
    for (size_t done = 0; fd >= 0 && done < input->size;) {
        ssize_t wrote = write(fd, input->data + done, input->size - done);
        if (wrote < 0 && errno != EINTR) {
            close(fd);
            return -1;
        }
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    return fd;
}

static int send_input(const struct cpni_attempt *attempt, struct cpni_outcome *out)
{
    const struct cpni_job *job = &attempt->job->job;
    struct cpni_runner_run run = { .head = { CPNI_RUNNER_VERSION, CPNI_RUNNER_RUN }, .annotate = job->annotate };
    run.input_bytes = job->input_size;
    cpni_str_copy(cpni_str(job->input_name), run.name, sizeof run.name);
    if (job->input_size > CPNI_RUNNER_INPUT_MAX) {
        cpni_outcome_fail(out, CPN_EBADINPUT, CPNI_OUTCOME_BAD_INPUT,
            "input of %llu bytes: at most %u can be processed", (unsigned long long)job->input_size,
            CPNI_RUNNER_INPUT_MAX);
        return CPN_EBADINPUT;
    }
    if (job->input_fd < 0 && job->input_size <= CPNI_RUNNER_INLINE_MAX) {
        return cpni_runner_send(
            attempt->runner, &run, sizeof run, job->input != NULL ? job->input->data : NULL, job->input_size, -1);
    }
    int fd = job->input_fd >= 0 ? job->input_fd : copy_to_memfd(job->input);
    if (fd < 0) {
        cpni_outcome_fail(out, CPN_ENOMEM, CPNI_OUTCOME_INTERNAL, "cannot hand %llu bytes of input to a runner: %s",
            (unsigned long long)job->input_size, strerror(errno));
        return CPN_ENOMEM;
    }
    run.described = 1;
    int rc = cpni_runner_send(attempt->runner, &run, sizeof run, NULL, 0, fd);
    if (fd != job->input_fd) {
        close(fd);
    }
    return rc;
}

static int take_labels(const struct cpni_runner_done *done, struct cpni_outcome *out)
{
    if (done->label_count == 0) {
        return 0;
    }
    struct cpn_label *labels = cpni_memdup(done + 1, done->label_count * sizeof *labels);
    if (labels == NULL) {
        return CPN_ENOMEM;
    }
    for (uint32_t i = 0; i < done->label_count; i++) {
        clean_text(labels[i].name, sizeof labels[i].name);
        if (!(labels[i].confidence >= 0)) { /* a NaN too */
            labels[i].confidence = 0;
        } else if (labels[i].confidence > 1) {
            labels[i].confidence = 1;
        }
    }
    out->labels = labels;
    out->label_count = done->label_count;
    return 0;
}

static int take_output(struct cpni_runner_done *done, struct cpni_buf *output, struct cpni_outcome *out)
{
    if (output->size == 0) {
        return 0;
    }
    out->output = cpni_bytes_take(output->data, output->size);
    if (out->output == NULL) {
        return CPN_ENOMEM;
    }
    *output = (struct cpni_buf) { 0 };
    clean_text(done->output_type, sizeof done->output_type);
    memcpy(out->output_type, done->output_type, sizeof out->output_type);
    return 0;
}

static bool take_done(struct cpni_runner_done *done, size_t size, struct cpni_buf *output, struct cpni_outcome *out)
{
    if (size < sizeof *done || done->label_count > CPN_RESULT_LABELS
        || size != sizeof *done + done->label_count * sizeof(struct cpn_label) || done->output_bytes != output->size) {
        return crashed(out);
    }
    if (done->code != 0) {
        clean_text(done->detail, sizeof done->detail);
        int code = done->code < 0 ? done->code : CPN_EINTERNAL;
        enum cpni_outcome_class class = cpni_outcome_class(code);
        bool final = class == CPNI_OUTCOME_BAD_INPUT || class == CPNI_OUTCOME_MODEL;
        cpni_outcome_fail(out, code, final ? class : CPNI_OUTCOME_INTERNAL, "%s",
            done->detail[0] != 0 ? done->detail : cpn_strerror(code));
        return final; /* after an internal error a new process is the clean state */
    }
    if (take_labels(done, out) != 0 || take_output(done, output, out) != 0) {
        cpni_outcome_clear(out);
        cpni_outcome_fail(out, CPN_ENOMEM, CPNI_OUTCOME_INTERNAL, "no memory for the result");
        return true;
    }
    out->width = done->width;
    out->height = done->height;
    out->timings.decode_us = done->decode_us;
    out->timings.infer_us = done->infer_us;
    out->timings.encode_us = done->encode_us;
    return true;
}

static bool receive_result(const struct cpni_attempt *attempt, struct cpni_buf *output, struct cpni_outcome *out)
{
    for (;;) {
        size_t size = await(attempt, attempt->job->job.deadline_us, "not finished by its deadline", out);
        if (size == 0) {
            return false;
        }
        const struct cpni_runner_head *head = (const struct cpni_runner_head *)attempt->packet;
        if (head->type == CPNI_RUNNER_DONE) {
            return take_done((struct cpni_runner_done *)attempt->packet, size, output, out);
        }
        if (head->type != CPNI_RUNNER_OUTPUT || size - sizeof *head > CPNI_OUTPUT_MAX - output->size) {
            return crashed(out);
        }
        if (cpni_buf_append(output, head + 1, size - sizeof *head) != 0) {
            cpni_outcome_fail(out, CPN_ENOMEM, CPNI_OUTCOME_INTERNAL, "no memory for the annotated image");
            return false;
        }
    }
}

bool cpni_attempt_run(const struct cpni_attempt *attempt, struct cpni_outcome *out)
{
    out->code = 0;
    out->class = CPNI_OUTCOME_OK;
    int rc = send_input(attempt, out);
    if (rc == CPN_EPROTO) {
        return crashed(out);
    }
    if (rc != 0) {
        return true; /* the runner has seen nothing of it */
    }
    struct cpni_buf output = { 0 };
    bool again = receive_result(attempt, &output, out);
    cpni_buf_free(&output);
    return again;
}
