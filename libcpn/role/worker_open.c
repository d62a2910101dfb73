/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a worker's start finds: its directory, the machine, the backends, the models that are here already. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "base/alloc.h"
#include "role/clock.h"
#include "role/master.h"
#include "role/version.h"
#include "role/worker.h"

#define BACKEND_TEXT (CPNI_BACKEND_NAME + 34) /* "opencv.face 4.6.0" */

int cpni_worker_fail(struct cpn_worker *worker, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(worker->detail, sizeof worker->detail, format, list);
    va_end(list);
    return code;
}

/* Two workers in one directory would be one node with two processes; the lock ends with the process. */
static int lock_directory(struct cpn_worker *worker)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/lock", worker->dir) >= (int)sizeof path) {
        return cpni_worker_fail(worker, CPN_EINVAL, "the path of the data directory is too long");
    }
    if (mkdir(worker->dir, 0700) != 0 && errno != EEXIST) {
        return cpni_worker_fail(worker, CPN_EIO, "cannot make %s: %s", worker->dir, strerror(errno));
    }
    worker->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (worker->lock_fd < 0) {
        return cpni_worker_fail(worker, CPN_EIO, "cannot write to %s: %s", worker->dir, strerror(errno));
    }
    if (flock(worker->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return cpni_worker_fail(worker, CPN_EBUSY, "another worker runs in %s", worker->dir);
    }
    return 0;
}

static int open_disk(struct cpn_worker *worker, const struct cpn_worker_options *options)
{
    char path[PATH_MAX];
    char detail[CPNI_BLOB_DETAIL] = "";
    snprintf(path, sizeof path, "%.*s/store", PATH_MAX - 16, worker->dir);
    int rc = cpni_disk_open(&worker->disk, path, options->disk_bytes, detail);
    return rc < 0 ? cpni_worker_fail(worker, rc, "%s", detail) : cpni_models_scan(worker);
}

static int open_pool(struct cpn_worker *worker, const struct cpn_worker_options *options)
{
    char detail[CPN_BACKEND_DETAIL] = "";
    char runner[PATH_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    worker->slots = options->slots != 0 ? options->slots : cores > 0 ? (uint32_t)cores : 1;
    if (worker->slots >= CPNI_POOL_SLOTS_MAX) {
        return cpni_worker_fail(worker, CPN_EINVAL, "%u slots; at most %d are possible", worker->slots, CPNI_POOL_SLOTS_MAX - 1);
    }
    snprintf(runner, sizeof runner, "%s/cpn-runner", options->libexec_dir != NULL ? options->libexec_dir : "");
    const struct cpni_pool_options pool = {
        .slots = worker->slots + 1,
        .kept_slots = 1, /* the one in which models are prepared */
        .runner = options->libexec_dir != NULL ? runner : NULL,
        .plugins = options->plugin_dir,
        .memory_bytes = options->runner_memory,
    };
    int rc = cpni_pool_open(&pool, &worker->pool, detail);
    if (rc < 0) {
        return cpni_worker_fail(worker, rc, "%s", detail);
    }
    if (!options->no_backends && worker->dir[0] != 0) {
        struct cpni_compute_paths paths;
        cpni_compute_paths(pool.runner, pool.plugins, &paths);
        int found = cpni_backends_list(&paths, worker->backends, CPNI_BACKENDS_MAX);
        worker->backend_count = found > 0 ? (size_t)found : 0;
        rc = cpni_lanes_open(worker, &paths);
    }
    return rc;
}

static int open_peer(struct cpn_worker *worker)
{
    const struct cpni_peer_options options = {
        .context = worker->zmq,
        .loop = worker->loop,
        .endpoints = worker->context != NULL ? worker->context->endpoints : NULL,
        .master = worker->context != NULL ? &worker->context->master : NULL,
        .keys = worker->context != NULL ? &worker->context->keys : NULL,
        .bulk = true,
    };
    return cpni_peer_open(&options, &worker->peer);
}

int cpni_worker_setup(struct cpn_worker *worker, const struct cpn_worker_options *options)
{
    int rc = worker->dir[0] != 0 ? lock_directory(worker) : 0;
    if (rc == 0 && worker->dir[0] != 0) {
        rc = open_disk(worker, options);
    }
    if (rc == 0) {
        rc = open_pool(worker, options);
    }
    if (rc < 0) {
        return rc;
    }
    worker->zmq = worker->master != NULL ? cpni_context_ref(cpni_master_zmq(worker->master)) : cpni_context_new();
    rc = worker->zmq == NULL ? CPN_ENOMEM : cpni_loop_open(&worker->loop);
    if (rc == 0) {
        rc = open_peer(worker);
    }
    if (rc == 0) {
        rc = cpni_loop_add_fd(worker->loop, cpni_pool_fd(worker->pool));
    }
    if (rc == 0 && worker->trainers != NULL) {
        rc = cpni_loop_add_fd(worker->loop, cpni_trainers_fd(worker->trainers));
    }
    if (rc == 0 && worker->disk.async != NULL) {
        rc = cpni_loop_add_fd(worker->loop, cpni_disk_fd(&worker->disk));
    }
    return rc < 0 ? cpni_worker_fail(worker, rc, "cannot start the network: %s", cpn_strerror(rc)) : 0;
}

/* ---- what the machine is ---- */

static uint64_t memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

/* The name of an NVIDIA card as its driver tells it; other makers' cards are not reported. */
static const char *gpu_name(char name[128])
{
    char line[256];
    glob_t cards;
    name[0] = 0;
    if (glob("/proc/driver/nvidia/gpus/*/information", 0, NULL, &cards) == 0) {
        FILE *file = fopen(cards.gl_pathv[0], "re");
        while (file != NULL && name[0] == 0 && fgets(line, sizeof line, file) != NULL) {
            if (sscanf(line, "Model: %127[^\n]", name) != 1) {
                name[0] = 0;
            }
        }
        if (file != NULL) {
            fclose(file);
        }
        globfree(&cards);
    }
    return name;
}

static size_t held_models(struct cpn_worker *worker, struct cpni_rec_HELD *held, const struct cpni_manifest **manifests, size_t room)
{
    struct cpni_bundle *bundle, *next;
    size_t count = 0;
    HASH_ITER(hh, worker->bundles, bundle, next) {
        if (bundle->ready && count < room) {
            manifests[count] = &bundle->manifest;
            held[count++] = (struct cpni_rec_HELD){ .name = bundle->manifest.name, .root = bundle->root, .state = CPNI_HELD_READY };
        }
    }
    return count;
}

int cpni_worker_make_core(struct cpn_worker *worker)
{
    char gpu[128];
    char texts[CPNI_BACKENDS_MAX][BACKEND_TEXT];
    struct cpni_str backends[CPNI_BACKENDS_MAX];
    struct cpni_arena arena = { 0 };
    size_t handler_count = 0;
    for (struct cpni_handler *handler = worker->handlers; handler != NULL; handler = handler->next) {
        handler_count++;
    }
    struct cpni_str *handlers = cpni_arena_alloc(&arena, (handler_count + 1) * sizeof *handlers);
    size_t bundle_count = HASH_COUNT(worker->bundles);
    struct cpni_rec_HELD *held = cpni_arena_alloc(&arena, (bundle_count + 1) * sizeof *held);
    const struct cpni_manifest **manifests = cpni_arena_alloc(&arena, (bundle_count + 1) * sizeof *manifests);
    int rc = CPN_ENOMEM;
    if (handlers != NULL && held != NULL && manifests != NULL) {
        size_t i = 0;
        for (struct cpni_handler *handler = worker->handlers; handler != NULL; handler = handler->next) {
            handlers[i++] = cpni_str(handler->name);
        }
        for (i = 0; i < worker->backend_count; i++) {
            snprintf(texts[i], sizeof texts[i], "%s %s", worker->backends[i].name, worker->backends[i].version);
            backends[i] = cpni_str(texts[i]);
        }
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        struct cpni_worker_config config = {
            .name = cpni_str(worker->name),
            .software = cpni_str(CPNI_SOFTWARE),
            .gpu = cpni_str(gpu_name(gpu)),
            .slots = worker->slots,
            .cores = cores > 0 ? (uint32_t)cores : 1,
            .memory = memory_bytes(),
            .backends = backends,
            .backend_count = worker->backend_count,
            .handlers = handlers,
            .handler_count = handler_count,
            .models = held,
            .manifests = manifests,
            .model_count = held_models(worker, held, manifests, bundle_count),
        };
        randombytes_buf(config.boot.bytes, sizeof config.boot.bytes);
        rc = cpni_worker_core_new(&config, &worker->now, &worker->core);
    }
    cpni_arena_free(&arena);
    return rc;
}

/* ---- load figures for the heartbeat ---- */

static uint64_t free_memory(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL && sscanf(line, "MemAvailable: %llu", &kib) != 1) {
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib * 1024;
}

static uint64_t own_rss(void)
{
    unsigned long size = 0;
    unsigned long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%lu %lu", &size, &resident) != 2) {
            resident = 0;
        }
        fclose(file);
    }
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Share of the time since the last reading in which the machine's cores were busy. */
static uint32_t cpu_permille(struct cpn_worker *worker)
{
    unsigned long long user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0;
    FILE *file = fopen("/proc/stat", "re");
    if (file == NULL) {
        return 0;
    }
    int got = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq, &soft, &steal);
    fclose(file);
    uint64_t busy = user + nice + system + irq + soft + steal;
    uint64_t total = busy + idle + wait;
    uint64_t more_busy = busy - worker->cpu_busy;
    uint64_t more_total = total - worker->cpu_total;
    bool first = worker->cpu_total == 0;
    worker->cpu_busy = busy;
    worker->cpu_total = total;
    return got == 8 && !first && more_total != 0 ? (uint32_t)(more_busy * 1000 / more_total) : 0;
}

void cpni_worker_read_load(struct cpn_worker *worker, struct cpni_event_load *out)
{
    struct cpni_pool_usage usage = { 0 };
    uint32_t trainers = 0;
    uint64_t trainers_bytes = 0;
    cpni_pool_usage(worker->pool, &usage);
    if (worker->trainers != NULL) {
        cpni_trainers_usage(worker->trainers, &trainers, &trainers_bytes);
    }
    *out = (struct cpni_event_load){
        .cpu_permille = cpu_permille(worker),
        .free_memory = free_memory(),
        .rss = own_rss() + usage.memory_bytes + trainers_bytes,
        .runners = usage.runners + trainers,
    };
}
