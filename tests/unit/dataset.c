/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Datasets: the same bytes from any number of threads and from a pipe; what fails on the way; damaged files; splits and
 * shards; real tables. */
#include "dataset_fixture.h"

#include "data/csv_rows.h"

/* A table of some blocks with everything in it, and what must come out. */
static char *torture(size_t *size, float **features, uint64_t *rows)
{
    struct cpni_random random;
    char *text = malloc(6u << 20);
    *rows = 40000;
    *features = malloc(*rows * 3 * sizeof(float));
    cpni_random_seed(&random, 3, 3);
    size_t used = (size_t)sprintf(text,
        "\xef\xbb\xbf"
        "a,note,b,\"la\"\"bel\",c\r\n");
    for (uint64_t r = 0; r < *rows; r++) {
        float *row = *features + r * 3;
        for (int i = 0; i < 3; i++) {
            row[i] = cpni_random_uniform(&random) * (float)(1 + cpni_random_below(&random, 1000));
        }
        static const char *const notes[]
            = { "plain", "\"quo\"\"ted\"", "\"two\nlines\"", "\"\n\"\"\n,,\"", "", "in\"side", "\"\"" };
        used += (size_t)sprintf(text + used, r % 3 == 0 ? "%.9g,%s,%.9g,%s,%.9g\n" : "%.9g,%s,\"%.9g\",%s, %.9g \r\n",
            (double)row[0], notes[cpni_random_below(&random, 7)], (double)row[1], r % 5 == 0 ? "zeta" : "\"al\npha\"",
            (double)row[2]);
    }
    *size = used - 1; /* no final newline */
    return text;
}

struct feed {
    int fd;
    const char *text;
    size_t size;
};

static void *feed_pipe(void *arg)
{
    struct feed *feed = arg;
    for (size_t at = 0; at < feed->size;) {
        size_t left = feed->size - at;
        ssize_t count = write(feed->fd, feed->text + at, left < 777 ? left : 777);
        if (count < 0) {
            break;
        }
        at += (size_t)count;
    }
    close(feed->fd);
    return NULL;
}

static int torture_with(const char *text, size_t size, unsigned threads, bool pipes)
{
    const char *features[] = { "a", "b", "c" };
    struct cpni_csv_options options
        = { .label = "la\"bel", .features = features, .feature_count = 3, .threads = threads };
    int out = new_file(), in = -1, ends[2];
    pthread_t writer;
    struct feed feed = { -1, text, size };
    if (pipes) {
        assert_int_equal(pipe(ends), 0);
        in = ends[0];
        feed.fd = ends[1];
        assert_int_equal(pthread_create(&writer, NULL, feed_pipe, &feed), 0);
    } else {
        in = file_of(text, size);
    }
    int rc = cpni_csv_convert(&options, in, out, &report);
    if (rc < 0) {
        fail_msg("%s", report.error[0]);
    }
    if (pipes) {
        pthread_join(writer, NULL);
    }
    close(in);
    return out;
}

static void threads_and_pipes_give_the_same_bytes(void **state)
{
    (void)state;
    size_t size;
    float *features;
    uint64_t rows;
    char *text = torture(&size, &features, &rows), detail[CPNI_DATA_DETAIL];
    struct cpni_dataset first;
    int fd = torture_with(text, size, 1, false);
    assert_int_equal(cpni_dataset_open(fd, &first, detail), 0);
    close(fd);
    assert_int_equal(first.rows, rows);
    assert_memory_equal(first.features, features, rows * 3 * sizeof(float));
    for (uint64_t r = 0; r < rows; r++) {
        assert_int_equal(first.labels[r], r % 5 == 0);
    }
    for (unsigned threads = 2; threads <= 6; threads++) {
        struct cpni_dataset other;
        fd = torture_with(text, size, threads, threads % 2 == 0);
        assert_int_equal(cpni_dataset_open(fd, &other, detail), 0);
        close(fd);
        assert_int_equal(first.map_bytes, other.map_bytes);
        assert_memory_equal(first.map, other.map, first.map_bytes);
        cpni_dataset_close(&other);
    }
    cpni_dataset_close(&first);
    free(text);
    free(features);
}

static void errors_do_not_depend_on_threads(void **state)
{
    (void)state;
    size_t size;
    float *features;
    uint64_t rows;
    char *text = torture(&size, &features, &rows);
    memcpy(text + size - 3, "bad", 3);
    memcpy(text + size / 2, "\nbad,bad\n", 9);
    struct cpni_csv_report first = { 0 };
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct cpni_csv_options options = { .label = "4", .threads = threads };
        int in = file_of(text, size), out = new_file();
        assert_int_equal(cpni_csv_convert(&options, in, out, &report), CPN_EBADINPUT);
        if (threads == 1) {
            first = report;
        }
        assert_memory_equal(first.error, report.error, sizeof report.error);
        close(in);
        close(out);
    }
    free(text);
    free(features);
}

static void a_long_row_fits(void **state)
{
    (void)state;
    static const char before[] = "a,y,n\n1,2,\"", after[] = "\"\n3,4,\n";
    size_t size = 5u << 20, start = sizeof before - 1;
    char *text = calloc(1, start + size + sizeof after);
    memset(text, '\n', start + size);
    memcpy(text, before, start);
    memcpy(text + start + size, after, sizeof after);
    const char *feature = "a";
    struct cpni_dataset set
        = opened((struct cpni_csv_options){ .label = "y", .features = &feature, .feature_count = 1 }, text);
    assert_int_equal(set.rows, 2);
    assert_true(set.features[1] == 3);
    cpni_dataset_close(&set);
    free(text);
}

/* A few rows in memory, as a model is asked about them. */
static void rows_without_a_file(void **state)
{
    (void)state;
    const char *category = "c";
    struct cpni_csv_options options
        = { .label = "y", .impute = true, .standardise = true, .categorical = &category, .categorical_count = 1 };
    struct cpni_dataset set = opened(options, "a,c,y\n1,u,p\n3,v,q\n5,v,q\n");
    static const char text[] = "y\tc\ta\nwhatever\tu\t5\n\n\tNA\t1\n";
    float deviation = sqrtf(8.0f / 3);
    const float features[] = { 2 / deviation, 1, 0, -2 / deviation, 0, 1 };
    struct cpni_csv_rows rows;
    char detail[CPNI_DATA_DETAIL];
    int rc = CPN_ENOMEM;
    for (unsigned nth = 1; rc != 0; nth++) {
        cpni_alloc_fail(nth);
        rc = cpni_csv_rows_read(&set.schema, text, sizeof text - 1, 2, &rows, detail);
        cpni_alloc_fail(0);
        assert_true(rc == 0 || rc == CPN_ENOMEM);
        assert_true(nth < 200);
    }
    assert_int_equal(rows.rows, 2);
    for (size_t i = 0; i < 6; i++) {
        assert_true(fabsf(rows.features[i] - features[i]) < 1e-6f);
    }
    cpni_csv_rows_free(&rows);
    assert_int_equal(cpni_csv_rows_read(&set.schema, text, sizeof text - 1, 1, &rows, detail), CPN_EBADINPUT);
    assert_non_null(strstr(detail, "has 2 rows of data; one task takes at most 1"));
    cpni_dataset_close(&set);
}

/* The model of a column in subnormal numbers trained well, and then answered nobody: its weights as ONNX were infinite. */
static void hardly_different_is_constant(void **state)
{
    (void)state;
    struct cpni_csv_options options = { .label = "y", .standardise = true };
    struct cpni_dataset set = opened(options, "a,b,c,y\n1e-40,7,1e-20,p\n3e-40,7,3e-20,q\n");
    assert_true(set.schema.features[0].deviation == 1 && set.schema.features[1].deviation == 1);
    assert_true(fabs(set.schema.features[2].deviation - 1e-20) < 1e-26);
    assert_true(fabsf(set.features[0]) < 1e-30f && set.features[1] == 0 && fabsf(set.features[2] + 1) < 1e-5f);
    cpni_dataset_close(&set);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    const char *category = "c";
    struct cpni_csv_options options
        = { .label = "y", .impute = true, .categorical = &category, .categorical_count = 1, .threads = 1 };
    const char *text = "a,c,y\n1,u,p\n?,v,p\n3,NA,q\n";
    int rc = CPN_ENOMEM;
    for (unsigned nth = 1; rc != 0; nth++) {
        int in = file_of(text, strlen(text)), out = new_file();
        cpni_alloc_fail(nth);
        rc = cpni_csv_convert(&options, in, out, &report);
        cpni_alloc_fail(0);
        close(in);
        close(out);
        assert_true(rc == 0 || rc == CPN_ENOMEM);
        assert_true(nth < 200);
    }
}

static void a_full_disk_is_said(void **state)
{
    (void)state;
    int in = file_of("a,y\n1,2\n", 8), out = open("/dev/full", O_RDWR | O_CLOEXEC);
    if (out < 0) {
        close(in);
        skip();
    }
    assert_int_equal(cpni_csv_convert(&by_y, in, out, &report), CPN_ENOSPC);
    assert_non_null(strstr(report.error[0], "cannot write"));
    close(in);
    close(out);
}

static int open_bytes(const uint8_t *bytes, size_t size)
{
    struct cpni_dataset set;
    char detail[CPNI_DATA_DETAIL] = "";
    int fd = file_of(bytes, size), rc = cpni_dataset_open(fd, &set, detail);
    close(fd);
    if (rc == 0) {
        cpni_dataset_close(&set);
    } else {
        assert_true(detail[0] != '\0');
    }
    return rc;
}

static void damaged_datasets_are_refused(void **state)
{
    (void)state;
    const char *category = "c";
    struct cpni_csv_options options = { .label = "y", .categorical = &category, .categorical_count = 1 };
    struct cpni_dataset set = opened(options, "a,c,y\n1,u,p\n2,v,q\n");
    size_t size = set.map_bytes;
    uint8_t *bytes = malloc(size + 1);
    memcpy(bytes, set.map, size);
    bytes[size] = 0;
    assert_int_equal(open_bytes(bytes, size), 0);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(open_bytes(bytes, cut), CPN_ECORRUPT);
    }
    assert_int_equal(open_bytes(bytes, size + 1), CPN_ECORRUPT);
    size_t rows_at = offsetof(struct cpni_dataset_header, rows);
    for (size_t at = 0; at < size; at++) { /* no flipped bit may do harm; in the header none goes unseen, unless it
                                              counts the zeros behind the last row as one more */
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1 << bit);
            int rc = open_bytes(bytes, size);
            assert_true(rc == 0 || rc == CPN_ECORRUPT || rc == CPN_EVERSION);
            if (at < sizeof(struct cpni_dataset_header) && (at != rows_at || bit > 2)) {
                assert_true(rc < 0);
            }
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    }
    free(bytes);
    cpni_dataset_close(&set);
}

static void splits_are_stratified(void **state)
{
    (void)state;
    enum { ROWS = 1003, CLASSES = 4 };
    static int32_t labels[ROWS];
    static uint32_t index[ROWS], again[ROWS], other[ROWS];
    uint8_t seen[ROWS] = { 0 };
    uint32_t count[CLASSES] = { 0 }, training[CLASSES] = { 0 };
    for (int r = 0; r < ROWS; r++) {
        labels[r] = r == 500 ? 3 : r % 10 == 0 ? 1 : r % 3 == 0 ? 2 : 0; /* class 3 has one row */
        count[labels[r]]++;
    }
    int64_t train = cpni_dataset_split(labels, ROWS, CLASSES, 0.2, 9, index);
    assert_true(train > 0);
    for (int64_t i = 0; i < ROWS; i++) {
        seen[index[i]]++;
        training[labels[index[i]]] += i < train;
        assert_true(i <= train || index[i] > index[i - 1]);
    }
    for (int r = 0; r < ROWS; r++) {
        assert_int_equal(seen[r], 1);
    }
    for (int c = 0; c < 3; c++) {
        assert_int_equal(count[c] - training[c], (uint32_t)((double)count[c] * 0.2 + 0.5));
    }
    assert_int_equal(training[3], 1);
    assert_int_equal(cpni_dataset_split(labels, ROWS, CLASSES, 0.2, 9, again), train);
    assert_memory_equal(index, again, sizeof index);
    assert_int_equal(cpni_dataset_split(labels, ROWS, CLASSES, 0.2, 10, other), train);
    assert_memory_not_equal(index, other, sizeof index);
    assert_int_equal(cpni_dataset_split(labels, ROWS, CLASSES, 0, 9, again), ROWS);
    assert_int_equal(cpni_dataset_split(labels, ROWS, 3, 0.2, 9, again), CPN_EINVAL);
    assert_int_equal(cpni_dataset_split(labels, ROWS, CLASSES, 1, 9, again), CPN_EINVAL);
}

static void shards_cover_everything_once(void **state)
{
    (void)state;
    for (uint32_t shards = 1; shards < 9; shards++) {
        uint64_t next = 0, first, size;
        for (uint32_t i = 0; i < shards; i++) {
            cpni_dataset_shard(30, shards, i, &first, &size);
            assert_int_equal(first, next);
            assert_true(size == 30 / shards || size == 30 / shards + 1);
            next = first + size;
        }
        assert_int_equal(next, 30);
    }
}

/* Real tables, where they are (tests must pass without). */
static void real_tables(void **state)
{
    (void)state;
    static const struct {
        const char *name, *label, *categorical[3];
        uint64_t rows;
        uint32_t columns, classes;
    } tables[] = {
        { "iris.csv", "species", { NULL }, 150, 4, 3 },
        { "penguins.csv", "species", { "island", "sex" }, 344, 9, 3 },
        { "tips.csv", "day", { "sex", "smoker", "time" }, 244, 9, 4 },
        { "diamonds.csv", "cut", { "color", "clarity" }, 53940, 22, 5 },
        { "banknote_authentication.csv", "label", { NULL }, 1372, 4, 2 },
        { "breast-cancer-wisconsin.csv", "label", { NULL }, 699, 9, 2 },
        { "wine.csv", "label", { NULL }, 178, 13, 3 },
    };
    const char *data = getenv("CPN_TEST_DATA");
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char path[512];
        snprintf(
            path, sizeof path, "%s/csv/%s", data != NULL ? data : CPN_SOURCE_ROOT "/../shared/data", tables[i].name);
        int in = open(path, O_RDONLY | O_CLOEXEC), out = new_file();
        if (in < 0) {
            print_message("%s is not here\n", path);
            close(out);
            continue;
        }
        struct cpni_csv_options options = {
            .name = tables[i].name, .label = tables[i].label, .impute = true, .categorical = tables[i].categorical
        };
        while (options.categorical_count < 3 && tables[i].categorical[options.categorical_count] != NULL) {
            options.categorical_count++;
        }
        if (cpni_csv_convert(&options, in, out, &report) < 0) {
            fail_msg("%s", report.error[0]);
        }
        assert_int_equal(report.rows, tables[i].rows);
        assert_int_equal(report.columns, tables[i].columns);
        assert_int_equal(report.classes, tables[i].classes);
        close(in);
        close(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_and_pipes_give_the_same_bytes),
        cmocka_unit_test(errors_do_not_depend_on_threads),
        cmocka_unit_test(a_long_row_fits),
        cmocka_unit_test(rows_without_a_file),
        cmocka_unit_test(hardly_different_is_constant),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(a_full_disk_is_said),
        cmocka_unit_test(damaged_datasets_are_refused),
        cmocka_unit_test(splits_are_stratified),
        cmocka_unit_test(shards_cover_everything_once),
        cmocka_unit_test(real_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
