/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the master tells about sessions (cpn/session.h): the list, one session with its lanes and epochs, and names for states. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "role/clock.h"
#include "role/lists.h"
#include "role/session.h"

/* ---- rows ---- */

/* Parts in a million; what is in doubt stays unknown. */
static double share(bool known, uint32_t ppm)
{
    return known ? ppm / 1e6 : NAN;
}

static double nats(bool known, uint64_t micro)
{
    return known ? (double)micro / 1e6 : NAN;
}

static int64_t us(uint64_t ms)
{
    return (int64_t)ms * 1000;
}

static uint32_t lane_of(uint32_t lane)
{
    return lane < CPNI_SESSION_LANES_MAX ? lane : CPN_LANE_ALL;
}

static size_t session_rows(const struct cpni_msg_reply *reply)
{
    return reply->sessions_count;
}

static void convert_info(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index)
{
    const struct cpni_rec_SESSION *from = &reply->sessions[index];
    *(struct cpn_session_info *)row = (struct cpn_session_info){
        .id = from->session,
        .name = cpni_list_text(builder, from->name),
        .user = cpni_list_text(builder, from->user),
        .trainer = cpni_list_text(builder, from->trainer),
        .text = cpni_list_text(builder, from->text),
        .mode = (enum cpn_session_mode)from->mode,
        .state = (enum cpn_session_state)from->state,
        .peers = from->peers,
        .locked = from->locked,
        .lanes = from->lanes,
        .round = from->round,
        .rounds = from->rounds,
        .repeated = from->repeated,
        .started_us = us(from->started_ms),
        .ended_us = us(from->ended_ms),
        .rows = from->rows,
        .train_rows = from->train_rows,
        .columns = from->columns,
        .classes = from->classes,
        .loss = nats(from->evaluated, from->loss_micro),
        .accuracy = share(from->evaluated, from->accuracy_ppm),
        .best = lane_of(from->lane),
        .reproducible = from->reproducible,
        .why = cpni_list_text(builder, from->why),
        .weights = from->weights_root,
    };
}

static void convert_row(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index)
{
    const struct cpni_rec_SESSION *from = &reply->sessions[index];
    struct cpni_session_row *to = row;
    convert_info(builder, &to->info, reply, index);
    to->schema_root = from->schema_root;
    to->schema_size = from->schema_size;
    to->weights_size = from->weights_size;
    to->points = from->points;
}

static size_t lane_rows(const struct cpni_msg_reply *reply)
{
    return reply->lanes_count;
}

/* Until the last epoch ends, at the present rate. */
static double eta_s(const struct cpni_rec_LANE *from)
{
    struct cpni_lane_spec settings = { 0 };
    char why[CPNI_SPEC_DETAIL];
    if (from->state == CPNI_LANE_COMPLETED) {
        return 0;
    }
    if (from->state != CPNI_LANE_TRAINING || from->rate == 0 || from->steps == 0 || from->epoch == 0 ||
        cpni_lane_spec_set(&settings, from->settings, why) < 0) {
        return NAN;
    }
    uint64_t epochs = from->epochs > from->epoch ? from->epochs - from->epoch : 0;
    uint64_t steps = epochs * from->steps + (from->steps > from->step ? from->steps - from->step : 0);
    return (double)(steps * settings.batch) / (double)from->rate;
}

static void convert_lane(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index)
{
    const struct cpni_rec_LANE *from = &reply->lanes[index];
    bool known = from->step != 0;
    *(struct cpn_lane_info *)row = (struct cpn_lane_info){
        .lane = from->lane,
        .node = cpni_list_text(builder, from->node),
        .settings = cpni_list_text(builder, from->settings),
        .device = cpni_list_text(builder, from->device),
        .state = (enum cpn_lane_state)from->state,
        .text = cpni_list_text(builder, from->text),
        .round = from->round,
        .step = from->step,
        .steps = from->steps,
        .epoch = from->epoch,
        .epochs = from->epochs,
        .loss = nats(known, from->loss_micro),
        .accuracy = share(known, from->accuracy_ppm),
        .samples_per_s = (double)from->rate,
        .eta_s = eta_s(from),
    };
}

static size_t point_rows(const struct cpni_msg_reply *reply)
{
    return reply->points_count;
}

static void convert_point(struct cpni_list_builder *builder, void *row, const struct cpni_msg_reply *reply, size_t index)
{
    const struct cpni_rec_POINT *from = &reply->points[index];
    bool trained = lane_of(from->lane) != CPN_LANE_ALL && from->samples != 0;
    *(struct cpn_point_info *)row = (struct cpn_point_info){
        .lane = lane_of(from->lane),
        .epoch = from->epoch,
        .node = cpni_list_text(builder, from->node),
        .samples = from->samples,
        .train_loss = nats(trained, from->train_loss_micro),
        .train_accuracy = share(trained, from->train_ppm),
        .loss = nats(from->evaluated, from->loss_micro),
        .accuracy = share(from->evaluated, from->accuracy_ppm),
        .samples_per_s = from->rate != 0 ? (double)from->rate : NAN,
        .at_s = (double)from->at_ms / 1e3,
    };
}

/* ---- asking ---- */

int cpn_client_sessions(struct cpn_client *client, int timeout_ms, struct cpn_session_info **out, size_t *count)
{
    struct cpni_list_builder builder = { .row_size = sizeof(struct cpn_session_info), .convert = convert_info, .rows_of = session_rows };
    const struct cpni_msg_query query = { .what = CPNI_QUERY_SESSIONS };
    void *rows;
    int rc = cpni_list_ask(client, &builder, query, timeout_ms, &rows, count);
    if (rc == 0) {
        *out = rows;
    }
    return rc;
}

struct match {
    size_t named, begun; /* how many are called so, how many ids begin so */
    struct cpn_id name, start;
};

static struct match match(const struct cpn_session_info *sessions, size_t count, const char *text)
{
    struct match match = { 0 };
    for (size_t i = 0; i < count; i++) {
        char id[CPN_ID_TEXT];
        if (strcmp(sessions[i].name, text) == 0) {
            match.name = match.named++ == 0 ? sessions[i].id : match.name;
        }
        if (text[0] != 0 && strncmp(cpn_id_text(&sessions[i].id, id), text, strlen(text)) == 0) {
            match.start = match.begun++ == 0 ? sessions[i].id : match.start;
        }
    }
    return match;
}

int cpn_session_find(struct cpn_client *client, const char *text, int timeout_ms, struct cpn_id *session)
{
    struct cpn_session_info *sessions = NULL;
    size_t count = 0;
    int rc = cpn_client_sessions(client, timeout_ms, &sessions, &count);
    if (rc < 0) {
        return rc;
    }
    struct match found = match(sessions, count, text);
    cpn_client_free_list(sessions);
    const bool same = found.begun == 1 && found.named == 1 && memcmp(&found.start, &found.name, sizeof found.name) == 0;
    if (found.begun == 1 && (found.named == 0 || same || strlen(text) == CPN_ID_TEXT - 1)) {
        *session = found.start;
        return 0;
    }
    if (found.named == 1 && found.begun == 0) {
        *session = found.name;
        return 0;
    }
    if (found.named > 0 && found.begun > 0) { /* what was meant for one must not stop the other */
        return cpni_client_fail(client, CPN_EINVAL, "a session is called %s, and the id of another begins so: say more of the id", text);
    }
    if (found.named > 1) {
        return cpni_client_fail(client, CPN_EINVAL, "%zu sessions are called %s: say the id of one", found.named, text);
    }
    return found.begun > 1 ? cpni_client_fail(client, CPN_EINVAL, "%zu sessions' ids begin with %s: say more of it", found.begun, text)
                           : cpni_client_fail(client, CPN_ENOTFOUND, "no session is called %s, nor does an id begin so", text);
}

static int find_row(struct cpn_client *client, const struct cpn_id *session, int timeout_ms, struct cpni_session_row **out)
{
    struct cpni_list_builder builder = { .row_size = sizeof(struct cpni_session_row), .convert = convert_row, .rows_of = session_rows };
    char id[CPN_ID_TEXT];
    const struct cpni_msg_query query = { .what = CPNI_QUERY_SESSIONS, .name = cpni_str(cpn_id_text(session, id)) };
    void *rows;
    size_t count;
    int rc = cpni_list_ask(client, &builder, query, timeout_ms, &rows, &count);
    if (rc < 0) {
        return rc;
    }
    struct cpni_session_row *row = rows;
    if (count != 1 || memcmp(&row->info.id, session, sizeof *session) != 0) {
        cpn_client_free_list(rows);
        return cpni_client_fail(client, CPN_ENOTFOUND, "there is no session %s: the master keeps the last %d", id, CPNI_SESSIONS_MAX);
    }
    *out = row;
    return 0;
}

static void reset(const struct cpn_client *client, struct cpni_session_points *points)
{
    cpni_session_points_free(points);
    points->builder = (struct cpni_list_builder){ .row_size = sizeof(struct cpn_point_info), .convert = convert_point, .rows_of = point_rows };
    points->welcomes = client->welcomes;
}

/* The first time, after a break, and at the end they are all asked for. */
static int bring_points(struct cpn_client *client, struct cpni_session_points *points, struct cpni_session_report *report,
                        struct cpn_session_report *last, int timeout_ms)
{
    char id[CPN_ID_TEXT];
    const struct cpni_msg_query query = { .what = CPNI_QUERY_POINTS, .name = cpni_str(cpn_id_text(&report->report.info.id, id)) };
    struct cpni_list_builder *builder = &points->builder;
    bool anew = points->welcomes != client->welcomes || cpn_session_over(report->report.info.state) || report->row->points < builder->count;
    if (builder->list == NULL || builder->failed || anew) {
        if (last != NULL) {
            last->points = NULL;
            last->point_count = 0;
        }
        reset(client, points);
    }
    int rc = builder->list == NULL || report->row->points != builder->count ? cpni_list_more(client, builder, query, timeout_ms) : 0;
    if (last != NULL) { /* what it shows has moved */
        last->points = cpni_list_rows(builder);
        last->point_count = last->point_count < builder->count ? last->point_count : builder->count;
    }
    report->report.points = cpni_list_rows(builder);
    report->report.point_count = builder->count;
    return rc;
}

static int fill(struct cpn_client *client, const struct cpn_id *session, struct cpni_session_points *points, struct cpn_session_report *last,
                int timeout_ms, struct cpni_session_report *report)
{
    struct cpni_list_builder lanes = { .row_size = sizeof(struct cpn_lane_info), .convert = convert_lane, .rows_of = lane_rows };
    struct cpni_session_points own = { .welcomes = client->welcomes };
    const int64_t until_us = cpni_client_until(timeout_ms);
    struct cpn_session_report *to = &report->report;
    char id[CPN_ID_TEXT];
    const struct cpni_msg_query query = { .what = CPNI_QUERY_LANES, .name = cpni_str(cpn_id_text(session, id)) };
    void *rows;
    int rc = find_row(client, session, timeout_ms, &report->row);
    if (rc < 0) {
        return rc;
    }
    to->info = report->row->info;
    rc = cpni_list_ask(client, &lanes, query, cpni_client_left_ms(until_us), &rows, &to->lane_count);
    if (rc < 0) {
        return rc;
    }
    to->lanes = rows;
    report->shared = points != NULL;
    return bring_points(client, points != NULL ? points : &own, report, last, cpni_client_left_ms(until_us));
}

int cpni_session_report_next(struct cpn_client *client, const struct cpn_id *session, struct cpni_session_points *points,
                             struct cpn_session_report *last, int timeout_ms, struct cpn_session_report **out)
{
    struct cpni_session_report *report = cpni_calloc(1, sizeof *report);
    if (report == NULL) {
        return CPN_ENOMEM;
    }
    int rc = fill(client, session, points, last, timeout_ms, report);
    if (rc < 0) {
        cpn_session_report_free(&report->report);
        return rc;
    }
    *out = &report->report;
    return 0;
}

void cpni_session_points_free(struct cpni_session_points *points)
{
    cpn_client_free_list(cpni_list_rows(&points->builder));
    points->builder.list = NULL;
}

int cpn_session_report(struct cpn_client *client, const struct cpn_id *session, int timeout_ms, struct cpn_session_report **out)
{
    return cpni_session_report_next(client, session, NULL, NULL, timeout_ms, out);
}

void cpn_session_report_free(struct cpn_session_report *report)
{
    if (report != NULL) {
        struct cpni_session_report *whole = (struct cpni_session_report *)report; /* its first member */
        cpn_client_free_list(whole->row);
        cpn_client_free_list((void *)(uintptr_t)report->lanes);
        cpn_client_free_list(whole->shared ? NULL : (void *)(uintptr_t)report->points);
        cpni_free(whole);
    }
}

/* ---- names ---- */

#define NAME_OF(names, value) ((size_t)(value) < sizeof(names) / sizeof((names)[0]) ? (names)[value] : "?")

const char *cpn_session_mode_name(enum cpn_session_mode mode)
{
    static const char *const names[] = { "default", "sweep", "average", "sync" };
    return NAME_OF(names, mode);
}

const char *cpn_session_state_name(enum cpn_session_state state)
{
    static const char *const names[] = { "?", "created", "locking", "distributing", "training", "aggregating", "completed", "failed", "stopped" };
    return NAME_OF(names, state);
}

const char *cpn_lane_state_name(enum cpn_lane_state state)
{
    static const char *const names[] = { "?", "waiting", "training", "completed", "failed", "cut", "stopped" };
    return NAME_OF(names, state);
}
