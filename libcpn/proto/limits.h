/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Every bound of the network, with its reason. A thing that can grow has its line here; nothing else may decide one. */
#ifndef CPNI_LIMITS_H
#define CPNI_LIMITS_H

/* ---- protocol ---- */
#define CPNI_PROTOCOL_VERSION 1
#define CPNI_HEADER_BYTES_MAX (1024 * 1024) /* a packet's header frame: a full inventory of a large node is about 200 KiB */
#define CPNI_PACKET_MESSAGES_MAX 256        /* messages that travel together: more gains nothing (ANCHORS 3: 16 gives 7x) */
#define CPNI_PACKET_FRAMES_MAX 64           /* payload frames of a packet: bounds what one endless multipart can pin */
#define CPNI_STR_BYTES_MAX 4096             /* any text field: an error with a path in it fits, a book does not */
#define CPNI_LIST_MAX 8192                  /* elements of any list field: models x nodes of a large network */
#define CPNI_INLINE_BYTES_MAX (256 * 1024)  /* inputs and results over this travel as blobs (DESIGN section 5) */
#define CPNI_NAME_BYTES_MAX 64              /* names of models, nodes and users, with the terminating 0 */
#define CPNI_OUTBOX_HELD_BYTES_MAX (64ull * 1024 * 1024) /* packets that wait for room at one socket: a peer that takes none of so much is gone */
#define CPNI_MANIFEST_BYTES_MAX (64 * 1024) /* a manifest: 256 files of a bundle, with names */

/* ---- time ---- */
#define CPNI_HEARTBEAT_MS 1000
#define CPNI_GONE_MS 3000 /* three beats: one may be lost, one may be late */
#define CPNI_BUSY_RETRY_MS 250
#define CPNI_UPLINK_RESYNC_MS 300 /* a HELLO that crossed a RESYNC and has no answer is said again: longer than a round trip */
#define CPNI_UPLINK_AGAIN_MS 2000 /* after a refusal that may pass (wrong answer in the handshake): connect again */

/* ---- queues of the master ---- */
#define CPNI_TASKS_MAX 100000                          /* accepted and unfinished, in all */
#define CPNI_TASK_BYTES_MAX (256ull * 1024 * 1024)     /* their inline inputs and results in memory, in all */
#define CPNI_USER_TASKS_MAX 4096                       /* the window of one user, all their processes together */
#define CPNI_USER_BYTES_MAX (64ull * 1024 * 1024)      /* inline inputs and results of one user */
#define CPNI_SPOOL_BYTES_MAX (8ull * 1024 * 1024 * 1024) /* inputs and results that travel as blobs, on the master's disk */
#define CPNI_NODES_MAX 4096
#define CPNI_LINKS_MAX 16384
#define CPNI_TOKENS_MAX 1024
#define CPNI_ATTEMPTS_POISON 3 /* K: crashes or timeouts after which a task is parked */
#define CPNI_PARKED_MAX 1000   /* parked tasks kept with their evidence */

/* ---- the master's memory of peers and work ---- */
#define CPNI_IDENTITIES_MAX 65536   /* enrolled nodes and users, revoked ones included: about 40 MiB */
#define CPNI_CONNS_MAX (3 * CPNI_LINKS_MAX) /* control and bulk of every link, and strangers that did not say HELLO yet */
#define CPNI_IDENTITY_LINKS_MAX 256 /* processes of one key at a time */
#define CPNI_CONN_IDLE_MS 30000     /* a connection that never became a link's is forgotten */
#define CPNI_RESYNC_MS 500          /* at most one RESYNC in so long: a deaf peer must not make the master shout */
#define CPNI_STRIKES_MAX 32         /* refused or malformed packets until a connection is dropped */
#define CPNI_CLIENT_GRACE_MS 60000  /* a client that is away so long does not come back: its tasks are cancelled, results dropped */
#define CPNI_COPIED_MS 60000        /* a replaced process of a node that speaks again within this time lives: a copied identity */
#define CPNI_CLAIM_MS 10000         /* work of an earlier term waits so long for its client to come back and ask for it */
#define CPNI_CLAIMS_MAX 16384       /* such attempts and results, in all */
#define CPNI_CLAIM_BYTES_MAX (64ull * 1024 * 1024) /* of such results */
#define CPNI_ASKS_MAX 16384         /* commits and reads of the master that are not answered yet */
#define CPNI_PUBLISHES_MAX 64       /* bundles being received at a time */
#define CPNI_MODELS_MAX 4096        /* versions of all models that the master knows */
#define CPNI_MODEL_VERSIONS_KEPT 2  /* versions of a model that nodes keep ready: the newest, and the one it may have to go back to */
#define CPNI_PRIORITIES 4           /* classes of tasks; a submission's priority 3 and above is the most urgent */
#define CPNI_SCAN_TASKS 8           /* tasks of a queue that are looked at when the first cannot be placed where a slot is free */
#define CPNI_SERVICE_US 100000      /* assumed time of a task while nothing was measured */
#define CPNI_NODE_RETURN_MS 30000   /* a node that went so lately may come back: no task is told that no node can run it */
#define CPNI_STATS_MS 10000         /* history is committed at most so often */
#define CPNI_SEEN_MS 60000          /* an idle node's "last seen" is committed so often: a start waits for nodes seen lately */
#define CPNI_STOP_MS 2000           /* an orderly end waits so long for the store */
#define CPNI_TOKEN_REPEAT_MS 60000  /* a used-up token still answers the key that used it: its first answer may be lost */
#define CPNI_TOKEN_TTL_MS_MAX (366ull * 24 * 3600 * 1000)
#define CPNI_REPLY_ROWS_MAX 256     /* rows of one REPLY, fewer when they are long: it must fit a header */
#define CPNI_REPLY_HELD_MAX 64      /* models listed with one node in a REPLY */

/* ---- nodes ---- */
#define CPNI_SLOTS_MAX 256
#define CPNI_NODE_SURPLUS_TASKS 2 /* credit beyond the slots, so that a slot never waits for the round trip */
#define CPNI_NODE_SURPLUS_MAX 64    /* the same for tasks shorter than the round trip; more gains nothing (ANCHORS 3) */
#define CPNI_NODE_AHEAD_MAX 32      /* callbacks that wait for any slot in the pool: a wake of the worker's thread then serves so many */
#define CPNI_NODE_AHEAD_US 500      /* and the work that they are at most: it cannot be handed back */
#define CPNI_NODE_ATTEMPTS_MAX 4096 /* attempts on a node, results that wait for their ACK included */
#define CPNI_NODE_MODELS_MAX 256    /* models on a node */
#define CPNI_MODEL_RETRY_MS 60000   /* a model for which the node's disk had no room is fetched again so much later */
#define CPNI_NODE_PREPARES_MAX 4    /* models being fetched or loaded at a time: the others wait their turn */
#define CPNI_NODE_PROGRESS_MS 1000  /* between two progress reports of a model */
#define CPNI_NODE_BYTES_MAX (128ull * 1024 * 1024) /* input bytes that a node holds */

/* ---- clients ---- */
#define CPNI_CLIENT_TASKS_MAX 65536 /* submitted and not yet answered, those that wait for the window included */
#define CPNI_CLIENT_BYTES_MAX (256ull * 1024 * 1024) /* their inline inputs */
#define CPNI_CLIENT_ASKS_MAX 256    /* requests without an answer */
#define CPNI_CLIENT_DEADLINE_GRACE_MS 500 /* after a deadline: the master's own word on it is better than ours, if it is reachable */
#define CPNI_CLIENT_CANCEL_MS 60000 /* so long is a cancelled task's id kept, to say CANCEL again after a break */

/* ---- transfer ---- */
#define CPNI_CHUNK_BYTES (1024 * 1024)
#define CPNI_TRANSFER_WINDOW 4       /* chunks asked for and not yet here, of one transfer */
#define CPNI_TRANSFERS_ACTIVE_MAX 4  /* transfers that ask at a time on one link; the others wait their turn */
#define CPNI_TRANSFER_RETRIES 5      /* refused (corrupted) answers for one chunk until the transfer fails */
#define CPNI_TRANSFER_STALL_MS 10000 /* no answer for so long: ask again */

#define CPNI_TRANSFERS_MAX 16384      /* blobs that a process waits for: two inputs or results for each task of a full user window */
#define CPNI_TRANSFERS_RECEIVING_MAX 12 /* transfers that ask at a time, all links together: 48 chunks in memory at the most */
#define CPNI_TRANSFER_STALLS_MAX 6    /* requests without an answer on a living link until the transfer fails: a minute */
#define CPNI_TRANSFER_AGAIN_MS 50     /* a full disk queue, or a sender that is busy, is asked again after */
#define CPNI_SERVE_WANTS_MAX 64       /* requests of one peer that wait for the disk: above it, BUSY */
#define CPNI_SERVE_READS_MAX 4        /* chunks being read for one peer */
#define CPNI_SERVE_READS_ALL_MAX 12   /* and for all peers together: the disk queue holds 64 chunks, half are for receiving */

/* ---- blobs (store/blob) ---- */
#define CPNI_BLOB_BYTES_MAX (1ull << 36)    /* 64 GiB: its leaf list is 2 MiB, which one message still carries */
#define CPNI_BLOB_LEAVES_MAX (1u << 16)     /* CPNI_BLOB_BYTES_MAX / CPNI_CHUNK_BYTES */
#define CPNI_BLOBS_MAX (1u << 18)           /* in one store: its index takes 200 bytes of memory each, 50 MiB in all */
#define CPNI_BLOB_RECEIVING_MAX 1024        /* unfinished ones at a time in one store */
#define CPNI_BLOB_RECEIVING_LEAVES (1 << 20) /* leaves of all unfinished ones together: 32 MiB of memory */
#define CPNI_BLOB_JOBS_MAX 4096             /* waiting jobs of the disk thread: above it the owner slows its peers down */
#define CPNI_BLOB_JOB_BYTES_MAX (64ull << 20) /* payload of waiting jobs and unread answers: 64 chunks in flight */

/* ---- durable state (store/state) ---- */
#define CPNI_STATE_WAITING_MAX 32768        /* commands not yet answered, 28 MiB: half a second of full load on a slow disk */
#define CPNI_STATE_BATCH_MAX 4096           /* commands in one transaction, so that the first does not wait for ever */
#define CPNI_STATE_QUERY_MAX 256            /* event queries waiting or unread */
#define CPNI_STATE_EVENTS_MAX 100000        /* rows of the event ring: about 20 MiB on disk */
#define CPNI_STATE_EVENTS_READ_MAX 10000    /* rows that one query or one recovery hands out */
#define CPNI_STATE_KEYS_PER_CLIENT 256      /* answers kept for retries: more than a client's window of commands */
#define CPNI_STATE_CAPABILITIES_BYTES_MAX (64 * 1024) /* text of a node's capabilities */
#define CPNI_STATE_RETRY_MS 10000           /* a failing disk is retried so long before answers are "unknown" */

/* ---- net: sockets, connections, frames ---- */
#define CPNI_ZMTP_FRAMES_MAX (1 + CPNI_PACKET_FRAMES_MAX) /* parts of a message: the header frame and the payloads */
/* Bytes of one frame: the leaf list of the largest blob, CURVE's 33 bytes and room beside it. libzmq allocates the
 * announced size before the bytes arrive, so this is what one garbage frame of an admitted peer costs. */
#define CPNI_ZMTP_FRAME_BYTES_MAX (2 * 1024 * 1024 + 64 * 1024)
#define CPNI_ZMTP_FRAME_OVERHEAD 64 /* what CURVE and ZMTP add to a frame, rounded up */
/* Bytes of a whole message: 64 chunks. libzmq counts whole messages (HWM) and single frames (MAXMSGSIZE), so a peer
 * that never ends its message is bounded by nothing in there; the router cuts its connection (net/guard.h). */
#define CPNI_ZMTP_MESSAGE_BYTES_MAX (64ull * 1024 * 1024)
#define CPNI_ZMTP_HWM 1000         /* messages queued per connection and direction; credit keeps it far lower */
#define CPNI_ZMTP_SOCKETS_MAX 4096 /* ZeroMQ sockets of a context (TCP connections do not count), about six a role */
#define CPNI_LOOP_SOCKETS_MAX 64   /* of them in one loop: the roles that share a thread */
#define CPNI_ZMTP_LINGER_MS 1000   /* a closing socket's: a farewell still leaves, a dead peer holds nobody */
#define CPNI_ZMTP_CONNECT_MS 3000
#define CPNI_ZMTP_HANDSHAKE_MS 5000 /* so long may a half-open connection hold a descriptor */
#define CPNI_ZMTP_HEARTBEAT_MS 2000 /* finds connections that died without a FIN; the protocol's own is faster */
#define CPNI_ZMTP_HEARTBEAT_TIMEOUT_MS 6000
#define CPNI_ZMTP_RECONNECT_MS 100 /* between attempts to connect, doubling up to the next line */
#define CPNI_ZMTP_RECONNECT_MAX_MS 2000


/* ---- training ---- */

#define CPNI_SESSION_SPEC_BYTES_MAX (128 * 1024) /* text of a spec: 1024 configurations of 128 bytes */
#define CPNI_SESSION_LANES_MAX 1024     /* shards or configurations of a session */
#define CPNI_SESSION_PEERS_MAX 256
#define CPNI_SESSIONS_MAX 256           /* kept by the master, ended ones included: the oldest ended one makes room */
#define CPNI_SESSION_POINTS_MAX 65536   /* epochs of all lanes of one session */
#define CPNI_SESSIONS_POINTS_MAX (1 << 20) /* of all sessions that are kept: about 300 MiB of the master's memory */
#define CPNI_SESSION_REPLAY_MAX 64      /* rounds between two checkpoints: weights of so many are kept for a replay */
#define CPNI_SESSION_WAIT_MS 600000     /* without any peer a session waits so long and fails; a lane that says nothing for so long has crashed */
#define CPNI_SESSION_RETRIES 3          /* crashes of one lane until it is failed */
#define CPNI_SESSION_PROGRESS_MS 1000   /* between two heartbeats of a lane within an epoch */
#define CPNI_LANES_OF_NODE_MAX 64       /* that one node works on at a time: each is a process */
#define CPNI_NODE_SESSIONS_MAX 4     /* that a node is in: one, and those whose STOP is still on its way */
#define CPNI_LANE_CHECKPOINTS_MAX 4  /* states of a lane that wait on its node until the master took them */
#define CPNI_LANE_PATIENCE_MS 5000   /* a TRAIN whose LANE does not come is turned down: longer than a connection is silent unnoticed */
#define CPNI_LANE_UPDATES_KEPT 2     /* of a lane on its node: a new master may know neither */
#define CPNI_LANE_EPOCHS_MAX 256     /* finished epochs of a lane that wait for the end of their round */
#define CPNI_VECTOR_BYTES_MAX (1ull << 30) /* weights of the largest model (<cpn/trainer.h>) */
#define CPNI_VECTOR_PIECE_BYTES (1024 * 1024)
#define CPNI_VECTORS_BYTES_MAX (2ull << 30) /* weights and gradients that a master receives at a time, of all lanes: two of the largest */
#define CPNI_SESSION_WAITERS_MAX 16     /* people who wait for one session's end */

#endif
