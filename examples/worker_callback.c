/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A node whose model is a C function: "upper" answers a text in capitals. Usage: worker_callback JOIN-LINE CONTEXT
 * The first start joins and keeps its keys in the file CONTEXT; later starts find them there. SIGTERM and Ctrl-C end it in order. */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>

#include <cpn/cpn.h>

static struct cpn_worker *worker;

static void stop(int signal)
{
    (void)signal;
    cpn_worker_stop(worker);
}

static int upper(struct cpn_attempt *attempt, void *arg)
{
    struct cpn_label label = { .confidence = 1 };
    size_t size;
    const char *text = cpn_attempt_input(attempt, &size);
    (void)arg;
    if (size >= sizeof label.name) {
        cpn_attempt_detail(attempt, "the text is longer than a label: at most 95 bytes");
        return CPN_EBADINPUT;
    }
    for (size_t i = 0; i < size; i++) {
        label.name[i] = (char)toupper((unsigned char)text[i]);
    }
    return cpn_attempt_label(attempt, &label);
}

int main(int argc, char **argv)
{
    char why[CPN_DETAIL] = "";
    struct cpn_context *context = NULL;
    struct cpn_worker_options options = CPN_WORKER_OPTIONS_INIT;
    if (argc != 3 || cpn_context_join(argv[1], NULL, CPN_ROLE_NODE, argv[2], 10000, &context, why) < 0) {
        fprintf(stderr, "worker_callback JOIN-LINE CONTEXT: %s\n", why);
        return 2;
    }
    options.context = context;
    options.no_backends = true;
    int rc = cpn_worker_open(&options, &worker, why);
    if (rc == 0) {
        cpn_worker_handle(worker, "upper", upper, NULL);
        signal(SIGTERM, stop);
        signal(SIGINT, stop);
        rc = cpn_worker_run(worker);
    }
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", cpn_strerror(rc), worker != NULL ? cpn_worker_detail(worker) : why);
    }
    cpn_worker_close(worker);
    cpn_context_free(context);
    return rc < 0;
}
