/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A SQLite VFS over the system's whose writes and syncs can be made slow or made to fail. For tests of the state store
 * (struct cpni_state_options.vfs = FAULT_VFS) and of the roles above it. */
#ifndef TESTS_FAULT_VFS_H
#define TESTS_FAULT_VFS_H

#define FAULT_VFS "fault"

/* Registers it. Before cpni_state_open(). Once. */
int fault_vfs_register(void);

/* Every sync takes so much longer. Any thread, as the rest. */
void fault_vfs_slow(unsigned sync_ms);

/* Every sync waits until this is called with 0; the number of those that wait at this moment. */
void fault_vfs_hold(int hold);
unsigned fault_vfs_held(void);

/* The nth write, sync or truncation from now fails (1: the next; 0: none), and `more` of those after it. With "no space
 * left" or with an I/O error. */
enum fault_vfs_error { FAULT_VFS_FULL, FAULT_VFS_IO };
void fault_vfs_fail(unsigned nth, unsigned more, enum fault_vfs_error error);

/* How many failures there were so far. */
unsigned fault_vfs_met(void);

#endif
