/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* wire/manifest_json: what a person writes into a bundle, and the line that they get when it is wrong. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "wire/manifest_json.h"

static char why[CPNI_WHY];

struct scratch {
    char dir[64];
    struct cpni_arena arena;
};

static void put(const struct scratch *scratch, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", scratch->dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int set_up(void **state)
{
    struct scratch *scratch = calloc(1, sizeof *scratch);
    snprintf(scratch->dir, sizeof scratch->dir, "/tmp/cpn-bundle-XXXXXX");
    assert_non_null(mkdtemp(scratch->dir));
    put(scratch, "model.yml", "12345");
    put(scratch, "a.jpg", "");
    put(scratch, ".hidden", "x");
    char path[256];
    snprintf(path, sizeof path, "%s/subdir", scratch->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    *state = scratch;
    return 0;
}

static int tear_down(void **state)
{
    struct scratch *scratch = *state;
    static const char *const names[] = { "model.yml", "a.jpg", ".hidden", "model.json" };
    char path[256];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", scratch->dir, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/subdir", scratch->dir);
    rmdir(path);
    rmdir(scratch->dir);
    cpni_arena_free(&scratch->arena);
    free(scratch);
    return 0;
}

static void assert_text(struct cpni_str text, const char *expected)
{
    assert_true(cpni_str_equal(text, cpni_str(expected)));
}

static void a_bundle_is_read(void **state)
{
    struct scratch *scratch = *state;
    put(scratch, "model.json",
        "{\"name\":\"faces\",\"backend\":\"opencv.face\",\"sample\":\"a.jpg\",\"description\":\"not sent\","
        "\"parameters\":{\"threshold\":81.5,\"scale_factor\":1.1,\"neighbours\":9,\"draw\":true,\"cascade\":\"x.xml\"},"
        "\"requires\":{\"memory\":\"512 MiB\",\"cores\":2,\"gpu\":\"any\"}}");
    struct cpni_manifest manifest;
    assert_int_equal(cpni_bundle_read(scratch->dir, &scratch->arena, &manifest, why), 0);
    assert_text(manifest.name, "faces");
    assert_text(manifest.backend, "opencv.face");
    assert_text(manifest.sample, "a.jpg");
    assert_int_equal(manifest.parameter_count, 5);
    static const char *const pairs[5][2] = { { "cascade", "x.xml" }, { "draw", "true" }, { "neighbours", "9" },
                                             { "scale_factor", "1.1" }, { "threshold", "81.5" } };
    for (size_t i = 0; i < 5; i++) {
        assert_text(manifest.parameters[i].key, pairs[i][0]);
        assert_text(manifest.parameters[i].value, pairs[i][1]);
    }
    assert_int_equal(manifest.requires_count, 3);
    assert_text(manifest.requires[2].key, "memory");
    assert_text(manifest.requires[2].value, "536870912");
    assert_int_equal(manifest.file_count, 2); /* not the hidden one, not model.json, not the directory */
    assert_text(manifest.files[0].name, "a.jpg");
    assert_text(manifest.files[1].name, "model.yml");
    assert_int_equal(manifest.files[1].size, 5);
}

static void files_may_be_named(void **state)
{
    struct scratch *scratch = *state;
    put(scratch, "model.json", "{\"name\":\"m\",\"backend\":\"b\",\"files\":[\"model.yml\"]}");
    struct cpni_manifest manifest;
    assert_int_equal(cpni_bundle_read(scratch->dir, &scratch->arena, &manifest, why), 0);
    assert_int_equal(manifest.file_count, 1);
    put(scratch, "model.json", "{\"name\":\"m\",\"backend\":\"b\",\"files\":[]}");
    assert_int_equal(cpni_bundle_read(scratch->dir, &scratch->arena, &manifest, why), 0);
    assert_int_equal(manifest.file_count, 0);
}

static void errors_name_file_and_field(void **state)
{
    struct scratch *scratch = *state;
    static const struct {
        const char *json;
        int code;
        const char *text;
    } cases[] = {
        { "", CPN_EBADINPUT, "line 1, column 0" },
        { "{\"name\":\"m\",\n\"backend\" \"b\"}", CPN_EBADINPUT, "line 2" },
        { "{\"name\":\"m\",\"name\":\"n\"}", CPN_EBADINPUT, "duplicate" },
        { "[]", CPN_EBADINPUT, "one JSON object" },
        { "{\"backend\":\"b\"}", CPN_EBADINPUT, "name: expected a text, there is none" },
        { "{\"name\":7,\"backend\":\"b\"}", CPN_EBADINPUT, "name: expected a text" },
        { "{\"name\":\"m\"}", CPN_EBADINPUT, "backend: expected a text" },
        { "{\"name\":\"m@1\",\"backend\":\"b\"}", CPN_EBADINPUT, "name 'm@1'" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"paramters\":{}}", CPN_EBADINPUT, "unknown field 'paramters'" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"version\":3}", CPN_EBADINPUT, "numbered by the master" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"parameters\":[]}", CPN_EBADINPUT, "parameters: expected an object" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"parameters\":{\"x\":[1]}}", CPN_EBADINPUT,
          "parameters.x: expected a text" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"requires\":{\"memory\":\"lots\"}}", CPN_EBADINPUT,
          "requires.memory: 'lots'" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"requires\":{\"memory\":-1}}", CPN_EBADINPUT, "requires.memory: '-1'" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"requires\":{\"memory\":\"17179869184 GiB\"}}", CPN_EBADINPUT,
          "requires.memory" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"requires\":{\"cores\":\"two\"}}", CPN_EBADINPUT,
          "requires.cores: 'two'" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"requires\":{\"disk\":1}}", CPN_EBADINPUT, "requires.disk: unknown" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"files\":{}}", CPN_EBADINPUT, "files: expected a list" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"files\":[7]}", CPN_EBADINPUT, "files[0]" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"files\":[\"../x\"]}", CPN_EBADINPUT, "files: '../x'" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"files\":[\"subdir\"]}", CPN_EBADINPUT,
          "'subdir': expected a regular file" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"files\":[\"model.json\"]}", CPN_EBADINPUT, "files: 'model.json'" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"files\":[\"none\"]}", CPN_ENOTFOUND, "files: 'none': No such file" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"files\":[\"a.jpg\",\"a.jpg\"]}", CPN_EBADINPUT, "'a.jpg' comes twice" },
        { "{\"name\":\"m\",\"backend\":\"b\",\"sample\":\"b.jpg\"}", CPN_EBADINPUT,
          "sample: 'b.jpg' is none of the files" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put(scratch, "model.json", cases[i].json);
        struct cpni_manifest manifest;
        int rc = cpni_bundle_read(scratch->dir, &scratch->arena, &manifest, why);
        if (rc != cases[i].code || strstr(why, cases[i].text) == NULL || strstr(why, "/model.json: ") == NULL) {
            fail_msg("%s: %d '%s', expected %d '%s'", cases[i].json, rc, why, cases[i].code, cases[i].text);
        }
    }
}

static void missing_parts_are_named(void **state)
{
    struct scratch *scratch = *state;
    struct cpni_manifest manifest;
    assert_int_equal(cpni_bundle_read(scratch->dir, &scratch->arena, &manifest, why), CPN_ENOTFOUND);
    assert_non_null(strstr(why, "model.json: No such file"));
    assert_int_equal(cpni_bundle_read("/nonexistent/bundle", &scratch->arena, &manifest, why), CPN_ENOTFOUND);
    assert_non_null(strstr(why, "/nonexistent/bundle: No such file or directory; expected the directory of a bundle"));
}

static void any_allocation_may_fail(void **state)
{
    struct scratch *scratch = *state;
    put(scratch, "model.json",
        "{\"name\":\"m\",\"backend\":\"b\",\"parameters\":{\"x\":1},\"requires\":{\"memory\":\"1 GiB\"}}");
    int rc = CPN_ENOMEM;
    for (unsigned nth = 1; rc < 0; nth++) {
        struct cpni_arena arena = { 0 };
        struct cpni_manifest manifest;
        cpni_alloc_fail(nth);
        rc = cpni_bundle_read(scratch->dir, &arena, &manifest, why);
        cpni_alloc_fail(0);
        assert_true(rc == 0 || rc == CPN_ENOMEM);
        assert_true(rc == 0 || strcmp(why, "out of memory") == 0);
        cpni_arena_free(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_bundle_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_may_be_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(errors_name_file_and_field, set_up, tear_down),
        cmocka_unit_test_setup_teardown(missing_parts_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_allocation_may_fail, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
