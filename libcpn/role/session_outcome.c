/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The outcome of a session (cpn/session.h): its weights and schema are fetched, and written as ONNX. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/outfile.h"
#include "role/clock.h"
#include "role/session.h"
#include "train/onnx.h"

#define TRIES 5 /* to catch the weights of a session that trains */

/* ---- fetching ---- */

static const struct cpn_lane_info *lane_of(const struct cpn_session_report *report)
{
    uint32_t wanted = report->info.best != CPN_LANE_ALL ? report->info.best : 0; /* the common model is made as every shard's */
    for (size_t i = 0; i < report->lane_count; i++) {
        if (report->lanes[i].lane == wanted) {
            return &report->lanes[i];
        }
    }
    return NULL;
}

static int check_weights(struct cpn_client *client, const struct cpni_session_outcome *outcome)
{
    char why[CPN_TRAINER_DETAIL] = "";
    if (outcome->weights->size != outcome->model.weight_count * sizeof(float)) {
        return cpni_client_fail(client, CPN_ECORRUPT, "the weights are %zu bytes; this model has %zu", outcome->weights->size,
                                outcome->model.weight_count * sizeof(float));
    }
    int rc = cpni_model_check_finite((const float *)(const void *)outcome->weights->data, outcome->model.weight_count, "weight", why);
    return rc < 0 ? cpni_client_fail(client, rc, "%s", why) : 0;
}

static int take_model(struct cpn_client *client, struct cpni_session_outcome *outcome)
{
    const struct cpn_session_info *info = &outcome->report->info;
    const struct cpn_lane_info *lane = lane_of(outcome->report);
    struct cpni_session_spec spec;
    char why[CPN_DETAIL] = "";
    if (lane == NULL) {
        return cpni_client_fail(client, CPN_EPROTO, "the master does not tell how the model of this session was made");
    }
    int rc = cpni_session_spec_init(&spec);
    if (rc < 0) {
        return rc;
    }
    rc = cpni_lane_spec_set(spec.lanes, cpni_str(lane->settings), why);
    rc = rc == 0 ? cpni_session_model_of(spec.lanes, info->columns, info->classes, &outcome->model, why) : rc;
    cpni_session_spec_free(&spec);
    return rc < 0 ? cpni_client_fail(client, CPN_EPROTO, "%s", why) : 0;
}

/* The master says of what it does not hand out that it has no such blob. */
static int explain(struct cpn_client *client, const struct cpn_session_info *info)
{
    bool other = client->context != NULL && client->context->role != CPN_ROLE_ADMIN && strcmp(client->context->name, info->user) != 0;
    return other ? cpni_client_fail(client, CPN_EDENIED, "the outcome of %s is for %s, who started it, and those with the right publish", info->name,
                                    info->user)
                 : CPN_ENOTFOUND;
}

static int take_schema(struct cpn_client *client, struct cpni_session_outcome *outcome, const struct cpni_session_row *row, int timeout_ms)
{
    struct cpni_bytes *bytes = NULL;
    char why[CPNI_DATA_DETAIL] = "";
    int rc = cpni_client_fetch_blob(client, &row->schema_root, row->schema_size, timeout_ms, &bytes);
    if (rc < 0) {
        return rc == CPN_ENOTFOUND ? explain(client, &row->info) : rc;
    }
    rc = cpni_schema_read(bytes->data, bytes->size, &outcome->schema, why);
    cpni_bytes_unref(bytes);
    if (rc < 0) {
        return cpni_client_fail(client, rc, "%s", why);
    }
    return outcome->schema.columns == row->info.columns && outcome->schema.class_count == row->info.classes
               ? 0
               : cpni_client_fail(client, CPN_ECORRUPT, "the session's schema is that of another table");
}

static int take(struct cpn_client *client, const struct cpn_id *session, int timeout_ms, struct cpni_session_outcome *outcome)
{
    const int64_t until_us = cpni_client_until(timeout_ms);
    int rc = cpn_session_report(client, session, timeout_ms, &outcome->report);
    if (rc < 0) {
        return rc;
    }
    const struct cpni_session_row *row = ((struct cpni_session_report *)outcome->report)->row;
    if (row->weights_size == 0) {
        return cpni_client_fail(client, CPN_ESTATE, "session %s is %s and has no outcome%s", row->info.name,
                                cpn_session_state_name(row->info.state), cpn_session_over(row->info.state) ? "" : " yet");
    }
    rc = take_model(client, outcome);
    rc = rc == 0 ? take_schema(client, outcome, row, cpni_client_left_ms(until_us)) : rc;
    rc = rc == 0 ? cpni_client_fetch_blob(client, &row->info.weights, row->weights_size, cpni_client_left_ms(until_us), &outcome->weights) : rc;
    return rc == 0 ? check_weights(client, outcome) : rc;
}

int cpni_session_outcome_fetch(struct cpn_client *client, const struct cpn_id *session, int timeout_ms, struct cpni_session_outcome *out)
{
    const int64_t until_us = cpni_client_until(timeout_ms);
    struct cpni_session_outcome outcome = { 0 };
    int rc = take(client, session, timeout_ms, &outcome);
    for (int tries = 1; rc == CPN_ENOTFOUND && outcome.report != NULL && tries < TRIES; tries++) {
        cpni_session_outcome_free(&outcome); /* of a round that is past already: a session that trains has ever newer weights */
        rc = take(client, session, cpni_client_left_ms(until_us), &outcome);
    }
    if (rc < 0) {
        cpni_session_outcome_free(&outcome);
        return rc == CPN_ENOMEM ? cpni_client_fail(client, rc, "out of memory") : rc;
    }
    *out = outcome;
    return 0;
}

void cpni_session_outcome_free(struct cpni_session_outcome *outcome)
{
    cpn_session_report_free(outcome->report);
    cpni_schema_free(&outcome->schema);
    cpni_bytes_unref(outcome->weights);
    *outcome = (struct cpni_session_outcome){ 0 };
}

/* ---- writing ---- */

int cpni_session_write_file(struct cpn_client *client, const char *path, const void *data, size_t size)
{
    int error = cpni_outfile_write(path, data, size);
    return error == 0 ? 0
                      : cpni_client_fail(client, error == ENOSPC || error == EDQUOT ? CPN_ENOSPC : CPN_EIO, "cannot write %s: %s", path,
                                         strerror(error));
}

int cpni_session_outcome_write(struct cpn_client *client, const struct cpni_session_outcome *outcome, const char *path)
{
    struct cpni_buf file = { 0 };
    const struct cpni_onnx onnx = {
        .name = outcome->report->info.name,
        .model = &outcome->model,
        .weights = (const float *)(const void *)outcome->weights->data,
        .schema = &outcome->schema,
    };
    int rc = cpni_onnx_write(&onnx, &file);
    rc = rc < 0 ? cpni_client_fail(client, rc, "the network cannot be written as ONNX: %s", cpn_strerror(rc))
                : cpni_session_write_file(client, path, file.data, file.size);
    cpni_buf_free(&file);
    return rc;
}

int cpn_session_export(struct cpn_client *client, const struct cpn_id *session, const char *path, int timeout_ms)
{
    struct cpni_session_outcome outcome;
    int rc = cpni_session_outcome_fetch(client, session, timeout_ms, &outcome);
    if (rc < 0) {
        return rc;
    }
    rc = cpni_session_outcome_write(client, &outcome, path);
    cpni_session_outcome_free(&outcome);
    return rc;
}
