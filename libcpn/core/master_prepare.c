/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Which models go to which nodes: a node is asked to prepare what it lacks and can run, and to discard what is old (DESIGN §7).
 * Nodes keep the newest CPNI_MODEL_VERSIONS_KEPT versions of a model that are ready somewhere, all newer ones, and older ones that
 * tasks still name: so a version that fails everywhere takes nothing away. Must not know how files travel. */
#include "core/master_state.h"

#include <stdio.h>

static bool wanted(const struct cpni_mversion *version)
{
    if (!version->live || version->removed || version->number == 0) {
        return false;
    }
    uint32_t newer = 0;
    const struct cpni_mversion *at;
    for (at = version->model->versions; at != version; at = at->next) {
        newer += at->live && !at->removed && at->ready != 0;
    }
    return newer < CPNI_MODEL_VERSIONS_KEPT || version->tasks != 0;
}

static void discard(struct cpni_master_core *core, struct cpni_mnode *node, struct cpni_str name, uint32_t number,
                    const struct cpn_hash *root)
{
    struct cpni_msg msg = { .type = CPNI_MSG_DISCARD };
    msg.discard.name = name;
    msg.discard.version = number;
    msg.discard.root = *root;
    cpni_mlink_send(core, node->link, &msg);
}

/* ---- what a manifest requires ---- */

static uint64_t number_of(struct cpni_str text)
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < text.size && text.text[i] >= '0' && text.text[i] <= '9' && number < UINT64_MAX / 16; i++) {
        number = number * 10 + (uint64_t)(text.text[i] - '0');
    }
    return number;
}

/* "4.10.0" is at least "4.6": part by part, as numbers. */
static bool at_least(struct cpni_str have, struct cpni_str need)
{
    uint32_t h = 0, n = 0;
    while (n < need.size) {
        uint64_t have_part = number_of((struct cpni_str){ .text = have.text + h, .size = have.size - h });
        uint64_t need_part = number_of((struct cpni_str){ .text = need.text + n, .size = need.size - n });
        if (have_part != need_part) {
            return have_part > need_part;
        }
        while (h < have.size && have.text[h++] != '.') {
        }
        while (n < need.size && need.text[n++] != '.') {
        }
    }
    return true;
}

static bool key_is(struct cpni_str key, const char *name)
{
    return cpni_str_equal(key, cpni_str(name));
}

/* false with the sentence, when the node lacks it. */
static bool meets(const struct cpni_mnode *node, struct cpni_str backend_version, const struct cpni_manifest_pair *need,
                  char text[128])
{
    int width = (int)(need->value.size < 32 ? need->value.size : 32);
    if (key_is(need->key, "memory") && node->memory < number_of(need->value)) {
        snprintf(text, 128, "requires %.*s bytes of memory, the node has %llu", width, need->value.text,
                 (unsigned long long)node->memory);
    } else if (key_is(need->key, "cores") && node->cores < number_of(need->value)) {
        snprintf(text, 128, "requires %.*s cores, the node has %u", width, need->value.text, node->cores);
    } else if (key_is(need->key, "gpu") && node->gpu.size == 0) {
        snprintf(text, 128, "requires a GPU, the node has none");
    } else if (key_is(need->key, "backend") && !at_least(backend_version, need->value)) {
        snprintf(text, 128, "requires version %.*s of its backend, the node has %.*s", width, need->value.text,
                 (int)(backend_version.size < 32 ? backend_version.size : 32), backend_version.text);
    } else if (!key_is(need->key, "memory") && !key_is(need->key, "cores") && !key_is(need->key, "gpu") &&
               !key_is(need->key, "backend")) {
        snprintf(text, 128, "requires '%.*s', which this master does not know", (int)(need->key.size < 32 ? need->key.size : 32),
                 need->key.text);
    } else {
        return true;
    }
    return false;
}

/* ---- prepare ---- */

static void ask(struct cpni_master_core *core, struct cpni_mheld *held)
{
    const struct cpni_mversion *version = held->version;
    struct cpni_msg msg = { .type = CPNI_MSG_PREPARE };
    msg.prepare.name = cpni_str(version->model->name);
    msg.prepare.version = version->number;
    msg.prepare.root = version->root;
    msg.prepare.manifest = version->manifest_bytes;
    msg.prepare.signature = version->signature;
    msg.prepare.signer = version->signer;
    cpni_mlink_send(core, held->node->link, &msg);
    held->done = 0;
    held->total = version->bytes;
    cpni_mheld_set(core, held, CPNI_HELD_FETCHING, (struct cpni_str){ 0 });
    struct cpni_log_about about = cpni_mabout_node(core, held->node->identity);
    about.model = cpni_mversion_text(core, version);
    cpni_log(core->out, CPNI_LOG_MODEL_PREPARING, &about, NULL);
}

static void prepare(struct cpni_master_core *core, struct cpni_mnode *node, struct cpni_mversion *version)
{
    struct cpni_str backend_version = { 0 };
    struct cpni_mheld *held = cpni_mheld_find(node, version);
    if (node->link == NULL || (held != NULL && held->state != CPNI_HELD_NONE) || !wanted(version) ||
        !cpni_mnode_backend(node, version->manifest.backend, &backend_version)) {
        return;
    }
    held = cpni_mheld_make(core, node, version);
    if (held == NULL) {
        return;
    }
    char text[128];
    for (uint32_t i = 0; i < version->manifest.requires_count; i++) {
        if (!meets(node, backend_version, &version->manifest.requires[i], text)) {
            cpni_mheld_set(core, held, CPNI_HELD_UNMET, cpni_str(text));
            struct cpni_log_about about = cpni_mabout_node(core, node->identity);
            about.model = cpni_mversion_text(core, version);
            cpni_log(core->out, CPNI_LOG_MODEL_UNMET, &about, "%s", text);
            return;
        }
    }
    ask(core, held);
}

void cpni_mprepare_version(struct cpni_master_core *core, struct cpni_mversion *version)
{
    struct cpni_mnode *node;
    DL_FOREACH(core->nodes, node) {
        prepare(core, node, version);
    }
}

static void take_inventory(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_hello *hello, bool anew)
{
    for (uint32_t i = 0; i < hello->models_count; i++) {
        const struct cpni_rec_HELD *has = &hello->models[i];
        struct cpni_mversion *version = cpni_mversion_root(core, &has->root);
        if (version == NULL || !version->live) {
            discard(core, node, has->name, has->version, &has->root);
            continue;
        }
        bool retry = anew && has->state == CPNI_HELD_FAILED; /* another process may have better luck */
        struct cpni_mheld *held = has->state > CPNI_HELD_UNMET || retry ? NULL : cpni_mheld_make(core, node, version);
        if (held != NULL) {
            cpni_mheld_set(core, held, (enum cpni_held_state)has->state, has->text);
        }
    }
}

static void take_handlers(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_hello *hello)
{
    for (uint32_t i = 0; i < hello->handlers_count; i++) {
        struct cpni_str name = hello->handlers[i].text;
        struct cpni_mmodel *model = cpni_mmodel_find(core, name);
        struct cpni_mversion *version = NULL;
        if (model != NULL) {
            DL_FOREACH(model->versions, version) {
                if (version->number == 0 && version->live) {
                    break;
                }
            }
        }
        bool fits = name.size != 0 && name.size < CPNI_NAME && memchr(name.text, '@', name.size) == NULL;
        if (version == NULL && fits && core->version_count < CPNI_MODELS_MAX) {
            version = cpni_mversion_make(core, name, 0, NULL, NULL);
            if (version != NULL) {
                version->live = true;
                version->added_us = core->now.wall_us;
            }
        }
        struct cpni_mheld *held = version == NULL ? NULL : cpni_mheld_make(core, node, version);
        if (held != NULL) {
            cpni_mheld_set(core, held, CPNI_HELD_READY, (struct cpni_str){ 0 });
        }
    }
}

/* Callbacks that the node no longer serves; nobody else may, and then the name is free again. */
static void drop_handlers(struct cpni_master_core *core, struct cpni_mnode *node)
{
    struct cpni_mheld *held, *next;
    HASH_ITER(hh, node->held, held, next) {
        struct cpni_mversion *version = held->version;
        if (version->number == 0 && held->state == CPNI_HELD_NONE) {
            cpni_mheld_free(core, held);
            cpni_mversion_release(core, version);
        }
    }
}

void cpni_mprepare_node(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_hello *hello, bool anew)
{
    struct cpni_mheld *held, *next;
    HASH_ITER(hh, node->held, held, next) { /* the inventory is the whole truth */
        cpni_mheld_set(core, held, CPNI_HELD_NONE, (struct cpni_str){ 0 });
    }
    take_inventory(core, node, hello, anew);
    take_handlers(core, node, hello);
    drop_handlers(core, node);
    struct cpni_mversion *version, *after;
    HASH_ITER(hh, core->versions, version, after) {
        prepare(core, node, version);
    }
}

void cpni_mheld_message(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_held *msg)
{
    struct cpni_mversion *version = cpni_mversion_root(core, &msg->root);
    if (version == NULL || !version->live) {
        if (msg->state != CPNI_HELD_NONE) {
            discard(core, node, msg->name, msg->version, &msg->root);
        }
        return;
    }
    struct cpni_mheld *held = msg->state > CPNI_HELD_UNMET ? NULL : cpni_mheld_make(core, node, version);
    if (held == NULL) {
        return;
    }
    enum cpni_held_state state = (enum cpni_held_state)msg->state;
    bool news = state != held->state;
    cpni_mheld_set(core, held, state, msg->text);
    held->done = msg->done;
    held->total = msg->total;
    if (!news) {
        return;
    }
    struct cpni_log_about about = cpni_mabout_node(core, node->identity);
    about.model = cpni_mversion_text(core, version);
    if (state == CPNI_HELD_READY) {
        cpni_log(core->out, CPNI_LOG_MODEL_READY, &about, NULL);
        cpni_mprepare_trim(core, version->model);
    } else if (state == CPNI_HELD_FAILED || state == CPNI_HELD_UNMET) {
        cpni_log(core->out, state == CPNI_HELD_FAILED ? CPNI_LOG_MODEL_FAILED : CPNI_LOG_MODEL_UNMET, &about, "%s", held->text);
        cpni_msched_hopeless(core, version);
    }
}

/* ---- discard ---- */

static void discard_everywhere(struct cpni_master_core *core, struct cpni_mversion *version)
{
    struct cpni_mheld *held, *next;
    DL_FOREACH_SAFE(version->holders, held, next) {
        if (held->state != CPNI_HELD_NONE && held->state != CPNI_HELD_UNMET) {
            discard(core, held->node, cpni_str(version->model->name), version->number, &version->root);
        }
        cpni_mheld_free(core, held);
    }
}

void cpni_mprepare_trim(struct cpni_master_core *core, struct cpni_mmodel *model)
{
    struct cpni_mversion *version;
    DL_FOREACH(model->versions, version) {
        if (version->live && !version->removed && version->number != 0 && version->holders != NULL && !wanted(version)) {
            discard_everywhere(core, version);
        }
    }
}

void cpni_mprepare_remove(struct cpni_master_core *core, struct cpni_mversion *version)
{
    struct cpni_log_about about = { .model = cpni_mversion_text(core, version) };
    cpni_log(core->out, CPNI_LOG_MODEL_REMOVED, &about, NULL);
    discard_everywhere(core, version);
    HASH_DEL(core->versions, version);
    version->removed = true;
    version->tasks++; /* so that it outlives the loop below */
    struct cpni_mtask *task, *next;
    HASH_ITER(hh, core->tasks, task, next) {
        bool waits = task->state == CPNI_JOB_QUEUED || task->state == CPNI_JOB_UPLOADING;
        if (task->version == version && waits) {
            cpni_mtask_end(core, task, CPN_ENOTFOUND, CPNI_FAILURE_MODEL, "the model was removed");
        }
    }
    version->tasks--;
    cpni_mversion_release(core, version);
}
