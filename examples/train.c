/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Trains a model on a table with the nodes of a network, and publishes it. Usage: train CONTEXT TABLE LABEL PEERS MODEL
 * LABEL is the column that holds what is to be learned. Ctrl-C ends this program, not the session: `cpn sessions` shows it. */
#include <stdio.h>
#include <stdlib.h>

#include <cpn/cpn.h>

/* Called a few times a second: prints each epoch of the validated model, or of a configuration, once. */
static int show(void *arg, const struct cpn_session_report *report)
{
    size_t *shown = arg;
    for (; *shown < report->point_count; ++*shown) {
        const struct cpn_point_info *point = &report->points[*shown];
        if (point->accuracy >= 0) { /* not so of NAN: this one was not evaluated */
            printf("epoch %u: loss %.4f, accuracy %.1f%%\n", point->epoch, point->loss, point->accuracy * 100);
        }
    }
    fflush(stdout);
    return 0;
}

static int train(struct cpn_client *client, char **argv)
{
    struct cpn_session_options options = CPN_SESSION_OPTIONS_INIT;
    struct cpn_session_publish_options model = CPN_SESSION_PUBLISH_OPTIONS_INIT;
    struct cpn_id session;
    char id[CPN_ID_TEXT];
    size_t shown = 0;
    uint32_t version;
    options.table.path = argv[2];
    options.table.label = argv[3];
    options.peers = (uint32_t)strtoul(argv[4], NULL, 10);
    model.name = argv[5];
    options.publish = &model;
    int rc = cpn_session_start(client, &options, 60000, &session);
    if (rc == 0) {
        printf("session %s\n", cpn_id_text(&session, id));
        rc = cpn_session_watch(client, &session, show, &shown, -1);
    }
    rc = rc == 0 ? cpn_session_publish(client, &session, &model, 60000, &version) : rc;
    if (rc == 0) {
        printf("published as %s@%u\n", model.name, version);
    }
    return rc;
}

int main(int argc, char **argv)
{
    char why[CPN_DETAIL] = "";
    struct cpn_context *context = NULL;
    struct cpn_client *client = NULL;
    struct cpn_client_options options = CPN_CLIENT_OPTIONS_INIT;
    if (argc != 6 || cpn_context_load(argv[1], &context, why) < 0) {
        fprintf(stderr, "train CONTEXT TABLE LABEL PEERS MODEL: %s\n", why);
        return 2;
    }
    options.context = context;
    int rc = cpn_client_open(&options, &client, why);
    rc = rc == 0 ? train(client, argv) : rc;
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", cpn_strerror(rc), client != NULL ? cpn_client_detail(client) : why);
    }
    cpn_client_close(client);
    cpn_context_free(context);
    return rc < 0;
}
