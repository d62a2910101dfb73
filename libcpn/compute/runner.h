/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A runner process as its parent sees it: started, spoken to, killed, reaped. Must not know what the packets mean. */
#ifndef CPNI_RUNNER_H
#define CPNI_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cpni_runner {
    pid_t pid;
    int pidfd; /* -1 where the kernel refuses one */
    int fd;
};

/* Start `path` to do `what`: "--serve" a model, "--train" a lane. It dies with the calling *thread* (PDEATHSIG goes by thread), so call
 * from one that lives as long as the runner may. */
int cpni_runner_spawn(const char *path, const char *what, struct cpni_runner *out, char *detail);

/* Start `path` with other arguments and a pipe as its standard output: what `out->fd` then is. */
int cpni_runner_spawn_tool(const char *path, const char *const *args, struct cpni_runner *out, char *detail);

/* Send one packet, head and body, and a descriptor (-1: none). Never blocks: a runner that does not read is broken
 * (CPN_EPROTO). */
int cpni_runner_send(
    const struct cpni_runner *runner, const void *head, size_t head_size, const void *body, size_t body_size, int fd);

/* One packet's size, 0 when the runner closed its end, CPN_EAGAIN when none is there, CPN_EPROTO when it is larger than
 * room. */
ssize_t cpni_runner_receive(const struct cpni_runner *runner, void *packet, size_t room);

enum cpni_runner_wait { CPNI_WAIT_READY, CPNI_WAIT_WOKEN, CPNI_WAIT_TIMEOUT };

/* Until the runner says something or ends, `wake_fd` is readable, or CLOCK_MONOTONIC reaches `deadline_us` (0: never).
 */
enum cpni_runner_wait cpni_runner_wait(const struct cpni_runner *runner, int wake_fd, int64_t deadline_us);

/* True while it is there and has said nothing unasked. */
bool cpni_runner_quiet(const struct cpni_runner *runner);

void cpni_runner_kill(const struct cpni_runner *runner); /* only sends the signal; any thread */

/* Kill if needed, reap, close. Writes how it ended ("SIGSEGV", "exit status 1", "killed") for a message. */
void cpni_runner_end(struct cpni_runner *runner, char *how, size_t room);

uint64_t cpni_runner_memory(const struct cpni_runner *runner); /* resident bytes; 0 when unknown */

int64_t cpni_now_us(void); /* CLOCK_MONOTONIC */

#endif
