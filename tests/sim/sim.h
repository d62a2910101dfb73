/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The simulator (DESIGN §15): the real cores and the real codec in one thread, under a virtual clock and a seeded world of networks,
 * disks, stores, runners, programs and faults. This header is what its files share. The same seed gives the same run, to the byte:
 * nothing here may ask for a clock, the system's random numbers, or an order that comes from a pointer.
 *
 *   rng.c    numbers from the seed          blob.c   contents and the blob disk of a machine
 *   world.c  time, places, the end          net.c    connections as ZeroMQ makes and loses them
 *   proc.c   a process around a core        store.c  the durable state and its group commits (session_rows.c: its sessions)
 *   roles.c  master, node and client        program.c what people do: submit, cancel, publish, administer
 *   session.c training sessions             trainer.c the trainer processes of a node (brain.c: what they compute)
 *   faults.c what goes wrong                check.c  what must hold
 *   trace.c  what is told of a failure      main.c   options and seeds */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cpn/error.h>
#include <cpn/types.h>

#define HASH_NONFATAL_OOM 0
#include <uthash.h>

#include "base/heap.h"
#include "core/action.h"
#include "core/client.h"
#include "core/event.h"
#include "core/master.h"
#include "core/worker.h"
#include "proto/session_spec.h"
#include "wire/outbox.h"

#define MS ((int64_t)1000)
#define SECOND ((int64_t)1000000)

struct sim;
struct place;
struct proc;

void *sim_alloc(size_t size); /* zeroed; ends the program when there is none */

#define LIST_ADD(head, item) \
    do { \
        (item)->previous = NULL; \
        (item)->next = (head); \
        if ((head) != NULL) { \
            (head)->previous = (item); \
        } \
        (head) = (item); \
    } while (0)
#define LIST_DEL(head, item) \
    do { \
        if ((item)->previous != NULL) { \
            (item)->previous->next = (item)->next; \
        } else { \
            (head) = (item)->next; \
        } \
        if ((item)->next != NULL) { \
            (item)->next->previous = (item)->previous; \
        } \
    } while (0)

/* ---- rng.c ---- */

uint64_t rng_next(struct sim *sim);
uint64_t rng_below(struct sim *sim, uint64_t bound);                  /* 0 ... bound - 1 */
int64_t rng_between(struct sim *sim, int64_t least, int64_t most);    /* both included */
bool rng_chance(struct sim *sim, unsigned permille);
void rng_fill(struct sim *sim, void *bytes, size_t size);

/* ---- time (world.c) ---- */

/* Embedded in what waits; `fire` is called once at its time, after it has left the queue. */
struct timer {
    struct cpni_heap_entry heap;
    void (*fire)(struct sim *sim, struct timer *timer);
};
void timer_set(struct sim *sim, struct timer *timer, int64_t at_us); /* moves it when it is set already */
void timer_stop(struct sim *sim, struct timer *timer);
#define OWNER(timer, type, member) ((type *)(void *)((char *)(timer)-offsetof(type, member)))

/* ---- blob.c ---- */

#define REGION_BYTES (8u << 20) /* all contents are windows on one region of noise: their first bytes tell them apart */

struct blob {
    struct cpn_hash root;
    uint64_t size;
    uint32_t chunks, have;
    bool spool, complete;
    struct cpni_bytes *leaves;
    struct cpni_bytes **chunk; /* NULL: not here */
    UT_hash_handle hh;
};

struct disk {
    struct blob *blobs;
    int64_t busy_until_us; /* one thread: jobs end in their order */
};

void content_real_tree(bool on); /* BLAKE2b as the real store has it, or a quick toy */

/* Contents are told by a number: the same number and size, the same bytes. */
struct cpni_bytes *content_bytes(uint64_t number, uint64_t size); /* size up to 4 MiB */
bool content_is(uint64_t number, uint64_t size, const struct cpni_bytes *bytes);
void content_root(uint64_t number, uint64_t size, struct cpn_hash *root);

struct blob *disk_find(struct disk *disk, const struct cpn_hash *root);
struct blob *disk_import(struct disk *disk, struct cpni_bytes *bytes, bool spool);
void disk_remove(struct disk *disk, const struct cpn_hash *root);
void disk_restart(struct sim *sim, struct disk *disk); /* what a process finds when it starts: no spool */
void disk_copy(struct disk *to, const struct disk *from);
void disk_free(struct disk *disk);
/* How many are in passing, and one of them; but for one dataset of sessions, which a node keeps for the next. */
size_t disk_spooled(struct sim *sim, const struct disk *disk, char text[CPN_KEY_TEXT]);
/* Carry out a job; fills the answer (its bytes are a new reference). */
void disk_do(struct sim *sim, struct disk *disk, const struct cpni_act_disk *job, struct cpni_event_disk *answer);

/* ---- proc.c: a process around a core ---- */

/* Something that happened to a process and waits for its turn. What the event points to is owned here. */
struct note {
    struct note *next;
    struct cpni_event event;
    struct cpni_bytes **frames; /* of a packet */
    size_t count;
    struct cpni_bytes *own, *own2; /* of DISK, FINISHED, TRAINER */
    struct cpn_label label; /* of FINISHED */
    struct task *task;      /* of SUBMIT */
    uint32_t socket;        /* of CONNECTED, DISCONNECTED, REFUSED and packets at a dealer: which socket it was for */
};

struct conn;
struct channel { /* a dealer: its socket and what its core was told */
    struct proc *proc;
    unsigned number; /* CPNI_CONN_CONTROL, CPNI_CONN_BULK */
    struct conn *conn; /* the connection as it is now; NULL: none */
    bool told_up;      /* CONNECTED reached the core and no DISCONNECTED since */
    bool stopped;      /* refused: until RECONNECT */
    uint32_t socket;   /* grows with RECONNECT: what was for an older one is dropped */
    int64_t retry_us;
    struct timer connect;
};

struct job { /* a disk job, a model's preparation, a run, a commit: answers with a note unless the process dies first */
    struct timer timer;
    struct job *previous, *next;
    struct proc *proc;
    struct note *note;
    struct cpni_act_disk disk;  /* of disk jobs: done when the timer fires */
    bool is_disk, is_run, killed, ends; /* ends: what a trainer was told to do */
    struct trainer *trainer;
    int64_t since_us;
    uint64_t ticket;            /* of runs */
    uint32_t slot;
    struct task *task;
    struct cpn_hash input_root; /* pinned: a run holds its input open */
};

enum kind { KIND_MASTER, KIND_NODE, KIND_CLIENT, KIND_ENROL };

struct proc {
    struct sim *sim;
    struct place *place;
    enum kind kind;
    unsigned number; /* over all processes of the run */
    struct cpn_id boot;
    union {
        void *core;
        struct cpni_master_core *master;
        struct cpni_worker_core *worker;
        struct cpni_client_core *client;
    };
    struct cpni_actions actions;
    struct cpni_arena arena;
    struct cpni_outbox *outbox;
    struct channel channels[2];
    struct note *inbox, **inbox_end;
    struct timer wake, tick, load;
    int64_t mono_offset_us, wall_offset_us;
    int64_t paused_until_us;
    struct job *jobs;
    struct trainer *trainers; /* node */
    bool stopping, stopped, dying;
    bool told_refused; /* client: the master does not want it */
    unsigned steps, idle_ticks;
    uint32_t slots; /* node */
    uint32_t freed; /* node: runs whose end the core has heard of since its actions were last carried out */
    uint64_t submits; /* client */
    uint64_t request; /* client: last of its asks */
    struct {
        uint64_t request; /* 0: free */
        int64_t since_us;
        struct model *model; /* of PUBLISH */
    } asks[8];
};

struct proc *proc_start(struct sim *sim, struct place *place, enum kind kind);
void proc_kill(struct proc *proc); /* as kill -9 does */
void proc_pause(struct proc *proc, int64_t until_us);
void proc_stop(struct proc *proc, bool returning); /* SIGTERM */
struct note *note_new(enum cpni_event_type type);
void note_free(struct note *note);
void proc_note(struct proc *proc, struct note *note); /* taken */
void proc_now(const struct proc *proc, struct cpni_now *now);
struct job *proc_job(struct proc *proc, struct note *note, int64_t at_us);
void job_drop(struct job *job);

/* ---- roles ---- */

int master_open(struct proc *proc, const struct cpni_now *now);
void master_act(struct proc *proc, const struct cpni_action *action);
int node_open(struct proc *proc, const struct cpni_now *now);
void node_act(struct proc *proc, const struct cpni_action *action);
void node_load(struct sim *sim, struct timer *timer);
int client_open(struct proc *proc, const struct cpni_now *now);
void client_act(struct proc *proc, const struct cpni_action *action);

/* ---- trainer.c and brain.c ---- */

struct brain { /* what a trainer process holds of a lane */
    uint32_t lane;
    uint64_t momentum, count;
    float *weights, *residual;
};
struct verdict {
    uint64_t tested, correct, loss_micro;
};
uint64_t brain_values(const struct cpni_session_spec *spec);
void brain_fresh(struct brain *brain, const struct cpni_session_spec *spec, uint32_t lane);
void brain_free(struct brain *brain);
void brain_set(struct brain *brain, const float *weights);
void brain_steps(struct brain *brain, uint64_t steps);
void brain_gradient(struct brain *brain, float *gradient);
void brain_apply(struct brain *brain, const float *mean);
struct verdict brain_judge(const struct brain *brain);
struct cpni_bytes *brain_freeze(const struct brain *brain, uint64_t round);
bool brain_thaw(struct brain *brain, const uint8_t *data, size_t size, uint64_t *round);
struct cpni_bytes *brain_change(struct brain *brain, const float *before);
uint64_t brain_samples(const struct cpni_session_spec *spec, uint32_t lane, uint64_t train_rows, uint64_t steps);
/* The weights that a session (sweep: a lane of it) comes to when nothing goes wrong. */
struct cpni_bytes *brain_expected(const struct cpni_session_spec *spec, uint64_t train_rows, uint32_t lane);

void trainer_act(struct proc *proc, const struct cpni_act_trainer *act);
void trainer_said(struct proc *proc, struct job *job);
void trainers_free(struct proc *proc);

/* ---- net.c ---- */

void net_open(struct proc *proc);  /* its dealers begin to connect */
void net_close(struct proc *proc); /* the process is gone: what it sent may still arrive, in part */
void net_send(struct proc *proc, uint64_t conn, struct cpni_bytes **frames, size_t count);
void net_reconnect(struct proc *proc, uint64_t conn);
void net_break(struct sim *sim, struct conn *conn);
void net_drop(struct proc *proc, uint64_t conn, bool later); /* by the master */
void net_partition(struct sim *sim, struct place *place, bool to_master, bool to_peer, int64_t until_us);
void net_break_one(struct sim *sim, struct place *place);
void net_free(struct sim *sim);
bool net_is_control(struct sim *sim, uint64_t conn);
struct place *net_place(struct sim *sim, uint64_t conn); /* whose connection it is; NULL: nobody's */

/* ---- store.c ---- */

struct store;
struct store *store_new(struct sim *sim);
void store_free(struct store *store);
int store_recover(struct store *store, struct proc *proc, const struct cpni_now *now, struct cpni_master_core **core);
void store_submit(struct store *store, struct proc *proc, uint64_t ticket, const struct cpni_command_key *key,
                  const struct cpni_command *command);
void store_crash(struct store *store);
int store_apply_now(struct store *store, const struct cpni_command *command, struct cpni_commit *commit);
uint64_t store_term(const struct store *store);
void store_sessions(const struct store *store, int (*fn)(void *arg, const struct cpni_command *command), void *arg);
bool store_revoked(const struct store *store, const struct cpn_key *key);

/* ---- program.c ---- */

struct model { /* a bundle that somebody publishes */
    char name[16];
    struct cpni_manifest manifest;
    struct cpni_manifest_file files[3];
    char file_names[3][16];
    uint64_t contents[3];
    struct cpni_bytes *bytes;
    struct cpn_hash root;
    bool broken;    /* no node can load it */
    bool published; /* told so at least once */
    bool removed;
    uint32_t version;
};

enum task_kind { TASK_GOOD, TASK_BAD_INPUT, TASK_CRASHES, TASK_FLAKY, TASK_HANGS };

struct task {
    struct cpn_id id;
    unsigned proc; /* number of the client process that submitted it */
    struct place *place;
    enum task_kind kind;
    char model[16];
    uint64_t content, input_size, image_content, image_size;
    struct cpn_hash input_root; /* when it travels as a blob */
    bool input_blob, annotate;
    uint32_t deadline_ms, max_attempts;
    int64_t submitted_us, ended_us, run_us;
    unsigned ended, accepted; /* how often the program was told */
    bool cancelled;
    int code;
    unsigned runs;
    struct execution *executions;
    struct lease *leases;
    UT_hash_handle hh;
};

void program_start(struct proc *proc);
struct note *program_ask(struct proc *proc, enum cpni_msg_type type); /* its request is proc->request; NULL: too many already */
void program_tell(struct proc *proc, const struct cpni_msg *msg);
void program_turned_down(struct proc *proc, const struct cpni_event *event, int code); /* SUBMIT or ASK: nothing was taken */
/* Whether a program gave the blob to a task after a removal was queued: its role must not let that one through. */
bool program_needs(struct sim *sim, const struct proc *proc, const struct cpn_hash *root, int64_t since_us);
void program_fire(struct sim *sim, struct timer *timer);
void program_free(struct sim *sim);
size_t program_outstanding(struct sim *sim, const struct proc *proc);
struct task *task_find(struct sim *sim, const struct cpn_id *id);
struct model *model_find(struct sim *sim, const struct cpn_hash *root);
void models_make(struct sim *sim);
bool program_settled(struct sim *sim, char *why, size_t size);
void program_audit(struct sim *sim); /* asks the master what it still has */

/* ---- session.c ---- */

#define SESSION_LANES 8
#define SESSION_ROUNDS 128

struct seen_point {
    struct seen_point *next;
    struct cpni_command_session_point point;
};
struct session {
    struct session *next;
    struct cpn_id id;
    char name[CPN_ID_TEXT]; /* the id as text */
    char text[1024];        /* its spec */
    struct cpni_session_spec spec;
    struct place *place; /* of the client that started it */
    unsigned proc, tries;
    uint64_t request; /* under way; 0: none */
    int64_t asked_us;
    uint64_t content, size, schema_content, schema_size, rows, train_rows;
    struct cpn_hash dataset, schema;
    bool taken, wanted, stops, stopped; /* wanted: refused for now */
    bool stored;
    struct cpni_command_session_state state; /* as stored */
    struct cpni_command_session_lane lanes[SESSION_LANES];
    struct seen_point *points;
    unsigned did[SESSION_LANES][SESSION_ROUNDS]; /* how often a node did this round */
};
void session_deed(struct proc *proc);
void session_told(struct proc *proc, uint64_t request, int code);
bool session_needs(struct sim *sim, const struct proc *proc, const struct cpn_hash *root, int64_t since_us);
bool session_has_dataset(struct sim *sim, const struct cpn_hash *root);
struct session *session_find(struct sim *sim, const struct cpn_id *id);
struct session *session_by_spec(struct sim *sim, const struct cpn_hash *dataset, const struct cpni_session_spec *spec);
void session_did(struct sim *sim, struct session *session, uint32_t lane, uint64_t round);
void session_point(struct sim *sim, const struct cpni_command_session_point *point);
bool session_loose(struct sim *sim, const struct session *session);
bool session_settled(struct sim *sim, char *why, size_t size);
void session_check_end(struct sim *sim);
void session_free_all(struct sim *sim);

/* ---- places and the world ---- */

struct place { /* a machine with an identity; processes come and go on it */
    unsigned index;
    enum kind kind;
    char name[24];
    struct cpn_key key, token; /* token: until enrolled */
    struct cpn_key signer;     /* admin */
    uint64_t memory;           /* node */
    bool enrolled, admin, revoked, copy, retired, drained;
    struct disk disk;
    struct proc *proc;
    int64_t mono_offset_us, wall_offset_us;
    int64_t stalled_to_master_us, stalled_to_peer_us; /* one-way partitions, until */
    uint32_t slots;
    const struct cpn_hash *ready[16]; /* node: models that it holds */
    size_t ready_count;
    bool handler; /* node: an embedder's callback */
    bool trains, odd; /* node: has a trainer; one whose fingerprint is not the others' */
    struct timer restart; /* when the process comes back */
    struct timer program; /* client: its next deed */
    unsigned tasks_left, sessions_left;
    unsigned deaths, disruptions; /* disruptions: whatever makes a transfer ask again */
};

#define PLACES_MAX 16
#define MODELS_MAX 5

struct mix { /* how often what goes wrong, per mille or per second and process; 0: never */
    unsigned breaks, partitions, pauses, crashes, master_crashes, slow_net, slow_disk, slow_commit, lost_commit, corrupt, no_space;
    unsigned copies, drains, revokes, stops, clients_leave, crashes_of_runners, admin;
};

struct options {
    struct mix mix;
    unsigned nodes, clients; /* 0: by the seed */
    bool trace, real_tree, train; /* train: nothing but sessions, or nearly so */
    const char *mode;             /* of all sessions; NULL: any */
    int64_t trace_from_us;
};

struct check;
struct sim {
    uint64_t seed;
    uint64_t rng[4];
    const struct options *options;
    struct mix mix;
    int64_t now_us, quiet_us, end_us; /* faults and submissions stop at quiet */
    bool quiet, finished, calm; /* calm: nothing goes wrong at all */
    uint64_t audit; /* request of the last question: what does the master still have? */
    struct cpni_heap queue;
    struct place *places[PLACES_MAX];
    size_t place_count;
    struct place *master;
    struct conn *conns;
    uint64_t next_conn;
    unsigned next_proc;
    uint64_t next_content;
    struct store *store;
    struct task *tasks;
    struct session *sessions; /* youngest first */
    uint64_t sessions_completed, rounds, replays, changes; /* rounds: done in earnest; changes: begun from an int8 change */
    struct model models[MODELS_MAX];
    size_t model_count;
    struct timer fault;
    struct check *check;
    unsigned disruptions; /* of the master */
    uint64_t steps, packets, runs, delivered, refused;
    uint64_t hash; /* over everything that happened */
    uint64_t region_salt;
    struct cpni_master_config master_config;
    bool failed;
    char failure[512];
};

/* One run. 0, or -1 with sim->failure told on stderr. */
struct outcome {
    bool failed;
    char failure[512];
    uint64_t hash, steps, packets, runs, delivered, sessions, rounds, replays, changes;
    int64_t end_us;
};
void sim_run(uint64_t seed, const struct options *options, struct outcome *out);
void faults_start(struct sim *sim);
void faults_end(struct sim *sim);
void place_restart(struct sim *sim, struct place *place, int64_t after_us);
struct place *place_by_key(struct sim *sim, const struct cpn_key *key);
void program_next(struct sim *sim, struct place *place, int64_t after_us);

/* ---- check.c ---- */

void check_open(struct sim *sim);
void check_close(struct sim *sim);
void check_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void check_event(struct proc *proc, const struct cpni_event *event);   /* before the step */
void check_actions(struct proc *proc, const struct cpni_event *event, size_t from); /* after it */
void check_core(struct proc *proc);
void check_run(struct proc *proc, const struct cpni_act_run *run, struct task *task);
void check_proc_gone(struct proc *proc);
void check_end(struct sim *sim);
void check_task_free(struct task *task);

/* ---- trace.c ---- */

void trace_mix(struct sim *sim, const void *data, size_t size); /* into the run's hash */
void trace_line(struct sim *sim, const struct proc *proc, const char *format, ...) __attribute__((format(printf, 3, 4)));
void trace_event(const struct proc *proc, const struct cpni_event *event);
void trace_actions(const struct proc *proc, size_t from);
void trace_dump(void); /* the last lines, to stderr */
void trace_reset(bool on, bool print);
bool trace_on(void);

#endif
