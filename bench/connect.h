/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Connecting a client, as the programs of the benchmark do. */
#ifndef BENCH_CONNECT_H
#define BENCH_CONNECT_H

#include <cpn/cpn.h>

#include "measure.h"

#define CONNECT_MS 10000

/* The client of the context in a file ("DIR/NAME"), welcomed by its master. The context lives as long as the program. */
static inline struct cpn_client *connect_client(const char *path)
{
    char detail[CPN_DETAIL] = "";
    struct cpn_context *context;
    struct cpn_client *client;
    struct cpn_client_options options = CPN_CLIENT_OPTIONS_INIT;
    if (cpn_context_load(path, &context, detail) < 0) {
        fail("%s", detail);
    }
    char *spool = strdup(path); /* beside the context: on the tmpfs, as everything that is measured */
    *strrchr(spool, '/') = 0;
    options.context = context;
    options.name = "bench";
    options.spool_dir = spool;
    if (cpn_client_open(&options, &client, detail) < 0) {
        fail("%s", detail);
    }
    if (cpn_client_connect(client, CONNECT_MS) < 0) {
        fail("%s", cpn_client_detail(client));
    }
    free(spool);
    return client;
}

#endif
