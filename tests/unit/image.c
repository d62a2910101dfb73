/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* compute/image: what is refused before a decoder sees it. Images are made here byte by byte; real ones are used where
 * they are. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/backend.h>
#include <cpn/error.h>

#include "compute/image.h"

#define DOC_PHOTOS "/usr/share/doc/opencv-doc/examples/data"

struct file {
    uint8_t data[4096];
    size_t size;
};

static void add(struct file *file, const char *bytes, size_t size)
{
    memcpy(file->data + file->size, bytes, size);
    file->size += size;
}
#define ADD(file, literal) add(file, literal, sizeof(literal) - 1)

/* SOI, APP1 with a thumbnail that has its own EOI, SOF0 of 48x32, DHT-less scan with stuffing and a restart, EOI */
static void make_jpeg(struct file *file)
{
    *file = (struct file) { 0 };
    ADD(file, "\xff\xd8\xff\xe1\x00\x0cthumb\xff\xd8\xff\xd9.");
    ADD(file, "\xff\xff\xc0\x00\x0b\x08\x00\x20\x00\x30\x01\x01\x11\x00");
    ADD(file, "\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00");
    ADD(file, "scan\xff\x00more\xff\xd0rest\xff\xd9");
}

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static void add_chunk(struct file *file, const char *type, const uint8_t *body, uint32_t size)
{
    put32(file->data + file->size, size);
    file->size += 4;
    add(file, type, 4);
    add(file, (const char *)body, size);
    ADD(file, "CRC."); /* libpng's to check */
}

static void make_png(struct file *file, uint32_t width, uint32_t height)
{
    uint8_t header[13] = { 0 };
    put32(header, width);
    put32(header + 4, height);
    *file = (struct file) { 0 };
    ADD(file, "\x89PNG\r\n\x1a\n");
    add_chunk(file, "IHDR", header, 13);
    add_chunk(file, "IDAT", (const uint8_t *)"data", 4);
    add_chunk(file, "IEND", header, 0);
}

static void make_webp(struct file *file)
{
    *file = (struct file) { 0 };
    ADD(file, "RIFF\x17\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00");
    ADD(file, "\x30\x01\x00\x9d\x01\x2a\x30\x00\x20\x00"); /* 48x32 */
    ADD(file, "\x00");
}

static int check(const struct file *file, struct cpni_image_info *info, char *detail)
{
    uint8_t *copy = malloc(file->size + 1); /* exactly as large, for the sanitizer */
    uint8_t *exact = realloc(copy, file->size != 0 ? file->size : 1);
    memcpy(exact, file->data, file->size);
    int rc = cpni_image_check(exact, file->size, info, detail);
    free(exact);
    return rc;
}

static void whole_images_pass(void **state)
{
    (void)state;
    struct file files[3];
    make_jpeg(&files[0]);
    make_png(&files[1], 48, 32);
    make_webp(&files[2]);
    for (int i = 0; i < 3; i++) {
        struct cpni_image_info info = { 0 };
        char detail[CPN_BACKEND_DETAIL] = "";
        assert_int_equal(check(&files[i], &info, detail), 0);
        assert_int_equal((int)info.kind, i + 1);
        assert_int_equal(info.width, 48);
        assert_int_equal(info.height, 32);
        ADD(&files[i], "bytes behind the end");
        assert_int_equal(check(&files[i], &info, detail), 0);
    }
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    struct file files[3];
    make_jpeg(&files[0]);
    make_png(&files[1], 48, 32);
    make_webp(&files[2]);
    for (int i = 0; i < 3; i++) {
        while (files[i].size-- > 0) {
            struct cpni_image_info info = { 0 };
            char detail[CPN_BACKEND_DETAIL] = "";
            assert_int_equal(check(&files[i], &info, detail), CPN_EBADINPUT);
            assert_int_equal(info.width, 0); /* untouched */
            assert_true(strlen(detail) > 10);
            assert_null(strchr(detail, '\n'));
            if (files[i].size == 0) {
                break;
            }
        }
    }
}

static void refusals_say_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        const char *says;
    } cases[] = {
        { "", "0 bytes" },
        { "Dear photo,\nyou are a text.\n", "a text file: expected a JPEG, PNG or WebP image" },
        { "GIF89a........", "a GIF image: expected JPEG, PNG or WebP" },
        { "RIFF....AVI LIST", "expected JPEG" },
        { "\x01\x02\x03", "not an image" },
    };
    struct cpni_image_info info;
    char detail[CPN_BACKEND_DETAIL];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(cpni_image_check(cases[i].bytes, strlen(cases[i].bytes), &info, detail), CPN_EBADINPUT);
        assert_non_null(strstr(detail, cases[i].says));
    }
    struct file file;
    make_png(&file, 40000, 40000);
    assert_int_equal(check(&file, &info, detail), CPN_EBADINPUT);
    assert_non_null(strstr(detail, "40000x40000"));
    make_png(&file, 8192, 8192);
    assert_int_equal(check(&file, &info, detail), 0);
    make_png(&file, 8192, 8193);
    assert_int_equal(check(&file, &info, detail), CPN_EBADINPUT);
    make_png(&file, 0x80000001, 2);
    assert_int_equal(check(&file, &info, detail), CPN_EBADINPUT);
    make_png(&file, 48, 0);
    assert_int_equal(check(&file, &info, detail), CPN_EBADINPUT);
    make_webp(&file);
    memcpy(file.data + 12, "VP8X", 4);
    file.data[20] = 0x02;
    assert_int_equal(check(&file, &info, detail), CPN_EBADINPUT);
    assert_non_null(strstr(detail, "animated"));
}

static uint8_t *read_file(const char *dir, const char *name, size_t *size)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *in = fopen(path, "rb");
    uint8_t *data = in != NULL ? malloc(8u << 20) : NULL;
    *size = data != NULL ? fread(data, 1, 8u << 20, in) : 0;
    if (in != NULL) {
        fclose(in);
    }
    return data;
}

/* Every photo of Debian's package passes whole and is refused when it is cut to a tenth, a half, or by two bytes. */
static void real_photos(void **state)
{
    (void)state;
    DIR *dir = opendir(DOC_PHOTOS);
    if (dir == NULL) {
        skip();
    }
    int seen = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *end = strrchr(entry->d_name, '.');
        size_t size;
        if (end == NULL || (strcmp(end, ".jpg") != 0 && strcmp(end, ".png") != 0)) {
            continue;
        }
        uint8_t *data = read_file(DOC_PHOTOS, entry->d_name, &size);
        struct cpni_image_info info;
        char detail[CPN_BACKEND_DETAIL] = "";
        assert_int_equal(cpni_image_check(data, size, &info, detail), 0);
        assert_int_equal(cpni_image_check(data, size / 10, &info, detail), CPN_EBADINPUT);
        assert_int_equal(cpni_image_check(data, size / 2, &info, detail), CPN_EBADINPUT);
        free(data);
        seen++;
    }
    closedir(dir);
    assert_true(seen > 0);
}

/* Broken and whole files of a fuzzer's corpus, with every byte they have; what matters is what the sanitizers say. */
static void fuzz_corpus(void **state)
{
    (void)state;
    static const char *const kinds[] = { "jpeg", "png", "webp", "gif", "bmp", "tiff" };
    const char *base = getenv("CPN_TEST_DATA");
    int seen = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/malformed/go-fuzz/%s/corpus",
            base != NULL ? base : CPN_SOURCE_ROOT "/../shared/data", kinds[i]);
        DIR *dir = opendir(path);
        for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
            size_t size;
            uint8_t *data = entry->d_name[0] != '.' ? read_file(path, entry->d_name, &size) : NULL;
            uint8_t *exact = data != NULL ? realloc(data, size != 0 ? size : 1) : NULL;
            struct cpni_image_info info;
            char detail[CPN_BACKEND_DETAIL];
            if (exact != NULL) {
                int rc = cpni_image_check(exact, size, &info, detail);
                assert_true(rc == 0 || rc == CPN_EBADINPUT);
                seen++;
            }
            free(exact);
        }
        if (dir != NULL) {
            closedir(dir);
        }
    }
    if (seen == 0) {
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_images_pass),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(refusals_say_what_was_expected),
        cmocka_unit_test(real_photos),
        cmocka_unit_test(fuzz_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
