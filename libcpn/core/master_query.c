/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* QUERY: what people see of the network. Read only. Rows come in the order in which things became known; `since` skips as many rows (of
 * events: it is the number of the last one seen) and `more` says that there are others. Everybody sees nodes, models and events; tasks
 * and users only their own, admins all; join tokens admins alone. */
#include "core/master_page.h"

#define ROW_BYTES 400 /* of a row's numbers, keys and short names */

static bool named(struct cpni_str filter, const char *name)
{
    return filter.size == 0 || cpni_str_equal(filter, cpni_str(name));
}

static uint64_t ms_of(int64_t wall_us)
{
    return wall_us > 0 ? (uint64_t)wall_us / 1000 : 0;
}

/* ---- nodes ---- */

static void fill_held(struct cpni_master_core *core, const struct cpni_mnode *node, struct cpni_rec_NODE *row)
{
    row->models = cpni_mpage_room(core, CPNI_REPLY_HELD_MAX, sizeof *row->models);
    const struct cpni_mheld *held;
    for (held = node->held; held != NULL && row->models != NULL && row->models_count < CPNI_REPLY_HELD_MAX; held = held->hh.next) {
        if (held->state == CPNI_HELD_NONE) {
            continue;
        }
        struct cpni_rec_HELD *model = &row->models[row->models_count++];
        model->name = cpni_str(held->version->model->name);
        model->version = held->version->number;
        model->root = held->version->root;
        model->state = (uint32_t)held->state;
        bool moving = held->state == CPNI_HELD_FETCHING && held->total != 0;
        model->text = moving ? cpni_actions_text(core->out, "%llu of %llu bytes", (unsigned long long)held->done,
                                                 (unsigned long long)held->total)
                             : cpni_str(held->text);
    }
}

static void fill_node(struct cpni_master_core *core, const struct cpni_mnode *node, struct cpni_rec_NODE *row)
{
    const struct cpni_midentity *identity = node->identity;
    *row = (struct cpni_rec_NODE){ .key = identity->key, .name = cpni_str(identity->name),
        .state = (uint32_t)cpni_mnode_state(node), .slots = node->slots, .cores = node->cores, .memory = node->memory,
        .gpu = node->gpu, .backends = node->backends, .backends_count = node->backend_count, .software = node->software,
        .rss = node->load.rss, .revoked = identity->revoked, .tasks = identity->total.tasks,
        .failures = identity->total.failures, .busy_us = identity->total.busy_us, .bytes_in = identity->total.bytes_in,
        .bytes_out = identity->total.bytes_out, .joins = identity->total.joins, .losses = identity->total.losses,
        .first_join_ms = ms_of(identity->first_join_us), .last_seen_ms = ms_of(identity->last_seen_us) };
    row->busy = node->lease_count < node->slots ? node->lease_count : node->slots;
    row->queued = node->lease_count - row->busy;
    fill_held(core, node, row);
}

static void query_nodes(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    struct cpni_mpage page = cpni_mpage_of(query);
    struct cpni_msg msg = { 0 };
    msg.reply.nodes = cpni_mpage_room(core, page.limit, sizeof *msg.reply.nodes);
    const struct cpni_mnode *node;
    DL_FOREACH(core->nodes, node) {
        if (msg.reply.nodes != NULL && named(query->name, node->identity->name) && cpni_mpage_take(&page, ROW_BYTES)) {
            struct cpni_rec_NODE *row = &msg.reply.nodes[page.count - 1];
            fill_node(core, node, row);
            page.bytes += (size_t)row->models_count * ROW_BYTES + (size_t)row->backends_count * CPNI_NAME;
        }
    }
    msg.reply.nodes_count = page.count;
    cpni_mpage_reply(core, conn, &msg, query, &page);
}

/* ---- users ---- */

static void query_users(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    struct cpni_mpage page = cpni_mpage_of(query);
    struct cpni_msg msg = { 0 };
    msg.reply.users = cpni_mpage_room(core, page.limit, sizeof *msg.reply.users);
    const struct cpni_midentity *asks = conn->link->identity, *user;
    for (user = core->identities; user != NULL && msg.reply.users != NULL; user = user->hh.next) {
        bool shown = user->enrolled && user->role != CPN_ROLE_NODE && (asks == user || asks->role == CPN_ROLE_ADMIN);
        if (!shown || !named(query->name, user->name) || !cpni_mpage_take(&page, ROW_BYTES)) {
            continue;
        }
        msg.reply.users[page.count - 1] = (struct cpni_rec_USER){ .key = user->key, .name = cpni_str(user->name),
            .role = (uint32_t)user->role, .publish = user->publish || user->role == CPN_ROLE_ADMIN, .revoked = user->revoked,
            .links = user->link_count, .first_join_ms = ms_of(user->first_join_us), .last_seen_ms = ms_of(user->last_seen_us),
            .tasks = user->total.tasks, .failures = user->total.failures, .busy_us = user->total.busy_us,
            .bytes_in = user->total.bytes_in, .bytes_out = user->total.bytes_out };
    }
    msg.reply.users_count = page.count;
    cpni_mpage_reply(core, conn, &msg, query, &page);
}

/* ---- models ---- */

static struct cpni_str publisher_of(const struct cpni_master_core *core, const struct cpni_mversion *version)
{
    const struct cpni_midentity *user;
    for (user = core->identities; user != NULL; user = user->hh.next) {
        if (user->has_signer && memcmp(&user->signer, &version->signer, sizeof user->signer) == 0) {
            return cpni_str(user->name);
        }
    }
    return (struct cpni_str){ 0 };
}

static void fill_model(struct cpni_master_core *core, const struct cpni_mversion *version, struct cpni_rec_MODEL *row)
{
    *row = (struct cpni_rec_MODEL){ .name = cpni_str(version->model->name), .version = version->number,
        .backend = version->number == 0 ? cpni_str("callback") : version->manifest.backend, .root = version->root,
        .bytes = version->bytes, .added_ms = ms_of(version->added_us), .ready = version->ready };
    const struct cpni_mheld *held;
    DL_FOREACH(version->holders, held) {
        row->preparing += held->state == CPNI_HELD_FETCHING || held->state == CPNI_HELD_LOADING;
        if (held->state == CPNI_HELD_FAILED || held->state == CPNI_HELD_UNMET) {
            row->failed++;
            row->text = cpni_actions_text(core->out, "%s: %s", held->node->identity->name, held->text);
        }
    }
    if (version->number != 0) {
        row->publisher = publisher_of(core, version);
    }
}

static void query_models(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    struct cpni_mpage page = cpni_mpage_of(query);
    struct cpni_msg msg = { 0 };
    msg.reply.models = cpni_mpage_room(core, page.limit, sizeof *msg.reply.models);
    const struct cpni_mmodel *model;
    for (model = core->models; model != NULL && msg.reply.models != NULL; model = model->hh.next) {
        const struct cpni_mversion *version;
        DL_FOREACH(model->versions, version) {
            bool shown = version->live && !version->removed && named(query->name, model->name);
            if (shown && cpni_mpage_take(&page, ROW_BYTES)) {
                fill_model(core, version, &msg.reply.models[page.count - 1]);
            }
        }
    }
    msg.reply.models_count = page.count;
    cpni_mpage_reply(core, conn, &msg, query, &page);
}

/* ---- tasks ---- */

static void fill_job(struct cpni_master_core *core, const struct cpni_mtask *task, struct cpni_rec_JOB *row)
{
    *row = (struct cpni_rec_JOB){ .task = task->id, .model = cpni_str(task->version->model->name),
        .version = task->version->number, .state = (uint32_t)task->state, .user = cpni_str(task->user->name),
        .node = task->node != NULL ? cpni_str(task->node->identity->name) : cpni_str(task->node_name),
        .attempt = task->attempt, .age_ms = (uint64_t)(core->now.mono_us - task->accepted_us) / 1000,
        .input_name = cpni_str(task->input_name), .input_bytes = task->input_size, .text = cpni_str(task->text) };
    uint64_t here, total;
    if (task->fetch != 0 && cpni_transfer_progress(core->transfer, task->fetch, &here, &total)) {
        row->text = cpni_actions_text(core->out, "%llu of %llu bytes are here", (unsigned long long)here, (unsigned long long)total);
    } else if (task->state == CPNI_JOB_QUEUED) {
        char text[CPNI_TASK_TEXT];
        cpni_msched_why(core, task, text);
        row->text = cpni_actions_text(core->out, "%s%s%s", text, task->text[0] != 0 ? "; " : "", task->text);
    }
}

static void fill_parked(const struct cpni_master_core *core, const struct cpni_mparked *parked, struct cpni_rec_JOB *row)
{
    const struct cpni_midentity *user = cpni_midentity_find(core, &parked->user);
    *row = (struct cpni_rec_JOB){ .task = parked->task, .model = cpni_str(parked->model), .state = CPNI_JOB_PARKED,
        .user = user != NULL ? cpni_str(user->name) : (struct cpni_str){ 0 }, .attempt = parked->attempts,
        .age_ms = core->now.wall_us > parked->wall_us ? (uint64_t)(core->now.wall_us - parked->wall_us) / 1000 : 0,
        .text = cpni_str(parked->text) };
}

static void query_tasks(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    struct cpni_mpage page = cpni_mpage_of(query);
    struct cpni_msg msg = { 0 };
    msg.reply.jobs = cpni_mpage_room(core, page.limit, sizeof *msg.reply.jobs);
    const struct cpni_midentity *asks = conn->link->identity;
    const struct cpni_mtask *task;
    for (task = core->tasks; task != NULL && msg.reply.jobs != NULL; task = task->hh.next) {
        bool shown = asks->role == CPN_ROLE_ADMIN || task->user == asks;
        if (shown && task->state != CPNI_JOB_PARKED && named(query->name, task->version->model->name) && cpni_mpage_take(&page, ROW_BYTES)) {
            struct cpni_rec_JOB *row = &msg.reply.jobs[page.count - 1];
            fill_job(core, task, row);
            page.bytes += row->text.size + row->input_name.size;
        }
    }
    const struct cpni_mparked *parked;
    DL_FOREACH(core->parked, parked) {
        bool shown = asks->role == CPN_ROLE_ADMIN || memcmp(&parked->user, &asks->key, sizeof asks->key) == 0;
        if (shown && msg.reply.jobs != NULL && query->name.size == 0 && cpni_mpage_take(&page, ROW_BYTES)) {
            fill_parked(core, parked, &msg.reply.jobs[page.count - 1]);
        }
    }
    msg.reply.jobs_count = page.count;
    cpni_mpage_reply(core, conn, &msg, query, &page);
}

/* ---- tokens, events ---- */

static void query_tokens(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    struct cpni_mpage page = cpni_mpage_of(query);
    struct cpni_msg msg = { 0 };
    msg.reply.tokens = cpni_mpage_room(core, page.limit, sizeof *msg.reply.tokens);
    const struct cpni_mtoken *token;
    for (token = core->tokens; token != NULL && msg.reply.tokens != NULL; token = token->hh.next) {
        if (token->live && cpni_mpage_take(&page, ROW_BYTES)) {
            msg.reply.tokens[page.count - 1] = (struct cpni_rec_TOKEN){ .key = token->key, .role = (uint32_t)token->role,
                .name = cpni_str(token->hint), .expires_ms = ms_of(token->expires_us), .uses_left = token->uses_left };
        }
    }
    msg.reply.tokens_count = page.count;
    cpni_mpage_reply(core, conn, &msg, query, &page);
}

/* The store knows nodes and users by their keys: a name that somebody has is asked for as that key. */
static struct cpni_str filter_of(struct cpni_master_core *core, struct cpni_str name)
{
    const char *trouble;
    char key[CPN_KEY_TEXT];
    const struct cpni_midentity *identity = name.size != 0 ? cpni_midentity_named(core, name, &trouble) : NULL;
    if (identity != NULL) {
        return cpni_actions_text(core->out, "%s", cpn_key_text(&identity->key, key));
    }
    return cpni_actions_text(core->out, "%.*s", (int)(name.size < 256 ? name.size : 256), name.size != 0 ? name.text : "");
}

/* And the other way round, for people. */
void cpni_mquery_names(const struct cpni_master_core *core, struct cpni_rec_NOTE *notes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[CPN_KEY_TEXT];
        struct cpn_key key;
        cpni_str_copy(notes[i].node, text, sizeof text);
        const struct cpni_midentity *identity = cpn_key_parse(text, &key) == 0 ? cpni_midentity_find(core, &key) : NULL;
        if (identity != NULL && identity->name[0] != 0) {
            notes[i].node = cpni_str(identity->name);
        }
    }
}

static void query_events(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    struct cpni_mpending *ask = cpni_mpending_new(core, CPNI_MPENDING_NOTES);
    struct cpni_action *action = ask == NULL ? NULL : cpni_actions_add(core->out, CPNI_ACT_NOTES);
    if (action == NULL) {
        struct cpni_mrefusal refusal = { .code = CPN_EBUSY, .type = CPNI_MSG_QUERY, .request = query->request };
        cpni_mconn_refuse(core, conn, &refusal, "the master cannot take more now: try again");
        return; /* a question without its action has failed with the step */
    }
    cpni_mpending_from(ask, conn, query->request);
    ask->version = cpni_mpage_of(query).limit;
    action->notes.ticket = ask->ticket;
    action->notes.filter = filter_of(core, query->name);
    action->notes.since = query->since;
    action->notes.limit = ask->version;
}

void cpni_mquery(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query)
{
    struct cpni_mrefusal refusal = { .code = CPN_EDENIED, .type = CPNI_MSG_QUERY, .request = query->request };
    switch (query->what) {
    case CPNI_QUERY_NODES:
        query_nodes(core, conn, query);
        break;
    case CPNI_QUERY_USERS:
        query_users(core, conn, query);
        break;
    case CPNI_QUERY_MODELS:
        query_models(core, conn, query);
        break;
    case CPNI_QUERY_TASKS:
        query_tasks(core, conn, query);
        break;
    case CPNI_QUERY_TOKENS:
        if (conn->link->identity->role != CPN_ROLE_ADMIN) {
            cpni_mconn_refuse(core, conn, &refusal, "only admins see join tokens");
            break;
        }
        query_tokens(core, conn, query);
        break;
    case CPNI_QUERY_EVENTS:
        query_events(core, conn, query);
        break;
    case CPNI_QUERY_SESSIONS:
        cpni_mquery_sessions(core, conn, query);
        break;
    case CPNI_QUERY_LANES:
        cpni_mquery_lanes(core, conn, query);
        break;
    case CPNI_QUERY_POINTS:
        cpni_mquery_points(core, conn, query);
        break;
    default:
        refusal.code = CPN_ENOTSUP;
        cpni_mconn_refuse(core, conn, &refusal, "this master does not know this question: is it older than the client?");
    }
}
