/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* cpn model push BUNDLE: upload, then tell how the nodes get on with it. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cpn/model.h>

#include "cli.h"
#include "commands.h"
#include "common/signals.h"
#include "common/text.h"

#define POLL_MS 200          /* between two looks at the nodes */
#define PREPARE_MS 600000    /* to wait for the nodes: a gigabyte over a slow line */
#define SHOWN_MAX 4096       /* nodes whose last state is remembered, so that each change is told once */

struct push {
    struct cli *cli;
    const struct cpn_model *model;
    uint32_t version;
    struct shown {
        struct cpn_key key;
        enum cpn_held_state state;
    } *shown;
    size_t shown_count;
    size_t ready, failed, unmet, waiting; /* nodes, at the last look */
};

static void wake(void *client)
{
    cpn_client_wake(client);
}

static int progress(void *arg, uint64_t done, uint64_t total)
{
    struct cli *cli = arg;
    progress_show(&cli->progress, done, total, true, "");
    return signals_seen() ? 1 : 0;
}

/* ---- the nodes ---- */

static const struct cpn_held_info *find_held(const struct cpn_node_info *node, const struct push *push)
{
    for (size_t i = 0; i < node->model_count; i++) {
        if (node->models[i].version == push->version && strcmp(node->models[i].name, cpn_model_name(push->model)) == 0) {
            return &node->models[i];
        }
    }
    return NULL;
}

/* Whether this state of this node is news. */
static bool remember(struct push *push, const struct cpn_key *key, enum cpn_held_state state)
{
    for (size_t i = 0; i < push->shown_count; i++) {
        if (memcmp(&push->shown[i].key, key, sizeof *key) == 0) {
            bool news = push->shown[i].state != state;
            push->shown[i].state = state;
            return news;
        }
    }
    if (push->shown_count < SHOWN_MAX) {
        push->shown[push->shown_count++] = (struct shown){ *key, state };
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
static struct cpn_held_info held_by(const struct cpn_node_info *node, const struct push *push)
{
    static const struct cpn_held_info not_yet = { .text = "", .state = CPN_HELD_NONE };
    static const struct cpn_held_info never = { .text = "this node has no such backend", .state = CPN_HELD_UNMET };
    const struct cpn_held_info *held = find_held(node, push);
    return held != NULL ? *held : has_backend(node, cpn_model_backend(push->model)) ? not_yet : never;
}

static void look_at(struct push *push, const struct cpn_node_info *node)
{
    const struct cpn_held_info held = held_by(node, push);
    enum cpn_held_state state = held.state;
    push->ready += state == CPN_HELD_READY;
    push->failed += state == CPN_HELD_FAILED;
    push->unmet += state == CPN_HELD_UNMET;
    push->waiting += state == CPN_HELD_NONE || state == CPN_HELD_FETCHING || state == CPN_HELD_LOADING;
    if (state == CPN_HELD_NONE || !remember(push, &node->key, state) || push->cli->json) {
        return;
    }
    char line[512];
    snprintf(line, sizeof line, "%s: %s%s%s", node->name, cpn_held_state_name(state), *held.text != 0 ? ": " : "", held.text);
    printf("%s\n", text_clean(line));
    fflush(stdout);
}

/* 0, or an error of the question. */
static int look(struct push *push)
{
    struct cpn_node_info *nodes = NULL;
    size_t count = 0;
    int rc = cpn_client_nodes(push->cli->client, cli_timeout_ms(push->cli), &nodes, &count);
    if (rc < 0) {
        return rc;
    }
    push->ready = push->failed = push->unmet = push->waiting = 0;
    for (size_t i = 0; i < count; i++) {
        if (nodes[i].state != CPN_NODE_GONE && !nodes[i].revoked) {
            look_at(push, &nodes[i]);
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

static int wait_for_nodes(struct push *push)
{
    int64_t deadline_ms = now_ms() + PREPARE_MS;
    int rc = look(push);
    while (rc == 0 && push->waiting > 0 && !signals_seen() && now_ms() < deadline_ms) {
        cpn_client_dispatch(push->cli->client, POLL_MS);
        rc = look(push);
    }
    if (signals_seen()) {
        return EXIT_CODE_INTERRUPTED;
    }
    if (rc < 0) {
        return cli_fail(push->cli, "", rc);
    }
    return push->waiting > 0 ? EXIT_CODE_UNREACHABLE : push->failed > 0 || (push->ready == 0 && push->unmet > 0) ? EXIT_CODE_PARTLY : EXIT_CODE_OK;
}

static void tell(const struct push *push, bool waited)
{
    const char *name = cpn_model_name(push->model);
    if (push->cli->json) {
        cli_print_json(json_pack("{so sI sI sI sI sI}", "name", cli_json_text(name), "version", (json_int_t)push->version, "ready",
            (json_int_t)push->ready, "failed", (json_int_t)push->failed, "unmet", (json_int_t)push->unmet, "preparing",
            (json_int_t)push->waiting), false);
    } else if (waited && push->ready + push->failed + push->unmet + push->waiting == 0) {
        printf("%s@%u is published. No node is connected; nodes prepare it when they come.\n", name, push->version);
    } else if (waited) {
        printf("%s@%u: ready on %zu, failed on %zu, requirements not met on %zu, not yet on %zu\n", name, push->version, push->ready,
               push->failed, push->unmet, push->waiting);
    }
}

/* ---- the whole ---- */

static int publish(struct push *push)
{
    struct cli *cli = push->cli;
    progress_start(&cli->progress, "", !cli->json);
    int rc = cpn_client_publish(cli->client, push->model, progress, cli, PREPARE_MS, &push->version);
    progress_clear(&cli->progress);
    if (signals_seen()) {
        fprintf(stderr, "cpn model push: interrupted; what was uploaded is used when you push it again\n");
        return EXIT_CODE_INTERRUPTED;
    }
    if (rc < 0) {
        return cli_fail(cli, cpn_model_name(push->model), rc);
    }
    if (!cli->json) {
        char size[TEXT_SHORT];
        printf("%s@%u published (%s, backend %s)\n", cpn_model_name(push->model), push->version,
               text_bytes(cpn_model_bytes(push->model), size), cpn_model_backend(push->model));
        fflush(stdout);
    }
    return EXIT_CODE_OK;
}

static int push_bundle(struct cli *cli, const char *dir, bool no_wait)
{
    static struct shown shown[SHOWN_MAX];
    struct cpn_model *model = NULL;
    char detail[CPN_DETAIL] = "";
    int rc = cpn_model_open(dir, &model, detail);
    if (rc < 0) {
        fprintf(stderr, "cpn model push: %s\n", *detail != 0 ? text_clean(detail) : cpn_strerror(rc));
        return exit_code_of(rc);
    }
    int status = cli_connect(cli);
    struct push push = { .cli = cli, .model = model, .shown = shown };
    if (status == 0) {
        signals_install(wake, cli->client);
        status = publish(&push);
        if (status == 0) {
            status = no_wait ? EXIT_CODE_OK : wait_for_nodes(&push);
            tell(&push, !no_wait);
        }
        signals_restore();
    }
    cpn_model_free(model);
    return status;
}

int command_model_push(int argc, char **argv)
{
    struct cli cli;
    bool no_wait = false;
    int status;
    const struct setting items[] = { { "no-wait", 0, SETTING_FLAG, &no_wait, NULL, "end when it is published; do not watch the nodes prepare it" } };
    const struct cli_usage usage = { "cpn model push", "BUNDLE [--no-wait]",
        "Publish a bundle as the next version of its model, and wait until the nodes that are there have prepared it.\n"
        "Status 1: a node failed to, or none can. The same bundle again is the same version.\n", items, 1, 1, 1 };
    int first = cli_parse(&cli, &usage, argc, argv, &status);
    if (first < 0) {
        return status;
    }
    return cli_end(&cli, push_bundle(&cli, argv[first], no_wait));
}
