/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions as a program has them, through the public headers alone: what a start refuses before it asks anybody for anything, and,
 * with two nodes in this process whose trainers are real, sessions from table to published model. */
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/cpn.h>

#include "lib/tempdir.h"

#define DEADLINE_MS 30000

struct network {
    char dir[128];
    struct cpn_master *master;
    struct cpn_client *client;
    pthread_t thread;
    struct cpn_worker *workers[2];
    pthread_t worker_threads[2];
};

static void *run_master(void *arg)
{
    cpn_master_run(arg);
    return NULL;
}

static int set_up(void **state)
{
    static struct network network;
    struct cpn_master_options master = CPN_MASTER_OPTIONS_INIT;
    struct cpn_client_options client = CPN_CLIENT_OPTIONS_INIT;
    char path[PATH_MAX];
    char detail[CPN_DETAIL] = "";
    memset(&network, 0, sizeof network);
    tempdir_make(network.dir);
    snprintf(path, sizeof path, "%s/m", network.dir);
    master.data_dir = path;
    master.create = true;
    master.local_only = true;
    if (cpn_master_open(&master, &network.master, detail) < 0) {
        fail_msg("master: %s", detail);
    }
    pthread_create(&network.thread, NULL, run_master, network.master);
    client.master = network.master;
    client.spool_dir = network.dir;
    assert_int_equal(cpn_client_open(&client, &network.client, detail), 0);
    *state = &network;
    return 0;
}

static int tear_down(void **state)
{
    struct network *network = *state;
    cpn_client_close(network->client);
    cpn_master_stop(network->master);
    pthread_join(network->thread, NULL);
    cpn_master_close(network->master);
    tempdir_remove(network->dir);
    return 0;
}

static void *run_worker(void *arg)
{
    cpn_worker_run(arg);
    return NULL;
}

static void start_worker(struct network *network, size_t nth)
{
    struct cpn_worker_options options = CPN_WORKER_OPTIONS_INIT;
    char path[PATH_MAX];
    char name[8];
    char detail[CPN_DETAIL] = "";
    snprintf(name, sizeof name, "w%zu", nth + 1);
    snprintf(path, sizeof path, "%s/%s", network->dir, name);
    options.master = network->master;
    options.name = name;
    options.data_dir = path;
    options.slots = 1;
    options.libexec_dir = CPN_TEST_LIBEXEC;
    options.plugin_dir = CPN_TEST_PLUGINS;
    if (cpn_worker_open(&options, &network->workers[nth], detail) < 0) {
        fail_msg("worker: %s", detail);
    }
    pthread_create(&network->worker_threads[nth], NULL, run_worker, network->workers[nth]);
}

static size_t ready_nodes(struct cpn_client *client)
{
    struct cpn_node_info *nodes;
    size_t count;
    size_t ready = 0;
    assert_int_equal(cpn_client_nodes(client, DEADLINE_MS, &nodes, &count), 0);
    for (size_t i = 0; i < count; i++) {
        ready += nodes[i].state == CPN_NODE_READY;
    }
    cpn_client_free_list(nodes);
    return ready;
}

static int set_up_nodes(void **state)
{
    set_up(state);
    struct network *network = *state;
    start_worker(network, 0);
    start_worker(network, 1);
    while (ready_nodes(network->client) < 2) {
        assert_int_equal(cpn_client_dispatch(network->client, 10), 0);
    }
    return 0;
}

static int tear_down_nodes(void **state)
{
    struct network *network = *state;
    for (size_t i = 0; i < 2; i++) {
        cpn_worker_stop(network->workers[i]);
        pthread_join(network->worker_threads[i], NULL);
        cpn_worker_close(network->workers[i]);
    }
    return tear_down(state);
}

static const char *write_table(const struct network *network, const char *text)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/table.csv", network->dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

/* Refused with this code and a sentence that says so. */
static void refused(const struct network *network, const struct cpn_session_options *options, int code, const char *sentence)
{
    struct cpn_id session;
    int rc = cpn_session_start(network->client, options, DEADLINE_MS, &session);
    if (rc != code || strstr(cpn_client_detail(network->client), sentence) == NULL) {
        fail_msg("%s: \"%s\"; expected %s, \"%s\"", cpn_error_name(rc), cpn_client_detail(network->client), cpn_error_name(code), sentence);
    }
}

static void wrong_tables_are_told_with_row_and_column(void **state)
{
    const struct network *network = *state;
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    refused(network, &options, CPN_EINVAL, "path of a CSV file");
    options.table.path = "/nonexistent/flowers.csv";
    refused(network, &options, CPN_EINVAL, "which column");
    options.table.label = "kind";
    refused(network, &options, CPN_ENOTFOUND, "/nonexistent/flowers.csv: No such file");
    options.table.path = write_table(network, "width,kind\n1,a\n2,b\nwide,b\n");
    refused(network, &options, CPN_EBADINPUT, "table.csv: row 4, column 1 \"width\"");
    write_table(network, "width,kind\nx,a\n2,b\ny,b\n");
    refused(network, &options, CPN_EBADINPUT, "(and more: at least 2 wrong places)");
    write_table(network, "width,kind\n1,a\n2,a\n3,a\n");
    refused(network, &options, CPN_EBADINPUT, "nothing to tell apart");
    options.table.label = "sort";
    refused(network, &options, CPN_EINVAL, "sort");
    write_table(network, "");
    refused(network, &options, CPN_EBADINPUT, "table.csv: the table is empty");
    options.table.path = network->dir;
    refused(network, &options, CPN_EBADINPUT, "is a directory; expected a CSV file");
}

static void wrong_options_are_told_before_the_table_is_read(void **state)
{
    const struct network *network = *state;
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    options.table.path = "/nonexistent/flowers.csv";
    options.table.label = "kind";
    options.settings = "lr=fast";
    refused(network, &options, CPN_EINVAL, "lr=fast: expected a number");
}

static void what_no_trainer_takes_is_told_before_a_peer_is_asked_for(void **state)
{
    const struct network *network = *state;
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    options.table.path = write_table(network, "width,kind\n1,a\n2,b\n3,a\n4,b\n");
    options.table.label = "kind";
    options.settings = "lr=0";
    refused(network, &options, CPN_EINVAL, "learning rate");
    options.settings = NULL;
    options.peers = 5;
    refused(network, &options, CPN_EBADINPUT, "too few for 5 peers");
}

/* Found out only when the training was over. */
static void what_cannot_be_published_is_told_before_a_peer_is_asked_for(void **state)
{
    const struct network *network = *state;
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    struct cpn_session_publish_options publish = CPN_SESSION_PUBLISH_OPTIONS_INIT;
    options.table.path = write_table(network, "width,kind\n1,a\n2,b\n3,a\n4,b\n");
    options.table.label = "kind";
    options.publish = &publish;
#ifdef CPN_TEST_TRAIN
    refused(network, &options, CPN_EINVAL, "needs a name");
    publish.name = "flowers";
    publish.image_width = publish.image_height = 2;
    refused(network, &options, CPN_EINVAL, "an image of 2x2 has 4 grey values; this model takes 1 columns");
    publish.image_width = publish.image_height = 0;
    char text[256];
    snprintf(text, sizeof text, "width,kind\n1,a\n2,b%099d\n3,a\n", 7);
    write_table(network, text);
    refused(network, &options, CPN_EBADINPUT, "has a name of 100 bytes; a result holds 95");
    write_table(network, "l\xe4nge,kind\n1,a\n2,b\n");
    refused(network, &options, CPN_EBADINPUT, "not UTF-8");
#else
    refused(network, &options, CPN_ENOTSUP, "built without ONNX");
#endif
}

struct progress {
    int calls;
    uint64_t done, total;
    char stage[16];
};

static int give_up(void *arg, const char *stage, uint64_t done, uint64_t total)
{
    struct progress *progress = arg;
    progress->calls++;
    progress->done = done;
    progress->total = total;
    snprintf(progress->stage, sizeof progress->stage, "%s", stage);
    return 1;
}

static void a_start_may_be_given_up(void **state)
{
    const struct network *network = *state;
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    struct progress progress = { 0 };
    options.table.path = write_table(network, "width,kind\n1,a\n2,b\n3,a\n4,b\n");
    options.table.label = "kind";
    options.progress = give_up;
    options.progress_arg = &progress;
    refused(network, &options, CPN_ECANCELLED, "given up");
    assert_int_equal(progress.calls, 1);
    assert_string_equal(progress.stage, "read");
    assert_int_equal(progress.total, 27);
}

static void states_and_modes_have_names(void **state)
{
    (void)state;
    assert_string_equal(cpn_session_mode_name(CPN_MODE_SYNC), "sync");
    assert_string_equal(cpn_session_state_name(CPN_SESSION_STOPPED), "stopped");
    assert_string_equal(cpn_lane_state_name(CPN_LANE_STOPPED), "stopped");
    assert_string_equal(cpn_lane_state_name((enum cpn_lane_state)99), "?");
    assert_string_equal(cpn_node_state_name(CPN_NODE_TRAINING), "training");
    assert_false(cpn_session_over(CPN_SESSION_AGGREGATING));
    assert_true(cpn_session_over(CPN_SESSION_FAILED));
}

/* ---- with nodes ---- */

/* Three kinds of flowers that are easy to tell apart; the numbers are of a fixed sequence. */
static const char *write_flowers(const struct network *network)
{
    static char text[65536];
    size_t used = (size_t)snprintf(text, sizeof text, "width,height,kind\n");
    unsigned random = 1;
    for (int i = 0; i < 600; i++) {
        double noise[2];
        for (int j = 0; j < 2; j++) {
            random = random * 1103515245u + 12345u;
            noise[j] = (double)(random >> 16 & 0x7fff) / 32768 - 0.5;
        }
        used += (size_t)snprintf(text + used, sizeof text - used, "%.3f,%.3f,\"%s\"\n", 3 * (i % 3) + noise[0], 5 - 3 * (i % 3) + noise[1],
                                 i % 3 == 0 ? "daisy" : i % 3 == 1 ? "rose, red" : "tulip");
    }
    return write_table(network, text);
}

static struct cpn_id start(const struct network *network, const struct cpn_session_options *options)
{
    struct cpn_id session = { { 0 } };
    int rc = cpn_session_start(network->client, options, DEADLINE_MS, &session);
    if (rc < 0) {
        fail_msg("%s: %s", cpn_error_name(rc), cpn_client_detail(network->client));
    }
    return session;
}

static int count_reports(void *arg, const struct cpn_session_report *report)
{
    ++*(int *)arg;
    assert_true(report->lane_count <= 2);
    return 0;
}

static void follow(const struct network *network, const struct cpn_id *session)
{
    int reports = 0;
    int rc = cpn_session_watch(network->client, session, count_reports, &reports, DEADLINE_MS);
    if (rc < 0) {
        fail_msg("%s: %s", cpn_error_name(rc), cpn_client_detail(network->client));
    }
    assert_true(reports >= 1);
}

#ifdef CPN_TEST_TRAIN
static void check_history(const struct cpn_session_report *report)
{
    static const struct {
        enum cpn_history_format format;
        const char *begins, *has;
    } formats[] = { { CPN_HISTORY_JSON, "{", "\"train_accuracy\"" }, { CPN_HISTORY_CSV, "peer,settings,epoch", "\r\nall," },
                    { CPN_HISTORY_SVG, "<svg", "</svg>" } };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        char *text;
        size_t size;
        assert_int_equal(cpn_session_history(report, formats[i].format, &text, &size), 0);
        assert_int_equal(strlen(text), size);
        assert_memory_equal(text, formats[i].begins, strlen(formats[i].begins));
        assert_non_null(strstr(text, formats[i].has));
        cpn_client_free_list(text);
    }
}

#endif

static void check_report(const struct network *network, const struct cpn_id *session, struct cpn_hash *weights)
{
    struct cpn_session_report *report;
    assert_int_equal(cpn_session_report(network->client, session, DEADLINE_MS, &report), 0);
    const struct cpn_session_info *info = &report->info;
    assert_int_equal(info->state, CPN_SESSION_COMPLETED);
    assert_int_equal(info->mode, CPN_MODE_AVERAGE);
    assert_string_equal(info->name, "table.csv");
    assert_string_equal(info->trainer, "dnn");
    assert_int_equal(info->peers, 2);
    assert_int_equal(info->locked, 0);
    assert_int_equal(info->rows, 600);
    assert_int_equal(info->train_rows, 540);
    assert_int_equal(info->columns, 2);
    assert_int_equal(info->classes, 3);
    assert_int_equal(info->best, CPN_LANE_ALL);
    assert_true(info->round == info->rounds && info->rounds > 1);
    assert_true(info->accuracy > 0.95 && info->loss < 0.5);
    assert_true(info->reproducible);
    assert_int_equal(report->lane_count, 2);
    assert_string_equal(report->lanes[1].settings,
                        "lr=0.01,batch=16,epochs=5,hidden=16,optimizer=adam,momentum=0.9,decay=0,seed=1");
    assert_int_equal(report->lanes[1].state, CPN_LANE_COMPLETED);
    size_t finished = 0;
    for (size_t i = 0; i < report->point_count; i++) {
        const struct cpn_point_info *point = &report->points[i];
        finished += point->lane != CPN_LANE_ALL;
        assert_true(isnan(point->accuracy) == (point->lane != CPN_LANE_ALL));
        assert_true(isnan(point->train_loss) == (point->lane == CPN_LANE_ALL));
    }
    assert_int_equal(finished, 10); /* 5 epochs of 2 lanes, each once */
    *weights = info->weights;
#ifdef CPN_TEST_TRAIN
    check_history(report);
#endif
    cpn_session_report_free(report);
}

#ifdef CPN_TEST_TRAIN
/* The first bytes of an ONNX file: its format's version, as protobuf. */
static void check_export(const struct network *network, const struct cpn_id *session)
{
    char path[PATH_MAX];
    unsigned char head[2] = { 0 };
    snprintf(path, sizeof path, "%s/model.onnx", network->dir);
    if (cpn_session_export(network->client, session, path, DEADLINE_MS) < 0) {
        fail_msg("%s", cpn_client_detail(network->client));
    }
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(head, 1, sizeof head, file), sizeof head);
    fclose(file);
    assert_int_equal(head[0], 0x08);
    snprintf(path, sizeof path, "%s/none/model.onnx", network->dir);
    assert_int_equal(cpn_session_export(network->client, session, path, DEADLINE_MS), CPN_EIO);
    assert_non_null(strstr(cpn_client_detail(network->client), "none/model.onnx"));
}

static void check_publish(const struct network *network, const struct cpn_id *session)
{
    struct cpn_session_publish_options options = CPN_SESSION_PUBLISH_OPTIONS_INIT;
    struct cpn_model_info *models;
    size_t count;
    uint32_t version = 0;
    assert_int_equal(cpn_session_publish(network->client, session, &options, DEADLINE_MS, &version), CPN_EINVAL);
    options.name = "flowers";
    options.image_width = options.image_height = 2;
    assert_int_equal(cpn_session_publish(network->client, session, &options, DEADLINE_MS, &version), CPN_EINVAL);
    assert_non_null(strstr(cpn_client_detail(network->client), "4 grey values"));
    options.image_height = 1;
    if (cpn_session_publish(network->client, session, &options, DEADLINE_MS, &version) < 0) {
        fail_msg("%s", cpn_client_detail(network->client));
    }
    assert_int_equal(version, 1);
    assert_int_equal(cpn_client_models(network->client, DEADLINE_MS, &models, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(models[0].name, "flowers");
    assert_string_equal(models[0].backend, "opencv.dnn");
    cpn_client_free_list(models);
}

#endif

static void check_find(const struct network *network, const struct cpn_id *first, const struct cpn_id *second)
{
    struct cpn_id found;
    struct cpn_session_info *sessions;
    size_t count;
    char id[CPN_ID_TEXT];
    assert_int_equal(cpn_client_sessions(network->client, DEADLINE_MS, &sessions, &count), 0);
    assert_int_equal(count, 2);
    assert_memory_equal(&sessions[0].id, second, sizeof *second); /* newest first */
    assert_memory_equal(&sessions[1].id, first, sizeof *first);
    cpn_client_free_list(sessions);
    assert_int_equal(cpn_session_find(network->client, cpn_id_text(first, id), DEADLINE_MS, &found), 0);
    assert_memory_equal(&found, first, sizeof found);
    id[12] = 0;
    assert_int_equal(cpn_session_find(network->client, id, DEADLINE_MS, &found), 0);
    assert_int_equal(cpn_session_find(network->client, "again??", DEADLINE_MS, &found), 0);
    assert_memory_equal(&found, second, sizeof found);
    assert_int_equal(cpn_session_find(network->client, "tulips", DEADLINE_MS, &found), CPN_ENOTFOUND);
    struct cpn_session_report *report;
    memset(&found, 7, sizeof found);
    assert_int_equal(cpn_session_report(network->client, &found, DEADLINE_MS, &report), CPN_ENOTFOUND);
}

static void a_table_becomes_a_model(void **state)
{
    const struct network *network = *state;
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    struct cpn_hash weights[2];
    options.table.path = write_flowers(network);
    options.table.label = "kind";
    options.peers = 2;
    options.local_steps = 10;
    options.settings = "epochs=5,batch=16,hidden=16,lr=0.01";
    struct cpn_id first = start(network, &options);
    follow(network, &first);
    check_report(network, &first, &weights[0]);
#ifdef CPN_TEST_TRAIN
    check_export(network, &first);
    check_publish(network, &first);
#endif
    options.name = "again\xff\n";
    struct cpn_id second = start(network, &options);
    follow(network, &second);
    struct cpn_session_report *report;
    assert_int_equal(cpn_session_report(network->client, &second, DEADLINE_MS, &report), 0);
    assert_memory_equal(&report->info.weights, &weights[0], sizeof weights[0]); /* the same table and settings */
    cpn_session_report_free(report);
    check_find(network, &first, &second);
}

static int until_an_epoch_is_done(void *arg, const struct cpn_session_report *report)
{
    (void)arg;
    return report->point_count != 0;
}

static void a_session_is_stopped(void **state)
{
    const struct network *network = *state;
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    struct cpn_id other;
    options.table.path = write_flowers(network);
    options.table.label = "kind";
    options.settings = "epochs=20000";
    struct cpn_id session = start(network, &options);
    assert_int_equal(cpn_session_watch(network->client, &session, until_an_epoch_is_done, NULL, DEADLINE_MS), CPN_ECANCELLED);
    assert_int_equal(cpn_session_watch(network->client, &session, NULL, NULL, 0), CPN_ETIMEDOUT);
    options.peers = 2;
    assert_int_equal(cpn_session_start(network->client, &options, DEADLINE_MS, &other), CPN_EBUSY);
    assert_non_null(strstr(cpn_client_detail(network->client), "needs 2, 1 online"));
    assert_int_equal(cpn_session_stop(network->client, &session, DEADLINE_MS), 0);
    assert_int_equal(cpn_session_watch(network->client, &session, NULL, NULL, DEADLINE_MS), CPN_ECANCELLED);
    assert_non_null(strstr(cpn_client_detail(network->client), "stopped"));
    while (ready_nodes(network->client) < 2) {
        assert_int_equal(cpn_client_dispatch(network->client, 10), 0);
    }
}

static int give_up_sending(void *arg, const char *stage, uint64_t done, uint64_t total)
{
    (void)arg;
    (void)done;
    (void)total;
    return strcmp(stage, "send") == 0;
}

/* The master may have locked its peers by then: it is told, and they are free again. */
static void a_start_that_is_given_up_late_is_taken_back(void **state)
{
    const struct network *network = *state;
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    struct cpn_session_info *sessions;
    size_t count;
    options.table.path = write_flowers(network);
    options.table.label = "kind";
    options.peers = 2;
    options.progress = give_up_sending;
    refused(network, &options, CPN_ECANCELLED, "given up");
    while (ready_nodes(network->client) < 2) {
        assert_int_equal(cpn_client_dispatch(network->client, 10), 0);
    }
    assert_int_equal(cpn_client_sessions(network->client, DEADLINE_MS, &sessions, &count), 0);
    assert_true(count <= 1);
    assert_true(count == 0 || sessions[0].state == CPN_SESSION_STOPPED);
    cpn_client_free_list(sessions);
    options.progress = NULL;
    options.settings = "epochs=1";
    struct cpn_id session = start(network, &options); /* its blobs are the same */
    follow(network, &session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wrong_tables_are_told_with_row_and_column, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_options_are_told_before_the_table_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_no_trainer_takes_is_told_before_a_peer_is_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_published_is_told_before_a_peer_is_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_start_may_be_given_up, set_up, tear_down),
        cmocka_unit_test(states_and_modes_have_names),
        cmocka_unit_test_setup_teardown(a_table_becomes_a_model, set_up_nodes, tear_down_nodes),
        cmocka_unit_test_setup_teardown(a_session_is_stopped, set_up_nodes, tear_down_nodes),
        cmocka_unit_test_setup_teardown(a_start_that_is_given_up_late_is_taken_back, set_up_nodes, tear_down_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
