/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* One value: from its text to where a setting points. */
#ifndef CPN_VALUES_H
#define CPN_VALUES_H

#include "settings.h"

/* Set a setting from a text. `first` empties a list before. The text must outlive the settings, or be kept with value_keep(). A text
 * that is not such a value is told on stderr, with its origin ("cpn.conf:12: slots"). */
bool value_apply(const struct setting *setting, const char *text, bool first, const char *origin, struct settings *settings);

/* A copy that lives as long as the settings; NULL when memory ran out. */
char *value_keep(struct settings *settings, const char *text);

/* The variable of a setting: "CPN_MAX_TASKS" for "max-tasks". */
void value_variable(const char *name, char *variable, size_t room);

#endif
