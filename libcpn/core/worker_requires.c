/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Whether a node has what a manifest requires, and if not, the sentence that says what is missing. */
#include <stdio.h>
#include <string.h>

#include "core/worker_priv.h"

/* The number that a text is; UINT64_MAX for what is none, so that nothing satisfies it. */
static uint64_t number(struct cpni_str text)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        if (text.text[i] < '0' || text.text[i] > '9' || value > UINT64_MAX / 10 - 1) {
            return UINT64_MAX;
        }
        value = value * 10 + (uint64_t)(text.text[i] - '0');
    }
    return text.size != 0 ? value : UINT64_MAX;
}

/* "4.10.0" against "4.6": number by number, a missing one is 0; what stands behind them ("-dev") counts for nothing. */
static int compare_versions(struct cpni_str a, struct cpni_str b)
{
    uint32_t i = 0, j = 0;
    while (i < a.size || j < b.size) {
        uint64_t x = 0, y = 0;
        for (; i < a.size && a.text[i] >= '0' && a.text[i] <= '9' && x < UINT32_MAX; i++) {
            x = x * 10 + (uint64_t)(a.text[i] - '0');
        }
        for (; j < b.size && b.text[j] >= '0' && b.text[j] <= '9' && y < UINT32_MAX; j++) {
            y = y * 10 + (uint64_t)(b.text[j] - '0');
        }
        if (x != y) {
            return x < y ? -1 : 1;
        }
        i = i < a.size && a.text[i] == '.' ? i + 1 : a.size;
        j = j < b.size && b.text[j] == '.' ? j + 1 : b.size;
    }
    return 0;
}

static bool find_backend(const struct cpni_worker_config *config, struct cpni_str name, struct cpni_str *version)
{
    for (size_t i = 0; i < config->backend_count; i++) {
        struct cpni_str entry = config->backends[i];
        bool same = entry.size >= name.size && memcmp(entry.text, name.text, name.size) == 0;
        if (same && entry.size == name.size) {
            *version = (struct cpni_str){ 0 };
            return true;
        }
        if (same && entry.text[name.size] == ' ') {
            *version = (struct cpni_str){ .text = entry.text + name.size + 1, .size = entry.size - name.size - 1 };
            return true;
        }
    }
    return false;
}

static bool is(struct cpni_str str, const char *text)
{
    return cpni_str_equal(str, cpni_str(text));
}

/* One line of the requirements; true: not met, and why stands in `text`. */
static bool lacks(const struct cpni_worker_config *config, const struct cpni_manifest_pair *pair, struct cpni_str backend_version,
                  char *text, size_t room)
{
    int size = (int)pair->value.size;
    const char *value = pair->value.size != 0 ? pair->value.text : "";
    if (is(pair->key, "memory")) {
        snprintf(text, room, "the model requires %.*s bytes of memory, this node has %llu", size, value, (unsigned long long)config->memory);
        return config->memory < number(pair->value);
    }
    if (is(pair->key, "cores")) {
        snprintf(text, room, "the model requires %.*s cores, this node has %u", size, value, (unsigned)config->cores);
        return config->cores < number(pair->value);
    }
    if (is(pair->key, "gpu")) {
        snprintf(text, room, "the model requires a GPU, this node has none");
        return config->gpu.size == 0 && !is(pair->value, "0") && !is(pair->value, "no") && !is(pair->value, "false");
    }
    if (is(pair->key, "backend")) {
        snprintf(text, room, "the model requires version %.*s of its backend, this node has %.*s", size, value, (int)backend_version.size,
                 backend_version.size != 0 ? backend_version.text : "");
        return compare_versions(backend_version, pair->value) < 0;
    }
    snprintf(text, room, "the model requires '%.*s', which this worker does not know", (int)pair->key.size, pair->key.text);
    return true;
}

bool cpni_worker_unmet(const struct cpni_worker_config *config, const struct cpni_manifest *manifest, char *text, size_t room)
{
    struct cpni_str version;
    if (!find_backend(config, manifest->backend, &version)) {
        snprintf(text, room, "this node has no backend '%.*s'", (int)manifest->backend.size, manifest->backend.text);
        return true;
    }
    for (uint32_t i = 0; i < manifest->requires_count; i++) {
        if (lacks(config, &manifest->requires[i], version, text, room)) {
            return true;
        }
    }
    return false;
}
