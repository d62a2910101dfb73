/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The few file calls that the stores need, whole (no short writes) and with errors as CPN_E codes; errno keeps the
 * cause. Knows no blob. All paths are relative to a directory descriptor. */
#ifndef CPNI_FILE_H
#define CPNI_FILE_H

#include <stddef.h>
#include <stdint.h>

/* CPN_ENOSPC for a full disk or disk quota, CPN_ENOTFOUND, CPN_EDENIED, ... CPN_EIO for the rest. */
int cpni_file_code(int errnum);

int cpni_file_open(int dir, const char *path, int flags, unsigned mode); /* descriptor, close-on-exec, or CPN_E */
int cpni_file_write(int fd, const void *data, size_t size, uint64_t at);
int cpni_file_read(int fd, void *data, size_t size, uint64_t at); /* CPN_ECORRUPT (errno 0): the file is shorter */
int cpni_file_size(int fd, uint64_t *size);
/* Sets the size and reserves the space, where the file system can. */
int cpni_file_reserve(int fd, uint64_t size);
int cpni_file_sync(int fd);
int cpni_file_sync_dir(int dir, const char *path);
int cpni_file_mkdir(int dir, const char *path); /* 1: made, 0: was there */
int cpni_file_rename(int dir, const char *from, const char *to);
int cpni_file_remove(int dir, const char *path); /* 0 also when it is not there */
/* A whole small file, synced if asked. A failure leaves nothing. */
int cpni_file_create(int dir, const char *path, const void *data, size_t size, int sync);

#endif
