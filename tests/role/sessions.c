/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions as a program has them, through the public headers alone: what a start refuses before it asks anybody for anything. */
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
    refused(network, &options, CPN_EBADINPUT, "more wrong places");
    write_table(network, "width,kind\n1,a\n2,a\n3,a\n");
    refused(network, &options, CPN_EBADINPUT, "nothing to tell apart");
    options.table.label = "sort";
    refused(network, &options, CPN_EINVAL, "sort");
    options.table.path = network->dir;
    refused(network, &options, CPN_EIO, "cannot read the table");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wrong_tables_are_told_with_row_and_column, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_options_are_told_before_the_table_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_no_trainer_takes_is_told_before_a_peer_is_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_start_may_be_given_up, set_up, tear_down),
        cmocka_unit_test(states_and_modes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
