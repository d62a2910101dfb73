/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Links of the master: which process stands behind which connection, when it is silent for too long, and when two of them claim one
 * node (DESIGN §5). Must not know what a process does once it is welcomed.
 *
 * A link's number changes with every HELLO. What was sent under an older number and is still on its way must be ignored by the peer,
 * which is why an inventory and what follows WELCOME together are the whole truth.
 *
 * Two processes of one node: a new boot id replaces the old process at once, for it is nearly always a restart. Should the replaced one
 * speak again within CPNI_COPIED_MS, both live: the newer one is refused, the older goes on. A packet of the dead process that was still
 * on its way must not look like a living one, so a HELLO counts only if it answers a RESYNC that was sent after the replacement, or
 * comes so late that nothing can have been on its way for so long. */
#include "core/master_state.h"

static bool same(const struct cpn_id *a, const struct cpn_id *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

struct cpni_mlink *cpni_mlink_find(struct cpni_midentity *identity, const struct cpn_id *boot)
{
    struct cpni_mlink *link;
    DL_FOREACH(identity->links, link) {
        if (same(&link->boot, boot)) {
            break;
        }
    }
    return link;
}

void cpni_mlink_send(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpni_msg *msg)
{
    if (link != NULL && link->control != NULL && !link->control->deaf) {
        cpni_mconn_send(core, link->control, msg);
    }
}

void cpni_mlink_beats(struct cpni_master_core *core)
{
    struct cpni_msg beat = { .type = CPNI_MSG_BEAT };
    beat.beat.term = core->config.term;
    struct cpni_midentity *identity, *next;
    HASH_ITER(hh, core->identities, identity, next) {
        struct cpni_mlink *link;
        DL_FOREACH(identity->links, link) {
            cpni_mlink_send(core, link, &beat);
        }
    }
}

/* ---- making and ending ---- */

static struct cpni_mlink *make(struct cpni_master_core *core, struct cpni_midentity *identity, const struct cpni_msg_hello *hello)
{
    struct cpni_mlink *link = cpni_calloc(1, sizeof *link);
    if (link == NULL) {
        core->out->failed = true;
        return NULL;
    }
    link->timer.kind = CPNI_MTIMER_LINK;
    link->timer.owner = link;
    if (cpni_heap_insert(&core->timers, &link->timer.entry, core->now.mono_us + core->gone_us) < 0) {
        core->out->failed = true;
        cpni_free(link);
        return NULL;
    }
    link->serial = ++core->last_link;
    link->identity = identity;
    link->boot = hello->boot;
    link->kind = hello->kind == CPNI_KIND_WORKER ? CPNI_KIND_WORKER : CPNI_KIND_CLIENT;
    cpni_str_copy(hello->software, link->software, sizeof link->software);
    DL_APPEND(identity->links, link);
    identity->link_count++;
    core->link_count++;
    return link;
}

void cpni_mlink_detach(struct cpni_master_core *core, struct cpni_mconn *conn)
{
    struct cpni_mlink *link = conn->link;
    conn->link = NULL;
    conn->waiting = false;
    if (link == NULL) {
        return;
    }
    if (link->bulk == conn) {
        link->bulk = NULL;
        cpni_transfer_down(core->transfer, link->serial, &core->now, core->out);
    } else if (link->control == conn) {
        link->control = NULL;
    }
}

static void end_tasks(struct cpni_master_core *core, struct cpni_mlink *link, const char *why)
{
    while (link->tasks != NULL) {
        struct cpni_mtask *task = link->tasks;
        cpni_mtask_own(task, NULL);
        cpni_mtask_cancel(core, task, why); /* without an owner it goes away with its outcome */
    }
}

void cpni_mlink_free(struct cpni_master_core *core, struct cpni_mlink *link, int code, const char *why)
{
    end_tasks(core, link, why);
    cpni_mpublish_forget(core, link);
    cpni_msession_forget(core, link);
    if (link->control != NULL) {
        cpni_mconn_drop(core, link->control);
    }
    if (link->bulk != NULL) {
        cpni_mconn_drop(core, link->bulk);
    }
    cpni_transfer_forget(core->transfer, link->serial, code, why, &core->now, core->out);
    cpni_heap_remove(&core->timers, &link->timer.entry);
    struct cpni_midentity *identity = link->identity;
    identity->last_seen_us = core->now.wall_us;
    cpni_mstats_touch(core, identity);
    DL_DELETE(identity->links, link);
    identity->link_count--;
    core->link_count--;
    if (identity->node != NULL && identity->node->link == link) {
        identity->node->link = NULL;
    }
    cpni_free(link);
    cpni_midentity_release(core, identity);
}

/* ---- HELLO ---- */

static bool kind_fits(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_midentity *identity,
                      const struct cpni_msg_hello *hello)
{
    bool worker = hello->kind == CPNI_KIND_WORKER;
    if (worker == (identity->role == CPN_ROLE_NODE)) {
        return true;
    }
    struct cpni_mrefusal refusal = { .code = CPN_EDENIED, .type = CPNI_MSG_HELLO };
    cpni_mconn_refuse(core, conn, &refusal,
                      worker ? "this key is enrolled as %s: a worker needs a token of role node"
                             : "this key is enrolled as %s: a client needs a token of role user or admin",
                      cpn_role_name(identity->role));
    return false;
}

static void refuse_copy(struct cpni_master_core *core, struct cpni_mnode *node, struct cpni_mconn *conn)
{
    struct cpni_mrefusal refusal = { .code = CPN_ECOPIED, .type = CPNI_MSG_HELLO };
    cpni_mconn_refuse(core, conn, &refusal,
                      "another process with this node's key is running: was the data directory copied? Enrol this machine as a "
                      "node of its own, with a new token and an empty data directory");
    struct cpni_log_about about = cpni_mabout_node(core, node->identity);
    cpni_log(core->out, CPNI_LOG_NODE_COPIED, &about, "the newer process was refused; the older goes on");
}

static void end_process(struct cpni_master_core *core, struct cpni_mnode *node, const char *why)
{
    struct cpni_mlink *old = node->link;
    cpni_mnode_leave(core, node, why);
    cpni_mlink_free(core, old, CPN_ENODELOST, why);
}

/* Whether this process may stand for the node now. */
static bool boot_admitted(struct cpni_master_core *core, struct cpni_mconn *conn, struct cpni_mnode *node, const struct cpn_id *boot,
                          bool answers)
{
    if (node->link == NULL) {
        node->has_refused = false;
        return true;
    }
    if (same(&node->boot, boot)) {
        return true;
    }
    if (node->has_refused && same(&node->refused, boot)) {
        refuse_copy(core, node, conn);
        cpni_mconn_drop(core, conn);
        return false;
    }
    bool back = node->replaced_us != 0 && same(&node->replaced, boot) &&
                core->now.mono_us - node->replaced_us < (int64_t)CPNI_COPIED_MS * 1000;
    if (!back) {
        end_process(core, node, "its next process has started");
        return true;
    }
    if (!answers && core->now.mono_us - node->replaced_us < core->gone_us) {
        cpni_mconn_resync(core, conn, CPN_EAGAIN, "another process spoke for this node since: say HELLO again");
        return false;
    }
    node->refused = node->boot;
    node->has_refused = true;
    if (node->link->control != NULL) {
        refuse_copy(core, node, node->link->control);
    }
    end_process(core, node, "a copy of another process");
    return true;
}

static void welcome(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_midentity *identity)
{
    conn->number = ++core->last_number != 0 ? core->last_number : ++core->last_number;
    struct cpni_msg msg = { .type = CPNI_MSG_WELCOME };
    msg.welcome.link = conn->number;
    msg.welcome.term = core->config.term;
    msg.welcome.heartbeat_ms = core->config.heartbeat_ms;
    msg.welcome.gone_ms = core->config.gone_ms;
    msg.welcome.role = (uint32_t)identity->role;
    msg.welcome.name = cpni_str(identity->name);
    msg.welcome.window_tasks = core->config.user_tasks_max;
    msg.welcome.window_bytes = core->config.user_bytes_max;
    msg.welcome.master = core->config.name;
    cpni_mconn_send(core, conn, &msg);
}

static void attach_bulk(struct cpni_master_core *core, struct cpni_mlink *link, struct cpni_mconn *conn)
{
    if (link->bulk != NULL && link->bulk != conn) {
        /* Which of the two is the living one is not sure: a HELLO of a broken connection may arrive after that of the next one. If it is
         * the other, it says HELLO again; nothing else would tell it, for a bulk connection has no heartbeat. */
        cpni_mconn_resync(core, link->bulk, CPN_EAGAIN, "another connection of this process said HELLO");
        cpni_mconn_drop(core, link->bulk);
    }
    conn->link = link;
    conn->bulk = true;
    conn->waiting = false;
    link->bulk = conn;
    welcome(core, conn, link->identity);
    struct cpni_transfer_link to = { .conn = conn->conn, .link = conn->number };
    *(link->kind == CPNI_KIND_WORKER ? &to.node : &to.user) = link->identity->key;
    if (cpni_transfer_up(core->transfer, link->serial, &to, &core->now, core->out) < 0) {
        core->out->failed = true;
    }
    cpni_msession_node_wake(link->identity->node);
}

static void hello_bulk(struct cpni_master_core *core, struct cpni_mconn *conn, struct cpni_midentity *identity)
{
    struct cpni_mlink *link = cpni_mlink_find(identity, &conn->boot);
    conn->bulk = true;
    if (link == NULL) {
        conn->waiting = true; /* its control channel is on the way */
        return;
    }
    attach_bulk(core, link, conn);
}

static void attach_waiting(struct cpni_master_core *core, struct cpni_mlink *link)
{
    struct cpni_mconn *conn, *next;
    HASH_ITER(hh, core->conns, conn, next) {
        bool same_key = link->identity->local ? conn->local : memcmp(&conn->key, &link->identity->key, sizeof conn->key) == 0;
        if (conn->waiting && same_key && same(&conn->boot, &link->boot)) {
            attach_bulk(core, link, conn);
        }
    }
}

static struct cpni_mlink *find_or_make(struct cpni_master_core *core, struct cpni_mconn *conn, struct cpni_midentity *identity,
                                       const struct cpni_msg_hello *hello)
{
    struct cpni_mlink *link = cpni_mlink_find(identity, &hello->boot);
    if (link != NULL) {
        return link;
    }
    if (core->link_count >= CPNI_LINKS_MAX || identity->link_count >= CPNI_IDENTITY_LINKS_MAX) {
        struct cpni_mrefusal refusal = { .code = CPN_EBUSY, .type = CPNI_MSG_HELLO };
        cpni_mconn_refuse(core, conn, &refusal, "too many processes are connected (%u with this key): end some and try again",
                          identity->link_count);
        return NULL;
    }
    return make(core, identity, hello);
}

static void hello_control(struct cpni_master_core *core, struct cpni_mconn *conn, struct cpni_midentity *identity,
                          const struct cpni_msg_hello *hello, bool answers)
{
    struct cpni_mnode *node = NULL;
    if (identity->role == CPN_ROLE_NODE) {
        node = cpni_mnode_of(core, identity);
        if (node == NULL || !boot_admitted(core, conn, node, &hello->boot, answers)) {
            return;
        }
    }
    struct cpni_mlink *link = find_or_make(core, conn, identity, hello);
    if (link == NULL) {
        return;
    }
    bool anew = link->control == NULL && link->heard_us == 0;
    if (link->control != NULL && link->control != conn) {
        cpni_mconn_drop(core, link->control);
    }
    conn->link = link;
    conn->bulk = false;
    conn->deaf = false;
    link->control = conn;
    link->lost = false;
    link->heard_us = core->now.mono_us;
    cpni_heap_move(&core->timers, &link->timer.entry, core->now.mono_us + core->gone_us);
    identity->last_seen_us = core->now.wall_us;
    welcome(core, conn, identity);
    if (node != NULL) {
        cpni_mnode_join(core, node, link, anew, hello);
    } else {
        if (anew) {
            struct cpni_log_about about = cpni_mabout_user(core, identity);
            cpni_log(core->out, CPNI_LOG_CLIENT_JOINED, &about, "%s", link->software);
        }
        cpni_mtask_redeliver(core, link);
    }
    attach_waiting(core, link);
}

void cpni_mlink_hello(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_hello *hello)
{
    enum cpni_kind kind = hello->kind == CPNI_KIND_WORKER ? CPNI_KIND_WORKER : CPNI_KIND_CLIENT;
    struct cpni_midentity *identity =
        conn->local ? cpni_midentity_local(core, &hello->boot, kind, hello->name) : cpni_midentity_find(core, &conn->key);
    if (identity == NULL || !kind_fits(core, conn, identity, hello)) {
        return;
    }
    bool answers = conn->deaf;
    bool bulk = hello->channel == CPNI_CHANNEL_BULK;
    if (conn->link != NULL && (conn->bulk != bulk || !same(&conn->link->boot, &hello->boot))) {
        cpni_mlink_detach(core, conn);
    }
    conn->boot = hello->boot;
    if (bulk) {
        conn->deaf = false;
        hello_bulk(core, conn, identity);
    } else {
        hello_control(core, conn, identity, hello, answers);
    }
    cpni_midentity_release(core, identity); /* a local one that came to nothing, or waits for its control channel */
}

/* ---- the end of a process ---- */

void cpni_mlink_bye(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpni_msg_bye *bye)
{
    if (link->kind == CPNI_KIND_WORKER) {
        struct cpni_mnode *node = link->identity->node;
        struct cpni_log_about about = cpni_mabout_node(core, link->identity);
        cpni_log(core->out, CPNI_LOG_NODE_LEFT, &about, "%.*s", (int)bye->text.size, bye->text.text);
        cpni_mnode_leave(core, node, "it left");
        cpni_mlink_free(core, link, CPN_ENODELOST, "the node left");
        return;
    }
    struct cpni_log_about about = cpni_mabout_user(core, link->identity);
    cpni_log(core->out, CPNI_LOG_CLIENT_LEFT, &about, "%.*s", (int)bye->text.size, bye->text.text);
    if (!bye->returning) {
        cpni_mlink_free(core, link, CPN_ECLOSED, "its client left");
    }
}

static void client_silent(struct cpni_master_core *core, struct cpni_mlink *link)
{
    struct cpni_log_about about = cpni_mabout_user(core, link->identity);
    if (link->lost || (link->tasks == NULL && !cpni_msession_waits(core, link))) {
        cpni_log(core->out, CPNI_LOG_CLIENT_LOST, &about, "gone for good");
        cpni_mlink_free(core, link, CPN_ECLOSED, "its client is gone");
        return;
    }
    cpni_log(core->out, CPNI_LOG_CLIENT_LOST, &about, "its tasks are kept for %u s", CPNI_CLIENT_GRACE_MS / 1000);
    link->lost = true;
    if (link->control != NULL) {
        cpni_mconn_drop(core, link->control);
    }
    if (link->bulk != NULL) {
        cpni_mconn_drop(core, link->bulk);
    }
    cpni_heap_move(&core->timers, &link->timer.entry, core->now.mono_us + (int64_t)CPNI_CLIENT_GRACE_MS * 1000);
}

/* When a process counts as silent. What comes on its bulk channel shows too that it lives, when chunks crowd out its beats; but not for
 * ever, for without its control channel it is of no use. */
static int64_t silent_us(const struct cpni_master_core *core, const struct cpni_mlink *link)
{
    int64_t heard_us = link->heard_us > core->awake_us ? link->heard_us : core->awake_us;
    int64_t at_us = heard_us + core->gone_us, last_us = heard_us + 3 * core->gone_us;
    int64_t bulk_us = link->bulk_heard_us + core->gone_us;
    return bulk_us <= at_us ? at_us : bulk_us < last_us ? bulk_us : last_us;
}

void cpni_mlink_timer(struct cpni_master_core *core, struct cpni_mlink *link)
{
    int64_t at_us = silent_us(core, link);
    if (!link->lost && core->now.mono_us < at_us) {
        cpni_heap_move(&core->timers, &link->timer.entry, at_us);
    } else if (link->kind == CPNI_KIND_CLIENT) {
        client_silent(core, link);
    } else {
        struct cpni_midentity *identity = link->identity;
        struct cpni_log_about about = cpni_mabout_node(core, identity);
        cpni_log(core->out, CPNI_LOG_NODE_LOST, &about, "silent for %lld ms; %u tasks run elsewhere",
                 (long long)((core->now.mono_us - link->heard_us) / 1000), identity->node->lease_count);
        identity->total.losses++;
        identity->fresh.losses++;
        cpni_mnode_leave(core, identity->node, "it is silent");
        cpni_mlink_free(core, link, CPN_ENODELOST, "the node is gone");
    }
}
