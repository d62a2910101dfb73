/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Models and their versions as the master knows them, which one a name means, and how far each node has one (DESIGN §7).
 * Must not know who publishes or how files travel. */
#include "core/master_state.h"

#include <stdio.h>

struct cpni_mmodel *cpni_mmodel_find(const struct cpni_master_core *core, struct cpni_str name)
{
    struct cpni_mmodel *model = NULL;
    if (name.size != 0 && name.size < CPNI_NAME) {
        HASH_FIND(hh, core->models, name.text, name.size, model);
    }
    return model;
}

struct cpni_mversion *cpni_mversion_root(const struct cpni_master_core *core, const struct cpn_hash *root)
{
    struct cpni_mversion *version;
    HASH_FIND(hh, core->versions, root, sizeof *root, version);
    return version;
}

static struct cpni_mmodel *find_or_make(struct cpni_master_core *core, struct cpni_str name)
{
    struct cpni_mmodel *model = cpni_mmodel_find(core, name);
    if (model != NULL) {
        return model;
    }
    model = cpni_calloc(1, sizeof *model);
    if (model == NULL) {
        return NULL;
    }
    cpni_str_copy(name, model->name, sizeof model->name);
    HASH_ADD_KEYPTR(hh, core->models, model->name, strlen(model->name), model);
    if (cpni_hash_missed(model)) {
        cpni_free(model);
        return NULL;
    }
    return model;
}

static void drop_empty(struct cpni_master_core *core, struct cpni_mmodel *model)
{
    if (model->versions == NULL) {
        HASH_DEL(core->models, model);
        cpni_free(model);
    }
}

/* ---- a copy of a manifest ---- */

static bool copy_str(struct cpni_arena *arena, struct cpni_str *str)
{
    if (str->size != 0) {
        str->text = cpni_arena_memdup(arena, str->text, str->size);
    }
    return str->text != NULL || str->size == 0;
}

static bool copy_pairs(struct cpni_arena *arena, struct cpni_manifest_pair **pairs, uint32_t count)
{
    struct cpni_manifest_pair *copy = cpni_arena_memdup(arena, *pairs, count * sizeof *copy);
    bool done = copy != NULL;
    for (uint32_t i = 0; done && i < count; i++) {
        done = copy_str(arena, &copy[i].key) && copy_str(arena, &copy[i].value);
    }
    *pairs = copy;
    return done;
}

static bool copy_manifest(struct cpni_arena *arena, const struct cpni_manifest *from, struct cpni_manifest *to)
{
    *to = *from;
    bool done = copy_str(arena, &to->name) && copy_str(arena, &to->backend) && copy_str(arena, &to->sample) &&
                copy_pairs(arena, &to->parameters, to->parameter_count) && copy_pairs(arena, &to->requires, to->requires_count);
    to->files = cpni_arena_memdup(arena, from->files, from->file_count * sizeof *to->files);
    done = done && to->files != NULL;
    for (uint32_t i = 0; done && i < to->file_count; i++) {
        done = copy_str(arena, &to->files[i].name);
    }
    return done;
}

/* ---- versions ---- */

static void insert_sorted(struct cpni_mmodel *model, struct cpni_mversion *version)
{
    struct cpni_mversion *at;
    DL_FOREACH(model->versions, at) {
        if (at->number <= version->number) {
            DL_PREPEND_ELEM(model->versions, at, version);
            return;
        }
    }
    DL_APPEND(model->versions, version);
}

static bool fill(struct cpni_master_core *core, struct cpni_mversion *version, const struct cpn_hash *root,
                 const struct cpni_manifest *manifest)
{
    if (manifest == NULL) {
        return true;
    }
    if (!copy_manifest(&version->arena, manifest, &version->manifest)) {
        return false;
    }
    for (uint32_t i = 0; i < manifest->file_count; i++) {
        version->bytes += manifest->files[i].size;
    }
    version->root = *root;
    HASH_ADD(hh, core->versions, root, sizeof version->root, version);
    if (cpni_hash_missed(version)) {
        return false;
    }
    if (cpni_mblob_files(core, version) < 0) {
        HASH_DEL(core->versions, version);
        return false;
    }
    return true;
}

struct cpni_mversion *cpni_mversion_make(struct cpni_master_core *core, struct cpni_str name, uint32_t number,
                                         const struct cpn_hash *root, const struct cpni_manifest *manifest)
{
    struct cpni_mmodel *model = find_or_make(core, name);
    struct cpni_mversion *version = model == NULL ? NULL : cpni_calloc(1, sizeof *version);
    if (version == NULL || !fill(core, version, root, manifest)) {
        if (model != NULL) {
            drop_empty(core, model);
        }
        if (version != NULL) {
            cpni_arena_free(&version->arena);
        }
        cpni_free(version);
        if (core->out != NULL) {
            core->out->failed = true;
        }
        return NULL;
    }
    version->serial = ++core->last_serial;
    version->number = number;
    version->model = model;
    core->version_count++;
    insert_sorted(model, version);
    return version;
}

void cpni_mversion_number(struct cpni_mversion *version, uint32_t number)
{
    DL_DELETE(version->model->versions, version);
    version->number = number;
    insert_sorted(version->model, version);
}

void cpni_mversion_free(struct cpni_master_core *core, struct cpni_mversion *version)
{
    struct cpni_mheld *held, *next;
    DL_FOREACH_SAFE(version->holders, held, next) {
        cpni_mheld_free(core, held);
    }
    if (!cpni_mhash_zero(&version->root)) {
        if (!version->removed) {
            HASH_DEL(core->versions, version);
        }
        cpni_mblob_unfiles(core, version);
    }
    struct cpni_mmodel *model = version->model;
    DL_DELETE(model->versions, version);
    drop_empty(core, model);
    cpni_bytes_unref(version->manifest_bytes);
    cpni_arena_free(&version->arena);
    core->version_count--;
    cpni_free(version);
}

/* A removed version goes with its last task. A callback's name stays known while a node that served it is. */
void cpni_mversion_release(struct cpni_master_core *core, struct cpni_mversion *version)
{
    bool callback = version->number == 0 && version->live;
    if (version->tasks == 0 && (version->removed || (callback && version->holders == NULL))) {
        cpni_mversion_free(core, version);
    }
}

/* ---- what a name means ---- */

/* How many letters differ, as far as it matters for "did you mean". */
static uint32_t distance(struct cpni_str a, struct cpni_str b)
{
    uint32_t row[CPNI_NAME];
    for (uint32_t k = 0; k <= b.size; k++) {
        row[k] = k;
    }
    for (uint32_t i = 1; i <= a.size; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t k = 1; k <= b.size; k++) {
            uint32_t change = diagonal + (a.text[i - 1] != b.text[k - 1]);
            uint32_t shift = (row[k] < row[k - 1] ? row[k] : row[k - 1]) + 1;
            diagonal = row[k];
            row[k] = change < shift ? change : shift;
        }
    }
    return row[b.size];
}

static bool offered(const struct cpni_mmodel *model)
{
    const struct cpni_mversion *version;
    DL_FOREACH(model->versions, version) {
        if (version->live && !version->removed) {
            return true;
        }
    }
    return false;
}

static void not_found(const struct cpni_master_core *core, struct cpni_str name, char text[CPNI_TASK_TEXT])
{
    struct cpni_str wanted = { .text = name.text, .size = name.size < CPNI_NAME - 1 ? name.size : CPNI_NAME - 1 };
    int used = snprintf(text, CPNI_TASK_TEXT, "no model is called '%.*s'", (int)wanted.size, wanted.text);
    const struct cpni_mmodel *model, *nearest = NULL;
    uint32_t best = 3; /* more than two letters off is another word */
    for (model = core->models; model != NULL; model = model->hh.next) {
        uint32_t off = offered(model) ? distance(wanted, cpni_str(model->name)) : best;
        if (off < best) {
            best = off;
            nearest = model;
        }
    }
    if (nearest != NULL) {
        snprintf(text + used, CPNI_TASK_TEXT - (size_t)used, ": did you mean '%s'?", nearest->name);
        return;
    }
    const char *before = ": there are ";
    uint32_t listed = 0;
    for (model = core->models; model != NULL && listed < 4; model = model->hh.next) {
        if (offered(model)) {
            used += snprintf(text + used, CPNI_TASK_TEXT - (size_t)used, "%s%s", before, model->name);
            before = ", ";
            listed++;
        }
    }
    if (listed == 0) {
        snprintf(text + used, CPNI_TASK_TEXT - (size_t)used, ": there are no models yet (cpn model push DIR)");
    }
}

static struct cpni_mversion *newest(struct cpni_mmodel *model)
{
    struct cpni_mversion *version, *any = NULL;
    DL_FOREACH(model->versions, version) {
        if (!version->live || version->removed) {
            continue;
        }
        if (version->ready != 0) {
            return version;
        }
        any = any != NULL ? any : version;
    }
    return any;
}

static struct cpni_mversion *pinned(struct cpni_mmodel *model, struct cpni_str digits, char text[CPNI_TASK_TEXT])
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < digits.size; i++) {
        char digit = digits.text[i];
        number = digit >= '0' && digit <= '9' && number < UINT32_MAX ? number * 10 + (uint64_t)(digit - '0') : UINT64_MAX / 16;
    }
    struct cpni_mversion *version;
    DL_FOREACH(model->versions, version) {
        if (version->live && !version->removed && version->number == number && digits.size != 0) {
            return version;
        }
    }
    const struct cpni_mversion *last = newest(model);
    snprintf(text, CPNI_TASK_TEXT, "model %s has no version %.*s: the newest is %u", model->name,
             (int)(digits.size < 20 ? digits.size : 20), digits.text, last != NULL ? last->number : 0);
    return NULL;
}

struct cpni_mversion *cpni_mversion_resolve(struct cpni_master_core *core, struct cpni_str name, char text[CPNI_TASK_TEXT])
{
    const char *at = name.size != 0 ? memchr(name.text, '@', name.size) : NULL;
    struct cpni_str base = name;
    if (at != NULL) {
        base.size = (uint32_t)(at - name.text);
    }
    struct cpni_mmodel *model = cpni_mmodel_find(core, base);
    if (model == NULL || !offered(model)) {
        not_found(core, base, text);
        return NULL;
    }
    if (at == NULL) {
        return newest(model);
    }
    return pinned(model, (struct cpni_str){ .text = at + 1, .size = name.size - base.size - 1 }, text);
}

/* ---- how far a node has one ---- */

struct cpni_mheld *cpni_mheld_find(const struct cpni_mnode *node, const struct cpni_mversion *version)
{
    struct cpni_mheld *held;
    HASH_FIND(hh, node->held, &version->serial, sizeof version->serial, held);
    return held;
}

struct cpni_mheld *cpni_mheld_make(struct cpni_master_core *core, struct cpni_mnode *node, struct cpni_mversion *version)
{
    struct cpni_mheld *held = cpni_mheld_find(node, version);
    if (held != NULL) {
        return held;
    }
    held = cpni_calloc(1, sizeof *held);
    if (held == NULL) {
        core->out->failed = true;
        return NULL;
    }
    held->serial = version->serial;
    held->node = node;
    held->version = version;
    HASH_ADD(hh, node->held, serial, sizeof held->serial, held);
    if (cpni_hash_missed(held)) {
        core->out->failed = true;
        cpni_free(held);
        return NULL;
    }
    struct cpni_mheld *at;
    DL_FOREACH(version->holders, at) {
        if (at->node->number > node->number) {
            DL_PREPEND_ELEM(version->holders, at, held);
            return held;
        }
    }
    DL_APPEND(version->holders, held);
    return held;
}

void cpni_mheld_set(struct cpni_master_core *core, struct cpni_mheld *held, enum cpni_held_state state, struct cpni_str text)
{
    bool was = held->state == CPNI_HELD_READY, is = state == CPNI_HELD_READY;
    held->state = state;
    cpni_str_copy(text, held->text, sizeof held->text);
    if (was != is) {
        held->version->ready += is ? 1u : UINT32_MAX;
        core->dirty = true;
    }
}

void cpni_mheld_free(struct cpni_master_core *core, struct cpni_mheld *held)
{
    cpni_mheld_set(core, held, CPNI_HELD_NONE, (struct cpni_str){ 0 });
    HASH_DEL(held->node->held, held);
    DL_DELETE(held->version->holders, held);
    cpni_free(held);
}
