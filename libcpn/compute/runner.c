/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See runner.h. Started by posix_spawn, never fork: a forked child of a process that uses ZeroMQ or has threads may
 * touch their state (ANCHORS 9). */
#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cpn/error.h>

#include "compute/runner_proto.h"

#define ENVIRONMENT_MAX 32

int64_t cpni_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* The runner gets what the loader, the sanitizers and a GPU need, and no variable that might be a secret of the host
 * program. One thread: OpenBLAS' and OpenMP's pools are process-global and oversubscribe the machine (ANCHORS 16).
 * OpenCL is off because its drivers are loaded, and caches written, at first use. */
static void make_environment(char **environment)
{
    static const char *const kept[] = { "PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "ASAN_OPTIONS",
        "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS" };
    static char *const set[]
        = { (char *)"OPENBLAS_NUM_THREADS=1", (char *)"OMP_NUM_THREADS=1", (char *)"OPENCV_LOG_LEVEL=SILENT",
              (char *)"OPENCV_OPENCL_RUNTIME=disabled", (char *)"OPENCV_IO_MAX_IMAGE_PIXELS=67108864" };
    size_t count = 0;
    for (char **entry = environ; *entry != NULL && count < ENVIRONMENT_MAX - sizeof set / sizeof *set - 1; entry++) {
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
            size_t length = strlen(kept[i]);
            if (strncmp(*entry, kept[i], length) == 0 && (*entry)[length] == '=') {
                environment[count++] = *entry;
            }
        }
    }
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        environment[count++] = set[i];
    }
    environment[count] = NULL;
}

/* Its own process group: Ctrl-C in the worker's terminal must not take the runner from a worker that drains. Signal
 * dispositions and mask are reset: slot threads block all signals and a host may ignore some. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc
        = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    rc = rc != 0 ? rc : posix_spawnattr_setpgroup(attributes, 0);
    rc = rc != 0 ? rc : posix_spawnattr_setsigmask(attributes, &none);
    return rc != 0 ? rc : posix_spawnattr_setsigdefault(attributes, &all);
}

static int spawn(const char *path, char **argv, int fd, int as_fd, pid_t *pid)
{
    char *environment[ENVIRONMENT_MAX];
    make_environment(environment);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0) {
        return rc;
    }
    rc = posix_spawnattr_init(&attributes);
    if (rc != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return rc;
    }
    rc = posix_spawn_file_actions_adddup2(&actions, fd, as_fd);
    rc = rc != 0 ? rc : posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    /* Codecs print about every damaged photo; what matters comes back as `detail`. */
    rc = rc != 0 ? rc : posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (as_fd != STDOUT_FILENO) {
        rc = rc != 0 ? rc : posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    }
    int first_closed = as_fd < 3 ? 3 : as_fd + 1; /* a host's descriptors without O_CLOEXEC stay out */
    rc = rc != 0 ? rc : posix_spawn_file_actions_addclosefrom_np(&actions, first_closed);
    rc = rc != 0 ? rc : set_attributes(&attributes);
    rc = rc != 0 ? rc : posix_spawn(pid, path, &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static int started(int rc, const char *path, pid_t pid, int ours, int theirs, struct cpni_runner *out, char *detail)
{
    close(theirs);
    if (rc != 0) {
        close(ours);
        snprintf(detail, CPN_BACKEND_DETAIL, "cannot start the runner %s: %s", path, strerror(rc));
        return rc == ENOENT || rc == EACCES ? CPN_ENOTSUP : CPN_EIO;
    }
    *out = (struct cpni_runner) { .pid = pid, .pidfd = pidfd_open(pid, 0), .fd = ours };
    return 0;
}

int cpni_runner_spawn(const char *path, const char *what, struct cpni_runner *out, char *detail)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        snprintf(detail, CPN_BACKEND_DETAIL, "cannot make a socket pair for a runner: %s", strerror(errno));
        return CPN_EIO;
    }
    char parent[32];
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    char *argv[] = { (char *)"cpn-runner", (char *)what, parent, NULL };
    pid_t pid = 0;
    int rc = spawn(path, argv, pair[1], CPNI_RUNNER_FD, &pid);
    return started(rc, path, pid, pair[0], pair[1], out, detail);
}

int cpni_runner_spawn_tool(const char *path, const char *const *args, struct cpni_runner *out, char *detail)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        snprintf(detail, CPN_BACKEND_DETAIL, "cannot make a pipe for a runner: %s", strerror(errno));
        return CPN_EIO;
    }
    pid_t pid = 0;
    int rc = spawn(path, (char **)args, ends[1], STDOUT_FILENO, &pid);
    return started(rc, path, pid, ends[0], ends[1], out, detail);
}

int cpni_runner_send(
    const struct cpni_runner *runner, const void *head, size_t head_size, const void *body, size_t body_size, int fd)
{
    struct iovec parts[] = { { (void *)head, head_size }, { (void *)body, body_size } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = body_size != 0 ? 2 : 1 };
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    if (fd >= 0) {
        message.msg_control = control.space;
        message.msg_controllen = sizeof control.space;
        struct cmsghdr *item = CMSG_FIRSTHDR(&message);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(item), &fd, sizeof fd);
    }
    ssize_t sent;
    do {
        sent = sendmsg(runner->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? CPN_EPROTO : 0;
}

ssize_t cpni_runner_receive(const struct cpni_runner *runner, void *packet, size_t room)
{
    ssize_t got;
    do {
        got = recv(runner->fd, packet, room, MSG_DONTWAIT | MSG_TRUNC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return errno == EAGAIN ? CPN_EAGAIN : 0; /* ECONNRESET: it died with our packet unread */
    }
    return (size_t)got > room ? CPN_EPROTO : got;
}

enum cpni_runner_wait cpni_runner_wait(const struct cpni_runner *runner, int wake_fd, int64_t deadline_us)
{
    struct pollfd fds[] = { { .fd = runner->fd, .events = POLLIN }, { .fd = wake_fd, .events = POLLIN } };
    for (;;) {
        int timeout_ms = -1;
        if (deadline_us != 0) {
            int64_t left_us = deadline_us - cpni_now_us();
            if (left_us <= 0) {
                return CPNI_WAIT_TIMEOUT;
            }
            timeout_ms = left_us > 3600000000 ? 3600000 : (int)((left_us + 999) / 1000);
        }
        if (poll(fds, 2, timeout_ms) <= 0) {
            continue; /* interrupted, or time to look at the clock */
        }
        return fds[1].revents != 0 ? CPNI_WAIT_WOKEN : CPNI_WAIT_READY;
    }
}

bool cpni_runner_quiet(const struct cpni_runner *runner)
{
    struct pollfd fd = { .fd = runner->fd, .events = POLLIN };
    return poll(&fd, 1, 0) == 0;
}

void cpni_runner_kill(const struct cpni_runner *runner)
{
    if (runner->pidfd >= 0) {
        pidfd_send_signal(runner->pidfd, SIGKILL, NULL, 0);
    } else {
        kill(runner->pid, SIGKILL);
    }
}

/* SIGKILL does not change the status of a process that is ending already, so a crash keeps its signal. */
void cpni_runner_end(struct cpni_runner *runner, char *how, size_t room)
{
    cpni_runner_kill(runner);
    int status = 0;
    pid_t pid;
    do {
        pid = waitpid(runner->pid, &status, 0);
    } while (pid < 0 && errno == EINTR);
    if (pid < 0) {
        snprintf(how, room, "gone"); /* the host reaped it, or ignores SIGCHLD */
    } else if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        snprintf(how, room, "signal %d, SIG%s", WTERMSIG(status), name != NULL ? name : "?");
    } else {
        snprintf(how, room, "exit status %d", WEXITSTATUS(status));
    }
    close(runner->fd);
    if (runner->pidfd >= 0) {
        close(runner->pidfd);
    }
    *runner = (struct cpni_runner) { .pidfd = -1, .fd = -1 };
}

uint64_t cpni_runner_memory(const struct cpni_runner *runner)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/statm", (long)runner->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    char text[128];
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0) {
        return 0;
    }
    text[size] = 0;
    char *second = strchr(text, ' ');
    return second != NULL ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}
