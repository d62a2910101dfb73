/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* core/transfer: a receiver and up to two senders, each with a disk of its own, and links that break, lie and stall. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cpn/error.h>

#include "core/transfer.h"
#include "fake_disk.h"

#define MIB ((uint64_t)CPNI_CHUNK_BYTES)
#define SENDERS 2

/* One end. Its messages wait in `actions` copies until the pump carries them over. */
struct end {
    struct cpni_transfer *transfer;
    struct fake_disk disk;
    struct cpni_actions actions;
};

#define MAIL 256
struct net {
    struct end receiver;
    struct end senders[SENDERS];
    bool up[SENDERS];
    struct cpni_now now;
    /* Sent and not yet delivered, per direction. */
    struct {
        struct cpni_msg msg;
        unsigned peer; /* sender's number */
        bool to_receiver;
    } mail[MAIL];
    unsigned mail_first, mail_count;
    struct cpni_arena arena;
    /* Faults and figures. */
    unsigned corrupt;    /* so many chunks are delivered with a wrong byte */
    unsigned truncate;   /* so many chunks lose their last byte */
    unsigned bad_leaves; /* so many leaf lists are delivered wrong */
    unsigned swallow;    /* so many chunks never arrive */
    bool deny;           /* senders refuse every WANT for good */
    unsigned chunks, received, refused_logs, strays;
    unsigned in_flight_max;
    struct cpni_transfer_outcome outcomes[64];
    unsigned outcome_count;
    unsigned failures; /* steps that ran out of memory */
    unsigned arm;      /* requests for memory until one fails; 0: none will */
};

/* Only the code under test runs out of memory, not the net nor the disks around it. */
static void pause_faults(struct net *net)
{
    unsigned made = cpni_alloc_fail(0);
    net->arm = net->arm > made ? net->arm - made : 0;
}

static void resume_faults(const struct net *net)
{
    cpni_alloc_fail(net->arm);
}

static struct end *end_of(struct net *net, bool receiver, unsigned peer)
{
    return receiver ? &net->receiver : &net->senders[peer];
}

static void post(struct net *net, const struct cpni_action *action, bool from_receiver, unsigned sender)
{
    unsigned peer = from_receiver ? (unsigned)action->send.conn - 10 : sender;
    if (!net->up[peer]) {
        return;
    }
    assert_true(net->mail_count < MAIL);
    unsigned at = (net->mail_first + net->mail_count++) % MAIL;
    net->mail[at].peer = peer;
    net->mail[at].to_receiver = !from_receiver;
    pause_faults(net);
    assert_int_equal(cpni_msg_copy(&net->arena, &action->send.msg, &net->mail[at].msg), 0);
    resume_faults(net);
}

/* Carry out what an end wants done. */
static void carry_out(struct net *net, bool receiver, unsigned sender)
{
    struct end *end = end_of(net, receiver, sender);
    for (size_t i = 0; i < end->actions.count; i++) {
        const struct cpni_action *action = &end->actions.list[i];
        if (action->type == CPNI_ACT_DISK) {
            fake_take(&end->disk, &action->disk);
        } else if (action->type == CPNI_ACT_SEND) {
            post(net, action, receiver, sender);
        } else if (action->type == CPNI_ACT_LOG) {
            net->refused_logs += strcmp(action->log.event, "CPN-CHUNK-REFUSED") == 0;
            net->strays += strcmp(action->log.event, "CPN-CHUNK-STRAY") == 0;
        }
    }
    net->failures += end->actions.failed;
    cpni_actions_clear(&end->actions);
    const char *broken = cpni_transfer_check(end->transfer);
    if (broken != NULL) {
        fail_msg("%s", broken);
    }
    while (receiver && cpni_transfer_next(end->transfer, &net->outcomes[net->outcome_count % 64])) {
        net->outcome_count++;
    }
}

static struct cpni_bytes *spoilt(const struct cpni_bytes *bytes, bool shorter)
{
    struct cpni_bytes *copy = fake_fill(bytes->size - shorter, bytes->data[0]);
    ((uint8_t *)(uintptr_t)copy->data)[0] ^= shorter ? 0 : 0xff;
    return copy;
}

static bool spoil(struct net *net, struct cpni_msg *msg)
{
    struct cpni_bytes **data = msg->type == CPNI_MSG_CHUNK ? &msg->chunk.data : &msg->leaves.leaves;
    unsigned *fault = msg->type == CPNI_MSG_LEAVES ? &net->bad_leaves : net->corrupt != 0 ? &net->corrupt : &net->truncate;
    if (msg->type == CPNI_MSG_CHUNK && net->swallow != 0) {
        net->swallow--;
        return false;
    }
    if ((msg->type == CPNI_MSG_CHUNK || msg->type == CPNI_MSG_LEAVES) && *fault != 0) {
        --*fault;
        struct cpni_bytes *wrong = spoilt(*data, fault == &net->truncate);
        cpni_bytes_unref(*data);
        *data = wrong;
    }
    return true;
}

static void deliver(struct net *net)
{
    unsigned at = net->mail_first;
    unsigned peer = net->mail[at].peer;
    bool to_receiver = net->mail[at].to_receiver;
    struct cpni_msg msg = net->mail[at].msg;
    net->mail_first = (at + 1) % MAIL;
    net->mail_count--;
    struct end *end = end_of(net, to_receiver, peer);
    if (to_receiver) {
        net->chunks += msg.type == CPNI_MSG_CHUNK;
        if (spoil(net, &msg)) {
            cpni_transfer_message(end->transfer, peer + 1, &msg, &net->now, &end->actions);
        }
    } else if (msg.type == CPNI_MSG_RECEIVED) {
        net->received++;
    } else if (net->deny) {
        cpni_transfer_refuse(&end->actions, 20, 7, &msg.want, CPN_EDENIED, "not yours");
    } else {
        cpni_transfer_serve(end->transfer, 1, &msg.want, &net->now, &end->actions);
    }
    cpni_msg_drop(&msg);
    carry_out(net, to_receiver, peer);
}

static bool disk_step(struct net *net, bool receiver, unsigned sender)
{
    struct end *end = end_of(net, receiver, sender);
    struct cpni_event_disk answer = { 0 };
    if (end->disk.count == 0) {
        return false;
    }
    if (receiver && end->disk.count > net->in_flight_max) {
        net->in_flight_max = end->disk.count;
    }
    pause_faults(net);
    bool wanted = fake_answer(&end->disk, &answer);
    resume_faults(net);
    if (wanted) {
        cpni_transfer_disk(end->transfer, &answer, &net->now, &end->actions);
        cpni_bytes_unref(answer.bytes);
        carry_out(net, receiver, sender);
    }
    return true;
}

/* One thing that can happen, whatever it is; false: nothing can, without time passing. */
static bool one_step(struct net *net)
{
    if (net->mail_count != 0) {
        deliver(net);
        return true;
    }
    bool any = disk_step(net, true, 0);
    for (unsigned i = 0; i < SENDERS && !any; i++) {
        any = disk_step(net, false, i);
    }
    return any;
}

static void run(struct net *net)
{
    while (one_step(net)) {
    }
}

/* Until nothing happens any more, timers included. */
static void run_out(struct net *net)
{
    for (unsigned rounds = 0; rounds < 1000; rounds++) {
        run(net);
        int64_t at_us = cpni_transfer_deadline(net->receiver.transfer);
        for (unsigned i = 0; i < SENDERS; i++) {
            int64_t other = cpni_transfer_deadline(net->senders[i].transfer);
            at_us = other < at_us ? other : at_us;
        }
        if (at_us == INT64_MAX) {
            return;
        }
        net->now.mono_us = at_us > net->now.mono_us ? at_us : net->now.mono_us;
        cpni_transfer_tick(net->receiver.transfer, &net->now, &net->receiver.actions);
        carry_out(net, true, 0);
        for (unsigned i = 0; i < SENDERS; i++) {
            cpni_transfer_tick(net->senders[i].transfer, &net->now, &net->senders[i].actions);
            carry_out(net, false, i);
        }
    }
    fail_msg("it never comes to rest");
}

static void link_up(struct net *net, unsigned peer)
{
    struct cpni_transfer_link to_sender = { .conn = 10 + peer, .link = 5 };
    struct cpni_transfer_link to_receiver = { .conn = 20, .link = 7 };
    net->up[peer] = true;
    cpni_transfer_up(net->receiver.transfer, peer + 1, &to_sender, &net->now, &net->receiver.actions);
    carry_out(net, true, 0);
    cpni_transfer_up(net->senders[peer].transfer, 1, &to_receiver, &net->now, &net->senders[peer].actions);
    carry_out(net, false, peer);
}

/* The link breaks: what was under way on it is lost, in both directions. */
static void link_down(struct net *net, unsigned peer)
{
    net->up[peer] = false;
    for (unsigned i = 0; i < net->mail_count; i++) {
        unsigned at = (net->mail_first + i) % MAIL;
        if (net->mail[at].peer == peer) {
            cpni_msg_drop(&net->mail[at].msg);
            net->mail[at].msg = (struct cpni_msg){ .type = CPNI_MSG_RECEIVED };
        }
    }
    unsigned received = net->received;
    while (net->mail_count != 0) {
        deliver(net);
    }
    net->received = received;
    cpni_transfer_down(net->receiver.transfer, peer + 1, &net->now, &net->receiver.actions);
    carry_out(net, true, 0);
    cpni_transfer_down(net->senders[peer].transfer, 1, &net->now, &net->senders[peer].actions);
    carry_out(net, false, peer);
}

static int setup(void **state)
{
    struct net *net = calloc(1, sizeof *net);
    net->now.mono_us = 1000000;
    assert_int_equal(cpni_transfer_new(&net->receiver.transfer), 0);
    for (unsigned i = 0; i < SENDERS; i++) {
        assert_int_equal(cpni_transfer_new(&net->senders[i].transfer), 0);
    }
    *state = net;
    return 0;
}

static void close_end(struct end *end)
{
    fake_close(&end->disk);
    cpni_actions_free(&end->actions);
    cpni_transfer_free(end->transfer);
}

static int teardown(void **state)
{
    struct net *net = *state;
    while (net->mail_count != 0) {
        cpni_msg_drop(&net->mail[net->mail_first].msg);
        net->mail_first = (net->mail_first + 1) % MAIL;
        net->mail_count--;
    }
    close_end(&net->receiver);
    for (unsigned i = 0; i < SENDERS; i++) {
        close_end(&net->senders[i]);
    }
    cpni_arena_free(&net->arena);
    free(net);
    return 0;
}

static int fetch(struct net *net, uint64_t ticket, unsigned peer, uint8_t number, uint64_t size, bool spool)
{
    struct cpn_hash root = fake_root(number);
    int rc = cpni_transfer_fetch(net->receiver.transfer, ticket, peer + 1, &root, size, spool, &net->now, &net->receiver.actions);
    carry_out(net, true, 0);
    return rc;
}

static void offer(struct net *net, unsigned sender, uint8_t number, uint64_t size)
{
    struct cpn_hash root = fake_root(number);
    fake_put(&net->senders[sender].disk, &root, size);
}

static void expect_outcome(const struct net *net, unsigned at, uint64_t ticket, int code)
{
    assert_true(at < net->outcome_count);
    assert_int_equal(net->outcomes[at].ticket, ticket);
    assert_int_equal(net->outcomes[at].code, code);
}

static bool here(struct net *net, uint8_t number)
{
    struct cpn_hash root = fake_root(number);
    return fake_has(&net->receiver.disk, &root);
}

/* ---- */

static void fetches_every_size(void **state)
{
    struct net *net = *state;
    static const uint64_t sizes[] = { 0, 1, MIB, MIB + 1, 9 * MIB + 5 };
    link_up(net, 0);
    for (uint8_t i = 0; i < 5; i++) {
        offer(net, 0, (uint8_t)(i + 1), sizes[i]);
        assert_int_equal(fetch(net, i, 0, (uint8_t)(i + 1), sizes[i], true), 0);
        run(net);
        expect_outcome(net, i, i, 0);
        assert_true(here(net, (uint8_t)(i + 1)));
    }
    assert_int_equal(net->chunks, 0 + 1 + 1 + 2 + 10);
    assert_int_equal(net->received, 5);
    assert_true(net->in_flight_max <= CPNI_TRANSFER_WINDOW);
    assert_int_equal(cpni_transfer_deadline(net->receiver.transfer), INT64_MAX);
}

static void what_is_here_is_not_fetched(void **state)
{
    struct net *net = *state;
    struct cpn_hash root = fake_root(1);
    fake_put(&net->receiver.disk, &root, MIB);
    assert_int_equal(fetch(net, 1, 0, 1, MIB, false), 0); /* no link is needed */
    run(net);
    expect_outcome(net, 0, 1, 0);
    assert_int_equal(net->chunks, 0);
}

static void resumes_with_what_is_missing(void **state)
{
    struct net *net = *state;
    offer(net, 0, 1, 20 * MIB);
    assert_int_equal(fetch(net, 1, 0, 1, 20 * MIB, true), 0);
    run(net); /* waits for the link */
    link_up(net, 0);
    while (net->chunks < 9) {
        assert_true(one_step(net));
    }
    link_down(net, 0);
    run(net);
    uint64_t done, total;
    assert_true(cpni_transfer_progress(net->receiver.transfer, 1, &done, &total));
    assert_true(done >= 5 * MIB && done < total);
    link_up(net, 0);
    run(net);
    expect_outcome(net, 0, 1, 0);
    assert_true(net->chunks <= 20 + CPNI_TRANSFER_WINDOW);
}

static void resumes_after_a_restart_of_the_receiver(void **state)
{
    struct net *net = *state;
    offer(net, 0, 1, 20 * MIB);
    link_up(net, 0);
    assert_int_equal(fetch(net, 1, 0, 1, 20 * MIB, false), 0);
    while (net->chunks < 9) {
        assert_true(one_step(net));
    }
    link_down(net, 0);
    fake_close(&net->receiver.disk); /* what was written is there, its answers are lost */
    cpni_transfer_free(net->receiver.transfer);
    assert_int_equal(cpni_transfer_new(&net->receiver.transfer), 0);
    assert_int_equal(fetch(net, 2, 0, 1, 20 * MIB, false), 0);
    link_up(net, 0);
    run(net);
    expect_outcome(net, 0, 2, 0);
    assert_true(net->chunks <= 20 + CPNI_TRANSFER_WINDOW);
}

static void a_corrupted_chunk_is_fetched_again(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    offer(net, 0, 1, 3 * MIB);
    net->corrupt = 2;
    net->truncate = 1;
    net->bad_leaves = 1;
    assert_int_equal(fetch(net, 1, 0, 1, 3 * MIB, true), 0);
    run(net);
    expect_outcome(net, 0, 1, 0);
    assert_int_equal(net->refused_logs, 4);
    assert_int_equal(net->chunks, 6);
}

static void a_sender_that_always_lies_is_given_up(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    offer(net, 0, 1, MIB);
    net->corrupt = 1000;
    assert_int_equal(fetch(net, 1, 0, 1, MIB, true), 0);
    run(net);
    expect_outcome(net, 0, 1, CPN_ECORRUPT);
    assert_int_equal(net->refused_logs, CPNI_TRANSFER_RETRIES + 1);
    assert_int_equal(net->receiver.disk.aborted, 1);
    assert_int_equal(net->received, 0);
}

static void the_announced_size_must_match(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    offer(net, 0, 1, 3 * MIB);
    assert_int_equal(fetch(net, 1, 0, 1, 2 * MIB, true), 0);
    assert_int_equal(fetch(net, 2, 0, 1, MIB, true), CPN_EINVAL);
    run(net);
    expect_outcome(net, 0, 1, CPN_ECORRUPT);
    assert_int_equal(net->chunks, 0);
}

static void missing_fails_with_the_senders_text(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    assert_int_equal(fetch(net, 1, 0, 1, MIB, true), 0);
    run(net);
    expect_outcome(net, 0, 1, CPN_ENOTFOUND);
    assert_string_equal(net->outcomes[0].text, "no such blob here");
    net->deny = true;
    assert_int_equal(fetch(net, 2, 0, 1, MIB, true), 0);
    run(net);
    expect_outcome(net, 1, 2, CPN_EDENIED);
}

static void another_peer_that_has_it_is_asked_next(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    link_up(net, 1);
    offer(net, 1, 1, 2 * MIB); /* sender 0 has nothing */
    assert_int_equal(fetch(net, 1, 0, 1, 2 * MIB, true), 0);
    assert_int_equal(fetch(net, 2, 1, 1, 2 * MIB, true), 0);
    run(net);
    assert_int_equal(net->outcome_count, 2);
    expect_outcome(net, 0, 1, CPN_ENOTFOUND);
    expect_outcome(net, 1, 2, 0);
    assert_int_equal(net->received, 1);
}

static void two_tickets_one_transfer(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    link_up(net, 1);
    offer(net, 0, 1, 4 * MIB);
    offer(net, 1, 1, 4 * MIB);
    assert_int_equal(fetch(net, 1, 0, 1, 4 * MIB, true), 0);
    assert_int_equal(fetch(net, 2, 1, 1, 4 * MIB, true), 0);
    assert_int_equal(fetch(net, 3, 1, 1, 4 * MIB, true), 0);
    run(net);
    assert_int_equal(net->outcome_count, 3);
    assert_int_equal(net->chunks, 4);
    assert_int_equal(net->received, 2); /* one a peer */
}

static void kept_wins_over_spool(void **state)
{
    struct net *net = *state;
    struct cpn_hash root = fake_root(1);
    link_up(net, 0);
    offer(net, 0, 1, 4 * MIB);
    assert_int_equal(fetch(net, 1, 0, 1, 4 * MIB, true), 0);
    while (net->chunks < 2) {
        assert_true(one_step(net));
    }
    assert_int_equal(fetch(net, 2, 0, 1, 4 * MIB, false), 0);
    run(net);
    assert_int_equal(net->outcome_count, 2);
    assert_false(fake_find(&net->receiver.disk, &root)->spool);
}

static void a_full_disk_queue_is_asked_again(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    offer(net, 0, 1, 6 * MIB);
    net->receiver.disk.busy = 7;
    net->senders[0].disk.busy = 3;
    assert_int_equal(fetch(net, 1, 0, 1, 6 * MIB, true), 0);
    run_out(net);
    expect_outcome(net, 0, 1, 0);
    assert_int_equal(net->chunks, 6);
}

static void no_space_fails_all_tickets(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    offer(net, 0, 1, 6 * MIB);
    net->receiver.disk.fail = CPN_ENOSPC;
    assert_int_equal(fetch(net, 1, 0, 1, 6 * MIB, false), 0);
    assert_int_equal(fetch(net, 2, 0, 1, 6 * MIB, false), 0);
    run_out(net);
    assert_int_equal(net->outcome_count, 2);
    expect_outcome(net, 0, 1, CPN_ENOSPC);
    assert_int_equal(net->receiver.disk.aborted, 1);
}

static void a_stalled_sender_is_asked_again(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    offer(net, 0, 1, 6 * MIB);
    net->swallow = 2;
    assert_int_equal(fetch(net, 1, 0, 1, 6 * MIB, true), 0);
    run(net);
    assert_int_equal(net->outcome_count, 0);
    run_out(net);
    expect_outcome(net, 0, 1, 0);
}

static void a_dumb_sender_fails_in_the_end_and_starves_nobody(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    net->up[0] = false; /* its bulk connection lives, but nothing gets through */
    for (uint8_t i = 0; i < CPNI_TRANSFERS_ACTIVE_MAX; i++) {
        assert_int_equal(fetch(net, i, 0, (uint8_t)(i + 10), MIB, true), 0);
    }
    run(net);
    link_up(net, 1);
    offer(net, 1, 1, MIB);
    assert_int_equal(fetch(net, 99, 1, 1, MIB, true), 0);
    run(net);
    expect_outcome(net, 0, 99, 0);
    run_out(net);
    assert_int_equal(net->outcome_count, 1 + CPNI_TRANSFERS_ACTIVE_MAX);
    expect_outcome(net, 1, 0, CPN_ETIMEDOUT);
}

static void many_take_turns(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    link_up(net, 1);
    for (uint8_t i = 0; i < 24; i++) {
        offer(net, i % 2, (uint8_t)(i + 1), 2 * MIB);
        assert_int_equal(fetch(net, i, i % 2, (uint8_t)(i + 1), 2 * MIB, true), 0);
    }
    run_out(net);
    assert_int_equal(net->outcome_count, 24);
    assert_int_equal(net->chunks, 48);
    assert_true(net->in_flight_max <= CPNI_TRANSFER_WINDOW * CPNI_TRANSFERS_RECEIVING_MAX + 24);
}

static void cancel_drops_and_frees_the_place(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    offer(net, 0, 1, 8 * MIB);
    offer(net, 0, 2, MIB);
    assert_int_equal(fetch(net, 1, 0, 1, 8 * MIB, true), 0);
    while (net->chunks < 2) {
        assert_true(one_step(net));
    }
    cpni_transfer_cancel(net->receiver.transfer, 1, &net->now, &net->receiver.actions);
    carry_out(net, true, 0);
    assert_int_equal(fetch(net, 2, 0, 2, MIB, true), 0);
    assert_int_equal(fetch(net, 3, 0, 1, 8 * MIB, true), 0); /* the same again, at once: its old answers must not count */
    run(net);
    assert_int_equal(net->outcome_count, 2);
    assert_true(here(net, 1) && here(net, 2));
    assert_true(net->strays > 0);
}

static void a_dead_peer_fails_only_its_own(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    link_up(net, 1);
    offer(net, 0, 1, 8 * MIB);
    offer(net, 0, 2, 8 * MIB);
    offer(net, 1, 1, 8 * MIB);
    assert_int_equal(fetch(net, 1, 0, 1, 8 * MIB, true), 0);
    assert_int_equal(fetch(net, 2, 1, 1, 8 * MIB, true), 0);
    assert_int_equal(fetch(net, 3, 0, 2, 8 * MIB, true), 0);
    while (net->chunks < 3) {
        assert_true(one_step(net));
    }
    net->up[0] = false;
    cpni_transfer_forget(net->receiver.transfer, 1, CPN_ENODELOST, "the node is gone", &net->now, &net->receiver.actions);
    carry_out(net, true, 0);
    assert_int_equal(net->outcome_count, 2);
    expect_outcome(net, 0, 1, CPN_ENODELOST);
    expect_outcome(net, 1, 3, CPN_ENODELOST);
    run_out(net);
    expect_outcome(net, 2, 2, 0);
}

static void the_source_can_change(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    offer(net, 1, 1, 2 * MIB);
    assert_int_equal(fetch(net, 1, 0, 2, MIB, true), 0); /* takes sender 0's time */
    link_down(net, 0);
    assert_int_equal(fetch(net, 5, 0, 1, 2 * MIB, true), 0);
    run(net);
    link_up(net, 1);
    assert_int_equal(fetch(net, 5, 1, 1, 2 * MIB, true), 0);
    run(net);
    expect_outcome(net, 0, 5, 0);
}

static void wants_of_a_greedy_peer_are_bounded(void **state)
{
    struct net *net = *state;
    link_up(net, 0);
    offer(net, 0, 1, 9 * MIB);
    struct cpni_msg_want want = { .root = fake_root(1), .first = 0, .count = 1000000, .size = 9 * MIB };
    struct end *end = &net->senders[0];
    for (unsigned i = 0; i < CPNI_SERVE_WANTS_MAX + 10; i++) {
        cpni_transfer_serve(end->transfer, 1, &want, &net->now, &end->actions);
        assert_null(cpni_transfer_check(end->transfer));
    }
    unsigned reads = 0, busy = 0;
    for (size_t i = 0; i < end->actions.count; i++) {
        reads += end->actions.list[i].type == CPNI_ACT_DISK;
        busy += end->actions.list[i].type == CPNI_ACT_SEND && end->actions.list[i].send.msg.missing.code == CPN_EBUSY;
    }
    assert_int_equal(reads, CPNI_SERVE_READS_MAX);
    assert_true(busy > 0);
    carry_out(net, false, 0);
}

static void memory_that_runs_out_delays_and_breaks_nothing(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth < 2000; nth++) {
        void *fresh;
        setup(&fresh);
        struct net *net = fresh;
        link_up(net, 0);
        offer(net, 0, 1, 3 * MIB);
        net->arm = nth;
        resume_faults(net);
        int rc = fetch(net, 1, 0, 1, 3 * MIB, true);
        for (unsigned rounds = 0; rounds < 10000 && rc == 0 && net->outcome_count == 0; rounds++) {
            unsigned failed = net->failures;
            if (one_step(net)) {
                if (net->failures != failed) { /* the role makes the connections anew */
                    link_down(net, 0);
                    link_up(net, 0);
                }
                continue;
            }
            net->now.mono_us += 60000;
            cpni_transfer_tick(net->receiver.transfer, &net->now, &net->receiver.actions);
            carry_out(net, true, 0);
            cpni_transfer_tick(net->senders[0].transfer, &net->now, &net->senders[0].actions);
            carry_out(net, false, 0);
        }
        pause_faults(net);
        bool spared = net->arm != 0;
        net->arm = 0;
        if (rc == 0) {
            expect_outcome(net, 0, 1, 0);
        } else {
            assert_int_equal(rc, CPN_ENOMEM);
        }
        teardown(&fresh);
        if (spared) {
            assert_true(nth > 20); /* it did fail before */
            return;
        }
    }
    fail_msg("it never has enough memory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fetches_every_size, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_here_is_not_fetched, setup, teardown),
        cmocka_unit_test_setup_teardown(resumes_with_what_is_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(resumes_after_a_restart_of_the_receiver, setup, teardown),
        cmocka_unit_test_setup_teardown(a_corrupted_chunk_is_fetched_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sender_that_always_lies_is_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(the_announced_size_must_match, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_fails_with_the_senders_text, setup, teardown),
        cmocka_unit_test_setup_teardown(another_peer_that_has_it_is_asked_next, setup, teardown),
        cmocka_unit_test_setup_teardown(two_tickets_one_transfer, setup, teardown),
        cmocka_unit_test_setup_teardown(kept_wins_over_spool, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_queue_is_asked_again, setup, teardown),
        cmocka_unit_test_setup_teardown(no_space_fails_all_tickets, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stalled_sender_is_asked_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dumb_sender_fails_in_the_end_and_starves_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(many_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(cancel_drops_and_frees_the_place, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_peer_fails_only_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(the_source_can_change, setup, teardown),
        cmocka_unit_test_setup_teardown(wants_of_a_greedy_peer_are_bounded, setup, teardown),
        cmocka_unit_test(memory_that_runs_out_delays_and_breaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
