/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Publishing, preparing, versions side by side, what a node cannot run, large inputs and results in passing. */
#include "master_fixture.h"

struct net {
    struct fixture f;
    struct peer ann, bulk, w1, w1_bulk;
    struct cpni_manifest manifest;
    struct cpni_manifest_file file;
    struct cpni_manifest_pair need;
    struct cpni_bytes *bytes;
};

static void join_opencv(struct net *n, struct peer *p, struct cpni_rec_HELD *models, uint32_t count)
{
    struct cpni_rec_TEXT backend = { .text = cpni_str("opencv.face 4.6.0") };
    struct cpni_msg hello = worker_hello(p, 2, NULL, 0);
    hello.hello.backends = &backend;
    hello.hello.backends_count = 1;
    hello.hello.models = models;
    hello.hello.models_count = count;
    say(&n->f, p, hello);
    welcomed(&n->f, p);
}

static void join_bulk(struct net *n, struct peer *p, enum cpni_kind kind)
{
    struct cpni_msg hello = hello_of(p, kind);
    hello.hello.channel = CPNI_CHANNEL_BULK;
    say(&n->f, p, hello);
    welcomed(&n->f, p);
}

static void net_open(struct net *n, enum cpn_role role)
{
    fixture_open(&n->f, false);
    enrolled(&n->f, 1, role, "ann");
    enrolled(&n->f, 11, CPN_ROLE_NODE, "w1");
    n->ann = a_peer(1, 1, 1);
    n->bulk = a_peer(2, 1, 1);
    n->w1 = a_peer(11, 11, 11);
    n->w1_bulk = a_peer(12, 11, 11);
    n->file = (struct cpni_manifest_file){ .name = cpni_str("net.xml"), .size = 1000, .root = a_hash(500) };
    n->manifest = (struct cpni_manifest){ .name = cpni_str("faces"), .backend = cpni_str("opencv.face"), .files = &n->file,
        .file_count = 1 };
    n->bytes = cpni_bytes_copy("manifest", 8);
    join_client(&n->f, &n->ann);
    join_bulk(n, &n->bulk, CPNI_KIND_CLIENT);
}

static void net_close(struct net *n)
{
    cpni_bytes_unref(n->bytes);
    fixture_close(&n->f);
}

static void publish_signed(struct net *n, unsigned root, unsigned signer, int code)
{
    struct cpni_manifest_check check = { .code = code, .text = "why", .root = a_hash(root), .manifest = &n->manifest };
    struct cpni_msg msg = { .type = CPNI_MSG_PUBLISH };
    msg.publish.request = 5;
    msg.publish.manifest = n->bytes;
    msg.publish.signer = a_key(signer);
    struct cpni_event event = { .type = CPNI_EV_PACKET };
    event.packet = (struct cpni_event_packet){ .conn = n->ann.conn, .key = n->ann.key, .link = n->ann.link,
        .sequence = ++n->ann.sequence, .msgs = &msg, .checks = &check, .count = 1 };
    step(&n->f, &event);
}

/* The store's disk has it whole already. */
static void disk_says_complete(struct net *n)
{
    const struct cpni_action *begin = did(&n->f, CPNI_ACT_DISK, 0);
    assert_non_null(begin);
    assert_int_equal(begin->disk.op, CPNI_DISK_BEGIN);
    struct cpni_event event = { .type = CPNI_EV_DISK };
    event.disk = (struct cpni_event_disk){ .ticket = begin->disk.ticket, .root = begin->disk.root, .size = begin->disk.size,
        .complete = true };
    step(&n->f, &event);
}

/* A version that is there before the master starts. */
static void known_version(struct net *n, uint32_t number, unsigned root)
{
    struct cpn_hash hash = a_hash(root);
    struct cpni_signature signature = { .bytes = { 1 } };
    struct cpn_key signer = a_key(70);
    assert_int_equal(cpni_master_core_model(n->f.core, number, &hash, &n->manifest, n->bytes, &signature, &signer, 1), 0);
}

static void publish_whole(struct net *n, unsigned root, uint32_t number)
{
    publish_signed(n, root, 70, 0);
    disk_says_complete(n);
    if (number == 1) {
        commit_as(&n->f, committing(&n->f, CPNI_COMMAND_SIGNER_ADD)->commit.ticket, CPNI_COMMITTED, 0, 0, "");
    }
    assert_null(sent(&n->f, &n->ann, CPNI_MSG_PUBLISHED, 0)); /* not before it is durable */
    const struct cpni_action *add = committing(&n->f, CPNI_COMMAND_MODEL_ADD);
    assert_string_equal(add->commit.command.u.model_add.name, "faces");
    commit_as(&n->f, add->commit.ticket, CPNI_COMMITTED, 0, number, "");
    assert_int_equal(sent(&n->f, &n->ann, CPNI_MSG_PUBLISHED, 0)->published.version, number);
}

static void held(struct net *n, struct peer *p, unsigned root, enum cpni_held_state state, const char *text)
{
    struct cpni_msg msg = { .type = CPNI_MSG_HELD };
    msg.held.root = a_hash(root);
    msg.held.state = state;
    msg.held.text = cpni_str(text);
    say(&n->f, p, msg);
}

static void published_prepared_served(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, CPN_ROLE_ADMIN);
    join_opencv(&n, &n.w1, NULL, 0);
    publish_whole(&n, 1, 1);
    assert_int_equal(sent(&n.f, &n.w1, CPNI_MSG_PREPARE, 0)->prepare.version, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "faces"));
    assert_non_null(sent(&n.f, &n.ann, CPNI_MSG_ACCEPTED, 0)); /* queued: it is being prepared */
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0));
    held(&n, &n.w1, 1, CPNI_HELD_READY, "");
    assert_int_equal(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0)->task.version, 1);
    publish_signed(&n, 1, 70, 0); /* the very same again */
    assert_true(sent(&n.f, &n.ann, CPNI_MSG_PUBLISHED, 0)->published.existed);
    net_close(&n);
}

static void a_node_may_read_what_it_prepares(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, CPN_ROLE_ADMIN);
    known_version(&n, 1, 1);
    join_opencv(&n, &n.w1, NULL, 0);
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_PREPARE, 0));
    join_bulk(&n, &n.w1_bulk, CPNI_KIND_WORKER);
    struct cpni_msg want = { .type = CPNI_MSG_WANT };
    want.want.root = a_hash(500);
    want.want.leaves = true;
    say(&n.f, &n.w1_bulk, want);
    assert_int_equal(did(&n.f, CPNI_ACT_DISK, 0)->disk.op, CPNI_DISK_READ_LEAVES);
    say(&n.f, &n.bulk, want); /* clients have no business there */
    assert_non_null(sent(&n.f, &n.bulk, CPNI_MSG_MISSING, 0));
    net_close(&n);
}

static void who_may_not_publish(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, CPN_ROLE_USER);
    publish_signed(&n, 1, 70, 0);
    const struct cpni_msg *refused = sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0);
    assert_int_equal(refused->refused.code, CPN_EDENIED);
    assert_int_equal(refused->refused.request, 5);
    struct cpn_key ann = a_key(1), signer = a_key(70);
    assert_int_equal(cpni_master_core_identity(n.f.core, &ann, CPN_ROLE_USER, cpni_str("ann"), false, true, NULL), 0);
    cpni_master_core_signer(n.f.core, &ann, &signer);
    publish_signed(&n, 1, 71, 0); /* signed by somebody else */
    assert_non_null(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0));
    publish_signed(&n, 1, 70, CPN_ECORRUPT);
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0)->refused.code, CPN_ECORRUPT);
    n.manifest.name = cpni_str("a@b");
    publish_signed(&n, 1, 70, 0);
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0)->refused.code, CPN_EINVAL);
    n.manifest.name = cpni_str("faces");
    publish_signed(&n, 1, 70, 0);
    disk_says_complete(&n);
    commit_as(&n.f, committing(&n.f, CPNI_COMMAND_MODEL_ADD)->commit.ticket, CPNI_REJECTED, CPN_EDENIED, 0, "revoked just now");
    assert_memory_equal(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0)->refused.text.text, "revoked just now", 16);
    say(&n.f, &n.ann, submit_of(an_id(1), "faces")); /* it came to nothing */
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0)->refused.code, CPN_ENOTFOUND);
    net_close(&n);
}

static void a_publisher_that_leaves_leaves_nothing(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, CPN_ROLE_ADMIN);
    publish_signed(&n, 1, 70, 0);
    struct cpni_msg bye = { .type = CPNI_MSG_BYE };
    say(&n.f, &n.ann, bye);
    assert_true(logged(&n.f, "CPN-MODEL-REFUSED"));
    net_close(&n);
}

static void old_and_new_run_side_by_side(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, CPN_ROLE_ADMIN);
    known_version(&n, 1, 1);
    known_version(&n, 2, 2);
    struct cpni_rec_HELD both[] = { { .root = a_hash(1), .state = CPNI_HELD_READY }, { .root = a_hash(2), .state = CPNI_HELD_READY } };
    join_opencv(&n, &n.w1, both, 2);
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_PREPARE, 0)); /* exactly what it lacks: nothing */
    known_version(&n, 3, 3);
    join_opencv(&n, &n.w1, both, 2);
    assert_int_equal(sent(&n.f, &n.w1, CPNI_MSG_PREPARE, 0)->prepare.version, 3);
    say(&n.f, &n.ann, submit_of(an_id(1), "faces")); /* the newest that is ready */
    assert_int_equal(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0)->task.version, 2);
    held(&n, &n.w1, 3, CPNI_HELD_FAILED, "does not load"); /* a bad one takes nothing away */
    assert_true(logged(&n.f, "CPN-MODEL-FAILED"));
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_DISCARD, 0));
    held(&n, &n.w1, 3, CPNI_HELD_READY, "");
    assert_int_equal(sent(&n.f, &n.w1, CPNI_MSG_DISCARD, 0)->discard.version, 1);
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_DISCARD, 1));
    say(&n.f, &n.ann, submit_of(an_id(2), "faces@1")); /* by its number, though the nodes let it go */
    assert_int_equal(sent(&n.f, &n.w1, CPNI_MSG_PREPARE, 0)->prepare.version, 1);
    held(&n, &n.w1, 1, CPNI_HELD_READY, "");
    assert_int_equal(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0)->task.version, 1);
    net_close(&n);
}

static void unmet_requirements_are_told_not_retried(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, CPN_ROLE_ADMIN);
    n.need = (struct cpni_manifest_pair){ .key = cpni_str("backend"), .value = cpni_str("4.10") };
    n.manifest.requires = &n.need;
    n.manifest.requires_count = 1;
    known_version(&n, 1, 1);
    join_opencv(&n, &n.w1, NULL, 0);
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_PREPARE, 0));
    assert_true(logged(&n.f, "CPN-MODEL-UNMET"));
    struct cpni_msg query = { .type = CPNI_MSG_QUERY };
    query.query.what = CPNI_QUERY_NODES;
    say(&n.f, &n.ann, query);
    const struct cpni_rec_NODE *node = &sent(&n.f, &n.ann, CPNI_MSG_REPLY, 0)->reply.nodes[0];
    assert_int_equal(node->models[0].state, CPNI_HELD_UNMET);
    assert_non_null(strstr(node->models[0].text.text, "4.10"));
    say(&n.f, &n.ann, submit_of(an_id(1), "faces")); /* waiting would not help */
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.code, CPN_EMODEL);
    net_close(&n);
}

static void a_model_that_loads_nowhere_ends_its_tasks(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, CPN_ROLE_ADMIN);
    known_version(&n, 1, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "faces")); /* nobody is there yet: it waits */
    assert_null(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0));
    join_opencv(&n, &n.w1, NULL, 0);
    held(&n, &n.w1, 1, CPNI_HELD_FAILED, "cannot parse the cascade");
    const struct cpni_msg *result = sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0);
    assert_int_equal(result->result.code, CPN_EMODEL);
    assert_non_null(strstr(result->result.text.text, "w1: cannot parse the cascade"));
    net_close(&n);
}

static void removed_models_go_everywhere(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, CPN_ROLE_ADMIN);
    known_version(&n, 1, 1);
    struct cpni_rec_HELD has = { .root = a_hash(1), .state = CPNI_HELD_READY };
    join_opencv(&n, &n.w1, &has, 1);
    for (unsigned i = 1; i <= 3; i++) {
        say(&n.f, &n.ann, submit_of(an_id(i), "faces"));
    }
    struct cpni_msg admin = { .type = CPNI_MSG_ADMIN };
    admin.admin.op = CPNI_ADMIN_MODEL_REMOVE;
    admin.admin.name = cpni_str("faces");
    admin.admin.version = 1;
    say(&n.f, &n.ann, admin);
    commit_as(&n.f, committing(&n.f, CPNI_COMMAND_MODEL_REMOVE)->commit.ticket, CPNI_COMMITTED, 0, 0, "");
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_DONE, 0)->done.code, 0);
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_DISCARD, 0));
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.code, CPN_ENOTFOUND); /* the one in the queue */
    assert_null(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 1));
    held(&n, &n.w1, 1, CPNI_HELD_READY, ""); /* it crossed the DISCARD */
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_DISCARD, 0));
    say(&n.f, &n.ann, submit_of(an_id(9), "faces"));
    assert_non_null(sent(&n.f, &n.ann, CPNI_MSG_REFUSED, 0));
    net_close(&n);
}

/* ---- large inputs and results ---- */

static void large_bytes_pass_through_the_spool(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, CPN_ROLE_ADMIN);
    join_worker(&n.f, &n.w1, 1);
    struct cpni_msg submit = submit_of(an_id(1), "echo");
    submit.submit.input_root = a_hash(600);
    submit.submit.input_size = 3000000;
    say(&n.f, &n.ann, submit);
    assert_non_null(sent(&n.f, &n.ann, CPNI_MSG_ACCEPTED, 0));
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0));
    disk_says_complete(&n);
    struct cpni_msg task = *sent(&n.f, &n.w1, CPNI_MSG_TASK, 0);
    assert_int_equal(task.task.input_size, 3000000);
    join_bulk(&n, &n.w1_bulk, CPNI_KIND_WORKER);
    struct cpni_msg want = { .type = CPNI_MSG_WANT };
    want.want.root = a_hash(600);
    want.want.leaves = true;
    say(&n.f, &n.w1_bulk, want);
    assert_int_equal(did(&n.f, CPNI_ACT_DISK, 0)->disk.op, CPNI_DISK_READ_LEAVES);
    struct cpni_msg result = result_of(&task, 0, CPNI_FAILURE_NONE, "");
    result.result.image_root = a_hash(601);
    result.result.image_size = 400000;
    say(&n.f, &n.w1, result);
    assert_null(sent(&n.f, &n.w1, CPNI_MSG_ACK, 0)); /* the node keeps it until it is here */
    assert_null(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0));
    disk_says_complete(&n);
    assert_non_null(sent(&n.f, &n.w1, CPNI_MSG_ACK, 0));
    assert_int_equal(sent(&n.f, &n.ann, CPNI_MSG_RESULT, 0)->result.image_size, 400000);
    assert_int_equal(did(&n.f, CPNI_ACT_DISK, 0)->disk.op, CPNI_DISK_REMOVE); /* the input */
    want.want.root = a_hash(601);
    say(&n.f, &n.bulk, want);
    assert_int_equal(did(&n.f, CPNI_ACT_DISK, 0)->disk.op, CPNI_DISK_READ_LEAVES);
    say(&n.f, &n.ann, ack_of(an_id(1)));
    assert_int_equal(did(&n.f, CPNI_ACT_DISK, 0)->disk.op, CPNI_DISK_REMOVE);
    net_close(&n);
}

static void a_node_lost_with_its_image_loses_the_attempt(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, CPN_ROLE_ADMIN);
    join_worker(&n.f, &n.w1, 1);
    say(&n.f, &n.ann, submit_of(an_id(1), "echo"));
    struct cpni_msg task = *sent(&n.f, &n.w1, CPNI_MSG_TASK, 0);
    struct cpni_msg result = result_of(&task, 0, CPNI_FAILURE_NONE, "");
    result.result.image_root = a_hash(601);
    result.result.image_size = 400000;
    say(&n.f, &n.w1, result);
    n.w1.conn = 44;
    n.w1.boot = an_id(4444);
    join_worker(&n.f, &n.w1, 1);
    assert_int_equal(sent(&n.f, &n.w1, CPNI_MSG_TASK, 0)->task.attempt, 2);
    net_close(&n);
}

/* ---- memory ---- */

static struct cpni_msg held_of(unsigned root, enum cpni_held_state state)
{
    struct cpni_msg msg = { .type = CPNI_MSG_HELD };
    msg.held.root = a_hash(root);
    msg.held.state = state;
    return msg;
}

/* Everything that the last step asked of disk and store goes well. */
static void all_goes_well(struct net *n)
{
    uint64_t tickets[8];
    enum cpni_action_type types[8];
    size_t count = 0;
    for (size_t i = 0; i < n->f.actions.count && count < 8; i++) {
        const struct cpni_action *action = &n->f.actions.list[i];
        if (action->type == CPNI_ACT_COMMIT || (action->type == CPNI_ACT_DISK && action->disk.op == CPNI_DISK_BEGIN)) {
            types[count] = action->type;
            tickets[count++] = action->type == CPNI_ACT_COMMIT ? action->commit.ticket : action->disk.ticket;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (types[i] == CPNI_ACT_COMMIT) {
            commit_as(&n->f, tickets[i], CPNI_COMMITTED, 0, 1, "");
        } else {
            struct cpni_event event = { .type = CPNI_EV_DISK };
            event.disk = (struct cpni_event_disk){ .ticket = tickets[i], .complete = true };
            step(&n->f, &event);
        }
        all_goes_well(n);
    }
}

static void publish_and_use(struct net *n)
{
    struct cpni_rec_TEXT backend = { .text = cpni_str("opencv.face 4.6.0") };
    struct cpni_msg hello = worker_hello(&n->w1, 2, NULL, 0);
    hello.hello.backends = &backend;
    hello.hello.backends_count = 1;
    say(&n->f, &n->w1, hello);
    const struct cpni_msg *welcome = sent(&n->f, &n->w1, CPNI_MSG_WELCOME, 0);
    n->w1.link = welcome != NULL ? welcome->welcome.link : 0;
    publish_signed(n, 1, 70, 0);
    all_goes_well(n);
    say(&n->f, &n->w1, held_of(1, CPNI_HELD_READY));
    struct cpni_msg submit = submit_of(an_id(1), "faces");
    submit.submit.input_root = a_hash(600);
    submit.submit.input_size = 3000000;
    say(&n->f, &n->ann, submit);
    all_goes_well(n);
    struct cpni_msg result = { .type = CPNI_MSG_RESULT };
    result.result.task = an_id(1);
    result.result.attempt = 1;
    result.result.image_root = a_hash(601);
    result.result.image_size = 400000;
    say(&n->f, &n->w1, result);
    all_goes_well(n);
    say(&n->f, &n->w1, (struct cpni_msg){ .type = CPNI_MSG_BYE });
    say(&n->f, &n->ann, ack_of(an_id(1)));
}

/* The nth allocation fails, for every n, and life goes on: whatever the peers then say to a master that has forgotten them, every step is
 * checked and nothing may leak. */
static void memory_may_end_anywhere(void **state)
{
    (void)state;
    unsigned failures = 0;
    for (unsigned nth = 1; nth < 2000; nth++) {
        struct net n;
        net_open(&n, CPN_ROLE_ADMIN);
        n.f.arm = nth;
        publish_and_use(&n);
        bool whole = n.f.arm != 0; /* it was never asked for so many */
        n.f.arm = 0;
        for (unsigned i = 0; i < 5; i++) {
            tick(&n.f, SECOND);
            all_goes_well(&n);
        }
        net_close(&n);
        if (whole) {
            break;
        }
        failures++;
    }
    assert_in_range(failures, 30, 1990);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_prepared_served),
        cmocka_unit_test(a_node_may_read_what_it_prepares),
        cmocka_unit_test(who_may_not_publish),
        cmocka_unit_test(a_publisher_that_leaves_leaves_nothing),
        cmocka_unit_test(old_and_new_run_side_by_side),
        cmocka_unit_test(unmet_requirements_are_told_not_retried),
        cmocka_unit_test(a_model_that_loads_nowhere_ends_its_tasks),
        cmocka_unit_test(removed_models_go_everywhere),
        cmocka_unit_test(large_bytes_pass_through_the_spool),
        cmocka_unit_test(a_node_lost_with_its_image_loses_the_attempt),
        cmocka_unit_test(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
