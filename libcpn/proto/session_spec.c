/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See session_spec.h. */
#include "proto/session_spec.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

#define DEFAULT_LOCAL_STEPS 200
#define DEFAULT_CHECKPOINT 10
#define DEFAULT_VALIDATION_PPM 100000

static const struct cpni_lane_spec default_lane = {
    .batch = 64, .epochs = 10, .hidden_count = 2, .hidden = { 128, 64 }, .seed = 1, .lr = "0.001", .momentum = "0.9", .decay = "0"
};

static int bad(char *detail, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int bad(char *detail, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(detail, CPNI_SPEC_DETAIL, format, list);
    va_end(list);
    return CPN_EBADINPUT;
}

/* ---- texts ---- */

/* Cut `text` at the first `at`; what follows it is left in `text`. */
static struct cpni_str cut(struct cpni_str *text, char at)
{
    const char *end = text->size != 0 ? memchr(text->text, at, text->size) : NULL;
    struct cpni_str head = { text->text, end != NULL ? (uint32_t)(end - text->text) : text->size };
    uint32_t used = end != NULL ? head.size + 1 : head.size;
    text->text += used;
    text->size -= used;
    return head;
}

static bool is(struct cpni_str text, const char *word)
{
    return cpni_str_equal(text, cpni_str(word));
}

static bool whole(struct cpni_str text, uint64_t least, uint64_t most, uint64_t *out)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        if (text.text[i] < '0' || text.text[i] > '9' || value > (UINT64_MAX - 9) / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(text.text[i] - '0');
    }
    if (text.size == 0 || value < least || value > most) {
        return false;
    }
    *out = value;
    return true;
}

static uint32_t digits(struct cpni_str text, uint32_t *at)
{
    uint32_t from = *at;
    while (*at < text.size && isdigit((unsigned char)text.text[*at])) {
        ++*at;
    }
    return *at - from;
}

/* A decimal number that is not negative, in at most 23 characters: "0.001", "1e-3". */
static bool decimal(struct cpni_str text, char *out, size_t room)
{
    uint32_t at = 0;
    uint32_t count = digits(text, &at);
    if (at < text.size && text.text[at] == '.') {
        at++;
        count += digits(text, &at);
    }
    if (count == 0) {
        return false;
    }
    if (at < text.size && (text.text[at] == 'e' || text.text[at] == 'E')) {
        at++;
        at += at < text.size && (text.text[at] == '-' || text.text[at] == '+') ? 1 : 0;
        uint32_t power = digits(text, &at);
        if (power == 0 || power > 2) {
            return false;
        }
    }
    if (at != text.size || text.size >= room) {
        return false;
    }
    cpni_str_copy(text, out, room);
    return true;
}

/* ---- a lane ---- */

static bool set_hidden(struct cpni_lane_spec *lane, struct cpni_str value)
{
    uint32_t count = 0;
    uint64_t width;
    bool more = !is(value, "none");
    while (more) {
        struct cpni_str head = cut(&value, ':');
        more = head.text + head.size != value.text; /* a colon stood there */
        if (count == CPNI_LANE_HIDDEN_MAX || !whole(head, 1, 65536, &width)) {
            return false;
        }
        lane->hidden[count++] = (uint32_t)width;
    }
    memset(lane->hidden + count, 0, (CPNI_LANE_HIDDEN_MAX - count) * sizeof *lane->hidden);
    lane->hidden_count = count;
    return true;
}

static int set_one(struct cpni_lane_spec *lane, struct cpni_str key, struct cpni_str value, char *detail)
{
    const char *expected = NULL;
    uint64_t number = 0;
    if (is(key, "lr")) {
        expected = decimal(value, lane->lr, sizeof lane->lr) ? NULL : "a number such as 0.001 or 1e-3";
    } else if (is(key, "momentum")) {
        expected = decimal(value, lane->momentum, sizeof lane->momentum) ? NULL : "a number such as 0.9";
    } else if (is(key, "decay")) {
        expected = decimal(value, lane->decay, sizeof lane->decay) ? NULL : "a number such as 1e-4";
    } else if (is(key, "batch")) {
        expected = whole(value, 1, 65536, &number) ? NULL : "a whole number from 1 to 65536";
        lane->batch = (uint32_t)number;
    } else if (is(key, "epochs")) {
        expected = whole(value, 1, 100000, &number) ? NULL : "a whole number from 1 to 100000";
        lane->epochs = (uint32_t)number;
    } else if (is(key, "seed")) {
        expected = whole(value, 0, UINT64_MAX / 16, &number) ? NULL : "a whole number";
        lane->seed = number;
    } else if (is(key, "hidden")) {
        expected = set_hidden(lane, value) ? NULL : "widths such as 128:64 (at most 8, each 1 to 65536) or none";
    } else if (is(key, "optimizer")) {
        lane->sgd = is(value, "sgd");
        expected = lane->sgd || is(value, "adam") ? NULL : "adam or sgd";
    } else {
        return bad(detail, "unknown setting '%.*s': expected lr, batch, epochs, hidden, optimizer, momentum, decay or seed",
                   (int)(key.size < 40 ? key.size : 40), key.text);
    }
    return expected == NULL ? 0
                            : bad(detail, "%.*s=%.*s: expected %s", (int)key.size, key.text, (int)(value.size < 40 ? value.size : 40),
                                  value.text, expected);
}

int cpni_lane_spec_set(struct cpni_lane_spec *lane, struct cpni_str text, char *detail)
{
    struct cpni_lane_spec next = *lane;
    while (text.size != 0) {
        struct cpni_str value = cut(&text, ',');
        struct cpni_str key = cut(&value, '=');
        int rc = set_one(&next, key, value, detail);
        if (rc < 0) {
            return rc;
        }
    }
    *lane = next;
    return 0;
}

void cpni_lane_spec_text(const struct cpni_lane_spec *lane, char text[CPNI_LANE_TEXT])
{
    char hidden[CPNI_LANE_HIDDEN_MAX * 6 + 1] = "none";
    size_t used = 0;
    for (uint32_t i = 0; i < lane->hidden_count; i++) {
        used += (size_t)snprintf(hidden + used, sizeof hidden - used, "%s%u", i == 0 ? "" : ":", lane->hidden[i]);
    }
    snprintf(text, CPNI_LANE_TEXT, "lr=%s,batch=%u,epochs=%u,hidden=%s,optimizer=%s,momentum=%s,decay=%s,seed=%llu", lane->lr, lane->batch,
             lane->epochs, hidden, lane->sgd ? "sgd" : "adam", lane->momentum, lane->decay, (unsigned long long)lane->seed);
}

/* ---- the whole ---- */

int cpni_session_spec_init(struct cpni_session_spec *spec)
{
    struct cpni_lane_spec *lane = cpni_memdup(&default_lane, sizeof default_lane);
    if (lane == NULL) {
        return CPN_ENOMEM;
    }
    *spec = (struct cpni_session_spec){
        .mode = CPNI_MODE_AVERAGE, .trainer = "dnn", .peers = 1, .local_steps = DEFAULT_LOCAL_STEPS, .checkpoint = DEFAULT_CHECKPOINT,
        .validation_ppm = DEFAULT_VALIDATION_PPM, .split_seed = 1, .lanes = lane, .lane_count = 1,
    };
    return 0;
}

void cpni_session_spec_free(struct cpni_session_spec *spec)
{
    cpni_free(spec->lanes);
    *spec = (struct cpni_session_spec){ 0 };
}

static const char *const modes[] = { [CPNI_MODE_SWEEP] = "sweep", [CPNI_MODE_AVERAGE] = "average", [CPNI_MODE_SYNC] = "sync" };

int cpni_session_spec_write(const struct cpni_session_spec *spec, struct cpni_buf *out)
{
    int rc = cpni_buf_printf(out,
                             "mode %s\ntrainer %s\npeers %u\nlocal-steps %u\ncheckpoint %u\nquorum %u\nencoding %s\nhalving %d\nsplit-seed %llu\n"
                             "validation %u\n",
                             modes[spec->mode], spec->trainer, spec->peers, spec->local_steps, spec->checkpoint, spec->quorum,
                             spec->int8 ? "int8" : "float32", spec->halving, (unsigned long long)spec->split_seed, spec->validation_ppm);
    for (uint32_t i = 0; rc == 0 && i < spec->lane_count; i++) {
        char text[CPNI_LANE_TEXT];
        cpni_lane_spec_text(&spec->lanes[i], text);
        rc = cpni_buf_printf(out, "lane %s\n", text);
    }
    return rc;
}

static int add_lane(struct cpni_session_spec *spec, struct cpni_str text, char *detail)
{
    if (spec->lane_count == CPNI_SESSION_LANES_MAX) {
        return bad(detail, "more than %d configurations", CPNI_SESSION_LANES_MAX);
    }
    struct cpni_lane_spec *lanes = cpni_realloc(spec->lanes, (spec->lane_count + 1) * sizeof *lanes);
    if (lanes == NULL) {
        return CPN_ENOMEM;
    }
    spec->lanes = lanes;
    lanes[spec->lane_count] = default_lane;
    return cpni_lane_spec_set(&lanes[spec->lane_count++], text, detail);
}

static bool set_mode(struct cpni_session_spec *spec, struct cpni_str value)
{
    for (uint32_t i = 1; i < sizeof modes / sizeof *modes; i++) {
        if (is(value, modes[i])) {
            spec->mode = (enum cpni_session_mode)i;
            return true;
        }
    }
    return false;
}

static bool set_trainer(struct cpni_session_spec *spec, struct cpni_str value)
{
    for (uint32_t i = 0; i < value.size; i++) { /* it becomes part of a file's name */
        if (!islower((unsigned char)value.text[i]) && !isdigit((unsigned char)value.text[i])) {
            return false;
        }
    }
    cpni_str_copy(value, spec->trainer, sizeof spec->trainer);
    return value.size != 0 && value.size < sizeof spec->trainer;
}

static int set_number(struct cpni_session_spec *spec, struct cpni_str key, struct cpni_str value, char *detail)
{
    const struct {
        const char *key;
        uint32_t *to;
        uint32_t least, most;
    } numbers[] = {
        { "peers", &spec->peers, 1, CPNI_SESSION_PEERS_MAX },       { "local-steps", &spec->local_steps, 1, 1000000 },
        { "checkpoint", &spec->checkpoint, 1, CPNI_SESSION_REPLAY_MAX }, { "quorum", &spec->quorum, 0, CPNI_SESSION_PEERS_MAX },
        { "validation", &spec->validation_ppm, 0, 900000 },
    };
    uint64_t number;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (is(key, numbers[i].key)) {
            if (!whole(value, numbers[i].least, numbers[i].most, &number)) {
                return bad(detail, "%s: expected a whole number from %u to %u", numbers[i].key, numbers[i].least, numbers[i].most);
            }
            *numbers[i].to = (uint32_t)number;
            return 0;
        }
    }
    return bad(detail, "unknown line '%.*s' in the session's text", (int)(key.size < 40 ? key.size : 40), key.text);
}

static int set_line(struct cpni_session_spec *spec, struct cpni_str key, struct cpni_str value, char *detail)
{
    if (is(key, "mode")) {
        return set_mode(spec, value) ? 0 : bad(detail, "mode: expected sweep, average or sync");
    }
    if (is(key, "trainer")) {
        return set_trainer(spec, value) ? 0 : bad(detail, "trainer: expected a name such as dnn or torch");
    }
    if (is(key, "encoding")) {
        spec->int8 = is(value, "int8");
        return spec->int8 || is(value, "float32") ? 0 : bad(detail, "encoding: expected float32 or int8");
    }
    if (is(key, "halving")) {
        spec->halving = is(value, "1");
        return spec->halving || is(value, "0") ? 0 : bad(detail, "halving: expected 0 or 1");
    }
    if (is(key, "split-seed")) {
        return whole(value, 0, UINT64_MAX / 16, &spec->split_seed) ? 0 : bad(detail, "split-seed: expected a whole number");
    }
    if (is(key, "lane")) {
        return add_lane(spec, value, detail);
    }
    return set_number(spec, key, value, detail);
}

static int check(const struct cpni_session_spec *spec, char *detail)
{
    if (spec->lane_count == 0) {
        return bad(detail, "the session has no lane line");
    }
    if (spec->mode != CPNI_MODE_SWEEP && spec->lane_count != 1) {
        return bad(detail, "%u configurations are a sweep; average and sync have one", spec->lane_count);
    }
    if (spec->halving && spec->mode != CPNI_MODE_SWEEP) {
        return bad(detail, "halving is for a sweep");
    }
    if (spec->int8 && spec->mode != CPNI_MODE_AVERAGE) {
        return bad(detail, "encoding int8 is for mode average");
    }
    if (spec->quorum > spec->peers || (spec->quorum != 0 && spec->mode != CPNI_MODE_AVERAGE)) {
        return bad(detail, "quorum: expected at most the number of peers, in mode average");
    }
    if (spec->mode != CPNI_MODE_AVERAGE && spec->checkpoint != 1) {
        return bad(detail, "checkpoint: modes sweep and sync have one after every round");
    }
    return 0;
}

int cpni_session_spec_read(struct cpni_str text, struct cpni_session_spec *out, char *detail)
{
    struct cpni_session_spec spec;
    int rc = cpni_session_spec_init(&spec);
    if (rc < 0) {
        return rc;
    }
    spec.lane_count = 0; /* the lines name them all */
    while (rc == 0 && text.size != 0) {
        struct cpni_str value = cut(&text, '\n');
        struct cpni_str key = cut(&value, ' ');
        rc = set_line(&spec, key, value, detail);
    }
    rc = rc == 0 ? check(&spec, detail) : rc;
    if (rc < 0) {
        cpni_session_spec_free(&spec);
        return rc;
    }
    *out = spec;
    return 0;
}

/* ---- what follows from it ---- */

uint32_t cpni_session_lanes(const struct cpni_session_spec *spec)
{
    return spec->mode == CPNI_MODE_SWEEP ? spec->lane_count : spec->peers;
}

const struct cpni_lane_spec *cpni_session_lane(const struct cpni_session_spec *spec, uint32_t lane)
{
    return &spec->lanes[spec->mode == CPNI_MODE_SWEEP ? lane : 0];
}

uint64_t cpni_session_lane_rows(const struct cpni_session_spec *spec, uint32_t lane, uint64_t train_rows)
{
    return spec->mode == CPNI_MODE_SWEEP ? train_rows : train_rows / spec->peers + (lane < train_rows % spec->peers ? 1 : 0);
}

/* Shards differ by one row, so by one batch at the most: all do as many steps as the first and largest, that they stay in step. */
uint64_t cpni_session_epoch_steps(const struct cpni_session_spec *spec, uint32_t lane, uint64_t train_rows)
{
    uint64_t rows = cpni_session_lane_rows(spec, spec->mode == CPNI_MODE_SWEEP ? lane : 0, train_rows);
    uint32_t batch = cpni_session_lane(spec, lane)->batch;
    return (rows + batch - 1) / batch;
}

uint64_t cpni_session_round_steps(const struct cpni_session_spec *spec, uint32_t lane, uint64_t train_rows, uint64_t round)
{
    uint64_t epoch = cpni_session_epoch_steps(spec, lane, train_rows);
    uint64_t all = epoch * cpni_session_lane(spec, lane)->epochs;
    uint64_t steps = spec->mode == CPNI_MODE_SWEEP ? epoch : spec->local_steps;
    uint64_t before = (round - 1) * steps;
    return before >= all ? 0 : all - before < steps ? all - before : steps;
}

uint64_t cpni_session_rounds(const struct cpni_session_spec *spec, uint64_t train_rows)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < spec->lane_count; i++) {
        uint64_t epoch = cpni_session_epoch_steps(spec, i, train_rows);
        uint64_t steps = spec->mode == CPNI_MODE_SWEEP ? epoch : spec->local_steps;
        uint64_t rounds = (epoch * cpni_session_lane(spec, i)->epochs + steps - 1) / steps;
        most = rounds > most ? rounds : most;
    }
    return most;
}
