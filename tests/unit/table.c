/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Tables into datasets: what is refused and where, columns, labels, categories, missing values, statistics. */
#include "dataset_fixture.h"

static void assert_refused(struct cpni_csv_options options, const char *text, int rc, const char *why)
{
    assert_int_equal(converted(options, text), rc);
    if (strstr(report.error[0], why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", report.error[0], why);
    }
}

static void assert_features(const struct cpni_dataset *set, const float *expected, size_t count)
{
    assert_int_equal(set->rows * set->columns, count);
    for (size_t i = 0; i < count; i++) {
        if (!(fabsf(set->features[i] - expected[i]) < 1e-6f)) {
            fail_msg("value %zu is %g, not %g", i, (double)set->features[i], (double)expected[i]);
        }
    }
}

static void a_small_table(void **state)
{
    (void)state;
    struct cpni_dataset set = opened(by_y, "a,y,b\n1,7,2.5\n-3,5,4e1\n0.5,7,6");
    const float features[] = { 1, 2.5f, -3, 40, 0.5f, 6 };
    const int32_t labels[] = { 1, 0, 1 };
    assert_features(&set, features, 6);
    assert_memory_equal(set.labels, labels, sizeof labels);
    assert_int_equal(set.classes, 2);
    assert_string_equal(set.schema.classes[0], "5");
    assert_string_equal(set.schema.features[1].name, "b");
    assert_string_equal(set.schema.label, "y");
    assert_true(set.schema.header && report.labelled);
    assert_int_equal((uintptr_t)set.features % 64, 0);
    assert_int_equal((uintptr_t)set.labels % 64, 0);
    cpni_dataset_close(&set);
}

static void writing_does_not_matter(void **state)
{
    (void)state;
    static const char *const texts[] = { "a,y,b\n1,7,2.5\n-3,5,4e1\n", "a,y,b\r\n1,7,2.5\r\n-3,5,4e1\r\n",
        "\357\273\277a,y,b\n1,7,2.5\n-3,5,4e1", "\"a\",\"y\",\"b\"\n\"1\",\"7\",\"2.5\"\n\"-3\",\"5\",\"4e1\"",
        "a,y,b\n\n1, 7 ,2.5\t\n\r\n-3.0,005,40.000000000000000000000000\n\n\n" };
    const float features[] = { 1, 2.5f, -3, 40 };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct cpni_dataset set = opened(by_y, texts[i]);
        assert_features(&set, features, 4);
        assert_string_equal(set.schema.classes[1], "7");
        cpni_dataset_close(&set);
    }
}

static void names_may_be_anything(void **state)
{
    (void)state;
    struct cpni_dataset set = opened((struct cpni_csv_options){ .label = "the \"label\"\nhere" },
        "\"a,b\",\"the \"\"label\"\"\nhere\",\xc3\xa4\n1,x,2\n3,\"y, z\",4\n");
    assert_string_equal(set.schema.features[0].name, "a,b");
    assert_string_equal(set.schema.features[1].name, "\xc3\xa4");
    assert_string_equal(set.schema.classes[1], "y, z");
    cpni_dataset_close(&set);
}

static void columns_are_chosen(void **state)
{
    (void)state;
    const char *text = "a,b,c,y,d,e\n1,2,3,x,4,5\n6,7,8,z,9,10\n";
    static const struct {
        const char *items[3];
        float row[6];
        size_t count;
    } cases[] = {
        { { "c" }, { 3 }, 1 },
        { { "e", "a" }, { 5, 1 }, 2 },
        { { "a:c" }, { 1, 2, 3 }, 3 },
        { { "2:4", "e" }, { 2, 3, 5 }, 3 }, /* column 4 is the label */
        { { "5" }, { 4 }, 1 },
        { { "d", "a:e" }, { 4, 1, 2, 3, 5 }, 5 },
        { { NULL }, { 1, 2, 3, 4, 5 }, 5 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cpni_csv_options options = { .label = "y", .features = cases[i].items };
        while (options.feature_count < 3 && cases[i].items[options.feature_count] != NULL) {
            options.feature_count++;
        }
        struct cpni_dataset set = opened(options, text);
        assert_int_equal(set.columns, cases[i].count);
        assert_memory_equal(set.features, cases[i].row, cases[i].count * sizeof(float));
        cpni_dataset_close(&set);
    }
    const char *bad[] = { "f", "c:a", "7", "0", "y", "a:" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cpni_csv_options options = { .label = "y", .features = &bad[i], .feature_count = 1 };
        assert_refused(options, text, CPN_EINVAL, bad[i]);
    }
    assert_refused((struct cpni_csv_options){ .label = "why" }, text, CPN_EINVAL, "the columns are \"a\"");
    assert_refused(by_y, "a;y\n1;2\n", CPN_EINVAL, "delimiter");
}

static void a_name_twice_needs_a_number(void **state)
{
    (void)state;
    const char *twice = "a", *number = "3";
    struct cpni_csv_options options = { .label = "y", .features = &twice, .feature_count = 1 };
    assert_refused(options, "a,y,a\n1,2,3\n", CPN_EINVAL, "two columns");
    options.features = &number;
    struct cpni_dataset set = opened(options, "a,y,a\n1,2,3\n");
    assert_true(set.features[0] == 3);
    cpni_dataset_close(&set);
}

static void without_header_columns_are_numbers(void **state)
{
    (void)state;
    struct cpni_csv_options options = { .label = "3", .no_header = true, .delimiter = ';' };
    struct cpni_dataset set = opened(options, "1;2;x\n3;4;y\n");
    const float features[] = { 1, 2, 3, 4 };
    assert_features(&set, features, 4);
    assert_string_equal(set.schema.features[1].name, "2");
    assert_false(set.schema.header);
    cpni_dataset_close(&set);
}

static void errors_name_their_place(void **state)
{
    (void)state;
    assert_refused(by_y, "a,y\n1,2\nx,2\n", CPN_EBADINPUT, "t.csv: row 3, column 1 \"a\": \"x\" is not a number");
    assert_refused(by_y, "a,y\n\n1,2\n\"q\nr\",2\n", CPN_EBADINPUT, "row 4, column 1 \"a\": \"q r\" is not a number");
    assert_refused(by_y, "a,y\n1,2\n,2\n", CPN_EBADINPUT, "row 3, column 1 \"a\": the value is missing");
    assert_refused(by_y, "a,y\n1,2\n1,\n", CPN_EBADINPUT, "row 3, column 2 \"y\": the label is missing");
    assert_refused(by_y, "a,y\n1,2\n1\n", CPN_EBADINPUT, "row 3, 1 cells; expected 2");
    assert_refused(by_y, "a,y\n1,2,3,4\n1,2\n", CPN_EBADINPUT, "row 2, 4 cells; expected 2");
    assert_refused(
        by_y, "a,y\n1,2\n\"1\"2,2\n", CPN_EBADINPUT, "row 3, column 1 \"a\": text follows the closing quote");
    assert_refused(by_y, "a,y\n1,2\n\"1,2\n3,4\n", CPN_EBADINPUT, "row 3, a quote opens and never closes");
    assert_refused(by_y, "\"a,y\n1,2\n", CPN_EBADINPUT, "row 1: a quote opens and never closes");
    assert_refused(by_y, "a,y\n1e39,2\n", CPN_EBADINPUT, "too large");
    assert_refused(by_y, "a,y\ninf,2\n", CPN_EBADINPUT, "not a number");
    assert_refused(by_y, "", CPN_EBADINPUT, "empty");
    assert_refused(by_y, "\xef\xbb\xbf", CPN_EBADINPUT, "empty");
    assert_refused(by_y, "a,y\n", CPN_EBADINPUT, "no rows");
    assert_refused(by_y,
        "\xff\xfe"
        "a,y\n",
        CPN_EBADINPUT, "UTF-16");
    assert_refused(by_y, "y\n1\n", CPN_EINVAL, "no column is left");
    assert_refused((struct cpni_csv_options){ .label = "y", .delimiter = '"' }, "a,y\n", CPN_EINVAL, "delimiter");
}

static void the_first_few_errors_are_told(void **state)
{
    (void)state;
    assert_int_equal(converted(by_y, "a,b,y\nx,?,1\n1,2,3\nz,4,\n"), CPN_EBADINPUT);
    assert_int_equal(report.errors, 4);
    assert_non_null(strstr(report.error[1], "row 2, column 2 \"b\""));
    assert_non_null(strstr(report.error[3], "row 4, column 3 \"y\""));
    assert_int_equal(converted(by_y, "a,y\nx,1\nx,1\nx,1\nx,1\nx,1\nx,1\nx,1\n"), CPN_EBADINPUT);
    assert_int_equal(report.errors, 7);
    assert_non_null(strstr(report.error[4], "row 6"));
}

static void missing_values_are_imputed(void **state)
{
    (void)state;
    const char *category = "c";
    struct cpni_csv_options options
        = { .label = "y", .impute = true, .categorical = &category, .categorical_count = 1 };
    struct cpni_dataset set = opened(options, "a,c,y\n1,u,p\n?,v,p\n3,NA,q\n,v,q\n8,\"\",q\n");
    const float features[] = { 1, 1, 0, 4, 0, 1, 3, 0, 1, 4, 0, 1, 8, 0, 1 };
    assert_features(&set, features, 15);
    assert_true(set.schema.features[0].fills && set.schema.features[0].fill == 4);
    assert_true(set.schema.features[1].fills && set.schema.features[1].fill == 1);
    cpni_dataset_close(&set);
    assert_refused(options, "a,c,y\n,u,p\n,v,q\n", CPN_EBADINPUT, "column 1 \"a\" has no values");
    assert_refused(options, "a,c,y\n1,,p\n2,,q\n", CPN_EBADINPUT, "column 2 \"c\" has no values");
    assert_refused(options, "a,c,y\n1,u,?\n", CPN_EBADINPUT, "label is missing");
}

static void categories_are_one_hot_in_order(void **state)
{
    (void)state;
    const char *category[] = { "c", "n" };
    struct cpni_csv_options options = { .label = "y", .categorical = category, .categorical_count = 2 };
    struct cpni_dataset set = opened(options, "a,c,n,y\n5,red,10,1\n6,blue,9,1\n7,red,10,2\n");
    const float features[] = { 5, 0, 1, 0, 1, 6, 1, 0, 1, 0, 7, 0, 1, 0, 1 };
    assert_features(&set, features, 15);
    assert_string_equal(set.schema.features[1].categories[0], "blue");
    assert_string_equal(set.schema.features[2].categories[0], "9");
    assert_int_equal(set.schema.features[2].first, 3);
    cpni_dataset_close(&set);
}

static void standardised_on_request(void **state)
{
    (void)state;
    struct cpni_csv_options options = { .label = "y", .standardise = true, .impute = true };
    struct cpni_dataset set = opened(options, "a,b,y\n1,7,1\n3,7,1\n,7,2\n5,7,2\n");
    float deviation = sqrtf(8.0f / 3);
    const float features[] = { -2 / deviation, 0, 0, 0, 0, 0, 2 / deviation, 0 };
    assert_features(&set, features, 8);
    assert_true(set.schema.features[0].mean == 3 && set.schema.features[1].deviation == 1);
    cpni_dataset_close(&set);
}

static void other_tables_are_treated_alike(void **state)
{
    (void)state;
    const char *category = "c";
    struct cpni_csv_options options
        = { .label = "y", .impute = true, .standardise = true, .categorical = &category, .categorical_count = 1 };
    struct cpni_dataset set = opened(options, "a,c,y\n1,u,p\n3,v,q\n5,v,q\n");
    struct cpni_csv_options alike = { .schema = &set.schema };
    struct cpni_dataset other = opened(alike, "extra,c,a\nx,u,5\nx,,\nx,v,3\n"); /* no label, another order */
    float deviation = sqrtf(8.0f / 3);
    const float features[] = { 2 / deviation, 1, 0, 0, 0, 1, 0, 0, 1 };
    assert_features(&other, features, 9);
    assert_false(report.labelled);
    assert_int_equal(other.labels[1], -1);
    assert_int_equal(other.classes, 2);
    cpni_dataset_close(&other);
    other = opened(alike, "a,y,c\n3,q,u\n3,p,u\n");
    assert_int_equal(other.labels[0], 1);
    assert_int_equal(other.labels[1], 0);
    cpni_dataset_close(&other);
    assert_refused(alike, "a,c\n1,w\n", CPN_EBADINPUT, "row 2, column 2 \"c\": the model knows no \"w\"");
    assert_refused(alike, "a,c,y\n1,u,r\n", CPN_EBADINPUT, "the model knows no \"r\"");
    assert_refused(alike, "b,c\n1,u\n", CPN_EINVAL, "no column \"a\"");
    cpni_dataset_close(&set);
}

static void a_quantity_is_no_label(void **state)
{
    (void)state;
    char *text = malloc(200000);
    size_t used = (size_t)sprintf(text, "a,y\n");
    for (int i = 0; i < 10001; i++) {
        used += (size_t)sprintf(text + used, "1,%d.5\n", i);
    }
    assert_refused(by_y, text, CPN_EBADINPUT, "is it a quantity?");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_table),
        cmocka_unit_test(writing_does_not_matter),
        cmocka_unit_test(names_may_be_anything),
        cmocka_unit_test(columns_are_chosen),
        cmocka_unit_test(a_name_twice_needs_a_number),
        cmocka_unit_test(without_header_columns_are_numbers),
        cmocka_unit_test(errors_name_their_place),
        cmocka_unit_test(the_first_few_errors_are_told),
        cmocka_unit_test(missing_values_are_imputed),
        cmocka_unit_test(categories_are_one_hot_in_order),
        cmocka_unit_test(standardised_on_request),
        cmocka_unit_test(other_tables_are_treated_alike),
        cmocka_unit_test(a_quantity_is_no_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
