/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* store/state: every command, its answer, and what a restart finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../lib/state_fixture.h"

static int setup(void **state)
{
    struct state_fixture *f = cpni_calloc(1, sizeof *f);
    state_fixture_begin(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    state_fixture_end(*state);
    return 0;
}

/* Everything that recovery hands out, as text, so that a test compares two states or looks for a line. */
struct dump {
    char text[131072];
    size_t size;
    int events;
};

static void line(struct dump *dump, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(struct dump *dump, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(dump->text + dump->size, sizeof dump->text - dump->size, format, list);
    va_end(list);
    dump->size += (size_t)n;
    assert_true(dump->size < sizeof dump->text);
}

static int dump_term(void *arg, uint64_t term)
{
    line(arg, "term %llu\n", (unsigned long long)term);
    return 0;
}

static int dump_identity(void *arg, const struct cpni_state_identity *row)
{
    const struct cpni_state_stats *s = &row->stats;
    line(arg, "identity %s %s %s%s at %lld: %llu %llu %llu %llu %llu %llu %llu first %lld last %lld caps %s\n",
        (const char *)row->key.bytes, cpn_role_name(row->role), row->name, row->revoked ? " revoked" : "",
        (long long)row->enrolled_wall_us, (unsigned long long)s->tasks, (unsigned long long)s->failures,
        (unsigned long long)s->busy_us, (unsigned long long)s->bytes_in, (unsigned long long)s->bytes_out,
        (unsigned long long)s->joins, (unsigned long long)s->losses, (long long)s->first_join_wall_us,
        (long long)s->last_seen_wall_us, row->capabilities == NULL ? "-" : row->capabilities);
    return 0;
}

static int dump_right(void *arg, const struct cpni_state_right *row)
{
    line(arg, "right %s %s\n", (const char *)row->key.bytes, row->right);
    return 0;
}

static int dump_signer(void *arg, const struct cpni_state_signer *row)
{
    line(arg, "signer %s %s\n", (const char *)row->key.bytes, (const char *)row->signer.bytes);
    return 0;
}

static int dump_token(void *arg, const struct cpni_state_token *row)
{
    line(arg, "token %s %s '%s' until %lld, %u\n", (const char *)row->token.bytes, cpn_role_name(row->role), row->hint,
        (long long)row->expires_wall_us, row->uses_left);
    return 0;
}

static int dump_model(void *arg, const struct cpni_state_model *row)
{
    line(arg, "model %s@%u %.*s by %s %d bytes %llu at %lld root %d\n", row->name, row->version,
        (int)row->manifest_size, (const char *)row->manifest, (const char *)row->signer.bytes, row->signature.bytes[0],
        (unsigned long long)row->bytes, (long long)row->wall_us, row->manifest_root.bytes[0]);
    return 0;
}

static int dump_parked(void *arg, const struct cpni_state_parked *row)
{
    line(arg, "parked %d %s %s %u '%s' at %lld\n", row->parked.task.bytes[0], row->parked.model,
        (const char *)row->parked.user.bytes, row->parked.attempts, row->parked.text, (long long)row->parked.wall_us);
    return 0;
}

static int dump_event(void *arg, const struct cpni_state_event *row)
{
    struct dump *dump = arg;
    const struct cpni_command_event *e = &row->event;
    if (dump->events++ < 20) {
        line(arg, "event %llu %lld %s %d %s %d %s '%s'\n", (unsigned long long)row->number, (long long)e->wall_us,
            e->id, e->level, (const char *)e->node.bytes, e->task.bytes[0], e->model, e->text);
    }
    return 0;
}

static const struct cpni_state_reader reader
    = { dump_term, dump_identity, dump_right, dump_signer, dump_token, dump_model, dump_parked, dump_event, NULL, 0 };

/* Reopens and reads; starts again. */
static void recover(struct state_fixture *f, struct dump *dump)
{
    memset(dump, 0, sizeof *dump);
    state_fixture_reopen(f);
    assert_int_equal(cpni_state_recover(f->state, &reader, dump), 0);
    assert_int_equal(cpni_state_start(f->state), 0);
}

static void assert_line(const struct dump *dump, const char *wanted)
{
    if (strstr(dump->text, wanted) == NULL) {
        fail_msg("no line '%s' in:\n%s", wanted, dump->text);
    }
}

static void terms_grow(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_command raise = COMMAND(TERM_RAISE, term_raise, .wall_us = 1);
    struct dump dump;
    assert_committed(commit(f->state, &raise), 1);
    assert_committed(commit(f->state, &raise), 2);
    struct cpn_id cluster = cpni_state_cluster(f->state);
    recover(f, &dump);
    assert_line(&dump, "term 2\n");
    assert_committed(commit(f->state, &raise), 3);
    struct cpn_id again = cpni_state_cluster(f->state);
    assert_memory_equal(&cluster, &again, sizeof again);
}

static void tokens_admit_and_run_out(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_command c = COMMAND(TOKEN_ADD, token_add, .token = key_of(100), .role = CPN_ROLE_NODE, .hint = "lab",
        .expires_wall_us = 5000000, .uses = 2, .wall_us = 1);
    assert_committed(commit(f->state, &c), 0);
    assert_rejected(commit(f->state, &c), CPN_EEXISTS);
    struct cpni_command enrol = COMMAND(
        IDENTITY_ENROL, identity_enrol, .token = key_of(100), .key = key_of(1), .name = "w", .wall_us = 4000000);
    struct cpni_commit got = commit(f->state, &enrol);
    assert_int_equal(got.status, CPNI_COMMITTED);
    assert_int_equal(got.number, CPN_ROLE_NODE);
    assert_string_equal(got.text, "w");
    got = commit(f->state, &enrol); /* the answer was lost: again, and no second use */
    assert_string_equal(got.text, "w");
    enrol.u.identity_enrol.key = key_of(2);
    enrol.u.identity_enrol.role = CPN_ROLE_ADMIN;
    assert_rejected(commit(f->state, &enrol), CPN_ETOKEN);
    enrol.u.identity_enrol.role = CPN_ROLE_NODE;
    enrol.u.identity_enrol.wall_us = 5000000;
    assert_rejected(commit(f->state, &enrol), CPN_ETOKEN); /* expired */
    enrol.u.identity_enrol.wall_us = 4000000;
    got = commit(f->state, &enrol);
    assert_string_equal(got.text, "w-2");
    enrol.u.identity_enrol.key = key_of(3);
    got = commit(f->state, &enrol);
    assert_rejected(got, CPN_ETOKEN);
    assert_non_null(strstr(got.text, "used up"));
    enrol.u.identity_enrol.key = key_of(1); /* enrolled before it was used up */
    assert_int_equal(commit(f->state, &enrol).status, CPNI_COMMITTED);
    enrol.u.identity_enrol.key = key_of(3);
    enrol.u.identity_enrol.token = key_of(101);
    assert_rejected(commit(f->state, &enrol), CPN_ETOKEN); /* unknown */
    c.u.token_add = (struct cpni_command_token_add) { .token = key_of(101), .role = CPN_ROLE_USER, .uses = 1 };
    assert_committed(commit(f->state, &c), 0);
    struct cpni_command revoke = COMMAND(TOKEN_REVOKE, token_revoke, .token = key_of(101));
    assert_committed(commit(f->state, &revoke), 0);
    assert_rejected(commit(f->state, &enrol), CPN_ETOKEN); /* revoked */
    revoke.u.token_revoke.token = key_of(102);
    assert_rejected(commit(f->state, &revoke), CPN_ENOTFOUND);
    c.u.token_add = (struct cpni_command_token_add) { .token = key_of(103), .role = CPN_ROLE_USER, .uses = 7 };
    assert_committed(commit(f->state, &c), 0);
    struct dump dump;
    recover(f, &dump);
    assert_line(&dump, "identity key 1 node w at 4000000: 0 0");
    assert_line(&dump, "identity key 2 node w-2 at");
    assert_line(&dump, "token key 103 user '' until 0, 7\n");
    assert_null(strstr(dump.text, "token key 100"));
    assert_null(strstr(dump.text, "token key 101"));
}

static void add_identity(struct state_fixture *f, int n, enum cpn_role role, const char *name)
{
    struct cpni_command c = COMMAND(IDENTITY_ADD, identity_add, .key = key_of(n), .role = role, .wall_us = 9);
    snprintf(c.u.identity_add.name, sizeof c.u.identity_add.name, "%s", name);
    assert_int_equal(commit(f->state, &c).status, CPNI_COMMITTED);
}

static void identities_are_revoked_and_renamed(void **state)
{
    struct state_fixture *f = *state;
    add_identity(f, 1, CPN_ROLE_ADMIN, "");
    add_identity(f, 1, CPN_ROLE_ADMIN, "again");
    add_identity(f, 2, CPN_ROLE_NODE, "ann");
    struct cpni_command c = COMMAND(IDENTITY_ADD, identity_add, .key = key_of(2), .role = CPN_ROLE_USER);
    assert_rejected(commit(f->state, &c), CPN_EEXISTS);
    c = COMMAND(IDENTITY_RENAME, identity_rename, .key = key_of(2), .name = "admin");
    assert_rejected(commit(f->state, &c), CPN_EEXISTS);
    c = COMMAND(IDENTITY_RENAME, identity_rename, .key = key_of(2), .name = "");
    assert_rejected(commit(f->state, &c), CPN_EINVAL);
    c = COMMAND(IDENTITY_RENAME, identity_rename, .key = key_of(5), .name = "x");
    assert_rejected(commit(f->state, &c), CPN_ENOTFOUND);
    c = COMMAND(IDENTITY_RENAME, identity_rename, .key = key_of(2), .name = "bob");
    assert_committed(commit(f->state, &c), 0);
    assert_committed(commit(f->state, &c), 0);
    c = COMMAND(IDENTITY_REVOKE, identity_revoke, .key = key_of(5));
    assert_rejected(commit(f->state, &c), CPN_ENOTFOUND);
    c = COMMAND(IDENTITY_REVOKE, identity_revoke, .key = key_of(2));
    assert_committed(commit(f->state, &c), 0);
    assert_committed(commit(f->state, &c), 0);
    c = COMMAND(IDENTITY_ADD, identity_add, .key = key_of(2), .role = CPN_ROLE_NODE);
    assert_rejected(commit(f->state, &c), CPN_EKEY);
    add_identity(f, 3, CPN_ROLE_NODE, "bob"); /* the name is free again */
    struct dump dump;
    recover(f, &dump);
    assert_line(&dump, "identity key 1 admin admin at 9");
    assert_line(&dump, "identity key 2 node bob revoked at 9");
    assert_line(&dump, "identity key 3 node bob at 9");
}

/* A wish as long as a name may be, cut where its number goes, at a letter. */
static void long_names_are_cut(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_command c = COMMAND(IDENTITY_ADD, identity_add, .role = CPN_ROLE_NODE);
    char *name = c.u.identity_add.name;
    for (size_t i = 0; i + 3 <= CPNI_NAME; i += 2) {
        memcpy(name + i, "\xc3\xa9", 3); /* e acute */
    }
    for (int n = 0; n < 12; n++) {
        c.u.identity_add.key = key_of(n);
        struct cpni_commit got = commit(f->state, &c);
        assert_int_equal(got.status, CPNI_COMMITTED);
        assert_true(strlen(got.text) < CPNI_NAME);
        char *dash = strchr(got.text, '-');
        assert_true((dash != NULL) == (n > 0));
        assert_int_equal((dash != NULL ? (size_t)(dash - got.text) : strlen(got.text)) % 2, 0);
    }
}

static struct cpni_command model(int signer, const char *name, uint8_t root, const char *manifest)
{
    struct cpni_command c = COMMAND(MODEL_ADD, model_add, .manifest = { { root } }, .signer = key_of(signer),
        .signature = { { 7 } }, .bytes = 99, .wall_us = 5);
    snprintf(c.u.model_add.name, sizeof c.u.model_add.name, "%s", name);
    c.payload = cpni_bytes_copy(manifest, strlen(manifest));
    return c;
}

static struct cpni_commit add_model(struct state_fixture *f, int signer, const char *name, uint8_t root)
{
    struct cpni_command c = model(signer, name, root, "{}");
    struct cpni_commit got = commit(f->state, &c);
    cpni_bytes_unref(c.payload);
    return got;
}

static void versions_are_never_given_twice(void **state)
{
    struct state_fixture *f = *state;
    add_identity(f, 1, CPN_ROLE_ADMIN, "root");
    add_identity(f, 2, CPN_ROLE_USER, "ann");
    assert_rejected(add_model(f, 11, "faces", 1), CPN_EDENIED);
    struct cpni_command c = COMMAND(SIGNER_ADD, signer_add, .key = key_of(1), .signer = key_of(11));
    assert_committed(commit(f->state, &c), 0);
    assert_committed(commit(f->state, &c), 0);
    c.u.signer_add.key = key_of(2);
    assert_rejected(commit(f->state, &c), CPN_EEXISTS);
    c.u.signer_add.signer = key_of(12);
    assert_committed(commit(f->state, &c), 0);
    c.u.signer_add.key = key_of(9);
    assert_rejected(commit(f->state, &c), CPN_ENOTFOUND);

    assert_committed(add_model(f, 11, "faces", 1), 1);
    assert_committed(add_model(f, 11, "faces", 1), 1);
    assert_committed(add_model(f, 11, "faces", 2), 2);
    assert_committed(add_model(f, 11, "people", 1), 1);
    c = COMMAND(MODEL_REMOVE, model_remove, .name = "faces", .version = 2);
    assert_committed(commit(f->state, &c), 0);
    assert_rejected(commit(f->state, &c), CPN_ENOTFOUND);
    assert_committed(add_model(f, 11, "faces", 2), 3);

    assert_rejected(add_model(f, 12, "faces", 4), CPN_EDENIED);
    c = COMMAND(RIGHT_GRANT, right_grant, .key = key_of(2), .right = "publish");
    assert_committed(commit(f->state, &c), 0);
    assert_committed(commit(f->state, &c), 0);
    assert_committed(add_model(f, 12, "faces", 4), 4);
    struct dump dump;
    recover(f, &dump);
    assert_line(&dump, "right key 2 publish\n");
    assert_line(&dump, "signer key 1 key 11\nsigner key 2 key 12\n");
    assert_line(&dump,
        "model faces@1 {} by key 11 7 bytes 99 at 5 root 1\nmodel faces@3 {} by key 11 7 bytes 99 at 5 root 2\n"
        "model faces@4 {} by key 12 7 bytes 99 at 5 root 4\nmodel people@1");
    c = COMMAND(RIGHT_REVOKE, right_revoke, .key = key_of(2), .right = "publish");
    assert_committed(commit(f->state, &c), 0);
    assert_rejected(add_model(f, 12, "faces", 5), CPN_EDENIED);
    c = COMMAND(IDENTITY_REVOKE, identity_revoke, .key = key_of(1));
    assert_committed(commit(f->state, &c), 0);
    assert_rejected(add_model(f, 11, "faces", 6), CPN_EDENIED);
}

static void history_adds_up(void **state)
{
    struct state_fixture *f = *state;
    add_identity(f, 1, CPN_ROLE_NODE, "w");
    add_identity(f, 2, CPN_ROLE_USER, "u");
    struct cpni_command c = COMMAND(NODE_STATS, node_stats, .key = key_of(1), .joins = 1, .last_seen_wall_us = 100);
    c.payload = cpni_bytes_copy("4 cores", 7);
    assert_committed(commit(f->state, &c), 0);
    cpni_bytes_unref(c.payload);
    c = COMMAND(NODE_STATS, node_stats, .key = key_of(1), .tasks = 5, .failures = 1, .busy_us = 1000, .bytes_in = 70,
        .bytes_out = 80, .joins = 1, .losses = 1, .last_seen_wall_us = 300);
    assert_committed(commit(f->state, &c), 0);
    assert_committed(commit(f->state, &c), 0);
    c.u.node_stats = (struct cpni_command_node_stats) { .key = key_of(3), .tasks = 1 };
    assert_rejected(commit(f->state, &c), CPN_ENOTFOUND);
    c = COMMAND(USER_STATS, user_stats, .key = key_of(2), .tasks = UINT64_MAX, .bytes_in = UINT64_MAX);
    for (int i = 0; i < 5; i++) {
        assert_committed(commit(f->state, &c), 0);
    }
    struct dump dump;
    recover(f, &dump);
    assert_line(&dump, "node w at 9: 10 2 2000 140 160 3 2 first 100 last 300 caps 4 cores\n");
    assert_line(&dump, "user u at 9: 4611686018427387904 0 0 4611686018427387904 0 0 0 first 0 last 0 caps -\n");
}

static void submit_event(struct state_fixture *f, int n)
{
    struct cpni_command c = COMMAND(EVENT, event, .wall_us = n, .level = (uint8_t)(n % 5),
        .task = { { (uint8_t)(n % 7) } }, .node = n % 3 == 0 ? key_of(1) : (struct cpn_key) { { 0 } });
    snprintf(c.u.event.id, sizeof c.u.event.id, "CPN-%d", n % 2);
    snprintf(c.u.event.text, sizeof c.u.event.text, "event %d", n);
    assert_int_equal(cpni_state_submit(f->state, NULL, &c, NULL), 0);
}

static void query(
    struct state_fixture *f, const struct cpni_state_filter *filter, uint32_t limit, struct cpni_state_answer *answer)
{
    uint64_t ticket;
    assert_int_equal(cpni_state_query_events(f->state, filter, limit, &ticket), 0);
    do {
        wait_answer(f->state, answer);
    } while (!answer->query);
    assert_int_equal(answer->ticket, ticket);
    assert_int_equal(answer->commit.status, CPNI_COMMITTED);
}

static void the_ring_keeps_the_newest(void **state)
{
    struct state_fixture *f = *state;
    struct dump dump;
    f->options.events_max = 50;
    recover(f, &dump);
    for (int n = 1; n <= 420; n++) {
        submit_event(f, n);
    }
    struct cpni_state_answer answer;
    struct cpni_state_filter all = { .before = 0 };
    query(f, &all, 1000, &answer); /* submitted after them, so it sees them all */
    assert_int_equal(answer.events_count, 50);
    assert_int_equal(answer.events[0].number, 420);
    assert_int_equal(answer.events[49].number, 371);
    assert_string_equal(answer.events[49].event.text, "event 371");
    cpni_state_answer_clear(&answer);
    recover(f, &dump);
    assert_int_equal(dump.events, 50);
    assert_line(&dump, "event 371 371 CPN-1 1  0  'event 371'\n");
}

static void events_are_found(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_state_answer answer;
    for (int n = 1; n <= 210; n++) {
        submit_event(f, n);
    }
    struct cpni_state_filter filter = { .task = { { 3 } } };
    query(f, &filter, 1000, &answer);
    assert_int_equal(answer.events_count, 30);
    cpni_state_answer_clear(&answer);
    filter.node = key_of(1);
    query(f, &filter, 1000, &answer);
    assert_int_equal(answer.events_count, 10);
    for (size_t i = 0; i < answer.events_count; i++) {
        assert_true(answer.events[i].number % 7 == 3 && answer.events[i].number % 3 == 0);
    }
    cpni_state_answer_clear(&answer);
    filter = (struct cpni_state_filter) { .node = key_of(1), .id = "CPN-1", .level_min = 4, .since_wall_us = 100 };
    query(f, &filter, 1000, &answer);
    for (size_t i = 0; i < answer.events_count; i++) {
        uint64_t n = answer.events[i].number;
        assert_true(n % 3 == 0 && n % 2 == 1 && n % 5 == 4 && n >= 100);
    }
    assert_int_equal(answer.events_count, 3); /* 129, 159, 189 */
    cpni_state_answer_clear(&answer);
    filter = (struct cpni_state_filter) { .before = 50 };
    query(f, &filter, 3, &answer);
    assert_int_equal(answer.events_count, 3);
    assert_int_equal(answer.events[0].number, 49);
    cpni_state_answer_clear(&answer);
    filter = (struct cpni_state_filter) { .after = 45, .before = 50 };
    query(f, &filter, 100, &answer);
    assert_int_equal(answer.events_count, 4);
    assert_int_equal(answer.events[3].number, 46);
    cpni_state_answer_clear(&answer);
    filter = (struct cpni_state_filter) { .model = "none" };
    query(f, &filter, 3, &answer);
    assert_int_equal(answer.events_count, 0);
    static const char *const models[] = { "faces@1", "faces@12", "facesofcats@1" };
    for (size_t i = 0; i < 3; i++) {
        struct cpni_command c = COMMAND(EVENT, event, .id = "CPN-MODEL-READY", .level = 1);
        strcpy(c.u.event.model, models[i]);
        assert_int_equal(cpni_state_submit(f->state, NULL, &c, NULL), 0);
    }
    filter = (struct cpni_state_filter) { .model = "faces" }; /* all its versions */
    query(f, &filter, 100, &answer);
    assert_int_equal(answer.events_count, 2);
    cpni_state_answer_clear(&answer);
    filter = (struct cpni_state_filter) { .model = "faces@1" };
    query(f, &filter, 100, &answer);
    assert_int_equal(answer.events_count, 1);
    cpni_state_answer_clear(&answer);
}

static void poison_evidence_is_kept(void **state)
{
    struct state_fixture *f = *state;
    struct dump dump;
    for (int n = 0; n < CPNI_PARKED_MAX + 5; n++) {
        struct cpni_command c = COMMAND(TASK_PARKED, task_parked, .task = { { (uint8_t)n, (uint8_t)(n >> 8) } },
            .model = "faces@1", .user = key_of(4), .attempts = 3, .text = "SIGSEGV", .wall_us = n);
        assert_int_equal(cpni_state_submit(f->state, NULL, &c, NULL), 0);
    }
    while (cpni_state_pending(f->state) != 0) {
        struct cpni_state_answer answer;
        wait_answer(f->state, &answer);
        assert_int_equal(answer.commit.status, CPNI_COMMITTED);
    }
    struct cpni_state_reader parked = { .parked = dump_parked };
    memset(&dump, 0, sizeof dump);
    state_fixture_reopen(f);
    int rc = cpni_state_recover(f->state, &parked, &dump);
    assert_int_equal(rc, 0);
    size_t lines = 0;
    for (const char *at = dump.text; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    assert_int_equal(lines, CPNI_PARKED_MAX);
    assert_line(&dump, "parked 5 faces@1 key 4 3 'SIGSEGV' at 5\n");
    assert_null(strstr(dump.text, " at 4\n"));
}

static void a_retry_is_answered_not_repeated(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_command raise = COMMAND(TERM_RAISE, term_raise, .wall_us = 1);
    struct cpni_command_key key = { .client = key_of(1), .sequence = 1 };
    assert_committed(commit_keyed(f->state, &key, &raise), 1);
    assert_committed(commit_keyed(f->state, &key, &raise), 1);
    struct dump dump;
    recover(f, &dump);
    assert_committed(commit_keyed(f->state, &key, &raise), 1);
    key.client = key_of(2);
    assert_committed(commit_keyed(f->state, &key, &raise), 2);
    key.sequence = 3; /* the network may bring 3 before 2 */
    assert_committed(commit_keyed(f->state, &key, &raise), 3);
    key.sequence = 2;
    assert_committed(commit_keyed(f->state, &key, &raise), 4);
    struct cpni_command bad = COMMAND(IDENTITY_REVOKE, identity_revoke, .key = key_of(9));
    key.sequence = 4;
    assert_rejected(commit_keyed(f->state, &key, &bad), CPN_ENOTFOUND);
    add_identity(f, 9, CPN_ROLE_NODE, "late");
    assert_rejected(commit_keyed(f->state, &key, &bad), CPN_ENOTFOUND); /* as the first time */
    for (uint64_t i = 1; i < CPNI_STATE_KEYS_PER_CLIENT; i++) {
        key.sequence = INT64_MAX - 7 * i; /* in no order: they are of several processes */
        assert_committed(commit_keyed(f->state, &key, &raise), 4 + i);
    }
    key.sequence = 4;
    assert_rejected(commit_keyed(f->state, &key, &bad), CPN_ENOTFOUND);
    key.sequence = 5;
    assert_committed(commit_keyed(f->state, &key, &raise), 4 + CPNI_STATE_KEYS_PER_CLIENT);
    key.sequence = 4;
    assert_committed(commit_keyed(f->state, &key, &bad), 0); /* it was the oldest one and is forgotten */
}

static void answers_come_in_order(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_command raise = COMMAND(TERM_RAISE, term_raise, .wall_us = 1);
    uint64_t first = 0, ticket = 0;
    for (int i = 0; i < 20000; i++) {
        if (i % 1000 == 7) {
            struct cpni_state_filter all = { .before = 0 };
            assert_int_equal(cpni_state_query_events(f->state, &all, 1, &ticket), 0);
        } else {
            assert_int_equal(cpni_state_submit(f->state, NULL, &raise, &ticket), 0);
        }
        first = first == 0 ? ticket : first;
    }
    uint64_t term = 0;
    for (uint64_t expected = first; expected <= ticket; expected++) {
        struct cpni_state_answer answer;
        wait_answer(f->state, &answer);
        assert_int_equal(answer.ticket, expected);
        assert_int_equal(answer.query, (expected - first) % 1000 == 7);
        if (!answer.query) {
            assert_int_equal(answer.commit.number, ++term);
        }
        cpni_state_answer_clear(&answer);
    }
    assert_int_equal(cpni_state_pending(f->state), 0);
}

static void what_is_malformed_is_not_taken(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_command c = { .type = CPNI_COMMAND_NONE };
    assert_int_equal(cpni_state_submit(f->state, NULL, &c, NULL), CPN_EINVAL);
    c.type = CPNI_COMMAND_TYPES;
    assert_int_equal(cpni_state_submit(f->state, NULL, &c, NULL), CPN_EINVAL);
    c = COMMAND(TERM_RAISE, term_raise, .wall_us = 1);
    struct cpni_command_key key = { .sequence = UINT64_MAX };
    assert_int_equal(cpni_state_submit(f->state, &key, &c, NULL), CPN_EINVAL);
    c.payload = cpni_bytes_copy("x", 1);
    assert_int_equal(cpni_state_submit(f->state, NULL, &c, NULL), CPN_EINVAL);
    cpni_bytes_unref(c.payload);
    uint8_t *big = cpni_calloc(1, CPNI_MANIFEST_BYTES_MAX + 1);
    c = COMMAND(MODEL_ADD, model_add, .name = "m");
    c.payload = cpni_bytes_take(big, CPNI_MANIFEST_BYTES_MAX + 1);
    assert_int_equal(cpni_state_submit(f->state, NULL, &c, NULL), CPN_EINVAL);
    cpni_bytes_unref(c.payload);
    assert_int_equal(cpni_state_pending(f->state), 0);
}

/* Texts are values, never SQL. */
static void quotes_are_harmless(void **state)
{
    struct state_fixture *f = *state;
    struct dump dump;
    add_identity(f, 1, CPN_ROLE_NODE, "x'); DROP TABLE identity; --");
    struct cpni_state_filter filter = { .id = "' OR 1=1 --" };
    struct cpni_state_answer answer;
    submit_event(f, 1);
    query(f, &filter, 10, &answer);
    assert_int_equal(answer.events_count, 0);
    recover(f, &dump);
    assert_line(&dump, "identity key 1 node x'); DROP TABLE identity; -- at 9");
}

/* ---- The directory ---- */

static int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *format, ...)
{
    char command[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(command, sizeof command, format, list);
    va_end(list);
    return system(command);
}

static void assert_refused(struct state_fixture *f, const char *dir, int code, const char *says)
{
    char detail[CPNI_STATE_DETAIL] = "";
    struct cpni_state *state = NULL;
    assert_int_equal(cpni_state_open(dir, &f->options, &state, detail), code);
    assert_null(state);
    if (strstr(detail, says) == NULL || strstr(detail, dir) == NULL) {
        fail_msg("'%s' says nothing of '%s'", detail, says);
    }
}

static void an_empty_directory_is_not_a_state(void **state)
{
    struct state_fixture *f = *state;
    char dir[160];
    snprintf(dir, sizeof dir, "%s/other", f->dir);
    f->options.create = false;
    assert_refused(f, dir, CPN_ENOTFOUND, "No such");
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_refused(f, dir, CPN_ENOTFOUND, "no state here");
    assert_int_equal(rmdir(dir), 0); /* nothing was put there */
    state_fixture_reopen(f); /* an old one needs no create */
}

static void one_process_has_it(void **state)
{
    struct state_fixture *f = *state;
    assert_refused(f, f->store, CPN_EBUSY, "in use");
}

static void copied_directories_are_refused(void **state)
{
    struct state_fixture *f = *state;
    struct cpni_command raise = COMMAND(TERM_RAISE, term_raise, .wall_us = 1);
    char copy[160];
    snprintf(copy, sizeof copy, "%s/copy", f->dir);
    assert_committed(commit(f->state, &raise), 1);
    cpni_state_close(f->state);
    f->state = NULL;
    assert_int_equal(shell("cp -a %s %s", f->store, copy), 0);
    assert_refused(f, copy, CPN_ECOPIED, "copied");
    state_fixture_open(f); /* the original still is one */
    struct cpn_id cluster = cpni_state_cluster(f->state);
    cpni_state_close(f->state);
    f->state = NULL;
    assert_int_equal(shell("mv %s %s.moved && mv %s.moved %s", f->store, f->store, f->store, f->store), 0);
    state_fixture_reopen(f); /* moved is not copied */
    cpni_state_close(f->state);
    f->state = NULL;
    assert_int_equal(shell("rm -r %s && cp -a %s %s", f->store, copy, f->store), 0);
    assert_refused(f, f->store, CPN_ECOPIED, "restored");
    f->options.adopt_copy = true;
    state_fixture_open(f);
    f->options.adopt_copy = false;
    state_fixture_reopen(f);
    struct cpn_id adopted = cpni_state_cluster(f->state);
    assert_memory_equal(&cluster, &adopted, sizeof cluster);
    assert_int_equal(cpni_state_start(f->state), 0);
    assert_committed(commit(f->state, &raise), 2 + (1 << 20));
}

static void emptied_directories_are_refused(void **state)
{
    struct state_fixture *f = *state;
    cpni_state_close(f->state);
    f->state = NULL;
    assert_int_equal(shell("cp %s/state.db %s/kept && rm %s/state.db*", f->store, f->dir, f->store), 0);
    assert_refused(f, f->store, CPN_ECOPIED, "gone");
    assert_int_equal(shell(": > %s/state.db", f->store), 0);
    assert_refused(f, f->store, CPN_ECOPIED, "emptied");
    assert_int_equal(shell("cp %s/kept %s/state.db", f->dir, f->store), 0);
    state_fixture_open(f);
}

/* The crash between the commit of a new state and the rename of its state.id. */
static void a_crash_while_creating_is_made_up_for(void **state)
{
    struct state_fixture *f = *state;
    cpni_state_close(f->state);
    f->state = NULL;
    assert_int_equal(shell("mv %s/state.id %s/state.id.new", f->store, f->store), 0);
    state_fixture_open(f);
    state_fixture_reopen(f);
    cpni_state_close(f->state);
    f->state = NULL;
    assert_int_equal(shell("mv %s/state.id %s/state.id.new && rm %s/state.db && : > %s/state.db", f->store, f->store,
                         f->store, f->store),
        0);
    state_fixture_open(f); /* before that commit: created again */
}

static void damage_and_strangers_are_told(void **state)
{
    struct state_fixture *f = *state;
    struct dump dump;
    for (int n = 0; n < 2000; n++) {
        submit_event(f, n);
    }
    recover(f, &dump);
    cpni_state_close(f->state);
    f->state = NULL;
    assert_int_equal(shell("cp %s/state.db %s/kept", f->store, f->dir), 0);
    assert_int_equal(
        shell("dd if=/dev/urandom of=%s/state.db bs=4096 seek=5 count=6 conv=notrunc 2>/dev/null", f->store), 0);
    assert_refused(f, f->store, CPN_ECORRUPT, "damaged");
    assert_int_equal(shell("head -c 9000 /dev/urandom > %s/state.db", f->store), 0);
    assert_refused(f, f->store, CPN_ECORRUPT, "damaged");
    assert_int_equal(shell("cp %s/kept %s/state.db", f->dir, f->store), 0);
    char path[200];
    snprintf(path, sizeof path, "%s/state.db", f->store);
    int fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, "\0\0\0\143", 4, 60), 4); /* user_version, as the file format puts it */
    assert_refused(f, f->store, CPN_EVERSION, "format 99");
    assert_int_equal(pwrite(fd, "\0\0\0\1", 4, 60), 4);
    assert_int_equal(pwrite(fd, "abcd", 4, 68), 4); /* application_id */
    assert_refused(f, f->store, CPN_ECORRUPT, "not a cpn state");
    close(fd);
}

/* ---- kill -9 ---- */

/* Submits without end; writes the number of each committed event to the pipe. */
static void load(struct state_fixture *f, int fd)
{
    for (int n = 1;; n++) {
        submit_event(f, n);
        struct cpni_state_answer answer;
        while (cpni_state_pending(f->state) > 200 ? (wait_answer(f->state, &answer), 1)
                                                  : cpni_state_pop(f->state, &answer)) {
            uint64_t number = answer.commit.status == CPNI_COMMITTED ? answer.commit.number : 0;
            if (write(fd, &number, sizeof number) != sizeof number) {
                _exit(1);
            }
        }
    }
}

static int count_events(void *arg, const struct cpni_state_event *row)
{
    uint64_t *last = arg;
    char text[32];
    assert_int_equal(row->number, *last + 1); /* none is missing, none is there twice */
    snprintf(text, sizeof text, "event %llu", (unsigned long long)row->number);
    assert_string_equal(row->event.text, text);
    *last = row->number;
    return 0;
}

static void killed_under_load(void **state)
{
    struct state_fixture *f = *state;
    cpni_state_close(f->state);
    f->state = NULL;
    for (uint64_t round = 0; round < 5; round++) {
        int pipes[2];
        assert_int_equal(shell("rm -rf %s", f->store), 0);
        assert_int_equal(pipe(pipes), 0);
        fcntl(pipes[1], F_SETPIPE_SZ, 4096); /* the child is to be never far ahead of its reports */
        pid_t child = fork();
        if (child == 0) {
            close(pipes[0]);
            state_fixture_open(f);
            cpni_state_start(f->state);
            load(f, pipes[1]);
        }
        close(pipes[1]);
        uint64_t reported = 0, number;
        while (read(pipes[0], &number, sizeof number) == sizeof number) {
            assert_int_equal(number, reported + 1);
            reported = number;
            if (reported == 300 + round * 777) {
                kill(child, SIGKILL);
            }
        }
        close(pipes[0]);
        assert_int_equal(waitpid(child, NULL, 0), child);
        state_fixture_open(f);
        uint64_t last = 0;
        struct cpni_state_reader events = { .event = count_events };
        assert_int_equal(cpni_state_recover(f->state, &events, &last), 0);
        assert_true(reported >= 300 && last >= reported);
        cpni_state_close(f->state);
        f->state = NULL;
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(terms_grow),
        TEST(tokens_admit_and_run_out),
        TEST(identities_are_revoked_and_renamed),
        TEST(long_names_are_cut),
        TEST(versions_are_never_given_twice),
        TEST(history_adds_up),
        TEST(the_ring_keeps_the_newest),
        TEST(events_are_found),
        TEST(poison_evidence_is_kept),
        TEST(a_retry_is_answered_not_repeated),
        TEST(answers_come_in_order),
        TEST(what_is_malformed_is_not_taken),
        TEST(quotes_are_harmless),
        TEST(an_empty_directory_is_not_a_state),
        TEST(one_process_has_it),
        TEST(copied_directories_are_refused),
        TEST(emptied_directories_are_refused),
        TEST(a_crash_while_creating_is_made_up_for),
        TEST(damage_and_strangers_are_told),
        TEST(killed_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
