/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The master's commands on their way to the store and its answers on their way back. The store answers in the order of submission, so
 * a queue of the core's tickets is all that is needed to tell whose answer it is. */
#include <poll.h>
#include <string.h>

#include "base/alloc.h"
#include "role/clock.h"
#include "role/master.h"

struct cpni_master_backlog {
    struct cpni_master_backlog *next;
    uint64_t ticket;
    struct cpni_command_key key;
    struct cpni_command command;
};

static int note_pending(struct cpn_master *master, const struct cpni_master_pending *pending)
{
    if (master->pending_count == master->pending_room) {
        size_t room = master->pending_room == 0 ? 64 : master->pending_room * 2;
        struct cpni_master_pending *ring = cpni_calloc(room, sizeof *ring);
        if (ring == NULL) {
            return CPN_ENOMEM;
        }
        for (size_t i = 0; i < master->pending_count; i++) {
            ring[i] = master->pending[(master->pending_first + i) % master->pending_room];
        }
        cpni_free(master->pending);
        master->pending = ring;
        master->pending_first = 0;
        master->pending_room = room;
    }
    master->pending[(master->pending_first + master->pending_count++) % master->pending_room] = *pending;
    return 0;
}

static int submit(struct cpn_master *master, uint64_t ticket, const struct cpni_command_key *key, const struct cpni_command *command)
{
    const struct cpni_master_pending pending = { .ticket = ticket };
    int rc = note_pending(master, &pending);
    if (rc == 0) {
        rc = cpni_state_submit(master->state, key->sequence != 0 ? key : NULL, command, NULL);
        master->pending_count -= rc < 0;
    }
    return rc;
}

static void keep(struct cpn_master *master, uint64_t ticket, const struct cpni_command_key *key, const struct cpni_command *command)
{
    struct cpni_master_backlog *waiting = cpni_malloc(sizeof *waiting);
    if (waiting == NULL) {
        return; /* the core's own deadline for the ticket answers whoever waits */
    }
    *waiting = (struct cpni_master_backlog){ .ticket = ticket, .key = *key, .command = *command };
    cpni_bytes_ref(command->payload);
    *master->backlog_end = waiting;
    master->backlog_end = &waiting->next;
}

static void drop_first(struct cpn_master *master)
{
    struct cpni_master_backlog *first = master->backlog;
    master->backlog = first->next;
    if (master->backlog == NULL) {
        master->backlog_end = &master->backlog;
    }
    cpni_bytes_unref(first->command.payload);
    cpni_free(first);
}

void cpni_master_drop_backlog(struct cpn_master *master)
{
    while (master->backlog != NULL) {
        drop_first(master);
    }
}

void cpni_master_commit(struct cpn_master *master, uint64_t ticket, const struct cpni_command_key *key, const struct cpni_command *command)
{
    int rc = master->backlog != NULL ? CPN_EBUSY : submit(master, ticket, key, command);
    if (rc < 0) {
        keep(master, ticket, key, command);
    }
}

static void submit_backlog(struct cpn_master *master)
{
    while (master->backlog != NULL &&
           submit(master, master->backlog->ticket, &master->backlog->key, &master->backlog->command) == 0) {
        drop_first(master);
    }
}

void cpni_master_ring(struct cpn_master *master, const struct cpni_action *log)
{
    static const struct cpni_command_key none;
    static const struct cpn_key nobody;
    if (log->log.level < CPN_LOG_INFO || master->backlog != NULL) {
        return; /* with a stuck disk the ring is what is given up first */
    }
    struct cpni_command command = { .type = CPNI_COMMAND_EVENT };
    struct cpni_command_event *event = &command.u.event;
    event->wall_us = master->now.wall_us;
    event->level = (uint8_t)log->log.level;
    event->node = memcmp(&log->log.node, &nobody, sizeof nobody) == 0 ? log->log.user : log->log.node;
    event->task = log->log.task;
    cpni_str_copy(cpni_str(log->log.event), event->id, sizeof event->id);
    cpni_str_copy(log->log.model, event->model, sizeof event->model);
    cpni_str_copy(log->log.text, event->text, sizeof event->text);
    submit(master, 0, &none, &command);
}

/* What a person may filter by: a node's key, a task's id, an event id, or else a model. The core has turned names of nodes into keys. */
static void parse_filter(struct cpni_str text, struct cpni_state_filter *filter)
{
    char copy[CPN_KEY_TEXT]; /* the longest of them */
    cpni_str_copy(text, copy, sizeof copy);
    if (copy[0] == 0 || cpn_key_parse(copy, &filter->node) == 0 || cpn_id_parse(copy, &filter->task) == 0) {
        return;
    }
    if (strncmp(copy, "CPN-", 4) == 0) {
        cpni_str_copy(text, filter->id, sizeof filter->id);
    } else {
        cpni_str_copy(text, filter->model, sizeof filter->model);
    }
}

void cpni_master_notes(struct cpn_master *master, uint64_t ticket, struct cpni_str text, uint64_t since, uint32_t limit)
{
    struct cpni_state_filter filter = { .after = since };
    const struct cpni_master_pending pending = { .ticket = ticket, .notes = true };
    parse_filter(text, &filter);
    if (note_pending(master, &pending) == 0 && cpni_state_query_events(master->state, &filter, limit, NULL) < 0) {
        master->pending_count--;
    }
}

/* ---- answers ---- */

static void note_of(struct cpn_master *master, const struct cpni_state_event *from, struct cpni_rec_NOTE *to)
{
    struct cpni_arena *arena = &master->actions.arena;
    const struct cpni_command_event *event = &from->event;
    char text[CPN_KEY_TEXT];
    *to = (struct cpni_rec_NOTE){ .sequence = from->number, .at_ms = (uint64_t)(event->wall_us / 1000), .level = event->level,
                                  .event = cpni_str(event->id), .model = cpni_str(event->model), .text = cpni_str(event->text) };
    if (!cpni_all_zero(&event->node, sizeof event->node)) {
        to->node = cpni_str(cpni_arena_memdup(arena, cpn_key_text(&event->node, text), CPN_KEY_TEXT));
    }
    if (!cpni_all_zero(&event->task, sizeof event->task)) {
        to->task = cpni_str(cpni_arena_memdup(arena, cpn_id_text(&event->task, text), CPN_ID_TEXT));
    }
}

/* The store gives the newest first; a person reads the oldest first. */
static void answer_notes(struct cpn_master *master, uint64_t ticket, const struct cpni_state_answer *answer, struct cpni_event *event)
{
    struct cpni_rec_NOTE *notes = cpni_arena_alloc(&master->actions.arena, (answer->events_count + 1) * sizeof *notes);
    *event = (struct cpni_event){ .type = CPNI_EV_NOTES };
    event->notes.ticket = ticket;
    event->notes.code = answer->commit.status == CPNI_COMMITTED && notes != NULL ? 0 : CPN_EIO;
    if (event->notes.code == 0) {
        for (size_t i = answer->events_count; i > 0; i--) {
            note_of(master, &answer->events[i - 1], &notes[event->notes.count++]);
        }
        event->notes.notes = notes;
    }
}

void cpni_master_answers(struct cpn_master *master, void (*step)(struct cpn_master *master, const struct cpni_event *event))
{
    struct cpni_state_answer answer = { 0 };
    while (cpni_state_pop(master->state, &answer) == 1) {
        const struct cpni_master_pending pending = master->pending[master->pending_first];
        master->pending_first = (master->pending_first + 1) % master->pending_room;
        master->pending_count--;
        struct cpni_event event = { .type = CPNI_EV_COMMIT };
        if (pending.notes) {
            answer_notes(master, pending.ticket, &answer, &event);
            step(master, &event);
        } else if (pending.ticket != 0) {
            event.commit.ticket = pending.ticket;
            event.commit.commit = answer.commit;
            step(master, &event);
        }
        cpni_state_answer_clear(&answer);
    }
    submit_backlog(master);
}

int cpni_master_commit_now(struct cpn_master *master, const struct cpni_command *command, struct cpni_commit *out)
{
    struct cpni_state_answer answer = { 0 };
    int rc = cpni_state_submit(master->state, NULL, command, NULL);
    if (rc < 0) {
        return cpni_master_fail(master, rc, "the store does not take commands: %s", cpn_strerror(rc));
    }
    while (cpni_state_pop(master->state, &answer) == 0) {
        struct pollfd wait = { .fd = cpni_state_fd(master->state), .events = POLLIN };
        poll(&wait, 1, -1);
    }
    *out = answer.commit;
    cpni_state_answer_clear(&answer);
    if (out->status == CPNI_COMMITTED) {
        return 0;
    }
    return cpni_master_fail(master, out->code < 0 ? out->code : CPN_EIO, "%s: %s", master->dir, out->text);
}
