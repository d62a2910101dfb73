/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The client role: its life, and its rounds: what arrived becomes events, the core's actions are carried out. */
#include "role/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/alloc.h"
#include "role/clock.h"
#include "role/master.h"
#include "role/spool.h"
#include "role/version.h"
#include "wire/reader.h"

int cpni_client_fail(struct cpn_client *client, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(client->detail, sizeof client->detail, format, list);
    va_end(list);
    return code;
}

struct cpni_str cpni_client_line(const char *from, char *to, size_t room)
{
    cpni_str_copy(cpni_str(from), to, room);
    const bool utf8 = cpni_text_valid(to, strlen(to));
    for (unsigned char *at = (unsigned char *)to; *at != 0; at++) {
        *at = *at < ' ' || *at == 0x7f || (*at > 0x7f && !utf8) ? '?' : *at;
    }
    return cpni_str(to);
}

int cpni_client_check_texts(struct cpn_client *client, const struct cpni_msg *msg)
{
    const struct cpni_layout *layout = cpni_msg_layout((unsigned)msg->type);
    const char *body = (const char *)&msg->hello; /* as every member of the union */
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct cpni_field *field = &layout->fields[i];
        const struct cpni_str *text = (const void *)(body + field->offset);
        if (field->kind == CPNI_FIELD_STR && !cpni_text_valid(text->text, text->size)) {
            return cpni_client_fail(client, CPN_EINVAL, "the %s is not UTF-8", field->name);
        }
    }
    return 0;
}

/* ---- life ---- */

static int start_peer(struct cpn_client *client, const struct cpni_client_setup *setup)
{
    const struct cpni_peer_options options = {
        .context = client->zmq,
        .loop = client->loop,
        .endpoints = setup->endpoints,
        .master = setup->master_key,
        .keys = setup->keys,
        .bulk = !setup->config.enrol,
    };
    return cpni_peer_open(&options, &client->peer);
}

static int start(struct cpn_client *client, const struct cpni_client_setup *setup)
{
    const struct cpn_client_options *options = setup->options;
    client->context = options->context;
    client->master = options->master;
    client->logger = (struct cpni_logger){ options->log, options->log_arg, options->log_level };
    client->actions.log_level = options->log == NULL ? CPN_LOG_ERROR : options->log_level;
    client->completed_end = &client->completed;
    client->next_request = 1;
    snprintf(client->spool_parent, sizeof client->spool_parent, "%s", options->spool_dir != NULL ? options->spool_dir : "/tmp");
    client->zmq = client->master != NULL ? cpni_context_ref(cpni_master_zmq(client->master)) : cpni_context_new();
    if (client->zmq == NULL) {
        return CPN_ENOMEM;
    }
    int rc = cpni_loop_open(&client->loop);
    if (rc == 0) {
        rc = start_peer(client, setup);
    }
    client->now = cpni_clock_now();
    if (rc == 0) {
        rc = cpni_client_core_new(&setup->config, &client->now, &client->core);
    }
    return rc;
}

int cpni_client_start(const struct cpni_client_setup *setup, struct cpn_client **out, char *detail)
{
    struct cpn_client *client = cpni_calloc(1, sizeof *client);
    int rc = client != NULL ? start(client, setup) : CPN_ENOMEM;
    if (rc < 0) {
        cpni_explain(detail, "cannot start the client: %s", cpn_strerror(rc));
        cpn_client_close(client);
        return rc;
    }
    *out = client;
    return 0;
}

int cpn_client_open(const struct cpn_client_options *given, struct cpn_client **out, char *detail)
{
    struct cpn_client_options options = { 0 };
    memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    if ((options.context == NULL) == (options.master == NULL)) {
        cpni_explain(detail, "a client needs a context or a master in this process, one of them");
        return CPN_EINVAL;
    }
    int rc = cpni_keys_init();
    if (rc < 0) {
        return rc;
    }
    struct cpni_client_setup setup = { .options = &options };
    setup.config.name = cpni_str(options.name != NULL ? options.name : "client");
    setup.config.software = cpni_str(CPNI_SOFTWARE);
    randombytes_buf(setup.config.boot.bytes, sizeof setup.config.boot.bytes);
    if (options.context != NULL) {
        setup.endpoints = options.context->endpoints;
        setup.master_key = &options.context->master;
        setup.keys = &options.context->keys;
        setup.config.signer = options.context->sign.public_key;
    } else {
        setup.config.signer = cpni_master_local_sign(options.master)->public_key;
    }
    return cpni_client_start(&setup, out, detail);
}

static void heed_end(void *arg, const struct cpni_event *event)
{
    bool *over = arg;
    *over = *over || (event->type == CPNI_EV_DISCONNECTED && event->lost.conn == CPNI_CONN_CONTROL);
}

/* The master closes the connection when it has the BYE. To be read until then: a socket that is closed with results unread takes what was
 * sent last along (TCP answers with a reset), and without the BYE our tasks would be kept for the time that a client may be away. */
static void await_end(struct cpn_client *client)
{
    bool over = false;
    struct cpni_now now = cpni_clock_now();
    int64_t until_us = now.mono_us + (int64_t)CPNI_ZMTP_LINGER_MS * 1000;
    while (!over && now.mono_us < until_us && cpni_loop_wait(client->loop, (int)((until_us - now.mono_us) / 1000) + 1) != CPN_EINTR) {
        now = cpni_clock_now();
        cpni_peer_pump(client->peer, &now, heed_end, &over);
        cpni_peer_flush(client->peer);
    }
}

static void say_goodbye(struct cpn_client *client)
{
    const struct cpni_event stop = { .type = CPNI_EV_STOP };
    bool said = false;
    if (cpni_client_step(client, &stop) == 0) {
        for (size_t i = 0; i < client->actions.count; i++) {
            if (client->actions.list[i].type == CPNI_ACT_SEND) {
                cpni_peer_carry(client->peer, &client->actions.list[i]);
                said = said || client->actions.list[i].send.msg.type == CPNI_MSG_BYE;
            }
        }
        cpni_peer_flush(client->peer);
    }
    if (said && client->master == NULL) { /* a master in this process loses nothing, and may be run by this thread */
        await_end(client);
    }
}

void cpn_client_close(struct cpn_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->core != NULL && client->peer != NULL) {
        say_goodbye(client);
    }
    struct cpn_task *task, *next;
    HASH_ITER(hh, client->tasks, task, next) {
        task->complete = true; /* it is not cancelled one by one: the goodbye does */
        cpn_task_free(task);
    }
    cpni_peer_close(client->peer);
    if (client->loop != NULL && client->disk.async != NULL) {
        cpni_loop_remove_fd(client->loop, cpni_disk_fd(&client->disk));
    }
    cpni_disk_close(&client->disk);
    if (client->spool[0] != 0) {
        cpni_spool_remove(client->spool);
    }
    cpni_client_core_free(client->core);
    cpni_actions_free(&client->actions);
    cpni_free(client->removals);
    cpni_loop_close(client->loop);
    cpni_context_unref(client->zmq);
    cpni_free(client);
}

int cpni_client_spool(struct cpn_client *client)
{
    if (client->disk.async != NULL) {
        return 0;
    }
    char detail[CPNI_BLOB_DETAIL] = "";
    if (cpni_spool_make(client->spool_parent, client->spool) < 0) {
        client->spool[0] = 0;
        return cpni_client_fail(client, CPN_EIO, "cannot make a folder for files in passing in %s: %s", client->spool_parent, strerror(errno));
    }
    int rc = cpni_disk_open(&client->disk, client->spool, 0, detail);
    if (rc < 0) {
        return cpni_client_fail(client, rc, "%s", detail);
    }
    return cpni_loop_add_fd(client->loop, cpni_disk_fd(&client->disk));
}

int cpni_client_job(struct cpn_client *client, struct cpni_blob_job *job, cpni_client_answer_fn *fn, void *user)
{
    int rc = cpni_client_spool(client);
    struct cpni_client_job *note = rc == 0 ? cpni_malloc(sizeof *note) : NULL;
    if (note == NULL) {
        return rc < 0 ? rc : CPN_ENOMEM;
    }
    *note = (struct cpni_client_job){ fn, user };
    job->user = note;
    rc = cpni_disk_submit(&client->disk, job);
    if (rc < 0) {
        cpni_free(note);
    }
    return rc;
}

/* ---- removals ---- */

static void remove_now(struct cpn_client *client, const struct cpni_act_disk *act)
{
    if (!cpni_client_core_holds(client->core, &act->root)) {
        cpni_disk_carry(&client->disk, act);
    }
}

void cpni_client_remove(struct cpn_client *client, const struct cpni_act_disk *act)
{
    struct cpn_hash *list = NULL;
    if (client->importing != 0) {
        list = cpni_realloc(client->removals, (client->removal_count + 1) * sizeof *list);
    }
    if (list == NULL) {
        remove_now(client, act);
        return;
    }
    client->removals = list;
    list[client->removal_count++] = act->root;
}

void cpni_client_imported(struct cpn_client *client)
{
    client->importing--;
    while (client->importing == 0 && client->removal_count != 0) {
        const struct cpni_act_disk act = { .op = CPNI_DISK_REMOVE, .root = client->removals[--client->removal_count] };
        remove_now(client, &act);
    }
}

/* ---- rounds ---- */

int cpni_client_step(struct cpn_client *client, const struct cpni_event *event)
{
    return cpni_client_core_step(client->core, event, &client->now, &client->actions);
}

static void take_event(void *arg, const struct cpni_event *event)
{
    cpni_client_step(arg, event);
}

static void take_disk(struct cpn_client *client)
{
    struct cpni_blob_answer answer = { 0 };
    struct cpni_event event;
    int kind;
    while ((kind = cpni_disk_next(&client->disk, &answer, &event)) != 0) {
        if (kind == 2) {
            cpni_client_step(client, &event);
        } else {
            struct cpni_client_job note = *(struct cpni_client_job *)answer.user;
            cpni_free(answer.user);
            note.fn(client, note.user, &answer);
        }
        cpni_blob_answer_clear(&answer);
    }
}

static void answer_ask(struct cpn_client *client, uint64_t request, int code, struct cpni_str text, const struct cpni_msg *msg)
{
    for (struct cpni_ask *ask = client->ask; ask != NULL; ask = ask->outer) {
        if (ask->request == request && !ask->answered) {
            ask->answered = true;
            ask->code = code;
            if (code < 0) {
                cpni_str_copy(text, client->detail, sizeof client->detail);
            } else if (msg != NULL && ask->reply != NULL) {
                ask->reply(ask->arg, msg);
            }
        }
    }
}

static void take_refused(struct cpn_client *client, const struct cpni_msg_refused *refused)
{
    static const struct cpn_id none;
    if (refused->request != 0) {
        answer_ask(client, refused->request, refused->code, refused->text, NULL);
    } else if (memcmp(&refused->task, &none, sizeof none) != 0) {
        cpni_task_refused(client, refused);
    } else {
        client->refused = refused->code;
        cpni_str_copy(refused->text, client->detail, sizeof client->detail);
    }
}

static void take_tell(struct cpn_client *client, const struct cpni_msg *msg)
{
    switch (msg->type) {
    case CPNI_MSG_WELCOME:
        client->welcomed = true;
        client->welcomes++;
        break;
    case CPNI_MSG_RESULT:
        cpni_task_result(client, &msg->result);
        break;
    case CPNI_MSG_REFUSED:
        take_refused(client, &msg->refused);
        break;
    case CPNI_MSG_REPLY:
        answer_ask(client, msg->reply.request, 0, (struct cpni_str){ 0 }, msg);
        break;
    case CPNI_MSG_PUBLISHED:
        answer_ask(client, msg->published.request, 0, (struct cpni_str){ 0 }, msg);
        break;
    case CPNI_MSG_DONE:
        answer_ask(client, msg->done.request, msg->done.code, msg->done.text, msg);
        break;
    case CPNI_MSG_ENROLLED:
        if (client->enrolled != NULL) {
            *client->enrolled = msg->enrolled;
            cpni_str_copy(msg->enrolled.name, client->detail, sizeof client->detail); /* the action's text ends with the round */
            client->welcomed = true;
        }
        break;
    default:
        break; /* ACCEPTED, BYE: nothing that the program must know */
    }
}

static void carry(struct cpn_client *client, const struct cpni_action *action)
{
    switch (action->type) {
    case CPNI_ACT_SEND:
        if (action->send.msg.type == CPNI_MSG_CHUNK && action->send.msg.chunk.data != NULL) {
            client->chunk_bytes += action->send.msg.chunk.data->size;
        }
        cpni_peer_carry(client->peer, action);
        break;
    case CPNI_ACT_DROP:
    case CPNI_ACT_RECONNECT:
        cpni_peer_carry(client->peer, action);
        break;
    case CPNI_ACT_DISK:
        if (cpni_client_spool(client) < 0) {
            break;
        }
        if (action->disk.op == CPNI_DISK_REMOVE) {
            cpni_client_remove(client, &action->disk);
        } else {
            cpni_disk_carry(&client->disk, &action->disk);
        }
        break;
    case CPNI_ACT_TELL:
        take_tell(client, &action->tell.msg);
        break;
    case CPNI_ACT_LOG:
        cpni_logger_action(&client->logger, &client->now, action);
        break;
    default:
        break;
    }
}

/* The list may grow while it is carried out (an answer makes the role step the core again), so it is taken away first. */
static void carry_all(struct cpn_client *client)
{
    while (client->actions.count != 0) {
        struct cpni_actions actions = client->actions;
        client->actions = (struct cpni_actions){ .log_level = actions.log_level };
        for (size_t i = 0; i < actions.count; i++) {
            carry(client, &actions.list[i]);
        }
        cpni_peer_flush(client->peer);
        if (client->actions.list == NULL) {
            cpni_actions_clear(&actions);
            client->actions = actions;
        } else {
            cpni_actions_free(&actions);
        }
    }
}

static int64_t deadline(const struct cpn_client *client)
{
    int64_t core_us = cpni_client_core_deadline(client->core);
    int64_t peer_us = cpni_peer_deadline(client->peer);
    return core_us < peer_us ? core_us : peer_us;
}

int cpn_client_timeout_ms(struct cpn_client *client)
{
    if (client->actions.count != 0 || client->more || client->completed != NULL || cpni_loop_pending(client->loop)) {
        return 0;
    }
    const struct cpni_now now = cpni_clock_now();
    return cpni_clock_timeout_ms(&now, deadline(client), -1);
}

int cpn_client_dispatch(struct cpn_client *client, int timeout_ms)
{
    client->now = cpni_clock_now();
    carry_all(client); /* what was submitted since the last round must not wait for the sleep */
    const int sleep_ms = client->more ? 0 : cpni_clock_timeout_ms(&client->now, deadline(client), timeout_ms);
    int rc = cpni_loop_wait(client->loop, sleep_ms);
    if (rc < 0 && rc != CPN_EINTR) {
        return rc;
    }
    client->now = cpni_clock_now();
    client->more = cpni_peer_pump(client->peer, &client->now, take_event, client);
    take_disk(client);
    if (client->now.mono_us >= cpni_client_core_deadline(client->core)) {
        const struct cpni_event tick = { .type = CPNI_EV_TICK };
        cpni_client_step(client, &tick);
    }
    carry_all(client);
    cpni_peer_flush(client->peer);
    cpni_task_callbacks(client);
    return client->refused;
}

int cpn_client_fd(const struct cpn_client *client)
{
    return cpni_loop_fd(client->loop);
}

void cpn_client_wake(struct cpn_client *client)
{
    cpni_loop_wake(client->loop);
}

/* ---- waiting ---- */

int64_t cpni_client_until(int timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : cpni_clock_now().mono_us + (int64_t)timeout_ms * 1000;
}

int cpni_client_left_ms(int64_t until_us)
{
    const struct cpni_now now = cpni_clock_now();
    return cpni_clock_timeout_ms(&now, until_us, -1);
}

int cpn_client_connect(struct cpn_client *client, int timeout_ms)
{
    const int64_t until_us = cpni_client_until(timeout_ms);
    while (!client->welcomed) {
        int left_ms = cpni_client_left_ms(until_us);
        int rc = cpn_client_dispatch(client, left_ms);
        if (rc < 0) {
            return rc;
        }
        if (left_ms == 0 && !client->welcomed) {
            const char *trouble = cpni_peer_trouble(client->peer);
            return trouble[0] != 0 ? cpni_client_fail(client, CPN_EUNREACHABLE, "%s", trouble)
                                   : cpni_client_fail(client, CPN_ETIMEDOUT, "the master did not answer in %d ms", timeout_ms);
        }
    }
    return 0;
}

const char *cpn_client_detail(const struct cpn_client *client)
{
    return client->detail[0] != 0 ? client->detail : cpni_peer_trouble(client->peer);
}
