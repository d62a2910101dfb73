/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What a person does with the outcome of a session: a picture of it, a model of the network. */
#ifndef CPN_SESSION_OUTCOME_H
#define CPN_SESSION_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "cli.h"

#include <cpn/session.h>

/* Write the learning curves as SVG. 0, or the exit status after a sentence on stderr. */
int outcome_plot(struct cli *cli, const struct cpn_session_report *report, const char *path);

/* "20x20"; NULL: no image, which is 0 and 0. False after a sentence on stderr. */
bool outcome_image(const struct cli *cli, const char *text, uint32_t *width, uint32_t *height);

/* Whether a model may be called so; told before hours of training, not after. False after a sentence on stderr. */
bool outcome_name(const struct cli *cli, const char *name);

/* Publish as a version of a model, then wait until the nodes are ready for it. The exit status; what failed was told on stderr.
 * *published: whether it is a version now, ready or not. */
int outcome_publish(struct cli *cli, const struct cpn_id *session, const struct cpn_session_publish_options *options, bool *published);

#endif
