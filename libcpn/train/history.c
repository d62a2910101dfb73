/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See history.h: JSON and CSV. */
#include "train/history.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <cpn/error.h>
#include <jansson.h>

#include "base/alloc.h"

void cpni_history_number(struct cpni_buf *out, double value, unsigned decimals)
{
    uint64_t scale = 1;
    for (unsigned i = 0; i < decimals; i++) {
        scale *= 10;
    }
    double scaled = fabs(value) * (double)scale + 0.5;
    if (isnan(value)) {
        return;
    }
    if (scaled >= 1e18) { /* beyond what fits; such a loss is no loss any more */
        cpni_buf_printf(out, "%s%.0f", value < 0 ? "-" : "", fabs(value) < 1e300 ? fabs(value) : 1e300);
        return;
    }
    uint64_t units = (uint64_t)scaled;
    cpni_buf_printf(out, "%s%" PRIu64, value < 0 && units > 0 ? "-" : "", units / scale);
    if (decimals > 0) {
        cpni_buf_printf(out, ".%0*" PRIu64, (int)decimals, units % scale);
    }
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *text(const char *value)
{
    json_t *string = json_string(value != NULL ? value : "");
    return string != NULL ? string : json_string("(not UTF-8)");
}

static json_t *peer_json(const struct cpni_history_peer *peer)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "name", text(peer->name), "settings", text(peer->settings), "device",
        text(peer->device), "state", text(peer->state));
}

static json_t *point_json(const struct cpni_history_point *point)
{
    return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "peer", (json_int_t)point->peer, "epoch",
        (json_int_t)point->epoch, "samples", (json_int_t)point->samples, "train_loss", number(point->train_loss),
        "train_accuracy", number(point->train_accuracy), "loss", number(point->loss), "accuracy",
        number(point->accuracy), "samples_per_s", number(point->samples_per_s), "at_s", number(point->at_s));
}

static json_t *history_json(const struct cpni_history *history)
{
    json_t *peers = json_array(), *epochs = json_array();
    for (uint32_t i = 0; i < history->peer_count; i++) {
        json_array_append_new(peers, peer_json(&history->peers[i]));
    }
    for (uint32_t i = 0; i < history->point_count; i++) {
        json_array_append_new(epochs, point_json(&history->points[i]));
    }
    bool whole = json_array_size(peers) == history->peer_count && json_array_size(epochs) == history->point_count;
    json_t *root = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "session", text(history->session), "dataset",
        text(history->dataset), "trainer", text(history->trainer), "mode", text(history->mode), "state",
        text(history->state), "peers", peers, "epochs", epochs);
    if (!whole) {
        json_decref(root);
        return NULL;
    }
    return root;
}

static int append(const char *data, size_t size, void *arg)
{
    return cpni_buf_append(arg, data, size) < 0 ? -1 : 0;
}

int cpni_history_json(const struct cpni_history *history, struct cpni_buf *out)
{
    json_t *root = history_json(history);
    int rc = root == NULL || json_dump_callback(root, append, out, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) < 0
        ? CPN_ENOMEM
        : 0;
    json_decref(root);
    cpni_buf_append(out, "\n", 1);
    return out->failed ? CPN_ENOMEM : rc;
}

static void csv_text(struct cpni_buf *out, const char *value)
{
    if (strpbrk(value, ",\"\r\n") == NULL) {
        cpni_buf_append(out, value, strlen(value));
        return;
    }
    cpni_buf_append(out, "\"", 1);
    for (const char *at = value; *at != '\0'; at++) {
        cpni_buf_append(out, *at == '"' ? "\"\"" : at, *at == '"' ? 2 : 1);
    }
    cpni_buf_append(out, "\"", 1);
}

static void csv_numbers(struct cpni_buf *out, const double *values, const unsigned *decimals, int count)
{
    for (int i = 0; i < count; i++) {
        cpni_buf_append(out, ",", 1);
        if (isfinite(values[i])) {
            cpni_history_number(out, values[i], decimals[i]);
        }
    }
}

int cpni_history_csv(const struct cpni_history *history, struct cpni_buf *out)
{
    static const unsigned decimals[] = { 6, 6, 6, 6, 1, 3 };
    cpni_buf_printf(out, "peer,settings,epoch,samples,train_loss,train_accuracy,loss,accuracy,samples_per_s,at_s\r\n");
    for (uint32_t i = 0; i < history->point_count; i++) {
        const struct cpni_history_point *point = &history->points[i];
        const struct cpni_history_peer *peer = &history->peers[point->peer];
        const double values[] = { point->train_loss, point->train_accuracy, point->loss, point->accuracy,
            point->samples_per_s, point->at_s };
        csv_text(out, peer->name);
        cpni_buf_append(out, ",", 1);
        csv_text(out, peer->settings);
        cpni_buf_printf(out, ",%" PRIu32 ",%" PRIu64, point->epoch, point->samples);
        csv_numbers(out, values, decimals, 6);
        cpni_buf_append(out, "\r\n", 2);
    }
    return out->failed ? CPN_ENOMEM : 0;
}
