/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Commands: every durable change of the network (DESIGN §10), as plain values. The core emits them, the store applies
 * them in order, and only then is anything promised that depends on them. A command carries all that its apply needs,
 * the time included: applying has no clock and no random source. Must not know how it is stored.
 *
 * Adding one: a line in CPNI_COMMANDS, its struct, its apply function in libcpn/store/apply_<family>.c. Commands are
 * not kept (the tables are), so a struct may change freely between versions. */
#ifndef CPNI_COMMAND_H
#define CPNI_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include <cpn/types.h>

#include "base/bytes.h"
#include "proto/limits.h"
#include "proto/signature.h"

/* Texts are 0-terminated, UTF-8. */
#define CPNI_NAME CPNI_NAME_BYTES_MAX /* of an identity, a model, a right */
#define CPNI_EVENT_ID 48 /* "CPN-LEASE-EXPIRED" */
#define CPNI_EVENT_TEXT 384 /* one sentence */
#define CPNI_DETAIL 192 /* why a command was rejected */

/* X(name, member, family): enum CPNI_COMMAND_<name>, struct cpni_command_<member>, cpni_apply_<member>() in
 * apply_<family>.c. */
#define CPNI_COMMANDS(X)                                                                                               \
    X(TERM_RAISE, term_raise, identity)                                                                                \
    X(IDENTITY_ENROL, identity_enrol, identity)                                                                        \
    X(IDENTITY_ADD, identity_add, identity)                                                                            \
    X(IDENTITY_REVOKE, identity_revoke, identity)                                                                      \
    X(IDENTITY_RENAME, identity_rename, identity)                                                                      \
    X(RIGHT_GRANT, right_grant, identity)                                                                              \
    X(RIGHT_REVOKE, right_revoke, identity)                                                                            \
    X(TOKEN_ADD, token_add, token)                                                                                     \
    X(TOKEN_REVOKE, token_revoke, token)                                                                               \
    X(SIGNER_ADD, signer_add, model)                                                                                   \
    X(MODEL_ADD, model_add, model)                                                                                     \
    X(MODEL_REMOVE, model_remove, model)                                                                               \
    X(NODE_STATS, node_stats, stats)                                                                                   \
    X(USER_STATS, user_stats, stats)                                                                                   \
    X(EVENT, event, event)                                                                                             \
    X(TASK_PARKED, task_parked, event)                                                                                 \
    X(SESSION_ADD, session_add, session)                                                                               \
    X(SESSION_STATE, session_state, session)                                                                           \
    X(SESSION_ROUND, session_round, session)                                                                           \
    X(SESSION_LANE, session_lane, session)                                                                             \
    X(SESSION_POINT, session_point, session)                                                                           \
    X(SESSION_REMOVE, session_remove, session)

enum cpni_command_type {
    CPNI_COMMAND_NONE = 0,
#define CPNI_COMMAND_ENUM(name, member, family) CPNI_COMMAND_##name,
    CPNI_COMMANDS(CPNI_COMMAND_ENUM)
#undef CPNI_COMMAND_ENUM
        CPNI_COMMAND_TYPES
};

/* A master begins its reign. Result number: the new term, larger than every one before. */
struct cpni_command_term_raise {
    int64_t wall_us;
};

/* A token's holder binds a key. The same key again is answered as the first time, whatever became of the token. Result
 * text: the name given (the wish, else the token's hint, else the role's; "-2" and so on appended when it is taken),
 * number: role. Rejected: CPN_ETOKEN (unknown, revoked, expired, used up), CPN_EKEY (the key was revoked), CPN_EEXISTS
 * (has another role). */
struct cpni_command_identity_enrol {
    struct cpn_key token; /* public half */
    struct cpn_key key;
    enum cpn_role role; /* CPN_ROLE_NONE: the token's; else it must be the token's */
    char name[CPNI_NAME];
    int64_t wall_us;
};

/* An identity without a token: the first admin. Result as IDENTITY_ENROL. */
struct cpni_command_identity_add {
    struct cpn_key key;
    enum cpn_role role;
    char name[CPNI_NAME];
    int64_t wall_us;
};

/* Rejected: CPN_ENOTFOUND. Revoking twice is fine. The row stays, so that the key cannot come back with another token.
 */
struct cpni_command_identity_revoke {
    struct cpn_key key;
    int64_t wall_us;
};

/* Rejected: CPN_ENOTFOUND, CPN_EEXISTS (name taken), CPN_EINVAL (empty). */
struct cpni_command_identity_rename {
    struct cpn_key key;
    char name[CPNI_NAME];
};

/* Rejected: CPN_ENOTFOUND. Twice is fine. */
struct cpni_command_right_grant {
    struct cpn_key key;
    char right[CPNI_NAME]; /* "publish" */
};
struct cpni_command_right_revoke {
    struct cpn_key key;
    char right[CPNI_NAME];
};

/* Rejected: CPN_EEXISTS, CPN_EINVAL (no role, no uses). */
struct cpni_command_token_add {
    struct cpn_key token;
    enum cpn_role role;
    char hint[CPNI_NAME]; /* name for who joins with it; may be empty */
    int64_t expires_wall_us; /* 0: never */
    uint32_t uses;
    int64_t wall_us;
};

/* Rejected: CPN_ENOTFOUND. */
struct cpni_command_token_revoke {
    struct cpn_key token;
};

/* Binds a publisher's key to an identity. Rejected: CPN_ENOTFOUND, CPN_EEXISTS (somebody else's). */
struct cpni_command_signer_add {
    struct cpn_key key;
    struct cpn_key signer; /* Ed25519 */
    int64_t wall_us;
};

/* Payload: the manifest's bytes, opaque here. The signature was checked before. Result number: the version, 1 and up,
 * never used again for that name; the same manifest of a name again gives the same version. Rejected: CPN_EDENIED
 * unless the signer belongs to an unrevoked identity that is admin or has the right "publish"; CPN_EINVAL without name
 * or manifest. */
struct cpni_command_model_add {
    char name[CPNI_NAME];
    struct cpn_hash manifest; /* root of the manifest's bytes */
    struct cpn_key signer; /* Ed25519 */
    struct cpni_signature signature;
    uint64_t bytes; /* of all files */
    int64_t wall_us;
};

/* Rejected: CPN_ENOTFOUND. */
struct cpni_command_model_remove {
    char name[CPNI_NAME];
    uint32_t version;
};

/* What was added since the last one. Payload: the node's capabilities as text, NULL: as before. Rejected:
 * CPN_ENOTFOUND. */
struct cpni_command_node_stats {
    struct cpn_key key;
    uint64_t tasks, failures, busy_us, bytes_in, bytes_out, joins, losses;
    int64_t last_seen_wall_us; /* 0: as before; with joins, also the first join if there was none */
};
struct cpni_command_user_stats {
    struct cpn_key key;
    uint64_t tasks, failures, busy_us, bytes_in, bytes_out, joins, losses;
    int64_t last_seen_wall_us;
};

/* One row of the event ring; the oldest makes room. Zero key, zero id and empty text: none. Result number: its row. */
struct cpni_command_event {
    int64_t wall_us;
    char id[CPNI_EVENT_ID];
    uint8_t level; /* of the log */
    struct cpn_key node;
    struct cpn_id task;
    char model[CPNI_NAME];
    char text[CPNI_EVENT_TEXT];
};

/* The evidence of a poison task. The same task again replaces it. */
struct cpni_command_task_parked {
    struct cpn_id task;
    char model[CPNI_NAME];
    struct cpn_key user;
    uint32_t attempts;
    char text[CPNI_EVENT_TEXT];
    int64_t wall_us;
};

/* A training session. Payload: the text of its spec (session_spec.h). It begins in state CPNI_SESSION_CREATED. Rejected: CPN_EEXISTS (the
 * id), CPN_ENOTFOUND (the user), CPN_EINVAL (no spec). What these commands store is read back as the same commands (store/state.h). */
struct cpni_command_session_add {
    struct cpn_id session;
    struct cpn_key user;
    char name[CPNI_NAME];
    struct cpn_hash dataset_root, schema_root;
    uint64_t dataset_size, schema_size, rows, train_rows;
    uint32_t columns, classes;
    int64_t wall_us;
};

/* Where a session is. weights: its outcome so far, zero: none yet. Rejected, as all that follow: CPN_ENOTFOUND. */
struct cpni_command_session_state {
    struct cpn_id session;
    uint32_t state; /* enum cpni_session_state */
    uint32_t lane;  /* whose weights they are; UINT32_MAX: the session's */
    struct cpn_hash weights_root;
    uint64_t weights_size;
    bool evaluated; /* the next two are known */
    uint32_t accuracy_ppm;
    uint64_t loss_micro;
    uint64_t repeated; /* rounds that were done again after a death */
    bool reproducible;
    int64_t ended_wall_us; /* 0: not yet */
    char why[CPNI_DETAIL]; /* why not reproducible */
    char text[CPNI_EVENT_TEXT]; /* why it ended so */
};

/* average, sync: `round` rounds are complete and led to these weights. Rows of rounds before first_kept are dropped. */
struct cpni_command_session_round {
    struct cpn_id session;
    uint64_t round, first_kept;
    struct cpn_hash root;
    uint64_t size;
};

/* A lane's checkpoint: after `round` rounds, with its own weights (sweep; sync: the state of the round before; else zero) and the trainer's
 * state. The same lane again replaces it. */
struct cpni_command_session_lane {
    struct cpn_id session;
    uint32_t lane, state; /* enum cpni_lane_state */
    uint64_t round;
    struct cpn_hash weights_root, state_root;
    uint64_t weights_size, state_size;
    char text[CPNI_EVENT_TEXT];
};

/* An epoch of a lane, once: the same again replaces it. */
struct cpni_command_session_point {
    struct cpn_id session;
    uint32_t lane, epoch;
    char node[CPNI_NAME];
    uint64_t samples, train_loss_micro, loss_micro, rate;
    uint32_t train_ppm, accuracy_ppm;
    bool evaluated;
    int64_t at_us; /* since the session began */
};

/* With all that belongs to it. */
struct cpni_command_session_remove {
    struct cpn_id session;
};

struct cpni_command {
    enum cpni_command_type type;
    struct cpni_bytes *payload; /* where the command's comment says so, else NULL */
    union {
#define CPNI_COMMAND_MEMBER(name, member, family) struct cpni_command_##member member;
        CPNI_COMMANDS(CPNI_COMMAND_MEMBER)
#undef CPNI_COMMAND_MEMBER
    } u;
};

/* Who asked, so that a retry is answered, not repeated: (client, sequence). Sequence 0: no key. */
struct cpni_command_key {
    struct cpn_key client;
    uint64_t sequence;
};

enum cpni_commit_status {
    CPNI_COMMITTED = 1, /* durable */
    CPNI_REJECTED = 2, /* durable too: nothing changed, `code` and `text` say why */
    CPNI_UNKNOWN = 3 /* the disk failed or the store closed: may yet commit; ask again with the same key */
};

struct cpni_commit {
    enum cpni_commit_status status;
    int code; /* 0, or CPN_E... */
    uint64_t number; /* see the command */
    char text[CPNI_DETAIL]; /* committed: see the command; else the sentence */
};

#endif
