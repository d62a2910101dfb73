/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The program of a runner: one plug-in, one model, many inputs, until its parent hangs up or dies. Also the other
 * things that need a plug-in and therefore a process of their own: --describe and --build here, --train in trainer_body.c. Must not know about
 * slots, deadlines or tasks. */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/backend.h>
#include <cpn/error.h>

#include "base/str.h"
#include "compute/pool.h"
#include "compute/runner_io.h"
#include "compute/runner_proto.h"
#include "compute/sandbox.h"
#include "compute/trainer_body.h"

struct body {
    const struct cpn_backend *backend;
    void *model;
    uint8_t *packet; /* CPNI_RUNNER_LOAD_MAX and a struct */
    struct cpni_runner_done done;
    struct cpn_label *labels; /* CPN_RESULT_LABELS */
};

static const struct cpn_backend *open_plugin(const char *path, char *detail)
{
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) {
        const char *why = dlerror();
        snprintf(detail, CPN_BACKEND_DETAIL, "cannot load the backend: %s", why != NULL ? why : path);
        return NULL;
    }
    const struct cpn_backend *backend = dlsym(object, CPN_BACKEND_SYMBOL);
    if (backend == NULL || backend->abi != CPN_BACKEND_ABI || backend->size < sizeof *backend) {
        snprintf(detail, CPN_BACKEND_DETAIL, "%s is no backend of this version (expected %s with ABI %d)", path,
            CPN_BACKEND_SYMBOL, CPN_BACKEND_ABI);
        return NULL;
    }
    return backend;
}

/* ---- the sink ---- */

static int take_label(void *arg, const struct cpn_label *label)
{
    struct body *body = arg;
    if (body->done.label_count == CPN_RESULT_LABELS) {
        return CPN_ETOOBIG;
    }
    body->labels[body->done.label_count++] = *label;
    return 0;
}

static int take_output(void *arg, const void *data, size_t size, const char *type)
{
    struct body *body = arg;
    const struct cpni_runner_head head = { CPNI_RUNNER_VERSION, CPNI_RUNNER_OUTPUT };
    if (size > CPNI_OUTPUT_MAX - body->done.output_bytes) {
        return CPN_ETOOBIG;
    }
    cpni_str_copy(cpni_str(type), body->done.output_type, sizeof body->done.output_type);
    for (size_t sent = 0; sent < size;) {
        size_t piece = size - sent < CPNI_RUNNER_INLINE_MAX ? size - sent : CPNI_RUNNER_INLINE_MAX;
        int rc = cpni_body_send(&head, sizeof head, (const char *)data + sent, piece);
        if (rc < 0) {
            return rc;
        }
        sent += piece;
    }
    body->done.output_bytes += size;
    return 0;
}

static void take_image(void *arg, int32_t width, int32_t height)
{
    struct body *body = arg;
    body->done.width = width;
    body->done.height = height;
}

static void take_timing(void *arg, uint64_t decode_us, uint64_t infer_us, uint64_t encode_us)
{
    struct body *body = arg;
    body->done.decode_us = decode_us;
    body->done.infer_us = infer_us;
    body->done.encode_us = encode_us;
}

/* ---- the two requests ---- */

/* The next 0-terminated text of a LOAD; NULL when there is none. */
static const char *next_text(const char **at, const char *end)
{
    const char *text = *at;
    const char *zero = text < end ? memchr(text, 0, (size_t)(end - text)) : NULL;
    *at = zero != NULL ? zero + 1 : end;
    return zero != NULL ? text : NULL;
}

static int load_model(struct body *body, const struct cpni_runner_load *load, char *detail)
{
    static struct cpn_backend_param params[CPNI_RUNNER_PARAMS_MAX];
    const char *at = (const char *)(load + 1);
    const char *end = at + load->text_bytes;
    const char *plugin = next_text(&at, end);
    const char *dir = next_text(&at, end);
    for (uint32_t i = 0; i < load->param_count && i < CPNI_RUNNER_PARAMS_MAX; i++) {
        params[i].key = next_text(&at, end);
        params[i].value = next_text(&at, end);
    }
    if (dir == NULL || (load->param_count > 0 && params[load->param_count - 1].value == NULL)) {
        return CPN_EPROTO;
    }
    body->backend = open_plugin(plugin, detail);
    if (body->backend == NULL) {
        return CPN_ENOTSUP;
    }
    const struct cpn_backend_bundle bundle = { sizeof bundle, dir, params, load->param_count, load->threads };
    return body->backend->load(&bundle, &body->model, detail);
}

static int serve_load(struct body *body)
{
    struct cpni_runner_loaded loaded = { .head = { CPNI_RUNNER_VERSION, CPNI_RUNNER_LOADED } };
    const struct cpni_runner_load *load = (const struct cpni_runner_load *)body->packet;
    int fd;
    size_t size = cpni_body_receive(body->packet, sizeof *load + CPNI_RUNNER_LOAD_MAX, &fd);
    if (size < sizeof *load || load->head.type != CPNI_RUNNER_LOAD || load->text_bytes != size - sizeof *load) {
        return CPN_EPROTO;
    }
    if (load->head.version != CPNI_RUNNER_VERSION) {
        loaded.code = CPN_EVERSION;
        snprintf(
            loaded.detail, sizeof loaded.detail, "cpn-runner is of another version than its worker: install both anew");
    } else {
        loaded.code = load_model(body, load, loaded.detail);
    }
    if (loaded.code == 0) {
        loaded.code = cpni_sandbox_enter(body->backend->flags, load->threads, load->memory_bytes, loaded.detail);
    }
    int rc = cpni_body_send(&loaded, sizeof loaded, NULL, 0);
    return loaded.code != 0 ? loaded.code : rc;
}

/* The input of a RUN: behind it, or mapped. `mapped` is to be unmapped. */
static int find_input(
    const struct cpni_runner_run *run, size_t size, int fd, struct cpn_backend_input *input, void **mapped)
{
    *mapped = NULL;
    input->data = run + 1;
    if (run->described == 0) {
        return run->input_bytes == size - sizeof *run ? 0 : CPN_EPROTO;
    }
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || status.st_size < 0 || (uint64_t)status.st_size < run->input_bytes) {
        return CPN_EIO; /* reading past the end of a mapped file would be a SIGBUS */
    }
    *mapped = mmap(NULL, run->input_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (*mapped == MAP_FAILED) {
        *mapped = NULL;
        return errno == ENOMEM ? CPN_ENOMEM : CPN_EIO;
    }
    input->data = *mapped;
    return 0;
}

static int serve_run(struct body *body)
{
    const struct cpni_runner_run *run = (const struct cpni_runner_run *)body->packet;
    int fd;
    size_t size = cpni_body_receive(body->packet, sizeof *run + CPNI_RUNNER_INLINE_MAX, &fd);
    if (size < sizeof *run || run->head.type != CPNI_RUNNER_RUN || run->input_bytes > CPNI_RUNNER_INPUT_MAX) {
        return CPN_ECLOSED; /* the parent hung up */
    }
    body->done = (struct cpni_runner_done) { .head = { CPNI_RUNNER_VERSION, CPNI_RUNNER_DONE } };
    struct cpn_backend_input input = { .size = sizeof input, .name = run->name, .annotate = run->annotate };
    input.data_size = run->input_bytes;
    void *mapped;
    int rc = find_input(run, size, fd, &input, &mapped);
    if (rc == 0) {
        const struct cpn_backend_sink sink = { sizeof sink, body, take_label, take_output, take_image, take_timing };
        rc = body->backend->run(body->model, &input, &sink, body->done.detail);
    } else {
        snprintf(body->done.detail, sizeof body->done.detail, "the runner cannot map an input of %llu bytes",
            (unsigned long long)run->input_bytes);
    }
    if (mapped != NULL) {
        munmap(mapped, run->input_bytes);
    }
    if (fd >= 0) {
        close(fd);
    }
    body->done.code = rc;
    body->done.label_count = rc == 0 ? body->done.label_count : 0;
    return cpni_body_send(&body->done, sizeof body->done, body->labels, body->done.label_count * sizeof *body->labels);
}

static int serve(long parent)
{
    if (cpni_sandbox_follow(parent) != 0) {
        return 1;
    }
    struct body body = { 0 };
    body.packet = malloc(sizeof(struct cpni_runner_load) + CPNI_RUNNER_LOAD_MAX);
    body.labels = calloc(CPN_RESULT_LABELS, sizeof *body.labels);
    if (body.packet == NULL || body.labels == NULL || serve_load(&body) != 0) {
        return 1;
    }
    while (serve_run(&body) == 0) { }
    return 0; /* exit without unload: the parent waits for the end of a process, not for a tidy one */
}

/* ---- tools ---- */

static int describe(char **paths)
{
    int described = 0;
    for (; *paths != NULL; paths++) {
        char detail[CPN_BACKEND_DETAIL] = "";
        const struct cpn_backend *backend = open_plugin(*paths, detail);
        const struct cpn_trainer *trainer = backend == NULL ? cpni_trainer_plugin(*paths, detail) : NULL;
        if (backend == NULL && trainer == NULL) {
            fprintf(stderr, "cpn-runner: %s\n", detail);
            continue;
        }
        printf("%s %s\n", backend != NULL ? backend->name : trainer->name, backend != NULL ? backend->version : trainer->version);
        described++;
    }
    return described > 0 && fflush(stdout) == 0 ? 0 : 1;
}

static void print_progress(void *arg, const char *stage, uint64_t done, uint64_t total)
{
    (void)arg;
    printf("progress %llu %llu %s\n", (unsigned long long)done, (unsigned long long)total, stage);
    fflush(stdout);
}

/* PARENT PLUGIN FROM OUT [KEY=VALUE...]. Lines on standard output: "progress DONE TOTAL STAGE", at last "result CODE
 * TEXT". */
static int build(int count, char **args)
{
    static struct cpn_backend_param params[CPNI_RUNNER_PARAMS_MAX];
    size_t param_count = 0;
    if (count < 4 || cpni_sandbox_follow(strtol(args[0], NULL, 10)) != 0) {
        return 2;
    }
    for (int i = 4; i < count && param_count < CPNI_RUNNER_PARAMS_MAX; i++) {
        char *equals = strchr(args[i], '=');
        if (equals == NULL) {
            return 2;
        }
        *equals = 0;
        params[param_count++] = (struct cpn_backend_param) { .key = args[i], .value = equals + 1 };
    }
    char detail[CPN_BACKEND_DETAIL] = "";
    const struct cpn_backend *backend = open_plugin(args[1], detail);
    int rc = CPN_ENOTSUP;
    if (backend != NULL && backend->build != NULL) {
        rc = backend->build(args[2], args[3], params, param_count, print_progress, NULL, detail);
    } else if (backend != NULL) {
        snprintf(detail, sizeof detail, "the backend %s has nothing to build", backend->name);
    }
    printf("result %d %s\n", rc, detail);
    return fflush(stdout) == 0 && rc == 0 ? 0 : 1;
}

int cpn_runner_main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--serve") == 0) {
        return serve(strtol(argv[2], NULL, 10));
    }
    if (argc == 3 && strcmp(argv[1], "--train") == 0) {
        return cpni_trainer_serve(strtol(argv[2], NULL, 10));
    }
    if (argc >= 3 && strcmp(argv[1], "--describe") == 0) {
        return describe(argv + 2);
    }
    if (argc >= 6 && strcmp(argv[1], "--build") == 0) {
        return build(argc - 2, argv + 2);
    }
    fprintf(stderr, "cpn-runner: cpn-worker starts this program; by hand only: cpn-runner --describe PLUGIN.so...\n");
    return 2;
}
