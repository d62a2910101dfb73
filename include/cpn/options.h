/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* How option structs work, for all of cpn. An option struct begins with its size: declare it with its INIT macro, set the members
 * you care about, pass it; zero means the default. A program built against an older header passes a shorter struct, which is read as
 * far as it goes. Strings and arrays are borrowed for the call. The library reads no configuration file and no environment. */
#ifndef CPN_OPTIONS_H
#define CPN_OPTIONS_H

#include <stdint.h>

#include <cpn/context.h>
#include <cpn/log.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CPN_PORT 7130 /* the master's TCP port unless told otherwise */

/* The version of the library at run time, "0.1.0". Static. Any thread. */
const char *cpn_version(void);

#ifdef __cplusplus
}
#endif

#endif
