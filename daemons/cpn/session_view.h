/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* A training session as the commands print it: as JSON, and for people what it is and what came of it. */
#ifndef CPN_SESSION_VIEW_H
#define CPN_SESSION_VIEW_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include <cpn/session.h>

#define VIEW_ID 9         /* the first 8 digits of an id: enough for a person and for every command */
#define VIEW_SETTINGS 512 /* the settings that distinguish a lane */

char *view_id(const struct cpn_id *id, char text[VIEW_ID]);

/* What is not like that of all other lanes: "lr=0.01,batch=64"; "" when nothing is. */
void view_settings(const struct cpn_session_report *report, size_t lane, char text[VIEW_SETTINGS]);

/* The last epoch of a lane (or CPN_LANE_ALL); NULL: none yet. */
const struct cpn_point_info *view_last_point(const struct cpn_session_report *report, uint32_t lane);

/* "training, round 3 of 12", "failed: why", "created: waits for…" */
void view_progress(const struct cpn_session_info *info, char *text, size_t room);
double view_seconds(const struct cpn_session_info *info); /* since it started, until now or its end; NAN: not started */

json_t *view_session_json(const struct cpn_session_info *info);
json_t *view_point_json(const struct cpn_point_info *point);
json_t *view_report_json(const struct cpn_session_report *report); /* {"session":…,"lanes":[…],"points":[…]} */

/* The lanes with the figures of their last epoch, the best, whether it can be reproduced, the weights. */
void view_outcome(const struct cpn_session_report *report, FILE *to);
/* What can be done with the outcome, if there is one. */
void view_next(const struct cpn_session_info *info, FILE *to);
/* The epochs of the common model, or else of the best lane. */
void view_epochs(const struct cpn_session_report *report, FILE *to);

#endif
