/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* SIGINT and SIGTERM end a program in good order, the second one at once. */
#ifndef CPN_SIGNALS_H
#define CPN_SIGNALS_H

#include <stdbool.h>

/* Have `stop` called in the handler at every SIGINT, SIGTERM and SIGHUP (unless that is ignored: nohup), with `arg`; it must be safe
 * there. SIGPIPE is ignored. */
void signals_install(void (*stop)(void *arg), void *arg);

/* Back to the default: the next signal ends the program. Before what `arg` points at goes away. */
void signals_restore(void);

/* A signal came since the installation. */
bool signals_seen(void);
bool signals_seen_twice(void);

#endif
