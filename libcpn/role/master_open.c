/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a master's start reads and makes: state, keys, the core with all that the store remembers, sockets. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "base/alloc.h"
#include "net/keyfile.h"
#include "role/clock.h"
#include "role/context.h"
#include "role/master.h"
#include "role/signing.h"
#include "wire/manifest.h"

#define STR_(x) #x
#define STR(x) STR_(x)

int cpni_master_fail(struct cpn_master *master, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(master->detail, sizeof master->detail, format, list);
    va_end(list);
    return code;
}

/* ---- state and keys ---- */

static int path_of(struct cpn_master *master, const char *name, char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s/%s", master->dir, name) >= PATH_MAX) {
        return cpni_master_fail(master, CPN_EINVAL, "the path of the data directory is too long");
    }
    return 0;
}

static bool is_there(struct cpn_master *master, const char *name)
{
    char path[PATH_MAX];
    return path_of(master, name, path) < 0 || access(path, F_OK) == 0;
}

static int open_state(struct cpn_master *master, const struct cpn_master_options *options)
{
    char path[PATH_MAX];
    char detail[CPNI_STATE_DETAIL] = "";
    const struct cpni_state_options state = { .create = options->create, .adopt_copy = options->adopt_copy };
    int rc = path_of(master, "state", path);
    if (rc < 0) {
        return rc;
    }
    rc = cpni_state_open(path, &state, &master->state, detail);
    return rc < 0 ? cpni_master_fail(master, rc, "%s", detail) : 0;
}

static int open_keys(struct cpn_master *master)
{
    char path[PATH_MAX];
    char detail[CPNI_NET_DETAIL] = "";
    int rc = path_of(master, "master.key", path);
    if (rc == 0) {
        rc = cpni_keyfile_read_curve(path, &master->keys, detail);
    }
    if (rc == CPN_ENOTFOUND && master->created) {
        cpni_curve_generate(&master->keys);
        rc = cpni_keyfile_write_curve(path, &master->keys, detail);
    }
    if (rc < 0) {
        return cpni_master_fail(master, rc, "%s%s", detail, rc == CPN_ENOTFOUND ? "; restore it from a backup of this network" : "");
    }
    cpni_sign_generate(&master->local_sign); /* clients of this process are trusted as this process is */
    return 0;
}

/* A new network's keys are made once, before its state, so that a start that is cut off in between is followed by another first one.
 * A state without its keys is not a new network: its nodes would know this master no longer; nor are keys without their state. */
static int open_directory(struct cpn_master *master, const struct cpn_master_options *options)
{
    if (options->create && mkdir(master->dir, 0700) != 0 && errno != EEXIST) {
        return cpni_master_fail(master, CPN_EIO, "cannot make %s: %s", master->dir, strerror(errno));
    }
    const bool stateless = !is_there(master, "state/state.db") && !is_there(master, "state/state.id");
    if (stateless && is_there(master, "blobs")) { /* made after the state: there was one */
        return cpni_master_fail(master, CPN_ENOTFOUND, "%s has models but its state is gone; restore %s/state from a backup of this network",
                                master->dir, master->dir);
    }
    master->created = options->create && stateless;
    int rc = master->created ? open_keys(master) : open_state(master, options);
    if (rc == 0) {
        rc = master->created ? open_state(master, options) : open_keys(master);
    }
    return rc;
}

/* ---- recovery ---- */

static int take_term(void *arg, uint64_t term)
{
    *(uint64_t *)arg = term;
    return 0;
}

struct recovery {
    struct cpn_master *master;
    struct cpni_arena arena;
    struct cpni_state_right *rights;
    size_t right_count;
};

static int take_right(void *arg, const struct cpni_state_right *row)
{
    struct recovery *recovery = arg;
    struct cpni_state_right *rights = cpni_realloc(recovery->rights, (recovery->right_count + 1) * sizeof *rights);
    if (rights == NULL) {
        return CPN_ENOMEM;
    }
    recovery->rights = rights;
    rights[recovery->right_count++] = *row;
    return 0;
}

static bool may_publish(const struct recovery *recovery, const struct cpn_key *key)
{
    for (size_t i = 0; i < recovery->right_count; i++) {
        if (memcmp(&recovery->rights[i].key, key, sizeof *key) == 0 && strcmp(recovery->rights[i].right, "publish") == 0) {
            return true;
        }
    }
    return false;
}

static int take_identity(void *arg, const struct cpni_state_identity *row)
{
    struct recovery *recovery = arg;
    const struct cpni_master_history history = {
        .tasks = row->stats.tasks, .failures = row->stats.failures, .busy_us = row->stats.busy_us, .bytes_in = row->stats.bytes_in,
        .bytes_out = row->stats.bytes_out, .joins = row->stats.joins, .losses = row->stats.losses,
        .first_join_wall_us = row->stats.first_join_wall_us, .last_seen_wall_us = row->stats.last_seen_wall_us,
    };
    return cpni_master_core_identity(recovery->master->core, &row->key, row->role, cpni_str(row->name), row->revoked,
                                     may_publish(recovery, &row->key), &history);
}

static int take_signer(void *arg, const struct cpni_state_signer *row)
{
    return cpni_master_core_signer(((struct recovery *)arg)->master->core, &row->key, &row->signer);
}

static int take_token(void *arg, const struct cpni_state_token *row)
{
    return cpni_master_core_token(((struct recovery *)arg)->master->core, &row->token, row->role, cpni_str(row->hint),
                                  row->expires_wall_us, row->uses_left);
}

static int take_model(void *arg, const struct cpni_state_model *row)
{
    struct recovery *recovery = arg;
    struct cpni_manifest manifest;
    char why[CPNI_WHY] = "";
    struct cpni_bytes *bytes = cpni_bytes_copy(row->manifest, row->manifest_size);
    int rc = bytes == NULL ? CPN_ENOMEM : cpni_manifest_decode(bytes->data, bytes->size, &recovery->arena, &manifest, why);
    if (rc == 0) {
        rc = cpni_master_core_model(recovery->master->core, row->version, &row->manifest_root, &manifest, bytes, &row->signature,
                                    &row->signer, row->wall_us);
    } else if (rc != CPN_ENOMEM) {
        cpni_master_fail(recovery->master, rc, "the stored manifest of %s@%u is damaged: %s", row->name, row->version, why);
    }
    cpni_bytes_unref(bytes);
    return rc;
}

static int take_parked(void *arg, const struct cpni_state_parked *row)
{
    const struct cpni_command_task_parked *parked = &row->parked;
    return cpni_master_core_parked(((struct recovery *)arg)->master->core, &parked->task, cpni_str(parked->model), &parked->user,
                                   parked->attempts, cpni_str(parked->text), parked->wall_us);
}

static int take_session(void *arg, const struct cpni_command *command)
{
    return cpni_master_core_session(((struct recovery *)arg)->master->core, command);
}

/* Two passes: rights are read before the identities that have them. */
static int recover(struct cpn_master *master)
{
    static const struct cpni_state_reader rights = { .right = take_right };
    static const struct cpni_state_reader rest = { .identity = take_identity, .signer = take_signer, .token = take_token,
                                                   .model = take_model, .parked = take_parked, .session = take_session };
    struct recovery recovery = { .master = master };
    int rc = cpni_state_recover(master->state, &rights, &recovery);
    if (rc == 0) {
        rc = cpni_state_recover(master->state, &rest, &recovery);
    }
    if (rc < 0 && master->detail[0] == 0) {
        cpni_master_fail(master, rc, "cannot read the state: %s", cpni_state_detail(master->state));
    }
    cpni_arena_free(&recovery.arena);
    cpni_free(recovery.rights);
    return rc;
}

/* The core's limits are the options' where they are set. */
static int make_core(struct cpn_master *master, const struct cpn_master_options *options)
{
    static const struct cpni_state_reader term_reader = { .term = take_term };
    uint64_t term = 0;
    int rc = cpni_state_recover(master->state, &term_reader, &term);
    if (rc < 0) {
        return cpni_master_fail(master, rc, "cannot read the state: %s", cpni_state_detail(master->state));
    }
    const struct cpni_master_config config = {
        .name = cpni_str(master->name),
        .term = term + 1,
        .heartbeat_ms = options->heartbeat_ms,
        .gone_ms = options->gone_ms,
        .tasks_max = options->tasks_max,
        .task_bytes_max = options->task_bytes_max,
        .user_tasks_max = options->user_tasks_max,
        .user_bytes_max = options->user_bytes_max,
        .spool_bytes_max = options->spool_bytes_max,
        .attempts_poison = options->poison_attempts,
        .settle = term != 0,
    };
    rc = cpni_master_core_new(&config, &master->now, &master->core);
    return rc == 0 ? recover(master) : rc;
}

static int raise_term(struct cpn_master *master)
{
    const struct cpni_command command = { .type = CPNI_COMMAND_TERM_RAISE, .u.term_raise = { .wall_us = master->now.wall_us } };
    struct cpni_commit commit;
    int rc = cpni_state_start(master->state);
    if (rc < 0) {
        return cpni_master_fail(master, rc, "cannot start the store: %s", cpni_state_detail(master->state));
    }
    return cpni_master_commit_now(master, &command, &commit);
}

/* ---- sockets ---- */

static bool admit(void *arg, const struct cpn_key *key)
{
    struct cpn_master *master = arg;
    return cpni_master_core_admits(master->core, key, &master->now);
}

static int open_sockets(struct cpn_master *master, const struct cpn_master_options *options)
{
    static const char *const everywhere[] = { "tcp://*:" STR(CPN_PORT), NULL };
    const char *const *listen = options->local_only ? NULL : options->listen != NULL ? options->listen : everywhere;
    size_t count = 0;
    while (listen != NULL && listen[count] != NULL) {
        count++;
    }
    int rc = cpni_loop_open(&master->loop);
    if (rc == 0) {
        rc = cpni_zap_open(master->zmq, master->loop, admit, master, &master->zap);
    }
    if (rc < 0) {
        return cpni_master_fail(master, rc, "cannot start the network: %s", cpn_strerror(rc));
    }
    const struct cpni_router_options router = {
        .context = master->zmq, .loop = master->loop, .zap = master->zap, .endpoints = listen, .endpoint_count = count, .keys = &master->keys,
    };
    return cpni_router_open(&router, &master->router, master->detail);
}

/* A bound address as others can dial it; false for one that means every interface. */
static bool dialable(const char *listen, uint16_t port, char out[CPNI_ENDPOINT_TEXT])
{
    char host[CPNI_HOST_TEXT];
    const char *from = strncmp(listen, CPNI_ENDPOINT_SCHEME, sizeof CPNI_ENDPOINT_SCHEME - 1) == 0
                           ? listen + sizeof CPNI_ENDPOINT_SCHEME - 1
                           : listen;
    const char *colon = strrchr(from, ':');
    size_t size = colon != NULL ? (size_t)(colon - from) : 0;
    if (size >= 2 && from[0] == '[' && from[size - 1] == ']') {
        from++;
        size -= 2;
    }
    if (size == 0 || size >= sizeof host) {
        return false;
    }
    memcpy(host, from, size);
    host[size] = 0;
    bool every = strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    return !every && cpni_endpoint_make(host, port, out) == 0;
}

static int take_advertised(struct cpn_master *master, const char *const *advertise)
{
    for (size_t i = 0; advertise[i] != NULL && i < CPNI_ENDPOINTS_MAX; i++) {
        if (cpni_endpoint_parse(advertise[i], strlen(advertise[i]), master->endpoints[i]) < 0) {
            return cpni_master_fail(master, CPN_EINVAL, "cannot advertise \"%s\": expected HOST:PORT", advertise[i]);
        }
        master->endpoint_count = i + 1;
    }
    return 0;
}

static void take_interfaces(struct cpn_master *master, uint16_t port)
{
    char hosts[CPNI_ENDPOINTS_MAX][CPNI_HOST_TEXT];
    size_t count = cpni_local_addresses(hosts);
    for (size_t i = 0; i < count; i++) {
        if (cpni_endpoint_make(hosts[i], port, master->endpoints[master->endpoint_count]) == 0) {
            master->endpoint_count++;
        }
    }
}

/* What join lines say: what was advertised, else the address that was bound, else every address of this machine. */
static int find_endpoints(struct cpn_master *master, const struct cpn_master_options *options)
{
    const uint16_t port = cpni_router_port(master->router);
    if (port == 0) {
        return 0;
    }
    if (options->advertise != NULL && options->advertise[0] != NULL) {
        return take_advertised(master, options->advertise);
    }
    const char *listen = options->listen != NULL ? options->listen[0] : NULL;
    if (listen != NULL && dialable(listen, port, master->endpoints[0])) {
        master->endpoint_count = 1;
    } else {
        take_interfaces(master, port);
    }
    return 0;
}

static int open_disk(struct cpn_master *master)
{
    char path[PATH_MAX];
    char detail[CPNI_BLOB_DETAIL] = "";
    int rc = path_of(master, "blobs", path);
    if (rc == 0) {
        rc = cpni_disk_open(&master->disk, path, 0, detail);
        if (rc < 0) {
            cpni_master_fail(master, rc, "%s", detail);
        }
    }
    return rc;
}

int cpni_master_setup(struct cpn_master *master, const struct cpn_master_options *options)
{
    int rc = open_directory(master, options);
    if (rc == 0) {
        rc = make_core(master, options);
    }
    if (rc == 0) {
        rc = raise_term(master);
    }
    if (rc == 0) {
        rc = open_disk(master);
    }
    if (rc == 0) {
        rc = open_sockets(master, options);
    }
    if (rc == 0) {
        rc = find_endpoints(master, options);
    }
    if (rc == 0) {
        rc = cpni_outbox_new(&master->outbox);
    }
    if (rc == 0) {
        rc = cpni_loop_add_fd(master->loop, cpni_state_fd(master->state));
    }
    if (rc == 0) {
        rc = cpni_loop_add_fd(master->loop, cpni_disk_fd(&master->disk));
    }
    return rc;
}

/* ---- for who starts it ---- */

int cpni_master_print_line(const struct cpn_master *master, enum cpn_role role, const struct cpni_seed *seed, char line[CPN_LINE])
{
    struct cpni_joinline join = { .role = role, .master = master->keys.public_key, .seed = *seed, .endpoint_count = master->endpoint_count };
    char text[CPNI_JOINLINE_TEXT];
    memcpy(join.endpoints, master->endpoints, sizeof join.endpoints);
    int rc = cpni_joinline_print(&join, text);
    if (rc == 0 && snprintf(line, CPN_LINE, "%s", text) >= CPN_LINE) {
        rc = CPN_ETOOBIG;
    }
    cpni_wipe(&join, sizeof join);
    cpni_wipe(text, sizeof text);
    return rc;
}

int cpn_master_join_line(struct cpn_master *master, enum cpn_role role, uint64_t ttl_ms, uint32_t uses, char line[CPN_LINE])
{
    struct cpni_seed seed;
    struct cpni_curve_keys keys;
    struct cpni_commit commit;
    struct cpni_command command = { .type = CPNI_COMMAND_TOKEN_ADD };
    master->now = cpni_clock_now();
    cpni_seed_generate(&seed);
    cpni_curve_from_seed(&seed, &keys);
    command.u.token_add = (struct cpni_command_token_add){
        .token = keys.public_key,
        .role = role,
        .expires_wall_us = master->now.wall_us + (int64_t)ttl_ms * 1000,
        .uses = uses,
        .wall_us = master->now.wall_us,
    };
    int rc = cpni_master_commit_now(master, &command, &commit);
    if (rc == 0) {
        rc = cpni_master_core_token(master->core, &keys.public_key, role, cpni_str(NULL), command.u.token_add.expires_wall_us, uses);
    }
    if (rc == 0) {
        rc = cpni_master_print_line(master, role, &seed, line);
    }
    cpni_wipe(&seed, sizeof seed);
    cpni_wipe(&keys, sizeof keys);
    return rc;
}

static int endpoints_text(const struct cpn_master *master, char *text, size_t room)
{
    size_t used = 0;
    for (size_t i = master->endpoint_count; i > 0; i--) { /* the administrator sits at this machine: loopback, the last, first */
        used += (size_t)snprintf(text + used, room - used, "%s%s", used == 0 ? "" : ",", master->endpoints[i - 1]);
    }
    return used != 0 ? 0 : CPN_ESTATE;
}

static int add_admin(struct cpn_master *master, struct cpn_context *context)
{
    struct cpni_command add = { .type = CPNI_COMMAND_IDENTITY_ADD };
    struct cpni_commit commit;
    const struct cpni_master_history history = { 0 };
    add.u.identity_add = (struct cpni_command_identity_add){ .key = context->keys.public_key, .role = CPN_ROLE_ADMIN,
                                                             .wall_us = master->now.wall_us };
    cpni_str_copy(cpni_str(context->name), add.u.identity_add.name, sizeof add.u.identity_add.name);
    int rc = cpni_master_commit_now(master, &add, &commit);
    if (rc < 0) {
        return rc;
    }
    cpni_str_copy(cpni_str(commit.text), context->name, sizeof context->name);
    return cpni_master_core_identity(master->core, &context->keys.public_key, CPN_ROLE_ADMIN, cpni_str(context->name), false, true, &history);
}

static int add_signer(struct cpn_master *master, const struct cpn_context *context)
{
    struct cpni_command signer = { .type = CPNI_COMMAND_SIGNER_ADD };
    struct cpni_commit commit;
    signer.u.signer_add = (struct cpni_command_signer_add){ .key = context->keys.public_key, .signer = context->sign.public_key,
                                                            .wall_us = master->now.wall_us };
    int rc = cpni_master_commit_now(master, &signer, &commit);
    return rc < 0 ? rc : cpni_master_core_signer(master->core, &context->keys.public_key, &context->sign.public_key);
}

/* The file first: an administrator without a file would be one that nobody can be, and that keeps the next start from making another. */
static int save_and_enrol(struct cpn_master *master, struct cpn_context *context, const char *path, bool replace)
{
    char wished[sizeof context->name];
    memcpy(wished, context->name, sizeof wished);
    int rc = cpni_context_save(context, path, replace, master->detail);
    if (rc < 0) {
        return rc;
    }
    rc = add_admin(master, context);
    if (rc < 0) {
        unlink(path);
        return rc;
    }
    rc = add_signer(master, context);
    return rc == 0 && strcmp(wished, context->name) != 0 ? cpni_context_save(context, path, true, master->detail) : rc;
}

/* The context of a first start that was killed before its identity was durable: it belongs to this network, which knows nothing of it. */
static int take_unfinished(struct cpn_master *master, const char *path, struct cpn_context **out)
{
    int rc = cpni_context_read(path, out, NULL);
    if (rc == 0 && (*out)->role == CPN_ROLE_ADMIN && memcmp(&(*out)->master, &master->keys.public_key, sizeof (*out)->master) == 0
        && !cpni_master_core_knows(master->core, &(*out)->keys.public_key)) {
        return 0;
    }
    if (rc == 0) {
        cpn_context_free(*out);
    }
    return cpni_master_fail(master, CPN_EEXISTS, "%s exists already; it is left alone", path);
}

int cpn_master_admin_context(struct cpn_master *master, const char *name, const char *path)
{
    struct cpn_context *context = NULL;
    char endpoints[CPNI_CONTEXT_ENDPOINTS];
    master->now = cpni_clock_now();
    const bool again = access(path, F_OK) == 0;
    int rc = again ? take_unfinished(master, path, &context) : cpni_context_make(&context);
    if (rc < 0) {
        return rc;
    }
    snprintf(context->name, sizeof context->name, "%s", name);
    context->role = CPN_ROLE_ADMIN;
    context->master = master->keys.public_key;
    context->joined = true;
    rc = endpoints_text(master, endpoints, sizeof endpoints);
    if (rc == 0) {
        rc = cpni_context_set_endpoints(context, endpoints);
    }
    if (rc == 0) {
        rc = save_and_enrol(master, context, path, again);
    }
    cpn_context_free(context);
    return rc;
}
