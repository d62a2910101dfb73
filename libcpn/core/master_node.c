/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The registry of nodes: what each one offers now, what it can take, and how it comes and goes. Must not know tasks or models beyond
 * telling them that a node came or went. */
#include "core/master_state.h"

struct cpni_mnode *cpni_mnode_of(struct cpni_master_core *core, struct cpni_midentity *identity)
{
    if (identity->node != NULL) {
        return identity->node;
    }
    struct cpni_mnode *node = cpni_calloc(1, sizeof *node);
    if (node == NULL) {
        if (core->out != NULL) {
            core->out->failed = true;
        }
        return NULL;
    }
    node->identity = identity;
    node->number = ++core->last_node;
    identity->node = node;
    DL_APPEND(core->nodes, node);
    return node;
}

void cpni_mnode_free(struct cpni_master_core *core, struct cpni_mnode *node)
{
    struct cpni_mheld *held, *next;
    HASH_ITER(hh, node->held, held, next) {
        cpni_mheld_free(core, held);
    }
    DL_DELETE(core->nodes, node);
    node->identity->node = NULL;
    cpni_arena_free(&node->arena);
    cpni_free(node);
}

/* What a HELLO says of the machine and the program. On failure the node keeps its old description. */
int cpni_mnode_describe(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_hello *hello)
{
    struct cpni_msg msg = { .type = CPNI_MSG_HELLO }, copy;
    msg.hello.software = hello->software;
    msg.hello.gpu = hello->gpu;
    msg.hello.backends = hello->backends;
    msg.hello.backends_count = hello->backends_count;
    struct cpni_arena arena = { 0 };
    if (cpni_arena_reserve(&arena, cpni_msg_copy_bytes(&msg)) < 0 || cpni_msg_copy(&arena, &msg, &copy) < 0) {
        cpni_arena_free(&arena);
        core->out->failed = true;
        return CPN_ENOMEM;
    }
    cpni_arena_free(&node->arena);
    node->arena = arena;
    node->software = copy.hello.software;
    node->gpu = copy.hello.gpu;
    node->backends = copy.hello.backends;
    node->backend_count = copy.hello.backends_count;
    node->slots = hello->slots < CPNI_SLOTS_MAX ? hello->slots : CPNI_SLOTS_MAX;
    node->cores = hello->cores;
    node->memory = hello->memory;
    node->draining = hello->draining;
    node->credit_tasks = hello->credit_tasks;
    node->credit_bytes = hello->credit_bytes;
    return 0;
}

bool cpni_mnode_backend(const struct cpni_mnode *node, struct cpni_str backend, struct cpni_str *version)
{
    for (uint32_t i = 0; i < node->backend_count; i++) {
        struct cpni_str text = node->backends[i].text;
        if (text.size < backend.size || backend.size == 0 || memcmp(text.text, backend.text, backend.size) != 0) {
            continue;
        }
        if (text.size == backend.size) {
            *version = (struct cpni_str){ 0 };
            return true;
        }
        if (text.text[backend.size] == ' ') {
            *version = (struct cpni_str){ .text = text.text + backend.size + 1, .size = text.size - backend.size - 1 };
            return true;
        }
    }
    return false;
}

static void log_arrival(struct cpni_master_core *core, const struct cpni_mnode *node)
{
    struct cpni_log_about about = cpni_mabout_node(core, node->identity);
    cpni_log(core->out, node->seen ? CPNI_LOG_NODE_RETURNED : CPNI_LOG_NODE_JOINED, &about,
             "%u slots, %u cores, %u backends, %.*s", node->slots, node->cores, node->backend_count, (int)node->software.size,
             node->software.text != NULL ? node->software.text : "");
}

void cpni_mnode_join(struct cpni_master_core *core, struct cpni_mnode *node, struct cpni_mlink *link, bool anew,
                     const struct cpni_msg_hello *hello)
{
    struct cpni_midentity *identity = node->identity;
    if (memcmp(&node->boot, &hello->boot, sizeof node->boot) != 0) {
        node->replaced = node->boot;
        node->replaced_us = core->now.mono_us;
    }
    node->boot = hello->boot;
    node->link = link;
    if (cpni_mnode_describe(core, node, hello) < 0) {
        return;
    }
    if (anew) {
        log_arrival(core, node);
        identity->total.joins++;
        identity->fresh.joins++;
        if (identity->first_join_us == 0) {
            identity->first_join_us = core->now.wall_us;
        }
        cpni_mstats_flush(core, identity);
    }
    node->seen = true;
    cpni_mlease_inventory(core, node, hello);
    cpni_mprepare_node(core, node, hello, anew);
    cpni_msession_node_joined(core, node, hello);
    core->dirty = true;
}

void cpni_mnode_leave(struct cpni_master_core *core, struct cpni_mnode *node, const char *why)
{
    struct cpni_mheld *held, *next;
    HASH_ITER(hh, node->held, held, next) {
        cpni_mheld_set(core, held, CPNI_HELD_NONE, (struct cpni_str){ 0 });
    }
    cpni_mlease_lost(core, node, why);
    cpni_mclaim_node(core, node);
    cpni_msession_node_left(core, node, why);
    node->link = NULL;
    node->credit_tasks = 0;
    node->load = (struct cpni_msg_beat){ 0 };
    node->identity->last_seen_us = core->now.wall_us;
    cpni_mstats_flush(core, node->identity);
    core->dirty = true;
}

void cpni_mnode_credit(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_credit *credit)
{
    if (credit->draining && !node->draining) {
        struct cpni_log_about about = cpni_mabout_node(core, node->identity);
        cpni_log(core->out, CPNI_LOG_NODE_DRAINING, &about, "it ends when %u tasks are done", node->lease_count);
    }
    node->credit_tasks = credit->tasks;
    node->credit_bytes = credit->bytes;
    node->draining = credit->draining;
    core->dirty = true;
}

/* Also where an idle node's last sight is recorded now and then, so that the next master knows whom to wait for. */
void cpni_mnode_beat(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_beat *beat)
{
    struct cpni_midentity *identity = node->identity;
    node->load = *beat;
    identity->last_seen_us = core->now.wall_us;
    if (identity->last_seen_us - identity->recorded_seen_us >= (int64_t)CPNI_SEEN_MS * 1000) {
        cpni_mstats_touch(core, identity);
    }
}

void cpni_mnode_drain(struct cpni_master_core *core, struct cpni_mnode *node, bool drain)
{
    if (node->drained == drain) {
        return;
    }
    node->drained = drain;
    core->dirty = true;
    struct cpni_log_about about = cpni_mabout_node(core, node->identity);
    cpni_log(core->out, drain ? CPNI_LOG_NODE_DRAINING : CPNI_LOG_NODE_RESUMED, &about, "by an admin");
}

enum cpni_node_state cpni_mnode_state(const struct cpni_mnode *node)
{
    if (node->link == NULL) {
        return node->identity->first_join_us == 0 ? CPNI_NODE_JOINING : CPNI_NODE_GONE;
    }
    if (node->peer != NULL) {
        return CPNI_NODE_TRAINING;
    }
    if (node->drained || node->draining) {
        return CPNI_NODE_DRAINING;
    }
    bool ready = false, preparing = false;
    const struct cpni_mheld *held;
    for (held = node->held; held != NULL; held = held->hh.next) {
        ready = ready || held->state == CPNI_HELD_READY;
        preparing = preparing || held->state == CPNI_HELD_FETCHING || held->state == CPNI_HELD_LOADING;
    }
    if (preparing && !ready) {
        return CPNI_NODE_PREPARING;
    }
    return node->lease_count >= node->slots && node->lease_count != 0 ? CPNI_NODE_BUSY : CPNI_NODE_READY;
}
