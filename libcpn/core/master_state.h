/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the master's core remembers, and what its files (core/master_*.c) call of one another. Seen by them alone.
 *
 * How it hangs together: an *identity* is a key with its rights and history; a *conn* is one connection that the net layer numbered; a
 * *link* is one process (identity, boot id) with a control and perhaps a bulk conn, and outlives a broken conn until it is silent for
 * too long; a *node* is what an identity of role node offers now; a *version* is one version of a model and a *held* says how far one
 * node has one; a *task* waits in the *flow* of its user, version and priority, or is leased to a node.
 *
 * Memory: what an answer of the store will need is allocated before the question is asked, and what a requeue needs belongs to the task,
 * so that nothing that must happen later can fail. Where memory ends in the middle of a step, actions->failed is set, the state stays
 * valid, and cpni_master_core_step() forgets every connection: the peers say HELLO again and the inventories repair the rest. */
#ifndef CPNI_MASTER_STATE_H
#define CPNI_MASTER_STATE_H

#include <string.h>

#include <cpn/error.h>

#include "base/hash.h"
#include "base/heap.h"
#include "core/events.h"
#include "core/master.h"
#include "core/transfer.h"
#include "proto/limits.h"

#define CPNI_TASK_TEXT 384 /* why a task waits or failed; evidence of its attempts */

struct cpni_mversion;
struct cpni_mnode;
struct cpni_mlink;
struct cpni_mtask;
struct cpni_msession;
struct cpni_mpeer;

enum cpni_mtimer_kind { CPNI_MTIMER_LINK = 1, CPNI_MTIMER_TASK, CPNI_MTIMER_CLAIM };
struct cpni_mtimer {
    struct cpni_heap_entry entry; /* first: the heap hands this back */
    enum cpni_mtimer_kind kind;
    void *owner;
};

struct cpni_mstats {
    uint64_t tasks, failures, busy_us, bytes_in, bytes_out, joins, losses;
};

/* ---- who ---- */

struct cpni_mflow { /* the queued tasks of one user for one version in one priority class; lives while any task refers to it */
    struct cpni_midentity *user;
    struct cpni_mversion *version;
    uint32_t priority;
    uint32_t refs;
    struct cpni_mtask *tasks; /* queued, first to run first */
    uint32_t queued;
    struct cpni_mflow *prev, *next;         /* all of a user's */
    struct cpni_mflow *ring_prev, *ring_next; /* those with queued tasks, in turn */
};

struct cpni_midentity {
    struct cpn_key key;
    enum cpn_role role;
    char name[CPNI_NAME];
    bool enrolled; /* false: only reserved while the store is asked */
    bool local;    /* a role of this process; its key was made of its boot id, the store does not know it */
    bool revoked, publish;
    bool has_signer;
    struct cpn_key signer;
    struct cpni_mstats total, fresh; /* fresh: of total, not yet committed */
    bool stale;                      /* something is not yet committed */
    int64_t first_join_us, last_seen_us, recorded_seen_us; /* wall */
    struct cpni_mnode *node;
    struct cpni_mlink *links;
    uint32_t link_count;
    uint32_t tasks;
    uint64_t bytes;
    struct cpni_mflow *flows;
    struct cpni_mflow *ring[CPNI_PRIORITIES];
    struct cpni_midentity *ring_prev[CPNI_PRIORITIES], *ring_next[CPNI_PRIORITIES];
    uint32_t asks; /* unanswered questions that refer to it */
    UT_hash_handle hh;
};

struct cpni_mtoken {
    struct cpn_key key;
    enum cpn_role role;
    char hint[CPNI_NAME];
    int64_t expires_us; /* wall; 0: never */
    uint32_t uses_left;
    bool live;         /* false: only reserved while the store is asked */
    int64_t over_us;   /* wall; not 0: used up, forgotten then */
    uint32_t asks;
    UT_hash_handle hh;
};

struct cpni_mconn {
    uint64_t conn;
    struct cpn_key key;
    bool local, token, bulk, dropped;
    struct cpni_mlink *link; /* NULL before HELLO */
    uint32_t number;         /* as in WELCOME; what comes under another one is stale */
    uint64_t next;           /* sequence */
    bool deaf;               /* RESYNC was sent: nothing but HELLO is heard */
    int64_t asked_us;        /* when; 0: never */
    int64_t heard_us;
    int64_t warned_us; /* when it was last told of something wrong; 0: never */
    uint32_t strikes;
    bool waiting; /* a bulk channel that came before its control channel */
    struct cpn_id boot;
    struct cpni_mconn *grave; /* next dropped one */
    UT_hash_handle hh;
};

struct cpni_mlink {
    uint64_t serial; /* the peer's number for transfers */
    struct cpni_midentity *identity;
    struct cpn_id boot;
    enum cpni_kind kind;
    struct cpni_mconn *control, *bulk;
    int64_t heard_us, bulk_heard_us; /* on each of the two */
    bool lost; /* silent for too long; a client's link waits for its return then */
    bool said_bye;
    struct cpni_mtimer timer;
    struct cpni_mtask *tasks; /* client: submitted by it and not yet acknowledged */
    char software[CPNI_NAME];
    struct cpni_mlink *prev, *next; /* of the identity */
};

/* ---- what ---- */

struct cpni_mmodel {
    char name[CPNI_NAME];
    struct cpni_mversion *versions; /* newest first */
    UT_hash_handle hh;
};

struct cpni_mheld { /* how far a node has a version */
    uint32_t serial; /* of the version: the key */
    struct cpni_mnode *node;
    struct cpni_mversion *version;
    enum cpni_held_state state;
    char text[128];
    uint64_t done, total;
    uint64_t service_us; /* measured time of a task, moving average; 0: unknown */
    struct cpni_mheld *prev, *next; /* of the version, by node number */
    UT_hash_handle hh;              /* of the node */
};

struct cpni_mversion {
    uint32_t serial;
    uint32_t number; /* 0: an embedder's callback */
    struct cpni_mmodel *model;
    struct cpn_hash root;
    struct cpni_arena arena; /* of the manifest */
    struct cpni_manifest manifest;
    struct cpni_bytes *manifest_bytes;
    struct cpni_signature signature;
    struct cpn_key signer;
    uint64_t bytes;
    int64_t added_us; /* wall */
    bool live;        /* false: only reserved while the store is asked */
    bool removed;
    struct cpni_mheld *holders;
    uint32_t ready;      /* holders that are READY and not gone */
    uint64_t service_us; /* over all nodes */
    uint32_t tasks;      /* that refer to it */
    uint64_t pass;       /* the last pass of the scheduler that found no free node for it */
    struct cpni_mversion *prev, *next;
    UT_hash_handle hh; /* by root; callbacks are not in there */
};

struct cpni_mnode {
    struct cpni_midentity *identity;
    uint32_t number;
    struct cpni_mlink *link; /* NULL: gone */
    struct cpn_id boot;
    struct cpn_id replaced;  /* the boot id before this one, */
    int64_t replaced_us;     /* since when; 0: none */
    struct cpn_id refused;   /* the boot id that was found to be a copy, */
    bool has_refused;
    bool drained;  /* by an admin */
    bool draining; /* says so itself */
    int64_t paused_us; /* it handed a task back: nothing new until then */
    bool seen;     /* was here in this term */
    bool awaited;  /* was live at the last record: settling waits for it */
    uint32_t slots, cores;
    uint64_t memory;
    uint32_t credit_tasks;
    uint64_t credit_bytes;
    struct cpni_arena arena; /* of the three below, as the last HELLO said */
    struct cpni_str software, gpu;
    struct cpni_rec_TEXT *backends;
    uint32_t backend_count;
    struct cpni_msg_beat load;
    struct cpni_mtask *leases;
    uint32_t lease_count;
    uint64_t lease_bytes;
    uint64_t lease_us; /* expected work of what is leased */
    struct cpni_mheld *held;
    struct cpni_mpeer *peer; /* what it is to the session that it is locked to; NULL: free */
    struct cpni_mnode *prev, *next; /* by number */
};

/* ---- work ---- */

struct cpni_mblob { /* an input or result in passing: gone with the last task that needs it; or what sessions keep */
    struct cpn_hash root;
    uint64_t size;
    uint32_t refs;   /* tasks */
    uint32_t files;  /* versions that have it as a file: never removed while there are any */
    uint32_t kept;   /* by sessions, and by how much of them: likewise */
    bool here;       /* whole */
    UT_hash_handle hh;
};

struct cpni_mtask {
    struct cpn_id id;
    struct cpni_midentity *user;
    struct cpni_mlink *owner; /* NULL: its process is gone */
    struct cpni_mversion *version;
    struct cpni_mflow *flow;
    struct cpni_bytes *input;
    struct cpni_mblob *input_blob;
    uint64_t input_size;
    char *input_name;
    bool annotate;
    uint32_t priority;
    uint32_t max_attempts; /* 0: the network's */
    bool withheld; /* an earlier master may have run it, and it may run once: it waits for who reports it, and is not placed */
    int64_t accepted_us, queued_us, placed_us, started_us;
    uint64_t waited_us; /* in the queue, over all attempts */
    int64_t deadline_us;
    struct cpni_mtimer timer;
    enum cpni_job_state state;
    uint32_t attempt; /* the leased one, or the last that was */
    uint32_t last_attempt; /* the highest number given so far: an older attempt may be the one that counts */
    uint32_t crashes;
    struct cpni_mnode *node; /* of the lease */
    uint64_t expected_us;
    uint32_t avoid[CPNI_ATTEMPTS_POISON]; /* numbers of nodes on which it crashed; 0: none */
    uint32_t confirmed; /* number of the connection on which its node last reported it */
    uint64_t fetch; /* ticket of a transfer; 0: none */
    UT_hash_handle fetch_hh;
    struct cpni_mnode *source; /* that holds the result's image until it is here */
    /* the outcome */
    struct cpni_msg *result; /* as the node sent it; NULL: made here of the three below */
    struct cpni_arena result_arena;
    uint64_t result_bytes;
    struct cpni_mblob *result_blob;
    int code;
    enum cpni_failure failure;
    char text[CPNI_TASK_TEXT];
    char node_name[CPNI_NAME]; /* that made it */
    uint32_t delivered; /* number of the connection that it was sent on */
    struct cpni_mtask *prev, *next;             /* of the flow, or of the node's leases */
    struct cpni_mtask *owner_prev, *owner_next; /* of the link */
    UT_hash_handle hh;
};

struct cpni_mclaim { /* work of an earlier term that a node reports before its client does */
    struct cpn_id task;
    uint32_t attempt;
    struct cpni_mnode *node;
    uint32_t confirmed; /* number of the connection whose HELLO listed it last */
    struct cpni_msg *result; /* NULL: still running */
    struct cpni_arena arena;
    uint64_t bytes;
    struct cpni_mtimer timer;
    UT_hash_handle hh;
};

struct cpni_mparked {
    struct cpn_id task;
    char model[CPNI_NAME];
    struct cpn_key user;
    uint32_t attempts;
    char text[CPNI_TASK_TEXT];
    int64_t wall_us;
    struct cpni_mparked *prev, *next;
};

struct cpni_mpublish { /* a bundle on its way in */
    uint64_t serial;
    struct cpni_mlink *link;
    uint64_t request;
    struct cpni_mversion *version; /* reserved */
    uint64_t tickets;              /* the transfer of file i has the ticket tickets + i */
    uint32_t missing;
    bool committing;
    struct cpni_mpublish *prev, *next;
};

/* ---- what was asked and is not answered ---- */

enum cpni_mpending_kind {
    CPNI_MPENDING_ENROL = 1,
    CPNI_MPENDING_ADMIN,
    CPNI_MPENDING_LOCAL,
    CPNI_MPENDING_SIGNER,
    CPNI_MPENDING_MODEL,
    CPNI_MPENDING_NODE_STATS,
    CPNI_MPENDING_USER_STATS,
    CPNI_MPENDING_PARKED,
    CPNI_MPENDING_SESSION,
    CPNI_MPENDING_NOTES
};
struct cpni_mpending {
    uint64_t ticket;
    enum cpni_mpending_kind kind;
    uint64_t conn; /* who waits for the answer, by number: it may be gone by then */
    uint32_t number;
    uint64_t request;
    enum cpni_admin op;
    struct cpni_midentity *identity;
    struct cpni_mtoken *token;
    uint64_t publish; /* serial */
    enum cpni_command_type command; /* of a session */
    struct cpn_id task; /* or session */
    struct cpn_hash root;
    uint32_t version;
    char name[CPNI_NAME];
    struct cpni_mstats stats; /* what was sent, to be added again if it fails */
    UT_hash_handle hh;
};

struct cpni_master_core {
    struct cpni_master_config config;
    char name[CPNI_NAME];
    int64_t heartbeat_us, gone_us;

    /* of the running step */
    struct cpni_now now;
    struct cpni_actions *out;
    bool dirty; /* something may be placed now */
    bool reset; /* the last step failed and connections are forgotten: there is work at once */
    struct cpni_mconn *graves;

    struct cpni_midentity *identities;
    struct cpni_mtoken *tokens;
    struct cpni_mconn *conns;
    struct cpni_mmodel *models;
    struct cpni_mversion *versions;
    struct cpni_mnode *nodes;
    struct cpni_mtask *tasks;
    struct cpni_mtask *fetches; /* by ticket */
    struct cpni_mblob *blobs;
    struct cpni_mclaim *claims;
    struct cpni_mparked *parked;
    struct cpni_mpublish *publishes;
    struct cpni_msession *sessions;
    struct cpni_mpending *asks;
    struct cpni_transfer *transfer;
    struct cpni_heap timers;
    struct cpni_midentity *ring[CPNI_PRIORITIES];
    uint32_t ring_count[CPNI_PRIORITIES];

    uint32_t link_count, last_number, last_node, last_serial, version_count, parked_count, publish_count;
    uint64_t last_link, last_ticket, last_publish, pass;
    uint64_t task_bytes, spool_bytes, claim_bytes;
    uint64_t vector_bytes; /* of weights and gradients on their way in */
    bool blobs_idle;       /* some may be kept for nobody any more */
    int64_t claims_us; /* until then nodes may report work of an earlier term; INT64_MAX: that is over */
    int64_t awake_us; /* when the master last awoke from a pause of its own */
    int64_t beat_us, stats_us; /* next; INT64_MAX: none */
    int64_t settle_us;         /* until then nothing is placed; 0: settled */
    int64_t busy_logged_us;
    bool started; /* the first step was taken */
    bool resumed; /* the sessions of an earlier term go on */
    bool stopping, stopped;
    int64_t stop_us;
};

/* ---- small helps (master.c) ---- */

struct cpni_log_about cpni_mabout_node(const struct cpni_master_core *core, const struct cpni_midentity *identity);
struct cpni_log_about cpni_mabout_user(const struct cpni_master_core *core, const struct cpni_midentity *identity);
struct cpni_log_about cpni_mabout_task(const struct cpni_master_core *core, const struct cpni_mtask *task);
struct cpni_str cpni_mversion_text(const struct cpni_master_core *core, const struct cpni_mversion *version); /* "faces@3" */
bool cpni_mlogs(const struct cpni_master_core *core, enum cpni_log_event event); /* whether a line is made: where lines are many */
bool cpni_mkey_zero(const struct cpn_key *key);
bool cpni_mhash_zero(const struct cpn_hash *hash);

void cpni_mawait(struct cpni_master_core *core); /* which nodes settling waits for (master_restore.c) */

/* ---- conns: sequences, roles, refusals (master_conn.c) ---- */

void cpni_mconn_packet(struct cpni_master_core *core, const struct cpni_event_packet *packet);
void cpni_mconn_bad(struct cpni_master_core *core, uint64_t conn, const char *text);
void cpni_mconn_broken(struct cpni_master_core *core, uint64_t conn);
struct cpni_mconn *cpni_mconn_find(struct cpni_master_core *core, uint64_t conn);
void cpni_mconn_drop(struct cpni_master_core *core, struct cpni_mconn *conn); /* with a DROP action; freed after the step */
void cpni_mconn_sweep(struct cpni_master_core *core, bool all); /* the idle ones, or all without actions */
void cpni_mconn_bury(struct cpni_master_core *core);
void cpni_mconn_send(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg *msg);
void cpni_mconn_resync(struct cpni_master_core *core, struct cpni_mconn *conn, int code, const char *why);

/* What a refusal is about; zero where nothing. */
struct cpni_mrefusal {
    int code;
    unsigned type; /* of the message */
    uint64_t request;
    struct cpn_id task;
};
void cpni_mconn_refuse(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_mrefusal *refusal,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));

/* ---- links (master_link.c) ---- */

void cpni_mlink_hello(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_hello *hello);
void cpni_mlink_bye(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpni_msg_bye *bye);
void cpni_mlink_detach(struct cpni_master_core *core, struct cpni_mconn *conn); /* the conn is no longer the link's */
void cpni_mlink_timer(struct cpni_master_core *core, struct cpni_mlink *link);
void cpni_mlink_free(struct cpni_master_core *core, struct cpni_mlink *link, int code, const char *why);
void cpni_mlink_send(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpni_msg *msg); /* nothing when detached */
void cpni_mlink_beats(struct cpni_master_core *core);
struct cpni_mlink *cpni_mlink_find(struct cpni_midentity *identity, const struct cpn_id *boot);

/* ---- identities and tokens (master_identity.c) ---- */

extern const struct cpn_key cpni_mlocal_key; /* under which the store knows what roles of this process publish; never admitted */
struct cpni_midentity *cpni_midentity_find(const struct cpni_master_core *core, const struct cpn_key *key);
struct cpni_midentity *cpni_midentity_named(const struct cpni_master_core *core, struct cpni_str name, const char **trouble);
struct cpni_midentity *cpni_midentity_make(struct cpni_master_core *core, const struct cpn_key *key); /* reserved; NULL: no room */
struct cpni_midentity *cpni_midentity_local(struct cpni_master_core *core, const struct cpn_id *boot, enum cpni_kind kind,
                                            struct cpni_str wish);
void cpni_midentity_release(struct cpni_master_core *core, struct cpni_midentity *identity); /* free if nothing keeps it */
void cpni_midentity_revoke(struct cpni_master_core *core, struct cpni_midentity *identity);
void cpni_midentity_free(struct cpni_master_core *core, struct cpni_midentity *identity);
struct cpni_mtoken *cpni_mtoken_find(const struct cpni_master_core *core, const struct cpn_key *key);
struct cpni_mtoken *cpni_mtoken_make(struct cpni_master_core *core, const struct cpn_key *key);
void cpni_mtoken_free(struct cpni_master_core *core, struct cpni_mtoken *token);
void cpni_mtoken_sweep(struct cpni_master_core *core);
void cpni_menrol(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_enrol *enrol);
void cpni_menrol_done(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit);

/* ---- what the store was asked (master_pending.c) ---- */

/* A question with its ticket; NULL: no room (actions->failed if it is memory). Fill it in, then commit. */
struct cpni_mpending *cpni_mpending_new(struct cpni_master_core *core, enum cpni_mpending_kind kind);
void cpni_mpending_from(struct cpni_mpending *ask, const struct cpni_mconn *conn, uint64_t request);
/* The command's own payload reference is taken over. */
void cpni_mpending_commit(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_command_key *key,
                      const struct cpni_command *command);
void cpni_mpending_answer(struct cpni_master_core *core, uint64_t ticket, const struct cpni_commit *commit);
void cpni_mpending_notes(struct cpni_master_core *core, uint64_t ticket, int code, struct cpni_rec_NOTE *notes, uint32_t count);
void cpni_mpending_fail_since(struct cpni_master_core *core, uint64_t ticket);
struct cpni_mconn *cpni_mpending_conn(struct cpni_master_core *core, const struct cpni_mpending *ask); /* NULL: gone */
struct cpni_command_key cpni_mpending_key(const struct cpni_mconn *conn, uint64_t request);

/* ---- nodes (master_node.c) ---- */

struct cpni_mnode *cpni_mnode_of(struct cpni_master_core *core, struct cpni_midentity *identity); /* made at need; NULL: no memory */
int cpni_mnode_describe(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_hello *hello);
void cpni_mnode_join(struct cpni_master_core *core, struct cpni_mnode *node, struct cpni_mlink *link, bool anew,
                     const struct cpni_msg_hello *hello);
void cpni_mnode_leave(struct cpni_master_core *core, struct cpni_mnode *node, const char *why);
void cpni_mnode_credit(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_credit *credit);
void cpni_mnode_beat(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_beat *beat);
void cpni_mnode_drain(struct cpni_master_core *core, struct cpni_mnode *node, bool drain);
enum cpni_node_state cpni_mnode_state(const struct cpni_mnode *node);
bool cpni_mnode_backend(const struct cpni_mnode *node, struct cpni_str backend, struct cpni_str *version);
void cpni_mnode_free(struct cpni_master_core *core, struct cpni_mnode *node);

/* ---- models (master_model.c, master_prepare.c, master_publish.c) ---- */

struct cpni_mversion *cpni_mversion_make(struct cpni_master_core *core, struct cpni_str name, uint32_t number,
                                         const struct cpn_hash *root, const struct cpni_manifest *manifest);
void cpni_mversion_number(struct cpni_mversion *version, uint32_t number); /* puts it in its place */
void cpni_mversion_release(struct cpni_master_core *core, struct cpni_mversion *version); /* free if nothing keeps it */
void cpni_mversion_free(struct cpni_master_core *core, struct cpni_mversion *version);
struct cpni_mversion *cpni_mversion_root(const struct cpni_master_core *core, const struct cpn_hash *root);
struct cpni_mmodel *cpni_mmodel_find(const struct cpni_master_core *core, struct cpni_str name);
/* Of NAME or NAME@N; NULL with the sentence in text. */
struct cpni_mversion *cpni_mversion_resolve(struct cpni_master_core *core, struct cpni_str name, char text[CPNI_TASK_TEXT]);
struct cpni_mheld *cpni_mheld_find(const struct cpni_mnode *node, const struct cpni_mversion *version);
struct cpni_mheld *cpni_mheld_make(struct cpni_master_core *core, struct cpni_mnode *node, struct cpni_mversion *version);
void cpni_mheld_set(struct cpni_master_core *core, struct cpni_mheld *held, enum cpni_held_state state, struct cpni_str text);
void cpni_mheld_free(struct cpni_master_core *core, struct cpni_mheld *held);
void cpni_mheld_message(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_held *held);
void cpni_mprepare_node(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_hello *hello, bool anew);
void cpni_mprepare_version(struct cpni_master_core *core, struct cpni_mversion *version);
void cpni_mprepare_trim(struct cpni_master_core *core, struct cpni_mmodel *model); /* old versions off the nodes */
void cpni_mprepare_remove(struct cpni_master_core *core, struct cpni_mversion *version);
void cpni_mpublish(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_publish *publish,
                   const struct cpni_manifest_check *check);
void cpni_mpublish_signed(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit);
void cpni_mpublish_done(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit);
void cpni_mpublish_local(struct cpni_master_core *core); /* the store is to know roles of this process */
bool cpni_mpublish_outcome(struct cpni_master_core *core, const struct cpni_transfer_outcome *outcome); /* whether it was its */
void cpni_mpublish_forget(struct cpni_master_core *core, const struct cpni_mlink *link);
void cpni_mpublish_free(struct cpni_master_core *core, struct cpni_mpublish *publish);

/* ---- tasks (master_task.c, master_submit.c) ---- */

void cpni_msubmit_queue(struct cpni_master_core *core, struct cpni_mtask *task); /* its input is here; may free the task */
void cpni_msubmit_withheld(struct cpni_master_core *core); /* the time is over: nobody has them */
void cpni_msubmit_requeue(struct cpni_master_core *core, struct cpni_mtask *task); /* its lease is over; may free the task */
void cpni_msubmit(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_submit *submit);
struct cpni_mtask *cpni_mtask_find(const struct cpni_master_core *core, const struct cpn_id *id);
void cpni_mtask_cancel(struct cpni_master_core *core, struct cpni_mtask *task, const char *why);
void cpni_mtask_cancelled(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_cancel *cancel);
void cpni_mtask_timer(struct cpni_master_core *core, struct cpni_mtask *task);
void cpni_mtask_ack(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpni_msg_ack *ack);
/* It ends here: an outcome that was not made by a node. Cannot fail. */
void cpni_mtask_end(struct cpni_master_core *core, struct cpni_mtask *task, int code, enum cpni_failure failure,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));
void cpni_mtask_deliver(struct cpni_master_core *core, struct cpni_mtask *task);
void cpni_mtask_redeliver(struct cpni_master_core *core, struct cpni_mlink *link);
void cpni_mtask_drop_input(struct cpni_master_core *core, struct cpni_mtask *task);
void cpni_mtask_account(struct cpni_master_core *core, struct cpni_mtask *task, uint64_t more, uint64_t less); /* bytes in memory */
void cpni_mtask_own(struct cpni_mtask *task, struct cpni_mlink *link);
void cpni_mtask_free(struct cpni_master_core *core, struct cpni_mtask *task);
void cpni_mtask_parked(struct cpni_master_core *core, struct cpni_mpending *ask);
void cpni_mtask_park(struct cpni_master_core *core, struct cpni_mtask *task);
int cpni_mparked_add(struct cpni_master_core *core, const struct cpni_mparked *parked);
/* A kept copy of a message in an empty arena. CPN_ENOMEM (actions->failed is set). */
int cpni_mkeep(struct cpni_master_core *core, struct cpni_arena *arena, const struct cpni_msg *msg, struct cpni_msg **out);

/* ---- leases (master_lease.c, master_claim.c) ---- */

void cpni_mlease_place(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mheld *held);
void cpni_mlease_take(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mnode *node, uint32_t attempt); /* adopt */
void cpni_mlease_release(struct cpni_master_core *core, struct cpni_mtask *task);
void cpni_mlease_revoke(struct cpni_master_core *core, struct cpni_mtask *task, int code); /* release, and tell the node */
void cpni_mlease_started(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_started *started);
void cpni_mlease_result(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_result *result);
void cpni_mlease_commit(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mnode *node,
                        const struct cpni_msg_result *result);
void cpni_mlease_returned(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_handback *handback);
void cpni_mlease_lost(struct cpni_master_core *core, struct cpni_mnode *node, const char *why); /* all of a node */
void cpni_mlease_again(struct cpni_master_core *core, struct cpni_mtask *task, bool may_have_run, const char *why);
void cpni_mlease_lose_image(struct cpni_master_core *core, struct cpni_mtask *task);
void cpni_mlease_image_failed(struct cpni_master_core *core, struct cpni_mtask *task, const char *text);
void cpni_mlease_inventory(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_hello *hello);
void cpni_mlease_ack(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpn_id *task, uint32_t attempt);
void cpni_mclaim_attempt(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_rec_ATTEMPT *attempt);
bool cpni_mclaim_result(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_result *result);
bool cpni_mclaim_adopt(struct cpni_master_core *core, struct cpni_mtask *task); /* whether somebody had it */
void cpni_mclaim_node(struct cpni_master_core *core, struct cpni_mnode *node); /* gone: its claims too */
void cpni_mclaim_returned(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpn_id *task, uint32_t attempt);
void cpni_mclaim_inventory(struct cpni_master_core *core, struct cpni_mnode *node); /* after the last of its attempts */
void cpni_mclaim_timer(struct cpni_master_core *core, struct cpni_mclaim *claim);
void cpni_mclaim_free(struct cpni_master_core *core, struct cpni_mclaim *claim);

/* ---- queue and placement (master_sched.c) ---- */

struct cpni_mflow *cpni_mflow_ref(struct cpni_master_core *core, struct cpni_midentity *user, struct cpni_mversion *version,
                                  uint32_t priority);
void cpni_mflow_unref(struct cpni_master_core *core, struct cpni_mflow *flow);
void cpni_msched_queue(struct cpni_master_core *core, struct cpni_mtask *task, bool front);
void cpni_msched_unqueue(struct cpni_master_core *core, struct cpni_mtask *task);
void cpni_msched_run(struct cpni_master_core *core);
void cpni_msched_why(struct cpni_master_core *core, const struct cpni_mtask *task, char text[CPNI_TASK_TEXT]);
void cpni_msched_hopeless(struct cpni_master_core *core, struct cpni_mversion *version);
void cpni_msched_despair(struct cpni_master_core *core); /* the same for all versions */
void cpni_msched_measure(struct cpni_mheld *held, uint64_t service_us);

/* ---- blobs: the rest (master_blob.c) ---- */

struct cpni_mblob *cpni_mblob_ref(struct cpni_master_core *core, const struct cpn_hash *root, uint64_t size);
void cpni_mblob_unref(struct cpni_master_core *core, struct cpni_mblob *blob);
int cpni_mblob_files(struct cpni_master_core *core, const struct cpni_mversion *version); /* counts a version's; CPN_ENOMEM */
void cpni_mblob_unfiles(struct cpni_master_core *core, const struct cpni_mversion *version);
bool cpni_mblob_fetch(struct cpni_master_core *core, struct cpni_mtask *task, struct cpni_mlink *from, struct cpni_mblob *blob);
void cpni_mblob_cancel(struct cpni_master_core *core, struct cpni_mtask *task);
/* For a session, which may read and lose it (class kept). CPN_ENOMEM. */
int cpni_mblob_keep(struct cpni_master_core *core, const struct cpn_hash *root, uint64_t size);
void cpni_mblob_unkeep(struct cpni_master_core *core, const struct cpn_hash *root);
void cpni_mblob_sweep(struct cpni_master_core *core); /* remove what nobody keeps any more, when nothing is on its way in */
void cpni_mblob_orphan(struct cpni_master_core *core, const struct cpni_event_disk *event); /* imported for nobody */
void cpni_mblob_want(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_want *want);
void cpni_mblob_outcomes(struct cpni_master_core *core);

/* ---- people's questions (master_query.c, master_admin.c, master_stats.c) ---- */

void cpni_mquery(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query);
void cpni_mquery_names(const struct cpni_master_core *core, struct cpni_rec_NOTE *notes, uint32_t count); /* keys to names */
void cpni_mquery_tasks(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query);
void cpni_madmin(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_admin *admin);
void cpni_madmin_done(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit);
void cpni_mstats_touch(struct cpni_master_core *core, struct cpni_midentity *identity);
void cpni_mstats_flush(struct cpni_master_core *core, struct cpni_midentity *identity);
void cpni_mstats_flush_all(struct cpni_master_core *core);
void cpni_mstats_done(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit);

/* ---- training sessions (master_session*.c; what they call of one another is in core/master_session.h) ---- */

void cpni_msession_run(struct cpni_master_core *core); /* what is due */
void cpni_msession_beat(struct cpni_master_core *core);
void cpni_msession_timers(struct cpni_master_core *core);
int64_t cpni_msession_deadline(const struct cpni_master_core *core);
void cpni_msession_restored(struct cpni_master_core *core); /* with the first step */
void cpni_msession_free_all(struct cpni_master_core *core);
void cpni_msession_ask(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_session *msg);
void cpni_msession_stop(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_stop *msg);
/* ENABLED, PIECE, UPDATE, GRADIENT, EPOCH */
void cpni_msession_node(struct cpni_master_core *core, struct cpni_mconn *conn, struct cpni_mnode *node, const struct cpni_msg *msg);
void cpni_msession_node_joined(struct cpni_master_core *core, struct cpni_mnode *node, const struct cpni_msg_hello *hello);
void cpni_msession_node_left(struct cpni_master_core *core, struct cpni_mnode *node, const char *why);
void cpni_msession_node_wake(struct cpni_mnode *node); /* it has fewer leases, or a bulk connection; NULL is fine */
void cpni_msession_forget(struct cpni_master_core *core, const struct cpni_mlink *link); /* a client's, gone for good */
bool cpni_msession_waits(const struct cpni_master_core *core, const struct cpni_mlink *link); /* for the dataset of this client */
void cpni_msession_committed(struct cpni_master_core *core, const struct cpni_mpending *ask, const struct cpni_commit *commit);
void cpni_msession_disk(struct cpni_master_core *core, const struct cpni_event_disk *event);
bool cpni_msession_outcome(struct cpni_master_core *core, const struct cpni_transfer_outcome *outcome); /* whether it was its */
bool cpni_msession_moving(const struct cpni_master_core *core); /* a blob is on its way in */
bool cpni_msession_may_read(const struct cpni_master_core *core, const struct cpni_mlink *link, const struct cpn_hash *root);
void cpni_msession_files(const struct cpni_master_core *core, void (*fn)(void *arg, const struct cpn_hash *root), void *arg);
void cpni_mquery_sessions(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query);
void cpni_mquery_lanes(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query);
void cpni_mquery_points(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_query *query);
const char *cpni_msession_check(const struct cpni_master_core *core);

#endif
