/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a context holds, for the roles. */
#ifndef CPNI_ROLE_CONTEXT_H
#define CPNI_ROLE_CONTEXT_H

#include <stdbool.h>

#include <cpn/context.h>

#include "net/endpoint.h"
#include "net/keys.h"

#define CPNI_CONTEXT_ENDPOINTS (CPNI_ENDPOINTS_MAX * CPNI_ENDPOINT_TEXT)

struct cpn_context {
    char name[CPN_NAME];
    enum cpn_role role;
    char endpoints[CPNI_CONTEXT_ENDPOINTS]; /* "tcp://HOST:PORT,tcp://HOST:PORT" */
    char shown[CPNI_CONTEXT_ENDPOINTS];     /* the same without "tcp://" */
    struct cpn_key master;
    struct cpni_curve_keys keys;
    struct cpni_sign_keys sign;
    bool joined; /* false: keys were made, the master has not yet enrolled them */
};

/* Keys are made; everything else is the caller's. CPN_ENOMEM, CPN_EIO. */
int cpni_context_make(struct cpn_context **out);

int cpni_context_set_endpoints(struct cpn_context *context, const char *endpoints);
int cpni_context_save(const struct cpn_context *context, const char *path, bool replace, char *detail);

/* As cpn_context_load, also for a join that was begun and not finished. */
int cpni_context_read(const char *path, struct cpn_context **out, char *detail);

#endif
