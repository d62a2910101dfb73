/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* In a build without the master role there is no master in this process, and nobody can ask for one. */
#include "role/master.h"

#include <cpn/error.h>

struct cpni_context *cpni_master_zmq(struct cpn_master *master)
{
    (void)master;
    return NULL;
}

const struct cpni_sign_keys *cpni_master_local_sign(const struct cpn_master *master)
{
    (void)master;
    return NULL;
}

int cpni_master_print_line(const struct cpn_master *master, enum cpn_role role, const struct cpni_seed *seed, char line[CPN_LINE])
{
    (void)master;
    (void)role;
    (void)seed;
    (void)line;
    return CPN_ENOTSUP;
}
