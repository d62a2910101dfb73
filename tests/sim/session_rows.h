/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The training sessions of the simulator's durable state; see session_rows.c. Aborts when memory runs out. */
#ifndef SIM_SESSION_ROWS_H
#define SIM_SESSION_ROWS_H

#include "proto/command.h"

struct session_rows;

struct session_rows *session_rows_new(void);
void session_rows_free(struct session_rows *all);

/* A SESSION command: 0, or why it is rejected. Whether the user of an ADD is known is the caller's to say. */
int session_rows_apply(struct session_rows *all, const struct cpni_command *command);

/* As cpni_state_reader.session: of each session ADD, STATE, ROUNDs, LANEs, POINTs. */
int session_rows_each(const struct session_rows *all, int (*fn)(void *arg, const struct cpni_command *command), void *arg);

#endif
