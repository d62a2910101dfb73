/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* PUBLISH: who may, with which signing key, and how a bundle comes in: its files are fetched from the publisher, then the version is
 * made durable, then it is told and the nodes prepare it (DESIGN §7). What the store's answer needs is reserved before it is asked. */
#include "core/master_state.h"

#include <stdio.h>

static struct cpni_mpublish *find(const struct cpni_master_core *core, uint64_t serial)
{
    struct cpni_mpublish *publish;
    DL_FOREACH(core->publishes, publish) {
        if (publish->serial == serial) {
            break;
        }
    }
    return publish;
}

static void cancel_fetches(struct cpni_master_core *core, const struct cpni_mpublish *publish)
{
    for (uint32_t i = 0; i < publish->version->manifest.file_count; i++) {
        cpni_transfer_cancel(core->transfer, publish->tickets + i, &core->now, core->out);
    }
}

void cpni_mpublish_free(struct cpni_master_core *core, struct cpni_mpublish *publish)
{
    DL_DELETE(core->publishes, publish);
    core->publish_count--;
    cpni_free(publish);
}

static void refuse(struct cpni_master_core *core, struct cpni_mlink *link, uint64_t request, int code, const char *text)
{
    if (link == NULL || link->control == NULL) {
        return; /* it will ask again */
    }
    struct cpni_mrefusal refusal = { .code = code, .type = CPNI_MSG_PUBLISH, .request = request };
    cpni_mconn_refuse(core, link->control, &refusal, "%s", text);
}

static void abandon(struct cpni_master_core *core, struct cpni_mpublish *publish, int code, const char *text)
{
    struct cpni_log_about about = { .model = cpni_actions_text(core->out, "%s", publish->version->model->name) };
    cpni_log(core->out, CPNI_LOG_MODEL_REFUSED, &about, "%s", text);
    refuse(core, publish->link, publish->request, code, text);
    cancel_fetches(core, publish);
    cpni_mversion_free(core, publish->version);
    cpni_mpublish_free(core, publish);
}

void cpni_mpublish_forget(struct cpni_master_core *core, const struct cpni_mlink *link)
{
    struct cpni_mpublish *publish, *next;
    DL_FOREACH_SAFE(core->publishes, publish, next) {
        if (publish->link == link) {
            publish->link = NULL;
            if (!publish->committing) {
                abandon(core, publish, CPN_ECLOSED, "its publisher left before all files were here");
            }
        }
    }
}

static void send_published(struct cpni_master_core *core, struct cpni_mlink *link, uint64_t request,
                           const struct cpni_mversion *version, bool existed)
{
    struct cpni_msg msg = { .type = CPNI_MSG_PUBLISHED };
    msg.published.request = request;
    msg.published.name = cpni_str(version->model->name);
    msg.published.version = version->number;
    msg.published.existed = existed;
    cpni_mlink_send(core, link, &msg);
}

/* ---- what may be published ---- */

static bool plain_name(struct cpni_str name)
{
    bool plain = name.size != 0 && name.size < CPNI_NAME;
    for (uint32_t i = 0; plain && i < name.size; i++) {
        char c = name.text[i];
        plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    }
    return plain;
}

/* Who has the right, for those who lack it: they are shown no list of users. */
static const char *lacks_right(struct cpni_master_core *core)
{
    char names[256] = "";
    size_t used = 0;
    unsigned left = 5; /* names enough to ask */
    const struct cpni_midentity *user;
    for (user = core->identities; user != NULL; user = user->hh.next) {
        bool may = user->enrolled && !user->revoked && (user->role == CPN_ROLE_ADMIN || user->publish);
        if (may && left > 0 && used + sizeof user->name + 2 < sizeof names) {
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used == 0 ? "" : ", ", user->name);
            left--;
        }
    }
    struct cpni_str text = cpni_actions_text(core->out, "this user may not publish models; %s may, and an admin grants the right (cpn user grant-publish NAME)",
                                             names[0] != 0 ? names : "admins");
    return text.text != NULL ? text.text : "this user may not publish models";
}

static const char *trouble(struct cpni_master_core *core, const struct cpni_midentity *identity,
                           const struct cpni_msg_publish *publish, const struct cpni_manifest_check *check, int *code)
{
    *code = CPN_EDENIED;
    if (identity->role != CPN_ROLE_ADMIN && !identity->publish) {
        return lacks_right(core);
    }
    if (check == NULL || publish->manifest == NULL) {
        *code = CPN_EPROTO;
        return "PUBLISH carries no manifest";
    }
    if (check->code < 0) {
        *code = check->code;
        return check->text != NULL ? check->text : cpn_strerror(check->code);
    }
    if (cpni_mkey_zero(&publish->signer)) {
        *code = CPN_ECORRUPT;
        return "the manifest is not signed";
    }
    if (identity->has_signer && memcmp(&identity->signer, &publish->signer, sizeof identity->signer) != 0) {
        return "the manifest is signed with another key than this user's first one: publish from the context that has it";
    }
    *code = CPN_EINVAL;
    if (!plain_name(check->manifest->name)) {
        return "a model's name has 1 to 63 letters, digits, '-', '_' or '.'";
    }
    *code = CPN_EBUSY;
    if (core->publish_count >= CPNI_PUBLISHES_MAX) {
        return "too many models are being published at the moment: try again";
    }
    if (core->version_count >= CPNI_MODELS_MAX) {
        return "the network has as many models as it can: remove old versions (cpn model remove NAME@N)";
    }
    return NULL;
}

/* ---- on the way ---- */

static void commit_model(struct cpni_master_core *core, struct cpni_mpublish *publish)
{
    struct cpni_mversion *version = publish->version;
    struct cpni_mpending *ask = cpni_mpending_new(core, CPNI_MPENDING_MODEL);
    if (ask == NULL) {
        abandon(core, publish, CPN_EBUSY, "the master cannot take more now: try again");
        return;
    }
    ask->publish = publish->serial;
    publish->committing = true;
    struct cpni_command command = { .type = CPNI_COMMAND_MODEL_ADD, .payload = cpni_bytes_ref(version->manifest_bytes) };
    memcpy(command.u.model_add.name, version->model->name, sizeof command.u.model_add.name);
    command.u.model_add.manifest = version->root;
    command.u.model_add.signer = version->signer;
    command.u.model_add.signature = version->signature;
    command.u.model_add.bytes = version->bytes;
    command.u.model_add.wall_us = core->now.wall_us;
    cpni_mpending_commit(core, ask, NULL, &command);
}

/* The store binds signing keys to identities that it knows. All roles of the master's own process publish as one of its own. */
void cpni_mpublish_local(struct cpni_master_core *core)
{
    struct cpni_mpending *ask = cpni_mpending_new(core, CPNI_MPENDING_LOCAL);
    if (ask == NULL) {
        return; /* then the store rejects what follows, and says why */
    }
    struct cpni_command command = { .type = CPNI_COMMAND_IDENTITY_ADD };
    command.u.identity_add.key = cpni_mlocal_key;
    command.u.identity_add.role = CPN_ROLE_ADMIN;
    cpni_str_copy(cpni_str("local"), command.u.identity_add.name, CPNI_NAME);
    command.u.identity_add.wall_us = core->now.wall_us;
    cpni_mpending_commit(core, ask, NULL, &command);
}

static void commit_signer(struct cpni_master_core *core, struct cpni_mpublish *publish)
{
    const struct cpni_midentity *identity = publish->link->identity;
    if (identity->local) {
        cpni_mpublish_local(core);
    }
    struct cpni_mpending *ask = cpni_mpending_new(core, CPNI_MPENDING_SIGNER);
    if (ask == NULL) {
        abandon(core, publish, CPN_EBUSY, "the master cannot take more now: try again");
        return;
    }
    ask->publish = publish->serial;
    struct cpni_command command = { .type = CPNI_COMMAND_SIGNER_ADD };
    command.u.signer_add.key = identity->local ? cpni_mlocal_key : identity->key;
    command.u.signer_add.signer = publish->version->signer;
    command.u.signer_add.wall_us = core->now.wall_us;
    publish->committing = true;
    cpni_mpending_commit(core, ask, NULL, &command);
}

/* All files are here: first the signing key is bound to its user (once), then the version is added. */
static void complete(struct cpni_master_core *core, struct cpni_mpublish *publish)
{
    if (!publish->link->identity->has_signer) {
        commit_signer(core, publish);
    } else {
        commit_model(core, publish);
    }
}

static void fetch_files(struct cpni_master_core *core, struct cpni_mpublish *publish)
{
    const struct cpni_manifest *manifest = &publish->version->manifest;
    publish->tickets = core->last_ticket + 1;
    publish->missing = manifest->file_count;
    core->last_ticket += manifest->file_count;
    for (uint32_t i = 0; i < manifest->file_count; i++) {
        int rc = cpni_transfer_fetch(core->transfer, publish->tickets + i, publish->link->serial, &manifest->files[i].root,
                                     manifest->files[i].size, false, &core->now, core->out);
        if (rc < 0) {
            core->out->failed = core->out->failed || rc == CPN_ENOMEM;
            abandon(core, publish, rc, "the files cannot be received now: try again");
            return;
        }
    }
    if (manifest->file_count == 0) {
        complete(core, publish);
    }
}

static struct cpni_mpublish *begin(struct cpni_master_core *core, struct cpni_mlink *link, const struct cpni_msg_publish *msg,
                                   const struct cpni_manifest_check *check)
{
    struct cpni_mpublish *publish = cpni_calloc(1, sizeof *publish);
    struct cpni_mversion *version =
        publish == NULL ? NULL : cpni_mversion_make(core, check->manifest->name, 0, &check->root, check->manifest);
    if (version == NULL) {
        core->out->failed = true;
        cpni_free(publish);
        return NULL;
    }
    version->manifest_bytes = cpni_bytes_ref(msg->manifest);
    version->signature = msg->signature;
    version->signer = msg->signer;
    publish->serial = ++core->last_publish;
    publish->link = link;
    publish->request = msg->request;
    publish->version = version;
    DL_APPEND(core->publishes, publish);
    core->publish_count++;
    return publish;
}

/* The publisher asks again after a break, or another one publishes the very same: whoever asked last is told. */
static void join(struct cpni_master_core *core, struct cpni_mversion *version, struct cpni_mlink *link, uint64_t request)
{
    struct cpni_mpublish *publish;
    DL_FOREACH(core->publishes, publish) {
        if (publish->version != version) {
            continue;
        }
        bool moved = publish->link != link;
        publish->link = link;
        publish->request = request;
        for (uint32_t i = 0; moved && !publish->committing && i < version->manifest.file_count; i++) {
            uint64_t done, total;
            if (cpni_transfer_progress(core->transfer, publish->tickets + i, &done, &total)) {
                cpni_transfer_fetch(core->transfer, publish->tickets + i, link->serial, &version->manifest.files[i].root,
                                    version->manifest.files[i].size, false, &core->now, core->out);
            }
        }
        return;
    }
}

void cpni_mpublish(struct cpni_master_core *core, struct cpni_mconn *conn, const struct cpni_msg_publish *msg,
                   const struct cpni_manifest_check *check)
{
    int code;
    const char *wrong = trouble(core, conn->link->identity, msg, check, &code);
    if (wrong != NULL) {
        struct cpni_mrefusal refusal = { .code = code, .type = CPNI_MSG_PUBLISH, .request = msg->request };
        cpni_mconn_refuse(core, conn, &refusal, "%s", wrong);
        return;
    }
    struct cpni_mversion *version = cpni_mversion_root(core, &check->root);
    if (version != NULL && version->live) {
        send_published(core, conn->link, msg->request, version, true);
    } else if (version != NULL) {
        join(core, version, conn->link, msg->request);
    } else {
        struct cpni_mpublish *publish = begin(core, conn->link, msg, check);
        if (publish != NULL) {
            fetch_files(core, publish);
        }
    }
}

bool cpni_mpublish_outcome(struct cpni_master_core *core, const struct cpni_transfer_outcome *outcome)
{
    struct cpni_mpublish *publish;
    DL_FOREACH(core->publishes, publish) {
        uint32_t files = publish->version->manifest.file_count;
        if (outcome->ticket < publish->tickets || outcome->ticket - publish->tickets >= files) {
            continue;
        }
        if (outcome->code < 0) {
            abandon(core, publish, outcome->code, outcome->text);
        } else if (--publish->missing == 0) {
            complete(core, publish);
        }
        return true;
    }
    return false;
}

/* ---- the store's answers ---- */

static const char *store_text(const struct cpni_commit *commit)
{
    return commit->status == CPNI_REJECTED && commit->text[0] != 0 ? commit->text : "the master's store has failed: try again";
}

void cpni_mpublish_signed(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit)
{
    struct cpni_mpublish *publish = find(core, ask->publish);
    if (publish == NULL) {
        return;
    }
    if (commit->status != CPNI_COMMITTED || publish->link == NULL) {
        abandon(core, publish, commit->status == CPNI_REJECTED ? commit->code : CPN_EIO, store_text(commit));
        return;
    }
    publish->link->identity->has_signer = true;
    publish->link->identity->signer = publish->version->signer;
    commit_model(core, publish);
}

void cpni_mpublish_done(struct cpni_master_core *core, struct cpni_mpending *ask, const struct cpni_commit *commit)
{
    struct cpni_mpublish *publish = find(core, ask->publish);
    if (publish == NULL) {
        return;
    }
    if (commit->status != CPNI_COMMITTED) {
        abandon(core, publish, commit->status == CPNI_REJECTED ? commit->code : CPN_EIO, store_text(commit));
        return;
    }
    struct cpni_mversion *version = publish->version;
    cpni_mversion_number(version, (uint32_t)commit->number);
    version->live = true;
    version->added_us = core->now.wall_us;
    struct cpni_log_about about = { .model = cpni_mversion_text(core, version) };
    if (publish->link != NULL) {
        about.user = &publish->link->identity->key;
        about.name = cpni_actions_text(core->out, "%s", publish->link->identity->name);
        send_published(core, publish->link, publish->request, version, false);
    }
    cpni_log(core->out, CPNI_LOG_MODEL_PUBLISHED, &about, "%u files, %llu bytes", version->manifest.file_count,
             (unsigned long long)version->bytes);
    cpni_mpublish_free(core, publish);
    cpni_mprepare_version(core, version);
}
