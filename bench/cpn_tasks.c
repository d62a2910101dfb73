/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The network's side of the task benchmark: one client.
 *
 *   cpn-tasks CONTEXT MODEL BYTES WINDOW SECONDS    prints tasks_s=…, with WINDOW 1 also latencies
 *
 * As in zmq-tasks, WINDOW tasks are answered before the clock starts. */
#include <cpn/cpn.h>

#include "connect.h"
#include "measure.h"

#define LATENCIES_MAX 1000000

static size_t sent, completed;
static double submitted; /* when the last task was */
static double latencies[LATENCIES_MAX];
static size_t latency_count;

static void done(struct cpn_task *task, void *arg)
{
    (void)arg;
    if (cpn_task_code(task) < 0) {
        fail("cpn-tasks: %s", cpn_task_detail(task));
    }
    completed++;
    if (latency_count < LATENCIES_MAX) {
        latencies[latency_count++] = now_s() - submitted;
    }
    cpn_task_free(task);
}

/* Keep the window full and handle what came. */
static void turn(struct cpn_client *client, const struct cpn_task_options *options, size_t window)
{
    while (sent - completed < window) {
        struct cpn_task *task;
        submitted = now_s();
        int rc = cpn_client_submit(client, options, &task);
        if (rc == CPN_EBUSY) {
            break;
        }
        if (rc < 0) {
            fail("cpn-tasks: %s", cpn_client_detail(client));
        }
        sent++;
    }
    if (cpn_client_dispatch(client, 1000) < 0) {
        fail("cpn-tasks: %s", cpn_client_detail(client));
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fail("cpn-tasks CONTEXT MODEL BYTES WINDOW SECONDS");
    }
    struct cpn_client *client = connect_client(argv[1]);
    struct cpn_task_options options = CPN_TASK_OPTIONS_INIT;
    options.model = argv[2];
    options.data_size = strtoul(argv[3], NULL, 10);
    options.data = calloc(1, options.data_size + 1);
    options.done = done;
    const size_t window = strtoul(argv[4], NULL, 10);
    const double seconds = atof(argv[5]);
    while (completed < window) {
        turn(client, &options, window);
    }
    const size_t warm = completed;
    const double start = now_s();
    latency_count = 0;
    while (now_s() - start < seconds) {
        turn(client, &options, window);
    }
    printf("tasks_s=%.0f ", (double)(completed - warm) / (now_s() - start));
    if (window == 1) {
        print_latencies(latencies, latency_count);
    } else {
        puts("");
    }
    fflush(stdout);
    cpn_client_close(client);
    return 0;
}
