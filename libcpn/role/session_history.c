/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A session's report as history (cpn/session.h): its lanes are the peers that train/history.h writes about. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "role/lists.h"
#include "role/session.h"
#include "train/history.h"

#define STATE_ROOM (CPN_DETAIL + 32) /* "failed: " and why */

struct history {
    struct cpni_history history;
    struct cpni_history_peer *peers;
    struct cpni_history_point *points;
    char (*states)[STATE_ROOM];
    char (*names)[32];
};

/* One more peer than lanes: the common model of average and sync, if it was evaluated. */
static void add_peers(struct history *to, const struct cpn_session_report *report)
{
    for (uint32_t i = 0; i < report->lane_count; i++) {
        const struct cpn_lane_info *lane = &report->lanes[i];
        bool told = lane->text[0] != 0;
        snprintf(to->names[i], sizeof to->names[i], "lane %u", lane->lane);
        snprintf(to->states[i], sizeof to->states[i], "%s%s%s", cpn_lane_state_name(lane->state), told ? ": " : "", lane->text);
        to->peers[i] = (struct cpni_history_peer){ lane->node[0] != 0 ? lane->node : to->names[i], lane->settings, lane->device, to->states[i] };
    }
    to->peers[report->lane_count] = (struct cpni_history_peer){ "all", "", "", cpn_session_state_name(report->info.state) };
    to->history.peer_count = (uint32_t)report->lane_count;
}

static uint32_t peer_of(struct history *to, const struct cpn_session_report *report, uint32_t lane)
{
    uint32_t peer = 0;
    while (peer < report->lane_count && report->lanes[peer].lane != lane) {
        peer++;
    }
    if (peer == report->lane_count) {
        to->history.peer_count = (uint32_t)report->lane_count + 1;
    }
    return peer;
}

static void add_points(struct history *to, const struct cpn_session_report *report)
{
    for (size_t i = 0; i < report->point_count; i++) {
        const struct cpn_point_info *from = &report->points[i];
        to->points[i] = (struct cpni_history_point){
            .peer = peer_of(to, report, from->lane),
            .epoch = from->epoch,
            .samples = from->samples,
            .train_loss = from->train_loss,
            .train_accuracy = from->train_accuracy,
            .loss = from->loss,
            .accuracy = from->accuracy,
            .samples_per_s = from->samples_per_s,
            .at_s = from->at_s,
        };
    }
    to->history.point_count = (uint32_t)report->point_count;
}

static int write_as(const struct cpni_history *history, enum cpn_history_format format, struct cpni_buf *out)
{
    switch (format) {
    case CPN_HISTORY_JSON:
        return cpni_history_json(history, out);
    case CPN_HISTORY_CSV:
        return cpni_history_csv(history, out);
    case CPN_HISTORY_SVG:
        return cpni_history_svg(history, out);
    }
    return CPN_EINVAL;
}

static int write_history(const struct cpn_session_report *report, enum cpn_history_format format, struct history *history, struct cpni_buf *out)
{
    char id[CPN_ID_TEXT];
    size_t peers = report->lane_count + 1;
    history->peers = cpni_calloc(peers, sizeof *history->peers);
    history->states = cpni_calloc(peers, sizeof *history->states);
    history->names = cpni_calloc(peers, sizeof *history->names);
    history->points = cpni_calloc(report->point_count + 1, sizeof *history->points);
    if (history->peers == NULL || history->states == NULL || history->names == NULL || history->points == NULL) {
        return CPN_ENOMEM;
    }
    history->history = (struct cpni_history){
        .session = cpn_id_text(&report->info.id, id),
        .dataset = report->info.name,
        .trainer = report->info.trainer,
        .mode = cpn_session_mode_name(report->info.mode),
        .state = cpn_session_state_name(report->info.state),
        .peers = history->peers,
        .points = history->points,
    };
    add_peers(history, report);
    add_points(history, report);
    return write_as(&history->history, format, out);
}

int cpn_session_history(const struct cpn_session_report *report, enum cpn_history_format format, char **out, size_t *size)
{
    struct history history = { 0 };
    struct cpni_buf text = { 0 };
    int rc = write_history(report, format, &history, &text);
    char *bytes = rc == 0 ? cpni_list_bytes(text.data, text.size) : NULL;
    if (rc == 0 && bytes == NULL) {
        rc = CPN_ENOMEM;
    }
    if (rc == 0) {
        *out = bytes;
        *size = text.size;
    }
    cpni_buf_free(&text);
    cpni_free(history.peers);
    cpni_free(history.states);
    cpni_free(history.names);
    cpni_free(history.points);
    return rc;
}
