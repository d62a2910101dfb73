/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The durable state in memory: the contract of proto/command.h and store/state.h. Commands wait for the next group commit, are applied
 * in order, answered later and in order; a commit may take seconds, fail with an unknown outcome, or be cut off by a crash before or
 * after it happened. */
#include "session_rows.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define IDENTITIES_MAX 64
#define TOKENS_MAX 64
#define MODELS_STORED_MAX 64
#define ANSWERS_MAX 4096
#define PARKED_MAX 64

struct identity {
    struct cpn_key key, token;
    enum cpn_role role;
    char name[CPNI_NAME];
    bool revoked, publish;
    struct cpni_master_history history;
};
struct token {
    struct cpn_key key;
    enum cpn_role role;
    char hint[CPNI_NAME];
    int64_t expires_wall_us;
    uint32_t uses;
};
struct stored_model {
    struct cpni_command_model_add add;
    uint32_t version;
    bool removed;
};
struct signer {
    struct cpn_key identity, signer;
};
struct answer {
    struct cpni_command_key key;
    struct cpni_commit commit;
};
struct pending {
    struct pending *next;
    uint64_t ticket;
    struct cpni_command_key key;
    struct cpni_command command;
};

struct store {
    struct sim *sim;
    uint64_t term;
    struct identity identities[IDENTITIES_MAX];
    struct token tokens[TOKENS_MAX];
    struct signer signers[IDENTITIES_MAX];
    struct stored_model models[MODELS_STORED_MAX];
    struct cpni_command_task_parked parked[PARKED_MAX];
    struct answer answers[ANSWERS_MAX];
    struct session_rows *sessions;
    size_t identity_count, token_count, signer_count, model_count, parked_count, answer_count;
    uint64_t events;
    struct pending *head, **end;
    struct timer commit;
    struct proc *proc; /* whose commands wait */
};

static bool key_equal(const struct cpn_key *a, const struct cpn_key *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static struct identity *identity_of(struct store *store, const struct cpn_key *key)
{
    for (size_t i = 0; i < store->identity_count; i++) {
        if (key_equal(&store->identities[i].key, key)) {
            return &store->identities[i];
        }
    }
    return NULL;
}

static struct token *token_of(struct store *store, const struct cpn_key *key)
{
    for (size_t i = 0; i < store->token_count; i++) {
        if (key_equal(&store->tokens[i].key, key)) {
            return &store->tokens[i];
        }
    }
    return NULL;
}

/* ---- identities and tokens ---- */

static int answer_identity(const struct identity *identity, struct cpni_commit *commit)
{
    commit->number = identity->role;
    memcpy(commit->text, identity->name, sizeof identity->name);
    return 0;
}

static struct identity *identity_new(struct store *store, const struct cpn_key *key, enum cpn_role role, const char *wish)
{
    struct identity *identity = &store->identities[store->identity_count++];
    if (store->identity_count > IDENTITIES_MAX) {
        abort();
    }
    *identity = (struct identity){ .key = *key, .role = role };
    char name[CPNI_NAME];
    snprintf(name, sizeof name, "%s", wish[0] != 0 ? wish : cpn_role_name(role));
    for (unsigned n = 2;; n++) {
        bool taken = false;
        for (size_t i = 0; i + 1 < store->identity_count; i++) {
            taken |= strcmp(store->identities[i].name, name) == 0;
        }
        if (!taken) {
            break;
        }
        snprintf(name, sizeof name, "%.40s-%u", wish[0] != 0 ? wish : cpn_role_name(role), n);
    }
    memcpy(identity->name, name, sizeof name);
    return identity;
}

static int apply_enrol(struct store *store, const struct cpni_command_identity_enrol *enrol, struct cpni_commit *commit)
{
    struct identity *identity = identity_of(store, &enrol->key);
    if (identity != NULL && identity->revoked) {
        return CPN_EKEY;
    }
    if (identity != NULL && enrol->role != CPN_ROLE_NONE && identity->role != enrol->role) {
        return CPN_EEXISTS;
    }
    if (identity != NULL && key_equal(&identity->token, &enrol->token)) {
        return answer_identity(identity, commit);
    }
    struct token *token = token_of(store, &enrol->token);
    if (token == NULL || token->uses == 0 || (token->expires_wall_us != 0 && token->expires_wall_us < enrol->wall_us)) {
        return CPN_ETOKEN;
    }
    if (identity != NULL) {
        return identity->role == token->role ? answer_identity(identity, commit) : CPN_EEXISTS;
    }
    token->uses--;
    identity = identity_new(store, &enrol->key, token->role, enrol->name[0] != 0 ? enrol->name : token->hint);
    identity->token = enrol->token;
    return answer_identity(identity, commit);
}

static int apply_add(struct store *store, const struct cpni_command_identity_add *add, struct cpni_commit *commit)
{
    struct identity *identity = identity_of(store, &add->key);
    if (identity == NULL) {
        identity = identity_new(store, &add->key, add->role, add->name);
    }
    return answer_identity(identity, commit);
}

static int apply_identity(struct store *store, const struct cpni_command *command)
{
    const struct cpn_key *key = &command->u.identity_revoke.key; /* the first member of all of them */
    struct identity *identity = identity_of(store, key);
    if (identity == NULL) {
        return CPN_ENOTFOUND;
    }
    if (command->type == CPNI_COMMAND_IDENTITY_REVOKE) {
        identity->revoked = true;
    } else if (command->type == CPNI_COMMAND_IDENTITY_RENAME) {
        memcpy(identity->name, command->u.identity_rename.name, sizeof identity->name);
    } else {
        identity->publish = command->type == CPNI_COMMAND_RIGHT_GRANT;
    }
    return 0;
}

static int apply_token(struct store *store, const struct cpni_command *command)
{
    struct token *token = token_of(store, &command->u.token_revoke.token); /* the first member of both */
    if (command->type == CPNI_COMMAND_TOKEN_REVOKE) {
        if (token == NULL) {
            return CPN_ENOTFOUND;
        }
        token->uses = 0;
        return 0;
    }
    const struct cpni_command_token_add *add = &command->u.token_add;
    if (token != NULL || store->token_count == TOKENS_MAX) {
        return CPN_EEXISTS;
    }
    token = &store->tokens[store->token_count++];
    *token = (struct token){ .key = add->token, .role = add->role, .expires_wall_us = add->expires_wall_us, .uses = add->uses };
    memcpy(token->hint, add->hint, sizeof token->hint);
    return 0;
}

/* ---- models ---- */

static int apply_signer(struct store *store, const struct cpni_command_signer_add *add)
{
    if (identity_of(store, &add->key) == NULL) {
        return CPN_ENOTFOUND;
    }
    for (size_t i = 0; i < store->signer_count; i++) {
        if (key_equal(&store->signers[i].signer, &add->signer)) {
            return key_equal(&store->signers[i].identity, &add->key) ? 0 : CPN_EEXISTS;
        }
    }
    if (store->signer_count < IDENTITIES_MAX) {
        store->signers[store->signer_count++] = (struct signer){ add->key, add->signer };
    }
    return 0;
}

static bool may_publish(struct store *store, const struct cpn_key *signer)
{
    for (size_t i = 0; i < store->signer_count; i++) {
        if (key_equal(&store->signers[i].signer, signer)) {
            const struct identity *identity = identity_of(store, &store->signers[i].identity);
            return !identity->revoked && (identity->role == CPN_ROLE_ADMIN || identity->publish);
        }
    }
    return false;
}

static int apply_model(struct store *store, const struct cpni_command *command, struct cpni_commit *commit)
{
    const struct cpni_command_model_add *add = &command->u.model_add;
    uint32_t version = 1;
    for (size_t i = 0; i < store->model_count; i++) {
        struct stored_model *model = &store->models[i];
        if (strcmp(model->add.name, add->name) != 0) {
            continue;
        }
        version = model->version >= version ? model->version + 1 : version;
        if (memcmp(&model->add.manifest, &add->manifest, sizeof add->manifest) == 0 && !model->removed) {
            commit->number = model->version;
            return 0;
        }
    }
    if (!may_publish(store, &add->signer)) {
        return CPN_EDENIED;
    }
    if (store->model_count == MODELS_STORED_MAX || command->payload == NULL) {
        return CPN_EINVAL;
    }
    store->models[store->model_count++] = (struct stored_model){ .add = *add, .version = version };
    commit->number = version;
    return 0;
}

static int apply_model_remove(struct store *store, const struct cpni_command_model_remove *remove)
{
    for (size_t i = 0; i < store->model_count; i++) {
        struct stored_model *model = &store->models[i];
        if (strcmp(model->add.name, remove->name) == 0 && model->version == remove->version && !model->removed) {
            model->removed = true;
            return 0;
        }
    }
    return CPN_ENOTFOUND;
}

/* ---- the rest ---- */

static int apply_stats(struct store *store, const struct cpni_command_node_stats *stats)
{
    struct identity *identity = identity_of(store, &stats->key);
    if (identity == NULL) {
        return CPN_ENOTFOUND;
    }
    struct cpni_master_history *history = &identity->history;
    history->tasks += stats->tasks;
    history->failures += stats->failures;
    history->busy_us += stats->busy_us;
    history->bytes_in += stats->bytes_in;
    history->bytes_out += stats->bytes_out;
    history->joins += stats->joins;
    history->losses += stats->losses;
    if (stats->last_seen_wall_us != 0) {
        history->last_seen_wall_us = stats->last_seen_wall_us;
        if (stats->joins != 0 && history->first_join_wall_us == 0) {
            history->first_join_wall_us = stats->last_seen_wall_us;
        }
    }
    return 0;
}

static int apply_user_stats(struct store *store, const struct cpni_command_user_stats *stats)
{
    const struct cpni_command_node_stats same = { .key = stats->key, .tasks = stats->tasks, .failures = stats->failures,
                                                  .busy_us = stats->busy_us, .bytes_in = stats->bytes_in,
                                                  .bytes_out = stats->bytes_out, .joins = stats->joins, .losses = stats->losses,
                                                  .last_seen_wall_us = stats->last_seen_wall_us };
    return apply_stats(store, &same);
}

static int apply(struct store *store, const struct cpni_command *command, struct cpni_commit *commit)
{
    switch (command->type) {
    case CPNI_COMMAND_TERM_RAISE:
        commit->number = ++store->term;
        return 0;
    case CPNI_COMMAND_IDENTITY_ENROL:
        return apply_enrol(store, &command->u.identity_enrol, commit);
    case CPNI_COMMAND_IDENTITY_ADD:
        return apply_add(store, &command->u.identity_add, commit);
    case CPNI_COMMAND_IDENTITY_REVOKE:
    case CPNI_COMMAND_IDENTITY_RENAME:
    case CPNI_COMMAND_RIGHT_GRANT:
    case CPNI_COMMAND_RIGHT_REVOKE:
        return apply_identity(store, command);
    case CPNI_COMMAND_TOKEN_ADD:
    case CPNI_COMMAND_TOKEN_REVOKE:
        return apply_token(store, command);
    case CPNI_COMMAND_SIGNER_ADD:
        return apply_signer(store, &command->u.signer_add);
    case CPNI_COMMAND_MODEL_ADD:
        return apply_model(store, command, commit);
    case CPNI_COMMAND_MODEL_REMOVE:
        return apply_model_remove(store, &command->u.model_remove);
    case CPNI_COMMAND_NODE_STATS:
        return apply_stats(store, &command->u.node_stats);
    case CPNI_COMMAND_USER_STATS:
        return apply_user_stats(store, &command->u.user_stats);
    case CPNI_COMMAND_EVENT:
        commit->number = ++store->events;
        return 0;
    case CPNI_COMMAND_TASK_PARKED:
        store->parked[store->parked_count++ % PARKED_MAX] = command->u.task_parked;
        return 0;
    case CPNI_COMMAND_SESSION_ADD:
        return identity_of(store, &command->u.session_add.user) != NULL ? session_rows_apply(store->sessions, command) : CPN_ENOTFOUND;
    case CPNI_COMMAND_SESSION_POINT:
        session_point(store->sim, &command->u.session_point);
        return session_rows_apply(store->sessions, command);
    case CPNI_COMMAND_SESSION_STATE:
    case CPNI_COMMAND_SESSION_ROUND:
    case CPNI_COMMAND_SESSION_LANE:
    case CPNI_COMMAND_SESSION_REMOVE:
        return session_rows_apply(store->sessions, command);
    default:
        return CPN_EINVAL;
    }
}

int store_apply_now(struct store *store, const struct cpni_command *command, struct cpni_commit *commit)
{
    *commit = (struct cpni_commit){ .status = CPNI_COMMITTED };
    int rc = apply(store, command, commit);
    if (rc < 0) {
        *commit = (struct cpni_commit){ .status = CPNI_REJECTED, .code = rc };
        snprintf(commit->text, sizeof commit->text, "%s", cpn_strerror(rc));
    }
    return rc;
}

/* With a key: a retry is answered, not repeated. */
static void apply_keyed(struct store *store, const struct pending *pending, struct cpni_commit *commit)
{
    size_t known = store->answer_count < ANSWERS_MAX ? store->answer_count : ANSWERS_MAX;
    for (size_t i = 0; pending->key.sequence != 0 && i < known; i++) {
        if (memcmp(&store->answers[i].key, &pending->key, sizeof pending->key) == 0) {
            *commit = store->answers[i].commit;
            return;
        }
    }
    store_apply_now(store, &pending->command, commit);
    if (pending->key.sequence != 0) {
        store->answers[store->answer_count++ % ANSWERS_MAX] = (struct answer){ pending->key, *commit };
    }
}

/* ---- the door ---- */

static void drop_first(struct store *store)
{
    struct pending *pending = store->head;
    store->head = pending->next;
    if (store->head == NULL) {
        store->end = &store->head;
    }
    cpni_bytes_unref(pending->command.payload);
    free(pending);
}

static void commit_fire(struct sim *sim, struct timer *timer)
{
    struct store *store = OWNER(timer, struct store, commit);
    bool unknown = !sim->quiet && rng_chance(sim, sim->mix.lost_commit);
    bool happens = !unknown || rng_chance(sim, 500);
    while (store->head != NULL) {
        struct note *note = note_new(CPNI_EV_COMMIT);
        struct cpni_commit commit = { 0 };
        if (happens) {
            apply_keyed(store, store->head, &commit);
        }
        if (unknown) {
            commit = (struct cpni_commit){ .status = CPNI_UNKNOWN, .code = CPN_EIO };
            snprintf(commit.text, sizeof commit.text, "the disk fails");
        }
        note->event.commit.ticket = store->head->ticket;
        note->event.commit.commit = commit;
        if (store->head->ticket != 0) {
            proc_note(store->proc, note);
        } else {
            note_free(note);
        }
        drop_first(store);
    }
}

void store_submit(struct store *store, struct proc *proc, uint64_t ticket, const struct cpni_command_key *key,
                  const struct cpni_command *command)
{
    struct sim *sim = store->sim;
    struct pending *pending = sim_alloc(sizeof *pending);
    pending->ticket = ticket;
    pending->key = *key;
    pending->command = *command;
    cpni_bytes_ref(pending->command.payload);
    *store->end = pending;
    store->end = &pending->next;
    store->proc = proc;
    if (store->commit.heap.index == 0) {
        bool slow = !sim->quiet && rng_chance(sim, sim->mix.slow_commit);
        timer_set(sim, &store->commit, sim->now_us + (slow ? rng_between(sim, 200 * MS, 2 * SECOND) : rng_between(sim, 200, 8 * MS)));
    }
}

/* What was not answered may have happened, from the first on, or not. */
void store_crash(struct store *store)
{
    bool happened = rng_chance(store->sim, 300);
    timer_stop(store->sim, &store->commit);
    while (store->head != NULL) {
        struct cpni_commit commit = { 0 };
        if (happened) {
            apply_keyed(store, store->head, &commit);
        }
        drop_first(store);
    }
    store->proc = NULL;
}

struct store *store_new(struct sim *sim)
{
    struct store *store = sim_alloc(sizeof *store);
    store->sim = sim;
    store->end = &store->head;
    store->commit.fire = commit_fire;
    store->sessions = session_rows_new();
    return store;
}

void store_free(struct store *store)
{
    while (store->head != NULL) {
        drop_first(store);
    }
    session_rows_free(store->sessions);
    free(store);
}

uint64_t store_term(const struct store *store)
{
    return store->term;
}

void store_sessions(const struct store *store, int (*fn)(void *arg, const struct cpni_command *command), void *arg)
{
    session_rows_each(store->sessions, fn, arg);
}

bool store_revoked(const struct store *store, const struct cpn_key *key)
{
    const struct identity *identity = identity_of((struct store *)(uintptr_t)store, key);
    return identity != NULL && identity->revoked;
}

/* ---- recovery ---- */

static int recover_models(struct store *store, struct cpni_master_core *core)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < store->model_count; i++) {
        const struct stored_model *stored = &store->models[i];
        const struct model *model = model_find(store->sim, &stored->add.manifest);
        if (!stored->removed) {
            rc = cpni_master_core_model(core, stored->version, &stored->add.manifest, &model->manifest, model->bytes,
                                        &stored->add.signature, &stored->add.signer, stored->add.wall_us);
        }
    }
    return rc;
}

static int recover_session(void *core, const struct cpni_command *command)
{
    return cpni_master_core_session(core, command);
}

int store_recover(struct store *store, struct proc *proc, const struct cpni_now *now, struct cpni_master_core **out)
{
    struct cpni_master_config config = store->sim->master_config;
    struct cpni_command raise = { .type = CPNI_COMMAND_TERM_RAISE };
    struct cpni_commit commit;
    struct cpni_master_core *core;
    (void)proc;
    store_apply_now(store, &raise, &commit);
    config.term = commit.number;
    config.settle = commit.number > 1;
    int rc = cpni_master_core_new(&config, now, &core);
    for (size_t i = 0; rc == 0 && i < store->identity_count; i++) {
        const struct identity *identity = &store->identities[i];
        rc = cpni_master_core_identity(core, &identity->key, identity->role, cpni_str(identity->name), identity->revoked,
                                       identity->publish, &identity->history);
    }
    for (size_t i = 0; rc == 0 && i < store->token_count; i++) {
        const struct token *token = &store->tokens[i];
        if (token->uses != 0) {
            rc = cpni_master_core_token(core, &token->key, token->role, cpni_str(token->hint), token->expires_wall_us, token->uses);
        }
    }
    for (size_t i = 0; rc == 0 && i < store->signer_count; i++) {
        rc = cpni_master_core_signer(core, &store->signers[i].identity, &store->signers[i].signer);
    }
    if (rc == 0) {
        rc = recover_models(store, core);
    }
    for (size_t i = 0; rc == 0 && i < store->parked_count && i < PARKED_MAX; i++) {
        const struct cpni_command_task_parked *parked = &store->parked[i];
        rc = cpni_master_core_parked(core, &parked->task, cpni_str(parked->model), &parked->user, parked->attempts,
                                     cpni_str(parked->text), parked->wall_us);
    }
    if (rc == 0) {
        rc = session_rows_each(store->sessions, recover_session, core);
    }
    if (rc == 0) {
        *out = core;
    }
    return rc;
}
