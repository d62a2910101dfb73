/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions of the master's core under trouble that a seed chooses: nodes die, come back, say HELLO again, crash, fall silent, the
 * master dies, store, disk and memory fail. Every session ends, with the outcome that it has without all this; nobody stays locked. A failure
 * prints its seed. */
#include <stdio.h>
#include <stdlib.h>

#include "session_fixture.h"

#define TROUBLES 8

static const struct cpn_id session = { { 1, 0, 0, 0, 77 } };

static unsigned dice(unsigned *seed, unsigned sides)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % sides;
}

static void hello_again(struct network *n, unsigned i, bool control, bool bulk)
{
    struct trainer *t = &n->t[i];
    if (control) {
        struct cpni_rec_TEXT backend = { .text = cpni_str("train.dnn 1.0") };
        struct cpni_msg hello = worker_hello(&t->control, 2, NULL, 0);
        hello.hello.backends = &backend;
        hello.hello.backends_count = 1;
        say(&n->f, &t->control, hello);
        const struct cpni_msg *welcome = sent(&n->f, &t->control, CPNI_MSG_WELCOME, 0);
        t->control.link = welcome != NULL ? welcome->welcome.link : t->control.link;
        take_sends(n);
    }
    if (bulk) {
        struct cpni_event broken = { .type = CPNI_EV_DISCONNECTED, .lost = { .conn = t->bulk.conn } };
        step(&n->f, &broken);
        take_sends(n);
        struct cpni_msg hello = hello_of(&t->bulk, CPNI_KIND_WORKER);
        hello.hello.channel = CPNI_CHANNEL_BULK;
        t->bulk.sequence = 0;
        say(&n->f, &t->bulk, hello);
        const struct cpni_msg *welcome = sent(&n->f, &t->bulk, CPNI_MSG_WELCOME, 0);
        t->bulk.link = welcome != NULL ? welcome->welcome.link : t->bulk.link;
        take_sends(n);
    }
}

static void trouble(struct network *n, unsigned *seed)
{
    unsigned i = dice(seed, n->count);
    struct trainer *t = &n->t[i];
    switch (dice(seed, 11)) {
    case 0:
        if (t->up) {
            trainer_down(n, i);
        }
        break;
    case 1:
        if (!t->up) {
            trainer_up(n, i, t->boot + 1, NULL);
        }
        break;
    case 2:
        if (t->up) { /* its next process, before anybody knows that the last one died */
            trainer_up(n, i, t->boot + 1, NULL);
        }
        break;
    case 3:
        if (t->up) {
            hello_again(n, i, true, dice(seed, 2) == 0);
        }
        break;
    case 4:
        if (t->up) {
            hello_again(n, i, false, true);
        }
        break;
    case 5:
        n->cut_replies += 1 + dice(seed, 3);
        break;
    case 6:
        master_dies(n, &session);
        break;
    case 7:
        n->answer_code = dice(seed, 2) == 0 ? CPN_ECRASHED : CPN_ENOSPC;
        n->answer_round = look(n)->round + 1;
        break;
    case 8:
        n->f.arm = 1 + dice(seed, 60);
        break;
    case 9:
        n->hold_store = !n->hold_store;
        break;
    default:
        n->hold_disk = !n->hold_disk;
        break;
    }
}

static void settle(struct network *n)
{
    n->hold_store = n->hold_disk = false;
    n->answer_code = 0;
    n->f.arm = 0;
    for (unsigned i = 0; i < n->count; i++) {
        if (!n->t[i].up) {
            trainer_up(n, i, n->t[i].boot + 1, NULL);
        }
    }
    for (unsigned i = 0; i < 200; i++) {
        train_on(n, 100000);
        seconds(n, 1);
        while (n->f.failed) {
            all_again(n, &session);
        }
        if (look(n)->state >= CPNI_SESSION_COMPLETED) {
            pump(n);
            look(n);
            return;
        }
    }
}

static void run(const char *spec, uint64_t steps, unsigned seed, float wanted, uint32_t lane)
{
    struct network n;
    unsigned rolls = seed;
    network_open(&n, 4);
    n.steps = steps;
    n.lanes = 2;
    n.seed = seed;
    n.gaps = strstr(spec, "quorum") != NULL; /* then what it comes to depends on who was late */
    start(&n, spec);
    for (unsigned i = 0; i < TROUBLES && look(&n)->state < CPNI_SESSION_COMPLETED; i++) {
        train_on(&n, dice(&rolls, steps != 0 ? 40 : 6));
        n.f.arm = 0;
        while (n.f.failed) {
            all_again(&n, &session);
        }
        if (look(&n)->state < CPNI_SESSION_COMPLETED) {
            trouble(&n, &rolls);
        }
    }
    settle(&n);
    assert_false(is_removed(&n, &n.row.weights_root));
    bool same = n.gaps || (n.outcome[0] == wanted && n.outcome[VALUES - 1] == wanted);
    bool good = n.row.state == CPNI_SESSION_COMPLETED && n.row.lane == lane && n.row.locked == 0 && (lane != UINT32_MAX || same);
    if (!good) {
        fail_msg("seed %u: state %u, lane %u, value %g (not %g): %s", seed, n.row.state, n.row.lane, (double)n.outcome[0], (double)wanted, n.text);
    }
    all_released(&n);
    network_close(&n);
}

static unsigned first_seed(void)
{
    const char *text = getenv("CPN_TEST_SEED");
    return text != NULL ? (unsigned)atoi(text) : 1;
}

static unsigned seeds(void)
{
    const char *text = getenv("CPN_TEST_SEEDS");
    return text != NULL ? (unsigned)atoi(text) : 300;
}

static void average_in_trouble(void **state)
{
    (void)state;
    float wanted = 0;
    for (unsigned r = 1; r <= 8; r++) {
        wanted += (float)r + 0.5f;
    }
    for (unsigned seed = first_seed(); seed < first_seed() + seeds(); seed++) {
        run("mode average\ntrainer dnn\npeers 2\nlocal-steps 10\ncheckpoint 3\nlane batch=10,epochs=2\n", 0, seed, wanted, UINT32_MAX);
    }
}

static void quorum_in_trouble(void **state)
{
    (void)state;
    for (unsigned seed = first_seed(); seed < first_seed() + seeds(); seed++) {
        run("mode average\ntrainer dnn\npeers 3\nlocal-steps 10\ncheckpoint 2\nquorum 2\nlane batch=10,epochs=2\n", 0, seed, 0, UINT32_MAX);
    }
}

static void int8_in_trouble(void **state)
{
    (void)state;
    const char *spec = "mode average\ntrainer dnn\npeers 2\nlocal-steps 10\ncheckpoint 2\nencoding int8\nlane batch=10,epochs=2\n";
    struct network n;
    network_open(&n, 2);
    start(&n, spec);
    train_on(&n, 1000);
    assert_int_equal(look(&n)->state, CPNI_SESSION_COMPLETED);
    float wanted = n.outcome[0];
    assert_true(wanted > 39.9f && wanted < 40.1f);
    network_close(&n);
    for (unsigned seed = first_seed(); seed < first_seed() + seeds(); seed++) {
        run(spec, 0, seed, wanted, UINT32_MAX);
    }
}

static void sync_in_trouble(void **state)
{
    (void)state;
    struct network rule = { .mode = 's', .steps = 20, .lanes = 2 };
    for (unsigned seed = first_seed(); seed < first_seed() + seeds(); seed++) {
        run("mode sync\ntrainer dnn\npeers 2\nlocal-steps 20\ncheckpoint 1\nlane batch=10,epochs=2\n", 20, seed, restored(&rule, 0, 4), UINT32_MAX);
    }
}

static void sweep_in_trouble(void **state)
{
    (void)state;
    for (unsigned seed = first_seed(); seed < first_seed() + seeds(); seed++) {
        run("mode sweep\ntrainer dnn\npeers 2\ncheckpoint 1\nlane epochs=3\nlane epochs=4\nlane epochs=3\nlane epochs=2\n", 0, seed, 0, 3);
        run("mode sweep\ntrainer dnn\npeers 2\ncheckpoint 1\nhalving 1\nlane epochs=5\nlane epochs=5\nlane epochs=5\nlane epochs=5\n", 0, seed, 0, 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(average_in_trouble),
        cmocka_unit_test(quorum_in_trouble),
        cmocka_unit_test(int8_in_trouble),
        cmocka_unit_test(sync_in_trouble),
        cmocka_unit_test(sweep_in_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
