/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the tests of the state store share: a state in a directory of its own, commands by name, waiting for answers. */
#ifndef TESTS_STATE_FIXTURE_H
#define TESTS_STATE_FIXTURE_H

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "store/state.h"

#include "tempdir.h"

struct state_fixture {
    char dir[128];
    char store[160];
    struct cpni_state *state;
    struct cpni_state_options options;
};

static inline struct cpn_key key_of(int n)
{
    struct cpn_key key;
    memset(&key, 0, sizeof key);
    snprintf((char *)key.bytes, sizeof key.bytes, "key %d", n);
    return key;
}

static inline void state_fixture_open(struct state_fixture *f)
{
    char detail[CPNI_STATE_DETAIL] = "";
    int rc = cpni_state_open(f->store, &f->options, &f->state, detail);
    if (rc < 0) {
        print_message("%s\n", detail);
    }
    assert_int_equal(rc, 0);
}

static inline void state_fixture_begin(struct state_fixture *f)
{
    assert_non_null(tempdir_make(f->dir));
    snprintf(f->store, sizeof f->store, "%s/state", f->dir);
    f->options.create = true;
    state_fixture_open(f);
    assert_int_equal(cpni_state_start(f->state), 0);
}

static inline void state_fixture_reopen(struct state_fixture *f)
{
    cpni_state_close(f->state);
    f->state = NULL;
    state_fixture_open(f);
}

static inline void state_fixture_end(struct state_fixture *f)
{
    cpni_state_close(f->state);
    tempdir_remove(f->dir);
    cpni_free(f);
}

static inline void wait_answer(struct cpni_state *state, struct cpni_state_answer *answer)
{
    while (cpni_state_pop(state, answer) == 0) {
        struct pollfd wait = { .fd = cpni_state_fd(state), .events = POLLIN };
        assert_int_equal(poll(&wait, 1, 60000), 1);
    }
}

/* Submits and waits. */
static inline struct cpni_commit commit_keyed(
    struct cpni_state *state, const struct cpni_command_key *key, const struct cpni_command *command)
{
    struct cpni_state_answer answer;
    uint64_t ticket = 0;
    assert_int_equal(cpni_state_submit(state, key, command, &ticket), 0);
    wait_answer(state, &answer);
    assert_int_equal(answer.ticket, ticket);
    assert_int_equal(answer.type, command->type);
    return answer.commit;
}

static inline struct cpni_commit commit(struct cpni_state *state, const struct cpni_command *command)
{
    return commit_keyed(state, NULL, command);
}

#define COMMAND(name, member, ...) ((struct cpni_command) { .type = CPNI_COMMAND_##name, .u.member = { __VA_ARGS__ } })

#define assert_committed(result, wanted)                                                                               \
    do {                                                                                                               \
        struct cpni_commit got_ = (result);                                                                            \
        assert_int_equal(got_.status, CPNI_COMMITTED);                                                                 \
        assert_int_equal(got_.number, wanted);                                                                         \
    } while (0)

#define assert_rejected(result, wanted)                                                                                \
    do {                                                                                                               \
        struct cpni_commit got_ = (result);                                                                            \
        assert_int_equal(got_.status, CPNI_REJECTED);                                                                  \
        assert_int_equal(got_.code, wanted);                                                                           \
        assert_true(got_.text[0] != 0);                                                                                \
    } while (0)

#endif
