/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* core/worker: PREPARE and DISCARD: requirements, exactly the missing files, loading, progress, turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "core/worker.h"
#include "steps.h"

#define MIB ((uint64_t)CPNI_CHUNK_BYTES)

struct rig {
    struct steps s;
    struct fake_disk master;
    struct cpni_manifest_file files[2];
    struct cpni_manifest_pair requires[4];
    struct cpni_manifest manifest;
    struct cpni_manifest_check check;
};

static int step(void *core, const struct cpni_event *event, const struct cpni_now *now, struct cpni_actions *actions)
{
    return cpni_worker_core_step(core, event, now, actions);
}

static const char *check(const void *core)
{
    return cpni_worker_core_check(core);
}

static int open_rig(struct rig *rig)
{
    static const struct cpni_str backends[] = { { "opencv.dnn 4.6.0", 16 }, { "echo", 4 } };
    struct cpni_worker_config config = { .boot = { { 8 } }, .name = cpni_str("w1"), .slots = 1, .cores = 2, .memory = 4000000000u,
                                         .backends = backends, .backend_count = 2 };
    memset(rig, 0, sizeof *rig);
    rig->s = (struct steps){ .step = step, .check = check, .now = { .mono_us = 5000000 }, .link = 7, .term = 3 };
    rig->files[0] = (struct cpni_manifest_file){ .name = cpni_str("a.onnx"), .size = 3 * MIB, .root = fake_root(10) };
    rig->files[1] = (struct cpni_manifest_file){ .name = cpni_str("labels.txt"), .size = 100, .root = fake_root(20) };
    rig->manifest = (struct cpni_manifest){ .name = cpni_str("yolo"), .backend = cpni_str("opencv.dnn"), .files = rig->files,
                                            .file_count = 2, .requires = rig->requires };
    fake_put(&rig->master, &rig->files[0].root, 3 * MIB);
    fake_put(&rig->master, &rig->files[1].root, 100);
    struct cpni_worker_core *core;
    int rc = cpni_worker_core_new(&config, &rig->s.now, &core);
    rig->s.core = rc == 0 ? core : NULL;
    return rc;
}

static void close_rig(struct rig *rig)
{
    cpni_worker_core_free(rig->s.core);
    steps_close(&rig->s);
}

static int setup(void **state)
{
    struct rig *rig = malloc(sizeof *rig);
    assert_int_equal(open_rig(rig), 0);
    steps_join(&rig->s);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    close_rig(*state);
    free(*state);
    return 0;
}

static void require(struct rig *rig, const char *key, const char *value)
{
    rig->requires[rig->manifest.requires_count++] = (struct cpni_manifest_pair){ .key = cpni_str(key), .value = cpni_str(value) };
}

static void prepare(struct rig *rig, uint8_t root, int code)
{
    struct cpni_msg msg = { .type = CPNI_MSG_PREPARE };
    msg.prepare.name = cpni_str("yolo");
    msg.prepare.version = 2;
    msg.prepare.root.bytes[0] = root;
    rig->check = (struct cpni_manifest_check){ .code = code, .root = msg.prepare.root, .manifest = code == 0 ? &rig->manifest : NULL,
                                               .text = code == 0 ? NULL : "the signature is wrong" };
    steps_packet(&rig->s, CPNI_CONN_CONTROL, &msg, &rig->check, 1);
}

static void discard(struct rig *rig, uint8_t root)
{
    struct cpni_msg msg = { .type = CPNI_MSG_DISCARD };
    msg.discard.root.bytes[0] = root;
    steps_msg(&rig->s, &msg);
}

static void loaded(struct rig *rig, uint8_t root, int code)
{
    struct cpni_event event = { .type = CPNI_EV_MODEL, .model = { .root = { { root } }, .code = code, .text = code != 0 ? "bad weights" : NULL } };
    steps_event(&rig->s, &event);
}

static const struct cpni_msg_held *held(const struct rig *rig)
{
    const struct cpni_msg *last = NULL, *msg;
    for (unsigned i = 0; (msg = steps_sent(&rig->s, CPNI_MSG_HELD, i)) != NULL; i++) {
        last = msg;
    }
    return last != NULL ? &last->held : NULL;
}

/* Let disk and master work until the model is to be loaded; false: it never is. */
static bool until_loading(struct rig *rig)
{
    for (int i = 0; i < 200; i++) {
        if (steps_act(&rig->s, CPNI_ACT_MODEL, 0) != NULL) {
            return true;
        }
        if (steps_sent(&rig->s, CPNI_MSG_WANT, 0) != NULL) {
            steps_serve(&rig->s, &rig->master);
        } else if (!steps_disk(&rig->s)) {
            return false;
        }
    }
    return false;
}

static void rest(struct rig *rig)
{
    while (steps_disk(&rig->s)) {
    }
}

static void fetched_loaded_ready(void **state)
{
    struct rig *rig = *state;
    prepare(rig, 1, 0);
    assert_int_equal(held(rig)->state, CPNI_HELD_FETCHING);
    assert_int_equal(held(rig)->total, 3 * MIB + 100);
    assert_true(until_loading(rig));
    assert_int_equal(held(rig)->state, CPNI_HELD_LOADING);
    const struct cpni_action *model = steps_act(&rig->s, CPNI_ACT_MODEL, 0);
    assert_int_equal(model->model.manifest->file_count, 2);
    assert_memory_equal(model->model.manifest->files[1].name.text, "labels.txt", 10);
    loaded(rig, 1, 0);
    assert_int_equal(held(rig)->state, CPNI_HELD_READY);
    assert_true(steps_logged(&rig->s, "CPN-MODEL-READY"));
    prepare(rig, 1, 0); /* again: it is there */
    assert_int_equal(held(rig)->state, CPNI_HELD_READY);
    assert_null(steps_act(&rig->s, CPNI_ACT_DISK, 0));
    steps_lost(&rig->s, CPNI_CONN_CONTROL);
    steps_connected(&rig->s, CPNI_CONN_CONTROL);
    const struct cpni_msg_hello *hello = &steps_sent(&rig->s, CPNI_MSG_HELLO, 0)->hello;
    assert_int_equal(hello->models_count, 1);
    assert_int_equal(hello->models[0].state, CPNI_HELD_READY);
    assert_int_equal(hello->models[0].version, 2);
}

static void only_missing_files_are_fetched(void **state)
{
    struct rig *rig = *state;
    fake_put(&rig->s.disk, &rig->files[0].root, 3 * MIB);
    prepare(rig, 1, 0);
    assert_true(until_loading(rig));
    assert_int_equal(rig->s.disk.writes, 1);
}

static void a_wrong_signature_fails(void **state)
{
    struct rig *rig = *state;
    prepare(rig, 1, CPN_ECORRUPT);
    assert_int_equal(held(rig)->state, CPNI_HELD_FAILED);
    assert_memory_equal(held(rig)->text.text, "the signature is wrong", 22);
    assert_true(steps_logged(&rig->s, "CPN-MODEL-FAILED"));
    rig->manifest.name = cpni_str("other");
    prepare(rig, 1, 0); /* it is tried anew, and is the wrong one */
    assert_int_equal(held(rig)->state, CPNI_HELD_FAILED);
}

static void expect_unmet(const char *key, const char *value, const char *text)
{
    struct rig rig;
    assert_int_equal(open_rig(&rig), 0);
    steps_join(&rig.s);
    require(&rig, key, value);
    prepare(&rig, 1, 0);
    if (text == NULL) {
        assert_int_equal(held(&rig)->state, CPNI_HELD_FETCHING);
    } else {
        assert_int_equal(held(&rig)->state, CPNI_HELD_UNMET);
        assert_int_equal(held(&rig)->text.size, strlen(text));
        assert_memory_equal(held(&rig)->text.text, text, strlen(text));
        assert_true(steps_logged(&rig.s, "CPN-MODEL-UNMET"));
        assert_null(steps_act(&rig.s, CPNI_ACT_DISK, 0));
    }
    close_rig(&rig);
}

static void what_the_node_lacks_is_said(void **state)
{
    struct rig *rig = *state;
    expect_unmet("cores", "2", NULL);
    expect_unmet("cores", "3", "the model requires 3 cores, this node has 2");
    expect_unmet("memory", "4000000000", NULL);
    expect_unmet("memory", "4000000001", "the model requires 4000000001 bytes of memory, this node has 4000000000");
    expect_unmet("memory", "much", "the model requires much bytes of memory, this node has 4000000000");
    expect_unmet("gpu", "no", NULL);
    expect_unmet("gpu", "yes", "the model requires a GPU, this node has none");
    expect_unmet("backend", "4.5.10", NULL);
    expect_unmet("backend", "4.6", NULL);
    expect_unmet("backend", "4.10", "the model requires version 4.10 of its backend, this node has 4.6.0");
    expect_unmet("magic", "1", "the model requires 'magic', which this worker does not know");
    rig->manifest.backend = cpni_str("opencv");
    prepare(rig, 1, 0);
    assert_memory_equal(held(rig)->text.text, "this node has no backend 'opencv'", 33);
    assert_int_equal(held(rig)->state, CPNI_HELD_UNMET);
}

static void a_file_that_cannot_be_had_fails(void **state)
{
    struct rig *rig = *state;
    rig->files[1].root = fake_root(99);
    prepare(rig, 1, 0);
    assert_false(until_loading(rig));
    steps_lost(&rig->s, CPNI_CONN_CONTROL);
    steps_connected(&rig->s, CPNI_CONN_CONTROL);
    const struct cpni_rec_HELD *model = &steps_sent(&rig->s, CPNI_MSG_HELLO, 0)->hello.models[0];
    assert_int_equal(model->state, CPNI_HELD_FAILED);
    assert_memory_equal(model->text.text, "file labels.txt: ", 17);
}

static void a_full_disk_is_tried_again_later(void **state)
{
    struct rig *rig = *state;
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    rig->s.disk.fail = CPN_ENOSPC;
    prepare(rig, 1, 0);
    assert_false(until_loading(rig));
    rig->s.disk.fail = 0;
    for (int second = 0; second < CPNI_MODEL_RETRY_MS / 1000 - 1; second++) {
        rig->s.now.mono_us += 1000000;
        steps_msg(&rig->s, &beat);
        assert_null(held(rig));
    }
    assert_true(cpni_worker_core_deadline(rig->s.core) <= rig->s.now.mono_us + 1000000);
    rig->s.now.mono_us += 1000000;
    steps_msg(&rig->s, &beat);
    assert_int_equal(held(rig)->state, CPNI_HELD_FETCHING);
    assert_true(until_loading(rig));
    loaded(rig, 1, 0);
    assert_int_equal(held(rig)->state, CPNI_HELD_READY);
}

static void a_model_that_does_not_load_is_removed(void **state)
{
    struct rig *rig = *state;
    prepare(rig, 1, 0);
    assert_true(until_loading(rig));
    loaded(rig, 1, CPN_EMODEL);
    assert_int_equal(held(rig)->state, CPNI_HELD_FAILED);
    assert_memory_equal(held(rig)->text.text, "bad weights", 11);
    assert_non_null(steps_act(&rig->s, CPNI_ACT_UNMODEL, 0));
    rest(rig);
    assert_false(fake_has(&rig->s.disk, &rig->files[0].root));
}

static void discard_keeps_what_another_model_uses(void **state)
{
    struct rig *rig = *state;
    prepare(rig, 1, 0);
    assert_true(until_loading(rig));
    loaded(rig, 1, 0);
    rest(rig);
    struct cpni_manifest_file other[2] = { rig->files[1], { .name = cpni_str("b.onnx"), .size = 10, .root = fake_root(30) } };
    fake_put(&rig->master, &other[1].root, 10);
    rig->manifest.files = other;
    prepare(rig, 2, 0);
    assert_true(until_loading(rig));
    loaded(rig, 2, 0);
    discard(rig, 1);
    assert_int_equal(held(rig)->state, CPNI_HELD_NONE);
    assert_non_null(steps_act(&rig->s, CPNI_ACT_UNMODEL, 0));
    rest(rig);
    assert_false(fake_has(&rig->s.disk, &rig->files[0].root));
    assert_true(fake_has(&rig->s.disk, &rig->files[1].root));
    discard(rig, 2);
    rest(rig);
    assert_false(fake_has(&rig->s.disk, &rig->files[1].root));
    discard(rig, 2);
    assert_int_equal(held(rig)->state, CPNI_HELD_NONE);
}

static void discard_hands_back_what_waits_for_the_model(void **state)
{
    struct rig *rig = *state;
    struct cpni_msg task = { .type = CPNI_MSG_TASK, .task = { .attempt = 1, .root = { { 1 } }, .model = cpni_str("yolo") } };
    prepare(rig, 1, 0);
    assert_true(until_loading(rig));
    steps_msg(&rig->s, &task);
    assert_int_equal(steps_sent(&rig->s, CPNI_MSG_RETURN, 0)->handback.code, CPN_EMODEL); /* not ready yet */
    loaded(rig, 1, 0);
    steps_msg(&rig->s, &task);
    assert_non_null(steps_act(&rig->s, CPNI_ACT_RUN, 0));
    task.task.attempt = 2;
    steps_msg(&rig->s, &task);
    discard(rig, 1);
    assert_int_equal(steps_sent(&rig->s, CPNI_MSG_RETURN, 0)->handback.attempt, 2);
    assert_null(steps_sent(&rig->s, CPNI_MSG_RETURN, 1)); /* the one that runs finishes */
}

static void discard_stops_fetching(void **state)
{
    struct rig *rig = *state;
    prepare(rig, 1, 0);
    for (int i = 0; i < 6; i++) {
        if (steps_sent(&rig->s, CPNI_MSG_WANT, 0) != NULL) {
            steps_serve(&rig->s, &rig->master);
        } else {
            steps_disk(&rig->s);
        }
    }
    discard(rig, 1);
    assert_int_equal(held(rig)->state, CPNI_HELD_NONE);
    rest(rig);
    assert_null(fake_find(&rig->s.disk, &rig->files[0].root));
    loaded(rig, 1, 0); /* nobody asks any more */
    assert_null(held(rig));
}

static void a_few_at_a_time(void **state)
{
    struct rig *rig = *state;
    struct cpni_manifest_file file = rig->files[1];
    unsigned models = 0;
    rig->manifest.files = &file;
    rig->manifest.file_count = 1;
    for (uint8_t i = 1; i <= CPNI_NODE_PREPARES_MAX + 2; i++) {
        prepare(rig, i, 0);
        models += held(rig) != NULL;
    }
    assert_int_equal(models, CPNI_NODE_PREPARES_MAX);
    assert_true(until_loading(rig)); /* the same file for all of them */
    for (models = 0; steps_act(&rig->s, CPNI_ACT_MODEL, models) != NULL; models++) {
    }
    assert_int_equal(models, CPNI_NODE_PREPARES_MAX);
    loaded(rig, 1, 0);
    assert_int_equal(held(rig)->root.bytes[0], CPNI_NODE_PREPARES_MAX + 1);
}

static void progress_at_most_once_a_second(void **state)
{
    struct rig *rig = *state;
    unsigned reports = 0;
    rig->files[0].size = 20 * MIB;
    fake_put(&rig->master, &(struct cpn_hash){ { 11, 0xb1, 0x0b } }, 20 * MIB);
    rig->files[0].root = fake_root(11);
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    prepare(rig, 1, 0);
    int64_t started_us = rig->s.now.mono_us;
    while (steps_act(&rig->s, CPNI_ACT_MODEL, 0) == NULL) {
        if (steps_sent(&rig->s, CPNI_MSG_WANT, 0) != NULL) {
            steps_serve(&rig->s, &rig->master);
        } else if (!steps_disk(&rig->s)) {
            break;
        }
        rig->s.now.mono_us += 50000;
        bool wants = steps_sent(&rig->s, CPNI_MSG_WANT, 0) != NULL || steps_act(&rig->s, CPNI_ACT_MODEL, 0) != NULL;
        reports += held(rig) != NULL && held(rig)->state == CPNI_HELD_FETCHING;
        if (!wants) {
            steps_msg(&rig->s, &beat);
            reports += held(rig) != NULL && held(rig)->state == CPNI_HELD_FETCHING;
        }
    }
    assert_non_null(steps_act(&rig->s, CPNI_ACT_MODEL, 0));
    int64_t seconds = (rig->s.now.mono_us - started_us) / 1000000;
    assert_true(seconds > 1);
    assert_true(reports >= 1 && reports <= seconds + 1);
}

static void models_found_at_start_can_be_discarded(void **state)
{
    (void)state;
    struct rig rig;
    assert_int_equal(open_rig(&rig), 0);
    cpni_worker_core_free(rig.s.core);
    struct cpni_rec_HELD known = { .name = cpni_str("yolo"), .version = 2, .root = { { 1 } }, .state = CPNI_HELD_READY };
    const struct cpni_manifest *manifest = &rig.manifest;
    struct cpni_str backend = cpni_str("opencv.dnn 4.6.0");
    struct cpni_worker_config config = { .slots = 1, .backends = &backend, .backend_count = 1, .models = &known, .manifests = &manifest, .model_count = 1 };
    struct cpni_worker_core *core;
    fake_put(&rig.s.disk, &rig.files[0].root, 3 * MIB);
    assert_int_equal(cpni_worker_core_new(&config, &rig.s.now, &core), 0);
    rig.s.core = core;
    steps_join(&rig.s);
    discard(&rig, 1);
    assert_non_null(steps_act(&rig.s, CPNI_ACT_UNMODEL, 0));
    rest(&rig);
    assert_false(fake_has(&rig.s.disk, &rig.files[0].root));
    close_rig(&rig);
}

/* One PREPARE with memory that runs out at the nth request; whether it did. The master asks again until the model is ready. */
static bool scenario(unsigned nth)
{
    struct rig rig;
    bool ready = false;
    assert_int_equal(open_rig(&rig), 0);
    steps_join(&rig.s);
    rig.s.arm = nth;
    prepare(&rig, 1, 0);
    for (int rounds = 0; rounds < 300 && !ready; rounds++) {
        const struct cpni_msg_held *report = held(&rig);
        ready = report != NULL && report->state == CPNI_HELD_READY;
        if (rig.s.actions.failed) {
            bool loads = steps_act(&rig.s, CPNI_ACT_MODEL, 0) != NULL;
            steps_lost(&rig.s, CPNI_CONN_BULK);
            steps_lost(&rig.s, CPNI_CONN_CONTROL);
            steps_join(&rig.s);
            if (loads) {
                loaded(&rig, 1, 0);
            }
        } else if (steps_act(&rig.s, CPNI_ACT_MODEL, 0) != NULL) {
            loaded(&rig, 1, 0);
        } else if (steps_sent(&rig.s, CPNI_MSG_WANT, 0) != NULL) {
            steps_serve(&rig.s, &rig.master);
        } else if (!steps_disk(&rig.s)) {
            steps_tick(&rig.s, 60000);
            if (steps_act(&rig.s, CPNI_ACT_DISK, 0) == NULL) {
                prepare(&rig, 1, 0);
            }
        }
    }
    bool ran_out = rig.s.arm == 0;
    rig.s.arm = 0;
    assert_true(ready);
    close_rig(&rig);
    return ran_out;
}

static void memory_that_runs_out_delays_a_model(void **state)
{
    (void)state;
    unsigned nth = 1;
    while (scenario(nth)) {
        nth++;
    }
    assert_true(nth > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fetched_loaded_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(only_missing_files_are_fetched, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_signature_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_node_lacks_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_had_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_tried_again_later, setup, teardown),
        cmocka_unit_test_setup_teardown(a_model_that_does_not_load_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(discard_keeps_what_another_model_uses, setup, teardown),
        cmocka_unit_test_setup_teardown(discard_hands_back_what_waits_for_the_model, setup, teardown),
        cmocka_unit_test_setup_teardown(discard_stops_fetching, setup, teardown),
        cmocka_unit_test_setup_teardown(a_few_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(progress_at_most_once_a_second, setup, teardown),
        cmocka_unit_test(models_found_at_start_can_be_discarded),
        cmocka_unit_test(memory_that_runs_out_delays_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
