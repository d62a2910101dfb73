/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* After a model version was published: how the nodes get on with preparing it. */
#ifndef CPN_PREPARE_H
#define CPN_PREPARE_H

#include <stddef.h>
#include <stdint.h>

#include "cli.h"

struct prepare {
    struct cli *cli;
    const char *name, *backend; /* of the model */
    uint32_t version;
    size_t ready, failed, unmet, waiting; /* nodes, at the last look */
    size_t shown_count;
};

/* Wait until the nodes that are there have prepared it; each change is a line, unless in JSON. Signals must have been installed (signals.h).
 * The exit status: 1 when a node failed or none can, 3 when it takes too long. */
int prepare_wait(struct prepare *prepare);

void prepare_tell(const struct prepare *prepare); /* the sum of it */
json_t *prepare_json(const struct prepare *prepare);

#endif
