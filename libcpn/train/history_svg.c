/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See history.h: learning curves. Two panels over the epochs, loss above, accuracy below; a colour a peer, validation
 * as a line, training dashed; what a peer is called stands in the legend and in the line's tooltip. The colours and the
 * text follow the reader's light or dark scheme. */
#include "train/history.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

#define WIDTH 760
#define PANEL_LEFT 64
#define PANEL_WIDTH 672
#define PANEL_HEIGHT 220
#define LOSS_TOP 64
#define ACCURACY_TOP 340
#define LEGEND_TOP 616
#define LEGEND_LINE 20
#define COLOURS 8        /* what people can tell apart; further peers are drawn alike, in grey */
#define LEGEND_MAX 16    /* peers named; the rest is counted */
#define CURVE_POINTS 600 /* more than the panel's width can show */

static const char style[]
    = "<style>\n"
      "text{font:12px system-ui,sans-serif;fill:#52514e}\n"
      ".title{font-size:15px;font-weight:600;fill:#0b0b0b}.name{fill:#0b0b0b}\n"
      ".back{fill:#fcfcfb}.grid{stroke:#e4e3df}.axis{stroke:#b5b3ac}.curve{fill:none;stroke-width:2;stroke-linejoin:"
      "round}\n"
      ".train{stroke-width:1.5;stroke-dasharray:4 3;opacity:.75}.end{stroke:none}\n"
      ".p0{stroke:#2a78d6;fill:#2a78d6}.p1{stroke:#eb6834;fill:#eb6834}.p2{stroke:#1baf7a;fill:#1baf7a}"
      ".p3{stroke:#eda100;fill:#eda100}.p4{stroke:#e87ba4;fill:#e87ba4}.p5{stroke:#008300;fill:#008300}"
      ".p6{stroke:#4a3aa7;fill:#4a3aa7}.p7{stroke:#e34948;fill:#e34948}.p8{stroke:#a8a69f;fill:#a8a69f}\n"
      ".curve{fill:none}\n"
      "@media (prefers-color-scheme:dark){text{fill:#c3c2b7}.title,.name{fill:#fff}.back{fill:#1a1a19}"
      ".grid{stroke:#33332f}.axis{stroke:#66655f}"
      ".p0{stroke:#3987e5;fill:#3987e5}.p1{stroke:#d95926;fill:#d95926}.p2{stroke:#199e70;fill:#199e70}"
      ".p3{stroke:#c98500;fill:#c98500}.p4{stroke:#d55181;fill:#d55181}.p5{stroke:#2f9e2f;fill:#2f9e2f}"
      ".p6{stroke:#9085e9;fill:#9085e9}.p7{stroke:#e66767;fill:#e66767}.p8{stroke:#77756e;fill:#77756e}.curve{fill:"
      "none}}\n"
      "</style>\n";

struct panel {
    const char *title;
    int top;
    double low, high, step; /* of the y axis */
    uint32_t last;          /* epoch at the right end */
    bool percent;
    size_t validation, training; /* where in a point the values are */
};

static double value_at(const struct cpni_history_point *point, size_t offset)
{
    double value;
    memcpy(&value, (const char *)point + offset, sizeof value);
    return value;
}

static void put(struct cpni_buf *out, const char *text)
{
    cpni_buf_append(out, text, strlen(text));
}

static void put_escaped(struct cpni_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        const char *escaped = *text == '<' ? "&lt;"
            : *text == '>'                 ? "&gt;"
            : *text == '&'                 ? "&amp;"
            : *text == '"'                 ? "&quot;"
                                           : NULL;
        if (escaped != NULL) {
            put(out, escaped);
        } else if ((unsigned char)*text >= ' ') {
            cpni_buf_append(out, text, 1);
        }
    }
}

static void put_xy(struct cpni_buf *out, double x, double y)
{
    cpni_history_number(out, x, 1);
    put(out, ",");
    cpni_history_number(out, y, 1);
}

static double x_of(const struct panel *panel, uint32_t epoch)
{
    return PANEL_LEFT
        + (panel->last > 1 ? (double)(epoch - 1) * PANEL_WIDTH / (double)(panel->last - 1) : PANEL_WIDTH / 2.0);
}

static double y_of(const struct panel *panel, double value)
{
    double share = (value - panel->low) / (panel->high - panel->low);
    return panel->top + PANEL_HEIGHT * (1 - fmin(fmax(share, 0), 1)); /* what is off the scale runs along its edge */
}

/* 1, 2 or 5 times a power of ten, so that about `count` steps make `range`. */
static double nice_step(double range, double count)
{
    double power = pow(10, floor(log10(range / count))), rest = range / count / power;
    return power * (rest <= 1 ? 1 : rest <= 2 ? 2 : rest <= 5 ? 5 : 10);
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* The values that count for the scale, ascending. NULL: out of memory. */
static double *sorted_values(const struct cpni_history *history, const struct panel *panel, size_t *count)
{
    double *values = cpni_malloc((2 * (size_t)history->point_count + 1) * sizeof *values);
    *count = 0;
    for (uint32_t i = 0; values != NULL && i < history->point_count; i++) {
        double both[2]
            = { value_at(&history->points[i], panel->validation), value_at(&history->points[i], panel->training) };
        for (int j = 0; j < 2; j++) {
            if (isfinite(both[j])) {
                values[(*count)++] = both[j];
            }
        }
    }
    if (values != NULL && *count > 0) {
        qsort(values, *count, sizeof *values, compare_doubles);
    }
    return values;
}

/* Loss from 0 to the largest, but not so high that one runaway flattens all others; accuracy from the lowest to 100%.
 */
static int scale(const struct cpni_history *history, struct panel *panel)
{
    size_t count;
    double *values = sorted_values(history, panel, &count);
    if (values == NULL) {
        return CPN_ENOMEM;
    }
    double low = count > 0 ? values[0] : 0, high = count > 0 ? values[count - 1] : 1;
    if (panel->percent) {
        panel->step = nice_step(fmax(1 - low, 0.01), 5);
        panel->low = floor(low / panel->step + 1e-9) * panel->step;
        panel->high = 1;
    } else {
        high = fmin(high, count > 0 ? fmax(4 * values[count / 2], 1e-6) : 1);
        panel->step = nice_step(high, 5);
        panel->low = 0;
        panel->high = ceil(high / panel->step - 1e-9) * panel->step;
    }
    if (panel->high <= panel->low) {
        panel->low = panel->high - panel->step;
    }
    cpni_free(values);
    return 0;
}

static void put_line(struct cpni_buf *out, const char *class, double x1, double y1, double x2, double y2)
{
    cpni_buf_printf(out, "<path class=\"%s\" d=\"M", class);
    put_xy(out, x1, y1);
    put(out, "L");
    put_xy(out, x2, y2);
    put(out, "\"/>\n");
}

static void put_text_at(struct cpni_buf *out, double x, double y, const char *anchor)
{
    put(out, "<text x=\"");
    cpni_history_number(out, x, 1);
    put(out, "\" y=\"");
    cpni_history_number(out, y, 1);
    cpni_buf_printf(out, "\" text-anchor=\"%s\">", anchor);
}

static void put_y_axis(struct cpni_buf *out, const struct panel *panel)
{
    unsigned decimals = 0;
    double shown = panel->percent ? panel->step * 100 : panel->step;
    while (decimals < 6 && shown < 0.999999) {
        shown *= 10;
        decimals++;
    }
    for (int i = 0; panel->low + i * panel->step < panel->high + panel->step / 2; i++) {
        double value = panel->low + i * panel->step, y = y_of(panel, value);
        put_line(out, i == 0 ? "axis" : "grid", PANEL_LEFT, y, PANEL_LEFT + PANEL_WIDTH, y);
        put_text_at(out, PANEL_LEFT - 8, y + 4, "end");
        cpni_history_number(out, panel->percent ? value * 100 : value, decimals);
        put(out, panel->percent ? "%</text>\n" : "</text>\n");
    }
}

static void put_x_axis(struct cpni_buf *out, const struct panel *panel)
{
    uint32_t step = panel->last > 12 ? (uint32_t)fmax(nice_step(panel->last, 10), 1) : 1;
    double y = panel->top + PANEL_HEIGHT + 18;
    for (uint32_t epoch = step; epoch <= panel->last; epoch += step) {
        put_text_at(out, x_of(panel, epoch), y, "middle");
        cpni_buf_printf(out, "%" PRIu32 "</text>\n", epoch);
    }
    put_text_at(out, PANEL_LEFT + PANEL_WIDTH, y + 16, "end");
    put(out, "epoch</text>\n");
}

static void put_name(struct cpni_buf *out, const struct cpni_history_peer *peer)
{
    put_escaped(out, peer->name);
    if (peer->settings[0] != '\0') {
        put(out, ": ");
        put_escaped(out, peer->settings);
    }
}

static uint32_t points_of(const struct cpni_history *history, uint32_t peer)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < history->point_count; i++) {
        count += history->points[i].peer == peer;
    }
    return count;
}

/* One peer's values as a path, with a dot at the last one: a single point is no line. */
static void put_curve(struct cpni_buf *out, const struct cpni_history *history, const struct panel *panel,
    uint32_t peer, size_t offset, const char *kind)
{
    uint32_t colour = peer < COLOURS ? peer : COLOURS, count = points_of(history, peer), seen = 0;
    uint32_t stride = count / CURVE_POINTS + 1;
    double x = 0, y = 0;
    bool joins = false, any = false;
    cpni_buf_printf(out, "<path class=\"p%" PRIu32 " curve %s\" d=\"", colour, kind);
    for (uint32_t i = 0; i < history->point_count; i++) {
        const struct cpni_history_point *point = &history->points[i];
        double value = value_at(point, offset);
        if (point->peer != peer || (seen++ % stride != 0 && seen != count)) {
            continue;
        }
        if (!isfinite(value)) {
            joins = false;
            continue;
        }
        x = x_of(panel, point->epoch);
        y = y_of(panel, value);
        put(out, joins ? "L" : "M");
        put_xy(out, x, y);
        joins = any = true;
    }
    put(out, "\"><title>");
    put_name(out, &history->peers[peer]);
    cpni_buf_printf(out, " (%s)</title></path>\n", kind);
    if (any) {
        cpni_buf_printf(out, "<circle class=\"p%" PRIu32 " end\" r=\"3\" cx=\"", colour);
        cpni_history_number(out, x, 1);
        put(out, "\" cy=\"");
        cpni_history_number(out, y, 1);
        put(out, "\"/>\n");
    }
}

static void put_panel(struct cpni_buf *out, const struct cpni_history *history, const struct panel *panel)
{
    put_text_at(out, PANEL_LEFT, panel->top - 12, "start");
    cpni_buf_printf(out, "%s</text>\n", panel->title);
    put_y_axis(out, panel);
    put_x_axis(out, panel);
    for (uint32_t peer = history->peer_count; peer-- > 0;) { /* the first ones, which have colours, on top */
        put_curve(out, history, panel, peer, panel->training, "train");
        put_curve(out, history, panel, peer, panel->validation, "validation");
    }
}

static uint32_t named_peers(const struct cpni_history *history)
{
    return history->peer_count < LEGEND_MAX ? history->peer_count : LEGEND_MAX;
}

static void put_legend(struct cpni_buf *out, const struct cpni_history *history)
{
    uint32_t named = named_peers(history);
    put_line(out, "axis curve", PANEL_LEFT, LEGEND_TOP - 4, PANEL_LEFT + 24, LEGEND_TOP - 4);
    put_text_at(out, PANEL_LEFT + 32, LEGEND_TOP, "start");
    put(out, "validation</text>\n");
    put_line(out, "axis curve train", PANEL_LEFT + 120, LEGEND_TOP - 4, PANEL_LEFT + 144, LEGEND_TOP - 4);
    put_text_at(out, PANEL_LEFT + 152, LEGEND_TOP, "start");
    put(out, "training</text>\n");
    for (uint32_t i = 0; i < named; i++) {
        double y = LEGEND_TOP + LEGEND_LINE * (i + 1.0);
        cpni_buf_printf(out, "<circle class=\"p%" PRIu32 " end\" r=\"5\" cx=\"%d\" cy=\"%d\"/>\n",
            i < COLOURS ? i : COLOURS, PANEL_LEFT + 12, (int)y - 4);
        put_text_at(out, PANEL_LEFT + 32, y, "start");
        put_name(out, &history->peers[i]);
        put(out, "</text>\n");
    }
    if (history->peer_count > named) {
        put_text_at(out, PANEL_LEFT + 32, LEGEND_TOP + LEGEND_LINE * (named + 1.0), "start");
        cpni_buf_printf(out, "and %" PRIu32 " more</text>\n", history->peer_count - named);
    }
}

static uint32_t last_epoch(const struct cpni_history *history)
{
    uint32_t last = 1;
    for (uint32_t i = 0; i < history->point_count; i++) {
        last = history->points[i].epoch > last ? history->points[i].epoch : last;
    }
    return last;
}

int cpni_history_svg(const struct cpni_history *history, struct cpni_buf *out)
{
    uint32_t last = last_epoch(history);
    struct panel loss = { .title = "loss (cross-entropy)",
        .top = LOSS_TOP,
        .last = last,
        .validation = offsetof(struct cpni_history_point, loss),
        .training = offsetof(struct cpni_history_point, train_loss) };
    struct panel accuracy = { .title = "accuracy",
        .top = ACCURACY_TOP,
        .last = last,
        .percent = true,
        .validation = offsetof(struct cpni_history_point, accuracy),
        .training = offsetof(struct cpni_history_point, train_accuracy) };
    if (scale(history, &loss) < 0 || scale(history, &accuracy) < 0) {
        return CPN_ENOMEM;
    }
    int height = LEGEND_TOP + LEGEND_LINE * (int)(named_peers(history) + 2);
    cpni_buf_printf(out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
        WIDTH, height, WIDTH, height);
    put(out, "<title>Learning curves of session ");
    put_escaped(out, history->session);
    put(out, "</title>\n");
    put(out, style);
    put(out, "<rect class=\"back\" width=\"100%\" height=\"100%\"/>\n<text class=\"title\" x=\"16\" y=\"28\">");
    put_escaped(out, history->dataset);
    put(out, ", ");
    put_escaped(out, history->mode);
    put(out, ", ");
    put_escaped(out, history->state);
    put(out, "</text>\n");
    put_panel(out, history, &loss);
    put_panel(out, history, &accuracy);
    put_legend(out, history);
    put(out, "</svg>\n");
    return out->failed ? CPN_ENOMEM : 0;
}
