/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The insides of training sessions on the client's side (cpn/session.h), shared by session_*.c: options become a spec, a table becomes a
 * dataset, what the master says becomes reports, an outcome becomes files. */
#ifndef CPNI_ROLE_SESSION_H
#define CPNI_ROLE_SESSION_H

#include <stdatomic.h>

#include <cpn/session.h>

#include "base/buf.h"
#include "compute/trainers/model.h"
#include "data/schema.h"
#include "proto/session_spec.h"
#include "role/lists.h"

/* ---- session_options.c: no client, no file ---- */

/* Options (of this build's size) as a spec, all of it checked. CPN_EINVAL with a sentence (CPN_DETAIL bytes), CPN_ENOMEM. */
int cpni_session_spec_of(const struct cpn_session_options *options, struct cpni_session_spec *out, char *detail);

/* What trains a lane on rows of so many columns and classes. CPN_EINVAL with a sentence when no trainer takes such settings. */
int cpni_session_model_of(const struct cpni_lane_spec *lane, uint32_t columns, uint32_t classes, struct cpni_model *out, char *detail);

/* ---- session_table.c ---- */

/* A table as a dataset, in a file without a name. */
struct cpni_session_table {
    int fd;        /* -1: none */
    uint64_t rows, train_rows;
    uint32_t columns, classes;
    struct cpni_buf schema;
};

/* Read the table while the client goes on living. CPN_EBADINPUT, CPN_EINVAL, CPN_ENOTFOUND, CPN_ENOSPC, CPN_ECANCELLED, ... */
int cpni_session_table_read(struct cpn_client *client, const struct cpn_session_options *options, const struct cpni_session_spec *spec,
                            struct cpni_session_table *out);
void cpni_session_table_free(struct cpni_session_table *table);

/* ---- session_lists.c ---- */

/* A session with what its files are called at the master. */
struct cpni_session_row {
    struct cpn_session_info info;
    struct cpn_hash schema_root;
    uint64_t weights_size, schema_size;
    uint32_t points;
};

struct cpni_session_report {
    struct cpn_session_report report; /* what the program sees */
    struct cpni_session_row *row;
    bool shared; /* its points belong to a cpni_session_points */
};

/* The points of a session that is looked at again and again: only those that are new are asked for. They are appended, and stay as they are;
 * but a master that was started anew may tell them in another order. */
struct cpni_session_points {
    struct cpni_list_builder builder;
    uint64_t welcomes; /* of the client, when the first of them came */
};

/* As cpn_session_report(); `points` may be NULL. The report's points are valid until the next call with the same `points`, and those of
 * `last` (may be NULL), the report before, are made to be so, too. */
int cpni_session_report_next(struct cpn_client *client, const struct cpn_id *session, struct cpni_session_points *points,
                             struct cpn_session_report *last, int timeout_ms, struct cpn_session_report **out);
void cpni_session_points_free(struct cpni_session_points *points);

/* ---- session_bundle.c ---- */

/* What is wrong with publishing a model that learned from such a table, as far as that can be known without the model. CPN_EINVAL,
 * CPN_EBADINPUT with a detail; CPN_ENOTSUP in a build that cannot publish. */
int cpni_session_publishable(struct cpn_client *client, const struct cpn_session_publish_options *options, const struct cpni_schema *schema);

/* ---- session_outcome.c ---- */

/* What a session led to so far: weights, what they are the weights of, and what their rows look like. */
struct cpni_session_outcome {
    struct cpn_session_report *report;
    struct cpni_schema schema;
    struct cpni_model model;
    struct cpni_bytes *weights;
};

/* CPN_ESTATE: there is none yet. */
int cpni_session_outcome_fetch(struct cpn_client *client, const struct cpn_id *session, int timeout_ms, struct cpni_session_outcome *out);
void cpni_session_outcome_free(struct cpni_session_outcome *outcome);

/* The outcome as a file that appears whole or not at all. */
int cpni_session_outcome_write(struct cpn_client *client, const struct cpni_session_outcome *outcome, const char *path);
int cpni_session_write_file(struct cpn_client *client, const char *path, const void *data, size_t size);

#endif
