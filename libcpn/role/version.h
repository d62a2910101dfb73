/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */

/* What the programs of this build call themselves in HELLO and WELCOME. */
#ifndef CPNI_VERSION_H
#define CPNI_VERSION_H

#define CPNI_SOFTWARE "cpn " CPNI_VERSION /* CPNI_VERSION comes from meson.build */

#endif
