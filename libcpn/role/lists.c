/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See lists.h: its arena stands in front of an array. And the lists that a client can ask for, but for sessions. */
#include "role/lists.h"

#include <stdalign.h>
#include <string.h>

#include "base/alloc.h"

struct cpni_list {
    struct cpni_arena arena;
    alignas(max_align_t) unsigned char rows[];
};

const char *cpni_list_text(struct cpni_list_builder *builder, struct cpni_str from)
{
    char *copy = cpni_arena_alloc(&builder->list->arena, from.size + (size_t)1);
    if (copy == NULL) {
        builder->failed = true;
        return "";
    }
    if (from.size != 0) {
        memcpy(copy, from.text, from.size);
    }
    return copy;
}

void *cpni_list_array(struct cpni_list_builder *builder, size_t count, size_t size)
{
    void *array = cpni_arena_alloc(&builder->list->arena, count * size);
    builder->failed = builder->failed || array == NULL;
    return array;
}

static void take_reply(void *arg, const struct cpni_msg *msg)
{
    struct cpni_list_builder *builder = arg;
    size_t rows = builder->rows_of(&msg->reply);
    struct cpni_list *list = cpni_realloc(builder->list, sizeof *list + (builder->count + rows) * builder->row_size);
    builder->more = msg->reply.more && rows != 0;
    if (list == NULL) {
        builder->failed = true;
        return;
    }
    builder->list = list;
    for (size_t i = 0; i < rows; i++) {
        void *row = list->rows + builder->count * builder->row_size;
        memset(row, 0, builder->row_size);
        builder->convert(builder, row, &msg->reply, i);
        builder->count++;
    }
}

static int64_t us(uint64_t ms)
{
    return (int64_t)ms * 1000;
}

/* ---- one converter a table ---- */

static size_t node_rows(const struct cpni_msg_reply *reply)
{
    return reply->nodes_count;
}

static void convert_node(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index)
{
    const struct cpni_rec_NODE *from = &reply->nodes[index];
    const char **backends = cpni_list_array(builder, from->backends_count, sizeof *backends);
    struct cpn_held_info *models = cpni_list_array(builder, from->models_count, sizeof *models);
    for (size_t i = 0; backends != NULL && i < from->backends_count; i++) {
        backends[i] = cpni_list_text(builder, from->backends[i].text);
    }
    for (size_t i = 0; models != NULL && i < from->models_count; i++) {
        models[i].name = cpni_list_text(builder, from->models[i].name);
        models[i].version = from->models[i].version;
        models[i].state = (enum cpn_held_state)from->models[i].state;
        models[i].text = cpni_list_text(builder, from->models[i].text);
    }
    *(struct cpn_node_info *)row = (struct cpn_node_info){
        .key = from->key,
        .name = cpni_list_text(builder, from->name),
        .state = (enum cpn_node_state)from->state,
        .revoked = from->revoked,
        .slots = from->slots,
        .busy = from->busy,
        .queued = from->queued,
        .cores = from->cores,
        .memory = from->memory,
        .rss = from->rss,
        .gpu = cpni_list_text(builder, from->gpu),
        .software = cpni_list_text(builder, from->software),
        .backends = backends,
        .backend_count = from->backends_count,
        .models = models,
        .model_count = from->models_count,
        .history = { us(from->first_join_ms), us(from->last_seen_ms), from->tasks, from->failures, from->busy_us, from->bytes_in,
                     from->bytes_out, from->joins, from->losses },
    };
}

static size_t user_rows(const struct cpni_msg_reply *reply)
{
    return reply->users_count;
}

static void convert_user(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index)
{
    const struct cpni_rec_USER *from = &reply->users[index];
    *(struct cpn_user_info *)row = (struct cpn_user_info){
        .key = from->key,
        .name = cpni_list_text(builder, from->name),
        .role = (enum cpn_role)from->role,
        .publish = from->publish,
        .revoked = from->revoked,
        .links = from->links,
        .history = { us(from->first_join_ms), us(from->last_seen_ms), from->tasks, from->failures, from->busy_us, from->bytes_in,
                     from->bytes_out, 0, 0 },
    };
}

static size_t model_rows(const struct cpni_msg_reply *reply)
{
    return reply->models_count;
}

static void convert_model(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index)
{
    const struct cpni_rec_MODEL *from = &reply->models[index];
    *(struct cpn_model_info *)row = (struct cpn_model_info){
        .name = cpni_list_text(builder, from->name),
        .version = from->version,
        .backend = cpni_list_text(builder, from->backend),
        .root = from->root,
        .bytes = from->bytes,
        .added_us = us(from->added_ms),
        .publisher = cpni_list_text(builder, from->publisher),
        .ready = from->ready,
        .preparing = from->preparing,
        .failed = from->failed,
        .text = cpni_list_text(builder, from->text),
    };
}

static size_t task_rows(const struct cpni_msg_reply *reply)
{
    return reply->jobs_count;
}

static void convert_task(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index)
{
    const struct cpni_rec_JOB *from = &reply->jobs[index];
    *(struct cpn_task_info *)row = (struct cpn_task_info){
        .id = from->task,
        .model = cpni_list_text(builder, from->model),
        .version = from->version,
        .state = (enum cpn_task_state)from->state,
        .user = cpni_list_text(builder, from->user),
        .node = cpni_list_text(builder, from->node),
        .name = cpni_list_text(builder, from->input_name),
        .attempt = from->attempt,
        .age_us = from->age_ms * 1000,
        .bytes = from->input_bytes,
        .text = cpni_list_text(builder, from->text),
    };
}

static size_t token_rows(const struct cpni_msg_reply *reply)
{
    return reply->tokens_count;
}

static void convert_token(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index)
{
    const struct cpni_rec_TOKEN *from = &reply->tokens[index];
    *(struct cpn_token_info *)row = (struct cpn_token_info){
        .key = from->key,
        .role = (enum cpn_role)from->role,
        .name = cpni_list_text(builder, from->name),
        .expires_us = us(from->expires_ms),
        .uses_left = from->uses_left,
        .revoked = from->revoked,
    };
}

static size_t event_rows(const struct cpni_msg_reply *reply)
{
    return reply->notes_count;
}

static void convert_event(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index)
{
    const struct cpni_rec_NOTE *from = &reply->notes[index];
    *(struct cpn_event_info *)row = (struct cpn_event_info){
        .number = from->sequence,
        .wall_us = us(from->at_ms),
        .level = (enum cpn_log_level)from->level,
        .event = cpni_list_text(builder, from->event),
        .node = cpni_list_text(builder, from->node),
        .task = cpni_list_text(builder, from->task),
        .model = cpni_list_text(builder, from->model),
        .text = cpni_list_text(builder, from->text),
    };
}

/* ---- asking ---- */

int cpni_list_more(struct cpn_client *client, struct cpni_list_builder *builder, struct cpni_msg_query query, int timeout_ms)
{
    const int64_t until_us = cpni_client_until(timeout_ms);
    int rc;
    builder->list = builder->list != NULL ? builder->list : cpni_calloc(1, sizeof *builder->list);
    if (builder->list == NULL) {
        return CPN_ENOMEM;
    }
    do {
        struct cpni_msg msg = { .type = CPNI_MSG_QUERY };
        struct cpni_ask question = { .reply = take_reply, .arg = builder };
        if (query.what != CPNI_QUERY_EVENTS) { /* tables come in pages, events in one: of them `since` is a number of theirs */
            query.since = builder->count;
        }
        msg.query = query;
        rc = cpni_client_request(client, &msg, &question, cpni_client_left_ms(until_us));
    } while (rc == 0 && builder->more && !builder->failed && query.what != CPNI_QUERY_EVENTS);
    return rc == 0 && builder->failed ? CPN_ENOMEM : rc;
}

void *cpni_list_rows(const struct cpni_list_builder *builder)
{
    return builder->list != NULL ? builder->list->rows : NULL;
}

int cpni_list_ask(struct cpn_client *client, struct cpni_list_builder *builder, struct cpni_msg_query query, int timeout_ms, void **out,
                  size_t *count)
{
    int rc = cpni_list_more(client, builder, query, timeout_ms);
    if (rc < 0) {
        cpn_client_free_list(cpni_list_rows(builder));
        return rc;
    }
    *out = cpni_list_rows(builder);
    *count = builder->count;
    return 0;
}

void cpn_client_free_list(void *rows)
{
    if (rows != NULL) {
        struct cpni_list *list = (struct cpni_list *)(void *)((unsigned char *)rows - offsetof(struct cpni_list, rows));
        cpni_arena_free(&list->arena);
        cpni_free(list);
    }
}

char *cpni_list_bytes(const void *data, size_t size)
{
    struct cpni_list *list = cpni_calloc(1, sizeof *list + size + 1);
    if (list == NULL) {
        return NULL;
    }
    memcpy(list->rows, data, size);
    return (char *)list->rows;
}

#define TABLE(function, type, what_, name)                                                                           \
    int function(struct cpn_client *client, int timeout_ms, struct type **out, size_t *count)                        \
    {                                                                                                                \
        struct cpni_list_builder builder = { .row_size = sizeof(struct type), .convert = convert_##name, .rows_of = name##_rows }; \
        void *rows;                                                                                                  \
        int rc = cpni_list_ask(client, &builder, (struct cpni_msg_query){ .what = (what_) }, timeout_ms, &rows, count);        \
        if (rc == 0) {                                                                                               \
            *out = rows;                                                                                             \
        }                                                                                                            \
        return rc;                                                                                                   \
    }

TABLE(cpn_client_nodes, cpn_node_info, CPNI_QUERY_NODES, node)
TABLE(cpn_client_users, cpn_user_info, CPNI_QUERY_USERS, user)
TABLE(cpn_client_models, cpn_model_info, CPNI_QUERY_MODELS, model)
TABLE(cpn_client_tasks, cpn_task_info, CPNI_QUERY_TASKS, task)
TABLE(cpn_client_tokens, cpn_token_info, CPNI_QUERY_TOKENS, token)

int cpn_client_events(struct cpn_client *client, const char *filter, uint64_t since, uint32_t limit, int timeout_ms,
                      struct cpn_event_info **out, size_t *count)
{
    struct cpni_list_builder builder = { .row_size = sizeof(struct cpn_event_info), .convert = convert_event, .rows_of = event_rows };
    const struct cpni_msg_query query = { .what = CPNI_QUERY_EVENTS, .name = cpni_str(filter), .since = since, .limit = limit };
    void *rows;
    int rc = cpni_list_ask(client, &builder, query, timeout_ms, &rows, count);
    if (rc == 0) {
        *out = rows;
    }
    return rc;
}

/* ---- names of states ---- */

#define NAME_OF(names, value) ((size_t)(value) < sizeof(names) / sizeof((names)[0]) ? (names)[value] : "?")

const char *cpn_node_state_name(enum cpn_node_state state)
{
    static const char *const names[] = { "gone", "joining", "preparing", "ready", "busy", "draining", "training" };
    return NAME_OF(names, state);
}

const char *cpn_held_state_name(enum cpn_held_state state)
{
    static const char *const names[] = { "none", "fetching", "loading", "ready", "failed", "unmet" };
    return NAME_OF(names, state);
}

const char *cpn_task_state_name(enum cpn_task_state state)
{
    static const char *const names[] = { "?", "uploading", "queued", "placed", "running", "fetching", "delivering", "parked" };
    return NAME_OF(names, state);
}
