/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Models: bundles that a program publishes and the network keeps on its nodes. A bundle is a directory with a model.json and the
 * files that it names (cpn.7 describes it). Publishing makes a new immutable version, signed with the publisher's key. */
#ifndef CPN_MODEL_H
#define CPN_MODEL_H

#include <stddef.h>

#include <cpn/options.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cpn_client;
struct cpn_model;

/* Read and check a bundle directory: the manifest, and that every file is there (they are hashed when the model is published). CPN_ENOTFOUND, CPN_EBADINPUT (which
 * field or file, and what was expected), CPN_ENOTSUP (built without JSON), CPN_EIO. */
int cpn_model_open(const char *dir, struct cpn_model **out, char *detail);
void cpn_model_free(struct cpn_model *model); /* NULL is fine */

const char *cpn_model_name(const struct cpn_model *model);
const char *cpn_model_backend(const struct cpn_model *model);
uint64_t cpn_model_bytes(const struct cpn_model *model); /* of all files */

/* Publish a model: upload what the master lacks, and wait until the version is committed. progress (may be NULL) is called with bytes
 * sent of all bytes; not 0 from it gives up. The same bundle again gives the same version. The nodes prepare it afterwards
 * (cpn_client_models() shows how far they are). CPN_EDENIED (right "publish"), CPN_ETIMEDOUT, CPN_EUNREACHABLE. The client's detail has the sentence. */
int cpn_client_publish(struct cpn_client *client, const struct cpn_model *model, int (*progress)(void *arg, uint64_t done, uint64_t total),
                       void *arg, int timeout_ms, uint32_t *version);

/* Make a face bundle from folders of photos named by person, with a helper program that has OpenCV. */
struct cpn_train_faces_options {
    uint32_t size;
    const char *from;       /* DIR/person/photo.jpg … */
    const char *out;        /* the bundle: must not exist, or be an empty directory */
    const char *name;       /* of the model; NULL: "faces" */
    const char *const *parameters; /* "key=value" texts for the backend, NULL-terminated; NULL: none */
    const char *libexec_dir; /* where cpn-runner is; NULL: beside this program or where it was installed */
    const char *plugin_dir;  /* where the backends are; NULL likewise */
    int (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total);
    void *progress_arg;
};
#define CPN_TRAIN_FACES_OPTIONS_INIT { .size = sizeof(struct cpn_train_faces_options) }

/* Blocks. 0 with a summary in `detail` (people, photos, identification and false-name rates), or the failure with its sentence. */
int cpn_train_faces(const struct cpn_train_faces_options *options, char *detail);

#ifdef __cplusplus
}
#endif

#endif
