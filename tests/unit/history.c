/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Histories of sessions as JSON, CSV and SVG: whole, escaped, and free of what is not a number. With
 * CPN_HISTORY_SVG=FILE the picture is written there, to be looked at. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "train/history.h"

enum { PEERS = 3, EPOCHS = 10 };

static const struct cpni_history_peer peers[PEERS] = { { "athena", "lr 0.001, batch 64", "cpu", "completed" },
    { "<boreas> & \"co\"", "lr 0.01, batch 32", "cpu", "completed" },
    { "chronos", "lr 3", "cpu", "failed: loss is not a number" } };
static struct cpni_history_point points[PEERS * EPOCHS];

static struct cpni_history make(void)
{
    uint32_t count = 0;
    for (uint32_t peer = 0; peer < PEERS; peer++) {
        for (uint32_t epoch = 1; epoch <= EPOCHS; epoch++) {
            double e = epoch, speed = peer + 1.0;
            points[count++] = (struct cpni_history_point){ .peer = peer,
                .epoch = epoch,
                .samples = epoch * UINT64_C(48000),
                .train_loss = peer == 2 ? 1e9 * e : exp(-e / 3 * speed) + 0.02,
                .train_accuracy = 1 - 0.3 * exp(-e / 3 * speed),
                .loss = peer == 2 && epoch > 3 ? (double)NAN : exp(-e / 4) + 0.1,
                .accuracy = peer == 2 ? 0.8 : 1 - 0.3 * exp(-e / 4) - 0.02,
                .samples_per_s = 123456.78,
                .at_s = 0.5 * e };
        }
    }
    return (struct cpni_history){ "0123abcd", "digits.csv", "dnn", "sweep", "completed", peers, PEERS, points, count };
}

static char *text_of(struct cpni_buf *buf)
{
    cpni_buf_append(buf, "", 1);
    return (char *)buf->data;
}

static void json_is_whole(void **state)
{
    (void)state;
    struct cpni_history history = make();
    struct cpni_buf buf = { 0 };
    assert_int_equal(cpni_history_json(&history, &buf), 0);
    json_t *root = json_loads(text_of(&buf), 0, NULL);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "mode")), "sweep");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(root, "peers"), 1), "name")), peers[1].name);
    json_t *epochs = json_object_get(root, "epochs");
    assert_int_equal(json_array_size(epochs), PEERS * EPOCHS);
    assert_true(fabs(json_real_value(json_object_get(json_array_get(epochs, 4), "loss")) - points[4].loss) < 1e-8);
    assert_true(json_is_null(json_object_get(json_array_get(epochs, 29), "loss")));
    json_decref(root);
    cpni_buf_free(&buf);
}

static void csv_is_a_table(void **state)
{
    (void)state;
    struct cpni_history history = make();
    struct cpni_buf buf = { 0 };
    setlocale(LC_ALL, "de_DE.UTF-8");
    assert_int_equal(cpni_history_csv(&history, &buf), 0);
    setlocale(LC_ALL, "C");
    const char *csv = text_of(&buf);
    assert_int_equal(strncmp(csv, "peer,settings,epoch,", 20), 0);
    assert_non_null(strstr(
        csv, "\r\nathena,\"lr 0.001, batch 64\",1,48000,0.736531,0.785041,0.878801,0.746360,123456.8,0.500\r\n"));
    assert_non_null(strstr(csv, "\r\n\"<boreas> & \"\"co\"\"\",\"lr 0.01, batch 32\",1,"));
    assert_non_null(strstr(csv, ",10,480000,10000000000.000000,0.999986,,0.800000,123456.8,5.000\r\n"));
    cpni_buf_free(&buf);
}

static void numbers_are_plain(void **state)
{
    (void)state;
    static const struct {
        double value;
        unsigned decimals;
        const char *text;
    } cases[] = { { 0, 0, "0" }, { 1.005, 1, "1.0" }, { -0.04, 1, "0.0" }, { -0.06, 1, "-0.1" }, { 12.5, 0, "13" },
        { 0.000001, 6, "0.000001" }, { NAN, 3, "" }, { 1e20, 2, "100000000000000000000" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cpni_buf buf = { 0 };
        cpni_history_number(&buf, cases[i].value, cases[i].decimals);
        assert_string_equal(text_of(&buf), cases[i].text);
        cpni_buf_free(&buf);
    }
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)) != NULL; text++) {
        count++;
    }
    return count;
}

static void svg_shows_all_curves(void **state)
{
    (void)state;
    struct cpni_history history = make();
    struct cpni_buf buf = { 0 };
    assert_int_equal(cpni_history_svg(&history, &buf), 0);
    const char *svg = text_of(&buf);
    assert_int_equal(count_of(svg, "curve validation\""), 2 * PEERS);
    assert_int_equal(count_of(svg, "curve train\""), 2 * PEERS + 1);
    assert_int_equal(count_of(svg, "&lt;boreas&gt; &amp; &quot;co&quot;"), 4 * 1 + 1);
    assert_null(strstr(svg, "<boreas>"));
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    assert_int_equal(count_of(svg, "<svg"), count_of(svg, "</svg>"));
    assert_int_equal(count_of(svg, "<text"), count_of(svg, "</text>"));
    const char *file = getenv("CPN_HISTORY_SVG");
    FILE *to = file != NULL ? fopen(file, "w") : NULL;
    if (to != NULL) {
        fputs(svg, to);
        fclose(to);
    }
    cpni_buf_free(&buf);
}

static void nothing_yet_is_no_failure(void **state)
{
    (void)state;
    struct cpni_history history = { "s", "d.csv", "dnn", "average", "training", peers, 1, points, 0 };
    struct cpni_buf buf = { 0 };
    assert_int_equal(cpni_history_svg(&history, &buf), 0);
    assert_int_equal(cpni_history_json(&history, &buf), 0);
    assert_int_equal(cpni_history_csv(&history, &buf), 0);
    points[0] = (struct cpni_history_point){ 0, 1, 1, NAN, NAN, 0, 1, NAN, NAN };
    history.point_count = 1;
    assert_int_equal(cpni_history_svg(&history, &buf), 0);
    assert_null(strstr(text_of(&buf), "nan"));
    cpni_buf_free(&buf);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    struct cpni_history history = make();
    int (*const writers[])(const struct cpni_history *, struct cpni_buf *)
        = { cpni_history_json, cpni_history_csv, cpni_history_svg };
    for (int i = 0; i < 3; i++) {
        int rc = CPN_ENOMEM;
        for (unsigned nth = 1; rc != 0; nth++) {
            struct cpni_buf buf = { 0 };
            cpni_alloc_fail(nth);
            rc = writers[i](&history, &buf);
            cpni_alloc_fail(0);
            assert_true(rc == 0 || rc == CPN_ENOMEM);
            cpni_buf_free(&buf);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_whole),
        cmocka_unit_test(csv_is_a_table),
        cmocka_unit_test(numbers_are_plain),
        cmocka_unit_test(svg_shows_all_curves),
        cmocka_unit_test(nothing_yet_is_no_failure),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
