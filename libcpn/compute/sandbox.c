/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See sandbox.h. The filter lists what a computation needs and refuses the rest with EPERM: a library that probes (a
 * CPU count from /sys, a terminal) goes on with its default, and a hostile input that took over the process finds no
 * way out: no socket, no file, no new process, no look at other processes, and it cannot undo the parent-death
 * signal. Sanitizers need what the filter refuses and a huge address space, so their builds run without both. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cpn/backend.h>
#include <cpn/error.h>

#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define OPEN_FILES_MAX 64 /* standard streams, the socket, one input, a backend's own */

int cpni_sandbox_follow(long parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        return CPN_EIO;
    }
    /* The parent may have died before the line above: then no signal comes. */
    return (long)getppid() == parent ? 0 : CPN_ECLOSED;
}

static uint64_t address_space_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;
    if (file != NULL) {
        if (fscanf(file, "%lu", &pages) != 1) {
            pages = 0;
        }
        fclose(file);
    }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int limit(__rlimit_resource_t resource, uint64_t value)
{
    struct rlimit to = { .rlim_cur = value, .rlim_max = value };
    struct rlimit now;
    if (getrlimit(resource, &now) == 0 && now.rlim_max < value) {
        to = (struct rlimit) { .rlim_cur = now.rlim_max, .rlim_max = now.rlim_max }; /* never above what we may */
    }
    return setrlimit(resource, &to);
}

static int set_limits(uint64_t memory_bytes)
{
    int rc = limit(RLIMIT_CORE, 0);
    rc = rc != 0 ? rc : limit(RLIMIT_FSIZE, 0);
    rc = rc != 0 ? rc : limit(RLIMIT_NOFILE, OPEN_FILES_MAX);
    uint64_t now = address_space_bytes();
    if (rc == 0 && !SANITIZED && now != 0) {
        rc = limit(RLIMIT_AS, now + memory_bytes);
    }
    return rc;
}

#ifdef HAVE_SECCOMP
static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(lseek),
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getcpu),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(times),
    SCMP_SYS(getrusage),
    SCMP_SYS(getrandom),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getpid),
    SCMP_SYS(getppid),
    SCMP_SYS(gettid),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(membarrier),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

static int allow_some(scmp_filter_ctx filter)
{
    /* Data yes, new code no. */
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    rc = rc != 0
        ? rc
        : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    /* abort() signals itself; the worker, which has the same user, must not be signalled. */
    rc = rc != 0
        ? rc
        : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
    /* prlimit64 to read a limit (glibc does for thread stacks), not to set one. */
    return rc != 0 ? rc : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0, 0));
}

static int allow_reading(scmp_filter_ctx filter)
{
    const unsigned writes = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, writes, 0));
#ifdef __NR_open
    rc = rc != 0 ? rc
                 : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(open), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, writes, 0));
#endif
    rc = rc != 0 ? rc : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 0);
    return rc != 0 ? rc : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(getdents64), 0);
}

static int allow_threads(scmp_filter_ctx filter)
{
    return seccomp_rule_add(
        filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
}

static int load_filter(uint32_t flags, uint32_t threads)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        return -ENOMEM;
    }
    int rc = 0;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed && rc == 0; i++) {
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    }
    rc = rc != 0 ? rc : allow_some(filter);
    /* clone3's flags are behind a pointer, which a filter cannot read; without it glibc falls back to clone. */
    rc = rc != 0 ? rc : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (rc == 0 && (flags & CPN_BACKEND_READS) != 0) {
        rc = allow_reading(filter);
    }
    if (rc == 0 && threads > 1) {
        rc = allow_threads(filter);
    }
    rc = rc != 0 ? rc : seccomp_load(filter);
    seccomp_release(filter);
    return rc;
}
#else
static int load_filter(uint32_t flags, uint32_t threads)
{
    (void)flags;
    (void)threads;
    return 0;
}
#endif

int cpni_sandbox_enter(uint32_t flags, uint32_t threads, uint64_t memory_bytes, char *detail)
{
    if (set_limits(memory_bytes) != 0) {
        snprintf(detail, CPN_BACKEND_DETAIL, "cannot limit the runner's resources: %s", strerror(errno));
        return CPN_EIO;
    }
    int rc = SANITIZED ? 0 : load_filter(flags, threads);
    if (rc != 0) { /* fail closed: an unconfined runner must not see an input */
        snprintf(detail, CPN_BACKEND_DETAIL, "cannot confine the runner with seccomp: %s", strerror(-rc));
        return CPN_EIO;
    }
    return 0;
}
