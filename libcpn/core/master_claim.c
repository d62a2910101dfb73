/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Work of an earlier term that a node reports before its client asks for it (DESIGN §10): a running attempt or a finished result of a
 * task that this master has never heard of. It is kept for CPNI_CLAIM_MS. The client that comes back and submits the same task again
 * gets it; what nobody asks for is cancelled or dropped. Must not know how a task goes on from there. */
#include "core/master_state.h"

static struct cpni_mclaim *find(const struct cpni_master_core *core, const struct cpn_id *task)
{
    struct cpni_mclaim *claim;
    HASH_FIND(hh, core->claims, task, sizeof *task, claim);
    return claim;
}

static struct cpni_mclaim *make(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpn_id *task, uint32_t attempt)
{
    struct cpni_mclaim *claim = cpni_calloc(1, sizeof *claim);
    if (claim == NULL) {
        core->out->failed = true;
        return NULL;
    }
    claim->task = *task;
    claim->attempt = attempt;
    claim->node = node;
    claim->timer.kind = CPNI_MTIMER_CLAIM;
    claim->timer.owner = claim;
    HASH_ADD(hh, core->claims, task, sizeof claim->task, claim);
    if (cpni_hash_missed(claim)) {
        core->out->failed = true;
        cpni_free(claim);
        return NULL;
    }
    if (cpni_heap_insert(&core->timers, &claim->timer.entry, core->now.mono_us + (int64_t)CPNI_CLAIM_MS * 1000) < 0) {
        core->out->failed = true;
        HASH_DEL(core->claims, claim);
        cpni_free(claim);
        return NULL;
    }
    return claim;
}

void cpni_mclaim_free(struct cpni_master_core *core, struct cpni_mclaim *claim)
{
    HASH_DEL(core->claims, claim);
    cpni_heap_remove(&core->timers, &claim->timer.entry);
    core->claim_bytes -= claim->bytes;
    if (claim->result != NULL) {
        cpni_msg_drop(claim->result);
    }
    cpni_arena_free(&claim->arena);
    cpni_free(claim);
}

static void send_cancel(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpn_id *task, uint32_t attempt)
{
    struct cpni_msg msg = { .type = CPNI_MSG_CANCEL };
    msg.cancel.task = *task;
    msg.cancel.attempt = attempt;
    msg.cancel.code = CPN_ECANCELLED;
    cpni_mlink_send(core, node->link, &msg);
}

void cpni_mclaim_attempt(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_rec_ATTEMPT *attempt)
{
    struct cpni_mclaim *claim = find(core, &attempt->task);
    uint32_t number = node->link->control->number;
    if (claim != NULL && claim->node == node && claim->attempt == attempt->attempt) {
        claim->confirmed = number; /* said again after a break; the interval is not prolonged */
        return;
    }
    if (claim != NULL || HASH_COUNT(core->claims) >= CPNI_CLAIMS_MAX) {
        send_cancel(core, node, &attempt->task, attempt->attempt);
        return;
    }
    claim = make(core, node, &attempt->task, attempt->attempt);
    if (claim != NULL) {
        claim->confirmed = number;
    }
}

/* The node handed the attempt back: there is nothing to adopt any more. */
void cpni_mclaim_returned(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpn_id *task, uint32_t attempt)
{
    struct cpni_mclaim *claim = find(core, task);
    if (claim != NULL && claim->node == node && claim->attempt == attempt && claim->result == NULL) {
        cpni_mclaim_free(core, claim);
    }
}

/* Nor is there of what an earlier inventory listed and this one does not: the RETURN was lost. */
void cpni_mclaim_inventory(struct cpni_master_core *core, struct cpni_mnode *node)
{
    struct cpni_mclaim *claim, *next;
    HASH_ITER(hh, core->claims, claim, next) {
        if (claim->node == node && claim->result == NULL && claim->confirmed != node->link->control->number) {
            cpni_mclaim_free(core, claim);
        }
    }
}

/* Whether it is kept; else it is of no use to anybody. */
bool cpni_mclaim_result(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_result *result)
{
    struct cpni_msg msg = { .type = CPNI_MSG_RESULT };
    msg.result = *result;
    uint64_t bytes = cpni_msg_copy_bytes(&msg) + (result->image != NULL ? result->image->size : 0) +
                     (result->output != NULL ? result->output->size : 0);
    struct cpni_mclaim *claim = find(core, &result->task);
    bool final = result->failure == CPNI_FAILURE_NONE || result->failure == CPNI_FAILURE_INPUT || result->failure == CPNI_FAILURE_DEADLINE;
    if (!final) { /* a crash, or cancelled because another node claimed the task: it runs anew */
        if (claim != NULL && claim->node == node && claim->attempt == result->attempt) {
            cpni_mclaim_free(core, claim);
        }
        return false;
    }
    if (claim != NULL && claim->result != NULL) {
        return claim->node == node; /* again */
    }
    if (result->term == core->config.term || core->claim_bytes + bytes > CPNI_CLAIM_BYTES_MAX ||
        (claim == NULL && HASH_COUNT(core->claims) >= CPNI_CLAIMS_MAX)) {
        return false;
    }
    if (claim == NULL && (claim = make(core, node, &result->task, result->attempt)) == NULL) {
        return true; /* no memory: it will be said again */
    }
    if (cpni_mkeep(core, &claim->arena, &msg, &claim->result) < 0) {
        return true;
    }
    if (claim->node != node) {
        send_cancel(core, claim->node, &claim->task, claim->attempt);
        claim->node = node;
    }
    claim->attempt = result->attempt;
    claim->bytes = bytes;
    core->claim_bytes += bytes;
    return true;
}

bool cpni_mclaim_adopt(struct cpni_master_core *core, struct cpni_mtask *task)
{
    struct cpni_mclaim *claim = find(core, &task->id);
    if (claim == NULL) {
        return false;
    }
    struct cpni_mnode *node = claim->node;
    cpni_mlease_take(core, task, node, claim->attempt);
    task->confirmed = node->link->control != NULL ? node->link->control->number : 0;
    if (claim->result != NULL) {
        cpni_mlease_result(core, node, &claim->result->result); /* may free the task */
    }
    cpni_mclaim_free(core, claim);
    return true;
}

void cpni_mclaim_node(struct cpni_master_core *core, struct cpni_mnode *node)
{
    struct cpni_mclaim *claim, *next;
    HASH_ITER(hh, core->claims, claim, next) {
        if (claim->node == node) {
            cpni_mclaim_free(core, claim);
        }
    }
}

void cpni_mclaim_timer(struct cpni_master_core *core, struct cpni_mclaim *claim)
{
    struct cpni_log_about about = cpni_mabout_node(core, claim->node->identity);
    about.task = &claim->task;
    cpni_log(core->out, CPNI_LOG_TASK_UNCLAIMED, &about, claim->result != NULL ? "its result was dropped" : "it was cancelled");
    if (claim->result != NULL) {
        cpni_mlease_ack(core, claim->node->link, &claim->task, claim->attempt);
    } else {
        send_cancel(core, claim->node, &claim->task, claim->attempt);
    }
    cpni_mclaim_free(core, claim);
}
