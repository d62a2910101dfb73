/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Watching a session until it ends: a table redrawn in place on a terminal, a line for each finished epoch elsewhere, JSON lines for
 * programs. */
#ifndef CPN_SESSION_WATCH_H
#define CPN_SESSION_WATCH_H

#include "cli.h"

#include <cpn/session.h>

/* Watch, then tell the outcome, and write its curves to `plot` (NULL: do not). `hints`: say what can be done with it. 0: it completed; else
 * the exit status. Ctrl-C ends the watching only, and says so. */
int session_watch(struct cli *cli, const struct cpn_id *session, const char *plot, bool hints);

#endif
