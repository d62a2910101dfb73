/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A schema written as JSON is read back equal, and nothing else is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "train/schema_json.h"

static char *colours[] = { "blue", "red \"dark\"", "\xc3\xa4" }, *classes[] = { "no", "yes" };
static struct cpni_feature features[] = {
    { .name = "mass", .first = 0, .width = 1, .fills = true, .fill = 0.1, .mean = 1.0 / 3, .deviation = 1e-7 },
    { .name = "colour",
        .first = 1,
        .width = 3,
        .categorical = true,
        .categories = colours,
        .fills = true,
        .fill = 2,
        .deviation = 1 },
    { .name = "", .first = 4, .width = 1, .deviation = 1 },
};
static const struct cpni_schema schema = { .header = true,
    .label = "sold",
    .features = features,
    .feature_count = 3,
    .columns = 5,
    .classes = classes,
    .class_count = 2 };

static void it_is_read_back_equal(void **state)
{
    (void)state;
    struct cpni_schema back;
    char detail[CPNI_DATA_DETAIL] = "";
    struct cpni_buf before = { 0 }, after = { 0 };
    json_t *json = cpni_schema_to_json(&schema);
    assert_non_null(json);
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    json = json_loads(text, 0, NULL);
    assert_int_equal(cpni_schema_from_json(json, &back, detail), 0);
    assert_int_equal(cpni_schema_write(&schema, &before), 0);
    assert_int_equal(cpni_schema_write(&back, &after), 0);
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.data, after.data, after.size);
    cpni_schema_free(&back);
    cpni_buf_free(&before);
    cpni_buf_free(&after);
    json_decref(json);
    free(text);
}

static void other_json_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        { "[]", CPN_ECORRUPT },
        { "{}", CPN_ECORRUPT },
        { "{'version':2}", CPN_EVERSION },
        { "{'version':1,'label':'y','columns':1,'classes':[],'features':[{'name':'a'}]}", 0 },
        { "{'version':1,'label':5,'columns':1,'classes':[],'features':[{'name':'a'}]}", CPN_ECORRUPT },
        { "{'version':1,'label':'y','columns':2,'classes':[],'features':[{'name':'a'}]}", CPN_ECORRUPT },
        { "{'version':1,'label':'y','columns':1,'classes':[1],'features':[{'name':'a'}]}", CPN_ECORRUPT },
        { "{'version':1,'label':'y','columns':1,'classes':{},'features':[{'name':'a'}]}", CPN_ECORRUPT },
        { "{'version':1,'label':'y','columns':0,'classes':[],'features':[]}", CPN_ECORRUPT },
        { "{'version':1,'label':'y','columns':1,'classes':[],'features':['a']}", CPN_ECORRUPT },
        { "{'version':1,'label':'y','columns':1,'classes':[],'features':[{'name':'a','deviation':0}]}", CPN_ECORRUPT },
        { "{'version':1,'label':'y','columns':1,'classes':[],'features':[{'name':'a','mean':'x'}]}", CPN_ECORRUPT },
        { "{'version':1,'label':'y','columns':0,'classes':[],'features':[{'name':'a','categories':[]}]}",
            CPN_ECORRUPT },
        { "{'version':1,'label':'y','columns':1,'classes':[],'features':[{'name':'a','categories':['b'],'fill':1}]}",
            CPN_ECORRUPT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256], detail[CPNI_DATA_DETAIL] = "";
        strcpy(text, cases[i].text);
        for (char *at = text; *at != '\0'; at++) {
            *at = *at == '\'' ? '"' : *at;
        }
        json_t *json = json_loads(text, 0, NULL);
        assert_non_null(json);
        struct cpni_schema out = { 0 };
        assert_int_equal(cpni_schema_from_json(json, &out, detail), cases[i].rc);
        assert_true(cases[i].rc == 0 || detail[0] != '\0');
        cpni_schema_free(&out);
        json_decref(json);
    }
}

static void memory_may_run_out(void **state)
{
    (void)state;
    json_t *json = cpni_schema_to_json(&schema);
    int rc = CPN_ENOMEM;
    for (unsigned nth = 1; rc != 0; nth++) {
        char detail[CPNI_DATA_DETAIL];
        struct cpni_schema out = { 0 };
        cpni_alloc_fail(nth);
        rc = cpni_schema_from_json(json, &out, detail);
        cpni_alloc_fail(0);
        assert_true(rc == 0 || rc == CPN_ENOMEM);
        cpni_schema_free(&out);
    }
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_read_back_equal),
        cmocka_unit_test(other_json_is_refused),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
