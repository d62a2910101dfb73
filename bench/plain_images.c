/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The peer of the image benchmark: the same recogniser in plain processes, without a network. Each process loads the plug-in and the model
 * as a runner does, and then takes the next photo from a counter that all share, so that none is idle while photos are left: the most that
 * the machine's cores give. Photos are read, decoded, searched, drawn on and encoded, as in the network.
 *
 *   plain-images PLUGIN BUNDLE PROCESSES ROUNDS LABELS [KEY=VALUE …] -- PHOTO …
 *
 * LABELS is the file that the labels of the last round are written to. The clock starts when every process has its model. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cpn/backend.h>

#include "labels.h"
#include "measure.h"

#define PARAMS_MAX 64

struct shared { /* between the processes */
    atomic_uint loaded, go;
    atomic_size_t next;
    _Atomic uint64_t output_bytes;
};

struct job {
    const struct cpn_backend *backend;
    struct cpn_backend_bundle bundle;
    struct shared *shared;
    struct labels *labels; /* one a photo, shared */
    char *const *photos;
    size_t photo_count, rounds;
};

struct sink {
    struct labels *labels;
    uint64_t output_bytes;
    unsigned char *output; /* kept, as a result is; grows */
    size_t output_size, output_room;
};

static int take_label(void *arg, const struct cpn_label *label)
{
    labels_add(((struct sink *)arg)->labels, label);
    return 0;
}

static int take_output(void *arg, const void *data, size_t size, const char *type)
{
    struct sink *sink = arg;
    (void)type;
    if (sink->output_size + size > sink->output_room) {
        sink->output_room = sink->output_size + size;
        sink->output = realloc(sink->output, sink->output_room);
    }
    memcpy(sink->output + sink->output_size, data, size);
    sink->output_size += size;
    return 0;
}

static void take_image(void *arg, int32_t width, int32_t height)
{
    (void)arg, (void)width, (void)height;
}

static void take_timing(void *arg, uint64_t decode_us, uint64_t infer_us, uint64_t encode_us)
{
    (void)arg, (void)decode_us, (void)infer_us, (void)encode_us;
}

static void run_photo(const struct job *job, void *model, size_t index, struct sink *taken)
{
    const char *path = job->photos[index];
    size_t size = 0;
    char detail[CPN_BACKEND_DETAIL] = "";
    void *data = read_file(path, &size);
    taken->labels = &job->labels[index];
    taken->labels->size = 0;
    taken->output_size = 0;
    const struct cpn_backend_input input = { .size = sizeof input, .name = path, .data = data, .data_size = size, .annotate = 1 };
    const struct cpn_backend_sink sink = { sizeof sink, taken, take_label, take_output, take_image, take_timing };
    if (job->backend->run(model, &input, &sink, detail) < 0) {
        fail("plain-images: %s: %s", path, detail);
    }
    free(data);
    taken->output_bytes += taken->output_size;
}

static void run_process(struct job *job)
{
    void *model = NULL;
    char detail[CPN_BACKEND_DETAIL] = "";
    struct sink taken = { 0 };
    if (job->backend->load(&job->bundle, &model, detail) < 0) {
        fail("plain-images: %s", detail);
    }
    run_photo(job, model, 0, &taken); /* first-use costs are not what is measured, here and in the network */
    taken.output_bytes = 0;
    job->shared->loaded++;
    while (job->shared->go == 0) {
        usleep(100);
    }
    for (size_t i = job->shared->next++; i < job->photo_count * job->rounds; i = job->shared->next++) {
        run_photo(job, model, i % job->photo_count, &taken);
    }
    job->shared->output_bytes += taken.output_bytes;
}

static double run_all(struct job *job, unsigned processes)
{
    for (unsigned i = 0; i < processes; i++) {
        if (fork() == 0) {
            run_process(job);
            _Exit(0);
        }
    }
    while (job->shared->loaded < processes && waitpid(-1, NULL, WNOHANG) <= 0) {
        usleep(1000);
    }
    double start = now_s();
    job->shared->go = 1;
    int status = 0;
    while (wait(&status) > 0) {
        if (status != 0) {
            fail("plain-images: a process failed");
        }
    }
    return now_s() - start;
}

int main(int argc, char **argv)
{
    struct cpn_backend_param params[PARAMS_MAX];
    struct job job = { 0 };
    if (argc < 8) {
        fail("plain-images PLUGIN BUNDLE PROCESSES ROUNDS LABELS [KEY=VALUE …] -- PHOTO …");
    }
    job.bundle = (struct cpn_backend_bundle){ .size = sizeof job.bundle, .dir = argv[2], .params = params, .threads = 1 };
    int arg = 6;
    for (; arg < argc && strcmp(argv[arg], "--") != 0 && job.bundle.param_count < PARAMS_MAX; arg++) {
        char *value = strchr(argv[arg], '=');
        if (value == NULL) {
            fail("plain-images: %s: expected KEY=VALUE", argv[arg]);
        }
        *value = 0;
        params[job.bundle.param_count++] = (struct cpn_backend_param){ argv[arg], value + 1 };
    }
    void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    job.backend = plugin != NULL ? dlsym(plugin, CPN_BACKEND_SYMBOL) : NULL;
    if (job.backend == NULL) {
        fail("plain-images: %s", dlerror());
    }
    job.photos = argv + arg + 1;
    job.photo_count = (size_t)(argc - arg - 1);
    job.rounds = strtoul(argv[4], NULL, 10);
    job.shared = share_memory(sizeof *job.shared);
    job.labels = share_memory(job.photo_count * sizeof *job.labels);
    double seconds = run_all(&job, (unsigned)atoi(argv[3]));
    labels_write(argv[5], job.labels, job.photo_count);
    printf("images_s=%.3f output_bytes=%llu\n", (double)(job.photo_count * job.rounds) / seconds,
           (unsigned long long)job.shared->output_bytes);
    return 0;
}
