/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Starting a session (cpn/session.h): the options are checked, the table is read, dataset and schema go into the spool, the master is
 * asked, and fetches both from there. */
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "role/clock.h"
#include "role/session.h"

#define GIVE_UP_MS 2000 /* so long is the master told that a session that may have begun is not wanted */
#define TRIES 3         /* of a start, while masters come and go */

/* ---- what is asked for ---- */

static int check_options(struct cpn_client *client, const struct cpn_session_options *options)
{
    if (options->table.path == NULL || options->table.path[0] == 0) {
        return cpni_client_fail(client, CPN_EINVAL, "a session needs a table: the path of a CSV file");
    }
    if (options->table.label == NULL || options->table.label[0] == 0) {
        return cpni_client_fail(client, CPN_EINVAL, "%s: which column holds the labels? Give its name, or its number from 1",
                                options->table.path);
    }
    return 0;
}

/* Of a small table an epoch has few steps: peers that average only after many epochs would each learn their own shard by heart. */
static void default_local_steps(struct cpni_session_spec *spec, const struct cpni_session_table *table)
{
    uint64_t epoch = cpni_session_epoch_steps(spec, 0, table->train_rows);
    if (spec->mode != CPNI_MODE_SWEEP && epoch != 0 && epoch < spec->local_steps) {
        spec->local_steps = (uint32_t)epoch;
    }
}

/* What can be known to fail before any peer is locked. */
static int check_table(struct cpn_client *client, const struct cpni_session_spec *spec, const struct cpni_session_table *table)
{
    char why[CPN_DETAIL] = "";
    if (spec->mode != CPNI_MODE_SWEEP && table->train_rows < spec->peers) {
        return cpni_client_fail(client, CPN_EBADINPUT, "the table has %llu rows to learn from: too few for %u peers",
                                (unsigned long long)table->train_rows, spec->peers);
    }
    for (uint32_t i = 0; i < spec->lane_count; i++) {
        struct cpni_model model;
        int rc = cpni_session_model_of(&spec->lanes[i], table->columns, table->classes, &model, why);
        if (rc < 0) {
            return cpni_client_fail(client, rc, "%s", why);
        }
    }
    return 0;
}

/* Nobody wants to hear after hours of training that its outcome cannot be what it was meant for. */
static int check_publish(struct cpn_client *client, const struct cpn_session_publish_options *publish, const struct cpni_buf *bytes)
{
    struct cpni_schema schema;
    char why[CPNI_DATA_DETAIL] = "";
    if (publish == NULL) {
        return 0;
    }
    int rc = cpni_schema_read(bytes->data, bytes->size, &schema, why);
    if (rc < 0) {
        return cpni_client_fail(client, rc, "%s", why);
    }
    rc = cpni_session_publishable(client, publish, &schema);
    cpni_schema_free(&schema);
    return rc;
}

static const char *name_of(const struct cpn_session_options *options)
{
    const char *slash = strrchr(options->table.path, '/');
    return options->name != NULL && options->name[0] != 0 ? options->name : slash != NULL ? slash + 1 : options->table.path;
}

/* ---- into the spool ---- */

struct import {
    bool done;
    int code;
    struct cpn_hash root;
    uint64_t size;
};

static void imported(struct cpn_client *client, void *user, struct cpni_blob_answer *answer)
{
    struct import *import = user;
    *import = (struct import){ true, answer->status, answer->root, answer->info.size };
    if (answer->status < 0) {
        cpni_client_fail(client, answer->status, "%s", answer->detail);
    }
}

/* Waits without a deadline of its own: the store answers every job, and `out` is on our caller's stack. */
static int import(struct cpn_client *client, struct cpni_blob_job *job, struct import *out)
{
    job->class = CPNI_BLOB_SPOOL;
    int rc = cpni_client_job(client, job, imported, out);
    while (rc == 0 && !out->done) {
        cpn_client_dispatch(client, -1);
    }
    return rc < 0 ? rc : out->code;
}

static int import_all(struct cpn_client *client, const struct cpni_session_table *table, struct import *dataset, struct import *schema)
{
    char path[64];
    struct cpni_blob_job file = { .op = CPNI_BLOB_IMPORT_FILE, .path = path };
    struct cpni_blob_job bytes = { .op = CPNI_BLOB_IMPORT_BYTES, .payload = cpni_bytes_copy(table->schema.data, table->schema.size) };
    if (bytes.payload == NULL) {
        return CPN_ENOMEM;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", table->fd);
    int rc = import(client, &file, dataset);
    rc = rc == 0 ? import(client, &bytes, schema) : rc;
    cpni_bytes_unref(bytes.payload);
    return rc;
}

/* Unless the core still serves it, or a task has the same bytes. */
static void drop(struct cpn_client *client, const struct import *import)
{
    if (import->done && import->code == 0) {
        cpni_client_remove(client, &(struct cpni_act_disk){ .op = CPNI_DISK_REMOVE, .root = import->root });
    }
}

/* ---- asking ---- */

static int sent(void *arg, uint64_t done, uint64_t total)
{
    const struct cpn_session_options *options = arg;
    return options->progress(options->progress_arg, "send", done, total);
}

/* The session may have begun: its peers must not wait for a dataset that does not come. */
static void take_back(struct cpn_client *client, const struct cpn_id *id)
{
    char detail[CPN_DETAIL];
    memcpy(detail, client->detail, sizeof detail);
    cpn_session_stop(client, id, GIVE_UP_MS);
    memcpy(client->detail, detail, sizeof detail);
}

static int ask(struct cpn_client *client, const struct cpn_session_options *options, struct cpni_msg *msg, int timeout_ms)
{
    struct cpni_ask question = { 0 };
    randombytes_buf(msg->session.session.bytes, sizeof msg->session.session.bytes);
    if (options->progress != NULL) {
        client->progress = (struct cpni_progress){ sent, (void *)(uintptr_t)options, client->chunk_bytes,
                                                   msg->session.dataset_size + msg->session.schema_size };
    }
    int rc = cpni_client_request(client, msg, &question, timeout_ms);
    client->progress = (struct cpni_progress){ 0 };
    if (rc == CPN_ETIMEDOUT || rc == CPN_ECANCELLED) {
        take_back(client, &msg->session.session);
    }
    return rc;
}

/* A master that was started anew while the dataset was on its way has ended the session: another one begins, from the same blobs. */
static int ask_until_it_stays(struct cpn_client *client, const struct cpn_session_options *options, struct cpni_msg *msg, int timeout_ms)
{
    const int64_t until_us = cpni_client_until(timeout_ms);
    int rc = ask(client, options, msg, timeout_ms);
    for (int tries = 1; rc == CPN_ECLOSED && tries < TRIES; tries++) {
        rc = ask(client, options, msg, cpni_client_left_ms(until_us));
    }
    return rc;
}

static int send(struct cpn_client *client, const struct cpn_session_options *options, const struct cpni_session_spec *spec,
                const struct cpni_session_table *table, int timeout_ms, struct cpn_id *session)
{
    struct import dataset = { 0 };
    struct import schema = { 0 };
    struct cpni_buf text = { 0 };
    struct cpni_msg msg = { .type = CPNI_MSG_SESSION };
    char name[CPN_NAME];
    client->importing++; /* an earlier session's removal of the same bytes waits */
    int rc = import_all(client, table, &dataset, &schema);
    rc = rc == 0 ? cpni_session_spec_write(spec, &text) : rc;
    struct cpni_bytes *bytes = rc == 0 ? cpni_bytes_copy(text.data, text.size) : NULL;
    if (bytes != NULL) {
        msg.session = (struct cpni_msg_session){
            .name = cpni_client_line(name_of(options), name, sizeof name), .spec = bytes, .dataset_root = dataset.root, .dataset_size = dataset.size,
            .schema_root = schema.root, .schema_size = schema.size, .rows = table->rows, .train_rows = table->train_rows,
            .columns = table->columns, .classes = table->classes,
        };
        rc = ask_until_it_stays(client, options, &msg, timeout_ms);
    } else {
        rc = rc < 0 ? rc : CPN_ENOMEM;
    }
    drop(client, &dataset);
    drop(client, &schema);
    cpni_client_imported(client);
    cpni_bytes_unref(bytes);
    cpni_buf_free(&text);
    if (rc == 0) {
        *session = msg.session.session;
    }
    return rc;
}

static int read_and_send(struct cpn_client *client, const struct cpn_session_options *options, struct cpni_session_spec *spec,
                         int timeout_ms, struct cpn_id *session)
{
    struct cpni_session_table table;
    int rc = cpni_session_table_read(client, options, spec, &table);
    if (rc < 0) {
        return rc;
    }
    rc = check_table(client, spec, &table);
    rc = rc == 0 ? check_publish(client, options->publish, &table.schema) : rc;
    if (rc == 0 && options->local_steps == 0) {
        default_local_steps(spec, &table);
    }
    rc = rc == 0 ? send(client, options, spec, &table, timeout_ms, session) : rc;
    cpni_session_table_free(&table);
    return rc;
}

int cpn_session_start(struct cpn_client *client, const struct cpn_session_options *given, int timeout_ms, struct cpn_id *session)
{
    struct cpn_session_options options = { 0 };
    struct cpni_session_spec spec;
    char why[CPN_DETAIL] = "";
    memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    client->detail[0] = 0;
    int rc = check_options(client, &options);
    if (rc < 0) {
        return rc;
    }
    rc = cpni_session_spec_of(&options, &spec, why);
    if (rc < 0) {
        return cpni_client_fail(client, rc, "%s", why);
    }
    rc = read_and_send(client, &options, &spec, timeout_ms, session);
    cpni_session_spec_free(&spec);
    return rc == CPN_ENOMEM ? cpni_client_fail(client, rc, "out of memory") : rc;
}
