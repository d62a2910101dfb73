/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See prepare.h. */
#include "prepare.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/signals.h"
#include "common/text.h"

#define POLL_MS 200       /* between two looks at the nodes */
#define PREPARE_MS 600000 /* to wait for the nodes: a gigabyte over a slow line */
#define SHOWN_MAX 4096    /* nodes whose last state is remembered, so that each change is told once */

static struct shown {
    struct cpn_key key;
    enum cpn_held_state state;
} shown[SHOWN_MAX]; /* of the one model that a command waits for */

static const struct cpn_held_info *find_held(const struct cpn_node_info *node, const struct prepare *prepare)
{
    for (size_t i = 0; i < node->model_count; i++) {
        if (node->models[i].version == prepare->version && strcmp(node->models[i].name, prepare->name) == 0) {
            return &node->models[i];
        }
    }
    return NULL;
}

/* Whether this state of this node is news. */
static bool remember(struct prepare *prepare, const struct cpn_key *key, enum cpn_held_state state)
{
    for (size_t i = 0; i < prepare->shown_count; i++) {
        if (memcmp(&shown[i].key, key, sizeof *key) == 0) {
            bool news = shown[i].state != state;
            shown[i].state = state;
            return news;
        }
    }
    if (prepare->shown_count < SHOWN_MAX) {
        shown[prepare->shown_count++] = (struct shown){ *key, state };
    }
    return true;
}

/* "opencv.face 4.6.0" is backend "opencv.face". */
static bool has_backend(const struct cpn_node_info *node, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < node->backend_count; i++) {
        const char *backend = node->backends[i];
        if (strncmp(backend, name, length) == 0 && (backend[length] == 0 || backend[length] == ' ')) {
            return true;
        }
    }
    return false;
}

/* Nodes without the backend are not asked to prepare the model, so the master says nothing about them. */
static struct cpn_held_info held_by(const struct cpn_node_info *node, const struct prepare *prepare)
{
    static const struct cpn_held_info not_yet = { .text = "", .state = CPN_HELD_NONE };
    static const struct cpn_held_info never = { .text = "this node has no such backend", .state = CPN_HELD_UNMET };
    const struct cpn_held_info *held = find_held(node, prepare);
    return held != NULL ? *held : has_backend(node, prepare->backend) ? not_yet : never;
}

static void look_at(struct prepare *prepare, const struct cpn_node_info *node)
{
    const struct cpn_held_info held = held_by(node, prepare);
    enum cpn_held_state state = held.state;
    prepare->ready += state == CPN_HELD_READY;
    prepare->failed += state == CPN_HELD_FAILED;
    prepare->unmet += state == CPN_HELD_UNMET;
    prepare->waiting += state == CPN_HELD_NONE || state == CPN_HELD_FETCHING || state == CPN_HELD_LOADING;
    if (state == CPN_HELD_NONE || !remember(prepare, &node->key, state) || prepare->cli->json) {
        return;
    }
    char line[512];
    snprintf(line, sizeof line, "%s: %s%s%s", node->name, cpn_held_state_name(state), *held.text != 0 ? ": " : "", held.text);
    printf("%s\n", text_clean(line));
    fflush(stdout);
}

/* 0, or an error of the question. */
static int look(struct prepare *prepare)
{
    struct cpn_node_info *nodes = NULL;
    size_t count = 0;
    int rc = cpn_client_nodes(prepare->cli->client, cli_timeout_ms(prepare->cli), &nodes, &count);
    if (rc < 0) {
        return rc;
    }
    prepare->ready = prepare->failed = prepare->unmet = prepare->waiting = 0;
    for (size_t i = 0; i < count; i++) {
        if (nodes[i].state != CPN_NODE_GONE && !nodes[i].revoked) {
            look_at(prepare, &nodes[i]);
        }
    }
    cpn_client_free_list(nodes);
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int prepare_wait(struct prepare *prepare)
{
    int64_t deadline_ms = now_ms() + PREPARE_MS;
    int rc = look(prepare);
    while (rc == 0 && prepare->waiting > 0 && !signals_seen() && now_ms() < deadline_ms) {
        cpn_client_dispatch(prepare->cli->client, POLL_MS);
        rc = look(prepare);
    }
    if (signals_seen()) {
        return EXIT_CODE_INTERRUPTED;
    }
    if (rc < 0) {
        return cli_fail(prepare->cli, "", rc);
    }
    bool none_can = prepare->ready == 0 && prepare->unmet > 0;
    return prepare->waiting > 0 ? EXIT_CODE_UNREACHABLE : prepare->failed > 0 || none_can ? EXIT_CODE_PARTLY : EXIT_CODE_OK;
}

json_t *prepare_json(const struct prepare *prepare)
{
    return json_pack("{so sI sI sI sI sI}", "name", cli_json_text(prepare->name), "version", (json_int_t)prepare->version, "ready",
                     (json_int_t)prepare->ready, "failed", (json_int_t)prepare->failed, "unmet", (json_int_t)prepare->unmet,
                     "preparing", (json_int_t)prepare->waiting);
}

void prepare_tell(const struct prepare *prepare)
{
    if (prepare->ready + prepare->failed + prepare->unmet + prepare->waiting == 0) {
        printf("%s@%u is published. No node is connected; nodes prepare it when they come.\n", prepare->name, prepare->version);
    } else {
        printf("%s@%u: ready on %zu, failed on %zu, requirements not met on %zu, not yet on %zu\n", prepare->name, prepare->version,
               prepare->ready, prepare->failed, prepare->unmet, prepare->waiting);
    }
}
