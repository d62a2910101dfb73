/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Reading the event ring while the role runs: a job of the helper thread between two transactions. */
#include "store/state_store.h"

#include <stdio.h>
#include <string.h>

#include <cpn/error.h>

#include "base/alloc.h"

/* Three texts, so that the indexes by task and by node are used; NULL parameters ask for nothing. */
#define SELECT_EVENTS "SELECT " CPNI_EVENT_COLUMNS " FROM event WHERE "
#define AND_THE_REST                                                                                                   \
    " AND (?3 IS NULL OR model = ?3 OR substr(model, 1, length(?3) + 1) = ?3 || '@') AND (?4 IS NULL OR id = ?4) AND level >= ?5 AND number < ?6 AND wall >= ?7"       \
    " AND number > ?9 ORDER BY number DESC LIMIT ?8"

static const char *sql_of(const struct cpni_state_filter *filter)
{
    static const char by_task[] = SELECT_EVENTS "task = ?1 AND (?2 IS NULL OR node = ?2)" AND_THE_REST;
    static const char by_node[] = SELECT_EVENTS "?1 IS NULL AND node = ?2" AND_THE_REST;
    static const char by_number[] = SELECT_EVENTS "?1 IS NULL AND ?2 IS NULL" AND_THE_REST;
    if (!cpni_all_zero(&filter->task, sizeof filter->task)) {
        return by_task;
    }
    return cpni_all_zero(&filter->node, sizeof filter->node) ? by_number : by_node;
}

static sqlite3_stmt *prepare(struct cpni_state *state, const struct cpni_state_filter *filter, uint32_t limit)
{
    sqlite3_stmt *rows = cpni_db_use(&state->db, sql_of(filter));
    cpni_bind_blob_unless_zero(rows, 1, &filter->task, sizeof filter->task);
    cpni_bind_blob_unless_zero(rows, 2, &filter->node, sizeof filter->node);
    cpni_bind_text_unless_empty(rows, 3, filter->model);
    cpni_bind_text_unless_empty(rows, 4, filter->id);
    cpni_bind_number(rows, 5, filter->level_min);
    cpni_bind_number(rows, 6, filter->before == 0 ? INT64_MAX : (int64_t)filter->before);
    cpni_bind_number(rows, 7, filter->since_wall_us == 0 ? INT64_MIN : filter->since_wall_us);
    cpni_bind_number(rows, 8, limit);
    cpni_bind_number(rows, 9, (int64_t)filter->after);
    return rows;
}

void cpni_state_read_event(sqlite3_stmt *row, struct cpni_state_event *out)
{
    struct cpni_command_event *event = &out->event;
    memset(out, 0, sizeof *out);
    out->number = (uint64_t)cpni_column_number(row, 0);
    event->wall_us = cpni_column_number(row, 1);
    cpni_column_text(row, 2, event->id, sizeof event->id);
    event->level = (uint8_t)cpni_column_number(row, 3);
    cpni_column_blob(row, 4, &event->node, sizeof event->node);
    cpni_column_blob(row, 5, &event->task, sizeof event->task);
    cpni_column_text(row, 6, event->model, sizeof event->model);
    cpni_column_text(row, 7, event->text, sizeof event->text);
}

/* Room for one more. */
static int grow(struct cpni_state_answer *answer, size_t *capacity)
{
    if (answer->events_count < *capacity) {
        return 0;
    }
    size_t more = *capacity == 0 ? 16 : *capacity * 2;
    struct cpni_state_event *events = cpni_realloc(answer->events, more * sizeof *events);
    if (events == NULL) {
        return CPN_ENOMEM;
    }
    answer->events = events;
    *capacity = more;
    return 0;
}

void cpni_state_run_query(struct cpni_state *state, struct cpni_state_item *item)
{
    struct cpni_state_answer *answer = &item->answer;
    sqlite3_stmt *rows = prepare(state, &item->filter, item->limit);
    size_t capacity = 0;
    int rc;
    while ((rc = cpni_db_step(&state->db, rows)) == 1) {
        rc = grow(answer, &capacity);
        if (rc < 0) {
            sqlite3_reset(rows);
            break;
        }
        cpni_state_read_event(rows, &answer->events[answer->events_count++]);
    }
    answer->commit.status = CPNI_COMMITTED;
    if (rc < 0) {
        char detail[CPNI_STATE_DETAIL];
        cpni_state_describe(state, rc, detail);
        cpni_state_answer_clear(answer);
        answer->commit.status = CPNI_UNKNOWN;
        answer->commit.code = rc;
        snprintf(answer->commit.text, sizeof answer->commit.text, "%.*s", CPNI_DETAIL - 1, detail);
    }
}
