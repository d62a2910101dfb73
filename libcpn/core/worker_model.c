/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The models of a node: PREPARE checks what the manifest requires, fetches exactly the files that are not here, has them loaded and
 * self-tested, and says HELD at every turn; DISCARD undoes it. A few at a time, the others wait. Must not know how a model is loaded. */
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "core/events.h"
#include "core/worker_priv.h"

static struct cpni_model *find(const struct cpni_worker_core *core, const struct cpn_hash *root)
{
    struct cpni_model *model;
    HASH_FIND(hh, core->models, root, sizeof *root, model);
    return model;
}

static struct cpni_log_about about(struct cpni_model *model)
{
    return (struct cpni_log_about){ .model = cpni_str(model->name) };
}

bool cpni_worker_serves(const struct cpni_worker_core *core, const struct cpni_msg_task *task)
{
    if (!cpni_hash_is_zero(&task->root)) {
        const struct cpni_model *model = find(core, &task->root);
        return model != NULL && model->state == CPNI_HELD_READY;
    }
    for (size_t i = 0; i < core->config.handler_count; i++) {
        if (cpni_str_equal(core->config.handlers[i], task->model)) {
            return true;
        }
    }
    return false;
}

int cpni_worker_list_models(struct cpni_worker_core *core, struct cpni_rec_HELD **out, uint32_t *out_count, struct cpni_actions *actions)
{
    uint32_t count = 0;
    struct cpni_rec_HELD *list = cpni_arena_alloc(&actions->arena, HASH_COUNT(core->models) * sizeof *list);
    if (list == NULL) {
        return CPN_ENOMEM;
    }
    struct cpni_model *model, *after;
    HASH_ITER(hh, core->models, model, after) {
        list[count++] = (struct cpni_rec_HELD){ .name = cpni_str(model->name), .version = model->version, .root = model->root,
                                                .state = (uint32_t)model->state, .text = cpni_str(model->text) };
    }
    *out = list;
    *out_count = count;
    return 0;
}

static uint64_t ticket(const struct cpni_model *model, uint32_t file)
{
    return CPNI_FETCH_FILE | model->serial << CPNI_FETCH_FILES_SHIFT | file;
}

static void bytes_here(struct cpni_worker_core *core, const struct cpni_model *model, uint64_t *done, uint64_t *total)
{
    *done = *total = 0;
    for (uint32_t i = 0; i < model->manifest.file_count; i++) {
        uint64_t file_done, file_total;
        *total += model->manifest.files[i].size;
        if (model->here[i]) {
            *done += model->manifest.files[i].size;
        } else if (cpni_transfer_progress(core->transfer, ticket(model, i), &file_done, &file_total)) {
            *done += file_done;
        }
    }
}

static void tell(struct cpni_worker_core *core, struct cpni_model *model, struct cpni_actions *actions)
{
    struct cpni_msg msg = { .type = CPNI_MSG_HELD };
    msg.held.name = cpni_str(model->name);
    msg.held.version = model->version;
    msg.held.root = model->root;
    msg.held.state = (uint32_t)model->state;
    msg.held.text = cpni_str(model->text);
    if (model->state == CPNI_HELD_FETCHING) {
        bytes_here(core, model, &msg.held.done, &msg.held.total);
        model->told_done = msg.held.done;
    }
    model->told_us = core->now.mono_us;
    model->untold = !cpni_uplink_ready(&core->uplink);
    cpni_uplink_send(&core->uplink, actions, &msg);
}

/* After a WELCOME: what changed since the HELLO that it answers is not in that HELLO. */
void cpni_worker_tell_models(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    struct cpni_model *model, *after;
    HASH_ITER(hh, core->models, model, after) {
        if (model->untold) {
            tell(core, model, actions);
        }
    }
}

/* Its files are needed, or no longer: all or none of them. */
static int hold_files(struct cpni_worker_core *core, struct cpni_model *model, struct cpni_actions *actions)
{
    for (uint32_t i = 0; i < model->manifest.file_count; i++) {
        int rc = cpni_keep_use(&core->keep, &model->manifest.files[i].root);
        if (rc < 0) {
            while (i-- > 0) {
                cpni_keep_drop(&core->keep, &model->manifest.files[i].root, actions);
            }
            return rc;
        }
    }
    model->holds = true;
    return 0;
}

/* Stop fetching, and let go of the files. */
static void release(struct cpni_worker_core *core, struct cpni_model *model, struct cpni_actions *actions)
{
    bool active = !model->waiting && (model->state == CPNI_HELD_FETCHING || model->state == CPNI_HELD_LOADING);
    core->preparing -= active;
    for (uint32_t i = 0; model->state == CPNI_HELD_FETCHING && !model->waiting && i < model->manifest.file_count; i++) {
        cpni_transfer_cancel(core->transfer, ticket(model, i), &core->now, actions);
    }
    if (model->state == CPNI_HELD_LOADING || model->state == CPNI_HELD_READY) {
        struct cpni_action *action = cpni_actions_add(actions, CPNI_ACT_UNMODEL);
        if (action != NULL) {
            action->model.root = model->root;
        }
    }
    for (uint32_t i = 0; model->holds && i < model->manifest.file_count; i++) {
        cpni_keep_drop(&core->keep, &model->manifest.files[i].root, actions);
    }
    model->holds = false;
    model->waiting = false;
}

static void destroy(struct cpni_worker_core *core, struct cpni_model *model)
{
    HASH_DEL(core->models, model);
    cpni_arena_free(&model->arena);
    cpni_free(model);
}

static void fail(struct cpni_worker_core *core, struct cpni_model *model, enum cpni_held_state state, const char *text,
                 struct cpni_actions *actions)
{
    release(core, model, actions);
    model->state = state;
    snprintf(model->text, sizeof model->text, "%s", text);
    struct cpni_log_about who = about(model);
    cpni_log(actions, state == CPNI_HELD_UNMET ? CPNI_LOG_MODEL_UNMET : CPNI_LOG_MODEL_FAILED, &who, "%s", model->text);
    tell(core, model, actions);
}

static void load(struct cpni_worker_core *core, struct cpni_model *model, struct cpni_actions *actions)
{
    struct cpni_manifest *manifest = cpni_arena_alloc(&actions->arena, sizeof *manifest);
    struct cpni_action *action = NULL;
    if (manifest != NULL && cpni_manifest_copy(&actions->arena, &model->manifest, manifest) == 0) {
        action = cpni_actions_add(actions, CPNI_ACT_MODEL);
    }
    if (action == NULL) {
        fail(core, model, CPNI_HELD_FAILED, "out of memory", actions);
        return;
    }
    action->model.root = model->root;
    action->model.manifest = manifest;
    model->state = CPNI_HELD_LOADING;
    tell(core, model, actions);
}

static void begin(struct cpni_worker_core *core, struct cpni_model *model, struct cpni_actions *actions)
{
    model->waiting = false;
    core->preparing++;
    model->missing = model->manifest.file_count;
    int rc = hold_files(core, model, actions);
    for (uint32_t i = 0; rc == 0 && i < model->manifest.file_count; i++) {
        const struct cpni_manifest_file *file = &model->manifest.files[i];
        rc = cpni_transfer_fetch(core->transfer, ticket(model, i), CPNI_TRANSFER_MASTER, &file->root, file->size, false, &core->now, actions);
    }
    if (rc < 0) {
        fail(core, model, CPNI_HELD_FAILED, cpn_strerror(rc), actions);
    } else if (model->missing == 0) {
        load(core, model, actions);
    } else {
        struct cpni_log_about who = about(model);
        cpni_log(actions, CPNI_LOG_MODEL_FETCHING, &who, "%u files", (unsigned)model->missing);
        tell(core, model, actions);
    }
}

static void begin_next(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    struct cpni_model *model, *after;
    HASH_ITER(hh, core->models, model, after) {
        if (core->preparing >= CPNI_NODE_PREPARES_MAX) {
            return;
        }
        if (model->waiting) {
            begin(core, model, actions);
        }
    }
}

/* Failed ones make room for new ones: the master has their text. */
static bool make_room(struct cpni_worker_core *core)
{
    struct cpni_model *model, *after;
    HASH_ITER(hh, core->models, model, after) {
        if (HASH_COUNT(core->models) < CPNI_NODE_MODELS_MAX) {
            return true;
        }
        if (model->state == CPNI_HELD_FAILED || model->state == CPNI_HELD_UNMET) {
            destroy(core, model);
        }
    }
    return HASH_COUNT(core->models) < CPNI_NODE_MODELS_MAX;
}

static struct cpni_model *create(struct cpni_worker_core *core, struct cpni_str name, uint32_t version, const struct cpn_hash *root)
{
    struct cpni_model *model = make_room(core) ? cpni_calloc(1, sizeof *model) : NULL;
    if (model == NULL) {
        return NULL;
    }
    model->root = *root;
    model->serial = ++core->next_serial;
    cpni_str_copy(name, model->name, sizeof model->name);
    model->version = version;
    HASH_ADD(hh, core->models, root, sizeof model->root, model);
    if (cpni_hash_missed(model)) {
        cpni_free(model);
        return NULL;
    }
    return model;
}

static int set_manifest(struct cpni_model *model, const struct cpni_manifest *manifest)
{
    struct cpni_manifest copy;
    int rc = cpni_manifest_copy(&model->arena, manifest, &copy);
    bool *here = rc == 0 ? cpni_arena_alloc(&model->arena, copy.file_count * sizeof *here) : NULL;
    if (here == NULL) {
        return CPN_ENOMEM;
    }
    model->manifest = copy;
    model->here = here;
    return 0;
}

int cpni_worker_known_models(struct cpni_worker_core *core)
{
    struct cpni_actions nowhere = { 0 };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < core->config.model_count; i++) {
        const struct cpni_rec_HELD *held = &core->config.models[i];
        const struct cpni_manifest *manifest = core->config.manifests != NULL ? core->config.manifests[i] : NULL;
        if (find(core, &held->root) != NULL) {
            continue;
        }
        struct cpni_model *model = create(core, held->name, held->version, &held->root);
        if (model == NULL) {
            rc = CPN_ENOMEM;
            break;
        }
        model->state = CPNI_HELD_READY;
        if (manifest != NULL) {
            rc = set_manifest(model, manifest);
            rc = rc < 0 ? rc : hold_files(core, model, &nowhere);
        }
    }
    cpni_actions_free(&nowhere);
    return rc;
}

void cpni_worker_forget_models(struct cpni_worker_core *core)
{
    struct cpni_model *model, *after;
    HASH_ITER(hh, core->models, model, after) {
        destroy(core, model);
    }
}

/* What is wrong with the manifest itself; NULL: nothing. */
static const char *fault(const struct cpni_msg_prepare *msg, const struct cpni_manifest_check *check)
{
    if (check == NULL || check->code != 0) {
        return check != NULL && check->text != NULL ? check->text : "the manifest's signature is not that of its publisher";
    }
    if (memcmp(&check->root, &msg->root, sizeof msg->root) != 0) {
        return "the manifest is not the one that its hash names";
    }
    return cpni_str_equal(check->manifest->name, msg->name) ? NULL : "the manifest names another model";
}

void cpni_worker_prepare(struct cpni_worker_core *core, const struct cpni_msg_prepare *msg, const struct cpni_manifest_check *check,
                         struct cpni_actions *actions)
{
    struct cpni_model *model = find(core, &msg->root);
    if (model != NULL && model->state != CPNI_HELD_FAILED && model->state != CPNI_HELD_UNMET) {
        tell(core, model, actions);
        return;
    }
    if (model != NULL) {
        destroy(core, model);
    }
    model = create(core, msg->name, msg->version, &msg->root);
    if (model == NULL) {
        actions->failed = true; /* the master sees after the next HELLO that the model is not here */
        return;
    }
    const char *wrong = fault(msg, check);
    char text[CPNI_TRANSFER_TEXT];
    if (wrong != NULL) {
        fail(core, model, CPNI_HELD_FAILED, wrong, actions);
    } else if (cpni_worker_unmet(&core->config, check->manifest, text, sizeof text)) {
        fail(core, model, CPNI_HELD_UNMET, text, actions);
    } else if (set_manifest(model, check->manifest) < 0) {
        fail(core, model, CPNI_HELD_FAILED, "out of memory", actions);
    } else {
        model->state = CPNI_HELD_FETCHING;
        model->waiting = true;
        begin_next(core, actions);
    }
}

/* Somebody may have made room on the disk since; whatever else a model failed of stays as it is. */
void cpni_worker_retry_models(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    if (core->now.mono_us < core->retry_us) {
        return;
    }
    core->retry_us = INT64_MAX;
    struct cpni_model *model, *after;
    HASH_ITER(hh, core->models, model, after) {
        if (model->retry_us != 0 && model->retry_us <= core->now.mono_us) {
            model->retry_us = 0;
            model->state = CPNI_HELD_FETCHING;
            model->waiting = true;
            model->text[0] = 0;
            memset(model->here, 0, model->manifest.file_count * sizeof *model->here);
        } else if (model->retry_us != 0) {
            core->retry_us = model->retry_us < core->retry_us ? model->retry_us : core->retry_us;
        }
    }
    begin_next(core, actions);
}

void cpni_worker_model_file(struct cpni_worker_core *core, const struct cpni_transfer_outcome *outcome, struct cpni_actions *actions)
{
    uint64_t serial = (outcome->ticket & ~CPNI_FETCH_KIND) >> CPNI_FETCH_FILES_SHIFT;
    uint32_t index = outcome->ticket & ((1u << CPNI_FETCH_FILES_SHIFT) - 1);
    struct cpni_model *model, *after;
    HASH_ITER(hh, core->models, model, after) {
        if (model->serial == serial) {
            break;
        }
    }
    if (model == NULL || model->state != CPNI_HELD_FETCHING || index >= model->manifest.file_count || model->here[index]) {
        return;
    }
    if (outcome->code != 0) {
        char text[CPNI_TRANSFER_TEXT];
        const struct cpni_manifest_file *file = &model->manifest.files[index];
        snprintf(text, sizeof text, "file %.*s: %.120s", (int)file->name.size, file->name.text, outcome->text);
        fail(core, model, CPNI_HELD_FAILED, text, actions);
        if (outcome->code == CPN_ENOSPC) {
            model->retry_us = core->now.mono_us + (int64_t)CPNI_MODEL_RETRY_MS * 1000;
            core->retry_us = model->retry_us < core->retry_us ? model->retry_us : core->retry_us;
        }
        begin_next(core, actions);
        return;
    }
    model->here[index] = true;
    if (--model->missing == 0) {
        load(core, model, actions);
    }
}

void cpni_worker_loaded(struct cpni_worker_core *core, const struct cpni_event_model *event, struct cpni_actions *actions)
{
    struct cpni_model *model = find(core, &event->root);
    if (model == NULL || model->state != CPNI_HELD_LOADING) {
        return;
    }
    if (event->code != 0) {
        fail(core, model, CPNI_HELD_FAILED, event->text != NULL && event->text[0] != 0 ? event->text : cpn_strerror(event->code), actions);
    } else {
        core->preparing--;
        model->state = CPNI_HELD_READY;
        struct cpni_log_about who = about(model);
        cpni_log(actions, CPNI_LOG_MODEL_READY, &who, "version %u", (unsigned)model->version);
        tell(core, model, actions);
    }
    begin_next(core, actions);
}

void cpni_worker_discard(struct cpni_worker_core *core, const struct cpni_msg_discard *msg, struct cpni_actions *actions)
{
    struct cpni_msg answer = { .type = CPNI_MSG_HELD };
    answer.held.name = msg->name;
    answer.held.version = msg->version;
    answer.held.root = msg->root;
    answer.held.state = CPNI_HELD_NONE;
    struct cpni_model *model = find(core, &msg->root);
    if (model != NULL) {
        struct cpni_log_about who = { .model = msg->name };
        cpni_worker_hand_back(core, &msg->root, CPN_EMODEL, "the model was removed from this node", actions);
        release(core, model, actions);
        cpni_log(actions, CPNI_LOG_MODEL_DISCARDED, &who, "version %u", (unsigned)model->version);
        destroy(core, model);
        begin_next(core, actions);
    }
    cpni_uplink_send(&core->uplink, actions, &answer);
}

void cpni_worker_progress(struct cpni_worker_core *core, struct cpni_actions *actions)
{
    int64_t period_us = (int64_t)CPNI_NODE_PROGRESS_MS * 1000;
    struct cpni_model *model, *after;
    core->progress_us = INT64_MAX;
    HASH_ITER(hh, core->models, model, after) {
        if (core->preparing == 0 || model->state != CPNI_HELD_FETCHING || model->waiting) {
            continue;
        }
        if (core->now.mono_us - model->told_us >= period_us) {
            uint64_t done, total;
            bytes_here(core, model, &done, &total);
            if (done != model->told_done) {
                tell(core, model, actions);
            }
            model->told_us = core->now.mono_us;
        }
        core->progress_us = model->told_us + period_us < core->progress_us ? model->told_us + period_us : core->progress_us;
    }
}
