/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The master's core from outside: made, stepped, asked when it next wants to be woken, freed. Every event goes from here to the
 * file that owns its decision. */
#include "core/master_state.h"

struct cpni_log_about cpni_mabout_node(const struct cpni_master_core *core, const struct cpni_midentity *identity)
{
    return (struct cpni_log_about){ .node = &identity->key, .name = cpni_actions_text(core->out, "%s", identity->name) };
}

struct cpni_log_about cpni_mabout_user(const struct cpni_master_core *core, const struct cpni_midentity *identity)
{
    return (struct cpni_log_about){ .user = &identity->key, .name = cpni_actions_text(core->out, "%s", identity->name) };
}

struct cpni_log_about cpni_mabout_task(const struct cpni_master_core *core, const struct cpni_mtask *task)
{
    struct cpni_log_about about = { .task = &task->id, .user = &task->user->key };
    if (task->node != NULL) {
        about.node = &task->node->identity->key;
        about.name = cpni_actions_text(core->out, "%s", task->node->identity->name);
    }
    about.model = cpni_mversion_text(core, task->version);
    return about;
}

struct cpni_str cpni_mversion_text(const struct cpni_master_core *core, const struct cpni_mversion *version)
{
    if (version->number == 0) {
        return cpni_actions_text(core->out, "%s", version->model->name);
    }
    return cpni_actions_text(core->out, "%s@%u", version->model->name, version->number);
}

bool cpni_mlogs(const struct cpni_master_core *core, enum cpni_log_event event)
{
    return cpni_log_event_level(event) >= core->out->log_level;
}

bool cpni_mkey_zero(const struct cpn_key *key)
{
    static const struct cpn_key zero;
    return memcmp(key, &zero, sizeof zero) == 0;
}

bool cpni_mhash_zero(const struct cpn_hash *hash)
{
    static const struct cpn_hash zero;
    return memcmp(hash, &zero, sizeof zero) == 0;
}

static uint32_t or32(uint32_t value, uint32_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static uint64_t or64(uint64_t value, uint64_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static void complete_config(struct cpni_master_config *config)
{
    config->heartbeat_ms = or32(config->heartbeat_ms, CPNI_HEARTBEAT_MS);
    config->gone_ms = or32(config->gone_ms, CPNI_GONE_MS);
    config->tasks_max = or32(config->tasks_max, CPNI_TASKS_MAX);
    config->task_bytes_max = or64(config->task_bytes_max, CPNI_TASK_BYTES_MAX);
    config->user_tasks_max = or32(config->user_tasks_max, CPNI_USER_TASKS_MAX);
    config->user_bytes_max = or64(config->user_bytes_max, CPNI_USER_BYTES_MAX);
    config->spool_bytes_max = or64(config->spool_bytes_max, CPNI_SPOOL_BYTES_MAX);
    config->attempts_poison = or32(config->attempts_poison, CPNI_ATTEMPTS_POISON);
}

int cpni_master_core_new(const struct cpni_master_config *config, const struct cpni_now *now, struct cpni_master_core **out)
{
    struct cpni_master_core *core = cpni_calloc(1, sizeof *core);
    if (core == NULL) {
        return CPN_ENOMEM;
    }
    int rc = cpni_transfer_new(&core->transfer);
    if (rc < 0) {
        cpni_free(core);
        return rc;
    }
    core->config = *config;
    complete_config(&core->config);
    core->config.name = cpni_str(cpni_str_copy(config->name, core->name, sizeof core->name));
    core->heartbeat_us = (int64_t)core->config.heartbeat_ms * 1000;
    core->gone_us = (int64_t)core->config.gone_ms * 1000;
    core->now = *now;
    core->beat_us = now->mono_us + core->heartbeat_us;
    core->stats_us = INT64_MAX;
    core->claims_us = now->mono_us + (int64_t)CPNI_CLAIM_MS * 1000;
    core->settle_us = config->settle ? now->mono_us + core->gone_us : 0;
    *out = core;
    return 0;
}

static void free_tasks(struct cpni_master_core *core)
{
    struct cpni_mtask *task, *next_task;
    HASH_ITER(hh, core->tasks, task, next_task) {
        cpni_mtask_free(core, task);
    }
    struct cpni_mclaim *claim, *next_claim;
    HASH_ITER(hh, core->claims, claim, next_claim) {
        cpni_mclaim_free(core, claim);
    }
    struct cpni_mparked *parked, *next_parked;
    DL_FOREACH_SAFE(core->parked, parked, next_parked) {
        cpni_free(parked);
    }
    struct cpni_mpublish *publish, *next_publish;
    DL_FOREACH_SAFE(core->publishes, publish, next_publish) {
        cpni_mpublish_free(core, publish);
    }
}

static void free_models(struct cpni_master_core *core)
{
    struct cpni_mmodel *model, *next_model;
    HASH_ITER(hh, core->models, model, next_model) {
        struct cpni_mversion *version, *next_version;
        bool last = false;
        DL_FOREACH_SAFE(model->versions, version, next_version) {
            last = next_version == NULL; /* the model goes with its last version */
            cpni_mversion_free(core, version);
            if (last) {
                break;
            }
        }
    }
    struct cpni_mblob *blob, *next_blob;
    HASH_ITER(hh, core->blobs, blob, next_blob) {
        HASH_DEL(core->blobs, blob);
        cpni_free(blob);
    }
}

static void free_people(struct cpni_master_core *core)
{
    struct cpni_midentity *identity, *next_identity;
    HASH_ITER(hh, core->identities, identity, next_identity) {
        struct cpni_mlink *link, *next_link;
        DL_FOREACH_SAFE(identity->links, link, next_link) {
            cpni_heap_remove(&core->timers, &link->timer.entry);
            cpni_free(link);
        }
        cpni_midentity_free(core, identity);
    }
    struct cpni_mtoken *token, *next_token;
    HASH_ITER(hh, core->tokens, token, next_token) {
        cpni_mtoken_free(core, token);
    }
}

void cpni_master_core_free(struct cpni_master_core *core)
{
    if (core == NULL) {
        return;
    }
    struct cpni_actions unused = { 0 };
    core->out = &unused;
    struct cpni_mpending *ask, *next_ask;
    HASH_ITER(hh, core->asks, ask, next_ask) {
        HASH_DEL(core->asks, ask);
        cpni_free(ask);
    }
    cpni_msession_free_all(core);
    free_tasks(core);
    struct cpni_mnode *node, *next_node;
    DL_FOREACH_SAFE(core->nodes, node, next_node) {
        cpni_mnode_free(core, node);
    }
    free_models(core);
    free_people(core);
    cpni_mconn_sweep(core, true);
    cpni_mconn_bury(core);
    cpni_transfer_free(core->transfer);
    cpni_heap_free(&core->timers);
    cpni_actions_free(&unused);
    cpni_free(core);
}

/* ---- the orderly end ---- */

static void stop(struct cpni_master_core *core, bool returning)
{
    if (core->stopping) {
        core->stop_us = core->now.mono_us;
        return;
    }
    core->stopping = true;
    core->stop_us = core->now.mono_us + (int64_t)CPNI_STOP_MS * 1000;
    struct cpni_msg bye = { .type = CPNI_MSG_BYE };
    bye.bye.text = cpni_str(returning ? "the master restarts" : "the master stops");
    bye.bye.returning = returning;
    struct cpni_midentity *identity, *next;
    HASH_ITER(hh, core->identities, identity, next) {
        struct cpni_mlink *link;
        DL_FOREACH(identity->links, link) {
            cpni_mlink_send(core, link, &bye);
        }
    }
    cpni_mstats_flush_all(core);
}

static void see_stopped(struct cpni_master_core *core)
{
    if (core->stopping && !core->stopped && (HASH_COUNT(core->asks) == 0 || core->now.mono_us >= core->stop_us)) {
        cpni_log(core->out, CPNI_LOG_STOPPED, NULL, NULL);
        core->stopped = cpni_actions_add(core->out, CPNI_ACT_STOPPED) != NULL;
    }
}

/* ---- a step ---- */

static void settle(struct cpni_master_core *core)
{
    if (core->settle_us == 0) {
        return;
    }
    uint32_t awaited = 0, missing = 0;
    const struct cpni_mnode *node;
    DL_FOREACH(core->nodes, node) {
        awaited += node->awaited;
        missing += node->awaited && !node->seen;
    }
    if (core->now.mono_us < core->settle_us && (awaited == 0 || missing != 0)) {
        return;
    }
    core->settle_us = 0;
    core->dirty = true;
    cpni_msession_beat(core);
    cpni_log(core->out, CPNI_LOG_SETTLED, NULL, "%u of %u nodes of the last record are back", awaited - missing, awaited);
}

static void timers(struct cpni_master_core *core)
{
    struct cpni_heap_entry *first = cpni_heap_first(&core->timers);
    /* A timer that cannot do its work for want of memory stays where it is: the next step comes to it again. */
    while (first != NULL && first->at_us <= core->now.mono_us && !core->out->failed) {
        struct cpni_mtimer *timer = (struct cpni_mtimer *)first;
        if (timer->kind == CPNI_MTIMER_LINK) {
            cpni_mlink_timer(core, timer->owner);
        } else if (timer->kind == CPNI_MTIMER_TASK) {
            cpni_mtask_timer(core, timer->owner);
        } else {
            cpni_mclaim_timer(core, timer->owner);
        }
        first = cpni_heap_first(&core->timers);
    }
    if (core->now.mono_us >= core->beat_us) {
        core->beat_us = core->now.mono_us + core->heartbeat_us;
        core->dirty = true; /* nodes that were paused */
        cpni_mlink_beats(core);
        cpni_mconn_sweep(core, false);
        cpni_mtoken_sweep(core);
        cpni_msched_despair(core);
        cpni_msession_beat(core);
    }
    if (core->now.mono_us >= core->stats_us) {
        core->stats_us = INT64_MAX;
        cpni_mstats_flush_all(core);
    }
    if (core->now.mono_us >= cpni_transfer_deadline(core->transfer)) {
        cpni_transfer_tick(core->transfer, &core->now, core->out);
    }
    settle(core);
    cpni_msession_timers(core);
    if (core->now.mono_us >= core->claims_us) {
        cpni_msubmit_withheld(core);
    }
}

static void take(struct cpni_master_core *core, const struct cpni_event *event)
{
    switch (event->type) {
    case CPNI_EV_PACKET:
        cpni_mconn_packet(core, &event->packet);
        break;
    case CPNI_EV_BAD_PACKET:
        cpni_mconn_bad(core, event->bad.conn, event->bad.text);
        break;
    case CPNI_EV_DISCONNECTED:
        cpni_mconn_broken(core, event->lost.conn);
        break;
    case CPNI_EV_COMMIT:
        cpni_mpending_answer(core, event->commit.ticket, &event->commit.commit);
        break;
    case CPNI_EV_NOTES:
        cpni_mpending_notes(core, event->notes.ticket, event->notes.code, event->notes.notes, event->notes.count);
        break;
    case CPNI_EV_DISK:
        if (cpni_transfer_owns(event->disk.ticket)) {
            cpni_transfer_disk(core->transfer, &event->disk, &core->now, core->out);
        } else if (event->disk.ticket != 0) { /* else of a removal, which is nobody's */
            cpni_msession_disk(core, &event->disk);
        }
        break;
    case CPNI_EV_STOP:
        stop(core, event->stop.returning);
        break;
    default:
        break; /* TICK, and what only nodes and clients see */
    }
}

/* Disk jobs that are never carried out: to whoever asked for them the disk was busy. */
static void lose_jobs(struct cpni_master_core *core, size_t first)
{
    for (size_t i = first, end = core->out->count; i < end; i++) {
        const struct cpni_action *action = &core->out->list[i];
        if (action->type != CPNI_ACT_DISK || action->disk.ticket == 0) {
            continue;
        }
        const struct cpni_event_disk busy = { .ticket = action->disk.ticket, .code = CPN_EBUSY, .root = action->disk.root };
        if (cpni_transfer_owns(action->disk.ticket)) {
            cpni_transfer_disk(core->transfer, &busy, &core->now, core->out);
        } else {
            cpni_msession_disk(core, &busy);
        }
    }
}

/* What this step wanted to send, ask and commit is taken back: half of it would be worse than nothing. So nothing that depends on it may
 * be trusted: every peer is to say HELLO again, and questions of this step count as failed. */
static void recover(struct cpni_master_core *core, uint64_t first_ticket, size_t first_action)
{
    cpni_mpending_fail_since(core, first_ticket);
    struct cpni_mconn *conn, *next;
    HASH_ITER(hh, core->conns, conn, next) {
        cpni_mconn_drop(core, conn);
    }
    lose_jobs(core, first_action);
    cpni_actions_truncate(core->out, first_action);
    core->reset = true;
    core->dirty = true;
}

static void work(struct cpni_master_core *core, const struct cpni_event *event)
{
    core->reset = false;
    if (!core->started) {
        core->started = true;
        cpni_mawait(core);
    }
    if (!core->resumed) {
        cpni_msession_restored(core);
        core->resumed = !core->out->failed;
    }
    take(core, event);
    cpni_mblob_outcomes(core); /* before a timer gives up what is whole now */
    timers(core);
    cpni_mblob_outcomes(core);
    cpni_msession_run(core);
    if (core->dirty && core->settle_us == 0 && !core->stopping) {
        core->dirty = false;
        cpni_msched_run(core);
    }
    see_stopped(core);
}

int cpni_master_core_step(struct cpni_master_core *core, const struct cpni_event *event, const struct cpni_now *now,
                          struct cpni_actions *actions)
{
    /* Beats make a step at least every heartbeat. A longer gap is the master's own (stopped, swapped out, a machine that slept): what the
     * peers said meanwhile waits in the sockets, so they are not silent yet. */
    if (now->mono_us - core->now.mono_us > 2 * core->heartbeat_us) {
        core->awake_us = now->mono_us;
    }
    core->now = *now;
    core->out = actions;
    bool failed_before = actions->failed; /* another step's, in the same list */
    uint64_t first_ticket = core->last_ticket + 1;
    size_t first_action = actions->count;
    actions->failed = false;
    work(core, event);
    bool failed = actions->failed;
    if (failed) {
        recover(core, first_ticket, first_action);
    }
    actions->failed = failed || failed_before;
    cpni_mconn_bury(core);
    core->out = NULL;
    return failed ? CPN_ENOMEM : 0;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t cpni_master_core_deadline(const struct cpni_master_core *core)
{
    int64_t at = earlier(core->stats_us, cpni_transfer_deadline(core->transfer));
    at = earlier(at, cpni_msession_deadline(core));
    const struct cpni_heap_entry *first = cpni_heap_first(&core->timers);
    if (first != NULL) {
        at = earlier(at, first->at_us);
    }
    if (core->conns != NULL || core->tokens != NULL) {
        at = earlier(at, core->beat_us);
    }
    if (core->tasks != NULL) {
        at = earlier(at, core->claims_us);
    }
    if (core->settle_us != 0) {
        at = earlier(at, core->settle_us);
    }
    if (core->stopping && !core->stopped) {
        at = earlier(at, core->stop_us);
    }
    return core->reset ? core->now.mono_us : at;
}
