/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* compute/trainers: lanes in real processes with a real trainer (unit-trainers NAME), and what can go wrong in one. */
#include <dirent.h>
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "base/buf.h"
#include "base/random.h"
#include "compute/trainers.h"
#include "core/delta8.h"
#include "data/csv_convert.h"
#include "data/dataset.h"

#define ROWS 600
#define COLUMNS 5
#define PATIENCE_MS 60000

static const char *trainer = "dnn";
static int dataset_fd;
static uint64_t next_ticket = 1;

static int file_of(const void *bytes, size_t size)
{
    int fd = memfd_create("file", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* Three clusters that overlap a little. */
static int make_dataset(void **state)
{
    (void)state;
    struct cpni_buf text = { 0 };
    struct cpni_random random;
    cpni_random_seed(&random, 7, 0);
    cpni_buf_printf(&text, "a,b,c,d,e,y\n");
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < COLUMNS; c++) {
            cpni_buf_printf(&text, "%.6f,", (double)cpni_random_uniform(&random) + (c % 3 == r % 3 ? 0.8 : 0));
        }
        cpni_buf_printf(&text, "%c\n", 'A' + r % 3);
    }
    const struct cpni_csv_options options = { .label = "y", .name = "t.csv" };
    struct cpni_csv_report report;
    int table = file_of(text.data, text.size);
    dataset_fd = memfd_create("dataset", MFD_CLOEXEC);
    int rc = cpni_csv_convert(&options, table, dataset_fd, &report);
    close(table);
    cpni_buf_free(&text);
    return rc;
}

static int close_dataset(void **state)
{
    (void)state;
    close(dataset_fd);
    return 0;
}

static struct cpni_trainers *open_trainers(void)
{
    const struct cpni_trainers_options options = { .runner = CPN_TEST_RUNNER, .plugins = CPN_TEST_TRAINERS };
    struct cpni_trainers *trainers = NULL;
    char detail[CPNI_TRAINERS_DETAIL] = "";
    assert_int_equal(cpni_trainers_open(&options, &trainers, detail), 0);
    return trainers;
}

static struct cpni_session_spec spec_of(const char *text)
{
    struct cpni_session_spec spec;
    char detail[CPNI_SPEC_DETAIL] = "", full[512];
    snprintf(full, sizeof full, "trainer %s\n%s", trainer, text);
    if (cpni_session_spec_read(cpni_str(full), &spec, detail) < 0) {
        fail_msg("%s", detail);
    }
    return spec;
}

#define AVERAGE "mode average\npeers 2\nlocal-steps 7\nlane batch=16,epochs=20,hidden=8,lr=0.01\n"

static struct cpni_trained next(struct cpni_trainers *trainers)
{
    struct cpni_trained out;
    struct pollfd fd = { .fd = cpni_trainers_fd(trainers), .events = POLLIN };
    assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
    assert_int_equal(cpni_trainers_next(trainers, &out), 1);
    return out;
}

/* The next thing that is no heartbeat. */
static struct cpni_trained told(struct cpni_trainers *trainers, enum cpni_trainer_word said, int code)
{
    struct cpni_trained out;
    while ((out = next(trainers)).said == CPNI_SAID_PROGRESS) { }
    if (out.code != code) {
        fail_msg("%d, not %d: %s", out.code, code, out.detail);
    }
    assert_int_equal(out.said, said);
    return out;
}

static uint64_t begin(struct cpni_trainers *trainers, const struct cpni_session_spec *spec, uint32_t lane, int dataset,
    int state_fd, uint64_t state_size)
{
    const struct cpni_lane_job job = { .ticket = next_ticket++,
        .spec = spec,
        .lane = lane,
        .dataset_fd = dataset,
        .train_rows = 540,
        .state_fd = state_fd,
        .state_size = state_size };
    assert_int_equal(cpni_trainers_start(trainers, &job), 0);
    return job.ticket;
}

static uint64_t opened(struct cpni_trainers *trainers, const struct cpni_session_spec *spec, uint32_t lane)
{
    uint64_t ticket = begin(trainers, spec, lane, dataset_fd, -1, 0);
    struct cpni_trained open = told(trainers, CPNI_SAID_OPEN, 0);
    assert_int_equal(open.ticket, ticket);
    return ticket;
}

static struct cpni_trained round_of(struct cpni_trainers *trainers, uint64_t ticket, struct cpni_round_job job)
{
    job.vector_fd = -1;
    assert_int_equal(cpni_trainers_round(trainers, ticket, &job), 0);
    struct cpni_trained done = told(trainers, CPNI_SAID_ROUND, 0);
    assert_int_equal(done.ticket, ticket);
    assert_int_equal(done.round, job.round);
    return done;
}

static void same_bytes(const struct cpni_bytes *one, const struct cpni_bytes *other)
{
    assert_int_equal(one->size, other->size);
    assert_memory_equal(one->data, other->data, one->size);
}

static uint64_t weights_of(const struct cpni_bytes *vector)
{
    return vector->size / sizeof(float);
}

/* ---- what is there ---- */

static void names_and_probe(void **state)
{
    (void)state;
    struct cpni_trainers *trainers = open_trainers();
    struct cpni_session_spec spec = spec_of(AVERAGE);
    assert_string_equal(cpni_trainers_names(trainers)[0], "dnn");
    const struct cpni_lane_job job
        = { .ticket = 5, .spec = &spec, .dataset_fd = dataset_fd, .state_fd = -1, .probe = true };
    assert_int_equal(cpni_trainers_start(trainers, &job), 0);
    assert_int_equal(cpni_trainers_start(trainers, &job), CPN_EEXISTS);
    struct cpni_trained open = told(trainers, CPNI_SAID_OPEN, 0);
    assert_true(open.probe && open.reproducible);
    assert_string_equal(open.device, "cpu");
    assert_non_null(strstr(open.fingerprint, trainer));
    assert_int_equal(cpni_trainers_start(trainers, &job), 0); /* its ticket is free again */
    told(trainers, CPNI_SAID_OPEN, 0);
    cpni_session_spec_free(&spec);
    spec = spec_of("trainer nothere\nlane lr=1\n");
    assert_int_equal(cpni_trainers_start(trainers, &job), 0);
    open = told(trainers, CPNI_SAID_OPEN, CPN_ENOTSUP);
    assert_non_null(strstr(open.detail, "cpn-trainer-nothere.so"));
    cpni_session_spec_free(&spec);
    cpni_trainers_close(trainers);
}

/* ---- rounds ---- */

/* Rounds 1 to 4 in one process, and again with the process made anew from the checkpoint after round 2: the same bits.
 */
static void checkpoint_goes_on_to_the_bit(const char *text)
{
    struct cpni_trainers *trainers = open_trainers();
    struct cpni_session_spec spec = spec_of(text);
    uint64_t ticket = opened(trainers, &spec, 1);
    struct cpni_trained all[5];
    struct cpni_bytes *from[5] = { 0 };
    for (uint64_t r = 1; r <= 4; r++) {
        all[r] = round_of(
            trainers, ticket, (struct cpni_round_job) { .round = r, .steps = 7, .vector = from[r], .state = true });
        assert_int_equal(all[r].steps, 7);
        assert_true(all[r].samples > 80 && all[r].loss_micro > 0);
        if (r < 4) { /* weights from elsewhere, of which the next round begins */
            float *mean = malloc(all[1].state->size);
            uint64_t weights = weights_of(all[1].vector);
            for (uint64_t i = 0; i < weights; i++) {
                mean[i] = 0.01f * (float)(i % 17) * (float)r;
            }
            from[r + 1] = cpni_bytes_copy(mean, weights * sizeof(float));
            free(mean);
        }
    }
    cpni_trainers_end(trainers, ticket);
    int state_fd = file_of(all[2].state->data, all[2].state->size);
    ticket = begin(trainers, &spec, 1, dataset_fd, state_fd, all[2].state->size);
    close(state_fd);
    struct cpni_trained open = told(trainers, CPNI_SAID_OPEN, 0);
    assert_int_equal(open.round, 2);
    for (uint64_t r = 3; r <= 4; r++) {
        struct cpni_trained again = round_of(trainers, ticket,
            (struct cpni_round_job) { .round = r, .steps = 7, .vector = from[r], .state = true, .replay = r == 3 });
        same_bytes(again.vector, all[r].vector);
        same_bytes(again.state, all[r].state);
        assert_int_equal(again.loss_micro, all[r].loss_micro);
        cpni_trained_clear(&again);
    }
    for (int r = 1; r <= 4; r++) {
        cpni_trained_clear(&all[r]);
        cpni_bytes_unref(from[r]);
    }
    cpni_session_spec_free(&spec);
    cpni_trainers_close(trainers);
}

static void restored_lane_equals(void **state)
{
    (void)state;
    checkpoint_goes_on_to_the_bit(AVERAGE);
    checkpoint_goes_on_to_the_bit("encoding int8\n" AVERAGE);
    checkpoint_goes_on_to_the_bit(
        "mode average\npeers 3\nlocal-steps 7\nlane batch=16,hidden=8,optimizer=sgd,lr=0.05,decay=1e-3\n");
}

/* Weights are the sum of the weights before and the decoded changes, but for what the residual holds back. */
static void int8_says_the_change(void **state)
{
    (void)state;
    struct cpni_trainers *trainers = open_trainers();
    struct cpni_session_spec plain = spec_of(AVERAGE), small = spec_of("encoding int8\n" AVERAGE);
    uint64_t one = opened(trainers, &plain, 0), other = opened(trainers, &small, 0);
    struct cpni_trained first = round_of(trainers, one, (struct cpni_round_job) { .round = 1, .steps = 7 });
    uint64_t weights = weights_of(first.vector);
    struct cpni_bytes *from = cpni_bytes_ref(first.vector);
    struct cpni_trained full
        = round_of(trainers, one, (struct cpni_round_job) { .round = 2, .steps = 7, .vector = from });
    struct cpni_trained change = round_of(trainers, other, (struct cpni_round_job) { .round = 1, .steps = 7 });
    assert_int_equal(change.encoding, 0); /* nobody else knows what the first round began from */
    same_bytes(change.vector, first.vector);
    cpni_trained_clear(&change);
    change = round_of(trainers, other, (struct cpni_round_job) { .round = 2, .steps = 7, .vector = from });
    assert_int_equal(full.encoding, 0);
    assert_int_equal(change.encoding, 1);
    assert_int_equal(change.vector->size, cpni_delta8_size(weights));
    float *delta = malloc(weights * sizeof *delta);
    assert_int_equal(cpni_delta8_decode(change.vector->data, change.vector->size, weights, delta), 0);
    const float *before = (const float *)(const void *)from->data,
                *after = (const float *)(const void *)full.vector->data;
    for (uint64_t i = 0; i < weights; i++) {
        assert_true(fabsf(before[i] + delta[i] - after[i]) < 0.01f);
    }
    free(delta);
    cpni_bytes_unref(from);
    cpni_trained_clear(&first);
    cpni_trained_clear(&full);
    cpni_trained_clear(&change);
    cpni_session_spec_free(&plain);
    cpni_session_spec_free(&small);
    cpni_trainers_close(trainers);
}

/* The weights of a round as a change of those of the round before are the same weights; of any others they are refused. */
static void a_change_of_the_weights_before_is_as_good_as_the_weights(void **state)
{
    (void)state;
    struct cpni_trainers *trainers = open_trainers();
    struct cpni_session_spec spec = spec_of("encoding int8\n" AVERAGE);
    uint64_t one = opened(trainers, &spec, 0), other = opened(trainers, &spec, 0);
    struct cpni_trained first = round_of(trainers, one, (struct cpni_round_job) { .round = 1, .steps = 7 });
    uint64_t weights = weights_of(first.vector);
    struct cpni_bytes *from = cpni_bytes_ref(first.vector);
    cpni_trained_clear(&first);
    first = round_of(trainers, other, (struct cpni_round_job) { .round = 1, .steps = 7 });
    cpni_trained_clear(&first);
    float *changes = malloc(weights * sizeof *changes), *after = malloc(weights * sizeof *after);
    uint8_t *encoded = malloc(cpni_delta8_size(weights));
    memcpy(after, from->data, from->size);
    for (uint64_t round = 2; round <= 5; round++) {
        struct cpni_bytes *change = cpni_bytes_copy(encoded, cpni_delta8_size(weights)), *whole = cpni_bytes_copy(after, from->size);
        const bool whole_too = round == 2; /* before, it has no weights that are known */
        struct cpni_trained there = round_of(trainers, one, (struct cpni_round_job) { .round = round, .steps = 7, .vector = whole });
        struct cpni_trained here = round_of(trainers, other,
            (struct cpni_round_job) { .round = round, .steps = 7, .vector = whole_too ? whole : change, .encoding = !whole_too });
        same_bytes(here.vector, there.vector);
        cpni_trained_clear(&there);
        cpni_trained_clear(&here);
        cpni_bytes_unref(change);
        cpni_bytes_unref(whole);
        for (uint64_t i = 0; i < weights; i++) {
            changes[i] = 0.001f * (float)((i * round) % 29) - 0.01f;
        }
        assert_int_equal(cpni_delta8_dither(changes, weights, round, encoded), 0);
        assert_int_equal(cpni_delta8_add(encoded, cpni_delta8_size(weights), weights, after), 0);
    }
    struct cpni_bytes *change = cpni_bytes_copy(encoded, cpni_delta8_size(weights));
    const struct cpni_round_job late = { .round = 7, .steps = 7, .vector = change, .vector_fd = -1, .encoding = 1 };
    assert_int_equal(cpni_trainers_round(trainers, one, &late), 0);
    struct cpni_trained refused = told(trainers, CPNI_SAID_ROUND, CPN_ESTATE);
    assert_non_null(strstr(refused.detail, "a change of others"));
    const struct cpni_round_job cut = { .round = 6, .steps = 7, .vector = from, .vector_fd = -1, .encoding = 1 };
    assert_int_equal(cpni_trainers_round(trainers, other, &cut), 0);
    refused = told(trainers, CPNI_SAID_ROUND, CPN_EBADINPUT);
    cpni_bytes_unref(change);
    cpni_bytes_unref(from);
    free(changes);
    free(after);
    free(encoded);
    cpni_session_spec_free(&spec);
    cpni_trainers_close(trainers);
}

/* Exchanging a lane's own gradient with nobody else is training alone. */
static void a_step_in_halves_is_a_step(void **state)
{
    (void)state;
    struct cpni_trainers *trainers = open_trainers();
    struct cpni_session_spec spec
        = spec_of("mode sync\npeers 2\nlocal-steps 9\ncheckpoint 1\nlane batch=16,hidden=8,lr=0.01\n");
    uint64_t one = opened(trainers, &spec, 0), other = opened(trainers, &spec, 0);
    struct cpni_trained whole = round_of(trainers, one, (struct cpni_round_job) { .round = 1, .steps = 9 });
    const struct cpni_round_job job = { .round = 1, .steps = 9, .exchange = true, .vector_fd = -1 };
    assert_int_equal(cpni_trainers_round(trainers, other, &job), 0);
    assert_int_equal(cpni_trainers_round(trainers, other, &job), CPN_EBUSY);
    for (uint64_t step = 1; step <= 9; step++) {
        struct cpni_trained gradient = told(trainers, CPNI_SAID_GRADIENT, 0);
        assert_int_equal(gradient.step, step);
        assert_true(gradient.samples > 0 && gradient.samples <= 16);
        assert_int_equal(cpni_trainers_apply(trainers, other, gradient.vector), 0);
        cpni_trained_clear(&gradient);
    }
    struct cpni_trained halves = told(trainers, CPNI_SAID_ROUND, 0);
    same_bytes(halves.vector, whole.vector);
    assert_int_equal(halves.loss_micro, whole.loss_micro);
    cpni_trained_clear(&halves);
    cpni_trained_clear(&whole);
    cpni_session_spec_free(&spec);
    cpni_trainers_close(trainers);
}

/* Epochs of a sweep: told once each, with all rows; evaluation before, after and alone. */
static void epochs_and_evaluation(void **state)
{
    (void)state;
    struct cpni_trainers *trainers = open_trainers();
    struct cpni_session_spec spec
        = spec_of("mode sweep\ncheckpoint 1\nlane batch=16,hidden=8,lr=0.01,epochs=5\nlane lr=0.1\n");
    uint64_t ticket = opened(trainers, &spec, 0);
    uint64_t steps = cpni_session_epoch_steps(&spec, 0, 540), before = 0;
    for (uint64_t r = 1; r <= 5; r++) {
        const struct cpni_round_job job
            = { .round = r, .steps = steps, .vector_fd = -1, .evaluate = true, .evaluate_after = r > 1 };
        assert_int_equal(cpni_trainers_round(trainers, ticket, &job), 0);
        struct cpni_trained said;
        uint32_t epochs = 0;
        while ((said = next(trainers)).said == CPNI_SAID_PROGRESS) {
            assert_int_equal(said.epoch, r);
            epochs += said.epoch_done;
            assert_true(!said.epoch_done || (said.samples == 540 && said.step == steps && said.rate > 0));
        }
        assert_int_equal(epochs, 1);
        assert_int_equal(said.code, 0);
        assert_int_equal(said.samples, 540);
        assert_int_equal(said.tested, 60);
        before = r == 1 ? said.tested_loss_micro : before;
        assert_true(r == 1 || said.tested_loss_micro < before);
        cpni_trained_clear(&said);
    }
    struct cpni_trained alone = round_of(trainers, ticket, (struct cpni_round_job) { .round = 6, .evaluate = true });
    assert_int_equal(alone.steps, 0);
    assert_int_equal(alone.tested, 60);
    assert_true(alone.tested_correct > 40);
    assert_null(alone.vector);
    cpni_session_spec_free(&spec);
    cpni_trainers_close(trainers);
}

/* ---- what goes wrong ---- */

/* The one child that is a runner. */
static pid_t find_runner(void)
{
    DIR *proc = opendir("/proc");
    assert_non_null(proc);
    pid_t found = 0;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        char path[300], name[32] = "";
        int pid = 0, parent = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = strtol(entry->d_name, NULL, 10) > 0 ? fopen(path, "re") : NULL;
        if (file != NULL) {
            if (fscanf(file, "%d (%31[^)]) %*c %d", &pid, name, &parent) == 3 && parent == getpid()
                && strcmp(name, "cpn-runner") == 0) {
                assert_int_equal(found, 0);
                found = pid;
            }
            fclose(file);
        }
    }
    closedir(proc);
    return found;
}

static void killed_runner_is_a_crash(void **state)
{
    (void)state;
    struct cpni_trainers *trainers = open_trainers();
    struct cpni_session_spec spec = spec_of(AVERAGE);
    uint64_t ticket = opened(trainers, &spec, 0);
    const struct cpni_round_job job = { .round = 1, .steps = 1u << 30, .vector_fd = -1 };
    assert_int_equal(cpni_trainers_round(trainers, ticket, &job), 0);
    next(trainers); /* it is at work */
    uint32_t processes;
    uint64_t bytes;
    cpni_trainers_usage(trainers, &processes, &bytes);
    assert_true(processes == 1 && bytes > 100000);
    pid_t runner = find_runner();
    assert_true(runner > 0 && kill(runner, SIGKILL) == 0);
    struct cpni_trained out = told(trainers, CPNI_SAID_ROUND, CPN_ECRASHED);
    assert_int_equal(out.ticket, ticket);
    assert_int_equal(out.round, 1);
    assert_non_null(strstr(out.detail, "SIGKILL"));
    assert_int_equal(cpni_trainers_round(trainers, ticket, &job), CPN_ENOTFOUND);
    ticket = opened(trainers, &spec, 0); /* idle, this time */
    runner = find_runner();
    assert_true(runner > 0 && kill(runner, SIGSEGV) == 0);
    out = told(trainers, CPNI_SAID_ROUND, CPN_ECRASHED);
    assert_int_equal(out.ticket, ticket);
    cpni_session_spec_free(&spec);
    cpni_trainers_close(trainers);
}

static void divergence_is_no_crash(void **state)
{
    (void)state;
    struct cpni_trainers *trainers = open_trainers();
    struct cpni_session_spec spec = spec_of("lane batch=16,hidden=8,optimizer=sgd,lr=1e30\n");
    uint64_t ticket = opened(trainers, &spec, 0);
    const struct cpni_round_job job = { .round = 1, .steps = 100, .vector_fd = -1 };
    assert_int_equal(cpni_trainers_round(trainers, ticket, &job), 0);
    struct cpni_trained out = told(trainers, CPNI_SAID_ROUND, CPN_EDIVERGED);
    assert_non_null(strstr(out.detail, "learning rate"));
    cpni_session_spec_free(&spec);
    cpni_trainers_close(trainers);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    struct cpni_trainers *trainers = open_trainers();
    struct cpni_session_spec spec = spec_of(AVERAGE), other = spec_of("lane hidden=9\n");
    static const char words[]
        = "this is no dataset, although it is long enough to hold the header of one, which is fifty-six bytes";
    int text = file_of(words, sizeof words);
    begin(trainers, &spec, 0, text, -1, 0);
    struct cpni_trained out = told(trainers, CPNI_SAID_OPEN, CPN_EBADINPUT);
    assert_true(out.detail[0] != 0);
    struct cpni_lane_job job
        = { .ticket = next_ticket++, .spec = &spec, .dataset_fd = dataset_fd, .state_fd = -1, .train_rows = 541 };
    assert_int_equal(cpni_trainers_start(trainers, &job), 0);
    out = told(trainers, CPNI_SAID_OPEN, CPN_EBADINPUT);
    assert_non_null(strstr(out.detail, "541"));
    begin(trainers, &spec, 0, dataset_fd, text, sizeof words); /* that is no checkpoint either */
    told(trainers, CPNI_SAID_OPEN, CPN_ECORRUPT);
    struct cpni_dataset set;
    char header[128], why[CPNI_DATA_DETAIL];
    assert_int_equal(cpni_dataset_open(dataset_fd, &set, why), 0);
    int cut = file_of(set.map, 1000);
    assert_int_equal(pread(cut, header, sizeof header, 0), (ssize_t)sizeof header);
    begin(trainers, &spec, 0, cut, -1, 0);
    out = told(trainers, CPNI_SAID_OPEN, CPN_EBADINPUT);
    assert_non_null(strstr(out.detail, "cut short"));
    cpni_dataset_close(&set);
    close(cut);
    close(text);
    uint64_t ticket = opened(trainers, &spec, 0);
    struct cpni_bytes *shorter = cpni_bytes_copy("1234", 4);
    const struct cpni_round_job round = { .round = 1, .steps = 1, .vector = shorter, .vector_fd = -1 };
    assert_int_equal(cpni_trainers_round(trainers, ticket, &round), 0);
    told(trainers, CPNI_SAID_ROUND, CPN_EBADINPUT);
    cpni_bytes_unref(shorter);
    cpni_session_spec_free(&spec);
    cpni_session_spec_free(&other);
    cpni_trainers_close(trainers);
}

/* Ended in the midst of a round, before it opened, and by closing: at once, and nothing more is heard of it. */
static void the_end_is_quiet(void **state)
{
    (void)state;
    struct cpni_trainers *trainers = open_trainers();
    struct cpni_session_spec spec = spec_of(AVERAGE);
    const struct cpni_round_job forever = { .round = 1, .steps = 1u << 30, .vector_fd = -1 };
    uint64_t one = opened(trainers, &spec, 0);
    assert_int_equal(cpni_trainers_round(trainers, one, &forever), 0);
    struct cpni_trained progress = next(trainers);
    assert_int_equal(progress.said, CPNI_SAID_PROGRESS);
    cpni_trainers_end(trainers, one);
    assert_int_equal(cpni_trainers_next(trainers, &progress), 0);
    assert_int_equal(cpni_trainers_round(trainers, one, &forever), CPN_ENOTFOUND);
    cpni_trainers_end(trainers, begin(trainers, &spec, 0, dataset_fd, -1, 0));
    uint64_t other = opened(trainers, &spec, 0); /* what is heard next is of this one */
    assert_int_equal(cpni_trainers_round(trainers, other, &forever), 0);
    next(trainers);
    cpni_session_spec_free(&spec);
    cpni_trainers_close(trainers);
    cpni_trainers_close(NULL);
}

int main(int argc, char **argv)
{
    trainer = argc > 1 ? argv[1] : trainer;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_probe),
        cmocka_unit_test(restored_lane_equals),
        cmocka_unit_test(int8_says_the_change),
        cmocka_unit_test(a_change_of_the_weights_before_is_as_good_as_the_weights),
        cmocka_unit_test(a_step_in_halves_is_a_step),
        cmocka_unit_test(epochs_and_evaluation),
        cmocka_unit_test(killed_runner_is_a_crash),
        cmocka_unit_test(divergence_is_no_crash),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(the_end_is_quiet),
    };
    return cmocka_run_group_tests(tests, make_dataset, close_dataset);
}
