/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The way up: the two connections of a worker or client to its master (DESIGN §5). HELLO and WELCOME on each, heartbeats, noticing
 * that the master is gone, that messages were lost or that it is another reign, and what to do about a refusal. Must not know what
 * the owner does with the link: it fills in its inventory when a HELLO is due and learns what changed by flags.
 *
 * Nothing but HELLO may be sent before the WELCOME that answers it, and what arrives before that is dropped: it was sent by a master
 * that did not know our inventory yet, and it will take the HELLO as the truth. */
#ifndef CPNI_UPLINK_H
#define CPNI_UPLINK_H

#include "core/action.h"
#include "core/event.h"

/* What a call changed; several at a time. */
enum {
    CPNI_UPLINK_JOINED = 1,    /* control is welcomed: send again whatever is not acknowledged */
    CPNI_UPLINK_LOST = 2,      /* it was, and no longer is: send nothing */
    CPNI_UPLINK_BULK_UP = 4,   /* the bulk connection is welcomed */
    CPNI_UPLINK_BULK_DOWN = 8, /* it was, and no longer is */
    CPNI_UPLINK_FATAL = 16,    /* refused for good (code, text); nothing more will be tried */
    CPNI_UPLINK_TROUBLE = 32,  /* refused or unreachable for now (code, text); tried again */
    CPNI_UPLINK_BYE = 64,      /* the master said goodbye (code, text, returning) */
    CPNI_UPLINK_PASS = 128,    /* cpni_uplink_message only: for the owner */
    CPNI_UPLINK_NEW_TERM = 256 /* with JOINED: the first, or another reign than last time */
};

#define CPNI_UPLINK_TEXT 256

struct cpni_uplink_conn {
    bool connected;
    bool welcomed;
    uint32_t hellos;    /* said and not yet answered: only the answer to the last one counts */
    uint32_t link;      /* from WELCOME; 0 before */
    uint64_t sequence;  /* of the packet that is expected; 0: any (after HELLO, until WELCOME) */
    int64_t since_us;   /* of the oldest unanswered HELLO; of the refusal */
    int64_t again_us;   /* RECONNECT then; 0: no */
    int64_t resync_us;  /* HELLO once more then, unless it was answered; 0: no */
};

struct cpni_uplink {
    struct cpni_uplink_conn control, bulk;
    struct cpn_id boot;
    uint32_t kind; /* CPNI_KIND_…, for HELLO; set by the owner */
    /* Fills in the inventory of a HELLO on the control connection; lists and texts must live as long as the step. CPN_ENOMEM. */
    int (*inventory)(void *arg, struct cpni_msg_hello *hello, struct cpni_actions *actions);
    /* Fills in the load figures of a heartbeat. May be NULL. */
    void (*load)(void *arg, struct cpni_msg_beat *beat);
    void *arg;
    uint64_t term;
    uint32_t heartbeat_ms, gone_ms;
    uint32_t window_tasks;
    uint64_t window_bytes;
    enum cpn_role role;
    int64_t heard_us;
    int64_t beat_us; /* the next heartbeat */
    bool dead;       /* FATAL was reported, or closed */
    int code;        /* of the last FATAL, TROUBLE or BYE */
    bool returning;  /* of the last BYE */
    char text[CPNI_UPLINK_TEXT];
};

void cpni_uplink_init(struct cpni_uplink *uplink, const struct cpn_id *boot,
                      int (*inventory)(void *arg, struct cpni_msg_hello *hello, struct cpni_actions *actions),
                      void (*load)(void *arg, struct cpni_msg_beat *beat), void *arg);

static inline bool cpni_uplink_ready(const struct cpni_uplink *uplink)
{
    return uplink->control.welcomed;
}

/* CONNECTED, DISCONNECTED, REFUSED, BAD_PACKET and TICK (call it for every event; others change nothing). Flags. */
unsigned cpni_uplink_event(struct cpni_uplink *uplink, const struct cpni_event *event, const struct cpni_now *now,
                           struct cpni_actions *actions);

/* A packet as a whole, before its messages. False: it came after a gap or from a link that is no longer: drop it. */
bool cpni_uplink_packet(struct cpni_uplink *uplink, const struct cpni_event_packet *packet, const struct cpni_now *now,
                        struct cpni_actions *actions, unsigned *flags);

/* Each of its messages in turn. PASS: it is for the owner. */
unsigned cpni_uplink_message(struct cpni_uplink *uplink, uint64_t conn, const struct cpni_msg *msg, const struct cpni_now *now,
                             struct cpni_actions *actions);

/* Out of memory in the middle of a step: nothing half-said can be trusted. Both connections are made anew. Flags. */
unsigned cpni_uplink_break(struct cpni_uplink *uplink, struct cpni_actions *actions);

/* Send over the welcomed control connection; not welcomed: nothing (the next WELCOME makes the owner say it again). */
void cpni_uplink_send(struct cpni_uplink *uplink, struct cpni_actions *actions, const struct cpni_msg *msg);

/* An orderly goodbye: BYE, and nothing after it. */
void cpni_uplink_close(struct cpni_uplink *uplink, bool returning, struct cpni_actions *actions);

int64_t cpni_uplink_deadline(const struct cpni_uplink *uplink);
const char *cpni_uplink_check(const struct cpni_uplink *uplink);

#endif
