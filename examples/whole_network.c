/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A master, a worker and a client in one process, over inproc: the network as a part of a program, or of its tests.
 * Usage: whole_network [TEXT]: the callback counts the letters of TEXT. */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cpn/cpn.h>

static int letters(struct cpn_attempt *attempt, void *arg)
{
    struct cpn_label label = { .confidence = 1 };
    size_t size;
    const char *text = cpn_attempt_input(attempt, &size);
    int count = 0;
    (void)arg;
    for (size_t i = 0; i < size; i++) {
        count += isalpha((unsigned char)text[i]) != 0;
    }
    snprintf(label.name, sizeof label.name, "%d letters", count);
    return cpn_attempt_label(attempt, &label);
}

static void *run_master(void *master)
{
    cpn_master_run(master);
    return NULL;
}

static void *run_worker(void *worker)
{
    cpn_worker_run(worker);
    return NULL;
}

/* A callback's model is known when its node is there. */
static int wait_for_node(struct cpn_client *client)
{
    struct cpn_node_info *nodes = NULL;
    size_t count = 0;
    int rc;
    do {
        cpn_client_free_list(nodes);
        nodes = NULL;
        rc = cpn_client_dispatch(client, 10);
        rc = rc == 0 ? cpn_client_nodes(client, 5000, &nodes, &count) : rc;
    } while (rc == 0 && (count == 0 || nodes[0].state != CPN_NODE_READY));
    cpn_client_free_list(nodes);
    return rc;
}

static int ask(struct cpn_client *client, const char *text)
{
    struct cpn_task_options order = CPN_TASK_OPTIONS_INIT;
    struct cpn_task *task = NULL;
    size_t count;
    order.model = "letters";
    order.data = text;
    order.data_size = strlen(text);
    int rc = wait_for_node(client);
    rc = rc == 0 ? cpn_client_submit(client, &order, &task) : rc;
    rc = rc == 0 ? cpn_task_wait(task, 10000) : rc;
    rc = rc == 0 ? cpn_task_code(task) : rc;
    if (rc == 0) {
        printf("%s, says %s\n", cpn_task_labels(task, &count)[0].name, cpn_task_node(task));
    }
    return rc;
}

int main(int argc, char **argv)
{
    char why[CPN_DETAIL] = "";
    char dir[] = "/tmp/cpn-example-XXXXXX";
    struct cpn_master_options network = CPN_MASTER_OPTIONS_INIT;
    struct cpn_worker_options node = CPN_WORKER_OPTIONS_INIT;
    struct cpn_client_options user = CPN_CLIENT_OPTIONS_INIT;
    struct cpn_master *master = NULL;
    struct cpn_worker *worker = NULL;
    struct cpn_client *client = NULL;
    pthread_t threads[2];
    network.data_dir = mkdtemp(dir);
    network.create = true;
    network.local_only = true;
    int rc = cpn_master_open(&network, &master, why);
    if (rc < 0) {
        fprintf(stderr, "master: %s\n", why);
        return 1;
    }
    node.master = user.master = master;
    node.name = "this process";
    node.no_backends = true;
    rc = cpn_worker_open(&node, &worker, why);
    rc = rc == 0 ? cpn_worker_handle(worker, "letters", letters, NULL) : rc;
    rc = rc == 0 ? cpn_client_open(&user, &client, why) : rc;
    if (rc == 0) {
        pthread_create(&threads[0], NULL, run_master, master);
        pthread_create(&threads[1], NULL, run_worker, worker);
        rc = ask(client, argc > 1 ? argv[1] : "Hello, network");
        cpn_client_close(client);
        cpn_worker_stop(worker);
        pthread_join(threads[1], NULL);
        cpn_master_stop(master);
        pthread_join(threads[0], NULL);
    }
    if (rc < 0) {
        fprintf(stderr, "%s %s\n", cpn_strerror(rc), why);
    }
    cpn_worker_close(worker);
    cpn_master_close(master);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) != 0 || rc < 0;
}
