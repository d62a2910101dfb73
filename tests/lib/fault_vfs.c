/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See fault_vfs.h. */
#include "fault_vfs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

struct fault_file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_vfs *real_vfs;
static atomic_uint sync_delay_ms;
static pthread_mutex_t hold_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hold_over = PTHREAD_COND_INITIALIZER;
static int holding;   /* under hold_lock */
static unsigned held; /* under hold_lock */
static atomic_uint count, met;
static atomic_uint fail_from, fail_to; /* counts; 0: none */
static atomic_int fail_error;

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct fault_file *)file)->real;
}

/* SQLITE_OK, or what this request shall meet. */
static int meet(int io_error)
{
    unsigned number = atomic_fetch_add(&count, 1) + 1;
    if (atomic_load(&fail_from) == 0 || number < atomic_load(&fail_from) || number > atomic_load(&fail_to)) {
        return SQLITE_OK;
    }
    atomic_fetch_add(&met, 1);
    return atomic_load(&fail_error) == FAULT_VFS_FULL ? SQLITE_FULL : io_error;
}

static int file_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int file_read(sqlite3_file *file, void *to, int size, sqlite3_int64 at)
{
    return real_of(file)->pMethods->xRead(real_of(file), to, size, at);
}

static int file_write(sqlite3_file *file, const void *from, int size, sqlite3_int64 at)
{
    int rc = meet(SQLITE_IOERR_WRITE);
    return rc != SQLITE_OK ? rc : real_of(file)->pMethods->xWrite(real_of(file), from, size, at);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int rc = meet(SQLITE_IOERR_TRUNCATE);
    return rc != SQLITE_OK ? rc : real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static void wait_while_held(void)
{
    pthread_mutex_lock(&hold_lock);
    held++;
    while (holding) {
        pthread_cond_wait(&hold_over, &hold_lock);
    }
    held--;
    pthread_mutex_unlock(&hold_lock);
}

static int file_sync(sqlite3_file *file, int flags)
{
    wait_while_held();
    usleep(atomic_load(&sync_delay_ms) * 1000);
    int rc = meet(SQLITE_IOERR_FSYNC);
    return rc != SQLITE_OK ? rc : real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int file_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int file_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int file_check_lock(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int file_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int file_sector(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int file_traits(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int file_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}

static int file_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}

static void file_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int file_shm_unmap(sqlite3_file *file, int remove)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_traits,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    struct fault_file *fault = (struct fault_file *)file;
    fault->real = (sqlite3_file *)(fault + 1);
    fault->base.pMethods = NULL;
    int rc = real_vfs->xOpen(real_vfs, name, fault->real, flags, out_flags);
    if (fault->real->pMethods != NULL) {
        fault->base.pMethods = &methods;
    }
    return rc;
}

int fault_vfs_register(void)
{
    static sqlite3_vfs vfs;
    real_vfs = sqlite3_vfs_find(NULL);
    vfs = *real_vfs;
    vfs.zName = FAULT_VFS;
    vfs.szOsFile = (int)sizeof(struct fault_file) + real_vfs->szOsFile;
    vfs.xOpen = vfs_open;
    vfs.pNext = NULL;
    return sqlite3_vfs_register(&vfs, 0);
}

void fault_vfs_slow(unsigned sync_ms)
{
    atomic_store(&sync_delay_ms, sync_ms);
}

void fault_vfs_hold(int hold)
{
    pthread_mutex_lock(&hold_lock);
    holding = hold;
    pthread_cond_broadcast(&hold_over);
    pthread_mutex_unlock(&hold_lock);
}

unsigned fault_vfs_held(void)
{
    pthread_mutex_lock(&hold_lock);
    unsigned now = held;
    pthread_mutex_unlock(&hold_lock);
    return now;
}

void fault_vfs_fail(unsigned nth, unsigned more, enum fault_vfs_error error)
{
    unsigned from = nth == 0 ? 0 : atomic_load(&count) + nth;
    atomic_store(&fail_error, error);
    atomic_store(&fail_from, 0);
    atomic_store(&fail_to, from > ~0u - more ? ~0u : from + more);
    atomic_store(&fail_from, from);
}

unsigned fault_vfs_met(void)
{
    return atomic_load(&met);
}
