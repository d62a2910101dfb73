/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Cells and rows of CSV, and numbers: the cases of csv-spectrum (written here, and the files themselves where they
 * are), and random texts against strtod. */
#include <float.h>
#include <inttypes.h>
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
#ifdef HAVE_JANSSON
#include <jansson.h>
#endif

#include "base/random.h"
#include "data/csv.h"
#include "data/csv_run.h"
#include "data/number.h"
#include "data/words.h"

/* All cells of a text, as "[a|b][c|d]". */
static const char *cells_of(const char *bytes, size_t size, char delimiter)
{
    static char shown[4096];
    const char *at = bytes, *end = bytes + size;
    size_t used = 0;
    while (at < end) {
        struct cpni_csv_cell cell = { .last = false };
        char open = '[';
        while (!cell.last) {
            at = cpni_csv_cell(at, end, delimiter, &cell);
            shown[used++] = open;
            used += cpni_csv_unquote(&cell, shown + used);
            if (cell.bad) {
                shown[used++] = '!';
            }
            open = '|';
        }
        shown[used++] = ']';
    }
    shown[used] = '\0';
    return shown;
}

static void assert_cells(const char *text, const char *expected)
{
    assert_int_equal(cpni_csv_whole_rows(text, strlen(text), ','), strlen(text));
    assert_string_equal(cells_of(text, strlen(text), ','), expected);
}

static void cells_are_rfc4180(void **state)
{
    (void)state;
    assert_cells("a,b,c\n1,2,3\n", "[a|b|c][1|2|3]");
    assert_cells("a,b\r\n1,2\r\n", "[a|b][1|2]");
    assert_cells("\"a\",\"b,c\"\n", "[a|b,c]");
    assert_cells("\"a\"\"b\",\"\"\"\"\n", "[a\"b|\"]");
    assert_cells("\"a\nb\",\"c\r\nd\"\r\n", "[a\nb|c\r\nd]");
    assert_cells("1,\"\",\"\"\n,,\n", "[1||][||]");
    assert_cells("37'37.8\"N,x\n", "[37'37.8\"N|x]"); /* a quote inside a plain cell is a character */
    assert_cells("\"a\"b,c\n", "[a!|c]");
    assert_cells("\"a\" ,c\n", "[a!|c]");
    assert_cells(" \"a\",c\n", "[ \"a\"|c]");
    assert_cells("\n", "[]");
    assert_cells("\"\"\n", "[]");
}

static void whole_rows_end_outside_quotes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t whole;
    } cases[] = {
        { "", 0 },
        { "a,b", 0 },
        { "a,b\nc", 4 },
        { "a,\"b\nc", 0 },
        { "1\n\"b\nc", 2 },
        { "1\n\"b\nc\"\n", 8 },
        { "1\n\"b\"\"\nc", 2 },
        { "1\n\"b\"\n\"\"", 6 },
        { "x\"y\nz", 4 },
        { "x\"y\nz\"\n", 7 },
        { "a\n\"", 2 },
        { "a\n\"\"\"", 2 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(cpni_csv_whole_rows(cases[i].text, strlen(cases[i].text), ','), cases[i].whole);
    }
    assert_int_equal(cpni_csv_whole_rows("a;\"\n\"\nb", 7, ';'), 6);
}

/* Wherever a table is cut, the whole rows before the cut are rows of the table. */
static void whole_rows_of_every_prefix(void **state)
{
    (void)state;
    static const char text[] = "a,b\n\"x\ny\",\"\"\"\n\"\"\"\r\n1\"2,3\n\"\",\"p\"\"\"\nq,r\n";
    size_t size = sizeof text - 1, starts[16], count = 0;
    for (const char *at = text; at < text + size;) {
        struct cpni_csv_cell cell = { .last = false };
        while (!cell.last) {
            at = cpni_csv_cell(at, text + size, ',', &cell);
        }
        starts[count++] = (size_t)(at - text);
    }
    for (size_t cut = 0; cut <= size; cut++) {
        size_t expected = 0;
        for (size_t i = 0; i < count; i++) {
            expected = starts[i] <= cut ? starts[i] : expected;
        }
        assert_int_equal(cpni_csv_whole_rows(text, cut, ','), expected);
    }
}

#ifdef HAVE_JANSSON
static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *bytes = file != NULL ? calloc(1, 65536) : NULL;
    if (bytes != NULL) {
        *size = fread(bytes, 1, 65534, file);
        if (*size > 0 && bytes[*size - 1] != '\n') {
            bytes[(*size)++] = '\n';
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return bytes;
}

static const char *next_text(const char **at, const char *end, int *last)
{
    static char text[4096];
    struct cpni_csv_cell cell;
    *at = cpni_csv_cell(*at, end, ',', &cell);
    *last = cell.last;
    text[cpni_csv_unquote(&cell, text)] = '\0';
    return text;
}

static void compare(const char *csv, size_t size, const json_t *rows)
{
    const char *at = csv, *end = csv + size;
    char names[16][256];
    size_t columns = 0;
    for (int last = 0; !last; columns++) {
        snprintf(names[columns], sizeof names[0], "%.255s", next_text(&at, end, &last));
    }
    for (size_t r = 0; r < json_array_size(rows); r++) {
        for (size_t c = 0; c < columns; c++) {
            int last;
            const char *text = next_text(&at, end, &last);
            assert_int_equal(last, c + 1 == columns);
            assert_string_equal(text, json_string_value(json_object_get(json_array_get(rows, r), names[c])));
        }
    }
    assert_ptr_equal(at, end);
}
#endif

/* github.com/max-mapper/csv-spectrum, if its files are here. */
static void csv_spectrum(void **state)
{
    (void)state;
#ifdef HAVE_JANSSON
    static const char *const names[] = { "comma_in_quotes", "empty", "empty_crlf", "escaped_quotes", "json", "newlines",
        "newlines_crlf", "quotes_and_newlines", "simple", "simple_crlf", "utf8" };
    const char *data = getenv("CPN_TEST_DATA");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        size_t size = 0, json_size = 0;
        data = data != NULL ? data : CPN_SOURCE_ROOT "/../shared/data";
        snprintf(path, sizeof path, "%s/csv/csv-spectrum/csvs/%s.csv", data, names[i]);
        char *csv = read_file(path, &size);
        snprintf(path, sizeof path, "%s/csv/csv-spectrum/json/%s.json", data, names[i]);
        char *json = read_file(path, &json_size);
        json_t *rows = csv != NULL && json != NULL ? json_loadb(json, json_size, 0, NULL) : NULL;
        if (rows == NULL) {
            print_message("%s is not here\n", path);
        } else {
            assert_int_equal(cpni_csv_whole_rows(csv, size, ','), size);
            compare(csv, size, rows);
        }
        json_decref(rows);
        free(csv);
        free(json);
    }
#else
    skip();
#endif
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Both ways must give (float)strtod, or say that there is none. */
static void assert_number(const char *text)
{
    char cell[600];
    float exact = (float)strtod(text, NULL), value = 77;
    enum cpni_number is = cpni_number_parse(text, strlen(text), &value);
    if (isinf(exact)) {
        assert_int_equal(is, CPNI_NUMBER_TOO_LARGE);
    } else {
        assert_int_equal(is, CPNI_NUMBER_OK);
        if (bits_of(value) != bits_of(exact)) {
            fail_msg("%s parsed as %.9g, not %.9g", text, (double)value, (double)exact);
        }
    }
    snprintf(cell, sizeof cell, "%s,", text);
    const char *end = cpni_number_fast(cell, &value);
    if (end != NULL) {
        assert_ptr_equal(end, cell + strlen(text));
        if (bits_of(value) != bits_of(exact)) {
            fail_msg("%s parsed fast as %.9g, not %.9g", text, (double)value, (double)exact);
        }
    }
}

static void numbers_match_strtod(void **state)
{
    (void)state;
    static const char *const texts[] = { "0", "-0", "1", "-1", "255", "16777216", "16777217", "16777219", "33554435",
        "0.1", ".5", "5.", "-.25", "1e5", "1E-5", "1e+05", "3.4028234e38", "3.4028235e38", "3.4028236e38", "1e39",
        "-1e400", "1e-45", "7e-46", "1e-400", "0e999", "0.000000000000000000000000000000000000000000001",
        "1.17549435e-38", "1.0000000596046448", "1.00000005960464477539", "1.00000005960464477540",
        "1.000000178813934326", "9007199254740993", "18446744073709551615", "18446744073709551616",
        "99999999999999999999999", "123456789012345678", "0.30000000000000004", "2.2250738585072011e-308",
        "00000000000000000000000000000001", "1e0000000005" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_number(texts[i]);
    }
}

/* Number `i` of a sequence of texts, each as hard as a kind of text can be. */
static void make_number(struct cpni_random *random, int i, char text[128])
{
    uint64_t bits = cpni_random_next(random);
    uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    switch (i % 8) {
    case 0: /* any float, more or fewer digits than it takes */
        snprintf(text, 128, "%.*g", (int)(bits >> 60) + 3, isfinite(value) ? (double)value : 1.5);
        break;
    case 1: /* a float's midpoint with its neighbour, and just beside it: where rounding is decided */
        low = (low & 0x007fffff) | ((uint32_t)(100 + (bits >> 40) % 60) << 23);
        memcpy(&value, &low, sizeof value);
        snprintf(text, 128, "%.*g", 17 + (int)(bits >> 62), ((double)value + (double)nextafterf(value, INFINITY)) / 2);
        break;
    case 2:
        snprintf(text, 128, "%" PRIu64 ".%06u", bits >> (bits & 63), (unsigned)(low % 1000000));
        break;
    case 3:
        snprintf(text, 128, "-%u.%ue%d", low % 1000, low >> 12, (int)(bits >> 58) - 32);
        break;
    case 4:
        snprintf(text, 128, "%u", low % 256);
        break;
    case 5:
        snprintf(text, 128, "%s%" PRIu64, low % 2 == 0 ? "" : "-", bits >> (bits & 63));
        break;
    case 6:
        snprintf(text, 128, "%.*f", (int)(bits >> 59), (double)(int64_t)bits * 1e-18);
        break;
    default: /* what to_csv writes of a double */
        snprintf(text, 128, "%.17g", (double)(int64_t)bits * 1e-19);
        break;
    }
}

static void random_numbers_match_strtod(void **state)
{
    (void)state;
    struct cpni_random random;
    char text[128];
    cpni_random_seed(&random, 11, 0);
    for (int i = 0; i < 400000; i++) {
        make_number(&random, i, text);
        assert_number(text);
    }
}

/* Runs of cells, in which most are read some at once: values, count and place must be those of reading one by one. */
static void runs_match_strtod(void **state)
{
    (void)state;
    enum { CELLS = 400 };
    struct cpni_random random;
    cpni_random_seed(&random, 12, 0);
    for (int round = 0; round < 2000; round++) {
        static char bytes[CELLS * 130];
        static float expected[CELLS], values[CELLS];
        size_t used = 0, stop = 0;
        uint32_t kind = cpni_random_below(&random, 4), odd = cpni_random_below(&random, CELLS), taken = 0;
        static const char *const others[]
            = { "", "x", " 1", "\"2\"", "1e9999", "?", "1.2.3", "12345678901234567890123" };
        for (uint32_t i = 0; i < CELLS; i++) {
            char text[128];
            make_number(&random, (int)cpni_random_below(&random, 8), text);
            if (kind < 2 && cpni_random_below(&random, 50) != 0) { /* long stretches of single digits */
                snprintf(text, sizeof text, "%u", cpni_random_below(&random, 10));
            }
            stop = i == odd ? used : stop;
            expected[i] = (float)strtod(text, NULL);
            used += (size_t)sprintf(bytes + used, "%s,", i == odd ? others[cpni_random_below(&random, 8)] : text);
        }
        used += (size_t)sprintf(bytes + used, "7\n");
        memset(bytes + used, 0, 8);
        uint32_t count = kind % 2 == 0 ? CELLS : CELLS / 2;
        const char *at = cpni_csv_take_run(bytes, bytes, bytes + used, ',', values, count, &taken);
        assert_true(taken <= odd || count < odd);
        for (uint32_t i = 0; i < taken; i++) {
            if (bits_of(expected[i]) != bits_of(values[i])) {
                fail_msg("cell %u is %.9g, not %.9g", i, (double)values[i], (double)expected[i]);
            }
        }
        /* What stopped it is the odd cell, the count, or a number that only the slow way can read. */
        if (taken < odd && taken < count) {
            float value;
            const char *end = cpni_number_fast(at, &value);
            assert_true(end == NULL || *end != ',');
        } else if (taken == odd) {
            assert_ptr_equal(at, bytes + stop);
        }
    }
}

static void other_texts_are_no_numbers(void **state)
{
    (void)state;
    static const char *const texts[] = { "", "-", "+", ".", "-.", "e5", "1e", "1e+", "1.2.3", "1,5", "0x10", "inf",
        "nan", "1 ", " 1", "1a", "--1", "1e5.0", "1_000", "\xc3\xa9" };
    float value = 5;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(cpni_number_parse(texts[i], strlen(texts[i]), &value), CPNI_NUMBER_NOT_ONE);
    }
    assert_true(value == 5);
}

/* A host program may live in a locale with a decimal comma. */
static void locale_does_not_matter(void **state)
{
    (void)state;
    float value = 0;
    const char *long_one = "1.50000000000000000000000000000001";
    const char *set = setlocale(LC_ALL, "de_DE.UTF-8");
    assert_int_equal(cpni_number_parse(long_one, strlen(long_one), &value), CPNI_NUMBER_OK);
    assert_true(value == 1.5f);
    setlocale(LC_ALL, "C");
    if (set == NULL) {
        print_message("no locale de_DE here: only C was tried\n");
    }
}

static void words_are_ranked(void **state)
{
    (void)state;
    struct cpni_words words = { 0 };
    const char *integers[] = { "10", "9", "-3", "100" }, *names[] = { "b", "a", "ab", "B" };
    uint32_t number, rank[5];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(cpni_words_add(&words, integers[i], strlen(integers[i]), 5, &number), 0);
        assert_int_equal(number, i);
    }
    assert_int_equal(cpni_words_add(&words, "9", 1, 5, &number), 0);
    assert_int_equal(number, 1);
    assert_int_equal(cpni_words_rank(&words, rank), 0);
    assert_true(rank[0] == 2 && rank[1] == 1 && rank[2] == 0 && rank[3] == 3);
    assert_int_equal(cpni_words_add(&words, "x", 1, 5, &number), 0); /* one word among integers: bytewise */
    assert_int_equal(cpni_words_rank(&words, rank), 0);
    assert_true(rank[2] == 0 && rank[0] == 1 && rank[3] == 2 && rank[1] == 3 && rank[4] == 4);
    assert_true(cpni_words_add(&words, "y", 1, 5, &number) < 0);
    cpni_words_free(&words);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(cpni_words_add(&words, names[i], strlen(names[i]), 5, &number), 0);
    }
    assert_int_equal(cpni_words_rank(&words, rank), 0);
    assert_true(rank[3] == 0 && rank[1] == 1 && rank[2] == 2 && rank[0] == 3);
    cpni_words_free(&words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_rfc4180),
        cmocka_unit_test(whole_rows_end_outside_quotes),
        cmocka_unit_test(whole_rows_of_every_prefix),
        cmocka_unit_test(csv_spectrum),
        cmocka_unit_test(numbers_match_strtod),
        cmocka_unit_test(random_numbers_match_strtod),
        cmocka_unit_test(runs_match_strtod),
        cmocka_unit_test(other_texts_are_no_numbers),
        cmocka_unit_test(locale_does_not_matter),
        cmocka_unit_test(words_are_ranked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
