/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A worker whose model `noop` is a C function that does nothing: the embedded form of the task benchmark.
 *
 *   cpn-noop LINE CONTEXT NAME SLOTS      joins with LINE, then serves until it is stopped by a signal */
#include <signal.h>

#include <cpn/cpn.h>

#include "measure.h"

static struct cpn_worker *worker;

static int noop(struct cpn_attempt *attempt, void *arg)
{
    (void)attempt, (void)arg;
    return 0;
}

static void stop(int number)
{
    (void)number;
    cpn_worker_stop(worker);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fail("cpn-noop LINE CONTEXT NAME SLOTS");
    }
    char detail[CPN_DETAIL] = "";
    struct cpn_context *context;
    struct cpn_worker_options options = CPN_WORKER_OPTIONS_INIT;
    if (cpn_context_join(argv[1], argv[3], CPN_ROLE_NODE, argv[2], 10000, &context, detail) < 0) {
        fail("cpn-noop: %s", detail);
    }
    options.context = context;
    options.slots = (uint32_t)atoi(argv[4]);
    options.no_backends = true;
    if (cpn_worker_open(&options, &worker, detail) < 0 || cpn_worker_handle(worker, "noop", noop, NULL) < 0) {
        fail("cpn-noop: %s", detail);
    }
    signal(SIGTERM, stop);
    int rc = cpn_worker_run(worker);
    if (rc < 0) {
        fprintf(stderr, "cpn-noop: %s\n", cpn_worker_detail(worker));
    }
    cpn_worker_close(worker);
    cpn_context_free(context);
    return rc < 0;
}
