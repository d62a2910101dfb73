/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* Following a session until it ends, and ending it (cpn/session.h). Following is asking again and again, so it needs nothing of the master
 * that a restart could lose. */
#include "role/clock.h"
#include "role/session.h"

#define POLL_MS 250
#define PATIENCE_MS 1000 /* so long is an answer waited for until the program is told that nothing is new, and may give up */

bool cpn_session_over(enum cpn_session_state state)
{
    return state >= CPN_SESSION_COMPLETED;
}

static int outcome(struct cpn_client *client, const struct cpn_session_info *info)
{
    switch (info->state) {
    case CPN_SESSION_COMPLETED:
        return 0;
    case CPN_SESSION_STOPPED:
        return cpni_client_fail(client, CPN_ECANCELLED, "%s", info->text[0] != 0 ? info->text : "the session was stopped");
    default:
        return cpni_client_fail(client, CPN_EFAILED, "%s", info->text[0] != 0 ? info->text : "the session failed");
    }
}

/* Let the client live until then. */
static int pause_until(struct cpn_client *client, int64_t at_us)
{
    int rc = 0;
    for (int left_ms; rc == 0 && (left_ms = cpni_client_left_ms(at_us)) != 0;) {
        rc = cpn_client_dispatch(client, left_ms);
    }
    return rc;
}

struct watch {
    int (*fn)(void *arg, const struct cpn_session_report *report);
    void *arg;
    struct cpn_session_report *report; /* the last one */
    struct cpni_session_points points;
};

/* One look at the session. 0: it goes on; 1: it is over. */
static int look(struct cpn_client *client, const struct cpn_id *session, struct watch *watch, int64_t until_us)
{
    struct cpn_session_report *report = NULL;
    int left_ms = cpni_client_left_ms(until_us);
    int rc = cpni_session_report_next(client, session, &watch->points, watch->report,
                                      left_ms >= 0 && left_ms < PATIENCE_MS ? left_ms : PATIENCE_MS, &report);
    if (rc == 0) {
        cpn_session_report_free(watch->report);
        watch->report = report;
    } else if ((rc != CPN_ETIMEDOUT && rc != CPN_EUNREACHABLE) || left_ms == 0) {
        return rc;
    }
    if (watch->fn != NULL && watch->report != NULL && watch->fn(watch->arg, watch->report) != 0) {
        return cpni_client_fail(client, CPN_ECANCELLED, "no longer watched");
    }
    return report != NULL && cpn_session_over(report->info.state);
}

int cpn_session_watch(struct cpn_client *client, const struct cpn_id *session,
                      int (*fn)(void *arg, const struct cpn_session_report *report), void *arg, int timeout_ms)
{
    const int64_t until_us = cpni_client_until(timeout_ms);
    struct watch watch = { .fn = fn, .arg = arg };
    int rc = 0;
    while (rc == 0) {
        int64_t next_us = cpni_client_until(POLL_MS);
        rc = look(client, session, &watch, until_us);
        if (rc == 0 && cpni_client_left_ms(until_us) == 0) {
            rc = cpni_client_fail(client, CPN_ETIMEDOUT, "the session goes on");
        }
        rc = rc == 0 ? pause_until(client, next_us < until_us ? next_us : until_us) : rc;
    }
    rc = rc == 1 ? outcome(client, &watch.report->info) : rc;
    cpn_session_report_free(watch.report);
    cpni_session_points_free(&watch.points);
    return rc;
}

int cpn_session_stop(struct cpn_client *client, const struct cpn_id *session, int timeout_ms)
{
    struct cpni_msg msg = { .type = CPNI_MSG_STOP };
    struct cpni_ask question = { 0 };
    msg.stop.session = *session;
    msg.stop.code = CPN_ECANCELLED;
    return cpni_client_request(client, &msg, &question, timeout_ms);
}
