/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The roles as an embedder has them: master, worker and clients in one process, each on its own thread, through the public headers alone. */
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include <cpn/cpn.h>

#include "lib/fault_vfs.h"
#include "lib/tempdir.h"

#define DEADLINE_MS 30000

/* ---- a gate: callbacks wait at it until the test opens it ---- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static int waiting_at_gate;
static int gate_open;

static void gate_reset(void)
{
    pthread_mutex_lock(&gate_lock);
    waiting_at_gate = 0;
    gate_open = 0;
    pthread_mutex_unlock(&gate_lock);
}

static void gate_release(void)
{
    pthread_mutex_lock(&gate_lock);
    gate_open = 1;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate_lock);
}

static void gate_pass(void)
{
    pthread_mutex_lock(&gate_lock);
    waiting_at_gate++;
    pthread_cond_broadcast(&gate_moved);
    while (!gate_open) {
        pthread_cond_wait(&gate_moved, &gate_lock);
    }
    pthread_mutex_unlock(&gate_lock);
}

static int gate_count(void)
{
    pthread_mutex_lock(&gate_lock);
    int count = waiting_at_gate;
    pthread_mutex_unlock(&gate_lock);
    return count;
}

/* ---- models ---- */

/* One label: the number of input bytes; with annotate the input itself comes back as "image". */
static int count_bytes(struct cpn_attempt *attempt, void *arg)
{
    struct cpn_label label = { .confidence = 1 };
    size_t size;
    const void *input = cpn_attempt_input(attempt, &size);
    (void)arg;
    snprintf(label.name, sizeof label.name, "%zu", size);
    if (cpn_attempt_annotate(attempt)) {
        cpn_attempt_image(attempt, input, size, "image/png");
    }
    return cpn_attempt_label(attempt, &label);
}

static int wait_at_gate(struct cpn_attempt *attempt, void *arg)
{
    (void)attempt;
    (void)arg;
    gate_pass();
    return 0;
}

static int wait_for_cancel(struct cpn_attempt *attempt, void *arg)
{
    (void)arg;
    pthread_mutex_lock(&gate_lock);
    waiting_at_gate++;
    pthread_mutex_unlock(&gate_lock);
    while (!cpn_attempt_cancelled(attempt)) {
        struct timespec pause = { .tv_nsec = 1000000 };
        pthread_mutex_lock(&gate_lock);
        clock_gettime(CLOCK_REALTIME, &pause);
        pause.tv_nsec += 1000000;
        pause.tv_sec += pause.tv_nsec / 1000000000;
        pause.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&gate_moved, &gate_lock, &pause);
        pthread_mutex_unlock(&gate_lock);
    }
    pthread_mutex_lock(&gate_lock);
    gate_open = 1;
    pthread_mutex_unlock(&gate_lock);
    return CPN_ECANCELLED;
}

static void *finish_elsewhere(void *arg)
{
    struct cpn_attempt *attempt = arg;
    struct cpn_label label = { .name = "later", .confidence = 0.5f };
    cpn_attempt_label(attempt, &label);
    cpn_attempt_finish(attempt, 0);
    return NULL;
}

static int answer_later(struct cpn_attempt *attempt, void *arg)
{
    pthread_t *thread = arg;
    return pthread_create(thread, NULL, finish_elsewhere, attempt) == 0 ? CPN_ATTEMPT_LATER : CPN_EINTERNAL;
}

static int refuse_input(struct cpn_attempt *attempt, void *arg)
{
    (void)arg;
    cpn_attempt_detail(attempt, "row 17 is not a number");
    return CPN_EBADINPUT;
}

/* ---- the network ---- */

struct network {
    char dir[128];
    struct cpn_master *master;
    struct cpn_worker *worker;
    struct cpn_client *client;
    pthread_t master_thread, worker_thread;
    pthread_t later_thread;
};

static void *run_master(void *arg)
{
    cpn_master_run(arg);
    return NULL;
}

static void *run_worker(void *arg)
{
    cpn_worker_run(arg);
    return NULL;
}

static enum cpn_node_state state_of_node(struct cpn_client *client)
{
    struct cpn_node_info *nodes;
    size_t count;
    assert_int_equal(cpn_client_nodes(client, DEADLINE_MS, &nodes, &count), 0);
    enum cpn_node_state node = count != 0 ? nodes[0].state : CPN_NODE_GONE;
    cpn_client_free_list(nodes);
    return node;
}

static void wait_until_ready(struct cpn_client *client)
{
    while (state_of_node(client) != CPN_NODE_READY) {
        assert_int_equal(cpn_client_dispatch(client, 5), 0);
    }
}

/* CPN_TEST_LOG=1 shows what the roles say. */
static void print_line(const struct cpn_log_line *line, void *arg)
{
    if (getenv("CPN_TEST_LOG") != NULL) {
        fprintf(stderr, "%lld %s %s %s %s %s\n", (long long)line->wall_us, (const char *)arg, line->event, line->node, line->task, line->text);
    }
}

static const char *const loopback[] = { "tcp://127.0.0.1:0", NULL };

static int set_up(void **state)
{
    static struct network network;
    struct cpn_master_options master = CPN_MASTER_OPTIONS_INIT;
    struct cpn_worker_options worker = CPN_WORKER_OPTIONS_INIT;
    struct cpn_client_options client = CPN_CLIENT_OPTIONS_INIT;
    char path[PATH_MAX + 16];
    char detail[CPN_DETAIL] = "";
    memset(&network, 0, sizeof network);
    gate_reset();
    tempdir_make(network.dir);
    snprintf(path, sizeof path, "%s/m", network.dir);
    master.data_dir = path;
    master.create = true;
    master.listen = loopback;
    master.heartbeat_ms = 100;
    master.gone_ms = 500;
    master.log = print_line;
    master.log_arg = "master";
    if (cpn_master_open(&master, &network.master, detail) < 0) {
        fail_msg("master: %s", detail);
    }
    pthread_create(&network.master_thread, NULL, run_master, network.master);
    char worker_dir[PATH_MAX + 16];
    snprintf(worker_dir, sizeof worker_dir, "%s/w", network.dir);
    worker.master = network.master;
    worker.data_dir = worker_dir;
    worker.no_backends = true;
    worker.name = "node-1";
    worker.slots = 2;
    worker.log = print_line;
    worker.log_arg = "worker";
    if (cpn_worker_open(&worker, &network.worker, detail) < 0) {
        fail_msg("worker: %s", detail);
    }
    assert_int_equal(cpn_worker_handle(network.worker, "count", count_bytes, NULL), 0);
    assert_int_equal(cpn_worker_handle(network.worker, "count", count_bytes, NULL), CPN_EEXISTS);
    assert_int_equal(cpn_worker_handle(network.worker, "gate", wait_at_gate, NULL), 0);
    assert_int_equal(cpn_worker_handle(network.worker, "cancel", wait_for_cancel, NULL), 0);
    assert_int_equal(cpn_worker_handle(network.worker, "later", answer_later, &network.later_thread), 0);
    assert_int_equal(cpn_worker_handle(network.worker, "picky", refuse_input, NULL), 0);
    pthread_create(&network.worker_thread, NULL, run_worker, network.worker);
    client.master = network.master;
    client.spool_dir = network.dir;
    client.log = print_line;
    client.log_arg = "client";
    if (cpn_client_open(&client, &network.client, detail) < 0) {
        fail_msg("client: %s", detail);
    }
    assert_int_equal(cpn_client_connect(network.client, DEADLINE_MS), 0);
    wait_until_ready(network.client);
    *state = &network;
    return 0;
}

static int tear_down(void **state)
{
    struct network *network = *state;
    fault_vfs_hold(0); /* a test may have failed while it held */
    gate_release();
    cpn_client_close(network->client);
    cpn_worker_stop(network->worker);
    pthread_join(network->worker_thread, NULL);
    cpn_worker_close(network->worker);
    cpn_master_stop(network->master);
    pthread_join(network->master_thread, NULL);
    cpn_master_close(network->master);
    tempdir_remove(network->dir);
    return 0;
}

static struct cpn_task *submit(struct cpn_client *client, const char *model, const void *data, size_t size, bool annotate)
{
    struct cpn_task_options options = CPN_TASK_OPTIONS_INIT;
    struct cpn_task *task = NULL;
    options.model = model;
    options.data = data;
    options.data_size = size;
    options.name = "input";
    options.annotate = annotate;
    assert_int_equal(cpn_client_submit(client, &options, &task), 0);
    return task;
}

/* ---- tests ---- */

static void a_callback_answers(void **state)
{
    struct network *network = *state;
    struct cpn_task *task = submit(network->client, "count", "hello", 5, true);
    size_t count;
    size_t size;
    assert_int_equal(cpn_task_code(task), CPN_EAGAIN);
    assert_int_equal(cpn_task_wait(task, DEADLINE_MS), 0);
    assert_int_equal(cpn_task_code(task), 0);
    assert_string_equal(cpn_task_detail(task), "");
    const struct cpn_label *labels = cpn_task_labels(task, &count);
    assert_int_equal(count, 1);
    assert_string_equal(labels[0].name, "5");
    assert_memory_equal(cpn_task_image(task, &size), "hello", 5);
    assert_int_equal(size, 5);
    assert_string_equal(cpn_task_node(task), "node-1");
    assert_string_equal(cpn_task_model(task), "count");
    assert_int_equal(cpn_task_attempt(task), 1);
    cpn_task_free(task);
}

static void many_tasks_come_back_once_each(void **state)
{
    struct network *network = *state;
    enum { COUNT = 500 };
    static struct cpn_task *tasks[COUNT];
    static char input[COUNT + 1];
    memset(input, 'x', sizeof input);
    for (size_t i = 0; i < COUNT; i++) {
        tasks[i] = submit(network->client, "count", input, i + 1, false);
    }
    for (size_t i = 0; i < COUNT; i++) {
        char expected[16];
        size_t count;
        assert_int_equal(cpn_task_wait(tasks[i], DEADLINE_MS), 0);
        assert_int_equal(cpn_task_code(tasks[i]), 0);
        snprintf(expected, sizeof expected, "%zu", i + 1);
        assert_string_equal(cpn_task_labels(tasks[i], &count)[0].name, expected);
        cpn_task_free(tasks[i]);
    }
}

static void large_inputs_and_results_travel_as_blobs(void **state)
{
    struct network *network = *state;
    const size_t size = 5u * 1024 * 1024 + 17;
    unsigned char *input = malloc(size);
    for (size_t i = 0; i < size; i++) {
        input[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    struct cpn_task *task = submit(network->client, "count", input, size, true);
    assert_int_equal(cpn_task_wait(task, DEADLINE_MS), 0);
    assert_string_equal(cpn_task_detail(task), "");
    assert_int_equal(cpn_task_code(task), 0);
    size_t got;
    const void *image = cpn_task_image(task, &got);
    assert_int_equal(got, size);
    assert_memory_equal(image, input, size);
    cpn_task_free(task);
    free(input);
}

static void free_task(struct cpn_task *task, void *arg)
{
    if (cpn_task_code(task) != 0) {
        fprintf(stderr, "%s\n", cpn_task_detail(task));
    }
    assert_int_equal(cpn_task_code(task), 0);
    ++*(int *)arg;
    cpn_task_free(task);
}

/* The same photo again and again, each time imported into the spool while that of an earlier task is removed from it; and a callback that
 * frees the task that is waited for. */
static void the_same_large_input_many_times(void **state)
{
    struct network *network = *state;
    enum { COUNT = 40 };
    const size_t size = 300 * 1024;
    unsigned char *input = calloc(1, size);
    int done = 0;
    for (int i = 0; i < COUNT; i++) {
        struct cpn_task_options options = CPN_TASK_OPTIONS_INIT;
        struct cpn_task *task;
        options.model = "count";
        options.data = input;
        options.data_size = size;
        options.done = free_task;
        options.done_arg = &done;
        assert_int_equal(cpn_client_submit(network->client, &options, &task), 0);
        if (i % 4 == 3) {
            assert_int_equal(cpn_task_wait(task, DEADLINE_MS), 0);
        }
    }
    while (done < COUNT) {
        assert_int_equal(cpn_client_dispatch(network->client, 100), 0);
    }
    free(input);
}

/* A file may be called anything; a text that is none must not keep the client from saying what comes after it. */
static void texts_that_are_no_utf8(void **state)
{
    struct network *network = *state;
    struct cpn_task_options options = CPN_TASK_OPTIONS_INIT;
    struct cpn_task *task;
    options.data = "x";
    options.data_size = 1;
    options.name = "\xff\n.jpg";
    options.model = "\xff";
    assert_int_equal(cpn_client_submit(network->client, &options, &task), CPN_EINVAL);
    assert_string_equal(cpn_client_detail(network->client), "the model is not UTF-8");
    assert_int_equal(cpn_client_revoke(network->client, "\xff", DEADLINE_MS), CPN_EINVAL);
    options.model = "count";
    assert_int_equal(cpn_client_submit(network->client, &options, &task), 0);
    assert_string_equal(cpn_task_name(task), "??.jpg");
    assert_int_equal(cpn_task_wait(task, DEADLINE_MS), 0);
    assert_int_equal(cpn_task_code(task), 0);
    cpn_task_free(task);
}

static void a_refused_input_is_final(void **state)
{
    struct network *network = *state;
    struct cpn_task *task = submit(network->client, "picky", "x", 1, false);
    assert_int_equal(cpn_task_wait(task, DEADLINE_MS), 0);
    assert_int_equal(cpn_task_code(task), CPN_EBADINPUT);
    assert_string_equal(cpn_task_detail(task), "row 17 is not a number");
    assert_int_equal(cpn_task_attempt(task), 1);
    cpn_task_free(task);
}

static void an_unknown_model_is_refused(void **state)
{
    struct network *network = *state;
    struct cpn_task *task = submit(network->client, "nonsense", "x", 1, false);
    assert_int_equal(cpn_task_wait(task, DEADLINE_MS), 0);
    assert_int_equal(cpn_task_code(task), CPN_ENOTFOUND);
    assert_non_null(strstr(cpn_task_detail(task), "nonsense"));
    cpn_task_free(task);
}

static void a_callback_may_finish_later(void **state)
{
    struct network *network = *state;
    struct cpn_task *task = submit(network->client, "later", "x", 1, false);
    size_t count;
    assert_int_equal(cpn_task_wait(task, DEADLINE_MS), 0);
    pthread_join(network->later_thread, NULL);
    assert_string_equal(cpn_task_labels(task, &count)[0].name, "later");
    cpn_task_free(task);
}

static void a_cancel_reaches_the_callback(void **state)
{
    struct network *network = *state;
    struct cpn_task *task = submit(network->client, "cancel", "x", 1, false);
    while (gate_count() == 0) {
        assert_int_equal(cpn_client_dispatch(network->client, 5), 0);
    }
    cpn_task_cancel(task);
    assert_int_equal(cpn_task_wait(task, DEADLINE_MS), 0);
    assert_int_equal(cpn_task_code(task), CPN_ECANCELLED);
    cpn_task_free(task);
}

/* The callbacks of both slots wait for 6 liveness intervals; the node must never be taken for gone. */
static void a_slow_callback_costs_no_heartbeat(void **state)
{
    struct network *network = *state;
    struct cpn_task *tasks[2];
    struct timespec start;
    struct timespec now;
    tasks[0] = submit(network->client, "gate", "x", 1, false);
    tasks[1] = submit(network->client, "gate", "x", 1, false);
    while (gate_count() < 2) {
        assert_int_equal(cpn_client_dispatch(network->client, 5), 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        assert_int_equal(state_of_node(network->client), CPN_NODE_BUSY);
        assert_int_equal(cpn_client_dispatch(network->client, 50), 0);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < 4);
    gate_release();
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(cpn_task_wait(tasks[i], DEADLINE_MS), 0);
        assert_int_equal(cpn_task_code(tasks[i]), 0);
        assert_int_equal(cpn_task_attempt(tasks[i]), 1);
        cpn_task_free(tasks[i]);
    }
}

struct slow_promise {
    struct network *network;
    int done; /* atomic */
    int code;
};

static void *make_token(void *arg)
{
    struct slow_promise *promise = arg;
    struct cpn_client_options options = CPN_CLIENT_OPTIONS_INIT;
    struct cpn_client *client = NULL;
    char line[CPN_LINE];
    options.master = promise->network->master;
    options.spool_dir = promise->network->dir;
    promise->code = cpn_client_open(&options, &client, NULL);
    if (promise->code == 0) {
        promise->code = cpn_client_token_create(client, CPN_ROLE_NODE, "slow", 60000, 1, DEADLINE_MS, line);
    }
    cpn_client_close(client);
    __atomic_store_n(&promise->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* A token is promised only when its commit is on the disk. Meanwhile tasks run and the node lives. */
static void a_slow_commit_delays_promises_and_nothing_else(void **state)
{
    struct network *network = *state;
    struct slow_promise promise = { .network = network, .code = 1 };
    pthread_t thread;
    fault_vfs_hold(1);
    assert_int_equal(pthread_create(&thread, NULL, make_token, &promise), 0);
    while (fault_vfs_held() == 0) { /* the runner's timeout is the deadline */
        assert_int_equal(cpn_client_dispatch(network->client, 10), 0);
    }
    for (int i = 0; i < 20; i++) {
        struct cpn_task *task = submit(network->client, "count", "x", 1, false);
        assert_int_equal(cpn_task_wait(task, DEADLINE_MS), 0);
        assert_int_equal(cpn_task_code(task), 0);
        assert_int_not_equal(state_of_node(network->client), CPN_NODE_GONE);
        cpn_task_free(task);
    }
    assert_int_equal(__atomic_load_n(&promise.done, __ATOMIC_SEQ_CST), 0);
    fault_vfs_hold(0);
    pthread_join(thread, NULL);
    assert_int_equal(promise.code, 0);
}

/* ---- a data directory is what it is, or refused ---- */

static int open_in(const char *dir, bool create, bool *created, char *detail)
{
    struct cpn_master_options options = CPN_MASTER_OPTIONS_INIT;
    struct cpn_master *master = NULL;
    options.data_dir = dir;
    options.create = create;
    options.local_only = true;
    int rc = cpn_master_open(&options, &master, detail);
    if (rc == 0) {
        *created = cpn_master_created(master);
        cpn_master_close(master);
    }
    return rc;
}

static struct cpn_master *open_listening(const char *dir)
{
    static const char *const listen[] = { "tcp://127.0.0.1:0", NULL };
    struct cpn_master_options options = CPN_MASTER_OPTIONS_INIT;
    struct cpn_master *master = NULL;
    options.data_dir = dir;
    options.create = true;
    options.listen = listen;
    assert_int_equal(cpn_master_open(&options, &master, NULL), 0);
    return master;
}

/* A context of another network, made to be one of this: keys that nobody enrolled. */
static void write_unfinished(const char *dir, const char *path, const struct cpn_key *master_key)
{
    char text[4096] = "", key[CPN_KEY_TEXT];
    struct cpn_master *other = open_listening(dir);
    assert_int_equal(cpn_master_admin_context(other, "root", path), 0);
    cpn_master_close(other);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    char *line = strstr(text, "\nmaster ");
    assert_non_null(line);
    memcpy(line + strlen("\nmaster "), cpn_key_text(master_key, key), CPN_KEY_TEXT - 1);
    rewind(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

/* As a first start that was killed between the file and the identity left it. */
static void an_admin_context_that_was_not_enrolled_is_finished(void **state)
{
    char dir[128], other[128], path[160];
    (void)state;
    assert_non_null(tempdir_make(dir));
    assert_non_null(tempdir_make(other));
    snprintf(path, sizeof path, "%s/context", dir);
    struct cpn_master *master = open_listening(dir);
    struct cpn_key key = cpn_master_key(master);
    write_unfinished(other, path, &key);
    assert_false(cpn_master_has_admin(master));
    assert_int_equal(cpn_master_admin_context(master, "root", path), 0);
    assert_true(cpn_master_has_admin(master));
    assert_int_equal(cpn_master_admin_context(master, "root", path), CPN_EEXISTS); /* it is in use now */
    cpn_master_close(master);
    tempdir_remove(dir);
    tempdir_remove(other);
}

static void keys_that_are_gone_are_not_made_anew(void **state)
{
    char dir[128], path[160], away[160], detail[CPN_DETAIL] = "";
    bool created = true;
    (void)state;
    assert_non_null(tempdir_make(dir));
    snprintf(path, sizeof path, "%s/master.key", dir);
    snprintf(away, sizeof away, "%s/elsewhere", dir);
    assert_int_equal(open_in(dir, false, &created, detail), CPN_ENOTFOUND);
    assert_int_equal(open_in(dir, true, &created, detail), 0);
    assert_true(created);
    assert_int_equal(open_in(dir, true, &created, detail), 0);
    assert_false(created);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(open_in(dir, true, &created, detail), CPN_ENOTFOUND);
    assert_non_null(strstr(detail, "master.key"));
    assert_int_equal(rename(away, path), 0);
    snprintf(path, sizeof path, "%s/state", dir); /* as a file system that was not mounted */
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(open_in(dir, true, &created, detail), CPN_ENOTFOUND);
    assert_non_null(strstr(detail, "its state is gone"));
    assert_int_equal(rename(away, path), 0);
    assert_int_equal(open_in(dir, true, &created, detail), 0);
    assert_false(created);
    assert_int_equal(open_in(dir, true, &created, detail), 0);
    assert_false(created);
    tempdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_admin_context_that_was_not_enrolled_is_finished),
        cmocka_unit_test(keys_that_are_gone_are_not_made_anew),
        cmocka_unit_test_setup_teardown(a_callback_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_tasks_come_back_once_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_inputs_and_results_travel_as_blobs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_same_large_input_many_times, set_up, tear_down),
        cmocka_unit_test_setup_teardown(texts_that_are_no_utf8, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refused_input_is_final, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_model_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_callback_may_finish_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cancel_reaches_the_callback, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slow_callback_costs_no_heartbeat, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slow_commit_delays_promises_and_nothing_else, set_up, tear_down),
    };
    fault_vfs_register();
    sqlite3_vfs_register(sqlite3_vfs_find(FAULT_VFS), 1); /* the master opens its state by the default one */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
