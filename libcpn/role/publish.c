/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Models from the publisher's side (cpn/model.h): a bundle directory is read, its files are named by their hashes in the client's spool,
 * the manifest is signed, and the master fetches what it lacks. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <cpn/model.h>

#include "base/alloc.h"
#include "role/client.h"
#include "role/clock.h"
#include "role/master.h"
#include "role/signing.h"
#include "wire/manifest.h"
#ifdef CPNI_HAVE_JSON
#include "wire/manifest_json.h"
#endif

struct cpn_model {
    char dir[PATH_MAX];
    struct cpni_arena arena;
    struct cpni_manifest manifest; /* file roots are filled in when it is published */
    char name[CPN_NAME];
    char backend[CPN_NAME];
    uint64_t bytes;
};

int cpn_model_open(const char *dir, struct cpn_model **out, char *detail)
{
#ifdef CPNI_HAVE_JSON
    struct cpn_model *model = cpni_calloc(1, sizeof *model);
    char why[CPNI_WHY] = "";
    if (model == NULL) {
        return CPN_ENOMEM;
    }
    int rc = cpni_bundle_read(dir, &model->arena, &model->manifest, why);
    if (rc < 0 || snprintf(model->dir, sizeof model->dir, "%s", dir) >= (int)sizeof model->dir) {
        cpni_explain(detail, "%s", rc < 0 ? why : "the path is too long");
        cpn_model_free(model);
        return rc < 0 ? rc : CPN_EINVAL;
    }
    cpni_str_copy(model->manifest.name, model->name, sizeof model->name);
    cpni_str_copy(model->manifest.backend, model->backend, sizeof model->backend);
    for (uint32_t i = 0; i < model->manifest.file_count; i++) {
        model->bytes += model->manifest.files[i].size;
    }
    *out = model;
    return 0;
#else
    (void)out;
    cpni_explain(detail, "%s cannot be read: this libcpn was built without JSON", dir);
    return CPN_ENOTSUP;
#endif
}

void cpn_model_free(struct cpn_model *model)
{
    if (model != NULL) {
        cpni_arena_free(&model->arena);
        cpni_free(model);
    }
}

const char *cpn_model_name(const struct cpn_model *model)
{
    return model->name;
}

const char *cpn_model_backend(const struct cpn_model *model)
{
    return model->backend;
}

uint64_t cpn_model_bytes(const struct cpn_model *model)
{
    return model->bytes;
}

/* ---- publishing ---- */

struct import {
    struct cpni_manifest_file *file;
    bool done;
    int code;
};

static void imported(struct cpn_client *client, void *user, struct cpni_blob_answer *answer)
{
    struct import *import = user;
    import->done = true;
    import->code = answer->status;
    if (answer->status < 0) {
        cpni_client_fail(client, answer->status, "%s", answer->detail);
    } else {
        import->file->root = answer->root;
        import->file->size = answer->info.size;
    }
}

/* Waits without a deadline of its own: the store answers every job, and `import` is on our stack. */
static int import_file(struct cpn_client *client, const struct cpn_model *model, struct cpni_manifest_file *file)
{
    char path[PATH_MAX + 256];
    struct import import = { .file = file };
    struct cpni_blob_job job = { .op = CPNI_BLOB_IMPORT_FILE, .class = CPNI_BLOB_SPOOL, .path = path };
    snprintf(path, sizeof path, "%s/%.*s", model->dir, (int)file->name.size, file->name.text);
    int rc = cpni_client_job(client, &job, imported, &import);
    while (rc == 0 && !import.done) {
        cpn_client_dispatch(client, -1);
    }
    return rc < 0 ? rc : import.code;
}

static void published(void *arg, const struct cpni_msg *msg)
{
    *(uint32_t *)arg = msg->published.version;
}

static const struct cpni_sign_keys *signing_keys(const struct cpn_client *client)
{
    return client->context != NULL ? &client->context->sign : cpni_master_local_sign(client->master);
}

int cpn_client_publish(struct cpn_client *client, const struct cpn_model *model, int (*progress)(void *arg, uint64_t done, uint64_t total),
                       void *arg, int timeout_ms, uint32_t *version)
{
    const int64_t until_us = cpni_client_until(timeout_ms);
    struct cpni_manifest manifest = model->manifest;
    struct cpni_msg msg = { .type = CPNI_MSG_PUBLISH };
    struct cpni_bytes *bytes = NULL;
    char why[CPNI_WHY] = "";
    uint32_t number = 0;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < manifest.file_count; i++) {
        rc = import_file(client, model, &manifest.files[i]);
    }
    if (rc == 0) {
        rc = cpni_manifest_encode(&manifest, &bytes, why);
        if (rc < 0) {
            cpni_client_fail(client, rc, "%s", why);
        }
    }
    if (rc == 0) {
        msg.publish.manifest = bytes;
        msg.publish.signer = signing_keys(client)->public_key;
        rc = cpni_signing_sign(signing_keys(client), bytes, &msg.publish.signature);
    }
    if (rc == 0) {
        struct cpni_ask ask = { .reply = published, .arg = &number };
        client->progress = (struct cpni_progress){ progress, arg, client->chunk_bytes, model->bytes };
        rc = cpni_client_request(client, &msg, &ask, cpni_client_left_ms(until_us));
        client->progress = (struct cpni_progress){ 0 };
    }
    cpni_bytes_unref(bytes);
    if (rc == 0 && version != NULL) {
        *version = number;
    }
    return rc;
}
