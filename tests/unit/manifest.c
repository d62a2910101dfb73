/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* wire/manifest: one manifest has one encoding, and nothing that could escape a bundle's directory is accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "wire/manifest.h"

#define TEXT(text_) { (text_), sizeof(text_) - 1 }

static char why[CPNI_WHY];

/* A manifest with all of it, to be changed by a test. */
struct full {
    struct cpni_manifest_pair parameters[2];
    struct cpni_manifest_file files[3];
    struct cpni_manifest_pair requires[1];
    struct cpni_manifest manifest;
};

static struct cpni_manifest *fill(struct full *full)
{
    *full = (struct full){
        .parameters = { { TEXT("cascade"), TEXT("haar.xml") }, { TEXT("threshold"), TEXT("81.5") } },
        .files = { { TEXT("faces.yml"), 123456, { { 1, 2, 3 } } },
                   { TEXT("haar.xml"), 1, { { 4 } } },
                   { TEXT("sample.jpg"), 0, { { 5 } } } },
        .requires = { { TEXT("memory"), TEXT("536870912") } },
    };
    full->manifest = (struct cpni_manifest){
        .name = TEXT("faces"),
        .backend = TEXT("opencv.face"),
        .parameters = full->parameters,
        .parameter_count = 2,
        .files = full->files,
        .file_count = 3,
        .requires = full->requires,
        .requires_count = 1,
        .sample = TEXT("sample.jpg"),
    };
    return &full->manifest;
}

static void assert_same(const struct cpni_manifest *a, const struct cpni_manifest *b)
{
    assert_true(cpni_str_equal(a->name, b->name) && cpni_str_equal(a->backend, b->backend));
    assert_true(cpni_str_equal(a->sample, b->sample));
    assert_int_equal(a->parameter_count, b->parameter_count);
    assert_int_equal(a->requires_count, b->requires_count);
    assert_int_equal(a->file_count, b->file_count);
    for (uint32_t i = 0; i < a->parameter_count; i++) {
        assert_true(cpni_str_equal(a->parameters[i].key, b->parameters[i].key));
        assert_true(cpni_str_equal(a->parameters[i].value, b->parameters[i].value));
    }
    for (uint32_t i = 0; i < a->file_count; i++) {
        assert_true(cpni_str_equal(a->files[i].name, b->files[i].name));
        assert_true(a->files[i].size == b->files[i].size);
        assert_memory_equal(&a->files[i].root, &b->files[i].root, sizeof(struct cpn_hash));
    }
}

static void reads_back(void **state)
{
    (void)state;
    struct full full;
    struct cpni_arena arena = { 0 };
    struct cpni_manifest back;
    struct cpni_bytes *bytes;
    assert_int_equal(cpni_manifest_encode(fill(&full), &bytes, why), 0);
    assert_int_equal(cpni_manifest_decode(bytes->data, bytes->size, &arena, &back, why), 0);
    assert_same(&full.manifest, &back);
    cpni_bytes_unref(bytes);

    struct cpni_manifest least = { .name = TEXT("echo"), .backend = TEXT("echo") };
    assert_int_equal(cpni_manifest_encode(&least, &bytes, why), 0);
    assert_int_equal(bytes->size, 13);
    assert_int_equal(cpni_manifest_decode(bytes->data, bytes->size, &arena, &back, why), 0);
    assert_same(&least, &back);
    cpni_bytes_unref(bytes);
    cpni_arena_free(&arena);
}

static void assert_refused(const struct cpni_manifest *manifest, const char *expected)
{
    struct cpni_bytes *bytes = NULL;
    assert_int_equal(cpni_manifest_encode(manifest, &bytes, why), CPN_EINVAL);
    assert_null(bytes);
    if (strstr(why, expected) == NULL) {
        fail_msg("'%s' does not say '%s'", why, expected);
    }
}

static void names_stay_in_their_directory(void **state)
{
    (void)state;
    struct full full;
    const struct cpni_str bad[] = { TEXT(""),   TEXT("."),       TEXT(".."),   TEXT("../x"), TEXT("a/b"),
                                    TEXT("/x"), TEXT(".hidden"), TEXT("a\nb"), TEXT("a\0b"), TEXT("a\xff") };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct cpni_manifest *manifest = fill(&full);
        full.files[0].name = bad[i];
        assert_refused(manifest, "files: name");
    }
    const struct cpni_str models[] = {
        TEXT(""), TEXT("a@1"), TEXT("a b"), TEXT("-a"), TEXT("../a"), TEXT("a\xc3\xa4")
    };
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        struct cpni_manifest *manifest = fill(&full);
        manifest->name = models[i];
        assert_refused(manifest, "name '");
        manifest = fill(&full);
        manifest->backend = models[i];
        assert_refused(manifest, "backend '");
    }
}

static void contents_are_checked(void **state)
{
    (void)state;
    struct full full;
    struct cpni_manifest *manifest = fill(&full);
    full.files[1].name = full.files[0].name;
    assert_refused(manifest, "'faces.yml' comes twice or out of order");
    manifest = fill(&full);
    full.files[1].size = (1ull << 36) + 1;
    assert_refused(manifest, "files: 'haar.xml' of 68719476737 bytes");
    manifest = fill(&full);
    memset(&full.files[2].root, 0, sizeof full.files[2].root);
    assert_refused(manifest, "'sample.jpg' has no hash");
    manifest = fill(&full);
    manifest->sample = (struct cpni_str)TEXT("other.jpg");
    assert_refused(manifest, "sample: 'other.jpg'");
    manifest = fill(&full);
    full.parameters[1].key = (struct cpni_str)TEXT("a");
    assert_refused(manifest, "parameters: key 'a' comes twice or out of order");
    manifest = fill(&full);
    full.requires[0].key = (struct cpni_str)TEXT("");
    assert_refused(manifest, "requires: key ''");
    manifest = fill(&full);
    full.parameters[1].value = (struct cpni_str)TEXT("\xff");
    assert_refused(manifest, "UTF-8");
}

static void too_many_files_are_refused(void **state)
{
    (void)state;
    static struct cpni_manifest_file files[CPNI_MANIFEST_FILES_MAX + 1];
    static char names[CPNI_MANIFEST_FILES_MAX + 1][CPNI_FILE_NAME_BYTES_MAX + 1];
    for (uint32_t i = 0; i <= CPNI_MANIFEST_FILES_MAX; i++) {
        memset(names[i], 'x', CPNI_FILE_NAME_BYTES_MAX);
        names[i][0] = (char)('a' + i / 26);
        names[i][1] = (char)('a' + i % 26);
        files[i] = (struct cpni_manifest_file){ cpni_str(names[i]), 1ull << 36, { { 1 } } };
    }
    struct cpni_manifest manifest = { .name = TEXT("m"), .backend = TEXT("b"), .files = files };
    manifest.file_count = CPNI_MANIFEST_FILES_MAX;
    struct cpni_bytes *bytes;
    assert_int_equal(cpni_manifest_encode(&manifest, &bytes, why), 0); /* with the longest names, all of them fit */
    cpni_bytes_unref(bytes);
    manifest.file_count++;
    assert_refused(&manifest, "files: 257 of them");
}

static int decode(const void *data, size_t size)
{
    void *exact = malloc(size + (size == 0)); /* so that sanitizers see a read past the end */
    memcpy(exact, data, size);
    struct cpni_arena arena = { 0 };
    struct cpni_manifest manifest;
    strcpy(why, "");
    int rc = cpni_manifest_decode(exact, size, &arena, &manifest, why);
    assert_int_equal(rc < 0, why[0] != 0);
    assert_true(rc == 0 || rc == CPN_EPROTO);
    cpni_arena_free(&arena);
    free(exact);
    return rc;
}

static void damaged_bytes_are_refused(void **state)
{
    (void)state;
    struct full full;
    struct cpni_bytes *bytes;
    assert_int_equal(cpni_manifest_encode(fill(&full), &bytes, why), 0);
    for (size_t size = 0; size < bytes->size; size++) {
        assert_int_equal(decode(bytes->data, size), CPN_EPROTO);
    }
    uint8_t changed[1024];
    assert_true(bytes->size < sizeof changed);
    for (size_t at = 0; at < bytes->size; at++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            memcpy(changed, bytes->data, bytes->size);
            changed[at] = (uint8_t)byte;
            (void)decode(changed, bytes->size);
        }
    }
    memcpy(changed, bytes->data, bytes->size);
    changed[bytes->size] = 0xc0;
    assert_int_equal(decode(changed, bytes->size + 1), CPN_EPROTO);
    cpni_bytes_unref(bytes);
    assert_int_equal(decode("\xdd\xff\xff\xff\xff", 5), CPN_EPROTO);
    assert_int_equal(decode("\x81\x04\xdd\xff\xff\xff\xff", 7), CPN_EPROTO);
}

static void one_manifest_has_one_encoding(void **state)
{
    (void)state;
    assert_int_equal(decode("\x82\x01\xa1m\x02\xa1" "b", 7), 0);
    assert_int_equal(decode("\x82\x02\xa1" "b\x01\xa1m", 7), CPN_EPROTO); /* out of order */
    assert_int_equal(decode("\x82\x01\xd9\x01m\x02\xa1" "b", 8), CPN_EPROTO); /* a longer form */
    assert_int_equal(decode("\x83\x01\xa1m\x02\xa1" "b\x06\xa0", 9), CPN_EPROTO); /* a zero field */
    assert_string_equal(why, "manifest: not in its canonical encoding");
    assert_int_equal(decode("\x83\x01\xa1m\x02\xa1" "b\x63\x07", 9), 0); /* of a newer publisher */
}

static void the_signed_bytes_have_a_domain(void **state)
{
    (void)state;
    struct cpni_buf buf = { 0 };
    assert_int_equal(cpni_manifest_signed_bytes("xyz", 3, &buf), 0);
    assert_int_equal(buf.size, 18);
    assert_memory_equal(buf.data, "cpn-manifest-1\0xyz", 18);
    cpni_buf_free(&buf);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    struct full full;
    struct cpni_bytes *bytes = NULL;
    int rc = CPN_ENOMEM;
    for (unsigned nth = 1; rc < 0; nth++) {
        cpni_alloc_fail(nth);
        rc = cpni_manifest_encode(fill(&full), &bytes, why);
        cpni_alloc_fail(0);
        assert_true(rc == 0 || rc == CPN_ENOMEM);
    }
    rc = CPN_ENOMEM;
    for (unsigned nth = 1; rc < 0; nth++) {
        struct cpni_arena arena = { 0 };
        struct cpni_manifest back;
        cpni_alloc_fail(nth);
        rc = cpni_manifest_decode(bytes->data, bytes->size, &arena, &back, why);
        cpni_alloc_fail(0);
        assert_true(rc == 0 || rc == CPN_ENOMEM);
        cpni_arena_free(&arena);
    }
    cpni_bytes_unref(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back),
        cmocka_unit_test(names_stay_in_their_directory),
        cmocka_unit_test(contents_are_checked),
        cmocka_unit_test(too_many_files_are_refused),
        cmocka_unit_test(damaged_bytes_are_refused),
        cmocka_unit_test(one_manifest_has_one_encoding),
        cmocka_unit_test(the_signed_bytes_have_a_domain),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
