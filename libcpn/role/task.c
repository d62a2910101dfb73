/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Tasks as the client sees them (cpn/task.h). */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/alloc.h"
#include "role/client.h"
#include "role/clock.h"
#include "role/mapping.h"

#define INPUT_MAX ((size_t)1 << 31)

/* ---- completion ---- */

static void complete(struct cpn_task *task)
{
    struct cpn_client *client = task->client;
    task->complete = true;
    task->completed_us = cpni_clock_now().mono_us;
    if (task->done != NULL) {
        task->next_completed = NULL;
        *client->completed_end = task;
        client->completed_end = &task->next_completed;
    }
}

static void fail(struct cpn_task *task, int code, const char *text)
{
    task->code = code;
    snprintf(task->detail, sizeof task->detail, "%s", text);
    complete(task);
}

/* A callback may free its task, submit new ones and dispatch, so the list is popped before each. */
void cpni_task_callbacks(struct cpn_client *client)
{
    while (client->completed != NULL) {
        struct cpn_task *task = client->completed;
        client->completed = task->next_completed;
        if (client->completed == NULL) {
            client->completed_end = &client->completed;
        }
        task->next_completed = NULL;
        task->done(task, task->done_arg);
    }
}

/* ---- submitting ---- */

static int hand_to_core(struct cpn_task *task)
{
    const struct cpni_event event = { .type = CPNI_EV_SUBMIT, .submit = { .submit = task->submit } };
    int rc = cpni_client_step(task->client, &event);
    if (rc == 0) {
        task->core_knows = true;
    }
    return rc;
}

/* The input is in the spool: its name there is what the master asks for. */
static void spooled(struct cpn_client *client, void *user, struct cpni_blob_answer *answer)
{
    struct cpn_task *task = NULL;
    HASH_FIND(hh, client->tasks, user, sizeof(struct cpn_id), task);
    cpni_free(user);
    if (task != NULL && !task->complete && answer->status < 0) {
        fail(task, answer->status, answer->detail);
    } else if (task != NULL && !task->complete) { /* else freed or cancelled meanwhile */
        task->submit.input_root = answer->root;
        task->submit.input_size = answer->info.size;
        int rc = hand_to_core(task);
        if (rc < 0) {
            fail(task, rc, cpn_strerror(rc));
        }
    }
    cpni_client_imported(client);
}

static int spool_input(struct cpn_task *task, struct cpni_bytes *input)
{
    struct cpni_blob_job job = { .op = CPNI_BLOB_IMPORT_BYTES, .class = CPNI_BLOB_SPOOL, .payload = input };
    struct cpn_id *id = cpni_memdup(&task->id, sizeof task->id); /* the task may be freed before the answer comes */
    int rc = id != NULL ? cpni_client_job(task->client, &job, spooled, id) : CPN_ENOMEM;
    if (rc < 0) {
        cpni_free(id);
    } else {
        task->client->importing++;
    }
    return rc;
}

static int check(struct cpn_client *client, const struct cpn_task_options *options)
{
    if (options->model == NULL || options->model[0] == 0 || strlen(options->model) >= sizeof((struct cpn_task *)0)->model) {
        return cpni_client_fail(client, CPN_EINVAL, "a task needs the name of a model");
    }
    const struct cpni_msg named = { .type = CPNI_MSG_SUBMIT, .submit = { .model = cpni_str(options->model) } };
    if (cpni_client_check_texts(client, &named) < 0) {
        return CPN_EINVAL;
    }
    if (options->data == NULL || options->data_size == 0) {
        return cpni_client_fail(client, CPN_EINVAL, "%s is empty", options->name != NULL ? options->name : "the input");
    }
    if (options->data_size > INPUT_MAX) {
        return cpni_client_fail(client, CPN_ETOOBIG, "the input has %zu bytes; at most %zu are taken", options->data_size, INPUT_MAX);
    }
    return 0;
}

static struct cpn_task *new_task(struct cpn_client *client, const struct cpn_task_options *options)
{
    struct cpn_task *task = cpni_calloc(1, sizeof *task);
    if (task == NULL) {
        return NULL;
    }
    randombytes_buf(task->id.bytes, sizeof task->id.bytes);
    task->client = client;
    task->done = options->done;
    task->done_arg = options->done_arg;
    task->submitted_us = cpni_clock_now().mono_us;
    snprintf(task->model, sizeof task->model, "%s", options->model);
    cpni_client_line(options->name != NULL ? options->name : "", task->name, sizeof task->name);
    task->submit = (struct cpni_msg_submit){
        .task = task->id,
        .model = cpni_str(task->model),
        .input_name = cpni_str(task->name),
        .annotate = options->annotate,
        .priority = options->priority,
        .deadline_ms = options->deadline_ms,
        .max_attempts = options->max_attempts,
    };
    HASH_ADD(hh, client->tasks, id, sizeof task->id, task);
    return task;
}

static void drop_task(struct cpn_task *task)
{
    HASH_DEL(task->client->tasks, task);
    cpni_bytes_unref(task->image);
    cpni_free(task->labels);
    cpni_free(task);
}

int cpn_client_submit(struct cpn_client *client, const struct cpn_task_options *given, struct cpn_task **out)
{
    struct cpn_task_options options = { 0 };
    memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    int rc = check(client, &options);
    if (rc < 0) {
        return rc;
    }
    client->now = cpni_clock_now();
    struct cpni_bytes *input = cpni_bytes_copy(options.data, options.data_size);
    struct cpn_task *task = input != NULL ? new_task(client, &options) : NULL;
    if (task == NULL) {
        cpni_bytes_unref(input);
        return CPN_ENOMEM;
    }
    if (options.data_size <= CPNI_INLINE_BYTES_MAX) {
        task->submit.input = input;
        rc = hand_to_core(task); /* takes a reference of its own */
        task->submit.input = NULL;
    } else {
        rc = spool_input(task, input);
    }
    cpni_bytes_unref(input);
    if (rc < 0) {
        drop_task(task);
        return rc == CPN_EBUSY ? cpni_client_fail(client, rc, "too many unfinished tasks: wait for some of them") : rc;
    }
    *out = task;
    return 0;
}

/* ---- results ---- */

static int take_labels(struct cpn_task *task, const struct cpni_msg_result *result)
{
    task->labels = cpni_calloc(result->labels_count, sizeof *task->labels);
    if (task->labels == NULL) {
        return CPN_ENOMEM;
    }
    task->label_count = result->labels_count;
    for (size_t i = 0; i < task->label_count; i++) {
        const struct cpni_rec_LABEL *from = &result->labels[i];
        struct cpn_label *to = &task->labels[i];
        cpni_str_copy(from->name, to->name, sizeof to->name);
        to->confidence = from->confidence;
        to->x = from->x;
        to->y = from->y;
        to->width = from->width;
        to->height = from->height;
    }
    return 0;
}

static void take_figures(struct cpn_task *task, const struct cpni_msg_result *result)
{
    task->code = result->code;
    cpni_str_copy(result->text, task->detail, sizeof task->detail);
    cpni_str_copy(result->node, task->answered_by, sizeof task->answered_by);
    cpni_str_copy(result->model, task->answered_model, sizeof task->answered_model);
    task->version = result->version;
    task->attempt = result->attempt;
    task->width = result->width;
    task->height = result->height;
    task->image_type = result->image_type;
    task->timings = (struct cpn_timings){
        .queued_us = result->queued_us,
        .waiting_us = result->waiting_us,
        .load_us = result->load_us,
        .decode_us = result->decode_us,
        .infer_us = result->infer_us,
        .encode_us = result->encode_us,
    };
}

/* The core has the blob removed right behind this job; the descriptor stays readable. */
static void image_opened(struct cpn_client *client, void *user, struct cpni_blob_answer *answer)
{
    struct cpn_task *task = NULL;
    HASH_FIND(hh, client->tasks, user, sizeof(struct cpn_id), task);
    cpni_free(user);
    if (answer->status == 0 && task != NULL && !task->complete) {
        task->image = cpni_mapping_open(answer->fd, (size_t)answer->info.size);
    }
    if (task == NULL || task->complete) {
        return;
    }
    if (task->image == NULL) {
        fail(task, answer->status < 0 ? answer->status : CPN_ENOMEM, answer->status < 0 ? answer->detail : "no room for the image");
    } else {
        complete(task);
    }
}

static bool fetch_image(struct cpn_task *task, const struct cpni_msg_result *result)
{
    struct cpni_blob_job job = { .op = CPNI_BLOB_OPEN_FD, .root = result->image_root };
    struct cpn_id *id = cpni_memdup(&task->id, sizeof task->id);
    if (id == NULL || cpni_client_job(task->client, &job, image_opened, id) < 0) {
        cpni_free(id);
        return false;
    }
    return true;
}

void cpni_task_result(struct cpn_client *client, const struct cpni_msg_result *result)
{
    struct cpn_task *task = NULL;
    HASH_FIND(hh, client->tasks, &result->task, sizeof result->task, task);
    if (task == NULL || task->complete) {
        return; /* freed by the program meanwhile */
    }
    take_figures(task, result);
    if (take_labels(task, result) < 0) {
        fail(task, CPN_ENOMEM, "no room for the labels");
    } else if (result->image == NULL && result->image_size != 0 && fetch_image(task, result)) {
        return;
    } else {
        task->image = cpni_bytes_ref(result->image);
        complete(task);
    }
}

void cpni_task_refused(struct cpn_client *client, const struct cpni_msg_refused *refused)
{
    struct cpn_task *task = NULL;
    HASH_FIND(hh, client->tasks, &refused->task, sizeof refused->task, task);
    if (task != NULL && !task->complete) {
        char text[CPN_DETAIL];
        fail(task, refused->code, cpni_str_copy(refused->text, text, sizeof text));
    }
}

/* ---- the program's side ---- */

/* By its id, because a done callback may free the task that is waited for. */
static bool is_over(struct cpn_client *client, const struct cpn_id *id)
{
    struct cpn_task *task = NULL;
    HASH_FIND(hh, client->tasks, id, sizeof *id, task);
    return task == NULL || task->complete;
}

int cpn_task_wait(struct cpn_task *task, int timeout_ms)
{
    struct cpn_client *client = task->client;
    const struct cpn_id id = task->id;
    const int64_t until_us = cpni_client_until(timeout_ms);
    while (!is_over(client, &id)) {
        int left_ms = cpni_client_left_ms(until_us);
        int rc = cpn_client_dispatch(client, left_ms);
        if (rc < 0) {
            return rc;
        }
        if (left_ms == 0 && !is_over(client, &id)) {
            return CPN_ETIMEDOUT;
        }
    }
    return 0;
}

int cpn_task_cancel(struct cpn_task *task)
{
    if (task->complete) {
        return 0;
    }
    if (!task->core_knows) {
        fail(task, CPN_ECANCELLED, "cancelled");
        return 0;
    }
    const struct cpni_event event = { .type = CPNI_EV_CANCEL, .cancel = { .task = task->id } };
    task->client->now = cpni_clock_now();
    return cpni_client_step(task->client, &event);
}

static void forget_completion(struct cpn_task *task)
{
    struct cpn_client *client = task->client;
    struct cpn_task **at = &client->completed;
    while (*at != NULL && *at != task) {
        at = &(*at)->next_completed;
    }
    if (*at == task) {
        *at = task->next_completed;
        if (*at == NULL) {
            client->completed_end = at;
        }
    }
}

void cpn_task_free(struct cpn_task *task)
{
    if (task == NULL) {
        return;
    }
    if (!task->complete && task->core_knows) {
        cpn_task_cancel(task);
    }
    forget_completion(task);
    drop_task(task);
}

bool cpn_task_complete(const struct cpn_task *task)
{
    return task->complete;
}

int cpn_task_code(const struct cpn_task *task)
{
    return task->complete ? task->code : CPN_EAGAIN;
}

const char *cpn_task_detail(const struct cpn_task *task)
{
    return task->detail;
}

const struct cpn_label *cpn_task_labels(const struct cpn_task *task, size_t *count)
{
    *count = task->label_count;
    return task->labels;
}

const void *cpn_task_image(const struct cpn_task *task, size_t *size)
{
    *size = task->image != NULL ? task->image->size : 0;
    return task->image != NULL ? task->image->data : NULL;
}

const char *cpn_task_image_type(const struct cpn_task *task)
{
    static const char *const types[] = { "", "image/jpeg", "image/png", "image/webp" };
    return task->image != NULL && task->image_type < sizeof types / sizeof types[0] ? types[task->image_type] : "";
}

void cpn_task_image_size(const struct cpn_task *task, uint32_t *width, uint32_t *height)
{
    *width = task->width;
    *height = task->height;
}

const char *cpn_task_model(const struct cpn_task *task)
{
    return task->answered_model;
}

uint32_t cpn_task_version(const struct cpn_task *task)
{
    return task->version;
}

const char *cpn_task_node(const struct cpn_task *task)
{
    return task->answered_by;
}

uint32_t cpn_task_attempt(const struct cpn_task *task)
{
    return task->attempt;
}

const struct cpn_timings *cpn_task_timings(const struct cpn_task *task)
{
    return &task->timings;
}

uint64_t cpn_task_elapsed_us(const struct cpn_task *task)
{
    return task->complete ? (uint64_t)(task->completed_us - task->submitted_us) : 0;
}

const char *cpn_task_name(const struct cpn_task *task)
{
    return task->name;
}

struct cpn_id cpn_task_id(const struct cpn_task *task)
{
    return task->id;
}

void *cpn_task_arg(const struct cpn_task *task)
{
    return task->done_arg;
}
