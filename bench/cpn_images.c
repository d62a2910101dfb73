/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The network's side of the image benchmark: one client that submits photos and takes labels and annotated copies back.
 *
 *   cpn-images CONTEXT MODEL ROUNDS LABELS PAD PHOTO …
 *
 * PAD, if not 0: each submission is made as large as this, with trailing bytes that differ, so that none is the same as another.
 * One round goes through first, without the clock, so that every runner has its model. LABELS as for plain-images. */
#include <cpn/cpn.h>

#include "connect.h"
#include "labels.h"
#include "measure.h"

struct job {
    struct cpn_client *client;
    const char *model;
    char *const *photos;
    size_t photo_count, pad, submitted;
    struct labels *labels;
    size_t done, again;
    uint64_t output_bytes;
};

struct photo {
    struct job *job;
    size_t index;
};

static void done(struct cpn_task *task, void *arg)
{
    struct photo *photo = arg;
    struct job *job = photo->job;
    if (cpn_task_code(task) < 0) {
        fail("cpn-images: %s: %s", cpn_task_name(task), cpn_task_detail(task));
    }
    size_t count = 0;
    size_t size = 0;
    const struct cpn_label *labels = cpn_task_labels(task, &count);
    cpn_task_image(task, &size);
    job->labels[photo->index].size = 0;
    for (size_t i = 0; i < count; i++) {
        labels_add(&job->labels[photo->index], &labels[i]);
    }
    job->output_bytes += size;
    job->again += cpn_task_attempt(task) > 1;
    job->done++;
    free(photo);
    cpn_task_free(task);
}

static void *pad(void *data, size_t size, size_t room, size_t number)
{
    char *padded = realloc(data, room + sizeof number);
    if (padded == NULL) {
        fail("cpn-images: no memory");
    }
    memset(padded + size, 0, room - size);
    memcpy(padded + room - sizeof number, &number, sizeof number);
    return padded;
}

static void submit(struct job *job, size_t index)
{
    struct cpn_task_options options = CPN_TASK_OPTIONS_INIT;
    struct photo *photo = malloc(sizeof *photo);
    struct cpn_task *task;
    *photo = (struct photo){ job, index };
    void *data = read_file(job->photos[index], &options.data_size);
    if (options.data_size < job->pad) {
        data = pad(data, options.data_size, job->pad, job->submitted);
        options.data_size = job->pad;
    }
    job->submitted++;
    options.data = data;
    options.model = job->model;
    options.name = job->photos[index];
    options.annotate = true;
    options.done = done;
    options.done_arg = photo;
    int rc;
    while ((rc = cpn_client_submit(job->client, &options, &task)) == CPN_EBUSY) {
        cpn_client_dispatch(job->client, 1000);
    }
    if (rc < 0) {
        fail("cpn-images: %s: %s", options.name, cpn_client_detail(job->client));
    }
    free(data);
    cpn_client_dispatch(job->client, 0);
}

static void run(struct job *job, size_t rounds)
{
    job->done = 0;
    job->again = 0;
    job->output_bytes = 0;
    const size_t count = job->photo_count * rounds;
    for (size_t i = 0; i < count; i++) {
        submit(job, i % job->photo_count);
    }
    while (job->done < count) {
        int rc = cpn_client_dispatch(job->client, 1000);
        if (rc < 0) {
            fail("cpn-images: %s", cpn_client_detail(job->client));
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        fail("cpn-images CONTEXT MODEL ROUNDS LABELS PAD PHOTO …");
    }
    struct job job = { .model = argv[2], .photos = argv + 6, .photo_count = (size_t)(argc - 6) };
    job.pad = strtoul(argv[5], NULL, 10);
    job.client = connect_client(argv[1]);
    const size_t rounds = strtoul(argv[3], NULL, 10);
    job.labels = calloc(job.photo_count, sizeof *job.labels);
    run(&job, 1);
    double start = now_s();
    run(&job, rounds);
    double seconds = now_s() - start;
    labels_write(argv[4], job.labels, job.photo_count);
    printf("images_s=%.3f output_bytes=%llu retried=%zu\n", (double)job.done / seconds, (unsigned long long)job.output_bytes, job.again);
    cpn_client_close(job.client);
    free(job.labels);
    return 0;
}
