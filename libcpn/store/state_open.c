/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Opening the state's directory, so that it is surely the one it was.
 *
 * state.id holds the cluster's id; the database holds it too, with the inode number and birth time of state.id. A
 * copied or restored directory has another state.id in that sense, an emptied one lacks the database, and both are
 * refused: two masters of one identity, or one that forgot what it promised, would be worse than none. adopt_copy makes
 * the copy the original.
 *
 * state.id is written as state.id.new, the database is committed with its inode, then it is renamed: after a crash in
 * between, the database vouches for state.id.new and the rename is made up for. */
#include "store/state_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "store/file.h"
#include "store/schema.h"

#define BUSY_MS 2000 /* how long to wait for a person who looks into the database with another program */
/* A restored backup may be terms behind what the nodes have seen: it goes on well above them. */
#define TERMS_SKIPPED_BY_ADOPTION (1 << 20)

struct identity {
    struct cpn_id cluster;
    int64_t inode;
    int64_t born; /* nanoseconds; 0: the file system does not tell */
};

struct opening {
    struct cpni_state *state;
    const struct cpni_state_options *options;
    const char *dir;
    int fd; /* of the directory */
};

static int fail_file(struct opening *o, int code, const char *name)
{
    return cpni_state_fail(o->state, code, "%s/%s: %s", o->dir, name, strerror(errno));
}

static int fail_db(struct opening *o, int code)
{
    return cpni_state_describe(o->state, code, o->state->detail);
}

static bool exists(struct opening *o, const char *name)
{
    return faccessat(o->fd, name, F_OK, 0) == 0;
}

/* ---- state.id ---- */

static int identity_of_file(struct opening *o, const char *name, struct identity *out)
{
    char text[CPN_ID_TEXT] = "";
    int fd = cpni_file_open(o->fd, name, O_RDONLY, 0);
    if (fd < 0) {
        return fd;
    }
    struct statx info;
    int rc = cpni_file_read(fd, text, sizeof text - 1, 0);
    if (rc == 0 && statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &info) < 0) {
        rc = cpni_file_code(errno);
    }
    close(fd);
    if (rc < 0) {
        return rc;
    }
    if (cpn_id_parse(text, &out->cluster) < 0) {
        return CPN_ECORRUPT;
    }
    out->inode = (int64_t)info.stx_ino;
    out->born = (info.stx_mask & STATX_BTIME) ? info.stx_btime.tv_sec * 1000000000 + info.stx_btime.tv_nsec : 0;
    return 0;
}

static int write_identity(struct opening *o, const struct cpn_id *cluster, struct identity *out)
{
    char text[CPN_ID_TEXT + 1];
    cpn_id_text(cluster, text);
    strcat(text, "\n");
    int rc = cpni_file_remove(o->fd, "state.id.new");
    rc = rc < 0 ? rc : cpni_file_create(o->fd, "state.id.new", text, strlen(text), 1);
    rc = rc < 0 ? rc : identity_of_file(o, "state.id.new", out);
    return rc < 0 ? fail_file(o, rc, "state.id.new") : 0;
}

static int install_identity(struct opening *o)
{
    int rc = cpni_file_rename(o->fd, "state.id.new", "state.id");
    rc = rc < 0 ? rc : cpni_file_sync_dir(o->fd, ".");
    return rc < 0 ? fail_file(o, rc, "state.id") : 0;
}

static bool same(const struct identity *a, const struct identity *b)
{
    return memcmp(&a->cluster, &b->cluster, sizeof a->cluster) == 0 && a->inode == b->inode
        && (a->born == b->born || a->born == 0 || b->born == 0);
}

/* ---- The database ---- */

static int pragma(struct opening *o, const char *sql, int64_t *out)
{
    int rc = cpni_db_number(&o->state->db, cpni_db_use(&o->state->db, sql), out);
    return rc < 0 ? fail_db(o, rc) : 0;
}

static int configure(struct opening *o)
{
    sqlite3_busy_timeout(o->state->db.sqlite, BUSY_MS);
    char mode[16] = "";
    sqlite3_stmt *wal = cpni_db_use(&o->state->db, "PRAGMA journal_mode = WAL");
    int rc = cpni_db_step(&o->state->db, wal);
    if (rc < 0) {
        return fail_db(o, rc);
    }
    cpni_column_text(wal, 0, mode, sizeof mode);
    sqlite3_reset(wal);
    if (strcmp(mode, "wal") != 0) {
        return cpni_state_fail(o->state, CPN_ENOTSUP,
            "%s: this file system has no shared memory for SQLite; use a local disk", o->state->path);
    }
    /* FULL: what was answered survives a power loss (with NORMAL, WAL may lose its end). The cache is small, since the
     * tables are read once; a log that a burst has made large shrinks again. */
    rc = cpni_db_exec(&o->state->db,
        "PRAGMA synchronous = FULL; PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;"
        " PRAGMA journal_size_limit = 16777216; PRAGMA foreign_keys = OFF");
    return rc < 0 ? fail_db(o, rc) : 0;
}

static int check_contents(struct opening *o)
{
    char verdict[200] = "";
    sqlite3_stmt *check = cpni_db_use(&o->state->db, "PRAGMA quick_check(1)");
    int rc = cpni_db_step(&o->state->db, check);
    if (rc < 0) {
        return fail_db(o, rc);
    }
    cpni_column_text(check, 0, verdict, sizeof verdict);
    sqlite3_reset(check);
    if (strcmp(verdict, "ok") != 0) {
        return cpni_state_fail(
            o->state, CPN_ECORRUPT, "%s: damaged (%s); restore it from a backup", o->state->path, verdict);
    }
    return 0;
}

/* 1: empty, 0: ours, of a version that we know. */
static int check_version(struct opening *o, int64_t *version)
{
    int64_t application, tables;
    int rc = pragma(o, "PRAGMA user_version", version);
    rc = rc < 0 ? rc : pragma(o, "PRAGMA application_id", &application);
    rc = rc < 0 ? rc : pragma(o, "SELECT count(*) FROM sqlite_schema", &tables);
    if (rc < 0) {
        return rc;
    }
    if (*version == 0 && application == 0 && tables == 0) {
        return 1;
    }
    if (application != CPNI_SCHEMA_APPLICATION || *version == 0) {
        return cpni_state_fail(o->state, CPN_ECORRUPT, "%s: a database, but not a cpn state", o->state->path);
    }
    if (*version > CPNI_SCHEMA_VERSION) {
        return cpni_state_fail(o->state, CPN_EVERSION,
            "%s: written by a newer version (format %" PRId64 ", this program knows up to %d); use that version",
            o->state->path, *version, CPNI_SCHEMA_VERSION);
    }
    return 0;
}

/* Inside a transaction. The numbers are constants of ours, but PRAGMA takes no parameters. */
static int run_schema_steps(struct opening *o, int64_t from)
{
    int rc = 0;
    for (int64_t i = from; rc == 0 && i < CPNI_SCHEMA_VERSION; i++) {
        rc = cpni_db_exec(&o->state->db, cpni_schema_steps[i]);
    }
    char text[96];
    snprintf(text, sizeof text, "PRAGMA user_version = %d; PRAGMA application_id = %d", CPNI_SCHEMA_VERSION,
        CPNI_SCHEMA_APPLICATION);
    return rc < 0 ? rc : cpni_db_exec(&o->state->db, text);
}

static int in_transaction(struct opening *o, int (*body)(struct opening *o, void *arg), void *arg)
{
    struct cpni_db *db = &o->state->db;
    int rc = cpni_db_exec(db, "BEGIN IMMEDIATE");
    rc = rc < 0 ? rc : body(o, arg);
    rc = rc < 0 ? rc : cpni_db_exec(db, "COMMIT");
    if (rc < 0) {
        fail_db(o, rc);
        if (!sqlite3_get_autocommit(db->sqlite)) {
            cpni_db_exec(db, "ROLLBACK");
        }
    }
    return rc;
}

static int create_body(struct opening *o, void *arg)
{
    const struct identity *identity = arg;
    struct cpni_db *db = &o->state->db;
    int rc = run_schema_steps(o, 0);
    if (rc < 0) {
        return rc;
    }
    sqlite3_stmt *add = cpni_db_use(db, "INSERT INTO meta (one, cluster, inode, born, term) VALUES (1, ?1, ?2, ?3, 0)");
    cpni_bind_blob(add, 1, &identity->cluster, sizeof identity->cluster);
    cpni_bind_number(add, 2, identity->inode);
    cpni_bind_number(add, 3, identity->born);
    return cpni_db_run(db, add);
}

static int create(struct opening *o)
{
    struct cpn_id cluster;
    struct identity identity;
    if (getrandom(&cluster, sizeof cluster, 0) != sizeof cluster) {
        return cpni_state_fail(o->state, CPN_EIO, "no random numbers: %s", strerror(errno));
    }
    int rc = write_identity(o, &cluster, &identity);
    rc = rc < 0 ? rc : in_transaction(o, create_body, &identity);
    rc = rc < 0 ? rc : install_identity(o);
    if (rc == 0) {
        o->state->cluster = cluster;
    }
    return rc;
}

static int migrate_body(struct opening *o, void *arg)
{
    return run_schema_steps(o, *(int64_t *)arg);
}

/* ---- Is it the one it was? ---- */

static int read_identity(struct opening *o, struct identity *out)
{
    struct cpni_db *db = &o->state->db;
    sqlite3_stmt *find = cpni_db_use(db, "SELECT cluster, inode, born FROM meta");
    int rc = cpni_db_step(db, find);
    if (rc <= 0) {
        return rc < 0 ? fail_db(o, rc) : cpni_state_fail(o->state, CPN_ECORRUPT, "%s: has no identity", o->state->path);
    }
    cpni_column_blob(find, 0, &out->cluster, sizeof out->cluster);
    out->inode = cpni_column_number(find, 1);
    out->born = cpni_column_number(find, 2);
    sqlite3_reset(find);
    return 0;
}

static int adopt_body(struct opening *o, void *arg)
{
    const struct identity *identity = arg;
    struct cpni_db *db = &o->state->db;
    sqlite3_stmt *update = cpni_db_use(db, "UPDATE meta SET inode = ?1, born = ?2, term = term + ?3");
    cpni_bind_number(update, 1, identity->inode);
    cpni_bind_number(update, 2, identity->born);
    cpni_bind_number(update, 3, TERMS_SKIPPED_BY_ADOPTION);
    return cpni_db_run(db, update);
}

static int check_identity(struct opening *o)
{
    struct identity stored, found;
    int rc = read_identity(o, &stored);
    if (rc < 0) {
        return rc;
    }
    o->state->cluster = stored.cluster;
    if (identity_of_file(o, "state.id", &found) == 0 && same(&stored, &found)) {
        return 0;
    }
    if (identity_of_file(o, "state.id.new", &found) == 0 && same(&stored, &found)) {
        return install_identity(o);
    }
    if (!o->options->adopt_copy) {
        return cpni_state_fail(o->state, CPN_ECOPIED,
            "%s: copied or restored from elsewhere; if the original will never run again, adopt it", o->dir);
    }
    rc = write_identity(o, &stored.cluster, &found);
    rc = rc < 0 ? rc : in_transaction(o, adopt_body, &found);
    return rc < 0 ? rc : install_identity(o);
}

/* ---- Opening ---- */

static int take_lock(struct opening *o)
{
    int fd = cpni_file_open(o->fd, "state.lock", O_RDWR | O_CREAT, 0600);
    if (fd < 0) {
        return fail_file(o, fd, "state.lock");
    }
    o->state->lock = fd;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        return cpni_state_fail(o->state, CPN_EBUSY, "%s: in use by another process; stop it first", o->dir);
    }
    return 0;
}

/* What must be decided before anything is written here. */
static int check_presence(struct opening *o)
{
    if (exists(o, "state.db")) {
        return 0;
    }
    if (exists(o, "state.id")) {
        return cpni_state_fail(o->state, CPN_ECOPIED,
            "%s: state.id is here but state.db is gone; restore it from a backup, or remove state.id to begin anew",
            o->dir);
    }
    return o->options->create ? 0 : cpni_state_fail(o->state, CPN_ENOTFOUND, "%s: no state here (no state.db)", o->dir);
}

static int open_database(struct opening *o)
{
    struct cpni_state *state = o->state;
    int flags = SQLITE_OPEN_READWRITE | (o->options->create ? SQLITE_OPEN_CREATE : 0);
    int64_t version = 0;
    int rc = cpni_db_open(&state->db, state->path, flags, o->options->vfs);
    if (rc < 0) {
        return fail_db(o, rc);
    }
    rc = configure(o);
    rc = rc < 0 ? rc : check_version(o, &version);
    if (rc == 1) {
        if (exists(o, "state.id")) {
            return cpni_state_fail(o->state, CPN_ECOPIED, "%s: emptied; restore it from a backup", state->path);
        }
        return o->options->create ? create(o)
                                  : cpni_state_fail(state, CPN_ENOTFOUND, "%s: no state here (empty)", o->dir);
    }
    rc = rc < 0 ? rc : check_contents(o);
    rc = rc < 0 || version == CPNI_SCHEMA_VERSION ? rc : in_transaction(o, migrate_body, &version);
    return rc < 0 ? rc : check_identity(o);
}

int cpni_state_open_dir(struct cpni_state *state, const char *dir, const struct cpni_state_options *options)
{
    struct opening o = { state, options, dir, -1 };
    size_t room = strlen(dir) + sizeof "/state.db";
    state->path = cpni_malloc(room);
    if (state->path == NULL) {
        return cpni_state_fail(state, CPN_ENOMEM, "%s: out of memory", dir);
    }
    snprintf(state->path, room, "%s/state.db", dir);
    int rc = options->create ? cpni_file_mkdir(AT_FDCWD, dir) : 0;
    rc = rc < 0 ? rc : cpni_file_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
    if (rc < 0) {
        return cpni_state_fail(state, rc, "%s: %s", dir, strerror(errno));
    }
    o.fd = rc;
    rc = check_presence(&o);
    rc = rc < 0 ? rc : take_lock(&o);
    rc = rc < 0 ? rc : open_database(&o);
    close(o.fd);
    return rc;
}
