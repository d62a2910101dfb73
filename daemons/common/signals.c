/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See signals.h. A handler can only reach what is static. */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

static void (*stop_function)(void *arg);
static void *stop_arg;
static volatile sig_atomic_t seen;

static void handle(int number)
{
    (void)number;
    int saved = errno;
    seen = seen < 2 ? seen + 1 : 2;
    stop_function(stop_arg);
    errno = saved;
}

static void set(int number, void (*handler)(int))
{
    struct sigaction action = { .sa_handler = handler }; /* no SA_RESTART: what waits shall look around */
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaddset(&action.sa_mask, SIGHUP);
    sigaction(number, &action, NULL);
}

static void set_unless_ignored(int number, void (*handler)(int))
{
    struct sigaction before;
    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
        set(number, handler);
    }
}

void signals_install(void (*stop)(void *arg), void *arg)
{
    stop_function = stop;
    stop_arg = arg;
    set(SIGINT, handle);
    set(SIGTERM, handle);
    set_unless_ignored(SIGHUP, handle); /* the terminal was closed; nohup wants that not to matter */
    set(SIGPIPE, SIG_IGN);
}

void signals_restore(void)
{
    set(SIGINT, SIG_DFL);
    set(SIGTERM, SIG_DFL);
    set_unless_ignored(SIGHUP, SIG_DFL);
}

bool signals_seen(void)
{
    return seen != 0;
}

bool signals_seen_twice(void)
{
    return seen > 1;
}
