/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The blob store on a thread of its own: the owner (a role) submits jobs and never touches the disk; answers come back
 * through a queue and an eventfd. Answers about one blob come in the order of its jobs; a long job (a big import, a
 * resume) is done in slices between the others. Bounded by jobs and by bytes. Knows no role and no message.
 *
 * Threads: all calls are the owner thread's. */
#ifndef CPNI_BLOB_ASYNC_H
#define CPNI_BLOB_ASYNC_H

#include "store/blob.h"

struct cpni_blob_async;

/* X(name, long name): see the function of the same name in blob.h. */
#define CPNI_BLOB_OPS(X)                                                                                               \
    X(BEGIN) /* root size class payload=leaf list (may be NULL) -> info, bytes=bitmap */                               \
    X(WRITE_CHUNK) /* root index payload=chunk -> info */                                                              \
    X(FINISH) /* root -> info */                                                                                       \
    X(ABORT) /* root */                                                                                                \
    X(FIND) /* root -> info, bytes=bitmap */                                                                           \
    X(LIST) /* -> list, count */                                                                                       \
    X(IMPORT_FILE) /* path class -> info */                                                                            \
    X(IMPORT_BYTES) /* payload class -> info */                                                                        \
    X(READ_CHUNK) /* root index -> bytes */                                                                            \
    X(LEAVES) /* root -> info, bytes=leaf list */                                                                      \
    X(OPEN_FD) /* root -> info, fd */                                                                                  \
    X(COPY_OUT) /* root path how mode -> info */                                                                       \
    X(VERIFY) /* root -> info */                                                                                       \
    X(REMOVE) /* root */                                                                                               \
    X(DROP_SPOOL)

enum cpni_blob_op {
#define CPNI_BLOB_OP_ENUM(name) CPNI_BLOB_##name,
    CPNI_BLOB_OPS(CPNI_BLOB_OP_ENUM)
#undef CPNI_BLOB_OP_ENUM
};

struct cpni_blob_job {
    enum cpni_blob_op op;
    uint64_t tag; /* the owner's, handed back with the answer */
    void *user; /* likewise */
    struct cpn_hash root;
    uint64_t size;
    uint32_t index;
    enum cpni_blob_class class;
    struct cpni_bytes *payload; /* submit takes a reference of its own */
    const char *path; /* copied */
    enum cpni_blob_copy how;
    unsigned mode;
};

struct cpni_blob_answer {
    enum cpni_blob_op op;
    uint64_t tag;
    void *user;
    struct cpn_hash root; /* the job's; of imports the new blob's */
    uint32_t index;
    int status; /* 0 or CPN_E... */
    struct cpni_blob_info info; /* zero when the op has none or failed */
    struct cpni_bytes *bytes;
    struct cpni_blob_info *list;
    size_t count;
    int fd; /* -1: none */
    uint64_t usage_bytes; /* of the store, after the job */
    char detail[CPNI_BLOB_DETAIL]; /* the sentence when status is not 0 */
};

/* Takes `blobs` on success only (and closes it in the end). The limits are 0 for CPNI_BLOB_JOBS_MAX,
 * CPNI_BLOB_JOB_BYTES_MAX. */
int cpni_blob_async_open(struct cpni_blobs *blobs, size_t jobs_max, uint64_t bytes_max, struct cpni_blob_async **out);
/* Readable while answers wait. Borrowed; for poll and epoll only. */
int cpni_blob_async_fd(const struct cpni_blob_async *async);
/* CPN_EBUSY: the queue is full, by jobs or by bytes (unread answers count): pop first. CPN_ENOMEM. Nothing is taken
 * then. */
int cpni_blob_async_submit(struct cpni_blob_async *async, const struct cpni_blob_job *job);
/* 1 and an answer, or 0: none now. The answer is the caller's: cpni_blob_answer_clear() drops what it still holds. */
int cpni_blob_async_pop(struct cpni_blob_async *async, struct cpni_blob_answer *out);
void cpni_blob_answer_clear(struct cpni_blob_answer *answer);
/* How many jobs are not yet popped. */
size_t cpni_blob_async_pending(const struct cpni_blob_async *async);
/* Ends the job at hand (a long one at its next slice), drops those that wait and the answers not popped, joins the
 * thread, closes the store. NULL is fine. */
void cpni_blob_async_close(struct cpni_blob_async *async);

#endif
