/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The part of the durable state in memory that training sessions are: the contract of the SESSION commands (proto/command.h), and their
 * recovery in the order of store/state.h. Must not know what a session is about. */
#include "session_rows.h"

#include <stdlib.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

/* Commands of one kind and session; what comes again takes the place of what was there. */
struct rows {
    struct cpni_command *list;
    size_t count, room;
};
struct stored_session {
    struct stored_session *next;
    struct cpni_command add, state; /* state.type NONE: none was told yet */
    struct rows rounds, lanes, points;
};
struct session_rows {
    struct stored_session *first, **end;
};

struct session_rows *session_rows_new(void)
{
    struct session_rows *all = calloc(1, sizeof *all);
    if (all == NULL) {
        abort();
    }
    all->end = &all->first;
    return all;
}

/* The place of the session, or of the end. */
static struct stored_session **place_of(struct session_rows *all, const struct cpn_id *id)
{
    struct stored_session **place = &all->first;
    while (*place != NULL && memcmp(&(*place)->add.u.session_add.session, id, sizeof *id) != 0) {
        place = &(*place)->next;
    }
    return place;
}

static void remove_at(struct session_rows *all, struct stored_session **place)
{
    struct stored_session *session = *place;
    *place = session->next;
    if (*place == NULL) {
        all->end = place;
    }
    cpni_bytes_unref(session->add.payload);
    free(session->rounds.list);
    free(session->lanes.list);
    free(session->points.list);
    free(session);
}

void session_rows_free(struct session_rows *all)
{
    while (all->first != NULL) {
        remove_at(all, &all->first);
    }
    free(all);
}

/* Whether two commands of a kind are about the same round, lane or epoch of a lane. */
static bool same_row(const struct cpni_command *a, const struct cpni_command *b)
{
    switch (a->type) {
    case CPNI_COMMAND_SESSION_ROUND:
        return a->u.session_round.round == b->u.session_round.round;
    case CPNI_COMMAND_SESSION_LANE:
        return a->u.session_lane.lane == b->u.session_lane.lane;
    default:
        return a->u.session_point.lane == b->u.session_point.lane && a->u.session_point.epoch == b->u.session_point.epoch;
    }
}

/* The order in which rows are handed out: rounds and lanes by number, points as they came. */
static bool stands_after(const struct cpni_command *a, const struct cpni_command *b)
{
    return (a->type == CPNI_COMMAND_SESSION_ROUND && a->u.session_round.round > b->u.session_round.round) ||
           (a->type == CPNI_COMMAND_SESSION_LANE && a->u.session_lane.lane > b->u.session_lane.lane);
}

static void put_row(struct rows *rows, const struct cpni_command *command)
{
    for (size_t i = 0; i < rows->count; i++) {
        if (same_row(&rows->list[i], command)) {
            rows->list[i] = *command;
            return;
        }
    }
    if (rows->count == rows->room) {
        rows->room = rows->room == 0 ? 8 : 2 * rows->room;
        rows->list = realloc(rows->list, rows->room * sizeof *rows->list);
        if (rows->list == NULL) {
            abort();
        }
    }
    size_t at = rows->count++;
    for (; at > 0 && stands_after(&rows->list[at - 1], command); at--) {
        rows->list[at] = rows->list[at - 1];
    }
    rows->list[at] = *command;
}

static void put_round(struct rows *rows, const struct cpni_command *command)
{
    size_t kept = 0;
    put_row(rows, command);
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->list[i].u.session_round.round >= command->u.session_round.first_kept) {
            rows->list[kept++] = rows->list[i];
        }
    }
    rows->count = kept;
}

static int add(struct session_rows *all, const struct cpni_command *command)
{
    if (command->payload == NULL || command->payload->size == 0) {
        return CPN_EINVAL;
    }
    if (*place_of(all, &command->u.session_add.session) != NULL) {
        return CPN_EEXISTS;
    }
    struct stored_session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        abort();
    }
    session->add = *command;
    cpni_bytes_ref(command->payload);
    *all->end = session;
    all->end = &session->next;
    return 0;
}

int session_rows_apply(struct session_rows *all, const struct cpni_command *command)
{
    if (command->type == CPNI_COMMAND_SESSION_ADD) {
        return add(all, command);
    }
    struct stored_session **place = place_of(all, &command->u.session_remove.session); /* the first member of all of them */
    if (*place == NULL) {
        return CPN_ENOTFOUND;
    }
    switch (command->type) {
    case CPNI_COMMAND_SESSION_STATE:
        (*place)->state = *command;
        return 0;
    case CPNI_COMMAND_SESSION_ROUND:
        put_round(&(*place)->rounds, command);
        return 0;
    case CPNI_COMMAND_SESSION_LANE:
        put_row(&(*place)->lanes, command);
        return 0;
    case CPNI_COMMAND_SESSION_POINT:
        put_row(&(*place)->points, command);
        return 0;
    default:
        remove_at(all, place);
        return 0;
    }
}

int session_rows_each(const struct session_rows *all, int (*fn)(void *arg, const struct cpni_command *command), void *arg)
{
    int rc = 0;
    for (const struct stored_session *session = all->first; rc == 0 && session != NULL; session = session->next) {
        const struct rows *const kinds[] = { &session->rounds, &session->lanes, &session->points };
        rc = fn(arg, &session->add);
        if (rc == 0 && session->state.type != CPNI_COMMAND_NONE) {
            rc = fn(arg, &session->state);
        }
        for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
            for (size_t i = 0; rc == 0 && i < kinds[kind]->count; i++) {
                rc = fn(arg, &kinds[kind]->list[i]);
            }
        }
    }
    return rc;
}
