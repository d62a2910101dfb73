/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* The program of a runner that trains one lane: opens dataset and plug-in, confines itself, does rounds until its
 * parent hangs up. */
#ifndef CPNI_TRAINER_BODY_H
#define CPNI_TRAINER_BODY_H

#include <cpn/trainer.h>

/* Returns the exit status. */
int cpni_trainer_serve(long parent);

/* Load a plug-in into this process. NULL with a sentence in `detail` (CPN_TRAINER_DETAIL bytes). */
const struct cpn_trainer *cpni_trainer_plugin(const char *path, char *detail);

#endif
