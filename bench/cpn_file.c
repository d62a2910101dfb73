/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The network's side of the transfer benchmark: publish a model with a large file, and wait until the nodes have it.
 *
 *   cpn-file CONTEXT BUNDLE NODES
 *
 * prints up_mb_s= (client to master, from the call to the committed version) and down_mb_s= (master to nodes, until the last one is ready:
 * the loading of the model by its backend is in it), and removes the model. */
#include <cpn/cpn.h>

#include "connect.h"
#include "measure.h"

#define PUBLISH_MS 120000
#define ASK_MS 5000
#define LOOK_MS 5 /* between two looks at the models */

/* Nodes that are ready with a version. */
static uint32_t ready(struct cpn_client *client, const char *name, uint32_t version)
{
    struct cpn_model_info *models;
    size_t count;
    uint32_t found = 0;
    if (cpn_client_models(client, ASK_MS, &models, &count) < 0) {
        fail("cpn-file: %s", cpn_client_detail(client));
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(models[i].name, name) == 0 && models[i].version == version) {
            if (models[i].failed > 0) {
                fail("cpn-file: %s", models[i].text);
            }
            found = models[i].ready;
        }
    }
    cpn_client_free_list(models);
    return found;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fail("cpn-file CONTEXT BUNDLE NODES");
    }
    char detail[CPN_DETAIL] = "";
    struct cpn_model *model;
    struct cpn_client *client = connect_client(argv[1]);
    if (cpn_model_open(argv[2], &model, detail) < 0) {
        fail("cpn-file: %s", detail);
    }
    const double mb = (double)cpn_model_bytes(model) / 1e6;
    const double start = now_s();
    uint32_t version;
    if (cpn_client_publish(client, model, NULL, NULL, PUBLISH_MS, &version) < 0) {
        fail("cpn-file: %s", cpn_client_detail(client));
    }
    const double published = now_s();
    while (ready(client, cpn_model_name(model), version) < (uint32_t)atoi(argv[3])) {
        cpn_client_dispatch(client, LOOK_MS);
    }
    printf("up_mb_s=%.1f down_mb_s=%.1f\n", mb / (published - start), mb / (now_s() - published));
    fflush(stdout);
    cpn_client_model_remove(client, cpn_model_name(model), version, ASK_MS);
    cpn_model_free(model);
    cpn_client_close(client);
    return 0;
}
