/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Training sessions: a table goes to the network, its nodes train a model on it, results and model come back. A session lives at the
 * master: the program that started it may leave, any other may watch. Every call here waits at most timeout_ms for the master (-1: for
 * ever) and fails with CPN_EUNREACHABLE, CPN_ETIMEDOUT, CPN_EDENIED, CPN_ENOMEM beside what it names; cpn_client_detail() has the sentence.
 * One thread at a time, the client's. */
#ifndef CPN_SESSION_H
#define CPN_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include <cpn/client.h>

#ifdef __cplusplus
extern "C" {
#endif

enum cpn_session_mode {
    CPN_MODE_DEFAULT = 0, /* sweep if there is more than one configuration, else average */
    CPN_MODE_SWEEP = 1,   /* every configuration is trained on all rows, each by one peer */
    CPN_MODE_AVERAGE = 2, /* the rows are divided among the peers, their weights averaged every local_steps */
    CPN_MODE_SYNC = 3     /* likewise, but gradients are summed at every step */
};
const char *cpn_session_mode_name(enum cpn_session_mode mode);

enum cpn_session_state {
    CPN_SESSION_CREATED = 1,  /* its dataset is on its way to the master */
    CPN_SESSION_LOCKING,      /* its peers finish the tasks that they have */
    CPN_SESSION_DISTRIBUTING, /* its peers fetch the dataset */
    CPN_SESSION_TRAINING,
    CPN_SESSION_AGGREGATING, /* the outcome is being evaluated and stored */
    CPN_SESSION_COMPLETED,
    CPN_SESSION_FAILED,
    CPN_SESSION_STOPPED
};
const char *cpn_session_state_name(enum cpn_session_state state);

enum cpn_lane_state {
    CPN_LANE_WAITING = 1,
    CPN_LANE_TRAINING,
    CPN_LANE_COMPLETED,
    CPN_LANE_FAILED,
    CPN_LANE_CUT, /* by successive halving */
    CPN_LANE_STOPPED
};
const char *cpn_lane_state_name(enum cpn_lane_state state);

#define CPN_LANE_ALL UINT32_MAX /* of a point: the common model of average and sync */

/* A table and what to make of it. Columns are meant by name, else by number from 1; features also as "first:last". */
struct cpn_table_options {
    uint32_t size;
    const char *path;  /* of the CSV file */
    const char *label; /* column */
    const char *const *features; /* NULL-terminated; NULL: all but the label */
    const char *const *categorical; /* NULL-terminated: columns that become one input a category; NULL: none */
    bool no_header, impute, keep_scale; /* keep_scale: numeric columns are not standardised */
    char delimiter; /* 0: ',' */
    unsigned threads; /* 0: as many as there are processors, if the table is large */
};
#define CPN_TABLE_OPTIONS_INIT { .size = sizeof(struct cpn_table_options) }

/* How the outcome becomes a model. */
struct cpn_session_publish_options {
    uint32_t size;
    const char *name; /* of the model */
    /* The columns are the grey values of such an image, row by row, so that photos are taken beside tables; 0: tables only. */
    uint32_t image_width, image_height;
};
#define CPN_SESSION_PUBLISH_OPTIONS_INIT { .size = sizeof(struct cpn_session_publish_options) }

struct cpn_session_options {
    uint32_t size;
    const char *name; /* what lists call it; NULL: the table's file name */
    struct cpn_table_options table;
    const char *trainer; /* NULL: "dnn" */
    enum cpn_session_mode mode;
    uint32_t peers; /* 0: 1 */
    /* A configuration is "lr=1e-3,batch=64,epochs=10,hidden=128:64,optimizer=adam,momentum=0.9,decay=0,seed=1"; what is not named has these
     * values. `settings` is common to all (NULL: none); each text of `configurations` adds one; each of `sweep`, "lr=1e-2,1e-3", multiplies
     * them. Both NULL-terminated, or NULL. */
    const char *settings;
    const char *const *configurations;
    const char *const *sweep;
    bool halving;          /* sweep: after 1, 2, 4 ... epochs the worse half is cut */
    uint32_t local_steps;  /* average: steps between two averages; sync: between two checkpoints. 0: 200, or an epoch's if it has fewer */
    uint32_t checkpoint;   /* average: rounds between two checkpoints (0: 10) */
    uint32_t quorum;       /* average: updates that end a round; the others are cut a while later (0: all) */
    bool int8;             /* average: changes of a byte each go both ways */
    double validation;     /* share of the rows that is not learned from, 0 to 0.9; below 0: none; 0: the default, 0.1 */
    uint64_t split_seed;   /* of the division into learning and validation; 0: 1 */
    /* Bytes converted or sent of all; not 0 gives up (CPN_ECANCELLED). stage: "read", "send". May be NULL. */
    int (*progress)(void *arg, const char *stage, uint64_t done, uint64_t total);
    void *progress_arg;
    /* What cpn_session_publish() is meant to be called with later: compared with the table before any peer is locked. NULL: no such check. */
    const struct cpn_session_publish_options *publish;
};
#define CPN_SESSION_OPTIONS_INIT { .size = sizeof(struct cpn_session_options), .table = CPN_TABLE_OPTIONS_INIT }

/* Read the table, lock the peers, send the dataset; returns when the session is durable and the dataset is with the master. timeout_ms
 * begins when the table was read; a start that is given up or times out then is taken back. Wrong places in the table (CPN_EBADINPUT:
 * file, row, column) are found before any peer is locked. CPN_EBUSY: not enough peers ("needs 4, 2 online (w1, w2), 1 draining").
 * CPN_EINVAL: an option. CPN_ENOTFOUND: no such file. CPN_ECANCELLED: the progress function gave up. */
int cpn_session_start(struct cpn_client *client, const struct cpn_session_options *options, int timeout_ms, struct cpn_id *session);

struct cpn_lane_info { /* a shard (average, sync) or a configuration (sweep), and who works on it now */
    uint32_t lane;
    const char *node, *settings, *device; /* "" when there is none */
    enum cpn_lane_state state;
    const char *text; /* why it failed */
    uint64_t round, step, steps; /* step of steps in its epoch */
    uint32_t epoch, epochs;      /* epoch that it is in, from 1 */
    double loss, accuracy;       /* over the epoch so far; NAN: not known */
    double samples_per_s;
    double eta_s; /* until its last epoch ends; NAN: not known */
};
struct cpn_point_info { /* an epoch that a lane finished */
    uint32_t lane; /* or CPN_LANE_ALL */
    uint32_t epoch; /* from 1 */
    const char *node;
    uint64_t samples;
    double train_loss, train_accuracy; /* NAN: not known */
    double loss, accuracy;             /* of the validation rows; NAN: not evaluated */
    double samples_per_s, at_s;        /* at_s: since the session began */
};
struct cpn_session_info {
    struct cpn_id id;
    const char *name, *user, *trainer, *text; /* text: why it ended so, or what it waits for */
    enum cpn_session_mode mode;
    enum cpn_session_state state;
    uint32_t peers, locked, lanes;
    uint64_t round, rounds, repeated; /* repeated: rounds done again after a death */
    int64_t started_us, ended_us; /* since 1970; 0: not yet */
    uint64_t rows, train_rows;
    uint32_t columns, classes;
    double loss, accuracy; /* of the outcome so far, validation rows; NAN: not known */
    uint32_t best;         /* lane whose outcome it is, or CPN_LANE_ALL */
    bool reproducible;
    const char *why;          /* why not */
    struct cpn_hash weights;  /* of the outcome so far; zero: none. Equal weights have equal hashes */
};

/* Newest first. Free with cpn_client_free_list(). */
int cpn_client_sessions(struct cpn_client *client, int timeout_ms, struct cpn_session_info **out, size_t *count);

/* A session by its id in hexadecimal or the start of it, by its name if only one has it. CPN_ENOTFOUND, CPN_EINVAL (several). */
int cpn_session_find(struct cpn_client *client, const char *text, int timeout_ms, struct cpn_id *session);

/* All about one session. Free with cpn_session_report_free(). */
struct cpn_session_report {
    struct cpn_session_info info;
    const struct cpn_lane_info *lanes;
    size_t lane_count;
    const struct cpn_point_info *points; /* in the order in which they came */
    size_t point_count;
};
int cpn_session_report(struct cpn_client *client, const struct cpn_id *session, int timeout_ms, struct cpn_session_report **out);
void cpn_session_report_free(struct cpn_session_report *report); /* NULL is fine */
bool cpn_session_over(enum cpn_session_state state);

/* Watch until the session ends: fn (may be NULL) with a fresh report about four times a second and when it has ended; not 0 from it stops
 * watching (CPN_ECANCELLED). Survives the master's restart: while it is away fn gets the last report once a second. 0: completed; else
 * the session's own: CPN_ECANCELLED (stopped), CPN_EFAILED. */
int cpn_session_watch(struct cpn_client *client, const struct cpn_id *session,
                      int (*fn)(void *arg, const struct cpn_session_report *report), void *arg, int timeout_ms);

/* The starter's or an admin's. What was learned so far is kept. */
int cpn_session_stop(struct cpn_client *client, const struct cpn_id *session, int timeout_ms);

/* The history as text, for programs, tables and people. Free with cpn_client_free_list(). Any thread. CPN_ENOTSUP: built without training. */
enum cpn_history_format { CPN_HISTORY_JSON = 1, CPN_HISTORY_CSV = 2, CPN_HISTORY_SVG = 3 };
int cpn_session_history(const struct cpn_session_report *report, enum cpn_history_format format, char **out, size_t *size);

/* Fetch the outcome and write it as ONNX (inputs as in the table, unscaled; probabilities by class). CPN_ESTATE: there is none yet.
 * CPN_EDENIED: for its starter, admins and those with the right "publish". CPN_ENOTSUP: built without training. */
int cpn_session_export(struct cpn_client *client, const struct cpn_id *session, const char *path, int timeout_ms);

/* Fetch the outcome, make a signed bundle of it (network, columns, scaling, names of the classes) and publish it as a version of a model.
 * CPN_EINVAL, CPN_EBADINPUT: what the table has does not fit. CPN_EDENIED without the right "publish": the detail says who has it;
 * CPN_ENOTSUP. */
int cpn_session_publish(struct cpn_client *client, const struct cpn_id *session, const struct cpn_session_publish_options *options,
                        int timeout_ms, uint32_t *version);

#ifdef __cplusplus
}
#endif

#endif
