/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The backend `echo`: answers the label "echo" and, when annotation is asked for, the input itself. It measures our own
 * overhead, and is how tests get a model that is slow, crashes or tries to break out: with parameter test=1 the input
 * is a command. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cpn/backend.h>
#include <cpn/error.h>

struct echo {
    long delay_ms;
    bool test;
};

static const char *find(const struct cpn_backend_bundle *bundle, const char *key)
{
    for (size_t i = 0; i < bundle->param_count; i++) {
        if (strcmp(bundle->params[i].key, key) == 0) {
            return bundle->params[i].value;
        }
    }
    return "";
}

static void sleep_ms(long ms)
{
    struct timespec left = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&left, &left) != 0 && errno == EINTR) { }
}

static int echo_load(const struct cpn_backend_bundle *bundle, void **model, char *detail)
{
    struct echo *echo = calloc(1, sizeof *echo);
    if (echo == NULL) {
        return CPN_ENOMEM;
    }
    echo->delay_ms = strtol(find(bundle, "delay_ms"), NULL, 10);
    echo->test = strcmp(find(bundle, "test"), "1") == 0;
    sleep_ms(strtol(find(bundle, "load_ms"), NULL, 10));
    if (strcmp(find(bundle, "load"), "fail") == 0) {
        snprintf(detail, CPN_BACKEND_DETAIL, "parameter load=fail asks for it");
        free(echo);
        return CPN_EMODEL;
    }
    if (strcmp(find(bundle, "load"), "crash") == 0) {
        abort();
    }
    *model = echo;
    return 0;
}

static int answer(const struct cpn_backend_sink *sink, const char *name)
{
    struct cpn_label label = { .confidence = 1 };
    snprintf(label.name, sizeof label.name, "%s", name);
    return sink->label(sink->arg, &label);
}

static int answer_errno(const struct cpn_backend_sink *sink, bool worked)
{
    return answer(sink, worked ? "allowed" : strerrorname_np(errno));
}

/* What the sandbox must refuse: the label says the errno. */
static int try_forbidden(const char *what, const struct cpn_backend_sink *sink)
{
    char *const none[] = { NULL };
    if (strcmp(what, "socket") == 0) {
        return answer_errno(sink, socket(AF_INET, SOCK_STREAM, 0) >= 0);
    }
    if (strcmp(what, "write") == 0) {
        return answer_errno(sink, open("/tmp/cpn-echo-was-here", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0);
    }
    if (strcmp(what, "read") == 0) {
        return answer_errno(sink, open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0);
    }
    if (strcmp(what, "fork") == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            _exit(0);
        }
        return answer_errno(sink, pid > 0);
    }
    if (strcmp(what, "exec") == 0) {
        return answer_errno(sink, execve("/bin/true", none, none) == 0);
    }
    if (strcmp(what, "kill") == 0) {
        return answer_errno(sink, kill(getppid(), 0) == 0);
    }
    if (strcmp(what, "unfollow") == 0) {
        return answer_errno(sink, prctl(PR_SET_PDEATHSIG, 0) == 0);
    }
    return answer(sink, "unknown command");
}

static int many_labels(long count, const struct cpn_backend_sink *sink)
{
    int rc = 0;
    for (long i = 0; i < count && rc == 0; i++) {
        rc = answer(sink, "many");
    }
    return rc;
}

static int large_output(long size, const struct cpn_backend_sink *sink)
{
    char *data = calloc(1, (size_t)size);
    int rc = data != NULL ? sink->output(sink->arg, data, (size_t)size, "application/octet-stream") : CPN_ENOMEM;
    free(data);
    return rc;
}

/* Takes memory until none is given. */
static int leak(char *detail)
{
    const size_t step = 16u << 20;
    size_t total = 0;
    for (char *block; (block = malloc(step)) != NULL; total += step) {
        memset(block, 1, step);
    }
    snprintf(detail, CPN_BACKEND_DETAIL, "out of memory after %zu MiB", total >> 20);
    return CPN_ENOMEM;
}

static int obey(const char *command, const struct cpn_backend_sink *sink, char *detail)
{
    long number = 0;
    if (sscanf(command, "sleep %ld", &number) == 1) {
        sleep_ms(number);
        return answer(sink, "slept");
    }
    if (sscanf(command, "exit %ld", &number) == 1) {
        _exit((int)number);
    }
    if (sscanf(command, "labels %ld", &number) == 1) {
        return many_labels(number, sink);
    }
    if (sscanf(command, "output %ld", &number) == 1) {
        return large_output(number, sink);
    }
    if (sscanf(command, "babble %ld", &number) == 1) { /* bytes that are no packet, past the sink */
        char noise[8] = "noise";
        for (long i = 0; i < number; i++) {
            send(3, noise, sizeof noise, MSG_NOSIGNAL);
        }
        return answer(sink, "babbled");
    }
    if (strcmp(command, "crash") == 0) {
        raise(SIGSEGV);
    }
    if (strcmp(command, "hang") == 0) {
        sleep_ms(3600000);
    }
    for (volatile int spin = strcmp(command, "spin") == 0; spin;) { }
    if (strcmp(command, "leak") == 0) {
        return leak(detail);
    }
    if (strcmp(command, "bad") == 0) {
        snprintf(detail, CPN_BACKEND_DETAIL, "the input says that it is bad");
        return CPN_EBADINPUT;
    }
    if (strcmp(command, "fail") == 0) {
        return CPN_EINTERNAL;
    }
    return try_forbidden(command, sink);
}

static int echo_run(
    void *model, const struct cpn_backend_input *input, const struct cpn_backend_sink *sink, char *detail)
{
    const struct echo *echo = model;
    if (echo->test && input->data_size > 0 && input->data_size < 64) {
        char command[64] = "";
        memcpy(command, input->data, input->data_size);
        return obey(command, sink, detail);
    }
    if (echo->delay_ms > 0) {
        sleep_ms(echo->delay_ms);
    }
    int rc = answer(sink, "echo");
    if (rc == 0 && input->annotate != 0) {
        rc = sink->output(sink->arg, input->data, input->data_size, "application/octet-stream");
    }
    return rc;
}

static void echo_unload(void *model)
{
    free(model);
}

extern const struct cpn_backend cpn_backend_v1;
CPN_BACKEND_EXPORT const struct cpn_backend cpn_backend_v1 = {
    .abi = CPN_BACKEND_ABI,
    .size = sizeof cpn_backend_v1,
    .name = "echo",
    .version = "1",
    .load = echo_load,
    .run = echo_run,
    .unload = echo_unload,
};
