/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* See csv_convert.h. One thread at a time reads a block of whole rows (which takes little: newlines and quotes are
 * found by memchr), all parse, and blocks are joined in the order of the table. Blocks do not depend on the number of
 * threads, so neither does the result. */
#include "data/csv_convert.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cpn/error.h>

#include "base/alloc.h"
#include "data/csv.h"
#include "data/csv_join.h"

#define WAIT_MS 100 /* for bytes, between two looks at whether they are still wanted */

struct convert {
    const struct cpni_csv_options *options;
    struct cpni_csv_report *report;
    struct cpni_csv_plan plan;
    struct cpni_csv_join join;
    int in, out;
    char delimiter;
    bool end_of_input;
    uint64_t bytes_read;
    char *carried; /* the start of a row whose end was not read yet */
    size_t carried_size, carried_capacity;

    pthread_mutex_t mutex; /* guards all of this once threads run */
    pthread_cond_t joined;
    struct cpni_csv_block first; /* read with the header, not yet parsed */
    uint64_t next_read, next_join;
    int rc;
};

static int tell_progress(struct convert *c)
{
    if (c->options->progress != NULL && c->options->progress(c->options->progress_arg, c->bytes_read) != 0) {
        return cpni_csv_fail(c->report, CPN_ECANCELLED, "given up");
    }
    return 0;
}

/* A pipe may give nothing for long, and whoever waits must be able to give up meanwhile. A file is always ready. */
static int wait_for_bytes(struct convert *c)
{
    struct pollfd in = { .fd = c->in, .events = POLLIN };
    int rc = 0;
    while (rc == 0 && poll(&in, 1, WAIT_MS) == 0) {
        rc = tell_progress(c);
    }
    return rc;
}

/* Fill the block up to `size` bytes. */
static int fill(struct convert *c, struct cpni_csv_block *block, size_t size)
{
    while (block->size < size && !c->end_of_input) {
        int rc = wait_for_bytes(c);
        if (rc < 0) {
            return rc;
        }
        ssize_t count = read(c->in, block->bytes + block->size, size - block->size);
        if (count < 0 && errno != EINTR) {
            return cpni_csv_fail_errno(c->report, "cannot read the table");
        }
        c->end_of_input = count == 0;
        block->size += count > 0 ? (size_t)count : 0;
        c->bytes_read += count > 0 ? (size_t)count : 0;
    }
    return tell_progress(c);
}

/* Keep what follows the whole rows for the next block. */
static int carry(struct convert *c, struct cpni_csv_block *block, size_t whole)
{
    size_t rest = block->size - whole;
    if (rest > c->carried_capacity) {
        char *grown = cpni_realloc(c->carried, rest);
        if (grown == NULL) {
            return cpni_csv_fail(c->report, CPN_ENOMEM, "out of memory for a row of the table");
        }
        c->carried = grown;
        c->carried_capacity = rest;
    }
    if (rest > 0) {
        memcpy(c->carried, block->bytes + whole, rest);
    }
    c->carried_size = rest;
    block->size = whole;
    return 0;
}

/* The last row may lack its newline; a row that lacks more has an open quote. */
static size_t end_last_row(struct convert *c, struct cpni_csv_block *block, size_t whole)
{
    if (whole == block->size) {
        return whole;
    }
    block->bytes[block->size] = '\n';
    size_t all = cpni_csv_whole_rows(block->bytes + whole, block->size + 1 - whole, c->delimiter);
    if (all == 0 || whole + all != block->size + 1) {
        block->unclosed = true;
        block->size = whole + all;
        return block->size;
    }
    block->size++;
    return block->size;
}

static int read_block(struct convert *c, struct cpni_csv_block *block)
{
    size_t want = CPNI_CSV_BLOCK;
    block->size = 0;
    block->unclosed = false;
    for (;; want *= 2) {
        if (want > CPNI_CSV_ROW_MAX) {
            return cpni_csv_fail(c->report, CPN_EBADINPUT, "a row is longer than 64 MiB: is a quote never closed?");
        }
        size_t room = want > c->carried_size ? want : c->carried_size;
        if (cpni_csv_block_reserve(block, room) < 0) {
            return cpni_csv_fail(c->report, CPN_ENOMEM, "out of memory for a row of the table");
        }
        if (c->carried_size > 0) {
            memcpy(block->bytes, c->carried, c->carried_size);
            block->size = c->carried_size;
            c->carried_size = 0;
        }
        int rc = fill(c, block, room);
        if (rc < 0) {
            return rc;
        }
        size_t whole = cpni_csv_whole_rows(block->bytes, block->size, c->delimiter);
        if (c->end_of_input) {
            whole = end_last_row(c, block, whole);
        }
        if (whole > 0 || c->end_of_input) {
            return carry(c, block, whole);
        }
    }
}

static int fail(struct convert *c, int rc)
{
    if (c->rc == 0) {
        c->rc = rc;
    }
    pthread_cond_broadcast(&c->joined);
    return rc;
}

/* Parse a block that was read as number `turn`, wait for that turn, join it. Called and left with the mutex held. */
static void work(struct convert *c, struct cpni_csv_block *block, uint64_t turn)
{
    uint64_t at = 0;
    pthread_mutex_unlock(&c->mutex);
    int rc = cpni_csv_block_parse(block, &c->plan);
    pthread_mutex_lock(&c->mutex);
    while (c->rc == 0 && c->next_join != turn) {
        pthread_cond_wait(&c->joined, &c->mutex);
    }
    if (c->rc < 0) {
        return;
    }
    rc = rc < 0 ? cpni_csv_fail(c->report, rc, "out of memory for the rows of the table")
                : cpni_csv_join_block(&c->join, block, &at);
    if (rc == 0 && c->report->errors >= CPNI_CSV_ERRORS) {
        rc = CPN_EBADINPUT; /* enough to go on with */
    }
    if (rc < 0) {
        fail(c, rc);
        return;
    }
    c->next_join++;
    pthread_cond_broadcast(&c->joined);
    struct cpni_csv_report report = *c->report; /* of this thread, for the time without the mutex */
    struct cpni_csv_join store = c->join;
    store.report = &report;
    pthread_mutex_unlock(&c->mutex);
    rc = cpni_csv_join_store(&store, block, at);
    pthread_mutex_lock(&c->mutex);
    if (rc < 0 && c->rc == 0) {
        *c->report = report;
        fail(c, rc);
    }
}

/* The next block to parse: the one that came with the header, or what is read now. */
static int next_block(struct convert *c, struct cpni_csv_block *block)
{
    if (c->next_read > 0) {
        return read_block(c, block);
    }
    block->bytes = c->first.bytes;
    block->size = c->first.size;
    block->capacity = c->first.capacity;
    block->unclosed = c->first.unclosed;
    c->first = (struct cpni_csv_block){ 0 };
    return 0;
}

static void *run(void *arg)
{
    struct convert *c = arg;
    struct cpni_csv_block block;
    pthread_mutex_lock(&c->mutex);
    if (cpni_csv_block_init(&block, &c->plan) < 0) {
        fail(c, cpni_csv_fail(c->report, CPN_ENOMEM, "out of memory for the rows of the table"));
    }
    while (c->rc == 0) {
        uint64_t turn = c->next_read;
        int rc = next_block(c, &block);
        if (rc < 0) {
            fail(c, rc);
        } else if (turn > 0 && block.size == 0 && !block.unclosed) {
            break;
        } else {
            c->next_read++;
            work(c, &block, turn);
        }
    }
    pthread_mutex_unlock(&c->mutex);
    cpni_csv_block_free(&block, &c->plan);
    return NULL;
}

static unsigned thread_count(const struct convert *c)
{
    struct stat status;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->options->threads != 0) {
        return c->options->threads < CPNI_CSV_THREADS_MAX ? c->options->threads : CPNI_CSV_THREADS_MAX;
    }
    if (processors < 2 || (fstat(c->in, &status) == 0 && S_ISREG(status.st_mode) && status.st_size < CPNI_CSV_LARGE)) {
        return 1;
    }
    return processors < CPNI_CSV_THREADS_MAX ? (unsigned)processors : CPNI_CSV_THREADS_MAX;
}

static void run_all(struct convert *c)
{
    pthread_t threads[CPNI_CSV_THREADS_MAX];
    unsigned wanted = thread_count(c) - 1, started = 0;
    while (started < wanted && pthread_create(&threads[started], NULL, run, c) == 0) {
        started++; /* one that does not start is not missed: the others do its work */
    }
    run(c);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* Where the table starts behind a byte order mark, which some programs write. */
static int find_start(struct convert *c, size_t *start)
{
    const unsigned char *bytes = (const unsigned char *)c->first.bytes;
    size_t size = c->first.size;
    if (size >= 2 && ((bytes[0] == 0xff && bytes[1] == 0xfe) || (bytes[0] == 0xfe && bytes[1] == 0xff))) {
        return cpni_csv_fail(c->report, CPN_EBADINPUT, "the table is in UTF-16: save it as UTF-8");
    }
    *start = size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    if (size <= *start || bytes[*start] == '\n') {
        return cpni_csv_fail(c->report, CPN_EBADINPUT,
            c->first.unclosed ? "row 1: a quote opens and never closes"
                              : "the table is empty or starts with an empty row; expected names, then data");
    }
    return 0;
}

/* The first row says what the columns are. What follows it in the first block stays there for whoever parses it. */
static int read_header(struct convert *c)
{
    char detail[CPNI_DATA_DETAIL] = "", what[CPNI_DATA_DETAIL + 128];
    size_t start = 0;
    int rc = read_block(c, &c->first);
    rc = rc == 0 ? find_start(c, &start) : rc;
    if (rc < 0) {
        return rc;
    }
    const char *at = c->first.bytes + start, *end = c->first.bytes + c->first.size;
    rc = cpni_csv_plan_init(&c->plan, c->options, at, end, detail);
    if (rc < 0) {
        snprintf(what, sizeof what, "%.100s: %s", c->options->name != NULL ? c->options->name : "table", detail);
        return cpni_csv_fail(c->report, rc, what);
    }
    struct cpni_csv_cell cell = { .last = !c->plan.header };
    while (!cell.last) {
        at = cpni_csv_cell(at, end, c->delimiter, &cell);
    }
    c->first.size = (size_t)(end - at);
    memmove(c->first.bytes, at, c->first.size);
    rc = cpni_csv_join_init(&c->join, &c->plan, c->out, c->report);
    c->join.records = c->plan.header;
    return rc;
}

static int convert(struct convert *c)
{
    int rc = read_header(c);
    if (rc < 0) {
        return rc;
    }
    run_all(c);
    if (c->rc < 0) {
        return c->rc;
    }
    if (c->report->errors > 0) {
        return CPN_EBADINPUT;
    }
    if (c->join.rows == 0) {
        return cpni_csv_fail(c->report, CPN_EBADINPUT, "the table has no rows of data");
    }
    return cpni_csv_finish(&c->join);
}

int cpni_csv_convert(const struct cpni_csv_options *options, int in, int out, struct cpni_csv_report *report)
{
    struct convert c = { .options = options,
        .report = report,
        .in = in,
        .out = out,
        .delimiter = options->delimiter != 0 ? options->delimiter : ',',
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .joined = PTHREAD_COND_INITIALIZER };
    memset(report, 0, sizeof *report);
    int rc = convert(&c);
    if (c.join.plan != NULL) {
        cpni_csv_join_free(&c.join);
    }
    cpni_csv_block_free(&c.first, &c.plan);
    cpni_csv_plan_free(&c.plan);
    cpni_free(c.carried);
    pthread_cond_destroy(&c.joined);
    pthread_mutex_destroy(&c.mutex);
    return rc;
}
