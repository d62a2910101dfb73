/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Models on a node: the files that the core fetched are put together as a bundle directory, loaded once and tried on their sample before
 * the node says that it has the model. A bundle is built under a temporary name and renamed, so that what has its name is whole. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "role/clock.h"
#include "role/signing.h"
#include "role/worker.h"
#include "wire/manifest.h"

#define MANIFEST_FILE ".manifest" /* names of bundle files never start with a dot */
#define PREPARE_US 120000000      /* a model that takes longer to load and try is of no use for interactive tasks */

static void report(struct cpn_worker *worker, const struct cpn_hash *root, int code, const char *text)
{
    const struct cpni_event event = { .type = CPNI_EV_MODEL, .model = { .root = *root, .code = code, .text = text } };
    cpni_worker_step(worker, &event);
}

struct cpni_bundle *cpni_models_find(struct cpn_worker *worker, const struct cpn_hash *root)
{
    struct cpni_bundle *bundle = NULL;
    HASH_FIND(hh, worker->bundles, root, sizeof *root, bundle);
    return bundle;
}

static void free_bundle(struct cpni_bundle *bundle)
{
    cpni_arena_free(&bundle->arena);
    cpni_free(bundle);
}

static void forget_bundle(struct cpn_worker *worker, struct cpni_bundle *bundle)
{
    HASH_DEL(worker->bundles, bundle);
    free_bundle(bundle);
}

void cpni_models_free(struct cpn_worker *worker)
{
    struct cpni_bundle *bundle, *next;
    HASH_ITER(hh, worker->bundles, bundle, next) {
        forget_bundle(worker, bundle);
    }
    cpni_free(worker->to_prepare);
    worker->to_prepare = NULL;
}

/* ---- a manifest of our own ---- */

static const char *text_in(struct cpni_arena *arena, struct cpni_str from)
{
    char *copy = cpni_arena_alloc(arena, from.size + (size_t)1);
    if (copy != NULL && from.size != 0) {
        memcpy(copy, from.text, from.size);
    }
    return copy;
}

/* Parameters as the plug-ins take them. */
static int make_params(struct cpni_bundle *bundle)
{
    const struct cpni_manifest *manifest = &bundle->manifest;
    bundle->params = cpni_arena_alloc(&bundle->arena, (manifest->parameter_count + (size_t)1) * sizeof *bundle->params);
    if (bundle->params == NULL) {
        return CPN_ENOMEM;
    }
    for (uint32_t i = 0; i < manifest->parameter_count; i++) {
        bundle->params[i].key = text_in(&bundle->arena, manifest->parameters[i].key);
        bundle->params[i].value = text_in(&bundle->arena, manifest->parameters[i].value);
        if (bundle->params[i].key == NULL || bundle->params[i].value == NULL) {
            return CPN_ENOMEM;
        }
    }
    return 0;
}

/* From the manifest's bytes, which are what is kept beside the files. */
static int new_bundle(struct cpn_worker *worker, const struct cpni_bytes *bytes, struct cpni_bundle **out, char *why)
{
    struct cpni_bundle *bundle = cpni_calloc(1, sizeof *bundle);
    uint8_t *kept = bundle != NULL ? cpni_arena_memdup(&bundle->arena, bytes->data, bytes->size) : NULL;
    int rc = kept == NULL ? CPN_ENOMEM : cpni_manifest_decode(kept, bytes->size, &bundle->arena, &bundle->manifest, why);
    if (rc == 0) {
        cpni_signing_root(bytes, &bundle->root);
        cpn_hash_text(&bundle->root, bundle->key);
        rc = snprintf(bundle->dir, sizeof bundle->dir, "%s/models/%s", worker->dir, bundle->key) < (int)sizeof bundle->dir ? 0 : CPN_EINVAL;
    }
    if (rc == 0) {
        rc = make_params(bundle);
    }
    if (rc < 0) {
        if (bundle != NULL) {
            free_bundle(bundle);
        }
        return rc;
    }
    HASH_ADD(hh, worker->bundles, root, sizeof bundle->root, bundle);
    *out = bundle;
    return 0;
}

/* ---- what is on disk at start ---- */

static struct cpni_bytes *read_manifest(const char *dir)
{
    char path[PATH_MAX + 16];
    uint8_t buffer[CPNI_MANIFEST_BYTES_MAX];
    snprintf(path, sizeof path, "%s/" MANIFEST_FILE, dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t size = fd >= 0 ? read(fd, buffer, sizeof buffer) : -1;
    if (fd >= 0) {
        close(fd);
    }
    return size > 0 ? cpni_bytes_copy(buffer, (size_t)size) : NULL;
}

static bool files_in_place(const struct cpni_bundle *bundle)
{
    for (uint32_t i = 0; i < bundle->manifest.file_count; i++) {
        const struct cpni_manifest_file *file = &bundle->manifest.files[i];
        char path[PATH_MAX + 256];
        struct stat status;
        snprintf(path, sizeof path, "%s/%.*s", bundle->dir, (int)file->name.size, file->name.text);
        if (stat(path, &status) != 0 || (uint64_t)status.st_size != file->size) {
            return false;
        }
    }
    return true;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A directory that is not what its name says (half built, edited, cut off) is removed; the master sends the model again. */
static void scan_one(struct cpn_worker *worker, const char *name)
{
    char dir[PATH_MAX];
    char why[CPNI_WHY];
    struct cpni_bundle *bundle = NULL;
    if (snprintf(dir, sizeof dir, "%s/models/%s", worker->dir, name) >= (int)sizeof dir) {
        return;
    }
    struct cpni_bytes *bytes = read_manifest(dir);
    if (bytes != NULL && new_bundle(worker, bytes, &bundle, why) == 0) {
        bundle->ready = strcmp(bundle->key, name) == 0 && files_in_place(bundle);
        if (!bundle->ready) {
            forget_bundle(worker, bundle);
            bundle = NULL;
        }
    }
    cpni_bytes_unref(bytes);
    if (bundle == NULL) {
        remove_tree(dir);
    }
}

int cpni_models_scan(struct cpn_worker *worker)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/models", worker->dir) >= (int)sizeof path || (mkdir(path, 0700) != 0 && errno != EEXIST)) {
        return cpni_worker_fail(worker, CPN_EIO, "cannot make %s: %s", path, strerror(errno));
    }
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return cpni_worker_fail(worker, CPN_EIO, "cannot read %s: %s", path, strerror(errno));
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            scan_one(worker, entry->d_name);
        }
    }
    closedir(dir);
    return 0;
}

/* ---- preparing: link the files, rename, load, self-test ---- */

static void building_dir(const struct cpni_bundle *bundle, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%.*s.new", PATH_MAX - 8, bundle->dir);
}

static void next_in_queue(struct cpn_worker *worker);

static void finish_preparing(struct cpn_worker *worker, struct cpni_bundle *bundle, int code, const char *text)
{
    const struct cpn_hash root = bundle->root;
    const bool dropped = bundle->dropped;
    worker->preparing = NULL;
    bundle->ready = code == 0 && !dropped;
    if (!bundle->ready) {
        char path[PATH_MAX];
        building_dir(bundle, path);
        remove_tree(path);
        remove_tree(bundle->dir);
        forget_bundle(worker, bundle);
    }
    if (!dropped) {
        report(worker, &root, code, text);
    }
    next_in_queue(worker);
}

static bool backend_here(const struct cpn_worker *worker, struct cpni_str name)
{
    for (size_t i = 0; i < worker->backend_count; i++) {
        if (cpni_str_equal(cpni_str(worker->backends[i].name), name)) {
            return true;
        }
    }
    return false;
}

static int open_sample(const struct cpni_bundle *bundle, struct cpni_job *job)
{
    char path[PATH_MAX + 256];
    struct stat status;
    snprintf(path, sizeof path, "%s/%.*s", bundle->dir, (int)bundle->manifest.sample.size, bundle->manifest.sample.text);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && fstat(fd, &status) == 0) {
        job->input_fd = fd;
        job->input_size = (uint64_t)status.st_size;
    }
    return fd;
}

static void self_test(struct cpn_worker *worker, struct cpni_bundle *bundle)
{
    const char *backend = text_in(&bundle->arena, bundle->manifest.backend);
    struct cpni_job job = {
        .ticket = CPNI_PREPARE_TICKET,
        .kind = CPNI_JOB_PREPARE,
        .model = { .key = bundle->key, .dir = bundle->dir, .backend = backend, .params = bundle->params,
                   .param_count = bundle->manifest.parameter_count },
        .input_fd = -1,
        .input_name = "the bundle's sample",
        .deadline_us = worker->now.mono_us + PREPARE_US,
    };
    int fd = bundle->manifest.sample.size != 0 ? open_sample(bundle, &job) : -1;
    int rc = backend != NULL ? cpni_pool_start(worker->pool, worker->slots, &job) : CPN_ENOMEM;
    if (fd >= 0) {
        close(fd);
    }
    if (rc < 0) {
        finish_preparing(worker, bundle, rc, "the self-test could not be started");
    }
}

void cpni_models_outcome(struct cpn_worker *worker, const struct cpni_outcome *outcome)
{
    struct cpni_bundle *bundle = worker->preparing;
    if (bundle != NULL) {
        cpni_pool_forget(worker->pool, bundle->key); /* the extra slot's runner would only hold memory */
        finish_preparing(worker, bundle, outcome->code, outcome->detail);
    }
}

static void put_in_place(struct cpn_worker *worker, struct cpni_bundle *bundle)
{
    char path[PATH_MAX];
    building_dir(bundle, path);
    remove_tree(bundle->dir);
    if (rename(path, bundle->dir) != 0) {
        char text[CPN_DETAIL];
        snprintf(text, sizeof text, "cannot rename %.200s: %s", path, strerror(errno));
        finish_preparing(worker, bundle, CPN_EIO, text);
        return;
    }
    self_test(worker, bundle);
}

static void link_next(struct cpn_worker *worker, struct cpni_bundle *bundle);

static void linked(struct cpn_worker *worker, void *user, struct cpni_blob_answer *answer)
{
    struct cpni_bundle *bundle = user; /* stays while it is worker->preparing */
    if (answer->status < 0) {
        finish_preparing(worker, bundle, answer->status, answer->detail);
    } else {
        bundle->file_next++;
        link_next(worker, bundle);
    }
}

static void link_next(struct cpn_worker *worker, struct cpni_bundle *bundle)
{
    if (bundle->file_next == bundle->manifest.file_count) {
        put_in_place(worker, bundle);
        return;
    }
    const struct cpni_manifest_file *file = &bundle->manifest.files[bundle->file_next];
    char dir[PATH_MAX];
    char path[PATH_MAX + 256];
    building_dir(bundle, dir);
    snprintf(path, sizeof path, "%s/%.*s", dir, (int)file->name.size, file->name.text);
    struct cpni_blob_job job = { .op = CPNI_BLOB_COPY_OUT, .root = file->root, .path = path, .how = CPNI_BLOB_LINK, .mode = 0400 };
    int rc = cpni_worker_job(worker, &job, linked, bundle);
    if (rc < 0) {
        finish_preparing(worker, bundle, rc, "the disk does not take jobs");
    }
}

/* The bytes are the canonical encoding, so the node can check after a restart that the directory is what its name says. */
static int write_manifest(const struct cpni_bundle *bundle, const char *dir)
{
    char path[PATH_MAX + 16];
    char why[CPNI_WHY];
    struct cpni_bytes *bytes = NULL;
    int rc = cpni_manifest_encode(&bundle->manifest, &bytes, why);
    if (rc < 0) {
        return rc;
    }
    snprintf(path, sizeof path, "%s/" MANIFEST_FILE, dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    bool whole = fd >= 0 && write(fd, bytes->data, bytes->size) == (ssize_t)bytes->size;
    if (fd >= 0) {
        close(fd);
    }
    cpni_bytes_unref(bytes);
    return whole ? 0 : CPN_EIO;
}

static void build(struct cpn_worker *worker, struct cpni_bundle *bundle)
{
    char path[PATH_MAX];
    char text[CPN_DETAIL];
    worker->preparing = bundle;
    if (!backend_here(worker, bundle->manifest.backend)) {
        snprintf(text, sizeof text, "backend %.*s is not installed on this node", (int)bundle->manifest.backend.size, bundle->manifest.backend.text);
        finish_preparing(worker, bundle, CPN_ENOTSUP, text);
        return;
    }
    building_dir(bundle, path);
    remove_tree(path);
    if (mkdir(path, 0700) != 0 || write_manifest(bundle, path) < 0) {
        snprintf(text, sizeof text, "cannot make %.200s: %s", path, strerror(errno));
        finish_preparing(worker, bundle, CPN_EIO, text);
        return;
    }
    bundle->file_next = 0;
    link_next(worker, bundle);
}

static void next_in_queue(struct cpn_worker *worker)
{
    while (worker->preparing == NULL && worker->to_prepare_count != 0) {
        struct cpni_bundle *bundle = worker->to_prepare[0];
        worker->to_prepare_count--;
        memmove(worker->to_prepare, worker->to_prepare + 1, worker->to_prepare_count * sizeof(struct cpni_bundle *));
        build(worker, bundle);
    }
}

void cpni_models_prepare(struct cpn_worker *worker, const struct cpn_hash *root, const struct cpni_manifest *manifest)
{
    struct cpni_bundle *bundle = cpni_models_find(worker, root);
    struct cpni_bytes *bytes = NULL;
    char why[CPNI_WHY] = "out of memory";
    if (bundle != NULL) {
        if (bundle->ready) {
            report(worker, root, 0, "");
        } else {
            bundle->dropped = false;
        }
        return;
    }
    int rc = cpni_manifest_encode(manifest, &bytes, why);
    if (rc == 0) {
        rc = new_bundle(worker, bytes, &bundle, why);
    }
    cpni_bytes_unref(bytes);
    struct cpni_bundle **queue = rc == 0 ? cpni_realloc(worker->to_prepare, (worker->to_prepare_count + 1) * sizeof(struct cpni_bundle *)) : NULL;
    if (queue == NULL) {
        if (rc == 0) {
            forget_bundle(worker, bundle);
        }
        report(worker, root, rc < 0 ? rc : CPN_ENOMEM, why);
        return;
    }
    worker->to_prepare = queue;
    worker->to_prepare[worker->to_prepare_count++] = bundle;
    next_in_queue(worker);
}

void cpni_models_drop(struct cpn_worker *worker, const struct cpn_hash *root)
{
    struct cpni_bundle *bundle = cpni_models_find(worker, root);
    if (bundle == NULL) {
        return;
    }
    if (bundle == worker->preparing) {
        bundle->dropped = true; /* it is forgotten when its job is over */
        return;
    }
    for (size_t i = 0; i < worker->to_prepare_count; i++) {
        if (worker->to_prepare[i] == bundle) {
            worker->to_prepare_count--;
            memmove(worker->to_prepare + i, worker->to_prepare + i + 1, (worker->to_prepare_count - i) * sizeof(struct cpni_bundle *));
        }
    }
    cpni_pool_forget(worker->pool, bundle->key);
    remove_tree(bundle->dir);
    forget_bundle(worker, bundle);
}
