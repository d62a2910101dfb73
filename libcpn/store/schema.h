/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The tables of the durable state. */
#ifndef CPNI_SCHEMA_H
#define CPNI_SCHEMA_H

#define CPNI_SCHEMA_VERSION 2
#define CPNI_SCHEMA_APPLICATION                                                                                        \
    0x43504e53 /* "CPNS": PRAGMA application_id, so that a stranger's database is not ours */

/* Statements that take a database from version i to i + 1; the first makes an empty one. */
extern const char *const cpni_schema_steps[CPNI_SCHEMA_VERSION];

#endif
