/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A client's decisions: which submissions the master has, which must be sent again after a break or BUSY, which results were
 * delivered already. Fed with events, answers with actions; see event.h, action.h. The same core enrols: with a token's key the
 * role asks ENROL instead (config.enrol).
 *
 * What is told: WELCOME (of nothing but that the master is there), ACCEPTED, one RESULT per task (code and text say it when the master
 * refused it, its deadline passed or it was cancelled), the answers to EV_ASK (REPLY, PUBLISHED, DONE, or REFUSED with its request) and to EV_FETCH (DONE, REFUSED),
 * BYE (the master is gone for now; code and text say why), REFUSED with request 0 (for good: nothing more will be tried; tasks and requests are told as failed
 * after it).
 * A RESULT with image_root, a DONE of a fetch: the blob is in the store, and a DISK REMOVE of it follows in the same list; so the role
 * queues its read of it while it carries out the TELL. The two blobs that a SESSION names are removed when it was answered or forgotten. Blobs of inputs are removed in the same way when their task is over.
 * A SUBMIT or SESSION may name a blob that a REMOVE of the same round is about: the role asks cpni_client_core_holds() when it carries a REMOVE out. */
#ifndef CPNI_CORE_CLIENT_H
#define CPNI_CORE_CLIENT_H

#include "core/action.h"
#include "core/event.h"

struct cpni_client_core;

struct cpni_client_config {
    struct cpn_id boot;
    struct cpni_str name, software;
    struct cpn_key signer; /* zero: none */
    bool enrol;            /* this connection is made with a token's key: say ENROL{enrol_key, name}, TELL the ENROLLED, nothing else */
    struct cpn_key enrol_key;
};

int cpni_client_core_new(const struct cpni_client_config *config, const struct cpni_now *now, struct cpni_client_core **out);
void cpni_client_core_free(struct cpni_client_core *core);
/* 0; CPN_ENOMEM. For SUBMIT, ASK and FETCH also CPN_EBUSY, CPN_EEXISTS (the id is in use), CPN_ECLOSED or why the network refuses this client:
 * then nothing was taken. */
int cpni_client_core_step(struct cpni_client_core *core, const struct cpni_event *event, const struct cpni_now *now,
                          struct cpni_actions *actions);
bool cpni_client_core_holds(const struct cpni_client_core *core, const struct cpn_hash *root);
int64_t cpni_client_core_deadline(const struct cpni_client_core *core);
const char *cpni_client_core_check(const struct cpni_client_core *core);

#endif
