/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Options of a session as the spec that the master gets. Must not know tables or the network. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "data/number.h"
#include "role/session.h"

#define DEFAULT_VALIDATION 0.1

static int refuse(char *detail, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(char *detail, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(detail, CPN_DETAIL, format, list);
    va_end(list);
    return CPN_EINVAL;
}

/* ---- configurations ---- */

static int set(struct cpni_lane_spec *lane, const char *text, char *detail)
{
    char why[CPNI_SPEC_DETAIL] = "";
    return cpni_lane_spec_set(lane, cpni_str(text), why) < 0 ? refuse(detail, "%s", why) : 0;
}

static int reserve(struct cpni_session_spec *spec, uint64_t count, char *detail)
{
    if (count > CPNI_SESSION_LANES_MAX) {
        return refuse(detail, "%llu configurations: at most %d are taken", (unsigned long long)count, CPNI_SESSION_LANES_MAX);
    }
    struct cpni_lane_spec *lanes = cpni_realloc(spec->lanes, (size_t)count * sizeof *lanes);
    if (lanes == NULL) {
        return CPN_ENOMEM;
    }
    spec->lanes = lanes;
    return 0;
}

/* The common settings with each of the configurations, or alone. */
static int add_configurations(const struct cpn_session_options *options, struct cpni_session_spec *spec, char *detail)
{
    struct cpni_lane_spec base = spec->lanes[0];
    uint32_t count = 0;
    int rc = options->settings != NULL ? set(&base, options->settings, detail) : 0;
    while (options->configurations != NULL && options->configurations[count] != NULL) {
        count++;
    }
    rc = rc == 0 && count > 1 ? reserve(spec, count, detail) : rc;
    spec->lanes[0] = base;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        spec->lanes[i] = base;
        rc = set(&spec->lanes[i], options->configurations[i], detail);
    }
    spec->lane_count = rc == 0 && count > 1 ? count : 1;
    return rc;
}

/* Set the nth value of "lr=1e-2,1e-3". */
static int set_value(struct cpni_lane_spec *lane, const char *sweep, uint32_t nth, char *detail)
{
    size_t key = strcspn(sweep, "=");
    const char *value = sweep + key + 1;
    char one[CPNI_LANE_TEXT];
    while (nth-- > 0) {
        value += strcspn(value, ",") + 1;
    }
    if (snprintf(one, sizeof one, "%.*s=%.*s", (int)key, sweep, (int)strcspn(value, ","), value) >= (int)sizeof one) {
        return refuse(detail, "sweep '%.60s...': a value is too long", sweep);
    }
    return set(lane, one, detail);
}

/* Each configuration once with each value. From the last value to the first: the first one takes the place of what all are made from. */
static int multiply(struct cpni_session_spec *spec, const char *sweep, char *detail)
{
    size_t key = strcspn(sweep, "=");
    uint32_t values = 1;
    if (key == 0 || sweep[key] == 0 || key > 32) {
        return refuse(detail, "sweep '%.60s': expected a setting and its values, such as lr=1e-2,1e-3", sweep);
    }
    for (const char *at = sweep; (at = strchr(at, ',')) != NULL; at++) {
        values++;
    }
    const uint32_t before = spec->lane_count;
    int rc = reserve(spec, (uint64_t)before * values, detail);
    for (uint32_t v = values; rc == 0 && v-- > 0;) {
        for (uint32_t i = 0; rc == 0 && i < before; i++) {
            spec->lanes[v * before + i] = spec->lanes[i];
            rc = set_value(&spec->lanes[v * before + i], sweep, v, detail);
        }
    }
    spec->lane_count = rc == 0 ? before * values : before;
    return rc;
}

static int add_sweeps(const struct cpn_session_options *options, struct cpni_session_spec *spec, char *detail)
{
    int rc = 0;
    for (const char *const *sweep = options->sweep; rc == 0 && sweep != NULL && *sweep != NULL; sweep++) {
        size_t key = strcspn(*sweep, "=") + 1;
        for (const char *const *other = options->sweep; other < sweep; other++) {
            if (strncmp(*other, *sweep, key) == 0) {
                return refuse(detail, "sweep '%.60s': this setting is swept twice", *sweep);
            }
        }
        rc = multiply(spec, *sweep, detail);
    }
    return rc;
}

/* ---- the rest ---- */

static int take_validation(double share, struct cpni_session_spec *spec, char *detail)
{
    share = share == 0 ? DEFAULT_VALIDATION : share;
    if (!(share <= 0.9)) {
        return refuse(detail, "validation is %g: expected a share of the rows, at most 0.9", share);
    }
    spec->validation_ppm = share < 0 ? 0 : (uint32_t)lround(share * 1e6);
    return 0;
}

static int take_rest(const struct cpn_session_options *options, struct cpni_session_spec *spec, char *detail)
{
    const char *trainer = options->trainer != NULL ? options->trainer : "dnn";
    if (strlen(trainer) >= sizeof spec->trainer) {
        return refuse(detail, "trainer: expected a name such as dnn or torch");
    }
    if (options->mode > CPN_MODE_SYNC) {
        return refuse(detail, "mode: expected sweep, average or sync");
    }
    snprintf(spec->trainer, sizeof spec->trainer, "%s", trainer);
    spec->mode = options->mode != CPN_MODE_DEFAULT ? (enum cpni_session_mode)options->mode
                 : spec->lane_count > 1            ? CPNI_MODE_SWEEP
                                                   : CPNI_MODE_AVERAGE;
    spec->peers = options->peers != 0 ? options->peers : 1;
    spec->local_steps = options->local_steps != 0 ? options->local_steps : spec->local_steps;
    spec->checkpoint = options->checkpoint != 0 ? options->checkpoint : spec->mode == CPNI_MODE_AVERAGE ? spec->checkpoint : 1;
    spec->quorum = options->quorum;
    spec->int8 = options->int8;
    spec->halving = options->halving;
    spec->split_seed = options->split_seed != 0 ? options->split_seed : 1;
    return take_validation(options->validation, spec, detail);
}

/* The one reader of specs knows what is right. */
static int check(const struct cpni_session_spec *spec, char *detail)
{
    struct cpni_buf text = { 0 };
    struct cpni_session_spec again;
    char why[CPNI_SPEC_DETAIL] = "";
    int rc = cpni_session_spec_write(spec, &text);
    if (rc == 0 && text.size > CPNI_SESSION_SPEC_BYTES_MAX) {
        rc = refuse(detail, "the configurations are %zu bytes of text: at most %d are taken", text.size, CPNI_SESSION_SPEC_BYTES_MAX);
    } else if (rc == 0) {
        rc = cpni_session_spec_read((struct cpni_str){ (const char *)text.data, (uint32_t)text.size }, &again, why);
        if (rc == 0) {
            cpni_session_spec_free(&again);
        } else if (rc != CPN_ENOMEM) {
            rc = refuse(detail, "%s", why);
        }
    }
    cpni_buf_free(&text);
    return rc;
}

int cpni_session_spec_of(const struct cpn_session_options *options, struct cpni_session_spec *out, char *detail)
{
    struct cpni_session_spec spec;
    int rc = cpni_session_spec_init(&spec);
    if (rc < 0) {
        return rc;
    }
    rc = add_configurations(options, &spec, detail);
    rc = rc == 0 ? add_sweeps(options, &spec, detail) : rc;
    rc = rc == 0 ? take_rest(options, &spec, detail) : rc;
    rc = rc == 0 ? check(&spec, detail) : rc;
    if (rc < 0) {
        cpni_session_spec_free(&spec);
        return rc;
    }
    *out = spec;
    return 0;
}

/* ---- what a lane is to a trainer ---- */

/* The text is a decimal number: the spec's reader has seen to it. */
static float number(const char *text)
{
    float value = NAN;
    return cpni_number_parse(text, strlen(text), &value) == CPNI_NUMBER_OK ? value : NAN;
}

int cpni_session_model_of(const struct cpni_lane_spec *lane, uint32_t columns, uint32_t classes, struct cpni_model *out, char *detail)
{
    struct cpn_trainer_spec spec = CPN_TRAINER_SPEC_INIT;
    char why[CPN_TRAINER_DETAIL] = "";
    spec.inputs = columns;
    spec.classes = classes;
    spec.hidden_count = lane->hidden_count;
    memcpy(spec.hidden, lane->hidden, sizeof spec.hidden);
    spec.optimizer = lane->sgd ? CPN_TRAINER_SGD : CPN_TRAINER_ADAM;
    spec.learning_rate = number(lane->lr);
    spec.momentum = number(lane->momentum);
    spec.weight_decay = number(lane->decay);
    spec.batch = lane->batch;
    return cpni_model_init(out, &spec, why) < 0 ? refuse(detail, "%s", why) : 0;
}
